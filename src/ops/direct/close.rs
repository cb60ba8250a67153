//! Closing what is in a slot of the ring's table.
//!
//! Knows: `IORING_OP_CLOSE` with a slot in place of a descriptor. Does not know: nodes, rings, which slots are free.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use io_uring::{opcode, types};

use crate::ops::fd::{FixedFd, Hold, Lease};
use crate::ops::op::Op;
use crate::ops::request::{Prepared, Request};
use crate::runtime::core::Core;
use crate::runtime::driver::Sqe;

/// The request of [`close_direct`].
#[derive(Debug)]
pub struct CloseDirect {
    slot: FixedFd,
    tenant: u32,
}

// SAFETY: (I1) the entry has no pointers; the slot is held.
unsafe impl Request for CloseDirect {
    type Output = io::Result<()>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        self.tenant = self.slot.tenant();
        Poll::Ready(if self.slot.is_picked() {
            Prepared::AnswerShort(-libc::EBUSY)
        } else if self.slot.is_elsewhere() {
            Prepared::AnswerShort(-libc::EBADF)
        } else {
            Prepared::Submit
        })
    }

    fn sqe(&mut self) -> Sqe {
        opcode::Close::new(types::Fixed(self.slot.slot())).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        self.ended(&result);
        self.slot.explain(result.map(drop)).map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) if self.slot.is_picked() => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "the kernel has picked this slot, and would pick it again: it is closed when its last hold goes",
            ),
            _ => error,
        })
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
/// slot belongs to another runtime. `ResourceBusy` when the kernel has [picked](crate::ops::FdTable::pick) the slot: it would be
/// another file's at once, whoever else holds it, and closes with its last hold.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; the file is closed with the last hold on the slot at the latest.
///
/// # Examples
///
/// See [`open_direct`](crate::ops::open_direct).
pub fn close_direct(slot: impl Into<FixedFd>) -> Op<CloseDirect> {
    Op::new(CloseDirect { slot: slot.into(), tenant: 0 })
}

/// The close of a slot that nobody holds any more.
struct Vacate(Lease);

// SAFETY: (I1) the entry has no pointers; the number is ours until the close has ended.
unsafe impl Request for Vacate {
    type Output = ();

    const REPEATABLE: bool = true;

    fn sqe(&mut self) -> Sqe {
        opcode::Close::new(self.0.fixed()).build().into()
    }

    fn finish(self, _result: io::Result<u32>, _flags: u32) {}
}

/// Closes the file in a slot that nobody holds any more, and then gives the number back.
pub(crate) fn close_slot(core: &Core, lease: Lease) {
    if let Err(Vacate(lease)) = Op::start_detached(Vacate(lease), core) {
        // No entry can be queued now, and nobody is there to wait until one can. An error leaves the file in its slot, where
        // the next open replaces it.
        let _ = core.inflight.clear_slot(lease.fixed().0);
        drop(lease);
    }
}
