//! What a dropped read or accept had received reaches the next one: nothing is leaked, lost or out of order (I2).

mod support;

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use millstream::combinators::{OneOf2, when_any};
use millstream::ops::{self, Buf, Fd, IntoResult};
use millstream::{Runtime, yield_now};
use support::{Descriptors, Rng, TempDir, Watchdog, alone, rounds};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Every test runs alone: some count descriptors. The first runtime of a process makes one that stays.
fn begin() -> impl Sized {
    let held = (alone(), Watchdog::new(Duration::from_secs(100)));
    drop(Runtime::new());
    held
}

/// Polls once: the op is started, or has resolved.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Goes through the kernel, so that what it has completed by now is in the nodes.
async fn settle() -> io::Result<()> {
    ops::nop().await?;
    ops::nop().await
}

/// Lets some time pass, of the kind that `choice` names.
async fn pass(choice: u64) -> io::Result<()> {
    match choice % 4 {
        0 => Ok(()),
        1 => {
            yield_now().await;
            Ok(())
        }
        2 => ops::nop().await,
        _ => settle().await,
    }
}

/// The bytes of the stream that every test sends: each tells its place, but for multiples of a prime.
fn byte_at(place: usize) -> u8 {
    (place % 251) as u8
}

fn stretch(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(byte_at).collect()
}

/// Checks bytes against their place in the stream, and moves on.
fn check(place: &mut usize, bytes: &[u8]) {
    for byte in bytes {
        assert_eq!(*byte, byte_at(*place), "at byte {place}: lost or out of order");
        *place += 1;
    }
}

#[test]
fn bytes_of_a_dropped_recv_are_the_next_ones() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let rounds = rounds(10_000);
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (mut peer, ours) = UnixStream::pair()?;
        let ours = Fd::from(ours);
        let (mut place, mut sent) = (0, 0);
        for round in 0..rounds as usize {
            let mut dropped = ops::recv(&ours, Vec::with_capacity(8));
            assert!(poll_once(&mut dropped).await.is_none(), "nothing is there yet");
            settle().await?;
            peer.write_all(&stretch(sent, 8))?;
            sent += 8;
            if round % 2 == 0 {
                settle().await?; // completed, and its result lies in the node
            }
            drop(dropped);
            // Less than there is: the rest waits on, before newer bytes.
            peer.write_all(&stretch(sent, 3))?;
            sent += 3;
            while place < sent {
                let (n, buf) = ops::recv(&ours, [0; 5]).await.into_result()?;
                check(&mut place, &buf[..n]);
            }
        }
        assert_eq!(place, rounds as usize * 11);
        io::Result::Ok(())
    })?;
    assert_eq!(runtime.stats().nodes, 0);
    drop(runtime);
    before.assert_same();
    Ok(())
}

/// Sends the stream in pieces, as fast as the reader takes them.
fn feeder(mut to: impl Write + Send + 'static, total: usize, mut rng: Rng) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut sent = 0;
        while sent < total {
            let piece = (1 + rng.below(64) as usize).min(total - sent);
            to.write_all(&stretch(sent, piece)).expect("the reader is there");
            sent += piece;
            if rng.one_in(4) {
                thread::yield_now();
            }
        }
    })
}

/// Starts an op, and at a moment that chance chooses drops it, discards it or awaits it.
async fn by_chance<F: millstream::Operation + Unpin>(
    mut op: F,
    rng: &mut Rng,
) -> io::Result<Option<F::Output>> {
    match rng.below(4) {
        0 => Ok(Some(op.await)),
        1 => match when_any((op, ops::nop())).await {
            OneOf2::A(output) => Ok(Some(output)),
            OneOf2::B(_) => Ok(None),
        },
        _ => {
            let mut output = None;
            for _ in 0..1 + rng.below(3) {
                output = poll_once(&mut op).await;
                if output.is_some() {
                    break;
                }
                pass(rng.next_u64()).await?;
            }
            Ok(output)
        }
    }
}

