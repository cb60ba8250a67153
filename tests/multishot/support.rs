//! What the tests of multishot ops share.
//!
//! Knows: std's sockets, the trait of what goes on giving results. Does not know: which op it is.

use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;

use millstream::Results;
use millstream::ops::Fd;

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

/// A listening socket on the loopback, and where it listens.
pub(crate) fn listener() -> (Fd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (Fd::from(listener), address)
}

/// Clients that are connected, or wait in the backlog.
pub(crate) fn clients(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).expect("the backlog has room")).collect()
}

/// The ports of peers, in order.
pub(crate) fn ports(connections: &[Fd]) -> Vec<u16> {
    connections.iter().map(|c| c.peer_addr().expect("connected").port()).collect()
}

/// The own ports of clients, in order.
pub(crate) fn own_ports(clients: &[TcpStream]) -> Vec<u16> {
    clients.iter().map(|c| c.local_addr().expect("connected").port()).collect()
}
