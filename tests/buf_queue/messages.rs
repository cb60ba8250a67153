//! Messages into a queue's buffers: what comes beside the bytes stands before them, and is not seen.
//!
//! Knows: `recvmsg_multishot` with a queue. Does not know: how the kernel lays a message out.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::ops::ControlFlow;

use millstream::ops::{self, BufQueue, Fd, Feature, QueueBuf};
use millstream::{Results, Runtime};

use crate::support::{Outcome, pair, piece, settle};

/// The numbers and the address that stand before every message.
const BEFORE: usize = 128;

/// Runtimes of this kernel, and of one that has only the entry that completes once.
fn runtimes() -> impl Iterator<Item = Runtime> {
    [0, Feature::RecvmsgMultishot.bit()]
        .into_iter()
        .map(|without| Runtime::builder().without_features(without).build().expect("io_uring"))
}

async fn next<R: Results<Item = (ops::Received, QueueBuf<Vec<u8>>), End = io::Result<()>>>(
    results: &mut R,
) -> io::Result<Option<R::Item>> {
    match poll_fn(|cx| results.poll_next(cx)).await {
        ControlFlow::Continue(item) => Ok(Some(item)),
        ControlFlow::Break(end) => end.map(|()| None),
    }
}

/// Each into the next buffer, whatever its size, with its sender; the buffer comes out with the message at its start.
#[test]
fn messages_fill_buffers_of_any_size_in_order() -> Outcome {
    for runtime in runtimes() {
        runtime.block_on(async {
            let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
            a.connect(b.local_addr()?)?;
            let b = Fd::from(b);
            let queue = BufQueue::to_fill(8)?;
            for room in [300, 10, 5, 40, 20] {
                queue.push(Vec::with_capacity(BEFORE + room))?;
            }
            let mut messages = ops::recvmsg_multishot(&b, &queue);
            let mut taken = 0;
            for (len, room) in [(300, 300), (7, 10), (5, 5), (0, 40)] {
                a.send(&piece(len, len))?;
                let (received, buf) = next(&mut messages).await?.expect("no end");
                assert_eq!(received.from.to_socket_addr()?, a.local_addr()?);
                assert_eq!((received.len, received.flags, &buf[..]), (len, 0, &piece(len, len)[..]));
                // An empty one may need no buffer where the kernel gives one message for each entry.
                if let Some(buf) = buf.into_buffer() {
                    assert_eq!(buf, piece(len, len));
                    assert_eq!(buf.capacity(), BEFORE + room);
                    taken += 1;
                }
            }
            // Too long for what is left of the buffer: cut off, and said so. It goes back behind the others.
            a.send(&piece(0, 1000))?;
            let (received, buf) = next(&mut messages).await?.expect("no end");
            assert_ne!(received.flags & libc::MSG_TRUNC, 0);
            assert!(buf.len() >= 20 && buf[..] == piece(0, buf.len()));
            drop((messages, buf));
            settle().await;
            assert!(taken >= 3);
            assert_eq!(queue.len() + taken, 5);
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// I2: messages that nobody took wait on the descriptor, each by itself, and their buffers are in the queue again.
#[test]
fn messages_that_nobody_took_are_next() -> Outcome {
    for runtime in runtimes() {
        runtime.block_on(async {
            let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
            a.connect(b.local_addr()?)?;
            let b = Fd::from(b);
            let queue = BufQueue::to_fill(4)?;
            (0..4).try_for_each(|_| queue.push(vec![0; BEFORE + 8]))?;
            for at in 0..4 {
                a.send(&[at; 3])?;
            }
            let mut messages = ops::recvmsg_multishot(&b, &queue);
            let (_, first) = next(&mut messages).await?.expect("no end");
            assert_eq!(first[..], [0; 3]);
            settle().await;
            drop((messages, first));
            settle().await;
            assert_eq!(queue.len(), 4);
            let mut messages = ops::recvmsg_multishot(&b, &queue);
            for at in 1..4 {
                let (received, buf) = next(&mut messages).await?.expect("no end");
                assert_eq!((received.from.to_socket_addr()?, &buf[..]), (a.local_addr()?, &[at; 3][..]));
            }
            drop(messages);
            settle().await;
            assert_eq!((queue.len(), queue.disowned()), (4, 0));
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// Descriptors come beside the bytes, from the same buffer, and the end of a stream takes none.
#[test]
fn descriptors_come_with_messages() -> Outcome {
    for runtime in runtimes() {
        runtime.block_on(async {
            let (a, b) = pair()?;
            let a = Fd::from(a);
            let queue = BufQueue::to_fill(2)?;
            let room = ops::Control::space_for_fds(1);
            (0..2).try_for_each(|_| queue.push(Vec::with_capacity(BEFORE + room + 8)))?;
            for text in ["with", "and with"] {
                let mut control = ops::Control::new();
                control.push_fd(File::open("/dev/null")?)?;
                ops::sendmsg(&a, vec![text]).control(control).await.0?;
            }
            drop(a);
            let mut messages = ops::recvmsg_multishot(&b, &queue).control_room(room);
            for text in ["with", "and with"] {
                let (received, buf) = next(&mut messages).await?.expect("no end yet");
                assert_eq!((&buf[..], received.control.fds().len()), (text.as_bytes(), 1));
            }
            assert!(next(&mut messages).await?.is_none());
            drop(messages);
            settle().await;
            assert_eq!((queue.len(), queue.disowned()), (2, 0));
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// The message stays in the socket, and the buffer in the queue.
#[test]
fn a_buffer_that_is_too_small_is_said_to_be() -> Outcome {
    Runtime::new()?.block_on(async {
        let (mut a, b) = pair()?;
        let queue = BufQueue::to_fill(2)?;
        queue.push(vec![0; BEFORE - 1])?;
        a.write_all(b"grist")?;
        let refused = next(&mut ops::recvmsg_multishot(&b, &queue)).await;
        assert_eq!(refused.expect_err("no room").kind(), io::ErrorKind::InvalidInput);
        assert_eq!((queue.len(), queue.disowned()), (1, 0));
        let got = ops::recv_pooled(&b, &queue).await?;
        assert_eq!(&got[..], b"grist");
        Outcome::Ok(())
    })
}

#[test]
fn a_queue_of_another_runtime_gets_no_message() -> Outcome {
    let other = Runtime::new()?;
    let queue = other.block_on(async { BufQueue::to_fill(1) })?;
    queue.push(vec![0; 1000])?;
    Runtime::new()?.block_on(async {
        let (_a, b) = pair()?;
        let refused = next(&mut ops::recvmsg_multishot(&b, &queue)).await;
        assert_eq!(refused.expect_err("elsewhere").kind(), io::ErrorKind::InvalidInput);
        Outcome::Ok(())
    })
}

/// What is left out of a guard is not in the buffer that comes out of it; what is left is at its start.
#[test]
fn a_buffer_comes_out_with_what_was_seen_of_it() -> Outcome {
    Runtime::new()?.block_on(async {
        let (mut a, b) = pair()?;
        let queue = BufQueue::to_fill(1)?;
        let mut buf = Vec::with_capacity(32);
        for (advance, truncate, left) in [(0, 99, "head:body"), (5, 99, "body"), (1, 5, "ead:b"), (9, 0, "")]
        {
            queue.push(buf)?;
            a.write_all(b"head:body")?;
            let mut got = ops::recv_pooled(&b, &queue).await?;
            got.advance(advance);
            got.truncate(truncate);
            assert_eq!(&got[..], left.as_bytes());
            buf = got.into_buffer().expect("one");
            assert_eq!((&buf[..], buf.capacity()), (left.as_bytes(), 32));
        }
        Outcome::Ok(())
    })
}

#[test]
#[should_panic(expected = "cannot advance by 6 in 5 bytes")]
fn no_more_is_left_out_than_there_is() {
    Runtime::new().expect("io_uring").block_on(async {
        let (mut a, b) = pair().expect("a pair");
        let queue = BufQueue::to_fill(1).expect("a queue");
        queue.push(vec![0; 8]).expect("a place");
        a.write_all(b"grist").expect("room");
        ops::recv_pooled(&b, &queue).await.expect("bytes").advance(6);
    });
}
