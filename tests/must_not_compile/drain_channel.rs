//! Flags are for entries of the submission queue.

use millstream::channel::Receiver;
use millstream::combinators::{RingOperationExt, when_all};
use millstream::ops::RingOperation;

fn mixed<R: RingOperation + Unpin>(read: R, stop: &Receiver<()>) {
    RingOperationExt::drain(Box::pin(stop.pop()));
    //~^ `Pin<Box<millstream::channel::Pop<'_, ()>>>` queues no entries whose flags could be set
    let _ = RingOperationExt::drain(when_all((read, Box::pin(stop.pop()))));
    //~^ queues no entries whose flags could be set
    //~^ in a mixed combinator, put the flag on the ring operations themselves
}

fn main() {}
