//! The fuzz of batches, reservations and permits, of those who wait for the close, and of weak handles.
#![allow(unsafe_code, reason = "lends buffers to the futures that stand beside them")]

use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::sync::Arc;

use super::super::support::{Bell, Lent, Token, poll_with};
use super::World;
use crate::channel::waiter::State;
use crate::channel::{
    Closed, Permit, PopError, PopMany, PushError, PushMany, Reserve, Sender, Sharing, TryPopError,
    TryPushError, WeakSender,
};
use crate::operation::Operation;

/// A batch of pushes with the buffer it borrows; dropped in this order.
pub(super) struct PushTask<'a, S: Sharing> {
    pub(super) future: Pin<Box<PushMany<'a, Token, S>>>,
    values: Lent<VecDeque<Token>>,
    ids: VecDeque<u64>,
    bell: Arc<Bell>,
    woken: bool,
}

/// A batch of pops with the buffer it borrows; dropped in this order.
pub(super) struct PopTask<'a, S: Sharing> {
    pub(super) future: Pin<Box<PopMany<'a, Token, S>>>,
    out: Lent<Vec<Token>>,
    most: usize,
    bell: Arc<Bell>,
    woken: bool,
    pub(super) parked_at: Option<u64>,
}

struct Waiting<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    woken: bool,
}

pub(super) struct More<'a, S: Sharing> {
    pub(super) pushes: Vec<PushTask<'a, S>>,
    pub(super) pops: Vec<PopTask<'a, S>>,
    reserves: Vec<Waiting<Reserve<'a, Token, S>>>,
    permits: Vec<Permit<'a, Token, S>>,
    watchers: Vec<Waiting<Closed<'a, Token, S>>>,
    weak: WeakSender<Token, S>,
    clones: Vec<Sender<Token, S>>,
}

impl<S: Sharing> More<'_, S> {
    pub(super) fn new(tx: &Sender<Token, S>) -> Self {
        Self {
            pushes: Vec::new(),
            pops: Vec::new(),
            reserves: Vec::new(),
            permits: Vec::new(),
            watchers: Vec::new(),
            weak: tx.downgrade(),
            clones: Vec::new(),
        }
    }
}

fn discard(operation: Pin<&mut impl Operation>) {
    assert!(operation.poll_discard(&mut Context::from_waker(Waker::noop())).is_ready());
}

