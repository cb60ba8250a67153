//! Direct descriptors beyond files: accepts, sockets, pipes, slots that the kernel picks, and the ways in and out of the
//! table. Whatever becomes of the ops, no connection is lost and no slot.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes; their number is asked for.

#![allow(unsafe_code, reason = "changes the limit of open files")]

#[path = "support/slots.rs"]
mod slots;
mod support;

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::MutexGuard;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures::StreamExt;
use millstream::channel;
use millstream::combinators::ResultsExt;
use millstream::ops::{self, Fd, FdTable, Feature, FixedFd, IntoResult, TableFull};
use millstream::runtime::testing::FaultPlan;
use millstream::{Operation, Runtime, spawn, time, yield_now};
use slots::{assert_available, client, listen, number_of, settled};
use support::{Descriptors, Watchdog, skip};

/// One test at a time, since some count the descriptors of the process, and none for longer than this.
fn watchdog() -> (MutexGuard<'static, ()>, Watchdog) {
    (support::alone(), Watchdog::new(Duration::from_secs(120)))
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn sockets_connections_and_their_ends_without_a_descriptor() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(4).expect("no table yet");
        let descriptors = Descriptors::now();
        let (client, server) = (table.reserve().expect("free"), table.reserve().expect("free"));
        ops::socket_direct(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, &client)
            .await
            .expect("made");
        ops::connect(&client, address).await.expect("it listens");
        let accepted = ops::accept_direct(&listener, &server).await.expect("a client");
        assert_eq!(accepted.slot(), server.slot());
        ops::send(&client, "grist").await.into_result().expect("room");
        ops::shutdown(&client, std::net::Shutdown::Write).await.expect("connected");
        let (n, buf) = ops::recv(&server, vec![0; 8]).await;
        assert_eq!((n.expect("there"), &buf[..5]), (5, &b"grist"[..]));
        assert_eq!(ops::recv(&server, [0; 1]).await.0.expect("the end"), 0);
        descriptors.assert_same();
        drop((client, server, accepted));
        assert_available(&table, 4).await;
        // Of datagrams, what does not fit is cut off, also when it comes from a read that was dropped.
        let socket = table.reserve().expect("free");
        ops::socket_direct(libc::AF_INET, libc::SOCK_DGRAM, 0, &socket).await.expect("made");
        match ops::bind(&socket, SocketAddr::from(([127, 0, 0, 1], 0))).await {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                skip("this kernel binds no direct descriptor")
            }
            bound => bound.expect("a port"),
        }
        let other = UdpSocket::bind("127.0.0.1:0").expect("a port");
        ops::connect(&socket, other.local_addr().expect("bound")).await.expect("no handshake");
        ops::send(&socket, "hello").await.into_result().expect("room");
        let (_, from) = other.recv_from(&mut [0; 8]).expect("sent");
        let mut read = ops::recv(&socket, vec![0; 16]);
        assert!(poll_once(&mut read).is_pending());
        yield_now().await;
        time::sleep(Duration::from_millis(1)).await;
        other.send_to(b"long datagram", from).expect("room");
        other.send_to(b"next", from).expect("room");
        drop(read);
        let (n, buf) = ops::recv(&socket, vec![0; 4]).await;
        assert_eq!((n.expect("there"), &buf[..]), (4, &b"long"[..]));
        let (n, buf) = ops::recv(&socket, vec![0; 4]).await;
        assert_eq!((n.expect("there"), &buf[..]), (4, &b"next"[..]), "the rest of a datagram is no datagram");
    });
    settled(&runtime);
}

