//! Direct descriptors: slots of a table that the ring has for itself, counted like any descriptor.
//!
//! Knows: the table of one runtime, which slots are free, what stands in a slot. Does not know: nodes, requests.
//!
//! ```text
//!            reserve                  open_direct                close_direct
//!  number ─────────────▶ FixedFd ────────────────────▶ a file ─────────────────▶ empty
//!    ▲                      │                             │                        │
//!    └──────────────────────┴── the last hold goes ◀──────┼────────────────────────┘
//!    ▲                                                    ▼
//!    └───────────────────────── its close has ended ── closed through the ring
//! ```
//!
//! A number is given out again only when its slot is empty for certain, so that no op ever finds another's file in it.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use io_uring::squeue::{Entry, Flags};
use io_uring::types;

use super::super::direct;
use super::home::Runtimes;
use super::salvage::{Envelope, Place, Salvage};
use super::target::Hold;
use crate::runtime::RuntimeId;
use crate::runtime::context;
use crate::runtime::driver::Sqe;
use crate::runtime::registry::{self, Remote};
use crate::util::biased::Biased;

/// A runtime's table of direct descriptors.
///
/// A direct descriptor is an open file that only the ring knows: it has a slot in the ring's table in place of a number
/// among the descriptors of the process. Ops on it skip the look-up that every other one costs, and, because a slot can be
/// named before there is a file in it, opening, reading and closing can be one chain.
///
/// A runtime has one table at most, as long as it lives; clones of an `FdTable` are the same one. It is not counted against
/// `RLIMIT_NOFILE`, but no table can be longer than that.
///
/// # Kernel
///
/// `IORING_REGISTER_FILES2` with `IORING_RSRC_REGISTER_SPARSE`, Linux 5.19.
///
/// # Examples
///
/// ```
/// use millstream::ops::{self, FdTable};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let table = FdTable::new(16)?;
/// let slot = table.reserve()?;
/// // Opens, reads and closes a file in one submission.
/// let (opened, (n, buf), closed) = (ops::open_direct("Cargo.toml", &slot)
///     >> ops::read(&slot, vec![0; 11]).at(0)
///     >> ops::close_direct(&slot))
/// .await;
/// opened?;
/// assert_eq!((n?, &buf[..]), (11, &b"[workspace]"[..]));
/// closed?;
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct FdTable(Arc<Table>);

struct Table {
    runtime: RuntimeId,
    slots: u32,
    /// The numbers nobody has. The one that was given back last is given out first.
    free: Mutex<Vec<u32>>,
}

impl FdTable {
    /// Gives the runtime that runs here a table of so many slots.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a table of no slots; `ResourceBusy` when this runtime has a table; `Unsupported` when the kernel
    /// has no such tables; `EMFILE` when the table is longer than `RLIMIT_NOFILE` allows; `ENOMEM`.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn new(slots: u32) -> io::Result<Self> {
        if slots == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a table of direct descriptors has one slot at least",
            ));
        }
        context::with(|core| {
            let core =
                core.expect("a table was made outside a millstream runtime: there is no ring to have it");
            core.inflight.register_slots(slots).map_err(|error| match error.raw_os_error() {
                Some(libc::EBUSY) => io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "this runtime has a table of direct descriptors already: clone that one",
                ),
                Some(libc::EINVAL) => io::Error::new(
                    io::ErrorKind::Unsupported,
                    "this kernel has no sparse tables of direct descriptors: Linux 5.19 or newer is needed",
                ),
                _ => error,
            })?;
            let free = Mutex::new((0..slots).rev().collect());
            Ok(Self(Arc::new(Table { runtime: core.id, slots, free })))
        })
    }

    /// Takes a slot, to be opened into.
    ///
    /// # Errors
    ///
    /// [`TableFull`] when every slot is held: it can be tried again when a hold is gone.
    pub fn reserve(&self) -> Result<FixedFd, TableFull> {
        let index = self.0.free().pop().ok_or(TableFull { slots: self.0.slots })?;
        let lease = Lease { table: Arc::clone(&self.0), index };
        let file = Mutex::new(Tenancy::default());
        Ok(FixedFd(Biased::new(Slot { lease: Some(lease), salvage: Salvage::new(), file })))
    }

    /// How many slots it has.
    pub fn capacity(&self) -> usize {
        self.0.slots as usize
    }

    /// How many slots are free. One whose last hold went with a file in it is free when the ring has closed that.
    pub fn available(&self) -> usize {
        self.0.free().len()
    }
}

impl Table {
    fn free(&self) -> MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner) // no step under it can be left half done
    }
}

impl fmt::Debug for FdTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FdTable").field("slots", &self.0.slots).field("available", &self.available()).finish()
    }
}

/// Every slot of a table is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull {
    /// How many slots the table has.
    pub slots: u32,
}

impl fmt::Display for TableFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all {} slots of the runtime's table of direct descriptors are held", self.slots)
    }
}

impl Error for TableFull {}

impl From<TableFull> for io::Error {
    fn from(error: TableFull) -> Self {
        Self::new(io::ErrorKind::QuotaExceeded, error)
    }
}

