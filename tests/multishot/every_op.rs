//! Every multishot op into every destination: each result once, in order, here and on a kernel that has none of them.
//!
//! Knows: all multishot ops, all destinations. Does not know: what becomes of results for which there is no room.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::pin;
use std::rc::Rc;

use futures::StreamExt;
use millstream::channel::{self, Destination};
use millstream::combinators::{End, ResultsExt};
use millstream::ops::{self, BufPool, BufQueue, Fd, FdTable, Feature, FixedFd};
use millstream::{Results, Runtime, spawn};

use crate::harness::TempDir;
use crate::support::{Out, begin, settle, until};

/// How many results are waited for, one after the other.
const RESULTS: u8 = 6;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// An op, and what brings about its next result, which carries this number.
struct Case<R>(R, Box<dyn FnMut(u8)>);

/// Runs a test on a runtime of this kernel, and of one that has no multishot at all.
fn everywhere(test: impl AsyncFn() -> Outcome) -> Outcome {
    let _held = begin();
    let none = [
        Feature::AcceptMultishot,
        Feature::PollMultishot,
        Feature::TimeoutMultishot,
        Feature::RecvMultishot,
        Feature::RecvmsgMultishot,
        Feature::ReadMultishot,
        Feature::RecvBundle,
    ];
    let none = none.iter().fold(0, |bits, feature| bits | feature.bit());
    for without in [0, none] {
        Runtime::builder().without_features(without).build()?.block_on(test())?;
    }
    Ok(())
}

/// Each destination once. `is` looks at a result: whether it is the one of this number, or (`false`) one that tells of nothing
/// new. It panics at any other.
async fn to_every_destination<R>(
    make: impl Fn() -> io::Result<Case<R>>,
    is: impl AsyncFn(R::Item, u8) -> bool + Clone + 'static,
) -> Outcome
where
    R: Results<Item: Send, End = io::Result<()>> + 'static,
{
    pushed(make()?, channel::bounded(0), &is).await;
    pushed(make()?, channel::bounded(1), &is).await;
    pushed(make()?, channel::local(2), &is).await;
    pushed(make()?, channel::spsc(1), &is).await;
    spawned(make()?, is.clone()).await;
    let Case(op, mut next) = make()?;
    let mut stream = pin!(op.stream());
    for n in 0..RESULTS {
        next(n);
        while !is(stream.next().await.ok_or("it is over")??, n).await {}
    }
    Ok(())
}

async fn pushed<R, D, O>(
    Case(op, mut next): Case<R>,
    (end, mut out): (D, O),
    is: &impl AsyncFn(R::Item, u8) -> bool,
) where
    R: Results<End = io::Result<()>> + 'static,
    D: Destination<R::Item> + 'static,
    O: Out<R::Item>,
{
    let task = spawn(op.will_push(end));
    for n in 0..RESULTS {
        next(n);
        while !is(out.take().await.expect("it goes on"), n).await {}
    }
    drop(out);
    assert_eq!(task.await.expect("no panic").end.expect("no error"), End::Closed);
}

