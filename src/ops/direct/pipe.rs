//! Making pipes, with descriptors and in slots of the ring's table, on kernels that have no opcode for it too.
//!
//! Knows: `IORING_OP_PIPE`, the call it stands for. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait, and makes the call of older kernels")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll};

use io_uring::{opcode, types};

use crate::ops::fd::salvage::Gives;
use crate::ops::fd::{Fd, FixedFd, Hold};
use crate::ops::features::Feature;
use crate::ops::op::Op;
use crate::ops::request::{Prepared, Request};
use crate::runtime::context;
use crate::runtime::driver::Sqe;

/// The two ends of a pipe, where the kernel puts them: the reader first.
#[derive(Debug)]
struct Ends(Box<[RawFd; 2]>);

impl Ends {
    fn none() -> Self {
        Self(Box::new([-1, -1]))
    }

    /// The descriptors, once.
    fn take(&mut self) -> Option<(OwnedFd, OwnedFd)> {
        let [reader, writer] = std::mem::replace(&mut *self.0, [-1, -1]);
        // SAFETY: (I2) the kernel has just made these two descriptors for the request that calls this, which takes them once.
        let own = |fd: RawFd| (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) });
        own(reader).zip(own(writer))
    }

    /// Makes a pipe here and now.
    fn make(&mut self, flags: i32) -> Prepared {
        // SAFETY: (local) room for two numbers.
        if unsafe { libc::pipe2(self.0.as_mut_ptr(), flags) } < 0 {
            let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
            return Prepared::AnswerShort(-errno);
        }
        Prepared::Answer(0)
    }
}

fn kernel_can() -> bool {
    let known = context::with(|core| core.is_none_or(|core| core.inflight.supports(opcode::Pipe::CODE)));
    known && !Feature::Pipe.is_hidden()
}

/// The request of [`pipe`].
#[derive(Debug)]
pub struct Pipe {
    ends: Ends,
    flags: i32,
}

// SAFETY: (I1) the entry points to the two numbers, on the heap and owned by the request.
unsafe impl Request for Pipe {
    type Output = io::Result<(Fd, Fd)>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        Poll::Ready(if kernel_can() {
            Prepared::Submit
        } else {
            drop(self.ends.take()); // of a poll that found no place in a chain
            self.ends.make(self.flags | libc::O_CLOEXEC)
        })
    }

    fn sqe(&mut self) -> Sqe {
        let flags = (self.flags | libc::O_CLOEXEC) as u32;
        opcode::Pipe::new(self.ends.0.as_mut_ptr()).flags(flags).build().into()
    }

    fn finish(mut self, result: io::Result<u32>, _flags: u32) -> io::Result<(Fd, Fd)> {
        let ends = self.ends.take();
        result?;
        let (reader, writer) = ends.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        Ok((reader.into(), writer.into()))
    }

    fn abandon(mut self, _result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        drop(self.ends.take());
    }
}

/// Makes a pipe: what is written to the second descriptor is read from the first. Always with `O_CLOEXEC`.
///
/// # Kernel
///
/// `IORING_OP_PIPE`, Linux 6.16. One entry, one completion. On older kernels it is `pipe2(2)`, called at the first poll; in a
/// chain, before the chain starts.
///
/// # Errors
///
/// What `pipe2(2)` returns; `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; a pipe that was made all the same is closed.
///
/// # Examples
///
/// ```
/// use millstream::ops::{self, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (reader, writer) = ops::pipe().await?;
/// ops::write(&writer, "grist").await.into_result()?;
/// let (n, buf) = ops::read(&reader, [0; 8]).await.into_result()?;
/// assert_eq!(&buf[..n], b"grist");
/// # Ok(())
/// # })
/// # }
/// ```
pub fn pipe() -> Op<Pipe> {
    Op::new(Pipe { ends: Ends::none(), flags: 0 })
}

impl Op<Pipe> {
    /// `O_*` of `pipe2(2)`: `O_DIRECT` for messages that keep their bounds, `O_NONBLOCK`.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn flags(mut self, flags: i32) -> Self {
        self.request_mut().flags = flags;
        self
    }
}

