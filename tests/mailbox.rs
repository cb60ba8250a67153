//! Numbers and open files from ring to ring: in order, bounded, and to nobody's loss when an end goes.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes; their number is asked for.

mod support;

use std::future::Future;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use millstream::combinators::{OneOf2, when_any};
use millstream::ops::{self, BufPool, FdTable, IntoResult, Mail, MailAddress, Mailbox};
use millstream::{Operation, Results, Runtime, time, yield_now};
use support::{Descriptors, Rng, Watchdog, rounds, skip};

/// One test at a time, since one counts the descriptors of the process, and none for longer than this.
fn watchdog() -> (MutexGuard<'static, ()>, Watchdog) {
    (support::alone(), Watchdog::new(Duration::from_secs(120)))
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Waits until nothing of the runtime's is left.
fn settled(runtime: &Runtime) {
    while runtime.stats().nodes > 0 {
        runtime.block_on(time::sleep(Duration::from_micros(200)));
    }
}

fn number(mail: Mail) -> u64 {
    match mail {
        Mail::Message(number) => number,
        Mail::File(file) => panic!("no file was sent, and here is {file:?}"),
    }
}

/// Many senders, a mailbox that is far too small: every number comes once, and each sender's in order.
#[test]
fn numbers_come_in_order_through_a_small_mailbox() {
    require_op!(MsgRingData);
    let _watchdog = watchdog();
    let each = rounds(20_000);
    for capacity in [1, 3] {
        let runtime = Runtime::new().expect("a ring");
        runtime.block_on(async {
            let mut mailbox = Mailbox::new(capacity).expect("a descriptor");
            let senders: Vec<_> = (0..3_u64)
                .map(|sender| {
                    let to = mailbox.address();
                    thread::spawn(move || {
                        let runtime = Runtime::new().expect("a ring");
                        runtime.block_on(async {
                            for n in 0..each {
                                ops::message(&to, sender << 32 | n).await.expect("it listens");
                            }
                        });
                        settled(&runtime);
                    })
                })
                .collect();
            let mut next = [0; 3];
            for _ in 0..3 * each {
                let number = number(mailbox.receive().await.expect("open"));
                let sender = (number >> 32) as usize;
                assert_eq!(number & 0xffff_ffff, next[sender]);
                next[sender] += 1;
                assert!(mailbox.len() <= capacity);
            }
            for sender in senders {
                sender.join().expect("no panic");
            }
            assert!(mailbox.is_empty());
        });
        settled(&runtime);
    }
}

#[test]
fn to_oneself_it_goes_at_once() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let mut mailbox = Mailbox::new(2).expect("a descriptor");
        let to = mailbox.address();
        ops::message(&to, u64::MAX).await.expect("open");
        let file = ops::open_direct("Cargo.toml", table.reserve().expect("free")).await.expect("there");
        let (sent, file) = ops::pass_fd(&to, file).await;
        sent.expect("open");
        let mut third = ops::message(&to, 3);
        assert!(poll_once(&mut third).is_pending(), "there is room for two");
        assert_eq!((mailbox.len(), mailbox.capacity()), (2, 2));
        assert_eq!(number(mailbox.receive().await.expect("open")), u64::MAX);
        third.await.expect("there is room");
        drop(file);
        let Ok(Mail::File(file)) = mailbox.receive().await else { panic!("a file was sent") };
        assert_eq!(ops::read(&file, [0; 11]).at(0).await.0.expect("open"), 11);
        assert_eq!(number(mailbox.receive().await.expect("open")), 3);
    });
}

/// Sends files to a mailbox from a runtime of its own.
fn sending<T: Send + 'static>(
    to: MailAddress,
    send: impl AsyncFnOnce(MailAddress, FdTable) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || {
        let runtime = Runtime::new().expect("a ring");
        let outcome = runtime.block_on(async { send(to, FdTable::new(4).expect("no table yet")).await });
        settled(&runtime);
        outcome
    })
}

