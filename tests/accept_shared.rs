//! Two runtimes wait on one listener, and one of them gives up in the very moment in which a connection comes.
//!
//! Knows: the public API. Does not know: whom the kernel wakes.

mod support;

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use millstream::ops::{self, Fd};
use millstream::{Runtime, spawn, time, yield_now};
use support::Watchdog;

/// The kernel wakes one of those who wait, and here the one that gives up. The connection stays in the backlog; the other sleeps on
/// (on 6.18, too), and gets it first of all when the next one wakes it.
#[test]
fn a_connection_that_woke_a_cancelled_accept_is_not_lost() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a socket");
    let other = listener.try_clone().expect("a descriptor");
    let (accepted, peers) = mpsc::channel();
    let rt = Runtime::builder().no_spin().build().expect("io_uring is there");
    let listener = Fd::from(listener);
    let thread = rt.block_on(async {
        let accept = spawn({
            let listener = listener.clone();
            async move { ops::accept(&listener).await }
        });
        yield_now().await;
        ops::nop().await.expect("the accept was submitted with it"); // so it is the first in the line
        let thread = thread::spawn(move || {
            let rt = Runtime::builder().no_spin().build().expect("io_uring is there");
            let other = Fd::from(other);
            rt.block_on(async {
                for _ in 0..2 {
                    let connection = ops::accept(&other).await.expect("a connection");
                    accepted.send(connection.peer_addr().expect("connected")).expect("the test waits");
                }
            });
        });
        time::sleep(Duration::from_millis(100)).await; // the second one is in its place, most likely
        let first = TcpStream::connect(address).expect("a backlog"); // the kernel wakes this thread, which is busy
        accept.cancel(); // and which then wants nothing any more
        assert!(accept.await.is_err());
        time::sleep(Duration::from_millis(100)).await;
        let first = first.local_addr().expect("a socket");
        let got = peers.try_recv();
        let second = TcpStream::connect(address).expect("a backlog");
        let second = second.local_addr().expect("a socket");
        let got = got.or_else(|_| peers.recv()).expect("the other runtime accepts");
        assert_eq!((got, peers.recv()), (first, Ok(second)), "in order, and none is lost");
        thread
    });
    thread.join().expect("no panic");
}
