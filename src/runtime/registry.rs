//! Finds a runtime by its id from any thread, for as long as the process lives.
//!
//! Knows: the inbox, eventfds. Does not know: rings, and what a task does.
//!
//! A waker or a handle holds an id, never a pointer. An id leads to an [`Entry`], and an entry is never freed nor its
//! eventfd closed: a late waker may stand between its look-up and its write, and the number of a closed descriptor may
//! be someone else's by then. Entries whose runtime is gone wait here for the next one.
#![allow(unsafe_code, reason = "entries are found through pointers; eventfd has no wrapper in std")]

use std::cell::UnsafeCell;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::core::Core;
use super::inbox::Inbox;
use crate::util::biased;
use crate::util::forks::PerProcess;

/// Names one runtime, for ever: no two runtimes of a process have the same.
///
/// ```text
/// 63            16 15           0
/// | epoch, from 1 | registry index |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RuntimeId(u64);

impl RuntimeId {
    /// Which registry entry the runtime lives in.
    #[inline]
    pub(crate) fn index(self) -> u16 {
        self.0 as u16
    }

    pub(crate) fn as_u64(self) -> u64 {
        self.0
    }

    /// The id that `as_u64` gave.
    pub(crate) fn from_u64(id: u64) -> Self {
        Self(id)
    }
}

/// The entry the runtime lives or lived in.
pub(crate) fn entry_of(id: RuntimeId) -> &'static Entry {
    entry(id.index()).expect("an id is made with its entry")
}

/// What another thread asks of a runtime.
pub(crate) enum Remote {
    /// The future of an op was dropped elsewhere: give up the node.
    DropNode(u64),
    /// The future of an op was asked to stop elsewhere.
    CancelNode(u64),
    /// A timer's future was dropped or asked to stop elsewhere: take the timer back, and wake whom it would have woken.
    DropTimer(u64),
    /// A counted handle was dropped on the wrong thread.
    Settle(biased::Message),
    /// Work to do on the runtime's thread: a spawn, for the most part.
    Work(Box<dyn Work>),
    /// `run` is to return.
    Stop,
    /// `run` may return when no task is left.
    AllowExit,
}

/// Work sent to a runtime. Dropped unrun when the runtime ends first.
pub(crate) trait Work: Send {
    /// Runs on the runtime's thread.
    fn run(self: Box<Self>, core: &Core);
}

impl<F: FnOnce(&Core) + Send> Work for F {
    fn run(self: Box<Self>, core: &Core) {
        self(core);
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DropNode(_) => "DropNode",
            Self::CancelNode(_) => "CancelNode",
            Self::DropTimer(_) => "DropTimer",
            Self::Settle(_) => "Settle",
            Self::Work(_) => "Work",
            Self::Stop => "Stop",
            Self::AllowExit => "AllowExit",
        })
    }
}

/// What other threads see of a runtime.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) inbox: Inbox<Remote>,
    eventfd: OwnedFd,
    /// Where the kernel puts the eventfd's count. Here, because the read may outlive a runtime that had to be leaked.
    count: Count,
    index: u16,
    /// The process that made the eventfd.
    process: u32,
    /// How often the present tenant was signalled.
    signals: AtomicU64,
    /// Which tenant was last told that it may exit.
    exits: AtomicU64,
}

/// Eight bytes the kernel writes to.
#[derive(Debug)]
struct Count(UnsafeCell<u64>);

// SAFETY: (local) never read or written by us, only its address is handed to the kernel.
unsafe impl Sync for Count {}

impl Entry {
    /// Wakes the task in `slot`: at most a spurious poll if it is another one by now.
    pub(crate) fn wake(&self, slot: u32) {
        if self.inbox.wake(slot) {
            self.signal();
        }
    }

    /// Leaves a message for the runtime `id`; gives it back when that one is gone.
    pub(crate) fn post(&'static self, id: RuntimeId, message: Remote) -> Result<(), Remote> {
        let signal = self.inbox.post(id.as_u64(), false, message, |message| message)?;
        if signal {
            self.signal();
        }
        Ok(())
    }

    /// Sends work to the runtime `id`; gives it back when that one is gone or was told to stop.
    pub(crate) fn send<W>(
        &'static self,
        id: RuntimeId,
        work: W,
        build: impl FnOnce(W) -> Box<dyn Work>,
    ) -> Result<(), W> {
        let signal = self.inbox.post(id.as_u64(), true, work, |work| Remote::Work(build(work)))?;
        if signal {
            self.signal();
        }
        Ok(())
    }

    /// Tells the runtime `id` to stop, once.
    pub(crate) fn stop(&'static self, id: RuntimeId) {
        if self.inbox.stop(id.as_u64(), Remote::Stop) == Some(true) {
            self.signal();
        }
    }

    /// Tells the runtime `id` that it may exit, once: it may be told any number of times.
    pub(crate) fn allow_exit(&'static self, id: RuntimeId) {
        if self.exits.swap(id.as_u64(), Ordering::Relaxed) != id.as_u64() {
            let _ = self.post(id, Remote::AllowExit); // a runtime that is gone has returned
        }
    }

    pub(crate) fn eventfd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    /// How often the present tenant was signalled.
    pub(crate) fn signals(&self) -> u64 {
        self.signals.load(Ordering::Relaxed)
    }

