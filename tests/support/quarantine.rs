//! A global allocator that notices writes into memory that was given back.
//!
//! Knows: the system allocator. Does not know: who writes. A sanitizer watches the program's own stores; the kernel's
//! it does not see, and those are what a ring is about. So every freed block is filled with a pattern and kept for a
//! while: a block whose pattern changed was written to by someone who no longer owned it.
//!
//! ```text
//!   alloc ---> in use ---> dealloc: filled with POISON, to the back of the queue
//!                            |
//!                            v
//!              quarantined (at most BLOCKS blocks, BYTES bytes)
//!                            |  too many: the oldest leaves
//!                            v
//!              checked: pattern whole? ---no---> counted in HITS, the first one described
//!                            |
//!                            v
//!                  really freed
//! ```

#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const POISON: u8 = 0xdb;
/// At most this many blocks wait at a time.
const BLOCKS: usize = 1 << 16;
/// At most this many bytes wait at a time; a block above it is freed at once.
const BYTES: usize = 64 << 20;

/// Put `#[global_allocator] static ALLOCATOR: Quarantine = Quarantine;` into the test binary.
#[derive(Debug)]
pub(crate) struct Quarantine;

/// A freed block that is still ours.
#[derive(Clone, Copy)]
struct Block {
    address: usize,
    layout: Layout,
}

struct Queue {
    blocks: [Block; BLOCKS],
    first: usize,
    len: usize,
    bytes: usize,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    blocks: [Block { address: 0, layout: Layout::new::<()>() }; BLOCKS],
    first: 0,
    len: 0,
    bytes: 0,
});

/// Blocks found written to, and what the first of them was.
static HITS: AtomicUsize = AtomicUsize::new(0);
static FIRST_SIZE: AtomicUsize = AtomicUsize::new(0);
static FIRST_OFFSET: AtomicUsize = AtomicUsize::new(0);
/// Blocks that ever were in the queue: shows that the allocator is in use at all.
static SEEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every block comes from `System` with the layout it was asked for and returns to it once, with that layout;
// in between only this file touches it, and nothing here allocates or unwinds.
unsafe impl GlobalAlloc for Quarantine {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    // `realloc` is the trait's own: allocate, copy, free. So a buffer that grew leaves its old place in quarantine.

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        if layout.size() > BYTES {
            // SAFETY: the caller gives the block up, and it came from `System` with this layout.
            return unsafe { System.dealloc(address, layout) };
        }
        // SAFETY: the block is `size` bytes, and the caller gave it up.
        unsafe { address.write_bytes(POISON, layout.size()) };
        let mut queue = lock();
        while queue.len == BLOCKS || queue.bytes + layout.size() > BYTES {
            let oldest = queue.pop();
            check(oldest);
            // SAFETY: the block left the queue, so this is the one time it is freed; address and layout are its own.
            unsafe { System.dealloc(std::ptr::with_exposed_provenance_mut(oldest.address), oldest.layout) };
        }
        queue.push(Block { address: address.expose_provenance(), layout });
        SEEN.fetch_add(1, Ordering::Relaxed);
    }
}

impl Queue {
    fn push(&mut self, block: Block) {
        let at = (self.first + self.len) % BLOCKS;
        self.blocks[at] = block;
        self.len += 1;
        self.bytes += block.layout.size();
    }

    fn pop(&mut self) -> Block {
        let block = self.blocks[self.first];
        self.first = (self.first + 1) % BLOCKS;
        self.len -= 1;
        self.bytes -= block.layout.size();
        block
    }
}

fn lock() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts the block if its pattern is broken, and mends it so that one write counts once.
fn check(block: Block) {
    let start: *mut u8 = std::ptr::with_exposed_provenance_mut(block.address);
    // SAFETY: the block is in the queue or just left it, so it is allocated, `size` bytes, and filled by `dealloc`.
    let bytes = unsafe { std::slice::from_raw_parts_mut(start, block.layout.size()) };
    if let Some(offset) = bytes.iter().position(|byte| *byte != POISON) {
        if HITS.fetch_add(1, Ordering::Relaxed) == 0 {
            FIRST_SIZE.store(block.layout.size(), Ordering::Relaxed);
            FIRST_OFFSET.store(offset, Ordering::Relaxed);
        }
        bytes.fill(POISON);
    }
}

/// How many blocks were written to after they were freed, counting those still in quarantine.
pub(crate) fn hits() -> usize {
    let queue = lock();
    for n in 0..queue.len {
        check(queue.blocks[(queue.first + n) % BLOCKS]);
    }
    HITS.load(Ordering::Relaxed)
}

/// # Panics
///
/// When a block was written to after it was freed, or when the allocator is not the binary's allocator.
#[track_caller]
pub(crate) fn assert_clean() {
    let hits = hits();
    assert!(SEEN.load(Ordering::Relaxed) > 0, "the quarantine is not this binary's global allocator");
    let (size, offset) = (FIRST_SIZE.load(Ordering::Relaxed), FIRST_OFFSET.load(Ordering::Relaxed));
    assert!(
        hits == 0,
        "{hits} blocks were written to after they were freed; the first: {size} bytes, at offset {offset}"
    );
}
