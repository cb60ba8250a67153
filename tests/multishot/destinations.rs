//! Results that go into channels and tasks, or come as a stream.
//!
//! Knows: the destinations, every kind of channel. Does not know: how a destination waits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FusedStream;
use millstream::channel::{self, Destination};
use millstream::combinators::adapters;
use millstream::combinators::{Delivered, End, OneOf2, OperationExt, ResultsExt};
use millstream::ops::{self, Fd, IntoResult};
use millstream::{JoinHandle, Results, Runtime, race, spawn, time};

use crate::support::{
    Out, accept_plainly, begin, both, clients, errno, listener, own_ports, ports, settle, turn, until,
};

/// Runs a test with every kind of channel and several capacities, with multishot and without.
fn every_channel(test: impl AsyncFn(&mut dyn FnMut() -> Pair)) {
    both(async || {
        for capacity in [0, 1, 3, 64] {
            test(&mut || pair(channel::bounded(capacity))).await;
            test(&mut || pair(channel::local(capacity))).await;
            test(&mut || pair(channel::spsc(capacity))).await;
        }
    });
}

/// A channel, with its sending end behind what starts an op into it.
struct Pair {
    start: Box<dyn FnOnce(Fd, usize) -> JoinHandle<Delivered>>,
    stop: Rc<RefCell<Option<channel::oneshot::Sender<()>>>>,
    out: Box<dyn Receive>,
}

trait Receive {
    fn take(&mut self) -> std::pin::Pin<Box<dyn Future<Output = Option<Fd>> + '_>>;
}

impl<O: Out<Fd>> Receive for O {
    fn take(&mut self) -> std::pin::Pin<Box<dyn Future<Output = Option<Fd>> + '_>> {
        Box::pin(Out::take(self))
    }
}

fn pair<D: Destination<Fd> + 'static, O: Out<Fd>>((end, out): (D, O)) -> Pair {
    let (stop, stopped) = channel::oneshot();
    Pair {
        start: Box::new(move |fd, backlog| {
            let op = ops::accept_multishot(&fd).backlog(backlog).will_push(end);
            spawn(op.with_cancel(stopped))
        }),
        stop: Rc::new(RefCell::new(Some(stop))),
        out: Box::new(out),
    }
}

#[test]
fn a_slow_receiver_gets_everything_in_order() {
    every_channel(async |make| {
        for backlog in [1, 2, 16] {
            let Pair { start, stop, mut out } = make();
            let (fd, address) = listener();
            let task = start(fd, backlog);
            let clients = clients(address, 40);
            let mut accepted = Vec::new();
            for n in 0..40 {
                if n % 13 == 0 {
                    settle().await;
                }
                accepted.push(out.take().await.expect("a connection"));
            }
            assert_eq!(ports(&accepted), own_ports(&clients));
            drop(stop.take());
            let delivered = task.await.expect("no panic");
            assert_eq!((delivered.count, errno(delivered.end)), (40, Some(libc::ECANCELED)));
            assert!(out.take().await.is_none(), "the channel is closed with the op");
        }
    });
}

#[test]
fn a_channel_that_is_closed_ends_it_and_the_rest_is_there_for_others() {
    every_channel(async |make| {
        for idle in [true, false] {
            let Pair { start, stop, mut out } = make();
            let (fd, address) = listener();
            let task = start(fd.clone(), 4);
            let all = if idle { Vec::new() } else { clients(address, 100) };
            let mut accepted = Vec::new();
            if !idle {
                for _ in 0..3 {
                    accepted.push(out.take().await.expect("a connection"));
                }
            }
            settle().await;
            drop(out); // and what is in it is closed
            let delivered = task.await.expect("no panic");
            assert_eq!(delivered.end.expect("no error"), End::Closed);
            let missing = all.len() - delivered.count as usize;
            let rest = accept_plainly(&fd, missing).await;
            assert_eq!(ports(&rest), own_ports(&all)[all.len() - missing..]);
            drop(stop);
        }
    });
}

#[test]
fn asked_to_stop_it_delivers_what_fits_and_leaves_the_rest() {
    every_channel(async |make| {
        let Pair { start, stop, mut out } = make();
        let (fd, address) = listener();
        let task = start(fd.clone(), 8);
        let all = clients(address, 30);
        let mut accepted = vec![out.take().await.expect("a connection")];
        settle().await;
        stop.take().expect("once").push(()).expect("it waits");
        let delivered = task.await.expect("no panic");
        assert_eq!(errno(delivered.end), Some(libc::ECANCELED));
        while let Some(connection) = out.take().await {
            accepted.push(connection);
        }
        assert_eq!(accepted.len() as u64, delivered.count);
        let missing = all.len() - accepted.len();
        accepted.extend(accept_plainly(&fd, missing).await);
        assert_eq!(ports(&accepted), own_ports(&all));
    });
}