/// The runtime's very first op is in flight, and somebody else's waker waits for it; the first message has the same numbers.
#[test]
fn a_message_is_not_taken_for_the_end_of_an_op() {
    let _watchdog = watchdog();
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        let mut recv = ops::recv(ours, vec![0; 8]);
        assert!(poll_once(&mut recv).is_pending());
        let mut mailbox = Mailbox::new(1).expect("a descriptor");
        let sender = sending(mailbox.address(), async |to, _| ops::message(&to, 7).await);
        match when_any((mailbox.receive(), time::sleep(Duration::from_secs(20)))).await {
            OneOf2::A(Ok(Mail::Message(7))) => {}
            other => panic!("it did not come: {other:?}"),
        }
        sender.join().expect("no panic").expect("it listens");
        assert!(poll_once(&mut recv).is_pending());
        theirs.write_all(b"flour").expect("open");
        let (n, buf) = recv.await.into_result().expect("open");
        assert_eq!(&buf[..n], b"flour");
    });
}

#[test]
fn files_go_from_table_to_table() {
    require_op!(MsgRingSendFd);
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let mut mailbox = Mailbox::with_table(4, &table).expect("a descriptor");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let sender = sending(mailbox.address(), async move |to, own| {
            let slot = own.install(OwnedFd::from(ours)).expect("free");
            for _ in 0..3 {
                // The receiver's table has room for two: the third waits until one was dropped there.
                let (sent, _slot) = ops::pass_fd(&to, &slot).await;
                match sent {
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => return Err(error),
                    sent => sent.expect("it listens"),
                }
            }
            let empty = own.reserve().expect("free");
            let (sent, empty) = ops::pass_fd(&to, empty).await;
            assert_eq!(sent.expect_err("nothing in it").raw_os_error(), Some(libc::EBADF), "{empty:?}");
            Ok(())
        });
        for n in 0..3 {
            let file = match when_any((mailbox.receive(), time::sleep(Duration::from_secs(20)))).await {
                OneOf2::A(Ok(Mail::File(file))) => file,
                other => {
                    let error = sender.join().expect("no panic").expect_err("it did not come");
                    return skip(format!("this kernel sends no files between rings: {error}, {other:?}"));
                }
            };
            ops::send(&file, [n]).await.into_result().expect("open");
            let mut byte = [9];
            theirs.read_exact(&mut byte).expect("sent");
            assert_eq!(byte, [n]);
        }
        sender.join().expect("no panic").expect("sent");
        while table.available() < 2 {
            time::sleep(Duration::from_micros(200)).await;
        }
        // Everybody has closed it.
        assert_eq!(theirs.read(&mut [0; 1]).expect("the end"), 0);
        let gone = Mailbox::new(1).expect("a descriptor").address();
        let refused = sending(gone, async |to, own| {
            let file = ops::open_direct("Cargo.toml", own.reserve().expect("free")).await.expect("there");
            ops::pass_fd(&to, file).await.0.expect_err("gone, and no table").kind()
        });
        assert_eq!(refused.join().expect("no panic"), io::ErrorKind::BrokenPipe);
        let no_table = Mailbox::new(1).expect("a descriptor");
        let refused = sending(no_table.address(), async |to, own| {
            let file = ops::open_direct("Cargo.toml", own.reserve().expect("free")).await.expect("there");
            let kind = ops::pass_fd(&to, file).await.0.expect_err("no table").kind();
            ops::message(&to, 1).await.expect("its cell is free again");
            kind
        });
        assert_eq!(refused.join().expect("no panic"), io::ErrorKind::InvalidInput);
    });
    settled(&runtime);
}

/// Row R23 of the table of faults, and what is under way when an end goes.
#[test]
fn an_end_that_is_gone_is_an_error() {
    require_op!(MsgRingData);
    let _watchdog = watchdog();
    let (sender, received) = mpsc::channel();
    let (done, finish) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        let runtime = Runtime::new().expect("a ring");
        let outlives = runtime.block_on(async {
            let mailbox = Mailbox::new(1).expect("a descriptor");
            let dead = Mailbox::new(1).expect("a descriptor").address();
            sender.send((mailbox.address(), dead)).expect("it listens");
            while finish.try_recv().is_err() {
                time::sleep(Duration::from_millis(1)).await;
            }
            mailbox
        });
        drop(runtime);
        let mut outlives = outlives;
        assert_eq!(number_of_errors(&mut outlives), io::ErrorKind::BrokenPipe);
    });
    let (live, dead) = received.recv().expect("two addresses");
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        assert!(dead.is_closed());
        assert_eq!(ops::message(&dead, 1).await.expect_err("dropped").kind(), io::ErrorKind::BrokenPipe);
        ops::message(&live, 1).await.expect("there is room");
        let mut waiting = ops::message(&live, 2);
        assert!(poll_once(&mut waiting).is_pending());
        done.send(()).expect("it listens");
        assert_eq!(waiting.await.expect_err("it ended").kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(ops::message(&live, 3).await.expect_err("it ended").kind(), io::ErrorKind::BrokenPipe);
    });
    other.join().expect("no panic");
    settled(&runtime);
    assert_eq!(runtime.stats().stale_completions, 0);
}

