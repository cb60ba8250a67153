//! The header of a message: where its address, its buffers and its control data lie.
//!
//! Knows: `struct msghdr`. Does not know: who owns what it points to.
#![allow(unsafe_code, reason = "a structure of the kernel's, made of zeros")]

use std::fmt;
use std::ptr;

use crate::ops::address::Address;

/// A `struct msghdr` inside the request that owns what it points to. It is filled when the request is at its final address.
pub(crate) struct Header(libc::msghdr);

// SAFETY: (local) the pointers are only for the kernel; this type never follows them. They are written on the thread that
// queues the request, into the request that owns what they point to.
unsafe impl Send for Header {}
// SAFETY: (local) as above; a shared reference gives access to nothing but lengths.
unsafe impl Sync for Header {}

impl Header {
    pub(crate) fn new() -> Self {
        // SAFETY: (local) pointers and integers, all of which may be zero.
        Self(unsafe { std::mem::zeroed() })
    }

    /// Fills it for a send.
    pub(crate) fn send(
        &mut self,
        to: Option<&Address>,
        (iovecs, count): (*const libc::iovec, u32),
        control: &[u8],
    ) -> *const libc::msghdr {
        self.0.msg_name = to.map_or(ptr::null_mut(), |to| to.as_ptr().cast_mut().cast());
        self.0.msg_namelen = to.map_or(0, Address::len);
        self.set_parts(iovecs, count);
        let start = if control.is_empty() { ptr::null_mut() } else { control.as_ptr().cast_mut().cast() };
        self.0.msg_control = start;
        self.0.msg_controllen = control.len();
        &raw const self.0
    }

    /// Fills it for a receive: room for the address, and for as much control data as `control` is long.
    pub(crate) fn receive(
        &mut self,
        from: &mut Address,
        (iovecs, count): (*const libc::iovec, u32),
        control: &mut [u8],
    ) -> *mut libc::msghdr {
        let (name, room) = from.room();
        self.0.msg_name = name.cast();
        self.0.msg_namelen = room;
        self.set_parts(iovecs, count);
        let start = if control.is_empty() { ptr::null_mut() } else { control.as_mut_ptr().cast() };
        self.0.msg_control = start;
        self.0.msg_controllen = control.len();
        &raw mut self.0
    }

    fn set_parts(&mut self, iovecs: *const libc::iovec, count: u32) {
        self.0.msg_iov = iovecs.cast_mut();
        self.0.msg_iovlen = count as usize;
    }

    /// After a receive: how long the sender's address is, which may be more than there was room for.
    pub(crate) fn address_len(&self) -> libc::socklen_t {
        self.0.msg_namelen
    }

    /// After a receive: how many bytes of control data there are.
    pub(crate) fn control_len(&self) -> usize {
        self.0.msg_controllen
    }

    /// After a receive: `MSG_*`.
    pub(crate) fn flags(&self) -> i32 {
        self.0.msg_flags
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("flags", &self.0.msg_flags).finish_non_exhaustive()
    }
}
