//! A hierarchical timing wheel: constant-time arming and disarming, whatever the number of timers.
//!
//! Knows: ticks, wakers as values. Does not know: clocks, tasks; it runs no user code.

use std::task::Waker;

/// Bits of a tick that one level looks at.
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// Seven levels reach 2^42 ticks: 139 years of milliseconds.
const LEVELS: usize = 7;
/// The last tick there is; what is later is clamped to it.
pub(super) const LAST_TICK: u64 = (1 << (BITS * LEVELS as u32)) - 1;

/// Ends a list.
const NONE: u32 = u32::MAX;
/// The list of timers whose tick has come, in the order in which they came.
const DUE: u32 = (LEVELS * SLOTS) as u32;
/// On no list: a free entry.
const FREE: u32 = DUE + 1;

/// Names an armed timer: generation in the upper half, index in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey(pub(crate) u64);

impl TimerKey {
    fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    fn index(self) -> usize {
        self.0 as u32 as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[derive(Debug)]
struct Entry {
    waker: Option<Waker>,
    tick: u64,
    generation: u32,
    list: u32,
    next: u32,
    previous: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

/// All timers of a runtime, by tick.
///
/// A tick is seven digits of six bits. A timer lies at the level of the highest digit in which its tick differs from
/// `now`, in the slot of its own digit there; that slot's number is above `now`'s digit, so no level ever wraps:
///
/// ```text
///   level 6 … 2      level 1            level 0
///                    [64 ticks each]    [1 tick each]
///                         │  its slot begins: every timer in it moves down
///                         └──────────────────►│  its tick: DUE
/// ```
#[derive(Debug)]
pub(super) struct Wheel {
    now: u64,
    entries: Vec<Entry>,
    free: u32,
    armed: usize,
    lists: Vec<List>,
    /// One bit per slot that is not empty.
    occupied: [u64; LEVELS],
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            entries: Vec::new(),
            free: NONE,
            armed: 0,
            lists: vec![List { head: NONE, tail: NONE }; DUE as usize + 1],
            occupied: [0; LEVELS],
        }
    }

    pub(super) fn armed(&self) -> usize {
        self.armed
    }

    /// Arms a timer for the tick. One whose tick has come is due at once.
    pub(super) fn arm(&mut self, tick: u64, waker: Waker) -> TimerKey {
        let tick = tick.min(LAST_TICK);
        let index = match self.free {
            NONE => {
                let index = self.entries.len() as u32;
                assert!(index < NONE, "four billion timers are armed on one runtime");
                self.entries.push(Entry {
                    waker: None,
                    tick,
                    generation: 0,
                    list: FREE,
                    next: NONE,
                    previous: NONE,
                });
                index
            }
            index => {
                self.free = self.entries[index as usize].next;
                index
            }
        };
        let entry = &mut self.entries[index as usize];
        entry.tick = tick;
        entry.waker = Some(waker);
        let key = TimerKey::new(index, entry.generation);
        self.armed += 1;
        self.place(index);
        key
    }

    /// Whether the timer has not fired.
    pub(super) fn is_armed(&mut self, key: TimerKey) -> bool {
        self.find(key).is_some()
    }

    /// Whether the timer has not fired. If so, `waker` takes the place of the one it has, which is given back.
    pub(super) fn update(&mut self, key: TimerKey, waker: &Waker) -> Armed {
        match self.find(key) {
            None => Armed::Fired,
            Some(entry) if entry.waker.as_ref().is_some_and(|old| old.will_wake(waker)) => Armed::Same,
            Some(_) => Armed::Other,
        }
    }

    /// Replaces the waker of an armed timer; gives back the one it had, or the new one if it has fired.
    pub(super) fn replace(&mut self, key: TimerKey, waker: Waker) -> Option<Waker> {
        match self.find(key) {
            Some(entry) => entry.waker.replace(waker),
            None => Some(waker),
        }
    }

    /// Disarms the timer, unless it has fired, and gives its waker back.
    pub(super) fn disarm(&mut self, key: TimerKey) -> Option<Waker> {
        self.find(key)?;
        let index = key.index() as u32;
        self.unlink(index);
        self.release(index)
    }

    /// When there is something to do next: a tick comes, or a slot's timers move down.
    pub(super) fn next_tick(&self) -> Option<u64> {
        if self.lists[DUE as usize].head != NONE {
            return Some(self.now);
        }
        self.next_slot().map(|(_, _, tick)| tick)
    }

    /// Moves time on: what comes by `tick` is due.
    pub(super) fn advance(&mut self, tick: u64) {
        while let Some((level, slot, begins)) = self.next_slot() {
            if begins > tick {
                break;
            }
            self.now = begins;
            let list = level * SLOTS + slot;
            self.occupied[level] &= !(1 << slot);
            let List { mut head, .. } =
                std::mem::replace(&mut self.lists[list], List { head: NONE, tail: NONE });
            while head != NONE {
                let next = self.entries[head as usize].next;
                self.place(head);
                head = next;
            }
        }
        self.now = self.now.max(tick.min(LAST_TICK));
    }

    /// Takes the first timer that is due off the wheel. It counts as fired from here on.
    pub(super) fn pop_due(&mut self) -> Option<Waker> {
        loop {
            let head = self.lists[DUE as usize].head;
            if head == NONE {
                return None;
            }
            self.unlink(head);
            if let Some(waker) = self.release(head) {
                return Some(waker);
            }
        }
    }

    /// Takes any waker out of a timer that stays armed: for the end of a runtime.
    pub(super) fn take_waker(&mut self, from: usize) -> Option<(usize, Waker)> {
        let rest = self.entries.get_mut(from..)?;
        rest.iter_mut().enumerate().find_map(|(i, entry)| entry.waker.take().map(|waker| (from + i, waker)))
    }

    /// The first slot in time that is not empty, and when it begins. A lower level comes before a higher one.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&occupied| occupied != 0)?;
        let slot = self.occupied[level].trailing_zeros();
        let shift = BITS * level as u32;
        let above = self.now >> (shift + BITS) << (shift + BITS);
        Some((level, slot as usize, above | u64::from(slot) << shift))
    }

