//! The ring that the kernel takes provided buffers from.
//!
//! Knows: the layout of the kernel's ring of buffers, pages. Does not know: whose the buffers are, or who has which.
//!
//! ```text
//!  ┌─────────────────────────┬─────────────────────────┬── ─ ─ ──┬─────────────────────┐
//!  │ address, length, number │ address, length, number │         │ what lies behind it │
//!  └─────────────────────────┴─────────────────────────┴── ─ ─ ──┴─────────────────────┘
//!    a power of two of entries, to the end of a page
//!    the last two bytes of entry 0: the tail
//! ```
#![allow(unsafe_code, reason = "memory shared with the kernel")]

use std::io;
use std::ptr::{self, NonNull};

use crate::sync::atomic::{AtomicU16, Ordering};

/// `struct io_uring_buf`.
#[repr(C)]
struct Entry {
    address: u64,
    len: u32,
    number: u16,
    /// Of entry 0 the tail, else nothing.
    tail: AtomicU16,
}

const _: () = assert!(size_of::<Entry>() == 16);

/// A mapping that begins with such a ring.
pub(crate) struct Ring {
    start: NonNull<u8>,
    len: usize,
    /// How many entries the ring has: a power of two.
    entries: u16,
}

// SAFETY: (local) it is an address and numbers; what lies there is touched on the thread alone that keeps the books of the
// buffers.
unsafe impl Send for Ring {}
// SAFETY: (local) as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// A ring for so many buffers, 32,768 at most, and `behind` bytes behind it, which begin on a page.
    pub(crate) fn new(count: u32, behind: usize) -> io::Result<Self> {
        let entries = count.next_power_of_two() as u16;
        let len = Self::size(entries)
            .checked_add(behind)
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
        Ok(Self { start, len, entries })
    }

    /// How many bytes so many entries take, to the end of their last page.
    fn size(entries: u16) -> usize {
        // SAFETY: (local) the call takes no pointer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        (usize::from(entries) * size_of::<Entry>()).next_multiple_of(page)
    }

    /// Where it begins, as it is registered.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// How many entries it has.
    pub(super) fn entries(&self) -> u32 {
        self.entries.into()
    }

    /// Where the bytes behind it begin.
    pub(super) fn behind(&self) -> NonNull<u8> {
        // SAFETY: (local) within the mapping, or at its end.
        unsafe { self.start.add(Self::size(self.entries)) }
    }

    /// Puts a buffer into the ring, at this position. The kernel does not look at that entry until the
    /// [tail](Self::set_tail) is behind it.
    pub(crate) fn write(&self, position: u16, address: *const u8, len: u32, number: u16) {
        let address = address.expose_provenance() as u64;
        let first = self.start.cast::<Entry>();
        // SAFETY: (local) an entry of the ring. Field by field, because the tail lies in the first of them.
        unsafe {
            let entry = first.add(usize::from(position & (self.entries - 1))).as_ptr();
            (&raw mut (*entry).address).write(address);
            (&raw mut (*entry).len).write(len);
            (&raw mut (*entry).number).write(number);
        }
    }

    /// Gives the kernel all buffers before this position.
    pub(crate) fn set_tail(&self, position: u16) {
        // SAFETY: (local) the ring's first entry, of which nobody takes a mutable reference.
        let tail = unsafe { &(*self.start.cast::<Entry>().as_ptr()).tail };
        // ORDERING: pairs with the kernel's own acquire of the tail: it sees the entries before it whole.
        tail.store(position, Ordering::Release);
    }
}

impl AsRef<Self> for Ring {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: (I1) exactly the mapping made by `new`. Every op in flight holds whoever has the ring, so the kernel fills no
        // buffer in it any more; the pages of a ring that is still registered are its own.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
