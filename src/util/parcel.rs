//! A value that is nearly always taken out before it would be dropped.
//!
//! Knows: nothing else. Does not know: what the value is.
#![allow(unsafe_code, reason = "drops in a function of its own what else would be dropped in place")]

use core::mem::{self, ManuallyDrop};

/// The value. As a plain field it would make the destructor of whatever it is in as large as its own, too large to be seen
/// through where there is nothing to drop.
#[derive(Debug)]
pub struct Parcel<T>(ManuallyDrop<T>);

impl<T> Parcel<T> {
    #[inline(always)]
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }

    /// The value, where it is.
    #[inline]
    pub(crate) fn look(&self) -> &T {
        &self.0
    }

    /// Takes the value out.
    #[inline(always)]
    pub(crate) fn open(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: (local) taken once: `this` is neither dropped nor used again.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl<T> Drop for Parcel<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if mem::needs_drop::<T>() {
            drop_unopened(self);
        }
    }
}

#[cold]
#[inline(never)]
fn drop_unopened<T>(parcel: &mut Parcel<T>) {
    // SAFETY: (local) called by the destructor alone, and not by that of an opened one, which never runs.
    unsafe { ManuallyDrop::drop(&mut parcel.0) }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::Parcel;

    #[test]
    fn the_value_is_dropped_once_opened_or_not() {
        let value = Rc::new(7);
        let parcel = Parcel::new(Rc::clone(&value));
        assert_eq!((**parcel.look(), Rc::strong_count(&value)), (7, 2));
        drop(parcel);
        assert_eq!(Rc::strong_count(&value), 1);
        let taken = Parcel::new(Rc::clone(&value)).open();
        assert_eq!(Rc::strong_count(&value), 2);
        drop(taken);
        assert_eq!(Rc::strong_count(&value), 1);
    }
}
