//! A lock that only one thread takes: what it need not pay for.
//!
//! Knows: `sync`, the barrier in two halves. Does not know: what is locked, and how several threads lock it.
//!
//! Most channels have all their ends in the tasks of one thread, and a read-modify-write that nobody contends for is
//! still half of what a push or a pop costs. So a lock that one thread alone has taken many times becomes that
//! thread's own, which takes it by a plain store; the first other thread that comes makes it everybody's, for good.
//!
//! ```text
//!   COUNTING ── the thread that took it first has taken it PATIENCE times ──▶ that thread's number
//!      │                                                                           │
//!      └─ another thread has taken it ──▶ SHARED ◀── another thread has taken it ──┘
//! ```
//!
//! Who is not the owner takes the lock the ordinary way first, whatever that is, and only then looks at the bias
//! ([`taken`](Bias::taken)): so all changes of it are made under the ordinary lock. The owner and the thread that ends
//! its ownership meet as in Dekker's algorithm, and since one of them does so for every push and the other once in the
//! life of a channel, the fence of the one is left to the other.
//!
//! Ending an ownership takes ten microseconds. `PATIENCE` is how many times the owner must have paid for an ordinary
//! lock before, to have paid as much: whatever a program does, it does not pay twice what it would without all this,
//! and less than that when it hands a channel on that it has used for long.

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::hint;
use crate::sync::thread;
use crate::util::barrier;

/// Not decided yet.
const COUNTING: u64 = u64::MAX;
/// Nobody's own, and never again.
const SHARED: u64 = u64::MAX - 1;

/// How many times a thread takes the lock before it may become its own.
const PATIENCE: u32 = if cfg!(any(test, millstream_loom)) { 3 } else { 2048 };
/// How often one looks whether the owner is out, before leaving the processor to it.
const LOOKS: u32 = 100;

/// Whose own a lock is.
pub(super) struct Bias {
    /// Apart from what those write who take the lock the ordinary way, for they all look here.
    seat: CachePadded<Seat>,
    /// Of whom and how often it is counted. Used under the ordinary lock only, as long as the owner is `COUNTING`.
    first: AtomicU64,
    times: AtomicU32,
}

struct Seat {
    /// `COUNTING`, `SHARED`, or the number of a thread. Written under the ordinary lock only.
    owner: AtomicU64,
    /// The owner is in, or about to look whether it may be. Written by the owner only.
    inside: AtomicBool,
}

impl Bias {
    pub(super) fn new() -> Self {
        Self {
            seat: CachePadded::new(Seat { owner: AtomicU64::new(COUNTING), inside: AtomicBool::new(false) }),
            first: AtomicU64::new(0),
            times: AtomicU32::new(0),
        }
    }

    /// Takes the lock, if it is the own one of the thread with this number (0: one that has none). `true` obliges to
    /// [`leave`](Self::leave); after `false` it is taken the ordinary way.
    #[inline]
    pub(super) fn enter(&self, thread: u64) -> bool {
        // ORDERING: only this thread's own number matters, which only itself has put there.
        self.seat.owner.load(Ordering::Relaxed) == thread && self.enter_own(thread)
    }

    #[inline]
    fn enter_own(&self, thread: u64) -> bool {
        // ORDERING: the barrier below puts it before the look.
        self.seat.inside.store(true, Ordering::Relaxed);
        if !cfg!(millstream_bug = "owner-without-barrier") {
            // ORDERING: pairs with `heavy` in `revoke`: that thread sees us inside, or we see that we are not the owner.
            barrier::verified_light();
        }
        // ORDERING: Acquire keeps what is done under the lock behind this look.
        let own = self.seat.owner.load(Ordering::Acquire) == thread;
        if !own {
            self.leave();
        }
        own
    }

    /// Releases a lock taken with [`enter`](Self::enter).
    #[inline]
    pub(super) fn leave(&self) {
        // ORDERING: pairs with the `Acquire` in `revoke`.
        self.seat.inside.store(false, Ordering::Release);
    }

    /// To be called by a thread that has just taken the lock the ordinary way: the lock is its alone after that.
    /// `thread` is asked for the number.
    #[inline]
    pub(super) fn taken(&self, thread: impl FnOnce() -> u64) {
        // ORDERING: changed under the ordinary lock only, which the caller holds.
        if self.seat.owner.load(Ordering::Relaxed) != SHARED {
            self.decide(thread());
        }
    }

