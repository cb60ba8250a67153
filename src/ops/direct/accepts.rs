//! Accepting one connection after the other into slots of the ring's table, several at once.
//!
//! Knows: accepts into slots, the table, the order they ended in. Does not know: entries, channels, tasks.
//!
//! ```text
//!   free slots ──▶ accepts in flight ──▶ results that wait, in the order they came ──▶ whoever takes them
//!       at most half of those that are free;        not taken, they keep new accepts from being made
//!       the first one waits for a slot
//! ```
//!
//! The kernel has one entry for this, which picks the slots, and loses a connection that finds none. So there is one accept for
//! each connection, each with a slot of its own, and as many in flight as connections may come between two turns of the loop.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::AcceptDirect;
use crate::operation::{Operation, Results};
use crate::ops::accept::leave;
use crate::ops::fd::salvage::{Connection, Place};
use crate::ops::fd::{AnyFd, Fd, FdTable, FixedFd, IntoFd, elsewhere};
use crate::ops::multishot::{Rests, Then, after_accept};
use crate::ops::op::Op;
use crate::ops::request::{Prepared, Request};
use crate::runtime::driver::Sqe;
use crate::runtime::time::{Sleep, sleep};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// How many accepts are in flight, or have a connection that waits, unless it was said.
const BACKLOG: usize = 8;

/// One accept of several.
#[derive(Debug)]
struct Beside<F: AnyFd> {
    accept: AcceptDirect<F>,
    /// How many of them have ended so far.
    ended: Arc<AtomicU64>,
    /// How many had when this one did. `None`: it was answered without the kernel, from what had waited.
    number: Option<u64>,
}

/// How one of them has ended.
struct Ended {
    number: Option<u64>,
    place: Option<Place>,
    result: io::Result<FixedFd>,
}

// SAFETY: (I1) that of the accept inside.
unsafe impl<F: AnyFd> Request for Beside<F> {
    type Output = Ended;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        self.accept.prepare(cx)
    }

    fn sqe(&mut self) -> Sqe {
        self.accept.sqe()
    }

    fn orphaned(&mut self) {
        self.accept.orphaned();
    }

    fn offer(&mut self, gift: &mut dyn Any) -> bool {
        self.accept.offer(gift)
    }

    const NOTES_LAST: bool = true;

    fn last(&mut self, _result: io::Result<u32>, _flags: u32) {
        // ORDERING: Relaxed: all of them end on one thread.
        self.number = Some(self.ended.fetch_add(1, Ordering::Relaxed));
    }

    fn finish(self, result: io::Result<u32>, flags: u32) -> Ended {
        let (number, place) = (self.number, self.accept.place());
        Ended { number, place, result: self.accept.finish(result, flags) }
    }

    fn abandon(self, result: io::Result<u32>, flags: u32, orphaned: bool) {
        self.accept.abandon(result, flags, orphaned);
    }
}

/// Accepts that follow one another, into slots: what [`accept_direct_multishot`] returns.
///
/// As a [`Multishot`](crate::ops::Multishot) it needs a destination, and it may be dropped at any time.
#[must_use = "it does nothing until it has a destination: `will_push`, `will_spawn` or `stream`"]
pub struct AcceptDirectMultishot<F: AnyFd = Fd> {
    listener: F,
    /// The listener that was there when it began.
    tenant: F::Tenant,
    table: FdTable,
    backlog: usize,
    begun: bool,
    /// The oldest first.
    in_flight: VecDeque<Op<Beside<F>>>,
    /// See [`Beside::ended`].
    ended: Arc<AtomicU64>,
    /// In the order they came, and where those stood that had waited on the listener.
    waiting: VecDeque<(Option<Place>, FixedFd)>,
    /// Empty between two looks.
    came: Vec<Ended>,
    /// Where the result given out last had stood, should it be given back.
    handed: Option<Place>,
    rests: Rests,
    resting: Option<Sleep>,
    stage: Stage,
}

enum Stage {
    GoesOn,
    /// No accept will follow; those in flight were asked to stop.
    Over(io::Error),
    /// The end was told, or this was discarded.
    Told,
}