fn number_of_errors(mailbox: &mut Mailbox) -> io::ErrorKind {
    match poll_once(&mut mailbox.receive()) {
        Poll::Ready(Err(error)) => error.kind(),
        other => panic!("{other:?} from a mailbox whose runtime is gone"),
    }
}

#[test]
fn capacities_and_cancels() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        for capacity in [0, (1 << 16) + 1] {
            assert_eq!(Mailbox::new(capacity).expect_err("no such").kind(), io::ErrorKind::InvalidInput);
        }
        let mut mailbox = Mailbox::new(1).expect("a descriptor");
        let mut receive = mailbox.receive();
        assert!(poll_once(&mut receive).is_pending());
        Pin::new(&mut receive).request_cancel();
        assert_eq!(receive.await.expect_err("stopped").raw_os_error(), Some(libc::ECANCELED));
        let to = mailbox.address();
        let lost = when_any((mailbox.receive(), time::sleep(Duration::from_millis(1)))).await;
        assert!(matches!(lost, OneOf2::B(())));
        ops::message(&to, 7).await.expect("open");
        assert_eq!(number(mailbox.receive().await.expect("open")), 7);
        // Places are used again, and what is for the one before is for nobody.
        for n in 0..100 {
            let mut mailbox = Mailbox::new(1).expect("a descriptor");
            ops::message(&mailbox.address(), n).await.expect("open");
            if n % 2 == 0 {
                assert_eq!(number(mailbox.receive().await.expect("open")), n);
            }
        }
        let table = FdTable::new(1).expect("no table yet");
        let elsewhere = thread::spawn(move || {
            Runtime::new()
                .expect("a ring")
                .block_on(async { Mailbox::with_table(1, &table).expect_err("another's").kind() })
        });
        assert_eq!(elsewhere.join().expect("no panic"), io::ErrorKind::InvalidInput);
    });
}

/// Who waits is told that it was asked to stop, and that the runtime of the mailbox is gone.
#[test]
fn who_waits_is_woken_by_its_end() {
    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let _watchdog = watchdog();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    let runtime = Runtime::new().expect("a ring");
    let mut mailbox = runtime.block_on(async { Mailbox::new(1).expect("a descriptor") });
    let mut receive = mailbox.receive();
    assert!(Pin::new(&mut receive).poll(&mut cx).is_pending());
    Pin::new(&mut receive).request_cancel();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1, "its last poll promised it");
    drop(receive);
    let mut receive = mailbox.receive();
    assert!(Pin::new(&mut receive).poll(&mut cx).is_pending());
    drop(runtime);
    assert_eq!(woken.0.load(Ordering::Relaxed), 2);
    assert!(matches!(Pin::new(&mut receive).poll(&mut cx), Poll::Ready(Err(_))));
}

/// What a file's reads give goes with it: an empty datagram ends nothing in the other table either.
#[test]
fn a_socket_of_messages_is_one_in_the_other_table() {
    require_op!(MsgRingSendFd);
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let mut mailbox = Mailbox::with_table(1, &table).expect("a descriptor");
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        let sender = sending(mailbox.address(), async move |to, own| {
            let slot = own.install(OwnedFd::from(ours)).expect("free");
            ops::pass_fd(&to, slot).await.0
        });
        let file = match when_any((mailbox.receive(), time::sleep(Duration::from_secs(20)))).await {
            OneOf2::A(Ok(Mail::File(file))) => file,
            other => {
                let error = sender.join().expect("no panic").expect_err("it did not come");
                return skip(format!("this kernel sends no files between rings: {error}, {other:?}"));
            }
        };
        sender.join().expect("no panic").expect("sent");
        let pool = BufPool::new(2, 16).expect("a pool");
        let mut received = ops::recv_multishot(&file, &pool);
        for message in [&b"one"[..], b"", b"two"] {
            theirs.send(message).expect("room");
            let next = std::future::poll_fn(|cx| received.poll_next(cx)).await;
            assert_eq!(next.continue_value().expect("it goes on")[..], *message);
        }
    });
    settled(&runtime);
}

