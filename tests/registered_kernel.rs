//! What the kernel does with tables of files and buffers, where this crate relies on it or works around it.
//!
//! Knows: the `io-uring` crate, std's sockets. Does not know: millstream.

#![allow(unsafe_code, reason = "queue entries carry pointers the kernel will follow")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::time::Duration;

use io_uring::types::{DestinationSlot, Fd, Fixed};
use io_uring::{IoUring, opcode, squeue};
use support::{Watchdog, skip};

/// Queues one entry, submits it, and gives its result, which must come at once.
fn result_of(ring: &mut IoUring, entry: squeue::Entry) -> i32 {
    start(ring, entry);
    ring.submit_and_wait(1).expect("a completion");
    ring.completion().next().expect("one").result()
}

fn start(ring: &mut IoUring, entry: squeue::Entry) {
    // SAFETY: every entry of this file points to memory that outlives its completion, or to none.
    unsafe { ring.submission().push(&entry) }.expect("room");
    ring.submit().expect("submitted");
}

fn ring_with_slots(slots: u32) -> Option<IoUring> {
    let ring = IoUring::new(8).expect("a ring");
    match ring.submitter().register_files_sparse(slots) {
        Ok(()) => Some(ring),
        Err(error) => {
            skip(format!("this kernel has no sparse tables: {error}"));
            None
        }
    }
}

/// Row F1, as the kernel has it: a connection for which it finds no slot is gone. That is why nothing here has it pick one.
#[test]
fn a_connection_that_finds_no_slot_is_lost() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let Some(mut ring) = ring_with_slots(1) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let accept = || {
        opcode::Accept::new(Fd(listener.as_raw_fd()), ptr::null_mut(), ptr::null_mut())
            .file_index(Some(DestinationSlot::auto_target()))
            .build()
    };
    let _first = TcpStream::connect(address).expect("it listens");
    assert_eq!(result_of(&mut ring, accept()), 0);
    let mut second = TcpStream::connect(address).expect("it listens");
    assert_eq!(result_of(&mut ring, accept()), -libc::ENFILE);
    listener.set_nonblocking(true).expect("a socket");
    assert!(listener.accept().is_err(), "it is not in the backlog any more");
    assert_eq!(second.read(&mut [0; 1]).unwrap_or(0), 0, "and its client sees the end");
}

/// Row F2: an open into a slot with a file in it succeeds, and says nothing. So two must never have the same slot.
#[test]
fn an_open_replaces_what_is_in_its_slot() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let Some(mut ring) = ring_with_slots(1) else { return };
    let open = || {
        let slot = DestinationSlot::try_from_slot_target(0).ok();
        opcode::OpenAt::new(Fd(libc::AT_FDCWD), c"/dev/null".as_ptr()).file_index(slot).build()
    };
    let close = || opcode::Close::new(Fixed(0)).build();
    assert_eq!((result_of(&mut ring, open()), result_of(&mut ring, open())), (0, 0));
    assert_eq!((result_of(&mut ring, close()), result_of(&mut ring, close())), (0, -libc::EBADF));
}

/// Rows F6 and F7: a slot that is emptied does not stop, or wait for, an op that began on what was in it.
#[test]
fn ops_in_flight_keep_what_was_in_their_slots() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let Some(mut ring) = ring_with_slots(1) else { return };
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    ring.submitter().register_files_update(0, &[ours.as_raw_fd()]).expect("a slot");
    let mut byte = [0_u8];
    start(&mut ring, opcode::Recv::new(Fixed(0), byte.as_mut_ptr(), 1).build());
    ring.submitter().register_files_update(0, &[-1]).expect("at once");
    theirs.write_all(b"x").expect("room");
    ring.submit_and_wait(1).expect("a completion");
    assert_eq!((ring.completion().next().expect("one").result(), byte), (1, *b"x"));

    // The same of memory.
    if ring.submitter().register_buffers_sparse(1).is_err() {
        return skip("this kernel has no sparse tables of buffers");
    }
    let mut memory = [0_u8; 64];
    let iovec = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: memory.len() };
    let none = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    // SAFETY: the memory outlives the ring's use of it: what is queued below completes before the end.
    unsafe { ring.submitter().register_buffers_update(0, &[iovec], None) }.expect("a slot");
    let read = opcode::ReadFixed::new(Fd(ours.as_raw_fd()), memory.as_mut_ptr(), 4, 0);
    start(&mut ring, read.build());
    // SAFETY: nothing is put into the slot.
    unsafe { ring.submitter().register_buffers_update(0, &[none], None) }.expect("at once");
    theirs.write_all(b"late").expect("room");
    ring.submit_and_wait(1).expect("a completion");
    assert_eq!((ring.completion().next().expect("one").result(), &memory[..4]), (4, &b"late"[..]));
}

/// A slot names its memory: an entry that names other memory is refused before anything is touched.
#[test]
fn memory_outside_of_its_slot_is_refused() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let mut ring = IoUring::new(8).expect("a ring");
    let (mut inside, mut outside) = (vec![0_u8; 64], vec![0_u8; 64]);
    let iovec = libc::iovec { iov_base: inside.as_mut_ptr().cast(), iov_len: inside.len() };
    // SAFETY: the memory outlives the ring, which is dropped before it.
    unsafe { ring.submitter().register_buffers(&[iovec]) }.expect("64 bytes");
    let zero = std::fs::File::open("/dev/zero").expect("it is there");
    let read =
        |start: *mut u8, len| opcode::ReadFixed::new(Fd(zero.as_raw_fd()), start, len, 0).offset(0).build();
    assert_eq!(result_of(&mut ring, read(inside.as_mut_ptr(), 64)), 64);
    assert_eq!(result_of(&mut ring, read(inside.as_mut_ptr(), 65)), -libc::EFAULT);
    assert_eq!(result_of(&mut ring, read(outside.as_mut_ptr(), 1)), -libc::EFAULT);
    drop(ring);
}
