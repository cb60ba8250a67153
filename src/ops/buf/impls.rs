//! Which types are buffers.
//!
//! Knows: std's containers of bytes and, with the feature, those of `bytes`. Does not know: ops.
#![allow(unsafe_code, reason = "implements the unsafe buffer traits")]

use std::rc::Rc;
use std::sync::Arc;

use super::{Buf, BufMut, Visible};

// SAFETY: (local) the pointer of a `Vec` changes only when it grows or shrinks; `len` of its `capacity` bytes are
// initialised.
unsafe impl Buf for Vec<u8> {
    fn stable_ptr(&self) -> *const u8 {
        self.as_ptr()
    }

    fn init_len(&self) -> usize {
        self.len()
    }

    fn capacity(&self) -> usize {
        Vec::capacity(self)
    }
}

// SAFETY: (local) a vector that is owned shares its memory with nobody.
unsafe impl Visible for Vec<u8> {}

// SAFETY: (local) `as_mut_ptr` may be used for the whole capacity.
unsafe impl BufMut for Vec<u8> {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut_ptr()
    }

    unsafe fn set_filled(&mut self, len: usize) {
        // SAFETY: (local) the caller promises that `len` bytes are there and initialised.
        unsafe { self.set_len(len) };
    }
}

/// Types that are a plain slice of initialised bytes: the methods all read the same from `[u8]`.
macro_rules! initialised {
    ($(#[$why:meta])* $({$($generics:tt)*})? $type:ty, read) => {
        $(#[$why])*
        // SAFETY: (local) the type owns (or shares, unchanged and for ever) one slice of initialised bytes, whose
        // address and length stay the same as long as the value stays where it is.
        unsafe impl $(<$($generics)*>)? Buf for $type {
            fn stable_ptr(&self) -> *const u8 {
                self.as_ptr()
            }

            fn init_len(&self) -> usize {
                self.len()
            }
        }

        $(#[$why])*
        // SAFETY: (local) what is owned is changed by its owner alone; what is shared, by nobody.
        unsafe impl $(<$($generics)*>)? Visible for $type {}
    };
    ($(#[$why:meta])* $({$($generics:tt)*})? $type:ty, fill) => {
        initialised!($(#[$why])* $({$($generics)*})? $type, read);

        $(#[$why])*
        // SAFETY: (local) the value owns its bytes, all of which are initialised from the start and stay so.
        unsafe impl $(<$($generics)*>)? BufMut for $type {
            fn stable_mut_ptr(&mut self) -> *mut u8 {
                self.as_mut_ptr()
            }

            unsafe fn set_filled(&mut self, _len: usize) {}
        }
    };
}

initialised!(Box<[u8]>, fill);
initialised!({const N: usize} [u8; N], fill);
initialised!({const N: usize} Box<[u8; N]>, fill);
initialised!(&'static [u8], read);
initialised!({const N: usize} &'static [u8; N], read);
initialised!(&'static str, read);
initialised!(String, read);
initialised!(Box<str>, read);
initialised!(Arc<[u8]>, read);
initialised!(Rc<[u8]>, read);
initialised!(Arc<Vec<u8>>, read);
initialised!(Rc<Vec<u8>>, read);
initialised!(
    #[cfg(feature = "bytes")]
    bytes::Bytes,
    read
);

// SAFETY: (local) as for `Vec<u8>`: a `BytesMut` has its part of the memory to itself, and moves it only when it is
// changed.
#[cfg(feature = "bytes")]
unsafe impl Buf for bytes::BytesMut {
    fn stable_ptr(&self) -> *const u8 {
        self.as_ptr()
    }

    fn init_len(&self) -> usize {
        self.len()
    }

    fn capacity(&self) -> usize {
        bytes::BytesMut::capacity(self)
    }
}

// SAFETY: (local) no other part of the memory reaches into its own.
#[cfg(feature = "bytes")]
unsafe impl Visible for bytes::BytesMut {}

// SAFETY: (local) the pointer is taken from the spare room of the emptied buffer, so it may be used for the whole
// capacity.
#[cfg(feature = "bytes")]
unsafe impl BufMut for bytes::BytesMut {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        let len = self.len();
        // SAFETY: (local) no byte needs to be initialised in an empty buffer.
        unsafe { self.set_len(0) };
        let start = self.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: (local) these bytes were initialised a moment ago and nothing has written since.
        unsafe { self.set_len(len) };
        start
    }

    unsafe fn set_filled(&mut self, len: usize) {
        // SAFETY: (local) the caller promises that `len` bytes are there and initialised.
        unsafe { self.set_len(len) };
    }
}
