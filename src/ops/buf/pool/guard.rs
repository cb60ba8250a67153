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
    owner: Owner,
}

/// Whose the bytes are, and how many.
enum Owner {
    /// A part of a buffer of the pool.
    Pool { buffer: u16, len: u32, pool: Arc<Pool> },
    /// Bytes that were received before anybody asked for them, in memory of their own; `None` of none.
    Own {
        len: u32,
        #[allow(dead_code, reason = "reached by `start`; here it is dropped")]
        bytes: Option<Box<Box<[u8]>>>,
    },
}

// It is handed on many times between the completion that names it and the op that sends it, and lies in the nodes of both.
const _: () = assert!(size_of::<PoolBuf>() <= 24);

// SAFETY: (local) the bytes are its own, as a box's are; the pool it goes back to can be reached from any thread.
unsafe impl Send for PoolBuf {}
// SAFETY: (local) as above: through a shared reference the bytes are only read.
unsafe impl Sync for PoolBuf {}

impl PoolBuf {
    /// The part that a completion has named, and the ledger has booked.
    pub(crate) fn of(pool: Arc<Pool>, part: Part) -> Self {
        // SAFETY: (local) the ledger's parts lie within their buffers.
        let start = unsafe { pool.memory().buffer(part.buffer).add(part.start as usize) };
        Self { start, owner: Owner::Pool { buffer: part.buffer, len: part.len, pool } }
    }

    /// Bytes that an earlier op had left.
    pub(crate) fn salvaged(bytes: Box<[u8]>) -> Self {
        let len = u32::try_from(bytes.len()).expect("as many as a receive can bring");
        let mut bytes = (len > 0).then(|| Box::new(bytes));
        let start = bytes.as_mut().map_or(NonNull::dangling(), |bytes| NonNull::from(&mut ***bytes).cast());
        Self { start, owner: Owner::Own { len, bytes } }
    }

    #[inline]
    fn count(&self) -> usize {
        match self.owner {
            Owner::Pool { len, .. } | Owner::Own { len, .. } => len as usize,
        }
    }

    /// `count` is not more than there are.
    fn set_count(&mut self, count: usize) {
        match &mut self.owner {
            Owner::Pool { len, .. } | Owner::Own { len, .. } => *len = count as u32,
        }
    }

    /// Leaves out the first `count` bytes from now on.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub fn advance(&mut self, count: usize) {
        let all = self.count();
        assert!(count <= all, "cannot advance by {count} in {all} bytes");
        // SAFETY: (local) within the part, or at its end.
        self.start = unsafe { self.start.add(count) };
        self.set_count(all - count);
    }

    /// Leaves out all but the first `len` bytes from now on. Without effect if there are no more.
    pub fn truncate(&mut self, len: usize) {
        self.set_count(self.count().min(len));
    }
}

impl Default for PoolBuf {
    /// No bytes, of no pool.
    fn default() -> Self {
        Self::salvaged(Box::default())
    }
}

impl Drop for PoolBuf {
    #[inline]
    fn drop(&mut self) {
        if let Owner::Pool { pool, buffer, .. } = &self.owner {
            pool.give_back(*buffer, 1);
        }
    }
}

impl Deref for PoolBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: (I1) these bytes were written by the kernel, which has named them in a completion, and are part of
        // nothing else until this value is dropped.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.count()) }
    }
}

impl DerefMut for PoolBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: (I1) as in `deref`; borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.count()) }
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
            Owner::Pool { buffer, .. } => Some(buffer),
            Owner::Own { .. } => None,
        };
        f.debug_struct("PoolBuf").field("len", &self.count()).field("buffer", &buffer).finish()
    }
}

// SAFETY: (I1) the bytes are memory of a pool that lives as long as this value does, or a box's, and do not move with it.
unsafe impl Buf for PoolBuf {
    fn stable_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    #[inline]
    fn init_len(&self) -> usize {
        self.count()
    }
}

// SAFETY: (I1) nobody else has these bytes.
unsafe impl Visible for PoolBuf {}
