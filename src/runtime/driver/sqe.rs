//! A submission queue entry as the rest of the crate passes it around.
//!
//! Knows: the 64 bytes of an entry. Does not know: queues, rings, nodes.
#![allow(unsafe_code, reason = "an entry written outside the crate is given as its 64 bytes")]

use io_uring::squeue::{Entry, Flags};

/// One submission queue entry: what an op asks of the kernel.
///
/// Ops of this crate build it with the `io-uring` crate's opcodes; an op written outside gives its 64 bytes.
/// `user_data` and the link flags are filled in when it is queued.
#[derive(Clone, Debug)]
#[repr(transparent)]
pub struct Sqe(pub(crate) Entry);

impl Sqe {
    /// An entry from the 64 bytes of a `struct io_uring_sqe`.
    ///
    /// `user_data` and all flags but `FIXED_FILE` and `BUFFER_SELECT` are overwritten when the entry is queued: links,
    /// drain and async are the op's, and an op needs its completion.
    pub fn from_bytes(mut bytes: [u8; 64]) -> Self {
        bytes[1] &= (Flags::FIXED_FILE | Flags::BUFFER_SELECT).bits(); // its second byte is the flags
        // SAFETY: `Entry` is `repr(C)` around `struct io_uring_sqe`, 64 bytes of integers: every bit pattern is valid.
        Self(unsafe { core::mem::transmute::<[u8; 64], Entry>(bytes) })
    }

    /// The opcode, `IORING_OP_*`.
    pub fn opcode(&self) -> u8 {
        self.0.get_opcode() as u8
    }

    /// Sets what the completion will carry.
    #[inline]
    pub(crate) fn user_data(self, user_data: u64) -> Self {
        Self(self.0.user_data(user_data))
    }

    /// Names a slot of registered memory, in an entry of an opcode whose maker has no room for one.
    pub(crate) fn in_slot(self, slot: u16) -> Self {
        const BUF_INDEX: usize = 40;
        // SAFETY: (local) the reverse of `from_bytes`: 64 bytes of integers, without padding.
        let mut bytes = unsafe { core::mem::transmute::<Entry, [u8; 64]>(self.0) };
        bytes[BUF_INDEX..BUF_INDEX + 2].copy_from_slice(&slot.to_ne_bytes());
        Self::from_bytes(bytes)
    }

    /// Adds flags to the entry.
    #[inline]
    pub(crate) fn flags(self, flags: Flags) -> Self {
        Self(self.0.flags(flags))
    }
}

impl From<Entry> for Sqe {
    #[inline]
    fn from(entry: Entry) -> Self {
        Self(entry)
    }
}
