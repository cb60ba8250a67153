//! What tests of slots share: accepting one by one, clients with numbers, and waiting until every slot is free again.
//!
//! Knows: the public API. Does not know: what is tested.

#![allow(dead_code, reason = "every test binary compiles this file and uses its own part of it")]

use std::future::poll_fn;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::time::Duration;

use millstream::ops::{self, Fd, FdTable, IntoFd};
use millstream::{Results, Runtime, time};

/// The next result, or the end.
pub(crate) async fn next<R: Results>(results: &mut R) -> ControlFlow<R::End, R::Item> {
    poll_fn(|cx| results.poll_next(cx)).await
}

/// The next result of what has not ended.
pub(crate) async fn item<R: Results<End = io::Result<()>>>(results: &mut R) -> R::Item {
    match next(results).await {
        ControlFlow::Continue(item) => item,
        ControlFlow::Break(end) => panic!("it has ended: {end:?}"),
    }
}

/// What was queued so far is with the kernel, and what it had to say at once was heard.
pub(crate) async fn in_kernel() {
    for _ in 0..3 {
        ops::nop().await.expect("a nop");
    }
}

/// Waits until so many slots are free.
pub(crate) async fn assert_available(table: &FdTable, slots: usize) {
    while table.available() != slots {
        assert!(table.available() < slots, "{table:?}");
        time::sleep(Duration::from_micros(100)).await;
    }
}

/// The closes of what was dropped last have ended, and nothing else is left.
pub(crate) fn settled(runtime: &Runtime) {
    for _ in 0..1000 {
        if runtime.stats().nodes == 0 {
            return;
        }
        runtime.block_on(time::sleep(Duration::from_millis(1)));
    }
    panic!("{:?}", runtime.stats());
}

pub(crate) fn listen() -> (Fd, SocketAddr) {
    let listener = ops::listen_tcp("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a socket");
    (listener, address)
}

/// A client with a number, by which its connection is known.
pub(crate) fn client(address: SocketAddr, number: u8) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.write_all(&[number]).expect("room");
    client
}

pub(crate) async fn number_of(connection: impl IntoFd) -> u8 {
    let (n, buf) = ops::recv(connection, [0; 1]).await;
    assert_eq!(n.expect("a connection"), 1);
    buf[0]
}
