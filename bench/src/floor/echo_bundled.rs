//! Echo over TCP by hand, with bundles: one receive fills as many buffers as there are bytes for, and one send takes all that
//! wait.
//!
//! Knows: the floor's ring, sockets. Does not know: tasks, who is measured.
#![allow(unsafe_code, reason = "queue entries carry pointers the kernel will follow")]

use std::io;
use std::mem::{self, ManuallyDrop};
use std::net::TcpListener;
use std::os::fd::AsRawFd;

use io_uring::{Submitter, cqueue, opcode, types};

use super::echo::BUFFER;
use super::echo_multishot::{Buffers, GROUP};
use super::ring::{self, Loop, Queue};

/// What the kernel is asked to do for a connection, in the low bits of `user_data`; its index is above.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const CLOSE: u64 = 3;

/// A buffer, and how many bytes are in it.
type Filled = (u16, usize);

/// A connection; the kernel knows it by its slot.
struct Connection {
    /// What is being sent, as the kernel is told of it; empty when nothing is.
    sending: Vec<Filled>,
    parts: Vec<libc::iovec>,
    message: libc::msghdr,
    /// What was received meanwhile, in order.
    waiting: Vec<Filled>,
}

struct Server {
    listener: types::Fd,
    /// Never freed: an error ends this early, with sends in flight.
    connections: ManuallyDrop<Vec<Connection>>,
    buffers: Ordered,
    /// The slots whose receive found no buffer.
    starved: Vec<usize>,
    open: usize,
    failure: i32,
}

/// Serves `connections` connections, which share so many buffers, until all of them are closed.
pub(crate) fn serve(listener: &TcpListener, connections: usize, buffers: usize) -> io::Result<()> {
    let mut ring = ring::open((4 * connections).next_power_of_two() as u32)?;
    let mut ring = Loop::new(&mut ring)?;
    ring.submitter().register_files_sparse(connections as u32)?;
    let connection = || Connection {
        sending: Vec::new(),
        parts: Vec::new(),
        // SAFETY: integers and null pointers.
        message: unsafe { mem::zeroed() },
        waiting: Vec::new(),
    };
    let mut server = Server {
        listener: types::Fd(listener.as_raw_fd()),
        connections: ManuallyDrop::new((0..connections).map(|_| connection()).collect()),
        buffers: Ordered::register(ring.submitter(), buffers)?,
        starved: Vec::new(),
        open: connections,
        failure: 0,
    };
    server.accept(ring.queue());
    while server.open > 0 && server.failure == 0 {
        ring.turn_whole(|queue, completion| server.completed(queue, &completion))?;
    }
    if server.failure < 0 { Err(io::Error::from_raw_os_error(-server.failure)) } else { Ok(()) }
}

impl Server {
    fn completed(&mut self, queue: &mut Queue<'_>, completion: &cqueue::Entry) {
        let (index, result) = ((completion.user_data() >> 2) as usize, completion.result());
        match completion.user_data() & 3 {
            ACCEPT if result < 0 => self.failure = result,
            ACCEPT => {
                receive(queue, result as usize);
                if !cqueue::more(completion.flags()) {
                    self.accept(queue);
                }
            }
            RECEIVE => self.received(queue, index, completion),
            SEND => self.sent(queue, index, result),
            _ => self.open -= 1,
        }
    }

    fn accept(&self, queue: &mut Queue<'_>) {
        let accept = opcode::AcceptMulti::new(self.listener).allocate_file_index(true);
        // SAFETY: an accept without an address points nowhere.
        unsafe { queue.push(accept.build(), ACCEPT) };
    }

    fn received(&mut self, queue: &mut Queue<'_>, index: usize, completion: &cqueue::Entry) {
        let (result, flags) = (completion.result(), completion.flags());
        if let Some(first) = cqueue::buffer_select(flags)
            && result > 0
        {
            let connection = &mut self.connections[index];
            self.buffers.taken(first, result as usize, |filled| connection.waiting.push(filled));
            if connection.sending.is_empty() {
                self.send(queue, index);
            }
        }
        if cqueue::more(flags) {
            return;
        }
        match result {
            1.. => receive(queue, index),
            _ if result == -libc::ENOBUFS => self.starved.push(index),
            _ => close(queue, index), // the end, or the peer has reset it
        }
    }

