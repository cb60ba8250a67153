//! What the kernel has filled of one buffer, as its owner sees it.
//!
//! Knows: the pool it goes back to. Does not know: rings, ops.
#![allow(unsafe_code, reason = "memory that the kernel has filled, reached by pointer")]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use super::super::{Buf, Visible};
use super::ledger::Part;
use super::{Lender, Pool};

/// Bytes that the kernel has put into a buffer of a [`BufPool`](super::BufPool).
///
/// It is as long as what the kernel wrote, and shows nothing else of the buffer, so nothing of what was in it before.
/// Dropped, on whatever thread, it gives the buffer back to the pool, and an op that waits for one goes on; but a
/// buffer of an [incremental](super::BufPoolBuilder::incremental) pool goes back when the last part of it does. It may
/// outlive its pool's handles and the runtime.
///
/// It is a buffer that can be sent or written as it is, and comes back with the result.
///
/// # Examples
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use millstream::ops::{self, BufPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let pool = BufPool::new(4, 4096)?;
/// let (a, b) = UnixStream::pair()?;
/// let (a, b) = (ops::Fd::from(a), ops::Fd::from(b));
/// ops::send_all(&a, "head:body").await.0?;
/// let mut got = ops::recv_pooled(&b, &pool).await?;
/// got.advance(5);
/// got.make_ascii_uppercase();
/// let (n, got) = ops::send(&b, got).await; // without a copy
/// assert_eq!((n?, &got[..], pool.available()), (4, &b"BODY"[..], 3));
/// drop(got);
/// assert_eq!(pool.available(), 4);
/// # Ok(())
/// # })
/// # }
/// ```
pub struct PoolBuf {
    start: NonNull<u8>,
    len: usize,
    owner: Owner,
}

enum Owner {
    /// A part of this buffer of the pool.
    Pool(Arc<Pool>, u16),
    /// Bytes that were received before anybody asked for them, in memory of their own: once a `Box`.
    Heap(NonNull<[u8]>),
}

// SAFETY: (local) the bytes are its own, as a box's are; the pool it goes back to can be reached from any thread.
unsafe impl Send for PoolBuf {}
// SAFETY: (local) as above: through a shared reference the bytes are only read.
unsafe impl Sync for PoolBuf {}

impl PoolBuf {
    /// The part that a completion has named, and the ledger has booked.
    pub(crate) fn of(pool: Arc<Pool>, part: Part) -> Self {
        // SAFETY: (local) the ledger's parts lie within their buffers.
        let start = unsafe { pool.memory().buffer(part.buffer).add(part.start as usize) };
        Self { start, len: part.len as usize, owner: Owner::Pool(pool, part.buffer) }
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
        // SAFETY: (local) within the part, or at its end.
        self.start = unsafe { self.start.add(count) };
        self.len -= count;
    }

    /// Leaves out all but the first `len` bytes from now on. Without effect if there are no more.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Default for PoolBuf {
    /// No bytes, of no pool.
    fn default() -> Self {
        Self::salvaged(Box::default())
    }
}

impl Drop for PoolBuf {
    fn drop(&mut self) {
        match &self.owner {
            Owner::Pool(pool, buffer) => pool.give_back(*buffer, 1),
            // SAFETY: (local) made by `salvaged` of a box, which is dropped once, here.
            Owner::Heap(all) => drop(unsafe { Box::from_raw(all.as_ptr()) }),
        }
    }
}

impl Deref for PoolBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: (I1) these bytes were written by the kernel, which has named them in a completion, and are part of
        // nothing else until this value is dropped.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for PoolBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: (I1) as in `deref`; borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for PoolBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for PoolBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for PoolBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buffer = match &self.owner {
            Owner::Pool(_, buffer) => Some(buffer),
            Owner::Heap(_) => None,
        };
        f.debug_struct("PoolBuf").field("len", &self.len).field("buffer", &buffer).finish()
    }
}

// SAFETY: (I1) the bytes are memory of a pool that lives as long as this value does, or a box's, and do not move with it.
unsafe impl Buf for PoolBuf {
    fn stable_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    fn init_len(&self) -> usize {
        self.len
    }
}

// SAFETY: (I1) nobody else has these bytes.
unsafe impl Visible for PoolBuf {}
