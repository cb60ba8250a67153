//! Reading and receiving into a buffer that the kernel chooses when bytes are there.
//!
//! Knows: `IORING_OP_RECV`, `IORING_OP_READ` with provided buffers, pools, the salvage of its descriptor. Does not know:
//! nodes, rings.
//!
//! ```text
//!              poll            completed
//!   Idle ─────────────▶ Asked ───────────▶ Finished
//!     ▲                   │ refused: no buffer; unknown to the kernel
//!     └── its turn ── Refused
//! ```
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::ops::Deref;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use super::buf::queue::Receiving;
use super::buf::{
    BufMut, BufPool, BufQueue, Bundle, Claim, Hungry, Lender, Pool, PoolBuf, QueueBuf, QueueBundle, ToFill,
};
use super::chain::{Chain, EntryFlags, Link, RingOperation};
use super::fd::salvage::{Place, Take};
use super::fd::{AnyFd, Fd, IntoFd};
use super::features::{self, Feature};
use super::op::Op;
use super::read::{CURRENT, position};
use super::received::poll_received;
use super::request::{Prepared, Request};
use crate::operation::Operation;
use crate::runtime::driver::Sqe;

/// `IORING_RECVSEND_POLL_FIRST`: wait for bytes before a buffer is asked for.
const POLL_FIRST: u16 = 1 << 0;
/// `IORING_RECV_MULTISHOT`.
const MULTISHOT: u16 = 1 << 1;
/// `IORING_RECVSEND_BUNDLE`: as many buffers as it takes.
pub(super) const BUNDLE: u16 = 1 << 4;

/// Where the kernel takes buffers from by itself: a [`BufPool`], or a [`BufQueue`] of buffers to fill. Sealed.
pub trait Provides {
    /// What one of its buffers is when the kernel has filled it.
    type Filled: OneFilled;

    #[doc(hidden)]
    fn lender(&self) -> &Arc<<Self::Filled as Filling>::Lender>;
}

impl Provides for BufPool {
    type Filled = PoolBuf;

    fn lender(&self) -> &Arc<Pool> {
        self.pool()
    }
}

impl<B: BufMut> Provides for BufQueue<B, ToFill> {
    type Filled = QueueBuf<B>;

    fn lender(&self) -> &Arc<Receiving<B>> {
        self.receiving()
    }
}

/// What a completion's buffers become: a [`PoolBuf`] or a [`Bundle`], a [`QueueBuf`] or a [`QueueBundle`]. Sealed.
pub trait Filled: Filling {}

impl<T: Filling> Filled for T {}

/// What an op asks of it.
pub trait Filling: Default + Unpin + fmt::Debug + 'static {
    /// Whose buffers they are.
    type Lender: Lender;
    /// As many of them as one completion fills.
    type Bundle: Filled + Filling<Lender = Self::Lender>;

    const BUNDLED: bool;

    fn claim(lender: &Arc<Self::Lender>, result: &io::Result<u32>, flags: u32) -> Claim<Self>;

    fn salvaged(bytes: Box<[u8]>) -> Self;

    /// The bytes in one piece, and their buffers back to their lender after that.
    fn with_bytes(self, keep: impl FnOnce(&[u8]));
}

/// One buffer that the kernel has filled: a [`PoolBuf`] or a [`QueueBuf`]. Sealed.
pub trait OneFilled: Filled + Deref<Target = [u8]> {
    /// `advance` and `truncate` of the types.
    #[doc(hidden)]
    fn leave_out(&mut self, count: usize);

    #[doc(hidden)]
    fn shorten(&mut self, len: usize);
}

impl OneFilled for PoolBuf {
    fn leave_out(&mut self, count: usize) {
        self.advance(count);
    }

    fn shorten(&mut self, len: usize) {
        self.truncate(len);
    }
}

impl<B: BufMut> OneFilled for QueueBuf<B> {
    fn leave_out(&mut self, count: usize) {
        self.advance(count);
    }

    fn shorten(&mut self, len: usize) {
        self.truncate(len);
    }
}

impl Filling for PoolBuf {
    type Lender = Pool;
    type Bundle = Bundle;

