//! Results of multishot ops cost no allocation: they wait in a queue that is there, and their arm is one node.
//!
//! (A connection is a counted descriptor, whose count is an allocation; that of a single accept is the same one.)

#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::time::Duration;

use millstream::combinators::ResultsExt;
use millstream::ops::{self, Fd, Feature};
use millstream::{Results, Runtime, channel, spawn};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: (local) the system allocator does the work; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: (local) the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: (local) as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: (local) as above.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 1_000;

/// How many allocations `ROUNDS` rounds take, after some for what is needed only once.
async fn count(mut round: impl AsyncFnMut()) -> usize {
    for _ in 0..64 {
        round().await;
    }
    let before = COUNT.get();
    for _ in 0..ROUNDS {
        round().await;
    }
    COUNT.get() - before
}

/// With multishot and without.
fn runtimes(feature: Feature) -> [Runtime; 2] {
    let without = Runtime::builder().without_features(feature.bit()).build();
    [Runtime::new().expect("io_uring"), without.expect("io_uring")]
}

async fn item<R: Results>(results: &mut R) -> R::Item {
    match poll_fn(|cx| results.poll_next(cx)).await {
        ControlFlow::Continue(item) => item,
        ControlFlow::Break(_) => panic!("it ended"),
    }
}

#[test]
fn the_count_counts() {
    let count = futures::executor::block_on(count(async || drop(std::hint::black_box(Box::new(1)))));
    assert_eq!(count, ROUNDS);
}

#[test]
fn events_of_a_poll() {
    for runtime in runtimes(Feature::PollMultishot) {
        let allocations = runtime.block_on(async {
            let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
            let fd = Fd::from(reader.try_clone().expect("a descriptor"));
            let mut ready = ops::poll_multishot(&fd, libc::POLLIN);
            count(async || {
                writer.write_all(b"x").expect("room");
                item(&mut ready).await;
                reader.read_exact(&mut [0]).expect("a byte");
            })
            .await
        });
        assert_eq!(allocations, 0, "allocations in {ROUNDS} rounds");
    }
}

#[test]
fn pauses_included() {
    let runtime = Runtime::new().expect("io_uring");
    let allocations = runtime.block_on(async {
        let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
        let fd = Fd::from(reader.try_clone().expect("a descriptor"));
        // A backlog of one: it pauses and begins again with every result.
        let mut ready = ops::poll_multishot(&fd, libc::POLLIN).backlog(1);
        count(async || {
            writer.write_all(b"x").expect("room");
            item(&mut ready).await;
            reader.read_exact(&mut [0]).expect("a byte");
            ops::nop().await.expect("a nop");
        })
        .await
    });
    assert_eq!(allocations, 0, "allocations in {ROUNDS} rounds");
}

#[test]
fn periods_through_a_full_channel() {
    for runtime in runtimes(Feature::TimeoutMultishot) {
        let allocations = runtime.block_on(async {
            let (tx, ticks) = channel::bounded(1);
            spawn(ops::timeout_multishot(Duration::from_micros(20)).will_push(tx)).detach();
            count(async || {
                ticks.pop().await.expect("a tick");
            })
            .await
        });
        assert_eq!(allocations, 0, "allocations in {ROUNDS} rounds");
    }
}

#[test]
fn a_connection_takes_what_a_single_accept_takes() {
    let connect = |listener: &TcpListener| {
        TcpStream::connect(listener.local_addr().expect("bound")).expect("the backlog has room")
    };
    let runtime = Runtime::new().expect("io_uring");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let fd = Fd::from(listener.try_clone().expect("a descriptor"));
        let single = count(async || {
            let _client = connect(&listener);
            ops::accept(&fd).await.expect("a connection");
        })
        .await;
        let mut accepts = ops::accept_multishot(&fd);
        let multi = count(async || {
            let _client = connect(&listener);
            item(&mut accepts).await;
        })
        .await;
        assert_eq!(multi, single, "allocations in {ROUNDS} rounds");
        // And a task of each, in a cell that is there.
        drop(accepts);
        let (done_tx, done) = channel::local(1);
        let server = ops::accept_multishot(&fd).will_spawn(move |connection: Fd| {
            let done = done_tx.clone();
            async move {
                drop(connection);
                done.push(()).await.expect("open");
            }
        });
        spawn(server.limit(2)).detach();
        let spawned = count(async || {
            let _client = connect(&listener);
            done.pop().await.expect("a task");
        })
        .await;
        assert_eq!(spawned, single, "allocations in {ROUNDS} rounds");
    });
}
