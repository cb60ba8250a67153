//! Accepts into slots, several in flight, and accepts from a listener that is in a slot itself: every client gets to somebody,
//! once, and every slot comes back.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes; their number is asked for.

#[path = "support/slots.rs"]
mod slots;
mod support;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures::StreamExt;
use millstream::combinators::adapters::future;
use millstream::combinators::{
    Delivered, OneOf2, ResultsExt, RingOperationExt, WillPush, when_all, when_any,
};
use millstream::ops::requests::{Accept, AcceptDirect, AcceptDirectMultishot, AcceptMultishot};
use millstream::ops::{self, AnyFd, Fd, FdTable, FixedFd, IntoFd, Multishot, Op};
use millstream::{Operation, Results, Runtime, channel, time, yield_now};
use slots::{assert_available, client, in_kernel, item, listen, next, number_of, settled};
use support::{Descriptors, Rng, TempDir, Watchdog, rounds};

/// One test at a time, since some count the descriptors of the process, and none for longer than this.
fn watchdog() -> (MutexGuard<'static, ()>, Watchdog) {
    (support::alone(), Watchdog::new(Duration::from_secs(300)))
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls what has nothing to give yet.
async fn begin<R: Results<End = io::Result<()>>>(results: &mut R) {
    let polled = poll_fn(|cx| Poll::Ready(results.poll_next(cx).is_pending())).await;
    assert!(polled, "nobody has connected");
    in_kernel().await;
}

fn clients(address: SocketAddr, numbers: std::ops::Range<u8>) -> Vec<TcpStream> {
    numbers.map(|number| client(address, number)).collect()
}

/// Half of what is free is left to others, and the rest is in flight at once, up to the backlog.
#[test]
fn as_many_are_in_flight_as_half_of_the_slots_and_the_backlog_allow() {
    let _watchdog = watchdog();
    for (slots, backlog, expected) in
        [(1, 8, 1), (2, 8, 1), (3, 8, 2), (8, 8, 4), (64, 8, 8), (64, 3, 3), (64, 0, 1)]
    {
        let runtime = Runtime::new().expect("a ring");
        let (listener, _) = listen();
        runtime.block_on(async {
            let table = FdTable::new(slots).expect("no table yet");
            let before = runtime.stats();
            let mut accepts = ops::accept_direct_multishot(&listener, &table).backlog(backlog);
            begin(&mut accepts).await;
            assert_eq!(runtime.stats().in_flight - before.in_flight, expected, "of {slots}");
            assert_eq!(table.available(), slots as usize - expected);
            begin(&mut accepts).await;
            assert_eq!(runtime.stats().in_flight - before.in_flight, expected, "of {slots}, once more");
            drop(accepts);
            assert_available(&table, slots as usize).await;
        });
        settled(&runtime);
    }
}

/// More clients than accepts come between two turns of the loop: each accept takes one, in order, before anybody looks.
#[test]
fn clients_that_come_together_are_accepted_together_and_in_order() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(32).expect("no table yet");
        let mut accepts = ops::accept_direct_multishot(&listener, &table).backlog(4);
        begin(&mut accepts).await;
        let clients = clients(address, 0..12);
        let completions = runtime.stats().completions;
        in_kernel().await;
        assert_eq!(runtime.stats().completions - completions, 3 + 4, "of three nops and four accepts");
        let mut held = Vec::new();
        for number in 0..12 {
            let connection = item(&mut accepts).await;
            assert_eq!(number_of(&connection).await, number);
            held.push(connection);
        }
        drop((clients, held, accepts));
        assert_available(&table, 32).await;
    });
    settled(&runtime);
}

