//! What a file is: its length, kind, times and permissions.
//!
//! Knows: `IORING_OP_STATX`, `struct statx`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::fmt;
use std::io;
use std::mem;
use std::path::Path;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use io_uring::opcode;

use super::fd::{Fd, IntoDescriptor};
use super::op::Op;
use super::open::directory;
use super::path::PathArg;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`statx`], [`statx_at`] and [`statx_fd`].
pub struct Statx {
    dir: Option<Fd>,
    path: PathArg,
    flags: i32,
    /// Where the kernel writes to.
    out: libc::statx,
}

impl fmt::Debug for Statx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statx").field("dir", &self.dir).field("path", &self.path).finish_non_exhaustive()
    }
}

// SAFETY: (I1) the entry points to the path, on the heap and owned by the request, and to `out` inside of it; the
// directory is held.
unsafe impl Request for Statx {
    type Output = io::Result<Metadata>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        Poll::Ready(self.path.prepare())
    }

    fn sqe(&mut self) -> Sqe {
        let out = (&raw mut self.out).cast();
        opcode::Statx::new(directory(self.dir.as_ref()), self.path.as_ptr(), out)
            .flags(self.flags)
            .mask(libc::STATX_BASIC_STATS | libc::STATX_BTIME)
            .build()
            .into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<Metadata> {
        self.path.explain(result).map(|_| Metadata(self.out))
    }
}

impl Statx {
    fn new(dir: Option<Fd>, path: PathArg, flags: i32) -> Op<Self> {
        // SAFETY: (local) a structure of integers, for which zero is a value.
        let out = unsafe { mem::zeroed() };
        Op::new(Self { dir, path, flags, out })
    }
}

/// What a file is: the answer of [`statx`].
#[derive(Clone, Copy)]
pub struct Metadata(libc::statx);

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// An ordinary file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket in the file system.
    Socket,
    /// A pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// Something else: an eventfd, for example.
    Other,
}

impl Metadata {
    /// The length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "the length of a file, not of a collection, as in std")]
    pub fn len(&self) -> u64 {
        self.0.stx_size
    }

    /// The permissions, and the bits of the kind: `st_mode`.
    pub fn mode(&self) -> u32 {
        u32::from(self.0.stx_mode)
    }

    /// The kind.
    pub fn kind(&self) -> FileKind {
        match self.mode() & libc::S_IFMT {
            libc::S_IFREG => FileKind::File,
            libc::S_IFDIR => FileKind::Directory,
            libc::S_IFLNK => FileKind::Symlink,
            libc::S_IFSOCK => FileKind::Socket,
            libc::S_IFIFO => FileKind::Fifo,
            libc::S_IFCHR => FileKind::CharDevice,
            libc::S_IFBLK => FileKind::BlockDevice,
            _ => FileKind::Other,
        }
    }

    /// When the content was last changed.
    pub fn modified(&self) -> SystemTime {
        time(&self.0.stx_mtime)
    }

    /// When the content was last read, as far as the file system records it.
    pub fn accessed(&self) -> SystemTime {
        time(&self.0.stx_atime)
    }

    /// When the file was made, if the file system records it.
    pub fn created(&self) -> Option<SystemTime> {
        (self.0.stx_mask & libc::STATX_BTIME != 0).then(|| time(&self.0.stx_btime))
    }

    /// The number of the file in its file system.
    pub fn ino(&self) -> u64 {
        self.0.stx_ino
    }

    /// The device of its file system, as `st_dev` has it.
    pub fn dev(&self) -> u64 {
        libc::makedev(self.0.stx_dev_major, self.0.stx_dev_minor)
    }

    /// How many names the file has.
    pub fn nlink(&self) -> u32 {
        self.0.stx_nlink
    }

    /// The user and the group that own it.
    pub fn owner(&self) -> (u32, u32) {
        (self.0.stx_uid, self.0.stx_gid)
    }

    /// How much of the device it takes, in blocks of 512 bytes.
    pub fn blocks(&self) -> u64 {
        self.0.stx_blocks
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("kind", &self.kind())
            .field("len", &self.len())
            .field("mode", &format_args!("{:o}", self.mode()))
            .field("ino", &self.ino())
            .field("dev", &self.dev())
            .finish_non_exhaustive()
    }
}

fn time(stamp: &libc::statx_timestamp) -> SystemTime {
    let nanos = Duration::from_nanos(u64::from(stamp.tv_nsec)); // counts forward also before 1970
    let whole = Duration::from_secs(stamp.tv_sec.unsigned_abs());
    let second = if stamp.tv_sec < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    second.and_then(|second| second.checked_add(nanos)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Asks what the file at a path is.
///
/// Follows symbolic links, unless `no_follow`.
///
/// # Kernel
///
/// `IORING_OP_STATX`, Linux 5.6. One entry, one completion; it always runs on a worker thread of the kernel. To the
/// kernel (6.18 and before) a `statx` that failed is no failure in a chain: what is linked after it starts all the
/// same.
///
/// # Errors
///
/// What `statx(2)` returns; `InvalidInput` when the path has a zero byte in it; `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// Nothing can be lost.
///
/// # Examples
///
/// ```
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let metadata = ops::statx("Cargo.toml").await?;
/// assert_eq!(metadata.kind(), ops::FileKind::File);
/// assert_eq!(metadata.len(), std::fs::metadata("Cargo.toml")?.len());
/// # Ok(())
/// # })
/// # }
/// ```
pub fn statx(path: impl AsRef<Path>) -> Op<Statx> {
    Statx::new(None, PathArg::new(path), 0)
}

/// Asks what the file is whose path counts from a directory.
///
/// As [`statx`]; an absolute path ignores the directory.
///
/// # Kernel
///
/// As [`statx`].
///
/// # Errors
///
/// As [`statx`].
///
/// # Cancel safety
///
/// Nothing can be lost.
pub fn statx_at(dir: impl IntoDescriptor, path: impl AsRef<Path>) -> Op<Statx> {
    Statx::new(Some(dir.into_descriptor()), PathArg::new(path), 0)
}

/// Asks what the file is that a descriptor stands for.
///
/// # Kernel
///
/// As [`statx`].
///
/// # Errors
///
/// As [`statx`].
///
/// # Cancel safety
///
/// Nothing can be lost.
pub fn statx_fd(fd: impl IntoDescriptor) -> Op<Statx> {
    Statx::new(Some(fd.into_descriptor()), PathArg::empty(), libc::AT_EMPTY_PATH)
}

impl Op<Statx> {
    /// Tells of a symbolic link itself, not of what it leads to.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn no_follow(mut self) -> Self {
        self.request_mut().flags |= libc::AT_SYMLINK_NOFOLLOW;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_both_ways_from_1970() {
        // SAFETY: (local) a structure of integers, for which zero is a value.
        let mut stamp: libc::statx_timestamp = unsafe { mem::zeroed() };
        assert_eq!(time(&stamp), SystemTime::UNIX_EPOCH);
        (stamp.tv_sec, stamp.tv_nsec) = (-2, 500_000_000);
        let before = SystemTime::UNIX_EPOCH.duration_since(time(&stamp)).expect("before 1970");
        assert_eq!(before, Duration::from_millis(1500));
        (stamp.tv_sec, stamp.tv_nsec) = (i64::MIN, 0);
        let _ = time(&stamp); // far away, but no panic
    }
}
