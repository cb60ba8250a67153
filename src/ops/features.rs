//! What the kernel of a runtime was found to lack although it knows the opcode.
//!
//! Knows: names of abilities, the bit set that a runtime keeps of them. Does not know: which op uses which.
//!
//! Opcodes are asked for when the ring is built. Flags of an opcode cannot be asked for: whoever uses one finds out from the
//! answer, notes it here, and whoever comes next on this runtime does not try. Nothing depends on a kernel's version, unless
//! it is by an answer that never comes.

use io_uring::opcode;

use crate::runtime::context;
use crate::runtime::driver::Sqe;

/// An ability of the kernel that no probe tells of.
///
/// For tests of this crate, which pretend an older kernel: see [`Builder::without_features`].
///
/// [`Builder::without_features`]: crate::runtime::Builder::without_features
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Feature {
    /// `IORING_ACCEPT_MULTISHOT`, Linux 5.19.
    AcceptMultishot,
    /// `IORING_POLL_ADD_MULTI`, Linux 5.13.
    PollMultishot,
    /// `IORING_TIMEOUT_MULTISHOT`, Linux 6.4.
    TimeoutMultishot,
    /// `IORING_RECV_MULTISHOT` of `recv`, Linux 6.0.
    RecvMultishot,
    /// `IORING_RECV_MULTISHOT` of `recvmsg`, Linux 6.0.
    RecvmsgMultishot,
    /// `IORING_OP_READ_MULTISHOT`, Linux 6.7.
    ReadMultishot,
    /// `IORING_RECVSEND_BUNDLE` of `recv`, Linux 6.10.
    RecvBundle,
    /// `IORING_RECVSEND_BUNDLE` of `send`, Linux 6.10.
    SendBundle,
    /// `IOU_PBUF_RING_INC`, Linux 6.12.
    IncrementalBuffers,
    /// `IORING_OP_SEND_ZC`, Linux 6.0.
    SendZc,
    /// `IORING_OP_SENDMSG_ZC`, Linux 6.1.
    SendmsgZc,
    /// `IORING_SEND_ZC_REPORT_USAGE`, Linux 6.2.
    UsageReport,
    /// `IORING_OP_READV_FIXED` and `IORING_OP_WRITEV_FIXED`, Linux 6.15.
    VectoredFixed,
    /// `IORING_REGISTER_CLONE_BUFFERS`, Linux 6.12.
    CloneBuffers,
    /// `IORING_OP_FIXED_FD_INSTALL`, Linux 6.8.
    FixedFdInstall,
    /// `IORING_OP_PIPE`, Linux 6.16.
    Pipe,
    /// `IOSQE_IO_DRAIN` on a ring that makes notifications, Linux 6.16.
    DrainBesideZeroCopy,
}

impl Feature {
    /// Its place in the set of a runtime.
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// Whether it is worth to try: nobody on this runtime has found that the kernel lacks it.
    pub(crate) fn may_be_there(self) -> bool {
        context::with(|core| core.is_none_or(|core| core.lacking.get() & self.bit() == 0))
    }

    /// The kernel has refused it: nobody on this runtime need try again.
    #[cold]
    pub(crate) fn is_missing(self) {
        context::with(|core| {
            core.into_iter().for_each(|core| core.lacking.set(core.lacking.get() | self.bit()));
        });
    }

    /// Whether this runtime is to pretend that its kernel lacks it.
    pub(crate) fn is_hidden(self) -> bool {
        context::with(|core| core.is_some_and(|core| core.config.hidden_features & self.bit() != 0))
    }

    /// An entry that needs the ability; where it is hidden, one that the kernel refuses with `EINVAL`, as one that lacks it
    /// would.
    pub(crate) fn entry(self, entry: Sqe) -> Sqe {
        if self.is_hidden() { refused() } else { entry }
    }
}

/// An entry is to be queued that makes a notification: before Linux 6.16 the kernel loses count of what a drain waits for by it.
///
/// No answer tells, since what is drained then has none. The opcode came with the release that counts well.
pub(crate) fn makes_notification() {
    let hidden = Feature::DrainBesideZeroCopy.is_hidden();
    context::with(|core| {
        if let Some(core) = core
            && (hidden || !core.inflight.supports(opcode::Pipe::CODE))
        {
            core.inflight.keep_drains();
        }
    });
}

/// Whether sends can take buffers from a ring, and several at once. The kernel says so when the ring is built.
pub(crate) fn sends_bundles() -> bool {
    !Feature::SendBundle.is_hidden()
        && context::with(|core| core.is_some_and(|core| core.inflight.sends_bundles()))
}

/// An entry that no kernel knows.
#[cold]
fn refused() -> Sqe {
    let mut bytes = [0; 64];
    bytes[0] = u8::MAX; // the opcode
    Sqe::from_bytes(bytes)
}

/// Whether a failure may mean that the kernel lacks a flag or the opcode. It may also mean that something else of the entry
/// is wrong, so whoever asks tries without the flag before it concludes.
pub(crate) fn may_be_lacking(error: &std::io::Error) -> bool {
    match error.raw_os_error() {
        Some(errno) => errno == libc::EINVAL,
        None => error.kind() == std::io::ErrorKind::Unsupported, // an opcode that the kernel has never heard of
    }
}
