//! The table of registered memory that a runtime's ring has.
//!
//! Knows: which slots are free, what stands in the others. Does not know: parts of it, entries.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::region::{Lease, Region};
use super::{FixedBuf, Memory, RegisterError, RegisterErrorKind};
use crate::ops::features::Feature;
use crate::runtime::RuntimeId;
use crate::runtime::context;
use crate::runtime::core::Core;
use crate::runtime::driver::Home;

/// The most slots a table has: the kernel's limit.
const MAX_SLOTS: u32 = 1 << 14;

/// The most bytes in one slot: the kernel's limit.
pub(super) const MAX_BYTES: usize = 1 << 30;

/// A runtime's table of registered buffers.
///
/// For every read and write the kernel looks up the pages of the buffer and holds them until it is done. Of memory that is
/// registered it holds them all along. That pays for direct I/O and for large blocks; what the memory costs is that it
/// is locked: it counts against `RLIMIT_MEMLOCK`, and is never swapped out.
///
/// A runtime has one table at most, as long as it lives; clones of a `BufferTable` are the same one. Memory comes into it and
/// out of it slot by slot, whatever is in flight: the table as such is never taken back.
///
/// # Kernel
///
/// `IORING_REGISTER_BUFFERS2` with `IORING_RSRC_REGISTER_SPARSE`, Linux 5.19.
///
/// # Examples
///
/// ```
/// use millstream::ops::{self, BufferTable};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let table = BufferTable::new(2)?;
/// let buf = table.register(Vec::with_capacity(4096))?;
/// let file = ops::open("Cargo.toml").await?;
/// let (n, buf) = ops::read(&file, buf).at(0).await; // by slot, without looking up a page
/// assert_eq!((n?, &buf[..11]), (buf.len(), &b"[workspace]"[..]));
/// assert_eq!(table.available(), 1);
/// drop(buf); // takes it out of the table
/// assert_eq!(table.available(), 2);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct BufferTable(Arc<Table>);

pub(super) struct Table {
    runtime: RuntimeId,
    slots: u32,
    state: Mutex<State>,
}

struct State {
    /// The numbers nobody has. The one that was given back last is given out first.
    free: Vec<u16>,
    /// What was last registered in each slot. While that is there, the ring has its memory in the slot.
    regions: Vec<Weak<Region>>,
}

/// A [`BufferTable`] on its way to another runtime: see [`BufferTable::share`].
pub struct SharedBuffers {
    table: Arc<Table>,
    /// The ring whose table it is, which may end meanwhile.
    ring: OwnedFd,
    /// In a child after a fork, the ring has the parent's memory, and the regions are copies of it.
    made: Home,
}