/// A file that comes when the mailbox has gone meanwhile: its slot is not lost with it.
#[test]
fn a_file_for_a_mailbox_that_has_gone_is_closed() {
    require_op!(MsgRingSendFd);
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (queued, heard) = mpsc::channel();
    let (gone, may_go_on) = mpsc::channel();
    runtime.block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        let mailbox = Mailbox::with_table(1, &table).expect("a descriptor");
        let sender = sending(mailbox.address(), async move |to, own| {
            let file = ops::open_direct("Cargo.toml", own.reserve().expect("free")).await.expect("there");
            let mut send = ops::pass_fd(&to, file);
            assert!(poll_once(&mut send).is_pending(), "it is queued, and the kernel does not know of it");
            queued.send(()).expect("it listens");
            may_go_on.recv().expect("it says so");
            drop(send.await.0); // sent, to nobody
        });
        heard.recv().expect("it says so");
        assert_eq!(table.available(), 0, "the slot is reserved");
        drop(mailbox);
        gone.send(()).expect("it listens");
        sender.join().expect("no panic");
        while table.available() < 1 {
            time::sleep(Duration::from_micros(200)).await;
        }
    });
    settled(&runtime);
}

/// A mailbox is sent to by a descriptor of its ring. It is closed with the mailbox, or with the runtime, whoever still has the
/// address; and with the last op that is under way.
#[test]
fn no_descriptor_of_a_ring_is_left_behind() {
    require_op!(MsgRingData);
    let _watchdog = watchdog();
    let here = Runtime::new().expect("a ring");
    let there = Runtime::new().expect("a ring");
    let before = Descriptors::now();
    let count = support::open_descriptors().len();
    for round in 0..4 {
        let (mailbox, address) = there.block_on(async {
            let mailbox = Mailbox::new(1).expect("a descriptor");
            let address = mailbox.address();
            (mailbox, address)
        });
        assert_eq!(support::open_descriptors().len(), count + 1, "the mailbox's own");
        let mut waiting = ops::message(&address, round);
        here.block_on(async {
            ops::message(&address, round).await.expect("there is room");
            assert!(poll_once(&mut waiting).is_pending(), "there is room for one");
        });
        if round % 2 == 0 {
            drop(mailbox);
            before.assert_same(); // although one waits, and the address is known
        } else {
            there.block_on(async move { drop(mailbox) });
            before.assert_same();
        }
        assert!(address.is_closed());
        here.block_on(async {
            assert!(matches!(poll_once(&mut waiting), Poll::Ready(Err(_))));
            assert!(ops::message(&address, round).await.is_err());
        });
        before.assert_same();
    }
    // With an op under way, which is dropped there.
    let mailbox = there.block_on(async { Mailbox::new(1).expect("a descriptor") });
    let to = mailbox.address();
    here.block_on(async {
        let mut sent = ops::message(&to, 1);
        assert!(poll_once(&mut sent).is_pending(), "it was queued");
        drop(mailbox);
        assert_eq!(support::open_descriptors().len(), count + 1, "the op's own");
        drop(sent);
        yield_now().await;
    });
    settled(&here);
    before.assert_same();
    // And a mailbox that outlives its runtime, whose descriptors are gone, has none either.
    let mailbox = there.block_on(async { Mailbox::new(1).expect("a descriptor") });
    let to = mailbox.address();
    drop(there);
    assert!(support::open_descriptors().len() < count, "those of the ring");
    assert!(!support::open_descriptors().values().any(|what| what.contains("io_uring")) || to.is_closed());
    drop((mailbox, to));
}

