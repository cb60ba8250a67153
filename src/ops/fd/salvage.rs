//! What dropped reads and accepts had received already: kept on the descriptor, for the next one (I2).
//!
//! Knows: bytes, what comes beside them, descriptors and slots, wakers. Does not know: requests, entries, runtimes.
//!
//! Each of the two sides, reads and accepts, is a queue behind one lock, and one word says whether there is anything
//! to look at, so that an op whose descriptor has no past pays for one load:
//!
//! ```text
//! word:  READS   : an orphaned read is in flight, or bytes wait
//!        ACCEPTS : an orphaned accept is in flight, or a connection waits
//!
//!  op's prepare ── side clear ──▶ Submit
//!       │ side set
//!       ├── an orphan in flight ──▶ Pending: the newer op must not overtake what the orphan may still receive
//!       └── something waits ──────▶ Answer: it is taken
//! ```
#![allow(unsafe_code, reason = "asks the kernel for a socket's type, which std does not offer")]

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::FixedFd;
use crate::ops::address::Address;
use crate::ops::control::Control;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::util::contain::contain;

const READS: u8 = 1;
const ACCEPTS: u8 = 2;

/// What waits on one descriptor. Bounded by the ops that were in flight on it at once: while anything waits, no new
/// one of its kind is submitted.
pub struct Salvage {
    word: AtomicU8,
    sides: Mutex<Option<Box<Sides>>>,
}

/// What came beside the bytes of a message. Empty for what a plain read had received.
#[derive(Debug)]
pub struct Envelope {
    pub(crate) from: Address,
    /// `MSG_*`.
    pub(crate) flags: i32,
    pub(crate) control: Control,
}

impl Default for Envelope {
    fn default() -> Self {
        Self { from: Address::unnamed(), flags: 0, control: Control::new() }
    }
}

#[derive(Default)]
struct Sides {
    reads: Side<(Box<[u8]>, Envelope)>,
    accepts: Side<Connection>,
}

/// A connection that nobody has yet.
#[derive(Debug)]
pub enum Connection {
    Fd(OwnedFd),
    /// It is in a slot of a ring's table, which its runtime's accepts into slots can pass on as it is, and other accepts only
    /// by a descriptor that they have made for it.
    Direct(FixedFd),
}

impl From<OwnedFd> for Connection {
    fn from(fd: OwnedFd) -> Self {
        Self::Fd(fd)
    }
}

impl Connection {
    /// The descriptor, if it has one.
    pub(crate) fn into_fd(self) -> Result<OwnedFd, Self> {
        match self {
            Self::Fd(fd) => Ok(fd),
            Self::Direct(_) => Err(self),
        }
    }
}

struct Side<T> {
    /// Ops dropped in flight whose terminal completion is still to come.
    orphans: usize,
    /// In the order of their places, with gaps where something was taken.
    waiting: VecDeque<(Place, T)>,
    /// The place of what is left next.
    next: Place,
    /// The tasks of ops that wait for the orphans.
    wakers: Vec<Waker>,
}

/// Where something stands in the order it was left in, counted in bytes or connections. Who takes it remembers the
/// place, to put it back there if it was taken in vain: two that are put back keep their order so.
pub(crate) type Place = NonZeroU64;

impl<T> Default for Side<T> {
    fn default() -> Self {
        Self { orphans: 0, waiting: VecDeque::new(), next: Place::MIN, wakers: Vec::new() }
    }
}

impl<T> Side<T> {
    fn is_clear(&self) -> bool {
        self.orphans == 0 && self.waiting.is_empty()
    }

    /// Pending while an orphan may still receive something that comes before what waits for us.
    fn poll_orphans(&mut self, waker: &mut Option<Waker>) -> Poll<()> {
        if self.orphans == 0 {
            return Poll::Ready(());
        }
        // One per task: a task that polls again, or that dropped an op and polls another, is in the list already.
        if let Some(new) = waker.take_if(|new| !self.wakers.iter().any(|old| old.will_wake(new))) {
            self.wakers.push(new);
        }
        Poll::Pending
    }

    /// An op has ended that nobody awaits: keeps what it received, `len` long. Returns whom to wake, once the lock is
    /// given back.
    fn abandoned(
        &mut self,
        received: Option<T>,
        len: usize,
        orphaned: bool,
        taken: Option<Place>,
    ) -> Vec<Waker> {
        self.orphans -= usize::from(orphaned);
        if let Some(received) = received {
            let place = taken.unwrap_or(self.next);
            if taken.is_none() {
                self.next = after(self.next, len);
            }
            let at = self.waiting.partition_point(|(other, _)| *other < place);
            self.waiting.insert(at, (place, received));
        }
        if self.orphans == 0 { mem::take(&mut self.wakers) } else { Vec::new() }
    }
}

