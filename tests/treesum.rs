//! The example `treesum`: the parts that need no ring, each with its own tests, and the program against `sha256sum`.

#[path = "../examples/treesum/arguments.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod arguments;
#[path = "../examples/treesum/names.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod names;
#[path = "../examples/treesum/sequence.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod sequence;
#[path = "../examples/treesum/walk.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod walk;
