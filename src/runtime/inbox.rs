//! Where other threads leave word for a runtime: which task slots to wake, messages, and whether its owner sleeps.
//!
//! Knows: `sync`. Does not know: tasks, rings, what a message means, how a sleeper is signalled. It compiles under loom,
//! which explores the protocol of the word (see the tests at the end).

use std::sync::{OnceLock, PoisonError};

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The message queue is not empty.
const REMOTE: u64 = 1 << 32;
/// The owner sleeps, or is about to; whoever adds the first bit to it signals.
const SLEEPING: u64 = 1 << 33;
/// The bits that say which words of the bitmap to look at.
const SUMMARY: u64 = (1 << 32) - 1;

/// Bitmap words that share the cache line of the state word: slots 0 to 447.
const NEAR: u32 = 7;
/// Further words are in chunks that double in size: 8, 16, 32… words. Sixteen of them reach slot 2^24 - 1.
const CHUNKS: usize = 16;
/// What is asked of [`Inbox::grow`] at most.
pub(crate) const MAX_SLOTS: u32 = 1 << 24;

/// The mailbox of one registry entry. It outlives the runtimes that live there one after the other (*tenants*).
///
/// The state is one word, so that "has work" and "sleeps" are never seen apart:
///
/// ```text
/// 63      34   33         32       31                                    0
/// | unused | SLEEPING | REMOTE | summary: bit b = a bitmap word k with k & 31 == b may have bits |
///
///            owner: take = swap(0)
///   0 ────────────────────────────────► 0
///   │ ▲                                   owner: try_sleep = CAS 0 → SLEEPING, fails when there is work
///   │ └── take ── SLEEPING ◄── try_sleep
///   │                │ sender: fetch_or(bit), the first to find exactly SLEEPING signals
///   │ fetch_or(bit)  ▼
///   └──► bits     SLEEPING|bits ── take ──► 0, and the owner looks at `bits`
/// ```
///
/// A sender sets the slot's bit in the bitmap first and the summary bit after it; the owner clears the summary first
/// and the bitmap after it. So a bit the owner did not find has its summary bit still to come or still set. A sender
/// that finds its slot's bit set leaves: whoever set it brings the summary bit. Nothing is allocated and nothing grows
/// with the number of wakes (I9).
#[derive(Debug)]
pub(crate) struct Inbox<M> {
    line: CachePadded<Line>,
    /// Bitmap words past the near ones; filled in by the owner, never freed.
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
    /// How many bitmap words the owner has asked for. Written by the owner only.
    words: AtomicU32,
    queue: Mutex<Queue<M>>,
}

#[derive(Debug)]
struct Line {
    word: AtomicU64,
    near: [AtomicU64; NEAR as usize],
}

#[derive(Debug)]
struct Queue<M> {
    /// Who lives here; 0 is nobody.
    tenant: u64,
    /// The tenant was told to stop: it takes no new work.
    stopped: bool,
    /// Bounded by what other threads hold of the tenant, and by the work they send it.
    messages: Vec<M>,
}

/// What a take found: hand it to [`Inbox::wakes`] and look for messages when [`Taken::messages`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken(u64);

