//! Messages: with addresses, several buffers and control data, and what becomes of them when nobody waits any more.

#![allow(unsafe_code, reason = "std cannot set a socket option")]

mod support;

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use millstream::combinators::OperationExt;
use millstream::ops::{self, Address, Control, Fd, IntoResult};
use millstream::{Operation, Runtime};
use support::{Descriptors, TempDir, Watchdog, alone};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Every test runs alone: some count descriptors. The first runtime of a process makes one that stays.
fn begin() -> impl Sized {
    let held = (alone(), Watchdog::new(Duration::from_secs(60)));
    drop(Runtime::new());
    held
}

fn udp() -> io::Result<(Fd, Fd)> {
    Ok((UdpSocket::bind("127.0.0.1:0")?.into(), UdpSocket::bind("127.0.0.1:0")?.into()))
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

async fn settle() -> io::Result<()> {
    ops::nop().await?;
    ops::nop().await
}

/// A pipe's two ends, the writing one in control data.
fn pipe_in_control() -> io::Result<(io::PipeReader, Control)> {
    let (reader, writer) = io::pipe()?;
    let mut control = Control::new();
    control.push_fd(writer)?;
    Ok((reader, control))
}

/// Writes to the pipe by the descriptor that came in control data, and reads there what was written.
async fn try_pipe(mut reader: io::PipeReader, mut control: Control) -> Outcome {
    let mut fds = control.take_fds();
    assert_eq!(fds.len(), 1);
    ops::write_all(&fds[0], "through").await.into_result()?;
    fds.clear();
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    assert_eq!(text, "through");
    Ok(())
}

#[test]
fn datagrams_go_there_and_back() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (a, b) = udp()?;
        let (n, sent) = ops::send_to(&a, "grain", b.local_addr()?).await.into_result()?;
        assert_eq!((n, sent), (5, "grain"));
        let ((n, from), buf) = ops::recv_from(&b, Vec::with_capacity(64)).await.into_result()?;
        assert_eq!((n, &buf[..], from.to_socket_addr()?), (5, &b"grain"[..], a.local_addr()?));
        let (n, _) = ops::sendmsg(&b, vec!["fl", "our"]).to(from).await.into_result()?;
        assert_eq!(n, 5);
        let bufs = vec![Vec::with_capacity(3), Vec::with_capacity(9)];
        let (received, bufs) = ops::recvmsg(&a, bufs).await.into_result()?;
        assert_eq!((received.len, received.flags), (5, 0));
        assert_eq!(received.from.to_socket_addr()?, b.local_addr()?);
        assert_eq!((&bufs[0][..], &bufs[1][..]), (&b"flo"[..], &b"ur"[..]));

        // What does not fit is cut off, and said so; nothing at all is a datagram too.
        ops::send_to(&a, "0123456789", b.local_addr()?).await.into_result()?;
        let (received, bufs) = ops::recvmsg(&b, vec![[0_u8; 4]]).await.into_result()?;
        assert_eq!((received.len, bufs[0]), (4, *b"0123"));
        assert!(received.flags & libc::MSG_TRUNC != 0);
        ops::send_to(&a, "0123456789", b.local_addr()?).await.into_result()?;
        let (received, _) = ops::recvmsg(&b, vec![[0_u8; 4]]).flags(libc::MSG_TRUNC).await.into_result()?;
        assert_eq!(received.len, 10, "as long as it was");
        ops::send_to(&a, "", b.local_addr()?).await.into_result()?;
        let ((n, from), _) = ops::recv_from(&b, [0; 9]).await.into_result()?;
        assert_eq!((n, from.to_socket_addr()?), (0, a.local_addr()?));
        Ok(())
    })
}

