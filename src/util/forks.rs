//! How many forks lie between the first process of this program and this one.
//!
//! Knows: `sync`, `pthread_atfork`. Does not know: what a child process must not use any more.
//!
//! A child has one thread, a copy of the memory, and none of what other threads and the kernel do for the parent. A child
//! made by a bare `clone` system call is not noticed here.
#![allow(unsafe_code, reason = "registers a handler with pthread_atfork")]

use std::io;

use crate::sync::OnceLock;
use crate::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Has forks counted from now on.
///
/// # Errors
///
/// `ENOMEM` when the handler cannot be registered: they are not counted then.
pub(crate) fn watch() -> io::Result<()> {
    type Handler = Option<unsafe extern "C" fn()>;
    unsafe extern "C" {
        fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> libc::c_int;
    }
    /// Called by `fork`, so it does only what is async-signal-safe.
    extern "C" fn child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    static REGISTERED: OnceLock<i32> = OnceLock::new();
    // SAFETY: (local) the handler is a function of this program and touches one atomic.
    match *REGISTERED.get_or_init(|| unsafe { pthread_atfork(None, None, Some(child)) }) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// The number of forks since they are [watched](watch): the same number, the same process.
#[inline]
pub(crate) fn generation() -> u32 {
    // ORDERING: the handler runs on the only thread the child has, before `fork` returns there.
    GENERATION.load(Ordering::Relaxed)
}
