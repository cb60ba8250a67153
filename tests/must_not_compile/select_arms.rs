//! Arms of a `select!` that would lose something, or cannot be meant.

use millstream::channel::{Receiver, Sender, broadcast};
use millstream::{ops, select};

async fn push(tx: &Sender<u8>, rx: &Receiver<u8>) {
    select! {
        _ = tx.push(1) => {}
        //~^ the value of this push would be lost when another arm wins
        //~^ keep the value until it is pushed: `pushed = sender.push_from(&mut option) => …`
        //~^ or make it when there is room: `permit = sender.reserve() => permit?.push(value)?`
        _ = rx.pop() => {}
    }
}

async fn lag(rx: &mut broadcast::Receiver<u8>, file: &ops::Fd) {
    select! {
        Ok(_) = rx.pop() => {}
        //~^ this arm's error would be lost: match the whole outcome
        Ok(_) = ops::fsync(file) => {}
        //~^ this arm's error would be lost: match the whole outcome
        complete => {}
    }
}

async fn future(rx: &Receiver<u8>) {
    select! {
        _ = async { 1 } => {}
        //~^ is not an operation
        //~^ any future becomes an operation with `millstream::combinators::adapters::future(…)`
        _ = rx.pop() => {}
    }
}

async fn refutable(rx: &Receiver<Option<u8>>) {
    select! {
        Ok(Some(_)) = rx.pop() => {}
        //~^ refutable pattern in local binding
        complete => {}
    }
    select! {
        Err(_) = rx.pop() => {}
        //~^ refutable pattern in local binding
    }
}

async fn grammar(rx: &Receiver<u8>, yes: bool) {
    select! {}
    //~^ `select!` without an arm
    select! { Ok(_) = rx.pop() => {} _ = rx.pop(), if yes => {} }
    //~^ say what happens then with `complete => …`
    select! { _ = rx.pop() => {} complete => {} }
    //~^ this never happens
    select! { _ = rx.pop() if yes => {} _ = rx.pop() => {} }
    //~^ a guard stands behind a comma
    select! { default => {} default => {} }
    //~^ a second `default`
    select! { rx.pop() => {} }
    //~^ expected
    select! { _ = rx.pop() => 1 _ = rx.pop() => 2 }
    //~^ expected a comma between two arms
}

fn main() {}