/// However it ends, connections that it has accepted and nobody took are the next accept's, oldest first.
#[test]
fn what_it_has_accepted_is_for_the_next_however_it_ends() {
    let _watchdog = watchdog();
    for how in 0..6 {
        let runtime = Runtime::new().expect("a ring");
        let (listener, address) = listen();
        runtime.block_on(async {
            let table = FdTable::new(32).expect("no table yet");
            let mut accepts = ops::accept_direct_multishot(&listener, &table).backlog(4);
            begin(&mut accepts).await;
            let clients = clients(address, 0..9);
            in_kernel().await;
            let mut first = 0;
            if how > 0 {
                let taken = item(&mut accepts).await; // three wait, and as many as that are in flight
                if how == 2 {
                    accepts.give_back(taken);
                } else {
                    assert_eq!(number_of(taken).await, 0);
                    first = 1;
                }
            }
            match how {
                3 => poll_fn(|cx| accepts.poll_discard(cx)).await,
                4 => {
                    accepts.request_cancel();
                    accepts.request_cancel();
                    let end = loop {
                        match next(&mut accepts).await {
                            ControlFlow::Continue(connection) => {
                                assert_eq!(number_of(connection).await, first);
                                first += 1;
                            }
                            ControlFlow::Break(end) => break end,
                        }
                    };
                    assert_eq!(end.expect_err("stopped").raw_os_error(), Some(libc::ECANCELED));
                    assert!(first >= 4, "what had come is given out: {first}");
                }
                5 => drop(thread::scope(|scope| scope.spawn(|| drop(accepts)).join())),
                _ => drop(accepts),
            }
            let mut again = ops::accept_direct_multishot(&listener, &table);
            for number in first..9 {
                assert_eq!(number_of(item(&mut again).await).await, number, "{how}");
            }
            drop((clients, again));
            assert_available(&table, 32).await;
        });
        settled(&runtime);
    }
}

/// Somebody else takes the client that the oldest of them was woken for: it goes to the end of the line, and what it gets later
/// comes later.
#[test]
fn the_order_is_that_of_the_kernel_and_not_of_the_accepts() {
    let _watchdog = watchdog();
    for dropped in [false, true] {
        let runtime = Runtime::new().expect("a ring");
        let (listener, address) = listen();
        let theirs = TcpListener::from(listener.as_fd().try_clone_to_owned().expect("a descriptor"));
        runtime.block_on(async {
            let table = FdTable::new(16).expect("no table yet");
            let mut accepts = ops::accept_direct_multishot(&listener, &table).backlog(3);
            begin(&mut accepts).await;
            let _stolen = client(address, 0);
            drop(theirs.accept().expect("it is there")); // before this thread hears of it
            in_kernel().await;
            let _clients = clients(address, 1..4);
            in_kernel().await;
            if dropped {
                drop(accepts);
                accepts = ops::accept_direct_multishot(&listener, &table);
            }
            for number in 1..4 {
                assert_eq!(number_of(item(&mut accepts).await).await, number, "{dropped}");
            }
            drop(accepts);
            assert_available(&table, 16).await;
        });
        settled(&runtime);
    }
}

/// What waits goes back to the listener, and not to those beside it that end with it.
#[test]
fn dropped_it_leaves_everything_in_the_order_it_came() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(32).expect("no table yet");
        for discarded in [false, true] {
            let mut accepts = ops::accept_direct_multishot(&listener, &table);
            begin(&mut accepts).await;
            let clients = clients(address, 0..5);
            in_kernel().await;
            assert_eq!(number_of(item(&mut accepts).await).await, 0);
            assert!(table.available() <= 32 - 4 - 3, "four wait, and others are in flight");
            if discarded {
                poll_fn(|cx| accepts.poll_discard(cx)).await;
            }
            drop(accepts);
            let mut again = ops::accept_direct_multishot(&listener, &table);
            for number in 1..5 {
                assert_eq!(number_of(item(&mut again).await).await, number, "{discarded}");
            }
            drop((clients, again));
            assert_available(&table, 32).await;
        }
    });
    settled(&runtime);
}

/// The queue has room for two entries: an accept that has found a connection in a slot keeps it until its own is queued.
#[test]
fn what_waits_in_slots_is_given_out_through_a_small_queue() {
    require_op!(FixedFdInstall);
    let _watchdog = watchdog();
    let runtime = Runtime::builder().sq_entries(2).build().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(32).expect("no table yet");
        let mut accepts = ops::accept_direct_multishot(&listener, &table);
        begin(&mut accepts).await;
        let _clients = clients(address, 0..8);
        in_kernel().await;
        assert_eq!(number_of(item(&mut accepts).await).await, 0);
        drop(accepts);
        in_kernel().await;
        let all: Vec<_> = (1..8).map(|_| ops::accept(&listener)).collect();
        let mut numbers = Vec::new();
        for connection in when_all(all).await {
            numbers.push(number_of(&connection.expect("one waits")).await);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
        assert_available(&table, 32).await;
    });
    settled(&runtime);
}

