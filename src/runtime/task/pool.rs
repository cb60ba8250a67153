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

/// How a cell's block is allocated: known at compile time for each future.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockLayout {
    layout: Layout,
    /// `CLASSES`: not pooled.
    class: usize,
}

impl BlockLayout {
    /// The block for a cell of this layout.
    pub(crate) const fn of(layout: Layout) -> Self {
        if layout.size() > LARGEST || layout.align() > LINE {
            return Self { layout, class: CLASSES };
        }
        let class = layout.size().saturating_sub(1) / LINE;
        match Layout::from_size_align((class + 1) * LINE, LINE) {
            Ok(layout) => Self { layout, class },
            Err(_) => unreachable!(),
        }
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
    pub(crate) fn allocate(&self, block: BlockLayout) -> NonNull<u8> {
        if let Some(list) = self.free.get(block.class)
            && let Some(first) = NonNull::new(list.get())
        {
            // SAFETY: on the list, so a free block of this class whose first word `free` wrote.
            list.set(unsafe { first.as_ref().next });
            return first.cast();
        }
        allocate_block(block)
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// It was allocated with this layout, by any pool, and nothing uses it any more.
    #[inline]
    pub(crate) unsafe fn free(&self, at: NonNull<u8>, block: BlockLayout) {
        if let Some(list) = self.free.get(block.class) {
            let free = at.cast::<Free>();
            // SAFETY: ours by the contract, aligned to a line and at least a line long.
            unsafe { free.write(Free { next: list.get() }) };
            list.set(free.as_ptr());
        } else {
            // SAFETY: by the contract.
            unsafe { free_block(at, block) };
        }
    }
}

#[cold]
fn allocate_block(block: BlockLayout) -> NonNull<u8> {
    // SAFETY: a cell has a header, so the size is not zero.
    let at = unsafe { alloc(block.layout) };
    NonNull::new(at).unwrap_or_else(|| handle_alloc_error(block.layout))
}

/// Gives a block to the allocator, where there is no pool.
///
/// # Safety
///
/// As for [`Pool::free`].
pub(crate) unsafe fn free_block(at: NonNull<u8>, block: BlockLayout) {
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
        let a = pool.allocate(small);
        // SAFETY: just allocated, not used.
        unsafe { pool.free(a, small) };
        let b = pool.allocate(other);
        assert_ne!(a, b);
        assert_eq!(pool.allocate(same), a);
        // SAFETY: as above.
        unsafe {
            pool.free(a, same);
            pool.free(b, other);
        }
    }

    #[test]
    fn large_and_over_aligned_cells_are_not_pooled() {
        #[repr(align(128))]
        struct Wide(#[expect(dead_code, reason = "only its layout matters")] u8);
        assert_eq!(BlockLayout::of(Layout::new::<[u8; 4096]>()).class, CLASSES - 1);
        assert_eq!(BlockLayout::of(Layout::new::<[u8; 4097]>()).class, CLASSES);
        assert_eq!(BlockLayout::of(Layout::new::<Wide>()).class, CLASSES);
        let pool = Pool::new();
        let wide = pool.allocate(BlockLayout::of(Layout::new::<Wide>()));
        assert!(wide.cast::<Wide>().is_aligned());
        // SAFETY: just allocated, not used.
        unsafe { pool.free(wide, BlockLayout::of(Layout::new::<Wide>())) };
    }
}