    const BUNDLED: bool = false;

    fn claim(pool: &Arc<Pool>, result: &io::Result<u32>, flags: u32) -> Claim<Self> {
        pool.claim_one(result, flags)
    }

    fn salvaged(bytes: Box<[u8]>) -> Self {
        Self::salvaged(bytes)
    }

    fn with_bytes(self, keep: impl FnOnce(&[u8])) {
        keep(&self);
    }
}

impl Filling for Bundle {
    type Lender = Pool;
    type Bundle = Self;

    const BUNDLED: bool = true;

    fn claim(pool: &Arc<Pool>, result: &io::Result<u32>, flags: u32) -> Claim<Self> {
        pool.claim_bundle(result, flags)
    }

    fn salvaged(bytes: Box<[u8]>) -> Self {
        PoolBuf::salvaged(bytes).into()
    }

    fn with_bytes(self, keep: impl FnOnce(&[u8])) {
        keep(&self.into_vec());
    }
}

impl<B: BufMut> Filling for QueueBuf<B> {
    type Lender = Receiving<B>;
    type Bundle = QueueBundle<B>;

    const BUNDLED: bool = false;

    fn claim(queue: &Arc<Receiving<B>>, result: &io::Result<u32>, flags: u32) -> Claim<Self> {
        queue.claim_one(result, flags)
    }

    fn salvaged(bytes: Box<[u8]>) -> Self {
        Self::salvaged(bytes)
    }

    fn with_bytes(self, keep: impl FnOnce(&[u8])) {
        keep(&self);
    }
}

impl<B: BufMut> Filling for QueueBundle<B> {
    type Lender = Receiving<B>;
    type Bundle = Self;

    const BUNDLED: bool = true;

    fn claim(queue: &Arc<Receiving<B>>, result: &io::Result<u32>, flags: u32) -> Claim<Self> {
        queue.claim_bundle(result, flags)
    }

    fn salvaged(bytes: Box<[u8]>) -> Self {
        Self::salvaged(bytes)
    }

    fn with_bytes(self, keep: impl FnOnce(&[u8])) {
        let mut all = Vec::with_capacity(self.len());
        self.for_each(|buf| all.extend_from_slice(&buf));
        keep(&all);
    }
}

/// Which call of the kernel it is: a receive or a read. Sealed.
pub trait Ask: Asking {}

impl<A: Asking> Ask for A {}

/// What distinguishes the calls.
pub trait Asking: Unpin + fmt::Debug + 'static {
    /// Whether it can be told to wait for bytes before it takes a buffer.
    const POLLS_FIRST: bool;
    /// Whether fewer bytes than there is room for break a chain.
    const SHORT_BREAKS: bool;

    /// Whether what it receives is gone from the descriptor, and was next in its order.
    fn consumes(&self) -> bool;

    /// An entry that has the kernel fill a buffer of a group with up to `len` bytes.
    fn entry(&self, number: types::Fd, group: u16, len: u32, flags: u16) -> Entry;

    /// What the kernel must have for `entry_multi`.
    const MULTISHOT: Feature;

    /// One that goes on completing.
    fn entry_multi(&self, number: types::Fd, group: u16, flags: u16) -> Entry;
}

/// A receive.
#[derive(Debug)]
pub struct AskRecv;

impl Asking for AskRecv {
    const POLLS_FIRST: bool = true;
    const SHORT_BREAKS: bool = false;

    fn consumes(&self) -> bool {
        true
    }

    fn entry(&self, number: types::Fd, group: u16, len: u32, flags: u16) -> Entry {
        let len = if flags & BUNDLE != 0 { 0 } else { len }; // of a bundle the limit for all of it: none
        opcode::Recv::new(number, ptr::null_mut(), len).buf_group(group).ioprio(flags).build()
    }

    const MULTISHOT: Feature = Feature::RecvMultishot;

    fn entry_multi(&self, number: types::Fd, group: u16, flags: u16) -> Entry {
        let flags = flags | MULTISHOT;
        opcode::Recv::new(number, ptr::null_mut(), 0).buf_group(group).ioprio(flags).build()
    }
}