/// One in flight is given what another leaves, and had accepted one by then, which nobody knew: that is left in turn.
#[test]
fn one_that_is_given_a_connection_leaves_its_own() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(4).expect("no table yet");
        for round in 0..rounds(500).max(20) {
            let (mut older, slot) = (ops::accept(&listener), table.reserve().expect("free"));
            let mut newer = ops::accept_direct(&listener, slot);
            let first = clients(address, 0..1);
            older = older.always_async();
            assert!(poll_once(&mut older).is_pending());
            in_kernel().await;
            thread::sleep(Duration::from_micros(300)); // a worker thread has accepted it
            in_kernel().await;
            let second = clients(address, 1..2);
            newer = newer.always_async();
            assert!(poll_once(&mut newer).is_pending());
            ops::nop().await.expect("a nop");
            thread::sleep(Duration::from_micros(300)); // and of this one nothing is known
            drop(older);
            let one = number_of(&newer.await.expect("a client")).await;
            let next = ops::accept_direct(&listener, table.reserve().expect("free")).await;
            let other = number_of(&next.expect("one waits")).await;
            assert_eq!((one.min(other), one.max(other)), (0, 1), "round {round}");
            drop((first, second));
            assert_available(&table, 4).await;
        }
    });
    settled(&runtime);
}

/// Given back after the end it is the next accept's, too.
#[test]
fn what_is_given_back_after_the_end_waits_on_the_listener() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let (listener, address) = listen();
        let table = FdTable::new(4).expect("no table yet");
        let _clients = clients(address, 0..1);
        let mut accepts = ops::accept_direct_multishot(&listener, &table);
        let connection = item(&mut accepts).await;
        accepts.request_cancel();
        let ControlFlow::Break(Err(_)) = next(&mut accepts).await else { panic!("it was stopped") };
        accepts.give_back(connection);
        let again = ops::accept_direct(&listener, table.reserve().expect("free")).await.expect("it waits");
        assert_eq!(number_of(again).await, 0);
    });
}

/// The first of several has an error that is the listener's: the others are stopped, and it ends once.
#[test]
fn an_error_of_the_listener_ends_all_of_them() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        let (listener, _) = listen();
        let table = FdTable::new(16).expect("no table yet");
        let mut accepts = ops::accept_direct_multishot(&listener, &table).backlog(4);
        begin(&mut accepts).await;
        ops::shutdown(&listener, std::net::Shutdown::Both).await.expect("a socket");
        let ControlFlow::Break(Err(error)) = next(&mut accepts).await else { panic!("nobody has connected") };
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        assert_eq!(runtime.stats().in_flight, 0, "nothing is left in flight");
        assert_available(&table, 16).await;
        let mut accepts = ops::accept_direct_multishot(&listen().0, &table).backlog(4);
        begin(&mut accepts).await;
        accepts.request_cancel();
        let ControlFlow::Break(Err(error)) = next(&mut accepts).await else { panic!("nobody has connected") };
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    });
    settled(&runtime);
}

/// What one accept into a slot leaves behind is given to another that is in flight, as it is.
#[test]
fn a_connection_in_a_slot_is_given_to_one_in_flight() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(8).expect("no table yet");
        for several in [false, true] {
            let mut left = ops::accept_direct(&listener, table.reserve().expect("free"));
            assert!(poll_once(&mut left).is_pending());
            in_kernel().await;
            let mut one = ops::accept_direct(&listener, table.reserve().expect("free"));
            let mut more = ops::accept_direct_multishot(&listener, &table);
            if several {
                begin(&mut more).await;
            } else {
                assert!(poll_once(&mut one).is_pending());
                in_kernel().await;
            }
            let _client = client(address, 7);
            in_kernel().await;
            drop(left);
            let limit = time::sleep(Duration::from_secs(20));
            let given = async { if several { item(&mut more).await } else { one.await.expect("given") } };
            let given = future(Box::pin(given));
            match when_any((given, limit)).await {
                OneOf2::A(given) => assert_eq!(number_of(given.expect("not stopped")).await, 7),
                OneOf2::B(()) => panic!("nobody was given the connection"),
            }
        }
        assert_available(&table, 8).await;
    });
    settled(&runtime);
}

