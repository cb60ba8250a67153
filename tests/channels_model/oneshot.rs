//! `oneshot`: one value, and who waits for it or for the end of the wait.
//!
//! Knows: its ends and futures, and what they should do. Does not know: how they do it.

use std::task::{Context, Poll};

use millstream::Operation;
use millstream::channel::oneshot::{Closed, Pop, Receiver, Sender};
use millstream::channel::{PopError, PushError, TryPopError, oneshot};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};

use crate::check;
use crate::parts::{Census, Lent, Token, Wakes};

#[derive(Clone, Debug)]
enum Step {
    Push,
    DropSender,
    /// `closed()`: begins, or is polled.
    Closed {
        new_waker: bool,
    },
    CancelClosed,
    DropClosed,
    /// `pop()`: begins, or is polled.
    Pop {
        new_waker: bool,
    },
    CancelPop,
    DropPop,
    DiscardPop,
    /// The receiver itself as the future.
    PollReceiver {
        new_waker: bool,
    },
    CancelReceiver,
    TryPop,
    Close,
    DropReceiver,
}

fn step() -> impl Strategy<Value = Step> {
    let one = |step: Step| proptest::strategy::Just(step);
    prop_oneof![
        2 => one(Step::Push),
        1 => one(Step::DropSender),
        4 => any::<bool>().prop_map(|new_waker| Step::Closed { new_waker }),
        1 => one(Step::CancelClosed),
        1 => one(Step::DropClosed),
        6 => any::<bool>().prop_map(|new_waker| Step::Pop { new_waker }),
        2 => one(Step::CancelPop),
        2 => one(Step::DropPop),
        1 => one(Step::DiscardPop),
        4 => any::<bool>().prop_map(|new_waker| Step::PollReceiver { new_waker }),
        1 => one(Step::CancelReceiver),
        3 => one(Step::TryPop),
        1 => one(Step::Close),
        1 => one(Step::DropReceiver),
    ]
}

#[test]
fn oneshot_does_what_the_model_says() {
    check(20_000, &vec(step(), 1..24), |steps| World::new().run(steps));
}

/// Whom a wake is for.
const SENDER: usize = 0;
const RECEIVER: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// The value is there.
    Pushed,
    Taken,
    /// No value was pushed, and none will be.
    Closed,
}

enum Tx {
    Idle(Sender<Token>),
    Waiting(Lent<Closed<'static, Token>, Sender<Token>>),
    Gone,
}

enum Rx {
    Idle(Receiver<Token>),
    Waiting { pop: Lent<Pop<'static, Token>, Receiver<Token>>, was_polled: bool, asked: Asked },
    Gone,
}

/// What a request to stop found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    /// Nothing: the answer is "cancelled", whatever comes later.
    Early,
    /// An outcome: that is the answer. Of a pop that had not begun, so is "cancelled".
    Late,
}

struct World {
    tx: Tx,
    rx: Rx,
    stage: Stage,
    /// The receiver has closed or is gone.
    unwanted: bool,
    /// The receiver as a future was asked to stop.
    asked: bool,
    /// Who will be woken, by the newest waker.
    waits: [bool; 2],
    generation: [usize; 2],
    expected: Vec<(usize, usize)>,
    census: Census,
    wakes: Wakes,
}

fn said(result: Result<Token, PopError>) -> Result<u64, PopError> {
    result.map(|token| token.id)
}

impl World {
    fn new() -> Self {
        let (tx, rx) = oneshot();
        Self {
            tx: Tx::Idle(tx),
            rx: Rx::Idle(rx),
            stage: Stage::Open,
            unwanted: false,
            asked: false,
            waits: [false; 2],
            generation: [0; 2],
            expected: Vec::new(),
            census: Census::default(),
            wakes: Wakes::default(),
        }
    }

    fn run(mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(step);
            self.audit();
        }
        for step in [Step::DropPop, Step::DropReceiver, Step::DropClosed, Step::DropSender] {
            self.step(step);
            self.audit();
        }
        assert_eq!(self.census.alive(), 0, "a value is left when nobody is left to have it");
    }

    /// What happens to one side is what the other may wait for.
    fn tell(&mut self, whom: usize) {
        if std::mem::take(&mut self.waits[whom]) {
            self.expected.push((whom, self.generation[whom]));
        }
    }

