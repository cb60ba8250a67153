//! A lock that only one thread takes: what it need not pay for.
//!
//! Knows: `sync`, the barrier in two halves. Does not know: what is locked, and how several threads lock it.
//!
//! Most channels have all their ends in the tasks of one thread, most others have their senders in one thread and their
//! receivers in another; and a read-modify-write that nobody contends for is still half of what a push or a pop costs. So
//! a lock that one thread alone has taken many times becomes that thread's own, which takes it by a plain store, until
//! another thread comes.
//!
//! ```text
//!              one thread has taken it as often in a row as there is patience
//!   NOBODY ──────────────────────────────────────────────────────────────────▶ that thread's number
//!      ▲                                                                                │
//!      └───────────────── another thread takes it: more patience from now on ───────────┘
//! ```
//!
//! Who is not the owner takes the lock the ordinary way first, whatever that is, and only then looks at the bias
//! ([`taken`](Bias::taken)): so all changes of it are made under the ordinary lock. The owner and the thread that ends
//! its ownership meet as in Dekker's algorithm, and since one of them does so for every push and the other hardly ever, the
//! fence of the one is left to the other.
//!
//! What says that the owner is in is a *chair* that only this thread ever uses: a thread may find out late that it is the
//! owner no more, and then must not disturb what its successor says. There are a few chairs; a thread that gets none owns
//! nothing.
//!
//! Ending an ownership takes ten microseconds. The patience is how often the owner must have paid for the ordinary lock
//! before, and begins with so many times that it has paid as much: whatever a program does, it does not pay twice what it
//! would without all this. With every ownership that ends, it grows.

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::hint;
use crate::sync::thread;
use crate::util::barrier;

/// Nobody's own.
const NOBODY: u64 = u64::MAX;
/// Nobody's own, and never anybody's: the kernel does not do its part.
const NEVER: u64 = u64::MAX - 1;

/// How many threads may be the owner, one after the other.
const CHAIRS: u64 = 4;

/// How many times in a row a thread takes the lock before it may become its own.
const PATIENCE: u64 = if cfg!(millstream_loom) {
    2
} else if cfg!(test) {
    3
} else {
    2048
};
/// Where it stops growing.
const MOST_PATIENCE: u64 = if cfg!(any(test, millstream_loom)) { PATIENCE } else { 1 << 15 };
/// How often one looks whether the owner is out, before leaving the processor to it.
const LOOKS: u32 = 100;

/// Whose own a lock is. Apart from what those write who take the lock the ordinary way, for they all look here.
pub(super) struct Bias(CachePadded<Seat>);

struct Seat {
    /// `NOBODY`, `NEVER`, or the number of a thread, with that of its chair in the lowest digit. Written under the ordinary
    /// lock only.
    owner: AtomicU64,
    /// The owner is in, or about to look whether it may be. Each is written by one thread only.
    inside: [AtomicBool; CHAIRS as usize],
    /// Whose the chairs are; 0 is nobody's. Used under the ordinary lock only.
    chairs: [AtomicU64; CHAIRS as usize],
}

/// Who took the lock the ordinary way, and how often in a row. Written under the ordinary lock only: best kept beside it.
pub(super) struct Record {
    /// The number of a thread, and below it, in `TIMES`, how often.
    last: AtomicU64,
    /// How often it takes for the lock to become a thread's own; 0: nobody has taken it yet.
    patience: AtomicU64,
}

const TIMES: u64 = (1 << 16) - 1;

impl Record {
    pub(super) fn new() -> Self {
        Self { last: AtomicU64::new(0), patience: AtomicU64::new(0) }
    }

    /// Whether it was this thread, or nobody yet. For who does not have the lock, a hint.
    pub(super) fn is_no_other(&self, thread: u64) -> bool {
        let last = self.last.load(Ordering::Relaxed) / (TIMES + 1);
        last == thread || last == 0
    }
}

/// How the lock was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(u8);

impl Entry {
    /// The ordinary way.
    pub(super) const ORDINARY: Self = Self(u8::MAX);
}

impl Bias {
    pub(super) fn new() -> Self {
        Self(CachePadded::new(Seat {
            owner: AtomicU64::new(NOBODY),
            inside: core::array::from_fn(|_| AtomicBool::new(false)),
            chairs: core::array::from_fn(|_| AtomicU64::new(0)),
        }))
    }