/// A read.
#[derive(Debug)]
pub struct AskRead {
    offset: u64,
}

impl AskRead {
    /// At the current position.
    pub(super) fn current() -> Self {
        Self { offset: CURRENT }
    }
}

impl Asking for AskRead {
    const POLLS_FIRST: bool = false;
    const SHORT_BREAKS: bool = true;

    fn consumes(&self) -> bool {
        self.offset == CURRENT
    }

    fn entry(&self, number: types::Fd, group: u16, len: u32, _flags: u16) -> Entry {
        let entry = opcode::Read::new(number, ptr::null_mut(), len);
        entry.offset(self.offset).buf_group(group).build()
    }

    const MULTISHOT: Feature = Feature::ReadMultishot;

    fn entry_multi(&self, number: types::Fd, group: u16, _flags: u16) -> Entry {
        opcode::ReadMulti::new(number, 0, group).offset(self.offset).build()
    }
}

/// One attempt.
#[derive(Debug)]
struct Fill<A: Ask, F: AnyFd, T: Filled> {
    ask: A,
    fd: F,
    hungry: Hungry<T::Lender>,
    /// `POLL_FIRST`, `BUNDLE`.
    flags: u16,
    /// It was refused a buffer before it had waited for bytes.
    polled: bool,
    /// It was refused a bundle: if it is not refused without, the kernel lacks that.
    doubted: bool,
    /// The file that was there when it began.
    tenant: F::Tenant,
    /// What came.
    got: Claim<T>,
    /// Where the bytes stood that an earlier op had left.
    taken: Option<Place>,
}

/// How an attempt ended.
enum Outcome<A: Ask, F: AnyFd, T: Filled> {
    Done(io::Result<T>),
    /// There was no buffer.
    Starved(Fill<A, F, T>),
    /// Perhaps the kernel does not know bundles.
    Refused(Fill<A, F, T>, io::Error),
}

// SAFETY: (I1) the entry points to nothing: it names the lender's group, whose buffers the lender owns, and the request holds
// the lender; the descriptor is held.
unsafe impl<A: Ask, F: AnyFd, T: Filled> Request for Fill<A, F, T> {
    type Output = Outcome<A, F, T>;

    const REPEATABLE: bool = true;

    /// A buffer is booked when the completion comes: the ledger follows the kernel's order.
    const NOTES_LAST: bool = true;

    #[inline]
    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.fd.is_elsewhere() || self.lender().is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        self.tenant = self.fd.tenant();
        if !self.ask.consumes() || !self.fd.left_behind().concerns_reads() {
            return Poll::Ready(Prepared::Submit);
        }
        self.prepare_received(cx)
    }

    fn sqe(&mut self) -> Sqe {
        if T::BUNDLED && !self.doubted && Feature::RecvBundle.may_be_there() {
            self.flags |= BUNDLE;
        }
        let (group, most) = (self.lender().group(), self.lender().most());
        let entry = self.ask.entry(self.fd.number(), group, most, self.flags);
        let entry = self.fd.address(entry).flags(Flags::BUFFER_SELECT);
        if self.flags & BUNDLE != 0 { Feature::RecvBundle.entry(entry) } else { entry }
    }

    fn orphaned(&mut self) {
        if self.ask.consumes() {
            self.fd.left_behind().read_orphaned();
        }
    }

    fn last(&mut self, result: io::Result<u32>, flags: u32) {
        self.got = T::claim(self.lender(), &result, flags);
    }

    fn finish(mut self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        let got = mem::replace(&mut self.got, Claim::Nothing);
        if self.doubted && result.is_ok() {
            Feature::RecvBundle.is_missing();
        }
        let done = match result {
            Ok(0) => Ok(T::default()),
            Ok(_) => match got {
                Claim::Got(filled) => Ok(filled),
                Claim::Nothing | Claim::Disowned => Err(Claim::<T>::disowned()),
            },
            Err(error) if self.flags & BUNDLE != 0 && features::may_be_lacking(&error) => {
                return Outcome::Refused(self, error);
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOBUFS) => return Outcome::Starved(self),
                Some(libc::EBADF) if self.lender().is_elsewhere() => Err(T::Lender::elsewhere()),
                _ => self.fd.explain(Err(error)),
            },
        };
        Outcome::Done(done)
    }

    fn abandon(self, _result: io::Result<u32>, _flags: u32, orphaned: bool) {
        let Self { ask, fd, tenant, got, taken, .. } = self;
        if !ask.consumes() {
            return;
        }
        match got {
            Claim::Got(filled) => filled.with_bytes(|bytes| fd.abandon_read(tenant, bytes, orphaned, taken)),
            Claim::Nothing | Claim::Disowned => fd.abandon_read(tenant, &[], orphaned, taken),
        }
    }
}

