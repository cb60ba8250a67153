//! Slots in which one file follows another: what belonged to the former is not the next one's, and what is there is closed.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: how a slot tells its files apart.

mod support;

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use millstream::ops::{self, BufPool, Fd, FdTable, FixedFd, IntoFd};
use millstream::{Results, Runtime};
use support::{TempDir, Watchdog, skip};

/// One test at a time, and none for longer than this.
fn watchdog() -> (MutexGuard<'static, ()>, Watchdog) {
    (support::alone(), Watchdog::new(Duration::from_secs(60)))
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// What was queued so far is with the kernel, and what it had to say at once was heard.
async fn in_kernel() {
    for _ in 0..3 {
        ops::nop().await.expect("a nop");
    }
}

fn listen() -> (Fd, SocketAddr) {
    let listener = ops::listen_tcp("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a socket");
    (listener, address)
}

/// A client with a number, by which its connection is known. It waits for no answer for ever.
fn client(address: SocketAddr, number: u8) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
    client.write_all(&[number]).expect("room");
    client
}

async fn number_of(connection: impl IntoFd) -> u8 {
    let (n, buf) = ops::recv(connection, [0; 1]).await;
    assert_eq!(n.expect("a connection"), 1);
    buf[0]
}

/// A slot with one end of a pair in it, on which a receive that was dropped has left some bytes, and the other end.
async fn with_left(table: &FdTable) -> (FixedFd, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    theirs.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
    let slot = table.install(OwnedFd::from(ours)).expect("free");
    let mut recv = ops::recv(&slot, [0; 16]);
    assert!(poll_once(&mut recv).is_pending());
    in_kernel().await;
    theirs.write_all(b"of the former").expect("room");
    in_kernel().await;
    drop(recv);
    in_kernel().await;
    (slot, theirs)
}

/// In the slot from now on, whatever was there: a socket of datagrams that has this name.
async fn datagrams(slot: impl Into<ops::DirectSlot>, path: &std::path::Path) -> io::Result<FixedFd> {
    let slot = ops::socket_direct(libc::AF_UNIX, libc::SOCK_DGRAM, 0, slot).await?;
    ops::bind(&slot, ops::Address::unix(path)?).await?;
    Ok(slot)
}

#[test]
fn bytes_that_a_former_file_had_left_are_gone_with_it() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let (slot, _theirs) = with_left(&table).await;
        ops::open_direct("Cargo.toml", &slot).await.expect("there");
        let (n, buf) = ops::read(&slot, [0; 11]).await;
        assert_eq!((n.expect("bytes"), &buf), (11, b"[workspace]"));
        // A connection that an accept had left, which is put there without the ring being asked.
        let (slot, _theirs) = with_left(&table).await;
        let (listener, address) = listen();
        let mut accept = ops::accept(&listener);
        assert!(poll_once(&mut accept).is_pending());
        in_kernel().await;
        let _client = client(address, 7);
        in_kernel().await;
        drop(accept);
        in_kernel().await;
        ops::accept_direct(&listener, &slot).await.expect("it waits");
        assert_eq!(number_of(&slot).await, 7);
    });
}

/// An open that fails leaves the slot as it was, and what is in it is closed with the last hold.
#[test]
fn an_open_that_fails_leaves_the_former_file_there() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        theirs.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        let slot = table.install(OwnedFd::from(ours)).expect("free");
        let error = ops::open_direct("there is no such file", &slot).await.expect_err("not there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        ops::send(&slot, "grist").await.0.expect("it is there still");
        drop(slot);
        in_kernel().await;
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).expect("closed");
        assert_eq!(all, b"grist");
    });
}

/// A close has ended long ago when its future is asked; what was opened into the slot since is not what it has closed.
#[test]
fn a_close_that_is_heard_of_late_is_of_the_former_file() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        let (listener, address) = listen();
        let mut client = client(address, 3);
        let slot = table.install(std::fs::File::open("/dev/null").expect("there")).expect("free");
        let (mut close, mut accept) = (ops::close_direct(&slot), ops::accept_direct(&listener, &slot));
        assert!(poll_once(&mut close).is_pending() && poll_once(&mut accept).is_pending());
        accept.await.expect("a client");
        close.await.expect("a file was there");
        assert_eq!(number_of(&slot).await, 3);
        drop(slot);
        in_kernel().await;
        assert_eq!(client.read(&mut [0; 1]).expect("closed"), 0);
    });
}