    fn waker(&mut self, who: usize, new: bool) -> std::task::Waker {
        self.generation[who] += usize::from(new);
        self.wakes.waker(who, self.generation[who])
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push => {
                let Some(sender) = self.sender() else { return };
                self.waits[SENDER] = false;
                let result = sender.push(self.census.token(1)).map_err(PushError::into_inner);
                if self.unwanted {
                    assert_eq!(
                        result.map_err(|token| token.id),
                        Err(1),
                        "a push that nobody wants comes back"
                    );
                } else {
                    assert!(result.is_ok(), "a push that is wanted succeeds");
                    self.stage = Stage::Pushed;
                }
                self.tell(RECEIVER);
            }
            Step::DropSender => {
                if let Some(sender) = self.sender() {
                    self.waits[SENDER] = false;
                    drop(sender);
                    if self.stage == Stage::Open {
                        self.stage = Stage::Closed;
                    }
                    self.tell(RECEIVER);
                }
            }
            Step::Closed { new_waker } => self.poll_closed(new_waker),
            Step::CancelClosed => {
                if let Tx::Waiting(closed) = &mut self.tx {
                    closed.future().request_cancel();
                    self.tell(SENDER);
                    let cx = &mut Context::from_waker(std::task::Waker::noop());
                    assert!(closed_is_ready(&mut self.tx, cx), "it was asked to stop");
                    self.tx_back();
                }
            }
            Step::DropClosed => self.tx_back(),
            Step::Pop { new_waker } => self.poll_pop(new_waker),
            Step::CancelPop => self.cancel_pop(),
            Step::DropPop => self.rx_back(),
            Step::DiscardPop => {
                if let Rx::Waiting { pop, .. } = &mut self.rx {
                    let cx = &mut Context::from_waker(std::task::Waker::noop());
                    assert!(pop.future().poll_discard(cx).is_ready());
                    self.rx_back();
                }
            }
            Step::PollReceiver { new_waker } => self.poll_receiver(new_waker),
            Step::CancelReceiver => {
                if let Rx::Idle(receiver) = &mut self.rx {
                    std::pin::Pin::new(receiver).request_cancel();
                    self.asked = true;
                    self.tell(RECEIVER);
                }
            }
            Step::TryPop => {
                if let Rx::Idle(receiver) = &mut self.rx {
                    let popped = receiver.try_pop().map(|token| token.id);
                    let expected = self
                        .outcome()
                        .map_or(Err(TryPopError::Empty), |now| now.map_err(|_| TryPopError::Closed));
                    assert_eq!(popped, expected, "the outcome of try_pop");
                    self.taken(popped.is_ok());
                }
            }
            Step::Close => {
                if let Rx::Idle(receiver) = &mut self.rx {
                    assert_eq!(receiver.close(), self.stage == Stage::Open, "whether this call closed it");
                    self.unwant();
                }
            }
            Step::DropReceiver => {
                if let Rx::Idle(_) = &self.rx {
                    self.rx = Rx::Gone;
                    self.waits[RECEIVER] = false;
                    self.taken(self.stage == Stage::Pushed);
                    self.unwant();
                }
            }
        }
    }

    fn unwant(&mut self) {
        if self.stage == Stage::Open {
            self.stage = Stage::Closed;
        }
        if !std::mem::replace(&mut self.unwanted, true) {
            self.tell(SENDER);
        }
    }

    fn taken(&mut self, taken: bool) {
        if taken {
            self.stage = Stage::Taken;
        }
    }

    /// What a pop resolves to now, if it does.
    fn outcome(&self) -> Option<Result<u64, PopError>> {
        match self.stage {
            Stage::Open => None,
            Stage::Pushed => Some(Ok(1)),
            Stage::Taken | Stage::Closed => Some(Err(PopError::Closed)),
        }
    }

    fn sender(&mut self) -> Option<Sender<Token>> {
        self.tx_back();
        match std::mem::replace(&mut self.tx, Tx::Gone) {
            Tx::Idle(sender) => Some(sender),
            _ => None,
        }
    }

    fn tx_back(&mut self) {
        self.tx = match std::mem::replace(&mut self.tx, Tx::Gone) {
            Tx::Waiting(closed) => {
                self.waits[SENDER] = false;
                Tx::Idle(closed.give_back())
            }
            other => other,
        };
    }

    fn rx_back(&mut self) {
        self.rx = match std::mem::replace(&mut self.rx, Rx::Gone) {
            Rx::Waiting { pop, .. } => {
                self.waits[RECEIVER] = false;
                Rx::Idle(pop.give_back())
            }
            other => other,
        };
    }

    fn poll_closed(&mut self, new_waker: bool) {
        self.tx = match std::mem::replace(&mut self.tx, Tx::Gone) {
            Tx::Idle(sender) => Tx::Waiting(Lent::new(sender, |sender| sender.closed())),
            other => other,
        };
        if let Tx::Waiting(_) = &self.tx {
            let waker = self.waker(SENDER, new_waker);
            let ready = closed_is_ready(&mut self.tx, &mut Context::from_waker(&waker));
            assert_eq!(ready, self.unwanted, "closed()");
            self.waits[SENDER] = !ready;
            if ready {
                self.tx_back();
            }
        }
    }

    fn poll_pop(&mut self, new_waker: bool) {
        self.rx = match std::mem::replace(&mut self.rx, Rx::Gone) {
            Rx::Idle(receiver) => Rx::Waiting {
                pop: Lent::new(receiver, |receiver| receiver.pop()),
                was_polled: false,
                asked: Asked::No,
            },
            other => other,
        };
        let waker = self.waker(RECEIVER, new_waker);
        let now = self.outcome();
        let Rx::Waiting { pop, was_polled, asked } = &mut self.rx else { return };
        let polled = match pop.future().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => Some(said(result)),
            Poll::Pending => None,
        };
        match asked {
            Asked::No => assert_eq!(polled, now, "the outcome of a pop"),
            Asked::Early => {
                assert_eq!(polled, Some(Err(PopError::Cancelled)), "a pop that was asked to stop")
            }
            Asked::Late => {
                let never_began = !*was_polled && polled == Some(Err(PopError::Cancelled));
                assert!(
                    never_began || polled == now,
                    "a pop that was asked to stop too late: {polled:?}, {now:?}"
                );
            }
        }
        *was_polled = true;
        self.waits[RECEIVER] = polled.is_none();
        self.taken(polled == Some(Ok(1)));
        if polled.is_some() {
            self.rx_back();
        }
    }

    fn cancel_pop(&mut self) {
        if matches!(self.rx, Rx::Idle(_)) && self.waits[RECEIVER] {
            return; // the receiver waits as a future: a pop that never began has no say about that wake
        }
        self.rx = match std::mem::replace(&mut self.rx, Rx::Gone) {
            Rx::Idle(receiver) => Rx::Waiting {
                pop: Lent::new(receiver, |receiver| receiver.pop()),
                was_polled: false,
                asked: Asked::No,
            },
            other => other,
        };
        let settled = self.outcome().is_some();
        let Rx::Waiting { pop, asked, .. } = &mut self.rx else { return };
        pop.future().request_cancel();
        if *asked == Asked::No {
            *asked = if settled { Asked::Late } else { Asked::Early };
        }
        self.tell(RECEIVER);
    }

    fn poll_receiver(&mut self, new_waker: bool) {
        if !matches!(self.rx, Rx::Idle(_)) {
            return;
        }
        let waker = self.waker(RECEIVER, new_waker);
        let now = self.outcome();
        let Rx::Idle(receiver) = &mut self.rx else { return };
        let polled = match std::pin::Pin::new(receiver).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => Some(said(result)),
            Poll::Pending => None,
        };
        let asked = std::mem::take(&mut self.asked);
        let expected = if asked { now.or(Some(Err(PopError::Cancelled))) } else { now };
        assert_eq!(polled, expected, "the receiver as a future");
        self.waits[RECEIVER] = polled.is_none();
        self.taken(polled == Some(Ok(1)));
    }

    fn audit(&mut self) {
        assert_eq!(self.wakes.take(), std::mem::take(&mut self.expected), "who was woken");
        assert_eq!(self.census.alive(), usize::from(self.stage == Stage::Pushed), "values that exist");
        if let Tx::Idle(sender) = &self.tx {
            assert_eq!(sender.is_closed(), self.unwanted);
        }
        if let Rx::Idle(receiver) = &self.rx {
            assert_eq!(receiver.is_closed(), self.stage != Stage::Open);
            assert_eq!(receiver.is_empty(), self.stage != Stage::Pushed);
        }
    }
}

fn closed_is_ready(tx: &mut Tx, cx: &mut Context<'_>) -> bool {
    match tx {
        Tx::Waiting(closed) => closed.future().poll(cx).is_ready(),
        _ => false,
    }
}
