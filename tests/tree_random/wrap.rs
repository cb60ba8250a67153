//! What stands around the operations of a tree: one that keeps accounts, one that is only borrowed, one whose output is
//! translated.
//!
//! Knows: `Operation`, the ledger. Does not know: which operations there are.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use millstream::Operation;

use crate::ledger::{Ledger, Stage, Token};
use crate::tree::{Out, Tree};

/// A leaf that keeps accounts.
pub(crate) struct Tracked<'w, O: Operation> {
    pub(crate) op: Pin<Box<O>>,
    pub(crate) leaf: usize,
    pub(crate) ledger: Rc<Ledger>,
    /// Its owner is the round, so it may be in several races.
    pub(crate) kept: bool,
    /// Called before the first poll.
    pub(crate) begin: Box<dyn Fn() + 'w>,
    /// Notes the output.
    pub(crate) keep: Box<dyn FnMut(O::Output) + 'w>,
}

impl<O: Operation> Tracked<'_, O> {
    fn started(&self) {
        match self.ledger.stage(self.leaf) {
            Stage::Fresh => {
                (self.begin)();
                self.ledger.set_stage(self.leaf, Stage::Started);
            }
            Stage::Started => {}
            stage => panic!("polled when it was {stage:?}"),
        }
    }
}

impl<O: Operation> Future for Tracked<'_, O> {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Out> {
        let (waits, may_resolve) = (self.op.waits(), (*self.op).may_resolve());
        let say = |what: &str| format!("{}: {what}", self.ledger.leaves.borrow()[self.leaf].what);
        assert!(!waits || !may_resolve, "{}", say("it waits, and may resolve"));
        // (An op that is not queued yet may find what an older one has left, and does not look for it before.)
        let wrong = waits.then(|| say("it said that it would go on waiting, and has resolved"));
        self.started();
        let Poll::Ready(output) = self.op.as_mut().poll(cx) else { return Poll::Pending };
        assert_eq!(wrong, None);
        self.ledger.set_stage(self.leaf, Stage::Done);
        (self.keep)(output);
        Poll::Ready(vec![Token::new(self.leaf, &self.ledger)])
    }
}

impl<O: Operation> Operation for Tracked<'_, O> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.op.as_mut().request_cancel();
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let stage = self.ledger.stage(self.leaf);
        assert!(matches!(stage, Stage::Fresh | Stage::Started), "discarded when it was {stage:?}");
        let ended = self.op.as_mut().poll_discard(cx);
        if ended.is_ready() {
            self.ledger.set_stage(self.leaf, Stage::Discarded);
        }
        ended
    }

    fn commit_on_poll(mut self: Pin<&mut Self>) {
        let (stage, kept) = (self.ledger.stage(self.leaf), self.kept);
        assert!(stage == Stage::Fresh || kept && stage == Stage::Started, "told of the race when {stage:?}");
        self.op.as_mut().commit_on_poll();
    }

    fn is_decided(&self) -> bool {
        self.op.is_decided()
    }

    fn may_resolve(&self) -> bool {
        self.op.may_resolve()
    }

    fn waits(&self) -> bool {
        self.op.waits()
    }

    fn may_be_put_off(&self) -> bool {
        self.op.may_be_put_off()
    }
}

impl<O: Operation> Drop for Tracked<'_, O> {
    fn drop(&mut self) {
        match self.ledger.stage(self.leaf) {
            Stage::Fresh => self.ledger.set_stage(self.leaf, Stage::DroppedFresh),
            Stage::Started => self.ledger.set_stage(self.leaf, Stage::Dropped),
            _ => {}
        }
    }
}

/// An arm whose owner is the round.
pub(crate) struct Borrowed<'w> {
    pub(crate) kept: Rc<RefCell<Tree<'w>>>,
    pub(crate) over: bool,
}

impl Future for Borrowed<'_> {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Out> {
        assert!(!self.over);
        let polled = Pin::new(&mut self.kept.borrow_mut().as_mut()).poll(cx);
        self.over = polled.is_ready();
        polled
    }
}

impl Operation for Borrowed<'_> {
    fn request_cancel(self: Pin<&mut Self>) {
        Pin::new(&mut self.kept.borrow_mut().as_mut()).request_cancel();
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.kept.borrow_mut().as_mut()).poll_discard(cx)
    }

    fn commit_on_poll(self: Pin<&mut Self>) {
        Pin::new(&mut self.kept.borrow_mut().as_mut()).commit_on_poll(); // again whenever it enters a race
    }

    fn may_resolve(&self) -> bool {
        !self.waits()
    }

    fn waits(&self) -> bool {
        self.kept.borrow().waits()
    }
}

/// An operation with its output translated.
struct Mapped<O, F> {
    op: Pin<Box<O>>,
    map: F,
}

pub(crate) fn mapped<'w, O: Operation + 'w>(op: O, map: impl Fn(O::Output) -> Out + Unpin + 'w) -> Tree<'w> {
    Box::pin(Mapped { op: Box::pin(op), map })
}

impl<O: Operation, F: Fn(O::Output) -> Out + Unpin> Future for Mapped<O, F> {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Out> {
        self.op.as_mut().poll(cx).map(&self.map)
    }
}

impl<O: Operation, F: Fn(O::Output) -> Out + Unpin> Operation for Mapped<O, F> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.op.as_mut().request_cancel();
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.op.as_mut().poll_discard(cx)
    }

    fn commit_on_poll(mut self: Pin<&mut Self>) {
        self.op.as_mut().commit_on_poll();
    }

    fn is_decided(&self) -> bool {
        self.op.is_decided()
    }

    fn may_resolve(&self) -> bool {
        self.op.may_resolve()
    }

    fn waits(&self) -> bool {
        self.op.waits()
    }

    fn may_be_put_off(&self) -> bool {
        self.op.may_be_put_off()
    }
}
