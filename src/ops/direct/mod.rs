//! Direct descriptors: ops whose file comes into a slot of the ring's table, and goes out of it.
//!
//! Knows: entries that name a slot in place of a descriptor. Does not know: nodes, rings, which slots are free.

mod accept;
mod accepts;
mod close;
mod install;
mod open;
mod pipe;
mod slot;
mod socket;

pub use accept::{AcceptDirect, accept_direct};
pub use accepts::{AcceptDirectMultishot, accept_direct_multishot};
pub(crate) use close::close_slot;
pub use close::{CloseDirect, close_direct};
pub use install::{FixedFdInstall, fixed_fd_install};
pub(crate) use install::{can_install, install_entry};
pub use open::{OpenDirect, open_at_direct, open_direct};
pub use pipe::{Pipe, PipeDirect, pipe, pipe_direct};
pub use slot::DirectSlot;
pub use socket::{SocketDirect, socket_direct};
