//! Opening into a slot of the ring's table, and closing what is there.
//!
//! Knows: `IORING_OP_OPENAT` and `IORING_OP_CLOSE` with a slot in place of a descriptor. Does not know: nodes, rings, which
//! slots are free.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::path::Path;
use std::task::{Context, Poll};

use io_uring::{opcode, types};

use super::fd::{Fd, FixedFd, Hold, Lease};
use super::op::Op;
use super::open::directory;
use super::path::PathArg;
use super::request::{Prepared, Request};
use crate::runtime::core::Core;
use crate::runtime::driver::Sqe;

/// The request of [`open_direct`] and [`open_at_direct`].
#[derive(Debug)]
pub struct OpenDirect {
    dir: Option<Fd>,
    path: PathArg,
    flags: i32,
    mode: u32,
    slot: FixedFd,
    /// The kernel has it, and the slot knows.
    queued: bool,
}

// SAFETY: (I1) the entry points to the path, on the heap and owned by the request; the directory and the slot are held.
unsafe impl Request for OpenDirect {
    type Output = io::Result<FixedFd>;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.slot.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        self.slot.begin_tenancy();
        Poll::Ready(self.path.prepare())
    }

    fn sqe(&mut self) -> Sqe {
        self.slot.open_queued();
        self.queued = true;
        let slot = types::DestinationSlot::try_from_slot_target(self.slot.slot());
        opcode::OpenAt::new(directory(self.dir.as_ref()), self.path.as_ptr())
            .flags(self.flags & !libc::O_CLOEXEC) // there is no descriptor to close, and the kernel would refuse
            .mode(self.mode)
            .file_index(slot.ok())
            .build()
            .into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<FixedFd> {
        self.ended(&result);
        let result = self.slot.explain(self.path.explain(result));
        result.map(|_| self.slot)
    }

    fn abandon(self, result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        self.ended(&result); // the slot has the file, and closes it with its last hold
    }
}

impl OpenDirect {
    fn ended(&self, result: &io::Result<u32>) {
        if self.queued {
            self.slot.open_ended(result.is_ok());
        }
    }
}

/// Opens a file into a slot of the runtime's table.
///
/// As [`open`](super::open), but the file gets no descriptor of the process: the slot stands for it, in ops that are built
/// before it is open, too, so that `open_direct(…, &slot) >> read(&slot, …) >> close_direct(&slot)` is one submission. A
/// file that is in the slot already is closed when this succeeds. Resolves to a hold on the slot.
///
/// # Kernel
///
/// `IORING_OP_OPENAT` with a slot, Linux 5.15; used behind an open in a chain, 5.19. One entry, one completion.
///
/// # Errors
///
/// As [`open`](super::open). `InvalidInput` when the slot belongs to another runtime.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled. If the kernel had opened the file all the same, the slot has it, and closes it when
/// the last hold on the slot goes. A file that it created stays.
///
/// # Examples
///
/// ```
/// use millstream::ops::{self, FdTable};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let table = FdTable::new(8)?;
/// let file = ops::open_direct("Cargo.toml", table.reserve()?).await?;
/// let (n, _) = ops::read(&file, vec![0; 16]).at(0).await;
/// assert_eq!(n?, 16);
/// ops::close_direct(file).await?;
/// # Ok(())
/// # })
/// # }
/// ```
pub fn open_direct(path: impl AsRef<Path>, slot: impl Into<FixedFd>) -> Op<OpenDirect> {
    open_into(None, path.as_ref(), slot.into())
}