impl<F: AnyFd> AcceptDirectMultishot<F> {
    /// How many accepts may be in flight, those with a connection that nobody has taken yet included: as many slots they
    /// hold. At least 1; 8 by default. They are fewer when less than twice as many slots are free.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn backlog(mut self, results: usize) -> Self {
        assert!(!self.begun, "an op's options are set before it is first polled");
        self.backlog = results.max(1);
        self
    }

    /// Goes on as far as it can without waiting.
    fn settle(&mut self, cx: &mut Context<'_>) {
        if !self.begun {
            (self.begun, self.tenant) = (true, self.listener.tenant());
            if !self.table.is_here() {
                self.end(elsewhere());
            }
        }
        self.look(cx);
        if let Some(sleep) = &mut self.resting {
            if Pin::new(sleep).poll(cx).is_pending() {
                return;
            }
            self.resting = None;
        }
        while matches!(self.stage, Stage::GoesOn) && self.resting.is_none() {
            let Some(slot) = self.slot(cx) else { return };
            let accept = AcceptDirect::new(self.listener.clone(), slot);
            let mut op = Op::new(Beside { accept, ended: Arc::clone(&self.ended), number: None });
            match Pin::new(&mut op).poll(cx) {
                Poll::Ready(ended) => self.ended(ended),
                Poll::Pending => self.in_flight.push_back(op),
            }
        }
    }

    /// A slot for one more, if there is to be one.
    fn slot(&self, cx: &mut Context<'_>) -> Option<FixedFd> {
        match self.in_flight.len() + self.waiting.len() {
            0 => match self.table.poll_reserve(cx) {
                Poll::Ready(slot) => Some(slot),
                Poll::Pending => None,
            },
            // No more than are left to others: this one may be idle for long.
            some if some < self.backlog && some < self.table.available() => self.table.reserve().ok(),
            _ => None,
        }
    }

    /// Takes what has ended out of those in flight.
    fn look(&mut self, cx: &mut Context<'_>) {
        let mut came = std::mem::take(&mut self.came);
        self.in_flight.retain_mut(|op| match Pin::new(op).poll(cx) {
            Poll::Ready(ended) => {
                came.push(ended);
                false
            }
            Poll::Pending => true,
        });
        came.sort_by_key(|ended| ended.number);
        came.drain(..).for_each(|ended| self.ended(ended));
        self.came = came;
    }

    fn ended(&mut self, Ended { place, result, .. }: Ended) {
        match result {
            Ok(connection) => {
                self.rests.over();
                self.waiting.push_back((place, connection));
            }
            Err(error) => self.failed(error),
        }
    }

    #[cold]
    fn failed(&mut self, error: io::Error) {
        if !matches!(self.stage, Stage::GoesOn) {
            return; // it was asked to stop
        }
        match after_accept(&error) {
            Then::End => self.end(error),
            // What several have met with together is one failure.
            then if self.resting.is_none() => self.resting = self.rests.next(then).map(sleep),
            _ => {}
        }
    }

    /// Asks those in flight to stop.
    fn end(&mut self, error: io::Error) {
        self.stage = Stage::Over(error);
        self.in_flight.iter_mut().for_each(|op| Pin::new(op).request_cancel());
        if let Some(mut sleep) = self.resting.take() {
            Pin::new(&mut sleep).request_cancel(); // its last poll promised a wake
        }
    }

    /// Gives back what waits, oldest first.
    fn give_all_back(&mut self) {
        while let Some((place, connection)) = self.waiting.pop_front() {
            leave(&self.listener, self.tenant, Some((place, Connection::Direct(connection))), false);
        }
    }
}

impl<F: AnyFd> Unpin for AcceptDirectMultishot<F> {}

impl<F: AnyFd> Results for AcceptDirectMultishot<F> {
    type Item = FixedFd;
    type End = io::Result<()>;

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<ControlFlow<io::Result<()>, FixedFd>> {
        if self.waiting.is_empty() {
            self.settle(cx);
        }
        if let Some((place, connection)) = self.waiting.pop_front() {
            self.handed = place;
            return Poll::Ready(ControlFlow::Continue(connection));
        }
        if !self.in_flight.is_empty() {
            return Poll::Pending;
        }
        match std::mem::replace(&mut self.stage, Stage::Told) {
            Stage::GoesOn => {
                self.stage = Stage::GoesOn;
                Poll::Pending
            }
            Stage::Over(error) => Poll::Ready(ControlFlow::Break(Err(error))),
            Stage::Told => panic!("a multishot op was polled after its end"),
        }
    }

