//! What a completion says, and what an op says to whom polls it in the wrong place.
//!
//! Knows: results and errnos. Does not know: requests, futures.

use std::io;

use crate::runtime::core::Core;
use crate::runtime::inflight::{Node, Outcome};

/// What a completion says. All the bits of a notification's result are bits: it carries no errno.
#[inline]
pub(super) fn to_result(outcome: Outcome) -> io::Result<u32> {
    let res = outcome.res();
    if res >= 0 || io_uring::cqueue::notif(outcome.flags()) { Ok(res as u32) } else { Err(failed(-res)) }
}

/// The kernel's "interrupted, start again" codes are for its own use, but those of a worker that a cancel interrupted
/// (an open of a named pipe, say) get out as they are. They mean what a system call would have made of them.
#[cold]
fn failed(errno: i32) -> io::Error {
    // ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK: no user-space header names them.
    let restart = matches!(errno, 512..=514 | 516);
    io::Error::from_raw_os_error(if restart { libc::EINTR } else { errno })
}

/// What a terminal completion below zero says: mostly an error. `EINVAL` may mean that the kernel has never heard of the
/// opcode; then the error says so.
#[cold]
pub(super) fn failure(core: &Core, head: &Node) -> io::Result<u32> {
    let (outcome, opcode) = (head.outcome.get(), head.opcode.get());
    if outcome.res() != -libc::EINVAL || core.inflight.supports(opcode) {
        return to_result(outcome);
    }
    let text = format!("this kernel does not know io_uring opcode {opcode}");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

#[cold]
pub(super) fn outside() -> ! {
    panic!("an op was polled outside a millstream runtime: there is no ring to ask");
}

#[cold]
pub(super) fn elsewhere() -> ! {
    panic!(
        "an op was polled away from the runtime it was started on: its ring belongs to another thread, or is gone"
    );
}
