//! The load of an echo: the same for every server.
//!
//! Knows: the floor's ring, sockets, the clocks. Does not know: who serves.
#![allow(unsafe_code, reason = "queue entries carry pointers the kernel will follow")]

use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use io_uring::{opcode, squeue, types};

use super::ring::{self, Loop};
use crate::clock::{self, Latency, Sample};

/// What the kernel is asked to do for a connection, in the low bit of `user_data`; its index is above.
const RECEIVE: u64 = 0;
const SEND: u64 = 1;

/// How long both sides are left alone before the server's CPU time is read: it has gone to sleep by then, and what it has
/// used is known exactly.
const SETTLE: Duration = Duration::from_millis(3);

/// A longer latency counts as this.
const LONGEST: Duration = Duration::from_secs(60);

/// What is asked of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) port: u16,
    /// The server, whose CPU time is the figure.
    pub(crate) server: u32,
    pub(crate) connections: usize,
    pub(crate) size: usize,
    pub(crate) requests: u64,
    /// Whether to look for replies instead of sleeping until they come.
    pub(crate) awake: bool,
}

/// Sends a message on each connection, awaits its echo, and again, until so many requests are answered; a tenth of them
/// before the clocks start.
pub(crate) fn run(plan: Plan) -> io::Result<Sample> {
    let connect = || {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, plan.port))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let sockets = (0..plan.connections).map(|_| connect()).collect::<io::Result<Vec<_>>>()?;
    let mut ring = ring::open((2 * plan.connections).next_power_of_two() as u32)?;
    let mut ring = Loop::new(&mut ring)?;
    // Never freed: an error ends this early, with ops in flight.
    let message: &'static [u8] = vec![7; plan.size].leak();
    let replies = (0..plan.connections).map(|_| vec![0; plan.size].leak().as_mut_ptr()).collect();
    let mut load = Load { plan, sockets, message, replies };

    load.pass(&mut ring, plan.requests / 10)?;
    thread::sleep(SETTLE);
    let (cpu, start) = (clock::cpu_of_process(plan.server)?, Instant::now());
    let (requests, latencies) = load.pass(&mut ring, plan.requests)?;
    let wall = start.elapsed();
    thread::sleep(SETTLE);
    let cpu = clock::cpu_of_process(plan.server)? - cpu;
    let at = |quantile| latencies.value_at_quantile(quantile) as f64;
    let latency = Some(Latency { p50: at(0.5), p99: at(0.99) });
    Ok(Sample { latency, ..Sample::of(cpu, wall, requests) })
}

struct Load {
    plan: Plan,
    sockets: Vec<TcpStream>,
    message: &'static [u8],
    /// As many bytes each as the message has.
    replies: Vec<*mut u8>,
}

impl Load {
    /// At least one request on each connection. Answers how many there were, and how long they took.
    fn pass(&mut self, ring: &mut Loop<'_>, requests: u64) -> io::Result<(u64, Histogram<u64>)> {
        let Plan { connections, size, awake, .. } = self.plan;
        let requests = requests.max(connections as u64);
        let mut unsent = requests - connections as u64;
        let mut latencies =
            Histogram::new_with_max(LONGEST.as_nanos() as u64, 3).map_err(io::Error::other)?;
        let mut missing = vec![size; connections];
        let mut began = vec![Instant::now(); connections];
        for index in 0..connections {
            // SAFETY: message and replies are never freed; an op of a reply is queued when the one before is over.
            unsafe {
                ring.queue().push(self.send(index), (index as u64) << 1 | SEND);
                ring.queue().push(self.receive(index, size), (index as u64) << 1 | RECEIVE);
            }
        }
        let (mut running, mut failure) = (connections, 0);
        while running > 0 && failure == 0 {
            let mut turn_began = None; // one look at the clock for all that has come by then
            let each = |queue: &mut ring::Queue<'_>, user_data: u64, result: i32| {
                let (index, kind) = ((user_data >> 1) as usize, user_data & 1);
                if result <= 0 || kind == SEND {
                    failure = if result < 0 { result } else { -libc::ECONNRESET };
                    return;
                }
                missing[index] -= result as usize;
                if missing[index] == 0 {
                    let now = *turn_began.get_or_insert_with(Instant::now);
                    latencies.saturating_record((now - began[index]).as_nanos() as u64);
                    if unsent == 0 {
                        running -= 1;
                        return;
                    }
                    unsent -= 1;
                    (missing[index], began[index]) = (size, now);
                    // SAFETY: as above.
                    unsafe { queue.push(self.send(index), user_data | SEND) };
                }
                // SAFETY: as above.
                unsafe { queue.push(self.receive(index, missing[index]), user_data) };
            };
            if awake { ring.turn_awake(each)? } else { ring.turn(each)? }
        }
        if failure < 0 { Err(io::Error::from_raw_os_error(-failure)) } else { Ok((requests, latencies)) }
    }

    fn socket(&self, index: usize) -> types::Fd {
        types::Fd(self.sockets[index].as_raw_fd())
    }

    /// A message is far smaller than an empty socket buffer, so a short send is a failure; only failures complete.
    fn send(&self, index: usize) -> squeue::Entry {
        opcode::Send::new(self.socket(index), self.message.as_ptr(), self.message.len() as u32)
            .flags(libc::MSG_WAITALL)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
    }

    /// The last `missing` bytes of a reply.
    fn receive(&self, index: usize, missing: usize) -> squeue::Entry {
        let rest = self.replies[index].wrapping_add(self.plan.size - missing);
        opcode::Recv::new(self.socket(index), rest, missing as u32).build()
    }
}
