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

use millstream::combinators::{OneOf2, OperationExt, when_any};
use millstream::ops::{self, Fd};
use millstream::{Runtime, channel, race, spawn, time, yield_now};
use support::{Rng, Watchdog, rounds};

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(100))
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
        let (ticks, tick) = channel::bounded(1);
        let ticker = spawn(async move {
            while ticks.push(()).await.is_ok() {
                yield_now().await;
            }
        });
        let mut bytes = Vec::new();
        loop {
            let receive = ops::recv(&socket, vec![0; 1 + rng.below(48) as usize]);
            let received = match rng.below(4) {
                0 => match race!(tick.pop() || receive).await {
                    OneOf2::A(_) => continue,
                    OneOf2::B(received) => received,
                },
                1 => match race!(receive || race!(time::sleep(Duration::ZERO) || tick.pop())).await {
                    OneOf2::A(received) => received,
                    OneOf2::B(_) => continue,
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
        drop(tick);
        ticker.await.expect("no panic");
        bytes
    });
    writer.join().expect("no panic").expect("written");
    assert_numbers(&bytes, count);
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn an_accept_that_loses_race_after_race_loses_no_connection() {
    let _watchdog = watchdog();
    let count = rounds(300) as usize;
    let runtime = Runtime::new().expect("a ring");
    let listener = ops::listen_tcp("127.0.0.1:0").expect("a listener");
    let address: SocketAddr = listener.local_addr().expect("an address");
    let clients = std::thread::spawn(move || -> io::Result<()> {
        for number in 0..count as u32 {
            let mut client = TcpStream::connect(address)?;
            client.write_all(&number.to_be_bytes())?;
            let mut answer = [0];
            client.read_exact(&mut answer)?; // served: nobody is left waiting in a queue that nobody looks at
        }
        Ok(())
    });
    let mut numbers = runtime.block_on(async {
        let mut rng = Rng::from_env();
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let accepted = match rng.below(3) {
                0 => match when_any((
                    time::sleep(Duration::from_micros(rng.below(200))),
                    ops::accept(&listener),
                ))
                .await
                {
                    OneOf2::A(()) => continue,
                    OneOf2::B(accepted) => accepted,
                },
                1 => ops::accept(&listener)
                    .timeout(Duration::ZERO)
                    .await
                    .unwrap_or_else(|late| late.into_outcome()),
                _ => match when_any([ops::accept(&listener), ops::accept(&listener)]).await {
                    (_, accepted) => accepted,
                },
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
    clients.join().expect("no panic").expect("served");
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
