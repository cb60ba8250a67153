//! What became of each message: what its pusher was told, how often it arrived, how often it was dropped.
//!
//! Knows: nothing of channels. Does not know: who sends and who receives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

/// What a pusher knows of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Told {
    /// There is no such message.
    Nothing,
    /// It is in the channel or was.
    Pushed,
    /// It came back, or it was dropped by an arm that lost, which is as exact.
    Back,
    /// It was in a pending push that was dropped: pushed before, or dropped with it.
    Doubtful,
}

impl Told {
    fn from_u8(raw: u8) -> Self {
        [Self::Nothing, Self::Pushed, Self::Back, Self::Doubtful][usize::from(raw)]
    }
}

#[derive(Default)]
struct Row {
    told: AtomicU8,
    arrived: AtomicU8,
    dropped: AtomicU8,
}

pub(crate) struct Ledger {
    rows: Box<[Row]>,
    arrived: AtomicUsize,
}

/// A message. The text is there to be seen by a sanitizer if a message is read after it was dropped.
pub(crate) struct Message {
    pub(crate) id: usize,
    text: Box<usize>,
    ledger: Arc<Ledger>,
}

impl Drop for Message {
    fn drop(&mut self) {
        assert_eq!(*self.text, self.id);
        self.ledger.rows[self.id].dropped.fetch_add(1, Relaxed);
    }
}

impl Ledger {
    pub(crate) fn new(messages: usize) -> Arc<Self> {
        let rows = (0..messages).map(|_| Row::default()).collect();
        Arc::new(Self { rows, arrived: AtomicUsize::new(0) })
    }

    /// A new message, about which there is doubt until its pusher says what it was told.
    pub(crate) fn message(self: &Arc<Self>, id: usize) -> Message {
        self.told(id, Told::Doubtful);
        Message { id, text: Box::new(id), ledger: self.clone() }
    }

    pub(crate) fn told(&self, id: usize, told: Told) {
        self.rows[id].told.store(told as u8, Relaxed);
    }

    pub(crate) fn what_was_told(&self, id: usize) -> Told {
        Told::from_u8(self.rows[id].told.load(Relaxed))
    }

    /// A message came out of a channel.
    pub(crate) fn arrived(&self, message: &Message) {
        self.rows[message.id].arrived.fetch_add(1, Relaxed);
        self.arrived.fetch_add(1, Relaxed);
    }

    pub(crate) fn count(&self) -> usize {
        self.arrived.load(Relaxed)
    }

    /// Everybody is gone: each message must have arrived exactly as its pusher was told. A channel whose receivers left
    /// first dropped what was in it.
    pub(crate) fn judge(&self, receivers_left: bool) {
        for (id, row) in self.rows.iter().enumerate() {
            let (arrived, dropped) = (row.arrived.load(Relaxed), row.dropped.load(Relaxed));
            let told = Told::from_u8(row.told.load(Relaxed));
            let right = match told {
                Told::Pushed => arrived == 1 || arrived == 0 && receivers_left,
                Told::Doubtful => arrived <= 1,
                Told::Back | Told::Nothing => arrived == 0,
            };
            assert!(right, "message {id} arrived {arrived} times, its pusher was told {told:?}");
            let exists = u8::from(told != Told::Nothing);
            assert_eq!(dropped, exists, "times that message {id} ({told:?}, arrived {arrived}) was dropped");
        }
    }
}