impl<A: Ask, F: AnyFd, T: Filled> Fill<A, F, T> {
    fn lender(&self) -> &Arc<T::Lender> {
        self.hungry.lender()
    }

    #[cold]
    fn prepare_received(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        let asked = self.lender().most() as usize;
        let Some((place, bytes)) = ready!(poll_received(&self.fd, cx, Take::Consume, asked)) else {
            return Poll::Ready(Prepared::Submit);
        };
        let n = bytes.len();
        self.got = Claim::Got(T::salvaged(bytes));
        self.taken = Some(place);
        let short = A::SHORT_BREAKS && n < asked;
        Poll::Ready(if short { Prepared::AnswerShort(n as i32) } else { Prepared::Answer(n as i32) })
    }
}

/// The future of [`recv_pooled`] and [`read_pooled`].
#[must_use = "an op does nothing until it is awaited"]
pub struct Pooled<A: Ask, F: AnyFd, T: Filled> {
    stage: Stage<A, F, T>,
    entry_flags: EntryFlags,
    chained: bool,
    cancelled: bool,
}

/// The future of [`recv_pooled`].
pub type RecvPooled<F = Fd, T = PoolBuf> = Pooled<AskRecv, F, T>;

/// The future of [`read_pooled`].
pub type ReadPooled<F = Fd, T = PoolBuf> = Pooled<AskRead, F, T>;

enum Stage<A: Ask, F: AnyFd, T: Filled> {
    /// Idle and Asked.
    Op(Op<Fill<A, F, T>>),
    Refused(Fill<A, F, T>),
    Finished,
}

impl<A: Ask, F: AnyFd, T: Filled> Pooled<A, F, T> {
    fn new(ask: A, fd: F, lender: &Arc<T::Lender>) -> Self {
        let fill = Fill {
            ask,
            fd,
            hungry: Hungry::new(lender),
            flags: 0,
            polled: false,
            doubted: false,
            tenant: Default::default(),
            got: Claim::Nothing,
            taken: None,
        };
        Self {
            stage: Stage::Op(Op::new(fill)),
            entry_flags: EntryFlags::default(),
            chained: false,
            cancelled: false,
        }
    }

    /// The same attempt once more.
    fn ask_again(&mut self, fill: Fill<A, F, T>) {
        let mut op = Op::new(fill);
        Pin::new(&mut op).add_flags(self.entry_flags);
        self.stage = Stage::Op(op);
    }

    fn finish(&mut self, outcome: io::Result<T>) -> Poll<io::Result<T>> {
        self.stage = Stage::Finished;
        Poll::Ready(outcome)
    }
}

impl<A: Ask, F: AnyFd, T: Filled> Unpin for Pooled<A, F, T> {}