    /// Eight bytes for the kernel to read the eventfd's count into, valid for ever.
    pub(crate) fn count(&'static self) -> *mut u64 {
        self.count.0.get()
    }

    /// Takes back the signals that no read in the ring has taken. Never waits.
    pub(crate) fn clear(&self) {
        let mut count = 0_u64;
        let target = libc::iovec { iov_base: (&raw mut count).cast(), iov_len: 8 };
        // SAFETY: one live iovec over eight writable bytes. An error means that there was nothing to take.
        unsafe { libc::preadv2(self.eventfd.as_raw_fd(), &raw const target, 1, -1, libc::RWF_NOWAIT) };
    }

    /// Wakes the thread that sleeps in its ring.
    fn signal(&self) {
        self.signals.fetch_add(1, Ordering::Relaxed);
        let one = 1_u64;
        // SAFETY: eight readable bytes; the descriptor belongs to the entry, which is never freed.
        // The write fails only when the count is full, and then the sleeper has enough to wake up for.
        unsafe { libc::write(self.eventfd.as_raw_fd(), (&raw const one).cast(), 8) };
    }
}

/// How many runtimes can exist at once: what an id has bits for.
const CAPACITY: usize = 1 << 16;

static ENTRIES: [AtomicPtr<Entry>; CAPACITY] = [const { AtomicPtr::new(ptr::null_mut()) }; CAPACITY];
static EPOCHS: AtomicU64 = AtomicU64::new(1);
/// How many entries were ever made.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Entries whose runtime is gone. After a fork the child has the parent's entries, and shares their eventfds with it: it must
/// make its own, or it would swallow the parent's signals.
static VACANT: PerProcess<Mutex<Vec<u16>>> = PerProcess::new(|| Mutex::new(Vec::new()));

fn vacant() -> MutexGuard<'static, Vec<u16>> {
    VACANT.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// The entry with this index, if there ever was one.
#[inline]
pub(crate) fn entry(index: u16) -> Option<&'static Entry> {
    // ORDERING: pairs with the store in `acquire`.
    let entry = ENTRIES[usize::from(index)].load(Ordering::Acquire);
    // SAFETY: null, or leaked by `acquire` and never freed.
    unsafe { entry.as_ref() }
}

/// Makes a new runtime known.
///
/// # Errors
///
/// No descriptor is left for the eventfd, or 65,536 runtimes exist.
pub(crate) fn acquire() -> io::Result<(RuntimeId, &'static Entry)> {
    let process = std::process::id();
    let mut known = std::iter::from_fn(|| vacant().pop()).filter_map(entry);
    // A child may have dropped a runtime of its parent's; and a fork by a bare system call is noticed here only.
    let entry = match known.find(|entry| entry.process == process) {
        Some(entry) => entry,
        None => {
            // SAFETY: no pointer is involved.
            let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: a descriptor just made, and ours.
            let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
            // ORDERING: a number; the entry is told of by the store below.
            let next = |used: usize| (used < CAPACITY).then_some(used + 1);
            let index = USED
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
                .map_err(|_| io::Error::other("65536 runtimes exist already: an id has no room for more"))?
                as u16;
            let entry: &'static Entry = Box::leak(Box::new(Entry {
                inbox: Inbox::new(),
                eventfd,
                count: Count(UnsafeCell::new(0)),
                index,
                process,
                signals: AtomicU64::new(0),
                exits: AtomicU64::new(0),
            }));
            // ORDERING: pairs with the load in `entry`.
            ENTRIES[usize::from(index)].store(ptr::from_ref(entry).cast_mut(), Ordering::Release);
            entry
        }
    };
    let epoch = EPOCHS.fetch_add(1, Ordering::Relaxed);
    let id = RuntimeId(epoch << 16 | u64::from(entry.index));
    entry.signals.store(0, Ordering::Relaxed);
    entry.inbox.open(id.as_u64());
    Ok((id, entry))
}

/// Gives the entry back after its runtime has closed it. An entry whose ring had to be leaked is never given back: a
/// read of the eventfd may still be armed there and would swallow the next runtime's signals.
pub(crate) fn release(entry: &'static Entry) {
    vacant().push(entry.index);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_never_used_twice() {
        let (first, entry) = acquire().unwrap();
        entry.inbox.close();
        release(entry);
        let (second, entry) = acquire().unwrap();
        assert_ne!(first, second);
        assert!(entry_of(first).post(first, Remote::Stop).is_err());
        assert!(entry_of(second).post(second, Remote::Stop).is_ok());
        entry.inbox.close();
        release(entry);
    }

    #[test]
    fn a_runtime_is_told_once_that_it_may_exit() {
        let (id, entry) = acquire().unwrap();
        for _ in 0..1000 {
            entry_of(id).allow_exit(id);
        }
        assert_eq!(entry.inbox.close().len(), 1);
        release(entry);
    }

    #[test]
    fn work_for_a_runtime_that_is_gone_comes_back() {
        let (id, entry) = acquire().unwrap();
        entry.inbox.close();
        release(entry);
        let work = String::from("mine");
        let back = entry_of(id).send(id, work, |_| Box::new(|_: &Core| {}));
        assert_eq!(back, Err(String::from("mine")));
    }
}
