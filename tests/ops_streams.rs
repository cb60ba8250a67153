//! Reading and writing, one buffer and many, files, pipes and sockets: results, errors, cancels, drops.
//!
//! Knows: the public API. Does not know: nodes; their number is asked for.

#[path = "support/steps.rs"]
mod steps;
mod support;

use std::io::{self, Read, Write};
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;

use millstream::ops::{self, BufExt, Fd, IntoResult};
use millstream::{Operation, Runtime, spawn, yield_now};
use steps::{Outcome, begin, errno, poll_once};
use support::{Descriptors, TempDir};

fn pipe() -> io::Result<(Fd, Fd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

#[test]
fn positions_and_offsets_of_a_file() -> Outcome {
    let _alone = begin();
    let dir = TempDir::new();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let file = ops::open(dir.join("f")).flags(libc::O_RDWR | libc::O_CREAT).mode(0o600).await?;
        assert_eq!(ops::write(&file, "0123").await.into_result()?.0, 4);
        assert_eq!(ops::write(&file, b"456789").await.into_result()?.0, 6, "the position has moved on");
        assert_eq!(ops::write(&file, String::from("AB")).at(2).await.into_result()?.0, 2);
        let (n, buf) = ops::read(&file, Vec::with_capacity(64)).at(0).await.into_result()?;
        assert_eq!((n, &buf[..]), (10, &b"01AB456789"[..]));
        let (n, buf) = ops::read(&file, buf).await.into_result()?;
        assert_eq!((n, buf.len()), (0, 0), "at the end: the Vec is emptied");
        let (n, bufs) = ops::readv(&file, vec![vec![9; 3], vec![9; 20]]).at(6).await.into_result()?;
        assert_eq!((n, &bufs[0][..], &bufs[1][..]), (4, &b"678"[..], &b"9"[..]));
        ops::writev(&file, vec![Arc::<[u8]>::from(*b"xy"), Arc::from(*b"z")]).at(0).await.0?;
        let (_, buf) = ops::read(&file, [0; 4]).at(0).await.into_result()?;
        assert_eq!(&buf, b"xyzB");
        // The largest offset is no word for the current position.
        assert_eq!(errno(ops::read(&file, [0; 4]).at(u64::MAX).await.0), Some(libc::EINVAL));
        assert_eq!(errno(ops::write(&file, [0; 4]).at(u64::MAX).await.0), Some(libc::EINVAL));
        Ok(())
    })
}

#[test]
fn every_kind_of_buffer() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (reader, writer) = pipe()?;
        ops::write(&writer, vec![1, 2]).await.0?;
        ops::write(&writer, Box::<[u8]>::from([3, 4])).await.0?;
        ops::write(&writer, [5, 6]).await.0?;
        ops::write(&writer, Box::new([7, 8])).await.0?;
        ops::write(&writer, &[9, 10][..]).await.0?;
        ops::write(&writer, std::rc::Rc::<[u8]>::from([11, 12])).await.0?;
        ops::write(&writer, vec![0, 13, 14, 0].slice(1..3)).await.0?;
        let mut got = Vec::new();
        got.extend(ops::read(&reader, [0; 2]).await.into_result()?.1);
        got.extend(ops::read(&reader, Box::new([0; 2])).await.into_result()?.1.iter());
        got.extend(ops::read(&reader, Box::<[u8]>::from([0; 2])).await.into_result()?.1);
        got.extend(ops::read(&reader, Vec::with_capacity(2)).await.into_result()?.1);
        got.extend(ops::read(&reader, vec![0; 9].slice(2..4)).await.into_result()?.1.iter());
        let (n, rest) = ops::read(&reader, [0; 64]).await.into_result()?;
        got.extend(&rest[..n]);
        assert_eq!(got, (1..=14).collect::<Vec<u8>>());
        Ok(())
    })
}

