//! A ring of provided buffers that is registered with a runtime's own ring, under a number.
//!
//! Knows: registering, numbers of groups, which runtime runs here. Does not know: what lies in the ring, or who has it.
#![allow(unsafe_code, reason = "lends memory to the kernel for longer than one op")]

use std::io;

use super::ring::Ring;
use crate::runtime::RuntimeId;
use crate::runtime::context;
use crate::runtime::core::Core;
use crate::runtime::registry::{self, Remote};

/// The registration, and the memory that it is of. Dropped, on whatever thread, it takes the registration back, on the
/// runtime's own thread, and after that the memory goes.
pub(crate) struct Group<M: AsRef<Ring> + Send + 'static> {
    home: RuntimeId,
    number: u16,
    /// Taken by the drop.
    memory: Option<M>,
}

impl<M: AsRef<Ring> + Send + 'static> Group<M> {
    /// Registers the ring in `memory`.
    ///
    /// # Errors
    ///
    /// `QuotaExceeded`: there is no number left. `EINVAL`: the kernel cannot, or not incrementally. `ENOMEM`: it may lock no
    /// more memory.
    ///
    /// # Safety
    ///
    /// What is put into the ring are buffers that stay where they are, and that nobody else touches in a way that an op
    /// forbids that uses the group, until the kernel has let go of them or no op uses the group any more.
    pub(crate) unsafe fn register(core: &Core, memory: M, incremental: bool) -> io::Result<Self> {
        let number = core.groups.take().ok_or_else(|| {
            io::Error::new(io::ErrorKind::QuotaExceeded, "the runtime has 65472 groups of buffers already")
        })?;
        let ring = memory.as_ref();
        // SAFETY: (I1) a mapping of its own with that many entries, which is kept until the group is taken back or the ring is
        // gone; the caller vouches for the buffers.
        let registered =
            unsafe { core.inflight.register_buffers(ring.start(), ring.entries(), number, incremental) };
        if let Err(error) = registered {
            core.groups.give_back(number);
            return Err(error);
        }
        Ok(Self { home: core.id, number, memory: Some(memory) })
    }

    /// What an entry names it by.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Whether another ring than the one that runs here has it.
    pub(crate) fn is_elsewhere(&self) -> bool {
        context::with(|core| core.is_none_or(|core| core.id != self.home))
    }

    pub(crate) fn memory(&self) -> &M {
        self.memory.as_ref().expect("taken only by the drop of the group")
    }

    /// How many buffers the kernel has taken out of the ring. `None`: it cannot be asked, or not from here.
    pub(crate) fn taken(&self) -> Option<u16> {
        context::with(|core| {
            let core = core.filter(|core| core.id == self.home)?;
            core.inflight.buffers_taken(self.number).ok()
        })
    }
}

impl<M: AsRef<Ring> + Send + 'static> Drop for Group<M> {
    fn drop(&mut self) {
        let (Some(memory), home, number) = (self.memory.take(), self.home, self.number) else { return };
        // No op that uses the group is in flight: each holds whoever has the group.
        let retire = move |core: &Core| {
            // In a child after a fork it fails: there, the group is the parent's.
            if core.inflight.unregister_buffers(number).is_ok() {
                core.groups.give_back(number);
            }
            drop(memory);
        };
        context::with(|core| match core {
            Some(core) if core.id == home => retire(core),
            // Another thread, or the runtime is not running: a message. If it is gone, the group has gone with its ring.
            _ => drop(registry::entry_of(home).post(home, Remote::Work(Box::new(retire)))),
        });
    }
}