/// Row F1 of the table of faults: a table of two, four clients, and none of them is turned away.
#[test]
fn a_full_table_keeps_connections_in_the_backlog() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let (sender, connections) = channel::local(4);
        let task = spawn(ops::accept_direct_multishot(&listener, &table).will_push(sender));
        let clients: Vec<_> = (0..4).map(|number| client(address, number)).collect();
        let first = connections.pop().await.expect("open");
        let second = connections.pop().await.expect("open");
        assert_eq!((number_of(&first).await, number_of(&second).await), (0, 1));
        time::sleep(Duration::from_millis(5)).await;
        assert!(connections.is_empty() && table.available() == 0);
        assert_eq!(table.reserve().expect_err("full"), TableFull { slots: 2 });
        drop(first);
        let third = connections.pop().await.expect("open");
        assert_eq!(number_of(&third).await, 2);
        drop((second, third));
        let fourth = connections.pop().await.expect("open");
        assert_eq!(number_of(&fourth).await, 3);
        ops::send(&fourth, "hello").await.into_result().expect("open");
        let mut buf = [0; 5];
        (&clients[3]).read_exact(&mut buf).expect("its connection lives");
        drop((connections, fourth));
        // A closed channel is seen when the next result comes.
        let last = client(address, 9);
        let delivered = task.await.expect("no panic");
        assert_eq!(delivered.count, 4, "{delivered:?}");
        // What was accepted for nobody waits for the next accept.
        let again =
            ops::accept_direct(&listener, table.reserve().expect("one is free")).await.expect("it waits");
        assert_eq!(number_of(&again).await, 9);
        drop((again, last));
        assert_available(&table, 2).await;
    });
    settled(&runtime);
}

#[test]
fn a_dropped_accept_leaves_its_connection_to_the_next_of_either_kind() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(4).expect("no table yet");
        for round in 0..12_u8 {
            let slot = table.reserve().expect("free");
            let mut accept = ops::accept_direct(&listener, &slot);
            assert!(poll_once(&mut accept).is_pending());
            yield_now().await;
            time::sleep(Duration::from_millis(1)).await; // it is in the kernel
            let _client = client(address, round);
            if round % 2 == 0 {
                time::sleep(Duration::from_millis(1)).await; // and has accepted
            }
            drop((accept, slot));
            match round % 3 {
                0 => {
                    let other = table.reserve().expect("free");
                    let connection = ops::accept_direct(&listener, other).await.expect("it waits");
                    assert_eq!(number_of(&connection).await, round);
                }
                1 => {
                    let mut stream = pin!(ops::accept_direct_multishot(&listener, &table).stream());
                    let connection = stream.next().await.expect("one waits").expect("no error");
                    assert_eq!(number_of(&connection).await, round);
                }
                _ => {
                    let connection = match kernel_installs() {
                        true => ops::accept(&listener).await.expect("it waits"),
                        false => {
                            skip("this kernel makes no descriptor for a slot");
                            let other = table.reserve().expect("free");
                            ops::accept_direct(&listener, other).await.expect("it waits");
                            continue;
                        }
                    };
                    let (n, buf) = ops::recv(&connection, [0; 1]).await;
                    assert_eq!((n.expect("a connection"), buf[0]), (1, round));
                }
            }
        }
        assert_available(&table, 4).await;
        // And what an accept with a descriptor has left is for one with a slot.
        let mut accept = ops::accept(&listener);
        assert!(poll_once(&mut accept).is_pending());
        yield_now().await;
        time::sleep(Duration::from_millis(1)).await;
        let _client = client(address, 77);
        time::sleep(Duration::from_millis(1)).await;
        drop(accept);
        let slot = table.reserve().expect("free");
        ops::accept_direct(&listener, &slot).await.expect("it waits");
        assert_eq!(number_of(&slot).await, 77);
    });
    drop(listener);
    settled(&runtime);
}

fn kernel_installs() -> bool {
    support::kernel_has(io_uring::opcode::FixedFdInstall::CODE)
}

