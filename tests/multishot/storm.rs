//! Everything that can be done to accepts that go on, by chance: every client is accepted by somebody exactly once.
//!
//! Knows: how to begin, poll, stop, discard and drop. Does not know: what any of it does.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use millstream::combinators::{Delivered, ResultsExt, WillPush};
use millstream::ops::requests::AcceptMultishot;
use millstream::ops::{self, Fd, Feature, Multishot};
use millstream::{Operation, Results, Runtime, channel, time, yield_now};

use crate::harness::{Descriptors, Rng, TempDir, rounds};
use crate::support::{begin, without};

enum Acceptor {
    Bare(Multishot<AcceptMultishot>),
    Pushing(Box<WillPush<Multishot<AcceptMultishot>, channel::Sender<Fd>>>, channel::Receiver<Fd>),
    Plain(ops::Op<ops::requests::Accept>),
}

/// Clients by their number, until somebody has accepted them.
#[derive(Default)]
struct Ledger {
    unseen: BTreeMap<u32, UnixStream>,
    next: u32,
}

impl Ledger {
    fn connect(&mut self, path: &std::path::Path) {
        let mut client = UnixStream::connect(path).expect("the backlog has room");
        client.write_all(&self.next.to_ne_bytes()).expect("room");
        self.unseen.insert(self.next, client);
        self.next += 1;
    }

    fn accepted(&mut self, connection: Fd) {
        let mut number = [0; 4];
        let mut connection = UnixStream::from(connection.try_into_owned().expect("the only hold"));
        connection.read_exact(&mut number).expect("its number");
        let number = u32::from_ne_bytes(number);
        assert!(self.unseen.remove(&number).is_some(), "client {number} was accepted twice");
    }
}

impl Acceptor {
    /// Polls once; `None` when it is over.
    fn poll(&mut self, cx: &mut Context<'_>, ledger: &mut Ledger) -> Option<()> {
        match self {
            Self::Bare(accepts) => match accepts.poll_next(cx) {
                Poll::Ready(std::ops::ControlFlow::Continue(connection)) => ledger.accepted(connection),
                Poll::Ready(std::ops::ControlFlow::Break(end)) => {
                    assert_eq!(end.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
                    return None;
                }
                Poll::Pending => {}
            },
            Self::Pushing(op, rx) => {
                let polled = Pin::new(&mut **op).poll(cx);
                if let Ok(connection) = rx.try_pop() {
                    ledger.accepted(connection);
                }
                if let Poll::Ready(Delivered { end, .. }) = polled {
                    assert!(end.is_ok() || end.unwrap_err().raw_os_error() == Some(libc::ECANCELED));
                    drain(rx, ledger);
                    return None;
                }
            }
            Self::Plain(op) => match Pin::new(op).poll(cx) {
                Poll::Ready(Ok(connection)) => {
                    ledger.accepted(connection);
                    return None;
                }
                Poll::Ready(Err(error)) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
                    return None;
                }
                Poll::Pending => {}
            },
        }
        Some(())
    }

    fn request_cancel(&mut self) {
        match self {
            Self::Bare(accepts) => accepts.request_cancel(),
            Self::Pushing(op, _) => Pin::new(&mut **op).request_cancel(),
            Self::Plain(op) => Pin::new(op).request_cancel(),
        }
    }

    async fn discard(mut self, ledger: &mut Ledger) {
        poll_fn(|cx| match &mut self {
            Self::Bare(accepts) => accepts.poll_discard(cx),
            Self::Pushing(op, _) => Pin::new(&mut **op).poll_discard(cx),
            Self::Plain(op) => Pin::new(op).poll_discard(cx),
        })
        .await;
        self.end(ledger);
    }

    /// Dropped; what is in its channel was accepted.
    fn end(self, ledger: &mut Ledger) {
        if let Self::Pushing(op, rx) = self {
            drop(op);
            drain(&rx, ledger);
        }
    }
}

fn drain(rx: &channel::Receiver<Fd>, ledger: &mut Ledger) {
    while let Ok(connection) = rx.try_pop() {
        ledger.accepted(connection);
    }
}

async fn storm(rng: &mut Rng, steps: u64) {
    let dir = TempDir::new();
    let path = dir.join("socket");
    let listener = Fd::from(UnixListener::bind(&path).expect("a path"));
    let mut ledger = Ledger::default();
    let mut acceptors: Vec<Acceptor> = Vec::new();
    for _ in 0..steps {
        let nth = rng.below(acceptors.len().max(1) as u64) as usize;
        match rng.below(16) {
            0..4 if ledger.unseen.len() < 40 => ledger.connect(&path),
            4 if acceptors.len() < 4 => {
                let bare = ops::accept_multishot(&listener).backlog(1 + rng.below(4) as usize);
                acceptors.push(match rng.below(5) {
                    0 | 1 => Acceptor::Bare(bare),
                    2 | 3 => {
                        let (tx, rx) = channel::bounded(rng.below(3) as usize);
                        Acceptor::Pushing(Box::new(bare.will_push(tx)), rx)
                    }
                    _ => Acceptor::Plain(ops::accept(&listener)),
                });
            }
            5..10 if !acceptors.is_empty() => {
                let acceptor = &mut acceptors[nth];
                let polled = poll_fn(|cx| Poll::Ready(acceptor.poll(cx, &mut ledger))).await;
                if polled.is_none() {
                    drop(acceptors.swap_remove(nth));
                }
            }
            10 if !acceptors.is_empty() && rng.one_in(3) => acceptors.swap_remove(nth).end(&mut ledger),
            11 if !acceptors.is_empty() && rng.one_in(3) => acceptors[nth].request_cancel(),
            12 if !acceptors.is_empty() && rng.one_in(3) => {
                acceptors.swap_remove(nth).discard(&mut ledger).await;
            }
            // Now and then the kernel gets its turn; and every now and then it is waited for.
            _ if rng.one_in(8) => time::sleep(Duration::ZERO).await,
            _ if rng.one_in(8) => ops::nop().await.expect("a nop"),
            _ => yield_now().await,
        }
    }
    for acceptor in acceptors {
        acceptor.end(&mut ledger);
    }
    ledger.connect(&path); // the accept of it waits until the last orphan has ended
    while !ledger.unseen.is_empty() {
        ledger.accepted(ops::accept(&listener).await.expect("a connection"));
    }
    assert!(ledger.next as u64 > steps / 40, "only {} clients in {steps} steps", ledger.next);
}

#[test]
fn by_chance_every_client_is_accepted_once() {
    let _held = begin();
    let mut rng = Rng::from_env();
    let descriptors = Descriptors::now();
    for small in [false, true] {
        for hidden in [false, true] {
            let runtime = match (small, hidden) {
                (false, false) => Runtime::new().expect("io_uring"),
                (false, true) => without(Feature::AcceptMultishot),
                (true, hidden) => {
                    let hidden = if hidden { Feature::AcceptMultishot.bit() } else { 0 };
                    let small = Runtime::builder().sq_entries(2).cq_entries(4).without_features(hidden);
                    small.build().expect("io_uring")
                }
            };
            runtime.block_on(storm(&mut rng, rounds(100_000)));
            let stats = runtime.stats();
            assert_eq!((stats.nodes, stats.orphans), (0, 0), "{stats:?}");
            drop(runtime);
        }
    }
    descriptors.assert_same();
}