    #[cold]
    fn decide(&self, thread: u64) {
        // ORDERING: Relaxed everywhere: all this is under the ordinary lock.
        if self.seat.owner.load(Ordering::Relaxed) != COUNTING {
            return self.revoke();
        }
        let times = self.times.load(Ordering::Relaxed) + 1;
        if times == 1 {
            barrier::prepare();
            self.first.store(thread, Ordering::Relaxed);
        } else if self.first.load(Ordering::Relaxed) != thread {
            self.seat.owner.store(SHARED, Ordering::Relaxed);
        } else if times >= PATIENCE {
            return self.dedicate(thread);
        }
        self.times.store(times, Ordering::Relaxed);
    }

    /// Makes the lock a thread's own, as soon as it is known that the kernel does its part.
    fn dedicate(&self, thread: u64) {
        if let Some(works) = barrier::works() {
            // ORDERING: seen by others once they have taken the ordinary lock.
            self.seat.owner.store(if works { thread } else { SHARED }, Ordering::Relaxed);
        }
    }

    /// Makes everybody's what was another thread's own, and waits until that thread is out.
    fn revoke(&self) {
        self.seat.owner.store(SHARED, Ordering::Relaxed); // ORDERING: the barrier puts it before the look
        if !cfg!(millstream_bug = "revokes-without-barrier") {
            // ORDERING: pairs with `verified_light` in `enter_own`.
            barrier::heavy();
        }
        let mut looks = 0;
        // ORDERING: pairs with the `Release` in `leave`.
        while self.seat.inside.load(Ordering::Acquire) && !cfg!(millstream_bug = "revokes-at-once") {
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
        self.seat.owner.load(Ordering::Relaxed) == thread
    }
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
mod tests {
    use super::*;

    fn take(bias: &Bias, thread: u64) -> bool {
        let own = bias.enter(thread);
        if own {
            bias.leave();
        } else {
            bias.taken(|| thread);
        }
        own
    }

    /// A bias of thread 1, as soon as the kernel has answered.
    fn dedicated() -> Bias {
        let bias = Bias::new();
        while !bias.belongs_to(1) {
            take(&bias, 1);
            std::thread::yield_now();
        }
        bias
    }

    #[test]
    fn it_becomes_the_own_of_a_thread_that_is_alone_with_it() {
        let bias = Bias::new();
        assert!((0..PATIENCE).all(|_| !take(&bias, 1)));
        let bias = dedicated();
        assert!(take(&bias, 1) && take(&bias, 1));
        assert!(!bias.enter(0), "a thread without a number is not the owner");
    }

    #[test]
    fn another_thread_makes_it_everybodys_for_good() {
        for bias in [Bias::new(), dedicated()] {
            take(&bias, 1);
            assert!(!take(&bias, 2));
            assert!((0..PATIENCE * 2).all(|_| !take(&bias, 1)));
            assert!((0..PATIENCE * 2).all(|_| !take(&bias, 2)));
        }
    }

    #[test]
    fn it_waits_until_the_owner_is_out() {
        let bias = dedicated();
        assert!(bias.enter(1));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| bias.taken(|| 2));
            while bias.belongs_to(1) {
                std::thread::yield_now();
            }
            assert!(!other.is_finished());
            bias.leave();
        });
        assert!(!bias.enter(1));
    }
}

#[cfg(all(test, millstream_loom))]
mod model {
    use super::*;
    use crate::sync::atomic::AtomicUsize;
    use crate::sync::{Arc, Mutex};

    struct Counter {
        bias: Bias,
        ordinary: Mutex<()>,
        /// Counted up by a load and a store: without the lock, or what it orders, a step is lost.
        value: AtomicUsize,
    }

    impl Counter {
        fn add(&self, thread: u64) {
            let own = self.bias.enter(thread);
            let guard = (!own).then(|| {
                let guard = self.ordinary.lock().unwrap();
                self.bias.taken(|| thread);
                guard
            });
            self.value.store(self.value.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            drop(guard);
            if own {
                self.bias.leave();
            }
        }
    }

    /// The owner goes on while another thread comes: `owner-without-barrier`, `revokes-without-barrier`,
    /// `revokes-at-once`.
    #[test]
    fn an_owner_and_who_ends_its_ownership_exclude_each_other() {
        loom::model(|| {
            let counter =
                Arc::new(Counter { bias: Bias::new(), ordinary: Mutex::new(()), value: AtomicUsize::new(0) });
            (0..PATIENCE).for_each(|_| counter.add(1));
            assert!(counter.bias.belongs_to(1));
            let other = {
                let counter = counter.clone();
                thread::spawn(move || (0..2).for_each(|_| counter.add(2)))
            };
            (0..2).for_each(|_| counter.add(1));
            other.join().unwrap();
            counter.add(1);
            assert_eq!(counter.value.load(Ordering::Relaxed), PATIENCE as usize + 5);
        });
    }
}