#[test]
fn nothing_to_read_into_or_to_write() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (reader, writer) = pipe()?;
        ops::write(&writer, "here").await.0?;
        assert_eq!(ops::read(&reader, Vec::new()).await.into_result()?, (0, Vec::new()));
        assert_eq!(ops::read(&reader, []).await.into_result()?, (0, []));
        assert_eq!(ops::read(&reader, [0; 8].slice(8..)).await.into_result()?.0, 0);
        assert_eq!(ops::write(&writer, "").await.0?, 0);
        assert_eq!(ops::write(&writer, []).await.0?, 0);
        assert_eq!(ops::writev(&writer, Vec::<String>::new()).await.0?, 0);
        assert_eq!(ops::write_all(&writer, "").await.0?, 0);
        let (n, bufs) = ops::readv(&reader, vec![[0; 0]; 3]).await.into_result()?;
        assert_eq!((n, bufs.len()), (0, 3));
        assert_eq!(ops::read(&reader, [0; 4]).await.into_result()?.1, *b"here");
        Ok(())
    })
}

#[test]
fn many_buffers_in_one_request() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (reader, writer) = pipe()?;
        for count in [1, 8, 9, 1024, 1100] {
            let bufs: Vec<Vec<u8>> = (0..count).map(|i| vec![i as u8; 2]).collect();
            let (n, bufs) = ops::writev(&writer, bufs).await.into_result()?;
            assert_eq!(n, 2 * count.min(1024), "the kernel takes 1024 of them");
            let room: Vec<Vec<u8>> = (0..count).map(|_| Vec::with_capacity(2)).collect();
            let (m, got) = ops::readv(&reader, room).await.into_result()?;
            assert_eq!((m, got.concat()), (n, bufs.concat()[..n].to_vec()));
        }
        Ok(())
    })
}

#[test]
fn an_error_gives_the_buffer_back() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (reader, writer) = pipe()?;
        let (result, buf) = ops::read(&writer, vec![1, 2, 3]).await;
        assert_eq!((errno(result), &buf[..]), (Some(libc::EBADF), &[1, 2, 3][..]));
        let (result, buf) = ops::write(&reader, String::from("kept")).await;
        assert_eq!((errno(result), &buf[..]), (Some(libc::EBADF), "kept"));
        let (result, buf) = ops::recv(&reader, vec![1]).await;
        assert_eq!((errno(result), &buf[..]), (Some(libc::ENOTSOCK), &[1][..]));
        drop(reader);
        let (result, bufs) = ops::writev(&writer, vec!["a", "b"]).await;
        assert_eq!((errno(result), bufs.len()), (Some(libc::EPIPE), 2));
        let mut all = ops::write_all(&writer, "x");
        assert_eq!(errno((&mut all).await.0), Some(libc::EPIPE));
        assert_eq!(all.done(), 0);
        Ok(())
    })
}

#[test]
fn asked_to_stop_it_gives_the_buffer_back() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (reader, _writer) = pipe()?;
        let (a, _b) = UnixStream::pair()?;
        let a = Fd::from(a);
        let mut read = ops::read(&reader, vec![5; 3]);
        let mut readv = ops::readv(&reader, vec![[6; 3]]);
        let mut recv = ops::recv(&a, [7; 3]);
        for in_flight in [false, true] {
            if in_flight {
                assert!(
                    !poll_once(&mut read).await
                        && !poll_once(&mut readv).await
                        && !poll_once(&mut recv).await
                );
                ops::nop().await?;
            }
            Pin::new(&mut read).request_cancel();
            Pin::new(&mut readv).request_cancel();
            Pin::new(&mut recv).request_cancel();
            let (result, buf) = mem::replace(&mut read, ops::read(&reader, vec![5; 3])).await;
            assert_eq!((errno(result), buf), (Some(libc::ECANCELED), vec![5; 3]));
            let (result, bufs) = mem::replace(&mut readv, ops::readv(&reader, vec![[6; 3]])).await;
            assert_eq!((errno(result), bufs), (Some(libc::ECANCELED), vec![[6; 3]]));
            let (result, buf) = mem::replace(&mut recv, ops::recv(&a, [7; 3])).await;
            assert_eq!((errno(result), buf), (Some(libc::ECANCELED), [7; 3]));
        }
        Ok(())
    })
}

