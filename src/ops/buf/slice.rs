//! A part of a buffer as a buffer.
//!
//! Knows: ranges. Does not know: ops.
#![allow(unsafe_code, reason = "implements the unsafe buffer traits")]

use std::ops::{Bound, Deref, RangeBounds};

use super::{Buf, BufMut, Visible, bytes};

/// Takes a part of a buffer, by value.
pub trait BufExt: Buf + Sized {
    /// The part of the buffer that `range` names.
    ///
    /// The range counts from the start of the buffer. It may begin anywhere up to the end of what is initialised, and
    /// end anywhere up to the capacity; without an end it reaches to the end of what is initialised for a write, and
    /// to the capacity for a read. So `vec.slice(vec.len()..)` appends. A slice can be sliced again.
    ///
    /// # Panics
    ///
    /// When the range begins after its end, begins behind the initialised bytes, or ends behind the capacity.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::ops::BufExt;
    ///
    /// let tail = b"stream".to_vec().slice(2..);
    /// assert_eq!(&tail[..], b"ream");
    /// assert_eq!(&tail.slice(1..3)[..], b"ea");
    /// ```
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self> {
        Slice::new(self, range)
    }
}

impl<B: Buf> BufExt for B {}

/// A part of a buffer: see [`BufExt::slice`].
///
/// A read into it leaves the bytes outside as they are: a `Vec` becomes longer when what was read ends behind its
/// length, never shorter. It dereferences to its initialised bytes.
#[derive(Debug)]
pub struct Slice<B> {
    buf: B,
    begin: usize,
    /// `usize::MAX` when the range had no end.
    end: usize,
}

impl<B: Buf> Slice<B> {
    fn new(buf: B, range: impl RangeBounds<usize>) -> Self {
        let (init, capacity) = (buf.init_len(), buf.capacity());
        let begin = match range.start_bound() {
            Bound::Included(&at) => Some(at),
            Bound::Excluded(&before) => before.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let Some(begin) = begin.filter(|&begin| begin <= init) else {
            panic!("a buffer slice begins behind the {init} initialised bytes of its buffer");
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => usize::MAX,
        };
        assert!(begin <= end, "a buffer slice begins at {begin} but ends at {end}");
        let bounded = !matches!(range.end_bound(), Bound::Unbounded);
        assert!(!bounded || end <= capacity, "a buffer slice ends at {end}, its buffer at {capacity}");
        Self { buf, begin, end }
    }

    /// Where the slice begins in its buffer.
    pub fn begin(&self) -> usize {
        self.begin
    }

    /// The buffer it is a part of.
    pub fn get_ref(&self) -> &B {
        &self.buf
    }

    /// The whole buffer back.
    pub fn into_inner(self) -> B {
        self.buf
    }

    /// From `begin` to `limit` or the end of the range, whichever comes first.
    fn span(&self, limit: usize) -> usize {
        limit.min(self.end).saturating_sub(self.begin)
    }
}

// SAFETY: (local) the buffer's own promises, and `begin` lies within its initialised bytes, which it cannot lose while
// it is in the slice: nothing hands it out by `&mut`, and `set_filled` never makes it shorter.
unsafe impl<B: Buf> Buf for Slice<B> {
    fn stable_ptr(&self) -> *const u8 {
        self.buf.stable_ptr().wrapping_add(self.begin)
    }

    fn init_len(&self) -> usize {
        self.span(self.buf.init_len())
    }

    fn capacity(&self) -> usize {
        self.span(self.buf.capacity())
    }

    #[inline]
    fn registered(&self) -> Option<u16> {
        self.buf.registered()
    }
}

// SAFETY: (local) a part of bytes that nobody else changes.
unsafe impl<B: Visible> Visible for Slice<B> {}

// SAFETY: (local) as above; `span` never reaches behind the buffer's capacity.
unsafe impl<B: BufMut> BufMut for Slice<B> {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.buf.stable_mut_ptr().wrapping_add(self.begin)
    }

    unsafe fn set_filled(&mut self, len: usize) {
        let filled = self.begin + len;
        if filled > self.buf.init_len() {
            // SAFETY: (local) the bytes before `begin` are initialised by the bound of `begin`, the `len` after it by
            // the caller's promise, which also keeps the sum within the capacity.
            unsafe { self.buf.set_filled(filled) };
        }
    }
}

impl<B: Visible> Deref for Slice<B> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        bytes(self)
    }
}
