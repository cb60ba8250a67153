//! Receiving and reading again and again with one entry, into buffers that the kernel chooses.
//!
//! Knows: what a receive or read from a pool asks for, pools, the salvage of its descriptor. Does not know: nodes, rings, the
//! queue of results.
#![allow(unsafe_code, reason = "implements the unsafe source trait")]

use std::io;
use std::mem::{self, offset_of};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use io_uring::squeue::Flags;

use super::Multishot;
use super::arm::Arm;
use super::source::{Came, Shot, Source, Then};
use crate::ops::buf::{Claim, Hungry, Lender, PoolBuf};
use crate::ops::fd::salvage::{Envelope, Place, Take};
use crate::ops::fd::{AnyFd, Fd, FixedFd, IntoFd};
use crate::ops::features::{self, Feature};
use crate::ops::pooled::{Ask, AskRead, AskRecv, BUNDLE, Filled, Provides};
use crate::ops::received::poll_received;
use crate::runtime::driver::Sqe;

/// The source of [`recv_multishot`] and [`read_multishot`]. What a result needs comes first, as in `Arm`.
#[derive(Debug)]
#[repr(C)]
pub struct FillMultishot<A: Ask, F: AnyFd, T: Filled> {
    /// The entry that is out, or was, has asked for this: `BUNDLE`.
    flags: u16,
    /// A buffer was refused, and `hungry` was not told since that one came.
    short: bool,
    /// A buffer was refused: the next entry waits for its turn.
    starved: bool,
    /// A bundle was refused: if the next entry is not, the kernel lacks that.
    doubted: bool,
    /// The file can be read at any time: the kernel reads it once for each entry.
    is_file: bool,
    hungry: Hungry<T::Lender>,
    from: From<F>,
    /// Buffers that came back with nothing in them. Kept until they can be dropped: that may wake others.
    spent: Option<T>,
    ask: A,
}

const _: () = {
    type Usual = Arm<RecvMultishot<FixedFd>>;
    let lender = offset_of!(Usual, source) + offset_of!(RecvMultishot<FixedFd>, hungry);
    assert!(lender + size_of::<usize>() <= 64); // one line, if the request begins with one
    assert!(size_of::<Usual>() <= 192); // and what a silent connection holds: with the node's head, 256 bytes
    assert!(size_of::<Arm<RecvMultishot<Fd>>>() <= 192);
};

/// The source of [`recv_multishot`].
pub type RecvMultishot<F = Fd, T = PoolBuf> = FillMultishot<AskRecv, F, T>;

/// The source of [`read_multishot`].
pub type ReadMultishot<F = Fd, T = PoolBuf> = FillMultishot<AskRead, F, T>;

/// A descriptor, and the file that was there when the op began.
#[derive(Clone, Debug)]
pub struct From<F: AnyFd> {
    fd: F,
    tenant: F::Tenant,
    /// An entry was queued: it is that file's from then on.
    begun: bool,
}

impl<F: AnyFd> From<F> {
    pub(super) fn new(fd: F) -> Self {
        let tenant = fd.tenant();
        Self { fd, tenant, begun: false }
    }

    pub(super) fn fd(&self) -> &F {
        &self.fd
    }

    pub(super) fn tenant(&self) -> F::Tenant {
        self.tenant
    }

    /// The number, for an entry; one that the kernel refuses where it would name a file of another ring, or another file than
    /// the entries before.
    pub(super) fn number(&mut self) -> io_uring::types::Fd {
        let tenant = self.fd.tenant();
        if !self.begun {
            (self.tenant, self.begun) = (tenant, true);
        }
        let same = tenant == self.tenant && !self.fd.is_elsewhere();
        if same { self.fd.number() } else { io_uring::types::Fd(-1) }
    }

    /// As [`Hold::abandon_message`](crate::ops::fd::Hold::abandon_message), of the file that was there.
    pub(super) fn leave_message(
        &self,
        bytes: &[u8],
        envelope: Option<Envelope>,
        orphaned: bool,
        place: Option<Place>,
    ) {
        self.fd.abandon_message(self.tenant, bytes, envelope, orphaned, place);
    }
}

impl<A: Ask, F: AnyFd, T: Filled> Multishot<FillMultishot<A, F, T>> {
    fn filling(ask: A, fd: F, lender: &Arc<T::Lender>) -> Self {
        Self::new(FillMultishot {
            flags: 0,
            short: false,
            starved: false,
            doubted: false,
            is_file: false,
            hungry: Hungry::new(lender),
            from: From::new(fd),
            spent: None,
            ask,
        })
    }
}

