//! Why memory could not be registered.
//!
//! Knows: the kernel's limits, errnos. Does not know: tables.
#![allow(unsafe_code, reason = "asks for the limit on locked memory, which std does not offer")]

use std::error::Error;
use std::fmt;
use std::io;

use super::Memory;

/// Memory that could not be registered, and why.
pub struct RegisterError {
    kind: RegisterErrorKind,
    memory: Memory,
}

/// What stood in the way of registering memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterErrorKind {
    /// Every slot of the table has memory in it.
    Full {
        /// How many slots the table has.
        slots: u32,
    },
    /// It would be more locked memory than a user without privileges may have (`RLIMIT_MEMLOCK`). The limit is for all
    /// processes of the user together.
    LockedMemory {
        /// How many bytes would be locked: whole pages.
        needed: u64,
        /// How many bytes the user may have locked in all.
        limit: u64,
    },
    /// There is not one byte in it.
    Empty,
    /// It is longer than the kernel takes as one buffer: 1 GiB.
    TooLong,
    /// The buffer whose slot it was for is not all of what is registered there.
    Shared,
    /// The table is that of a runtime which does not run on this thread.
    Elsewhere,
    /// Anything else, by the kernel's errno.
    Kernel(i32),
}

impl RegisterError {
    pub(super) fn new(kind: RegisterErrorKind, memory: Memory) -> Self {
        Self { kind, memory }
    }

    /// Reads the kernel's refusal.
    pub(super) fn refused(error: &io::Error, memory: Memory) -> Self {
        let kind = match (error.raw_os_error(), locked_memory_limit()) {
            (Some(libc::ENOMEM), Some(limit)) => {
                let first = memory.as_ptr().addr() / PAGE;
                let last = (memory.as_ptr().addr() + memory.capacity() - 1) / PAGE;
                RegisterErrorKind::LockedMemory { needed: ((last - first + 1) * PAGE) as u64, limit }
            }
            (errno, _) => RegisterErrorKind::Kernel(errno.unwrap_or(libc::EINVAL)),
        };
        Self { kind, memory }
    }

    /// What stood in the way.
    pub fn kind(&self) -> RegisterErrorKind {
        self.kind
    }

    /// The memory back.
    pub fn into_memory(self) -> Memory {
        self.memory
    }
}

pub(super) const PAGE: usize = 4096;

/// How many bytes a user may lock; `None` for any number.
fn locked_memory_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: (local) the call fills one live record.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (done == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RegisterErrorKind::Full { slots } => {
                write!(f, "all {slots} slots of the runtime's table of registered buffers are taken")
            }
            RegisterErrorKind::LockedMemory { needed, limit } => write!(
                f,
                "registering the buffer would lock {needed} bytes more, and all processes of this user together may lock \
                 {limit} (RLIMIT_MEMLOCK): raise the limit, or register less"
            ),
            RegisterErrorKind::Empty => f.write_str("a registered buffer has one byte at least"),
            RegisterErrorKind::TooLong => f.write_str("a registered buffer is at most 1 GiB long"),
            RegisterErrorKind::Shared => {
                f.write_str("memory in a slot can be replaced only by whoever has all parts of it")
            }
            RegisterErrorKind::Elsewhere => f.write_str(
                "memory can be registered only on the thread of the runtime whose table it is for",
            ),
            RegisterErrorKind::Kernel(errno) => {
                write!(
                    f,
                    "the kernel refuses to register the buffer: {}",
                    io::Error::from_raw_os_error(errno)
                )
            }
        }
    }
}

impl fmt::Debug for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterError").field("kind", &self.kind).field("memory", &self.memory).finish()
    }
}

impl Error for RegisterError {}

impl From<RegisterError> for io::Error {
    fn from(error: RegisterError) -> Self {
        let kind = match error.kind {
            RegisterErrorKind::Full { .. } => io::ErrorKind::QuotaExceeded,
            RegisterErrorKind::LockedMemory { .. } => io::ErrorKind::OutOfMemory,
            RegisterErrorKind::Kernel(errno) => Self::from_raw_os_error(errno).kind(),
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error.to_string())
    }
}
