//! Everything that can be done to queues, by chance.
//!
//! Knows: how to begin, poll, stop and drop. Does not know: what any of it does.

use std::io::Write;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use millstream::ops::requests::SendQueued;
use millstream::ops::{self, Buf, BufQueue, ToFill};
use millstream::{Operation, Results, yield_now};

use crate::harness::{Rng, rounds};
use crate::support::{
    Counted, Outcome, Reader, look, pair, pattern, piece, poll_once, receivers, senders, settle,
};

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
            for _ in 0..rounds / 4 {
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
