//! Queueing, chains, and entries rewritten before the kernel has them.
//!
//! Knows: entries and their flags. Does not know: waits, faults.

use std::io::{Read, Write, pipe};

use io_uring::squeue::Flags;

use super::super::{Driver, Sqe, Wait};
use super::{HARDLINK, LINK, collect, failing, nop, push, read, readable, reap, ring, write};

#[test]
fn every_size_fills_empties_and_wraps() {
    for asked in [1, 2, 3, 4, 8, 100, 256, 4096, 32_768] {
        let mut ring = ring(asked, 65_536);
        let size = ring.capacity();
        assert_eq!(size, asked.next_power_of_two() as usize);
        // One less than the size each round, so that every round starts at another slot.
        for round in 0..3 {
            let batch = if round == 0 { size } else { (size - 1).max(1) } as u64;
            for user_data in 0..batch {
                assert_eq!(ring.room(), size - user_data as usize);
                push(&mut ring, nop(user_data));
            }
            assert_eq!((ring.room(), ring.queued()), (size - batch as usize, batch as usize));
            ring.enter(Wait::Poll).expect("enter");
            assert_eq!((ring.room(), ring.queued()), (size, 0));
            assert!(reap(&mut ring).into_iter().eq((0..batch).map(|user_data| (user_data, 0))));
        }
    }
}

#[test]
fn chains_stay_whole_wherever_they_start() {
    let mut ring = ring(8, 64);
    for before in 0..8 {
        for user_data in 0..before {
            push(&mut ring, nop(user_data));
        }
        ring.enter(Wait::Poll).expect("enter");
        assert_eq!(reap(&mut ring).len(), before as usize);

        push(&mut ring, nop(10).flags(LINK));
        push(&mut ring, failing(11).flags(LINK));
        push(&mut ring, nop(12));
        push(&mut ring, nop(13));
        push(&mut ring, failing(14).flags(HARDLINK));
        push(&mut ring, nop(15));
        let mut done = collect(&mut ring, 6);
        done.sort_unstable();
        let expected =
            [(10, 0), (11, -libc::EBADF), (12, -libc::ECANCELED), (13, 0), (14, -libc::EBADF), (15, 0)];
        assert_eq!(done, expected);
    }
}

#[test]
fn a_bad_entry_does_not_stop_those_behind_it() {
    let mut ring = ring(8, 64);
    let mut bytes = [0; 64];
    bytes[0] = 250; // an opcode no kernel knows
    let unknown = Sqe::from_bytes(bytes);
    push(&mut ring, nop(1));
    push(&mut ring, unknown.user_data(2));
    push(&mut ring, nop(3));
    ring.enter(Wait::Poll).expect("enter");
    assert_eq!(ring.queued(), 0);
    let mut done = reap(&mut ring);
    done.sort_unstable();
    assert_eq!(done, [(1, 0), (2, -libc::EINVAL), (3, 0)]);
}

#[test]
fn a_neutralized_read_leaves_the_data() {
    let (mut source, mut sink) = pipe().expect("pipe");
    sink.write_all(b"x").expect("write");
    let mut byte = 0;
    let mut ring = ring(4, 16);
    let ticket = push(&mut ring, read(&source, &mut byte, 7));
    assert!(ring.neutralize(ticket));
    assert_eq!(collect(&mut ring, 1), [(7, 0)]);
    assert!(!ring.neutralize(ticket), "the kernel has it by now");
    assert!(readable(&source));
    let mut left = [0];
    source.read_exact(&mut left).expect("read");
    assert_eq!((byte, &left), (0, b"x"));
}

#[test]
fn a_neutralized_entry_loses_all_that_could_fail_it() {
    let mut ring = ring(4, 16);
    let all = Flags::FIXED_FILE | Flags::BUFFER_SELECT | Flags::SKIP_SUCCESS | Flags::ASYNC | Flags::IO_DRAIN;
    // Every byte is set, the opcode is one no kernel knows.
    let ticket = push(&mut ring, Sqe::from_bytes([250; 64]).user_data(7).flags(all));
    assert!(ring.neutralize(ticket));
    assert_eq!(collect(&mut ring, 1), [(7, 0)]);
}

