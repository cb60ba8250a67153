//! Being told again and again that a descriptor is ready.
//!
//! Knows: `IORING_OP_POLL_ADD` and its multishot flag, `POLL*`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe source trait")]

use std::io;

use io_uring::opcode;

use super::Multishot;
use super::pooled::From;
use super::source::{Came, Shot, Source};
use crate::ops::fd::{AnyFd, Fd, IntoFd};
use crate::ops::features::Feature;
use crate::runtime::driver::Sqe;

/// The source of [`poll_multishot`].
#[derive(Debug)]
pub struct PollMultishot<F: AnyFd = Fd> {
    from: From<F>,
    events: u32,
}

// SAFETY: (I1) the entry has no pointers; the descriptor is held.
unsafe impl<F: AnyFd> Source for PollMultishot<F> {
    type Item = u32;
    type Home = ();

    const FEATURE: Feature = Feature::PollMultishot;

    fn sqe(&mut self, shot: Shot) -> Sqe {
        let entry = opcode::PollAdd::new(self.from.number(), self.events);
        self.from.fd().address(entry.multi(shot == Shot::Multi).build())
    }

    fn came(&mut self, result: io::Result<u32>, _flags: u32) -> Came<u32> {
        match result {
            Ok(events) => Came::Item(events),
            Err(error) => match self.from.fd().explain(Err::<(), _>(error)) {
                Err(error) => Came::Failed(error),
                Ok(()) => Came::Nothing,
            },
        }
    }

    fn home(&self) -> &() {
        &()
    }
}

/// Tells each time that a descriptor becomes ready for one of `events`, `libc::POLL*`, until it is stopped.
///
/// Every result is what the descriptor is ready for; `POLLERR` and `POLLHUP` are told whether asked for or not. It is told
/// when something happens, not for as long as it is so: whoever is told reads until nothing is left. After a pause, and where
/// the kernel has begun anew, the present state is told once more, so a result may come twice and none is missed.
///
/// For descriptors that another library reads: the ops of this crate wait by themselves. Give it a destination: see
/// [`Multishot`].
///
/// # Kernel
///
/// `IORING_OP_POLL_ADD` with `IORING_POLL_ADD_MULTI`, Linux 5.13: one entry for any number of results. Where the kernel lacks
/// it, one entry for each, and then a result comes for as long as the descriptor is ready.
///
/// # Errors
///
/// `ECANCELED` when it was cancelled. A kind of descriptor that is always ready, such as a file, is told ready without end.
///
/// # Cancel safety
///
/// Nothing can be lost.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use futures::StreamExt;
/// use millstream::combinators::ResultsExt;
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (reader, mut writer) = std::io::pipe()?;
/// let mut ready = ops::poll_multishot(reader, libc::POLLIN).stream();
/// writer.write_all(b"a")?;
/// assert_eq!(ready.next().await.transpose()?, Some(libc::POLLIN as u32));
/// # Ok(())
/// # })
/// # }
/// ```
pub fn poll_multishot<F: IntoFd>(fd: F, events: libc::c_short) -> Multishot<PollMultishot<F::Fd>> {
    Multishot::new(PollMultishot { from: From::new(fd.into_fd()), events: u32::from(events as u16) })
}
