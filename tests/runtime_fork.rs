//! A child process after `fork`: its parent's runtime refuses it, it makes its own, and the parent notices nothing.
#![allow(unsafe_code, reason = "forks, and waits for the child")]

mod support;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use millstream::ops::{self, BufPool, BufQueue, BufferTable, Fd, Mail, Mailbox};
use millstream::{Runtime, spawn, time};
use support::Watchdog;

/// Runs `child` in a child process and tells whether it returned true.
fn in_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: (local) the child has this thread only, takes no lock another thread may hold but the allocator's, which
    // libc looks after, and ends without running what the parent registered.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let well = catch_unwind(AssertUnwindSafe(child)).unwrap_or(false);
            // SAFETY: (local) ends the process.
            unsafe { libc::_exit(i32::from(!well)) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: (local) `status` is a local.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}

fn runtime() -> Runtime {
    Runtime::builder().no_spin().build().expect("io_uring is there")
}

#[test]
fn a_child_is_refused_makes_its_own_and_harms_nothing() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    // A runtime that is gone leaves its eventfd for the next one: in the parent, not in the child.
    drop(runtime());
    let rt = runtime();
    rt.block_on(async {
        spawn(async { ops::timeout(Duration::from_secs(3600)).await }).detach();
        time::sleep(Duration::from_millis(2)).await; // in flight, and the eventfd's read is armed
    });
    assert!(in_child(|| {
        let refused = catch_unwind(AssertUnwindSafe(|| rt.block_on(async { ops::nop().await })));
        let text = refused.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("made before a fork"), "{text}");
        let own = runtime();
        own.block_on(async {
            ops::nop().await.unwrap();
            time::sleep(Duration::from_millis(1)).await;
        });
        own.shutdown().unwrap();
        true
    }));
    let handle = rt.handle();
    let thread = thread::spawn(move || {
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(2));
            handle.spawn(async { ops::nop().await }).unwrap().join_blocking().unwrap().unwrap();
        }
        handle.stop();
    });
    rt.run();
    thread.join().unwrap();
    rt.shutdown().unwrap();
}

#[test]
fn dropping_the_parents_runtime_in_the_child_does_not_wait() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let rt =
        Runtime::builder().shutdown_deadline(Duration::from_secs(3600)).build().expect("io_uring is there");
    rt.block_on(async {
        spawn(async { ops::timeout(Duration::from_secs(3600)).await }).detach();
        time::sleep(Duration::from_millis(2)).await;
    });
    let mut rt = Some(rt);
    assert!(in_child(|| rt.take().unwrap().shutdown().unwrap_err().ops() == 1));
    rt.take().unwrap().shutdown().unwrap();
}

/// The child has the address, and a descriptor of the parent's ring: it could post there, and what it posts means nothing.
#[test]
fn a_mailbox_of_the_parent_is_closed_in_the_child() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let rt = runtime();
    let mut mailbox = rt.block_on(async { Mailbox::new(2) }).expect("a descriptor");
    let to = mailbox.address();
    assert!(in_child(|| {
        assert!(to.is_closed());
        let sent = runtime().block_on(async { ops::message(&to, 5).await });
        assert_eq!(sent.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        true
    }));
    assert!(!to.is_closed());
    let sender = thread::spawn(move || runtime().block_on(async { ops::message(&to, 7).await }));
    let received = rt.block_on(async { mailbox.receive().await }).expect("it is open");
    assert!(matches!(received, Mail::Message(7)), "{received:?}");
    sender.join().expect("no panic").expect("there is room");
    assert!(mailbox.is_empty());
    assert_eq!(rt.stats().stale_completions, 0);
}

/// A clone of the parent's table would have the parent's pages in it, and the child would write into those.
#[test]
fn a_shared_table_of_buffers_is_the_childs_own_memory_there() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let rt = runtime();
    let (shared, buf) = rt.block_on(async {
        let table = BufferTable::new(2).expect("no table yet");
        let buf = table.register(b"of the parent".to_vec()).expect("free");
        (table.share().expect("a descriptor"), buf)
    });
    let (mut shared, mut buf) = (Some(shared), Some(buf));
    assert!(in_child(|| {
        runtime().block_on(async {
            let _table = shared.take().unwrap().clone_here().unwrap();
            let buf = buf.take().unwrap();
            assert_eq!(buf.slot(), Some(0));
            let (n, buf) = ops::read(std::fs::File::open("Cargo.toml").unwrap(), buf).at(0).await;
            assert_eq!((n.unwrap(), &buf[..11]), (13, &b"[workspace]"[..]));
        });
        true
    }));
    assert_eq!(&buf.take().expect("here it was not taken")[..], b"of the parent");
}

/// The child has copies of filled buffers, of the books, and of the ring that the kernel takes buffers from: what it does with
/// them stays with it. It forks while the runtime runs, so that all of it seems to be at home there.
#[test]
fn what_the_child_drops_of_pools_and_queues_is_the_parents_still() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let rt = runtime();
    rt.block_on(async {
        let (mut a, b) = UnixStream::pair().unwrap();
        let (b, sender) = (Fd::from(b), Fd::from(a.try_clone().unwrap()));
        let pool = BufPool::new(2, 8).unwrap();
        let (empty, out) = (BufQueue::to_fill(2).unwrap(), BufQueue::to_send(2).unwrap());
        (0..2).for_each(|_| empty.push(vec![0; 8]).unwrap());
        a.write_all(b"of the parent").unwrap();
        let first = ops::recv_pooled(&b, &pool).await.unwrap();
        let second = ops::recv_pooled(&b, &empty).await.unwrap();
        out.push(b"out".to_vec()).unwrap();
        assert_eq!(ops::send_queued(&sender, &out).await.0.unwrap(), 3);
        out.push(b"side".to_vec()).unwrap();

        let mut all = Some((first, second, pool, empty, out));
        assert!(in_child(|| {
            let (first, second, pool, empty, out) = all.take().unwrap();
            drop((first, second)); // into the books of the child
            drop((pool, empty, out)); // and the groups, which it has not
            true
        }));
        let (first, second, pool, empty, out) = all.take().expect("here it was not taken");
        assert_eq!((&first[..], &second[..]), (&b"of the p"[..], &b"arent"[..]));
        assert_eq!((pool.available(), empty.len(), out.len()), (1, 1, 1));
        assert_eq!(ops::send_queued(&sender, &out).await.0.unwrap(), 4);
        assert_eq!(&ops::recv_pooled(&b, &pool).await.unwrap()[..], b"outside");
        for round in 0..20 {
            a.write_all(&[round; 16]).unwrap();
            assert_eq!(ops::recv_pooled(&b, &pool).await.unwrap()[..], [round; 8]);
            assert_eq!(ops::recv_pooled(&b, &empty).await.unwrap()[..], [round; 8]);
        }
        drop((first, second));
        assert_eq!((pool.available(), pool.disowned()), (2, 0));
        assert_eq!((empty.len(), empty.disowned()), (2, 0));
    });
    rt.shutdown().unwrap();
}

/// Whatever lock another thread had at that moment, nobody gives it back in the child.
#[test]
fn a_child_makes_its_own_whatever_other_threads_were_at() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(runtime());
                }
            });
        }
        for _ in 0..500 {
            assert!(in_child(|| {
                runtime().block_on(async { ops::nop().await }).expect("a nop");
                true
            }));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