impl<A: Ask, F: AnyFd, T: Filled> FillMultishot<A, F, T> {
    fn lender(&self) -> &Arc<T::Lender> {
        self.hungry.lender()
    }
}

// SAFETY: (I1) the entry points to nothing: it names the lender's group, whose buffers the lender owns, and the source holds
// the lender; the descriptor is held.
unsafe impl<A: Ask, F: AnyFd, T: Filled> Source for FillMultishot<A, F, T> {
    type Item = T;
    type Home = From<F>;

    const FEATURE: Feature = A::MULTISHOT;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Place, T)>> {
        self.spent = None;
        let fd = &self.from.fd;
        if fd.left_behind().concerns_reads() {
            let asked = self.lender().most() as usize;
            if let Some((place, bytes)) = ready!(poll_received(fd, cx, Take::Consume, asked)) {
                return Poll::Ready(Some((place, T::salvaged(bytes))));
            }
        }
        if self.starved {
            ready!(self.hungry.poll(cx));
            self.starved = false;
        }
        Poll::Ready(None)
    }

    fn sqe(&mut self, shot: Shot) -> Sqe {
        let bundled = T::BUNDLED && !self.doubted && Feature::RecvBundle.may_be_there();
        self.flags = if bundled { BUNDLE } else { 0 };
        let number = self.from.number();
        let (fd, lender) = (&self.from.fd, self.hungry.lender());
        let number = if lender.is_elsewhere() { io_uring::types::Fd(-1) } else { number };
        let entry = match shot {
            Shot::Multi if !self.is_file => self.ask.entry_multi(number, lender.group(), self.flags),
            _ => self.ask.entry(number, lender.group(), lender.most(), self.flags),
        };
        let entry = fd.address(entry).flags(Flags::BUFFER_SELECT);
        if bundled { Feature::RecvBundle.entry(entry) } else { entry }
    }

    #[inline]
    fn came(&mut self, result: io::Result<u32>, flags: u32) -> Came<T> {
        match (T::claim(self.lender(), &result, flags), result) {
            (Claim::Got(filled), Ok(1..)) => {
                self.fed();
                Came::Item(filled)
            }
            (claim, result) => self.came_empty(claim, result),
        }
    }

    fn after(&mut self, error: &io::Error) -> Then {
        match error.raw_os_error() {
            Some(libc::ENOBUFS) => {
                // Not with `POLL_FIRST`, which spares a single receive the line until there are bytes: of bytes and the end
                // behind them a multishot receive that polls first sees the bytes, and never the end (6.18).
                (self.short, self.starved) = (true, true);
                Then::WhenReady
            }
            Some(libc::EBADFD) if !self.is_file && A::MULTISHOT == Feature::ReadMultishot => {
                self.is_file = true;
                Then::WhenReady
            }
            _ => Then::End,
        }
    }

    fn home(&self) -> &From<F> {
        &self.from
    }

    fn give_back(home: &From<F>, item: T, place: Option<Place>) {
        item.with_bytes(|bytes| home.fd.abandon_read(home.tenant, bytes, false, place));
    }

    fn orphaned(&mut self) {
        self.from.fd.left_behind().read_orphaned();
    }

    fn ended(home: &From<F>) {
        home.fd.abandon_read(home.tenant, &[], true, None);
    }
}

impl<A: Ask, F: AnyFd, T: Filled> FillMultishot<A, F, T> {
    /// A completion that has brought no bytes.
    #[cold]
    fn came_empty(&mut self, claim: Claim<T>, result: io::Result<u32>) -> Came<T> {
        match result {
            Ok(1..) => Came::Failed(Claim::<T>::disowned()),
            Ok(0) => {
                self.fed();
                self.spend(claim);
                if self.from.fd.has_no_end() { Came::Item(T::default()) } else { Came::End }
            }
            Err(error) => {
                self.spend(claim);
                self.refused(error)
            }
        }
    }

    /// The kernel had a buffer for it, or needed none.
    #[inline]
    fn fed(&mut self) {
        if mem::take(&mut self.short) {
            self.hungry.fed();
        }
        if self.doubted && self.flags & BUNDLE == 0 {
            Feature::RecvBundle.is_missing();
            self.doubted = false;
        }
    }

    fn spend(&mut self, claim: Claim<T>) {
        if let Claim::Got(nothing) = claim {
            self.spent = Some(nothing);
        }
    }

