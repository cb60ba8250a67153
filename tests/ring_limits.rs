//! Rings that are too small for what is asked of them: full queues, chains at every level, completions that overflow.
//!
//! Knows: the public API. Does not know: how a queue tells that it is full.

mod support;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::Duration;

use millstream::combinators::{link, when_all};
use millstream::ops::{self, Fd};
use millstream::{Operation, Runtime};
use support::{TempDir, Watchdog};

const LIMIT: Duration = Duration::from_secs(60);

fn runtime(sq: u32, cq: u32) -> Runtime {
    Runtime::builder().sq_entries(sq).cq_entries(cq).build().expect("a runtime")
}

/// Polls each once: whatever is queued by that stands in the queue afterwards.
async fn queue<O: Operation + Unpin>(ops: &mut [O]) {
    std::future::poll_fn(|cx| {
        for op in &mut *ops {
            let _ = Pin::new(op).poll(cx);
        }
        std::task::Poll::Ready(())
    })
    .await;
}

#[test]
fn a_full_submission_queue_loses_nothing() {
    let _watchdog = Watchdog::new(LIMIT);
    let runtime = runtime(4, 8);
    runtime.block_on(async {
        for many in [1, 3, 4, 5, 8, 64, 1000] {
            let results = when_all((0..many).map(|_| ops::nop()).collect::<Vec<_>>()).await;
            assert_eq!(results.len(), many);
            assert!(results.into_iter().all(|result| result.is_ok()));
        }
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn a_chain_stays_whole_at_every_fill_level() {
    let _watchdog = Watchdog::new(LIMIT);
    const SQ: usize = 8;
    let directory = TempDir::new();
    let runtime = runtime(SQ as u32, 32);
    for fill in 0..=SQ {
        for length in 1..=SQ {
            let path = directory.join(format!("{fill}-{length}"));
            let file = Fd::from(File::create_new(&path).expect("a new file"));
            runtime.block_on(async {
                let mut before: Vec<_> = (0..fill).map(|_| ops::nop()).collect();
                queue(&mut before).await;
                // Each element appends one byte at the file's own position, so the file tells the order.
                let chain = (0..length).map(|n| ops::write(&file, vec![b'a' + n as u8])).collect::<Vec<_>>();
                let mut chain = Box::pin(link(chain));
                std::future::poll_fn(|cx| {
                    let _ = chain.as_mut().poll(cx);
                    std::task::Poll::Ready(())
                })
                .await;
                let mut after: Vec<_> = (0..fill).map(|_| ops::nop()).collect();
                queue(&mut after).await;
                for (result, _) in chain.await {
                    assert_eq!(result.expect("the write is whole"), 1, "fill {fill}, length {length}");
                }
                for nop in before.into_iter().chain(after) {
                    nop.await.expect("a nop beside a chain is not part of it");
                }
            });
            let mut written = String::new();
            File::open(&path).expect("the file").read_to_string(&mut written).expect("letters");
            let expected: String = ('a'..).take(length).collect();
            assert_eq!(written, expected, "fill {fill}, length {length}");
        }
    }
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn a_failing_chain_takes_nobody_else_with_it() {
    let _watchdog = Watchdog::new(LIMIT);
    let runtime = runtime(8, 32);
    runtime.block_on(async {
        for fill in 0..8 {
            let mut beside: Vec<_> = (0..fill).map(|_| ops::nop()).collect();
            queue(&mut beside).await;
            // The read fails at once (the pipe is the wrong end), so the rest of the chain is cancelled.
            let (_reader, writer) = io::pipe().expect("a pipe");
            let wrong = Fd::from(OwnedFd::from(writer));
            let (read, nop) = (ops::read(&wrong, vec![0_u8; 8]) >> ops::nop()).await;
            assert_eq!(read.0.expect_err("not readable").raw_os_error(), Some(libc::EBADF));
            assert_eq!(nop.expect_err("cancelled").raw_os_error(), Some(libc::ECANCELED));
            for nop in beside {
                nop.await.expect("not part of the chain");
            }
        }
    });
}

#[test]
fn a_chain_longer_than_the_queue_is_refused_before_anything_happens() {
    let _watchdog = Watchdog::new(LIMIT);
    let directory = TempDir::new();
    let mut file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(directory.join("untouched"))
        .expect("a new file");
    let runtime = runtime(4, 16);
    let fd = Fd::from(file.try_clone().expect("a second descriptor"));
    runtime.block_on(async {
        let chain = |length| link((0..length).map(|_| ops::write(&fd, vec![b'x'])).collect::<Vec<_>>());
        for (result, buffer) in chain(5).await {
            let error = result.expect_err("five do not fit into four");
            let text = error.to_string();
            assert!(
                text.contains('5') && text.contains('4'),
                "the error names neither length nor limit: {text}"
            );
            assert_eq!(buffer, b"x", "the buffer comes back");
        }
        for (result, _) in chain(4).await {
            assert_eq!(result.expect("four fit"), 1);
        }
    });
    file.rewind().expect("seekable");
    let mut written = Vec::new();
    file.read_to_end(&mut written).expect("readable");
    assert_eq!(written, b"xxxx", "the refused chain wrote nothing");
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn an_overflowing_completion_queue_loses_nothing() {
    let _watchdog = Watchdog::new(LIMIT);
    // The queue for completions is as small as the kernel makes it; far more ops complete between two looks at it.
    let runtime = runtime(4, 4);
    runtime.block_on(async {
        for many in [4, 5, 64, 500] {
            let mut pipes = Vec::new();
            let mut reads = Vec::new();
            for _ in 0..many.min(64) {
                let (reader, writer) = io::pipe().expect("a pipe");
                reads.push(ops::read(Fd::from(OwnedFd::from(reader)), vec![0_u8; 8]));
                pipes.push(writer);
            }
            queue(&mut reads).await;
            drop(pipes); // every read ends at once: end of file
            for (result, _) in when_all(reads).await {
                assert_eq!(result.expect("end of file"), 0);
            }
            let results = when_all((0..many).map(|_| ops::nop()).collect::<Vec<_>>()).await;
            assert!(results.len() == many && results.into_iter().all(|result| result.is_ok()));
        }
    });
    let stats = runtime.stats();
    assert_eq!((stats.nodes, stats.stale_completions), (0, 0), "{stats:?}");
}

#[test]
fn completions_are_handed_out_in_batches_and_the_kernel_is_entered_once_for_all_of_them() {
    let _watchdog = Watchdog::new(LIMIT);
    const TASKS: u64 = 128;
    let runtime = Runtime::builder().no_spin().build().expect("a runtime");
    runtime.block_on(async {
        let before = runtime.stats();
        let twice = || async { ops::nop().await.and(ops::nop().await) };
        let tasks: Vec<_> = (1..TASKS).map(|_| millstream::spawn(twice())).collect();
        ops::nop().await.expect("a nop"); // queued before those of the tasks
        let first = runtime.stats();
        assert_eq!(first.submitted - before.submitted, TASKS);
        assert!(first.completions - before.completions <= TASKS / 4, "{before:?} {first:?}");
        for task in tasks {
            task.await.expect("it has ended").expect("a nop");
        }
        let last = runtime.stats();
        assert_eq!(last.completions - before.completions, 2 * TASKS - 1);
        assert!(last.enters - before.enters <= 4, "{before:?} {last:?}");
    });
}

/// Whoever is never idle, and starts more ops than a batch is long between two looks at the ring, is not left behind.
#[test]
fn a_thread_that_is_never_idle_takes_in_all_that_has_completed() {
    let _watchdog = Watchdog::new(LIMIT);
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut most = 0;
        for _ in 0..4096 {
            for _ in 0..8 {
                let mut op = ops::nop();
                std::future::poll_fn(|cx| std::task::Poll::Ready(Pin::new(&mut op).poll(cx).is_pending()))
                    .await;
                drop(op); // in flight
            }
            millstream::yield_now().await;
            most = most.max(runtime.stats().nodes);
        }
        assert!(most <= 8192, "{most} of 32768 ops were in flight at once");
    });
}