fn after(place: Place, len: usize) -> Place {
    place.saturating_add(len as u64)
}

/// What was received at once: where it stood, its bytes, and what came beside them.
pub(crate) type Message = (Place, Box<[u8]>, Envelope);

/// How a read takes what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// It is gone afterwards.
    Consume,
    /// It stays (`MSG_PEEK`).
    Peek,
}

impl Salvage {
    pub(crate) const fn new() -> Self {
        Self { word: AtomicU8::new(0), sides: Mutex::new(None) }
    }

    /// Whether a read must look here first.
    #[inline]
    pub(crate) fn concerns_reads(&self) -> bool {
        // ORDERING: Acquire pairs with the Release of `update`; who sees the bit takes the lock anyway.
        self.word.load(Ordering::Acquire) & READS != 0
    }

    /// Whether an accept must look here first.
    #[inline]
    pub(crate) fn concerns_accepts(&self) -> bool {
        // ORDERING: as in `concerns_reads`.
        self.word.load(Ordering::Acquire) & ACCEPTS != 0
    }

    /// A read was dropped in flight.
    #[cold]
    pub(crate) fn read_orphaned(&self) {
        self.update(|sides| sides.reads.orphans += 1);
    }

    /// The terminal completion of a read that nobody awaits. `bytes` is what it received: nothing at the end and on an
    /// error; `envelope` what came beside them. An empty message is kept if it says who sent it. `orphaned` if
    /// `read_orphaned` was called for it, `taken` if it had the bytes from here.
    #[inline]
    pub(crate) fn message_abandoned(
        &self,
        bytes: &[u8],
        envelope: Option<Envelope>,
        orphaned: bool,
        taken: Option<Place>,
    ) {
        let named = envelope.as_ref().is_some_and(|envelope| envelope.from.family() != libc::AF_UNSPEC);
        // Nobody waits for the end of one that was not dropped.
        if !bytes.is_empty() || named || orphaned {
            self.keep(bytes, envelope, named, orphaned, taken);
        }
    }

    #[cold]
    fn keep(
        &self,
        bytes: &[u8],
        envelope: Option<Envelope>,
        named: bool,
        orphaned: bool,
        taken: Option<Place>,
    ) {
        let received = (named || !bytes.is_empty()).then(|| (bytes.into(), envelope.unwrap_or_default()));
        let len = bytes.len().max(1);
        wake_all(self.update(|sides| sides.reads.abandoned(received, len, orphaned, taken)));
    }

    /// The oldest bytes that wait, at most `asked` of them; `None` if none wait.
    ///
    /// The rest of a stream's bytes waits on; the rest of a datagram is lost, as the kernel would have cut it off.
    /// What two reads had received is not joined: each may have been a message.
    pub(crate) fn poll_bytes(
        &self,
        cx: &mut Context<'_>,
        keeps_boundaries: impl FnOnce() -> bool,
        take: Take,
        asked: usize,
    ) -> Poll<Option<(Place, Box<[u8]>)>> {
        let message = self.poll_message(cx, keeps_boundaries, take, asked);
        message.map(|left| left.map(|(place, bytes, _envelope)| (place, bytes)))
    }

    /// As [`poll_bytes`](Self::poll_bytes), with what came beside the bytes. It goes with the first of them; who only looks
    /// sees the address.
    #[cold]
    pub(crate) fn poll_message(
        &self,
        cx: &mut Context<'_>,
        keeps_boundaries: impl FnOnce() -> bool,
        take: Take,
        asked: usize,
    ) -> Poll<Option<Message>> {
        let mut waker = Some(cx.waker().clone()); // cloned and dropped outside of the lock (I7)
        self.update(|sides| {
            let side = &mut sides.reads;
            if side.poll_orphans(&mut waker).is_pending() {
                return Poll::Pending;
            }
            let Some((place, (bytes, envelope))) = side.waiting.front_mut() else { return Poll::Ready(None) };
            let at = *place;
            if take == Take::Peek {
                let seen = Envelope { from: envelope.from, flags: envelope.flags, ..Envelope::default() };
                return Poll::Ready(Some((at, bytes[..asked.min(bytes.len())].into(), seen)));
            }
            if asked >= bytes.len() {
                let message = side.waiting.pop_front();
                return Poll::Ready(message.map(|(place, (bytes, envelope))| (place, bytes, envelope)));
            }
            let taken = bytes[..asked].into();
            let mut beside = mem::take(envelope);
            if keeps_boundaries() {
                side.waiting.pop_front();
                beside.flags |= libc::MSG_TRUNC;
            } else {
                *place = after(at, asked);
                *bytes = bytes[asked..].into();
            }
            Poll::Ready(Some((at, taken, beside)))
        })
    }

