//! The memory an op lends to the kernel: passed by value, owned by the op's node while the kernel may touch it, given
//! back with the result.
//!
//! Knows: pointers and lengths. Does not know: descriptors, entries, runtimes.
//!
//! ```text
//!  stable_ptr                init_len              capacity
//!      |■■■■■■■■■■■■■■■■■■■■■■■■|□□□□□□□□□□□□□□□□□□□□□□|
//!      '---- a write sends ----'
//!      '------------- a read may fill -----------------'
//! ```
#![allow(
    unsafe_code,
    reason = "the traits are unsafe to implement: the kernel follows the pointers they return"
)]

mod fixed;
mod impls;
pub(crate) mod pool;
pub(crate) mod queue;
mod relay;
mod slice;
mod vectored;

use std::io;

pub use fixed::{
    BufferTable, FixedBuf, FixedPool, FixedPoolBuf, Memory, RegisterError, RegisterErrorKind, SharedBuffers,
    TakeFixed,
};
pub use pool::{BufPool, BufPoolBuilder, Bundle, PoolBuf};
pub(crate) use pool::{Claim, Hungry, Lender, Pool};
pub use queue::{BufQueue, QueueBuf, QueueBundle, QueueError, ToFill, ToSend, Use};
pub use relay::{Relay, Take};
pub use slice::{BufExt, Slice};
pub(crate) use vectored::{IoVecs, asked, scatter, scatter_written};

/// The most bytes one request moves: the kernel's own limit (`MAX_RW_COUNT`). A longer buffer is used up to here.
pub(crate) const MAX_LEN: usize = 0x7fff_f000;

/// Bytes that can be written or sent.
///
/// A buffer is passed to an op by value and comes back with the result, so nothing is borrowed and the op may be
/// dropped at any time. Implemented for `Vec<u8>`, `Box<[u8]>`, `[u8; N]`, `Box<[u8; N]>`, `&'static [u8]`,
/// `&'static str`, `String`, `Arc<[u8]>`, `Rc<[u8]>`, `Arc<Vec<u8>>`, `Rc<Vec<u8>>`, [`Slice`], [`Relay`], [`Take`], [`FixedBuf`],
/// [`FixedPoolBuf`], an `Arc` of one of the last two and, with the feature `bytes`, `Bytes` and `BytesMut`.
///
/// # Safety
///
/// As long as the value is neither moved nor changed:
///
/// 1. `stable_ptr` returns the same pointer, and `init_len` and `capacity` the same numbers;
/// 2. the first `init_len` bytes behind it are initialised, and the kernel may read them. Whether the program may look at
///    them too is what [`Visible`] says;
/// 3. `init_len` is at most `capacity`;
/// 4. `registered` names a slot only if the ring that runs here has memory in it that `capacity` bytes behind `stable_ptr` are
///    part of, as long as the value is there.
///
/// None of the methods panics. The address may change when the value moves: an array is its own memory.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer that an op can send from",
    label = "an op owns its buffer until the kernel has let go of it, so it cannot be a loan",
    note = "pass it by value (a `Vec<u8>`, a `Box<[u8]>`, a `&'static [u8]`, …): it comes back with the result"
)]
pub unsafe trait Buf: 'static {
    /// Where the bytes begin.
    fn stable_ptr(&self) -> *const u8;

    /// How many bytes, from the start, are initialised: what a write sends.
    fn init_len(&self) -> usize;

    /// How many bytes there is memory for: what a read may fill. The same as `init_len` for memory that only can be
    /// read.
    fn capacity(&self) -> usize {
        self.init_len()
    }

    /// The slot of the running runtime's [`BufferTable`] that the memory is registered in; `None` for ordinary memory. Ops
    /// that have a form for registered memory use it then.
    #[inline]
    fn registered(&self) -> Option<u16> {
        None
    }
}

