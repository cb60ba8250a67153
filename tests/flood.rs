//! Clients that flood `echo_multishot`, which has far too few buffers and channels with room for one: every byte comes back,
//! in order, and the server's memory stays what it was.
//!
//! Each client writes as fast as it can, stops reading now and then, and in the end closes, half-closes, or resets; which,
//! and when, is drawn from a seed that is printed, and `MILLSTREAM_SEED` draws it again. `MILLSTREAM_FLOOD=1000x10`, which
//! `ci/flood.sh` says, asks for 1,000 connections of 10 MiB each.
#![allow(unsafe_code, reason = "std can neither wait for many sockets nor reset one")]

#[path = "support/example.rs"]
mod example;
#[path = "support/server.rs"]
mod server;
mod support;

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use server::Server;
use support::{Rng, Watchdog};

/// Buffers of the server: nothing, for hundreds of connections.
const BUFFERS: usize = 16;
const BUFFER: usize = 4096;
/// How much a client reads or writes at once.
const CHUNK: usize = 64 << 10;

/// How many connections there are, and how many bytes most of them send.
#[derive(Clone, Copy, Debug)]
struct Size {
    connections: usize,
    bytes: u64,
}

impl Size {
    fn asked() -> Self {
        let Ok(text) = std::env::var("MILLSTREAM_FLOOD") else {
            return Self { connections: 200, bytes: support::rounds(1 << 20) };
        };
        let parse = |text: &str| {
            let (connections, mebibytes) = text.split_once('x')?;
            Some(Self { connections: connections.parse().ok()?, bytes: mebibytes.parse::<u64>().ok()? << 20 })
        };
        parse(&text).unwrap_or_else(|| panic!("MILLSTREAM_FLOOD={text} is not CONNECTIONSxMEBIBYTES"))
    }
}

/// What everybody sends: random bytes of a prime number, again and again, each client from another place on. A piece that is
/// lost, doubled or out of place is of the size of some buffers, and so no multiple of the period.
struct Pattern(Vec<u8>);

impl Pattern {
    const PERIOD: usize = 65_521;

    fn new(rng: &mut Rng) -> Self {
        Self((0..Self::PERIOD).map(|_| rng.next_u64() as u8).collect())
    }

    /// What stands at a position, as far as one period goes.
    fn at(&self, position: u64) -> &[u8] {
        &self.0[position as usize % Self::PERIOD..]
    }
}

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// When it has everything back, it closes.
    Close,
    /// When it has sent everything, it says so, and reads until the server closes.
    HalfClose,
    /// When it has so much back, it resets the connection.
    Reset(u64),
}

struct Client {
    /// `None`: it is done.
    socket: Option<TcpStream>,
    /// Where in the pattern it begins.
    start: u64,
    /// How much it sends.
    bytes: u64,
    sent: u64,
    back: u64,
    end: End,
    /// Reads nothing before this.
    pause: Instant,
    /// Where the next pause begins.
    next_pause: u64,
    rng: Rng,
}

impl Client {
    fn new(server: &Server, size: Size, rng: &mut Rng) -> io::Result<Self> {
        let socket = server.connect()?;
        socket.set_nonblocking(true)?;
        let (bytes, end) = match rng.below(8) {
            0 => (size.bytes, End::Reset(rng.below(size.bytes))),
            1 | 2 => (rng.below(size.bytes + 1), End::HalfClose),
            3..6 => (size.bytes, End::HalfClose),
            _ => (size.bytes, End::Close),
        };
        Ok(Self {
            socket: Some(socket),
            start: rng.below(Pattern::PERIOD as u64),
            bytes,
            sent: 0,
            back: 0,
            end,
            pause: Instant::now() + Duration::from_millis(rng.below(300)),
            next_pause: rng.below(size.bytes),
            rng: rng.clone(),
        })
    }

    fn may_write(&self) -> bool {
        self.sent < self.bytes
    }

    fn may_read(&self, now: Instant) -> bool {
        self.pause <= now
    }

    /// Writes once.
    fn write(&mut self, pattern: &Pattern) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let piece = pattern.at(self.start + self.sent);
        let most = piece.len().min(CHUNK).min((self.bytes - self.sent) as usize);
        self.sent += socket.write(&piece[..most])? as u64;
        if self.sent == self.bytes && self.end == End::HalfClose {
            socket.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Reads once, and checks what came.
    ///
    /// # Panics
    ///
    /// When it is not what was sent, or is less although the server has closed.
    fn read(&mut self, pattern: &Pattern, buffer: &mut [u8]) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let count = socket.read(buffer)?;
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let expected = pattern.at(self.start + self.back);
            let most = expected.len().min(rest.len());
            assert!(rest[..most] == expected[..most], "{self:?}: other bytes than were sent");
            (self.back, rest) = (self.back + most as u64, &rest[most..]);
        }
        assert!(self.back <= self.sent, "{self:?}: more came back than was sent");
        if count == 0 {
            assert!(self.end == End::HalfClose && self.back == self.bytes, "{self:?}: the server has closed");
            self.socket = None;
        } else if self.end == End::Close && self.back == self.bytes {
            self.socket = None;
        } else if matches!(self.end, End::Reset(after) if self.back > after) {
            reset(self.socket.take());
        } else if self.back >= self.next_pause {
            self.pause = Instant::now() + Duration::from_millis(self.rng.below(50));
            self.next_pause = self.back + self.rng.below(1 << 21);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, sent, back, end, .. } = self;
        write!(f, "a client that sends {bytes} bytes and then {end:?}, {sent} sent, {back} back")
    }
}

