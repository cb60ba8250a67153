//! Whatever loses a race or runs into a deadline, no byte, no connection and no message is lost with it.
//!
//! Real sockets, real losers: each test interrupts the same operation again and again, at whatever point it happens to
//! be, and counts what comes out at the end.

mod support;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::time::Duration;

use millstream::channel::PopError;
use millstream::combinators::{OneOf2, OneOf3, OperationExt, adapters, when_any};
use millstream::ops::{self, Fd};
use millstream::{Runtime, channel, race, spawn, time, yield_now};
use support::{Rng, Watchdog, rounds};

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(100))
}

/// Lets the loop turn so many times.
async fn turns(count: u64) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Writes the numbers from 0 in irregular pieces, then closes.
fn write_numbers(
    mut socket: UnixStream,
    count: u32,
    mut rng: Rng,
) -> std::thread::JoinHandle<io::Result<()>> {
    std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..count).flat_map(u32::to_be_bytes).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let piece = (1 + rng.below(64) as usize).min(rest.len());
            socket.write_all(&rest[..piece])?;
            rest = &rest[piece..];
            if rng.one_in(8) {
                std::thread::sleep(Duration::from_micros(rng.below(100)));
            }
        }
        Ok(())
    })
}

fn assert_numbers(bytes: &[u8], count: u32) {
    assert_eq!(bytes.len(), count as usize * 4, "bytes were lost or doubled");
    for (index, number) in bytes.chunks(4).enumerate() {
        assert_eq!(number, (index as u32).to_be_bytes(), "bytes were reordered");
    }
}

#[test]
fn a_receive_that_loses_race_after_race_loses_no_byte() {
    let _watchdog = watchdog();
    let count = rounds(20_000) as u32;
    let runtime = Runtime::new().expect("a ring");
    let (here, there) = UnixStream::pair().expect("a pair");
    let writer = write_numbers(there, count, Rng::from_env());
    let bytes = runtime.block_on(async {
        let socket = Fd::from(here);
        let mut rng = Rng::from_env();
        let mut bytes = Vec::new();
        loop {
            let receive = ops::recv(&socket, vec![0; 1 + rng.below(48) as usize]);
            let received = match rng.below(4) {
                // Both are in one submission, so the loser has often completed by the time it loses.
                0 => match race!(ops::nop() || receive).await {
                    OneOf2::A(_) => continue,
                    OneOf2::B(received) => received,
                },
                1 => match race!(adapters::future(turns(rng.below(4))) || receive).await {
                    OneOf2::A(_) => continue,
                    OneOf2::B(received) => received,
                },
                2 => receive.timeout(Duration::ZERO).await.unwrap_or_else(|late| late.into_outcome()),
                _ => receive.await,
            };
            match received {
                (Ok(0), _) => break,
                (Ok(n), buf) => bytes.extend_from_slice(&buf[..n]),
                (Err(error), _) => assert_eq!(error.raw_os_error(), Some(libc::ECANCELED)),
            }
        }
        bytes
    });
    writer.join().expect("no panic").expect("written");
    assert_numbers(&bytes, count);
    assert_eq!(runtime.stats().nodes, 0);
}

const CLIENTS: usize = 4;

