//! The objects a round plays with, and their other sides: pipes, sockets, listeners, channels, tasks.
//!
//! Knows: std's side of each, nonblocking, and the ends of channels. Does not know: trees.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::channel::{self, TryPopError, local, oneshot, spsc};
use millstream::combinators::OperationExt;
use millstream::ops::{self, Fd};

use crate::ledger::{LeafRecord, Ledger, Message, Stage, Where};
use crate::raw::{self, Nonblocking};
use crate::support::Rng;

/// What is there comes sooner.
const LATE: Duration = Duration::from_secs(20);

/// At most so many bytes go through a stream, so that each tells its place.
const STREAM: usize = 250;

/// A stream that we read and the other side writes.
pub(crate) struct Incoming {
    pub(crate) fd: Fd,
    pub(crate) is_socket: bool,
    peer: RefCell<Option<Nonblocking>>,
    sent: Cell<usize>,
    /// The stretches that were delivered: where each begins, and how long it is.
    delivered: RefCell<Vec<(usize, usize)>>,
    /// Leaves that read it.
    pub(crate) readers: RefCell<Vec<usize>>,
    /// Two of them were in flight at once: such have no order between them.
    unordered: Cell<bool>,
}

/// A stream that we write and the other side reads.
pub(crate) struct Outgoing {
    pub(crate) fd: Fd,
    pub(crate) is_socket: bool,
    peer: Nonblocking,
    /// Every byte that came, but for the filling.
    seen: RefCell<Vec<u8>>,
    writes: RefCell<Vec<Written>>,
}

/// A write of our side: every byte of it is its stamp.
struct Written {
    leaf: usize,
    stamp: u8,
    len: usize,
    /// How many bytes it said it wrote.
    said: Option<usize>,
}

/// A listener that we accept on and the other side connects to.
pub(crate) struct Listening {
    pub(crate) fd: Fd,
    address: SocketAddr,
    clients: RefCell<Vec<UnixStream>>,
    accepted: RefCell<Vec<u8>>,
}

/// A listener of the other side that we connect to.
pub(crate) struct Called {
    pub(crate) name: String,
    listener: UnixListener,
    /// Connects that said they stand; and those that may.
    pub(crate) stand: Cell<usize>,
}

/// A channel with any number of ends, both of which are everybody's.
pub(crate) enum Queue {
    Bounded(channel::Sender<Message>, channel::Receiver<Message>),
    Local(local::Sender<Message>, local::Receiver<Message>),
}

