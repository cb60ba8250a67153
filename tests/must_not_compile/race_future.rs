//! A future cannot be asked to stop; an operation can.

use millstream::channel::Receiver;
use millstream::combinators::when_all;
use millstream::race;

fn first(stop: &Receiver<()>) {
    let _ = race!(async { 1 } || stop.pop());
    //~^ is not an operation
    //~^ any future becomes an operation with `millstream::combinators::adapters::future(…)`
    let _ = when_all(vec![std::future::ready(1)]);
    //~^ `std::future::Ready<{integer}>` is not an operation
    let _ = when_all(1);
    //~^ `{integer}` is not a set of operations
    //~^ expected a tuple of 1 to 16 operations, an array, a `Vec` or an iterator of operations
}

fn main() {}