/// The request of [`pipe_direct`].
#[derive(Debug)]
pub struct PipeDirect {
    reader: FixedFd,
    writer: FixedFd,
    ends: Ends,
    /// The kernel has it, and the slots know.
    queued: bool,
}

// SAFETY: (I1) the entry points to the two numbers, on the heap and owned by the request; the slots are held.
unsafe impl Request for PipeDirect {
    type Output = io::Result<(FixedFd, FixedFd)>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let slots = [&self.reader, &self.writer];
        if slots.iter().any(|slot| slot.is_elsewhere()) {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        if slots.iter().any(|slot| slot.is_picked()) || self.reader.slot() == self.writer.slot() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EINVAL));
        }
        Poll::Ready(if kernel_can() && self.reader.slot() + 1 == self.writer.slot() {
            slots.iter().for_each(|slot| slot.begin_tenancy());
            Prepared::Submit
        } else {
            self.make()
        })
    }

    fn sqe(&mut self) -> Sqe {
        if !mem::replace(&mut self.queued, true) {
            [&self.reader, &self.writer].iter().for_each(|slot| slot.open_queued());
        }
        let slot = types::DestinationSlot::try_from_slot_target(self.reader.slot());
        opcode::Pipe::new(self.ends.0.as_mut_ptr()).file_index(slot.ok()).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<(FixedFd, FixedFd)> {
        self.ended(&result);
        let result = self.reader.explain(self.writer.explain(result));
        result.map(|_| (self.reader, self.writer))
    }

    fn abandon(self, result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        self.ended(&result);
    }
}

impl PipeDirect {
    /// Makes a pipe and puts its ends into the slots, here and now.
    fn make(&mut self) -> Prepared {
        let made = self.ends.make(libc::O_CLOEXEC);
        let Some((reader, writer)) = self.ends.take() else { return made };
        let filled = self.reader.fill(reader.as_fd()).and_then(|()| self.writer.fill(writer.as_fd()));
        match filled {
            Ok(()) => Prepared::Answer(0),
            Err(error) => Prepared::AnswerShort(-error.raw_os_error().unwrap_or(libc::EINVAL)),
        }
    }

    fn ended(&self, result: &io::Result<u32>) {
        if self.queued {
            // One that failed half way may have left its reader in the slot.
            let opened = !matches!(result, Err(error) if error.raw_os_error() == Some(libc::ECANCELED));
            [&self.reader, &self.writer].iter().for_each(|slot| slot.open_ended(opened, Gives::Bytes));
        }
    }
}

/// Makes a pipe in two slots of the runtime's table: what is written to the second is read from the first.
///
/// [`FdTable::reserve_pair`](crate::ops::FdTable::reserve_pair) gives two slots. Files that are in them already are closed when this
/// succeeds.
///
/// # Kernel
///
/// `IORING_OP_PIPE` with a slot, Linux 6.16, which puts the writer into the slot behind the reader's. One entry, one
/// completion. If the slots are not so, and on older kernels, it is `pipe2(2)` and two updates of the table, at the first poll;
/// in a chain, before the chain starts.
///
/// # Errors
///
/// What `pipe2(2)` returns; `EINVAL` for the same slot twice, or one that the kernel has picked; `ECANCELED` when it was
/// cancelled. `InvalidInput` when a slot belongs to another runtime.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; a pipe that was made all the same is closed with the last holds on the slots.
///
/// # Examples
///
/// ```
/// use millstream::ops::{self, FdTable, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (reader, writer) = FdTable::new(8)?.reserve_pair()?;
/// let (made, sent) = (ops::pipe_direct(&reader, &writer) >> ops::write(&writer, "grist")).await;
/// made?;
/// sent.into_result()?;
/// let (n, buf) = ops::read(&reader, [0; 8]).await.into_result()?;
/// assert_eq!(&buf[..n], b"grist");
/// # Ok(())
/// # })
/// # }
/// ```
pub fn pipe_direct(reader: impl Into<FixedFd>, writer: impl Into<FixedFd>) -> Op<PipeDirect> {
    Op::new(PipeDirect { reader: reader.into(), writer: writer.into(), ends: Ends::none(), queued: false })
}
