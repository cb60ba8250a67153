//! Making sockets in slots of the ring's table.
//!
//! Knows: `IORING_OP_SOCKET` with a slot in place of a descriptor. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use io_uring::opcode;

use super::DirectSlot;
use crate::ops::fd::FixedFd;
use crate::ops::fd::salvage::Gives;
use crate::ops::op::Op;
use crate::ops::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`socket_direct`].
#[derive(Debug)]
pub struct SocketDirect {
    domain: i32,
    kind: i32,
    protocol: i32,
    slot: DirectSlot,
}

// SAFETY: (I1) the entry has no pointers; the slot is held.
unsafe impl Request for SocketDirect {
    type Output = io::Result<FixedFd>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        Poll::Ready(self.slot.begin().unwrap_or(Prepared::Submit))
    }

    fn sqe(&mut self) -> Sqe {
        let kind = self.kind & !libc::SOCK_CLOEXEC; // there is no descriptor to close, and the kernel would refuse
        opcode::Socket::new(self.domain, kind, self.protocol).file_index(self.slot.queue()).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<FixedFd> {
        let gives = Gives::of_socket(self.kind & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK));
        self.slot.end(result, gives)
    }

    fn abandon(self, result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        drop(self.finish(result, 0)); // the slot has the socket, and closes it with its last hold
    }
}

/// Makes a socket in a slot of the runtime's table: `AF_*`, `SOCK_*`, and a protocol, mostly 0.
///
/// As [`socket`](crate::ops::socket), but the socket gets no descriptor of the process. [`connect`](crate::ops::connect),
/// [`bind`](crate::ops::bind()), [`listen`](crate::ops::listen), [`shutdown`](crate::ops::shutdown) and all that accept, read, write, receive
/// and send take the slot. Resolves to a hold on the slot.
///
/// # Kernel
///
/// `IORING_OP_SOCKET` with a slot, Linux 5.19. One entry, one completion.
///
/// # Errors
///
/// What `socket(2)` returns; `ECANCELED` when it was cancelled. `InvalidInput` when the slot belongs to another runtime;
/// [`TableFull`](crate::ops::TableFull) when the kernel was to pick one and none was free.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; a socket that was made all the same is closed with the last hold on the slot.
///
/// # Examples
///
/// ```
/// use millstream::ops::{self, FdTable, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let listener = ops::listen_tcp("127.0.0.1:0")?;
/// let (address, table) = (listener.local_addr()?, FdTable::new(2)?);
/// let (client, server) = (table.reserve()?, table.reserve()?);
/// // Makes a socket, connects it and says hello, in one submission.
/// let (made, connected, sent) = (ops::socket_direct(libc::AF_INET, libc::SOCK_STREAM, 0, &client)
///     >> ops::connect(&client, address)
///     >> ops::send(&client, "hello"))
/// .await;
/// made?;
/// connected?;
/// sent.into_result()?;
/// ops::accept_direct(&listener, &server).await?;
/// let (n, buf) = ops::recv(&server, [0; 8]).await.into_result()?;
/// assert_eq!(&buf[..n], b"hello");
/// # Ok(())
/// # })
/// # }
/// ```
pub fn socket_direct(domain: i32, kind: i32, protocol: i32, slot: impl Into<DirectSlot>) -> Op<SocketDirect> {
    Op::new(SocketDirect { domain, kind, protocol, slot: slot.into() })
}