/// A listener in a slot serves every op that accepts, and the others that only wait.
#[test]
fn a_listener_in_a_slot() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(8).expect("no table yet");
        let listener = table.install(listener).expect("free");
        let descriptors = Descriptors::now();
        let mut told = ops::poll_multishot(&listener, libc::POLLIN);
        let poll = poll_fn(|cx| Poll::Ready(told.poll_next(cx).is_pending())).await;
        assert!(poll, "nobody has connected");
        let all = clients(address, 0..8);
        assert_eq!(ops::poll_add(&listener, libc::POLLIN).await.expect("ready"), libc::POLLIN as u32);
        assert_eq!(item(&mut told).await, libc::POLLIN as u32);
        drop(told);
        assert_eq!(number_of(ops::accept(&listener).await.expect("a client")).await, 0);
        let mut multi = ops::accept_multishot(&listener).backlog(1);
        assert_eq!(number_of(item(&mut multi).await).await, 1);
        drop(multi); // and leaves what it had accepted beyond that
        let slot = ops::accept_direct(&listener, table.reserve().expect("free")).await.expect("a client");
        assert_eq!(number_of(slot).await, 2);
        let mut direct = Box::pin(ops::accept_direct_multishot(&listener, &table).stream());
        for number in 3..8 {
            assert_eq!(number_of(direct.next().await.expect("a client").expect("no error")).await, number);
        }
        drop(direct);
        in_kernel().await;
        drop(all);
        let mut waiting = ops::accept(&listener);
        assert!(poll_once(&mut waiting).is_pending());
        in_kernel().await;
        assert_eq!(ops::cancel(&listener).await.expect("it is on no worker"), 1);
        assert_eq!(waiting.await.expect_err("stopped").raw_os_error(), Some(libc::ECANCELED));
        descriptors.assert_same();
        assert_available(&table, 7).await;
    });
    settled(&runtime);
}

/// From the socket to the connection, nothing has a descriptor.
#[test]
fn a_listener_that_never_had_a_descriptor() {
    require_op!(Bind, Listen);
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(4).expect("no table yet");
        let (dir, slot) = (TempDir::new(), table.reserve().expect("free"));
        let path = dir.join("socket");
        let (made, bound, listens) = (ops::socket_direct(libc::AF_UNIX, libc::SOCK_STREAM, 0, &slot)
            >> ops::bind(&slot, ops::Address::unix(&path).expect("short"))
            >> ops::listen(&slot, 4))
        .await;
        made.and(bound.and(listens).map(|()| slot.clone())).expect("in order");
        let mut client = UnixStream::connect(&path).expect("it listens");
        client.write_all(&[9]).expect("room");
        assert_eq!(number_of(ops::accept(&slot).await.expect("a client")).await, 9);
    });
}

/// What was accepted from a listener that another file has taken the place of is nobody's, and is closed.
#[test]
fn connections_of_a_listener_that_was_replaced_are_closed() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let ((old, old_address), (new, new_address)) = (listen(), listen());
    runtime.block_on(async {
        let table = FdTable::new(8).expect("no table yet");
        let slot = table.install(old).expect("free");
        let mut one = ops::accept(&slot);
        let mut more = ops::accept_multishot(&slot);
        let mut direct = ops::accept_direct_multishot(&slot, &table);
        assert!(poll_once(&mut one).is_pending());
        begin(&mut more).await;
        begin(&mut direct).await;
        let mut orphans = clients(old_address, 0..5);
        in_kernel().await;
        // In the listener's place, by the only way that this can be had of a slot that is held: an accept into it.
        let stands_in = client(new_address, 1);
        ops::accept_direct(new, &slot).await.expect("a client");
        drop((one, more, direct));
        in_kernel().await;
        assert_eq!(number_of(&slot).await, 1);
        for orphan in &mut orphans {
            orphan.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
            let end = orphan.read(&mut [0; 1]);
            let reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
            assert!(matches!(&end, Ok(0)) || end.as_ref().is_err_and(reset), "{end:?}");
        }
        drop((stands_in, slot));
        assert_available(&table, 8).await;
    });
    settled(&runtime);
}

