//! Queues of the user's own buffers: what is sent from them, what is filled, and that nothing of it is lost.
//!
//! Knows: the public face of the crate. Does not know: how a queue keeps its books.

#![allow(unsafe_code, reason = "implements the unsafe buffer traits for a buffer that is counted")]

mod support;

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millstream::combinators::ResultsExt;
use millstream::ops::requests::SendQueued;
use millstream::ops::{
    self, Buf, BufPool, BufQueue, Fd, Feature, IntoResult, PoolBuf, QueueBuf, ToFill, ToSend, Visible,
};
use millstream::{Operation, Results, Runtime, channel, spawn, time, yield_now};
use support::{Rng, rounds};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn pair() -> io::Result<(UnixStream, Fd)> {
    let (a, b) = UnixStream::pair()?;
    Ok((a, b.into()))
}

/// Polls once, for nobody.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn look<R: Results>(results: &mut R) -> Poll<ControlFlow<R::End, R::Item>> {
    results.poll_next(&mut Context::from_waker(Waker::noop()))
}

/// Turns of the loop, so that whatever is under way has arrived.
async fn settle() {
    for _ in 0..4 {
        yield_now().await;
        let _ = ops::nop().await;
    }
}

/// A stream's bytes, by their place in it.
fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// Bytes of a stream, from this place on.
fn piece(at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(pattern).collect()
}

/// Runtimes of this kernel, and of one that sends no bundles.
fn senders() -> impl Iterator<Item = Runtime> {
    let without = Feature::SendBundle.bit();
    [0, without]
        .into_iter()
        .map(|without| Runtime::builder().without_features(without).build().expect("io_uring"))
}

/// Runtimes of this kernel, and of kernels that lack one thing after the other.
fn receivers() -> impl Iterator<Item = Runtime> {
    let recv = Feature::RecvMultishot.bit() | Feature::ReadMultishot.bit();
    let bundle = Feature::RecvBundle.bit();
    [0, recv, bundle, recv | bundle]
        .into_iter()
        .map(|without| Runtime::builder().without_features(without).build().expect("io_uring"))
}

/// The other end of a stream: everything that comes has its place.
struct Reader {
    stream: UnixStream,
    read: usize,
}

impl Reader {
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, read: 0 })
    }

    /// Reads what is there, at most this much.
    fn read(&mut self, most: usize) -> usize {
        let before = self.read;
        let mut bytes = [0; 4096];
        while self.read - before < most {
            let room = bytes.len().min(most - (self.read - before));
            let Ok(n @ 1..) = self.stream.read(&mut bytes[..room]) else { break };
            for byte in &bytes[..n] {
                assert_eq!(*byte, pattern(self.read), "byte {} of the stream", self.read);
                self.read += 1;
            }
        }
        self.read - before
    }
}

/// A buffer that is counted: how many are there.
struct Counted {
    bytes: Vec<u8>,
    there: Arc<AtomicUsize>,
}

impl Counted {
    fn new(bytes: Vec<u8>, there: &Arc<AtomicUsize>) -> Self {
        there.fetch_add(1, Ordering::Relaxed);
        Self { bytes, there: Arc::clone(there) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.there.fetch_sub(1, Ordering::Relaxed);
    }
}

// SAFETY: (local) the vector's promises: it is not changed here.
unsafe impl Buf for Counted {
    fn stable_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    fn init_len(&self) -> usize {
        self.bytes.len()
    }

    fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

// SAFETY: (local) as above.
unsafe impl Visible for Counted {}

// SAFETY: (local) as above.
unsafe impl millstream::ops::BufMut for Counted {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    unsafe fn set_filled(&mut self, len: usize) {
        // SAFETY: (local) as the caller promises.
        unsafe { self.bytes.set_len(len) };
    }
}

/// More buffers than one bundle has room for (256), of many sizes, and some of none.
#[test]
fn what_stands_in_the_queue_is_sent_in_order() -> Outcome {
    for runtime in senders() {
        runtime.block_on(async {
            let (a, b) = pair()?;
            let mut reader = Reader::new(a)?;
            let queue = BufQueue::to_send(600)?;
            let (mut pushed, mut buffers, mut ops) = (0, 0, 0);
            for len in (0..600).map(|at| at % 7) {
                queue.push(piece(pushed, len))?;
                pushed += len;
            }
            assert!(queue.is_full() && queue.push(vec![1]).expect_err("full").is_full());
            let mut sent_so_far = 0;
            while !queue.is_empty() {
                let (n, sent) = ops::send_queued(&b, &queue).await;
                assert_eq!(n?, sent.bytes());
                for buf in sent {
                    assert_eq!(buf, piece(sent_so_far, buf.len()));
                    sent_so_far += buf.len();
                    buffers += 1;
                }
                ops += 1;
                reader.read(usize::MAX);
            }
            assert_eq!((buffers, sent_so_far, reader.read), (600, pushed, pushed));
            let one_by_one = (0..600).filter(|at| at % 7 > 0).count();
            assert!(ops == 1 || ops >= one_by_one, "{ops} ops: neither at once nor one by one");
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// The ring goes on where it was, over its end and that of the 16 bits that positions have.
#[test]
fn a_queue_is_used_again_and_again() -> Outcome {
    let rounds = rounds(40_000) as usize;
    for runtime in senders() {
        runtime.block_on(async {
            let (a, b) = pair()?;
            let mut reader = Reader::new(a)?;
            let queue = BufQueue::to_send(3)?;
            let mut pushed = 0;
            for round in 0..rounds {
                for len in 1..=round % 3 + 1 {
                    queue.push(piece(pushed, len))?;
                    pushed += len;
                }
                while !queue.is_empty() {
                    ops::send_queued(&b, &queue).await.0?;
                }
                reader.read(usize::MAX);
            }
            assert_eq!(reader.read, pushed);
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// A socket that is full in the middle of a buffer: the kernel goes on by itself when there is room.
#[test]
fn a_send_goes_on_until_everything_is_sent() -> Outcome {
    for runtime in senders() {
        runtime.block_on(async {
            let (a, b) = pair()?;
            let mut reader = Reader::new(a)?;
            let queue = BufQueue::to_send(64)?;
            (0..64).try_for_each(|at| queue.push(piece(at * 30_011, 30_011)))?;
            let sender = spawn({
                let queue = queue.clone();
                async move {
                    let mut buffers = 0;
                    while !queue.is_empty() {
                        let (n, sent) = ops::send_queued(&b, &queue).await;
                        assert!(n? > 0);
                        buffers += sent.count();
                    }
                    io::Result::Ok(buffers)
                }
            });
            while reader.read < 64 * 30_011 {
                reader.read(50_000);
                yield_now().await;
            }
            assert_eq!(sender.await??, 64);
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// A send that is stopped, or whose owner is gone, in the middle of a buffer: what was sent is known, the rest is next.
#[test]
fn a_stopped_send_leaves_the_rest_to_the_byte() -> Outcome {
    const EACH: usize = 500_009; // more than the socket has room for
    const TOTAL: usize = 4 * EACH;
    for runtime in senders() {
        for dropped in [false, true] {
            runtime.block_on(async {
                let (a, b) = pair()?;
                let mut reader = Reader::new(a)?;
                let queue = BufQueue::to_send(4)?;
                (0..4).try_for_each(|at| queue.push(piece(at * EACH, EACH)))?;
                let mut stopped = 0;
                while !queue.is_empty() {
                    let mut send = ops::send_queued(&b, &queue);
                    assert!(poll_once(&mut send).is_pending());
                    settle().await;
                    if dropped {
                        drop(send);
                    } else {
                        Pin::new(&mut send).request_cancel();
                        let (n, sent) = send.await;
                        let bytes = sent.bytes();
                        assert!(n.is_ok_and(|n| n == bytes) || bytes == 0);
                        assert!(sent.map(|buf| buf.len()).sum::<usize>() <= bytes + EACH);
                    }
                    settle().await;
                    // Nobody has it: what is known to be sent is what has come, and what the socket still has.
                    let in_queue = queue.len() * EACH - queue.first_sent();
                    stopped += usize::from(queue.first_sent() > 0);
                    reader.read(100_000);
                    assert!(reader.read + in_queue <= TOTAL);
                    if queue.is_empty() {
                        break;
                    }
                }
                reader.read(usize::MAX);
                assert_eq!(reader.read, TOTAL);
                assert!(stopped > 0, "none was stopped in the middle of a buffer");
                Outcome::Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_send_that_fails_leaves_what_was_not_sent() -> Outcome {
    for runtime in senders() {
        runtime.block_on(async {
            let (a, b) = pair()?;
            let queue = BufQueue::to_send(4)?;
            ["rye", "wheat", "barley"].into_iter().try_for_each(|text| queue.push(text))?;
            drop(a);
            let (n, sent) = ops::send_queued(&b, &queue).await;
            assert_eq!(n.expect_err("nobody there").raw_os_error(), Some(libc::EPIPE));
            assert_eq!((sent.len(), sent.bytes(), queue.len(), queue.first_sent()), (0, 0, 3, 0));
            // To somebody else.
            let (mut c, d) = pair()?;
            while !queue.is_empty() {
                ops::send_queued(&d, &queue).await.0?;
            }
            let mut all = [0; 14];
            c.read_exact(&mut all)?;
            assert_eq!(&all, b"ryewheatbarley");
            ["oats", "spelt"].into_iter().try_for_each(|text| queue.push(text))?;
            assert_eq!((queue.drain(), queue.len(), queue.is_full()), (vec!["oats", "spelt"], 0, false));
            let (n, sent) = ops::send_queued(&d, &queue).await;
            assert_eq!((n?, sent.len()), (0, 0), "there is nothing to send");
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn what_is_pushed_meanwhile_is_next_and_can_be_taken_back() -> Outcome {
    for runtime in senders() {
        runtime.block_on(async {
            let (a, b) = pair()?;
            let mut reader = Reader::new(a)?;
            let queue = BufQueue::to_send(4)?;
            queue.push(piece(0, 1_000_000))?; // more than the socket has room for
            let mut first = ops::send_queued(&b, &queue);
            assert!(poll_once(&mut first).is_pending());
            settle().await;
            queue.push(piece(0, 10))?;
            assert_eq!((queue.drain().len(), queue.len()), (1, 1), "the send has the other");
            queue.push(piece(1_000_000, 10))?;
            let mut second = ops::send_queued(&b, &queue);
            assert!(poll_once(&mut second).is_pending());
            let both = spawn(async move { (first.await, second.await) });
            while reader.read < 1_000_010 {
                reader.read(usize::MAX);
                yield_now().await;
            }
            let ((n, one), (m, two)) = both.await?;
            assert_eq!((n?, one.len(), m?, two.len()), (1_000_000, 1, 10, 1));
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// Of several sends of one queue each byte goes once, whoever sends it; one that is dropped while it waits does not matter.
#[test]
fn sends_of_one_queue_take_turns() -> Outcome {
    for runtime in senders() {
        runtime.block_on(async {
            let (a, b) = pair()?;
            let mut reader = Reader::new(a)?;
            let queue = BufQueue::to_send(64)?;
            (0..60).try_for_each(|at| queue.push(piece(at * 20_011, 20_011)))?;
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let (b, queue) = (b.clone(), queue.clone());
                    spawn(async move {
                        while !queue.is_empty() {
                            let mut waits = ops::send_queued(&b, &queue);
                            let _ = poll_once(&mut waits);
                            drop(waits);
                            ops::send_queued(&b, &queue).await.0?;
                        }
                        io::Result::Ok(())
                    })
                })
                .collect();
            while reader.read < 60 * 20_011 {
                reader.read(usize::MAX);
                yield_now().await;
            }
            for task in tasks {
                task.await??;
            }
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// Two of one chain cannot both have what is in the queue when the chain is put together.
#[test]
fn of_two_in_one_chain_the_second_is_refused() -> Outcome {
    for runtime in senders() {
        runtime.block_on(async {
            let (a, b) = pair()?;
            let mut reader = Reader::new(a)?;
            let queue = BufQueue::to_send(4)?;
            queue.push(piece(0, 10))?;
            let ((first, _), (second, sent)) =
                (ops::send_queued(&b, &queue) >> ops::send_queued(&b, &queue)).await;
            assert_eq!((first?, sent.len(), reader.read(usize::MAX)), (10, 0, 10));
            assert_eq!(second.expect_err("refused").kind(), ErrorKind::ResourceBusy);
            queue.push(piece(10, 10))?;
            let (n, sent) = ops::send_queued(&b, &queue).await;
            assert_eq!((n?, sent.len(), reader.read(usize::MAX)), (10, 1, 10));
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_queue_of_another_runtime_is_refused() -> Outcome {
    let (to_send, to_fill) = Runtime::new()?.block_on(async {
        let (to_send, to_fill) = (BufQueue::to_send(2)?, BufQueue::to_fill(2)?);
        to_send.push(vec![1, 2, 3])?;
        to_fill.push(vec![1, 2, 3])?;
        Ok::<_, Box<dyn std::error::Error>>((to_send, to_fill))
    })?;
    Runtime::new()?.block_on(async {
        let (_a, b) = pair()?;
        let (n, sent) = ops::send_queued(&b, &to_send).await;
        assert_eq!((n.expect_err("refused").kind(), sent.len()), (ErrorKind::InvalidInput, 0));
        let error = ops::recv_pooled(&b, &to_fill).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        Outcome::Ok(())
    })?;
    // What is in them is still there.
    assert_eq!(to_send.drain(), [[1, 2, 3]]);
    assert_eq!(to_fill.into_buffers().expect("nobody else has it"), [[1, 2, 3]]);
    Ok(())
}

#[test]
fn the_number_of_places_has_bounds() -> Outcome {
    Runtime::new()?.block_on(async {
        for wrong in [0, 32_769, usize::MAX] {
            let to_send = BufQueue::<Vec<u8>>::to_send(wrong).expect_err("out of bounds");
            let to_fill = BufQueue::<Vec<u8>, _>::to_fill(wrong).expect_err("out of bounds");
            assert_eq!([to_send.kind(), to_fill.kind()], [ErrorKind::InvalidInput; 2]);
        }
        let (a, b) = pair()?;
        let mut reader = Reader::new(a)?;
        let queue = BufQueue::to_send(32_768)?;
        (0..32_768).try_for_each(|at| queue.push([pattern(at)]))?;
        let mut sent_so_far = 0;
        while !queue.is_empty() {
            let mut send = pin!(ops::send_queued(&b, &queue));
            while poll_once(&mut send).is_pending() && sent_so_far == reader.read {
                reader.read(usize::MAX);
                yield_now().await;
            }
            sent_so_far = reader.read;
        }
        reader.read(usize::MAX);
        assert_eq!(reader.read, 32_768);
        Outcome::Ok(())
    })
}

/// An echo without a copy: what the kernel has put into a pool's buffers is sent from there, several at once.
#[test]
fn a_pools_buffers_are_sent_from_where_they_are() -> Outcome {
    for runtime in senders() {
        runtime.block_on(async {
            let (a, b) = pair()?;
            a.set_nonblocking(true)?;
            let pool = BufPool::new(8, 1000)?;
            let queue = BufQueue::<PoolBuf>::to_send(8)?;
            let echo = spawn({
                let pool = pool.clone();
                async move {
                    loop {
                        let bundle = ops::recv_pooled(&b, &pool).bundled().await?;
                        if bundle.is_empty() {
                            return io::Result::Ok(());
                        }
                        for buf in bundle {
                            queue.push(buf).map_err(io::Error::other)?;
                        }
                        while !queue.is_empty() {
                            ops::send_queued(&b, &queue).await.0?;
                        }
                    }
                }
            });
            let (mut written, mut reader) = (0, Reader::new(a.try_clone()?)?);
            while reader.read < 1 << 20 {
                if written < 1 << 20 {
                    let len = 5000.min((1 << 20) - written);
                    written += (&a).write(&piece(written, len)).unwrap_or(0);
                }
                reader.read(3000);
                yield_now().await;
            }
            a.shutdown(std::net::Shutdown::Write)?;
            echo.await??;
            assert_eq!((pool.available(), pool.disowned()), (8, 0));
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// I6: the runtime waits until the kernel has let go of the buffers; then they go with the last that holds the queue.
#[test]
fn a_runtime_ends_with_a_queue_in_use() -> Outcome {
    let there = Arc::new(AtomicUsize::new(0));
    for runtime in senders() {
        let kept = runtime.block_on(async {
            let (a, b) = pair()?;
            let queue = BufQueue::to_send(8)?;
            (0..8).try_for_each(|_| queue.push(Counted::new(vec![7; 100_000], &there)))?;
            let mut send = ops::send_queued(&b, &queue);
            assert!(poll_once(&mut send).is_pending());
            settle().await;
            let empty = BufQueue::to_fill(2)?;
            empty.push(Counted::new(vec![0; 10], &there))?;
            let mut recv = ops::recv_pooled(&b, &empty);
            assert!(poll_once(&mut recv).is_pending());
            settle().await;
            Ok::<_, Box<dyn std::error::Error>>((a, send, recv, queue))
        })?;
        drop(runtime);
        let left = kept.3.len();
        assert!((1..8).contains(&left), "{left} buffers are left: some were sent");
        assert_eq!(there.load(Ordering::Relaxed), left);
        drop(kept);
        assert_eq!(there.load(Ordering::Relaxed), 0);
    }
    Ok(())
}

/// The numbers of groups, of which a runtime has 65,472, come back.
#[test]
fn queues_leave_no_group_behind() -> Outcome {
    Runtime::new()?.block_on(async {
        let (a, b) = pair()?;
        let mut reader = Reader::new(a)?;
        for round in 0..66_000 {
            let queue = BufQueue::to_send(1)?;
            if round % 8 == 0 {
                queue.push([pattern(round / 8)])?;
                ops::send_queued(&b, &queue).await.0?;
                reader.read(1);
            }
            let queue = BufQueue::to_fill(1)?;
            queue.push([0; 4])?;
        }
        assert_eq!(reader.read, 66_000 / 8);
        Ok(())
    })
}

/// First in, first out, whatever their sizes; what was received is all that is seen of each.
#[test]
fn buffers_are_filled_in_order_and_come_back_as_they_are() -> Outcome {
    for runtime in receivers() {
        runtime.block_on(async {
            let (mut a, b) = pair()?;
            let queue = BufQueue::to_fill(4)?;
            for room in [3, 100, 1] {
                queue.push(Vec::with_capacity(room))?;
            }
            assert_eq!((queue.len(), queue.capacity(), queue.is_full()), (3, 4, false));
            assert!(matches!(queue.push(Vec::new()), Err(ops::QueueError::NoRoom(_))));
            a.write_all(b"flour")?;
            let first = ops::recv_pooled(&b, &queue).await?;
            let second = ops::recv_pooled(&b, &queue).await?;
            assert_eq!((&first[..], &second[..], queue.len()), (&b"flo"[..], &b"ur"[..], 1));
            let (first, second) = (first.into_buffer().expect("one"), second.into_buffer().expect("one"));
            assert_eq!((first.capacity(), second.capacity()), (3, 100));
            assert_eq!((&first[..], &second[..]), (&b"flo"[..], &b"ur"[..]));
            // What is dropped goes to the end of the queue.
            queue.push(first)?;
            a.write_all(b"bran")?;
            let one = ops::recv_pooled(&b, &queue).await?;
            assert_eq!(&one[..], b"b");
            drop(one);
            let got = ops::recv_pooled(&b, &queue).await?;
            assert_eq!(&got[..], b"ran");
            drop(got);
            let buffers = queue.into_buffers().expect("nobody else has it");
            assert_eq!(buffers.iter().map(Vec::capacity).collect::<Vec<_>>(), [1, 3]);
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// An array is its own memory: it has an address of its own in the queue.
#[test]
fn arrays_are_filled_where_they_are() -> Outcome {
    Runtime::new()?.block_on(async {
        let (mut a, b) = pair()?;
        let queue = BufQueue::to_fill(3)?;
        (0..3).try_for_each(|mark| queue.push([mark; 4]))?;
        a.write_all(b"ryeoats")?;
        let got: Vec<_> = ops::recv_pooled(&b, &queue).bundled().await?.collect();
        assert_eq!(got.iter().flat_map(|buf| buf.iter().copied()).collect::<Vec<_>>(), b"ryeoats");
        let arrays: Vec<_> = got.into_iter().filter_map(QueueBuf::into_buffer).collect();
        let more = if arrays.len() == 1 { vec![] } else { vec![*b"atsx"] };
        assert_eq!(arrays[0], *b"ryeo");
        assert_eq!(
            arrays[1..].iter().map(|array| array[..3].to_vec()).collect::<Vec<_>>(),
            more.iter().map(|array: &[u8; 4]| array[..3].to_vec()).collect::<Vec<_>>()
        );
        Ok(())
    })
}

/// A bundle is as many buffers as it takes, of any sizes. B6.
#[test]
fn a_bundle_follows_the_order_of_the_queue() -> Outcome {
    for runtime in receivers() {
        runtime.block_on(async {
            let (mut a, b) = pair()?;
            let queue = BufQueue::to_fill(8)?;
            for room in [2, 7, 1, 30, 5] {
                queue.push(vec![0xCC; room])?;
            }
            a.write_all(&piece(0, 43))?;
            let mut all = Vec::new();
            while all.len() < 43 {
                let bundle = ops::recv_pooled(&b, &queue).bundled().await?;
                let (len, before) = (bundle.len(), all.len());
                for buf in bundle {
                    all.extend_from_slice(&buf);
                }
                assert_eq!(all.len() - before, len);
            }
            assert_eq!(all, piece(0, 43));
            assert_eq!((queue.len(), queue.disowned()), (5, 0), "each has come back");
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// KT `mshot recv exhausts 2 bufs, 4 msgs`: `ENOBUFS`, and the bytes stay in the socket. B3.
#[test]
fn an_op_without_a_buffer_waits_until_one_is_pushed() -> Outcome {
    for runtime in receivers() {
        runtime.block_on(async {
            let (mut a, b) = pair()?;
            let queue = BufQueue::to_fill(2)?;
            a.write_all(&piece(0, 100))?;
            let mut single = ops::recv_pooled(&b, &queue);
            assert!(poll_once(&mut single).is_pending());
            settle().await;
            assert!(poll_once(&mut single).is_pending());
            queue.push(vec![0; 1])?;
            assert_eq!(single.await?.into_buffer(), Some(piece(0, 1)));
            let (tx, rx) = channel::bounded(1);
            let receives = spawn(ops::recv_multishot(&b, &queue).will_push(tx));
            let mut got = vec![pattern(0)];
            while got.len() < 100 {
                queue.push(vec![0; 5])?;
                got.extend(rx.pop().await?.into_buffer().expect("one"));
            }
            assert_eq!(got, piece(0, 100));
            drop(a);
            queue.push(vec![0; 5])?; // the end, too, is seen only by who may have a buffer
            assert!(receives.await?.end.is_ok());
            settle().await;
            assert_eq!(queue.len(), 1);
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// KT `pipe read EOF + bufsel`, `file read EOF + bufsel`, `mshot recv EOF + bufsel`: with a buffer or without, it is back in the
/// queue. B6, B7.
#[test]
fn an_end_takes_no_buffer() -> Outcome {
    for runtime in receivers() {
        runtime.block_on(async {
            let queue = BufQueue::to_fill(2)?;
            queue.push(vec![0; 8])?;
            queue.push(vec![0; 9])?;
            let (reader, mut writer) = io::pipe()?;
            let (pipe, file) = (Fd::from(reader), Fd::from(std::fs::File::open("/dev/null")?));
            writer.write_all(b"bran")?;
            drop(writer);
            assert_eq!(&ops::read_pooled(&pipe, &queue).await?[..], b"bran");
            for _ in 0..50 {
                let ends = [ops::read_pooled(&pipe, &queue).await?, ops::read_pooled(&file, &queue).await?];
                assert!(ends.iter().all(|end| end.is_empty()));
                drop(ends);
                assert_eq!(queue.len(), 2);
            }
            let (a, b) = pair()?;
            drop(a);
            let mut results = ops::recv_multishot(&b, &queue);
            assert!(matches!(
                std::future::poll_fn(|cx| results.poll_next(cx)).await,
                ControlFlow::Break(Ok(()))
            ));
            assert!(ops::recv_pooled(&b, &queue).await?.into_buffer().is_none());
            drop(results);
            let mut sizes: Vec<_> =
                queue.into_buffers().expect("nobody has it").iter().map(Vec::capacity).collect();
            sizes.sort_unstable();
            assert_eq!(sizes, [8, 9]);
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// I2: what a dropped receive had received is next, in memory of its own, and the buffer is in the queue again.
#[test]
fn a_dropped_receive_leaves_its_bytes_and_its_buffer() -> Outcome {
    for runtime in receivers() {
        runtime.block_on(async {
            let (mut a, b) = pair()?;
            let queue = BufQueue::to_fill(2)?;
            queue.push(vec![0; 8])?;
            for multi in [false, true] {
                let mut single = ops::recv_pooled(&b, &queue);
                let mut results = ops::recv_multishot(&b, &queue);
                if multi {
                    assert!(look(&mut results).is_pending());
                } else {
                    assert!(poll_once(&mut single).is_pending());
                }
                settle().await;
                if multi {
                    assert!(look(&mut results).is_pending(), "where the kernel lacks it, it asks again");
                }
                settle().await;
                a.write_all(b"grist")?;
                settle().await;
                drop((single, results));
                settle().await;
                assert_eq!(queue.len(), 1);
                let got = ops::recv_pooled(&b, &queue).await?;
                assert_eq!((&got[..], queue.len()), (&b"grist"[..], 1));
                assert!(got.into_buffer().is_none(), "they are in memory of their own");
            }
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_queue_is_taken_apart_only_by_its_last_holder() -> Outcome {
    Runtime::new()?.block_on(async {
        let (mut a, b) = pair()?;
        let queue = BufQueue::to_fill(2)?;
        queue.push(vec![0; 8])?;
        let other = queue.clone();
        let queue = queue.into_buffers().expect_err("there is a clone");
        drop(other);
        let mut recv = ops::recv_pooled(&b, &queue);
        assert!(poll_once(&mut recv).is_pending());
        let queue = queue.into_buffers().expect_err("there is an op");
        a.write_all(b"x")?;
        let got = recv.await?;
        let queue = queue.into_buffers().expect_err("there is a buffer");
        drop(got);
        assert_eq!(queue.into_buffers().expect("nobody has it").len(), 1);
        Ok(())
    })
}

/// Pushed by one thread, filled on another, dropped on a third.
#[test]
fn buffers_go_from_thread_to_thread() -> Outcome {
    let rounds = rounds(20_000) as usize;
    Runtime::new()?.block_on(async {
        let (mut a, b) = pair()?;
        let queue = BufQueue::to_fill(4)?;
        let (tx, rx) = channel::bounded::<QueueBuf<Vec<u8>>>(2);
        let writer = std::thread::spawn(move || {
            (0..rounds).try_for_each(|at| a.write_all(&[pattern(at)])) // and the end
        });
        let others = std::thread::spawn({
            let queue = queue.clone();
            (0..2).try_for_each(|_| queue.push(vec![0; 3]))?;
            move || {
                let (mut at, mut taken) = (0, VecDeque::new());
                while let Ok(buf) = rx.pop_blocking() {
                    for byte in &*buf {
                        assert_eq!(*byte, pattern(at));
                        at += 1;
                    }
                    if at % 3 == 0 {
                        taken.extend(buf.into_buffer());
                    } else if at % 3 == 1 {
                        drop(buf);
                    } else {
                        drop(buf);
                        taken.drain(..).for_each(|buf: Vec<u8>| drop(queue.push(buf)));
                    }
                    if queue.is_empty() {
                        taken.drain(..).for_each(|buf: Vec<u8>| drop(queue.push(buf)));
                    }
                }
                (at, taken.len())
            }
        });
        let end = ops::recv_multishot(&b, &queue).will_push(tx).await;
        assert!(end.end.is_ok());
        writer.join().expect("no panic")?;
        let (seen, taken) = others.join().expect("no panic");
        settle().await;
        assert_eq!((seen, queue.len() + taken, queue.disowned()), (rounds, 2, 0));
        Ok(())
    })
}

/// Everything that can be done to sends of a queue, by chance: the bytes are those of the stream, and every buffer was sent,
/// has come back, or is in the queue.
#[test]
fn a_storm_of_sends_loses_no_byte_and_no_buffer() -> Outcome {
    let rounds = rounds(100_000);
    for runtime in senders() {
        let there = Arc::new(AtomicUsize::new(0));
        let mut rng = Rng::from_env();
        runtime.block_on(async {
            let (a, b) = pair()?;
            let mut reader = Reader::new(a)?;
            let queue = BufQueue::to_send(8)?;
            let (mut pushed, mut sends) = (0, Vec::<ops::Op<SendQueued<Counted>>>::new());
            let mut sent = Vec::new();
            for _ in 0..rounds {
                match rng.below(10) {
                    0..3 if pushed - reader.read < 1_000_000 => {
                        let len = match rng.below(4) {
                            0 => rng.below(3),
                            1 => rng.below(200_000),
                            _ => rng.below(500),
                        } as usize;
                        if queue.push(Counted::new(piece(pushed, len), &there)).is_ok() {
                            pushed += len;
                        }
                    }
                    3 => sends.push(ops::send_queued(&b, &queue)),
                    4 | 5 if !sends.is_empty() => {
                        let at = rng.below(sends.len() as u64) as usize;
                        if let Poll::Ready((n, done)) = poll_once(&mut sends[at]) {
                            assert!(n.is_ok_and(|n| n == done.bytes()) || done.bytes() == 0);
                            sent.push(done);
                            drop(sends.swap_remove(at));
                        }
                    }
                    6 if !sends.is_empty() => {
                        let at = rng.below(sends.len() as u64) as usize;
                        match rng.below(3) {
                            0 => Pin::new(&mut sends[at]).request_cancel(),
                            _ => drop(sends.swap_remove(at)),
                        }
                    }
                    7 => drop(reader.read(rng.below(100_000) as usize)),
                    8 => {
                        if let Some(done) = sent.last_mut() {
                            drop(done.next());
                        }
                        sent.truncate(rng.below(3) as usize);
                    }
                    _ => yield_now().await,
                }
                sends.truncate(4);
            }
            drop(sends);
            sent.clear();
            while !queue.is_empty() {
                let mut send = ops::send_queued(&b, &queue);
                while poll_once(&mut send).is_pending() {
                    reader.read(usize::MAX);
                    yield_now().await;
                }
            }
            reader.read(usize::MAX);
            assert_eq!(reader.read, pushed, "every byte, once and in order");
            settle().await;
            assert_eq!((there.load(Ordering::Relaxed), queue.is_full()), (0, false));
            Outcome::Ok(())
        })?;
        assert_eq!((runtime.stats().nodes, runtime.stats().orphans), (0, 0));
    }
    Ok(())
}

/// The same of what is filled: in the end every buffer is in the queue, or with who has taken it.
#[test]
fn a_storm_of_receives_loses_no_byte_and_no_buffer() -> Outcome {
    let rounds = rounds(100_000);
    for runtime in receivers() {
        let there = Arc::new(AtomicUsize::new(0));
        let mut rng = Rng::from_env();
        runtime.block_on(async {
            let (mut a, b) = pair()?;
            let queue = BufQueue::<Counted, ToFill>::to_fill(6)?;
            for room in [1, 3, 9, 20] {
                assert!(queue.push(Counted::new(vec![0; room], &there)).is_ok());
            }
            let (mut written, mut got) = (0, 0);
            let mut check = |bytes: &[u8]| {
                for byte in bytes {
                    assert_eq!(*byte, pattern(got), "byte {got}");
                    got += 1;
                }
                got
            };
            let mut taken = Vec::new();
            for _ in 0..rounds / 10 {
                let mut single = ops::recv_pooled(&b, &queue);
                let mut results = ops::recv_multishot(&b, &queue).backlog(2);
                let mut bundles = ops::recv_multishot(&b, &queue).bundled();
                let which = rng.below(3);
                for _ in 0..rng.below(5) {
                    if written - check(&[]) < 500 {
                        let len = rng.below(30) as usize;
                        a.write_all(&piece(written, len))?;
                        written += len;
                    }
                    if rng.below(2) == 0 {
                        settle().await;
                    }
                    match which {
                        0 => {
                            if let Poll::Ready(buf) = poll_once(&mut single) {
                                check(&buf?);
                                break;
                            }
                        }
                        1 => {
                            if let Poll::Ready(ControlFlow::Continue(buf)) = look(&mut results) {
                                if rng.below(4) == 0 {
                                    results.give_back(buf);
                                    break;
                                }
                                check(&buf);
                                taken.extend(buf.into_buffer());
                            }
                        }
                        _ => {
                            if let Poll::Ready(ControlFlow::Continue(bundle)) = look(&mut bundles) {
                                bundle.for_each(|buf| assert!(check(&buf) <= written));
                            }
                        }
                    }
                    if rng.below(3) == 0 {
                        taken.drain(..).for_each(|buf| assert!(queue.push(buf).is_ok()));
                    }
                }
                drop((single, results, bundles));
                taken.drain(..).for_each(|buf| assert!(queue.push(buf).is_ok()));
            }
            while check(&[]) < written {
                check(&ops::recv_pooled(&b, &queue).await?);
            }
            settle().await;
            assert_eq!((queue.len(), queue.disowned(), there.load(Ordering::Relaxed)), (4, 0, 4));
            let mut rooms: Vec<_> = queue
                .into_buffers()
                .map_err(|_| "somebody has it")?
                .iter()
                .map(|buf| buf.capacity())
                .collect();
            rooms.sort_unstable();
            assert_eq!(rooms, [1, 3, 9, 20]);
            Outcome::Ok(())
        })?;
        assert_eq!((runtime.stats().nodes, runtime.stats().orphans), (0, 0));
        assert_eq!(there.load(Ordering::Relaxed), 0);
    }
    Ok(())
}

/// In a race, or with a deadline: what was not sent is there for the next.
#[test]
fn a_send_that_ran_out_of_time_is_gone_on_with() -> Outcome {
    for runtime in senders() {
        runtime.block_on(async {
            let (a, b) = pair()?;
            let mut reader = Reader::new(a)?;
            let queue: BufQueue<_, ToSend> = BufQueue::to_send(4)?;
            (0..4).try_for_each(|at| queue.push(piece(at * 100_003, 100_003)))?;
            let late = time::timeout(Duration::from_millis(5), ops::send_queued(&b, &queue)).await;
            if let Ok(outcome) = late {
                let (_, sent) = outcome.into_result()?;
                assert!(sent.bytes() < 400_012);
            }
            assert!(!queue.is_empty());
            let rest = spawn({
                let queue = queue.clone();
                async move {
                    while !queue.is_empty() {
                        ops::send_queued(&b, &queue).await.0?;
                    }
                    io::Result::Ok(())
                }
            });
            while reader.read < 400_012 {
                reader.read(usize::MAX);
                yield_now().await;
            }
            rest.await??;
            Outcome::Ok(())
        })?;
    }
    Ok(())
}