    fn refused(&mut self, error: io::Error) -> Came<T> {
        if self.flags & BUNDLE != 0 && features::may_be_lacking(&error) {
            self.doubted = true; // if it was not that, the kernel says so again
            return Came::Nothing;
        }
        if error.raw_os_error() == Some(libc::EBADF) {
            if self.lender().is_elsewhere() {
                return Came::Failed(T::Lender::elsewhere());
            }
            if let Err(error) = self.from.fd.explain::<()>(Err(io::Error::from_raw_os_error(libc::EBADF))) {
                return Came::Failed(error);
            }
        }
        Came::Failed(error)
    }
}

/// Receives from a socket again and again, into buffers of a pool or a queue, until the end of the stream or until it is stopped.
///
/// Every result is a [`PoolBuf`], or of a [`BufQueue`](crate::ops::BufQueue) a [`QueueBuf`](crate::ops::QueueBuf), with what one
/// receive has brought, in order. Give it a destination: see [`Multishot`]. It ends
/// with success at the end of the stream. A socket of datagrams has no end: an empty result is an empty datagram.
///
/// When the pool has no buffer left it waits in line until one comes back; the bytes stay in the socket. Results that wait for
/// their receiver hold buffers, [`backlog`](Multishot::backlog) of them and what the kernel had received by the time it was
/// told to pause: 32 buffers a pass, some hundred in all; before Linux 6.8 as many as there are bytes for. So one receiver that
/// takes nothing holds about that many, and a pool that is to serve all others meanwhile has more.
///
/// # Kernel
///
/// `IORING_OP_RECV` with `IORING_RECV_MULTISHOT` and `IOSQE_BUFFER_SELECT`, Linux 6.0: one entry for any number of receives.
/// Before, or where the kernel ends it, another entry.
///
/// # Errors
///
/// What `recv(2)` returns, but `ENOBUFS`; `ECANCELED` when it was cancelled; `InvalidInput` when the pool is another runtime's.
///
/// # Cancel safety
///
/// Dropped, it is cancelled. Bytes that nobody has taken wait on the descriptor, in order, for the next receive or read, as for
/// [`recv`](super::super::recv()); their buffers go back to the pool.
///
/// # Examples
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use std::future::poll_fn;
/// use std::ops::ControlFlow;
/// use millstream::Results;
/// use millstream::ops::{self, BufPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let pool = BufPool::new(2, 4)?;
/// let (a, b) = UnixStream::pair()?;
/// ops::send_all(a, "more than the pool has room for").await.0?; // and closes
/// let mut received = ops::recv_multishot(b, &pool);
/// let mut all = Vec::new();
/// while let ControlFlow::Continue(buf) = poll_fn(|cx| received.poll_next(cx)).await {
///     all.extend_from_slice(&buf);
/// }
/// assert_eq!(all, b"more than the pool has room for");
/// # Ok(())
/// # })
/// # }
/// ```
pub fn recv_multishot<F: IntoFd, P: Provides>(fd: F, pool: &P) -> Multishot<RecvMultishot<F::Fd, P::Filled>> {
    Multishot::filling(AskRecv, fd.into_fd(), pool.lender())
}

impl<F: AnyFd, T: Filled> Multishot<RecvMultishot<F, T>> {
    /// Takes as many buffers at once as the bytes that are there fill: every result is a [`Bundle`](crate::ops::Bundle),
    /// or a [`QueueBundle`](crate::ops::QueueBundle).
    ///
    /// For streams. Needs Linux 6.10; before, a bundle has one buffer.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn bundled(mut self) -> Multishot<RecvMultishot<F, T::Bundle>> {
        let backlog = self.idle().backlog;
        let source = self.source_mut();
        let bundled = Multishot::filling(AskRecv, source.from.fd.clone(), source.lender());
        bundled.backlog(backlog as usize)
    }
}

/// Reads from a descriptor again and again, into buffers of a pool, until its end or until it is stopped.
///
/// As [`recv_multishot`], for whatever can be read: pipes, terminals, eventfds; of a file, from its current position on.
///
/// # Kernel
///
/// `IORING_OP_READ_MULTISHOT`, Linux 6.7: one entry for any number of reads. Before, and of a file, one entry for each.
///
/// # Errors
///
/// What `read(2)` returns, but `ENOBUFS`; else as [`recv_multishot`].
///
/// # Cancel safety
///
/// As [`recv_multishot`].
pub fn read_multishot<F: IntoFd, P: Provides>(fd: F, pool: &P) -> Multishot<ReadMultishot<F::Fd, P::Filled>> {
    Multishot::filling(AskRead::current(), fd.into_fd(), pool.lender())
}
