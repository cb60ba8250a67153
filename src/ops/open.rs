//! Opening files.
//!
//! Knows: `IORING_OP_OPENAT`, `O_*`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::path::Path;
use std::task::{Context, Poll};

use io_uring::{opcode, types};

use super::adopt::adopt;
use super::fd::{Fd, IntoDescriptor};
use super::op::Op;
use super::path::PathArg;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`open`] and [`open_at`].
#[derive(Debug)]
pub struct Open {
    dir: Option<Fd>,
    path: PathArg,
    flags: i32,
    mode: u32,
}

// SAFETY: (I1) the entry points to the path, on the heap and owned by the request; the directory is held.
unsafe impl Request for Open {
    type Output = io::Result<Fd>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        Poll::Ready(self.path.prepare())
    }

    fn sqe(&mut self) -> Sqe {
        opcode::OpenAt::new(directory(self.dir.as_ref()), self.path.as_ptr())
            .flags(self.flags | libc::O_CLOEXEC)
            .mode(self.mode)
            .build()
            .into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<Fd> {
        self.path.explain(adopt(result).map(Fd::from))
    }

    fn abandon(self, result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        drop(adopt(result));
    }
}

/// The directory that a path counts from: the working directory without one.
pub(super) fn directory(dir: Option<&Fd>) -> types::Fd {
    dir.map_or(types::Fd(libc::AT_FDCWD), Fd::entry)
}

/// Opens a file.
///
/// For reading, unless `flags` says otherwise; always with `O_CLOEXEC`. Resolves to the descriptor.
///
/// # Kernel
///
/// `IORING_OP_OPENAT`, Linux 5.6. One entry, one completion; most file systems open on a worker thread of the kernel.
///
/// # Errors
///
/// What `openat(2)` returns; `InvalidInput` when the path has a zero byte in it; `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; if the kernel had opened the file all the same, it is closed again. A file that
/// it created stays.
///
/// # Examples
///
/// ```
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let file = ops::open("Cargo.toml").await?;
/// let (n, _) = ops::read(&file, vec![0; 16]).await;
/// assert_eq!(n?, 16);
/// ops::close(file).await?;
/// # Ok(())
/// # })
/// # }
/// ```
pub fn open(path: impl AsRef<Path>) -> Op<Open> {
    Op::new(Open { dir: None, path: PathArg::new(path), flags: libc::O_RDONLY, mode: 0 })
}

/// Opens a file whose path counts from a directory.
///
/// As [`open`]; an absolute path ignores the directory.
///
/// # Kernel
///
/// As [`open`].
///
/// # Errors
///
/// As [`open`].
///
/// # Cancel safety
///
/// As [`open`].
///
/// # Examples
///
/// ```
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let dir = ops::open("src").flags(libc::O_DIRECTORY).await?;
/// let file = ops::open_at(&dir, "lib.rs").await?;
/// # drop(file);
/// # Ok(())
/// # })
/// # }
/// ```
pub fn open_at(dir: impl IntoDescriptor, path: impl AsRef<Path>) -> Op<Open> {
    Op::new(Open {
        dir: Some(dir.into_descriptor()),
        path: PathArg::new(path),
        flags: libc::O_RDONLY,
        mode: 0,
    })
}

impl Op<Open> {
    /// `O_*`: how to open; `O_RDONLY` without. `O_CLOEXEC` is always added.
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