    /// Takes the lock, if it is the own one of the thread with this number (0: one that has none), which obliges to
    /// [`leave`](Self::leave). Otherwise it is for the caller to take it the ordinary way.
    #[inline]
    pub(super) fn enter(&self, thread: u64) -> Entry {
        // ORDERING: only this thread's own number matters, which only itself has put there.
        let owner = self.0.owner.load(Ordering::Relaxed);
        if owner / CHAIRS == thread { self.enter_own(owner) } else { Entry::ORDINARY }
    }

    #[inline]
    fn enter_own(&self, owner: u64) -> Entry {
        let entry = Entry((owner % CHAIRS) as u8);
        // ORDERING: the barrier below puts it before the look.
        self.inside(entry).store(true, Ordering::Relaxed);
        if !planted!("owner-without-barrier") {
            // ORDERING: pairs with `heavy` in `revoke`: that thread sees us inside, or we see that we are not the owner.
            barrier::verified_light();
        }
        // ORDERING: Acquire keeps what is done under the lock behind this look.
        if self.0.owner.load(Ordering::Acquire) == owner {
            return entry;
        }
        self.leave(entry);
        Entry::ORDINARY
    }

    #[inline]
    fn inside(&self, entry: Entry) -> &AtomicBool {
        let chair = if planted!("owners-share-a-chair") { 0 } else { entry.0 };
        &self.0.inside[usize::from(chair) % CHAIRS as usize]
    }

    /// Releases a lock taken with [`enter`](Self::enter).
    #[inline]
    pub(super) fn leave(&self, entry: Entry) {
        // ORDERING: pairs with the `Acquire` in `revoke`.
        self.inside(entry).store(false, Ordering::Release);
    }

    /// To be called by a thread that has just taken the lock the ordinary way, with its number: the lock is its alone
    /// after that.
    #[inline]
    pub(super) fn taken(&self, record: &Record, thread: u64) {
        // ORDERING: Relaxed everywhere: all this is changed under the ordinary lock only, which the caller holds.
        let owner = self.0.owner.load(Ordering::Relaxed);
        if owner == NEVER {
            return;
        }
        let (last, first) = (record.last.load(Ordering::Relaxed), thread * (TIMES + 1));
        let next = if last & !TIMES == first { last + 1 } else { first + 1 };
        if owner == NOBODY && next & TIMES < record.patience.load(Ordering::Relaxed) {
            record.last.store(next, Ordering::Relaxed);
        } else {
            self.decide(record, thread, owner);
        }
    }

    #[cold]
    fn decide(&self, record: &Record, thread: u64, owner: u64) {
        // ORDERING: as in `taken`.
        let patience = record.patience.load(Ordering::Relaxed);
        let mut times = 1;
        if patience == 0 {
            barrier::prepare();
            record.patience.store(PATIENCE, Ordering::Relaxed);
        } else if owner != NOBODY {
            record.patience.store((patience * 2).min(MOST_PATIENCE), Ordering::Relaxed);
            self.revoke(owner);
        } else if !self.dedicate(thread) {
            times = patience - 1; // the next time, then
        }
        record.last.store(thread * (TIMES + 1) + times, Ordering::Relaxed);
    }

    /// Makes the lock a thread's own, if there is a chair for it. `false`: it is not known yet whether the kernel does its
    /// part.
    fn dedicate(&self, thread: u64) -> bool {
        let Some(works) = barrier::works() else { return false };
        // ORDERING: as in `taken`; seen by others once they have taken the ordinary lock.
        let may_have = |chair: &AtomicU64| [0, thread].contains(&chair.load(Ordering::Relaxed));
        if !works {
            self.0.owner.store(NEVER, Ordering::Relaxed);
        } else if let Some(chair) = self.0.chairs.iter().position(may_have) {
            self.0.chairs[chair].store(thread, Ordering::Relaxed);
            self.0.owner.store(thread * CHAIRS + chair as u64, Ordering::Relaxed);
        }
        true
    }