    /// Everything that waits, in one go.
    fn send(&mut self, queue: &mut Queue<'_>, index: usize) {
        let Connection { sending, parts, message, waiting } = &mut self.connections[index];
        mem::swap(sending, waiting);
        parts.clear();
        let start = |buffer| self.buffers.at(buffer).cast();
        parts.extend(
            sending.iter().map(|&(buffer, len)| libc::iovec { iov_base: start(buffer), iov_len: len }),
        );
        (message.msg_iov, message.msg_iovlen) = (parts.as_mut_ptr(), parts.len() as _);
        let entry = opcode::SendMsg::new(types::Fixed(index as u32), message).flags(libc::MSG_WAITALL as u32);
        // SAFETY: connections are never freed, and their vector does not grow; this one's parts and buffers are left alone until
        // the send has completed.
        unsafe { queue.push(entry.build(), (index as u64) << 2 | SEND) };
    }

    fn sent(&mut self, queue: &mut Queue<'_>, index: usize, result: i32) {
        let connection = &mut self.connections[index];
        let asked: usize = connection.sending.iter().map(|(_, len)| len).sum();
        if result < 0 || (result as usize) < asked {
            self.failure = result.min(-libc::EPIPE);
            return;
        }
        for (buffer, _) in connection.sending.drain(..) {
            self.buffers.give(buffer);
        }
        if !connection.waiting.is_empty() {
            self.send(queue, index);
        }
        if let Some(starved) = self.starved.pop() {
            receive(queue, starved);
        }
    }
}

/// Buffers, and which is behind which: a completion names the first that it has filled.
struct Ordered {
    buffers: Buffers,
    /// The buffer at each position of the ring.
    order: Vec<u16>,
    /// Where each buffer was put.
    positions: Vec<u16>,
    tail: u16,
}

impl Ordered {
    fn register(submitter: &Submitter<'_>, count: usize) -> io::Result<Ordered> {
        let buffers = Buffers::register(submitter, count)?;
        let numbers: Vec<u16> = (0..count as u16).collect();
        Ok(Ordered { buffers, order: numbers.clone(), positions: numbers, tail: count as u16 })
    }

    fn at(&self, buffer: u16) -> *mut u8 {
        self.buffers.at(buffer)
    }

    fn slot(&self, position: u16) -> usize {
        usize::from(position) & (self.order.len() - 1)
    }

    /// Hands a buffer to the kernel.
    fn give(&mut self, buffer: u16) {
        let slot = self.slot(self.tail);
        self.order[slot] = buffer;
        self.positions[usize::from(buffer)] = self.tail;
        self.tail = self.tail.wrapping_add(1);
        self.buffers.give(buffer);
    }

    /// The kernel has filled so many bytes, from the start of this buffer on.
    fn taken(&self, first: u16, bytes: usize, mut each: impl FnMut(Filled)) {
        let start = self.positions[usize::from(first)];
        for (behind, done) in (0..bytes).step_by(BUFFER).enumerate() {
            let buffer = self.order[self.slot(start.wrapping_add(behind as u16))];
            each((buffer, (bytes - done).min(BUFFER)));
        }
    }
}

fn receive(queue: &mut Queue<'_>, index: usize) {
    let entry = opcode::RecvMultiBundle::new(types::Fixed(index as u32), GROUP).build();
    // SAFETY: it points nowhere: the kernel picks buffers from the group.
    unsafe { queue.push(entry, (index as u64) << 2 | RECEIVE) };
}

fn close(queue: &mut Queue<'_>, index: usize) {
    let entry = opcode::Close::new(types::Fixed(index as u32)).build();
    // SAFETY: it points nowhere.
    unsafe { queue.push(entry, (index as u64) << 2 | CLOSE) };
}
