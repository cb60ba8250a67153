//! Buffers that the kernel chooses from when bytes are there, so that an op that waits needs none.
//!
//! Knows: a ring's groups of buffers, which runtime runs here. Does not know: ops.
//!
//! ```text
//!   BufPool ──── clones, ops in flight and buffers in use hold ────▶ Pool
//!                                                                     ├─ memory: the ring, the buffers
//!                                                                     └─ desk: who has which, who waits for one
//!   the last hold goes:  the group is unregistered (on its thread, by message else), then the memory goes
//! ```
#![allow(unsafe_code, reason = "lends memory to the kernel for longer than one op")]

mod bundle;
pub(super) mod group;
mod guard;
pub(super) mod ledger;
mod lender;
mod memory;
pub(super) mod ring;
#[cfg(test)]
mod tests;
mod turn;

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::ops::features::Feature;
use crate::runtime::context;
use crate::runtime::core::Core;

pub use bundle::Bundle;
use group::Group;
pub use guard::PoolBuf;
use ledger::{Desk, MAX_BUFFERS};
pub(crate) use lender::{Claim, Lender};
use memory::Memory;
pub(crate) use turn::Hungry;

/// A pool of buffers that the kernel takes from by itself when bytes arrive.
///
/// An ordinary read brings its buffer along and holds it for as long as it waits; a thousand idle connections hold a
/// thousand buffers. With a pool, a read that waits holds none. When bytes come, the kernel takes a buffer of the pool, and
/// they arrive in a [`PoolBuf`], which gives the buffer back when it is dropped.
///
/// An op that finds no buffer left waits until one comes back, in line with all others, and no byte is lost: those that
/// nobody has room for stay in the socket. So a pool that is too small makes a program slower; one whose buffers are all
/// kept makes it wait for ever. [`lowest`](Self::lowest) tells how near it came.
///
/// It belongs to the runtime it was made on. A clone is the same pool. It may be dropped anywhere, at any time: buffers in
/// use, and ops in flight, keep what they need.
///
/// # Kernel
///
/// `IORING_REGISTER_PBUF_RING`, Linux 5.19.
///
/// # Cost
///
/// One mapping of memory, whose pages come when they are first used. A buffer that is dropped on the pool's own runtime costs
/// no lock; one that is dropped on another thread a short one, and the kernel has it again when the runtime looks: when
/// it fills the next buffer, or is short of them.
///
/// # Examples
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use millstream::ops::{self, BufPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let pool = BufPool::new(8, 2048)?;
/// let (a, b) = UnixStream::pair()?;
/// ops::send_all(a, "grist").await.0?;
/// let got = ops::recv_pooled(b, &pool).await?;
/// assert_eq!((&got[..], pool.available()), (&b"grist"[..], 7));
/// drop(got);
/// assert_eq!((pool.available(), pool.lowest()), (8, 7));
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct BufPool(Arc<Pool>);

/// What a [`BufPool`] is to be like; see [`BufPool::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder builds nothing until `build`"]
pub struct BufPoolBuilder {
    buffers: usize,
    size: usize,
    incremental: bool,
}

impl BufPoolBuilder {
    /// How many buffers: 1 to 32,768; 256 if nothing is said.
    pub fn buffers(mut self, buffers: usize) -> Self {
        self.buffers = buffers;
        self
    }

    /// How many bytes each of them has, 1 at least; 4096 if nothing is said.
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// Whether a buffer is used up piece by piece: a receive of 100 bytes takes 100 bytes of it, and the next receive, on
    /// whichever descriptor, the bytes behind them. So a few large buffers serve messages of any size. Needs Linux 6.12.
    ///
    /// A buffer goes back to the pool when it is full and all its parts are dropped: one part that is kept keeps the whole
    /// of it.
    pub fn incremental(mut self, incremental: bool) -> Self {
        self.incremental = incremental;
        self
    }

    /// Makes the pool, for the runtime that runs here.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a count or size out of bounds. `Unsupported` when it is to be incremental and the kernel cannot:
    /// ask for one that is not. `ENOMEM` when there is no memory of this size, or the process may lock no more of it (the
    /// ring itself, 16 bytes for each buffer). `QuotaExceeded` when the runtime has 65,472 pools.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn build(self) -> io::Result<BufPool> {
        let Self { buffers, size, incremental } = self;
        let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        let Some(buffers) = u32::try_from(buffers).ok().filter(|buffers| (1..=MAX_BUFFERS).contains(buffers))
        else {
            return invalid("a pool has 1 to 32768 buffers");
        };
        let Some(size) = u32::try_from(size).ok().filter(|size| (1..=i32::MAX as u32).contains(size)) else {
            return invalid("a buffer of a pool has 1 to 2147483647 bytes");
        };
        context::with(|core| {
            let core =
                core.expect("a pool was made outside a millstream runtime: there is no ring to take from it");
            Pool::new(core, buffers, size, incremental).map(|pool| BufPool(Arc::new(pool)))
        })
    }
}

