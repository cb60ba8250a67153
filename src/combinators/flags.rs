//! Flags on everything below: drain, and asynchronous execution.
//!
//! Knows: [`RingOperation`]. Does not know: which bits of an entry the flags are.

use core::pin::Pin;
use core::time::Duration;

use super::arms::{FlagArms, FlagSlots, RaceArms};
use super::limit::Limitable;
use super::{WhenAll, WhenAny};
use crate::operation::Operation;
use crate::ops::{EntryFlags, RingOperation};

/// A ring operation, or a combinator of nothing but ring operations: flags reach every entry below it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` queues no entries whose flags could be set",
    label = "not a ring operation, and not a combinator of ring operations alone",
    note = "in a mixed combinator, put the flag on the ring operations themselves"
)]
pub trait Flaggable: Operation {
    /// Adds the flags to every entry that will be queued. Without effect on what is started.
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags);
}

impl<O: RingOperation> Flaggable for O {
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        RingOperation::add_flags(self, flags);
    }
}

impl<T: FlagArms> Flaggable for WhenAll<T> {
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        self.slots().add_flags(flags);
    }
}

impl<T: FlagArms + RaceArms> Flaggable for WhenAny<T> {
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        self.slots().add_flags(flags);
    }
}

/// Flags for ring operations and for combinators of ring operations.
pub trait RingOperationExt: Flaggable {
    /// Starts this only when everything submitted before it on this ring has completed, and holds back everything
    /// submitted after it until it has.
    ///
    /// The whole ring is held up, other tasks' ops included, and an op that never ends on its own (an accept, a receive)
    /// holds this up for as long. On a combinator, the flag is on every entry below it. In a chain it holds back the whole
    /// chain. A zero-copy send that is drained is sent with a copy: with the notification that it would have the kernel waits
    /// for ever (6.18). Before Linux 6.16 the kernel counts notifications wrongly, and what is drained after one waits for ever:
    /// there the runtime keeps drains itself, from the first zero-copy send on.
    ///
    /// # Completion
    ///
    /// As without the flag: same output, same order of starts. `IOSQE_IO_DRAIN`, Linux 5.2.
    ///
    /// # Cancel safety
    ///
    /// While it waits for its turn the kernel cannot find it: asked to stop, by a deadline or a lost race too, it
    /// resolves only once what it waits for has ended. So give a deadline to what is before it. (Cancellations go by a
    /// synchronous call meanwhile, since a cancel entry would wait behind it.) As without the flag otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::combinators::RingOperationExt;
    /// use millstream::ops::{self, IntoResult};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// # let path = std::env::temp_dir().join(format!("millstream-drain-{}", std::process::id()));
    /// let file = ops::open(&path).flags(libc::O_CREAT | libc::O_WRONLY).mode(0o600).await?;
    /// let writes = ops::write(&file, "one").at(0) & ops::write(&file, "two").at(3);
    /// // Write everything, then make it durable.
    /// let (one, two, synced) = (writes & ops::fsync(&file).drain()).await;
    /// one.into_result()?;
    /// two.into_result()?;
    /// synced?;
    /// assert_eq!(std::fs::read_to_string(&path)?, "onetwo");
    /// # std::fs::remove_file(&path)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[doc(alias = "IOSQE_IO_DRAIN")]
    #[must_use = "the flag is on the operation that is returned"]
    fn drain(self) -> Self
    where
        Self: Sized + Unpin,
    {
        with_flags(self, EntryFlags::DRAIN)
    }

    /// Hands this to a kernel worker at once, without first trying whether it can be done without waiting.
    ///
    /// Worth it for what is known to block, such as reads of cold files. On a combinator, the flag is on every entry
    /// below it.
    ///
    /// # Completion
    ///
    /// As without the flag: same output, same order of starts. `IOSQE_ASYNC`, Linux 5.6.
    ///
    /// # Cancel safety
    ///
    /// As without the flag; a worker in the middle of an uninterruptible call is waited for.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::combinators::RingOperationExt;
    /// use millstream::ops::{self, IntoResult};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let file = ops::open("/etc/hostname").always_async().await?;
    /// let read = || ops::read(&file, vec![0; 8]).at(0);
    /// let (one, other) = (read() & read()).always_async().await; // on both reads
    /// assert_eq!(one.into_result()?, other.into_result()?);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[doc(alias = "IOSQE_ASYNC")]
    #[must_use = "the flag is on the operation that is returned"]
    fn always_async(self) -> Self
    where
        Self: Sized + Unpin,
    {
        with_flags(self, EntryFlags::ASYNC)
    }

    /// Lets the kernel give the op this long, counted from when it starts it; then the kernel stops it.
    ///
    /// In a chain the time counts from when it is this op's turn, which only the kernel knows. It takes an entry of its own,
    /// behind the op's, and a completion of its own. Everywhere else [`timeout`](super::OperationExt::timeout) is cheaper
    /// and takes any operation. On a combinator, each op below it is given this long; to limit a chain as a whole, use
    /// `timeout`.
    ///
    /// # Completion
    ///
    /// * `Ok` of the output when the op has completed before the kernel's timer has run out.
    /// * [`Elapsed`](super::Elapsed) with whatever the op resolved to all the same, when the timer has stopped it. The rest of
    ///   its chain is cancelled then, unless it is a [`hard_link`](super::hard_link).
    /// * [`request_cancel`](Operation::request_cancel) asks the op to stop; its outcome comes as `Ok`.
    ///
    /// `IORING_OP_LINK_TIMEOUT`, Linux 5.5. The two completions come in an order that differs from kernel to kernel; both are
    /// waited for.
    ///
    /// # Cancel safety
    ///
    /// That of the op.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use millstream::combinators::RingOperationExt;
    /// use millstream::ops::{self, Fd};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let (socket, _peer) = std::os::unix::net::UnixStream::pair()?;
    /// let socket = Fd::from(socket);
    /// // Greet, then wait for the answer, but not for ever; in one submission.
    /// let answer = ops::recv(&socket, vec![0; 64]).link_timeout(Duration::from_millis(5));
    /// let (greeted, answered) = (ops::send(&socket, "hello") >> answer).await;
    /// assert_eq!(greeted.0?, 5);
    /// let (result, buffer) = answered.unwrap_err().into_outcome();
    /// assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
    /// assert_eq!(buffer.len(), 64);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[doc(alias("IORING_OP_LINK_TIMEOUT", "async_link_timeout"))]
    #[must_use = "the limit is on the operation that is returned"]
    fn link_timeout(self, after: Duration) -> Self::Limited
    where
        Self: Limitable,
    {
        self.limited(after)
    }
}

impl<O: Flaggable + ?Sized> RingOperationExt for O {}

fn with_flags<O: Flaggable + Unpin>(mut operation: O, flags: EntryFlags) -> O {
    Flaggable::add_flags(Pin::new(&mut operation), flags);
    operation
}