impl Taken {
    pub(crate) fn messages(self) -> bool {
        self.0 & REMOTE != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl<M> Inbox<M> {
    pub(crate) fn new() -> Self {
        Self {
            line: CachePadded::new(Line {
                word: AtomicU64::new(0),
                near: core::array::from_fn(|_| AtomicU64::new(0)),
            }),
            chunks: core::array::from_fn(|_| OnceLock::new()),
            words: AtomicU32::new(NEAR),
            queue: Mutex::new(Queue { tenant: 0, stopped: false, messages: Vec::new() }),
        }
    }

    // ---- any thread ----

    /// Leaves word that the slot is to be polled. `true`: the owner sleeps and the caller is the one to signal it.
    #[must_use]
    pub(crate) fn wake(&self, slot: u32) -> bool {
        let index = slot / 64;
        let Some(word) = self.bitmap(index) else {
            return false; // the tenant never had such a slot: an id from before
        };
        let bit = 1 << (slot % 64);
        if planted!("inbox-summary-first") {
            let signal = self.raise(1 << (index & 31));
            word.fetch_or(bit, Ordering::AcqRel);
            return signal;
        }
        // ORDERING: pairs with the swap in `wakes`: what the waking thread wrote before is seen by the poll, also when
        // the bit was set already, because this is a read-modify-write the swap comes after.
        if word.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
            return false;
        }
        self.raise(1 << (index & 31))
    }

    /// Leaves a message for `tenant`, built from `work` once it is known that the tenant takes it; else gives it back.
    /// `Ok(true)`: the owner sleeps and the caller is the one to signal it.
    ///
    /// `new_work` says that a tenant which was told to stop refuses the message.
    pub(crate) fn post<W>(
        &self,
        tenant: u64,
        new_work: bool,
        work: W,
        build: impl FnOnce(W) -> M,
    ) -> Result<bool, W> {
        let mut queue = self.queue();
        if queue.tenant != tenant || (new_work && queue.stopped) {
            return Err(work);
        }
        let first = queue.messages.is_empty();
        queue.messages.push(build(work));
        drop(queue);
        // Not the first: whoever was first raises the bit, and the owner takes the whole queue.
        Ok(first && self.raise(REMOTE))
    }

    /// From here on `tenant` refuses new work. `None` when it did already or is gone; `Some(true)`: signal.
    pub(crate) fn stop(&self, tenant: u64, message: M) -> Option<bool> {
        let mut queue = self.queue();
        if queue.tenant != tenant || queue.stopped {
            return None;
        }
        queue.stopped = true;
        let first = queue.messages.is_empty();
        queue.messages.push(message);
        drop(queue);
        Some(first && self.raise(REMOTE))
    }

    /// Whether `tenant` still lives here and takes new work.
    pub(crate) fn takes_work(&self, tenant: u64) -> bool {
        let queue = self.queue();
        queue.tenant == tenant && !queue.stopped
    }

    fn raise(&self, bit: u64) -> bool {
        // ORDERING: pairs with `take`: the owner that sees the bit sees the bitmap bit, too.
        self.line.word.fetch_or(bit, Ordering::AcqRel) == SLEEPING
    }

    // ---- the owner ----

    /// From here on `tenant` refuses new work.
    pub(crate) fn refuse_work(&self, tenant: u64) {
        let mut queue = self.queue();
        debug_assert!(queue.tenant == tenant);
        queue.stopped = true;
    }

    /// Lets `tenant` move in. What was left for an earlier one is swept out.
    pub(crate) fn open(&self, tenant: u64) {
        let taken = self.take();
        self.wakes(Taken(taken.0 | SUMMARY), |_| {});
        let mut queue = self.queue();
        debug_assert!(queue.tenant == 0 && queue.messages.is_empty());
        queue.tenant = tenant;
        queue.stopped = false;
    }

    /// The tenant moves out: nothing can be posted to it any more. Returns what was not yet taken.
    pub(crate) fn close(&self) -> Vec<M> {
        if planted!("inbox-closes-in-two-steps") {
            let messages = self.messages();
            self.queue().tenant = 0;
            return messages;
        }
        let mut queue = self.queue();
        queue.tenant = 0;
        std::mem::take(&mut queue.messages)
    }

    /// Makes the slots below `slots` wakeable.
    pub(crate) fn grow(&self, slots: u32) {
        debug_assert!(slots <= MAX_SLOTS);
        let words = slots.div_ceil(64);
        // ORDERING: the owner alone writes `words`.
        let have = self.words.load(Ordering::Relaxed);
        for index in have..words {
            let (chunk, _) = place(index);
            self.chunks[chunk].get_or_init(|| (0..8_usize << chunk).map(|_| AtomicU64::new(0)).collect());
        }
        self.words.store(have.max(words), Ordering::Relaxed);
    }

    /// Whether something was left here. A plain load: for every turn and for spinning.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        // ORDERING: a hint; `take` acquires.
        self.line.word.load(Ordering::Relaxed) & !SLEEPING != 0
    }

