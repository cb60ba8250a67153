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
//!
//! The slots behind those are the kernel's to pick from, if the table has any: no number of theirs is ever reserved, and one
//! that was picked is free for the kernel as soon as its file is closed. So only the last hold closes it.

use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use io_uring::squeue::{Entry, Flags};
use io_uring::types;

use super::super::direct::{self, DirectSlot};
use super::home::Runtimes;
use super::salvage::{Envelope, Gives, Place, Salvage};
use super::target::{Hold, IntoDescriptor};
use crate::runtime::RuntimeId;
use crate::runtime::context;
use crate::runtime::driver::Sqe;
use crate::runtime::registry::{self, Remote};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::util::biased::Biased;
use crate::util::contain::contain;

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
/// `IORING_REGISTER_FILES2` with `IORING_RSRC_REGISTER_SPARSE`, Linux 5.19. Before 6.13 the file of a slot is closed only when
/// all ops on slots that began before that have ended: a peer that waits for the end is told sooner by a `shutdown`.
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
    /// How many slots are ours to give out.
    slots: u32,
    /// How many more the kernel picks from.
    picked: u32,
    free: Mutex<Free>,
}

struct Free {
    /// The numbers nobody has. The one that was given back last is given out first.
    numbers: Vec<u32>,
    /// The tasks of those who wait for one.
    wakers: Vec<Waker>,
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
        Self::with_picked(slots, 0)
    }

    /// As [`new`](Self::new), and `picked` slots besides, of which the kernel picks one where [`pick`](Self::pick) stands for a
    /// slot: none need be reserved for an open that may fail, and no number is known before it is open.
    ///
    /// # Kernel
    ///
    /// `IORING_REGISTER_FILE_ALLOC_RANGE` for a `picked` that is not 0, Linux 6.0.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); `InvalidInput` when there are no slots of either kind; `Unsupported` also when the kernel does not
    /// pick from a range, and then the runtime has no table: one without `picked` slots can be made.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn with_picked(slots: u32, picked: u32) -> io::Result<Self> {
        let Some(all) = slots.checked_add(picked).filter(|&all| all > 0) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a table of direct descriptors has one slot at least, and no more than a number can name",
            ));
        };
        context::with(|core| {
            let core =
                core.expect("a table was made outside a millstream runtime: there is no ring to have it");
            if picked > 0 && !core.inflight.picks_from_range() {
                // Before there is a table: it would stay as long as its ring, with nobody to have it.
                let text = "this kernel does not pick slots from a range: Linux 6.0 or newer is needed";
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
            core.inflight.register_slots(all).map_err(|error| match error.raw_os_error() {
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
            if picked > 0 {
                core.inflight.set_pick_range(slots, picked)?;
            }
            let free = Mutex::new(Free { numbers: (0..slots).rev().collect(), wakers: Vec::new() });
            Ok(Self(Arc::new(Table { runtime: core.id, slots, picked, free })))
        })
    }

    /// Takes a slot, to be opened into.
    ///
    /// # Errors
    ///
    /// [`TableFull`] when every slot is held: it can be tried again when a hold is gone.
    pub fn reserve(&self) -> Result<FixedFd, TableFull> {
        let number = self.0.free().numbers.pop();
        number.map(|index| self.slot(index)).ok_or(TableFull { slots: self.0.slots })
    }

    /// Takes two slots, side by side if there are such two: what [`pipe_direct`](crate::ops::pipe_direct) can then open in one go.
    ///
    /// # Errors
    ///
    /// [`TableFull`] when not even two are free.
    pub fn reserve_pair(&self) -> Result<(FixedFd, FixedFd), TableFull> {
        let mut free = self.0.free();
        let mut sorted = free.numbers.clone();
        sorted.sort_unstable();
        let adjacent = sorted.windows(2).find(|pair| pair[0] + 1 == pair[1]);
        let Some(&[first, second]) =
            adjacent.or_else(|| sorted.first_chunk().map(|pair: &[u32; 2]| &pair[..]))
        else {
            return Err(TableFull { slots: self.0.slots });
        };
        free.numbers.retain(|&number| number != first && number != second);
        drop(free);
        Ok((self.slot(first), self.slot(second)))
    }

    /// Takes a slot as soon as one is free.
    pub(crate) fn poll_reserve(&self, cx: &mut Context<'_>) -> Poll<FixedFd> {
        let mut waker = Some(cx.waker().clone()); // cloned and dropped outside of the lock (I7)
        let mut free = self.0.free();
        if let Some(index) = free.numbers.pop() {
            drop(free);
            return Poll::Ready(self.slot(index));
        }
        if let Some(new) = waker.take_if(|new| !free.wakers.iter().any(|old| old.will_wake(new))) {
            free.wakers.push(new);
        }
        drop(free);
        Poll::Pending
    }

    /// Lets the kernel pick the slot for what is opened: to be passed in place of a slot.
    ///
    /// It picks from the slots that the table was [made with](Self::with_picked) for that. If none of them is free, the op fails
    /// with [`TableFull`]. What it picked is closed when its last hold goes, and not before.
    pub fn pick(&self) -> DirectSlot {
        DirectSlot::picked(self.clone())
    }

    /// Puts an open descriptor into a slot: a direct descriptor for the same open file.
    ///
    /// The descriptor stays as it is, and either may be closed without the other. What was left behind on it
    /// by dropped reads stays there, too.
    ///
    /// # Kernel
    ///
    /// `IORING_REGISTER_FILES_UPDATE`, Linux 5.5: a system call, at once.
    ///
    /// # Errors
    ///
    /// [`TableFull`]; `InvalidInput` elsewhere than on the table's runtime; what the kernel says of descriptors that
    /// cannot be in a table, such as those of rings.
    pub fn install(&self, fd: impl IntoDescriptor) -> io::Result<FixedFd> {
        let (fd, slot) = (fd.into_descriptor(), self.reserve()?);
        slot.fill(fd.as_fd())?;
        Ok(slot)
    }

    /// A slot that was just taken.
    fn slot(&self, index: u32) -> FixedFd {
        FixedFd::of(Arc::clone(&self.0), index, 0, Tenancy::default())
    }

    /// The slot that the kernel has picked for a file, and put it into.
    pub(crate) fn was_picked(&self, index: u32, gives: Gives) -> FixedFd {
        let file = Tenancy { opening: 0, occupied: true, gives };
        FixedFd::of(Arc::clone(&self.0), index, 1, file)
    }

    /// How many slots can be reserved.
    pub fn capacity(&self) -> usize {
        self.0.slots as usize
    }

    /// How many of them are free. One whose last hold went with a file in it is free when the ring has closed that.
    pub fn available(&self) -> usize {
        self.0.free().numbers.len()
    }

    /// How many slots there are that the kernel picks from.
    pub fn pickable(&self) -> usize {
        self.0.picked as usize
    }

    /// Whether it is the table of the runtime that runs here.
    pub(crate) fn is_here(&self) -> bool {
        context::with(|core| core.is_some_and(|core| core.id == self.0.runtime))
    }
}

impl Table {
    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner) // no step under it can be left half done
    }
}