    fn give_back(&mut self, item: FixedFd) {
        let place = self.handed.take();
        self.waiting.push_front((place, item));
        if matches!(self.stage, Stage::Told) {
            self.give_all_back();
        }
    }

    fn request_cancel(&mut self) {
        if matches!(self.stage, Stage::GoesOn) {
            self.end(io::Error::from_raw_os_error(libc::ECANCELED));
        }
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.request_cancel();
        self.give_all_back();
        self.in_flight.retain_mut(|op| Pin::new(op).poll_discard(cx).is_pending());
        if !self.in_flight.is_empty() {
            return Poll::Pending;
        }
        self.stage = Stage::Told;
        Poll::Ready(())
    }
}

impl<F: AnyFd> Drop for AcceptDirectMultishot<F> {
    fn drop(&mut self) {
        self.request_cancel(); // first: one in flight would be offered what waits here
        self.give_all_back();
        // What has ended and was not looked at follows in the order it came; what is still in flight, when it has ended.
        let numbered = |mut op: Op<Beside<F>>| {
            let number = op.look_if_here(|beside, _| beside.number).flatten();
            (number.unwrap_or(u64::MAX), op)
        };
        let mut in_flight: Vec<_> = self.in_flight.drain(..).map(numbered).collect();
        in_flight.sort_by_key(|(number, _)| *number);
    }
}

impl<F: AnyFd> fmt::Debug for AcceptDirectMultishot<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptDirectMultishot")
            .field("listener", &self.listener)
            .field("in_flight", &self.in_flight.len())
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

/// Accepts connections on a listening socket into slots of the runtime's table, one after the other, until it is stopped.
///
/// Every result is a connection in a slot of its own; give it a destination: see [`Multishot`](crate::ops::Multishot). As long as
/// no slot is free it waits, and so do clients, in the listener's backlog: no connection is ever accepted that there is no slot
/// for. While no client comes it holds a few slots, at most half of those that are free:
/// [`backlog`](AcceptDirectMultishot::backlog). Of connections that fail, and of limits, see
/// [`accept_multishot`](crate::ops::accept_multishot).
///
/// # Kernel
///
/// `IORING_OP_ACCEPT` with a slot, Linux 5.15, one entry for each connection, several in flight. The kernel has a multishot form
/// (`IORING_ACCEPT_MULTISHOT` with `IORING_FILE_INDEX_ALLOC`), but a connection that finds the table full is closed by it under the
/// eyes of its client; so it is not used.
///
/// # Errors
///
/// What else `accept4(2)` returns: `EINVAL` of a socket that does not listen, or that was shut down. `ECANCELED` when it was
/// cancelled. `InvalidInput` when the table, or the slot that the listener is in, belongs to another runtime.
///
/// # Cancel safety
///
/// Dropped, it is cancelled. Connections that it had accepted and that nobody has taken wait on the listening descriptor, in
/// their slots, as for [`accept_direct`](crate::ops::accept_direct).
///
/// # Examples
///
/// ```
/// use millstream::channel;
/// use millstream::combinators::ResultsExt;
/// use millstream::ops::{self, FdTable, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let listener = ops::listen_tcp("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let table = FdTable::new(2)?; // so many connections at once
/// let (sender, connections) = channel::local(1);
/// millstream::spawn(ops::accept_direct_multishot(&listener, &table).will_push(sender)).detach();
/// for _ in 0..8 {
///     let client = ops::connect_tcp(address).await?;
///     ops::send(&client, "hello").await.into_result()?;
///     let connection = connections.pop().await?;
///     let (n, buf) = ops::recv(&connection, [0; 8]).await.into_result()?;
///     assert_eq!(&buf[..n], b"hello");
/// } // closes the connection, through the ring: its slot is free for the next
/// # Ok(())
/// # })
/// # }
/// ```
pub fn accept_direct_multishot<F: IntoFd>(fd: F, table: &FdTable) -> AcceptDirectMultishot<F::Fd> {
    AcceptDirectMultishot {
        listener: fd.into_fd(),
        tenant: Default::default(),
        table: table.clone(),
        backlog: BACKLOG,
        begun: false,
        in_flight: VecDeque::new(),
        ended: Arc::new(AtomicU64::new(0)),
        waiting: VecDeque::new(),
        came: Vec::new(),
        handed: None,
        rests: Rests::new(),
        resting: None,
        stage: Stage::GoesOn,
    }
}