async fn spawned<R>(Case(op, mut next): Case<R>, is: impl AsyncFn(R::Item, u8) -> bool + Clone + 'static)
where
    R: Results<End = io::Result<()>> + 'static,
{
    let seen = Rc::new(Cell::new(0));
    let serving = spawn({
        let seen = seen.clone();
        op.will_spawn(move |item| {
            let (seen, is) = (seen.clone(), is.clone());
            async move { seen.set(seen.get() + u8::from(is(item, seen.get()).await)) }
        })
        .limit(1)
    });
    for n in 0..RESULTS {
        next(n);
        until(|| seen.get() > n).await;
    }
    serving.cancel();
    assert!(serving.await.is_err());
}

/// A writing end that writes the number.
fn writes(mut to: impl Write + 'static) -> Box<dyn FnMut(u8)> {
    Box::new(move |n| to.write_all(&[n]).expect("room"))
}

fn pair() -> io::Result<(UnixStream, Fd)> {
    let (a, b) = UnixStream::pair()?;
    Ok((a, b.into()))
}

/// Clients that say their number.
fn connects(path: std::path::PathBuf) -> Box<dyn FnMut(u8)> {
    let mut clients = Vec::new();
    Box::new(move |n| {
        let mut client = UnixStream::connect(&path).expect("the backlog has room");
        client.write_all(&[n]).expect("room");
        clients.push(client);
    })
}

#[test]
fn connections() -> Outcome {
    everywhere(async || {
        let dir = TempDir::new();
        let names = Cell::new(0);
        let listener = || {
            names.set(names.get() + 1);
            let path = dir.join(names.get().to_string());
            io::Result::Ok((UnixListener::bind(&path)?, path))
        };
        let accepts = || {
            let (listener, path) = listener()?;
            Ok(Case(ops::accept_multishot(listener), connects(path)))
        };
        to_every_destination(accepts, async |connection: Fd, n| {
            assert_eq!(ops::recv(&connection, [u8::MAX; 2]).await.1, [n, u8::MAX]);
            true
        })
        .await?;
        let table = FdTable::new(4)?;
        let direct = || {
            let (listener, path) = listener()?;
            Ok(Case(ops::accept_direct_multishot(listener, &table), connects(path)))
        };
        to_every_destination(direct, async |connection: FixedFd, n| {
            assert_eq!(ops::recv(&connection, [u8::MAX; 2]).await.1, [n, u8::MAX]);
            true
        })
        .await?;
        until(|| table.available() == 4).await;
        Ok(())
    })
}

#[test]
fn bytes() -> Outcome {
    everywhere(async || {
        let pool = BufPool::new(1, 8)?;
        let received = || {
            let (a, b) = pair()?;
            Ok(Case(ops::recv_multishot(b, &pool), writes(a)))
        };
        to_every_destination(received, async |buf, n| buf[..] == [n] || panic!("{buf:?} is not {n}")).await?;
        let bundles = || {
            let (a, b) = pair()?;
            Ok(Case(ops::recv_multishot(b, &pool).bundled(), writes(a)))
        };
        to_every_destination(bundles, async |bundle, n| {
            assert_eq!(bundle.into_vec(), [n]);
            true
        })
        .await?;
        let read = || {
            let (reader, writer) = io::pipe()?;
            Ok(Case(ops::read_multishot(reader, &pool), writes(writer)))
        };
        to_every_destination(read, async |buf, n| buf[..] == [n] || panic!("{buf:?} is not {n}")).await?;
        settle().await;
        assert_eq!((pool.available(), pool.disowned()), (1, 0));

        let queue = BufQueue::to_fill(1)?;
        queue.push(vec![0; 8])?;
        let filled = || {
            let (a, b) = pair()?;
            Ok(Case(ops::recv_multishot(b, &queue), writes(a)))
        };
        to_every_destination(filled, async |buf, n| buf[..] == [n] || panic!("other bytes than {n}")).await?;
        settle().await;
        assert_eq!((queue.len(), queue.disowned()), (1, 0));
        Ok(())
    })
}

#[test]
fn messages() -> Outcome {
    everywhere(async || {
        let pool = BufPool::new(1, 256)?;
        let received = || {
            let (a, b) = pair()?;
            Ok(Case(ops::recvmsg_multishot(b, &pool), writes(a)))
        };
        to_every_destination(received, async |(about, buf), n| {
            assert_eq!((&buf[..], about.flags), (&[n][..], 0));
            true
        })
        .await?;
        settle().await;
        assert_eq!((pool.available(), pool.disowned()), (1, 0));
        Ok(())
    })
}

#[test]
fn readiness() -> Outcome {
    everywhere(async || {
        let reader = Rc::new(RefCell::new(None));
        let told = || {
            let (a, b) = UnixStream::pair()?;
            b.set_nonblocking(true)?;
            let fd = Fd::from(b.try_clone()?);
            reader.replace(Some(b));
            Ok(Case(ops::poll_multishot(fd, libc::POLLIN), writes(a)))
        };
        let reader = reader.clone();
        to_every_destination(told, async move |events, n| {
            assert_eq!(events, libc::POLLIN as u32);
            let mut byte = [u8::MAX];
            match reader.borrow_mut().as_mut().expect("it is made first").read(&mut byte) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => false, // asked anew, it was told so again
                read => {
                    assert_eq!((read.expect("open"), byte), (1, [n]));
                    true
                }
            }
        })
        .await
    })
}

#[test]
fn periods() -> Outcome {
    everywhere(async || {
        let ticks = || {
            let period = std::time::Duration::from_millis(1);
            Ok(Case(ops::timeout_multishot(period), Box::new(|_| ())))
        };
        to_every_destination(ticks, async |periods, _| periods > 0 || panic!("a result of no period")).await
    })
}