impl fmt::Debug for FdTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FdTable")
            .field("slots", &self.0.slots)
            .field("picked", &self.0.picked)
            .field("available", &self.available())
            .finish()
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

/// What every op asks for stands here itself, and not behind the lease or the lock.
struct Slot {
    index: u32,
    home: RuntimeId,
    salvage: Salvage,
    /// How many opens were begun: tells one file from the next. Changed under the lock of `file`.
    opens: AtomicU32,
    /// Taken when the slot is dropped.
    lease: Option<Lease>,
    file: Mutex<Tenancy>,
}

/// What is known about the file in a slot. Opens and closes may overlap, so it errs towards a file that is there.
#[derive(Default)]
struct Tenancy {
    /// How many of the opens that were begun have not ended.
    opening: u32,
    occupied: bool,
    /// The kernel does not say what is in a slot: whoever put it there has.
    gives: Gives,
}

/// A number that nobody else has. Dropped, it is free.
pub(crate) struct Lease {
    table: Arc<Table>,
    index: u32,
}

impl FixedFd {
    fn of(table: Arc<Table>, index: u32, opens: u32, file: Tenancy) -> Self {
        Self(Biased::new(Slot {
            index,
            home: table.runtime,
            salvage: Salvage::new(),
            opens: AtomicU32::new(opens),
            lease: Some(Lease { table, index }),
            file: Mutex::new(file),
        }))
    }

