//! Registered buffers of one size that come back by themselves.
//!
//! Knows: parts of one region, who waits for one. Does not know: tables, entries.
//!
//! ```text
//!   free: ■ ■ ■          promised: how many of them are those of waiters that were woken and have not looked yet
//!         │ └─ take ──▶ FixedPoolBuf ── dropped, on any thread ──▶ free, and the oldest waiter is woken
//!         └─ promised to a waiter: it takes it at its next poll, or passes it on when it is dropped
//! ```
#![allow(unsafe_code, reason = "implements the unsafe buffer traits by those of a part")]

use std::alloc::Layout;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::super::{Buf, BufMut, Visible};
use super::error::PAGE;
use super::table::MAX_BYTES;
use super::{BufferTable, FixedBuf, Memory, RegisterError, RegisterErrorKind};
use crate::operation::Operation;
use crate::util::contain::contain;

/// Registered buffers of one size, to be taken and to come back by themselves.
///
/// All of them are parts of one region in one slot of a [`BufferTable`], aligned to pages if their size is a multiple of
/// one. [`take`](Self::take) waits, in order of arrival, until one is free; a [`FixedPoolBuf`] goes back when it is dropped, on
/// whatever thread and also by an op that was dropped in flight, when the kernel has let go of it. Clones are the same pool.
/// The memory leaves the table when the pool and all its buffers are gone.
///
/// # Examples
///
/// ```
/// use millstream::ops::{self, BufferTable, FixedPool, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let pool = FixedPool::new(&BufferTable::new(1)?, 2, 4096)?;
/// let file = ops::open("Cargo.toml").await?;
/// for block in 0..8 {
///     let buf = pool.take().await?;
///     let (n, buf) = ops::read(&file, buf).at(block * 4096).await.into_result()?;
///     assert_eq!(n, buf.len());
///     if n < 4096 {
///         break;
///     }
/// } // each goes back at the end of its turn
/// assert_eq!(pool.available(), 2);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct FixedPool(Arc<Shared>);

struct Shared {
    size: usize,
    count: usize,
    state: Mutex<State>,
}

struct State {
    free: Vec<FixedBuf>,
    promised: usize,
    /// In order of arrival, which is the order of the numbers.
    waiting: VecDeque<(u64, Waker)>,
    next: u64,
    /// The fewest that were ever free.
    lowest: usize,
}

impl FixedPool {
    /// A pool of `count` buffers of `size` bytes each, in one slot of the table.
    ///
    /// # Errors
    ///
    /// As [`BufferTable::register`]. The memory that comes with the error is what was made for the pool.
    pub fn new(table: &BufferTable, count: usize, size: usize) -> Result<Self, RegisterError> {
        let refuse = |kind| RegisterError::new(kind, Memory::from(Vec::new()));
        // Before anything is allocated.
        let bytes = count.checked_mul(size).filter(|&bytes| bytes <= MAX_BYTES);
        let layout = bytes.and_then(|bytes| Layout::from_size_align(bytes, PAGE).ok());
        let layout = layout.ok_or_else(|| refuse(RegisterErrorKind::TooLong))?;
        let memory = Memory::zeroed(layout).ok_or_else(|| refuse(RegisterErrorKind::Kernel(libc::ENOMEM)))?;
        let mut rest = table.register(memory)?;
        let mut free = Vec::with_capacity(count);
        for _ in 1..count {
            let (mut part, next) = rest.split_at(size);
            part.clear();
            free.push(part);
            rest = next;
        }
        rest.clear();
        free.push(rest);
        let state = State { free, promised: 0, waiting: VecDeque::new(), next: 0, lowest: count };
        Ok(Self(Arc::new(Shared { size, count, state: Mutex::new(state) })))
    }

    /// Takes a buffer, as soon as one is free. It is empty.
    ///
    /// # Errors
    ///
    /// `ECANCELED` when it was asked to stop.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it loses its place in the line, and a buffer that was promised to it is the next one's.
    pub fn take(&self) -> TakeFixed {
        TakeFixed { pool: Arc::clone(&self.0), stage: Stage::New }
    }