/// An accept into the very slot that its listener is in: what it leaves is not left to itself, which would keep it for ever.
#[test]
fn a_connection_in_the_place_of_its_own_listener() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        for dropped in [false, true] {
            let (listener, address) = listen();
            let slot = table.install(listener).expect("free");
            let _client = client(address, 3);
            let mut accept = ops::accept_direct(&slot, &slot);
            assert!(poll_once(&mut accept).is_pending());
            in_kernel().await;
            if !dropped {
                assert_eq!(number_of(accept.await.expect("a client")).await, 3);
            } else {
                drop(accept);
            }
            drop(slot);
            assert_available(&table, 1).await;
        }
    });
    settled(&runtime);
}

/// Row F4: a listener in a slot is this ring's, and on another one it is refused.
#[test]
fn on_another_runtime_a_listener_in_a_slot_is_refused() {
    let _watchdog = watchdog();
    let home = Runtime::new().expect("a ring");
    let (listener, address) = listen();
    let theirs = home.block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        table.install(listener).expect("free")
    });
    let _client = client(address, 1);
    Runtime::new().expect("a ring").block_on(async {
        let table = FdTable::new(4).expect("no table yet");
        // A file in the same slot here, which must not be taken for the listener.
        let _own = table.install(listen().0).expect("free");
        let refused = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        refused(ops::accept(&theirs).await.expect_err("elsewhere"));
        refused(ops::listen(&theirs, 1).await.expect_err("elsewhere"));
        refused(ops::cancel(&theirs).await.expect_err("elsewhere"));
        refused(ops::poll_add(&theirs, libc::POLLIN).await.expect_err("elsewhere"));
        let slot = table.reserve().expect("free");
        refused(ops::accept_direct(&theirs, slot).await.expect_err("elsewhere"));
        for end in [
            next(&mut ops::accept_multishot(&theirs)).await.break_value(),
            next(&mut ops::accept_direct_multishot(&theirs, &table)).await.break_value(),
            next(&mut ops::poll_multishot(&theirs, libc::POLLIN)).await.break_value(),
        ] {
            refused(end.expect("no result").expect_err("elsewhere"));
        }
    });
    home.block_on(async {
        assert_eq!(number_of(ops::accept(&theirs).await.expect("untouched")).await, 1);
    });
}

fn listening() -> (TempDir, Fd) {
    let dir = TempDir::new();
    let listener = UnixListener::bind(dir.join("socket")).expect("a path");
    (dir, listener.into())
}

// --- by chance ------------------------------------------------------------------------------------------------------

enum Connection {
    Fd(Fd),
    Slot(FixedFd),
}

/// Clients by their number, until somebody has accepted them.
#[derive(Default)]
struct Ledger {
    unseen: BTreeMap<u32, UnixStream>,
    next: u32,
    accepted: Vec<Connection>,
}

impl Ledger {
    fn connect(&mut self, path: &Path) {
        let mut client = UnixStream::connect(path).expect("the backlog has room");
        client.write_all(&self.next.to_ne_bytes()).expect("room");
        self.unseen.insert(self.next, client);
        self.next += 1;
    }

    /// Reads the numbers of those that were accepted since.
    async fn count(&mut self) {
        for connection in std::mem::take(&mut self.accepted) {
            let (n, number) = match &connection {
                Connection::Fd(fd) => ops::recv(fd, [0; 4]).await,
                Connection::Slot(slot) => ops::recv(slot, [0; 4]).await,
            };
            assert_eq!(n.expect("its number"), 4);
            let number = u32::from_ne_bytes(number);
            assert!(self.unseen.remove(&number).is_some(), "client {number} was accepted twice");
        }
    }
}

type Several<F> = AcceptDirectMultishot<F>;

enum Acceptor<F: AnyFd> {
    Several(Several<F>),
    Pushing(Box<WillPush<Several<F>, channel::Sender<FixedFd>>>, channel::Receiver<FixedFd>),
    One(Op<AcceptDirect<F>>),
    Plain(Op<Accept<F>>),
    Multi(Multishot<AcceptMultishot<F>>),
}