impl BufferTable {
    /// Gives the runtime that runs here a table of so many slots.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a table of no slots, or of more than 16,384; `ResourceBusy` when this runtime has a table;
    /// `Unsupported` when the kernel has no such tables; `ENOMEM`.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn new(slots: u32) -> io::Result<Self> {
        if !(1..=MAX_SLOTS).contains(&slots) {
            let text = format!("a table of registered buffers has 1 to {MAX_SLOTS} slots, and not {slots}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        with_core(|core| {
            core.inflight.register_buffer_slots(slots).map_err(explain)?;
            let regions = (0..slots).map(|_| Weak::new()).collect();
            Ok(Self::made(core, slots, (0..slots as u16).rev().collect(), regions))
        })
    }

    fn made(core: &Core, slots: u32, free: Vec<u16>, regions: Vec<Weak<Region>>) -> Self {
        Self(Arc::new(Table { runtime: core.id, slots, state: Mutex::new(State { free, regions }) }))
    }

    /// Registers memory: a `Vec<u8>` up to its capacity, a `Box<[u8]>`, or [`Memory`] of a certain alignment.
    ///
    /// # Errors
    ///
    /// The memory comes back with what stood in the way: no slot, a limit, another thread than the runtime's.
    ///
    /// # Cost
    ///
    /// A system call that finds and locks each page: to be done once for each buffer, not once for each op.
    pub fn register(&self, memory: impl Into<Memory>) -> Result<FixedBuf, RegisterError> {
        let memory = memory.into();
        if let Some(kind) = self.0.refuses(&memory) {
            return Err(RegisterError::new(kind, memory));
        }
        let free = self.0.state().free.pop();
        let Some(index) = free else {
            return Err(RegisterError::new(RegisterErrorKind::Full { slots: self.0.slots }, memory));
        };
        let lease = Lease::new(Arc::clone(&self.0), index);
        self.0.fill(lease, memory).map_err(|(error, _lease)| error)
    }

    /// Takes the memory out of the table: all that was registered, if this is the last part of it. Its contents end where those
    /// of the part do.
    ///
    /// # Errors
    ///
    /// Gives the buffer back when there are other parts of what was registered, or it is not in this table.
    pub fn unregister(&self, buf: FixedBuf) -> Result<Memory, FixedBuf> {
        if !Arc::ptr_eq(buf.region().table(), &self.0) {
            return Err(buf);
        }
        let (region, end) = buf.into_region()?;
        let (mut memory, lease) = region.into_parts();
        drop(lease);
        memory.set_len(end);
        Ok(memory)
    }

    /// Registers other memory in the slot of a buffer, whose own comes back.
    ///
    /// It is one system call where taking out and putting in are two. Runtimes that cloned the table lose the old memory and
    /// do not get the new.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register), and the buffer comes back, too. `Shared` when there are other parts of what was
    /// registered.
    pub fn replace(
        &self,
        buf: FixedBuf,
        memory: impl Into<Memory>,
    ) -> Result<(FixedBuf, Memory), (RegisterError, FixedBuf)> {
        let memory = memory.into();
        let elsewhere = !Arc::ptr_eq(buf.region().table(), &self.0);
        let refused = if elsewhere { Some(RegisterErrorKind::Elsewhere) } else { self.0.refuses(&memory) };
        if let Some(kind) = refused {
            return Err((RegisterError::new(kind, memory), buf));
        }
        let (region, end) = match buf.into_region() {
            Ok(whole) => whole,
            Err(buf) => return Err((RegisterError::new(RegisterErrorKind::Shared, memory), buf)),
        };
        let (mut old, lease) = region.into_parts();
        old.set_len(end);
        match self.0.fill(lease, memory) {
            Ok(buf) => Ok((buf, old)),
            Err((error, lease)) => {
                let region = self.0.enter(&mut self.0.state(), lease, old);
                Err((error, FixedBuf::whole(region)))
            }
        }
    }

    /// The table for another runtime: send it there, and let it [clone](SharedBuffers::clone_here) the table.
    ///
    /// # Errors
    ///
    /// `InvalidInput` elsewhere than on the table's runtime; `EMFILE`.
    pub fn share(&self) -> io::Result<SharedBuffers> {
        let ring = context::with(|core| match core {
            Some(core) if core.id == self.0.runtime => core.inflight.duplicate_ring(),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a table of registered buffers is shared on the thread of its runtime",
            )),
        })?;
        Ok(SharedBuffers { table: Arc::clone(&self.0), ring, made: Home::here()? })
    }

    /// How many slots it has.
    pub fn capacity(&self) -> usize {
        self.0.slots as usize
    }

    /// How many slots are free.
    pub fn available(&self) -> usize {
        self.0.state().free.len()
    }
}

impl Table {
    /// Whose table it is.
    pub(super) fn runtime(&self) -> RuntimeId {
        self.runtime
    }

    /// A slot is empty, and nobody has it.
    pub(super) fn give_back(&self, index: u16) {
        self.state().free.push(index);
    }

    /// What is wrong with memory that is to be registered here.
    fn refuses(&self, memory: &Memory) -> Option<RegisterErrorKind> {
        if context::with(|core| core.is_none_or(|core| core.id != self.runtime)) {
            return Some(RegisterErrorKind::Elsewhere);
        }
        match memory.capacity() {
            0 => Some(RegisterErrorKind::Empty),
            capacity if capacity > MAX_BYTES => Some(RegisterErrorKind::TooLong),
            _ => None,
        }
    }

    /// Puts memory into a leased slot, in the place of what is there.
    fn fill(self: &Arc<Self>, lease: Lease, memory: Memory) -> Result<FixedBuf, (RegisterError, Lease)> {
        // Under the lock, so that a clone of the table sees both or neither: the slot filled, and the region entered.
        let mut state = self.state();
        let filled = with_core(|core| {
            core.inflight.fill_buffer_slot(lease.index().into(), memory.start(), memory.capacity())
        });
        match filled {
            Ok(()) => Ok(FixedBuf::whole(self.enter(&mut state, lease, memory))),
            Err(error) => Err((RegisterError::refused(&error, memory), lease)),
        }
    }

