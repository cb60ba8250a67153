//! Communicating sequential processes over io_uring.
//!
//! Bounded channels join tasks, runtimes and plain threads. Every system call is an *op*: a value that describes one
//! request to the ring, takes its buffer by value and gives it back with the result. Ops, channel operations, timers
//! and joins are all [`Operation`]s, so they combine: all of them, the first of them, a chain of them in the kernel.
//! Whatever loses a race or is dropped in flight, nothing is lost with it: no message, no byte, no connection, no buffer.
//!
//! ```
//! use std::io;
//! use std::time::Duration;
//!
//! use millstream::combinators::OneOf2;
//! use millstream::ops::{self, IntoResult};
//! use millstream::{channel, race, spawn, time};
//!
//! #[millstream::main]
//! async fn main() -> io::Result<()> {
//!     let (sizes_tx, sizes) = channel::bounded(2);
//!     spawn(async move {
//!         let zeros = ops::open("/dev/zero").await?;
//!         let (n, _buffer) = ops::read(&zeros, vec![1; 64]).await.into_result()?;
//!         sizes_tx.push(n).await.map_err(io::Error::other)
//!     })
//!     .detach();
//!     match race!(sizes.pop() || time::sleep(Duration::from_secs(60))).await {
//!         OneOf2::A(size) => assert_eq!(size, Ok(64)),
//!         OneOf2::B(()) => unreachable!("a minute is more than a read of zeros takes"),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Where things are
//!
//! | module | what is in it |
//! |---|---|
//! | [`channel`] | bounded channels of all kinds, for tasks, other executors and plain threads; deadlines and clocks as channels |
//! | [`ops`] | one function per request to the ring, descriptors, buffers |
//! | [`combinators`] | all, any, chains, flags, deadlines, and adapters for other futures |
//! | [`time`] | sleeping, deadlines, intervals |
//! | [`runtime`] | [`Runtime`], tasks, handles for other threads |
//!
//! The [guide] begins with a first task and ends with a program on several threads. [Channels], [combinators], [`select!`],
//! [chains], [multishot ops], [pools of buffers], [registered buffers and files] and [sends without a copy] have pages of their
//! own. The [examples] are whole programs.
//!
//! [guide]: https://github.com/millstream-rs/millstream/blob/main/docs/guide.md
//! [Channels]: https://github.com/millstream-rs/millstream/blob/main/docs/guide/channels.md
//! [combinators]: https://github.com/millstream-rs/millstream/blob/main/docs/guide/combinators.md
//! [`select!`]: https://github.com/millstream-rs/millstream/blob/main/docs/guide/select.md
//! [chains]: https://github.com/millstream-rs/millstream/blob/main/docs/guide/chains.md
//! [multishot ops]: https://github.com/millstream-rs/millstream/blob/main/docs/guide/multishot.md
//! [pools of buffers]: https://github.com/millstream-rs/millstream/blob/main/docs/guide/buffers.md
//! [registered buffers and files]: https://github.com/millstream-rs/millstream/blob/main/docs/guide/registered.md
//! [sends without a copy]: https://github.com/millstream-rs/millstream/blob/main/docs/guide/zero_copy.md
//! [examples]: https://github.com/millstream-rs/millstream/tree/main/examples
//!
//! # What it needs
//!
//! Linux 5.19 or newer on a 64-bit machine, best 6.1 or newer. What the running kernel can do is asked at run time. Where
//! io_uring is forbidden, [`Runtime::new`] returns an error that says by what.
//!
//! # Cargo features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `macros` | yes | `#[millstream::main]`, `#[millstream::test]`, `race!`, `join!`, `chain!`, `select!` |
//! | `bytes` | no | `Bytes` and `BytesMut` as buffers |
//! | `sink` | no | `futures`' `Sink` on the senders of channels |

#[cfg(not(target_os = "linux"))]
compile_error!("millstream is built on io_uring and needs Linux");
#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "millstream needs a 64-bit target: a task's id fills the data word of a waker, and channels count in words that must not wrap"
);

#[macro_use]
mod sync;
mod util;

mod operation;

pub mod channel;

#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub mod combinators;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub mod ops;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub mod runtime;

/// The part of the runtime that other threads touch without a lock, for loom to explore.
#[cfg(any(millstream_loom, millstream_shuttle))]
#[path = "runtime/inbox.rs"]
mod inbox;

/// The books of a pool of buffers, which other threads write in.
#[cfg(any(millstream_loom, millstream_shuttle))]
#[allow(dead_code, reason = "the models use a part of it")]
#[path = "ops/buf/pool/ledger.rs"]
mod pool_ledger;

#[cfg(feature = "macros")]
pub use millstream_macros::{main, test};
pub use operation::{Operation, Results};
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub use runtime::{
    BuildError, Handle, JoinError, JoinHandle, RemoteJoinHandle, Runtime, SpawnError, spawn, time, yield_now,
};

/// The programs in the prose, compiled and run as tests.
#[cfg(doctest)]
mod prose {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/guide.md")]
    mod guide {}
    #[doc = include_str!("../docs/guide/buffers.md")]
    mod buffers {}
    #[doc = include_str!("../docs/guide/chains.md")]
    mod chains {}
    #[doc = include_str!("../docs/guide/channels.md")]
    mod channels {}
    #[doc = include_str!("../docs/guide/combinators.md")]
    mod combinators {}
    #[doc = include_str!("../docs/guide/multishot.md")]
    mod multishot {}
    #[doc = include_str!("../docs/guide/registered.md")]
    mod registered {}
    #[doc = include_str!("../docs/guide/select.md")]
    mod select {}
    #[doc = include_str!("../docs/guide/zero_copy.md")]
    mod zero_copy {}
}