impl<F: AnyFd> Acceptor<F> {
    /// Polls once; `None` when it is over.
    fn poll(&mut self, cx: &mut Context<'_>, accepted: &mut Vec<Connection>) -> Option<()> {
        let ended = |error: io::Error| match error.raw_os_error() {
            Some(libc::ECANCELED) => None,
            _ => panic!("{error}"),
        };
        match self {
            Self::Several(accepts) => match accepts.poll_next(cx) {
                Poll::Ready(ControlFlow::Continue(slot)) => accepted.push(Connection::Slot(slot)),
                Poll::Ready(ControlFlow::Break(end)) => return ended(end.expect_err("stopped")),
                Poll::Pending => {}
            },
            Self::Multi(accepts) => match accepts.poll_next(cx) {
                Poll::Ready(ControlFlow::Continue(fd)) => accepted.push(Connection::Fd(fd)),
                Poll::Ready(ControlFlow::Break(end)) => return ended(end.expect_err("stopped")),
                Poll::Pending => {}
            },
            Self::Pushing(op, rx) => {
                let polled = Pin::new(&mut **op).poll(cx);
                accepted.extend(rx.try_pop().ok().map(Connection::Slot));
                if let Poll::Ready(Delivered { end, .. }) = polled {
                    accepted.extend(std::iter::from_fn(|| rx.try_pop().ok()).map(Connection::Slot));
                    return end.map_or_else(ended, |_| None);
                }
            }
            Self::One(op) => match Pin::new(op).poll(cx) {
                Poll::Ready(Ok(slot)) => {
                    accepted.push(Connection::Slot(slot));
                    return None;
                }
                Poll::Ready(Err(error)) => return ended(error),
                Poll::Pending => {}
            },
            Self::Plain(op) => match Pin::new(op).poll(cx) {
                Poll::Ready(Ok(fd)) => {
                    accepted.push(Connection::Fd(fd));
                    return None;
                }
                Poll::Ready(Err(error)) => return ended(error),
                Poll::Pending => {}
            },
        }
        Some(())
    }

    fn request_cancel(&mut self) {
        match self {
            Self::Several(accepts) => accepts.request_cancel(),
            Self::Multi(accepts) => accepts.request_cancel(),
            Self::Pushing(op, _) => Pin::new(&mut **op).request_cancel(),
            Self::One(op) => Pin::new(op).request_cancel(),
            Self::Plain(op) => Pin::new(op).request_cancel(),
        }
    }

    async fn discard(mut self, accepted: &mut Vec<Connection>) {
        poll_fn(|cx| match &mut self {
            Self::Several(accepts) => accepts.poll_discard(cx),
            Self::Multi(accepts) => accepts.poll_discard(cx),
            Self::Pushing(op, _) => Pin::new(&mut **op).poll_discard(cx),
            Self::One(op) => Pin::new(op).poll_discard(cx),
            Self::Plain(op) => Pin::new(op).poll_discard(cx),
        })
        .await;
        self.end(accepted);
    }

    /// Dropped; what is in its channel was accepted.
    fn end(self, accepted: &mut Vec<Connection>) {
        if let Self::Pushing(op, rx) = self {
            drop(op);
            accepted.extend(std::iter::from_fn(|| rx.try_pop().ok()).map(Connection::Slot));
        }
    }
}

const SLOTS: u32 = 12;