/// One beside it was dropped: what that had accepted is for the one in flight, at once.
#[test]
fn an_accept_in_flight_is_given_what_another_leaves() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(4).expect("no table yet");
        let mut first = ops::accept(&listener);
        assert!(poll_once(&mut first).is_pending());
        let slot = table.reserve().expect("free");
        let mut second = ops::accept_direct(&listener, &slot);
        assert!(poll_once(&mut second).is_pending());
        yield_now().await;
        time::sleep(Duration::from_millis(1)).await;
        let _client = client(address, 5);
        time::sleep(Duration::from_millis(1)).await;
        drop(first);
        second.await.expect("given");
        assert_eq!(number_of(&slot).await, 5);
        drop(slot);
        assert_available(&table, 4).await;
    });
    settled(&runtime);
}

#[test]
fn pipes_with_descriptors_and_in_slots() {
    let _watchdog = watchdog();
    for hidden in [0, Feature::Pipe.bit()] {
        let runtime = Runtime::builder().without_features(hidden).build().expect("a ring");
        runtime.block_on(async {
            let table = FdTable::new(8).expect("no table yet");
            let descriptors = Descriptors::now();
            let (reader, writer) = ops::pipe().await.expect("made");
            ops::write(&writer, "grist").await.into_result().expect("room");
            let (n, buf) = ops::read(&reader, [0; 8]).await;
            assert_eq!((n.expect("there"), &buf[..5]), (5, &b"grist"[..]));
            let info =
                std::fs::read_to_string(format!("/proc/self/fdinfo/{}", reader.as_raw_fd())).expect("open");
            let flags =
                info.lines().find_map(|line| line.strip_prefix("flags:")).expect("a line").trim().to_owned();
            let flags = i32::from_str_radix(&flags, 8).expect("octal");
            assert_eq!(flags & libc::O_CLOEXEC, libc::O_CLOEXEC);
            drop((reader, writer));
            let (reader, writer) = ops::pipe().flags(libc::O_DIRECT).await.expect("made");
            ops::write(&writer, "one").await.into_result().expect("room");
            ops::write(&writer, "two").await.into_result().expect("room");
            assert_eq!(ops::read(&reader, [0; 8]).await.0.expect("there"), 3, "messages");
            drop((reader, writer));
            // Side by side, and not.
            let (one, two) = table.reserve_pair().expect("free");
            assert_eq!(one.slot() + 1, two.slot());
            for (reader, writer) in [(&one, &two), (&two, &one)] {
                let (made, wrote) = (ops::pipe_direct(reader, writer) >> ops::write(writer, "grist")).await;
                made.expect("made");
                assert_eq!(wrote.into_result().expect("room").0, 5);
                let (n, buf) = ops::read(reader, [0; 8]).await;
                assert_eq!((n.expect("there"), &buf[..5]), (5, &b"grist"[..]));
            }
            let error = ops::pipe_direct(&one, &one).await.expect_err("one slot");
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
            drop((one, two));
            assert_available(&table, 8).await;
            for _ in 0..100 {
                let Ok((one, two)) = table.reserve_pair() else {
                    yield_now().await;
                    continue;
                };
                let mut direct = ops::pipe_direct(one, two);
                let mut plain = ops::pipe();
                let _ = (poll_once(&mut direct), poll_once(&mut plain));
                yield_now().await;
            }
            assert_available(&table, 8).await;
            time::sleep(Duration::from_millis(1)).await; // the last pipe of the process is closed with its op
            descriptors.assert_same();
        });
        settled(&runtime);
    }
}

#[test]
fn pairs_of_slots_are_side_by_side_while_there_are_such() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(5).expect("no table yet");
        let all: Vec<_> = (0..5).map(|_| table.reserve().expect("free")).collect();
        assert!(table.reserve_pair().is_err());
        let [a, b, c, d, e] = <[FixedFd; 5]>::try_from(all).expect("five");
        drop(a);
        assert!(table.reserve_pair().is_err(), "one alone");
        drop(c);
        let (x, y) = table.reserve_pair().expect("two");
        assert_eq!((x.slot().min(y.slot()), x.slot().max(y.slot())), (0, 2));
        drop((b, d, e, x));
        let (x, z) = table.reserve_pair().expect("two");
        assert_eq!(x.slot() + 1, z.slot());
        drop((x, y, z));
        assert_eq!(table.available(), 5);
        let all: Vec<_> = (0..5).map(|_| table.reserve().expect("free")).collect();
        let free = [0, 2, 3];
        let (free, _held): (Vec<_>, Vec<_>) = all.into_iter().partition(|slot| free.contains(&slot.slot()));
        drop(free);
        let (x, y) = table.reserve_pair().expect("two side by side");
        assert_eq!((x.slot(), y.slot()), (2, 3), "and not the first of all");
    });
}

