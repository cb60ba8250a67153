//! What the tests of multishot ops share.
//!
//! Knows: std's sockets, the trait of what goes on giving results. Does not know: which op it is.
#![allow(unsafe_code, reason = "asks the kernel what a socket has not got rid of")]

use std::future::poll_fn;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::sync::MutexGuard;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use millstream::ops::{self, Fd, Feature};
use millstream::{Results, Runtime, channel, time, yield_now};

use crate::harness::{Watchdog, alone};

/// What every test holds: it runs alone, because others count its descriptors, and not for ever.
pub(crate) fn begin() -> impl Drop {
    struct Held(#[allow(dead_code, reason = "held")] (MutexGuard<'static, ()>, Watchdog));
    impl Drop for Held {
        fn drop(&mut self) {}
    }
    let held = Held((alone(), Watchdog::new(Duration::from_secs(120))));
    // What a runtime keeps for the next one: there are two at once at most.
    drop((Runtime::new(), Runtime::new()));
    held
}

/// Runs a test with multishot and, as on a kernel without it, with single entries.
pub(crate) fn both(test: impl AsyncFn()) {
    let _held = begin();
    Runtime::new().expect("io_uring").block_on(test());
    without(Feature::AcceptMultishot).block_on(test());
}

/// A runtime that pretends its kernel lacks an ability.
pub(crate) fn without(feature: Feature) -> Runtime {
    Runtime::builder().without_features(feature.bit()).build().expect("io_uring")
}

/// The next result, or the end.
pub(crate) async fn next<R: Results>(results: &mut R) -> ControlFlow<R::End, R::Item> {
    poll_fn(|cx| results.poll_next(cx)).await
}

/// The next result, which there must be.
pub(crate) async fn item<R: Results<End: std::fmt::Debug>>(results: &mut R) -> R::Item {
    match next(results).await {
        ControlFlow::Continue(item) => item,
        ControlFlow::Break(end) => panic!("ended: {end:?}"),
    }
}

/// Everything up to the end, and that.
pub(crate) async fn rest<R: Results>(results: &mut R) -> (Vec<R::Item>, R::End) {
    let mut items = Vec::new();
    loop {
        match next(results).await {
            ControlFlow::Continue(item) => items.push(item),
            ControlFlow::Break(end) => return (items, end),
        }
    }
}

/// Polls once, and keeps what that brings.
pub(crate) async fn poll_once<R: Results<End: std::fmt::Debug>>(results: &mut R) -> Option<R::Item> {
    poll_fn(|cx| {
        Poll::Ready(match results.poll_next(cx) {
            Poll::Ready(ControlFlow::Continue(item)) => Some(item),
            Poll::Ready(ControlFlow::Break(end)) => panic!("ended: {end:?}"),
            Poll::Pending => None,
        })
    })
    .await
}

/// Waits for what is bound to come.
pub(crate) async fn until(done: impl Fn() -> bool) {
    while !done() {
        time::sleep(Duration::from_micros(200)).await;
    }
}

/// What a test needs of a receiving end, whichever it is.
pub(crate) trait Out<T>: 'static {
    async fn take(&mut self) -> Option<T>;
}

impl<T: 'static, S: channel::Sharing + 'static> Out<T> for channel::Receiver<T, S> {
    async fn take(&mut self) -> Option<T> {
        self.pop().await.ok()
    }
}

impl<T: 'static> Out<T> for channel::spsc::Consumer<T> {
    async fn take(&mut self) -> Option<T> {
        self.pop().await.ok()
    }
}

/// Lets the kernel do what it can do now: what was queued before is with it, what that made ready has been reaped, and so
/// for as many steps as an op takes to be paused and asked for anew. What comes from outside is there before, as after
/// [`clients`].
pub(crate) async fn settle() {
    for _ in 0..8 {
        turn().await;
    }
}

/// One step of that.
pub(crate) async fn turn() {
    yield_now().await; // other tasks have theirs
    ops::nop().await.expect("nothing can be wrong with it"); // it comes behind all that was complete
}

/// A listening socket on the loopback, and where it listens.
pub(crate) fn listener() -> (Fd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (Fd::from(listener), address)
}

/// Clients whose connections are accepted, or wait in the backlog.
///
/// A `connect` ends when the other side has answered, and the listener has the connection a moment later. It does when a byte
/// has been acknowledged, so each client sends one.
pub(crate) fn clients(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let connect = |_| {
        let mut client = TcpStream::connect(address).expect("the backlog has room");
        client.write_all(b"!").expect("there is room for a byte");
        client
    };
    let clients: Vec<_> = (0..count).map(connect).collect();
    while clients.iter().any(|client| unacknowledged(client) > 0) {
        thread::yield_now();
    }
    clients
}

/// How many bytes a socket has sent that were not acknowledged.
fn unacknowledged(socket: &TcpStream) -> libc::c_int {
    let mut bytes = 0;
    // SAFETY: (local) a live socket, and an `int` for the kernel to write to.
    assert_eq!(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) }, 0);
    bytes
}

/// The ports of peers, in order.
pub(crate) fn ports<'a>(connections: impl IntoIterator<Item = &'a Fd>) -> Vec<u16> {
    connections.into_iter().map(|c| c.peer_addr().expect("connected").port()).collect()
}

/// The own ports of clients, in order.
pub(crate) fn own_ports(clients: &[TcpStream]) -> Vec<u16> {
    clients.iter().map(|c| c.local_addr().expect("connected").port()).collect()
}

/// Accepts so many with plain accepts.
pub(crate) async fn accept_plainly(listener: &Fd, count: usize) -> Vec<Fd> {
    let mut accepted = Vec::new();
    for _ in 0..count {
        accepted.push(ops::accept(listener).await.expect("a connection"));
    }
    accepted
}

/// The errno of an end.
pub(crate) fn errno<T: std::fmt::Debug>(end: std::io::Result<T>) -> Option<i32> {
    end.expect_err("an error").raw_os_error()
}