#[test]
fn dropped_with_a_full_channel_it_loses_no_connection() {
    both(async || {
        for lost_race in [false, true] {
            let (fd, address) = listener();
            let (tx, rx) = channel::bounded(2);
            let all = clients(address, 20);
            let op = ops::accept_multishot(&fd).backlog(4).will_push(tx);
            if lost_race {
                let full = async { until(|| rx.len() == 2).await };
                let winner = adapters::future(full);
                assert!(matches!(race!(op || winner).await, OneOf2::B(_)));
            } else {
                let task = spawn(op);
                until(|| rx.len() == 2).await;
                task.cancel();
                assert!(task.await.is_err());
            }
            let mut accepted = Vec::new();
            while let Ok(connection) = rx.pop().await {
                accepted.push(connection);
            }
            assert_eq!(accepted.len(), 2);
            accepted.extend(accept_plainly(&fd, 18).await);
            assert_eq!(ports(&accepted), own_ports(&all), "lost a race: {lost_race}");
        }
    });
}

#[test]
fn several_push_into_one_channel() {
    both(async || {
        let (tx, rx) = channel::bounded(1);
        let listeners: Vec<_> = (0..3).map(|_| listener()).collect();
        let tasks: Vec<_> = listeners
            .iter()
            .map(|(fd, _)| spawn(ops::accept_multishot(fd).backlog(2).will_push(tx.clone())))
            .collect();
        drop(tx);
        let mut all = BTreeSet::new();
        let mut clients = Vec::new();
        for (_, address) in &listeners {
            clients.extend(crate::support::clients(*address, 20));
        }
        // Both ports, since clients of different listeners may have the same.
        let of =
            |client: &TcpStream| (client.local_addr().unwrap().port(), client.peer_addr().unwrap().port());
        let ends: BTreeSet<_> = clients.iter().map(of).collect();
        for _ in 0..60 {
            let connection = rx.pop().await.expect("a connection");
            let (here, there) = (connection.local_addr().unwrap(), connection.peer_addr().unwrap());
            assert!(all.insert((there.port(), here.port())));
        }
        assert_eq!(all, ends);
        drop(rx);
        for task in tasks {
            assert_eq!(task.await.expect("no panic").end.expect("no error"), End::Closed);
        }
    });
}

#[test]
fn every_result_becomes_a_task_so_many_at_once() {
    both(async || {
        let (fd, address) = listener();
        let (now, most, done) =
            (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
        let serving = spawn({
            let (now, most, done) = (now.clone(), most.clone(), done.clone());
            let server = ops::accept_multishot(&fd).backlog(2).will_spawn(move |connection: Fd| {
                let (now, most, done) = (now.clone(), most.clone(), done.clone());
                async move {
                    now.set(now.get() + 1);
                    most.set(most.get().max(now.get()));
                    until(|| most.get() >= 3).await; // there are enough connections, so it does become so many
                    turn().await;
                    done.borrow_mut().extend(ports([&connection]));
                    now.set(now.get() - 1);
                }
            });
            server.limit(3)
        });
        let clients = clients(address, 40);
        until(|| done.borrow().len() == 40).await;
        let (mut done, mut all) = (done.take(), own_ports(&clients));
        done.sort_unstable();
        all.sort_unstable();
        assert_eq!(done, all);
        assert_eq!(most.get(), 3, "tasks at once");
        serving.cancel();
        assert!(serving.await.is_err());
    });
}

#[test]
fn at_its_limit_it_is_stopped_and_leaves_the_rest() {
    both(async || {
        let (fd, address) = listener();
        let all = clients(address, 10);
        let kept = Rc::new(RefCell::new(Vec::new()));
        let (stop, stopped) = channel::oneshot::<()>();
        let serving = spawn({
            let kept = kept.clone();
            let server = ops::accept_multishot(&fd).will_spawn(move |connection: Fd| {
                kept.borrow_mut().push(connection);
                std::future::pending::<()>()
            });
            server.limit(4).with_cancel(stopped)
        });
        until(|| kept.borrow().len() == 4).await;
        settle().await;
        assert_eq!(kept.borrow().len(), 4);
        drop(stop);
        let delivered = serving.await.expect("no panic");
        assert_eq!((delivered.count, errno(delivered.end)), (4, Some(libc::ECANCELED)));
        let mut accepted = kept.take();
        accepted.extend(accept_plainly(&fd, 6).await);
        assert_eq!(ports(&accepted), own_ports(&all));
    });
}

#[test]
fn a_panic_of_the_closure_costs_its_own_result_only() {
    both(async || {
        let (fd, address) = listener();
        let served = Rc::new(Cell::new(0));
        let serving = spawn({
            let (served, mut nth) = (served.clone(), 0);
            ops::accept_multishot(&fd).will_spawn(move |_connection: Fd| {
                nth += 1;
                assert!(nth % 2 == 0, "every other one");
                served.set(served.get() + 1);
                async {}
            })
        });
        let _clients = clients(address, 10);
        until(|| served.get() == 5).await;
        serving.cancel();
        assert!(serving.await.is_err());
    });
}

/// Results without end, and nothing in flight.
struct Endless;

impl Results for Endless {
    type Item = ();
    type End = io::Result<()>;

    fn poll_next(&mut self, _cx: &mut Context<'_>) -> Poll<ControlFlow<io::Result<()>>> {
        Poll::Ready(ControlFlow::Continue(()))
    }

    fn give_back(&mut self, (): ()) {}

    fn request_cancel(&mut self) {}

    fn poll_discard(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// A waker that panics.
#[derive(Default)]
struct Bomb(AtomicUsize);

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("planted: a waker that panics");
    }
}

/// A future that panics as it goes.
struct Fuse;

impl Future for Fuse {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        panic!("planted: a destructor that panics");
    }
}

