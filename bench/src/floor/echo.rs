//! Echo over TCP by hand, one receive or send in flight per connection.
//!
//! Knows: the floor's ring, sockets. Does not know: tasks, who is measured.
#![allow(unsafe_code, reason = "queue entries carry pointers the kernel will follow")]

use std::io;
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::{opcode, squeue, types};

use super::ring::{self, Loop, Queue};
use crate::clock;

/// What the kernel is asked to do for a connection, in the low bits of `user_data`; its index is above.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

/// How much a connection of the server receives at once, here and with every contestant.
pub(crate) const BUFFER: usize = 4096;

struct Connection {
    socket: Option<OwnedFd>,
    buffer: Box<[u8]>,
    /// What was received, and how much of that was sent.
    received: usize,
    sent: usize,
}

impl Connection {
    fn socket(&self) -> types::Fd {
        types::Fd(self.socket.as_ref().expect("ops of a closed connection are not queued").as_raw_fd())
    }

    fn receive(&mut self) -> squeue::Entry {
        opcode::Recv::new(self.socket(), self.buffer.as_mut_ptr(), self.buffer.len() as u32).build()
    }

    fn send(&mut self) -> squeue::Entry {
        let rest = &self.buffer[self.sent..self.received];
        opcode::Send::new(self.socket(), rest.as_ptr(), rest.len() as u32).build()
    }
}

/// Serves `connections` connections until all of them are closed. `awake`: looks for requests instead of sleeping until
/// they come.
pub(crate) fn serve(listener: &TcpListener, connections: usize, awake: bool) -> io::Result<()> {
    let mut ring = ring::open((2 * connections).next_power_of_two() as u32)?;
    let mut ring = Loop::new(&mut ring)?;
    // Never freed: an error ends this early, with receives in flight.
    let mut served: ManuallyDrop<Vec<Connection>> = ManuallyDrop::new(Vec::with_capacity(connections));
    let mut open = connections;
    let mut failure = 0;
    let listening = types::Fd(listener.as_raw_fd());
    let accept = |queue: &mut Queue<'_>| {
        let entry = opcode::Accept::new(listening, std::ptr::null_mut(), std::ptr::null_mut()).build();
        // SAFETY: an accept without an address points nowhere.
        unsafe { queue.push(entry, ACCEPT) };
    };
    accept(ring.queue());
    while open > 0 && failure == 0 {
        let each = |queue: &mut Queue<'_>, user_data: u64, result: i32| {
            let (index, kind) = ((user_data >> 2) as usize, user_data & 3);
            if kind == ACCEPT {
                if result < 0 {
                    failure = result;
                    return;
                }
                // SAFETY: the kernel has just opened it for this accept.
                let socket = unsafe { OwnedFd::from_raw_fd(result) };
                let index = served.len();
                let mut connection = Connection {
                    socket: Some(socket),
                    buffer: vec![0; BUFFER].into_boxed_slice(),
                    received: 0,
                    sent: 0,
                };
                // SAFETY: the buffer is on the heap and never freed, and one op at a time uses it.
                unsafe { queue.push(connection.receive(), (index as u64) << 2 | RECEIVE) };
                served.push(connection);
                if served.len() < connections {
                    accept(queue);
                }
                return;
            }
            let connection = &mut served[index];
            if result <= 0 {
                connection.socket = None;
                open -= 1;
                return;
            }
            if kind == RECEIVE {
                (connection.received, connection.sent) = (result as usize, 0);
            } else {
                connection.sent += result as usize;
            }
            let (entry, kind) = if connection.sent < connection.received {
                (connection.send(), SEND)
            } else {
                (connection.receive(), RECEIVE)
            };
            // SAFETY: as above; the op before has completed.
            unsafe { queue.push(entry, (index as u64) << 2 | kind) };
        };
        if awake { ring.turn_awake(each)? } else { ring.turn(each)? }
    }
    if failure < 0 { Err(io::Error::from_raw_os_error(-failure)) } else { Ok(()) }
}

/// Listens on a free port of the loopback, with a backlog for so many connections.
///
/// Nagle's algorithm is off, which accepted sockets inherit: a reply in several sends would meet the peer's delayed ACK.
pub(crate) fn listen(connections: usize) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (fd, on) = (listener.as_raw_fd(), 1 as libc::c_int);
    // SAFETY: `on` is ours, and outlives the call that is told its size.
    clock::check(unsafe {
        let size = size_of_val(&on) as libc::socklen_t;
        libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), size)
    })?;
    // SAFETY: a system call without pointers; it widens the backlog std has chosen.
    clock::check(unsafe { libc::listen(fd, connections as libc::c_int) })?;
    Ok(listener)
}