/// Reads the whole stream through ops of all kinds, most of which are dropped.
async fn read_by_chance(fd: &Fd, socket: bool, total: usize, mut rng: Rng) -> io::Result<u64> {
    let (mut place, mut dropped) = (0, 0);
    while place < total {
        let room = 1 + rng.below(48) as usize;
        let got: Option<(io::Result<usize>, Vec<u8>)> = match rng.below(if socket { 4 } else { 2 }) {
            0 => by_chance(ops::read(fd, Vec::with_capacity(room)), &mut rng).await?,
            1 => {
                let bufs = vec![Vec::with_capacity(room), Vec::with_capacity(3), Vec::with_capacity(room)];
                let got = by_chance(ops::readv(fd, bufs), &mut rng).await?;
                got.map(|(n, bufs)| (n, bufs.concat()))
            }
            _ => by_chance(ops::recv(fd, Vec::with_capacity(room)), &mut rng).await?,
        };
        match got {
            None => dropped += 1,
            Some((n, buf)) => {
                let n = n?;
                assert_eq!(n, buf.len());
                assert_ne!(n, 0, "the end came early, at byte {place} of {total}");
                check(&mut place, &buf);
            }
        }
    }
    Ok(dropped)
}

fn stream_by_chance(make: impl Fn() -> io::Result<(Fd, Box<dyn Write + Send>, bool)>) -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let mut rng = Rng::from_env();
    let runtime = Runtime::new()?;
    let (fd, writer, socket) = make()?;
    let total = rounds(10_000) as usize * 16;
    let feeder = feeder(writer, total, Rng::new(rng.next_u64()));
    let dropped = runtime.block_on(read_by_chance(&fd, socket, total, Rng::new(rng.next_u64())))?;
    feeder.join().expect("the feeder has sent everything");
    assert!(dropped > rounds(10_000) / 20, "only {dropped} reads were dropped");
    drop((fd, runtime));
    before.assert_same();
    Ok(())
}

#[test]
fn a_socket_read_by_chance_loses_nothing() -> Outcome {
    stream_by_chance(|| {
        let (a, b) = UnixStream::pair()?;
        Ok((a.into(), Box::new(b), true))
    })
}

#[test]
fn a_tcp_connection_read_by_chance_loses_nothing() -> Outcome {
    stream_by_chance(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let writer = std::net::TcpStream::connect(listener.local_addr()?)?;
        writer.set_nodelay(true)?;
        Ok((listener.accept()?.0.into(), Box::new(writer), true))
    })
}

#[test]
fn a_pipe_read_by_chance_loses_nothing() -> Outcome {
    stream_by_chance(|| {
        let (reader, writer) = io::pipe()?;
        Ok((reader.into(), Box::new(writer), false))
    })
}

/// Who a client is, as it says itself.
fn name_of(connection: Fd) -> u32 {
    let owned: OwnedFd = connection.try_into_owned().expect("nobody else holds a new connection");
    let mut name = [0; 4];
    UnixStream::from(owned).read_exact(&mut name).expect("a client says its name");
    u32::from_le_bytes(name)
}

fn client(path: &std::path::Path, name: u32) {
    let mut stream = UnixStream::connect(path).expect("the listener is there");
    stream.write_all(&name.to_le_bytes()).expect("four bytes have room");
}

#[test]
fn the_connection_of_a_dropped_accept_is_the_next_one() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let dir = TempDir::new();
    let path = dir.join("socket");
    let runtime = Runtime::new()?;
    let listener = Fd::from(UnixListener::bind(&path)?);
    runtime.block_on(async {
        for round in 0..rounds(10_000) as u32 {
            let mut dropped = ops::accept(&listener);
            assert!(poll_once(&mut dropped).await.is_none(), "no client is there yet");
            settle().await?;
            client(&path, round);
            if round % 2 == 0 {
                settle().await?; // completed, and its descriptor lies in the node
            }
            drop(dropped);
            let next = ops::accept(&listener);
            assert_eq!(name_of(next.await?), round, "clients come in order");
        }
        io::Result::Ok(())
    })?;
    assert_eq!(runtime.stats().nodes, 0);
    drop((runtime, listener));
    before.assert_same();
    Ok(())
}

#[test]
fn accepts_by_chance_lose_no_connection() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let mut rng = Rng::from_env();
    let dir = TempDir::new();
    let path = dir.join("socket");
    let clients = rounds(10_000) as u32;
    let runtime = Runtime::new()?;
    let listener = Fd::from(UnixListener::bind(&path)?);
    let knocking = thread::spawn({
        let mut rng = Rng::new(rng.next_u64());
        move || {
            for name in 0..clients {
                client(&path, name);
                if rng.one_in(3) {
                    thread::yield_now();
                }
            }
        }
    });
    let dropped = runtime.block_on(async {
        let (mut next, mut dropped) = (0, 0);
        while next < clients {
            match by_chance(ops::accept(&listener), &mut rng).await? {
                None => dropped += 1,
                Some(connection) => {
                    assert_eq!(name_of(connection?), next, "lost or out of order");
                    next += 1;
                }
            }
        }
        io::Result::Ok(dropped)
    })?;
    knocking.join().expect("every client has connected");
    assert!(dropped > clients / 20, "only {dropped} accepts were dropped");
    drop((runtime, listener));
    before.assert_same();
    Ok(())
}

