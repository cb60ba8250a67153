//! Receiving messages again and again with one entry: address and control data stand before the bytes, in the same buffer.
//!
//! Knows: `IORING_OP_RECVMSG`, pools and queues, the salvage of its descriptor. Does not know: nodes, rings, the queue of results.
//!
//! ```text
//!   a buffer, as the kernel fills it
//!  ┌───────────────────────────┬───────────────────────┬──────────────────────┬─────────────
//!  │ four numbers of 32 bits   │ address, in its room  │ control, in its room │ bytes …
//!  └───────────────────────────┴───────────────────────┴──────────────────────┴─────────────
//!    address, control, bytes: how long each is, which may be more than there was room for; `MSG_*`
//! ```
//!
//! An entry that completes once has the kernel put address and control data into memory of the source, and only the bytes into
//! the buffer. It leaves as much of the buffer alone as the other would have used for the rest.
#![allow(
    unsafe_code,
    reason = "implements the unsafe source trait, and takes over what the kernel has received"
)]

use std::io;
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use io_uring::opcode;
use io_uring::squeue::Flags;

use super::Multishot;
use super::pooled::From;
use super::source::{Came, Shot, Source, Then};
use crate::ops::address::Address;
use crate::ops::buf::{Claim, Hungry, Lender, PoolBuf, clamp};
use crate::ops::control::Control;
use crate::ops::fd::salvage::{Envelope, Place, Take};
use crate::ops::fd::{AnyFd, Fd, IntoFd};
use crate::ops::features::Feature;
use crate::ops::message::{Header, Part};
use crate::ops::pooled::{Filled, OneFilled, Provides};
use crate::ops::recv_msg::Received;
use crate::runtime::driver::Sqe;

/// `struct io_uring_recvmsg_out`, in bytes.
const NUMBERS: usize = 16;
const FLAGS: u32 = libc::MSG_CMSG_CLOEXEC as u32;
const NO_ROOM: &str = "a buffer has no room for a message behind its address and control data";

