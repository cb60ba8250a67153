//! Buffers of the user in a queue that the kernel takes them from: to fill them, or to send them.
//!
//! Knows: which runtime runs here. Does not know: ops.
//!
//! ```text
//!   BufQueue ──── clones, ops in flight and what came of them hold ────▶ Receiving: places, books, a ring
//!                                                                        Sending:   places, a line, now and then a ring
//! ```

mod bundle;
mod guard;
mod outbox;
mod receiving;
mod sending;
mod slots;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::pool::ledger::MAX_BUFFERS;
use super::{Buf, BufMut, Lender};
use crate::runtime::context;
use crate::runtime::core::Core;
pub use bundle::QueueBundle;
pub use guard::QueueBuf;
pub(crate) use receiving::Receiving;
pub(crate) use sending::{Sending, SentRun, Way};
use slots::Slots;

/// A queue of buffers that are yours, which the kernel takes by itself, first in, first out: to send them, or to fill them.
///
/// What it is for is said when it is made, and is part of its type:
///
/// - [`to_send`](Self::to_send): [`send_queued`](crate::ops::send_queued) sends as many of the buffers as there are with one
///   entry, and gives back those that were sent. What was not sent stays, in order, to the byte, whatever becomes of the op.
/// - [`to_fill`](Self::to_fill): [`recv_pooled`](crate::ops::recv_pooled), [`read_pooled`](crate::ops::read_pooled), and the
///   multishot forms, take it in place of a [`BufPool`](super::BufPool): the first buffer comes back filled, as a [`QueueBuf`].
///
/// A pool owns its memory, all pieces of it of one size; a queue has whatever is pushed: vectors, registered memory, what
/// another pool's buffers hold. It belongs to the runtime it was made on. A clone is the same queue; pushing is possible on
/// any thread, if the buffers may go there.
///
/// # Kernel
///
/// `IORING_REGISTER_PBUF_RING`, Linux 5.19.
///
/// # Cost
///
/// 16 bytes for each place, and a registration: once for a queue of buffers to fill; for one of buffers to send, with the
/// first send, and again after each that did not send everything.
///
/// # Examples
///
/// An echo that copies nothing: what the kernel has put into buffers of a pool is sent from there, several at once.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use millstream::ops::{self, BufPool, BufQueue, Fd};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (mut client, server) = UnixStream::pair()?;
/// let server = Fd::from(server);
/// let pool = BufPool::new(8, 4)?;
/// let out = BufQueue::to_send(8)?;
///
/// client.write_all(b"more than a buffer")?;
/// let mut echoed = 0;
/// while echoed < 18 {
///     for buf in ops::recv_pooled(&server, &pool).bundled().await? {
///         out.push(buf)?;
///     }
///     let (n, sent) = ops::send_queued(&server, &out).await;
///     echoed += n?;
///     drop(sent); // its buffers go back to the pool
/// }
/// assert_eq!(pool.available(), 8);
/// let mut all = [0; 18];
/// client.read_exact(&mut all)?;
/// assert_eq!(&all, b"more than a buffer");
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Buffers to fill, which come back as what they were:
///
/// ```
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
/// use millstream::ops::{self, BufQueue, Fd};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (mut a, b) = UnixStream::pair()?;
/// let empty = BufQueue::to_fill(2)?;
/// empty.push(Vec::with_capacity(100))?;
/// empty.push(vec![0; 1000])?;
/// a.write_all(b"grist")?;
/// let got = ops::recv_pooled(b, &empty).await?;
/// assert_eq!((&got[..], empty.len()), (&b"grist"[..], 1));
/// let first: Vec<u8> = got.into_buffer().expect("no op was dropped that left bytes");
/// assert_eq!((first.len(), first.capacity()), (5, 100));
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias = "provided buffers")]
pub struct BufQueue<B: Buf, U: Use = ToSend>(Arc<U::Shared<B>>);

/// What a [`BufQueue`] is for: [`ToSend`] or [`ToFill`]. Sealed.
pub trait Use: sealed::Sealed {
    #[doc(hidden)]
    type Shared<B: 'static>;
}

/// A queue of buffers with something in them, to be sent.
#[derive(Clone, Copy, Debug)]
pub struct ToSend;

/// A queue of buffers with room in them, to be filled.
#[derive(Clone, Copy, Debug)]
pub struct ToFill;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ToSend {}
    impl Sealed for super::ToFill {}
}

impl Use for ToSend {
    type Shared<B: 'static> = Sending<B>;
}

impl Use for ToFill {
    type Shared<B: 'static> = Receiving<B>;
}

/// Why a buffer was not put into a [`BufQueue`], with the buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueError<B> {
    /// Every place is taken: by a buffer in the queue, or by one that has come out of it and not been taken or dropped.
    Full(B),
    /// It is to be filled, and there is not room for a byte.
    NoRoom(B),
}

impl<B> QueueError<B> {
    /// The buffer.
    pub fn into_inner(self) -> B {
        match self {
            Self::Full(buf) | Self::NoRoom(buf) => buf,
        }
    }

