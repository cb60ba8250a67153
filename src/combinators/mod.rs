//! What combines operations.
pub mod adapters {
    //! The only place where ops, channels and tasks meet.
}