#[test]
fn what_waits_when_everything_ends_is_closed() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let dir = TempDir::new();
    let path = dir.join("socket");
    let runtime = Runtime::new()?;
    let listener = Fd::from(UnixListener::bind(&path)?);
    runtime.block_on(async {
        let mut accept = ops::accept(&listener);
        assert!(poll_once(&mut accept).await.is_none());
        settle().await?;
        client(&path, 7);
        settle().await?;
        drop(accept);
        // Left in flight for the end of the runtime:
        let mut accept = ops::accept(&listener);
        assert!(poll_once(&mut accept).await.is_some(), "the backlog answers at once");
        let mut accept = Box::pin(ops::accept(&listener));
        assert!(poll_once(&mut accept).await.is_none());
        std::mem::forget(accept);
        io::Result::Ok(())
    })?;
    drop((runtime, listener));
    before.assert_same();
    Ok(())
}

#[test]
fn datagrams_stay_whole() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (peer, ours) = UnixDatagram::pair()?;
        let ours = Fd::from(ours);
        let left = async |datagram: &[u8]| {
            let mut dropped = ops::recv(&ours, [0; 16]);
            assert!(poll_once(&mut dropped).await.is_none());
            settle().await?;
            peer.send(datagram)?;
            settle().await
        };
        left(b"first").await?;
        peer.send(b"second")?;
        let (n, buf) = ops::recv(&ours, [0; 3]).await.into_result()?;
        assert_eq!(&buf[..n], b"fir", "the rest is cut off");
        let (n, buf) = ops::read(&ours, [0; 16]).await.into_result()?;
        assert_eq!(&buf[..n], b"second");
        left(b"third").await?;
        let (n, buf) = ops::recv(&ours, [0; 16]).await.into_result()?;
        assert_eq!(&buf[..n], b"third");
        Ok(())
    })
}

/// A descriptor with `bytes` left by a dropped receive, and its peer.
async fn with_left(bytes: &[u8]) -> io::Result<(Fd, UnixStream)> {
    let (mut peer, ours) = UnixStream::pair()?;
    let ours = Fd::from(ours);
    let mut dropped = ops::recv(&ours, vec![0; bytes.len()]);
    assert!(poll_once(&mut dropped).await.is_none());
    settle().await?;
    peer.write_all(bytes)?;
    settle().await?;
    drop(dropped);
    Ok((ours, peer))
}

#[test]
fn a_peek_sees_them_and_leaves_them() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (ours, mut peer) = with_left(b"left").await?;
        for _ in 0..2 {
            let (n, buf) = ops::recv(&ours, [0; 8]).flags(libc::MSG_PEEK).await.into_result()?;
            assert_eq!(&buf[..n], b"left");
        }
        let (n, buf) = ops::recv(&ours, [0; 8]).await.into_result()?;
        assert_eq!(&buf[..n], b"left");
        // A dropped peek has taken nothing.
        let mut dropped = ops::recv(&ours, [0; 8]).flags(libc::MSG_PEEK);
        assert!(poll_once(&mut dropped).await.is_none());
        settle().await?;
        peer.write_all(b"more")?;
        settle().await?;
        drop(dropped);
        let (n, buf) = ops::recv(&ours, [0; 8]).await.into_result()?;
        assert_eq!(&buf[..n], b"more");
        Ok(())
    })
}

#[test]
fn an_empty_buffer_takes_nothing_of_a_stream() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (ours, _peer) = with_left(b"left").await?;
        assert_eq!(ops::recv(&ours, []).await.0?, 0);
        assert_eq!(ops::read(&ours, Vec::new()).await.0?, 0);
        assert_eq!(ops::readv(&ours, Vec::<Vec<u8>>::new()).await.0?, 0);
        let (n, buf) = ops::read(&ours, [0; 8]).await.into_result()?;
        assert_eq!(&buf[..n], b"left");
        Ok(())
    })
}