#[test]
fn an_accept_that_loses_race_after_race_loses_no_connection() {
    let _watchdog = watchdog();
    let count = rounds(300) as usize;
    let runtime = Runtime::new().expect("a ring");
    let listener = ops::listen_tcp("127.0.0.1:0").expect("a listener");
    let address: SocketAddr = listener.local_addr().expect("an address");
    // Several at a time, so that there is mostly a connection to be accepted.
    let clients: Vec<_> = (0..CLIENTS)
        .map(|first| {
            std::thread::spawn(move || -> io::Result<()> {
                for number in (first..count).step_by(CLIENTS) {
                    let mut client = TcpStream::connect(address)?;
                    client.write_all(&(number as u32).to_be_bytes())?;
                    client.read_exact(&mut [0])?; // served
                }
                Ok(())
            })
        })
        .collect();
    let mut numbers = runtime.block_on(async {
        let mut rng = Rng::from_env();
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let accepted = match rng.below(4) {
                0 => match when_any((
                    time::sleep(Duration::from_micros(rng.below(200))),
                    ops::accept(&listener),
                ))
                .await
                {
                    OneOf2::A(_) => continue,
                    OneOf2::B(accepted) => accepted,
                },
                1 => ops::accept(&listener)
                    .timeout(Duration::ZERO)
                    .await
                    .unwrap_or_else(|late| late.into_outcome()),
                2 => match race!(ops::nop() || ops::accept(&listener)).await {
                    OneOf2::A(_) => continue,
                    OneOf2::B(accepted) => accepted,
                },
                _ => when_any([ops::accept(&listener), ops::accept(&listener)]).await.1,
            };
            let connection = match accepted {
                Ok(connection) => connection,
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
                    continue;
                }
            };
            let (n, buf) = ops::recv(&connection, vec![0; 4]).await;
            assert_eq!(n.expect("received"), 4);
            numbers.push(u32::from_be_bytes(buf.try_into().expect("four bytes")));
            let (sent, _) = ops::send(&connection, vec![1]).await;
            sent.expect("sent");
        }
        numbers
    });
    for client in clients {
        client.join().expect("no panic").expect("served");
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..count as u32).collect::<Vec<_>>());
}

#[test]
fn a_receive_kept_by_reference_and_races_beside_it() {
    let _watchdog = watchdog();
    let count = rounds(20_000) as u32;
    let runtime = Runtime::new().expect("a ring");
    let (here, there) = UnixStream::pair().expect("a pair");
    let writer = write_numbers(there, count, Rng::from_env());
    let (bytes, ticks_seen, ticks_sent) = runtime.block_on(async {
        let socket = Fd::from(here);
        let (ticks, tick) = channel::bounded(4);
        let ticker = spawn(async move {
            let mut sent = 0_u64;
            while ticks.push(sent).await.is_ok() {
                sent += 1;
                yield_now().await;
            }
            sent
        });
        let (mut bytes, mut seen) = (Vec::new(), 0);
        let mut receive = pin!(ops::recv(&socket, vec![0; 64]));
        loop {
            match race!(receive.as_mut() || tick.pop()).await {
                OneOf2::A((n, buf)) => {
                    let n = n.expect("nobody cancels it");
                    if n == 0 {
                        break;
                    }
                    bytes.extend_from_slice(&buf[..n]);
                    receive.set(ops::recv(&socket, buf));
                }
                OneOf2::B(number) => {
                    assert_eq!(number, Ok(seen), "a message was lost or came twice");
                    seen += 1;
                }
            }
        }
        let left = tick.len() as u64;
        drop(tick);
        (bytes, seen + left, ticker.await.expect("no panic"))
    });
    writer.join().expect("no panic").expect("written");
    assert_numbers(&bytes, count);
    assert_eq!(ticks_seen, ticks_sent);
}

#[test]
fn whatever_is_forgotten_in_flight_the_runtime_ends() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (here, _there) = UnixStream::pair().expect("a pair");
    let socket = Fd::from(here);
    runtime.block_on(async {
        let minute = || ops::timeout(Duration::from_secs(60));
        for polls in 0..3 {
            let (_tx, rx) = channel::bounded::<()>(1);
            let receive = ops::recv(&socket, vec![0; 16]);
            let mut deep =
                Box::pin(((minute() >> ops::nop()) & (receive | minute())) | time::sleep(Duration::MAX));
            for _ in 0..polls {
                assert!(
                    std::future::poll_fn(|cx| std::task::Poll::Ready(deep.as_mut().poll(cx).is_pending()))
                        .await
                );
                time::sleep(Duration::from_millis(1)).await;
            }
            std::mem::forget(deep);
            drop(rx);
        }
        assert!(runtime.stats().nodes > 0);
    });
    drop(runtime);
}

