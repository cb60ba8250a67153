//! In the steady state an op allocates nothing: its record, its buffer and what the kernel reads are all there
//! already.

#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use millstream::Runtime;
use millstream::ops::{self, BufExt, Fd, IntoResult};
use support::TempDir;

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

/// Runs `round` a few times for what it needs only once, and then checks that no further one allocates.
fn steady(mut round: impl AsyncFnMut() -> io::Result<()>) {
    let runtime = Runtime::new().expect("a ring");
    let count = runtime.block_on(async {
        for _ in 0..32 {
            round().await.expect("a round that works");
        }
        let before = COUNT.get();
        for _ in 0..ROUNDS {
            round().await.expect("a round that works");
        }
        COUNT.get() - before
    });
    assert_eq!(count, 0, "allocations in {ROUNDS} rounds");
}

#[test]
fn the_count_counts() {
    let before = COUNT.get();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(COUNT.get() - before, 1);
}

#[test]
fn nop_and_timeout() {
    steady(async || {
        ops::nop().await?;
        ops::timeout(Duration::from_nanos(1)).await
    });
}

#[test]
fn read_and_write_a_file() -> io::Result<()> {
    let dir = TempDir::new();
    let path = dir.join("file");
    let file = std::fs::File::options().create_new(true).read(true).write(true).open(path)?;
    let file = Fd::from(file);
    let mut buf = Some(vec![7_u8; 4096]);
    steady(async || {
        let full = buf.take().expect("it comes back each time");
        let (_, full) = ops::write(&file, full).at(0).await.into_result()?;
        let (n, half) = ops::read(&file, full.slice(..2048)).at(100).await.into_result()?;
        assert_eq!(n, 2048);
        buf = Some(half.into_inner());
        let (_, array) = ops::read(&file, [0_u8; 64]).at(0).await.into_result()?;
        assert_eq!(array, [7; 64]);
        ops::write_all(&file, array).at(0).await.into_result()?;
        Ok(())
    });
    Ok(())
}

#[test]
fn vectored_up_to_eight() -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    let (reader, writer) = (Fd::from(reader), Fd::from(writer));
    let mut bufs = Some(vec![[7_u8; 16]; 8]);
    steady(async || {
        let full = bufs.take().expect("they come back each time");
        let (_, full) = ops::writev(&writer, full).await.into_result()?;
        let (n, full) = ops::readv(&reader, full).await.into_result()?;
        assert_eq!(n, 128);
        bufs = Some(full);
        Ok(())
    });
    Ok(())
}

#[test]
fn send_and_recv() -> io::Result<()> {
    let (a, b) = UnixStream::pair()?;
    let (a, b) = (Fd::from(a), Fd::from(b));
    let mut buf = Some(Vec::with_capacity(64));
    steady(async || {
        ops::send(&a, "sixteen bytes...").await.into_result()?;
        ops::send_all(&a, "and some").await.into_result()?;
        let (_, full) = ops::recv(&b, buf.take().expect("it comes back each time")).await.into_result()?;
        assert_eq!(full.len(), 24);
        buf = Some(full);
        Ok(())
    });
    Ok(())
}

#[test]
fn ops_dropped_in_flight() -> io::Result<()> {
    let (reader, _writer) = io::pipe()?;
    let reader = Fd::from(reader);
    steady(async || {
        let mut op = ops::read(&reader, [0_u8; 64]).at(0);
        let once = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut op).poll(cx).is_pending())
        });
        assert!(once.await);
        drop(op);
        ops::nop().await
    });
    Ok(())
}