    /// Whether the kernel has picked the slot, and takes it back as soon as it is empty.
    pub(crate) fn is_picked(&self) -> bool {
        self.lease().is_picked()
    }

    /// Puts an open descriptor into the slot, in the place of what is there, here and now.
    pub(crate) fn fill(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let filled = context::with(|core| match core.filter(|core| core.id == self.0.home) {
            Some(core) => core.inflight.fill_slot(self.slot(), fd.as_raw_fd()),
            None => Err(elsewhere()),
        });
        filled?;
        self.begin_tenancy();
        self.open_queued();
        self.open_ended(true, Gives::of(fd));
        Ok(())
    }

    /// The number of the slot in its table.
    #[inline]
    pub fn slot(&self) -> u32 {
        self.0.index
    }

    fn lease(&self) -> &Lease {
        self.0.lease.as_ref().expect("taken only by the drop of the slot")
    }

    fn file(&self) -> MutexGuard<'_, Tenancy> {
        lock(&self.0.file)
    }

    /// An open is about to be queued: what was left of the file before is nobody's.
    pub(crate) fn begin_tenancy(&self) {
        let file = self.file();
        // ORDERING: Relaxed, here and below: a number to compare with. What it tells apart is known by other ways: those of the
        // ring, and the lock.
        self.0.opens.fetch_add(1, Ordering::Relaxed);
        drop(file);
        self.0.salvage.forget();
    }

    /// An open was queued.
    pub(crate) fn open_queued(&self) {
        self.file().opening += 1;
    }

    /// It has ended.
    pub(crate) fn open_ended(&self, opened: bool, gives: Gives) {
        let mut file = self.file();
        file.opening -= 1;
        file.occupied |= opened;
        if opened {
            file.gives = gives;
        }
    }

    /// A close that was queued when `tenant` was the newest has left the slot empty.
    pub(crate) fn emptied(&self, tenant: u32) {
        let mut file = self.file();
        if file.opening == 0 && self.tenant() == tenant {
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
    #[inline]
    fn from(fd: &FixedFd) -> Self {
        fd.clone()
    }
}

impl Hold for FixedFd {
    type Tenant = u32;

    #[inline]
    fn number(&self) -> types::Fd {
        types::Fd(self.slot() as i32)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    #[inline]
    fn address(&self, entry: Entry) -> Sqe {
        Sqe::from(entry).flags(Flags::FIXED_FILE)
    }

    #[inline]
    fn left_behind(&self) -> &Salvage {
        &self.0.salvage
    }

    fn gives(&self) -> Gives {
        self.file().gives
    }

    #[inline]
    fn tenant(&self) -> u32 {
        self.0.opens.load(Ordering::Relaxed)
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

    #[inline]
    fn is_elsewhere(&self) -> bool {
        context::with(|core| core.is_none_or(|core| core.id != self.0.home))
    }

    #[inline]
    fn explain<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| match error.raw_os_error() {
            Some(libc::EBADF) if self.is_elsewhere() => elsewhere(),
            _ => error,
        })
    }
}

/// What an op on a slot of another ring fails with.
pub(crate) fn elsewhere() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "a direct descriptor can be used only on the runtime whose table it is in",
    )
}

impl Lease {
    fn is_picked(&self) -> bool {
        self.index >= self.table.slots
    }

    /// The number, as a close names it.
    pub(crate) fn fixed(&self) -> types::Fixed {
        types::Fixed(self.index)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_picked() {
            return; // it was the kernel's again as soon as it was empty
        }
        let mut free = self.table.free();
        free.numbers.push(self.index);
        let wakers = mem::take(&mut free.wakers);
        drop(free);
        for waker in wakers {
            contain(|| waker.wake()); // one that panics must not keep the others asleep (I7)
        }
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