#[test]
fn a_read_at_an_offset_neither_leaves_nor_takes() -> Outcome {
    let _alone = begin();
    let dir = TempDir::new();
    std::fs::write(dir.join("file"), b"0123456789")?;
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let file = ops::open(dir.join("file")).await?;
        let read = |at: Option<u64>| {
            let op = ops::read(&file, Vec::with_capacity(2));
            if let Some(at) = at { op.at(at) } else { op }
        };
        // Started, completed in the kernel, and dropped.
        for at in [Some(6), None, Some(8)] {
            let mut op = read(at);
            assert!(poll_once(&mut op).await.is_none());
            settle().await?;
            drop(op);
        }
        assert_eq!(read(Some(4)).await.into_result()?.1, b"45");
        assert_eq!(read(None).await.into_result()?.1, b"01", "the position has moved on over these");
        assert_eq!(read(None).await.into_result()?.1, b"23");
        Ok(())
    })
}

#[test]
fn answers_that_nobody_took_go_back_to_their_places() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (ours, mut peer) = with_left(b"leftover").await?;
        peer.write_all(b"!")?;
        {
            // Prepared as members of a chain, and dropped before the chain begins, in this order.
            let (mut a, mut b, mut c) =
                (ops::recv(&ours, [0; 4]), ops::recv(&ours, [0; 2]), ops::read(&ours, [0; 8]));
            poll_fn(|cx| ops::RingOperation::poll_prepare(Pin::new(&mut a), cx)).await;
            poll_fn(|cx| ops::RingOperation::poll_prepare(Pin::new(&mut b), cx)).await;
            poll_fn(|cx| ops::RingOperation::poll_prepare(Pin::new(&mut c), cx)).await;
            drop(a);
            drop(c);
            drop(b);
        }
        let (n, buf) = ops::recv(&ours, [0; 16]).await.into_result()?;
        assert_eq!(&buf[..n], b"left");
        for expected in [&b"ov"[..], b"er", b"!"] {
            let (n, buf) = ops::recv(&ours, [0; 16]).await.into_result()?;
            assert_eq!(&buf[..n], expected);
        }
        Ok(())
    })
}