    /// Takes note of what stands in a slot.
    fn enter(&self, state: &mut State, lease: Lease, memory: Memory) -> Arc<Region> {
        let index = usize::from(lease.index());
        let region = Arc::new(Region::new(memory, lease));
        state.regions[index] = Arc::downgrade(&region);
        region
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // no step under it can be left half done
    }
}

impl SharedBuffers {
    /// Gives the runtime that runs here the same table: the buffers that are registered there now, in the same slots.
    ///
    /// An op on one of these buffers asks by slot on either runtime then; what is registered later is registered with one of
    /// them. The table that results is one of this runtime, whose free slots can be registered in. A buffer that would be
    /// too much locked memory is left out, and is memory like any other here.
    ///
    /// # Kernel
    ///
    /// `IORING_REGISTER_CLONE_BUFFERS`, Linux 6.12: no page is looked up or locked a second time. Recent kernels refuse that for
    /// rings of two threads, and older ones do not know it: then each buffer is registered once more.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` when this runtime has a table; `Unsupported` when the kernel has no such tables; `ENOMEM`.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn clone_here(self) -> io::Result<BufferTable> {
        let Self { table: source, ring, made } = self;
        with_core(|core| {
            let (slots, state) = (source.slots, source.state());
            let cloned = match Feature::CloneBuffers.is_hidden() || !made.same_process() {
                true => Err(io::Error::from_raw_os_error(libc::EINVAL)),
                false => core.inflight.clone_buffer_slots(ring.as_raw_fd()),
            };
            let there: Vec<_> = state.regions.iter().map(Weak::upgrade).collect();
            let mut is_free = vec![false; there.len()];
            state.free.iter().for_each(|&index| is_free[usize::from(index)] = true);
            drop(state); // before the last hold on a region, perhaps, is dropped
            let mut here = vec![false; there.len()];
            match cloned {
                Ok(()) => {
                    for (index, region) in there.iter().enumerate() {
                        here[index] = region.is_some();
                        if region.is_none() && !is_free[index] {
                            // On its way out of the other table: nobody has it. An error leaves it there until the slot
                            // is filled.
                            let _ = core.inflight.clear_buffer_slot(index as u32);
                        }
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Err(explain(error)),
                Err(_) => {
                    core.inflight.register_buffer_slots(slots).map_err(explain)?;
                    for (index, region) in there.iter().enumerate() {
                        here[index] = region.as_ref().is_some_and(|region| {
                            let memory = region.memory();
                            core.inflight
                                .fill_buffer_slot(index as u32, memory.start(), memory.capacity())
                                .is_ok()
                        });
                    }
                }
            }
            let free = (0..slots as u16).rev().filter(|&index| !here[usize::from(index)]).collect();
            let held = there.iter().zip(&here).map(|(region, here)| region.as_ref().filter(|_| *here));
            let regions = held.clone().map(|region| region.map_or_else(Weak::new, Arc::downgrade)).collect();
            let table = BufferTable::made(core, slots, free, regions);
            for (index, region) in held.enumerate() {
                if let Some(region) = region {
                    region.add(Lease::new(Arc::clone(&table.0), index as u16));
                }
            }
            Ok(table)
        })
    }
}

fn with_core<R>(work: impl FnOnce(&Core) -> R) -> R {
    context::with(|core| {
        work(core.expect(
            "a table of registered buffers is used on a millstream runtime: there is no ring to have it",
        ))
    })
}

/// Says what a refusal of a whole table means.
fn explain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EBUSY) => io::Error::new(
            io::ErrorKind::ResourceBusy,
            "this runtime has a table of registered buffers already: clone that one",
        ),
        Some(libc::EINVAL) => io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel has no sparse tables of registered buffers: Linux 5.19 or newer is needed",
        ),
        _ => error,
    }
}

impl fmt::Debug for BufferTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferTable")
            .field("slots", &self.0.slots)
            .field("available", &self.available())
            .finish()
    }
}

impl fmt::Debug for SharedBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuffers").field("slots", &self.table.slots).finish_non_exhaustive()
    }
}