    /// Takes a buffer, if one is free that nobody waits for.
    pub fn try_take(&self) -> Option<FixedPoolBuf> {
        let part = self.0.state().take_free()?;
        Some(FixedPoolBuf::new(part, &self.0))
    }

    /// How many buffers it has.
    pub fn capacity(&self) -> usize {
        self.0.count
    }

    /// How many bytes a buffer has room for.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// How many buffers are free.
    pub fn available(&self) -> usize {
        self.0.state().free.len()
    }

    /// The fewest buffers that were ever free: 0 says that the pool was used up.
    pub fn lowest(&self) -> usize {
        self.0.state().lowest
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // no step under it can be left half done
    }

    fn put(&self, part: FixedBuf) {
        let waker = {
            let mut state = self.state();
            state.free.push(part);
            state.promise()
        };
        wake(waker);
    }
}

impl State {
    /// Whether there is one that is not promised.
    fn has_free(&self) -> bool {
        self.free.len() > self.promised
    }

    /// One that is not promised.
    fn take_free(&mut self) -> Option<FixedBuf> {
        let part = if self.has_free() { self.free.pop() } else { None };
        self.lowest = self.lowest.min(self.free.len());
        part
    }

    /// Promises what is free to the waiter who came first: whom to wake, once the lock is given back (I7).
    fn promise(&mut self) -> Option<Waker> {
        if self.free.len() == self.promised {
            return None;
        }
        let (_, waker) = self.waiting.pop_front()?;
        self.promised += 1;
        Some(waker)
    }

    fn place(&self, number: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&number, |(number, _)| *number).ok()
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        contain(|| waker.wake()); // the drop of a buffer must not panic for it (I7)
    }
}

/// Waits for a buffer of a [`FixedPool`]: see [`FixedPool::take`].
#[must_use = "it does nothing until it is awaited"]
pub struct TakeFixed {
    pool: Arc<Shared>,
    stage: Stage,
}

/// ```text
///   New ── one is free ─────────────────────────────────┐
///    └── none is ──▶ Waiting(number) ── promised one ──▶ Ended
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    /// Its number in the line. One that is not in the line any more was promised a buffer.
    Waiting(u64),
    Ended,
    Cancelled,
}

impl TakeFixed {
    /// Leaves the line, with its waker. What was promised is the next one's.
    fn leave(&mut self) -> Option<Waker> {
        let Stage::Waiting(number) = mem::replace(&mut self.stage, Stage::Ended) else { return None };
        let mut state = self.pool.state();
        let (left, woken) = match state.place(number) {
            Some(at) => (state.waiting.remove(at), None),
            None => {
                state.promised -= 1;
                (None, state.promise())
            }
        };
        drop(state);
        wake(woken);
        left.map(|(_, waker)| waker)
    }
}

impl Future for TakeFixed {
    type Output = io::Result<FixedPoolBuf>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut waker = Some(cx.waker().clone()); // cloned and dropped outside of the lock (I7)
        let mut state = this.pool.state();
        let part = match this.stage {
            Stage::New => match state.take_free() {
                Some(part) => part,
                None => {
                    let number = state.next;
                    state.next += 1;
                    state.waiting.extend(waker.map(|waker| (number, waker)));
                    this.stage = Stage::Waiting(number);
                    return Poll::Pending;
                }
            },
            Stage::Waiting(number) => match state.place(number) {
                Some(at) => {
                    if let Some(new) = &mut waker {
                        mem::swap(&mut state.waiting[at].1, new);
                    }
                    drop(state);
                    return Poll::Pending;
                }
                None => {
                    state.promised -= 1;
                    state.take_free().expect("it was promised")
                }
            },
            Stage::Cancelled => {
                drop(state);
                this.stage = Stage::Ended;
                return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
            }
            Stage::Ended => {
                drop(state);
                panic!("a wait for a pooled buffer was polled after it had resolved")
            }
        };
        drop(state);
        this.stage = Stage::Ended;
        Poll::Ready(Ok(FixedPoolBuf::new(part, &this.pool)))
    }
}