async fn storm<F: AnyFd + IntoFd<Fd = F>>(
    listener: F,
    path: &Path,
    table: &FdTable,
    rng: &mut Rng,
    steps: u64,
) {
    let mut ledger = Ledger::default();
    let mut acceptors: Vec<Acceptor<F>> = Vec::new();
    for _ in 0..steps {
        let nth = rng.below(acceptors.len().max(1) as u64) as usize;
        match rng.below(16) {
            0..4 if ledger.unseen.len() < 40 => ledger.connect(path),
            4 if acceptors.len() < 4 => {
                let several = ops::accept_direct_multishot(listener.clone(), table);
                let several = several.backlog(1 + rng.below(4) as usize);
                acceptors.push(match rng.below(8) {
                    0..3 => Acceptor::Several(several),
                    3 | 4 => {
                        let (tx, rx) = channel::bounded(rng.below(3) as usize);
                        Acceptor::Pushing(Box::new(several.will_push(tx)), rx)
                    }
                    5 => match table.reserve() {
                        Ok(slot) => Acceptor::One(ops::accept_direct(listener.clone(), slot)),
                        Err(_) => continue,
                    },
                    6 => Acceptor::Plain(ops::accept(listener.clone())),
                    _ => Acceptor::Multi(ops::accept_multishot(listener.clone()).backlog(1)),
                });
            }
            5..10 if !acceptors.is_empty() => {
                let (acceptor, accepted) = (&mut acceptors[nth], &mut ledger.accepted);
                let polled = poll_fn(|cx| Poll::Ready(acceptor.poll(cx, accepted))).await;
                if polled.is_none() {
                    drop(acceptors.swap_remove(nth));
                }
                ledger.count().await;
            }
            10 if !acceptors.is_empty() && rng.one_in(3) => {
                acceptors.swap_remove(nth).end(&mut ledger.accepted)
            }
            11 if !acceptors.is_empty() && rng.one_in(3) => acceptors[nth].request_cancel(),
            12 if !acceptors.is_empty() && rng.one_in(3) => {
                acceptors.swap_remove(nth).discard(&mut ledger.accepted).await;
            }
            // Now and then the kernel gets its turn; and every now and then it is waited for.
            _ if rng.one_in(8) => time::sleep(Duration::ZERO).await,
            _ if rng.one_in(8) => ops::nop().await.expect("a nop"),
            _ => yield_now().await,
        }
    }
    for acceptor in acceptors {
        acceptor.end(&mut ledger.accepted);
    }
    ledger.count().await;
    ledger.connect(path); // the accept of it waits until the last orphan has ended
    let mut rest = ops::accept_direct_multishot(listener, table);
    while !ledger.unseen.is_empty() {
        let connection = item(&mut rest).await;
        ledger.accepted.push(Connection::Slot(connection));
        ledger.count().await;
    }
    assert!(u64::from(ledger.next) > steps / 80, "only {} clients in {steps} steps", ledger.next);
}

#[test]
fn by_chance_every_client_is_accepted_once_and_every_slot_comes_back() {
    let _watchdog = watchdog();
    let mut rng = Rng::from_env();
    drop(Runtime::new()); // what the process keeps for good is there from now on
    let descriptors = Descriptors::now();
    for small in [false, true] {
        for in_slot in [false, true] {
            let builder = Runtime::builder();
            let builder = if small { builder.sq_entries(2).cq_entries(4) } else { builder };
            let runtime = builder.build().expect("a ring");
            runtime.block_on(async {
                let (dir, listener) = listening();
                let (path, table) = (dir.join("socket"), FdTable::new(SLOTS).expect("no table yet"));
                let steps = rounds(100_000);
                if in_slot {
                    let listener = table.install(listener).expect("free");
                    storm(listener, &path, &table, &mut rng, steps).await;
                } else {
                    storm(listener, &path, &table, &mut rng, steps).await;
                }
                assert_available(&table, SLOTS as usize).await;
            });
            settled(&runtime);
            assert_eq!(runtime.stats().orphans, 0);
        }
    }
    descriptors.assert_same();
}

/// While others hold every slot nothing is asked of the kernel, and clients wait in the backlog.
#[test]
fn a_table_that_others_have_filled_is_waited_for() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let (listener, address) = listen();
    runtime.block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let held = (table.reserve().expect("free"), table.reserve().expect("free"));
        let mut accepts = ops::accept_direct_multishot(&listener, &table);
        let all = clients(address, 0..3);
        begin(&mut accepts).await;
        assert_eq!(runtime.stats().in_flight, 0, "nothing is asked without a slot");
        drop(held.0);
        for number in 0..3 {
            assert_eq!(number_of(item(&mut accepts).await).await, number);
        }
        // Waiting for a slot it can be stopped.
        let held = (held.1, table.reserve());
        let mut accepts = accepts;
        begin(&mut accepts).await;
        accepts.request_cancel();
        let ControlFlow::Break(Err(error)) = next(&mut accepts).await else { panic!("nobody has connected") };
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
        drop((all, held));
        assert_available(&table, 2).await;
    });
    settled(&runtime);
}
