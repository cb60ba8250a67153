//! Random steps of both ends on one thread against a plain queue: every result is the queue's, and nobody waits for what
//! is there without having been woken.

use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Poll, Waker};
use std::collections::VecDeque;
use std::rc::Rc;

use futures::future::poll_fn;

use crate::channel::spsc::{Consumer, Producer};
use crate::channel::tests::support::{Bell, Census, Rng, Token, poll_with, seed};
use crate::channel::{PopError, PushError, TryPopError, TryPushError, spsc};
use crate::operation::Operation;

/// What the channel must be like.
struct Model {
    census: Census,
    rng: RefCell<Rng>,
    capacity: usize,
    queue: RefCell<VecDeque<u64>>,
    closed: Cell<bool>,
    next: Cell<u64>,
}

impl Model {
    fn token(&self) -> Token {
        self.next.set(self.next.get() + 1);
        self.census.token(self.next.get())
    }

    fn below(&self, n: usize) -> usize {
        self.rng.borrow_mut().below(n)
    }

    fn is_full(&self) -> bool {
        self.queue.borrow().len() == self.capacity
    }

    fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    fn pushed(&self, id: u64) {
        assert!(!self.closed.get() && !self.is_full(), "pushed {id}");
        self.queue.borrow_mut().push_back(id);
    }

    fn popped(&self, token: &Token) {
        assert_eq!(self.queue.borrow_mut().pop_front(), Some(token.id));
    }
}

/// Waits as long as it takes.
const FOR_EVER: usize = usize::MAX;

/// Polls up to so many times while it is pending, and then gives up; or for ever, and then only when it is woken.
async fn with_patience<F: Future>(mut future: Pin<&mut F>, mut patience: usize) -> Option<F::Output> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if patience == 0 => Poll::Ready(None),
        Poll::Pending => {
            if patience != FOR_EVER {
                patience -= 1;
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        }
    })
    .await
}

async fn produce(mut tx: Producer<Token>, model: Rc<Model>, steps: usize) {
    for _ in 0..steps {
        let (full, closed) = (model.is_full(), model.closed.get());
        assert_eq!((tx.len(), tx.is_full(), tx.is_closed()), (model.queue.borrow().len(), full, closed));
        match model.below(12) {
            0 | 1 => {
                let token = model.token();
                let id = token.id;
                match tx.try_push(token) {
                    Ok(()) => model.pushed(id),
                    Err(TryPushError::Full(_)) => assert!(full && !closed),
                    Err(TryPushError::Closed(_)) => assert!(closed),
                }
            }
            way @ 2..6 => {
                let token = model.token();
                let id = token.id;
                let mut push = pin!(tx.push(token));
                let patience = if way == 2 { FOR_EVER } else { model.below(3) };
                match with_patience(push.as_mut(), patience).await {
                    Some(Ok(())) => model.pushed(id),
                    Some(Err(PushError::Closed(token))) => assert!(model.closed.get() && token.id == id),
                    Some(Err(_)) => panic!("nobody asked it to stop"),
                    None if way == 3 => {}
                    None if way == 4 => assert_eq!(push.cancel().unwrap_err().into_inner().id, id),
                    None => {
                        push.as_mut().request_cancel();
                        assert_eq!(push.await.unwrap_err().into_inner().id, id);
                    }
                }
            }
            way @ 6..9 => {
                let mut values: VecDeque<_> = (0..model.below(6)).map(|_| model.token()).collect();
                let ids: Vec<_> = values.iter().map(|token| token.id).collect();
                if way == 6 {
                    let room = model.capacity - model.queue.borrow().len();
                    match tx.try_push_many(&mut values) {
                        Ok(pushed) => assert_eq!(pushed, if closed { 0 } else { room.min(ids.len()) }),
                        Err(TryPushError::Closed(())) => assert!(closed),
                        Err(TryPushError::Full(())) => assert!(full),
                    }
                    ids[..ids.len() - values.len()].iter().for_each(|&id| model.pushed(id));
                } else {
                    let mut given = 0;
                    let mut patience = if way == 7 { FOR_EVER } else { model.below(4) };
                    let mut push = Box::pin(tx.push_many(&mut values));
                    loop {
                        // Each poll pushes what there is room for.
                        let room = model.capacity - model.queue.borrow().len();
                        let polled = with_patience(push.as_mut(), 0).await;
                        let now = if model.closed.get() { 0 } else { room.min(ids.len() - given) };
                        ids[given..given + now].iter().for_each(|&id| model.pushed(id));
                        given += now;
                        match polled {
                            Some(Ok(())) => break assert_eq!(given, ids.len()),
                            Some(Err(_)) => break assert!(model.closed.get()),
                            None if patience == 0 => break,
                            None if patience == FOR_EVER => pending_once(|_| ()).await,
                            None => {
                                patience -= 1;
                                yield_now().await;
                            }
                        }
                    }
                    drop(push);
                    assert_eq!(values.len(), ids.len() - given);
                }
            }
            9 => {
                let reserved = with_patience(pin!(tx.reserve()), model.below(3)).await;
                if let Some(reserved) = reserved {
                    match reserved {
                        Ok(permit) => {
                            assert!(!model.is_full());
                            if model.below(2) == 0 {
                                let token = model.token();
                                let id = token.id;
                                assert_eq!(permit.push(token).is_ok(), !model.closed.get());
                                if !model.closed.get() {
                                    model.pushed(id);
                                }
                            }
                        }
                        Err(_) => assert!(model.closed.get()),
                    }
                }
            }
            10 => {
                let closed = with_patience(pin!(tx.closed()), model.below(3)).await;
                assert!(closed.is_none() || model.closed.get());
            }
            _ if model.below(20) == 0 => assert_eq!(tx.close(), !model.closed.replace(true)),
            _ => yield_now().await,
        }
    }
    drop(tx);
    model.closed.set(true);
}