impl<S: Sharing> World<'_, S> {
    pub(super) fn step_more(&mut self) {
        match self.rng.below(24) {
            0 | 1 => self.new_push_many(),
            2..=4 => self.poll_one_push_many(),
            5 => self.give_up_push_many(),
            6 => self.try_push_many(),
            7 | 8 => self.new_pop_many(),
            9..=11 => self.poll_one_pop_many(),
            12 => self.give_up_pop_many(),
            13 => self.try_pop_many(),
            14 => self.drain(),
            15 => self.new_reserve(),
            16 | 17 => self.poll_one_reserve(),
            18 => self.give_up_reserve(),
            19 => self.try_reserve(),
            20 | 21 => self.end_permit(),
            22 => self.watch(),
            _ => self.count_ends(),
        }
    }

    fn tokens(&mut self) -> VecDeque<Token> {
        (0..self.rng.below(6)).map(|_| self.token()).collect()
    }

    // ---- batches of pushes ----

    fn new_push_many(&mut self) {
        let values = self.tokens();
        let ids = values.iter().map(|token| token.id).collect();
        let values = Lent::new(values);
        // SAFETY: (local) the future is dropped before the buffer, in the task.
        let future = Box::pin(self.tx.push_many(unsafe { values.lend() }));
        self.more.pushes.push(PushTask { future, values, ids, bell: Bell::new().0, woken: true });
        if !self.rng.chance(4) {
            self.poll_push_many(self.more.pushes.len() - 1);
        }
    }

    fn poll_one_push_many(&mut self) {
        if !self.more.pushes.is_empty() {
            let at = self.rng.below(self.more.pushes.len());
            self.poll_push_many(at);
        }
    }

    fn poll_push_many(&mut self, at: usize) {
        let change = self.rng.chance(2);
        let task = &mut self.more.pushes[at];
        if change {
            task.bell = Bell::new().0;
        }
        task.woken = false;
        task.bell.rings();
        let waker = Waker::from(task.bell.clone());
        let polled = poll_with(task.future.as_mut(), &waker);
        // Only now, and in order.
        let pushed = task.ids.len() - task.future.left();
        for id in task.ids.drain(..pushed) {
            self.model.pushed_now(id);
            self.model.now += 1;
        }
        if let Poll::Ready(result) = polled {
            let task = self.more.pushes.swap_remove(at);
            match result {
                Ok(()) => assert!(task.ids.is_empty()),
                Err(PushError::Closed(())) => assert!(self.closed),
                Err(PushError::Cancelled(())) => {}
            }
            Self::end_push_many(task);
        }
    }

    /// What was not pushed is in the caller's buffer, in order.
    fn end_push_many(task: PushTask<'_, S>) {
        let PushTask { future, values, ids, .. } = task;
        drop(future);
        // SAFETY: (local) the borrower is gone.
        let left = unsafe { values.lend() };
        assert!(left.iter().map(|token| token.id).eq(ids));
    }

    fn give_up_push_many(&mut self) {
        if self.more.pushes.is_empty() {
            return;
        }
        let at = self.rng.below(self.more.pushes.len());
        let way = self.rng.below(3);
        if way == 0 {
            return self.more.pushes[at].future.as_mut().request_cancel();
        }
        let mut task = self.more.pushes.swap_remove(at);
        if way == 1 {
            discard(task.future.as_mut());
        }
        Self::end_push_many(task);
    }

    fn try_push_many(&mut self) {
        let mut values = self.tokens();
        let ids: Vec<_> = values.iter().map(|token| token.id).collect();
        let pushed = match self.tx.try_push_many(&mut values) {
            Ok(pushed) => {
                assert!(pushed > 0 || ids.is_empty());
                pushed
            }
            Err(TryPushError::Full(())) => 0,
            Err(TryPushError::Closed(())) => {
                assert!(self.closed);
                0
            }
        };
        assert!(values.iter().map(|token| token.id).eq(ids[pushed..].iter().copied()));
        for id in &ids[..pushed] {
            self.model.pushed_now(*id);
            self.model.now += 1;
        }
    }

    // ---- batches of pops ----

    fn new_pop_many(&mut self) {
        let (out, most) = (Lent::new(Vec::with_capacity(self.rng.below(3))), self.rng.below(5));
        // SAFETY: (local) the future is dropped before the buffer, in the task.
        let future = Box::pin(self.rx.pop_many(unsafe { out.lend() }, most));
        let bell = Bell::new().0;
        self.more.pops.push(PopTask { future, out, most, bell, woken: true, parked_at: None });
        if !self.rng.chance(4) {
            self.poll_pop_many(self.more.pops.len() - 1);
        }
    }

    fn poll_one_pop_many(&mut self) {
        if !self.more.pops.is_empty() {
            let at = self.rng.below(self.more.pops.len());
            self.poll_pop_many(at);
        }
    }

    fn poll_pop_many(&mut self, at: usize) {
        let change = self.rng.chance(2);
        let task = &mut self.more.pops[at];
        if change {
            task.bell = Bell::new().0;
        }
        task.woken = false;
        task.bell.rings();
        let waker = Waker::from(task.bell.clone());
        let polled = poll_with(task.future.as_mut(), &waker);
        let Poll::Ready(result) = polled else {
            task.parked_at.get_or_insert(self.model.now);
            return;
        };
        let task = self.more.pops.swap_remove(at);
        let (most, parked_at) = (task.most, task.parked_at);
        let out = Self::end_pop_many(task);
        match result {
            Ok(count) => {
                assert_eq!(count, out.len());
                assert!(count <= most && (count > 0 || most == 0));
                out.iter().for_each(|token| self.model.popped(token));
                if count > 0 {
                    self.nobody_was_overtaken(parked_at);
                }
            }
            Err(PopError::Closed) => assert!(self.closed && self.rx.is_empty() && out.is_empty()),
            Err(PopError::Cancelled) => assert!(out.is_empty()),
        }
    }

    fn end_pop_many(task: PopTask<'_, S>) -> Vec<Token> {
        let PopTask { future, out, .. } = task;
        drop(future);
        // SAFETY: (local) the borrower is gone.
        core::mem::take(unsafe { out.lend() })
    }

    fn give_up_pop_many(&mut self) {
        self.a_pop_left = true;
        if self.more.pops.is_empty() {
            return;
        }
        let at = self.rng.below(self.more.pops.len());
        let way = self.rng.below(3);
        if way == 0 {
            return self.more.pops[at].future.as_mut().request_cancel();
        }
        let mut task = self.more.pops.swap_remove(at);
        if way == 1 {
            discard(task.future.as_mut());
        }
        assert!(Self::end_pop_many(task).is_empty());
    }

    fn try_pop_many(&mut self) {
        let (mut out, most) = (Vec::new(), self.rng.below(6));
        match self.rx.try_pop_many(&mut out, most) {
            Ok(count) => assert!(count == out.len() && count <= most && (count > 0 || most == 0)),
            Err(TryPopError::Empty) => assert!(out.is_empty()),
            Err(TryPopError::Closed) => assert!(self.closed && self.rx.is_empty() && out.is_empty()),
        }
        out.iter().for_each(|token| self.model.popped(token));
    }

    fn drain(&mut self) {
        let (most, before) = (self.rng.below(4), self.rx.len());
        for (n, token) in self.rx.drain().take(most).enumerate() {
            assert!(n < before);
            self.model.popped(&token);
        }
    }

    // ---- permits ----

    fn new_reserve(&mut self) {
        let future = Box::pin(self.tx.reserve());
        self.more.reserves.push(Waiting { future, bell: Bell::new().0, woken: true });
        if !self.rng.chance(4) {
            self.poll_reserve(self.more.reserves.len() - 1);
        }
    }

    fn poll_one_reserve(&mut self) {
        if !self.more.reserves.is_empty() {
            let at = self.rng.below(self.more.reserves.len());
            self.poll_reserve(at);
        }
    }

    fn poll_reserve(&mut self, at: usize) {
        let change = self.rng.chance(2);
        let task = &mut self.more.reserves[at];
        if change {
            task.bell = Bell::new().0;
        }
        task.woken = false;
        task.bell.rings();
        let waker = Waker::from(task.bell.clone());
        if let Poll::Ready(result) = poll_with(task.future.as_mut(), &waker) {
            drop(self.more.reserves.swap_remove(at));
            match result {
                Ok(permit) => self.more.permits.push(permit),
                Err(error) => assert!(error.is_cancelled() || self.closed),
            }
        }
    }

    fn give_up_reserve(&mut self) {
        if self.more.reserves.is_empty() {
            return;
        }
        let at = self.rng.below(self.more.reserves.len());
        match self.rng.below(3) {
            0 => self.more.reserves[at].future.as_mut().request_cancel(),
            1 => discard(self.more.reserves.swap_remove(at).future.as_mut()),
            _ => drop(self.more.reserves.swap_remove(at)),
        }
    }

    fn try_reserve(&mut self) {
        match self.tx.try_reserve() {
            Ok(permit) => self.more.permits.push(permit),
            Err(error) => assert!(error.is_full() || self.closed),
        }
    }

    fn end_permit(&mut self) {
        if self.more.permits.is_empty() {
            return;
        }
        let at = self.rng.below(self.more.permits.len());
        let permit = self.more.permits.swap_remove(at);
        if self.rng.chance(3) {
            return drop(permit);
        }
        let token = self.token();
        let id = token.id;
        match permit.push(token) {
            Ok(()) => self.model.pushed_now(id),
            Err(PushError::Closed(token)) => assert!(self.closed && token.id == id),
            Err(PushError::Cancelled(_)) => panic!("nobody asked a permit to stop"),
        }
    }

    // ---- ends ----

    fn watch(&mut self) {
        if self.rng.chance(2) && !self.more.watchers.is_empty() {
            let at = self.rng.below(self.more.watchers.len());
            let mut task = self.more.watchers.swap_remove(at);
            match self.rng.below(3) {
                0 => discard(task.future.as_mut()),
                1 => task.future.as_mut().request_cancel(),
                _ => {}
            }
            return;
        }
        let bell = Bell::new().0;
        let mut future = Box::pin(self.tx.closed());
        let closed = poll_with(future.as_mut(), &Waker::from(bell.clone())).is_ready();
        assert_eq!(closed, self.closed);
        if !closed {
            self.more.watchers.push(Waiting { future, bell, woken: false });
        }
    }

    fn count_ends(&mut self) {
        match self.rng.below(3) {
            0 => self.more.clones.push(self.more.weak.upgrade().expect("there is a sender")),
            1 => drop(self.more.clones.pop()),
            _ => assert!(self.more.weak.upgrade().is_some_and(|tx| tx.same_channel(self.tx))),
        }
        assert_eq!(self.tx.sender_count(), 1 + self.more.clones.len());
    }

    // ---- judging ----

    pub(super) fn audit_more(&mut self) {
        self.tx.pointer().audit();
        let more = &mut self.more;
        for task in &mut more.pushes {
            task.woken |= task.bell.rings() > 0;
            assert!(task.woken || task.future.state() == State::Queued, "a batch is ready and was not woken");
        }
        for task in &mut more.pops {
            task.woken |= task.bell.rings() > 0;
            assert!(task.woken || task.future.state() == State::Queued, "a batch is ready and was not woken");
        }
        for task in &mut more.reserves {
            task.woken |= task.bell.rings() > 0;
            assert!(
                task.woken || task.future.state() == State::Queued,
                "a slot is granted and nobody was woken"
            );
        }
        for task in &mut more.watchers {
            task.woken |= task.bell.rings() > 0;
            assert_eq!(task.woken, self.closed, "who waits for the close was told, or not");
            assert_eq!(task.future.state() == State::Queued, !self.closed);
        }
        let notified = |state| usize::from(state == State::Notified);
        let slots: usize = self.pushes.iter().map(|task| notified(task.future.state())).sum::<usize>()
            + more.pushes.iter().map(|task| notified(task.future.state())).sum::<usize>()
            + more.reserves.iter().map(|task| notified(task.future.state())).sum::<usize>()
            + more.permits.len();
        let (_, granted, ..) = self.tx.pointer().look(|engine| engine.counts());
        assert_eq!(granted, slots, "slots are granted to nobody, or twice");
    }

    pub(super) fn give_up_all(&mut self) {
        while let Some(task) = self.more.pops.pop() {
            assert!(Self::end_pop_many(task).is_empty());
            self.audit();
        }
        while let Some(task) = self.more.pushes.pop() {
            Self::end_push_many(task);
            self.audit();
        }
        while self.more.reserves.pop().is_some() || self.more.permits.pop().is_some() {
            self.audit();
        }
        self.more.watchers.clear();
        self.more.clones.clear();
    }
}
