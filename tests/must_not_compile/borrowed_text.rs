//! Text may be sent from where it lies only if it lies there for ever.

use millstream::ops::{self, Fd};

fn loans(file: &Fd, text: &str) {
    let _ = ops::write(file, text);
    //~^ borrowed data escapes outside of function
}

fn main() {}
