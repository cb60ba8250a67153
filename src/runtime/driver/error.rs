//! Why a ring could not be made, in words a user can act on.
//!
//! Knows: errnos of the ring's own calls, what usually causes them. Does not know: what the ring is for.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;

/// The system call, or the step of making a ring, that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildStep {
    /// A value given to the builder was refused before any call was made.
    Configuration,
    /// `io_uring_setup`.
    Setup,
    /// Mapping the queues.
    Map,
    /// `io_uring_register`.
    Register,
    /// `io_uring_enter`.
    Enter,
    /// Anything beside the ring that a runtime needs from the system.
    System,
}

impl fmt::Display for BuildStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration => "configuration",
            Self::Setup => "io_uring_setup",
            Self::Map => "mapping the queues",
            Self::Register => "io_uring_register",
            Self::Enter => "io_uring_enter",
            Self::System => "runtime setup",
        })
    }
}

/// What kept a runtime from being built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// `ENOSYS`: the kernel has no io_uring, or a seccomp filter hides it.
    Unavailable,
    /// `EPERM` or `EACCES`: the sysctl `kernel.io_uring_disabled`, a seccomp filter or a security module forbids it.
    Forbidden,
    /// `ENOMEM`: the locked-memory limit, or memory itself, does not suffice.
    OutOfMemory,
    /// `EMFILE` or `ENFILE`: no descriptor is left.
    TooManyFiles,
    /// The kernel has io_uring, but lacks something the runtime cannot do without.
    TooOld {
        /// The name of what is missing.
        missing: &'static str,
    },
    /// A value given to the builder cannot be used; the text names it.
    InvalidConfiguration(String),
    /// Any other error of the system.
    Other,
}

/// A runtime could not be built. The message says what is in the way and what to do about it.
///
/// # Examples
///
/// ```
/// use millstream::runtime::{BuildError, BuildErrorKind};
///
/// fn advice(error: &BuildError) -> &'static str {
///     match error.kind() {
///         BuildErrorKind::Forbidden => "ask for io_uring in the container's seccomp profile",
///         _ => "see the message",
///     }
/// }
/// # let _ = advice;
/// ```
#[derive(Debug)]
pub struct BuildError {
    kind: BuildErrorKind,
    step: BuildStep,
    source: io::Error,
    hint: String,
}

impl BuildError {
    /// What is in the way.
    pub fn kind(&self) -> &BuildErrorKind {
        &self.kind
    }

    /// Which call failed.
    pub fn step(&self) -> BuildStep {
        self.step
    }

    /// The errno, if a system call failed.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// A call of `step` failed with `source`.
    pub(crate) fn call(step: BuildStep, source: io::Error) -> Self {
        let (kind, hint) = match source.raw_os_error() {
            Some(libc::ENOSYS) => (BuildErrorKind::Unavailable, unavailable()),
            Some(libc::EPERM | libc::EACCES) => (BuildErrorKind::Forbidden, forbidden()),
            Some(libc::ENOMEM) => (
                BuildErrorKind::OutOfMemory,
                "the queues count against RLIMIT_MEMLOCK on this kernel: raise it (`ulimit -l`, LimitMEMLOCK=), \
                 or ask for smaller queues or fewer runtimes"
                    .into(),
            ),
            Some(libc::EMFILE) => (
                BuildErrorKind::TooManyFiles,
                "the process has no descriptor left: raise RLIMIT_NOFILE (`ulimit -n`) or close some".into(),
            ),
            Some(libc::ENFILE) => (
                BuildErrorKind::TooManyFiles,
                "the system has no open file left: raise the sysctl fs.file-max or close some".into(),
            ),
            _ => (BuildErrorKind::Other, String::new()),
        };
        Self { kind, step, source, hint }
    }

    /// The kernel lacks `missing`.
    pub(crate) fn too_old(missing: &'static str) -> Self {
        Self {
            kind: BuildErrorKind::TooOld { missing },
            step: BuildStep::Setup,
            source: io::Error::from(io::ErrorKind::Unsupported),
            hint: format!(
                "the kernel lacks {missing}: Linux 5.19 or newer is needed, 6.1 or newer is advised"
            ),
        }
    }

    /// A value of the configuration cannot be used.
    pub(crate) fn invalid(text: String) -> Self {
        Self {
            kind: BuildErrorKind::InvalidConfiguration(text.clone()),
            step: BuildStep::Configuration,
            source: io::Error::from(io::ErrorKind::InvalidInput),
            hint: text,
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            BuildErrorKind::InvalidConfiguration(text) => write!(f, "invalid configuration: {text}"),
            BuildErrorKind::TooOld { .. } => write!(f, "io_uring is too old: {}", self.hint),
            _ => {
                write!(f, "{} failed: {}", self.step, self.source)?;
                if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
            }
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

impl From<BuildError> for io::Error {
    /// Keeps the kind of the system's error; the [`BuildError`] stays within as the inner error.
    fn from(error: BuildError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

fn unavailable() -> String {
    if seccomp_filtered() {
        "a seccomp filter (a container's profile, a sandbox) hides io_uring: allow io_uring_setup, io_uring_enter and \
         io_uring_register in it"
            .into()
    } else {
        "this kernel was built without io_uring, or is older than it: Linux 5.19 or newer is needed".into()
    }
}

fn forbidden() -> String {
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match sysctl.trim() {
        "2" => {
            "the sysctl kernel.io_uring_disabled is 2 and forbids io_uring to everyone: set it to 0".into()
        }
        "1" => "the sysctl kernel.io_uring_disabled is 1: set it to 0, add this process to the group \
                kernel.io_uring_group, or give it CAP_SYS_ADMIN"
            .into(),
        _ if seccomp_filtered() => {
            "a seccomp filter (a container's profile, a sandbox) forbids io_uring: allow \
                                    io_uring_setup, io_uring_enter and io_uring_register in it"
                .into()
        }
        _ => "a security module or the sandbox of this process forbids io_uring".into(),
    }
}

/// Whether a seccomp filter is installed on this thread.
fn seccomp_filtered() -> bool {
    fs::read_to_string("/proc/thread-self/status")
        .is_ok_and(|status| status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])))
}