#[test]
fn a_read_on_another_runtime_waits_for_the_orphan() -> Outcome {
    let _alone = begin();
    for _ in 0..rounds(500) {
        let (mut peer, ours) = UnixStream::pair()?;
        let ours = Fd::from(ours);
        let theirs = ours.clone();
        let dropped = Arc::new(AtomicBool::new(false));
        let (started, wait) = mpsc::channel();
        let other = thread::spawn({
            let dropped = Arc::clone(&dropped);
            move || {
                let runtime = Runtime::new().expect("a ring");
                runtime.block_on(async move {
                    let mut op = ops::recv(&theirs, [0; 4]);
                    assert!(poll_once(&mut op).await.is_none());
                    settle().await.expect("a nop");
                    started.send(()).expect("somebody listens");
                    while !dropped.load(Ordering::Acquire) {
                        std::hint::spin_loop();
                    }
                    drop(op);
                    settle().await.expect("a nop");
                });
            }
        });
        wait.recv()?;
        peer.write_all(b"abcd")?;
        dropped.store(true, Ordering::Release);
        thread::yield_now();
        // Whether the orphan is ahead of us or was not dropped yet: what comes last is what was written last.
        other.join().expect("no panic");
        peer.write_all(b"efgh")?;
        let runtime = Runtime::new()?;
        runtime.block_on(async {
            let mut got = Vec::new();
            while got.len() < 8 {
                let (n, buf) = ops::recv(&ours, [0; 8]).await.into_result()?;
                got.extend_from_slice(&buf[..n]);
            }
            assert_eq!(got, b"abcdefgh");
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

/// Starts an op on a worker thread of the kernel, which does its work while this thread looks elsewhere: it is done,
/// and its completion not seen, when this returns.
async fn behind_the_back<R: ops::Request>(op: &mut ops::Op<R>) -> io::Result<()> {
    ops::RingOperation::add_flags(Pin::new(&mut *op), ops::EntryFlags::ASYNC);
    assert!(poll_once(op).await.is_none());
    ops::nop().await?;
    thread::sleep(Duration::from_micros(300));
    Ok(())
}

#[test]
fn a_newer_read_waits_for_what_an_orphan_has_got() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        for _ in 0..rounds(1_000) {
            let (mut peer, ours) = UnixStream::pair()?;
            let ours = Fd::from(ours);
            peer.write_all(b"abcdefgh")?;
            let mut dropped = ops::recv(&ours, [0; 4]);
            behind_the_back(&mut dropped).await?;
            drop(dropped);
            let (n, buf) = ops::read(&ours, [0; 4]).await.into_result()?;
            assert_eq!(&buf[..n], b"abcd");
        }
        Ok(())
    })
}

#[test]
fn a_newer_accept_waits_for_what_an_orphan_has_got() -> Outcome {
    let _alone = begin();
    let dir = TempDir::new();
    let path = dir.join("socket");
    let runtime = Runtime::new()?;
    let listener = Fd::from(UnixListener::bind(&path)?);
    runtime.block_on(async {
        for round in 0..rounds(1_000) as u32 {
            client(&path, 2 * round);
            client(&path, 2 * round + 1);
            let mut dropped = ops::accept(&listener);
            behind_the_back(&mut dropped).await?;
            drop(dropped);
            for name in [2 * round, 2 * round + 1] {
                assert_eq!(name_of(ops::accept(&listener).await?), name);
            }
        }
        Ok(())
    })
}

#[test]
fn an_accept_in_flight_beside_a_dropped_one_gets_what_that_had_got() -> Outcome {
    let _alone = begin();
    let dir = TempDir::new();
    let path = dir.join("socket");
    let runtime = Runtime::new()?;
    let listener = Fd::from(UnixListener::bind(&path)?);
    let elsewhere = Fd::from(UnixListener::bind(dir.join("another"))?);
    runtime.block_on(async {
        for round in 0..rounds(1_000) as u32 {
            let (late, entered) = (round % 2 == 0, round % 3 != 0);
            client(&path, 2 * round);
            let mut older = ops::accept(&listener);
            behind_the_back(&mut older).await?;
            let mut other = ops::accept(&elsewhere);
            assert!(poll_once(&mut other).await.is_none());
            let mut newer = ops::accept(&listener);
            assert!(poll_once(&mut newer).await.is_none());
            if entered {
                settle().await?; // the kernel has it, else its entry still waits
            }
            if late {
                client(&path, 2 * round + 1); // it may have got this one itself when it is offered the other
            }
            drop(older);
            let first = name_of(newer.await?);
            if !late {
                assert_eq!(first, 2 * round, "no other was there");
                client(&path, 2 * round + 1);
            }
            let second = name_of(ops::accept(&listener).await?);
            assert_eq!(first.min(second), 2 * round);
            assert_eq!(first.max(second), 2 * round + 1);
            assert!(poll_once(&mut other).await.is_none(), "of another listener");
        }
        Outcome::Ok(())
    })?;
    while runtime.stats().nodes > 0 {
        runtime.block_on(settle())?; // the accept on the other listener, dropped last
    }
    Ok(())
}

/// The one that was offered a connection is dropped as well: it goes to the next.
#[test]
fn a_connection_is_handed_on_as_often_as_its_accept_is_dropped() -> Outcome {
    let _alone = begin();
    let dir = TempDir::new();
    let path = dir.join("socket");
    let runtime = Runtime::new()?;
    let listener = Fd::from(UnixListener::bind(&path)?);
    runtime.block_on(async {
        for round in 0..rounds(500) as u32 {
            client(&path, round);
            let mut oldest = ops::accept(&listener);
            behind_the_back(&mut oldest).await?;
            let mut beside: Vec<_> = (0..3).map(|_| ops::accept(&listener)).collect();
            for accept in &mut beside {
                assert!(poll_once(accept).await.is_none());
            }
            settle().await?;
            drop(oldest);
            let last = beside.split_off(2);
            for accept in beside {
                if round % 2 == 0 {
                    settle().await?;
                }
                drop(accept); // among them the one that had taken it
            }
            let [last] = last.try_into().expect("one is left");
            assert_eq!(name_of(last.await?), round);
        }
        Ok(())
    })
}

/// One accept is given one connection; a second waits for the next.
#[test]
fn an_accept_beside_two_dropped_ones_is_given_one_of_theirs() -> Outcome {
    let _alone = begin();
    let dir = TempDir::new();
    let path = dir.join("socket");
    let runtime = Runtime::new()?;
    let listener = Fd::from(UnixListener::bind(&path)?);
    runtime.block_on(async {
        for round in 0..rounds(500) as u32 {
            let names = [2 * round, 2 * round + 1];
            let mut older = Vec::new();
            for name in names {
                client(&path, name);
                let mut accept = ops::accept(&listener);
                behind_the_back(&mut accept).await?;
                older.push(accept);
            }
            let mut newer = ops::accept(&listener);
            assert!(poll_once(&mut newer).await.is_none());
            settle().await?;
            drop(older);
            let mut got = [name_of(newer.await?), name_of(ops::accept(&listener).await?)];
            got.sort_unstable();
            assert_eq!(got, names);
        }
        Ok(())
    })
}

/// In the order in which their accepts were dropped, also if the last of those was given one of the others, and had to give it
/// back. Taken from where they waited, and not needed after all, they wait there again, whichever comes back first.
#[test]
fn connections_that_nobody_took_go_back_to_their_places() -> Outcome {
    let _alone = begin();
    let dir = TempDir::new();
    let path = dir.join("socket");
    let runtime = Runtime::new()?;
    let listener = Fd::from(UnixListener::bind(&path)?);
    runtime.block_on(async {
        let mut left = Vec::new();
        for name in 0..3 {
            client(&path, name);
            let mut accept = ops::accept(&listener);
            behind_the_back(&mut accept).await?;
            left.push(accept);
        }
        left.into_iter().for_each(drop);
        settle().await?;
        {
            // Prepared as members of a chain, and dropped before the chain begins, in this order.
            let (mut a, mut b) = (ops::accept(&listener), ops::accept(&listener));
            poll_fn(|cx| ops::RingOperation::poll_prepare(Pin::new(&mut a), cx)).await;
            poll_fn(|cx| ops::RingOperation::poll_prepare(Pin::new(&mut b), cx)).await;
            drop(b);
            drop(a);
        }
        let mut names = Vec::new();
        for _ in 0..3 {
            names.push(name_of(ops::accept(&listener).await?));
        }
        assert_eq!(names, [0, 1, 2]);
        Ok(())
    })
}

/// The one that was given it had one of its own by then, which nobody knew: that is the next one's.
#[test]
fn an_accept_that_is_given_one_leaves_its_own() -> Outcome {
    let _alone = begin();
    let dir = TempDir::new();
    let path = dir.join("socket");
    let runtime = Runtime::new()?;
    let listener = Fd::from(UnixListener::bind(&path)?);
    runtime.block_on(async {
        for round in 0..rounds(500).max(20) as u32 {
            let names = [2 * round, 2 * round + 1];
            let (mut older, mut newer) = (ops::accept(&listener), ops::accept(&listener));
            client(&path, names[0]);
            behind_the_back(&mut older).await?;
            settle().await?;
            client(&path, names[1]);
            behind_the_back(&mut newer).await?;
            drop(older);
            let mut got = [name_of(newer.await?), name_of(ops::accept(&listener).await?)];
            got.sort_unstable();
            assert_eq!(got, names);
        }
        Ok(())
    })
}

#[test]
fn a_cancelled_accept_takes_what_an_older_one_left() -> Outcome {
    let _alone = begin();
    let dir = TempDir::new();
    let path = dir.join("socket");
    let runtime = Runtime::new()?;
    let listener = Fd::from(UnixListener::bind(&path)?);
    runtime.block_on(async {
        for stopped_first in [false, true] {
            client(&path, 1);
            let mut older = ops::accept(&listener);
            behind_the_back(&mut older).await?;
            let mut newer = ops::accept(&listener);
            assert!(poll_once(&mut newer).await.is_none());
            settle().await?; // `older` has the connection, `newer` waits for the next client
            if stopped_first {
                millstream::Operation::request_cancel(Pin::new(&mut newer));
                drop(older);
            } else {
                drop(older);
                millstream::Operation::request_cancel(Pin::new(&mut newer));
            }
            assert_eq!(name_of(newer.await?), 1);
        }
        Ok(())
    })
}

#[test]
fn a_slice_of_a_vec_appends_what_was_left() -> Outcome {
    use millstream::ops::BufExt;
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (ours, mut peer) = with_left(b"left").await?;
        let mut buf = b"head ".to_vec();
        buf.reserve(16);
        let at = buf.len();
        let (n, slice) = ops::recv(&ours, buf.slice(at..)).await.into_result()?;
        assert_eq!((n, &slice[..]), (4, &b"left"[..]));
        let buf = slice.into_inner();
        assert_eq!(buf, b"head left");
        // A slice's own bytes are what its orphan leaves, not the whole buffer's.
        let mut dropped = ops::recv(&ours, buf.slice(5..9));
        assert!(poll_once(&mut dropped).await.is_none());
        settle().await?;
        peer.write_all(b"xy")?;
        settle().await?;
        drop(dropped);
        let (_, buf) = ops::recv(&ours, Vec::with_capacity(8)).await.into_result()?;
        assert_eq!((&buf[..], buf.init_len()), (&b"xy"[..], 2));
        Ok(())
    })
}
