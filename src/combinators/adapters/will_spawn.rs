//! Results into tasks, so many at once.
//!
//! Knows: what goes on giving results, tasks. Does not know: which op it is, what the tasks do.

use core::cell::Cell;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::num::NonZeroUsize;
use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use std::io;
use std::rc::Rc;

use pin_project_lite::pin_project;

use super::delivered::{Delivered, End};
use crate::combinators::operators::impl_operators;
use crate::operation::{Operation, Results};
use crate::runtime::spawn;
use crate::util::contain;
use crate::util::executor;

/// The operation that [`will_spawn`](super::ResultsExt::will_spawn) returns.
#[must_use = "nothing starts until it is awaited"]
pub struct WillSpawn<R: Results, F, T> {
    results: R,
    make: F,
    gate: Rc<Gate>,
    limit: Option<NonZeroUsize>,
    count: u64,
    begun: bool,
    asked_to_stop: bool,
    leaving: bool,
    task: PhantomData<fn() -> T>,
}

/// How many tasks there are, and who waits until there are fewer.
#[derive(Default)]
struct Gate {
    tasks: Cell<usize>,
    waker: Cell<Option<Waker>>,
}

/// One task, as long as its future is there.
struct Passed(Rc<Gate>);

impl Drop for Passed {
    fn drop(&mut self) {
        self.0.tasks.set(self.0.tasks.get() - 1);
        if let Some(waker) = self.0.waker.take() {
            contain::contain(|| waker.wake()); // foreign code, in the middle of a drop (I7)
        }
    }
}

pin_project! {
    /// A task's future, counted. The count goes last: what the future held has been let go of when another may begin.
    struct Counted<T> {
        #[pin]
        future: T,
        passed: Passed,
    }
}

impl<T: Future> Future for Counted<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().future.poll(cx).map(drop)
    }
}

impl<R: Results, F: FnMut(R::Item) -> T, T: Future + 'static> WillSpawn<R, F, T> {
    pub(super) fn new(results: R, make: F) -> Self {
        Self {
            results,
            make,
            gate: Rc::default(),
            limit: None,
            count: 0,
            begun: false,
            asked_to_stop: false,
            leaving: false,
            task: PhantomData,
        }
    }

    /// Lets at most `tasks` of the tasks exist at once; at least 1. While so many do, results wait, and when enough wait the
    /// kernel is asked to pause.
    pub fn limit(mut self, tasks: usize) -> Self {
        self.limit = NonZeroUsize::new(tasks.max(1));
        self
    }

    /// How many results have become a task so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of the tasks exist now.
    pub fn tasks(&self) -> usize {
        self.gate.tasks.get()
    }

    /// Pending while the limit is reached.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.limit.is_none_or(|limit| self.gate.tasks.get() < limit.get()) {
            return Poll::Ready(());
        }
        // Taken out to be compared: the code of a foreign waker's drop must not find it half replaced.
        let old = self.gate.waker.take().filter(|old| old.will_wake(cx.waker()));
        self.gate.waker.set(Some(old.unwrap_or_else(|| cx.waker().clone())));
        Poll::Pending
    }

    fn start(&mut self, item: R::Item) {
        // A panic of the closure has dropped the result with its frame; it is reported by the panic hook, and the next
        // result gets its chance.
        match contain::catch(|| (self.make)(item)) {
            Ok(future) => {
                self.gate.tasks.set(self.gate.tasks.get() + 1);
                let passed = Passed(Rc::clone(&self.gate));
                spawn(Counted { future, passed }).detach();
                self.count += 1;
            }
            Err(payload) => contain::discard(payload),
        }
    }
}

impl<R: Results, F, T> Unpin for WillSpawn<R, F, T> {}

impl<R, F, T> Future for WillSpawn<R, F, T>
where
    R: Results<End = io::Result<()>>,
    F: FnMut(R::Item) -> T,
    T: Future + 'static,
{
    type Output = Delivered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Delivered> {
        let this = &mut *self;
        this.begun = true;
        loop {
            if this.poll_gate(cx).is_pending() {
                if !this.asked_to_stop {
                    return Poll::Pending;
                }
                this.leaving = true;
            }
            if this.leaving {
                ready!(this.results.poll_discard(cx));
                let end = Err(io::Error::from_raw_os_error(libc::ECANCELED));
                return Poll::Ready(Delivered { count: this.count, end });
            }
            if !executor::spend(cx) {
                return Poll::Pending;
            }
            match ready!(this.results.poll_next(cx)) {
                ControlFlow::Continue(item) => this.start(item),
                ControlFlow::Break(end) => {
                    return Poll::Ready(Delivered { count: this.count, end: end.map(|()| End::Finished) });
                }
            }
        }
    }
}

impl<R, F, T> Operation for WillSpawn<R, F, T>
where
    R: Results<End = io::Result<()>>,
    F: FnMut(R::Item) -> T,
    T: Future + 'static,
{
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.asked_to_stop = true;
        self.results.request_cancel();
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.results.poll_discard(cx)
    }

    /// Not before it was begun: that would start the op.
    fn may_resolve(&self) -> bool {
        self.begun || self.asked_to_stop
    }
}

impl_operators! {
    all any: [R: Results<End = io::Result<()>>, F: FnMut(R::Item) -> T, T: Future + 'static,] WillSpawn<R, F, T>;
}

impl<R: Results, F, T> fmt::Debug for WillSpawn<R, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WillSpawn")
            .field("count", &self.count)
            .field("tasks", &self.gate.tasks.get())
            .finish_non_exhaustive()
    }
}
