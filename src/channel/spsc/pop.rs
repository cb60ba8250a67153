//! The pop of one value.
//!
//! Knows: the popping end. Does not know: how values and wakes travel.
#![allow(unsafe_code, reason = "pops where it has seen that there is a value")]

use core::fmt;
use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::either::{Kind, drop_rendezvous, rendezvous};
use super::head::Head;
use super::turn::{Go, Turn};
use crate::channel;
use crate::channel::error::PopError;
use crate::channel::receiver::Receiver;
use crate::operation::Operation;
use crate::util::executor;
use crate::util::level::Want;

pin_project! {
    /// The pop of one value: what [`Consumer::pop`](super::Consumer::pop) returns.
    ///
    /// Nothing happens before the first poll.
    ///
    /// # Errors
    ///
    /// [`PopError::Closed`] once the channel is closed and drained; [`PopError::Cancelled`] if the pop was asked to stop
    /// before it had a value.
    ///
    /// # Cancel safety
    ///
    /// It takes a value in the poll that resolves and nowhere else. Dropping it at any time loses nothing.
    ///
    /// # Panics
    ///
    /// When polled after it has resolved.
    #[must_use = "a pop does nothing until it is awaited"]
    pub struct Pop<'a, T> {
        #[pin]
        way: Way<'a, T>,
    }
}

pin_project! {
    /// How the value gets out.
    #[project = Project]
    enum Way<'a, T> {
        Ring { head: &'a mut Head<T>, turn: Turn },
        // At capacity 0.
        Meet { #[pin] pop: ManuallyDrop<channel::Pop<'a, T>> },
    }

    impl<T> PinnedDrop for Way<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            match this.project() {
                Project::Ring { head, turn } => turn.stop_waiting(*head),
                // SAFETY: (local) this is the destructor.
                Project::Meet { pop } => unsafe { drop_rendezvous(pop) },
            }
        }
    }
}

impl<'a, T> Pop<'a, T> {
    #[inline]
    pub(super) fn new(end: Kind<&'a mut Head<T>, &'a Receiver<T>>) -> Self {
        let way = match end {
            Kind::Ring(head) => Way::Ring { head, turn: Turn::Idle },
            Kind::Meet(receiver) => Way::Meet { pop: ManuallyDrop::new(receiver.pop()) },
        };
        Self { way }
    }
}

impl<T> Pop<'_, T> {
    /// The rest of [`poll`](Future::poll).
    #[inline(never)]
    fn poll_on(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, PopError>> {
        let (head, turn) = match self.project().way.project() {
            Project::Ring { head, turn } => (&mut **head, turn),
            Project::Meet { pop } => return rendezvous(pop).poll(cx),
        };
        let waited = matches!(turn, Turn::Waiting(_)) && head.filled(1) != 0;
        if !waited {
            match turn.poll(head, Want::Progress, cx, Head::is_ready) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Go::Back) => return Poll::Ready(Err(PopError::Cancelled)),
                Poll::Ready(Go::On) if !head.has_value() => return Poll::Ready(Err(PopError::Closed)),
                Poll::Ready(Go::On) => {}
            }
        }
        // SAFETY: (I3) there is a value, and it is taken on the next line.
        let (value, published) = unsafe { head.pop() };
        let popped = Poll::Ready(Ok(value.value()));
        // The slot is given back before anything else: the other side may be looking for it at this moment.
        drop(published);
        if waited {
            turn.finish_woken(head);
        }
        popped
    }
}

impl<T> Future for Pop<'_, T> {
    type Output = Result<T, PopError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // What is likely, for whoever polls it to see through.
        if let Project::Ring { head, turn } = self.as_mut().project().way.project()
            && matches!(turn, Turn::Idle)
            && head.has_value()
        {
            if !executor::spend(cx) {
                return Poll::Pending;
            }
            *turn = Turn::Finished;
            // SAFETY: (I3) there is a value, and it is taken on the next line.
            let (value, _published) = unsafe { head.pop() };
            return Poll::Ready(Ok(value.value()));
        }
        self.poll_on(cx)
    }
}

impl<T> Operation for Pop<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        match self.project().way.project() {
            Project::Ring { head, turn } => turn.request_cancel(*head),
            Project::Meet { pop } => rendezvous(pop).request_cancel(),
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.project().way.project() {
            Project::Ring { head, turn } => {
                turn.finish(*head);
                Poll::Ready(())
            }
            Project::Meet { pop } => rendezvous(pop).poll_discard(cx),
        }
    }

    fn commit_on_poll(self: Pin<&mut Self>) {
        if let Project::Meet { pop } = self.project().way.project() {
            rendezvous(pop).commit_on_poll();
        }
    }

    fn may_resolve(&self) -> bool {
        match &self.way {
            Way::Ring { head, turn } => turn.may_resolve(head.looks_ready()),
            Way::Meet { pop } => pop.may_resolve(),
        }
    }

    fn waits(&self) -> bool {
        match &self.way {
            Way::Ring { head, turn } => turn.waits(head.looks_ready()),
            Way::Meet { pop } => pop.waits(),
        }
    }

    fn may_be_put_off(&self) -> bool {
        match &self.way {
            Way::Ring { turn, .. } => matches!(turn, Turn::Idle),
            Way::Meet { pop } => pop.may_be_put_off(),
        }
    }

    fn is_inert(&self) -> bool {
        true // its drop ends the wait
    }
}

impl<T> fmt::Debug for Pop<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Ring { turn, .. } => f.debug_struct("Pop").field("state", turn).finish_non_exhaustive(),
            Way::Meet { pop } => pop.fmt(f),
        }
    }
}
