//! Memory for task cells: blocks by size class, kept for the next task.
//!
//! Knows: layouts. Does not know: what is in a block.
//!
//! A block is one allocation of its class's layout, so it may go back to any pool of its thread or straight to the
//! allocator: a `JoinHandle` can outlive the runtime. A pool keeps as many blocks as were in use at once.
#![allow(unsafe_code, reason = "manual allocation of blocks")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// Blocks are multiples of a cache line.
const LINE: usize = 64;
/// Cells above this are allocated one by one.
const LARGEST: usize = 4096;
const CLASSES: usize = LARGEST / LINE;

/// Which list of a pool a block belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class(u8);

impl Class {
    /// Of what is in no list.
    pub(crate) const NONE: Self = Self(CLASSES as u8);
}

/// How a cell's block is allocated: known at compile time for each future.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockLayout {
    layout: Layout,
    class: Class,
}

impl BlockLayout {
    /// The block for a cell of this layout.
    pub(crate) const fn of(layout: Layout) -> Self {
        if layout.size() > LARGEST || layout.align() > LINE {
            return Self { layout, class: Class::NONE };
        }
        let class = layout.size().saturating_sub(1) / LINE;
        match Layout::from_size_align((class + 1) * LINE, LINE) {
            Ok(layout) => Self { layout, class: Class(class as u8) },
            Err(_) => unreachable!(),
        }
    }

    pub(crate) const fn class(&self) -> Class {
        self.class
    }
}

/// A free block: its first word leads to the next one.
struct Free {
    next: *mut Free,
}

/// Free blocks by class.
#[derive(Debug)]
pub(crate) struct Pool {
    free: [Cell<*mut Free>; CLASSES],
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self { free: [const { Cell::new(ptr::null_mut()) }; CLASSES] }
    }

    /// A block of this layout, uninitialised.
    #[inline]
    pub(crate) fn allocate(&self, block: &BlockLayout) -> NonNull<u8> {
        if let Some(list) = self.list(block.class)
            && let Some(first) = NonNull::new(list.get())
        {
            // SAFETY: on the list, so a free block of this class whose first word `free` wrote.
            list.set(unsafe { first.as_ref().next });
            return first.cast();
        }
        allocate_block(block)
    }

    /// Takes a block back; `false` if it has no list, and is still the caller's.
    ///
    /// # Safety
    ///
    /// It was allocated by any pool, with a layout of this class, and nothing uses it any more.
    #[inline]
    pub(crate) unsafe fn keep(&self, block: NonNull<u8>, class: Class) -> bool {
        let Some(list) = self.list(class) else { return false };
        let free = block.cast::<Free>();
        // SAFETY: ours by the contract, aligned to a line and at least a line long.
        unsafe { free.write(Free { next: list.get() }) };
        list.set(free.as_ptr());
        true
    }

    #[inline]
    fn list(&self, class: Class) -> Option<&Cell<*mut Free>> {
        self.free.get(usize::from(class.0))
    }
}

#[cold]
fn allocate_block(block: &BlockLayout) -> NonNull<u8> {
    // SAFETY: a cell has a header, so the size is not zero.
    let at = unsafe { alloc(block.layout) };
    NonNull::new(at).unwrap_or_else(|| handle_alloc_error(block.layout))
}

/// Gives a block to the allocator.
///
/// # Safety
///
/// It was allocated with this layout, by any pool, and nothing uses it any more.
pub(crate) unsafe fn free_block(at: NonNull<u8>, block: &BlockLayout) {
    // SAFETY: by the contract.
    unsafe { dealloc(at.as_ptr(), block.layout) };
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (class, list) in self.free.iter().enumerate() {
            let layout =
                Layout::from_size_align((class + 1) * LINE, LINE).expect("a class is a valid layout");
            let mut next = list.get();
            while let Some(block) = NonNull::new(next) {
                // SAFETY: on the list, so free, of this class, and its first word written by `free`.
                unsafe {
                    next = block.as_ref().next;
                    dealloc(block.as_ptr().cast(), layout);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_used_again_within_their_class() {
        let pool = Pool::new();
        let small = BlockLayout::of(Layout::new::<[u64; 5]>());
        let same = BlockLayout::of(Layout::new::<[u8; 64]>());
        let other = BlockLayout::of(Layout::new::<[u8; 65]>());
        let a = pool.allocate(&small);
        // SAFETY: just allocated, not used.
        assert!(unsafe { pool.keep(a, small.class) });
        let b = pool.allocate(&other);
        assert_ne!(a, b);
        assert_eq!(pool.allocate(&same), a);
        // SAFETY: as above.
        unsafe {
            assert!(pool.keep(a, same.class));
            assert!(pool.keep(b, other.class));
        }
    }

    #[test]
    fn large_and_over_aligned_cells_are_not_pooled() {
        #[repr(align(128))]
        struct Wide(#[expect(dead_code, reason = "only its layout matters")] u8);
        assert_eq!(BlockLayout::of(Layout::new::<[u8; 4096]>()).class, Class(CLASSES as u8 - 1));
        assert_eq!(BlockLayout::of(Layout::new::<[u8; 4097]>()).class, Class::NONE);
        assert_eq!(BlockLayout::of(Layout::new::<Wide>()).class, Class::NONE);
        let pool = Pool::new();
        let wide = pool.allocate(&BlockLayout::of(Layout::new::<Wide>()));
        assert!(wide.cast::<Wide>().is_aligned());
        // SAFETY: just allocated, not used.
        unsafe {
            assert!(!pool.keep(wide, Class::NONE));
            free_block(wide, &BlockLayout::of(Layout::new::<Wide>()));
        }
    }
}