async fn consume(mut rx: Consumer<Token>, model: Rc<Model>) {
    loop {
        let (len, closed) = (model.queue.borrow().len(), model.closed.get());
        assert_eq!((rx.len(), rx.is_empty(), rx.is_closed()), (len, len == 0, closed));
        match model.below(12) {
            0 | 1 => match rx.try_pop() {
                Ok(token) => model.popped(&token),
                Err(TryPopError::Empty) => assert!(len == 0 && !closed),
                Err(TryPopError::Closed) => break assert!(len == 0 && closed),
            },
            way @ 2..6 => {
                let mut pop = pin!(rx.pop());
                let patience = if way == 2 { FOR_EVER } else { model.below(3) };
                match with_patience(pop.as_mut(), patience).await {
                    Some(Ok(token)) => model.popped(&token),
                    Some(Err(_)) => break assert!(model.is_empty() && model.closed.get()),
                    None if way == 3 => {}
                    None => {
                        pop.as_mut().request_cancel();
                        assert_eq!(pop.await.err(), Some(PopError::Cancelled));
                    }
                }
            }
            way @ 6..8 => {
                let (mut out, max) = (Vec::new(), model.below(6));
                let popped = if way == 6 {
                    rx.try_pop_many(&mut out, max).ok()
                } else {
                    with_patience(pin!(rx.pop_many(&mut out, max)), model.below(3)).await.and_then(Result::ok)
                };
                assert_eq!(popped.unwrap_or(0), out.len());
                if popped.is_some() {
                    assert_eq!(out.len(), model.queue.borrow().len().min(max));
                }
                out.iter().for_each(|token| model.popped(token));
            }
            8 => {
                let most = model.below(4);
                assert_eq!(rx.drain().len(), len);
                rx.drain().take(most).for_each(|token| model.popped(&token));
                assert_eq!(rx.len(), len.saturating_sub(most));
            }
            9 => {
                let closed = with_patience(pin!(rx.closed()), model.below(3)).await;
                assert!(closed.is_none() || model.closed.get());
            }
            10 if model.below(40) == 0 => assert_eq!(rx.close(), !model.closed.replace(true)),
            10 if model.below(100) == 0 => {
                model.closed.set(true);
                model.queue.borrow_mut().clear();
                break;
            }
            _ => yield_now().await,
        }
    }
}

async fn yield_now() {
    pending_once(|waker| waker.wake_by_ref()).await;
}

/// Pending, until the task is polled again.
async fn pending_once(first: impl Fn(&Waker)) {
    let mut again = false;
    poll_fn(|cx| {
        if core::mem::replace(&mut again, true) {
            return Poll::Ready(());
        }
        first(cx.waker());
        Poll::Pending
    })
    .await;
}

fn run(capacity: usize, seed: u64, steps: usize) {
    let model = Rc::new(Model {
        census: Census::default(),
        rng: RefCell::new(Rng::new(seed)),
        capacity,
        queue: RefCell::default(),
        closed: Cell::new(false),
        next: Cell::new(0),
    });
    let (tx, rx) = spsc(capacity);
    let mut tasks: [Option<Pin<Box<dyn Future<Output = ()>>>>; 2] =
        [Some(Box::pin(produce(tx, model.clone(), steps))), Some(Box::pin(consume(rx, model.clone())))];
    let bells = [Bell::new(), Bell::new()];
    let mut woken = [true; 2];
    while tasks.iter().any(Option::is_some) {
        for (n, (bell, _)) in bells.iter().enumerate() {
            woken[n] |= bell.rings() > 0;
        }
        let runs = |n: usize| woken[n] && tasks[n].is_some();
        assert!(runs(0) || runs(1), "capacity {capacity}, seed {seed}: both wait");
        let n = model.below(2);
        // Not woken: sometimes polled all the same.
        if runs(n) || model.below(8) == 0 {
            woken[n] = false;
            if let Some(task) = &mut tasks[n]
                && poll_with(Pin::new(task), &bells[n].1).is_ready()
            {
                tasks[n] = None;
            }
        }
    }
    drop(tasks);
    assert_eq!(model.census.alive(), 0, "capacity {capacity}, seed {seed}");
}

#[test]
fn both_ends_against_a_queue() {
    let seed = seed();
    eprintln!("MILLSTREAM_SEED={seed}");
    let rounds = if cfg!(miri) { 2 } else { 200 };
    for round in 0..rounds {
        for capacity in [1, 2, 3, 8] {
            run(capacity, seed.wrapping_add(round), 100);
        }
    }
}
