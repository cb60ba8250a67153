//! One buffer for several ops of a chain: filled by one of them, written out by others, and copied by none.
//!
//! Knows: a counted cell around a buffer, the runtime that the buffer is registered with. Does not know: ops, chains.
//!
//! ```text
//!  Relay: the one hold that may fill        Take: any number of holds that only write out
//!      \                                        |
//!       '--> counted cell: the buffer, at one address, until the last hold is gone
//! ```
//!
//! There is one `Relay` for each cell, and ops take it by value: two ops can never fill the same bytes, and while the
//! program has it, nobody changes them. So the program may look at the bytes exactly when it has the relay. A `Take` never
//! lets it look, because the op that has the relay may be in the kernel.
#![allow(unsafe_code, reason = "implements the unsafe buffer traits for holds that share their memory")]

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::Deref;

use super::{Buf, BufMut, Visible};
use crate::runtime::{RuntimeId, context};
use crate::sync::Arc;

/// A buffer that one op fills while others of the same chain write it out.
///
/// A read takes the relay by value and gives it back with its result, as with any buffer. [`take`](Self::take) makes a
/// second hold on the same bytes for an op that only reads them, a write or a send. So both can be in one chain, which
/// enters the kernel in one submission, and no byte is copied or comes back to the program in between.
///
/// Its memory is what `buf` has initialised: of a `Vec` its length, not its capacity. It dereferences to these bytes.
///
/// Made of [registered memory](super::FixedBuf), on a runtime that has it registered, it is that: the ops of the chain ask for
/// it by slot. Made anywhere else, or used on another runtime, it is memory like any other.
///
/// # What a chain's ops see
///
/// The kernel looks at the memory when an op runs, not when it was queued: a write behind a read in a chain sends what the
/// read has filled in. How *much* it sends is fixed when it is queued. So a chain moves blocks of a known length, a part
/// of the relay if need be ([`BufExt::slice`](super::BufExt::slice)). A read that comes out shorter breaks the chain, so that
/// nothing stale is written; what it did read is in the relay that comes back, to be written from there. (A receive that is
/// short breaks nothing: chain it with `MSG_WAITALL`.)
///
/// Without a chain around them, an op that fills and one that writes out run at once, and what is written may be old, new
/// or some of both. It is never memory that is not the relay's.
///
/// # Cancel safety
///
/// Relay and takes are held by their ops like any buffer: an op that is dropped, cancelled or forgotten in flight keeps its
/// hold until the kernel has let go, and the memory lives as long as the last hold. When a whole chain is dropped, its
/// read gives what it had read back to the source, if that is a stream, also when the write had sent it on; who must know
/// asks the chain to stop and awaits it.
///
/// # Cost
///
/// One allocation for each relay, to be used again and again; a take is an atomic increment.
///
/// # Examples
///
/// ```
/// use millstream::ops::{self, BufExt, Relay};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (reader, writer) = std::io::pipe()?;
/// let file = ops::open("Cargo.toml").await?;
/// let relay = Relay::new(vec![0; 4096]);
/// // Eleven bytes out of the file and into the pipe, in one submission.
/// let out = relay.take().slice(..11);
/// let ((read, relay), (written, out)) =
///     (ops::read(&file, relay.slice(..11)).at(0) >> ops::write(writer, out)).await;
/// assert_eq!((read?, written?), (11, 11));
/// assert_eq!(std::io::read_to_string(reader)?, "[workspace]");
///
/// // The relay can be looked at all along; it is a buffer of its own again when its takes are gone.
/// let relay = relay.into_inner();
/// assert_eq!(&relay[..11], b"[workspace]");
/// drop(out);
/// let buffer: Vec<u8> = relay.try_into_inner().expect("the only hold");
/// # assert_eq!(buffer.len(), 4096);
/// # Ok(())
/// # })
/// # }
/// ```
pub struct Relay<B> {
    cell: Arc<UnsafeCell<B>>,
    /// Where the buffer in the cell begins, and how long it is. It does not change while it is there.
    start: *mut u8,
    len: usize,
    registered: Registered,
}

/// The slot that the memory was in when the relay was made, and whose: it stays there as long as the buffer does. It is noted,
/// because nobody may look at the buffer any more while there are several holds on it.
type Registered = Option<(RuntimeId, u16)>;

fn registered<B: Buf>(buf: &B) -> Registered {
    let slot = buf.registered()?;
    context::with(|core| core.map(|core| (core.id, slot)))
}

fn slot_here(registered: Registered) -> Option<u16> {
    let (home, slot) = registered?;
    context::with(|core| core.is_some_and(|core| core.id == home).then_some(slot))
}

