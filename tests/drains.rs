//! Drains: what is before one ends before it starts, and what is after it starts when it has ended. Kept by the kernel, and
//! kept by the runtime, as it does on old kernels that lose count of requests by the notifications of zero-copy sends.

mod support;

use std::future::{Future, poll_fn};
use std::io::{self, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use millstream::combinators::{OneOf2, OperationExt, RingOperationExt, link, when_all};
use millstream::ops::{self, Fd, Feature, IntoResult};
use millstream::runtime::Builder;
use millstream::{Operation, Runtime, channel, race, spawn, time};
use support::{Watchdog, kernel_has, skip};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Who waits for what is before a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Kernel,
    Runtime,
}

/// Runs the test both ways, each on a runtime of its own, and looks whether everything came back.
fn both_ways(test: impl AsyncFn(By) -> Outcome) -> Outcome {
    on(Runtime::builder, test)
}

fn on(builder: impl Fn() -> Builder, test: impl AsyncFn(By) -> Outcome) -> Outcome {
    for by in [By::Kernel, By::Runtime] {
        let Some(runtime) = begin(builder(), by)? else { continue };
        let _watchdog = Watchdog::new(Duration::from_secs(60));
        runtime.block_on(test(by)).map_err(|error| format!("by the {by:?}: {error}"))?;
        let stats = runtime.stats();
        assert_eq!(stats.nodes, 0, "by the {by:?}: {stats:?}");
    }
    Ok(())
}

/// A runtime whose drains are kept so. `None`, said aloud: not with this kernel.
fn begin(builder: Builder, by: By) -> Result<Option<Runtime>, Box<dyn std::error::Error>> {
    if by == By::Kernel {
        return Ok(Some(builder.build()?));
    }
    if !kernel_has(io_uring::opcode::SendZc::CODE) {
        skip("this kernel makes no notifications, so the runtime never keeps a drain");
        return Ok(None);
    }
    let runtime = builder.without_features(Feature::DrainBesideZeroCopy.bit()).build()?;
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        assert_eq!(ops::send_zc(&ours, "notified").await.into_result()?.0, 8);
        peer.read_exact(&mut [0; 8])
    })?;
    Ok(Some(runtime))
}

fn tcp() -> io::Result<(Fd, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    Ok((Fd::from(ours), listener.accept()?.0))
}

fn pipe() -> io::Result<(Fd, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((Fd::from(OwnedFd::from(reader)), writer))
}

/// Polls it once, which queues it.
async fn start<F: Future + Unpin>(future: &mut F) {
    poll_fn(|cx| {
        assert!(Pin::new(&mut *future).poll(cx).is_pending(), "it has resolved already");
        Poll::Ready(())
    })
    .await;
}

/// Long enough for whatever can happen to happen.
async fn a_while() {
    time::sleep(Duration::from_millis(5)).await;
}

fn nothing_to_read(seen: &TcpStream) -> io::Result<bool> {
    seen.set_nonblocking(true)?;
    let peeked = seen.peek(&mut [0; 1]);
    seen.set_nonblocking(false)?;
    match peeked {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        peeked => peeked.map(|bytes| bytes == 0),
    }
}

#[test]
fn it_starts_when_what_is_before_it_has_ended_and_what_is_after_it_then() -> Outcome {
    both_ways(async |_| {
        let (slow, mut slow_tx) = pipe()?;
        let (out, mut seen) = tcp()?;
        let mut before = ops::read(slow, [0; 1]);
        let mut drained = ops::write(&out, "d").drain();
        start(&mut before).await;
        start(&mut drained).await;
        let after = spawn(ops::write(out, "a"));
        a_while().await;
        assert!(nothing_to_read(&seen)?, "nothing of it starts");
        slow_tx.write_all(b"x")?;
        assert_eq!(before.await.into_result()?.0, 1);
        assert_eq!(drained.await.into_result()?.0, 1);
        after.await?.into_result()?;
        let mut order = String::new();
        seen.read_to_string(&mut order)?;
        assert_eq!(order, "da");
        Ok(())
    })
}

