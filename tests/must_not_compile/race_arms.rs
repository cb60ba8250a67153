//! What a race does not take.

use millstream::channel::Receiver;
use millstream::race;

fn races(a: &Receiver<()>) {
    let _ = race!();
    //~^ nothing to combine: `race!(a || b)`
    let _ = race!(a.pop());
    //~^ one arm is nothing to combine: separate two or more with `||`, as in `race!(a || b)`
    let _ = race!((a.pop() || a.pop()) || a.pop());
    //~^ `||` in parentheses is the operator on `bool`: to nest, write `race!(a || b)` here
    let _ = race!(a.pop() && a.pop());
    //~^ one arm is nothing to combine: separate two or more with `||`
}

fn main() {}
