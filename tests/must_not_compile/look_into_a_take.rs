//! A second hold on a relay's bytes is for the kernel: an op may be filling them.

use millstream::ops::{BufExt, Relay};

fn looks(relay: &Relay<Vec<u8>>) {
    let _ = relay.take().slice(1..)[0];
    //~^ cannot index into a value of type
    let _ = relay.take()[0];
    //~^ cannot index into a value of type
    let _ = millstream::ops::read(std::fs::File::open("x").unwrap(), relay.take());
    //~^ is not a buffer that an op can fill
}

fn main() {}
