//! Small messages and open files from one runtime's ring to another's.
//!
//! Knows: `IORING_OP_MSG_RING` (its two files), cells with credit. Does not know: nodes, how the ring is entered.
//!
//! ```text
//!  sender's runtime                                    receiver's runtime
//!    message(&address, n)     a cell is free? (credit)      Mailbox
//!         │ fills the cell ───────────▶ ┌──┬──┬──┐
//!         │                             │n │  │  │ cells, as many as the capacity
//!         │ MSG_RING, names the cell    └──┴──┴──┘
//!         └──────────── kernel ──────────▶ CQE: the cell has arrived ──▶ receive(): the cell is free again
//! ```
//!
//! Nothing waits in the kernel but one completion for each filled cell, so the receiver's queue cannot be flooded.

mod message;
mod pass_fd;
mod receive;
mod shared;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use super::fd::{FdTable, FixedFd};
use crate::runtime::RuntimeId;
use crate::runtime::context;
use crate::runtime::core::Core;
use crate::runtime::driver::Home;
use crate::runtime::inflight::{Post, PostKey};
use crate::runtime::registry::{self, Remote};
use shared::Shared;

pub use message::{SendMessage, message};
pub use pass_fd::{PassFd, pass_fd};
pub use receive::Receive;

/// Where other runtimes send small messages and direct descriptors, through their rings.
///
/// The kernel puts a message straight among the receiver's completions, and wakes it as any completion does: no eventfd, no
/// lock that is waited for. What a message can carry is one number, or an open file that goes from table to table without a
/// descriptor. For values of other types, and for plain threads, there are [channels](crate::channel).
///
/// At most `capacity` messages are under way or wait to be received; whoever sends more waits for room. A sender's messages
/// arrive in the order of their ops' completion.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use millstream::Runtime;
/// use millstream::ops::{self, Mail, Mailbox};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # Runtime::new()?.block_on(async {
/// let mut mailbox = Mailbox::new(8)?;
/// let address = mailbox.address();
/// let sender = thread::spawn(move || {
///     Runtime::new()?.block_on(async {
///         for n in 0..100 {
///             ops::message(&address, n).await?; // waits while eight are under way
///         }
///         Ok(())
///     })
/// });
/// for n in 0..100 {
///     assert!(matches!(mailbox.receive().await?, Mail::Message(m) if m == n));
/// }
/// sender.join().expect("no panic")
/// # })
/// # .map_err(|error: std::io::Error| error.into())
/// # }
/// ```
pub struct Mailbox {
    shared: Arc<Shared>,
    key: PostKey,
    home: RuntimeId,
    /// It belongs to a runtime, which belongs to a thread.
    here: PhantomData<*const ()>,
}

/// What names a [`Mailbox`] to those who send to it: from any thread, by any number of clones.
#[derive(Clone)]
pub struct MailAddress(Arc<Shared>);

/// What has come to a [`Mailbox`].
#[derive(Debug)]
pub enum Mail {
    /// A number, by [`message`].
    Message(u64),
    /// An open file, by [`pass_fd`], in a slot of the receiver's table.
    File(FixedFd),
}

impl Mailbox {
    /// A mailbox for numbers, on the runtime that runs here.
    ///
    /// # Kernel
    ///
    /// `IORING_OP_MSG_RING`, Linux 5.18.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a capacity of 0, or of more than 65,536; `EMFILE`; `QuotaExceeded` when the runtime has 8,192
    /// mailboxes.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn new(capacity: usize) -> io::Result<Self> {
        Self::with(capacity, None)
    }

    /// A mailbox for numbers and open files, which come into slots of this table.
    ///
    /// A slot is reserved for each file before it is sent; while none is free, its sender waits.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); `InvalidInput` when the table belongs to another runtime.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn with_table(capacity: usize, table: &FdTable) -> io::Result<Self> {
        if !table.is_here() {
            return Err(super::fd::elsewhere());
        }
        Self::with(capacity, Some(table.clone()))
    }

    fn with(capacity: usize, table: Option<FdTable>) -> io::Result<Self> {
        if !(1..=1 << 16).contains(&capacity) {
            let text = format!("a mailbox has room for 1 to 65536 messages, and not for {capacity}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        context::with(|core| {
            let core =
                core.expect("a mailbox was made outside a millstream runtime: there is no ring to post to");
            let ring = core.inflight.duplicate_ring()?;
            let shared = Arc::new(Shared::new((core.id, Home::here()?), ring, capacity, table));
            let Some(key) = core.inflight.add_post(Arc::clone(&shared) as Arc<dyn Post>) else {
                return Err(io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    "this runtime has 8192 mailboxes: a completion has no room to name more",
                ));
            };
            shared.set_key(key);
            Ok(Self { shared, key, home: core.id, here: PhantomData })
        })
    }

    /// What to send to.
    pub fn address(&self) -> MailAddress {
        MailAddress(Arc::clone(&self.shared))
    }

    /// Takes what has come first, or waits for it.
    ///
    /// # Errors
    ///
    /// `ECANCELED` when it was asked to stop; `BrokenPipe` when the runtime has come to its end.
    ///
    /// # Cancel safety
    ///
    /// It holds nothing: what comes meanwhile is what the next one gets.
    pub fn receive(&mut self) -> Receive<'_> {
        Receive::new(&self.shared)
    }

    /// How many messages may be under way, or wait.
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    /// How many have arrived and were not received yet.
    pub fn len(&self) -> usize {
        self.shared.arrived()
    }

    /// Whether nothing has arrived that was not received yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.shared.close();
        let (home, key) = (self.home, self.key);
        context::with(|core| match core {
            Some(core) if core.id == home => core.inflight.remove_post(key),
            // The runtime is not running: a message. If it is gone, its places have gone with it.
            _ => drop(
                registry::entry_of(home)
                    .post(home, Remote::Work(Box::new(move |core: &Core| core.inflight.remove_post(key)))),
            ),
        });
    }
}

impl MailAddress {
    /// Whether the mailbox, or its runtime, is gone. In a child after a `fork` the parent's are.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("capacity", &self.capacity()).field("len", &self.len()).finish()
    }
}

impl fmt::Debug for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailAddress").field("is_closed", &self.is_closed()).finish()
    }
}
