//! Reads that go on, of what stands in a slot: it is one file all along, and what its reads give is known wherever it came from.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes.

#[path = "support/slots.rs"]
mod slots;
mod support;

use std::io::Write;
use std::net::UdpSocket;
use std::ops::ControlFlow;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use millstream::combinators::{OneOf2, when_any};
use millstream::ops::{self, Fd, FdTable, IntoResult};
use millstream::{Results, Runtime, time};
use slots::{in_kernel, item, next};
use support::{TempDir, Watchdog, skip};

/// A multishot op that begins anew never begins with another file than it began with.
#[test]
fn a_multishot_op_does_not_go_on_with_another_file() {
    let _watchdog = Watchdog::new(Duration::from_secs(120));
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let pool = ops::BufPool::new(8, 4).expect("memory");
        let ((ours, mut peer), (other, mut stranger)) =
            (UnixStream::pair().expect("a pair"), UnixStream::pair().expect("a pair"));
        let slot = table.install(ours).expect("free");
        let mut received = ops::recv_multishot(&slot, &pool).backlog(1);
        peer.write_all(b"oneone").expect("room");
        stranger.write_all(b"not ours").expect("room");
        assert_eq!(&item(&mut received).await[..], b"oneo");
        in_kernel().await; // it pauses, with what was left
        // Another file comes into the slot while nothing is asked of the kernel.
        let dir = TempDir::new();
        let listener = Fd::from(UnixListener::bind(dir.join("socket")).expect("a path"));
        let stand_in = UnixStream::connect(dir.join("socket")).expect("it listens");
        ops::accept_direct(&listener, &slot).await.expect("a client");
        (&stand_in).write_all(b"of another").expect("room");
        let mut all = b"oneo".to_vec();
        let end = loop {
            match next(&mut received).await {
                ControlFlow::Continue(bytes) => all.extend_from_slice(&bytes),
                ControlFlow::Break(end) => break end,
            }
        };
        assert_eq!(all, b"oneone");
        assert_eq!(end.expect_err("its file is gone").raw_os_error(), Some(libc::EBADF));
        let (n, buf) = ops::recv(&slot, [0; 16]).await.into_result().expect("untouched");
        assert_eq!(&buf[..n], b"of another");
        drop(other);
    });
}

/// Made before there is a file in its slot, it is that file's all the same, and so is what is given back to it after its end.
#[test]
fn an_op_that_was_made_before_its_file_leaves_what_it_got_to_that() {
    let _watchdog = Watchdog::new(Duration::from_secs(120));
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        let pool = ops::BufPool::new(2, 16).expect("memory");
        let slot = table.reserve().expect("free");
        let mut received = ops::recv_multishot(&slot, &pool);
        let dir = TempDir::new();
        let listener = Fd::from(UnixListener::bind(dir.join("socket")).expect("a path"));
        let mut client = UnixStream::connect(dir.join("socket")).expect("it listens");
        ops::accept_direct(&listener, &slot).await.expect("a client");
        client.write_all(b"first").expect("room");
        let first = item(&mut received).await;
        received.request_cancel();
        assert!(matches!(next(&mut received).await, ControlFlow::Break(Err(_))), "it was stopped");
        received.give_back(first);
        client.write_all(b"second").expect("room");
        for text in [&b"first"[..], b"second"] {
            let (n, buf) = ops::recv(&slot, [0; 16]).await.into_result().expect("open");
            assert_eq!(&buf[..n], text);
        }
    });
}

/// An empty datagram is no end, wherever the socket stands, and however it came there.
#[test]
fn an_empty_datagram_ends_nothing_in_a_slot_either() {
    require_op!(MsgRingSendFd);
    let _watchdog = Watchdog::new(Duration::from_secs(120));
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        let (table, pool) =
            (FdTable::new(4).expect("no table yet"), ops::BufPool::new(4, 256).expect("memory"));
        let ours = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let theirs = UdpSocket::bind("127.0.0.1:0").expect("a port");
        theirs.connect(ours.local_addr().expect("bound")).expect("no handshake");
        let installed = table.install(ours).expect("free");
        let mut mailbox = ops::Mailbox::with_table(1, &table).expect("a descriptor");
        let to = mailbox.address();
        // Once from here, and once by way of another ring.
        let far = thread::spawn(move || {
            Runtime::new().expect("a ring").block_on(async {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
                let address = socket.local_addr().expect("bound");
                let slot = FdTable::new(1).expect("no table yet").install(socket).expect("free");
                ops::pass_fd(&to, slot).await.0.map(|()| address)
            })
        });
        let came = when_any((mailbox.receive(), time::sleep(Duration::from_secs(20)))).await;
        let passed = match far.join().expect("no panic") {
            Err(error) => return skip(error.to_string()),
            Ok(address) => address,
        };
        let OneOf2::A(Ok(ops::Mail::File(sent))) = came else { panic!("{came:?}") };
        let other = UdpSocket::bind("127.0.0.1:0").expect("a port");
        other.connect(passed).expect("no handshake");
        for (slot, theirs) in [(&installed, &theirs), (&sent, &other)] {
            let mut bytes = ops::recv_multishot(slot, &pool);
            let mut messages = ops::recvmsg_multishot(slot, &pool);
            for text in ["one", "", "two"] {
                theirs.send(text.as_bytes()).expect("room");
                assert_eq!(item(&mut bytes).await[..], *text.as_bytes());
            }
            drop(bytes);
            in_kernel().await;
            for text in ["three", "", "four"] {
                theirs.send(text.as_bytes()).expect("room");
                assert_eq!(item(&mut messages).await.1[..], *text.as_bytes());
            }
        }
    });
}