impl<A: Ask, F: AnyFd, T: Filled> Future for Pooled<A, F, T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match &mut this.stage {
                Stage::Op(op) => match ready!(Pin::new(op).poll(cx)) {
                    Outcome::Done(outcome) => return this.finish(outcome),
                    Outcome::Refused(_, error) if this.chained => return this.finish(Err(error)),
                    Outcome::Refused(mut fill, _) => {
                        fill.flags &= !BUNDLE; // if it was not that, the kernel says so again
                        fill.doubted = true;
                        this.ask_again(fill);
                    }
                    Outcome::Starved(_) if this.chained => {
                        return this.finish(Err(io::Error::from_raw_os_error(libc::ENOBUFS)));
                    }
                    Outcome::Starved(_) if this.cancelled => {
                        return this.finish(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
                    }
                    Outcome::Starved(mut fill) if A::POLLS_FIRST && !fill.polled => {
                        fill.polled = true; // there may be no bytes to have a buffer for
                        fill.flags |= POLL_FIRST;
                        this.ask_again(fill);
                    }
                    Outcome::Starved(mut fill) => {
                        fill.flags &= !POLL_FIRST; // there are
                        this.stage = Stage::Refused(fill);
                    }
                },
                Stage::Refused(fill) => {
                    if this.cancelled {
                        return this.finish(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
                    }
                    ready!(fill.hungry.poll(cx));
                    if let Stage::Refused(fill) = mem::replace(&mut this.stage, Stage::Finished) {
                        this.ask_again(fill);
                    }
                }
                Stage::Finished => panic!("an op was polled after it had resolved"),
            }
        }
    }
}

impl<A: Ask, F: AnyFd, T: Filled> Operation for Pooled<A, F, T> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.cancelled = true;
        if let Stage::Op(op) = &mut self.stage {
            Pin::new(op).request_cancel();
        }
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Op(op) = &mut self.stage {
            ready!(Pin::new(op).poll_discard(cx));
        }
        self.stage = Stage::Finished;
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        matches!(&self.stage, Stage::Op(op) if op.may_resolve())
    }

    fn waits(&self) -> bool {
        matches!(&self.stage, Stage::Op(op) if op.waits())
    }

    fn is_inert(&self) -> bool {
        !matches!(&self.stage, Stage::Op(op) if !op.is_inert())
    }
}

impl<A: Ask, F: AnyFd, T: Filled> RingOperation for Pooled<A, F, T> {
    fn entries(&self) -> usize {
        if let Stage::Op(op) = &self.stage { op.entries() } else { 0 }
    }

    fn poll_prepare(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Op(op) = &mut self.stage { Pin::new(op).poll_prepare(cx) } else { Poll::Ready(()) }
    }

    fn stage(mut self: Pin<&mut Self>, chain: &mut Chain<'_>, tail: Option<Link>) {
        self.chained = true;
        if let Stage::Op(op) = &mut self.stage {
            Pin::new(op).stage(chain, tail);
        }
    }

    fn poll_ended(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Op(op) = &mut self.stage { Pin::new(op).poll_ended(cx) } else { Poll::Ready(()) }
    }

    fn refuse(mut self: Pin<&mut Self>, error: &dyn Fn() -> io::Error) {
        self.chained = true;
        if let Stage::Op(op) = &mut self.stage {
            Pin::new(op).refuse(error);
        }
    }

    fn add_flags(mut self: Pin<&mut Self>, flags: EntryFlags) {
        self.entry_flags = self.entry_flags.with(flags);
        if let Stage::Op(op) = &mut self.stage {
            Pin::new(op).add_flags(flags);
        }
    }

    fn drains(self: Pin<&mut Self>) -> bool {
        self.entry_flags.drains()
    }
}

impl<A: Ask, F: AnyFd, T: Filled> fmt::Debug for Pooled<A, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Pooled");
        match &self.stage {
            Stage::Op(op) => debug.field("op", op),
            Stage::Refused(fill) => debug.field("refused", fill),
            Stage::Finished => &mut debug,
        }
        .finish_non_exhaustive()
    }
}