/// Opens a file whose path counts from a directory into a slot of the runtime's table.
///
/// As [`open_direct`]; an absolute path ignores the directory.
///
/// # Kernel
///
/// As [`open_direct`].
///
/// # Errors
///
/// As [`open_direct`].
///
/// # Cancel safety
///
/// As [`open_direct`].
///
/// # Examples
///
/// ```
/// use millstream::ops::{self, FdTable};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (dir, table) = (ops::open("src").flags(libc::O_DIRECTORY).await?, FdTable::new(8)?);
/// let file = ops::open_at_direct(&dir, "lib.rs", table.reserve()?).await?;
/// # drop(file);
/// # Ok(())
/// # })
/// # }
/// ```
pub fn open_at_direct(
    dir: impl Into<Fd>,
    path: impl AsRef<Path>,
    slot: impl Into<FixedFd>,
) -> Op<OpenDirect> {
    open_into(Some(dir.into()), path.as_ref(), slot.into())
}

fn open_into(dir: Option<Fd>, path: &Path, slot: FixedFd) -> Op<OpenDirect> {
    let path = PathArg::new(path);
    Op::new(OpenDirect { dir, path, flags: libc::O_RDONLY, mode: 0, slot, queued: false })
}

impl Op<OpenDirect> {
    /// `O_*`: how to open; `O_RDONLY` without. `O_CLOEXEC` means nothing here.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn flags(mut self, flags: i32) -> Self {
        self.request_mut().flags = flags;
        self
    }

    /// The permissions of a file that this creates (`O_CREAT`, `O_TMPFILE`), less the process's umask; none without.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn mode(mut self, mode: u32) -> Self {
        self.request_mut().mode = mode;
        self
    }
}

/// The request of [`close_direct`].
#[derive(Debug)]
pub struct CloseDirect {
    slot: FixedFd,
    tenant: u32,
}

// SAFETY: (I1) the entry has no pointers; the slot is held.
unsafe impl Request for CloseDirect {
    type Output = io::Result<()>;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        self.tenant = self.slot.tenant();
        let answer = Prepared::AnswerShort(-libc::EBADF);
        Poll::Ready(if self.slot.is_elsewhere() { answer } else { Prepared::Submit })
    }

    fn sqe(&mut self) -> Sqe {
        opcode::Close::new(types::Fixed(self.slot.slot())).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        self.ended(&result);
        self.slot.explain(result.map(drop))
    }

    fn abandon(self, result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        self.ended(&result);
    }
}

impl CloseDirect {
    fn ended(&self, result: &io::Result<u32>) {
        if result.is_ok() {
            self.slot.emptied(self.tenant);
        }
    }
}

/// Closes the file in a slot of the runtime's table.
///
/// The slot stays with who holds it, and can be opened into again. Ops in flight on the file go on with it. Dropping the
/// last hold on a slot closes as well, through the ring and without telling of an error.
///
/// # Kernel
///
/// `IORING_OP_CLOSE` with a slot, Linux 5.15. One entry, one completion.
///
/// # Errors
///
/// `EBADF` when the slot is empty; `ECANCELED` when it was cancelled, and the file is still there. `InvalidInput` when the
/// slot belongs to another runtime.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; the file is closed with the last hold on the slot at the latest.
///
/// # Examples
///
/// See [`open_direct`].
pub fn close_direct(slot: impl Into<FixedFd>) -> Op<CloseDirect> {
    Op::new(CloseDirect { slot: slot.into(), tenant: 0 })
}

/// The close of a slot that nobody holds any more.
struct Vacate(Lease);

// SAFETY: (I1) the entry has no pointers; the number is ours until the close has ended.
unsafe impl Request for Vacate {
    type Output = ();

    fn sqe(&mut self) -> Sqe {
        opcode::Close::new(self.0.fixed()).build().into()
    }

    fn finish(self, _result: io::Result<u32>, _flags: u32) {}
}

/// Closes the file in a slot that nobody holds any more, and then gives the number back.
pub(super) fn close_slot(core: &Core, lease: Lease) {
    if let Err(Vacate(lease)) = Op::start_detached(Vacate(lease), core) {
        // No entry can be queued now, and nobody is there to wait until one can. An error leaves the file in its slot, where
        // the next open replaces it.
        let _ = core.inflight.clear_slot(lease.fixed().0);
        drop(lease);
    }
}
