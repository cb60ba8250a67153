//! A hundred thousand zero-copy sends whose futures, channels and peers go away at random moments: every buffer comes to
//! exactly one end, and no notification stays away.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes; their number is asked for.
//!
//! Under the quarantine allocator, which fills what is freed with a byte that no buffer here contains: a peer that reads it
//! was sent from memory that had been given up.

#![allow(unsafe_code, reason = "a buffer with a number implements the unsafe buffer trait")]

mod support;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use millstream::channel::{self, local};
use millstream::combinators::{OperationExt, when_any};
use millstream::ops::{self, Buf, Fd, IntoResult};
use millstream::{Operation, Runtime, time, yield_now};
use support::quarantine::{self, Quarantine};
use support::{Descriptors, Rng, Watchdog, rounds};

#[global_allocator]
static ALLOCATOR: Quarantine = Quarantine;

/// Sends in one life of a runtime.
const PER_EPISODE: u64 = 2_000;
const TASKS: u64 = 16;
/// What no buffer contains: the quarantine's byte.
const POISON: u8 = 0xdb;

/// What became of each buffer of an episode.
#[derive(Default)]
struct Ledger(RefCell<Vec<u8>>);

/// A buffer with a number, which its end is noted by.
struct Numbered {
    bytes: Vec<u8>,
    number: usize,
    ledger: Rc<Ledger>,
}

impl Numbered {
    fn new(ledger: &Rc<Ledger>, rng: &mut Rng) -> Self {
        let mut ends = ledger.0.borrow_mut();
        ends.push(0);
        let number = ends.len() - 1;
        let bytes = vec![(number % 200) as u8; 1 << (4 + rng.below(13))];
        Self { bytes, number, ledger: ledger.clone() }
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        self.ledger.0.borrow_mut()[self.number] += 1;
    }
}

// SAFETY: (local) the vector inside is one, and is never changed.
unsafe impl Buf for Numbered {
    fn stable_ptr(&self) -> *const u8 {
        self.bytes.stable_ptr()
    }

    fn init_len(&self) -> usize {
        self.bytes.len()
    }
}

type Pool = (local::Sender<Numbered>, local::Receiver<Numbered>);

async fn poll_once<F: Future + Unpin>(future: &mut F) {
    poll_fn(|cx| {
        let _ = Pin::new(&mut *future).poll(cx);
        Poll::Ready(())
    })
    .await;
}

/// A short random while in which the loop may or may not enter the ring.
async fn a_while(rng: &mut Rng) {
    match rng.below(4) {
        0 => {}
        1 => yield_now().await,
        2 => {
            for _ in 0..rng.below(8) {
                yield_now().await;
            }
        }
        _ => time::sleep(Duration::from_micros(rng.below(200))).await,
    }
}

/// Starts an op, or not, and ends it in a random way.
async fn end<O: Operation + Unpin>(mut op: O, rng: &mut Rng) {
    match rng.below(6) {
        0 => drop(op.await),
        1 => drop(op), // never started
        2 => {
            poll_once(&mut op).await;
            a_while(rng).await;
        }
        3 => drop(when_any((op, time::sleep(Duration::from_micros(rng.below(200))))).await),
        4 => {
            poll_once(&mut op).await;
            a_while(rng).await;
            Pin::new(&mut op).request_cancel();
            poll_fn(|cx| Pin::new(&mut op).poll_discard(cx)).await;
        }
        _ => {
            poll_once(&mut op).await;
            a_while(rng).await;
            drop(op.timeout(Duration::from_micros(rng.below(200))).await);
        }
    }
}

