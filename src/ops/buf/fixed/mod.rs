//! Registered memory: buffers whose pages the ring holds, so that an op on them need not look them up.
//!
//! Knows: the table of one runtime, which slots are free, which part of the memory is whose. Does not know: entries.
//!
//! ```text
//!                    register                        split_at
//!  Memory, a slot ─────────────▶ FixedBuf, all of it ─────────▶ FixedBuf │ FixedBuf     no two parts overlap
//!    ▲      ▲                        │    ▲                         │          │
//!    │      │   unregister, replace  │    └───────── join ──────────┴──────────┤
//!    └──────┼────────────────────────┘                                         │
//!           └───────────── the last part goes ◀────────────────────────────────┘
//! ```
//!
//! A part is owned by the program or by an op, so no two ops ever fill the same bytes; and it holds the memory and the slot,
//! so neither is given back under an op.

mod error;
mod memory;
mod part;
mod pool;
mod region;
mod table;

pub use error::{RegisterError, RegisterErrorKind};
pub use memory::Memory;
pub use part::FixedBuf;
pub use pool::{FixedPool, FixedPoolBuf, TakeFixed};
pub use table::{BufferTable, SharedBuffers};
