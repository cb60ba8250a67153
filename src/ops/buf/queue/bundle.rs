//! What the kernel has filled of several buffers of a queue by one completion.
//!
//! Knows: the queue they go back to. Does not know: rings, ops.

use std::fmt;
use std::sync::Arc;

use super::super::Lender;
use super::super::pool::ledger::{Part, Run};
use super::guard::QueueBuf;
use super::receiving::Receiving;

/// Bytes that one receive has put into as many buffers of a [`BufQueue`](super::BufQueue) as it took.
///
/// An iterator over the buffers, in order; only the last of them can be filled in part. Dropping it puts the rest of them
/// back. It has no memory of its own.
pub struct QueueBundle<B: 'static> {
    /// `Some` as long as there is a buffer of a queue left.
    rest: Option<(Arc<Receiving<B>>, Run)>,
    /// Bytes in no buffer; they come before the rest.
    single: Option<QueueBuf<B>>,
}

impl<B> QueueBundle<B> {
    pub(super) fn of(queue: Arc<Receiving<B>>, run: Run) -> Self {
        Self { rest: Some((queue, run)), single: None }
    }

    /// Bytes that an earlier op had left.
    pub(crate) fn salvaged(bytes: Box<[u8]>) -> Self {
        Self { rest: None, single: Some(QueueBuf::salvaged(bytes)) }
    }

    /// How many bytes are in it, in all buffers together.
    pub fn len(&self) -> usize {
        self.single.as_ref().map_or(0, |buf| buf.len()) + self.rest.as_ref().map_or(0, |(_, run)| run.len)
    }

    /// Whether there is no byte in it: the end of the stream, if nothing was taken out yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many buffers are left in it.
    pub fn buffers(&self) -> usize {
        usize::from(self.single.is_some()) + self.rest.as_ref().map_or(0, |(_, run)| usize::from(run.buffers))
    }
}

impl<B> Default for QueueBundle<B> {
    /// No bytes, in no buffer.
    fn default() -> Self {
        Self { rest: None, single: None }
    }
}

impl<B> Iterator for QueueBundle<B> {
    type Item = QueueBuf<B>;

    fn next(&mut self) -> Option<QueueBuf<B>> {
        if let Some(buf) = self.single.take() {
            return Some(buf);
        }
        let (queue, run) = self.rest.as_mut()?;
        let part = run.first;
        if run.buffers == 1 {
            return self.rest.take().map(|(queue, _)| QueueBuf::of(queue, part));
        }
        // What is behind a full buffer begins at its start.
        let (buffer, size) = queue.desk().next(part.buffer);
        run.buffers -= 1;
        run.len -= part.len as usize;
        run.first = Part { buffer, start: 0, len: size.min(u32::try_from(run.len).unwrap_or(u32::MAX)) };
        Some(QueueBuf::of(Arc::clone(queue), part))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.buffers(), Some(self.buffers()))
    }
}

impl<B> ExactSizeIterator for QueueBundle<B> {}

impl<B> Drop for QueueBundle<B> {
    fn drop(&mut self) {
        if let Some((queue, run)) = self.rest.take() {
            queue.give_back(run.first.buffer, run.buffers);
        }
    }
}

impl<B> fmt::Debug for QueueBundle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBundle").field("len", &self.len()).field("buffers", &self.buffers()).finish()
    }
}
