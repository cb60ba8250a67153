//! The memory of a pool: the ring that the kernel takes buffers from, and behind it the buffers.
//!
//! Knows: the ring. Does not know: who has which buffer.
//!
//! ```text
//!  ┌──────────┬─────────┬─────────┬── ─ ─ ──┬─────────┐
//!  │ the ring │    0    │    1    │         │  n - 1  │   buffers of `size` bytes
//!  └──────────┴─────────┴─────────┴── ─ ─ ──┴─────────┘
//! ```
#![allow(unsafe_code, reason = "memory shared with the kernel")]

use std::io;
use std::ptr::NonNull;

use super::ring::Ring;

pub(crate) struct Memory {
    ring: Ring,
    /// Where the buffers begin.
    buffers: NonNull<u8>,
    count: u32,
    size: u32,
}

// SAFETY: (local) an address in the ring's mapping and numbers; what lies there is touched by who owns the part.
unsafe impl Send for Memory {}
// SAFETY: (local) as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Room for so many buffers, 32,768 at most, of `size` bytes each. Pages come when they are first written to.
    pub(crate) fn new(count: u32, size: u32) -> io::Result<Self> {
        let bytes = (count as usize).checked_mul(size as usize);
        let ring = Ring::new(count, bytes.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?)?;
        let memory = Self { buffers: ring.behind(), ring, count, size };
        (0..count as u16).for_each(|number| memory.publish(number, number));
        Ok(memory)
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Where a buffer begins.
    pub(crate) fn buffer(&self, number: u16) -> NonNull<u8> {
        debug_assert!(u32::from(number) < self.count);
        // SAFETY: (local) the ledger's numbers are those that there is room for.
        unsafe { self.buffers.add(usize::from(number) * self.size as usize) }
    }

    /// Puts a buffer into the ring, at this position, and gives it to the kernel with all before it. Where the books are
    /// kept, which have chosen the position.
    pub(crate) fn publish(&self, number: u16, position: u16) {
        self.ring.write(position, self.buffer(number).as_ptr(), self.size, number);
        self.ring.set_tail(position.wrapping_add(1));
    }
}

impl AsRef<Ring> for Memory {
    fn as_ref(&self) -> &Ring {
        &self.ring
    }
}