#[test]
fn nothing_before_it_and_it_starts_at_once() -> Outcome {
    both_ways(async |_| {
        for _ in 0..10 {
            ops::nop().drain().await?;
            (ops::nop() >> ops::nop().drain()).await.1?;
        }
        Ok(())
    })
}

#[test]
fn a_row_of_them_goes_in_order() -> Outcome {
    both_ways(async |_| {
        let (out, mut seen) = tcp()?;
        for round in 0..20 {
            let write = |text: &'static str| ops::write(&out, text);
            let writes = when_all((
                write("1"),
                write("2").drain(),
                write("3").drain(),
                write("4").always_async(),
                write("5").drain(),
                write("6"),
            ));
            let (one, two, three, four, five, six) = writes.await;
            for written in [one, two, three, four, five, six] {
                assert_eq!(written.into_result()?.0, 1);
            }
            let mut order = [0; 6];
            seen.read_exact(&mut order)?;
            assert_eq!(&order, b"123456", "round {round}");
        }
        Ok(())
    })
}

#[test]
fn a_chain_waits_and_holds_back_as_a_whole() -> Outcome {
    both_ways(async |_| {
        let (slow, mut slow_tx) = pipe()?;
        let (held, mut held_tx) = pipe()?;
        let (out, mut seen) = tcp()?;
        let mut before = ops::read(slow, [0; 1]);
        start(&mut before).await;
        let mut chain = link((ops::write(&out, "1"), ops::read(held, [0; 1]), ops::write(&out, "2").drain()));
        start(&mut chain).await;
        let after = spawn(ops::write(out, "3"));
        a_while().await;
        assert!(nothing_to_read(&seen)?, "its first member waits, although the last one drains");
        slow_tx.write_all(b"x")?;
        before.await.into_result()?;
        a_while().await;
        let mut first = [0; 1];
        seen.read_exact(&mut first)?;
        assert_eq!(&first, b"1");
        a_while().await;
        assert!(nothing_to_read(&seen)?, "the chain has not ended");
        held_tx.write_all(b"y")?;
        let (one, two, three) = chain.await;
        one.into_result()?;
        two.into_result()?;
        three.into_result()?;
        after.await?.into_result()?;
        let mut order = String::new();
        seen.read_to_string(&mut order)?;
        assert_eq!(order, "23");
        Ok(())
    })
}

/// Dropped while it waits, what comes after it starts when what was before has ended. The kernel finds one only when it has
/// begun; one that is kept here does nothing.
#[test]
fn dropped_while_it_waits_it_lets_others_on() -> Outcome {
    both_ways(async |by| {
        let (slow, mut slow_tx) = pipe()?;
        let (out, mut seen) = tcp()?;
        let mut before = ops::read(slow, [0; 1]);
        let mut drained = ops::write(&out, "d").drain();
        start(&mut before).await;
        start(&mut drained).await;
        let after = spawn(ops::write(out, "a"));
        a_while().await;
        drop(drained);
        a_while().await;
        slow_tx.write_all(b"x")?;
        before.await.into_result()?;
        after.await?.into_result()?;
        let mut order = String::new();
        seen.read_to_string(&mut order)?;
        assert!(order == "a" || by == By::Kernel && order == "da", "{order:?}");
        Ok(())
    })
}

#[test]
fn asked_to_stop_while_it_waits_it_says_whether_it_ran() -> Outcome {
    both_ways(async |by| {
        let (slow, mut slow_tx) = pipe()?;
        let (out, seen) = tcp()?;
        let mut before = ops::read(slow, [0; 1]);
        let mut drained = ops::write(out, "d").drain();
        start(&mut before).await;
        start(&mut drained).await;
        a_while().await;
        Pin::new(&mut drained).request_cancel();
        a_while().await;
        slow_tx.write_all(b"x")?;
        match drained.await.0 {
            Ok(written) => assert!((by, written, nothing_to_read(&seen)?) == (By::Kernel, 1, false)),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
                assert!(nothing_to_read(&seen)?);
            }
        }
        before.await.into_result()?;
        ops::nop().await?;
        Ok(())
    })
}

