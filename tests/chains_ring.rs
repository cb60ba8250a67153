//! Chains of real ops, what breaks them and what does not, over one buffer and over several; and that one chain is none of
//! another's business.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes; their number is asked for.

mod support;

use std::fs::{self, File};
use std::future::poll_fn;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use millstream::combinators::{
    OneOf2, OperationExt, RingOperationExt, adapters, hard_link, link, when_all, when_any,
};
use millstream::ops::{self, BufExt, ChainTooLong, Fd, Relay};
use millstream::{Operation, Runtime, spawn, time, yield_now};
use support::{Rng, TempDir, Watchdog};

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

fn runtime() -> Runtime {
    Runtime::new().expect("a ring")
}

fn assert_idle(runtime: &Runtime) {
    assert_eq!(runtime.stats().nodes, 0);
}

#[track_caller]
fn assert_broken<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.expect_err("its chain is broken").raw_os_error(), Some(libc::ECANCELED));
}

/// A pipe whose ends ops take, with what is in it already.
fn pipe(content: &[u8]) -> (Fd, Fd) {
    let (reader, mut writer) = io::pipe().expect("descriptors are there");
    writer.write_all(content).expect("room");
    (reader.into(), writer.into())
}

/// A pipe whose reader is ours.
fn sink() -> (PipeReader, Fd) {
    let (reader, writer) = io::pipe().expect("descriptors are there");
    (reader, writer.into())
}

/// Everything that was written to a sink whose last writer is this one.
fn drained(mut reader: PipeReader, writer: Fd) -> Vec<u8> {
    drop(writer);
    let mut found = Vec::new();
    reader.read_to_end(&mut found).expect("a pipe");
    found
}

/// Polls once, and says whether it is pending.
async fn starts<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
}

#[test]
fn a_relay_is_filled_and_written_in_one_submission() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        let file = ops::open("Cargo.toml").await.expect("it is there");
        let expected = fs::read("Cargo.toml").expect("it is there");
        let (reader, writer) = sink();
        let mut relay = Relay::new(vec![b'-'; 100]);
        time::sleep(Duration::from_millis(2)).await; // it sleeps once, so the read that wakes it is in the ring already
        for block in 0..3 {
            let before = runtime.stats();
            let taken = relay.take();
            let ((read, filled), (written, taken)) =
                (ops::read(&file, relay).at(block * 100) >> ops::write(&writer, taken)).await;
            assert_eq!((read.expect("a file"), written.expect("a pipe")), (100, 100));
            assert_eq!(runtime.stats().submitted - before.submitted, 2);
            assert_eq!(filled[..], expected[block as usize * 100..][..100]);
            relay = filled.try_into_inner().expect_err("the take that came back is a hold");
            drop(taken);
        }
        assert_eq!(relay.try_into_inner().expect("the only hold").len(), 100);
        assert_eq!(drained(reader, writer), expected[..300]);
    });
    assert_idle(&runtime);
}

#[test]
fn one_read_and_several_writes_of_parts() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        let (from, _writer) = pipe(b"0123456789");
        let ((reader_a, a), (reader_b, b)) = (sink(), sink());
        let relay = Relay::new([b'-'; 16]);
        let (front, back, all) =
            (relay.take().slice(2..6), relay.take().slice(6..12), relay.take().slice(2..12));
        let chain = ops::read(from, relay.slice(2..12))
            >> ops::write(&a, front)
            >> ops::write(&b, all)
            >> ops::write(&a, back);
        let ((read, relay), (one, _), (two, _), (three, _)) = chain.await;
        assert_eq!(
            (read.expect("there"), one.expect("room"), two.expect("room"), three.expect("room")),
            (10, 4, 10, 6)
        );
        assert_eq!(&relay.into_inner()[..], b"--0123456789----");
        assert_eq!(drained(reader_a, a), b"0123456789");
        assert_eq!(drained(reader_b, b), b"0123456789");
    });
    assert_idle(&runtime);
}