#[test]
fn unix_addresses_and_nobodys() -> Outcome {
    let _alone = begin();
    let directory = TempDir::new();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let path = directory.join("mill");
        let (bound, unbound) = (Fd::from(UnixDatagram::bind(&path)?), Fd::from(UnixDatagram::unbound()?));
        ops::send_to(&unbound, "who?", Address::unix(&path)?).await.into_result()?;
        let ((_, from), _) = ops::recv_from(&bound, [0; 9]).await.into_result()?;
        assert_eq!(from.family(), libc::AF_UNSPEC);
        ops::send_to(&bound, "me", Address::unix(&path)?).await.into_result()?;
        let ((n, from), _) = ops::recv_from(&bound, [0; 9]).await.into_result()?;
        assert_eq!((n, from.as_path()), (2, Some(path.as_path())));
        let (ours, mut theirs) = UnixStream::pair()?;
        theirs.write_all(b"stream")?;
        let ((n, from), _) = ops::recv_from(Fd::from(ours), [0; 9]).await.into_result()?;
        assert_eq!((n, from.family()), (6, libc::AF_UNSPEC));
        Ok(())
    })
}

#[test]
fn descriptors_travel_and_are_closed_when_nobody_takes_them() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (a, b) = UnixStream::pair()?;
        let (a, b) = (Fd::from(a), Fd::from(b));
        let room = Control::space_for_fds(4);

        let (reader, control) = pipe_in_control()?;
        ops::sendmsg(&a, vec!["one"]).control(control).await.into_result()?;
        let (received, _) = ops::recvmsg(&b, vec![[0; 9]]).control_room(room).await.into_result()?;
        assert_eq!((received.len, received.control.messages().count()), (3, 0));
        try_pipe(reader, received.control).await?;

        // Nobody takes it; there is no room for it; the receive is plain: closed, so the pipe ends.
        for way in 0..3 {
            let (mut reader, control) = pipe_in_control()?;
            ops::sendmsg(&a, vec!["two"]).control(control).await.into_result()?;
            match way {
                0 => drop(ops::recvmsg(&b, vec![[0; 9]]).control_room(room).await.into_result()?),
                1 => {
                    let (received, _) = ops::recvmsg(&b, vec![[0; 9]]).await.into_result()?;
                    assert!(received.flags & libc::MSG_CTRUNC != 0);
                    assert!(received.control.is_empty());
                }
                _ => drop(ops::recv(&b, [0; 9]).await.into_result()?),
            }
            assert_eq!(reader.read(&mut [0])?, 0, "in way {way}");
        }
        // Never sent: the descriptor is held by the op alone, and goes with it.
        let (mut reader, control) = pipe_in_control()?;
        drop(ops::sendmsg(&a, vec!["three"]).control(control));
        assert_eq!(reader.read(&mut [0])?, 0);
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    drop(runtime);
    before.assert_same();
    Ok(())
}

#[test]
fn other_control_data_comes_as_it_is() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (a, b) = udp()?;
        let mut control = Control::new();
        control.push(libc::IPPROTO_IP, libc::IP_TTL, &17_i32.to_ne_bytes())?;
        let on = 1_i32;
        set_option(&b, libc::IPPROTO_IP, libc::IP_RECVTTL, on)?;
        ops::sendmsg(&a, vec!["ttl"]).to(b.local_addr()?).control(control).await.into_result()?;
        let room = Control::space(size_of::<i32>());
        let (received, _) = ops::recvmsg(&b, vec![[0; 9]]).control_room(room).await.into_result()?;
        let (level, kind, data) = received.control.messages().next().expect("what was asked for");
        assert_eq!((level, kind, data), (libc::IPPROTO_IP, libc::IP_TTL, &17_i32.to_ne_bytes()[..]));
        Ok(())
    })
}

