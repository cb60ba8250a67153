//! Tells a ring whether it is still in the process, and on the thread, that made it.
//!
//! Knows: forks, a token per thread. Does not know: rings.
//!
//! A child after `fork` inherits the descriptor but not the mappings, and whatever it submitted would run in the
//! parent's name. On another thread, a ring's index in the table of registered rings means another ring, or none.
//!
//! A child made by a bare `clone` system call is not noticed here. What it touches of the ring is not mapped, and a
//! kernel that knows single issuers refuses its submissions.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::util::forks;

thread_local! {
    static TOKEN: Cell<u64> = const { Cell::new(0) };
}

/// The process and the thread a ring was made on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home {
    generation: u32,
    token: u64,
}

impl Home {
    /// The calling process and thread.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when the fork handler cannot be registered: without it a ring would not be safe to have.
    pub(crate) fn here() -> io::Result<Self> {
        forks::watch()?;
        Ok(Self { generation: forks::generation(), token: token() })
    }

    /// Whether no fork lies between the making of the ring and now.
    #[inline]
    pub(crate) fn same_process(self) -> bool {
        forks::generation() == self.generation
    }

    /// Refuses a child process, and any other thread.
    ///
    /// # Errors
    ///
    /// `Unsupported`, saying which of the two it is.
    #[inline]
    pub(crate) fn check(self) -> io::Result<()> {
        if self.same_process() && TOKEN.get() == self.token { Ok(()) } else { Err(self.refusal()) }
    }

    #[cold]
    fn refusal(self) -> io::Error {
        let text = if self.same_process() {
            "this ring belongs to another thread: a ring is used on the thread that made it"
        } else {
            "this ring was made before a fork: a child process must make its own runtime"
        };
        io::Error::new(io::ErrorKind::Unsupported, text)
    }
}

fn token() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    TOKEN.with(|token| {
        if token.get() == 0 {
            token.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        token.get()
    })
}
