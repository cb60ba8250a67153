//! Where the buffer of a zero-copy send goes when the kernel has let go of it, and what its future resolves to meanwhile.
//!
//! Knows: results and buffers. Does not know: channels, tasks, the kernel.

use std::io;

use super::Usage;

/// Takes back a buffer that the kernel has let go of.
///
/// A channel does behind [`will_push`](super::ZeroCopy::will_push), a closure that makes a task behind
/// [`will_spawn`](super::ZeroCopy::will_spawn); [`recycle`](super::ZeroCopy::recycle) takes whatever else there is.
pub trait Recycle<B>: 'static {
    /// Takes the buffer back. Called once for each send: on the runtime's thread, or, of a send that was never started, where
    /// that is dropped. It must not wait.
    fn recycle(self, buf: B);
}

/// What a zero-copy send resolves to, and when. Sealed: [`Back`], [`Reported`], [`To`].
pub trait Delivery<B>: Deliver<B> {}

impl<B, D: Deliver<B>> Delivery<B> for D {}

/// The ways of [`Delivery`].
pub trait Deliver<B>: 'static {
    /// What the send resolves to.
    type Output;

    /// Whether it resolves as soon as it is known how much was sent.
    const AT_ONCE: bool = false;

    /// Whether the kernel is to say if it copied.
    const REPORTS: bool = false;

    /// The outcome as soon as it is known how much was sent, of one that resolves then.
    fn at_once(sent: io::Result<usize>) -> Option<Self::Output> {
        drop(sent);
        None
    }

    /// The outcome, once the kernel has let go of the buffer.
    fn outcome(self, sent: io::Result<usize>, usage: Usage, buf: B) -> Self::Output;

    /// The kernel has let go of the buffer, or never had it, and nobody awaits the outcome.
    fn unawaited(self, buf: B);
}

/// The buffer comes back with the result, once the kernel has let go of it.
#[derive(Clone, Copy, Debug)]
pub struct Back;

impl<B> Deliver<B> for Back {
    type Output = (io::Result<usize>, B);

    fn outcome(self, sent: io::Result<usize>, _usage: Usage, buf: B) -> Self::Output {
        (sent, buf)
    }

    fn unawaited(self, _buf: B) {}
}

/// As [`Back`], with whether the bytes were copied.
#[derive(Clone, Copy, Debug)]
pub struct Reported;

impl<B> Deliver<B> for Reported {
    type Output = (io::Result<(usize, Usage)>, B);

    const REPORTS: bool = true;

    fn outcome(self, sent: io::Result<usize>, usage: Usage, buf: B) -> Self::Output {
        (sent.map(|sent| (sent, usage)), buf)
    }

    fn unawaited(self, _buf: B) {}
}

/// The result comes as soon as it is known, and the buffer goes where a [`Recycle`] puts it.
#[derive(Clone, Copy, Debug)]
pub struct To<T>(pub(super) T);

impl<B, T: Recycle<B>> Deliver<B> for To<T> {
    type Output = io::Result<usize>;

    const AT_ONCE: bool = true;

    fn at_once(sent: io::Result<usize>) -> Option<Self::Output> {
        Some(sent)
    }

    fn outcome(self, sent: io::Result<usize>, _usage: Usage, buf: B) -> Self::Output {
        self.0.recycle(buf);
        sent
    }

    fn unawaited(self, buf: B) {
        self.0.recycle(buf);
    }
}