#[test]
fn in_and_out_of_the_table() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    drop(Runtime::new()); // what the process keeps for good (wake-up descriptors) is there from now on
    runtime.block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let descriptors = Descriptors::now();
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let ours = Fd::from(ours);
        let slot = table.install(&ours).expect("free");
        drop(ours);
        ops::send(&slot, "grist").await.into_result().expect("the file is open still");
        let mut buf = [0; 5];
        theirs.read_exact(&mut buf).expect("sent");
        match ops::fixed_fd_install(&slot).await {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                assert!(!kernel_installs());
                skip("this kernel makes no descriptor for a slot");
            }
            fd => {
                let fd = fd.expect("made");
                drop(slot);
                assert_available(&table, 2).await;
                ops::send(&fd, "again").await.into_result().expect("open");
                theirs.read_exact(&mut buf).expect("sent");
                // To a runtime elsewhere, and into its table.
                let owned = fd.try_into_owned().expect("the only hold");
                thread::spawn(move || {
                    Runtime::new().expect("a ring").block_on(async {
                        let table = FdTable::new(1).expect("no table yet");
                        let slot = table.install(owned).expect("free");
                        ops::send(&slot, "there").await.into_result().expect("open");
                    });
                })
                .join()
                .expect("no panic");
                theirs.read_exact(&mut buf).expect("sent");
                assert_eq!(&buf, b"there");
                let empty = table.reserve().expect("free");
                let error = ops::fixed_fd_install(&empty).await.expect_err("nothing in it");
                assert_eq!(error.raw_os_error(), Some(libc::EBADF));
                let held = [empty, table.reserve().expect("free")];
                let (one, _two) = UnixStream::pair().expect("a pair");
                let error = table.install(OwnedFd::from(one)).expect_err("full");
                assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
                drop(held);
                for _ in 0..50 {
                    let slot =
                        ops::open_direct("Cargo.toml", table.reserve().expect("free")).await.expect("there");
                    let mut install = ops::fixed_fd_install(&slot);
                    let _ = poll_once(&mut install);
                    yield_now().await;
                    drop((install, slot));
                    assert_available(&table, 2).await;
                }
            }
        }
        drop(theirs);
        descriptors.assert_same();
        let error = thread::scope(|scope| {
            let elsewhere = || {
                Runtime::new().expect("a ring").block_on(async {
                    let (one, _two) = UnixStream::pair().expect("a pair");
                    table.install(OwnedFd::from(one)).expect_err("another's table").kind()
                })
            };
            scope.spawn(elsewhere).join().expect("no panic")
        });
        assert_eq!(error, io::ErrorKind::InvalidInput);
    });
}

#[test]
fn a_kernel_that_picks_from_no_range_leaves_room_for_a_table_without() {
    const FILE_ALLOC_RANGE: u32 = 25; // IORING_REGISTER_FILE_ALLOC_RANGE
    let (_alone, _watchdog) = watchdog();
    let plan = FaultPlan::new().without_register(FILE_ALLOC_RANGE);
    let runtime = Runtime::builder().faults(&plan).build().expect("io_uring is there");
    runtime.block_on(async {
        let refused = FdTable::with_picked(2, 3).expect_err("as on Linux 5.19");
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported, "{refused}");
        let table = FdTable::new(5).expect("the refused one has left no table behind");
        assert_eq!((table.capacity(), table.pickable()), (5, 0));
        let slot = table.reserve().expect("a slot");
        ops::open_direct("Cargo.toml", &slot).await.expect("it is a table like any other");
    });
}

