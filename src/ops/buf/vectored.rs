//! Several buffers in one request: the array of pointers that the kernel reads.
//!
//! Knows: `struct iovec`. Does not know: entries, descriptors.
#![allow(unsafe_code, reason = "sets lengths after the kernel has filled the buffers")]

use std::ptr;

use super::{Buf, BufMut, MAX_LEN};

/// Up to this many buffers the array lies in the request itself.
const INLINE: usize = 8;

/// The most buffers one request takes (`UIO_MAXIOV`). More are left for the next one, as after a short write.
const MAX_IOVECS: usize = 1024;

const EMPTY: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

/// The array of pointers and lengths of a vectored request. It is filled when the request is at its final address.
#[derive(Debug)]
pub(crate) struct IoVecs {
    inline: [libc::iovec; INLINE],
    /// Used instead when there are more.
    spilled: Vec<libc::iovec>,
}

// SAFETY: (local) the pointers are only for the kernel; this type never follows them. They are written on the thread
// that queues the request, into the request that owns what they point to.
unsafe impl Send for IoVecs {}
// SAFETY: (local) as above; a shared reference gives access to nothing.
unsafe impl Sync for IoVecs {}

impl IoVecs {
    /// Room for `count` pointers. Allocates above eight.
    pub(crate) fn with_room(count: usize) -> Self {
        let spilled = if count > INLINE { vec![EMPTY; count.min(MAX_IOVECS)] } else { Vec::new() };
        Self { inline: [EMPTY; INLINE], spilled }
    }

    /// Writes the pointers for `parts`, and returns where the array begins and how many of it count.
    ///
    /// It takes as many as there is room for, and stops at the most bytes that one request moves.
    pub(crate) fn set(&mut self, parts: impl Iterator<Item = (*mut u8, usize)>) -> (*const libc::iovec, u32) {
        let room = if self.spilled.is_empty() { &mut self.inline[..] } else { &mut self.spilled[..] };
        let mut left = MAX_LEN;
        let mut count = 0;
        for (iovec, (start, len)) in room.iter_mut().zip(parts) {
            *iovec = libc::iovec { iov_base: start.cast(), iov_len: len.min(left) };
            left -= iovec.iov_len;
            count += 1;
        }
        (room.as_ptr(), count)
    }
}

/// How many bytes the request that `IoVecs` describes asks for.
pub(crate) fn asked<B: Buf>(bufs: &[B], len: impl Fn(&B) -> usize) -> usize {
    bufs.iter().take(MAX_IOVECS).fold(0_usize, |sum, buf| sum.saturating_add(len(buf))).min(MAX_LEN)
}

/// Takes note that the first `n` bytes of all the buffers together have been filled.
///
/// # Safety
///
/// The first `n` bytes of their capacities, in order, are initialised.
pub(crate) unsafe fn scatter_written<B: BufMut>(bufs: &mut [B], n: usize) {
    let mut left = n;
    for buf in bufs {
        let here = left.min(buf.capacity());
        // SAFETY: (local) `here` is within the capacity, and the buffers before took exactly the bytes before these,
        // so that these are initialised by the caller's promise.
        unsafe { buf.set_filled(here) };
        left -= here;
    }
}

/// Copies the front of `from` into the buffers, in order, as a read would have, and returns how many bytes.
pub(crate) fn scatter<B: BufMut>(bufs: &mut [B], from: &[u8]) -> usize {
    let mut left = from;
    for buf in bufs {
        left = &left[super::fill(buf, left)..];
    }
    from.len() - left.len()
}
