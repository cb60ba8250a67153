//! What io_uring can do: one function per op.
//!
//! An op is a value that describes one request; it does nothing until it is awaited. Buffers go in by value and come
//! back with the result, descriptors are counted ([`Fd`]), so any op may be dropped at any time. `docs/ops.md` has one
//! row for each.
//!
//! Knows: the requests to the ring, descriptors, buffers. Does not know: channels, combinators, how a runtime turns.

mod accept;
mod address;
mod adopt;
mod all;
mod bind;
mod buf;
mod cancel;
mod chain;
mod close;
mod connect;
mod control;
mod direct;
mod fd;
mod features;
mod fsync;
mod link_timeout;
mod mailbox;
mod message;
mod multishot;
mod nop;
mod op;
mod open;
mod path;
mod poll_add;
mod pooled;
mod read;
mod received;
mod recv;
mod recv_msg;
mod request;
mod send;
mod send_msg;
mod send_queued;
mod send_zc;
mod socket;
mod statx;
mod tcp;
mod timeout;
mod vectored;
mod write;
mod zero_copy;

pub use crate::runtime::driver::Sqe;
pub use accept::accept;
pub use address::Address;
pub use all::{send_all, send_all_zc, write_all};
pub use bind::{bind, listen};
pub use buf::{
    Buf, BufExt, BufMut, BufPool, BufPoolBuilder, BufQueue, BufferTable, Bundle, FixedBuf, FixedPool,
    FixedPoolBuf, IntoResult, Memory, PoolBuf, QueueBuf, QueueBundle, QueueError, RegisterError,
    RegisterErrorKind, Relay, SharedBuffers, Slice, Take, TakeFixed, ToFill, ToSend, Visible,
};
pub use cancel::cancel;
pub use chain::{Chain, ChainTooLong, EntryFlags, Link, RingOperation};
pub use close::close;
pub use connect::connect;
pub use control::Control;
pub use direct::{
    DirectSlot, accept_direct, accept_direct_multishot, close_direct, fixed_fd_install, open_at_direct,
    open_direct, pipe, pipe_direct, socket_direct,
};
pub use fd::{AnyFd, Fd, FdTable, FixedFd, IntoDescriptor, IntoFd, TableFull};
#[doc(hidden)]
pub use features::Feature;
pub use fsync::fsync;
pub(crate) use link_timeout::{LinkTimer, link_timer};
pub use mailbox::{Mail, MailAddress, Mailbox, Receive, message, pass_fd};
pub use multishot::{
    Multishot, accept_multishot, poll_multishot, read_multishot, recv_multishot, recvmsg_multishot,
    timeout_multishot,
};
pub use nop::nop;
pub use op::Op;
pub use open::{open, open_at};
pub use poll_add::poll_add;
pub use pooled::{read_pooled, recv_pooled};
pub use read::read;
pub use recv::recv;
pub use recv_msg::{Received, recv_from, recvmsg};
pub use request::{More, Prepared, Request};
pub use send::send;
pub use send_msg::{send_to, sendmsg};
pub use send_queued::{Sent, send_queued};
pub use send_zc::{send_to_zc, send_zc, sendmsg_zc};
pub use socket::{shutdown, socket};
pub use statx::{FileKind, Metadata, statx, statx_at, statx_fd};
pub use tcp::{connect_tcp, listen_tcp};
pub use timeout::timeout;
pub use vectored::{readv, writev};
pub use write::write;
pub use zero_copy::{Recycle, Usage, ZeroCopy};

/// The requests behind the ops, for signatures that name an [`Op`].
pub mod requests {
    pub use super::accept::Accept;
    pub use super::all::{All, SendAll, SendAllZc, WriteAll};
    pub use super::bind::{Bind, Listen};
    pub use super::buf::Use;
    pub use super::cancel::Cancel;
    pub use super::close::Close;
    pub use super::connect::Connect;
    pub use super::direct::{
        AcceptDirect, AcceptDirectMultishot, CloseDirect, FixedFdInstall, OpenDirect, Pipe, PipeDirect,
        SocketDirect,
    };
    pub use super::fsync::Fsync;
    pub use super::mailbox::{PassFd, SendMessage};
    pub use super::message::{Addressed, Message, Several, Single};
    pub use super::multishot::{
        AcceptMultishot, FillMultishot, PollMultishot, ReadMultishot, RecvMultishot, RecvmsgMultishot,
        Source, TimeoutMultishot,
    };
    pub use super::nop::Nop;
    pub use super::open::Open;
    pub use super::poll_add::PollAdd;
    pub use super::pooled::{
        Ask, AskRead, AskRecv, Filled, OneFilled, Pooled, Provides, ReadPooled, RecvPooled,
    };
    pub use super::read::Read;
    pub use super::recv::Recv;
    pub use super::recv_msg::{Many, One, Parts, RecvMsg};
    pub use super::send::Send;
    pub use super::send_msg::SendMsg;
    pub use super::send_queued::SendQueued;
    pub use super::send_zc::{SendMsgZc, SendToZc, SendZc};
    pub use super::socket::{Shutdown, Socket};
    pub use super::statx::Statx;
    pub use super::tcp::ConnectTcp;
    pub use super::timeout::Timeout;
    pub use super::vectored::{Readv, Writev};
    pub use super::write::Write;
    pub use super::zero_copy::{Back, Delivery, Reported, SendingZc, To};
}