#[test]
fn a_short_read_breaks_a_chain_and_nothing_stale_is_written() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        for content in [&b"short"[..], b""] {
            let (from, gone) = pipe(content);
            drop(gone); // an empty pipe without a writer is at its end
            let (reader, to) = sink();
            let relay = Relay::new(*b"stale stale");
            let taken = relay.take();
            let ((read, relay), (written, taken)) = (ops::read(from, relay) >> ops::write(&to, taken)).await;
            assert_eq!(read.expect("no error"), content.len());
            assert_broken(written);
            drop(taken);
            // What was read is there to be written.
            let rest = ops::write_all(&to, relay.slice(..content.len())).await;
            assert_eq!(rest.0.expect("room"), content.len());
            assert_eq!(drained(reader, to), content);
        }
        // Of a file at its end.
        let file = ops::open("Cargo.toml").await.expect("it is there");
        let end = fs::metadata("Cargo.toml").expect("it is there").len();
        for (at, short) in [(0, false), (end - 8, false), (end - 7, true), (end + 1, true)] {
            let (read, next) = (ops::read(&file, [0; 8]).at(at) >> ops::nop()).await;
            assert_eq!((read.0.expect("no error") < 8, next.is_err()), (short, short));
        }
    });
    assert_idle(&runtime);
}

#[test]
fn a_short_receive_breaks_a_chain_only_if_it_was_to_wait_for_all() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        let socket = |content: &[u8]| {
            let (ours, mut theirs) = UnixStream::pair().expect("descriptors are there");
            theirs.write_all(content).expect("room");
            Fd::from(ours) // and the other side goes
        };
        let ((n, _), next) = (ops::recv(socket(b"abc"), [0; 8]) >> ops::nop()).await;
        assert_eq!(n.expect("no error"), 3);
        next.expect("a short receive is a success");
        let ((n, _), next) = (ops::recv(socket(b"abc"), [0; 8]).flags(libc::MSG_WAITALL) >> ops::nop()).await;
        assert_eq!(n.expect("no error"), 3);
        assert_broken(next);
        let ((n, _), next) =
            (ops::recv(socket(b"abcdefgh"), [0; 8]).flags(libc::MSG_WAITALL) >> ops::nop()).await;
        assert_eq!(n.expect("no error"), 8);
        next.expect("nothing was short");
        // The end of the stream is the shortest there is.
        (ops::recv(socket(b""), [0; 8]) >> ops::nop()).await.1.expect("no failure");
        assert_broken((ops::recv(socket(b""), [0; 8]).flags(libc::MSG_WAITALL) >> ops::nop()).await.1);
        // Over one buffer that means: a chain that receives waits for all, or sends what it did not receive.
        let (reader, to) = sink();
        let relay = Relay::new([b'-'; 8]);
        let taken = relay.take();
        let ((n, _), (written, _)) =
            (ops::recv(socket(b"abc"), relay).flags(libc::MSG_WAITALL) >> ops::write(&to, taken)).await;
        assert_eq!(n.expect("no error"), 3);
        assert_broken(written);
        assert_eq!(drained(reader, to), b"");
    });
    assert_idle(&runtime);
}

#[test]
fn what_else_fails_and_breaks_no_chain() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        let (missing, next) = (ops::statx("/no/such/file") >> ops::nop()).await;
        assert!(missing.is_err());
        next.expect("the kernel goes on after a statx");
        let (synced, next) = (ops::fsync(pipe(b"").0) >> ops::nop()).await;
        assert!(synced.is_err());
        next.expect("and after an fsync");
        let (waited, next) = (ops::timeout(Duration::from_micros(10)) >> ops::nop()).await;
        waited.expect("the time has passed");
        next.expect("which is a success");
        // A short send: the socket is full, and does not wait.
        let (ours, _theirs) = UnixStream::pair().expect("descriptors are there");
        ours.set_nonblocking(true).expect("a socket");
        let ((n, _), next) =
            (ops::send(Fd::from(ours), vec![1; 1 << 22]).flags(libc::MSG_DONTWAIT) >> ops::nop()).await;
        assert!(n.expect("some of it") < 1 << 22);
        next.expect("a short send is a success");
    });
    assert_idle(&runtime);
}