    /// What waits belongs to a file that is not there any more: it is let go.
    pub(crate) fn forget(&self) {
        if self.concerns_reads() || self.concerns_accepts() {
            // Closed outside of the lock (I7).
            let _let_go = self
                .update(|sides| (mem::take(&mut sides.reads.waiting), mem::take(&mut sides.accepts.waiting)));
        }
    }

    /// An accept was dropped in flight.
    #[cold]
    pub(crate) fn accept_orphaned(&self) {
        self.update(|sides| sides.accepts.orphans += 1);
    }

    /// The place of a connection that is left now. It need not come here: until it does, nothing stands there.
    #[cold]
    pub(crate) fn place_for_connection(&self) -> Place {
        self.update(|sides| {
            let place = sides.accepts.next;
            sides.accepts.next = after(place, 1);
            place
        })
    }

    /// The terminal completion of an accept that nobody awaits; as `message_abandoned`.
    #[cold]
    pub(crate) fn accept_abandoned(
        &self,
        connection: Option<Connection>,
        orphaned: bool,
        taken: Option<Place>,
    ) {
        wake_all(self.update(|sides| sides.accepts.abandoned(connection, 1, orphaned, taken)));
    }

    /// The oldest connection that waits and is `usable`; `None` if there is none.
    #[cold]
    pub(crate) fn poll_connection(
        &self,
        cx: &mut Context<'_>,
        usable: impl Fn(&Connection) -> bool,
    ) -> Poll<Option<(Place, Connection)>> {
        let mut waker = Some(cx.waker().clone()); // cloned and dropped outside of the lock (I7)
        self.update(|sides| {
            let side = &mut sides.accepts;
            side.poll_orphans(&mut waker).map(|()| {
                let at = side.waiting.iter().position(|(_, connection)| usable(connection))?;
                side.waiting.remove(at)
            })
        })
    }

    /// The oldest connection that waits and has a descriptor, whatever may still be in flight.
    pub(crate) fn take_connection(&self) -> Option<OwnedFd> {
        if !self.concerns_accepts() {
            return None;
        }
        self.update(|sides| {
            let waiting = &mut sides.accepts.waiting;
            let at = waiting.iter().position(|(_, connection)| matches!(connection, Connection::Fd(_)))?;
            waiting.remove(at)
        })
        .and_then(|(_, connection)| connection.into_fd().ok())
    }

    /// Works on the sides under the lock, and writes the word after what they are then.
    fn update<R>(&self, work: impl FnOnce(&mut Sides) -> R) -> R {
        let mut guard = self.lock();
        let sides = guard.get_or_insert_default();
        let result = work(sides);
        let word = if sides.reads.is_clear() { 0 } else { READS }
            | if sides.accepts.is_clear() { 0 } else { ACCEPTS };
        // ORDERING: Release pairs with the Acquire of the looks without the lock.
        self.word.store(word, Ordering::Release);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Sides>>> {
        self.sides.lock().unwrap_or_else(PoisonError::into_inner) // no step under it can be left half done
    }
}

impl fmt::Debug for Salvage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reads, accepts) = (self.concerns_reads(), self.concerns_accepts());
        f.debug_struct("Salvage").field("reads", &reads).field("accepts", &accepts).finish()
    }
}

fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        contain(|| waker.wake()); // one that panics must not keep the others asleep (I7)
    }
}

/// What reads of a file give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gives {
    /// Bytes, and at the end nothing.
    #[default]
    Bytes,
    /// One message each, of which is cut off what does not fit, and at the end nothing: sequenced packets.
    Packets,
    /// The same without an end, because a message may be empty: datagrams.
    Datagrams,
}

impl Gives {
    /// What is open as this descriptor.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Self {
        kind_of_socket(fd).map_or(Self::Bytes, Self::of_socket)
    }

    /// Of a socket of this kind, `SOCK_*`.
    pub(crate) fn of_socket(kind: libc::c_int) -> Self {
        match kind {
            libc::SOCK_STREAM => Self::Bytes,
            libc::SOCK_DGRAM | libc::SOCK_RAW => Self::Datagrams,
            _ => Self::Packets,
        }
    }
}

/// `SOCK_*`; `None` of what is no socket: a pipe, a terminal, a file.
fn kind_of_socket(fd: BorrowedFd<'_>) -> Option<libc::c_int> {
    let mut kind: libc::c_int = 0;
    let mut len = size_of_val(&kind) as libc::socklen_t;
    // SAFETY: (local) both pointers are to locals of the size that `len` says.
    let done = unsafe {
        let kind = (&raw mut kind).cast();
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TYPE, kind, &raw mut len)
    };
    (done == 0).then_some(kind)
}
