//! What the kernel has filled of several buffers by one completion.
//!
//! Knows: the pool they go back to. Does not know: rings, ops.

use std::fmt;
use std::sync::Arc;

use super::guard::PoolBuf;
use super::ledger::{Part, Run};
use super::{Lender, Pool};

/// Bytes that one receive has put into as many buffers of a [`BufPool`](super::BufPool) as it took.
///
/// An iterator over the buffers, in order; only the last of them can be filled in part. Each can be kept and dropped by
/// itself, and dropping the bundle gives the rest back.
///
/// # Cost
///
/// It has no memory of its own: the pool remembers which buffer is behind which.
///
/// # Examples
///
/// See [`RecvPooled::bundled`](crate::ops::requests::RecvPooled::bundled).
#[derive(Default)]
pub struct Bundle {
    /// `Some` as long as there is a buffer of a pool left.
    rest: Option<Rest>,
    /// Bytes of one buffer, or of none; they come before the rest.
    single: Option<PoolBuf>,
}

struct Rest {
    pool: Arc<Pool>,
    run: Run,
}

impl Bundle {
    pub(crate) fn of(pool: Arc<Pool>, run: Run) -> Self {
        Self { rest: Some(Rest { pool, run }), single: None }
    }

    /// How many bytes are in it, in all buffers together.
    pub fn len(&self) -> usize {
        self.single.as_ref().map_or(0, |buf| buf.len()) + self.rest.as_ref().map_or(0, |rest| rest.run.len)
    }

    /// Whether there is no byte in it: the end of the stream, if nothing was taken out yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many buffers are left in it.
    pub fn buffers(&self) -> usize {
        usize::from(self.single.is_some())
            + self.rest.as_ref().map_or(0, |rest| usize::from(rest.run.buffers))
    }

    /// All bytes, copied into one piece.
    pub fn into_vec(self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        self.for_each(|buf| all.extend_from_slice(&buf));
        all
    }
}

impl From<PoolBuf> for Bundle {
    /// A bundle of one.
    fn from(buf: PoolBuf) -> Self {
        Self { rest: None, single: Some(buf) }
    }
}

impl Iterator for Bundle {
    type Item = PoolBuf;

    fn next(&mut self) -> Option<PoolBuf> {
        if let Some(buf) = self.single.take() {
            return Some(buf);
        }
        let rest = self.rest.as_mut()?;
        let part = rest.run.first;
        if rest.run.buffers == 1 {
            return self.rest.take().map(|rest| PoolBuf::of(rest.pool, part));
        }
        // What is behind a full buffer begins at its start.
        let (buffer, size) = rest.pool.desk().next(part.buffer);
        rest.run.buffers -= 1;
        rest.run.len -= part.len as usize;
        let len = size.min(u32::try_from(rest.run.len).unwrap_or(u32::MAX));
        rest.run.first = Part { buffer, start: 0, len };
        Some(PoolBuf::of(Arc::clone(&rest.pool), part))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.buffers(), Some(self.buffers()))
    }
}

impl ExactSizeIterator for Bundle {}

impl Drop for Bundle {
    fn drop(&mut self) {
        if let Some(Rest { pool, run }) = self.rest.take() {
            pool.give_back(run.first.buffer, run.buffers);
        }
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("len", &self.len()).field("buffers", &self.buffers()).finish()
    }
}
