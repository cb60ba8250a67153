//! One piece of registered memory, and the slots it is in.
//!
//! Knows: the memory, the tables it stands in. Does not know: parts of it.
//!
//! ```text
//!  Region ── memory
//!     └───── first lease ──▶ lease on a clone of the table ──▶ …      each names a runtime and a slot
//! ```

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::Memory;
use super::table::Table;
use crate::runtime::RuntimeId;
use crate::runtime::context;
use crate::runtime::core::Core;
use crate::runtime::registry::{self, Remote};

/// Registered memory. Dropped, it leaves its slots first, and is freed then.
pub(super) struct Region {
    /// Before the memory, so that it is dropped before.
    slots: Slots,
    memory: Memory,
}

/// The slots of one region, one for each runtime that has it registered. It only grows.
struct Slots {
    lease: Lease,
    more: OnceLock<Box<Slots>>,
}

/// A slot that nobody else has. Dropped, it is emptied, and then free.
pub(super) struct Lease {
    table: Arc<Table>,
    /// Whose table it is.
    home: RuntimeId,
    index: u16,
}

impl Region {
    pub(super) fn new(memory: Memory, lease: Lease) -> Self {
        Self { slots: Slots { lease, more: OnceLock::new() }, memory }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The slot in the table of the runtime that runs here.
    #[inline]
    pub(super) fn slot_here(&self) -> Option<u16> {
        let here = context::with(|core| core.map(|core| core.id))?;
        let first = &self.slots.lease;
        if first.home == here { Some(first.index) } else { self.slot_in_clone(here) }
    }

    #[cold]
    fn slot_in_clone(&self, here: RuntimeId) -> Option<u16> {
        let mut next = self.slots.more.get();
        while let Some(slots) = next {
            if slots.lease.home == here {
                return Some(slots.lease.index);
            }
            next = slots.more.get();
        }
        None
    }

    /// Another runtime has the memory, too.
    pub(super) fn add(&self, lease: Lease) {
        let mut slots = Box::new(Slots { lease, more: OnceLock::new() });
        let mut last = &self.slots;
        while let Err(back) = last.more.set(slots) {
            slots = back;
            last = last.more.get().expect("it was set by somebody else");
        }
    }

    /// The table it was registered in.
    pub(super) fn table(&self) -> &Arc<Table> {
        &self.slots.lease.table
    }

    /// The memory, out of all tables but the first, and its slot there.
    pub(super) fn into_parts(self) -> (Memory, Lease) {
        (self.memory, self.slots.lease)
    }
}

impl Lease {
    /// A slot that was just taken from the table.
    pub(super) fn new(table: Arc<Table>, index: u16) -> Self {
        Self { home: table.runtime(), table, index }
    }

    pub(super) fn index(&self) -> u16 {
        self.index
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (home, index) = (self.home, self.index);
        let table = Arc::clone(&self.table);
        let empty = move |core: &Core| {
            // No op uses it any more: each would hold the region. An error leaves the memory in its slot, whose next tenant
            // replaces it.
            let _ = core.inflight.clear_buffer_slot(index.into());
            table.give_back(index);
        };
        context::with(|core| match core {
            Some(core) if core.id == home => empty(core),
            // Another thread, or the runtime is not running: a message. If it is gone, its table has gone with it.
            _ => drop(registry::entry_of(home).post(home, Remote::Work(Box::new(empty)))),
        });
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("slot", &self.slots.lease.index).field("memory", &self.memory).finish()
    }
}
