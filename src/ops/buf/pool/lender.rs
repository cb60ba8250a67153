//! Whose buffers an op has the kernel fill: a pool's, or those of a queue.
//!
//! Knows: the books, and that they are kept where their runtime runs. Does not know: memory, ops.
#![allow(unsafe_code, reason = "vouches for the thread that the books are kept on")]

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use io_uring::cqueue;

use super::ledger::{Clerk, Desk, Figures, Place, Turn};

/// What an op asks of it.
pub trait Lender: Sized + std::fmt::Debug + 'static {
    /// What it is called where something is said to its user.
    const NAME: &str;

    /// The books.
    fn desk(&self) -> &Desk;

    /// What an entry names it by.
    fn group(&self) -> u16;

    /// Whether the ring that runs here cannot use it.
    fn is_elsewhere(&self) -> bool;

    /// The most bytes that a buffer may have room for.
    fn most(&self) -> u32;

    /// Whether a buffer may be used up piece by piece.
    fn is_incremental(&self) -> bool;

    /// How many buffers the kernel has taken out of the ring, if it can be asked.
    fn taken(&self) -> Option<u16>;

    /// Puts a buffer into the ring, at this position, and gives it to the kernel with all before it. Where the books are kept,
    /// which have chosen the position.
    fn publish(&self, buffer: u16, position: u16);

    /// The books, on the thread that the runtime runs on, while it does.
    #[inline]
    fn clerk(&self) -> Option<Clerk<'_>> {
        // SAFETY: (I5) a runtime stays on one thread, where alone its id is the current one; and a clerk does not leave it.
        (!self.is_elsewhere()).then(|| unsafe { self.desk().clerk() })
    }

    /// `buffers` of a run that begins with `first` are not needed any more.
    #[inline]
    fn give_back(&self, first: u16, buffers: u16) {
        match self.clerk() {
            Some(clerk) => {
                clerk.give_back(first, buffers, |buffer, position| self.publish(buffer, position));
            }
            None => self.desk().bring(first, buffers),
        }
    }

    /// See [`Clerk::poll_turn`]. Elsewhere nobody waits: what asks there is refused for that.
    fn poll_turn(&self, cx: &mut Context<'_>, place: &mut Place) -> Poll<Turn> {
        let Some(clerk) = self.clerk() else { return Poll::Ready(Turn { others: false }) };
        clerk.poll_turn(cx, place, |buffer, position| self.publish(buffer, position))
    }

    fn figures(&self) -> Figures {
        if let Some(clerk) = self.clerk() {
            clerk.clear_tray(|buffer, position| self.publish(buffer, position));
        }
        self.desk().figures()
    }

    /// The error of an op that was given one of another runtime.
    #[cold]
    fn elsewhere() -> io::Error {
        let text = format!("{} can be used only on the runtime that it was made on", Self::NAME);
        io::Error::new(io::ErrorKind::InvalidInput, text)
    }

    /// What a completion has brought: to be asked of every one, as it comes, whatever its result. `claim` books the number of
    /// a buffer, the bytes that are new in it and whether the kernel keeps the rest of it.
    #[inline]
    fn claim<T>(
        self: &Arc<Self>,
        result: &io::Result<u32>,
        flags: u32,
        claim: impl FnOnce(Clerk<'_>, u16, u32, bool) -> Option<T>,
    ) -> Claim<T> {
        // The flag alone says whether there is a buffer: some kernels use one up for an error or the end of a file (B7).
        let Some(buffer) = cqueue::buffer_select(flags) else { return Claim::Nothing };
        // Completions are dispatched on the ring's own thread, and nowhere else.
        let Some(clerk) = self.clerk() else { return Claim::Disowned };
        clerk.clear_tray(|buffer, position| self.publish(buffer, position));
        let goes_on = cqueue::buffer_more(flags);
        let len = result.as_ref().map_or(0, |len| *len);
        if len == 0 && (goes_on || !self.has_left(clerk, buffer)) {
            if !goes_on {
                clerk.disown();
            }
            return Claim::Nothing;
        }
        claim(clerk, buffer, len, goes_on).map_or(Claim::Disowned, Claim::Got)
    }

    /// Whether the kernel, which names this buffer but has put nothing in it, has taken it out of its ring. Kernels that
    /// cannot be asked always have.
    #[cold]
    fn has_left(&self, clerk: Clerk<'_>, buffer: u16) -> bool {
        self.taken().is_none_or(|taken| clerk.has_left(buffer, taken))
    }
}

/// What a completion has brought.
#[derive(Debug)]
pub enum Claim<T> {
    /// No buffer.
    Nothing,
    /// What the kernel has put into one or more.
    Got(T),
    /// It said that it has put something into a buffer that was not its own.
    Disowned,
}

impl<T> Claim<T> {
    /// The error of `Disowned`.
    pub(crate) fn disowned() -> io::Error {
        io::Error::other("the kernel has named a buffer that it did not have")
    }
}
