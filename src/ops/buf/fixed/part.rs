//! A part of registered memory that nobody else has: what ops take.
//!
//! Knows: ranges of a region. Does not know: entries.
#![allow(unsafe_code, reason = "implements the unsafe buffer traits for disjoint parts of one memory")]

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::slice;
use std::sync::Arc;

use super::super::{Buf, BufMut, Visible};
use super::region::Region;

/// Registered memory, or a part of it, as a buffer.
///
/// Ops take it like a `Vec<u8>`: a read fills it up to its capacity, and it has the length of what came; a write sends its
/// length. [`read`](crate::ops::read), [`write`](crate::ops::write()) and their vectored forms ask the kernel by slot then, which
/// spares it the look-up of the pages. It dereferences to its contents, never to more.
///
/// There is one `FixedBuf` for each byte that is registered. Splitting it makes parts that do not overlap; [`join`](Self::join)
/// undoes that. When the last part is dropped, the slot is emptied and the memory freed. For several ops that *write* the same
/// bytes *out*, put it into an [`Arc`], which is a buffer, too, that can only be read.
///
/// It is registered with the runtime whose [`BufferTable`](super::BufferTable) it is from, and with those that cloned that table. In
/// ops on any other runtime, and after the end of its own, it is memory like any other.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use millstream::ops::{self, BufferTable, IntoResult, Memory};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let table = BufferTable::new(4)?;
/// let block = table.register(Memory::aligned(8192, 4096))?;
/// let (mut head, mut tail) = block.split_at(4096);
/// head.clear();
/// tail.clear();
///
/// let file = ops::open("Cargo.toml").await?;
/// let (n, head) = ops::read(&file, head).at(0).await.into_result()?;
/// assert!(head.starts_with(b"[workspace]") && n == head.len());
///
/// // The same bytes to two pipes at once.
/// let head = Arc::new(head);
/// let ((_r1, one), (_r2, two)) = (std::io::pipe()?, std::io::pipe()?);
/// let ((a, head), (b, _)) = (ops::write(one, head.clone()) & ops::write(two, head)).await;
/// assert_eq!((a?, b?), (n, n));
///
/// let head = Arc::into_inner(head).expect("the ops have given theirs back");
/// let memory = table.unregister(head.join(tail).expect("beside each other")).expect("all of it");
/// assert_eq!(memory.capacity(), 8192);
/// # Ok(())
/// # })
/// # }
/// ```
pub struct FixedBuf {
    region: Arc<Region>,
    start: *mut u8,
    len: usize,
    capacity: usize,
}

// SAFETY: (local) it has its bytes to itself, as a `Vec` does; the region is `Send` and `Sync`.
unsafe impl Send for FixedBuf {}
// SAFETY: (local) a shared one shows bytes that nobody changes meanwhile.
unsafe impl Sync for FixedBuf {}

impl FixedBuf {
    /// All of a region that was just made.
    pub(super) fn whole(region: Arc<Region>) -> Self {
        let memory = region.memory();
        let (start, len, capacity) = (memory.start(), memory.len(), memory.capacity());
        Self { region, start, len, capacity }
    }

    /// The region, if there is no other part of it, and where the contents of this one end in it.
    pub(super) fn into_region(self) -> Result<(Region, usize), Self> {
        let Self { region, start, len, capacity } = self;
        match Arc::try_unwrap(region) {
            Ok(region) => {
                let end = start.addr() - region.memory().start().addr() + len;
                Ok((region, end))
            }
            Err(region) => Err(Self { region, start, len, capacity }),
        }
    }

    pub(super) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Its slot in the table of the runtime that runs here; `None` if it is not registered with that.
    pub fn slot(&self) -> Option<u16> {
        self.region.slot_here()
    }

