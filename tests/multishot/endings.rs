//! Every way to end, in every state: each connection goes to somebody, once, in order.
//!
//! Knows: the states of an accept that goes on, as its module draws them. Does not know: how they are kept.

use std::future::poll_fn;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Waker};
use std::thread;

use millstream::ops::requests::AcceptMultishot;
use millstream::ops::{self, Fd, Feature, Multishot};
use millstream::{Results, Runtime};

use crate::harness::Descriptors;
use crate::support::{
    accept_plainly, begin, both, clients, errno, item, listener, own_ports, poll_once, ports, rest, settle,
    without,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Built,
    Queued,
    Waiting,
    WithResults,
    Paused,
    AskedToStop,
}

const STATES: [At; 6] = [At::Built, At::Queued, At::Waiting, At::WithResults, At::Paused, At::AskedToStop];

struct Scene {
    listener: Fd,
    accepts: Multishot<AcceptMultishot>,
    clients: Vec<TcpStream>,
    taken: Vec<Fd>,
}

/// Polled until an entry of the right kind is in flight.
async fn wait(accepts: &mut Multishot<AcceptMultishot>) {
    for _ in 0..3 {
        assert!(poll_once(accepts).await.is_none(), "there are no clients");
        settle().await;
    }
}

/// An accept in a state.
async fn scene(at: At, listener: Fd, address: SocketAddr) -> Scene {
    let mut accepts = ops::accept_multishot(&listener).backlog(if at == At::Paused { 2 } else { 32 });
    let (mut all, mut taken) = (Vec::new(), Vec::new());
    match at {
        At::Built => all = clients(address, 3),
        At::Queued => {
            all = clients(address, 3);
            taken.extend(poll_once(&mut accepts).await);
        }
        At::Waiting => {
            wait(&mut accepts).await;
        }
        At::WithResults | At::Paused | At::AskedToStop => {
            all = clients(address, 6);
            taken.push(item(&mut accepts).await);
            settle().await;
            if at == At::AskedToStop {
                accepts.request_cancel();
            }
        }
    }
    Scene { listener, accepts, clients: all, taken }
}

impl Scene {
    /// The accept is gone: what it had not given out, and newer clients, are there for others.
    async fn check(mut self, at: At, address: SocketAddr, how: &str) {
        drop(self.accepts);
        self.clients.extend(clients(address, 2));
        let missing = self.clients.len() - self.taken.len();
        self.taken.extend(accept_plainly(&self.listener, missing).await);
        assert_eq!(ports(&self.taken), own_ports(&self.clients), "{how} when {at:?}");
    }
}

#[test]
fn dropped_in_any_state_it_loses_no_connection() {
    both(async || {
        for at in STATES {
            let (fd, address) = listener();
            let scene = scene(at, fd, address).await;
            scene.check(at, address, "dropped").await;
        }
    });
}

#[test]
fn discarded_in_any_state_it_loses_no_connection() {
    both(async || {
        for at in STATES {
            let (fd, address) = listener();
            let mut scene = scene(at, fd, address).await;
            poll_fn(|cx| scene.accepts.poll_discard(cx)).await;
            scene.check(at, address, "discarded").await;
        }
    });
}

#[test]
fn asked_to_stop_in_any_state_it_gives_what_came_and_then_its_end() {
    both(async || {
        for at in STATES {
            let (fd, address) = listener();
            let mut scene = scene(at, fd, address).await;
            scene.accepts.request_cancel();
            scene.accepts.request_cancel();
            let (came, end) = rest(&mut scene.accepts).await;
            scene.taken.extend(came);
            assert_eq!(errno(end), Some(libc::ECANCELED), "{at:?}");
            scene.check(at, address, "asked to stop").await;
        }
    });
}

#[test]
fn whoever_cancels_everything_on_the_listener_ends_it() {
    both(async || {
        let (fd, _address) = listener();
        let mut accepts = ops::accept_multishot(&fd);
        wait(&mut accepts).await;
        assert_eq!(ops::cancel(&fd).await.expect("nothing runs on a worker"), 1);
        let (came, end) = rest(&mut accepts).await;
        assert!(came.is_empty());
        assert_eq!(errno(end), Some(libc::ECANCELED));
    });
}

#[test]
fn a_listener_that_is_shut_down_ends_it() {
    both(async || {
        let (fd, address) = listener();
        let mut accepts = ops::accept_multishot(&fd);
        let _clients = clients(address, 1);
        item(&mut accepts).await;
        ops::shutdown(&fd, std::net::Shutdown::Both).await.expect("a socket");
        assert_eq!(errno(rest(&mut accepts).await.1), Some(libc::EINVAL));
    });
}