/// What stands at the start of a buffer.
fn numbers(buf: &[u8]) -> Option<[u32; 4]> {
    let (numbers, _) = buf.get(..NUMBERS)?.as_chunks();
    Some(std::array::from_fn(|at| u32::from_ne_bytes(numbers[at])))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// The source of [`recvmsg_multishot`].
#[derive(Debug)]
pub struct RecvmsgMultishot<F: AnyFd = Fd, T: Filled = PoolBuf> {
    from: From<F>,
    hungry: Hungry<T::Lender>,
    starved: bool,
    /// Which entry is out, or was.
    shot: Shot,
    header: Header,
    /// Where a single entry puts the address; for the other one it only says how much room there is.
    address: Address,
    /// The same for control data.
    control: Vec<u8>,
    /// How much of a buffer a single entry may fill.
    part: Part,
    /// A buffer that came back with nothing in it. Kept until it can be dropped: that may wake others.
    spent: Option<T>,
}

impl<F: AnyFd, T: OneFilled> RecvmsgMultishot<F, T> {
    fn lender(&self) -> &Arc<T::Lender> {
        self.hungry.lender()
    }

    /// How many bytes of a buffer stand before those of the message.
    fn room_before(&self) -> usize {
        let mut address = Address::unnamed();
        NUMBERS + address.room().1 as usize + self.control.len()
    }

    /// How many bytes of a message the largest buffer has room for.
    fn most(&self) -> usize {
        (self.lender().most() as usize).saturating_sub(self.room_before())
    }

    /// Why it cannot be asked for at all.
    fn unusable(&self) -> Option<io::Error> {
        if self.lender().is_elsewhere() {
            return Some(T::Lender::elsewhere());
        }
        if self.lender().is_incremental() {
            return Some(invalid("a message needs the whole of a buffer: not from an incremental pool"));
        }
        if self.most() == 0 {
            return Some(invalid(NO_ROOM));
        }
        None
    }

    /// A buffer as the kernel has filled it, apart. Back with it if it is not filled as it should be.
    fn apart(&self, mut buf: T) -> Result<(Received, T), T> {
        let before = self.room_before();
        let (Some([address, control, bytes, flags]), true) = (numbers(&buf), buf.len() >= before) else {
            return Err(buf);
        };
        let mut from = Address::unnamed();
        let (place, room) = from.room();
        let len = address.min(room) as usize;
        // SAFETY: (local) the address has room for so many bytes, and the buffer has them, in its room for an address.
        unsafe { ptr::copy_nonoverlapping(buf[NUMBERS..].as_ptr(), place.cast::<u8>(), len) };
        from.set_len(address);
        let start = before - self.control.len();
        let control = buf[start..before].get(..control as usize).unwrap_or(&buf[start..before]).to_vec();
        // SAFETY: (I1) the kernel has written them into a buffer that a completion has named just now; its part of the buffer is
        // left out below.
        let control = unsafe { Control::received(control) };
        buf.leave_out(before);
        buf.shorten(bytes as usize);
        let flags = flags as i32 & !libc::MSG_CMSG_CLOEXEC;
        Ok((Received { len: bytes as usize, from, flags, control }, buf))
    }

    /// What a single entry has brought beside the bytes.
    fn single(&mut self, len: usize) -> Received {
        let mut from = mem::replace(&mut self.address, Address::unnamed());
        from.set_len(self.header.address_len());
        let control = self.control[..self.header.control_len().min(self.control.len())].to_vec();
        // SAFETY: (I1) the kernel has written them for the entry that has just completed.
        let control = unsafe { Control::received(control) };
        let flags = self.header.flags() & !libc::MSG_CMSG_CLOEXEC;
        Received { len, from, flags, control }
    }

    /// What a completion without an error has brought.
    fn received(&mut self, len: usize, claim: Claim<T>) -> io::Result<(Received, T)> {
        let buf = match claim {
            Claim::Got(buf) => buf,
            Claim::Nothing if len == 0 => T::default(),
            Claim::Nothing | Claim::Disowned => return Err(Claim::<T>::disowned()),
        };
        match self.shot {
            Shot::Multi if len > 0 => self.apart(buf).map_err(|buf| {
                self.spent = Some(buf);
                Claim::<T>::disowned()
            }),
            _ => Ok((self.single(len), buf)),
        }
    }

    /// The error, with what it means here.
    fn refused(&self, error: io::Error) -> io::Error {
        match error.raw_os_error() {
            Some(libc::EBADF) => self
                .unusable()
                .unwrap_or_else(|| self.from.fd().explain::<()>(Err(error)).expect_err("an error stays one")),
            // All addresses in the entry are good: it is the next buffer of a queue, and is still there.
            Some(libc::EFAULT) => invalid(NO_ROOM),
            _ => error,
        }
    }
}

// SAFETY: (I1) the entry points to the header, which is part of the source, at its final address; what that points to is part
// of the source or owned by it, and is not touched until the terminal completion. It names the lender's group, whose buffers the
// lender owns. The lender and the descriptor are held.
unsafe impl<F: AnyFd, T: OneFilled> Source for RecvmsgMultishot<F, T> {
    type Item = (Received, T);
    type Home = From<F>;

    const FEATURE: Feature = Feature::RecvmsgMultishot;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Place, Self::Item)>> {
        self.spent = None;
        let fd = self.from.fd();
        if fd.left_behind().concerns_reads() {
            let keeps_boundaries = || fd.keeps_boundaries();
            let left = fd.left_behind().poll_message(cx, keeps_boundaries, Take::Consume, self.most());
            if let Some((place, bytes, envelope)) = ready!(left) {
                let Envelope { from, flags, control } = envelope;
                let received = Received { len: bytes.len(), from, flags, control };
                return Poll::Ready(Some((place, (received, T::salvaged(bytes)))));
            }
        }
        if self.starved {
            ready!(self.hungry.poll(cx));
            self.starved = false;
        }
        Poll::Ready(None)
    }

    fn sqe(&mut self, shot: Shot) -> Sqe {
        self.shot = shot;
        let number = self.from.number();
        let number = if self.unusable().is_some() { io_uring::types::Fd(-1) } else { number };
        let group = self.lender().group();
        let entry = if shot == Shot::Multi {
            let header = self.header.receive(&mut self.address, (ptr::null(), 0), &mut self.control);
            opcode::RecvMsgMulti::new(number, header, group).flags(FLAGS).build()
        } else {
            let part = self.part.set(ptr::null_mut(), clamp(self.most()));
            let header = self.header.receive(&mut self.address, part, &mut self.control);
            let entry = opcode::RecvMsg::new(number, header).buf_group(group).flags(FLAGS).build();
            entry.flags(Flags::BUFFER_SELECT)
        };
        self.from.fd().address(entry)
    }

    fn came(&mut self, result: io::Result<u32>, flags: u32) -> Came<Self::Item> {
        let claim = T::claim(self.lender(), &result, flags);
        let (received, buf) = match result {
            Ok(len) => {
                self.hungry.fed();
                match self.received(len as usize, claim) {
                    Ok(item) => item,
                    Err(error) => return Came::Failed(error),
                }
            }
            Err(error) => {
                if let Claim::Got(nothing) = claim {
                    self.spent = Some(nothing);
                }
                return Came::Failed(self.refused(error));
            }
        };
        // Of a stream it is the end; but a datagram may be empty.
        if received.len == 0 && !self.from.fd().has_no_end() {
            self.spent = Some(buf);
            return Came::End;
        }
        Came::Item((received, buf))
    }

    fn after(&mut self, error: &io::Error) -> Then {
        if error.raw_os_error() == Some(libc::ENOBUFS) {
            self.starved = true;
            return Then::WhenReady;
        }
        Then::End
    }

    fn home(&self) -> &From<F> {
        &self.from
    }

    fn give_back(home: &From<F>, (received, buf): Self::Item, place: Option<Place>) {
        let Received { from, flags, control, .. } = received;
        home.leave_message(&buf, Some(Envelope { from, flags, control }), false, place);
    }

    fn orphaned(&mut self) {
        self.from.fd().left_behind().read_orphaned();
    }

    fn ended(home: &From<F>) {
        home.leave_message(&[], None, true, None);
    }
}