/// A buffer whose bytes stay as they are while no op has it, so that the program may look at them.
///
/// Every buffer is one but [`Take`], which is a second hold on memory that somebody else's op may be filling.
///
/// # Safety
///
/// As long as the value is neither moved nor changed, nobody else changes the first `init_len` bytes behind `stable_ptr`.
#[diagnostic::on_unimplemented(
    message = "the bytes of `{Self}` cannot be looked at: another op may be changing them",
    label = "only the kernel may read these",
    note = "look at the `Relay` itself, which comes back with the op that fills it"
)]
pub unsafe trait Visible: Buf {}

/// Memory that a read or receive may fill.
///
/// A read fills it from its start up to its capacity, whatever was in it.
///
/// # Safety
///
/// As for [`Buf`] and [`Visible`], and the first `capacity` bytes behind `stable_mut_ptr`, which is the address `stable_ptr`
/// returns, may be written as long as the value is neither moved nor changed: nobody else writes to them or looks at them
/// meanwhile, but other ops may have the kernel read them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer that an op can fill",
    label = "an op owns its buffer until the kernel has let go of it, so it cannot be a loan",
    note = "pass it by value (a `Vec<u8>`, a `Box<[u8]>`, an array, …): it comes back with the result"
)]
pub unsafe trait BufMut: Visible {
    /// Where the memory begins.
    fn stable_mut_ptr(&mut self) -> *mut u8;

    /// Takes note that the first `len` bytes have been filled. A `Vec` has this length afterwards.
    ///
    /// # Safety
    ///
    /// `len` is at most `capacity`, and the first `len` bytes are initialised.
    unsafe fn set_filled(&mut self, len: usize);
}

/// How much of `len` one request can ask for.
#[inline]
pub(crate) fn clamp(len: usize) -> u32 {
    len.min(MAX_LEN) as u32
}

/// The bytes of a buffer that are initialised.
pub(crate) fn bytes<B: Visible + ?Sized>(buf: &B) -> &[u8] {
    // SAFETY: (local) `Buf` promises `init_len` initialised bytes behind `stable_ptr`, a pointer that is not null, and
    // `Visible` that nobody changes them while `buf` is borrowed.
    unsafe { std::slice::from_raw_parts(buf.stable_ptr(), buf.init_len()) }
}

/// Copies the front of `from` into `buf` as a read would have, and returns how many bytes.
pub(crate) fn fill<B: BufMut + ?Sized>(buf: &mut B, from: &[u8]) -> usize {
    let len = from.len().min(buf.capacity());
    // SAFETY: (local) `len` bytes can be read from `from`, and written to `buf` by the promise of `BufMut`; a slice
    // that is borrowed shared cannot overlap memory that is borrowed exclusively.
    unsafe {
        std::ptr::copy_nonoverlapping(from.as_ptr(), buf.stable_mut_ptr(), len);
        buf.set_filled(len);
    }
    len
}

/// The pair a buffer op resolves to, as a `Result` that can be asked with `?`.
///
/// # Examples
///
/// ```
/// use std::io;
/// use millstream::ops::IntoResult;
///
/// let outcome: (io::Result<usize>, Vec<u8>) = (Ok(5), b"hello".to_vec());
/// let (n, buf) = outcome.into_result()?;
/// assert_eq!((n, buf.len()), (5, 5));
/// # Ok::<(), io::Error>(())
/// ```
pub trait IntoResult {
    /// What comes with success.
    type Output;

    /// The value and the buffer. On an error the buffer is dropped; match on the pair to keep it.
    ///
    /// # Errors
    ///
    /// The error in the pair, unchanged.
    fn into_result(self) -> io::Result<Self::Output>;
}

impl<T, B> IntoResult for (io::Result<T>, B) {
    type Output = (T, B);

    fn into_result(self) -> io::Result<(T, B)> {
        match self {
            (Ok(value), buf) => Ok((value, buf)),
            (Err(error), _) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
