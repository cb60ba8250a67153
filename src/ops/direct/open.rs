//! Opening files into slots of the ring's table.
//!
//! Knows: `IORING_OP_OPENAT` with a slot in place of a descriptor. Does not know: nodes, rings, which slots are free.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::path::Path;
use std::task::{Context, Poll};

use io_uring::opcode;

use super::DirectSlot;
use crate::ops::fd::salvage::Gives;
use crate::ops::fd::{Fd, FixedFd, IntoDescriptor};
use crate::ops::op::Op;
use crate::ops::open::directory;
use crate::ops::path::PathArg;
use crate::ops::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`open_direct`] and [`open_at_direct`].
#[derive(Debug)]
pub struct OpenDirect {
    dir: Option<Fd>,
    path: PathArg,
    flags: i32,
    mode: u32,
    slot: DirectSlot,
}

// SAFETY: (I1) the entry points to the path, on the heap and owned by the request; the directory and the slot are held.
unsafe impl Request for OpenDirect {
    type Output = io::Result<FixedFd>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        Poll::Ready(self.slot.begin().unwrap_or_else(|| self.path.prepare()))
    }

    fn sqe(&mut self) -> Sqe {
        opcode::OpenAt::new(directory(self.dir.as_ref()), self.path.as_ptr())
            .flags(self.flags & !libc::O_CLOEXEC) // there is no descriptor to close, and the kernel would refuse
            .mode(self.mode)
            .file_index(self.slot.queue())
            .build()
            .into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<FixedFd> {
        self.slot.end(self.path.explain(result), Gives::Bytes)
    }

    fn abandon(self, result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        drop(self.slot.end(result, Gives::Bytes)); // the slot has the file, and closes it with its last hold
    }
}

/// Opens a file into a slot of the runtime's table.
///
/// As [`open`](crate::ops::open), but the file gets no descriptor of the process: the slot stands for it, in ops that are built
/// before it is open, too, so that `open_direct(…, &slot) >> read(&slot, …) >> close_direct(&slot)` is one submission. A
/// file that is in the slot already is closed when this succeeds. With [`FdTable::pick`](crate::ops::FdTable::pick) the kernel picks
/// a slot. Resolves to a hold on the slot.
///
/// # Kernel
///
/// `IORING_OP_OPENAT` with a slot, Linux 5.15; used behind an open in a chain, 5.19. One entry, one completion.
///
/// # Errors
///
/// As [`open`](crate::ops::open). `InvalidInput` when the slot belongs to another runtime; [`TableFull`](crate::ops::TableFull)
/// when the kernel was to pick one and none was free.
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
pub fn open_direct(path: impl AsRef<Path>, slot: impl Into<DirectSlot>) -> Op<OpenDirect> {
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
    dir: impl IntoDescriptor,
    path: impl AsRef<Path>,
    slot: impl Into<DirectSlot>,
) -> Op<OpenDirect> {
    open_into(Some(dir.into_descriptor()), path.as_ref(), slot.into())
}

fn open_into(dir: Option<Fd>, path: &Path, slot: DirectSlot) -> Op<OpenDirect> {
    let path = PathArg::new(path);
    Op::new(OpenDirect { dir, path, flags: libc::O_RDONLY, mode: 0, slot })
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