#[test]
fn what_it_waits_for_can_be_stopped_and_dropped() -> Outcome {
    both_ways(async |_| {
        for drop_it in [false, true] {
            let (slow, _slow_tx) = pipe()?;
            let mut before = ops::read(slow, [0; 1]);
            let mut drained = ops::nop().drain();
            start(&mut before).await;
            start(&mut drained).await;
            a_while().await;
            if drop_it {
                drop(before);
            } else {
                Pin::new(&mut before).request_cancel();
                assert!(before.await.0.is_err());
            }
            drained.await?;
        }
        Ok(())
    })
}

/// The thread sleeps meanwhile, and is woken by another one, and by its own timers.
#[test]
fn a_sleeping_runtime_is_woken_while_one_waits() -> Outcome {
    on(
        || Runtime::builder().no_spin(),
        async |_| {
            let (slow, mut slow_tx) = pipe()?;
            let mut before = ops::read(slow, [0; 1]);
            let mut drained = ops::nop().drain();
            start(&mut before).await;
            start(&mut drained).await;
            let (tx, rx) = channel::bounded(1);
            let pusher = thread::spawn(move || {
                for i in 0..20 {
                    thread::sleep(Duration::from_millis(1));
                    tx.push_blocking(i).expect("somebody pops");
                }
                slow_tx.write_all(b"x")
            });
            for i in 0..20 {
                assert_eq!(rx.pop().await?, i);
                time::sleep(Duration::from_micros(300)).await;
            }
            before.await.into_result()?;
            drained.await?;
            pusher.join().expect("no panic")?;
            Ok(())
        },
    )
}

/// A task that never rests keeps the loop from sleeping, not from submitting what has waited.
#[test]
fn a_busy_task_does_not_keep_it_waiting() -> Outcome {
    both_ways(async |_| {
        let (slow, mut slow_tx) = pipe()?;
        let mut before = ops::read(slow, [0; 1]);
        let mut drained = ops::nop().drain();
        start(&mut before).await;
        start(&mut drained).await;
        let busy = spawn(async {
            loop {
                millstream::yield_now().await;
            }
        });
        a_while().await;
        slow_tx.write_all(b"x")?;
        before.await.into_result()?;
        drained.await?;
        busy.cancel();
        Ok(())
    })
}

/// A queue with room for one chain only: what waits takes all of it.
#[test]
fn a_full_queue_waits_and_goes_on() -> Outcome {
    on(
        || Runtime::builder().sq_entries(4),
        async |_| {
            for _ in 0..20 {
                let (slow, mut slow_tx) = pipe()?;
                let mut before = ops::read(slow, [0; 1]);
                start(&mut before).await;
                let chain = link((ops::nop(), ops::nop(), ops::nop(), ops::nop())).drain();
                let chain = spawn(chain);
                let others: Vec<_> = (0..10).map(|_| spawn(ops::nop())).collect();
                a_while().await;
                assert!(!chain.is_finished() && others.iter().all(|other| !other.is_finished()));
                // A cancel that the queue has no room for, too.
                let (never, _never_tx) = pipe()?;
                let mut late = Box::pin(ops::read(never, [0; 1]));
                assert!(poll_fn(|cx| Poll::Ready(late.as_mut().poll(cx).is_pending())).await);
                drop(late);
                slow_tx.write_all(b"x")?;
                before.await.into_result()?;
                let (one, _, _, four) = chain.await?;
                one?;
                four?;
                for other in others {
                    other.await??;
                }
            }
            Ok(())
        },
    )
}

