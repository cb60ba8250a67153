//! Echo over TCP by hand: the server all others are held against, and the load for every one of them.
//!
//! Knows: the floor's ring, sockets. Does not know: tasks, who is measured.
#![allow(unsafe_code, reason = "queue entries carry pointers the kernel will follow")]

use std::io;
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

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

/// Serves `connections` connections until all of them are closed.
pub(crate) fn serve(listener: &TcpListener, connections: usize) -> io::Result<()> {
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
        ring.turn(|queue, user_data, result| {
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
                    socket: Some(no_delay(socket)),
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
        })?;
    }
    if failure < 0 { Err(io::Error::from_raw_os_error(-failure)) } else { Ok(()) }
}

/// Nagle's algorithm off: a reply in several sends would meet the peer's delayed ACK.
fn no_delay(socket: OwnedFd) -> OwnedFd {
    let stream = TcpStream::from(socket);
    // A connection the peer has reset already says so again at its first receive.
    let _ = stream.set_nodelay(true);
    stream.into()
}

/// Sends a message of `size` bytes on each of `connections` connections, awaits its echo, and again, `requests` times
/// in all. Answers how long that took.
pub(crate) fn load(port: u16, connections: usize, size: usize, requests: u64) -> io::Result<Duration> {
    let sockets = (0..connections)
        .map(|_| {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
        .collect::<io::Result<Vec<TcpStream>>>()?;
    // Never freed: an error ends this early, with ops in flight.
    let message: &'static [u8] = vec![7; size].leak();
    let mut replies: Vec<&'static mut [u8]> = (0..connections).map(|_| vec![0; size].leak()).collect();
    let mut missing = vec![0_usize; connections];

    let mut ring = ring::open((2 * connections).next_power_of_two() as u32)?;
    let mut ring = Loop::new(&mut ring)?;
    let send = |index: usize| {
        // A message is far smaller than an empty socket buffer, so a short send is a failure; only failures complete.
        opcode::Send::new(types::Fd(sockets[index].as_raw_fd()), message.as_ptr(), size as u32)
            .flags(libc::MSG_WAITALL)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
    };
    let receive = |index: usize, reply: &mut [u8], missing: usize| {
        let rest = &mut reply[size - missing..];
        opcode::Recv::new(types::Fd(sockets[index].as_raw_fd()), rest.as_mut_ptr(), rest.len() as u32).build()
    };

    let start = Instant::now();
    let mut unsent = requests.max(connections as u64) - connections as u64;
    let mut running = connections;
    let mut failure = 0;
    for index in 0..connections {
        missing[index] = size;
        // SAFETY: message and replies are never freed; an op of a reply is queued when the one before is over.
        unsafe {
            ring.queue().push(send(index), (index as u64) << 2 | SEND);
            ring.queue().push(receive(index, replies[index], size), (index as u64) << 2 | RECEIVE);
        }
    }
    while running > 0 && failure == 0 {
        ring.turn(|queue, user_data, result| {
            let (index, kind) = ((user_data >> 2) as usize, user_data & 3);
            if result <= 0 || kind == SEND {
                failure = if result < 0 { result } else { -libc::ECONNRESET };
                return;
            }
            missing[index] -= result as usize;
            if missing[index] == 0 {
                if unsent == 0 {
                    running -= 1;
                    return;
                }
                unsent -= 1;
                missing[index] = size;
                // SAFETY: as above.
                unsafe { queue.push(send(index), user_data & !3 | SEND) };
            }
            let entry = receive(index, replies[index], missing[index]);
            // SAFETY: as above.
            unsafe { queue.push(entry, user_data) };
        })?;
    }
    if failure < 0 {
        return Err(io::Error::from_raw_os_error(-failure));
    }
    Ok(start.elapsed())
}

/// Listens on a free port of the loopback.
pub(crate) fn listen(connections: usize) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // SAFETY: a system call without pointers; it widens the backlog std has chosen.
    clock::check(unsafe { libc::listen(listener.as_raw_fd(), connections as libc::c_int) })?;
    Ok(listener)
}