/// A hold on the bytes of a [`Relay`] for ops that write them out: see [`Relay::take`].
///
/// The program cannot look at the bytes through it, since an op may be filling them.
pub struct Take<B> {
    cell: Arc<UnsafeCell<B>>,
    start: *const u8,
    len: usize,
    registered: Registered,
}

// SAFETY: (local) the buffer itself is reached only by who drops or takes it as the last hold, on whatever thread, which
// `B: Send` allows. Its bytes are read through the relay alone, and written through the relay borrowed exclusively, or
// by the kernel.
unsafe impl<B: Send> Send for Relay<B> {}
// SAFETY: (local) a shared relay shows bytes that nobody changes meanwhile, and makes takes: see above.
unsafe impl<B: Send> Sync for Relay<B> {}
// SAFETY: (local) as for the relay.
unsafe impl<B: Send> Send for Take<B> {}
// SAFETY: (local) a shared take makes more takes: see above.
unsafe impl<B: Send> Sync for Take<B> {}

impl<B: BufMut> Relay<B> {
    /// A relay over the initialised bytes of `buf`.
    pub fn new(buf: B) -> Self {
        #[allow(
            clippy::arc_with_non_send_sync,
            reason = "the cell is never shared as such: see the SAFETY comments of its holders"
        )]
        let cell = Arc::new(UnsafeCell::new(buf));
        // SAFETY: (local) just made: nobody else looks at it.
        let buf = unsafe { &mut *cell.get() };
        let (len, registered) = (buf.init_len(), registered(buf));
        Self { start: buf.stable_mut_ptr(), len, registered, cell }
    }

    /// Another hold on the same bytes, for an op that writes them out.
    ///
    /// All of them: `relay.take().slice(..n)` is the front. Any number of takes may be there at once, also without the
    /// relay.
    pub fn take(&self) -> Take<B> {
        let Self { ref cell, start, len, registered } = *self;
        Take { cell: Arc::clone(cell), start, len, registered }
    }

    /// The bytes, to be changed by the program; `None` while there is a take.
    pub fn get_mut(&mut self) -> Option<&mut [u8]> {
        let buf = Arc::get_mut(&mut self.cell)?.get_mut();
        self.start = buf.stable_mut_ptr(); // where it was, by a borrow that is younger than the one just taken
        // SAFETY: (local) `len` initialised bytes by the promise of `Buf`; this is the only hold, and it is borrowed
        // exclusively.
        Some(unsafe { std::slice::from_raw_parts_mut(self.start, self.len) })
    }

    /// The buffer itself.
    ///
    /// # Errors
    ///
    /// Gives the relay back while there is a take: with the program, or with an op in flight.
    pub fn try_into_inner(self) -> Result<B, Self> {
        match Arc::try_unwrap(self.cell) {
            Ok(cell) => Ok(cell.into_inner()),
            Err(cell) => Err(Self { cell, ..self }),
        }
    }
}

impl<B> Clone for Take<B> {
    fn clone(&self) -> Self {
        let Self { ref cell, start, len, registered } = *self;
        Self { cell: Arc::clone(cell), start, len, registered }
    }
}

// SAFETY: (local) the buffer stays in its cell, unmoved and unchanged as a value, as long as there is a hold; its own
// promises hold for that time. `len` is what it had initialised, which stays initialised.
unsafe impl<B: BufMut> Buf for Relay<B> {
    fn stable_ptr(&self) -> *const u8 {
        self.start
    }

    fn init_len(&self) -> usize {
        self.len
    }

    #[inline]
    fn registered(&self) -> Option<u16> {
        slot_here(self.registered)
    }
}

// SAFETY: (local) there is one relay for each cell, and what writes to the bytes needs it: an op that owns it, or
// `get_mut` that borrows it. Who can look at this one has neither going on.
unsafe impl<B: BufMut> Visible for Relay<B> {}

// SAFETY: (local) `BufMut` of the buffer lets us write, and the relay is the only hold that does; takes only have the
// kernel read. All bytes are initialised from the start and stay so.
unsafe impl<B: BufMut> BufMut for Relay<B> {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.start
    }

    unsafe fn set_filled(&mut self, _len: usize) {}
}

// SAFETY: (local) as for the relay. It is not `Visible`.
unsafe impl<B: BufMut> Buf for Take<B> {
    fn stable_ptr(&self) -> *const u8 {
        self.start
    }

    fn init_len(&self) -> usize {
        self.len
    }

    #[inline]
    fn registered(&self) -> Option<u16> {
        slot_here(self.registered)
    }
}

impl<B: BufMut> Deref for Relay<B> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        super::bytes(self)
    }
}

impl<B> fmt::Debug for Relay<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("len", &self.len)
            .field("holds", &Arc::strong_count(&self.cell))
            .finish()
    }
}

impl<B> fmt::Debug for Take<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Take").field("len", &self.len).finish_non_exhaustive()
    }
}
