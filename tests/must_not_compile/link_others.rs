//! Only what the kernel runs, and ends once, can be tied to what comes after it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use millstream::combinators::{OperationExt, ResultsExt, RingOperationExt, hard_link, link, when_any};
use millstream::{JoinHandle, Operation, chain, channel, ops, time};

/// Resolves when its last result is there: an op of many completions, as one would write it outside the crate.
struct Multishot;

impl Future for Multishot {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Operation for Multishot {
    fn request_cancel(self: Pin<&mut Self>) {}

    fn poll_discard(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

fn links(task: JoinHandle<()>) {
    let _ = link((ops::nop(), Multishot, ops::nop()));
    //~^ `Multishot` is not a ring operation, so it cannot be part of a chain
    //~^ an op with many completions has no place in a chain
    let _ = chain!(ops::nop() >> time::sleep(Duration::ZERO) >> ops::nop());
    //~^ `Sleep` is not a ring operation, so it cannot be part of a chain
    let _ = hard_link((ops::nop(), task));
    //~^ `millstream::JoinHandle<()>` is not a ring operation, so it cannot be part of a chain
    let _ = ops::nop() >> when_any((ops::nop(), ops::nop()));
    //~^ is not a ring operation, so it cannot be part of a chain
    let _ = ops::nop() >> ops::nop().timeout(Duration::ZERO);
    //~^ is not a ring operation, so it cannot be part of a chain
    //~^ to limit the time of a member, use `link_timeout`
    let _ = Multishot.drain();
    //~^ `Multishot` queues no entries whose flags could be set
}

fn multishots(listener: &ops::Fd, connections: channel::Sender<ops::Fd>) {
    let _ = link((ops::nop(), ops::accept_multishot(listener).will_push(connections), ops::nop()));
    //~^ is not a ring operation, so it cannot be part of a chain
    //~^ an op with many completions has no place in a chain
}

fn limits(task: JoinHandle<()>) {
    let soon = Duration::from_secs(1);
    let _ = ops::nop().link_timeout(soon).link_timeout(soon);
    //~^ the kernel cannot limit the time of
    //~^ `link_timeout` stands directly on an op, and once; `timeout` takes any operation
    let _ = task.link_timeout(soon);
    //~^ queues no entries whose flags could be set
}

fn main() {}
