//! How many forks lie between the first process of this program and this one.
//!
//! Knows: `sync`, `pthread_atfork`. Does not know: what a child process must not use any more.
//!
//! A child has one thread, a copy of the memory, and none of what other threads and the kernel do for the parent. A child
//! made by a bare `clone` system call is not noticed here.
//!
//! A lock that another thread held at the fork is held for ever in the child. What a program has once, behind a lock, is
//! therefore [one for each process](PerProcess).
#![allow(
    unsafe_code,
    reason = "registers a handler with pthread_atfork, and leaks what is one for each process"
)]

use std::io;
use std::ptr;

use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Has forks counted from now on.
///
/// # Errors
///
/// `ENOMEM` when the handler cannot be registered: they are not counted then.
pub(crate) fn watch() -> io::Result<()> {
    type Handler = Option<unsafe extern "C" fn()>;
    unsafe extern "C" {
        fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> libc::c_int;
    }
    /// Called by `fork`, so it does only what is async-signal-safe.
    extern "C" fn child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    // Two threads may both register it, and then each fork counts twice, which is as good. To wait for one another would
    // be to wait for ever in the child of a fork between.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if REGISTERED.load(Ordering::Relaxed) {
        return Ok(());
    }
    // SAFETY: (local) the handler is a function of this program and touches one atomic.
    match unsafe { pthread_atfork(None, None, Some(child)) } {
        0 => REGISTERED.store(true, Ordering::Relaxed),
        errno => return Err(io::Error::from_raw_os_error(errno)),
    }
    Ok(())
}

/// The number of forks since they are [watched](watch): the same number, the same process.
#[inline]
pub(crate) fn generation() -> u32 {
    // ORDERING: the handler runs on the only thread the child has, before `fork` returns there.
    GENERATION.load(Ordering::Relaxed)
}

/// What each process has one of, made when it is first asked for, and never freed.
pub(crate) struct PerProcess<T: 'static> {
    /// That of this process, or of the one that it was forked from.
    of: AtomicPtr<Of<T>>,
    make: fn() -> T,
}

struct Of<T> {
    generation: u32,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Self { of: AtomicPtr::new(ptr::null_mut()), make }
    }

    #[inline]
    pub(crate) fn get(&self) -> &'static T {
        // ORDERING: pairs with the exchange in `begin`.
        let known = self.of.load(Ordering::Acquire);
        Self::if_of_this_process(known).unwrap_or_else(|| self.begin(known))
    }

    /// If it was asked for in this process before.
    pub(crate) fn find(&self) -> Option<&'static T> {
        Self::if_of_this_process(self.of.load(Ordering::Acquire)) // ORDERING: as in `get`
    }

    #[inline]
    fn if_of_this_process(known: *mut Of<T>) -> Option<&'static T> {
        // SAFETY: (local) null, or leaked in `begin`.
        unsafe { known.as_ref() }.filter(|of| of.generation == generation()).map(|of| &of.value)
    }

    #[cold]
    fn begin(&self, known: *mut Of<T>) -> &'static T {
        let _ = watch(); // without memory for that, a child shares what its parent has
        let new = Box::into_raw(Box::new(Of { generation: generation(), value: (self.make)() }));
        // ORDERING: pairs with the load in `get`.
        match self.of.compare_exchange(known, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: (local) made above, and leaked from here on.
            Ok(_) => unsafe { &(*new).value },
            Err(other) => {
                // SAFETY: (local) made above and seen by nobody; the other one is of this process, since it was put there
                // meanwhile, and leaked.
                unsafe {
                    drop(Box::from_raw(new));
                    &(*other).value
                }
            }
        }
    }
}
