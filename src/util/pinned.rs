//! Pinned elements of a pinned slice: the one projection that std and pin-project-lite do not offer.
//!
//! Knows: `Pin`. Does not know: what the elements are.
#![allow(unsafe_code, reason = "structural pinning of slice elements has no safe spelling on stable Rust")]

use core::pin::Pin;

/// The elements of a pinned slice, each pinned, in order.
pub(crate) fn elements<T>(slice: Pin<&mut [T]>) -> impl Iterator<Item = Pin<&mut T>> {
    // SAFETY: (local) the reference is only split into references to its elements, which are pinned again below; nothing moves.
    let slice = unsafe { slice.get_unchecked_mut() };
    // SAFETY: (local) an element lives and is dropped where its slice does, and the slice is pinned.
    slice.iter_mut().map(|element| unsafe { Pin::new_unchecked(element) })
}

#[cfg(test)]
mod tests {
    use core::marker::PhantomPinned;
    use core::pin::{Pin, pin};

    use super::elements;

    #[test]
    fn every_element_is_seen_once_at_its_own_address() {
        struct Fixed(u8, #[allow(dead_code, reason = "makes the type !Unpin")] PhantomPinned);
        let mut array = pin!([Fixed(1, PhantomPinned), Fixed(2, PhantomPinned), Fixed(3, PhantomPinned)]);
        let at: Vec<*const Fixed> = array.iter().map(std::ptr::from_ref).collect();
        let slice: Pin<&mut [Fixed]> = array.as_mut();
        let seen: Vec<_> = elements(slice).map(|e| (e.0, std::ptr::from_ref(&*e))).collect();
        assert_eq!(seen, [(1, at[0]), (2, at[1]), (3, at[2])]);
    }
}