/// An accept on the listener that is there now is not given what one on the former had got.
#[test]
fn a_newer_listener_gets_no_connection_of_the_former() {
    require_op!(Bind, Listen);
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        let (old, address) = listen();
        let slot = table.install(old).expect("free");
        let mut older = ops::accept(&slot);
        assert!(poll_once(&mut older).is_pending());
        in_kernel().await;
        let mut orphan = client(address, 1);
        in_kernel().await;
        let path = TempDir::new();
        let path = path.join("socket");
        ops::socket_direct(libc::AF_UNIX, libc::SOCK_STREAM, 0, &slot).await.expect("made");
        ops::bind(&slot, ops::Address::unix(&path).expect("short")).await.expect("free");
        ops::listen(&slot, 4).await.expect("bound");
        let mut newer = ops::accept(&slot);
        assert!(poll_once(&mut newer).is_pending());
        in_kernel().await;
        drop(older);
        in_kernel().await;
        assert!(poll_once(&mut newer).is_pending());
        assert_eq!(orphan.read(&mut [0; 1]).unwrap_or(0), 0, "closed, or reset for what it had sent");
        let mut second = UnixStream::connect(&path).expect("it listens");
        second.write_all(&[2]).expect("room");
        assert_eq!(number_of(newer.await.expect("a client")).await, 2);
    });
}

/// Not even that there was a message is left of one that came to the former socket.
#[test]
fn a_message_to_the_former_socket_is_nobodys() {
    require_op!(Bind);
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        let slot = table.install(OwnedFd::from(ours)).expect("free");
        let mut older = ops::recvmsg(&slot, vec![vec![0; 8]]);
        assert!(poll_once(&mut older).is_pending());
        in_kernel().await;
        let dir = TempDir::new();
        let path = dir.join("socket");
        datagrams(&slot, &path).await.expect("made");
        theirs.send(b"old").expect("the op has it open");
        in_kernel().await;
        drop(older);
        in_kernel().await;
        UnixDatagram::unbound().and_then(|socket| socket.send_to(b"new", &path)).expect("bound");
        let (received, bufs) = ops::recvmsg(&slot, vec![vec![0; 8]]).await;
        assert_eq!((received.expect("one").len, &bufs[0][..]), (3, &b"new"[..]));
    });
}

/// A slot that the kernel has picked knows what is in it: an empty datagram is no end.
#[test]
fn a_socket_in_a_picked_slot_has_messages() {
    require_op!(Bind);
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = match FdTable::with_picked(1, 1) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return skip(error.to_string()),
            table => table.expect("no table yet"),
        };
        let dir = TempDir::new();
        let path = dir.join("socket");
        let slot = datagrams(table.pick(), &path).await.expect("made");
        let error = ops::accept_direct(listen().0, &slot).await.expect_err("the kernel would pick it again");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.send_to(b"", &path).expect("bound");
        sender.send_to(b"x", &path).expect("bound");
        let pool = BufPool::new(2, 8).expect("memory");
        let mut datagrams = ops::recv_multishot(&slot, &pool);
        for expected in [&b""[..], b"x"] {
            match poll_fn(|cx| datagrams.poll_next(cx)).await {
                ControlFlow::Continue(got) => assert_eq!(&got[..], expected),
                ControlFlow::Break(end) => panic!("{end:?}"),
            }
        }
    });
}

/// A connection that waits in a slot of another ring is left to that one.
#[test]
fn a_connection_in_another_rings_slot_is_not_for_this_one() {
    let _watchdog = watchdog();
    let (first, second) = (Runtime::new().expect("a ring"), Runtime::new().expect("a ring"));
    let (listener, address) = listen();
    let _one = client(address, 1);
    let table = first.block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let mut accept = ops::accept_direct(&listener, table.reserve().expect("free"));
        assert!(poll_once(&mut accept).is_pending());
        in_kernel().await;
        drop(accept);
        in_kernel().await;
        table
    });
    second.block_on(async {
        let own = FdTable::new(2).expect("no table yet");
        let _files = [0; 2].map(|_| own.install(std::fs::File::open("/dev/null").expect("there")));
        let mut accept = ops::accept(&listener);
        assert!(poll_once(&mut accept).is_pending());
        in_kernel().await;
        assert!(poll_once(&mut accept).is_pending(), "nobody has come here");
        let _two = client(address, 2);
        assert_eq!(number_of(accept.await.expect("a client")).await, 2);
    });
    first.block_on(async {
        let slot = ops::accept_direct(&listener, table.reserve().expect("free")).await.expect("it waits");
        assert_eq!(number_of(&slot).await, 1);
    });
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// However often a task asks for a slot, it waits for one once.
#[test]
fn who_waits_for_a_slot_is_noted_once() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        let _held = table.reserve().expect("free");
        let mut accepts = ops::accept_direct_multishot(listen().0, &table);
        let nobody = Arc::new(Nobody);
        let waker = Waker::from(Arc::clone(&nobody));
        for _ in 0..100 {
            assert!(accepts.poll_next(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&nobody), 3, "ours, and one in line");
    });
}

/// Another program that is started meanwhile does not get it.
#[test]
fn an_accepted_descriptor_closes_on_exec() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let (listener, address) = listen();
        let _client = client(address, 1);
        let connection = ops::accept(&listener).await.expect("a client");
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", connection.as_raw_fd()));
        let info = info.expect("open");
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("a line").trim();
        let flags = i32::from_str_radix(flags, 8).expect("octal");
        assert_ne!(flags & libc::O_CLOEXEC, 0);
    });
}
