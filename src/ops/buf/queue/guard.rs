//! A queue's buffer that the kernel has filled.
//!
//! Knows: the queue it goes back to. Does not know: rings, ops.
#![allow(unsafe_code, reason = "memory that the kernel has filled, reached by pointer")]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use super::super::pool::ledger::Part;
use super::super::{Buf, BufMut, Lender, Visible};
use super::receiving::Receiving;

/// A buffer of a [`BufQueue`](super::BufQueue), with what the kernel has put into it.
///
/// It shows what was received, and nothing else of the buffer. [`into_buffer`](Self::into_buffer) takes the buffer itself out,
/// for good; dropped, on whatever thread, it puts it back, at the end of the queue. It can be sent or written as it is.
///
/// # Examples
///
/// See [`BufQueue`](super::BufQueue).
pub struct QueueBuf<B: 'static> {
    start: NonNull<u8>,
    len: usize,
    owner: Owner<B>,
}

enum Owner<B: 'static> {
    /// The buffer in this place.
    Queue(Arc<Receiving<B>>, u16),
    /// Bytes that were received before anybody asked for them, in memory of their own: once a `Box`.
    Heap(NonNull<[u8]>),
}

// SAFETY: (local) the bytes are its own, and so is the buffer they are in, which may be on any thread.
unsafe impl<B: Send> Send for QueueBuf<B> {}
// SAFETY: (local) as above: through a shared reference the bytes are only read, and the buffer is not reached.
unsafe impl<B: Send> Sync for QueueBuf<B> {}

impl<B> QueueBuf<B> {
    /// What a completion has named, and the books have noted.
    pub(super) fn of(queue: Arc<Receiving<B>>, part: Part) -> Self {
        let start = queue.start(part.buffer);
        Self { start, len: part.len as usize, owner: Owner::Queue(queue, part.buffer) }
    }

    /// Bytes that an earlier op had left.
    pub(crate) fn salvaged(bytes: Box<[u8]>) -> Self {
        let len = bytes.len();
        let all = NonNull::from(Box::leak(bytes));
        Self { start: all.cast(), len, owner: Owner::Heap(all) }
    }

    /// Leaves out the first `count` bytes from now on.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len, "cannot advance by {count} in {} bytes", self.len);
        // SAFETY: (local) within what was received, or at its end.
        self.start = unsafe { self.start.add(count) };
        self.len -= count;
    }

    /// Leaves out all but the first `len` bytes from now on. Without effect if there are no more.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The buffer, which has left the queue, and begins with the bytes that are seen here; of a `Vec` the length is theirs.
    ///
    /// They are moved there if something was [left out](Self::advance) before them, as it is of every message of
    /// [`recvmsg_multishot`](crate::ops::recvmsg_multishot()).
    ///
    /// `None` if there is none: at the end of a stream, and for bytes that an op which was dropped had received and left on
    /// the descriptor. Those are in memory of their own, so look at them first.
    pub fn into_buffer(self) -> Option<B>
    where
        B: BufMut,
    {
        let Self { start, len, owner } = &*ManuallyDrop::new(self);
        match owner {
            Owner::Queue(queue, place) => {
                // SAFETY: (local) moved out of a value that is not dropped.
                let queue = unsafe { ptr::read(queue) };
                let first = queue.start(*place);
                if first != *start {
                    // SAFETY: (I1) both are of this buffer, which is the caller's.
                    unsafe { ptr::copy(start.as_ptr(), first.as_ptr(), *len) };
                }
                // SAFETY: (I1) a completion has named the buffer, so the kernel has let go of it; it is taken once, because this
                // value is gone.
                let mut buf = unsafe { queue.slots().take(*place) };
                // SAFETY: (I1) so many bytes of it, from the start, were written by the kernel or moved there just now.
                unsafe { buf.set_filled(*len) };
                Some(buf)
            }
            Owner::Heap(all) => {
                // SAFETY: (local) made by `salvaged` of a box, which is dropped once, here.
                drop(unsafe { Box::from_raw(all.as_ptr()) });
                None
            }
        }
    }
}

impl<B> Default for QueueBuf<B> {
    /// No bytes, in no buffer.
    fn default() -> Self {
        Self::salvaged(Box::default())
    }
}

impl<B> Drop for QueueBuf<B> {
    fn drop(&mut self) {
        match &self.owner {
            Owner::Queue(queue, place) => queue.give_back(*place, 1),
            // SAFETY: (local) made by `salvaged` of a box, which is dropped once, here.
            Owner::Heap(all) => drop(unsafe { Box::from_raw(all.as_ptr()) }),
        }
    }
}

impl<B> Deref for QueueBuf<B> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: (I1) these bytes were written by the kernel, which has named them in a completion; nobody else reaches the
        // buffer until this value is gone.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<B> DerefMut for QueueBuf<B> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: (I1) as in `deref`; borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<B> AsRef<[u8]> for QueueBuf<B> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<B> fmt::Debug for QueueBuf<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_buffer = matches!(self.owner, Owner::Queue(..));
        f.debug_struct("QueueBuf").field("len", &self.len).field("has_buffer", &has_buffer).finish()
    }
}

// SAFETY: (I1) the bytes are memory of a buffer that stays in its place as long as this value lives, or a box's, and do not move
// with it.
unsafe impl<B> Buf for QueueBuf<B> {
    fn stable_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    fn init_len(&self) -> usize {
        self.len
    }
}

// SAFETY: (I1) nobody else has these bytes.
unsafe impl<B> Visible for QueueBuf<B> {}