/// A counted hold on a slot of an [`FdTable`], with or without a file in it.
///
/// Ops take it as they take an [`Fd`](super::Fd), by value or by `&`, and each in flight holds one. An op that runs while
/// the slot is empty fails with `EBADF`; one that is behind [`open_direct`](crate::ops::open_direct) in a chain finds the
/// file. When the last hold goes, a file in it is closed through the ring, and then the slot is free again.
///
/// It belongs to the runtime whose table it is from. It may be moved and dropped elsewhere, but an op on it fails there,
/// with an error of kind `InvalidInput`.
///
/// What a dropped read had received waits for the next one as with an `Fd`, unless another file was opened into the slot
/// since.
///
/// # Cost
///
/// As for an [`Fd`](super::Fd).
#[derive(Clone)]
pub struct FixedFd(Biased<Slot, Runtimes>);

struct Slot {
    /// Taken when the slot is dropped.
    lease: Option<Lease>,
    salvage: Salvage,
    file: Mutex<Tenancy>,
}

/// What is known about the file in a slot. Opens and closes may overlap, so it errs towards a file that is there.
#[derive(Default)]
struct Tenancy {
    /// How many opens were begun: tells one file from the next.
    opens: u32,
    /// How many of them have not ended.
    opening: u32,
    occupied: bool,
}

/// A number that nobody else has. Dropped, it is free.
pub(crate) struct Lease {
    table: Arc<Table>,
    index: u32,
}

impl FixedFd {
    /// The number of the slot in its table.
    pub fn slot(&self) -> u32 {
        self.lease().index
    }

    fn lease(&self) -> &Lease {
        self.0.lease.as_ref().expect("taken only by the drop of the slot")
    }

    fn file(&self) -> MutexGuard<'_, Tenancy> {
        lock(&self.0.file)
    }

    /// An open is about to be queued: what was left of the file before is nobody's.
    pub(crate) fn begin_tenancy(&self) {
        let mut file = self.file();
        file.opens = file.opens.wrapping_add(1);
        drop(file);
        self.0.salvage.forget();
    }

    /// An open was queued.
    pub(crate) fn open_queued(&self) {
        self.file().opening += 1;
    }

    /// It has ended.
    pub(crate) fn open_ended(&self, opened: bool) {
        let mut file = self.file();
        file.opening -= 1;
        file.occupied |= opened;
    }

    /// A close that was queued when `tenant` was the newest has left the slot empty.
    pub(crate) fn emptied(&self, tenant: u32) {
        let mut file = self.file();
        if file.opening == 0 && file.opens == tenant {
            file.occupied = false;
        }
    }
}

fn lock(file: &Mutex<Tenancy>) -> MutexGuard<'_, Tenancy> {
    file.lock().unwrap_or_else(PoisonError::into_inner) // no step under it can be left half done
}

impl fmt::Debug for FixedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FixedFd").field(&self.slot()).finish()
    }
}

impl From<&FixedFd> for FixedFd {
    fn from(fd: &FixedFd) -> Self {
        fd.clone()
    }
}

impl Hold for FixedFd {
    type Tenant = u32;

    fn number(&self) -> types::Fd {
        types::Fd(self.slot() as i32)
    }

    fn address(&self, entry: Entry) -> Sqe {
        Sqe::from(entry).flags(Flags::FIXED_FILE)
    }

    fn left_behind(&self) -> &Salvage {
        &self.0.salvage
    }

    /// The kernel does not say what is in a slot; what can be opened into one are streams and files.
    fn keeps_boundaries(&self) -> bool {
        false
    }

    fn tenant(&self) -> u32 {
        self.file().opens
    }

    fn abandon_message(
        &self,
        tenant: u32,
        bytes: &[u8],
        envelope: Option<Envelope>,
        orphaned: bool,
        taken: Option<Place>,
    ) {
        let still_there = self.tenant() == tenant;
        let bytes = if still_there { bytes } else { &[] };
        let (envelope, taken) = (envelope.filter(|_| still_there), taken.filter(|_| still_there));
        self.0.salvage.message_abandoned(bytes, envelope, orphaned, taken);
    }

    fn is_elsewhere(&self) -> bool {
        let home = self.lease().table.runtime;
        context::with(|core| core.is_none_or(|core| core.id != home))
    }

    fn explain<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| match error.raw_os_error() {
            Some(libc::EBADF) if self.is_elsewhere() => io::Error::new(
                io::ErrorKind::InvalidInput,
                "a direct descriptor can be used only on the runtime whose table it is in",
            ),
            _ => error,
        })
    }
}

impl Lease {
    /// The number, as a close names it.
    pub(crate) fn fixed(&self) -> types::Fixed {
        types::Fixed(self.index)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.table.free().push(self.index);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !file.occupied && file.opening == 0 {
            return; // the lease is dropped with the slot
        }
        let Some(lease) = self.lease.take() else { return };
        let home = lease.table.runtime;
        context::with(|core| match core {
            Some(core) if core.id == home => direct::close_slot(core, lease),
            // Another thread, or the runtime is not running: a message. If it is gone, its table has gone with it.
            _ => drop(
                registry::entry_of(home)
                    .post(home, Remote::Work(Box::new(move |core: &_| direct::close_slot(core, lease)))),
            ),
        });
    }
}