fn blocks(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

impl Incoming {
    fn new(is_socket: bool) -> io::Result<Self> {
        let (fd, peer) = if is_socket {
            let (ours, peer) = UnixStream::pair()?;
            (OwnedFd::from(ours), Nonblocking::socket(peer))
        } else {
            let (ours, peer) = io::pipe()?;
            (OwnedFd::from(ours), Nonblocking::pipe(peer.into()))
        };
        Ok(Self {
            fd: fd.into(),
            is_socket,
            peer: RefCell::new(Some(peer)),
            sent: Cell::new(0),
            delivered: RefCell::default(),
            readers: RefCell::default(),
            unordered: Cell::new(false),
        })
    }

    /// One of the readers is about to start.
    pub(crate) fn begin(&self, ledger: &Ledger) {
        if self.readers.borrow().iter().any(|leaf| ledger.stage(*leaf) == Stage::Started) {
            self.unordered.set(true);
        }
    }

    /// The other side writes some bytes.
    pub(crate) fn feed(&self, count: usize) {
        let peer = self.peer.borrow();
        let Some(peer) = &*peer else { return };
        let sent = self.sent.get();
        let bytes: Vec<u8> = (sent..STREAM.min(sent + count)).map(|place| place as u8).collect();
        if !bytes.is_empty() {
            assert_eq!(peer.write(&bytes).expect("there is room"), bytes.len());
            self.sent.set(sent + bytes.len());
        }
    }

    /// The other side goes.
    pub(crate) fn close(&self) {
        *self.peer.borrow_mut() = None;
    }

    pub(crate) fn deliver(&self, bytes: &[u8]) {
        let Some(first) = bytes.first() else {
            assert!(self.peer.borrow().is_none(), "an end that is none");
            return;
        };
        let from = usize::from(*first);
        for (place, byte) in (from..).zip(bytes) {
            assert_eq!(usize::from(*byte), place, "within a read, bytes are in order");
        }
        self.delivered.borrow_mut().push((from, bytes.len()));
    }

    /// Reads what is left, and checks that every byte came once, and those that were left in order.
    async fn settle(&self) {
        self.close();
        let mut left = vec![];
        loop {
            let (n, buf) = if self.is_socket {
                ops::recv(&self.fd, vec![0; 7]).await
            } else {
                ops::read(&self.fd, vec![0; 7]).await
            };
            let n = n.expect("what is left, or the end");
            if n == 0 {
                break;
            }
            left.extend_from_slice(&buf[..n]);
        }
        let mut all: Vec<usize> =
            self.delivered.borrow().iter().flat_map(|(from, len)| *from..from + len).collect();
        all.extend(left.iter().map(|byte| usize::from(*byte)));
        if self.unordered.get() {
            all.sort_unstable();
        }
        assert!(
            all.iter().copied().eq(0..self.sent.get()),
            "{} bytes were sent, lost, doubled or out of order; delivered {:?}, left {left:?}",
            self.sent.get(),
            self.delivered.borrow()
        );
    }
}

impl Outgoing {
    fn new(is_socket: bool) -> io::Result<Self> {
        let (fd, peer) = if is_socket {
            let (ours, peer) = UnixStream::pair()?;
            raw::make_small(ours.as_raw_fd(), true);
            ours.set_nonblocking(true)?;
            while match (&mut &ours).write(&[0; 512]) {
                Ok(_) => true,
                Err(error) if blocks(&error) => false,
                Err(error) => return Err(error),
            } {}
            ours.set_nonblocking(false)?;
            (OwnedFd::from(ours), Nonblocking::socket(peer))
        } else {
            let (peer, ours) = io::pipe()?;
            raw::make_small(ours.as_raw_fd(), false);
            (&mut &ours).write_all(&[0; 4096])?;
            (OwnedFd::from(ours), Nonblocking::pipe(peer.into()))
        };
        Ok(Self { fd: fd.into(), is_socket, peer, seen: RefCell::default(), writes: RefCell::default() })
    }

    /// A write that will be: its bytes.
    pub(crate) fn stamp(&self, leaf: usize, len: usize) -> Vec<u8> {
        let mut writes = self.writes.borrow_mut();
        let stamp = writes.len() as u8 + 1;
        writes.push(Written { leaf, stamp, len, said: None });
        vec![stamp; len]
    }

    pub(crate) fn wrote(&self, leaf: usize, count: usize) {
        let mut writes = self.writes.borrow_mut();
        let write = writes.iter_mut().find(|write| write.leaf == leaf).expect("stamped");
        assert!(write.said.replace(count).is_none());
    }

    /// The other side reads whatever is there.
    pub(crate) fn consume(&self) {
        let mut bytes = [0; 4096];
        loop {
            match self.peer.read(&mut bytes) {
                Ok(0) => return,
                Ok(n) => self.seen.borrow_mut().extend(bytes[..n].iter().filter(|byte| **byte != 0)),
                Err(error) if blocks(&error) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn settle(&self, ledger: &Ledger) {
        self.consume();
        let seen = self.seen.borrow();
        for Written { leaf, stamp, len, said } in self.writes.borrow().iter() {
            let came = seen.iter().filter(|byte| *byte == stamp).count();
            let leaf = &ledger.leaves.borrow()[*leaf];
            match said {
                Some(said) => assert_eq!(came, *said, "{leaf:?}: what the write said, and what came"),
                None => assert!(came == 0 || came == *len, "{leaf:?}: {came} of {len} bytes came"),
            }
            let started = !matches!(leaf.stage, Stage::Fresh | Stage::DroppedFresh);
            assert!(came == 0 || started, "{leaf:?} was never polled, and {came} bytes came");
        }
    }
}

fn abstract_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("millstream-trees-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Listening {
    fn new() -> io::Result<Self> {
        let address = SocketAddr::from_abstract_name(abstract_name())?;
        let listener = UnixListener::bind_addr(&address)?;
        Ok(Self {
            fd: OwnedFd::from(listener).into(),
            address,
            clients: RefCell::default(),
            accepted: RefCell::default(),
        })
    }

    /// The other side connects, and says which of its connections it is.
    pub(crate) fn connect(&self) {
        let mut clients = self.clients.borrow_mut();
        let mut client = UnixStream::connect_addr(&self.address).expect("the backlog has room");
        client.write_all(&[clients.len() as u8]).expect("room for a byte");
        clients.push(client);
    }

    pub(crate) fn accepted(&self, connection: Fd) {
        let connection = connection.try_into_owned().expect("nothing else uses it");
        let mut number = [0];
        UnixStream::from(connection).read_exact(&mut number).expect("it said so when it connected");
        let mut accepted = self.accepted.borrow_mut();
        assert!(!accepted.contains(&number[0]), "connection {} came twice", number[0]);
        accepted.push(number[0]);
    }

    async fn settle(&self) {
        while self.accepted.borrow().len() < self.clients.borrow().len() {
            let accepted = ops::accept(&self.fd).timeout(LATE).await;
            self.accepted(accepted.expect("a connection was lost").expect("one is there"));
        }
    }
}

impl Called {
    fn new() -> io::Result<Self> {
        let name = abstract_name();
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self { name, listener, stand: Cell::new(0) })
    }

    fn settle(&self, ledger: &Ledger) {
        let mut came = 0;
        while self.listener.accept().is_ok() {
            came += 1;
        }
        let ended_early = |leaf: &&LeafRecord| {
            leaf.what == "connect" && matches!(leaf.stage, Stage::Discarded | Stage::Dropped)
        };
        let may = ledger.leaves.borrow().iter().filter(ended_early).count();
        let stand = self.stand.get();
        assert!((stand..=stand + may).contains(&came), "{came} came, {stand} stand and {may} may");
    }
}

impl Queue {
    pub(crate) fn try_push(&self, message: Message) -> Result<(), Message> {
        match self {
            Self::Bounded(tx, _) => tx.try_push(message).map_err(|error| error.into_inner()),
            Self::Local(tx, _) => tx.try_push(message).map_err(|error| error.into_inner()),
        }
    }

    pub(crate) fn try_pop(&self) -> Result<Message, TryPopError> {
        match self {
            Self::Bounded(_, rx) => rx.try_pop(),
            Self::Local(_, rx) => rx.try_pop(),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Self::Bounded(tx, _) => tx.close(),
            Self::Local(tx, _) => tx.close(),
        };
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Bounded(tx, _) => tx.is_closed(),
            Self::Local(tx, _) => tx.is_closed(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Bounded(tx, _) => tx.capacity(),
            Self::Local(tx, _) => tx.capacity(),
        }
    }

    pub(crate) fn name(&self, number: usize) -> String {
        match self {
            Self::Bounded(tx, _) => format!("bounded({}) {number}", tx.capacity()),
            Self::Local(tx, _) => format!("local({}) {number}", tx.capacity()),
        }
    }

    /// Drains it, and if it is open makes sure that it still holds exactly what it can: no slot, value or waiter is
    /// missing or left over.
    fn settle(&self, name: &str, ledger: &Rc<Ledger>) {
        while let Ok(message) = self.try_pop() {
            ledger.popped(message);
        }
        if self.is_closed() {
            return;
        }
        for number in 0..=self.capacity() {
            let message = ledger.message(name, Where::Back);
            let pushed = self.try_push(message).is_ok();
            assert_eq!(pushed, number < self.capacity(), "{name}: message {number} into an empty channel");
        }
        for _ in 0..self.capacity() {
            assert!(self.try_pop().is_ok(), "{name}: a message that is there cannot be popped");
        }
        assert!(self.try_pop().is_err());
    }
}

/// Ends that are borrowed mutably. They outlive the round's trees, and are drained after them.
pub(crate) struct Ends {
    pub(crate) producers: Vec<spsc::Producer<Message>>,
    pub(crate) consumers: Vec<spsc::Consumer<Message>>,
    pub(crate) receivers: Vec<oneshot::Receiver<Message>>,
}

/// Everything of a round.
pub(crate) struct World<'e> {
    pub(crate) ledger: Rc<Ledger>,
    pub(crate) incoming: Vec<Incoming>,
    pub(crate) outgoing: Vec<Outgoing>,
    pub(crate) listening: Vec<Listening>,
    pub(crate) called: Vec<Called>,
    pub(crate) queues: Vec<Queue>,
    /// Ends that no leaf has yet.
    pub(crate) producers: RefCell<Vec<&'e mut spsc::Producer<Message>>>,
    pub(crate) consumers: RefCell<Vec<&'e mut spsc::Consumer<Message>>>,
    pub(crate) receivers: RefCell<Vec<&'e mut oneshot::Receiver<Message>>>,
    /// Their other sides.
    feeders: RefCell<Vec<spsc::Producer<Message>>>,
    eaters: RefCell<Vec<spsc::Consumer<Message>>>,
    senders: RefCell<Vec<oneshot::Sender<Message>>>,
    /// Tasks wait here until it is closed.
    pub(crate) gate: (local::Sender<()>, local::Receiver<()>),
}

pub(crate) type OtherSides =
    (Vec<spsc::Producer<Message>>, Vec<spsc::Consumer<Message>>, Vec<oneshot::Sender<Message>>);

impl Ends {
    pub(crate) fn new() -> (Self, OtherSides) {
        let (p1, c1) = channel::spsc(1);
        let (p2, c2) = channel::spsc(2);
        let (p3, c3) = channel::spsc(1);
        let (s, r) = channel::oneshot();
        (
            Self { producers: vec![p1, p2], consumers: vec![c3], receivers: vec![r] },
            (vec![p3], vec![c1, c2], vec![s]),
        )
    }

    /// The trees are gone. Drains what is ours, against what the other sides still hold.
    pub(crate) fn settle(mut self, ledger: &Ledger) {
        for consumer in &mut self.consumers {
            while let Ok(message) = consumer.try_pop() {
                ledger.popped(message);
            }
        }
        for receiver in &mut self.receivers {
            while let Ok(message) = receiver.try_pop() {
                ledger.popped(message);
            }
        }
    }
}

impl<'e> World<'e> {
    pub(crate) fn new(
        ends: &'e mut Ends,
        others: OtherSides,
        ledger: Rc<Ledger>,
        rng: &mut Rng,
    ) -> io::Result<Self> {
        let mut some = |most: u64| rng.below(most + 1) as usize;
        let (streams, writers, listeners, called) = (some(2), some(2), some(1), some(1));
        let (bounded, locals) = (1 + some(2), some(2));
        let mut queues = vec![];
        for _ in 0..bounded {
            let (tx, rx) = channel::bounded(rng.below(3) as usize);
            queues.push(Queue::Bounded(tx, rx));
        }
        for _ in 0..locals {
            let (tx, rx) = channel::local(rng.below(3) as usize);
            queues.push(Queue::Local(tx, rx));
        }
        Ok(Self {
            ledger,
            incoming: (0..streams).map(|n| Incoming::new(n % 2 == 0)).collect::<io::Result<_>>()?,
            outgoing: (0..writers).map(|n| Outgoing::new(n % 2 == 1)).collect::<io::Result<_>>()?,
            listening: (0..listeners).map(|_| Listening::new()).collect::<io::Result<_>>()?,
            called: (0..called).map(|_| Called::new()).collect::<io::Result<_>>()?,
            queues,
            producers: RefCell::new(ends.producers.iter_mut().collect()),
            consumers: RefCell::new(ends.consumers.iter_mut().collect()),
            receivers: RefCell::new(ends.receivers.iter_mut().collect()),
            feeders: RefCell::new(others.0),
            eaters: RefCell::new(others.1),
            senders: RefCell::new(others.2),
            gate: channel::local(1),
        })
    }

    /// The other side of something does something.
    pub(crate) fn stir(&self, rng: &mut Rng) {
        match rng.below(11) {
            0 | 1 if !self.incoming.is_empty() => {
                let stream = &self.incoming[rng.below(self.incoming.len() as u64) as usize];
                stream.feed(1 + rng.below(12) as usize);
            }
            2 if !self.outgoing.is_empty() => {
                self.outgoing[rng.below(self.outgoing.len() as u64) as usize].consume();
            }
            3 | 10 if !self.listening.is_empty() => self.listening[0].connect(),
            4 if rng.one_in(4) => self.feed_ends(),
            4 => self.drain_ends(),
            5 if rng.one_in(8) => self.queues[rng.below(self.queues.len() as u64) as usize].close(),
            5 if rng.one_in(4) => {
                self.gate.0.close();
            }
            6..8 => self.pop_one(rng.below(self.queues.len() as u64) as usize),
            _ => self.push_one(rng.below(self.queues.len() as u64) as usize),
        }
    }

    fn push_one(&self, number: usize) {
        let queue = &self.queues[number];
        let message = self.ledger.message(&queue.name(number), Where::Pushed);
        if let Err(message) = queue.try_push(message) {
            self.ledger.moved(&message, Where::Back);
        }
    }

    fn pop_one(&self, number: usize) {
        if let Ok(message) = self.queues[number].try_pop() {
            self.ledger.popped(message);
        }
    }

    fn feed_ends(&self) {
        for (number, feeder) in self.feeders.borrow_mut().iter_mut().enumerate() {
            let message = self.ledger.message(&format!("spsc in {number}"), Where::Pushed);
            if let Err(error) = feeder.try_push(message) {
                self.ledger.moved(&error.into_inner(), Where::Back);
            }
        }
        if let Some(sender) = self.senders.borrow_mut().pop() {
            let message = self.ledger.message("oneshot", Where::Pushed);
            if let Err(error) = sender.push(message) {
                self.ledger.moved(&error.into_inner(), Where::Back);
            }
        }
    }

    fn drain_ends(&self) {
        for eater in self.eaters.borrow_mut().iter_mut() {
            while let Ok(message) = eater.try_pop() {
                self.ledger.popped(message);
            }
        }
    }

    /// Everything that can become ready does.
    pub(crate) fn make_ready(&self, rng: &mut Rng, accepts: usize) {
        for stream in &self.incoming {
            if rng.one_in(2) {
                stream.feed(STREAM / 2);
            }
            stream.close();
        }
        self.outgoing.iter().for_each(Outgoing::consume);
        for listener in &self.listening {
            (0..accepts).for_each(|_| listener.connect());
        }
        self.gate.0.close();
        self.feed_ends();
        self.feeders.borrow_mut().clear(); // the last end to go closes
        self.senders.borrow_mut().clear();
        self.drain_ends();
        self.queues.iter().for_each(Queue::close);
    }

    /// All trees are gone, and nothing is in flight.
    pub(crate) async fn settle(self) {
        for stream in &self.incoming {
            stream.settle().await;
        }
        self.outgoing.iter().for_each(|stream| stream.settle(&self.ledger));
        for listener in &self.listening {
            listener.settle().await;
        }
        self.called.iter().for_each(|listener| listener.settle(&self.ledger));
        for (number, queue) in self.queues.iter().enumerate() {
            queue.settle(&queue.name(number), &self.ledger);
        }
        self.drain_ends();
        self.gate.0.close();
    }
}
