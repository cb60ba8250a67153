//! The pool of nodes: pages of nodes of one size class, never moved, never freed while the runtime lives.
//!
//! Knows: size classes, pages, free lists. Does not know: what a node's states mean.
//!
//! A node keeps its address from the day its page was made, so the kernel may be given pointers into it, and a
//! completion's key finds it by two loads. Taking and returning a node allocates nothing in the steady state.
#![allow(unsafe_code, reason = "pages are raw memory whose nodes are addressed by key")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;

use super::node::{Key, Node, PAYLOAD, Slot, State};

/// Bytes of a node of each class, its head included. 128 fits reads and writes of a `Vec`; the largest an array of 4 KiB.
const CLASS_SIZES: [usize; 6] = [128, 256, 512, 1024, 2048, 4608];
const ALIGN: usize = 128;
/// Nodes in a page, as a power of two.
const PAGE_SHIFT: u32 = 5;
const PAGE_NODES: u32 = 1 << PAGE_SHIFT;
const NONE: u32 = u32::MAX;

/// The class whose nodes hold a request of this size and alignment; `None`: the request is boxed.
pub(crate) const fn class_of(size: usize, align: usize) -> Option<usize> {
    if align > 8 {
        return None;
    }
    let mut class = 0;
    while class < CLASS_SIZES.len() {
        if PAYLOAD + size <= CLASS_SIZES[class] {
            return Some(class);
        }
        class += 1;
    }
    None
}

struct Class {
    pages: UnsafeCell<Vec<NonNull<u8>>>,
    free: Cell<u32>,
}

/// All nodes of one runtime.
pub(crate) struct Pool {
    classes: [Class; CLASS_SIZES.len()],
    in_use: Cell<usize>,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            classes: std::array::from_fn(|_| Class {
                pages: UnsafeCell::new(Vec::new()),
                free: Cell::new(NONE),
            }),
            in_use: Cell::new(0),
        }
    }

    /// How many nodes are not free.
    pub(super) fn in_use(&self) -> usize {
        self.in_use.get()
    }

    /// Takes a free node of the class. Its state is still `Free`; the caller fills it in.
    #[inline]
    pub(super) fn take(&self, class: usize) -> NonNull<Node> {
        if self.classes[class].free.get() == NONE {
            self.grow(class);
        }
        let index = self.classes[class].free.get();
        let node = self.at(class, index);
        // SAFETY: (I5) `at` gives a node of a page of ours, initialised in `grow`; shared access only.
        let head = unsafe { node.as_ref() };
        self.classes[class].free.set(head.next.get());
        self.in_use.set(self.in_use.get() + 1);
        node
    }

    /// Returns a node whose request was taken out: from here on its key finds nobody.
    #[inline]
    pub(super) fn put(&self, node: NonNull<Node>) {
        // SAFETY: (I5) nodes live as long as the pool; shared access only.
        let head = unsafe { node.as_ref() };
        debug_assert!(head.state.get() != State::Free, "a node is freed once");
        head.state.set(State::Free);
        head.generation.set(head.generation.get().wrapping_add(1));
        let class = &self.classes[head.slot.class()];
        head.next.set(class.free.get());
        class.free.set(head.slot.index());
        self.in_use.set(self.in_use.get() - 1);
    }

    /// The node of a key, if it is still in that use.
    #[inline]
    pub(super) fn find(&self, key: Key) -> Option<NonNull<Node>> {
        let slot = key.slot();
        let class = self.classes.get(slot.class())?;
        // SAFETY: (I5) a shared look at the page table; nothing grows it meanwhile.
        let pages = unsafe { &*class.pages.get() };
        let page = *pages.get((slot.index() >> PAGE_SHIFT) as usize)?;
        let node = Self::in_page(page, slot.class(), slot.index());
        // SAFETY: (I5) every node of a page in the table is initialised.
        let head = unsafe { node.as_ref() };
        (head.generation.get() == key.generation() && head.state.get() != State::Free).then_some(node)
    }

    /// Calls `visit` for every node that is not free. `visit` may free the node it is given.
    pub(super) fn for_each(&self, mut visit: impl FnMut(NonNull<Node>)) {
        for (number, class) in self.classes.iter().enumerate() {
            let mut index = 0;
            loop {
                // The table is looked at anew for each node: `visit` may run code that starts ops.
                // SAFETY: (I5) a shared look that ends before `visit` runs.
                let pages = unsafe { (*class.pages.get()).len() };
                if index >= pages as u32 * PAGE_NODES {
                    break;
                }
                let node = self.at(number, index);
                // SAFETY: (I5) every node of a page in the table is initialised.
                if unsafe { node.as_ref() }.state.get() != State::Free {
                    visit(node);
                }
                index += 1;
            }
        }
    }

    #[inline]
    fn at(&self, class: usize, index: u32) -> NonNull<Node> {
        // SAFETY: (I5) a shared look at the page table; nothing grows it meanwhile.
        let pages = unsafe { &*self.classes[class].pages.get() };
        Self::in_page(pages[(index >> PAGE_SHIFT) as usize], class, index)
    }

    #[inline]
    fn in_page(page: NonNull<u8>, class: usize, index: u32) -> NonNull<Node> {
        let offset = (index & (PAGE_NODES - 1)) as usize * CLASS_SIZES[class];
        // SAFETY: (I1) the index within the page is below PAGE_NODES, so the offset lies in the page's allocation.
        unsafe { page.add(offset) }.cast()
    }

    fn page_layout(class: usize) -> Layout {
        Layout::from_size_align(CLASS_SIZES[class] * PAGE_NODES as usize, ALIGN).expect("constant sizes")
    }

    #[cold]
    fn grow(&self, class: usize) {
        let layout = Self::page_layout(class);
        // SAFETY: (I5) the only mutable look at the table; no user code runs while it lasts.
        let pages = unsafe { &mut *self.classes[class].pages.get() };
        let first = pages.len() as u32 * PAGE_NODES;
        assert!(first <= Slot::MAX_INDEX - PAGE_NODES, "more than 67 million ops in flight on one runtime");
        // SAFETY: the layout's size is not zero.
        let memory = unsafe { alloc(layout) };
        let Some(page) = NonNull::new(memory) else { handle_alloc_error(layout) };
        for index in (first..first + PAGE_NODES).rev() {
            let node = Node::new(Slot::new(class, index));
            node.next.set(self.classes[class].free.get());
            // SAFETY: (I1) the address lies in the page just allocated, aligned to 128, and holds nothing yet.
            unsafe { Self::in_page(page, class, index).write(node) };
            self.classes[class].free.set(index);
        }
        pages.push(page);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (number, class) in self.classes.iter_mut().enumerate() {
            for page in class.pages.get_mut().drain(..) {
                // SAFETY: (I6) the pool is dropped only when no node is in use (else it is leaked), and a free node
                // holds neither request nor waker; the page came from `alloc` with this layout.
                unsafe { dealloc(page.as_ptr(), Self::page_layout(number)) };
            }
        }
    }
}
