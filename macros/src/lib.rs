//! Attribute macros of `millstream`: `#[millstream::main]` and `#[millstream::test]`.