/// Row F2: our slots and those that the kernel picks from are never the same, and one is never replaced under its holder.
#[test]
fn slots_that_the_kernel_picks() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        let table = match FdTable::with_picked(2, 3) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return skip(error.to_string()),
            table => table.expect("no table yet"),
        };
        assert_eq!((table.capacity(), table.pickable(), table.available()), (2, 3, 2));
        let second = FdTable::with_picked(1, 1).expect_err("there is one");
        assert_eq!(second.kind(), io::ErrorKind::ResourceBusy, "and the first one's range stays: {second}");
        let ours = [table.reserve().expect("free"), table.reserve().expect("free")];
        let mut picked = Vec::new();
        for _ in 0..3 {
            let file = ops::open_direct("Cargo.toml", table.pick()).await.expect("one is free");
            assert!(file.slot() >= 2 && ours.iter().chain(&picked).all(|other| other.slot() != file.slot()));
            picked.push(file);
        }
        let error = ops::open_direct("Cargo.toml", table.pick()).await.expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded, "{error}");
        assert!(error.to_string().contains("all 3 slots"), "{error}");
        let error =
            ops::socket_direct(libc::AF_INET, libc::SOCK_STREAM, 0, table.pick()).await.expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        // One that was picked is nobody else's before its last hold has gone.
        let held = picked[0].clone();
        assert_eq!(ops::close_direct(&held).await.expect_err("held").kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(
            ops::open_direct("src", &held).await.expect_err("held").kind(),
            io::ErrorKind::ResourceBusy
        );
        let (n, _) = ops::read(&held, [0; 8]).at(0).await;
        assert_eq!(n.expect("still there"), 8);
        drop((picked, held));
        loop {
            match ops::open_direct("Cargo.toml", table.pick()).await {
                Ok(file) => break drop(file),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded),
            }
            yield_now().await;
        }
        // Dropped at any moment, it is the kernel's again.
        for _ in 0..100 {
            let mut open = ops::open_direct("Cargo.toml", table.pick());
            let _ = poll_once(&mut open);
            yield_now().await;
        }
        let mut free = Vec::new();
        while free.len() < 3 {
            match ops::open_direct("Cargo.toml", table.pick()).await {
                Ok(file) => free.push(file),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded),
            }
            time::sleep(Duration::from_micros(100)).await;
        }
    });
    // A table without such slots has none to pick from: the kernel would take ours.
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let error = ops::open_direct("Cargo.toml", table.pick()).await.expect_err("none");
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(table.available(), 2);
    });
    Runtime::new().expect("a ring").block_on(async {
        assert_eq!(FdTable::with_picked(0, 0).expect_err("no slots").kind(), io::ErrorKind::InvalidInput);
        assert!(FdTable::with_picked(u32::MAX, 1).is_err());
        let table = FdTable::with_picked(0, 1).expect("no table yet");
        assert_eq!(table.reserve().expect_err("none of ours"), TableFull { slots: 0 });
        ops::open_direct("Cargo.toml", table.pick()).await.expect("the kernel's");
    });
}