#[test]
fn a_neutralized_entry_breaks_a_soft_chain_and_no_hard_one() {
    let (source, sink) = pipe().expect("pipe");
    let (mut byte, letter) = (0, b'a');
    for link in [LINK, HARDLINK] {
        let mut ring = ring(4, 16);
        push(&mut ring, nop(1).flags(link));
        let ticket = push(&mut ring, read(&source, &mut byte, 2).flags(link));
        push(&mut ring, write(&sink, &letter, 3));
        assert!(ring.neutralize(ticket));
        let mut done = collect(&mut ring, 3);
        done.sort_unstable();
        let soft = link == LINK;
        let after = if soft { [(2, -libc::ENOENT), (3, -libc::ECANCELED)] } else { [(2, 0), (3, 1)] };
        assert_eq!(done, [[(1, 0)].as_slice(), &after].concat());
        assert_eq!(readable(&source), !soft);
    }
    // The links before and behind it still hold: a failing head cancels the no-op and what follows it.
    let mut ring = ring(4, 16);
    push(&mut ring, failing(1).flags(LINK));
    let ticket = push(&mut ring, read(&source, &mut byte, 2).flags(LINK));
    push(&mut ring, nop(3));
    assert!(ring.neutralize(ticket));
    let mut done = collect(&mut ring, 3);
    done.sort_unstable();
    assert_eq!(done, [(1, -libc::EBADF), (2, -libc::ECANCELED), (3, -libc::ECANCELED)]);
}

#[test]
fn what_the_kernel_has_taken_is_not_neutralized() {
    let (source, mut sink) = pipe().expect("pipe");
    let mut byte = 0;
    let mut ring = ring(1, 16);
    let ticket = push(&mut ring, read(&source, &mut byte, 7));
    ring.enter(Wait::No).expect("enter");
    assert!(!ring.neutralize(ticket));
    // Its slot holds another entry now, which an old ticket must not touch.
    push(&mut ring, nop(8));
    assert!(!ring.neutralize(ticket));
    sink.write_all(b"x").expect("write");
    let mut done = collect(&mut ring, 2);
    done.sort_unstable();
    assert_eq!((done, byte), (vec![(7, 1), (8, 0)], b'x'));
}

#[test]
fn a_cut_link_frees_the_next_entry() {
    let mut ring = ring(4, 16);
    let (source, mut sink) = pipe().expect("pipe");
    let mut byte = 0;
    for link in [LINK, HARDLINK] {
        let ticket = push(&mut ring, read(&source, &mut byte, 1).flags(link));
        ring.unlink(ticket);
        push(&mut ring, nop(2));
        assert_eq!(collect(&mut ring, 1), [(2, 0)], "it does not wait for the read");
        sink.write_all(b"x").expect("write");
        assert_eq!(collect(&mut ring, 1), [(1, 1)]);
    }
}

#[test]
fn a_synchronous_cancel_passes_a_drain() {
    let (source, _sink) = pipe().expect("pipe");
    let mut byte = 0;
    let mut ring = ring(4, 16);
    push(&mut ring, read(&source, &mut byte, 1));
    push(&mut ring, nop(2).flags(Flags::IO_DRAIN));
    ring.enter(Wait::Poll).expect("enter");
    assert_eq!(reap(&mut ring), []);
    match ring.sync_cancel(1) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return, // Linux 5.19
        result => result.expect("cancel"),
    }
    assert_eq!(collect(&mut ring, 2), [(1, -libc::ECANCELED), (2, 0)]);
    assert_eq!(ring.sync_cancel(1).expect_err("it has ended").raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn opcodes_are_probed() {
    let ring = ring(1, 16);
    assert!(ring.supports(io_uring::opcode::Nop::CODE));
    assert!(ring.supports(io_uring::opcode::Read::CODE));
    assert!(!ring.supports(250));
}