    /// Puts the entry on the list where its tick belongs.
    fn place(&mut self, index: u32) {
        let tick = self.entries[index as usize].tick;
        let list = if tick <= self.now {
            DUE
        } else {
            let level = (self.now ^ tick).ilog2() / BITS;
            let slot = tick >> (BITS * level) & (SLOTS as u64 - 1);
            self.occupied[level as usize] |= 1 << slot;
            level * SLOTS as u32 + slot as u32
        };
        let tail = std::mem::replace(&mut self.lists[list as usize].tail, index);
        match tail {
            NONE => self.lists[list as usize].head = index,
            tail => self.entries[tail as usize].next = index,
        }
        let entry = &mut self.entries[index as usize];
        (entry.list, entry.previous, entry.next) = (list, tail, NONE);
    }

    fn unlink(&mut self, index: u32) {
        let Entry { list, next, previous, .. } = self.entries[index as usize];
        let ends = &mut self.lists[list as usize];
        match previous {
            NONE => ends.head = next,
            previous => self.entries[previous as usize].next = next,
        }
        match next {
            NONE => ends.tail = previous,
            next => self.entries[next as usize].previous = previous,
        }
        if ends.head == NONE && list != DUE {
            self.occupied[list as usize / SLOTS] &= !(1 << (list as usize % SLOTS));
        }
    }

    /// Makes the entry free, and its key stale.
    fn release(&mut self, index: u32) -> Option<Waker> {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.list = FREE;
        entry.next = std::mem::replace(&mut self.free, index);
        self.armed -= 1;
        entry.waker.take()
    }

    fn find(&mut self, key: TimerKey) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(key.index())?;
        (entry.list != FREE && entry.generation == key.generation()).then_some(entry)
    }
}

