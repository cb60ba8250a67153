//! Whether standard output was closed when the program began.
//!
//! Rust's start-up code opens `/dev/null` in the place of a standard output that is closed, and every write seems to
//! succeed. So this has to look before that.
//!
//! Knows: descriptor 1. Does not know: anything else.
#![allow(unsafe_code, reason = "only what the loader calls runs before Rust's start-up code")]

use std::sync::atomic::{AtomicBool, Ordering};

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

pub(crate) fn was_closed() -> bool {
    WAS_CLOSED.load(Ordering::Relaxed)
}

// SAFETY: (local) the section holds pointers to functions of this type, and the loader calls each of them once, on the
// only thread there is. This one makes a system call and stores a flag, and needs nothing that is set up later.
#[allow(clippy::unnecessary_safety_comment, reason = "the attribute below is what is unsafe")]
#[unsafe(link_section = ".init_array")]
#[used]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: (local) asking for the flags of a descriptor is all right whether or not there is one.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    WAS_CLOSED.store(flags == -1, Ordering::Relaxed);
}
