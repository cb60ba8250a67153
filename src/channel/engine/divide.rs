//! What pushes and pops may do without each other: the rules of the engine for the time in which nobody waits.
//!
//! Knows: the engine. Does not know: locks, endpoints, futures.
#![allow(unsafe_code, reason = "takes back the slots of the ring, which were filled and emptied elsewhere")]

use super::Engine;

/// The engine as two sides see it that do not see each other.
///
/// A push that finds room, and for which no popper waits, only adds to the tail; a pop that finds a free value, and for
/// whose slot no push waits, only takes from the head. What either may do depends on the other side through one number
/// alone, the free values: pushes make it larger and pops smaller, and both may go by an old one.
///
/// ```text
///   push   free < limit      limit = capacity - granted, or 0: the channel is closed, or waiters have to be served
///   pop    free > 0, and no push waits
/// ```
///
/// A pop for which a value is counted takes the head and the count: the free values stay as they are, and so does the
/// room. It needs no more than the head, wherever the channel is open. (In a closed one it may be the end.)
pub(in crate::channel) struct Terms<T> {
    pub(in crate::channel) slots: *mut T,
    pub(in crate::channel) count: usize,
    /// The first slot that holds a value, and the first after it that holds none.
    pub(in crate::channel) head: usize,
    pub(in crate::channel) tail: usize,
    pub(in crate::channel) len: usize,
    pub(in crate::channel) assigned: usize,
    /// Pushes as long as fewer values are free.
    pub(in crate::channel) limit: usize,
    /// Pops as long as values are free.
    pub(in crate::channel) pops: bool,
    /// Pops of counted values.
    pub(in crate::channel) counted_pops: bool,
    /// The channel is open, and nobody waits on either side: who finds nothing to do by these terms may look again
    /// before he waits, and overtakes nobody.
    pub(in crate::channel) nobody_waits: bool,
}

impl<T> Engine<T> {
    pub(in crate::channel) fn divide(&mut self) -> Terms<T> {
        let poppers = !self.poppers.is_empty() && !planted!("sides-part-with-poppers");
        let pushers = !self.pushers.is_empty() && !planted!("sides-part-with-pushers");
        let closed = self.closed && !planted!("sides-part-when-closed");
        let granted = if planted!("sides-forget-permits") { 0 } else { self.granted };
        let len = self.ring.len();
        let (slots, count, head) = self.ring.parts();
        // A push goes by the free values alone. Whatever else is in the ring needs slots beyond the capacity: with
        // fewer, it might come to a slot that a pop is still reading.
        let fits = count - self.assigned.min(count) >= self.capacity;
        let pushes = !closed && !poppers && !pushers && fits;
        Terms {
            slots,
            count,
            head,
            tail: if len < count - head { head + len } else { len - (count - head) },
            len,
            assigned: self.assigned,
            limit: if pushes { self.capacity.saturating_sub(granted) } else { 0 },
            pops: !pushers,
            counted_pops: !self.closed || planted!("counted-pops-end-alone"),
            nobody_waits: !closed && !poppers && !pushers,
        }
    }

    /// Whether somebody waits, on either side.
    #[inline]
    pub(in crate::channel) fn somebody_waits(&self) -> bool {
        !self.poppers.is_empty() || !self.pushers.is_empty()
    }

    /// The sides are one again.
    ///
    /// # Safety
    /// As for [`Ring::set`](super::Ring::set): since [`divide`](Self::divide), all was done as it says.
    pub(in crate::channel) unsafe fn unite(&mut self, head: usize, len: usize, assigned: usize) {
        // SAFETY: (I3) by this function's contract.
        unsafe { self.ring.set(head, len) };
        self.assigned = assigned;
    }
}