/// One send of a buffer that is to come to one of four ends.
async fn one(conn: &Fd, pool: &Pool, ledger: &Rc<Ledger>, rng: &mut Rng) {
    let buf = pool.1.try_pop().unwrap_or_else(|_| Numbered::new(ledger, rng));
    let send = ops::send_zc(conn, buf);
    match rng.below(6) {
        0 => end(send, rng).await,
        1 => end(send.report_usage(), rng).await,
        2 | 3 => end(send.will_push(pool.0.clone()), rng).await,
        4 => {
            let pool = pool.0.clone();
            let back = async move |buf| drop(pool.push(buf).await);
            end(send.will_spawn(back), rng).await;
        }
        _ => {
            // A channel of its own, which is closed at some moment.
            let (tx, rx) = channel::bounded(rng.below(2) as usize);
            let mut rx = Some(rx);
            if rng.one_in(3) {
                rx = None;
            }
            end(send.will_push(tx), rng).await;
            a_while(rng).await;
            drop(rx);
        }
    }
}

/// The far end: reads, rests, or breaks off with bytes unread.
async fn peer(conn: Fd, mut rng: Rng) -> io::Result<()> {
    let mut buf = Vec::with_capacity(1 << 16);
    loop {
        let (n, bytes) = ops::recv(&conn, buf).await.into_result()?;
        if n == 0 || rng.one_in(200) {
            return Ok(());
        }
        assert!(!bytes.contains(&POISON), "sent from memory that was given back");
        buf = bytes;
        if rng.one_in(8) {
            a_while(&mut rng).await;
        }
    }
}

fn connection() -> io::Result<(Fd, Fd)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    Ok((ours.into(), listener.accept()?.0.into()))
}

async fn task(pool: Rc<Pool>, ledger: Rc<Ledger>, mut rng: Rng) -> io::Result<()> {
    let mut left = PER_EPISODE / TASKS;
    while left > 0 {
        let (ours, theirs) = connection()?;
        let reader = millstream::spawn(peer(theirs, Rng::new(rng.next_u64())));
        let here = (1 + rng.below(200)).min(left);
        for _ in 0..here {
            one(&ours, &pool, &ledger, &mut rng).await;
            if reader.is_finished() {
                break;
            }
        }
        left -= here;
        // Its end is ours only if no bytes were left unread: some buffers are on their way still.
        ops::shutdown(&ours, std::net::Shutdown::Write).await.ok();
        drop(reader.await);
    }
    Ok(())
}

fn episode(rng: &mut Rng) {
    let runtime = Runtime::builder().sq_entries(64).build().expect("a runtime");
    let ledger = Rc::new(Ledger::default());
    let seed = rng.next_u64();
    let in_channel = runtime.block_on(async {
        let pool = Rc::new(channel::local(4));
        let tasks: Vec<_> = (0..TASKS)
            .map(|n| millstream::spawn(task(pool.clone(), ledger.clone(), Rng::new(seed ^ n << 48))))
            .collect();
        for task in tasks {
            task.await.expect("no task panics").expect("descriptors and ports are there");
        }
        // Those that wait for room are let in, and those that are with the kernel come; then the channel closes.
        let (tx, rx) = Rc::into_inner(pool).expect("the tasks are gone");
        drop(tx);
        let mut left = Vec::new();
        while let Ok(buf) = rx.pop().await {
            left.push(buf);
        }
        left
    });
    while runtime.stats().nodes > 0 {
        runtime.block_on(time::sleep(Duration::from_micros(200)));
    }
    for buf in &in_channel {
        assert_eq!(ledger.0.borrow()[buf.number], 0, "a buffer that was dropped is in the channel");
    }
    drop(in_channel);
    let ends = ledger.0.borrow();
    assert!(ends.iter().all(|&end| end == 1), "a buffer came to no end, or to two");
    assert_eq!(runtime.stats().contained_panics, 0);
    drop(runtime);
}

#[test]
fn every_buffer_comes_to_one_end() {
    let _watchdog = Watchdog::new(Duration::from_secs(300));
    let mut rng = Rng::from_env();
    episode(&mut rng); // what the process keeps for good (wake-up descriptors) is there from now on
    let before = Descriptors::now();
    for _ in 0..rounds(100_000).div_ceil(PER_EPISODE) {
        episode(&mut rng);
        before.assert_same();
        assert_eq!(quarantine::hits(), 0, "the kernel wrote into a buffer that was given back");
    }
    quarantine::assert_clean();
}
