//! What both ends of a mailbox share: its cells, and who waits for one.
//!
//! Knows: cells, wakers, the descriptor of the receiver's ring. Does not know: entries.
//!
//! ```text
//!  Free ── a sender's credit ──▶ Filled ── the completion is here ──▶ Arrived ── received ──▶ Free
//!    ▲                              │ the op failed, or was never queued
//!    └──────────────────────────────┘
//! ```
//!
//! A sender learns that its message has arrived after that may have been received, and the cell been filled again: so a credit
//! knows its cell by a ticket, too.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Mail;
use crate::ops::fd::salvage::Gives;
use crate::ops::fd::{FdTable, FixedFd};
use crate::runtime::RuntimeId;
use crate::runtime::context;
use crate::runtime::driver::Home;
use crate::runtime::inflight::{Post, PostKey};
use crate::util::contain::contain;

/// A mailbox, for both of its ends.
pub(crate) struct Shared {
    home: RuntimeId,
    /// In a child after a fork, the cells are a copy that nobody receives from, and the ring is the parent's.
    made: Home,
    capacity: usize,
    /// Where files go.
    pub(super) table: Option<FdTable>,
    /// Set before the first address is given out.
    key: OnceLock<PostKey>,
    state: Mutex<State>,
}

struct State {
    /// `None`: closed. Ops under way hold it, too, so that the number stays this ring's.
    ring: Option<Arc<OwnedFd>>,
    cells: Vec<Cell>,
    free: Vec<u16>,
    arrived: VecDeque<u16>,
    tickets: u64,
    receiver: Option<Waker>,
    /// The tasks of those who wait for a cell.
    senders: Vec<Waker>,
}

#[derive(Default)]
struct Cell {
    ticket: u64,
    content: Option<Content>,
    /// Its completion is here, and counts once.
    arrived: bool,
}

/// What is in a cell.
#[derive(Debug)]
pub(super) enum Content {
    Number(u64),
    /// A file of the receiver's own.
    Own(FixedFd),
    /// The slot that a file is sent into, and what reads of it give.
    Sent(FixedFd, Gives),
}

impl Content {
    /// A file that was sent is in its slot, or is not after all.
    fn settled(self, sent: bool) -> Mail {
        match self {
            Self::Number(number) => Mail::Message(number),
            Self::Own(file) => Mail::File(file),
            Self::Sent(slot, gives) => {
                slot.open_ended(sent, gives);
                Mail::File(slot)
            }
        }
    }
}

/// A cell that is a sender's to fill. Dropped, it is free again.
#[derive(Debug)]
pub(super) struct Credit {
    shared: Arc<Shared>,
    cell: u16,
    ticket: u64,
    /// The receiver's ring.
    pub(super) ring: Arc<OwnedFd>,
    /// The cell is not this one's any more.
    spent: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
        (home, made): (RuntimeId, Home),
        ring: OwnedFd,
        capacity: usize,
        table: Option<FdTable>,
    ) -> Self {
        let mut cells = Vec::new();
        cells.resize_with(capacity, Cell::default);
        let state = State {
            ring: Some(Arc::new(ring)),
            cells,
            free: (0..capacity).rev().map(|cell| cell as u16).collect(),
            arrived: VecDeque::with_capacity(capacity),
            tickets: 0,
            receiver: None,
            senders: Vec::new(),
        };
        Self { home, made, capacity, table, key: OnceLock::new(), state: Mutex::new(state) }
    }

    pub(super) fn set_key(&self, key: PostKey) {
        let first = self.key.set(key);
        debug_assert!(first.is_ok());
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn arrived(&self) -> usize {
        self.state().arrived.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        !self.made.same_process() || self.state().ring.is_none()
    }

    /// Whether its runtime runs here: then nothing need be posted.
    pub(super) fn is_here(&self) -> bool {
        context::with(|core| core.is_some_and(|core| core.id == self.home))
    }

    /// A cell, as soon as one is free; `None` when the mailbox is gone.
    pub(super) fn poll_credit(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Option<Credit>> {
        let mut waker = Some(cx.waker().clone()); // cloned and dropped outside of the lock (I7)
        let mut state = self.state();
        let ring = if self.made.same_process() { state.ring.clone() } else { None };
        let Some(ring) = ring else {
            drop(state);
            return Poll::Ready(None);
        };
        let Some(cell) = state.free.pop() else {
            if let Some(new) = waker.take_if(|new| !state.senders.iter().any(|old| old.will_wake(new))) {
                state.senders.push(new);
            }
            drop(state);
            return Poll::Pending;
        };
        state.tickets += 1;
        let ticket = state.tickets;
        state.cells[usize::from(cell)] = Cell { ticket, content: None, arrived: false };
        drop(state);
        Poll::Ready(Some(Credit { shared: Arc::clone(self), cell, ticket, ring, spent: false }))
    }

    /// Ready when the mailbox is gone.
    pub(super) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waker = Some(cx.waker().clone()); // cloned and dropped outside of the lock (I7)
        let mut state = self.state();
        let open = state.ring.is_some();
        if let Some(new) = waker.take_if(|new| open && !state.senders.iter().any(|old| old.will_wake(new))) {
            state.senders.push(new);
        }
        drop(state);
        if open { Poll::Pending } else { Poll::Ready(()) }
    }

    /// What has arrived first.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Option<Mail>> {
        let mut waker = Some(cx.waker().clone()); // cloned and dropped outside of the lock (I7)
        let mut state = self.state();
        let Some(cell) = state.arrived.pop_front() else {
            let open = state.ring.is_some();
            mem::swap(&mut state.receiver, &mut waker);
            drop(state);
            return if open { Poll::Pending } else { Poll::Ready(None) };
        };
        let content = state.cells[usize::from(cell)].content.take();
        state.free.push(cell);
        let senders = mem::take(&mut state.senders);
        drop(state);
        wake(senders);
        Poll::Ready(content.map(|content| content.settled(true)))
    }

    /// Whether a receive has an answer: something has arrived, or nothing will any more.
    pub(super) fn has_news(&self) -> bool {
        let state = self.state();
        !state.arrived.is_empty() || state.ring.is_none()
    }

    /// Nobody waits any more: whom to wake, or to forget, outside of the lock.
    pub(super) fn stop_waiting(&self) -> Option<Waker> {
        self.state().receiver.take()
    }

    /// Nothing is received any more. What had arrived is let go of; what is under way, when its op has ended.
    pub(super) fn close(&self) {
        let mut state = self.state();
        let ring = state.ring.take();
        let arrived = mem::take(&mut state.arrived);
        let mail: Vec<_> =
            arrived.iter().filter_map(|&cell| state.cells[usize::from(cell)].content.take()).collect();
        let (receiver, senders) = (state.receiver.take(), mem::take(&mut state.senders));
        drop(state);
        mail.into_iter().for_each(|content| drop(content.settled(true)));
        drop(ring);
        wake(receiver);
        wake(senders);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // no step under it can be left half done
    }
}