#[test]
fn a_short_write_breaks_a_chain() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        let (reader, writer) = io::pipe().expect("descriptors are there");
        // Opened anew, so that it does not wait.
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let writer = ops::open(path).flags(libc::O_WRONLY | libc::O_NONBLOCK).await.expect("our own");
        let ((n, _), next) = (ops::write(&writer, vec![1; 1 << 20]) >> ops::nop()).await;
        let n = n.expect("some of it");
        assert!(n < 1 << 20, "a pipe does not hold a megabyte");
        assert_broken(next);
        drop(reader);
    });
    assert_idle(&runtime);
}

#[test]
fn a_hard_link_goes_on_whatever_is_short() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        let (from, gone) = pipe(b"12345");
        drop(gone);
        let (reader, to) = sink();
        let relay = Relay::new([b'-'; 8]);
        let taken = relay.take();
        let ((read, _), (written, _), last) =
            hard_link((ops::read(from, relay), ops::write(&to, taken), ops::nop())).await;
        assert_eq!((read.expect("short"), written.expect("room")), (5, 8));
        last.expect("it goes on");
        // Which is why one buffer and a hard link need a look at how much was read.
        assert_eq!(drained(reader, to), b"12345---");
    });
    assert_idle(&runtime);
}

#[test]
fn a_drain_inside_holds_the_whole_chain_back() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        for place in 0..3 {
            let (from, mut feed) = io::pipe().expect("descriptors are there");
            let (reader, to) = sink();
            let mut before = ops::read(Fd::from(from), [0; 4]);
            assert!(starts(&mut before).await);
            time::sleep(Duration::from_millis(1)).await; // it is in flight, and waits
            let mut members =
                [ops::write(&to, "one "), ops::write(&to, "two "), ops::write(&to, "three")].map(Some);
            if let Some(member) = members[place].take() {
                members[place] = Some(member.drain());
            }
            let mut chain = Box::pin(link(members.map(|member| member.expect("put back"))));
            assert!(starts(&mut chain).await);
            for _ in 0..10 {
                time::sleep(Duration::from_millis(1)).await;
                assert!(starts(&mut chain).await, "the drain waits for the read before it");
            }
            feed.write_all(b"food").expect("room");
            let outputs = chain.await;
            assert!(outputs.iter().all(|(n, _)| n.is_ok()), "{outputs:?}");
            assert_eq!(before.await.0.expect("fed"), 4);
            assert_eq!(drained(reader, to), b"one two three");
        }
    });
    assert_idle(&runtime);
}

#[test]
fn chains_inside_when_all_are_chains_of_their_own() {
    let _watchdog = watchdog();
    let runtime = runtime();
    let root = TempDir::new();
    let content: Vec<u8> = (0..64 * 256_u32).map(|n| (n / 256) as u8).collect();
    fs::write(root.join("from"), &content).expect("room");
    runtime.block_on(async {
        let from = ops::open(root.join("from")).await.expect("it is there");
        let to = Fd::from(File::create(root.join("to")).expect("room"));
        let chains = (0..65_u64).map(|block| {
            let relay = Relay::new([0_u8; 256]);
            let taken = relay.take();
            ops::read(&from, relay).at(block * 256) >> ops::write(&to, taken).at(block * 256)
        });
        let outcomes = when_all(chains).await;
        for (block, ((read, _), (written, _))) in outcomes.into_iter().enumerate() {
            if block < 64 {
                assert_eq!((read.expect("a file"), written.expect("room")), (256, 256));
            } else {
                assert_eq!(read.expect("the end"), 0);
                assert_broken(written);
            }
        }
        assert_eq!(fs::read(root.join("to")).expect("there"), content);
        // A chain that breaks, beside one that does not, beside an op.
        let broken = ops::open("/no/such/file") >> ops::nop();
        let ((opened, cut), (one, two), alone) = (broken & (ops::nop() >> ops::nop()) & ops::nop()).await;
        assert!(opened.is_err());
        assert_broken(cut);
        assert!(one.is_ok() && two.is_ok() && alone.is_ok());
    });
    assert_idle(&runtime);
}