#[test]
fn all_of_a_long_buffer() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let long: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 253) as u8).collect();
        let (reader, writer) = pipe()?;
        let expected = long.clone();
        let reading = spawn(async move {
            let mut got = Vec::new();
            while got.len() < expected.len() {
                let (n, buf) = ops::read(&reader, vec![0; 10_000]).await.into_result()?;
                got.extend_from_slice(&buf[..n]);
            }
            assert!(got == expected, "not what was written");
            io::Result::Ok(())
        });
        let (n, long) = ops::write_all(&writer, long).await.into_result()?;
        assert_eq!(n, long.len());
        reading.await??;

        let (a, mut b) = UnixStream::pair()?;
        let reading = thread::spawn(move || {
            let mut got = Vec::new();
            b.read_to_end(&mut got).map(|_| got)
        });
        let (n, sent) = ops::send_all(Fd::from(a), long.slice(1..)).await.into_result()?;
        assert_eq!(n, 999_999);
        assert!(reading.join().expect("no panic")? == sent[..]);

        let dir = TempDir::new();
        let file = ops::open(dir.join("f")).flags(libc::O_RDWR | libc::O_CREAT).mode(0o600).await?;
        ops::write_all(&file, sent).at(5).await.into_result()?;
        assert_eq!(ops::statx_fd(&file).await?.len(), 5 + 999_999);
        Ok(())
    })
}

#[test]
fn stopped_on_the_way_it_tells_how_far_it_came() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (reader, writer) = io::pipe()?;
        let mut all = ops::write_all(Fd::from(writer), vec![3; 1 << 20]);
        assert!(!poll_once(&mut all).await);
        // Older kernels leave the whole write to a worker, which takes its time.
        ops::poll_add(Fd::from(reader.try_clone()?), libc::POLLIN).await?;
        for _ in 0..3 {
            ops::nop().await?;
            assert!(!poll_once(&mut all).await, "nobody reads");
        }
        Pin::new(&mut all).request_cancel();
        let (result, buf) = (&mut all).await;
        assert_eq!((errno(result), buf.len()), (Some(libc::ECANCELED), 1 << 20));
        let done = all.done();
        assert!(done > 0 && done < buf.len());
        drop(all); // the last hold on the writer
        let mut got = Vec::new();
        (&reader).read_to_end(&mut got)?;
        assert_eq!(got.len(), done);
        Ok(())
    })
}

#[test]
fn flags_of_a_receive() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        // A datagram longer than the buffer: the count says how long it was.
        let (peer, ours) = UnixDatagram::pair()?;
        let ours = Fd::from(ours);
        peer.send(b"datagram")?;
        let (n, buf) = ops::recv(&ours, Vec::with_capacity(4)).flags(libc::MSG_TRUNC).await.into_result()?;
        assert_eq!((n, &buf[..]), (8, &b"data"[..]));
        // TCP drops the bytes: memory that was never written must not show.
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut peer = TcpStream::connect(listener.local_addr()?)?;
        let ours = Fd::from(listener.accept()?.0);
        peer.write_all(b"drop")?;
        let mut dirty = vec![0xdb; 64];
        dirty.clear();
        let (n, buf) = ops::recv(&ours, dirty).flags(libc::MSG_TRUNC).await.into_result()?;
        assert_eq!((n, buf), (4, vec![0; 4]));
        // Everything or nothing.
        let all = spawn({
            let ours = ours.clone();
            async move { ops::recv(&ours, [0; 6]).flags(libc::MSG_WAITALL).await.into_result() }
        });
        for piece in [b"ab", b"cd", b"ef"] {
            yield_now().await;
            ops::nop().await?;
            peer.write_all(piece)?;
        }
        assert_eq!(all.await??, (6, *b"abcdef"));
        assert_eq!(errno(ops::recv(&ours, [0; 1]).flags(libc::MSG_DONTWAIT).await.0), Some(libc::EAGAIN));
        Ok(())
    })
}

