//! Echo over TCP by hand, with what the ring has for it: one accept for all connections, into its own table of descriptors;
//! one receive for all that a connection sends, into buffers it takes out of a ring of them.
//!
//! Knows: the floor's ring, sockets. Does not know: tasks, who is measured.
#![allow(unsafe_code, reason = "queue entries carry pointers the kernel will follow")]

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{self, BufRingEntry};
use io_uring::{Submitter, cqueue, opcode, squeue};

use super::echo::BUFFER;
use super::ring::{self, Loop, Queue};

/// What the kernel is asked to do for a connection, in the low bits of `user_data`; its index is above.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const CLOSE: u64 = 3;

/// The only group of buffers there is.
pub(super) const GROUP: u16 = 0;

/// How many buffers so many connections share when each has one message of this size under way.
pub(crate) fn buffers(connections: usize, size: usize) -> usize {
    (connections * size.div_ceil(BUFFER)).next_power_of_two().max(16)
}

/// What was received and is to be sent, in a buffer.
#[derive(Clone, Copy)]
struct Piece {
    buffer: u16,
    from: usize,
    to: usize,
}

/// A connection; the kernel knows it by its slot.
#[derive(Default)]
struct Connection {
    sending: Option<Piece>,
    /// What was received meanwhile, in order.
    waiting: VecDeque<Piece>,
}

struct Server {
    accept: squeue::Entry,
    connections: Vec<Connection>,
    buffers: Buffers,
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
    let accept = opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd())).allocate_file_index(true);
    let mut server = Server {
        accept: accept.build(),
        connections: (0..connections).map(|_| Connection::default()).collect(),
        buffers: Buffers::register(ring.submitter(), buffers)?,
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
        // SAFETY: an accept without an address points nowhere.
        unsafe { queue.push(self.accept.clone(), ACCEPT) };
    }

    fn received(&mut self, queue: &mut Queue<'_>, index: usize, completion: &cqueue::Entry) {
        let (result, flags) = (completion.result(), completion.flags());
        if let Some(buffer) = cqueue::buffer_select(flags) {
            let piece = Piece { buffer, from: 0, to: result.max(0) as usize };
            let connection = &mut self.connections[index];
            if connection.sending.is_none() {
                connection.sending = Some(piece);
                self.send(queue, index, piece);
            } else {
                connection.waiting.push_back(piece);
            }
        }
        if cqueue::more(flags) {
            return;
        }
        match result {
            1.. => receive(queue, index),
            0 => close(queue, index),
            _ if result == -libc::ENOBUFS => self.starved.push(index),
            _ => close(queue, index), // the peer has reset it
        }
    }

    fn sent(&mut self, queue: &mut Queue<'_>, index: usize, result: i32) {
        let connection = &mut self.connections[index];
        let mut piece = connection.sending.take().expect("a send has completed");
        piece.from += result.max(0) as usize;
        let next = if result > 0 && piece.from < piece.to {
            Some(piece)
        } else {
            self.buffers.give(piece.buffer);
            connection.waiting.pop_front()
        };
        connection.sending = next;
        if let Some(piece) = next {
            self.send(queue, index, piece);
        }
        if let Some(starved) = self.starved.pop() {
            receive(queue, starved);
        }
    }

    fn send(&self, queue: &mut Queue<'_>, index: usize, piece: Piece) {
        let start = self.buffers.at(piece.buffer).wrapping_add(piece.from);
        let entry = opcode::Send::new(types::Fixed(index as u32), start, (piece.to - piece.from) as u32);
        // SAFETY: buffers are never freed, and this one goes back to the kernel when the send has completed.
        unsafe { queue.push(entry.build(), (index as u64) << 2 | SEND) };
    }
}

fn receive(queue: &mut Queue<'_>, index: usize) {
    let entry: squeue::Entry = opcode::RecvMulti::new(types::Fixed(index as u32), GROUP).build();
    // SAFETY: it points nowhere: the kernel picks a buffer from the group.
    unsafe { queue.push(entry, (index as u64) << 2 | RECEIVE) };
}

fn close(queue: &mut Queue<'_>, index: usize) {
    let entry = opcode::Close::new(types::Fixed(index as u32)).build();
    // SAFETY: it points nowhere.
    unsafe { queue.push(entry, (index as u64) << 2 | CLOSE) };
}

/// Buffers of [`BUFFER`] bytes and the ring they are handed to the kernel in. Never freed: an error ends a server early,
/// with receives in flight.
pub(super) struct Buffers {
    ring: *mut BufRingEntry,
    memory: *mut u8,
    mask: u16,
    tail: u16,
}

impl Buffers {
    pub(super) fn register(submitter: &Submitter<'_>, count: usize) -> io::Result<Buffers> {
        let zeroed = |bytes: usize| {
            let layout = Layout::from_size_align(bytes, 4096).expect("far below the address space");
            // SAFETY: the size is not zero.
            let memory = unsafe { alloc_zeroed(layout) };
            if memory.is_null() { handle_alloc_error(layout) } else { memory }
        };
        let ring = zeroed(count * size_of::<BufRingEntry>());
        let memory = zeroed(count * BUFFER);
        // SAFETY: ring and buffers are never freed.
        unsafe { submitter.register_buf_ring_with_flags(ring as u64, count as u16, GROUP, 0)? };
        let mut buffers = Buffers { ring: ring.cast(), memory, mask: count as u16 - 1, tail: 0 };
        for buffer in 0..count {
            buffers.give(buffer as u16);
        }
        Ok(buffers)
    }

    pub(super) fn at(&self, buffer: u16) -> *mut u8 {
        self.memory.wrapping_add(usize::from(buffer) * BUFFER)
    }

    /// Hands a buffer to the kernel.
    pub(super) fn give(&mut self, buffer: u16) {
        let start = self.at(buffer);
        // SAFETY: the index is below the number of entries, and the kernel does not look at it before the tail says so.
        let entry = unsafe { &mut *self.ring.add(usize::from(self.tail & self.mask)) };
        entry.set_addr(start as u64);
        entry.set_len(BUFFER as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the ring, aligned, and nobody here holds a reference to it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring).cast_mut()) };
        tail.store(self.tail, Ordering::Release); // the kernel's load of it acquires
    }
}
