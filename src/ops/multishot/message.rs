//! Receiving messages again and again with one entry: address and control data stand before the bytes, in the same buffer.
//!
//! Knows: `IORING_OP_RECVMSG`, pools, the salvage of its descriptor. Does not know: nodes, rings, the queue of results.
//!
//! ```text
//!   a buffer, as the kernel fills it
//!  ┌───────────────────────────┬───────────────────────┬──────────────────────┬─────────────
//!  │ four numbers of 32 bits   │ address, in its room  │ control, in its room │ bytes …
//!  └───────────────────────────┴───────────────────────┴──────────────────────┴─────────────
//!    address, control, bytes: how long each is, which may be more than there was room for; `MSG_*`
//! ```
#![allow(
    unsafe_code,
    reason = "implements the unsafe source trait, and takes over what the kernel has received"
)]

use std::io;
use std::mem;
use std::ptr;
use std::task::{Context, Poll, ready};

use io_uring::opcode;

use super::Multishot;
use super::pooled::From;
use super::source::{Came, Shot, Source, Then};
use crate::ops::address::Address;
use crate::ops::buf::{BufPool, Claim, Hungry, Lender, Pool, PoolBuf};
use crate::ops::control::Control;
use crate::ops::fd::salvage::{Envelope, Place, Take};
use crate::ops::fd::{AnyFd, Fd, IntoFd};
use crate::ops::features::Feature;
use crate::ops::message::Header;
use crate::ops::recv_msg::Received;
use crate::runtime::driver::Sqe;

/// `struct io_uring_recvmsg_out`, in bytes.
const NUMBERS: usize = 16;
const FLAGS: u32 = libc::MSG_CMSG_CLOEXEC as u32;

/// The source of [`recvmsg_multishot`].
#[derive(Debug)]
pub struct RecvmsgMultishot<F: AnyFd = Fd> {
    from: From<F>,
    hungry: Hungry,
    starved: bool,
    header: Header,
    /// Where a single entry puts the address; for the other one it only says how much room there is.
    address: Address,
    /// The same for control data.
    control: Vec<u8>,
    /// Where a single entry puts the bytes.
    bytes: Vec<u8>,
    part: libc::iovec,
    /// A buffer that came back with nothing in it. Kept until it can be dropped: that may wake others.
    spent: Option<PoolBuf>,
}

// SAFETY: (local) the pointer of the part is only for the kernel; it is written when the entry is queued, and points into
// memory that this value owns.
unsafe impl<F: AnyFd + Send> Send for RecvmsgMultishot<F> where F::Tenant: Send {}
// SAFETY: (local) as above; nothing is done through a shared reference.
unsafe impl<F: AnyFd + Sync> Sync for RecvmsgMultishot<F> where F::Tenant: Sync {}

impl<F: AnyFd> RecvmsgMultishot<F> {
    fn pool(&self) -> &Pool {
        self.hungry.lender()
    }

    /// How many bytes of a buffer stand before those of the message.
    fn room_before(&self) -> usize {
        let mut address = Address::unnamed();
        NUMBERS + address.room().1 as usize + self.control.len()
    }

    /// Why it cannot be asked for at all.
    fn unusable(&self) -> Option<io::Error> {
        let invalid = |text| Some(io::Error::new(io::ErrorKind::InvalidInput, text));
        if self.pool().is_elsewhere() {
            return Some(Pool::elsewhere());
        }
        if self.pool().is_incremental() {
            return invalid("a message needs the whole of a buffer: not from an incremental pool");
        }
        if (self.pool().size() as usize) <= self.room_before() {
            return invalid(
                "the pool's buffers have no room for a message behind its address and control data",
            );
        }
        None
    }

    /// A buffer as the kernel has filled it, apart. `None`: it is not filled as it should be.
    fn apart(&self, mut buf: PoolBuf) -> Option<(Received, PoolBuf)> {
        let number =
            |at: usize| buf.get(at..at + 4).map(|four| u32::from_ne_bytes(four.try_into().expect("four")));
        let (address, control, bytes, flags) = (number(0)?, number(4)?, number(8)?, number(12)?);
        let before = self.room_before();
        if buf.len() < before {
            return None;
        }
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
        buf.advance(before);
        buf.truncate(bytes as usize);
        Some((Received { len: bytes as usize, from, flags: flags as i32, control }, buf))
    }

    /// What a single entry has brought.
    fn single(&mut self, len: usize) -> (Received, PoolBuf) {
        let mut from = mem::replace(&mut self.address, Address::unnamed());
        from.set_len(self.header.address_len());
        let control = self.control[..self.header.control_len().min(self.control.len())].to_vec();
        // SAFETY: (I1) the kernel has written them for the entry that has just completed.
        let control = unsafe { Control::received(control) };
        let filled = len.min(self.bytes.capacity());
        // SAFETY: (I1) so many bytes were written by the kernel.
        unsafe { self.bytes.set_len(filled) };
        let bytes = mem::take(&mut self.bytes).into_boxed_slice();
        (Received { len, from, flags: self.header.flags(), control }, PoolBuf::salvaged(bytes))
    }
}