/// Ops in flight on descriptors that nothing else holds.
async fn in_flight() -> io::Result<(impl Sized + 'static, [io::PipeWriter; 2], UnixStream)> {
    let (r1, w1) = io::pipe()?;
    let (r2, w2) = io::pipe()?;
    let (a, b) = UnixStream::pair()?;
    let mut read = ops::read(r1, [0; 64]);
    let mut readv = ops::readv(r2, vec![vec![0; 8]; 12]);
    let mut recv = ops::recv(a, vec![0; 8].slice(2..));
    assert!(!poll_once(&mut read).await && !poll_once(&mut readv).await && !poll_once(&mut recv).await);
    ops::nop().await?;
    Ok(((read, readv, recv), [w1, w2], b))
}

#[test]
fn dropped_or_forgotten_in_flight_nothing_stays_open() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    for forget in [false, true] {
        let runtime = Runtime::new()?;
        runtime.block_on(async {
            for _ in 0..100 {
                let (ops, writers, peer) = in_flight().await?;
                if forget {
                    mem::forget(ops);
                } else {
                    drop(ops);
                }
                drop((writers, peer));
            }
            ops::nop().await?;
            ops::nop().await
        })?;
        drop(runtime);
        before.assert_same();
    }
    Ok(())
}

#[test]
fn a_descriptor_dropped_elsewhere_stays_open_under_its_op() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        for _ in 0..200 {
            let (reader, mut writer) = io::pipe()?;
            let reader = Fd::from(reader);
            let mut op = ops::read(&reader, [0; 4]);
            assert!(!poll_once(&mut op).await);
            ops::nop().await?;
            // The last hold outside of the op, and on another thread.
            let gone = thread::spawn(move || drop(reader));
            writer.write_all(b"here")?;
            assert_eq!(op.await.into_result()?, (4, *b"here"));
            gone.join().expect("no panic");
        }
        io::Result::Ok(())
    })?;
    drop(runtime);
    before.assert_same();
    Ok(())
}

#[test]
fn an_op_dropped_elsewhere_lets_go_where_it_ran() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let runtime = Runtime::new()?;
    for gone_first in [false, true] {
        let other = Runtime::new()?;
        let (op, writer) = other.block_on(async {
            let (reader, writer) = io::pipe()?;
            let mut op = ops::read(reader, vec![0; 16]);
            assert!(!poll_once(&mut op).await);
            ops::nop().await?;
            io::Result::Ok((op, writer))
        })?;
        if gone_first {
            drop(other);
            thread::spawn(move || drop(op)).join().expect("no panic");
        } else {
            thread::spawn(move || drop(op)).join().expect("no panic");
            drop(other);
        }
        drop(writer);
    }
    drop(runtime);
    before.assert_same();
    Ok(())
}

/// What an op holds decides where it may go.
#[test]
fn ops_are_send_when_their_buffers_are() {
    fn send<T: Send>(_: fn() -> T) {}
    fn shared<T: Send + Sync>() {}
    shared::<Fd>();
    send(|| ops::read(fd(), Vec::new()));
    send(|| ops::readv(fd(), vec![[0; 8]]));
    send(|| ops::writev(fd(), vec![String::new()]));
    send(|| ops::recv(fd(), [0; 8].slice(2..)));
    send(|| ops::send_all(fd(), Arc::<[u8]>::from([])));
    send(|| ops::write_all(fd(), ""));
    send(|| ops::accept(fd()));
    send(|| ops::open("/"));
    send(|| ops::close(fd()));
    send(|| ops::statx("/"));
    send(|| ops::connect_tcp("127.0.0.1:1"));

    fn fd() -> Fd {
        unreachable!("never called: the types are the test")
    }
}
