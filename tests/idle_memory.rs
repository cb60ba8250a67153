//! A connection that is served by a multishot receive and says nothing holds little memory: its buffers are the pool's.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use millstream::combinators::ResultsExt;
use millstream::ops::{self, BufPool, Fd, IntoResult};
use millstream::{Runtime, channel, spawn};
use support::{Watchdog, alone};

/// Counts the bytes that are allocated.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

fn count(change: isize) {
    LIVE.fetch_add(change, Ordering::Relaxed);
}

// SAFETY: (local) the system allocator does the work; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: (local) the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: (local) as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: (local) as above.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: usize = 1_000;
/// What one of them may cost, tasks included.
const MOST: usize = 1024;

/// Raises the limit of open files as far as it may be.
fn allow_descriptors(wanted: libc::rlim_t) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: (local) both calls get a limit of ours.
    let status = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_cur.max(wanted.min(limit.rlim_max));
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a thousand sessions hold, each, when all of them have echoed one message and wait for the next.
async fn held<S>(session: impl Fn(Fd, BufPool) -> S) -> io::Result<usize>
where
    S: Future<Output = io::Result<()>> + 'static,
{
    allow_descriptors(3 * CONNECTIONS as libc::rlim_t)?;
    let pool = BufPool::new(64, 4096)?;
    let pairs = (0..CONNECTIONS).map(|_| UnixStream::pair()).collect::<io::Result<Vec<_>>>()?;
    let (clients, servers): (Vec<Fd>, Vec<_>) = pairs.into_iter().map(|(a, b)| (Fd::from(a), b)).unzip();
    let before = LIVE.load(Ordering::Relaxed);
    for server in servers {
        spawn(session(Fd::from(server), pool.clone())).detach();
    }
    for client in &clients {
        ops::send_all(client, "a message").await.into_result()?;
        let (n, back) = ops::recv(client, [0; 16]).await.into_result()?;
        assert_eq!(&back[..n], b"a message");
    }
    millstream::time::sleep(Duration::from_millis(20)).await;
    let held = LIVE.load(Ordering::Relaxed) - before;
    assert_eq!(pool.available(), 64, "a buffer is held by a connection that is idle");
    Ok(held as usize / CONNECTIONS)
}

#[test]
fn an_idle_connection_holds_less_than_a_kibibyte() -> io::Result<()> {
    let (_alone, _watchdog) = (alone(), Watchdog::new(Duration::from_secs(60)));
    let held = Runtime::new().expect("a ring").block_on(held(|conn, pool| async move {
        let mut received = ops::recv_multishot(&conn, &pool).stream();
        while let Some(bytes) = received.next().await {
            ops::send_all(&conn, bytes?).await.into_result()?;
        }
        Ok(())
    }))?;
    eprintln!("{held} bytes for each idle connection");
    assert!(held <= MOST, "{held} bytes for each idle connection");
    Ok(())
}

#[test]
fn with_a_channel_and_a_second_task_it_holds_less_than_two() -> io::Result<()> {
    let (_alone, _watchdog) = (alone(), Watchdog::new(Duration::from_secs(60)));
    let held = Runtime::new().expect("a ring").block_on(held(|conn, pool| async move {
        let (tx, received) = channel::local(1);
        spawn(ops::recv_multishot(&conn, &pool).will_push(tx)).detach();
        while let Ok(bytes) = received.pop().await {
            ops::send_all(&conn, bytes).await.into_result()?;
        }
        Ok(())
    }))?;
    eprintln!("{held} bytes for each idle connection with a channel");
    assert!(held <= 2 * MOST, "{held} bytes for each idle connection with a channel");
    Ok(())
}
