//! `when_all` is no barrier inside a chain: the kernel knows chains, not joins.

use millstream::channel::Receiver;
use millstream::combinators::{Linked, Soft, WhenAll};
use millstream::ops::RingOperation;

fn chains<R: RingOperation>(chain: fn() -> Linked<(R,), Soft>, all: WhenAll<(R, R)>, stop: &Receiver<()>) {
    let _ = chain() >> all;
    //~^ `WhenAll<(R, R)>` is not a ring operation, so it cannot be part of a chain
    let _ = chain() >> stop.pop();
    //~^ `millstream::channel::Pop<'_, ()>` is not a ring operation, so it cannot be part of a chain
    let _ = stop.pop() >> chain();
    //~^ no implementation for `millstream::channel::Pop<'_, ()> >> Linked<(R,)>`
}

fn main() {}
