//! The ring's own tables: of files, and of memory. Each has slots that are filled and emptied one by one.
//!
//! Knows: the register calls of the tables. Does not know: which slots are free, or who uses what is in them.
//!
//! A table stays as long as its ring. Taking one back as a whole waits, on kernels before 6.13, for every op in flight, so
//! nothing here does that.
#![allow(unsafe_code, reason = "register calls take pointers to their arguments")]

use std::io;
use std::os::fd::RawFd;
use std::ptr;

use super::sys::{self, register};
use super::{AnyDriver, Driver};

impl AnyDriver {
    /// Gives the ring a table of so many slots for files, all of them empty. It stays as long as the ring: taking it back
    /// would wait for every op in flight.
    ///
    /// # Errors
    ///
    /// `EBUSY`: there is one already. `EMFILE`: more than the process may open. `EINVAL`: the kernel cannot.
    pub(crate) fn register_slots(&mut self, slots: u32) -> io::Result<()> {
        let mut table = sys::TableRegistration::sparse(slots);
        let size = size_of_val(&table) as u32;
        // SAFETY: (local) a live record of this size, which the kernel only reads; it points to nothing.
        unsafe { self.register(register::FILES2, ptr::from_mut(&mut table).cast(), size)? };
        Ok(())
    }

    /// Takes the file out of a slot of that table, now, without a queue entry. Ops in flight on it keep it.
    ///
    /// # Errors
    ///
    /// Those of the call, such as `ENOMEM`.
    pub(crate) fn clear_slot(&mut self, slot: u32) -> io::Result<()> {
        let none: RawFd = -1;
        let mut update = sys::SlotUpdate::one(slot, &none);
        // SAFETY: (local) a live record for one slot, and the number it points to; the kernel only reads them.
        unsafe { self.register(register::FILES_UPDATE, ptr::from_mut(&mut update).cast(), 1)? };
        Ok(())
    }

    /// Puts an open file into a slot of that table, in the place of what is there. The kernel takes a hold of its own.
    ///
    /// # Errors
    ///
    /// Those of the call: `EBADF`, and for a ring's own descriptor, too; `ENXIO`: there is no table.
    pub(crate) fn fill_slot(&mut self, slot: u32, fd: RawFd) -> io::Result<()> {
        let mut update = sys::SlotUpdate::one(slot, &fd);
        // SAFETY: (local) a live record for one slot, and the number it points to; the kernel only reads them.
        unsafe { self.register(register::FILES_UPDATE, ptr::from_mut(&mut update).cast(), 1)? };
        Ok(())
    }

    /// Whether [`set_pick_range`](Self::set_pick_range) is to be had: Linux 6.0. Changes nothing, whether there is a table or not.
    pub(crate) fn picks_from_range(&mut self) -> bool {
        // Of a range that no table has a kernel with the call says something else (`EOVERFLOW`).
        let answer = self.set_pick_range(1, u32::MAX);
        answer.is_err_and(|error| error.raw_os_error() != Some(libc::EINVAL))
    }

    /// Says from which slots of that table the kernel picks where it is asked to.
    ///
    /// # Errors
    ///
    /// `EINVAL`: before Linux 6.0, or of a range that the table has not.
    pub(crate) fn set_pick_range(&mut self, start: u32, count: u32) -> io::Result<()> {
        let mut range = sys::SlotRange { start, count, reserved: 0 };
        // SAFETY: (local) a live record, which the kernel only reads; the call takes no count.
        unsafe { self.register(register::FILE_ALLOC_RANGE, ptr::from_mut(&mut range).cast(), 0)? };
        Ok(())
    }

    /// Gives the ring a table of so many slots for memory, all of them empty.
    ///
    /// # Errors
    ///
    /// `EBUSY`: there is one already. `EINVAL`: the kernel cannot, or it is too long.
    pub(crate) fn register_buffer_slots(&mut self, slots: u32) -> io::Result<()> {
        let mut table = sys::TableRegistration::sparse(slots);
        let size = size_of_val(&table) as u32;
        // SAFETY: (local) a live record of this size, which the kernel only reads; it points to nothing.
        unsafe { self.register(register::BUFFERS2, ptr::from_mut(&mut table).cast(), size)? };
        Ok(())
    }

    /// Puts memory into a slot of that table, in the place of what is there: its pages are held in memory from now on.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, when more memory would be locked than the limit allows, too; `EFAULT`: it is not all memory.
    pub(crate) fn fill_buffer_slot(&mut self, slot: u32, start: *mut u8, len: usize) -> io::Result<()> {
        self.update_buffer(slot, libc::iovec { iov_base: start.cast(), iov_len: len })
    }

    /// Takes the memory out of a slot, without waiting: ops in flight on it keep it.
    ///
    /// # Errors
    ///
    /// Those of the call, such as `ENOMEM`.
    pub(crate) fn clear_buffer_slot(&mut self, slot: u32) -> io::Result<()> {
        self.update_buffer(slot, libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 })
    }

    fn update_buffer(&mut self, slot: u32, memory: libc::iovec) -> io::Result<()> {
        let mut update = sys::BufferUpdate::one(slot, &memory);
        let size = size_of_val(&update) as u32;
        // SAFETY: (I1) a live record of this size for one slot, and the vector it points to; the kernel only reads them. The pages
        // of the memory are the kernel's to hold from now on, wherever the program's mapping of them goes, and it touches them
        // only for entries that name the slot, whose requests own the memory.
        unsafe { self.register(register::BUFFERS_UPDATE, ptr::from_mut(&mut update).cast(), size)? };
        Ok(())
    }

    /// Gives the ring the whole table of memory that another ring has.
    ///
    /// # Errors
    ///
    /// `EINVAL`: before Linux 6.12. `EBUSY`: this ring has a table. `ENXIO`: that one has none.
    pub(crate) fn clone_buffer_slots(&mut self, source: RawFd) -> io::Result<()> {
        let mut clone = sys::CloneBuffers::all_of(source);
        // SAFETY: (local) one live record, which the kernel only reads.
        unsafe { self.register(register::CLONE_BUFFERS, ptr::from_mut(&mut clone).cast(), 1)? };
        Ok(())
    }
}