/// Closes a socket without a farewell.
fn reset(socket: Option<TcpStream>) {
    let Some(socket) = socket else { return };
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of_val(&linger) as libc::socklen_t;
    // SAFETY: (local) the option is a `linger` of that size, which outlives the call.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
}

/// Waits until one of the sockets is ready, or for a while.
fn poll(sockets: &mut [libc::pollfd], longest: Duration) {
    // SAFETY: (local) the entries are as many as said, and outlive the call.
    let ready = unsafe {
        libc::poll(sockets.as_mut_ptr(), sockets.len() as libc::nfds_t, longest.as_millis() as libc::c_int)
    };
    assert!(ready >= 0, "{}", io::Error::last_os_error());
}

fn unless_full_or_empty(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        done => done,
    }
}

/// Lets all clients go on until each is done.
fn flood(clients: &mut [Client], pattern: &Pattern) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let (mut waiting, mut whose) = (Vec::new(), Vec::new());
    loop {
        let now = Instant::now();
        waiting.clear();
        whose.clear();
        for (index, client) in clients.iter().enumerate() {
            let Some(socket) = &client.socket else { continue };
            let write = if client.may_write() { libc::POLLOUT } else { 0 };
            let read = if client.may_read(now) { libc::POLLIN } else { 0 };
            whose.push(index);
            waiting.push(libc::pollfd { fd: socket.as_raw_fd(), events: write | read, revents: 0 });
        }
        if waiting.is_empty() {
            return Ok(());
        }
        poll(&mut waiting, Duration::from_millis(10)); // somebody's pause may end
        for (ready, &index) in waiting.iter().zip(&whose) {
            let client = &mut clients[index];
            if ready.revents & libc::POLLOUT != 0 {
                unless_full_or_empty(client.write(pattern))?;
            }
            if ready.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0 && client.may_read(now) {
                unless_full_or_empty(client.read(pattern, &mut buffer))?;
            }
        }
    }
}

/// The most memory that a process has had, in bytes.
fn peak(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Ok(kibibytes.and_then(|number| number.parse::<u64>().ok()).expect("a number") << 10)
}

#[test]
fn every_byte_comes_back_in_order_through_too_few_buffers() -> io::Result<()> {
    flooded(&[])
}

/// The same with connections that have descriptors of the process, from one entry for all.
#[test]
fn and_so_it_does_when_connections_have_numbers() -> io::Result<()> {
    flooded(&["--numbers"])
}

/// The same where one receive may fill all buffers there are.
#[test]
fn and_so_it_does_when_one_receive_fills_several_buffers() -> io::Result<()> {
    flooded(&["--bundles"])
}

fn flooded(how: &[&str]) -> io::Result<()> {
    let (_alone, size) = (support::alone(), Size::asked());
    let _watchdog = Watchdog::new(Duration::from_secs(120 + ((size.connections as u64 * size.bytes) >> 23)));
    let mut rng = Rng::from_env();
    let pattern = Pattern::new(&mut rng);
    let (buffers, buffer) = (BUFFERS.to_string(), BUFFER.to_string());
    let connections = size.connections.to_string();
    let options = [
        ("--buffers", &*buffers),
        ("--size", &buffer),
        ("--capacity", "1"),
        ("--connections", &connections),
        ("--idle", "3600"),
    ];
    let options = options.iter().flat_map(|&(name, value)| [name, value]);
    let options: Vec<&str> = options.chain(how.iter().copied()).collect();
    let server = Server::start("echo_multishot", &options)?;
    let before = peak(server.id())?;

    let began = Instant::now();
    let mut clients = (0..size.connections)
        .map(|_| Client::new(&server, size, &mut rng))
        .collect::<io::Result<Vec<_>>>()?;
    flood(&mut clients, &pattern)?;
    let took = began.elapsed();

    let grown = peak(server.id())? - before;
    let back: u64 = clients.iter().map(|client| client.back).sum();
    eprintln!("{back} bytes back in {took:.1?}; the server's memory grew by {grown} bytes from {before}");
    let bound = (BUFFERS * BUFFER + size.connections * PER_CONNECTION + OTHER) as u64;
    assert!(grown <= bound, "it grew by more than {bound} bytes");

    // Whoever comes after the flood is served as if nothing had been, and no buffer is lost.
    let mut late = server.connect()?;
    late.write_all(b"after the flood")?;
    late.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    late.read_to_string(&mut text)?;
    assert_eq!(text, "after the flood");
    let said = server.stop()?;
    assert!(said.starts_with(&format!("stopped; {BUFFERS} of {BUFFERS} buffers are back")), "{said:?}");
    Ok(())
}

/// What a connection may cost the server, its tasks and its channel included.
const PER_CONNECTION: usize = 4 << 10;
/// What anything else may.
const OTHER: usize = 4 << 20;