/// Sends that are dropped at any moment: no cell and no slot is lost, and what was sent is received once.
#[test]
fn sends_dropped_at_any_moment() {
    require_op!(MsgRingSendFd);
    let _watchdog = watchdog();
    let mut rng = Rng::from_env();
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        let table = FdTable::new(3).expect("no table yet");
        let mut mailbox = Mailbox::with_table(2, &table).expect("a descriptor");
        let seed = rng.next_u64();
        let sender = sending(mailbox.address(), async move |to, own| {
            let mut rng = Rng::new(seed);
            let file = ops::open_direct("Cargo.toml", own.reserve().expect("free")).await.expect("there");
            for _ in 0..rounds(20_000) {
                if rng.one_in(2) {
                    let mut send = ops::message(&to, 1);
                    let _ = poll_once(&mut send);
                    if rng.one_in(2) {
                        yield_now().await;
                    }
                } else {
                    let mut send = ops::pass_fd(&to, &file);
                    let _ = poll_once(&mut send);
                    if rng.one_in(2) {
                        yield_now().await;
                    }
                }
                if rng.one_in(4) {
                    yield_now().await;
                }
            }
            // All cells are free but for what waits to be received.
            ops::message(&to, 99).await.expect("open");
            ops::message(&to, 98).await.expect("open");
        });
        loop {
            match mailbox.receive().await.expect("open") {
                Mail::Message(98) => break,
                Mail::Message(n) => assert!(n == 1 || n == 99),
                Mail::File(file) => {
                    if rng.one_in(8) {
                        assert_eq!(ops::read(&file, [0; 4]).at(0).await.0.expect("open"), 4);
                    }
                }
            }
        }
        sender.join().expect("no panic");
        assert!(mailbox.is_empty());
        while table.available() < 3 {
            time::sleep(Duration::from_micros(200)).await;
        }
        drop(mailbox);
    });
    settled(&runtime);
}

/// A table of one slot for a mailbox, and one end of a pair of sockets to be passed to it, with the other end.
async fn one_to_pass() -> (FdTable, ops::FixedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    theirs.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
    let table = FdTable::new(1).expect("no table yet");
    let file = table.install(OwnedFd::from(ours)).expect("free");
    (table, file, theirs)
}

/// A send that waits for a slot at the receiver does not outlast the mailbox, and the file is the sender's still.
#[test]
fn a_send_that_waits_for_a_slot_ends_with_the_mailbox() {
    require_op!(MsgRingData);
    let _watchdog = watchdog();
    let (receiver, sender) = (Runtime::new().expect("a ring"), Runtime::new().expect("a ring"));
    let (mailbox, _held) = receiver.block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        let held = table.reserve().expect("free");
        (Mailbox::with_table(2, &table).expect("a descriptor"), held)
    });
    let to = mailbox.address();
    let (_table, file, mut theirs) = sender.block_on(one_to_pass());
    let mut send = ops::pass_fd(&to, file);
    sender.block_on(async { assert!(poll_once(&mut send).is_pending()) });
    receiver.block_on(async { drop(mailbox) });
    let (sent, file) = sender.block_on(send);
    assert_eq!(sent.expect_err("gone").kind(), io::ErrorKind::BrokenPipe);
    sender.block_on(async { ops::send(&file, "still").await.0 }).expect("it was not passed");
    theirs.read_exact(&mut [0; 5]).expect("sent");
}

/// A file that has arrived, and that nobody took out of the mailbox, is closed with it.
#[test]
fn a_file_that_nobody_received_is_closed() {
    require_op!(MsgRingData);
    let _watchdog = watchdog();
    let (receiver, sender) = (Runtime::new().expect("a ring"), Runtime::new().expect("a ring"));
    let (mailbox, table) = receiver.block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        (Mailbox::with_table(1, &table).expect("a descriptor"), table)
    });
    let to = mailbox.address();
    let (_table, file, mut theirs) = sender.block_on(one_to_pass());
    let (sent, file) = sender.block_on(async { ops::pass_fd(&to, file).await });
    match sent {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return skip(error.to_string()),
        sent => sent.expect("there is a slot"),
    }
    sender.block_on(async { drop(file) });
    settled(&sender);
    receiver.block_on(async {
        while mailbox.is_empty() {
            yield_now().await;
        }
        drop(mailbox);
        while table.available() == 0 {
            time::sleep(Duration::from_micros(200)).await;
        }
    });
    settled(&receiver);
    assert_eq!(theirs.read(&mut [0; 1]).expect("closed"), 0);
}

/// A completion names one of 8192 mailboxes; those that are gone do not count.
#[test]
fn a_mailbox_that_is_gone_leaves_its_place() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        for _ in 0..8200 {
            drop(Mailbox::new(1).expect("a place"));
        }
    });
}