    /// Whether there was no place.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

// The buffer is left out, so that `?` and `unwrap` work whatever it is.
impl<B> fmt::Debug for QueueError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::NoRoom(_) => "NoRoom(..)",
        })
    }
}

impl<B> fmt::Display for QueueError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue of buffers is full",
            Self::NoRoom(_) => "a buffer that has no room cannot be filled",
        })
    }
}

impl<B> Error for QueueError<B> {}

/// A queue for the runtime that runs here.
fn make<S>(capacity: usize, make: impl FnOnce(&Core, u32) -> io::Result<S>) -> io::Result<Arc<S>> {
    let Some(places) = u32::try_from(capacity).ok().filter(|places| (1..=MAX_BUFFERS).contains(places))
    else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a queue of buffers has 1 to 32768 places"));
    };
    context::with(|core| {
        let core = core.expect("a queue of buffers was made outside a millstream runtime: there is no ring");
        make(core, places).map(Arc::new)
    })
}

/// How many there are, for every queue.
macro_rules! counts {
    () => {
        /// How many buffers have a place.
        pub fn capacity(&self) -> usize {
            self.slots().count()
        }

        /// Whether there is no buffer in the queue.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        /// Whether every place is taken: by a buffer in the queue, or by one that has come out of it and not been taken or
        /// dropped.
        pub fn is_full(&self) -> bool {
            self.slots().free() == 0
        }

        fn slots(&self) -> &Slots<B> {
            self.0.slots()
        }
    };
}

impl<B: Buf> BufQueue<B, ToSend> {
    /// A queue of buffers to send, 1 to 32,768 of them, for the runtime that runs here.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a capacity out of bounds.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn to_send(capacity: usize) -> io::Result<Self> {
        make(capacity, |core, places| Ok(Sending::new(core, places))).map(Self)
    }

    /// Puts a buffer at the end of the queue. A send that is in flight does not see it; the next does.
    ///
    /// # Errors
    ///
    /// [`Full`](QueueError::Full), with the buffer.
    pub fn push(&self, buf: B) -> Result<(), QueueError<B>> {
        self.0.push(buf).map_err(QueueError::Full)
    }

    /// How many buffers are in the queue: not sent, or not to their end, those that are being sent included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many bytes of the first buffer were sent already. The next send goes on behind them.
    pub fn first_sent(&self) -> usize {
        self.0.gone()
    }

    /// Takes all buffers out that no send in flight has, in order. Of the first of all, [`first_sent`](Self::first_sent) bytes,
    /// asked before, were sent.
    pub fn drain(&self) -> Vec<B> {
        let mut buffers: Vec<B> = std::iter::from_fn(|| self.0.take_back()).collect();
        buffers.reverse();
        buffers
    }

    pub(crate) fn sending(&self) -> &Arc<Sending<B>> {
        &self.0
    }

    counts!();
}

impl<B: BufMut> BufQueue<B, ToFill> {
    /// A queue of buffers to fill, 1 to 32,768 of them, for the runtime that runs here.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a capacity out of bounds; `ENOMEM` when the process may lock no more memory; `QuotaExceeded` when the
    /// runtime has 65,472 pools and queues.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn to_fill(capacity: usize) -> io::Result<Self> {
        make(capacity, Receiving::new).map(Self)
    }

    /// Puts a buffer at the end of the queue: it is the kernel's from now on. All the room that it has will be used, whatever is
    /// in it. An op that waits for a buffer goes on.
    ///
    /// # Errors
    ///
    /// [`Full`](QueueError::Full) and [`NoRoom`](QueueError::NoRoom), with the buffer.
    pub fn push(&self, buf: B) -> Result<(), QueueError<B>> {
        if buf.capacity() == 0 {
            return Err(QueueError::NoRoom(buf));
        }
        self.0.push(buf).map_err(QueueError::Full)
    }

    /// How many buffers are in the queue: what the kernel can still choose from.
    pub fn len(&self) -> usize {
        self.0.figures().available as usize
    }

    /// How often the kernel named a buffer that it had not taken. Some kernels do when an op fails; nothing is lost by it.
    pub fn disowned(&self) -> u64 {
        self.0.figures().disowned
    }

    /// The buffers, in order, and the end of the queue. Only if nobody else has to do with it: this is its last handle, no op
    /// that uses it is there, and no [`QueueBuf`] of it.
    ///
    /// # Errors
    ///
    /// The queue, if somebody has.
    pub fn into_buffers(self) -> Result<Vec<B>, Self> {
        Arc::try_unwrap(self.0).map(Receiving::into_buffers).map_err(Self)
    }

    pub(crate) fn receiving(&self) -> &Arc<Receiving<B>> {
        &self.0
    }

    counts!();
}

impl<B: Buf, U: Use> Clone for BufQueue<B, U> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Buf> fmt::Debug for BufQueue<B, ToSend> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufQueue")
            .field("len", &self.len())
            .field("first_sent", &self.first_sent())
            .finish_non_exhaustive()
    }
}

impl<B: BufMut> fmt::Debug for BufQueue<B, ToFill> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufQueue").field("len", &self.len()).finish_non_exhaustive()
    }
}