/// Row F4: a slot is a number that means another file on another ring, so it is refused there.
#[test]
fn on_another_runtime_a_slot_is_refused() {
    let _watchdog = watchdog();
    let home = Runtime::new().expect("a ring");
    let (table, slot) = home.block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let slot = ops::open_direct("Cargo.toml", table.reserve().expect("free")).await.expect("there");
        (table, slot)
    });
    let (listener, address) = listen();
    Runtime::new().expect("a ring").block_on(async {
        let own = FdTable::new(2).expect("no table yet");
        let _file = ops::open_direct("/dev/null", own.reserve().expect("free")).await.expect("there");
        let refused = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        refused(ops::read(&slot, [0; 8]).at(0).await.0.expect_err("elsewhere"));
        refused(ops::connect(&slot, address).await.expect_err("elsewhere"));
        refused(ops::bind(&slot, address).await.expect_err("elsewhere"));
        refused(ops::shutdown(&slot, std::net::Shutdown::Both).await.expect_err("elsewhere"));
        refused(ops::fixed_fd_install(&slot).await.expect_err("elsewhere"));
        refused(ops::accept_direct(&listener, &slot).await.expect_err("elsewhere"));
        refused(ops::socket_direct(libc::AF_INET, libc::SOCK_STREAM, 0, &slot).await.expect_err("elsewhere"));
        refused(ops::pipe_direct(&slot, own.reserve().expect("free")).await.expect_err("elsewhere"));
        refused(ops::open_direct("src", table.pick()).await.expect_err("elsewhere"));
        let (sender, connections) = channel::local(1);
        let _client = client(address, 1);
        let delivered = ops::accept_direct_multishot(&listener, &table).will_push(sender).await;
        assert!(format!("{delivered:?}").contains("runtime whose table"), "{delivered:?}");
        drop(connections);
    });
    home.block_on(async {
        let (n, _) = ops::read(&slot, [0; 8]).at(0).await;
        assert_eq!(n.expect("untouched"), 8);
    });
}

/// Row F7: what is put into a slot while an op is in flight changes nothing for that op.
#[test]
fn an_op_in_flight_stays_with_the_file_it_began_on() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let slot = table.install(OwnedFd::from(ours)).expect("free");
        let mut read = ops::recv(&slot, [0; 8]);
        assert!(poll_once(&mut read).is_pending());
        yield_now().await;
        time::sleep(Duration::from_millis(1)).await; // it is in the kernel
        ops::open_direct("Cargo.toml", &slot).await.expect("there");
        let (n, _) = ops::read(&slot, [0; 8]).at(0).await;
        assert_eq!(n.expect("the new one"), 8);
        theirs.write_all(b"old").expect("still open: the read has it");
        let (n, buf) = read.await;
        assert_eq!((n.expect("there"), &buf[..3]), (3, &b"old"[..]));
    });
}

/// Row F9: the limit of open files leaves connections in the backlog, and slots do not count against it.
#[test]
fn slots_do_not_count_against_the_limit_of_open_files() {
    let _watchdog = watchdog();
    const TEST: &str = "slots_do_not_count_against_the_limit_of_open_files";
    if support::role().is_none() {
        let output = support::run_again(TEST, "poor");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let counted = String::from_utf8_lossy(&output.stdout);
        assert!(counted.contains("1 passed"), "the child ran nothing: {counted}");
        return;
    }
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(8).expect("no table yet");
        let (listener, address) = listen();
        let clients: Vec<_> = (0..4).map(|number| client(address, number)).collect();
        let mut spare = Vec::new();
        let limit = support::open_descriptors().len() as u64 + 2;
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: one live record, which the kernel only reads.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        while let Ok(file) = std::fs::File::open("/dev/null") {
            spare.push(file);
        }
        assert_eq!(ops::accept(&listener).await.expect_err("no number").raw_os_error(), Some(libc::EMFILE));
        for number in 0..4 {
            let slot = table.reserve().expect("free");
            let connection = ops::accept_direct(&listener, slot).await.expect("it needs no number");
            assert_eq!(number_of(&connection).await, number);
        }
        drop((spare, clients));
    });
}

#[test]
fn cancelled_by_request_each_gives_its_slot_back() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (listener, _) = listen();
    runtime.block_on(async {
        let table = FdTable::new(3).expect("no table yet");
        let mut accept = ops::accept_direct(&listener, table.reserve().expect("free"));
        assert!(poll_once(&mut accept).is_pending());
        yield_now().await;
        Pin::new(&mut accept).request_cancel();
        assert_eq!(accept.await.expect_err("stopped").raw_os_error(), Some(libc::ECANCELED));
        let mut never =
            ops::socket_direct(libc::AF_INET, libc::SOCK_STREAM, 0, table.reserve().expect("free"));
        Pin::new(&mut never).request_cancel();
        assert_eq!(never.await.expect_err("stopped").raw_os_error(), Some(libc::ECANCELED));
        drop(ops::pipe_direct(table.reserve().expect("free"), table.reserve().expect("free")));
        assert_available(&table, 3).await;
    });
    settled(&runtime);
}

