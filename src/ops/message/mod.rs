//! What is sent as one message: one buffer, one buffer to an address, or several buffers with control data.
//!
//! Knows: buffers, addresses, `struct msghdr`, the entries that send them. Does not know: nodes, who gets the buffers back.
#![allow(unsafe_code, reason = "an unsafe trait: its entries carry pointers the kernel will follow")]

mod header;

use std::ptr;

use io_uring::squeue::Entry;
use io_uring::{opcode, types};

use super::address::Address;
use super::buf::{Buf, IoVecs, clamp};
use super::control::Control;
use super::features::Feature;
use super::vectored::common_slot;
use crate::runtime::driver::Sqe;
pub(crate) use header::Header;

/// `IORING_RECVSEND_FIXED_BUF`.
const FIXED_BUF: u16 = 1 << 2;

/// One message: what a send of any kind puts into its entry. Sealed: [`Single`], [`Addressed`], [`Several`].
pub trait Message: Letter {}

impl<L: Letter> Message for L {}

/// How a message becomes an entry, copied by the kernel or not.
///
/// # Safety
///
/// Every pointer in the entries points into memory that the message owns, inline or on the heap, and that stays valid and
/// unmoved until the message is moved, changed or dropped. No method panics.
pub unsafe trait Letter: 'static {
    /// What comes back when the kernel has let go of it.
    type Buf: 'static;

    /// The opcode of `zero_copy`, and its name among what tests can hide.
    const ZERO_COPY: (u8, Feature);

    /// The entry that has the kernel copy the bytes.
    fn copying(&mut self, fd: types::Fd) -> Entry;

    /// The entry that has the kernel send from where the bytes are. `options` are those of `IORING_SEND_ZC_*`.
    fn zero_copy(&mut self, fd: types::Fd, options: u16) -> Entry;

    /// Sets `MSG_*`.
    fn set_flags(&mut self, flags: i32);

    /// What the user gave.
    fn into_buf(self) -> Self::Buf;
}

/// One buffer, to whom the socket is connected to.
#[derive(Debug)]
pub struct Single<B> {
    buf: B,
    flags: i32,
}

impl<B: Buf> Single<B> {
    pub(super) fn new(buf: B) -> Self {
        Self { buf, flags: 0 }
    }
}

// SAFETY: (I1) the entries point into the buffer, which stays where it is as `Buf` promises.
unsafe impl<B: Buf> Letter for Single<B> {
    type Buf = B;

    const ZERO_COPY: (u8, Feature) = (opcode::SendZc::CODE, Feature::SendZc);

    fn copying(&mut self, fd: types::Fd) -> Entry {
        opcode::Send::new(fd, self.buf.stable_ptr(), clamp(self.buf.init_len())).flags(self.flags).build()
    }

    fn zero_copy(&mut self, fd: types::Fd, options: u16) -> Entry {
        let (start, len) = (self.buf.stable_ptr(), clamp(self.buf.init_len()));
        opcode::SendZc::new(fd, start, len)
            .buf_index(self.buf.registered())
            .flags(self.flags)
            .zc_flags(options)
            .build()
    }

    fn set_flags(&mut self, flags: i32) {
        self.flags = flags;
    }

    fn into_buf(self) -> B {
        self.buf
    }
}

/// One buffer, to an address.
#[derive(Debug)]
pub struct Addressed<B> {
    buf: B,
    to: Address,
    flags: i32,
    header: Header,
    part: Part,
}

/// One element of the array that a header points to.
#[derive(Debug)]
pub(super) struct Part(libc::iovec);

// SAFETY: (local) the pointer is only for the kernel; this type never follows it.
unsafe impl Send for Part {}
// SAFETY: (local) as above; a shared reference gives access to nothing.
unsafe impl Sync for Part {}

impl Part {
    pub(super) fn new() -> Self {
        Self(libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 })
    }

    /// Where the array of this one part lies, and its length.
    pub(super) fn set(&mut self, start: *mut u8, len: u32) -> (*const libc::iovec, u32) {
        self.0 = libc::iovec { iov_base: start.cast(), iov_len: len as usize };
        (&raw const self.0, 1)
    }
}

