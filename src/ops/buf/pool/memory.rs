//! The memory of a pool: the ring that the kernel takes buffers from, and behind it the buffers.
//!
//! Knows: the layout of the kernel's ring of buffers, pages. Does not know: who has which buffer.
//!
//! ```text
//!  ┌──────────────────────────────────────────┬─────────┬─────────┬── ─ ─ ──┬─────────┐
//!  │ address, length, number │ … │ … │        │    0    │    1    │         │  n - 1  │
//!  └──────────────────────────────────────────┴─────────┴─────────┴── ─ ─ ──┴─────────┘
//!    a power of two of entries, to a page's end  buffers of `size` bytes
//!    the last two bytes of entry 0: the tail
//! ```
#![allow(unsafe_code, reason = "memory shared with the kernel")]

use std::io;
use std::ptr::{self, NonNull};

use crate::sync::atomic::{AtomicU16, Ordering};

/// `struct io_uring_buf`.
#[repr(C)]
struct RingEntry {
    address: u64,
    len: u32,
    number: u16,
    /// Of entry 0 the tail, else nothing.
    tail: AtomicU16,
}

const _: () = assert!(size_of::<RingEntry>() == 16);

pub(crate) struct Memory {
    start: NonNull<u8>,
    len: usize,
    /// How many entries the ring has: a power of two.
    entries: u16,
    /// Where the buffers begin.
    buffers: usize,
    size: u32,
}

// SAFETY: (local) it is an address and numbers; what lies there is touched under the pool's lock (the ring) or by who owns
// the part (the buffers).
unsafe impl Send for Memory {}
// SAFETY: (local) as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Room for so many buffers, 32,768 at most, of `size` bytes each. Pages come when they are first written to.
    pub(crate) fn new(count: u32, size: u32) -> io::Result<Self> {
        // SAFETY: (local) the call takes no pointer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let entries = count.next_power_of_two() as u16;
        let buffers = (usize::from(entries) * size_of::<RingEntry>()).next_multiple_of(page);
        let len = (count as usize)
            .checked_mul(size as usize)
            .and_then(|len| len.checked_add(buffers))
            .filter(|len| isize::try_from(*len).is_ok())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: (local) a new mapping at an address the kernel chooses overlaps nothing of ours.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let memory = Self { start, len, entries, buffers, size };
        (0..count as u16).for_each(|number| memory.publish(number, number));
        Ok(memory)
    }

    /// The ring, as it is registered.
    pub(crate) fn ring(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn entries(&self) -> u32 {
        self.entries.into()
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Where a buffer begins.
    pub(crate) fn buffer(&self, number: u16) -> NonNull<u8> {
        let offset = self.buffers + usize::from(number) * self.size as usize;
        debug_assert!(offset + self.size as usize <= self.len);
        // SAFETY: (local) the ledger's numbers are those that there is room for.
        unsafe { self.start.add(offset) }
    }

    /// Puts a buffer into the ring, at this position, and gives it to the kernel with all before it.
    ///
    /// Under the ledger's lock, which has chosen the position: the kernel does not look at that entry until the tail is
    /// behind it.
    pub(crate) fn publish(&self, number: u16, position: u16) {
        let address = self.buffer(number).as_ptr().expose_provenance() as u64;
        let first = self.start.cast::<RingEntry>();
        // SAFETY: (local) an entry of the ring. Field by field, because the tail lies in the first of them.
        unsafe {
            let entry = first.add(usize::from(position & (self.entries - 1))).as_ptr();
            (&raw mut (*entry).address).write(address);
            (&raw mut (*entry).len).write(self.size);
            (&raw mut (*entry).number).write(number);
        }
        // SAFETY: (local) the ring's first entry, of which nobody takes a mutable reference.
        let tail = unsafe { &(*first.as_ptr()).tail };
        // ORDERING: pairs with the kernel's own acquire of the tail: it sees the entry whole.
        tail.store(position.wrapping_add(1), Ordering::Release);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: (I1) exactly the mapping made by `new`. Every op in flight holds the pool, so the kernel fills no buffer
        // any more; the pages of a ring that is still registered are its own.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
