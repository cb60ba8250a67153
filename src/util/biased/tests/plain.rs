//! Every way through the count, one after the other, and a stress over real threads.
#![allow(unsafe_code, reason = "implements the unsafe trait, and settles messages where it wants them")]

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use super::super::{Biased, Home, Message};

thread_local! {
    static HERE: Cell<u64> = const { Cell::new(0) };
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

/// The inboxes of the runtimes that are alive.
static INBOXES: Mutex<Vec<(u64, Vec<Message>)>> = Mutex::new(Vec::new());
static NEXT: AtomicUsize = AtomicUsize::new(1);

struct Registry;

// SAFETY: (I5) numbers are given out once; a refusal is given under the lock that `Owner::drop` took after the last
// `here`.
unsafe impl Home for Registry {
    fn here() -> u64 {
        HERE.get()
    }

    fn thread() -> u64 {
        if THREAD.get() == 0 {
            THREAD.set(NEXT.fetch_add(1, Ordering::Relaxed) as u64);
        }
        THREAD.get()
    }

    fn post(owner: u64, message: Message) -> Result<(), Message> {
        match INBOXES.lock().unwrap().iter_mut().find(|(id, _)| *id == owner) {
            Some((_, inbox)) => {
                inbox.push(message);
                Ok(())
            }
            None => Err(message),
        }
    }
}

/// A runtime that lives on this thread until it is dropped.
struct Owner(u64);

impl Owner {
    fn new() -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed) as u64;
        INBOXES.lock().unwrap().push((id, Vec::new()));
        Self(id)
    }

    fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        let outer = HERE.replace(self.0);
        let result = f();
        HERE.set(outer);
        result
    }

    fn turn(&self) -> usize {
        let messages = {
            let mut inboxes = INBOXES.lock().unwrap();
            let (_, inbox) = inboxes.iter_mut().find(|(id, _)| *id == self.0).unwrap();
            std::mem::take(inbox)
        };
        self.enter(|| {
            // SAFETY: (I5) `here` is the owner.
            messages.into_iter().map(|message| unsafe { message.settle() }).count()
        })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut inboxes = INBOXES.lock().unwrap();
        let at = inboxes.iter().position(|(id, _)| *id == self.0).unwrap();
        let (_, left) = inboxes.swap_remove(at);
        drop(inboxes);
        for message in left {
            // SAFETY: (I5) on the owner's thread, and it will not be here again.
            unsafe { message.settle() };
        }
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counted() -> (Biased<Counted, Registry>, impl Fn() -> usize) {
    let drops = Arc::new(AtomicUsize::new(0));
    (Biased::new(Counted(drops.clone())), move || drops.load(Ordering::Relaxed))
}

fn elsewhere(f: impl FnOnce() + Send + 'static) {
    thread::spawn(f).join().unwrap();
}

#[test]
fn without_a_runtime_it_counts_atomically() {
    let (a, drops) = counted();
    let b = a.clone();
    drop(a);
    elsewhere({
        let c = b.clone();
        move || drop(c)
    });
    assert_eq!(drops(), 0);
    drop(b);
    assert_eq!(drops(), 1);
}

#[test]
fn on_its_runtime_it_counts_plainly() {
    let owner = Owner::new();
    let (a, drops) = counted();
    owner.enter(|| {
        let b = a.clone();
        let shared = a.inner().shared.load(Ordering::Relaxed);
        let c = b.clone();
        drop((a, b));
        assert_eq!((shared, drops()), (0, 0), "bound: nothing is counted atomically");
        drop(c);
    });
    assert_eq!(drops(), 1);
}

#[test]
fn a_last_handle_dropped_elsewhere_is_released_by_the_owner() {
    let owner = Owner::new();
    let (a, drops) = counted();
    let b = owner.enter(|| a.clone());
    elsewhere(move || drop((a, b))); // the first is a message, the second makes the count negative
    assert_eq!(drops(), 0);
    assert_eq!((owner.turn(), drops()), (1, 1));
}

#[test]
fn the_owner_stays_plain_after_a_message() {
    let owner = Owner::new();
    let (a, drops) = counted();
    let b = owner.enter(|| a.clone());
    elsewhere(move || drop(b));
    owner.turn();
    owner.enter(|| {
        let c = a.clone();
        assert_eq!((a.inner().local.get(), a.inner().shared.load(Ordering::Relaxed)), (2, 0));
        drop((a, c));
    });
    assert_eq!(drops(), 1);
}

#[test]
fn handles_made_elsewhere_outlive_the_owners() {
    let owner = Owner::new();
    let (a, drops) = counted();
    let b = owner.enter(|| a.clone());
    let (give, take) = mpsc::channel();
    elsewhere({
        let b = b.clone(); // not entered: atomic
        move || give.send((b.clone(), b)).unwrap()
    });
    owner.enter(|| drop((a, b)));
    let (c, d) = take.recv().unwrap();
    assert_eq!(drops(), 0);
    drop(c);
    owner.enter(|| drop(d.clone())); // MERGED: atomic for the owner too
    elsewhere(move || drop(d));
    assert_eq!(drops(), 1);
}

#[test]
fn the_owners_thread_need_not_be_running_it() {
    let owner = Owner::new();
    let (a, drops) = counted();
    drop(owner.enter(|| a.clone()));
    drop(a);
    assert_eq!(drops(), 1, "nothing waits for the next turn");
}

#[test]
fn after_the_owner_is_gone_any_thread_releases() {
    for on_its_thread in [true, false] {
        let owner = Owner::new();
        let (a, drops) = counted();
        let (b, c) = owner.enter(|| (a.clone(), a.clone()));
        elsewhere(move || drop(c)); // a message that nobody has read
        drop(owner);
        assert_eq!(drops(), 0);
        if on_its_thread {
            drop((a, b));
        } else {
            elsewhere(move || drop((a, b)));
        }
        assert_eq!(drops(), 1);
    }
}

#[test]
fn the_only_handle_gives_the_value() {
    let owner = Owner::new();
    let (a, drops) = counted();
    let a = a.try_into_inner().ok().expect("never cloned");
    let (b, c) = owner.enter(|| {
        let a = Biased::<_, Registry>::new(a);
        (a.clone(), a)
    });
    let b = b.try_into_inner().err().expect("two handles");
    owner.enter(|| drop(c));
    let b = owner.enter(|| b.try_into_inner().ok().expect("the only one, on its runtime"));
    let d = Biased::<_, Registry>::new(b);
    drop(owner.enter(|| d.clone()));
    let d = d.try_into_inner().ok().expect("the only one, on its thread");
    assert_eq!(drops(), 0);
    drop(d);
    assert_eq!(drops(), 1);
}

#[test]
fn two_runtimes_and_a_thread_share_one() {
    for round in 0..200 {
        let (a, drops) = counted();
        let threads: Vec<_> = (0..3)
            .map(|i| {
                let mine = a.clone();
                thread::spawn(move || {
                    let owner = (i < 2).then(Owner::new);
                    let work = || {
                        let mut kept = vec![mine];
                        for step in 0..50 + round % 7 {
                            let next = kept[0].clone();
                            kept.push(next);
                            if step % 3 == 0 {
                                kept.swap_remove(0);
                            }
                        }
                        kept
                    };
                    match owner {
                        Some(owner) => {
                            let kept = owner.enter(work);
                            owner.turn();
                            kept
                        }
                        None => work(),
                    }
                })
            })
            .collect();
        drop(a);
        // Handles of one are dropped beside the others, whatever is left of their owners.
        for handle in threads {
            drop(handle.join().unwrap());
        }
        assert_eq!(drops(), 1, "round {round}");
    }
}
