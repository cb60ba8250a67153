//! Where a direct op puts its file: a slot that is held, or one that the kernel picks.
//!
//! Knows: slots, what becomes of one when an op on it ends. Does not know: ops.

use std::io;
use std::mem;

use io_uring::types::DestinationSlot;

use crate::ops::fd::salvage::Gives;
use crate::ops::fd::{FdTable, FixedFd, Hold, TableFull};
use crate::ops::request::Prepared;

/// The slot of a direct op: a [`FixedFd`], by value or by `&`, or [`FdTable::pick`].
#[derive(Debug)]
pub struct DirectSlot {
    to: To,
    /// The kernel has the op, and the slot knows.
    queued: bool,
}

#[derive(Debug)]
enum To {
    Slot(FixedFd),
    Picked(FdTable),
}

impl From<FixedFd> for DirectSlot {
    fn from(slot: FixedFd) -> Self {
        Self { to: To::Slot(slot), queued: false }
    }
}

impl From<&FixedFd> for DirectSlot {
    fn from(slot: &FixedFd) -> Self {
        Self::from(slot.clone())
    }
}

impl DirectSlot {
    /// Whichever the kernel picks.
    pub(crate) fn picked(table: FdTable) -> Self {
        Self { to: To::Picked(table), queued: false }
    }

    /// The op is about to be queued; the answer if it must not be.
    pub(super) fn begin(&self) -> Option<Prepared> {
        match &self.to {
            To::Slot(slot) if slot.is_picked() => Some(Prepared::AnswerShort(-libc::EBUSY)),
            To::Slot(slot) if slot.is_elsewhere() => Some(Prepared::AnswerShort(-libc::EBADF)),
            To::Slot(slot) => {
                slot.begin_tenancy();
                None
            }
            To::Picked(table) if !table.is_here() => Some(Prepared::AnswerShort(-libc::EBADF)),
            // Without a range of its own the kernel would pick from our slots.
            To::Picked(table) if table.pickable() == 0 => Some(Prepared::AnswerShort(-libc::ENFILE)),
            To::Picked(_) => None,
        }
    }

    /// The op is being queued: the slot, as its entry names it.
    pub(super) fn queue(&mut self) -> Option<DestinationSlot> {
        let again = mem::replace(&mut self.queued, true);
        match &self.to {
            To::Slot(slot) => {
                if !again {
                    slot.open_queued();
                }
                DestinationSlot::try_from_slot_target(slot.slot()).ok()
            }
            To::Picked(_) => Some(DestinationSlot::auto_target()),
        }
    }

    /// The op has ended. `gives`: what reads of what it has opened give.
    pub(super) fn end(self, result: io::Result<u32>, gives: Gives) -> io::Result<FixedFd> {
        match self.to {
            To::Slot(slot) => {
                if self.queued {
                    slot.open_ended(result.is_ok(), gives);
                }
                let result = slot.explain(result).map_err(|error| match error.raw_os_error() {
                    Some(libc::EBUSY) if slot.is_picked() => io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        "the kernel has picked this slot for what is in it: nothing else is opened into it",
                    ),
                    _ => error,
                });
                result.map(|_| slot)
            }
            To::Picked(table) => match result {
                Ok(index) if self.queued => Ok(table.was_picked(index, gives)),
                Ok(_) => Err(io::Error::from_raw_os_error(libc::EBADF)), // no request answers so by itself
                Err(error) => Err(match error.raw_os_error() {
                    Some(libc::ENFILE) => TableFull { slots: table.pickable() as u32 }.into(),
                    Some(libc::EBADF) if !table.is_here() => crate::ops::fd::elsewhere(),
                    _ => error,
                }),
            },
        }
    }
}