#[test]
fn what_was_given_out_can_be_given_back() {
    both(async || {
        let (fd, address) = listener();
        let clients = clients(address, 5);
        let mut accepts = ops::accept_multishot(&fd);
        let first = item(&mut accepts).await;
        settle().await;
        accepts.give_back(first);
        drop(accepts);
        assert_eq!(ports(&accept_plainly(&fd, 5).await), own_ports(&clients));
    });
}

#[test]
fn what_waited_on_the_listener_comes_first_and_goes_back_to_its_place() {
    both(async || {
        let (fd, address) = listener();
        let clients = clients(address, 6);
        let mut older = ops::accept_multishot(&fd);
        let first = item(&mut older).await;
        settle().await;
        drop(older); // five wait on the listener, or in its backlog
        settle().await;
        let mut accepts = ops::accept_multishot(&fd).backlog(1);
        let second = item(&mut accepts).await;
        let third = item(&mut accepts).await;
        accepts.give_back(third);
        drop(accepts);
        let mut all = vec![first, second];
        all.extend(accept_plainly(&fd, 4).await);
        assert_eq!(ports(&all), own_ports(&clients));
    });
}

#[test]
fn a_runtime_that_ends_leaves_its_connections_to_another() {
    let _held = begin();
    let descriptors = Descriptors::now();
    for at in STATES {
        for multishot in [true, false] {
            let (fd, address) = listener();
            let runtime =
                if multishot { Runtime::new().expect("io_uring") } else { without(Feature::AcceptMultishot) };
            let mut scene = runtime.block_on(scene(at, fd, address));
            drop(runtime);
            let other = Runtime::new().expect("io_uring");
            other.block_on(async {
                scene.clients.extend(clients(address, 1));
                let missing = scene.clients.len() - scene.taken.len();
                if at == At::Built {
                    // Never begun, it belongs to nobody yet.
                    for _ in 0..missing {
                        scene.taken.push(item(&mut scene.accepts).await);
                    }
                } else if !matches!(at, At::Paused | At::AskedToStop) {
                    scene.taken.extend(accept_plainly(&scene.listener, missing).await);
                }
            });
            let Scene { listener, accepts, clients, mut taken } = scene;
            drop(accepts);
            let missing = clients.len() - taken.len();
            taken.extend(other.block_on(accept_plainly(&listener, missing)));
            assert_eq!(ports(&taken), own_ports(&clients), "the runtime ended when {at:?}");
        }
    }
    descriptors.assert_same();
}

#[test]
fn a_runtime_that_ends_with_arms_in_flight_leaks_nothing() {
    let _held = begin();
    let descriptors = Descriptors::now();
    let runtime = Runtime::new().expect("io_uring");
    let (fd, address) = listener();
    for _ in 0..3 {
        let fd = fd.clone();
        runtime
            .spawn(async move {
                let mut accepts = ops::accept_multishot(&fd);
                item(&mut accepts).await;
                std::future::pending::<()>().await;
            })
            .detach();
    }
    let clients = clients(address, 10);
    runtime.block_on(settle());
    drop((runtime, fd, clients));
    descriptors.assert_same();
}

#[test]
fn elsewhere_it_refuses_to_be_polled() {
    let _held = begin();
    let runtime = Runtime::new().expect("io_uring");
    let (fd, _address) = listener();
    let mut accepts = runtime.block_on(async {
        let mut accepts = ops::accept_multishot(&fd);
        poll_once(&mut accepts).await;
        settle().await;
        accepts
    });
    let said = thread::spawn(move || {
        let mut cx = Context::from_waker(Waker::noop());
        let said = catch_unwind(AssertUnwindSafe(|| accepts.poll_next(&mut cx).is_ready())).unwrap_err();
        *said.downcast::<&str>().expect("a plain message")
    })
    .join()
    .expect("contained");
    assert!(said.contains("away from the runtime it was started on"), "{said}");
}

#[test]
fn dropped_on_another_thread_it_loses_no_connection() {
    both(async || {
        for at in STATES {
            let (fd, address) = listener();
            let Scene { listener, accepts, clients, mut taken } = scene(at, fd, address).await;
            thread::spawn(move || drop(accepts)).join().expect("a drop");
            let missing = clients.len() - taken.len();
            settle().await;
            taken.extend(accept_plainly(&listener, missing).await);
            assert_eq!(ports(&taken), own_ports(&clients), "dropped elsewhere when {at:?}");
        }
    });
}