#[test]
fn a_chain_longer_than_the_queue_is_refused_before_anything_is_queued() {
    let _watchdog = watchdog();
    let runtime = Runtime::builder().sq_entries(4).cq_entries(16).build().expect("a ring");
    runtime.block_on(async {
        let (from, _writer) = pipe(b"0123456789");
        let (reader, to) = sink();
        let submitted = runtime.stats().submitted;
        let relay = Relay::new([b'-'; 10]);
        let writes: Vec<_> = (0..4).map(|_| ops::write(&to, relay.take())).collect();
        let ((read, relay), written) = (ops::read(&from, relay) >> link(writes)).await;
        let refused = read.expect_err("five do not fit into four");
        let reason = refused.get_ref().and_then(|source| source.downcast_ref::<ChainTooLong>());
        assert_eq!(reason, Some(&ChainTooLong { entries: 5, capacity: 4 }));
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert!(refused.to_string().contains("chain of 5 ops does not fit"), "{refused}");
        for (written, _) in written {
            assert_eq!(written.expect_err("as above").to_string(), refused.to_string());
        }
        assert_eq!(relay.try_into_inner().expect("every hold came back"), [b'-'; 10]);
        assert_eq!(runtime.stats().submitted, submitted, "nothing was queued");
        // One that fits is whole, and finds the bytes where they were.
        let relay = Relay::new([b'-'; 10]);
        let writes: Vec<_> = (0..3).map(|_| ops::write(&to, relay.take())).collect();
        let (_, written) = (ops::read(&from, relay) >> link(writes)).await;
        assert!(written.iter().all(|(n, _)| matches!(n, Ok(10))));
        assert_eq!(drained(reader, to), b"012345678901234567890123456789");
    });
    assert_idle(&runtime);
}

#[test]
fn a_cancel_of_one_chain_touches_no_other() {
    let _watchdog = watchdog();
    let runtime = Runtime::builder().sq_entries(32).cq_entries(64).build().expect("a ring");
    runtime.block_on(async {
        for round in 0..50 {
            let (reader, to) = sink();
            let chain = |to: &Fd| {
                let (from, feed) = io::pipe().expect("descriptors are there");
                let relay = Relay::new([b'-'; 4]);
                let taken = relay.take();
                (feed, Box::pin(ops::read(Fd::from(from), relay) >> ops::write(to, taken) >> ops::nop()))
            };
            let (mut feed_first, mut first) = chain(&to);
            let (_feed_stopped, mut stopped) = chain(&to);
            let (_feed_late, late) = chain(&to);
            let (_feed_dropped, mut dropped) = chain(&to);
            let (mut feed_last, mut last) = chain(&to);
            for chain in [&mut first, &mut stopped, &mut dropped, &mut last] {
                assert!(starts(chain).await);
            }
            if round % 2 == 0 {
                time::sleep(Duration::from_micros(300)).await; // the kernel has them; else they are queued
            }
            stopped.as_mut().request_cancel();
            drop(dropped);
            let ((read, _), (written, _), end) =
                late.timeout(Duration::from_micros(100)).await.expect_err("nobody feeds it").into_outcome();
            assert_broken(read);
            assert_broken(written);
            assert_broken(end);
            let ((read, _), (written, _), end) = stopped.await;
            assert_broken(read);
            assert_broken(written);
            assert_broken(end);
            assert!(starts(&mut first).await && starts(&mut last).await, "they wait for food");
            feed_last.write_all(b"last").expect("its chain reads");
            let ((read, _), (written, _), end) = last.await;
            assert_eq!((read.expect("fed"), written.expect("room")), (4, 4));
            end.expect("the chain is whole");
            feed_first.write_all(b"1st.").expect("its chain reads");
            let ((read, _), (written, _), end) = first.await;
            assert_eq!((read.expect("fed"), written.expect("room")), (4, 4));
            end.expect("the chain is whole");
            while runtime.stats().nodes > 0 {
                time::sleep(Duration::from_micros(100)).await;
            }
            assert_eq!(drained(reader, to), b"last1st.");
        }
    });
    assert_idle(&runtime);
}

