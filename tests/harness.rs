//! Tests of the tests: that the helpers in `support` would notice what they are there to notice.
//!
//! Knows: `support`, and the ring through the `io-uring` crate alone, where a bug can be planted that millstream does
//! not let one write. Does not know: millstream.

#![allow(unsafe_code, reason = "plants the kernel write into freed memory that the quarantine must notice")]

mod support;

use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::{IoUring, opcode, types};
use support::quarantine::{self, Quarantine};
use support::{Descriptors, Rng, TempDir, Watchdog, role, run_again};

#[global_allocator]
static ALLOCATOR: Quarantine = Quarantine;

/// Reads a pipe into a buffer that is freed before the bytes arrive when `planted`, after when not.
fn read_into(planted: bool) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut ring = IoUring::new(4).expect("a ring");
    let mut buffer = vec![0_u8; 512];
    let read = opcode::Read::new(types::Fd(reader.as_raw_fd()), buffer.as_mut_ptr(), 512).build();
    // SAFETY: not safe when `planted`: that is the bug. The block stays allocated in the quarantine all the same, so
    // the kernel's write lands in memory that only the quarantine looks at.
    unsafe { ring.submission().push(&read) }.expect("room for one entry");
    ring.submit().expect("one entry is taken");
    let kept = (!planted).then_some(buffer); // the bug: freed here, with the read in flight
    writer.write_all(b"late").expect("the pipe takes four bytes");
    ring.submit_and_wait(1).expect("the read ends");
    assert_eq!(ring.completion().next().expect("a completion").result(), 4);
    drop(kept);
}

#[test]
fn the_quarantine_notices_a_kernel_write_into_freed_memory() {
    const TEST: &str = "the_quarantine_notices_a_kernel_write_into_freed_memory";
    match role().as_deref() {
        None => {
            let good = run_again(TEST, "good");
            assert!(good.status.success(), "false alarm: {}", String::from_utf8_lossy(&good.stderr));
            let bad = run_again(TEST, "planted");
            let said = String::from_utf8_lossy(&bad.stderr);
            assert!(
                !bad.status.success() && said.contains("1 blocks were written to"),
                "not noticed: {said}"
            );
        }
        Some(part) => {
            read_into(part == "planted");
            quarantine::assert_clean();
        }
    }
}

#[test]
fn the_quarantine_checks_blocks_that_leave_it() {
    const TEST: &str = "the_quarantine_checks_blocks_that_leave_it";
    if role().is_none() {
        let child = run_again(TEST, "planted");
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        return;
    }
    read_into(true);
    // Enough frees to push every earlier block out, so that the write is found on the way out and stays counted.
    for _ in 0..1 << 17 {
        drop(std::hint::black_box(vec![0_u8; 8]));
    }
    assert_eq!(quarantine::hits(), 1);
}

#[test]
fn the_watchdog_ends_a_hang() {
    const TEST: &str = "the_watchdog_ends_a_hang";
    if role().is_none() {
        let child = run_again(TEST, "hang");
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(!child.status.success() && said.contains("WATCHDOG: "), "{said}");
        return;
    }
    let _watchdog = Watchdog::new(Duration::from_millis(20));
    loop {
        std::thread::park();
    }
}

#[test]
fn the_watchdog_lets_go() {
    drop(Watchdog::new(Duration::from_millis(20)));
    std::thread::sleep(Duration::from_millis(60)); // past the limit: the process must still be here
}

#[test]
fn a_descriptor_left_behind_is_named() {
    const TEST: &str = "a_descriptor_left_behind_is_named";
    if role().is_none() {
        let child = run_again(TEST, "leak");
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(
            !child.status.success() && said.contains("left behind: [") && said.contains("pipe:["),
            "{said}"
        );
        return;
    }
    let before = Descriptors::now();
    before.assert_same();
    let _pipe = std::io::pipe().expect("a pipe");
    before.assert_same();
}

#[test]
fn a_skip_is_loud_and_can_be_forbidden() {
    const TEST: &str = "a_skip_is_loud_and_can_be_forbidden";
    if role().is_none() {
        let child = run_again(TEST, "skip");
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(said.contains("SKIPPED: ") && said.contains("no reason"), "{said}");
        let forbidden = std::env::var_os("MILLSTREAM_NO_SKIP").is_some_and(|value| value == "1");
        assert_eq!(child.status.success(), !forbidden, "{said}");
        return;
    }
    support::skip("no reason");
}

#[test]
fn a_seed_replays() {
    let draw = |seed| {
        let mut rng = Rng::new(seed);
        (0..64).map(|_| rng.below(1000)).collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[test]
fn a_temporary_directory_goes_away() {
    let directory = TempDir::new();
    std::fs::write(directory.join("file"), "x").expect("the directory is writable");
    let path = directory.path().to_owned();
    drop(directory);
    assert!(!path.exists());
}

#[test]
fn the_kernel_is_asked_what_it_has() {
    require_op!(Nop, Read);
    assert!(!support::kernel_has(255), "no kernel has this opcode");
}