/// Receives messages from a socket again and again, each into one buffer of a pool or a queue, with the address of its sender and
/// control data, until the end of the stream or until it is stopped.
///
/// Every result is what came beside the bytes, and the bytes, in order; of a datagram longer than a buffer has room for the rest is
/// lost, and the flags say so (`MSG_TRUNC`). Give it a destination: see [`Multishot`]. As
/// [`recv_multishot`](super::recv_multishot) it waits for a buffer when the pool has none left.
///
/// The kernel puts 16 bytes, a socket address in 112, and the room for control data, before the bytes of the message: a buffer is
/// that much larger than the longest message. What is seen of it are the bytes of the message alone. Of a
/// [`BufQueue`](crate::ops::BufQueue) every buffer must be larger: the op ends with an error when it comes to one that is not,
/// which stays in the queue as the message stays in the socket.
///
/// # Kernel
///
/// `IORING_OP_RECVMSG` with `IORING_RECV_MULTISHOT` and `IOSQE_BUFFER_SELECT`, Linux 6.0: one entry for any number of messages.
/// Before, one entry for each, with address and control data beside the buffer.
///
/// # Errors
///
/// What `recvmsg(2)` returns, but `ENOBUFS`; `ECANCELED` when it was cancelled; `InvalidInput` when the pool or queue is another
/// runtime's, is incremental, or has buffers that are too small.
///
/// # Cancel safety
///
/// Dropped, it is cancelled. Messages that nobody has taken wait on the descriptor, in order, for the next receive, as for
/// [`recvmsg`](super::super::recvmsg); their buffers go back to the pool.
///
/// # Examples
///
/// ```
/// use std::future::poll_fn;
/// use std::net::UdpSocket;
/// use std::ops::ControlFlow;
/// use millstream::Results;
/// use millstream::ops::{self, BufPool, Fd};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let pool = BufPool::new(4, 1500 + 128)?;
/// let (sender, receiver) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// let address = sender.local_addr()?;
/// sender.send_to(b"grist", receiver.local_addr()?)?;
/// let mut messages = ops::recvmsg_multishot(Fd::from(receiver), &pool);
/// let ControlFlow::Continue((received, bytes)) = poll_fn(|cx| messages.poll_next(cx)).await else { panic!() };
/// assert_eq!((&bytes[..], received.from.to_socket_addr()?), (&b"grist"[..], address));
/// # Ok(())
/// # })
/// # }
/// ```
pub fn recvmsg_multishot<F: IntoFd, P: Provides>(
    fd: F,
    pool: &P,
) -> Multishot<RecvmsgMultishot<F::Fd, P::Filled>> {
    Multishot::new(RecvmsgMultishot {
        from: From::new(fd.into_fd()),
        hungry: Hungry::new(pool.lender()),
        starved: false,
        shot: Shot::Multi,
        header: Header::new(),
        address: Address::unnamed(),
        control: Vec::new(),
        part: Part::new(),
        spent: None,
    })
}

impl<F: AnyFd, T: OneFilled> Multishot<RecvmsgMultishot<F, T>> {
    /// How many bytes of control data there is room for, with each message: see [`Control::space`]. None if nothing is said.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn control_room(mut self, bytes: usize) -> Self {
        self.source_mut().control = vec![0; bytes];
        self
    }
}
