//! Operators combine sixteen operations, and the seventeenth is told so.

use millstream::channel::Receiver;
use millstream::ops;

async fn all(r: &Receiver<()>) {
    let sixteen = r.pop() & r.pop() & r.pop() & r.pop() & r.pop() & r.pop() & r.pop() & r.pop()
        & r.pop() & r.pop() & r.pop() & r.pop() & r.pop() & r.pop() & r.pop() & r.pop();
    (sixteen & r.pop()).await;
    //~^ `MoreThan16Operands<WhenAll<...>>` is not a future
}

async fn any(r: &Receiver<()>) {
    let sixteen = r.pop() | r.pop() | r.pop() | r.pop() | r.pop() | r.pop() | r.pop() | r.pop()
        | r.pop() | r.pop() | r.pop() | r.pop() | r.pop() | r.pop() | r.pop() | r.pop();
    (sixteen | r.pop() | r.pop()).await;
    //~^ `MoreThan16Operands<WhenAny<...>>` is not a future
}

fn chain(r: &Receiver<()>) {
    let sixteen = ops::nop() >> ops::nop() >> ops::nop() >> ops::nop() >> ops::nop() >> ops::nop()
        >> ops::nop() >> ops::nop() >> ops::nop() >> ops::nop() >> ops::nop() >> ops::nop()
        >> ops::nop() >> ops::nop() >> ops::nop() >> ops::nop();
    let _ = r.pop() & (sixteen >> ops::nop());
    //~^ `MoreThan16Operands<Linked<...>>` is not an operation
}

fn main() {}
