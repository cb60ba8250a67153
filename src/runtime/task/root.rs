//! The future of `block_on`: on the caller's stack, polled as a task in a slot of its own.
//!
//! Knows: task headers, the core. Does not know: the run loop.
#![allow(unsafe_code, reason = "the run loop reaches the root, like any task, through a header")]

use std::any::Any;
use std::cell::UnsafeCell;
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::cell::{Header, Vtable};
use crate::runtime::context;
use crate::runtime::core::Core;
use crate::util::contain::{catch, contain, discard};

/// The output, or what a panic carried.
type Outcome<F> = Result<<F as Future>::Output, Box<dyn Any + Send>>;

/// A task whose future and output are borrowed from the stack.
#[repr(C)]
pub(crate) struct Root<'f, F: Future> {
    /// First, so that a pointer to the header is one to the root.
    header: Header,
    /// Touched by `poll` and by `take` only: through the header while the root sits, by its owner after.
    /// Emptied when the future has ended, in its last poll: what it held is let go of as in any task.
    future: UnsafeCell<Pin<&'f mut Option<F>>>,
    output: UnsafeCell<Option<Outcome<F>>>,
}

impl<'f, F: Future> Root<'f, F> {
    const VTABLE: Vtable = Vtable {
        poll: Self::poll,
        cancelled: None, // only a handle cancels, and a runtime is not dropped while it runs
        leak: |_| unreachable!("a root is not spawned"),
        drop_output: |_| {}, // `take` has it
        block: None,         // the stack's
    };

    pub(crate) fn new(core: &Core, future: Pin<&'f mut Option<F>>) -> Self {
        Self {
            header: Header::unowned(&Self::VTABLE, core),
            future: UnsafeCell::new(future),
            output: UnsafeCell::new(None),
        }
    }

    /// Gives the root a slot of the core, until it has ended or the seat is dropped.
    pub(crate) fn sit<'r>(&'r self, core: &'r Core) -> Seat<'r> {
        core.admit(NonNull::from(self).cast(), |slot| self.header.set_slot(slot));
        Seat { header: &self.header, core }
    }

    /// What the future came to, once it has ended.
    pub(crate) fn take(self) -> Option<Outcome<F>> {
        self.output.into_inner()
    }

    unsafe fn poll(task: NonNull<Header>, cx: &mut Context<'_>) -> bool {
        // SAFETY: (local) only `sit` hands out the header of a root, made from a reference to all of it.
        let root = unsafe { task.cast::<Self>().as_ref() };
        // SAFETY: (local) the run loop polls a task once at a time, and the owner of the root does not touch its future.
        let future = unsafe { &mut *root.future.get() };
        let Some(polled) = future.as_mut().as_pin_mut() else { unreachable!("emptied by its last poll") };
        let output = match catch(|| polled.poll(cx)) {
            Ok(Poll::Pending) => return false,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(payload),
        };
        let output = match (output, catch(|| future.set(None))) {
            (output, Ok(())) => output,
            (Ok(output), Err(payload)) => {
                contain(|| drop(output));
                Err(payload)
            }
            (Err(payload), Err(second)) => {
                discard(second);
                Err(payload)
            }
        };
        // SAFETY: (local) as above; `take` comes after, and takes the root by value.
        unsafe { *root.output.get() = Some(output) };
        context::with(|core| core.map(|core| core.interrupted.set(true))); // the loop may be done
        true
    }
}

/// A root's place among the tasks.
pub(crate) struct Seat<'r> {
    header: &'r Header,
    core: &'r Core,
}

impl Seat<'_> {
    pub(crate) fn is_complete(&self) -> bool {
        self.header.is_complete()
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if !self.is_complete() {
            // The ring failed and the loop unwinds: nobody may find the root any more.
            // SAFETY: (local) the slot that `sit` was given, and is not complete: it was not removed.
            unsafe { self.core.tasks.remove(self.header.slot()) };
        }
    }
}