impl Operation for TakeFixed {
    fn request_cancel(mut self: Pin<&mut Self>) {
        if self.stage != Stage::Ended {
            let waker = self.leave();
            self.stage = Stage::Cancelled;
            wake(waker);
        }
    }

    fn poll_discard(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        drop(self.leave());
        self.stage = Stage::Ended;
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        match self.stage {
            Stage::New => self.pool.state().has_free(),
            _ => !self.waits(),
        }
    }

    fn waits(&self) -> bool {
        matches!(self.stage, Stage::Waiting(number) if self.pool.state().place(number).is_some())
    }

    fn is_inert(&self) -> bool {
        true // its drop does all that a discard does
    }
}

impl Drop for TakeFixed {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

impl fmt::Debug for TakeFixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakeFixed").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl fmt::Debug for FixedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedPool")
            .field("size", &self.0.size)
            .field("capacity", &self.0.count)
            .field("available", &self.available())
            .finish()
    }
}

/// A buffer of a [`FixedPool`], which goes back when this is dropped.
///
/// Ops take it like a [`FixedBuf`]. It may be dropped on any thread, and may outlive its runtime.
pub struct FixedPoolBuf {
    /// Taken by the drop.
    part: Option<FixedBuf>,
    pool: Arc<Shared>,
}

impl FixedPoolBuf {
    fn new(part: FixedBuf, pool: &Arc<Shared>) -> Self {
        Self { part: Some(part), pool: Arc::clone(pool) }
    }

    #[inline]
    fn part(&self) -> &FixedBuf {
        self.part.as_ref().expect("taken only by the drop")
    }

    #[inline]
    fn part_mut(&mut self) -> &mut FixedBuf {
        self.part.as_mut().expect("taken only by the drop")
    }

    /// How many bytes there is room for.
    pub fn capacity(&self) -> usize {
        self.part().capacity()
    }

    /// Forgets the contents.
    pub fn clear(&mut self) {
        self.part_mut().clear();
    }

    /// Shortens the contents to `len`, if they are longer.
    pub fn truncate(&mut self, len: usize) {
        self.part_mut().truncate(len);
    }

    /// Gives the contents this length: shorter, or longer by so many `value`s.
    ///
    /// # Panics
    ///
    /// When there is no room.
    pub fn resize(&mut self, len: usize, value: u8) {
        self.part_mut().resize(len, value);
    }

    /// Puts bytes behind the contents.
    ///
    /// # Panics
    ///
    /// When there is no room for all of them. [`io::Write`] takes what fits.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.part_mut().extend_from_slice(bytes);
    }
}

impl Drop for FixedPoolBuf {
    fn drop(&mut self) {
        if let Some(mut part) = self.part.take() {
            part.clear(); // whoever takes it next sees nothing of this
            self.pool.put(part);
        }
    }
}

// SAFETY: (local) the part's own promises; it stays in its place while the value does.
unsafe impl Buf for FixedPoolBuf {
    #[inline]
    fn stable_ptr(&self) -> *const u8 {
        self.part().stable_ptr()
    }

    #[inline]
    fn init_len(&self) -> usize {
        self.part().init_len()
    }

    #[inline]
    fn capacity(&self) -> usize {
        self.part().capacity()
    }

    #[inline]
    fn registered(&self) -> Option<u16> {
        self.part().registered()
    }
}

// SAFETY: (local) as above.
unsafe impl Visible for FixedPoolBuf {}

// SAFETY: (local) as above.
unsafe impl BufMut for FixedPoolBuf {
    #[inline]
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.part_mut().stable_mut_ptr()
    }

    #[inline]
    unsafe fn set_filled(&mut self, len: usize) {
        // SAFETY: (local) by this function's contract.
        unsafe { self.part_mut().set_filled(len) };
    }
}

impl Deref for FixedPoolBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.part()
    }
}

impl DerefMut for FixedPoolBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.part_mut()
    }
}

impl io::Write for FixedPoolBuf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for FixedPoolBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FixedPoolBuf").field(self.part()).finish()
    }
}