/// Receives from a socket into a buffer of a pool, or of a queue.
///
/// The kernel takes the buffer when bytes are there, so while it waits it holds none. It resolves to what came, at most one
/// buffer full; to an empty [`PoolBuf`], which holds no buffer, at the end of a stream or for an empty datagram. Of a
/// datagram longer than a buffer the rest is lost. From a [`BufQueue`] of buffers to fill, all of this is a [`QueueBuf`].
///
/// When the pool has no buffer left, it waits until one comes back, in line with whoever else waits; the bytes stay in the
/// socket.
///
/// # Kernel
///
/// `IORING_OP_RECV` with `IOSQE_BUFFER_SELECT`, Linux 5.19. One entry, one completion; with an empty pool one more of each
/// (`IORING_RECVSEND_POLL_FIRST`), and again one for each turn.
///
/// # Errors
///
/// What `recv(2)` returns, but `ENOBUFS` only in a chain, where there is no waiting; `ECANCELED` when it was cancelled;
/// `InvalidInput` when the pool is another runtime's.
///
/// # Cancel safety
///
/// As [`recv`](super::recv()): what it had received all the same waits on the descriptor for the next receive or read, and
/// the buffer goes back to the pool. Such bytes arrive in a [`PoolBuf`] that holds no buffer.
///
/// # Cost
///
/// Beside [`recv`](super::recv()) two short locks, and a counted hold on the pool.
///
/// # Examples
///
/// See [`BufPool`] and [`PoolBuf`].
pub fn recv_pooled<F: IntoFd, P: Provides>(fd: F, pool: &P) -> RecvPooled<F::Fd, P::Filled> {
    Pooled::new(AskRecv, fd.into_fd(), pool.lender())
}

impl<F: AnyFd, T: Filled> RecvPooled<F, T> {
    /// Takes as many buffers at once as the bytes that are there fill: see [`Bundle`].
    ///
    /// For streams. Needs Linux 6.10; before, a bundle has one buffer.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    /// use millstream::ops::{self, BufPool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let pool = BufPool::new(8, 4)?;
    /// let (a, b) = UnixStream::pair()?;
    /// let (a, b) = (ops::Fd::from(a), ops::Fd::from(b));
    /// ops::send_all(&a, "ten bytes.").await.0?;
    /// drop(a);
    /// let mut all = Vec::new();
    /// loop {
    ///     let bundle = ops::recv_pooled(&b, &pool).bundled().await?;
    ///     if bundle.is_empty() {
    ///         break;
    ///     }
    ///     all.extend(bundle.map(|buf| buf.len())); // 4, 4, 2 in one bundle
    /// }
    /// assert_eq!(all.iter().sum::<usize>(), 10);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn bundled(self) -> RecvPooled<F, T::Bundle> {
        let Self { stage: Stage::Op(op), entry_flags, .. } = self else { too_late() };
        let Fill { ask, fd, hungry, .. } = op.into_request();
        let mut bundled = Pooled::new(ask, fd, hungry.lender());
        Pin::new(&mut bundled).add_flags(entry_flags);
        bundled
    }
}

#[cold]
fn too_late() -> ! {
    panic!("an op's options are set before it is first polled")
}

/// Reads from a descriptor into a buffer of a pool.
///
/// As [`recv_pooled`] for whatever can be read: pipes, files, terminals. Resolves to what came, at most one buffer full, and
/// to an empty [`PoolBuf`] at the end. Without `at` it reads at the current position and advances it.
///
/// # Kernel
///
/// `IORING_OP_READ` with `IOSQE_BUFFER_SELECT`, Linux 5.19. One entry, one completion; with an empty pool again one for each
/// turn. Of a file the kernel takes the buffer before it begins to read.
///
/// # Errors
///
/// What `read(2)` returns; else as [`recv_pooled`].
///
/// # Cancel safety
///
/// As [`read`](super::read()), and the buffer goes back to the pool.
///
/// # Examples
///
/// ```
/// use std::fs::File;
/// use millstream::ops::{self, BufPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let pool = BufPool::new(2, 11)?;
/// let file = ops::Fd::from(File::open("Cargo.toml")?);
/// assert_eq!(&ops::read_pooled(&file, &pool).at(0).await?[..], b"[workspace]");
/// # Ok(())
/// # })
/// # }
/// ```
pub fn read_pooled<F: IntoFd, P: Provides>(fd: F, pool: &P) -> ReadPooled<F::Fd, P::Filled> {
    Pooled::new(AskRead::current(), fd.into_fd(), pool.lender())
}

impl<F: AnyFd, T: Filled> ReadPooled<F, T> {
    /// Reads at `offset` in the file, and leaves its position alone; see [`Op::at`](super::read()).
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn at(mut self, offset: u64) -> Self {
        let Stage::Op(op) = &mut self.stage else { too_late() };
        op.request_mut().ask.offset = position(offset);
        self
    }
}
