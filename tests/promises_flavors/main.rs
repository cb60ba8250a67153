//! What the documentation of each channel promises, asked for by a user who drops, forgets, closes twice and panics.
//!
//! Knows: the public API and its documentation. Does not know: how channels work.
//!
//! [`queues`] asks the same of `bounded`, `local` and `spsc`, which have the same names; the other modules ask what is
//! promised of one flavor only.

mod broadcast;
mod queues;
mod races;
mod shared_ends;
mod single;
#[path = "../support/mod.rs"]
mod support;
mod threads;
mod time;
mod watch;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use support::Watchdog;

fn begin() -> Watchdog {
    Watchdog::new(Duration::from_secs(50))
}

/// Polls with a waker that does nothing.
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn ready<F: Future>(future: Pin<&mut F>) -> F::Output {
    match poll(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it should be ready"),
    }
}

/// Counts its wakes.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Bell {
    fn poll<F: Future>(self: &Arc<Self>, future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
    }

    fn rang(&self) -> bool {
        self.0.swap(0, Ordering::SeqCst) > 0
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The message that `f` panics with.
#[track_caller]
fn panics<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it should panic"),
        Err(payload) => match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => match payload.downcast::<&str>() {
                Ok(text) => (*text).into(),
                Err(payload) => resume_unwind(payload),
            },
        },
    }
}

/// A value that says when it goes, and may panic when it does.
#[derive(Debug)]
struct Mine {
    gone: Arc<AtomicUsize>,
    explodes: bool,
}

impl Mine {
    fn new(gone: &Arc<AtomicUsize>) -> Self {
        Self { gone: Arc::clone(gone), explodes: false }
    }

    fn explosive(gone: &Arc<AtomicUsize>) -> Self {
        Self { gone: Arc::clone(gone), explodes: true }
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        self.gone.fetch_add(1, Ordering::SeqCst);
        assert!(!self.explodes || std::thread::panicking(), "a value that panics when it goes");
    }
}

fn gone(count: &AtomicUsize) -> usize {
    count.load(Ordering::SeqCst)
}
