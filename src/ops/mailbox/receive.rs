//! Waiting for what comes to a mailbox.
//!
//! Knows: what has arrived. Does not know: how it came.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Mail;
use super::shared::Shared;
use crate::operation::Operation;

/// The next thing that comes to a [`Mailbox`](super::Mailbox): see [`Mailbox::receive`](super::Mailbox::receive).
#[derive(Debug)]
#[must_use = "it does nothing until it is awaited"]
pub struct Receive<'m> {
    shared: &'m Arc<Shared>,
    cancelled: bool,
}

impl<'m> Receive<'m> {
    pub(super) fn new(shared: &'m Arc<Shared>) -> Self {
        Self { shared, cancelled: false }
    }
}

impl Future for Receive<'_> {
    type Output = io::Result<Mail>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.cancelled {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
        }
        self.shared.poll_receive(cx).map(|mail| {
            mail.ok_or_else(|| {
                io::Error::new(io::ErrorKind::BrokenPipe, "the runtime of the mailbox is gone")
            })
        })
    }
}

impl Operation for Receive<'_> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.cancelled = true;
        self.shared.stop_waiting().into_iter().for_each(Waker::wake);
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        drop(self.shared.stop_waiting());
        Poll::Ready(()) // it takes nothing but in its poll
    }

    fn may_resolve(&self) -> bool {
        self.cancelled || self.shared.has_news()
    }

    fn is_inert(&self) -> bool {
        true // its drop does all that a discard does
    }
}

impl Drop for Receive<'_> {
    fn drop(&mut self) {
        drop(self.shared.stop_waiting());
    }
}