    /// How many bytes there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Two parts: the first `at` bytes of the capacity, and the rest. Each has its share of the contents.
    ///
    /// # Panics
    ///
    /// When `at` is more than the capacity.
    pub fn split_at(self, at: usize) -> (Self, Self) {
        assert!(at <= self.capacity, "a buffer of {} bytes was to be split at {at}", self.capacity);
        let Self { region, start, len, capacity } = self;
        let rest = Self {
            region: Arc::clone(&region),
            start: start.wrapping_add(at),
            len: len.saturating_sub(at),
            capacity: capacity - at,
        };
        (Self { region, start, len: len.min(at), capacity: at }, rest)
    }

    /// This part and the one that begins where it ends, as one. The contents of the second count if the first is full.
    ///
    /// # Errors
    ///
    /// Gives both back when the second does not begin there, or is of other memory.
    pub fn join(self, next: Self) -> Result<Self, (Self, Self)> {
        let adjacent =
            Arc::ptr_eq(&self.region, &next.region) && self.start.wrapping_add(self.capacity) == next.start;
        if !adjacent {
            return Err((self, next));
        }
        let len = if self.len == self.capacity { self.len + next.len } else { self.len };
        let capacity = self.capacity + next.capacity;
        Ok(Self { region: self.region, start: self.start, len, capacity })
    }

    /// Forgets the contents: a read need not be told, but a write then sends nothing.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Shortens the contents to `len`, if they are longer.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Gives the contents this length: shorter, or longer by so many `value`s.
    ///
    /// # Panics
    ///
    /// When there is no room.
    pub fn resize(&mut self, len: usize, value: u8) {
        assert!(len <= self.capacity, "a buffer of {} bytes was to hold {len}", self.capacity);
        let old = self.len;
        self.len = len;
        if len > old {
            self[old..].fill(value);
        }
    }

    /// Puts bytes behind the contents.
    ///
    /// # Panics
    ///
    /// When there is no room for all of them. [`io::Write`] takes what fits.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let old = self.len;
        self.resize(old + bytes.len(), 0);
        self[old..].copy_from_slice(bytes);
    }
}

// SAFETY: (local) the region stays where it is as long as there is a part of it, and the part does not change its own range; all
// of the memory is initialised.
unsafe impl Buf for FixedBuf {
    #[inline]
    fn stable_ptr(&self) -> *const u8 {
        self.start
    }

    #[inline]
    fn init_len(&self) -> usize {
        self.len
    }

    #[inline]
    fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline]
    fn registered(&self) -> Option<u16> {
        self.region.slot_here()
    }
}

// SAFETY: (local) parts do not overlap, and this one is changed by who owns or exclusively borrows it.
unsafe impl Visible for FixedBuf {}

// SAFETY: (local) as above.
unsafe impl BufMut for FixedBuf {
    #[inline]
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.start
    }

    #[inline]
    unsafe fn set_filled(&mut self, len: usize) {
        self.len = len;
    }
}

impl Deref for FixedBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        super::super::bytes(self)
    }
}

impl DerefMut for FixedBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: (local) `len` initialised bytes of a part that is borrowed exclusively, and that no other overlaps.
        unsafe { slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl io::Write for FixedBuf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.capacity - self.len);
        self.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for FixedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.start.addr() - self.region.memory().start().addr();
        f.debug_struct("FixedBuf")
            .field("slot", &self.slot())
            .field("offset", &offset)
            .field("len", &self.len)
            .field("capacity", &self.capacity)
            .finish()
    }
}

/// A buffer that ops can only read from, and that any number of them have at once.
macro_rules! shared {
    ($type:ty) => {
        // SAFETY: (local) what is shared is not moved, and changed by nobody: its methods that do want it exclusively.
        unsafe impl Buf for Arc<$type> {
            fn stable_ptr(&self) -> *const u8 {
                (**self).stable_ptr()
            }

            fn init_len(&self) -> usize {
                (**self).init_len()
            }

            #[inline]
            fn registered(&self) -> Option<u16> {
                (**self).registered()
            }
        }

        // SAFETY: (local) as above.
        unsafe impl Visible for Arc<$type> {}
    };
}

shared!(FixedBuf);
shared!(super::FixedPoolBuf);