/// The place of a task is given up while the panic of its destructor is under way: a second one would end the process.
#[test]
fn a_waker_that_panics_where_a_destructor_does_costs_nobody_anything() {
    let _held = begin();
    let runtime = Runtime::new().expect("io_uring");
    runtime.block_on(async {
        let bomb = Arc::new(Bomb::default());
        let waker = Waker::from(bomb.clone());
        let mut cx = Context::from_waker(&waker);
        let mut serving = pin!(Endless.will_spawn(|()| Fuse).limit(1));
        for n in 1..=3 {
            assert!(serving.as_mut().poll(&mut cx).is_pending(), "the limit is reached");
            assert_eq!((serving.count(), serving.tasks()), (n, 1));
            until(|| serving.tasks() == 0).await;
            assert_eq!(bomb.0.load(Ordering::Relaxed) as u64, n, "whoever waits for a place is woken");
        }
    });
}

#[test]
fn a_stream_ends_with_the_op_and_stays_ended() {
    let _held = begin();
    Runtime::new().expect("io_uring").block_on(async {
        let mut ticks = ops::timeout_multishot(Duration::from_millis(1)).count(5).stream();
        let mut passed = 0;
        while let Some(periods) = ticks.next().await {
            passed += periods.expect("a tick");
        }
        assert_eq!(passed, 5);
        assert!(ticks.is_terminated());
        assert!(ticks.next().await.is_none());

        let (fd, address) = listener();
        let mut accepts = ops::accept_multishot(&fd).stream();
        let all = clients(address, 3);
        let mut accepted = vec![accepts.next().await.expect("not over").expect("a connection")];
        // A future of the next item that is given up loses nothing.
        for _ in 0..5 {
            let next = adapters::future(accepts.next());
            if let OneOf2::A(Ok(Some(Ok(connection)))) = race!(next || time::sleep(Duration::ZERO)).await {
                accepted.push(connection);
            }
        }
        accepts.request_cancel();
        let mut end = None;
        while let Some(next) = accepts.next().await {
            match next {
                Ok(connection) => accepted.push(connection),
                Err(error) => end = Some(error),
            }
        }
        assert_eq!(end.and_then(|error| error.raw_os_error()), Some(libc::ECANCELED));
        let missing = 3 - accepted.len();
        accepted.extend(accept_plainly(&fd, missing).await);
        assert_eq!(ports(&accepted), own_ports(&all));
    });
}

#[test]
fn an_error_of_the_op_is_the_outcome() {
    let _held = begin();
    Runtime::new().expect("io_uring").block_on(async {
        let bad = || async { ops::socket(libc::AF_INET, libc::SOCK_STREAM, 0).await.expect("a socket") };
        let (tx, rx) = channel::spsc(1);
        let outcome: io::Result<u64> = ops::accept_multishot(bad().await).will_push(tx).await.into_result();
        assert_eq!(errno(outcome), Some(libc::EINVAL));
        drop(rx);
        let outcome = ops::accept_multishot(bad().await).will_spawn(async |_| ()).await.into_result();
        assert_eq!(errno(outcome), Some(libc::EINVAL));
        let mut stream = ops::accept_multishot(bad().await).stream();
        assert_eq!(errno(stream.next().await.expect("an item")), Some(libc::EINVAL));
        assert!(stream.next().await.is_none());
    });
}

/// Compiles: what may go to another thread before it is begun.
#[test]
fn an_op_into_a_channel_of_threads_can_be_sent() {
    let _held = begin();
    fn send<T: Send>(value: T) -> T {
        value
    }
    let (fd, _address) = listener();
    let (tx, _rx) = channel::bounded(1);
    drop(send(ops::accept_multishot(&fd).will_push(tx)));
    let (tx, _rx) = channel::spsc(1);
    drop(send(ops::accept_multishot(&fd).will_push(tx)));
    drop(send(ops::accept_multishot(&fd).stream()));
}
