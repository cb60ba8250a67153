//! Places for buffers: a buffer stays where it is for as long as it is there.
//!
//! Knows: which places are free. Does not know: what is done with the buffers, rings.
#![allow(unsafe_code, reason = "values that are there or not, reached by number")]

use std::mem::MaybeUninit;

use crate::sync::cell::UnsafeCell;
use crate::sync::{Mutex, MutexGuard};
use crate::util::contain::contain;

/// So many places, each free or with a buffer in it. Whoever knows the number of one that is not free, and got it from
/// [`fill`](Self::fill) or from whoever did, owns the buffer.
pub(super) struct Slots<B> {
    places: Box<[UnsafeCell<MaybeUninit<B>>]>,
    free: Mutex<Vec<u16>>,
}

// SAFETY: (local) a buffer is reached only by who owns it, who may be on any thread if buffers may; the list of free places,
// under its lock, hands a place from the thread that has emptied it to the one that fills it.
unsafe impl<B: Send> Send for Slots<B> {}
// SAFETY: (local) as above: no buffer is shared.
unsafe impl<B: Send> Sync for Slots<B> {}

impl<B> Slots<B> {
    /// So many places, 65,536 at most, all of them free.
    pub(super) fn new(places: u32) -> Self {
        Self {
            places: (0..places).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
            free: Mutex::new((0..=(places - 1) as u16).rev().collect()),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.places.len()
    }

    /// How many are free.
    pub(super) fn free(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u16>> {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) // no step under it can be left half done
    }

    /// Puts a buffer into a free place; back with it if there is none.
    pub(super) fn fill(&self, buf: B) -> Result<u16, B> {
        let free = self.lock().pop();
        let Some(place) = free else { return Err(buf) };
        // SAFETY: (local) the place was free, and is nobody else's now.
        self.places[usize::from(place)].with_mut(|at| unsafe { (*at).write(buf) });
        Ok(place)
    }

    /// Where the buffer in this place is, until it is taken.
    pub(super) fn at(&self, place: u16) -> *mut B {
        self.places[usize::from(place)].with_mut(<*mut MaybeUninit<B>>::cast)
    }

    /// Takes the buffer out; the place is free.
    ///
    /// # Safety
    ///
    /// The caller owns the buffer in this place, and nobody has use for its address any more.
    pub(super) unsafe fn take(&self, place: u16) -> B {
        // SAFETY: (local) a buffer is there, as the caller promises, and is read once.
        let buf = unsafe { self.at(place).read() };
        self.lock().push(place);
        buf
    }
}

impl<B> Drop for Slots<B> {
    fn drop(&mut self) {
        let free = std::mem::take(&mut *self.lock());
        if free.len() == self.places.len() {
            return;
        }
        let mut empty = vec![false; self.places.len()];
        free.into_iter().for_each(|place| empty[usize::from(place)] = true);
        for (place, _) in empty.into_iter().enumerate().filter(|(_, empty)| !empty) {
            // SAFETY: (I1) what is not free has a buffer in it. Every op in flight holds whoever has the places, so the kernel
            // has let go of it.
            contain(|| unsafe { self.at(place as u16).drop_in_place() });
        }
    }
}