#[test]
fn a_race_against_one_that_waits() -> Outcome {
    both_ways(async |_| {
        let (slow, mut slow_tx) = pipe()?;
        let (tx, rx) = channel::bounded::<u8>(1);
        let mut before = ops::read(slow, [0; 1]);
        start(&mut before).await;
        let mut race = pin!(async { race!(ops::nop().drain() || rx.pop()).await });
        assert!(poll_fn(|cx| Poll::Ready(race.as_mut().poll(cx).is_pending())).await);
        tx.push(7).await?;
        let mut resolved = false;
        for _ in 0..3 {
            resolved |= poll_fn(|cx| Poll::Ready(race.as_mut().poll(cx).is_ready())).await;
            a_while().await;
        }
        assert!(!resolved, "the loser is waited out, and it waits for the read");
        slow_tx.write_all(b"x")?;
        before.await.into_result()?;
        assert!(matches!(race.await, OneOf2::B(Ok(7))));
        Ok(())
    })
}

#[test]
fn a_timeout_of_one_that_waits() -> Outcome {
    both_ways(async |_| {
        let (slow, mut slow_tx) = pipe()?;
        let mut before = ops::read(slow, [0; 1]);
        start(&mut before).await;
        let drained = spawn(ops::nop().drain().timeout(Duration::from_millis(1)));
        a_while().await;
        slow_tx.write_all(b"x")?;
        before.await.into_result()?;
        assert!(drained.await?.is_err(), "it was too late, although it could not be stopped");
        Ok(())
    })
}

/// The runtime ends while one waits for what never ends by itself.
#[test]
fn a_runtime_ends_with_one_that_waits() -> Outcome {
    for by in [By::Kernel, By::Runtime] {
        let Some(runtime) = begin(Runtime::builder(), by)? else { continue };
        let _watchdog = Watchdog::new(Duration::from_secs(60));
        let (slow, _slow_tx) = pipe()?;
        runtime.block_on(async {
            spawn(async move {
                let mut before = ops::read(slow, [0; 1]);
                start(&mut before).await;
                let _ = link((ops::nop(), ops::nop())).drain().await;
            })
            .detach();
            a_while().await;
        });
        assert_eq!(runtime.stats().in_flight, 3, "by the {by:?}");
        runtime.shutdown()?;
    }
    Ok(())
}

/// What is drained waits for the notification of a send before it, whoever keeps it.
#[test]
fn it_waits_for_notifications_too() -> Outcome {
    both_ways(async |_| {
        let (ours, mut peer) = tcp()?;
        for _ in 0..3 {
            let (tx, rx) = channel::bounded(1);
            ops::send_zc(&ours, vec![7; 100]).will_push(tx).await?;
            peer.read_exact(&mut [0; 100])?;
            ops::nop().drain().await?;
            assert_eq!(rx.try_pop()?, [7; 100]);
        }
        Ok(())
    })
}

/// A drain that the kernel has was there before the first zero-copy send; the next one is kept here.
#[test]
fn the_first_zero_copy_send_comes_between_drains() -> Outcome {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    for hidden in [0, Feature::DrainBesideZeroCopy.bit()] {
        let runtime = Runtime::builder().without_features(hidden).build()?;
        runtime.block_on(async {
            for _ in 0..20 {
                let (ours, mut peer) = tcp()?;
                let all = when_all((
                    ops::nop().drain(),
                    ops::send_zc(&ours, "first"),
                    ops::nop().drain(),
                    ops::send_zc(&ours, "second"),
                    ops::nop().drain(),
                ));
                let (one, first, two, second, three) = all.await;
                one.and(two).and(three)?;
                assert_eq!((first.into_result()?.0, second.into_result()?.0), (5, 6));
                let mut back = [0; 11];
                peer.read_exact(&mut back)?;
                assert_eq!(&back, b"firstsecond");
            }
            Outcome::Ok(())
        })?;
    }
    Ok(())
}