fn set_option(fd: &Fd, level: i32, option: i32, value: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: (local) a live socket, and a value of the length that is told.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a dropped receive had got goes to the next one, with all that came beside the bytes.
#[test]
fn a_dropped_receive_loses_neither_sender_nor_descriptor() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (a, b) = udp()?;
        for (round, text) in ["first", ""].into_iter().enumerate() {
            let mut dropped = ops::recv_from(&b, [0; 9]);
            assert!(poll_once(&mut dropped).await.is_none());
            settle().await?;
            ops::send_to(&a, text, b.local_addr()?).await.into_result()?;
            drop(dropped);
            settle().await?;
            ops::send_to(&a, "second", b.local_addr()?).await.into_result()?;
            for expected in [text, "second"] {
                let ((n, from), buf) = ops::recv_from(&b, [0; 9]).await.into_result()?;
                assert_eq!(&buf[..n], expected.as_bytes(), "in round {round}");
                assert_eq!(from.to_socket_addr()?, a.local_addr()?);
            }
        }

        let (a, b) = UnixStream::pair()?;
        let (a, b) = (Fd::from(a), Fd::from(b));
        let room = Control::space_for_fds(1);
        for takes in [true, false] {
            let mut dropped = ops::recvmsg(&b, vec![[0; 9]]).control_room(room);
            assert!(poll_once(&mut dropped).await.is_none());
            settle().await?;
            let (mut reader, control) = pipe_in_control()?;
            ops::sendmsg(&a, vec!["with it"]).control(control).await.into_result()?;
            drop(dropped);
            settle().await?;
            if takes {
                // In parts: the descriptor goes with the first of them.
                let next = ops::recvmsg(&b, vec![[0; 5]]).control_room(room);
                let (received, bufs) = next.await.into_result()?;
                assert_eq!((received.len, bufs[0]), (5, *b"with "));
                try_pipe(reader, received.control).await?;
                let (received, _) = ops::recvmsg(&b, vec![[0; 5]]).await.into_result()?;
                assert_eq!((received.len, received.control.is_empty()), (2, true));
            } else {
                // A plain receive has no place for it.
                assert_eq!(ops::recv(&b, [0; 9]).await.into_result()?.0, 7);
                assert_eq!(reader.read(&mut [0])?, 0);
            }
        }
        // And one that nobody comes for is closed with the socket.
        let mut dropped = ops::recvmsg(&b, vec![[0; 9]]).control_room(room);
        assert!(poll_once(&mut dropped).await.is_none());
        settle().await?;
        let (mut reader, control) = pipe_in_control()?;
        ops::sendmsg(&a, vec!["x"]).control(control).await.into_result()?;
        drop((dropped, b));
        settle().await?;
        assert_eq!(reader.read(&mut [0])?, 0);
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    assert_eq!(runtime.stats().nodes, 0);
    drop(runtime);
    before.assert_same();
    Ok(())
}

#[test]
fn cancelled_they_give_back_what_they_held() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (a, b) = udp()?;
        let late = ops::recv_from(&b, vec![7; 9]).timeout(Duration::from_millis(1)).await;
        let (result, buf) = late.expect_err("nothing comes").into_outcome();
        assert_eq!((result.unwrap_err().raw_os_error(), buf), (Some(libc::ECANCELED), vec![7; 9]));
        let late = ops::recvmsg(&b, vec![vec![7; 9]]).timeout(Duration::from_millis(1)).await;
        assert_eq!(late.expect_err("nothing comes").into_outcome().1, [[7; 9]]);
        let mut send = ops::send_to(&a, "not sent", b.local_addr()?);
        Pin::new(&mut send).request_cancel();
        let (result, buf) = send.await;
        assert_eq!((result.unwrap_err().raw_os_error(), buf), (Some(libc::ECANCELED), "not sent"));
        let (result, _) = ops::sendmsg(&a, vec!["to nobody"]).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EDESTADDRREQ));
        let (result, buf) = ops::send_to(&a, vec![0_u8; 1 << 17], b.local_addr()?).await;
        assert_eq!((result.unwrap_err().raw_os_error(), buf.len()), (Some(libc::EMSGSIZE), 1 << 17));
        // In flight when the runtime ends.
        let mut recv = ops::recvmsg(OwnedFd::from(UnixDatagram::unbound()?), vec![[0; 9]]);
        assert!(poll_once(&mut recv).await.is_none());
        settle().await?;
        drop(recv);
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    drop(runtime);
    before.assert_same();
    Ok(())
}
