//! The kernel does not run a pop, so it cannot start anything after it.

use millstream::channel::Receiver;
use millstream::combinators::link;
use millstream::ops::RingOperation;

fn read_then_pop(read: impl RingOperation, stop: &Receiver<()>) {
    let _ = link((read, stop.pop()));
    //~^ `millstream::channel::Pop<'_, ()>` is not a ring operation, so it cannot be part of a chain
    //~^ the kernel does not run this, so it cannot start anything after it
    //~^ await the others one after the other
}

fn main() {}