// SAFETY: (I1) the entry points to the header, which is part of the source, at its final address; what that points to is part
// of the source or owned by it, and is not touched until the terminal completion. The pool and the descriptor are held.
unsafe impl<F: AnyFd> Source for RecvmsgMultishot<F> {
    type Item = (Received, PoolBuf);
    type Home = From<F>;

    const FEATURE: Feature = Feature::RecvmsgMultishot;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Place, Self::Item)>> {
        self.spent = None;
        let fd = self.from.fd();
        if fd.left_behind().concerns_reads() {
            let asked = (self.pool().size() as usize).saturating_sub(self.room_before());
            let keeps_boundaries = || fd.keeps_boundaries();
            let left = fd.left_behind().poll_message(cx, keeps_boundaries, Take::Consume, asked);
            if let Some((place, bytes, envelope)) = ready!(left) {
                let Envelope { from, flags, control } = envelope;
                let received = Received { len: bytes.len(), from, flags, control };
                return Poll::Ready(Some((place, (received, PoolBuf::salvaged(bytes)))));
            }
        }
        if self.starved {
            ready!(self.hungry.poll(cx));
            self.starved = false;
        }
        Poll::Ready(None)
    }

    fn sqe(&mut self, shot: Shot) -> Sqe {
        let number = self.from.number();
        let number = if self.unusable().is_some() { io_uring::types::Fd(-1) } else { number };
        let entry = if shot == Shot::Multi {
            let header = self.header.receive(&mut self.address, (ptr::null(), 0), &mut self.control);
            opcode::RecvMsgMulti::new(number, header, self.pool().group()).flags(FLAGS).build()
        } else {
            let room = (self.pool().size() as usize).saturating_sub(self.room_before());
            self.bytes.reserve_exact(room);
            self.part = libc::iovec { iov_base: self.bytes.as_mut_ptr().cast(), iov_len: room };
            let header = self.header.receive(&mut self.address, (&raw const self.part, 1), &mut self.control);
            opcode::RecvMsg::new(number, header).flags(FLAGS).build()
        };
        self.from.fd().address(entry)
    }

    fn came(&mut self, result: io::Result<u32>, flags: u32) -> Came<Self::Item> {
        let claim = self.hungry.lender().claim_one(&result, flags);
        let item = match (result, claim) {
            (Ok(_), Claim::Got(buf)) => {
                self.hungry.fed();
                match self.apart(buf) {
                    Some(item) => item,
                    None => return Came::Failed(Claim::<PoolBuf>::disowned()),
                }
            }
            (Ok(_), Claim::Disowned) => return Came::Failed(Claim::<PoolBuf>::disowned()),
            (Ok(len), Claim::Nothing) => self.single(len as usize),
            (Err(error), claim) => {
                if let Claim::Got(nothing) = claim {
                    self.spent = Some(nothing);
                }
                let unusable = if error.raw_os_error() == Some(libc::EBADF) { self.unusable() } else { None };
                let error = unusable.map_or_else(|| self.from.fd().explain::<()>(Err(error)), Err);
                return error.map_or_else(Came::Failed, |()| Came::Nothing);
            }
        };
        // Of a stream it is the end; but a datagram may be empty.
        if item.0.len == 0 && !self.from.fd().has_no_end() {
            self.spent = Some(item.1);
            return Came::End;
        }
        Came::Item(item)
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

/// Receives messages from a socket again and again, each into one buffer of a pool, with the address of its sender and control
/// data, until the end of the stream or until it is stopped.
///
/// Every result is what came beside the bytes, and the bytes, in order; of a datagram longer than a buffer has room for the rest is
/// lost, and the flags say so (`MSG_TRUNC`). Give it a destination: see [`Multishot`]. As
/// [`recv_multishot`](super::recv_multishot) it waits for a buffer when the pool has none left.
///
/// The kernel puts 128 bytes, and the room for control data, before the bytes of the message: a buffer is that much
/// larger than the longest message.
///
/// # Kernel
///
/// `IORING_OP_RECVMSG` with `IORING_RECV_MULTISHOT` and `IOSQE_BUFFER_SELECT`, Linux 6.0: one entry for any number of messages.
/// Before, one entry for each, into memory of its own.
///
/// # Errors
///
/// What `recvmsg(2)` returns, but `ENOBUFS`; `ECANCELED` when it was cancelled; `InvalidInput` when the pool is another
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
pub fn recvmsg_multishot<F: IntoFd>(fd: F, pool: &BufPool) -> Multishot<RecvmsgMultishot<F::Fd>> {
    Multishot::new(RecvmsgMultishot {
        from: From::new(fd.into_fd()),
        hungry: Hungry::new(pool.pool()),
        starved: false,
        header: Header::new(),
        address: Address::unnamed(),
        control: Vec::new(),
        bytes: Vec::new(),
        part: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
        spent: None,
    })
}

impl<F: AnyFd> Multishot<RecvmsgMultishot<F>> {
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
