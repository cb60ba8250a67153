//! Sockets from their making to their shutdown: results, errors, cancels, drops.
//!
//! Knows: the public API. Does not know: nodes.

#[path = "support/steps.rs"]
mod steps;
mod support;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::pin::Pin;

use io_uring::opcode;
use millstream::ops::{self, Address, Fd, IntoResult};
use millstream::runtime::testing::FaultPlan;
use millstream::{Operation, Runtime, spawn};
use steps::{Outcome, begin, errno, poll_once};
use support::{Descriptors, TempDir};

/// Makes a listener and a client by ops, and lets a word go each way.
async fn converse(address: Address) -> io::Result<()> {
    let listener = ops::socket(address.family(), libc::SOCK_STREAM, 0).await?;
    ops::bind(&listener, address).await?;
    ops::listen(&listener, 16).await?;
    let bound = match listener.local_addr() {
        Ok(internet) => internet.into(),
        Err(_) => address,
    };
    let client = ops::socket(address.family(), libc::SOCK_STREAM, 0).await?;
    let accepting = spawn(ops::accept(&listener));
    ops::connect(&client, bound).await?;
    let server = accepting.await.expect("no panic")?;
    if address.family() != libc::AF_UNIX {
        assert_eq!(server.peer_addr()?, client.local_addr()?);
    }
    for (from, to) in [(&client, &server), (&server, &client)] {
        ops::send_all(from, "word").await.0?;
        assert_eq!(ops::recv(to, [0; 4]).await.into_result()?.1, *b"word");
    }
    ops::shutdown(&client, Shutdown::Write).await?;
    assert_eq!(ops::recv(&server, [0; 4]).await.0?, 0);
    assert_eq!(errno(ops::send(&client, "more").await.0), Some(libc::EPIPE));
    ops::send_all(&server, "still").await.0?;
    ops::shutdown(&server, Shutdown::Both).await?;
    assert_eq!(ops::recv(&client, [0; 8]).await.0?, 5);
    let again = errno(ops::bind(&listener, address).await);
    assert!([Some(libc::EINVAL), Some(libc::EADDRINUSE)].contains(&again), "bound already, but {again:?}");
    Ok(())
}

async fn converse_everywhere() -> Outcome {
    let dir = TempDir::new();
    converse("127.0.0.1:0".parse::<SocketAddr>()?.into()).await?;
    converse("[::1]:0".parse::<SocketAddr>()?.into()).await?;
    converse(Address::unix(dir.join("socket"))?).await?;
    converse(Address::unix_abstract(dir.path().as_os_str().as_encoded_bytes())?).await?;
    Ok(())
}

#[test]
fn a_word_each_way_in_every_family() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let runtime = Runtime::new()?;
    runtime.block_on(converse_everywhere())?;
    drop(runtime);
    before.assert_same();
    Ok(())
}

#[test]
fn bind_and_listen_without_their_opcodes() -> Outcome {
    let _alone = begin();
    let plan = FaultPlan::new().without_opcode(opcode::Bind::CODE).without_opcode(opcode::Listen::CODE);
    let runtime = Runtime::builder().faults(&plan).build()?;
    runtime.block_on(converse_everywhere())
}

#[test]
fn refused_and_in_use_keep_their_errno() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let socket = ops::socket(libc::AF_INET, libc::SOCK_STREAM, 0).await?;
        assert_eq!(errno(ops::connect(&socket, nobody).await), Some(libc::ECONNREFUSED));
        assert_eq!(errno(ops::connect_tcp(nobody).await), Some(libc::ECONNREFUSED));
        let listener = ops::listen_tcp("127.0.0.1:0")?;
        let socket = ops::socket(libc::AF_INET, libc::SOCK_STREAM, 0).await?;
        assert_eq!(errno(ops::bind(&socket, listener.local_addr()?).await), Some(libc::EADDRINUSE));
        assert_eq!(errno(ops::accept(&socket).await), Some(libc::EINVAL), "does not listen");
        assert_eq!(errno(ops::socket(-1, 0, 0).await), Some(libc::EAFNOSUPPORT));
        let (reader, _writer) = io::pipe()?;
        assert_eq!(errno(ops::shutdown(reader, Shutdown::Both).await), Some(libc::ENOTSOCK));
        Ok(())
    })
}

#[test]
fn connect_tcp_tries_one_after_the_other() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let listener = ops::listen_tcp("127.0.0.1:0")?;
        let somebody = listener.local_addr()?;
        let client = ops::connect_tcp(&[nobody, somebody][..]).await?;
        assert_eq!(client.peer_addr()?, somebody);
        assert_eq!(ops::accept(&listener).await?.peer_addr()?, client.local_addr()?);
        let error = ops::connect_tcp(&[][..]).await.expect_err("no address");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(ops::connect_tcp("no port").await.is_err());

        let mut cancelled = ops::connect_tcp(somebody);
        Pin::new(&mut cancelled).request_cancel();
        assert_eq!(errno(cancelled.await), Some(libc::ECANCELED));
        let mut dropped = ops::connect_tcp(somebody);
        poll_once(&mut dropped).await;
        drop(dropped);
        io::Result::Ok(())
    })?;
    drop(runtime);
    before.assert_same();
    Ok(())
}

#[test]
fn an_accept_can_be_stopped_and_the_next_goes_on() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let listener = ops::listen_tcp("127.0.0.1:0")?;
        let mut accept = ops::accept(&listener);
        assert!(!poll_once(&mut accept).await);
        ops::nop().await?;
        Pin::new(&mut accept).request_cancel();
        assert_eq!(errno(accept.await), Some(libc::ECANCELED));
        let client = ops::connect_tcp(listener.local_addr()?).await?;
        assert_eq!(ops::accept(&listener).await?.peer_addr()?, client.local_addr()?);
        Ok(())
    })
}

#[test]
fn a_connection_is_closed_with_its_last_hold() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let listener = ops::listen_tcp("127.0.0.1:0")?;
        let client = ops::connect_tcp(listener.local_addr()?).await?;
        let server = ops::accept(&listener).await?;
        let held = Fd::from(&server);
        drop(server);
        ops::send_all(&held, "x").await.0?;
        drop(held);
        assert_eq!(ops::recv(&client, [0; 4]).await.0?, 1);
        assert_eq!(ops::recv(&client, [0; 4]).await.0?, 0, "closed");
        Ok(())
    })
}