impl<B: Buf> Addressed<B> {
    pub(super) fn new(buf: B, to: Address) -> Self {
        Self { buf, to, flags: 0, header: Header::new(), part: Part::new() }
    }
}

// SAFETY: (I1) the entries point to the header and the address, which lie in the message, and through the header into the
// buffer, which stays where it is as `Buf` promises.
unsafe impl<B: Buf> Letter for Addressed<B> {
    type Buf = B;

    const ZERO_COPY: (u8, Feature) = (opcode::SendZc::CODE, Feature::SendZc);

    fn copying(&mut self, fd: types::Fd) -> Entry {
        let part = self.part.set(self.buf.stable_ptr().cast_mut(), clamp(self.buf.init_len()));
        let header = self.header.send(Some(&self.to), part, &[]);
        opcode::SendMsg::new(fd, header).flags(self.flags as u32).build()
    }

    fn zero_copy(&mut self, fd: types::Fd, options: u16) -> Entry {
        let (start, len) = (self.buf.stable_ptr(), clamp(self.buf.init_len()));
        opcode::SendZc::new(fd, start, len)
            .buf_index(self.buf.registered())
            .dest_addr(self.to.as_ptr())
            .dest_addr_len(self.to.len())
            .flags(self.flags)
            .zc_flags(options)
            .build()
    }

    fn set_flags(&mut self, flags: i32) {
        self.flags = flags;
    }

    fn into_buf(self) -> B {
        self.buf
    }
}

/// Several buffers, with an address and control data if need be.
#[derive(Debug)]
pub struct Several<B> {
    bufs: Vec<B>,
    to: Option<Address>,
    control: Control,
    flags: i32,
    header: Header,
    iovecs: IoVecs,
}

impl<B: Buf> Several<B> {
    pub(super) fn new(bufs: Vec<B>) -> Self {
        let iovecs = IoVecs::with_room(bufs.len());
        Self { bufs, to: None, control: Control::new(), flags: 0, header: Header::new(), iovecs }
    }

    pub(super) fn set_address(&mut self, to: Address) {
        self.to = Some(to);
    }

    pub(super) fn set_control(&mut self, mut control: Control) {
        control.seal();
        self.control = control;
    }

    fn header(&mut self) -> *const libc::msghdr {
        let parts = self.bufs.iter().map(|buf| (buf.stable_ptr().cast_mut(), buf.init_len()));
        self.header.send(self.to.as_ref(), self.iovecs.set(parts), self.control.sealed())
    }
}

// SAFETY: (I1) the entries point to the header, which lies in the message and points to the address beside it, to the
// array of the buffers, which the message owns, and to the control data on the heap; the vectors are not changed, and the
// descriptors that the control data names are held by it.
unsafe impl<B: Buf> Letter for Several<B> {
    type Buf = Vec<B>;

    const ZERO_COPY: (u8, Feature) = (opcode::SendMsgZc::CODE, Feature::SendmsgZc);

    fn copying(&mut self, fd: types::Fd) -> Entry {
        let header = self.header();
        opcode::SendMsg::new(fd, header).flags(self.flags as u32).build()
    }

    fn zero_copy(&mut self, fd: types::Fd, options: u16) -> Entry {
        let header = self.header();
        let entry = opcode::SendMsgZc::new(fd, header).flags(self.flags as u32);
        // The kernel has learnt this together with the vectored reads and writes.
        match common_slot(&self.bufs, Buf::init_len, opcode::WritevFixed::CODE) {
            None => entry.ioprio(options).build(),
            Some(slot) => Sqe::from(entry.ioprio(options | FIXED_BUF).build()).in_slot(slot).0,
        }
    }

    fn set_flags(&mut self, flags: i32) {
        self.flags = flags;
    }

    fn into_buf(self) -> Vec<B> {
        self.bufs
    }
}
