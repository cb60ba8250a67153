//! Sending an open file to a mailbox, from table to table.
//!
//! Knows: `IORING_OP_MSG_RING` with a descriptor. Does not know: nodes, who receives.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use io_uring::{opcode, types};

use super::MailAddress;
use super::message::gone;
use super::shared::{Content, Credit, Shared};
use crate::ops::fd::{FixedFd, Hold, elsewhere};
use crate::ops::op::Op;
use crate::ops::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`pass_fd`].
#[derive(Debug)]
pub struct PassFd {
    to: Arc<Shared>,
    file: FixedFd,
    credit: Option<Credit>,
    /// The slot in the receiver's table, which the cell holds.
    slot: Option<u32>,
}

// SAFETY: (I1) the entry has no pointers; the credit holds the descriptor of the ring, and its cell the slot; the file is held.
unsafe impl Request for PassFd {
    type Output = (io::Result<()>, FixedFd);

    const REPEATABLE: bool = true;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.file.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        if self.credit.is_none() {
            self.credit = ready!(self.to.poll_credit(cx));
        }
        let Some(credit) = &self.credit else { return Poll::Ready(Prepared::AnswerShort(-libc::EPIPE)) };
        if self.to.is_here() {
            credit.fill(Content::Own(self.file.clone()));
            self.credit.take().into_iter().for_each(Credit::deliver);
            return Poll::Ready(Prepared::Answer(0));
        }
        let Some(table) = &self.to.table else {
            return Poll::Ready(Prepared::AnswerShort(-libc::EOPNOTSUPP));
        };
        if self.slot.is_none() {
            if self.to.poll_closed(cx).is_ready() {
                return Poll::Ready(Prepared::AnswerShort(-libc::EPIPE));
            }
            let slot = ready!(table.poll_reserve(cx));
            slot.begin_tenancy();
            slot.open_queued();
            self.slot = Some(slot.slot());
            credit.fill(Content::Sent(slot, self.file.gives()));
        }
        Poll::Ready(Prepared::Submit)
    }

    fn sqe(&mut self) -> Sqe {
        let (ring, user_data) =
            self.credit.as_ref().map_or((-1, 0), |credit| (credit.ring.as_raw_fd(), credit.user_data()));
        let slot = self.slot.and_then(|slot| types::DestinationSlot::try_from_slot_target(slot).ok());
        let slot = slot.unwrap_or(types::DestinationSlot::auto_target());
        opcode::MsgRingSendFd::new(types::Fd(ring), types::Fixed(self.file.slot()), slot, user_data)
            .build()
            .into()
    }

    fn finish(mut self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        let credit = self.credit.take();
        let result = match result {
            Ok(_) => {
                credit.into_iter().for_each(Credit::sent);
                Ok(())
            }
            Err(error) => Err(self.explain(error)), // and the cell is free again
        };
        (result, self.file)
    }

    fn abandon(self, result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        let _nobody_asks = self.finish(result, 0);
    }
}

impl PassFd {
    fn explain(&self, error: io::Error) -> io::Error {
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => {
                io::Error::new(io::ErrorKind::InvalidInput, "this mailbox has no table for files")
            }
            Some(libc::EINVAL) => io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel sends no files between rings: Linux 6.0 or newer is needed",
            ),
            Some(libc::EBADF) if self.file.is_elsewhere() => elsewhere(),
            _ => gone(error),
        }
    }
}

/// Sends the open file in a slot to a [`Mailbox`](super::Mailbox), on whichever runtime that is.
///
/// It arrives in a slot of the receiver's table; no descriptor of the process is made on the way. The sender's slot stays as it
/// is and comes back: drop it, to have the receiver's the only one. While the mailbox is full, or the receiver's table is, it waits.
///
/// # Kernel
///
/// `IORING_OP_MSG_RING` with `IORING_MSG_SEND_FD`, Linux 6.0. One entry, one completion here and one there. To a mailbox of
/// this runtime it goes without the kernel, as another hold on the same slot.
///
/// # Errors
///
/// `BrokenPipe` when the mailbox or its runtime is gone; `InvalidInput` when the mailbox was made without a table, or the slot
/// belongs to another runtime than the one that runs here; `EBADF` when the slot is empty; `Unsupported` on older kernels;
/// `ECANCELED` when it was cancelled, and then it was not sent. The slot comes back with the error.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; it was sent, or not, and nobody learns which. In either case each table has the slots
/// that it should.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use millstream::Runtime;
/// use millstream::ops::{self, FdTable, Mail, Mailbox};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # Runtime::new()?.block_on(async {
/// let mut mailbox = Mailbox::with_table(4, &FdTable::new(4)?)?;
/// let address = mailbox.address();
/// let sender = thread::spawn(move || {
///     Runtime::new()?.block_on(async {
///         let file = ops::open_direct("Cargo.toml", FdTable::new(4)?.reserve()?).await?;
///         ops::pass_fd(&address, file).await.0
///     })
/// });
/// if let Mail::File(file) = mailbox.receive().await? {
///     let (n, _) = ops::read(&file, [0; 11]).at(0).await;
///     assert_eq!(n?, 11);
/// }
/// sender.join().expect("no panic")
/// # })
/// # .map_err(|error: std::io::Error| error.into())
/// # }
/// ```
pub fn pass_fd(to: &MailAddress, file: impl Into<FixedFd>) -> Op<PassFd> {
    Op::new(PassFd { to: Arc::clone(&to.0), file: file.into(), credit: None, slot: None })
}
