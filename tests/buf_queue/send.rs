//! Sending from a queue: everything, in order, to the byte, whatever becomes of the op.
//!
//! Knows: `send_queued`, the other end of a stream. Does not know: how the kernel takes buffers.

use std::io::{self, ErrorKind, Read, Write};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millstream::ops::{self, BufPool, BufQueue, IntoResult, PoolBuf, ToSend};
use millstream::{Operation, Runtime, spawn, time, yield_now};

use crate::harness::rounds;
use crate::support::{Counted, Outcome, Reader, pair, pattern, piece, poll_once, senders, settle};

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

/// Buffers without a byte come back with a send that has nothing else to send.
#[test]
fn of_nothing_the_buffers_come_back() -> Outcome {
    for runtime in senders() {
        runtime.block_on(async {
            let (_a, b) = pair()?;
            let queue = BufQueue::to_send(3)?;
            (0..3).try_for_each(|_| queue.push(Vec::new()))?;
            let (n, sent) = ops::send_queued(&b, &queue).await;
            assert_eq!((n?, sent.len(), queue.len()), (0, 3, 0));
            let (n, sent) = ops::send_queued(&b, &queue).await;
            assert_eq!((n?, sent.len()), (0, 0));
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
    const BUFFERS: usize = 2_000; // several bundles; a kernel without them makes a send of each
    Runtime::new()?.block_on(async {
        for wrong in [0, 32_769, usize::MAX] {
            let to_send = BufQueue::<Vec<u8>>::to_send(wrong).expect_err("out of bounds");
            let to_fill = BufQueue::<Vec<u8>, _>::to_fill(wrong).expect_err("out of bounds");
            assert_eq!([to_send.kind(), to_fill.kind()], [ErrorKind::InvalidInput; 2]);
        }
        let (a, b) = pair()?;
        let mut reader = Reader::new(a)?;
        let queue = BufQueue::to_send(32_768)?;
        assert_eq!(queue.capacity(), 32_768);
        (0..BUFFERS).try_for_each(|at| queue.push([pattern(at)]))?;
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
        assert_eq!(reader.read, BUFFERS);
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
            let (all, mut written) = (piece(0, 200_000), 0);
            let mut reader = Reader::new(a.try_clone()?)?;
            while reader.read < all.len() {
                let end = all.len().min(written + 5000);
                written += (&a).write(&all[written..end]).unwrap_or(0);
                reader.read(3000);
                settle().await;
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