    /// Announces that the owner is about to sleep. `false`: there is work, do not.
    #[must_use]
    pub(crate) fn try_sleep(&self) -> bool {
        if planted!("inbox-sleeps-without-a-look") {
            self.line.word.store(SLEEPING, Ordering::Release);
            return true;
        }
        // ORDERING: pairs with `raise`; one word, so there is no gap between the look and the announcement.
        self.line.word.compare_exchange(0, SLEEPING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes what the word says, and the announcement back.
    pub(crate) fn take(&self) -> Taken {
        // ORDERING: pairs with `raise`.
        Taken(self.line.word.swap(0, Ordering::AcqRel) & !SLEEPING)
    }

    /// Calls `wake` for every slot whose bit is set below the summary bits of `taken`.
    pub(crate) fn wakes(&self, taken: Taken, mut wake: impl FnMut(u32)) {
        let words = self.words.load(Ordering::Relaxed);
        let mut summary = taken.0 & SUMMARY;
        while summary != 0 {
            let mut index = summary.trailing_zeros();
            summary &= summary - 1;
            while index < words {
                let Some(word) = self.bitmap(index) else { break };
                // ORDERING: the look may be relaxed, since `take` has acquired whatever made the summary bit; the swap
                // pairs with the fetch_or in `wake`.
                if word.load(Ordering::Relaxed) != 0 {
                    let mut bits = word.swap(0, Ordering::AcqRel);
                    while bits != 0 {
                        wake(index * 64 + bits.trailing_zeros());
                        bits &= bits - 1;
                    }
                }
                index += 32;
            }
        }
    }

    /// Takes the messages. Called when [`Taken::messages`] said so, and lock-free otherwise.
    pub(crate) fn messages(&self) -> Vec<M> {
        std::mem::take(&mut self.queue().messages)
    }

    fn queue(&self) -> MutexGuard<'_, Queue<M>> {
        // No user code runs under this lock (I7), so a poisoned one is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn bitmap(&self, index: u32) -> Option<&AtomicU64> {
        if index < NEAR {
            return Some(&self.line.near[index as usize]);
        }
        let (chunk, offset) = place(index);
        self.chunks.get(chunk)?.get().map(|words| &words[offset])
    }
}

/// Chunk and offset of a bitmap word past the near ones: with v = index + 1, chunk c holds v in 8·2^c .. 16·2^c.
#[inline]
fn place(index: u32) -> (usize, usize) {
    let v = index + 1;
    let chunk = v.ilog2() - 3;
    (chunk as usize, (v - (8 << chunk)) as usize)
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
mod tests {
    use super::*;

    fn drained(inbox: &Inbox<u8>) -> Vec<u32> {
        let mut slots = Vec::new();
        inbox.wakes(inbox.take(), |slot| slots.push(slot));
        slots
    }

    #[test]
    fn places_cover_the_table_without_gap_or_overlap() {
        let (mut chunk, mut offset) = (0, 0);
        for index in NEAR..MAX_SLOTS / 64 {
            assert_eq!(place(index), (chunk, offset));
            offset += 1;
            if offset == 8 << chunk {
                (chunk, offset) = (chunk + 1, 0);
            }
        }
        assert_eq!(place(MAX_SLOTS / 64 - 1).0, CHUNKS - 1);
    }

    #[test]
    fn every_slot_is_found_once() {
        let inbox = Inbox::<u8>::new();
        inbox.grow(100_000);
        let slots = [0, 63, 64, 447, 448, 959, 960, 32 * 64, 33 * 64 + 5, 65_535, 99_999];
        for slot in slots {
            assert!(!inbox.wake(slot), "nobody sleeps");
            assert!(!inbox.wake(slot));
        }
        let mut found = drained(&inbox);
        found.sort_unstable();
        assert_eq!(found, slots);
        assert!(drained(&inbox).is_empty());
    }

    #[test]
    fn a_slot_that_never_was_wakes_nobody() {
        let inbox = Inbox::<u8>::new();
        assert!(!inbox.wake(448));
        assert!(!inbox.wake(MAX_SLOTS - 1));
        assert!(!inbox.has_work());
    }

    #[test]
    fn one_sender_signals_a_sleeper() {
        let inbox = Inbox::<u8>::new();
        inbox.open(1);
        assert!(inbox.try_sleep());
        assert!(inbox.wake(3), "the first signals");
        assert!(!inbox.wake(3));
        assert!(!inbox.wake(70));
        assert_eq!(inbox.post(1, false, 9, |m| m), Ok(false));
        assert!(!inbox.try_sleep(), "there is work");
        let taken = inbox.take();
        assert!(taken.messages());
        assert_eq!(inbox.messages(), [9]);
    }

    #[test]
    fn what_was_left_for_one_tenant_does_not_reach_the_next() {
        let inbox = Inbox::<u8>::new();
        inbox.open(1);
        inbox.grow(1000);
        assert_eq!(inbox.post(1, true, 7, |m| m), Ok(false));
        assert_eq!(inbox.close(), [7]);
        assert_eq!(inbox.post(1, false, 8, |m| m), Err(8));
        assert!(!inbox.wake(900));
        inbox.open(2);
        assert!(!inbox.has_work());
        assert!(drained(&inbox).is_empty());
        // A bit left behind would swallow this one.
        assert!(!inbox.wake(900));
        assert_eq!(drained(&inbox), [900]);
        assert_eq!(inbox.post(1, false, 8, |m| m), Err(8));
    }

    #[test]
    fn a_stopped_tenant_refuses_work_but_takes_the_rest() {
        let inbox = Inbox::<u8>::new();
        inbox.open(1);
        assert_eq!(inbox.stop(1, 0), Some(false));
        assert_eq!(inbox.stop(1, 0), None);
        assert!(!inbox.takes_work(1));
        assert_eq!(inbox.post(1, true, 5, |m| m), Err(5));
        assert_eq!(inbox.post(1, false, 6, |m| m), Ok(false));
        assert_eq!(inbox.messages(), [0, 6]);
    }
}

/// Explored by loom: see `ci/loom.sh`.
#[cfg(all(test, millstream_loom))]
mod loom_tests {
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    use super::*;

    /// Explores the schedules with up to three preemptions: more take minutes and found nothing.
    fn model(scenario: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound.get_or_insert(3);
        builder.check(scenario);
    }

    /// An inbox with something that stands for the eventfd: a count and a way to sleep on it.
    struct Host {
        inbox: Inbox<usize>,
        signals: Mutex<usize>,
        signalled: Condvar,
        data: [AtomicUsize; 2],
    }

    impl Host {
        fn new() -> Arc<Self> {
            let host = Self {
                inbox: Inbox::new(),
                signals: Mutex::new(0),
                signalled: Condvar::new(),
                data: core::array::from_fn(|_| AtomicUsize::new(0)),
            };
            host.inbox.open(1);
            Arc::new(host)
        }

        fn signal(&self) {
            *self.signals.lock().unwrap() += 1;
            self.signalled.notify_one();
        }

        /// The owner's turn: sleeps unless there is work, then takes it.
        fn turn(&self, slot: impl FnMut(u32)) -> Vec<usize> {
            if !self.inbox.has_work() && self.inbox.try_sleep() {
                let mut signals = self.signals.lock().unwrap();
                while *signals == 0 {
                    signals = self.signalled.wait(signals).unwrap();
                }
                *signals -= 1;
            }
            let taken = self.inbox.take();
            self.inbox.wakes(taken, slot);
            if taken.messages() { self.inbox.messages() } else { Vec::new() }
        }
    }

    /// A lost wake leaves the owner asleep for ever, which loom reports as a deadlock.
    #[test]
    fn no_wake_is_lost() {
        model(|| {
            let host = Host::new();
            let senders: Vec<_> = (0..2)
                .map(|i| {
                    let host = Arc::clone(&host);
                    thread::spawn(move || {
                        host.data[i].store(1, Ordering::Relaxed);
                        if host.inbox.wake(i as u32) {
                            host.signal();
                        }
                    })
                })
                .collect();
            let mut seen = [false; 2];
            while seen != [true; 2] {
                host.turn(|slot| {
                    assert_eq!(
                        host.data[slot as usize].load(Ordering::Relaxed),
                        1,
                        "the wake came without its data"
                    );
                    seen[slot as usize] = true;
                });
            }
            for sender in senders {
                sender.join().unwrap();
            }
        });
    }

    /// Two senders wake one slot: the second may find the bit set and leave, but not with its data unseen.
    #[test]
    fn a_coalesced_wake_carries_its_data() {
        model(|| {
            let host = Host::new();
            let senders: Vec<_> = (0..2)
                .map(|i| {
                    let host = Arc::clone(&host);
                    thread::spawn(move || {
                        host.data[i].store(1, Ordering::Relaxed);
                        if host.inbox.wake(5) {
                            host.signal();
                        }
                    })
                })
                .collect();
            let sum = || host.data.iter().map(|d| d.load(Ordering::Relaxed)).sum::<usize>();
            let mut seen = 0;
            while seen != 2 {
                host.turn(|_| seen = sum()); // a poll looks at everything its wakers wrote
            }
            for sender in senders {
                sender.join().unwrap();
            }
        });
    }

    #[test]
    fn no_message_is_lost() {
        model(|| {
            let host = Host::new();
            let sender = {
                let host = Arc::clone(&host);
                thread::spawn(move || {
                    if host.inbox.post(1, false, 10, |m| m).unwrap() {
                        host.signal();
                    }
                })
            };
            let waker = {
                let host = Arc::clone(&host);
                thread::spawn(move || {
                    if host.inbox.post(1, false, 20, |m| m).unwrap() {
                        host.signal();
                    }
                })
            };
            let mut sum = 0;
            while sum != 30 {
                sum += host.turn(|_| {}).iter().sum::<usize>();
            }
            sender.join().unwrap();
            waker.join().unwrap();
        });
    }

    /// Whatever is posted while the tenant moves out is taken by it or comes back:
    /// `inbox-closes-in-two-steps`.
    #[test]
    fn a_message_is_taken_or_comes_back() {
        model(|| {
            let host = Host::new();
            let sender = {
                let host = Arc::clone(&host);
                thread::spawn(move || host.inbox.post(1, true, 1, |m| m).is_ok())
            };
            let taken = host.inbox.close().len();
            host.inbox.open(2);
            let accepted = sender.join().unwrap();
            assert_eq!(taken, usize::from(accepted));
            assert!(host.inbox.messages().is_empty());
        });
    }
}