#[test]
fn the_chains_of_many_tasks_end_each_for_itself() {
    let _watchdog = watchdog();
    let runtime = Runtime::builder().sq_entries(8).cq_entries(64).build().expect("a ring");
    let mut rng = Rng::from_env();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..24 {
            let mut rng = Rng::new(rng.next_u64());
            tasks.push(spawn(async move {
                for _ in 0..40 {
                    let (from, feed) = io::pipe().expect("descriptors are there");
                    let (reader, to) = sink();
                    let relay = Relay::new([b'?'; 6]);
                    let taken = relay.take();
                    let chain = ops::read(Fd::from(from), relay) >> ops::write(&to, taken);
                    let mut feed = Some(feed);
                    let mut eat = |bytes: &[u8]| drop(feed.take().expect("once").write_all(bytes));
                    match rng.below(4) {
                        0 => {
                            eat(b"bread!");
                            let ((read, _), (written, _)) = chain.await;
                            assert_eq!((read.expect("fed"), written.expect("room")), (6, 6));
                            assert_eq!(drained(reader, to), b"bread!");
                        }
                        1 => {
                            eat(b"bun");
                            let ((read, _), (written, _)) = chain.await;
                            assert_eq!(read.expect("fed"), 3);
                            assert_broken(written);
                            assert_eq!(drained(reader, to), b"");
                        }
                        2 => {
                            let span = Duration::from_micros(rng.below(200));
                            let late = chain.timeout(span).await.expect_err("nobody feeds it");
                            let ((read, relay), (written, _)) = late.into_outcome();
                            assert_broken(read);
                            assert_broken(written);
                            assert_eq!(&relay[..], b"??????");
                            assert_eq!(drained(reader, to), b"");
                        }
                        _ => {
                            let mut chain = Box::pin(chain);
                            assert!(starts(&mut chain).await);
                            if rng.one_in(2) {
                                yield_now().await;
                            }
                            drop(chain);
                        }
                    }
                }
            }));
        }
        for task in tasks {
            task.await.expect("no assertion failed");
        }
    });
    while runtime.stats().nodes > 0 {
        runtime.block_on(time::sleep(Duration::from_micros(200)));
    }
}

/// Its first member has completed, its second never will: what the first had read is the next read's.
#[test]
fn what_a_chain_had_read_that_loses_or_is_dropped_is_there_for_the_next_read() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        for dropped in [false, true] {
            let ((source, _sink), (quiet, _quiet_sink)) = (pipe(b"read by the chain"), pipe(b""));
            {
                let chain = ops::read(&source, vec![0; 4]) >> ops::read(&quiet, vec![0; 1]);
                if dropped {
                    let mut chain = Box::pin(chain);
                    assert!(starts(&mut chain).await);
                    time::sleep(Duration::from_millis(5)).await;
                    assert!(starts(&mut chain).await, "the second read waits");
                } else {
                    // Polled in between, so that it could have taken what has come.
                    let ticks = async {
                        for _ in 0..5 {
                            time::sleep(Duration::from_millis(1)).await;
                        }
                    };
                    assert!(matches!(when_any((chain, adapters::future(ticks))).await, OneOf2::B(Ok(()))));
                }
            }
            let (read, buf) = ops::read(&source, vec![0; 64]).await;
            assert_eq!(&buf[..read.unwrap()], b"read", "dropped: {dropped}");
            let (read, buf) = ops::read(&source, vec![0; 64]).await;
            assert_eq!(&buf[..read.unwrap()], b" by the chain");
        }
    });
}
