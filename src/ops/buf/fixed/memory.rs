//! Memory that can be registered: owned, at one address, all of it initialised.
//!
//! Knows: the allocator. Does not know: rings.
#![allow(
    unsafe_code,
    reason = "owns memory by its address, since a box must not be looked at while the kernel writes"
)]

use std::alloc::{self, Layout};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

/// Memory to be [registered](super::BufferTable::register): made from a `Vec<u8>` or `Box<[u8]>` without a copy, or
/// [aligned](Self::aligned).
///
/// Its whole capacity is zeroed where it was not initialised. It dereferences to its contents: of a `Vec` what was in it, of
/// all else all of it.
///
/// # Examples
///
/// ```
/// use millstream::ops::Memory;
///
/// let memory = Memory::aligned(8192, 4096);
/// assert_eq!((memory.len(), memory.as_ptr().addr() % 4096), (8192, 0));
/// let memory = Memory::from(b"grist".to_vec());
/// assert_eq!(memory.into_vec(), b"grist");
/// ```
pub struct Memory {
    start: NonNull<u8>,
    /// How much of it is its contents.
    len: usize,
    /// Of the allocation; nothing is allocated for size 0.
    layout: Layout,
}

// SAFETY: (local) it owns the bytes, as a `Vec` does.
unsafe impl Send for Memory {}
// SAFETY: (local) as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// So many bytes, all zero, from an address that is a multiple of `align`: what reads and writes past the page cache
    /// (`O_DIRECT`) ask for.
    ///
    /// # Panics
    ///
    /// When `align` is not a power of two, or the two together are more than the address space holds.
    pub fn aligned(len: usize, align: usize) -> Self {
        let layout = Layout::from_size_align(len, align);
        let layout =
            layout.unwrap_or_else(|_| panic!("no memory is {len} bytes long and aligned to {align}"));
        Self::zeroed(layout).unwrap_or_else(|| alloc::handle_alloc_error(layout))
    }

    /// The same; `None` when there is not so much.
    pub(super) fn zeroed(layout: Layout) -> Option<Self> {
        if layout.size() == 0 {
            return Some(Self { start: NonNull::dangling(), len: 0, layout: Layout::new::<()>() });
        }
        // SAFETY: (local) the size is not zero.
        let start = NonNull::new(unsafe { alloc::alloc_zeroed(layout) })?;
        Some(Self { start, len: layout.size(), layout })
    }

    /// The memory as a vector: without a copy, unless it was made aligned.
    pub fn into_vec(self) -> Vec<u8> {
        if self.layout.align() > 1 {
            return self.to_vec();
        }
        let memory = ManuallyDrop::new(self);
        // SAFETY: (local) allocated for bytes, by a vector or as one would; the first `len` of them are initialised, as are all.
        unsafe { Vec::from_raw_parts(memory.start.as_ptr(), memory.len, memory.layout.size()) }
    }

    /// Where it begins.
    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// How many bytes there are, contents or not.
    pub fn capacity(&self) -> usize {
        self.layout.size()
    }

    /// Says how many bytes, from the start, are its contents.
    pub(super) fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity());
    }
}

impl From<Vec<u8>> for Memory {
    fn from(mut vec: Vec<u8>) -> Self {
        let len = vec.len();
        vec.resize(vec.capacity(), 0);
        let mut vec = ManuallyDrop::new(vec);
        let layout = Layout::array::<u8>(vec.capacity()).expect("it was allocated");
        Self { start: NonNull::new(vec.as_mut_ptr()).expect("a vector's pointer"), len, layout }
    }
}

impl From<Box<[u8]>> for Memory {
    fn from(bytes: Box<[u8]>) -> Self {
        Self::from(bytes.into_vec())
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: (local) owned and initialised, and borrowed like the value.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: (local) as above, borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("len", &self.len).field("capacity", &self.capacity()).finish()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: (local) allocated with this layout, and owned.
            unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) };
        }
    }
}
