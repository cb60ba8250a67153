//! What the kernel was seen to do, row by row, and what comes of it.
//!
//! Knows: the rows. Does not know: how the engine deals with them.
#![allow(unsafe_code, reason = "sets a resource limit of a child process")]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use millstream::ops::{self, BufPool, Fd};
use millstream::{Runtime, time};

use crate::harness;
use crate::support::{begin, both, clients, item, listener, own_ports, poll_once, ports, settle};

/// "mshot accept, CQ=4, 12 conns unreaped": four completions with `F_MORE`, then the terminal one with the fifth connection
/// in it, and seven stay in the backlog.
#[test]
fn a_ring_of_four_completions_loses_none_of_twelve_connections() {
    let _held = begin();
    let runtime = Runtime::builder().sq_entries(2).cq_entries(4).build().expect("io_uring");
    runtime.block_on(async {
        let (fd, address) = listener();
        let mut accepts = ops::accept_multishot(&fd);
        assert!(poll_once(&mut accepts).await.is_none());
        millstream::yield_now().await;
        settle().await;
        let clients = clients(address, 12); // while nobody reaps
        let mut accepted = Vec::new();
        for _ in 0..12 {
            accepted.push(item(&mut accepts).await);
        }
        assert_eq!(ports(&accepted), own_ports(&clients));
    });
    let stats = runtime.stats();
    assert_eq!(stats.dropped_completions, 0);
    assert!(stats.submitted >= 4, "the kernel has ended it early, and it was asked again");
}

/// The same row, of receives: the kernel ends one early for want of room in the ring, with a buffer in its hand. B1, B2.
#[test]
fn a_ring_of_four_completions_loses_no_byte_of_twelve_buffers() {
    let _held = begin();
    for bundled in [false, true] {
        let runtime = Runtime::builder().sq_entries(2).cq_entries(4).build().expect("io_uring");
        let before = runtime.stats().submitted;
        runtime.block_on(async {
            let pool = BufPool::new(12, 1).expect("a pool");
            for _ in 0..3 {
                let (mut a, b) = UnixStream::pair().expect("a pair");
                let b = Fd::from(b);
                let mut all = Vec::new();
                if bundled {
                    let mut received = ops::recv_multishot(b, &pool).bundled();
                    assert!(poll_once(&mut received).await.is_none());
                    settle().await;
                    a.write_all(b"twelve bytes").expect("room"); // while nobody reaps
                    while all.len() < 12 {
                        all.extend(item(&mut received).await.into_vec());
                    }
                } else {
                    let mut received = ops::recv_multishot(b, &pool);
                    assert!(poll_once(&mut received).await.is_none());
                    settle().await;
                    a.write_all(b"twelve bytes").expect("room");
                    while all.len() < 12 {
                        all.extend_from_slice(&item(&mut received).await);
                    }
                }
                assert_eq!(all, b"twelve bytes");
                settle().await;
                assert_eq!((pool.available(), pool.disowned()), (12, 0));
            }
        });
        let stats = runtime.stats();
        assert_eq!(stats.dropped_completions, 0);
        assert!(
            bundled || stats.submitted - before >= 9,
            "the kernel has ended it early, and it was asked again"
        );
    }
}

/// "mshot accept, NOFILE reached": it terminates with `EMFILE`, and the rest stays in the backlog. It goes on by itself when
/// there is room for a descriptor.
#[test]
fn at_the_limit_of_open_files_it_rests_and_goes_on() {
    const NAME: &str = "kernel::at_the_limit_of_open_files_it_rests_and_goes_on";
    if harness::role().is_none() {
        let child = harness::run_again(NAME, "limited");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
        assert!(said.contains("1 passed"), "the child ran nothing:\n{said}");
        return;
    }
    both(async || {
        let (fd, address) = listener();
        let clients = clients(address, 12);
        let highest = *harness::open_descriptors().keys().last().expect("some are open");
        // Descriptors below `highest` may be free: the lowest number that is refused is what the limit says.
        let room = 4;
        let mut fillers = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            use std::os::fd::AsRawFd;
            let number = file.as_raw_fd();
            fillers.push(file);
            if number > highest {
                break;
            }
        }
        let top = *harness::open_descriptors().keys().last().expect("some are open");
        limit(top as u64 + 1 + room);
        let mut accepts = ops::accept_multishot(&fd);
        let mut accepted = Vec::new();
        for _ in 0..room {
            accepted.push(item(&mut accepts).await);
        }
        // No more: it rests.
        assert!(poll_once(&mut accepts).await.is_none());
        time::sleep(Duration::from_millis(30)).await;
        assert!(poll_once(&mut accepts).await.is_none());
        let mut seen = ports(&accepted);
        accepted.clear(); // closed: now there is room again
        for _ in 0..room {
            accepted.push(item(&mut accepts).await);
        }
        seen.extend(ports(&accepted));
        limit(1024);
        for _ in seen.len()..12 {
            let last = item(&mut accepts).await;
            seen.extend(ports([&last]));
        }
        assert_eq!(seen, own_ports(&clients));
    });
}

/// Lets this process have so many descriptors.
fn limit(files: u64) {
    let limit = libc::rlimit { rlim_cur: files, rlim_max: 4096 };
    // SAFETY: (local) one live record, which the kernel only reads.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}