/// Pushes the numbers into the channel, giving up and trying again all the time.
async fn push_restlessly(tx: channel::Sender<u64>, numbers: impl Iterator<Item = u64>, mut rng: Rng) {
    for number in numbers {
        match rng.below(3) {
            0 => {
                let mut push = pin!(tx.push(number));
                while let OneOf2::A(_) = race!(ops::nop() || push.as_mut()).await {}
            }
            1 => {
                let mut number = number;
                while let Err(late) = tx.push(number).timeout(Duration::ZERO).await {
                    match late.into_outcome() {
                        Ok(()) => break, // it got through all the same
                        Err(error) => number = error.into_inner(),
                    }
                    yield_now().await;
                }
            }
            _ => tx.push(number).await.expect("open"),
        }
    }
}

/// Pops from both channels until both are closed, giving up and trying again all the time.
async fn pop_restlessly(
    one: channel::Receiver<u64>,
    other: channel::Receiver<u64>,
    mut rng: Rng,
) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut open = [true, true];
    while open != [false, false] {
        let (from, popped) = match rng.below(4) {
            0 if open == [true, true] => match race!(one.pop() || ops::nop() || other.pop()).await {
                OneOf3::A(popped) => (0, popped),
                OneOf3::B(_) => continue,
                OneOf3::C(popped) => (1, popped),
            },
            1 if open == [true, true] => match race!(race!(other.pop() || ops::nop()) || one.pop()).await {
                OneOf2::A(OneOf2::A(popped)) => (1, popped),
                OneOf2::A(OneOf2::B(_)) => continue,
                OneOf2::B(popped) => (0, popped),
            },
            2 => {
                let from = usize::from(!open[0] || open[1] && rng.one_in(2));
                let channel = [&one, &other][from];
                let popped = channel.pop().timeout(Duration::from_micros(rng.below(50))).await;
                (from, popped.unwrap_or_else(|late| late.into_outcome()))
            }
            _ => {
                let from = usize::from(!open[0]);
                let channel = [&one, &other][from];
                match race!(channel.pop() || adapters::future(turns(3))).await {
                    OneOf2::A(popped) => (from, popped),
                    OneOf2::B(_) => continue,
                }
            }
        };
        match popped {
            Ok(number) => numbers.push(number),
            Err(PopError::Closed) => open[from] = false,
            Err(error) => assert_eq!(error, PopError::Cancelled),
        }
    }
    numbers
}

#[test]
fn restless_tasks_on_six_threads_see_every_message_once() {
    let _watchdog = watchdog();
    let count = rounds(5_000);
    for capacity in [0, 1, 16] {
        let ((tx1, rx1), (tx2, rx2)) = (channel::bounded(capacity), channel::bounded(capacity));
        let mut rng = Rng::from_env();
        let mut seed = move || Rng::new(rng.next_u64());
        let producers = [(tx1.clone(), 0), (tx1, 1), (tx2.clone(), 2), (tx2, 3)].map(|(tx, first)| {
            let rng = seed();
            move || {
                let runtime = Runtime::new().expect("a ring");
                runtime.block_on(push_restlessly(tx, (first..count).step_by(4), rng));
                assert_eq!(runtime.stats().nodes, 0);
            }
        });
        let consumers = [(rx1.clone(), rx2.clone()), (rx1, rx2)].map(|(one, other)| {
            let rng = seed();
            move || Runtime::new().expect("a ring").block_on(pop_restlessly(one, other, rng))
        });
        let producers = producers.map(std::thread::spawn);
        let consumers = consumers.map(std::thread::spawn);
        for producer in producers {
            producer.join().expect("no panic");
        }
        let mut seen: Vec<_> =
            consumers.into_iter().flat_map(|task| task.join().expect("no panic")).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..count).collect::<Vec<_>>(), "capacity {capacity}");
    }
}