/// What [`Wheel::update`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Armed {
    /// It wakes the same task already.
    Same,
    /// It wakes another one.
    Other,
    /// It has fired, or was disarmed.
    Fired,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    use super::*;

    struct Note(Arc<Mutex<Vec<u64>>>, u64);

    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            self.0.lock().unwrap().push(self.1);
        }
    }

    struct Bench {
        wheel: Wheel,
        fired: Arc<Mutex<Vec<u64>>>,
    }

    impl Bench {
        fn new() -> Self {
            Self { wheel: Wheel::new(), fired: Arc::default() }
        }

        fn arm(&mut self, tick: u64) -> TimerKey {
            let note = Note(Arc::clone(&self.fired), tick);
            self.wheel.arm(tick, Arc::new(note).into())
        }

        fn advance(&mut self, tick: u64) -> Vec<u64> {
            self.wheel.advance(tick);
            while let Some(waker) = self.wheel.pop_due() {
                waker.wake();
            }
            std::mem::take(&mut self.fired.lock().unwrap())
        }
    }

    #[test]
    fn timers_fire_at_their_tick_and_in_order() {
        let mut bench = Bench::new();
        for tick in [5, 3, 3, 64, 63, 65, 4095, 4096, 262_144, 1 << 40] {
            bench.arm(tick);
        }
        assert_eq!(bench.advance(2), []);
        assert_eq!(bench.advance(3), [3, 3]);
        assert_eq!(bench.advance(64), [5, 63, 64]);
        assert_eq!(bench.advance(4094), [65]);
        assert_eq!(bench.advance(5000), [4095, 4096]);
        assert_eq!(bench.advance((1 << 40) - 1), [262_144]);
        assert_eq!(bench.advance(1 << 40), [1 << 40]);
        assert_eq!(bench.wheel.armed(), 0);
        assert_eq!(bench.wheel.next_tick(), None);
    }

    #[test]
    fn a_tick_beyond_the_end_is_clamped() {
        let mut bench = Bench::new();
        bench.arm(u64::MAX);
        assert_eq!(bench.advance(LAST_TICK - 1), []);
        assert_eq!(bench.advance(u64::MAX), [u64::MAX]);
        bench.arm(7);
        assert_eq!(bench.advance(0), [7], "its tick has come");
    }

    #[test]
    fn a_disarmed_timer_does_not_fire_and_its_key_is_stale() {
        let mut bench = Bench::new();
        let keys: Vec<_> = (1..200).map(|tick| bench.arm(tick)).collect();
        for key in keys.iter().skip(1).step_by(2) {
            assert!(bench.wheel.disarm(*key).is_some());
            assert!(bench.wheel.disarm(*key).is_none());
            assert_eq!(bench.wheel.update(*key, Waker::noop()), Armed::Fired);
        }
        let again = bench.arm(1000);
        assert!(bench.wheel.disarm(keys[1]).is_none(), "its entry is another timer's by now");
        assert_eq!(bench.wheel.update(again, Waker::noop()), Armed::Other);
        assert_eq!(bench.advance(500), (1..200).step_by(2).collect::<Vec<_>>());
        assert_eq!(bench.wheel.armed(), 1);
    }

    #[test]
    fn what_is_due_can_still_be_disarmed() {
        let mut bench = Bench::new();
        let (a, b, c) = (bench.arm(1), bench.arm(1), bench.arm(1));
        bench.wheel.advance(1);
        assert!(bench.wheel.disarm(b).is_some());
        assert_eq!(bench.advance(1), [1, 1]);
        assert!(bench.wheel.disarm(a).is_none() && bench.wheel.disarm(c).is_none());
    }

    /// Against a sorted list, with arming, disarming and steps of all sizes.
    #[test]
    fn it_agrees_with_a_sorted_list() {
        let mut seed = 1_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 20
        };
        let mut bench = Bench::new();
        let mut model: Vec<(u64, TimerKey)> = Vec::new();
        let mut now = 0;
        for _ in 0..20_000 {
            match random() % 4 {
                0 | 1 => {
                    let reach = 1 << (random() % 30);
                    let tick = now + random() % reach;
                    model.push((tick, bench.arm(tick)));
                }
                2 if !model.is_empty() => {
                    let (_, key) = model.swap_remove(random() as usize % model.len());
                    assert!(bench.wheel.disarm(key).is_some());
                }
                _ => {
                    let next = model.iter().map(|(tick, _)| *tick).min();
                    assert!(
                        bench
                            .wheel
                            .next_tick()
                            .is_none_or(|tick| Some(tick.max(now)) <= next.map(|n| n.max(now)))
                    );
                    now += random() % (1 << (random() % 24));
                    let mut due: Vec<_> =
                        model.iter().map(|(tick, _)| *tick).filter(|tick| *tick <= now).collect();
                    due.sort_unstable();
                    model.retain(|(tick, _)| *tick > now);
                    let mut fired = bench.advance(now);
                    fired.sort_unstable();
                    assert_eq!(fired, due);
                }
            }
            assert_eq!(bench.wheel.armed(), model.len());
        }
    }

    #[test]
    fn the_same_waker_is_not_cloned_again() {
        static DROPS: AtomicUsize = AtomicUsize::new(0);
        struct Quiet;
        impl Wake for Quiet {
            fn wake(self: Arc<Self>) {
                DROPS.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut wheel = Wheel::new();
        let waker = Waker::from(Arc::new(Quiet));
        let key = wheel.arm(3, waker.clone());
        assert_eq!(wheel.update(key, &waker), Armed::Same);
        assert!(wheel.replace(key, Waker::noop().clone()).is_some_and(|old| old.will_wake(&waker)));
        assert_eq!(wheel.take_waker(0).map(|(index, _)| index), Some(0));
        assert!(wheel.take_waker(0).is_none());
    }
}
