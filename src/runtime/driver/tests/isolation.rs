//! A ring belongs to one process and one thread, and leaves nothing behind.
//!
//! Knows: processes, threads, descriptors. Does not know: what is queued.
#![allow(unsafe_code, reason = "forks, maps a page, takes a ring to the wrong thread")]

use std::fs;
use std::io::{ErrorKind, Write, pipe};
use std::thread;

use super::super::{Driver, Ring, RingConfig, Wait};
use super::{collect, nop, push, read, reap, ring};

/// Runs `f` in a child process and returns what it returned.
fn in_child(f: impl FnOnce() -> i32) -> i32 {
    // SAFETY: (local) the child has one thread. It allocates, which glibc and musl allow after `fork`, takes no lock of the
    // test harness, and leaves by `_exit`.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "fork");
        if child == 0 {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or(101);
            libc::_exit(code);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFEXITED(status), "the child died of signal {}", libc::WTERMSIG(status));
        libc::WEXITSTATUS(status)
    }
}

/// The number of the first claim that does not hold, counted from 1; 0 if all do.
fn first_broken(claims: &[bool]) -> i32 {
    claims.iter().position(|&holds| !holds).map_or(0, |index| index as i32 + 1)
}

#[test]
fn a_child_process_is_refused_and_harms_nothing() {
    let (source, mut sink) = pipe().expect("pipe");
    let mut byte = 0;
    let mut ring = ring(4, 16);
    push(&mut ring, read(&source, &mut byte, 1));
    ring.enter(Wait::No).expect("enter");
    let first = push(&mut ring, nop(2)); // queued, not entered, when the fork comes
    let mut shared = Some(ring);
    let code = in_child(|| {
        let mut ring = shared.take().expect("the ring");
        let refused = |error: Option<std::io::Error>| {
            error.is_some_and(|error| {
                error.kind() == ErrorKind::Unsupported && error.to_string().contains("fork")
            })
        };
        let claims = [
            ring.room() == 0,
            refused(ring.enter(Wait::No).err()),
            refused(ring.enter(Wait::Until(None)).err()),
            refused(ring.sync_cancel(1).err()),
            // SAFETY: (local) refused before any argument is looked at.
            refused(unsafe { ring.register(0, std::ptr::null_mut(), 0) }.err()),
            !ring.neutralize(first),
            ring.next().is_none() && !ring.has_completion() && ring.dropped() == 0,
            ring.needs_enter(),
        ];
        ring.unlink(first);
        ring.publish();
        // The rings' addresses are free in the child; something else may come to lie there.
        let (address, size) = (ring.address(), 4096);
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: (local) refused if anything is mapped there.
        let other =
            unsafe { libc::mmap(address.cast(), size, access, kind | libc::MAP_FIXED_NOREPLACE, -1, 0) };
        drop(ring);
        // SAFETY: (local) the page mapped above, unless the ring unmapped it: then the child dies here.
        let untouched = other == address.cast() && unsafe { address.read_volatile() } == 0;
        // The child can have a ring of its own.
        let mut own = super::ring(4, 16);
        push(&mut own, nop(3));
        let own_works = own.enter(Wait::Poll).is_ok() && reap(&mut own) == [(3, 0)];
        first_broken(&[&claims[..], &[untouched, own_works]].concat())
    });
    assert_eq!(code, 0, "claim {code} broke in the child");
    // The parent's ring is as it was: one read in flight, one no-op queued.
    let mut ring = shared.take().expect("the ring");
    assert_eq!(ring.queued(), 1);
    sink.write_all(b"x").expect("write");
    let mut done = collect(&mut ring, 2);
    done.sort_unstable();
    assert_eq!((done, byte), (vec![(1, 1), (2, 0)], b'x'));
}

#[test]
fn another_thread_is_refused() {
    struct Smuggled(Ring);
    // SAFETY: (local) not safe at all, which is what the test is about; the threads take turns.
    unsafe impl Send for Smuggled {}
    let mut ring = ring(4, 16);
    push(&mut ring, nop(1));
    let smuggled = Smuggled(ring);
    let back = thread::spawn(move || {
        let mut smuggled = smuggled;
        let inner = &mut smuggled;
        // A ring of this thread's own, at the same place of its table of registered rings.
        let mut own = super::ring(4, 16);
        push(&mut own, nop(2));
        let error = inner.0.enter(Wait::Poll).expect_err("the wrong thread");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("thread"));
        assert_eq!(inner.0.sync_cancel(1).expect_err("the wrong thread").kind(), ErrorKind::Unsupported);
        assert_eq!((own.queued(), own.has_completion()), (1, false));
        smuggled
    });
    let mut ring = back.join().expect("no panic").0;
    assert_eq!(collect(&mut ring, 1), [(1, 0)]);
}

#[test]
fn rings_leave_no_descriptor_and_no_place_behind() {
    let open = || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    // In a process of its own, where no other test opens files.
    let code = in_child(|| {
        let small = RingConfig { sq_entries: 2, cq_entries: 4 };
        let before = open();
        let first_is_registered = Ring::new(&small).is_ok_and(|ring| ring.is_registered());
        for _ in 0..100 {
            drop(Ring::new(&small));
        }
        let after = open();
        // A thread's table has 16 places. All hundred gave theirs back, so sixteen more find one, and the rest go on
        // without.
        let mut rings: Vec<Ring> = (0..20).filter_map(|_| Ring::new(&small).ok()).collect();
        let registered = rings.iter().filter(|ring| ring.is_registered()).count();
        let places = if first_is_registered { 16 } else { 0 };
        let all_work = rings.iter_mut().all(|ring| {
            push(ring, nop(1));
            ring.enter(Wait::Poll).is_ok() && reap(ring) == [(1, 0)]
        });
        drop(rings);
        first_broken(&[before == after, registered == places, all_work, open() == before])
    });
    assert_eq!(code, 0, "claim {code} broke in the child");
}

#[test]
fn the_descriptor_is_closed_on_exec() {
    let ring = ring(2, 4);
    // SAFETY: (local) asks for the flags of an open descriptor.
    let flags = unsafe { libc::fcntl(ring.as_raw_fd(), libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

#[test]
fn dropping_a_ring_closes_it() {
    // The kernel lets go of a pending read when the ring's last reference is gone; a place left in the thread's table
    // would hold it until the thread ends.
    let (source, mut sink) = pipe().expect("pipe");
    let mut byte = 0;
    let mut ring = ring(2, 4);
    push(&mut ring, read(&source, &mut byte, 1));
    ring.enter(Wait::No).expect("enter");
    drop(ring);
    drop(source);
    let broken = (0..1000).any(|_| {
        thread::sleep(std::time::Duration::from_millis(1));
        sink.write_all(b"x").is_err_and(|error| error.kind() == ErrorKind::BrokenPipe)
    });
    assert!(broken, "something still holds the read end");
}
