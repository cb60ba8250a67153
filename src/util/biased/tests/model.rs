//! The count under loom: clones and drops on the owner's thread and beside it, and an owner that goes.
#![allow(unsafe_code, reason = "implements the unsafe trait, and settles messages where it wants them")]

use loom::cell::Cell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::super::{Biased, Home, Message};

loom::thread_local! {
    static HERE: Cell<u64> = Cell::new(0);
    static THREAD: Cell<u64> = Cell::new(1);
}

loom::lazy_static! {
    /// The inbox of the only runtime; `None` once it is gone.
    static ref INBOX: Mutex<Option<Vec<Message>>> = Mutex::new(Some(Vec::new()));
}

const OWNER: u64 = 7;

struct Model;

// SAFETY: (I5) only the main thread of a model sets `HERE`, and `retire` unsets it before it takes the inbox away.
unsafe impl Home for Model {
    fn here() -> u64 {
        HERE.with(Cell::get)
    }

    fn thread() -> u64 {
        THREAD.with(Cell::get)
    }

    fn post(owner: u64, message: Message) -> Result<(), Message> {
        assert_eq!(owner, OWNER);
        match &mut *INBOX.lock().unwrap() {
            Some(inbox) => {
                inbox.push(message);
                Ok(())
            }
            None => Err(message),
        }
    }
}

fn turn() {
    let messages = INBOX.lock().unwrap().as_mut().map(std::mem::take);
    for message in messages.into_iter().flatten() {
        // SAFETY: (I5) `here` is the owner.
        unsafe { message.settle() };
    }
}

fn retire() {
    HERE.with(|here| here.set(0));
    let messages = INBOX.lock().unwrap().take();
    for message in messages.into_iter().flatten() {
        // SAFETY: (I5) on the owner's thread, and it will not be here again.
        unsafe { message.settle() };
    }
}

/// The cell is read by whoever has a handle and written by the drop: loom fails when one does not happen before the
/// other.
struct Counted(Arc<AtomicUsize>, Cell<u32>);

// SAFETY: (I5) handles only read the cell.
unsafe impl Sync for Counted {}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.set(1);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Uses a handle for the last time.
fn finish(handle: Handle) {
    assert_eq!(handle.1.get(), 0);
    drop(handle);
}

type Handle = Biased<Counted, Model>;

/// Runs `f` in every interleaving, on the owner's thread, with an unbound handle; then the value has been dropped
/// once.
fn model(f: impl Fn(Handle) + Sync + Send + 'static) {
    loom::model(move || {
        HERE.with(|here| here.set(OWNER));
        let drops = Arc::new(AtomicUsize::new(0));
        f(Handle::new(Counted(drops.clone(), Cell::new(0))));
        turn();
        retire();
        assert_eq!(drops.load(Ordering::Relaxed), 1, "dropped once");
    });
}

/// A thread that is not the owner's.
fn beside(f: impl FnOnce() + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        THREAD.with(|thread| thread.set(2));
        f();
    })
}

#[test]
fn the_owners_handles_dropped_beside_it() {
    model(|a| {
        let (b, c) = (a.clone(), a.clone());
        let thread = beside(move || {
            finish(b);
            finish(c);
        });
        finish(a);
        turn();
        thread.join().unwrap();
    });
}

#[test]
fn a_clone_made_beside_the_owner() {
    model(|a| {
        let b = a.clone();
        let thread = beside(move || {
            let c = b.clone();
            finish(b);
            finish(c);
        });
        let d = a.clone();
        finish(a);
        turn();
        finish(d);
        thread.join().unwrap();
    });
}

#[test]
fn binding_while_another_handle_goes() {
    model(|a| {
        HERE.with(|here| here.set(0));
        let b = a.clone(); // still unbound: atomic
        HERE.with(|here| here.set(OWNER));
        let thread = beside(move || finish(b));
        let c = a.clone(); // binds
        finish(a);
        finish(c);
        thread.join().unwrap();
    });
}

#[test]
fn an_owner_that_goes_meanwhile() {
    model(|a| {
        let (b, c) = (a.clone(), a.clone());
        let thread = beside(move || finish(b));
        let other = beside(move || finish(c));
        finish(a);
        retire();
        thread.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn the_owners_thread_after_the_owner() {
    model(|a| {
        let (b, c) = (a.clone(), a.clone());
        let thread = beside(move || finish(c));
        retire();
        finish(a);
        finish(b);
        thread.join().unwrap();
    });
}

#[test]
fn taking_the_value_out_while_another_handle_goes() {
    model(|a| {
        let b = a.clone();
        let thread = beside(move || finish(b));
        turn(); // may find the handle that went
        match a.try_into_inner() {
            Ok(value) => drop(value),
            Err(a) => finish(a),
        }
        thread.join().unwrap();
        turn();
    });
}

#[test]
fn taking_the_value_out_beside_the_loop() {
    model(|a| {
        let b = a.clone();
        HERE.with(|here| here.set(0));
        let thread = beside(move || finish(b));
        match a.try_into_inner() {
            Ok(value) => drop(value),
            Err(a) => finish(a),
        }
        thread.join().unwrap();
    });
}

/// `only-without-acquire`.
#[test]
fn taking_the_value_out_of_an_unbound_handle() {
    model(|a| {
        HERE.with(|here| here.set(0));
        let b = a.clone();
        let thread = beside(move || finish(b));
        thread::yield_now(); // without it, loom tries no order in which that one is first
        match a.try_into_inner() {
            Ok(value) => drop(value),
            Err(a) => finish(a),
        }
        thread.join().unwrap();
    });
}
