//! Where a descriptor's count is plain: on the runtime that cloned it first.
//!
//! Knows: which runtime runs on this thread, the registry of runtimes. Does not know: descriptors.
#![allow(unsafe_code, reason = "implements the unsafe trait behind the biased count")]

use crate::runtime::RuntimeId;
use crate::runtime::context;
use crate::runtime::registry::{self, Remote};
use crate::util::biased::{Home, Message};
use crate::util::thread_number;

/// All runtimes of the process.
pub(super) struct Runtimes;

// SAFETY: (I5) a runtime's id is given out once in the life of the process, and `context` knows it only on the
// runtime's own thread. The registry's entry refuses a message only after that thread has left the runtime for the
// last time, under the lock it is asked under, and hands every message it took to that thread.
unsafe impl Home for Runtimes {
    #[inline]
    fn here() -> u64 {
        context::with(|core| core.map_or(0, |core| core.id.as_u64()))
    }

    fn thread() -> u64 {
        thread_number::current()
    }

    #[cold]
    fn post(owner: u64, message: Message) -> Result<(), Message> {
        let owner = RuntimeId::from_u64(owner);
        match registry::entry_of(owner).post(owner, Remote::Settle(message)) {
            Ok(()) => Ok(()),
            Err(Remote::Settle(message)) => Err(message),
            Err(_) => unreachable!("a refused message comes back as it was"),
        }
    }
}