/// Row F3: dropped on another thread, or when its ring is gone, a slot leaves nothing open.
#[test]
fn a_slot_that_is_dropped_elsewhere_or_late_is_closed() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (here, mut theirs) = UnixStream::pair().expect("a pair");
    let (late, mut theirs_late) = UnixStream::pair().expect("a pair");
    let (table, late, clone) = runtime.block_on(async {
        let table = FdTable::new(3).expect("no table yet");
        let slot = table.install(OwnedFd::from(here)).expect("free");
        let late = table.install(OwnedFd::from(late)).expect("free");
        thread::spawn(move || drop(slot)).join().expect("no panic");
        assert_available(&table, 2).await;
        assert_eq!(theirs.read(&mut [0]).expect("the end"), 0);
        let clone = late.clone();
        (table, late, clone)
    });
    assert_eq!(table.available(), 2);
    drop(runtime);
    thread::spawn(move || drop(clone)).join().expect("no panic");
    assert_eq!(theirs_late.read(&mut [0]).expect("it went with the ring"), 0);
    Runtime::new().expect("a ring").block_on(async {
        let own = FdTable::new(3).expect("the other runtime's is no matter here");
        let (n, _) = ops::recv(&late, [0]).await;
        assert_eq!(n.expect_err("its ring is gone").kind(), io::ErrorKind::InvalidInput);
        drop((late, table));
        assert_eq!(own.available(), 3);
    });
}

/// On a kernel before 6.8 nothing makes a descriptor of what is in a slot: it stays there, for those who can take it.
#[test]
fn without_a_way_out_of_the_table_nothing_is_lost_in_it() {
    let _watchdog = watchdog();
    let runtime = Runtime::builder().without_features(Feature::FixedFdInstall.bit()).build().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let file = ops::open_direct("Cargo.toml", table.reserve().expect("free")).await.expect("there");
        let error = ops::fixed_fd_install(&file).await.expect_err("hidden");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        drop(file);
        assert_available(&table, 2).await;
        let mut left = ops::accept_direct(&listener, table.reserve().expect("free"));
        assert!(poll_once(&mut left).is_pending());
        yield_now().await;
        time::sleep(Duration::from_millis(1)).await;
        let _first = client(address, 1);
        time::sleep(Duration::from_millis(1)).await;
        drop(left);
        let _second = client(address, 2);
        let connection = ops::accept(&listener).await.expect("the second client");
        let (n, buf) = ops::recv(&connection, [0; 1]).await;
        assert_eq!((n.expect("a connection"), buf[0]), (1, 2), "the first is in a slot");
        let slot = ops::accept_direct(&listener, table.reserve().expect("free")).await.expect("it waits");
        assert_eq!(number_of(&slot).await, 1);
    });
    settled(&runtime);
}

/// I2: the ends of a pipe that nobody awaits any more are closed, whenever it is dropped.
#[test]
fn a_pipe_that_nobody_awaits_is_closed() {
    let _watchdog = watchdog();
    for hidden in [0, Feature::Pipe.bit()] {
        let runtime = Runtime::builder().without_features(hidden).build().expect("a ring");
        runtime.block_on(ops::nop()).expect("a nop");
        let descriptors = Descriptors::now();
        runtime.block_on(async {
            for turns in 0..4 {
                let mut pipe = ops::pipe();
                let made = poll_once(&mut pipe);
                for _ in 0..turns {
                    yield_now().await;
                }
                drop((pipe, made));
            }
        });
        settled(&runtime);
        descriptors.assert_same();
    }
}
