//! What every world is made of: values that are counted, wakers that say whom they woke, futures that keep their end.
//!
//! Knows: std. Does not know: channels.
#![allow(unsafe_code, reason = "a future and the end that it borrows are kept together")]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use millstream::Operation;

// ---- values ----

/// Counts the tokens that exist.
#[derive(Clone, Default)]
pub(crate) struct Census(Arc<AtomicUsize>);

impl Census {
    pub(crate) fn token(&self, id: u64) -> Token {
        self.0.fetch_add(1, Ordering::Relaxed);
        Token { id, census: self.clone() }
    }

    pub(crate) fn alive(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that is missed when it is lost, and found when it is there twice.
pub(crate) struct Token {
    pub(crate) id: u64,
    census: Census,
}

impl Clone for Token {
    fn clone(&self) -> Self {
        self.census.token(self.id)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let before = self.census.0.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "token {} was dropped twice", self.id);
    }
}

// ---- wakers ----

/// Every wake since the last look: which task, by which of its wakers.
#[derive(Clone, Default)]
pub(crate) struct Wakes(Arc<Mutex<Vec<(usize, usize)>>>);

struct Bell {
    wakes: Wakes,
    task: usize,
    generation: usize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.0.lock().expect("no panic").push((self.task, self.generation));
    }
}

impl Wakes {
    pub(crate) fn waker(&self, task: usize, generation: usize) -> Waker {
        Arc::new(Bell { wakes: self.clone(), task, generation }).into()
    }

    pub(crate) fn take(&self) -> Vec<(usize, usize)> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

// ---- ends ----

/// An end that counts itself.
pub(crate) struct Counted<E> {
    pub(crate) end: E,
    alive: Rc<Cell<usize>>,
}

impl<E> Counted<E> {
    pub(crate) fn new(end: E, alive: &Rc<Cell<usize>>) -> Rc<Self> {
        alive.set(alive.get() + 1);
        Rc::new(Self { end, alive: alive.clone() })
    }
}

impl<E> Drop for Counted<E> {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

// ---- futures ----

/// A future, and the end that it borrows for as long. Whoever takes them apart drops the future first.
pub(crate) struct Held<F> {
    pub(crate) future: Pin<Box<F>>, // dropped first
    pub(crate) end: Rc<dyn Any>,
}

/// What a future works on, out of everybody's reach until the future is gone and it is taken out.
pub(crate) struct Buffer<B>(Rc<UnsafeCell<B>>);

impl<B> Buffer<B> {
    pub(crate) fn new(content: B) -> Self {
        Self(Rc::new(UnsafeCell::new(content)))
    }

    pub(crate) fn take(self) -> B {
        Rc::into_inner(self.0).expect("nobody else has it").into_inner()
    }
}

impl<F> Held<F> {
    /// `borrow` must keep the reference in the future that it returns, and nowhere else.
    pub(crate) fn new<E: 'static>(end: &Rc<E>, borrow: impl FnOnce(&'static E) -> F) -> Self {
        // SAFETY: (local) the end is alive and stays where it is until `self.end` is dropped, after the future.
        let borrowed: &'static E = unsafe { &*Rc::as_ptr(end) };
        Self { future: Box::pin(borrow(borrowed)), end: end.clone() }
    }

    /// The same with a buffer, which must not be taken before the future is dropped.
    pub(crate) fn with<E: 'static, B: 'static>(
        end: &Rc<E>,
        buffer: &Buffer<B>,
        borrow: impl FnOnce(&'static E, &'static mut B) -> F,
    ) -> Self {
        // SAFETY: (local) the buffer is alive and stays where it is until it is taken, after the future was dropped, and
        // nobody else reaches it.
        let borrowed: &'static mut B = unsafe { &mut *buffer.0.get() };
        Self::new(end, |end| borrow(end, borrowed))
    }
}

/// A future, and what it has to itself for as long.
pub(crate) struct Lent<F, B> {
    future: Pin<Box<F>>, // dropped first
    buffer: Buffer<B>,
}

impl<F, B: 'static> Lent<F, B> {
    /// `borrow` must keep the reference in the future that it returns, and nowhere else.
    pub(crate) fn new(content: B, borrow: impl FnOnce(&'static mut B) -> F) -> Self {
        let buffer = Buffer::new(content);
        // SAFETY: (local) what is lent is alive and stays where it is until `self.buffer` is taken or dropped, after the
        // future, and nobody else reaches it.
        let borrowed: &'static mut B = unsafe { &mut *buffer.0.get() };
        Self { future: Box::pin(borrow(borrowed)), buffer }
    }

    pub(crate) fn future(&mut self) -> Pin<&mut F> {
        self.future.as_mut()
    }

    /// Drops the future.
    pub(crate) fn give_back(self) -> B {
        drop(self.future);
        self.buffer.take()
    }
}

/// An operation whose outcome is put into the terms of a world, so that unlike ones can be kept, and race, together.
pub(crate) struct Mapped<F: Operation, R> {
    pub(crate) future: Pin<Box<F>>,
    map: fn(F::Output) -> R,
}

impl<F: Operation, R> Mapped<F, R> {
    pub(crate) fn new(future: Pin<Box<F>>, map: fn(F::Output) -> R) -> Self {
        Self { future, map }
    }
}

impl<F: Operation, R> Future for Mapped<F, R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let map = self.map;
        self.future.as_mut().poll(cx).map(map)
    }
}

impl<F: Operation, R> Operation for Mapped<F, R> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.future.as_mut().request_cancel();
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.future.as_mut().poll_discard(cx)
    }

    fn commit_on_poll(mut self: Pin<&mut Self>) {
        self.future.as_mut().commit_on_poll();
    }

    fn is_decided(&self) -> bool {
        self.future.is_decided()
    }
}
