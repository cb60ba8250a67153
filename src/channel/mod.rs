//! Bounded channels.
