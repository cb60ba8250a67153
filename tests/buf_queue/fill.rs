//! Receiving and reading into a queue's buffers: in order, as they are, and back where they belong.
//!
//! Knows: receives and reads from a queue. Does not know: how the kernel takes buffers.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::ControlFlow;

use millstream::combinators::ResultsExt;
use millstream::ops::{self, BufQueue, Fd, QueueBuf};
use millstream::{Results, Runtime, channel, spawn};

use crate::harness::rounds;
use crate::support::{Outcome, look, pair, pattern, piece, poll_once, receivers, settle};

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
        // Two receives, or one that fills both: as the kernel can.
        let mut got: Vec<_> = ops::recv_pooled(&b, &queue).bundled().await?.collect();
        if got.len() == 1 {
            got.extend(ops::recv_pooled(&b, &queue).bundled().await?);
        }
        assert_eq!(got.iter().flat_map(|buf| buf.iter().copied()).collect::<Vec<_>>(), b"ryeoats");
        let arrays: Vec<_> = got.into_iter().filter_map(QueueBuf::into_buffer).collect();
        assert_eq!(arrays, [*b"ryeo", *b"ats\x01"]); // what nobody wrote to is as it was
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

/// What is left in a bundle that is dropped goes back to the queue.
#[test]
fn a_bundle_that_is_dropped_gives_its_buffers_back() -> Outcome {
    for runtime in receivers() {
        runtime.block_on(async {
            let (mut a, b) = pair()?;
            let queue = BufQueue::to_fill(4)?;
            (0..4).try_for_each(|_| queue.push(vec![0; 3]))?;
            for taken in 0..4 {
                a.write_all(&piece(0, 12))?;
                let mut left = 12;
                while left > 0 {
                    let mut bundle = ops::recv_pooled(&b, &queue).bundled().await?;
                    left -= bundle.len();
                    let kept: Vec<_> = bundle.by_ref().take(taken).collect();
                    drop(bundle);
                    assert_eq!(queue.len() + kept.len(), 4);
                }
                assert_eq!((queue.len(), queue.disowned()), (4, 0));
            }
            assert_eq!(queue.into_buffers().expect("nobody else has it").len(), 4);
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
        settle().await; // before this thread blocks: the word of the close is put off to the end of a poll
        writer.join().expect("no panic")?;
        let (seen, taken) = others.join().expect("no panic");
        assert_eq!((seen, queue.len() + taken, queue.disowned()), (rounds, 2, 0));
        Ok(())
    })
}