impl Post for Shared {
    fn posted(&self, cell: u16) {
        let mut state = self.state();
        let new = |cell: &mut Cell| cell.content.is_some() && !mem::replace(&mut cell.arrived, true);
        if state.ring.is_none() || !state.cells.get_mut(usize::from(cell)).is_some_and(new) {
            return; // whoever sent it takes it out again
        }
        state.arrived.push_back(cell);
        let receiver = state.receiver.take();
        drop(state);
        wake(receiver);
    }

    fn runtime_gone(&self) {
        self.close();
    }
}

impl Credit {
    /// Fills the cell.
    pub(super) fn fill(&self, content: Content) {
        self.shared.state().cells[usize::from(self.cell)].content = Some(content);
    }

    /// What the completion at the receiver is to carry.
    pub(super) fn user_data(&self) -> u64 {
        self.shared.key.get().map_or(0, |key| key.user_data(self.cell))
    }

    /// The receiver has it, or gets it without being asked.
    pub(super) fn sent(mut self) {
        self.spent = true;
        let unreceived = self.take_if(|state| state.ring.is_none());
        drop(unreceived.map(|content| content.settled(true))); // it has come to nobody
    }

    /// To the runtime that runs here: it arrives at once.
    pub(super) fn deliver(self) {
        self.shared.posted(self.cell);
        self.sent();
    }

    /// The content, if the cell is still this one's.
    fn take_if(&self, wanted: impl FnOnce(&State) -> bool) -> Option<Content> {
        let mut state = self.shared.state();
        let ours = state.cells[usize::from(self.cell)].ticket == self.ticket && wanted(&state);
        if ours { state.cells[usize::from(self.cell)].content.take() } else { None }
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        if self.spent {
            return;
        }
        let content = self.take_if(|_| true);
        drop(content.map(|content| content.settled(false)));
        let mut state = self.shared.state();
        state.free.push(self.cell);
        let senders = mem::take(&mut state.senders);
        drop(state);
        wake(senders);
    }
}

fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        contain(|| waker.wake()); // one that panics must not keep the others asleep (I7)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn filled(shared: &Arc<Shared>, number: u64) -> Credit {
        let polled = shared.poll_credit(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(credit)) = polled else { panic!("a cell is free") };
        credit.fill(Content::Number(number));
        credit
    }

    fn received(shared: &Shared) -> Option<u64> {
        match shared.poll_receive(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Mail::Message(number))) => Some(number),
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => None,
        }
    }

    /// A sender that learns late that its message was taken finds another's in the cell, and leaves it alone: its op is not over.
    #[test]
    fn a_cell_that_is_anothers_by_now_is_left_to_it() {
        let ring = File::open("/dev/null").expect("it is there").into();
        let made = Home::here().expect("memory for the handler");
        let shared = Arc::new(Shared::new((RuntimeId::from_u64(1), made), ring, 1, None));
        let late = filled(&shared, 1);
        shared.posted(late.cell);
        assert_eq!(received(&shared), Some(1));
        let next = filled(&shared, 2);
        shared.close();
        late.sent();
        assert!(shared.state().cells[0].content.is_some());
        next.sent();
        assert!(shared.state().cells[0].content.is_none(), "it has come to nobody, and is let go of");
    }

    /// Whoever else has the ring can post what it likes: nothing arrives that was not sent, and nothing twice.
    #[test]
    fn a_completion_counts_once_and_only_for_what_was_sent() {
        let ring = File::open("/dev/null").expect("it is there").into();
        let made = Home::here().expect("memory for the handler");
        let shared = Arc::new(Shared::new((RuntimeId::from_u64(1), made), ring, 2, None));
        for cell in 0..4 {
            shared.posted(cell);
        }
        assert_eq!((shared.arrived(), received(&shared)), (0, None));
        for round in 0..4 {
            let (one, two) = (filled(&shared, round), filled(&shared, round + 100));
            for credit in [&one, &two, &one, &one, &two] {
                shared.posted(credit.cell);
            }
            assert_eq!(shared.arrived(), 2);
            assert_eq!((received(&shared), received(&shared)), (Some(round), Some(round + 100)));
            shared.posted(one.cell);
            one.sent();
            two.sent();
            assert_eq!(received(&shared), None);
        }
        assert_eq!(shared.state().free.len(), 2);
    }
}