impl BufPool {
    /// A pool of so many buffers of `size` bytes each, for the runtime that runs here.
    ///
    /// # Errors
    ///
    /// As [`BufPoolBuilder::build`].
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn new(buffers: usize, size: usize) -> io::Result<Self> {
        Self::builder().buffers(buffers).size(size).build()
    }

    /// For a pool that is not as others are.
    pub fn builder() -> BufPoolBuilder {
        BufPoolBuilder { buffers: 256, size: 4096, incremental: false }
    }

    /// How many buffers it has.
    pub fn capacity(&self) -> usize {
        self.0.buffers as usize
    }

    /// How many bytes each buffer has.
    pub fn size(&self) -> usize {
        self.0.size() as usize
    }

    /// How many buffers nobody has: what the kernel can still choose from.
    pub fn available(&self) -> usize {
        self.0.figures().available as usize
    }

    /// The fewest that were [available](Self::available) at any time. 0: it was used up, and ops may have waited.
    pub fn lowest(&self) -> usize {
        self.0.figures().lowest as usize
    }

    /// Whether its buffers are used up [piece by piece](BufPoolBuilder::incremental).
    pub fn is_incremental(&self) -> bool {
        self.0.is_incremental()
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0
    }

    /// How often the kernel named a buffer that it had not taken. Some kernels do when an op fails; nothing is lost by it.
    pub fn disowned(&self) -> u64 {
        self.0.figures().disowned
    }
}

impl fmt::Debug for BufPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufPool")
            .field("capacity", &self.capacity())
            .field("size", &self.size())
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

/// What the handles, the ops in flight and the buffers in use share.
pub struct Pool {
    buffers: u32,
    incremental: bool,
    desk: Desk,
    group: Group<Memory>,
}

impl Pool {
    fn new(core: &Core, buffers: u32, size: u32, incremental: bool) -> io::Result<Self> {
        let memory = Memory::new(buffers, size)?;
        let group = match incremental && Feature::IncrementalBuffers.is_hidden() {
            true => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            // SAFETY: (I1) the buffers are part of the memory that the group keeps, and given out only by the ledger.
            false => unsafe { Group::register(core, memory, incremental) },
        };
        let group = group.map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) if incremental => io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel uses up a provided buffer at once: incremental pools need Linux 6.12",
            ),
            _ => error,
        })?;
        Ok(Self { buffers, incremental, desk: Desk::new(buffers, size, incremental), group })
    }

    pub(crate) fn size(&self) -> u32 {
        self.memory().size()
    }

    fn memory(&self) -> &Memory {
        self.group.memory()
    }

    /// What a completion has brought, as one buffer: see [`Lender::claim`].
    pub(crate) fn claim_one(self: &Arc<Self>, result: &io::Result<u32>, flags: u32) -> Claim<PoolBuf> {
        self.claim(result, flags, |clerk, buffer, len, goes_on| {
            clerk.claim(buffer, len, goes_on).map(|part| PoolBuf::of(Arc::clone(self), part))
        })
    }

    /// The same of the completion of a bundle.
    pub(crate) fn claim_bundle(self: &Arc<Self>, result: &io::Result<u32>, flags: u32) -> Claim<Bundle> {
        self.claim(result, flags, |clerk, buffer, len, goes_on| {
            clerk.claim_run(buffer, len, goes_on).map(|run| Bundle::of(Arc::clone(self), run))
        })
    }
}

impl Lender for Pool {
    const NAME: &str = "a pool of buffers";

    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn group(&self) -> u16 {
        self.group.number()
    }

    fn is_elsewhere(&self) -> bool {
        self.group.is_elsewhere()
    }

    fn most(&self) -> u32 {
        self.size()
    }

    fn is_incremental(&self) -> bool {
        self.incremental
    }

    fn taken(&self) -> Option<u16> {
        self.group.taken()
    }

    #[inline]
    fn publish(&self, buffer: u16, position: u16) {
        self.memory().publish(buffer, position);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("group", &self.group.number())
            .field("buffers", &self.buffers)
            .finish_non_exhaustive()
    }
}
