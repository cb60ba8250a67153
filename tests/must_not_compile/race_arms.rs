//! What a race does not take.

use millstream::channel::{Pop, Receiver};
use millstream::combinators::{parallel_any, when_any};
use millstream::race;

fn races(a: &Receiver<()>) {
    let _ = race!();
    //~^ nothing to combine: `race!(a || b)`
    let _ = race!(a.pop());
    //~^ one arm is nothing to combine: separate two or more with `||`, as in `race!(a || b)`
    let _ = race!((a.pop() || a.pop()) || a.pop());
    //~^ `||` in parentheses is the operator on `bool`: to nest, write `race!(a || b)` here
    let _ = race!(a.pop(), a.pop());
    //~^ arms are separated by `||`, as in `race!(a || b)`
    let _ = race!(a.pop() && a.pop());
    //~^ one arm is nothing to combine: separate two or more with `||`
}

fn nothing() {
    let _ = when_any(());
    //~^ `()` cannot race
    let _ = parallel_any(());
    //~^ `()` cannot race
    //~^ expected a tuple of 2 to 16 operations, an array or a `Vec`
}

fn too_many(a: fn() -> Pop<'static, ()>) {
    let _ = when_any((a(), a(), a(), a(), a(), a(), a(), a(), a(), a(), a(), a(), a(), a(), a(), a(), a()));
    //~^ is not a set of operations
    //~^ more than 16 arms: nest combinators, or use a `Vec`
}

fn main() {}
