//! The pool of nodes: pages of nodes of one size class, never moved, never freed while the runtime lives.
//!
//! Knows: size classes, pages, free lists. Does not know: what a node's states mean.
//!
//! A node keeps its address from the day its page was made, so the kernel may be given pointers into it. A table of all
//! nodes, one pointer each, turns the index in a completion's key into that address. Taking and returning a node allocates nothing in the steady state.
#![allow(unsafe_code, reason = "pages are raw memory whose nodes are addressed by key")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;

use super::node::{Key, MAX_NODES, Node, PAYLOAD, State};

/// Bytes of a node of each class, its head included. 128 fits reads and writes of a `Vec`; the largest an array of 4 KiB.
const CLASS_SIZES: [usize; 6] = [128, 256, 512, 1024, 2048, 4608];
const ALIGN: usize = 128;
/// Nodes in a page.
const PAGE_NODES: usize = 32;

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

/// All nodes of one runtime.
pub(crate) struct Pool {
    /// Every node by its index. Grows by a page at a time, and never shrinks.
    table: UnsafeCell<Vec<NonNull<Node>>>,
    /// The first free node of each class.
    free: [Cell<Option<NonNull<Node>>>; CLASS_SIZES.len()],
}

impl Pool {
    pub(super) fn new() -> Self {
        Self { table: UnsafeCell::new(Vec::new()), free: std::array::from_fn(|_| Cell::new(None)) }
    }

    #[inline]
    fn table(&self) -> &[NonNull<Node>] {
        // SAFETY: (I5) the only mutable look is in `grow`, which no caller of this reaches while it holds the slice.
        unsafe { &*self.table.get() }
    }

    /// How many nodes are in a state. Counted when asked: keeping count would cost every op.
    pub(super) fn count(&self, state: impl Fn(&Node) -> bool) -> usize {
        let mut count = 0;
        self.for_each(|node| {
            // SAFETY: (I5) `for_each` gives initialised nodes; shared access only.
            count += usize::from(state(unsafe { node.as_ref() }));
        });
        count
    }

    /// Takes a free node of the class. Its state is still `Free`; the caller fills it in.
    #[inline]
    pub(super) fn take(&self, class: usize) -> NonNull<Node> {
        let free = &self.free[class];
        let node = match free.get() {
            Some(node) => node,
            None => self.grow(class),
        };
        // SAFETY: (I5) a node of the free list is initialised, and lives as long as the pool; shared access only.
        free.set(unsafe { node.as_ref() }.next.get());
        node
    }

    /// Returns a node of the class whose request was taken out: from here on its key finds nobody.
    #[inline]
    pub(super) fn put(&self, node: NonNull<Node>, user_data: u64, class: usize) {
        // SAFETY: (I5) nodes live as long as the pool; shared access only.
        let head = unsafe { node.as_ref() };
        debug_assert!(usize::from(head.class) == class);
        head.free(user_data);
        head.next.set(self.free[class].replace(Some(node)));
    }

    /// The node of a key, if it is still in that use: freeing a node ends the life of its key.
    #[inline]
    pub(super) fn find(&self, key: Key) -> Option<NonNull<Node>> {
        // SAFETY: (I5) `at` gives an initialised node; shared access only.
        self.at(key).filter(|node| unsafe { node.as_ref() }.key() == key)
    }

    /// The node that a key was of, in whatever use it is now.
    #[inline]
    pub(super) fn at(&self, key: Key) -> Option<NonNull<Node>> {
        self.table().get(key.index()).copied()
    }

    /// Calls `visit` for every node that is not free. `visit` may free the node it is given, and start new ops.
    pub(super) fn for_each(&self, mut visit: impl FnMut(NonNull<Node>)) {
        let mut index = 0;
        // The table is looked at anew for each node.
        while let Some(&node) = self.table().get(index) {
            // SAFETY: (I5) every node in the table is initialised; shared access only.
            if unsafe { node.as_ref() }.state() != State::Free {
                visit(node);
            }
            index += 1;
        }
    }

    fn page_layout(class: usize) -> Layout {
        Layout::from_size_align(CLASS_SIZES[class] * PAGE_NODES, ALIGN).expect("constant sizes")
    }

    /// Adds a page, and returns the first of its nodes, all of which are on the free list.
    #[cold]
    fn grow(&self, class: usize) -> NonNull<Node> {
        let layout = Self::page_layout(class);
        // SAFETY: (I5) the only mutable look at the table; no user code runs while it lasts.
        let table = unsafe { &mut *self.table.get() };
        let first = table.len();
        assert!(
            first + PAGE_NODES <= MAX_NODES,
            "{first} ops are in flight on one runtime: a key has no room for more"
        );
        table.reserve(PAGE_NODES);
        // SAFETY: the layout's size is not zero.
        let memory = unsafe { alloc(layout) };
        let Some(page) = NonNull::new(memory) else { handle_alloc_error(layout) };
        for number in 0..PAGE_NODES {
            // SAFETY: (I1) inside the page just allocated, which has room for this many nodes of the class.
            let node = unsafe { page.add(number * CLASS_SIZES[class]) }.cast::<Node>();
            // SAFETY: (I1) aligned to 128, large enough for a head, and holding nothing yet.
            unsafe { node.write(Node::new((first + number) as u32, class as u8)) };
            table.push(node);
        }
        // In order of address, behind what was free before.
        let mut next = self.free[class].get();
        for &node in table[first..].iter().rev() {
            // SAFETY: (I5) initialised above; shared access only.
            unsafe { node.as_ref() }.next.set(next);
            next = Some(node);
        }
        self.free[class].set(next);
        table[first]
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for page in self.table.get_mut().chunks(PAGE_NODES) {
            // SAFETY: (I6) the pool is dropped only when no node is in use (else it is leaked), so the head can be read;
            // the first node of a page is where the page begins, and a free node holds neither request nor waker.
            unsafe {
                let class = usize::from(page[0].as_ref().class);
                dealloc(page[0].as_ptr().cast(), Self::page_layout(class));
            }
        }
    }
}
