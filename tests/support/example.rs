//! The example programs, as their users run them.
//!
//! Knows: where cargo puts them. Does not know: what they do.

use std::env;
use std::path::PathBuf;

/// The example program of that name, built for the same profile as the running test.
///
/// # Panics
///
/// When it is not there: `cargo test` builds the examples, `cargo test --test NAME` does not.
pub(crate) fn path(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    let profile =
        test.parent().and_then(|deps| deps.parent()).expect("cargo runs tests in target/PROFILE/deps");
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo build --example {name}` or all of `cargo test`",
        path.display()
    );
    path
}
