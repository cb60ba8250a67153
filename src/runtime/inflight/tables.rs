//! The ring's tables, for the parts of the crate that fill them.
//!
//! Knows: the driver. Does not know: which slots are free, or who uses what is in them.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use super::super::driver::Driver;
use super::Inflight;

/// Each one call of the driver: see [`AnyDriver`](super::AnyDriver).
impl Inflight {
    /// Gives the ring a table of slots for files.
    pub(crate) fn register_slots(&self, slots: u32) -> io::Result<()> {
        self.driver().register_slots(slots)
    }

    /// Empties a slot of that table.
    pub(crate) fn clear_slot(&self, slot: u32) -> io::Result<()> {
        self.driver().clear_slot(slot)
    }

    /// Puts an open file into a slot of that table.
    pub(crate) fn fill_slot(&self, slot: u32, fd: RawFd) -> io::Result<()> {
        self.driver().fill_slot(slot, fd)
    }

    /// Whether the next can be said to the kernel.
    pub(crate) fn picks_from_range(&self) -> bool {
        self.driver().picks_from_range()
    }

    /// Says from which slots of that table the kernel picks.
    pub(crate) fn set_pick_range(&self, start: u32, count: u32) -> io::Result<()> {
        self.driver().set_pick_range(start, count)
    }

    /// Gives the ring a table of slots for memory.
    pub(crate) fn register_buffer_slots(&self, slots: u32) -> io::Result<()> {
        self.driver().register_buffer_slots(slots)
    }

    /// Puts memory into a slot of that table.
    pub(crate) fn fill_buffer_slot(&self, slot: u32, start: *mut u8, len: usize) -> io::Result<()> {
        self.driver().fill_buffer_slot(slot, start, len)
    }

    /// Empties a slot of that table.
    pub(crate) fn clear_buffer_slot(&self, slot: u32) -> io::Result<()> {
        self.driver().clear_buffer_slot(slot)
    }

    /// Another descriptor of the ring: it holds the ring open.
    pub(crate) fn duplicate_ring(&self) -> io::Result<OwnedFd> {
        self.driver().ring().try_clone_to_owned()
    }

    /// Gives the ring the whole table of memory that another ring has.
    pub(crate) fn clone_buffer_slots(&self, source: RawFd) -> io::Result<()> {
        self.driver().clone_buffer_slots(source)
    }
}