    /// Makes nobody's what was another thread's own, and waits until that thread is out.
    fn revoke(&self, owner: u64) {
        self.0.owner.store(NOBODY, Ordering::Relaxed); // ORDERING: the barrier puts it before the look
        if !planted!("revokes-without-barrier") {
            // ORDERING: pairs with `verified_light` in `enter_own`.
            barrier::heavy();
        }
        let inside = self.inside(Entry((owner % CHAIRS) as u8));
        let mut looks = 0;
        // ORDERING: pairs with the `Release` in `leave`.
        while inside.load(Ordering::Acquire) && !planted!("revokes-at-once") {
            looks += 1;
            if looks < LOOKS {
                hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }
}

#[cfg(test)]
impl Bias {
    /// Whether the lock is the own one of this thread.
    fn belongs_to(&self, thread: u64) -> bool {
        self.0.owner.load(Ordering::Relaxed) / CHAIRS == thread
    }
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
mod tests {
    use super::*;

    struct Lock(Bias, Record);

    impl Lock {
        fn new() -> Self {
            Self(Bias::new(), Record::new())
        }

        /// Whether it was this thread's own.
        fn take(&self, thread: u64) -> bool {
            let entry = self.0.enter(thread);
            if entry == Entry::ORDINARY {
                self.0.taken(&self.1, thread);
            } else {
                self.0.leave(entry);
            }
            entry != Entry::ORDINARY
        }

        /// Takes it until it is this thread's own: as soon as the kernel has answered.
        fn dedicate(&self, thread: u64) {
            while !self.0.belongs_to(thread) {
                self.take(thread);
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn it_becomes_the_own_of_a_thread_that_is_alone_with_it() {
        let lock = Lock::new();
        assert!((0..PATIENCE).all(|_| !lock.take(1)));
        lock.dedicate(1);
        assert!(lock.take(1) && lock.take(1));
        assert_eq!(lock.0.enter(0), Entry::ORDINARY, "a thread without a number is not the owner");
    }

    #[test]
    fn threads_that_take_turns_do_not_own_it() {
        let lock = Lock::new();
        lock.dedicate(1);
        for _ in 0..PATIENCE * 4 {
            assert!((1..PATIENCE).all(|_| !lock.take(2)));
            assert!(!lock.take(1));
        }
    }

    #[test]
    fn it_goes_from_thread_to_thread_as_long_as_there_are_chairs() {
        let lock = Lock::new();
        for thread in (1..=CHAIRS).chain(1..=CHAIRS) {
            lock.dedicate(thread);
            assert!(lock.take(thread));
        }
        assert!((0..PATIENCE * 4).all(|_| !lock.take(CHAIRS + 1)), "there is none left");
        lock.dedicate(1);
    }

    #[test]
    fn it_waits_until_the_owner_is_out() {
        let lock = Lock::new();
        lock.dedicate(1);
        let entry = lock.0.enter(1);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| lock.0.taken(&lock.1, 2));
            while lock.0.belongs_to(1) {
                std::thread::yield_now();
            }
            assert!(!other.is_finished());
            lock.0.leave(entry);
        });
        assert!(!lock.take(1));
    }
}

#[cfg(all(test, millstream_loom))]
mod model {
    use super::*;
    use crate::sync::atomic::AtomicUsize;
    use crate::sync::{Arc, Mutex};

    struct Counter {
        bias: Bias,
        record: Record,
        ordinary: Mutex<()>,
        /// Counted up by a load and a store: without the lock, or what it orders, a step is lost.
        value: AtomicUsize,
    }

    impl Counter {
        fn new() -> Arc<Self> {
            let (bias, record) = (Bias::new(), Record::new());
            Arc::new(Self { bias, record, ordinary: Mutex::new(()), value: AtomicUsize::new(0) })
        }

        fn add(&self, thread: u64) {
            let entry = self.bias.enter(thread);
            let guard = (entry == Entry::ORDINARY).then(|| {
                let guard = self.ordinary.lock().unwrap();
                self.bias.taken(&self.record, thread);
                guard
            });
            self.value.store(self.value.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            drop(guard);
            if entry != Entry::ORDINARY {
                self.bias.leave(entry);
            }
        }
    }

    /// The first of two threads owns the lock; each takes it so many times.
    fn owners(first: usize, second: usize) {
        loom::model(move || {
            let counter = Counter::new();
            (0..PATIENCE).for_each(|_| counter.add(1));
            assert!(counter.bias.belongs_to(1));
            let other = {
                let counter = counter.clone();
                thread::spawn(move || (0..second).for_each(|_| counter.add(2)))
            };
            (0..first).for_each(|_| counter.add(1));
            other.join().unwrap();
            counter.add(1);
            assert_eq!(counter.value.load(Ordering::Relaxed), PATIENCE as usize + first + second + 1);
        });
    }

    /// The owner goes on while another thread comes: `owner-without-barrier`, `revokes-without-barrier`,
    /// `revokes-at-once`.
    #[test]
    fn an_owner_and_who_ends_its_ownership_exclude_each_other() {
        owners(2, 2);
    }

    /// An owner finds out late that another thread has become it meanwhile: `owners-share-a-chair`.
    #[test]
    fn an_owner_does_not_disturb_the_next_one() {
        owners(1, PATIENCE as usize + 1);
    }
}
