//! What the kernel does with sends that take their buffers from a ring, where this crate relies on it or works around it.
//!
//! Knows: the `io-uring` crate, std's sockets. Does not know: millstream.
#![allow(unsafe_code, reason = "queue entries and rings carry pointers the kernel will follow")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::harness::{kernel_version, skip};

const GROUP: u16 = 7;

/// A ring of buffers, and another that sends from it.
struct Bench {
    ring: IoUring,
    buffers: *mut BufRingEntry,
    layout: Layout,
    tail: u16,
}

impl Bench {
    /// `None`: this kernel sends no provided buffers.
    fn new(entries: u16) -> Option<Self> {
        if kernel_version() < (6, 10) {
            skip("sends take no provided buffers before 6.10");
            return None;
        }
        let ring = IoUring::new(8).expect("a ring");
        let bytes = usize::from(entries) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(bytes, 4096).expect("small");
        // SAFETY: not of size 0.
        let buffers = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        // SAFETY: so many entries on a page of their own, which live as long as the ring does.
        unsafe { ring.submitter().register_buf_ring_with_flags(buffers as u64, entries, GROUP, 0) }
            .expect("a ring of buffers");
        Some(Self { ring, buffers, layout, tail: 0 })
    }

    fn push(&mut self, bytes: &'static [u8], number: u16) {
        // SAFETY: there are as many entries as pushes, and the kernel does not look behind the tail.
        unsafe {
            let entry = &mut *self.buffers.add(usize::from(self.tail));
            entry.set_addr(bytes.as_ptr() as u64);
            entry.set_len(bytes.len() as u32);
            entry.set_bid(number);
            self.tail += 1;
            let tail = &*BufRingEntry::tail(self.buffers).cast::<AtomicU16>();
            tail.store(self.tail, Ordering::Release);
        }
    }

    fn start(&mut self, entry: squeue::Entry) {
        // SAFETY: the entries of this file point to nothing, or to bytes that are static.
        unsafe { self.ring.submission().push(&entry) }.expect("room");
        self.ring.submit().expect("submitted");
    }

    /// A bundle: `user_data` 1.
    fn send(&mut self, socket: &UnixStream) {
        self.start(opcode::SendBundle::new(Fd(socket.as_raw_fd()), GROUP).build().user_data(1));
    }

    /// The completions of the send: result, number of a buffer, whether there are more.
    fn completions(&mut self) -> Vec<(i32, Option<u16>, bool)> {
        let mut all = Vec::new();
        loop {
            self.ring.submit_and_wait(1).expect("a completion");
            for cqe in self.ring.completion() {
                if cqe.user_data() == 1 {
                    let more = cqueue::more(cqe.flags());
                    all.push((cqe.result(), cqueue::buffer_select(cqe.flags()), more));
                }
            }
            if all.last().is_some_and(|(_, _, more)| !more) {
                return all;
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.ring.submitter().unregister_buf_ring(GROUP).expect("it was registered");
        // SAFETY: allocated by `new`, and the kernel's no more.
        unsafe { dealloc(self.buffers.cast(), self.layout) };
    }
}

/// "send bundle, 600 buffers": three completions, of 256 buffers at most, each with the number of its first.
#[test]
fn a_bundle_completes_once_for_256_buffers() {
    let Some(mut bench) = Bench::new(1024) else { return };
    let (a, b) = UnixStream::pair().expect("sockets");
    (0..600).for_each(|number| bench.push(b"x", number));
    bench.send(&a);
    assert_eq!(bench.completions(), [(256, Some(0), true), (256, Some(256), true), (88, Some(512), false)]);
    let mut all = [0; 600];
    (&b).read_exact(&mut all).expect("everything was sent");
}

/// "send bundle, socket full, cancelled": what was sent is told, and everything that was taken has left the ring, sent or not. So
/// how far the ring is says nothing about what was sent.
#[test]
fn a_bundle_that_is_stopped_has_taken_what_it_has_not_sent() {
    static LONG: [u8; 1_000_000] = [b'l'; 1_000_000];
    let Some(mut bench) = Bench::new(8) else { return };
    let (a, b) = UnixStream::pair().expect("sockets");
    b.set_nonblocking(true).expect("a socket");
    for (number, bytes) in [(0, &LONG[..]), (1, b"short"), (2, b"shorter")] {
        bench.push(bytes, number);
    }
    bench.send(&a);
    bench.start(opcode::AsyncCancel::new(1).build().user_data(2));
    let completions = bench.completions();
    let [(sent @ 1..1_000_000, Some(0), false)] = completions[..] else { panic!("{completions:?}") };
    let (mut all, mut bytes) = (0, vec![0; 1 << 20]);
    while let Ok(n @ 1..) = (&b).read(&mut bytes) {
        all += n;
    }
    assert_eq!(all, sent as usize, "what the result says was sent, was");
    bench.send(&a);
    assert_eq!(bench.completions(), [(-libc::ENOBUFS, None, false)], "the ring is empty");
}

/// "send bundle, empty buffer first": `ENOBUFS`, for ever. So none is put into the ring.
#[test]
fn a_buffer_without_a_byte_blocks_the_ring() {
    let Some(mut bench) = Bench::new(8) else { return };
    let (a, _b) = UnixStream::pair().expect("sockets");
    bench.push(b"", 0);
    bench.push(b"grist", 1);
    for _ in 0..3 {
        bench.send(&a);
        assert_eq!(bench.completions(), [(-libc::ENOBUFS, None, false)]);
    }
}

/// "send bundle, peer gone": the error, and the buffers have left the ring all the same.
#[test]
fn a_bundle_that_fails_has_taken_its_buffers() {
    let Some(mut bench) = Bench::new(8) else { return };
    let (a, b) = UnixStream::pair().expect("sockets");
    drop(b);
    bench.push(b"grist", 0);
    bench.send(&a);
    let completions = bench.completions();
    assert!(matches!(completions[..], [(error, _, false)] if error == -libc::EPIPE), "{completions:?}");
    bench.send(&a);
    assert_eq!(bench.completions(), [(-libc::ENOBUFS, None, false)], "the ring is empty");
}
