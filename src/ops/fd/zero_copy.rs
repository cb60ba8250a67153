//! Whether something can be sent on a descriptor without a copy: found out once, and remembered.
//!
//! Knows: socket families. Does not know: ops, the counted descriptor around it.
#![allow(unsafe_code, reason = "asks the kernel for a socket's family, which std does not offer")]

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::sync::atomic::{AtomicU8, Ordering};

const UNKNOWN: u8 = 0;
const MAYBE: u8 = 1;
const REFUSED: u8 = 2;

/// What is known of one descriptor.
///
/// ```text
/// UNKNOWN ──its family is asked for──▶ MAYBE ──the kernel refuses──▶ REFUSED
///    └──────a unix socket───────────────────────────────────────────────▲
/// ```
#[derive(Debug)]
pub(crate) struct Support(AtomicU8);

impl Support {
    pub(super) const fn new() -> Self {
        Self(AtomicU8::new(UNKNOWN))
    }

    /// Whether the kernel is known to refuse.
    ///
    /// Unix sockets always do. They are recognised before the first send, which may be part of a chain that a refusal would
    /// break.
    pub(super) fn is_refused(&self, fd: BorrowedFd<'_>) -> bool {
        // ORDERING: Relaxed, here and below: the word stands for itself, and a send that does not see it yet is refused again.
        match self.0.load(Ordering::Relaxed) {
            UNKNOWN => {
                let state = if family(fd) == Some(libc::AF_UNIX) { REFUSED } else { MAYBE };
                self.0.store(state, Ordering::Relaxed);
                state == REFUSED
            }
            state => state == REFUSED,
        }
    }

    /// The kernel has refused.
    pub(super) fn refused(&self) {
        self.0.store(REFUSED, Ordering::Relaxed);
    }
}

/// The family of a socket.
fn family(fd: BorrowedFd<'_>) -> Option<i32> {
    let mut family: libc::c_int = 0;
    let mut len = size_of_val(&family) as libc::socklen_t;
    // SAFETY: (local) both pointers are to locals of the size that `len` says.
    let done = unsafe {
        let family = (&raw mut family).cast();
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN, family, &raw mut len)
    };
    (done == 0).then_some(family)
}
