//! Sends a file to many clients at once. It is read once, into a few registered buffers, and sent from them without a copy.
//!
//! ```text
//! cargo run --release --example zc_fanout -- --clients 3 --check Cargo.lock
//! ```
//!
//! ```text
//!             pages               send_zc
//!   reader ─────────▶ client ─────────────▶ kernel
//!     ▲   (one channel each)                   │ the peer has acknowledged it
//!     │                ▲                       ▼
//!     │                └──────── back ◀────────┘
//!     └── returned ◀── client
//! ```
//!
//! A page is a buffer that several clients hold; whoever gives the last hold back gives the buffer back. So the program
//! needs as many buffers as it was given, whatever the size of the file and the number of clients, and goes as fast as the
//! slowest client that still takes something. One that takes nothing for too long is cut off: its connection is *reset*,
//! which makes the kernel let go of what was on the way to it.
#![allow(unsafe_code, reason = "std cannot make the end of a connection a reset")]

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZero;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use millstream::channel::{self, Sender, local};
use millstream::combinators::{OneOf2, OperationExt, adapters};
use millstream::ops::{self, BufferTable, Fd, FileKind, FixedBuf, IntoResult};
use millstream::{race, select, spawn, time};
use sha2::{Digest, Sha256};
use signal_hook::consts::SIGINT;

/// Send a file to many clients at once, without copying it
///
/// Waits for the clients, sends all of the file to each, and prints the SHA-256 of what was sent. Exits with 0 when every
/// client has taken all of it, with 1 when one has not or the file cannot be read, and with 130 after Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// What to send
    file: PathBuf,

    /// Where to listen; port 0 takes any that is free
    #[arg(long, default_value = "127.0.0.1:0")]
    addr: SocketAddr,

    /// How many clients to wait for
    #[arg(long, value_name = "N", default_value = "4")]
    clients: NonZero<u16>,

    /// KiB in a buffer
    #[arg(long, value_name = "KIB", default_value = "256", value_parser = clap::value_parser!(u32).range(1..=65536))]
    chunk: u32,

    /// How many buffers
    #[arg(long, value_name = "N", default_value = "8")]
    buffers: NonZero<u16>,

    /// Seconds a client may take nothing
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    idle: Duration,

    /// Be the clients too, and compare checksums
    #[arg(long)]
    check: bool,
}

fn seconds(text: &str) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

/// A buffer that several clients hold.
type Page = Arc<FixedBuf>;

#[millstream::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (stop, stopped) = channel::bounded::<()>(1);
    match interrupts() {
        Ok(interrupts) => spawn(close_on_interrupt(interrupts, stop)).detach(),
        Err(error) => return complain(&about("cannot wait for Ctrl-C", &error)),
    }
    let work = adapters::future(run(arguments));
    match race!(stopped.pop() || work).await {
        OneOf2::A(_) => ExitCode::from(130),
        OneOf2::B(Ok(Ok(code))) => code,
        // Whoever read our output has seen enough.
        OneOf2::B(Ok(Err(error))) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        OneOf2::B(Ok(Err(error))) => complain(&error),
        OneOf2::B(Err(adapters::Cancelled)) => ExitCode::from(130),
    }
}

async fn run(arguments: Arguments) -> io::Result<ExitCode> {
    let Arguments { file: path, addr, clients, chunk, buffers, idle, check } = arguments;
    let file = ops::open(&path).await.map_err(|error| about(path.display(), &error))?;
    if ops::statx_fd(&file).await.is_ok_and(|file| file.kind() == FileKind::Directory) {
        return Err(about(path.display(), &io::ErrorKind::IsADirectory.into()));
    }
    let fresh = registered(buffers.get().into(), chunk as usize * 1024)?;
    let listener =
        ops::listen_tcp(addr).map_err(|error| about(format_args!("cannot listen on {addr}"), &error))?;
    let address = listener.local_addr()?;
    say(format_args!("listening on {address}"))?;
    let checkers: Vec<_> =
        (0..if check { clients.get() } else { 0 }).map(|_| thread::spawn(move || receive(address))).collect();

    let (buffers, most) = (usize::from(buffers.get()), usize::from(clients.get()));
    let (returned, free) = channel::local(buffers * (most + 1)); // room for every hold
    let (mut pages, mut sessions) = (Vec::new(), Vec::new());
    for _ in 0..most {
        let conn = ops::accept(&listener).await.map_err(|error| about("cannot accept", &error))?;
        reset_on_close(&conn)?;
        let peer = conn.peer_addr();
        let (tx, rx) = channel::local(buffers);
        pages.push(tx);
        sessions.push((peer, spawn(client(conn, rx, returned.clone(), buffers, idle))));
    }

    let mut reader = Reader { file, fresh, free, returned };
    let read = reader.read(&pages).await.map_err(|error| about(path.display(), &error));
    drop(pages); // closes: that was all
    let mut complete = 0;
    for (peer, session) in sessions {
        let outcome = match session.await {
            Ok(outcome) => outcome,
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        match (outcome, peer) {
            (Ok(()), _) => complete += 1,
            (Err(error), Ok(peer)) => drop(complain(&about(format_args!("client {peer}"), &error))),
            (Err(error), Err(_)) => drop(complain(&error)),
        }
    }
    let (length, digest) = read?;
    say(format_args!("{}  {length} bytes to {complete} of {most} clients", hex(&digest)))?;

    let mut code = if complete == most { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    for checker in checkers {
        match checker.join() {
            Ok(Ok(got)) if got == (length, digest.clone()) => {}
            Ok(Ok((got, _))) => code = complain(&io::Error::other(format!("a client got {got} other bytes"))),
            Ok(Err(error)) => code = complain(&error),
            Err(_) => code = ExitCode::FAILURE, // its panic has told
        }
    }
    Ok(code)
}

/// So many buffers of this size, all of them parts of one piece of memory that the kernel has pinned once and for all.
fn registered(count: usize, size: usize) -> io::Result<Vec<FixedBuf>> {
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(count * size)
        .map_err(|error| about(format_args!("{count} buffers"), &error.into()))?;
    memory.resize(count * size, 0_u8);
    let mut rest = BufferTable::new(1)?.register(memory)?;
    let mut parts = Vec::with_capacity(count);
    while parts.len() + 1 < count {
        let (part, others) = rest.split_at(size);
        parts.push(part);
        rest = others;
    }
    parts.push(rest);
    Ok(parts)
}

/// Reads the file once, into a bounded number of buffers.
struct Reader {
    file: Fd,
    /// Buffers that were not used yet.
    fresh: Vec<FixedBuf>,
    free: local::Receiver<Page>,
    returned: local::Sender<Page>,
}

impl Reader {
    /// Gives every page to every client, and tells how long the file is, and its checksum.
    async fn read(&mut self, clients: &[local::Sender<Page>]) -> io::Result<(u64, Vec<u8>)> {
        let (mut length, mut sum) = (0, Sha256::new());
        loop {
            let buf = self.buffer().await?;
            let (n, buf) = ops::read(&self.file, buf).at(length).await.into_result()?;
            if n == 0 {
                return Ok((length, sum.finalize().to_vec()));
            }
            sum.update(&buf[..]);
            length += n as u64;
            let page = Arc::new(buf);
            for client in clients {
                let _ = client.push(page.clone()).await; // one that is gone gets no more
            }
            let _ = self.returned.push(page).await; // our own hold goes the same way as theirs
        }
    }

    /// A buffer that was not used yet, or the next one that everybody has given back.
    async fn buffer(&mut self) -> io::Result<FixedBuf> {
        if let Some(buf) = self.fresh.pop() {
            return Ok(buf);
        }
        loop {
            let page = self.free.pop().await.map_err(io::Error::other)?;
            if let Some(buf) = Arc::into_inner(page) {
                return Ok(buf);
            }
        }
    }
}

/// Sends the pages to one client, and gives every one of them back, whatever happens.
async fn client(
    conn: Fd,
    pages: local::Receiver<Page>,
    returned: local::Sender<Page>,
    buffers: usize,
    idle: Duration,
) -> io::Result<()> {
    let (sent, back) = channel::local(buffers);
    let mut session = Session { conn, pages, sent, back, returned, on_the_way: 0, idle };
    let outcome = session.run().await;
    let Session { conn, pages, back, returned, mut on_the_way, .. } = session;
    drop(conn); // a reset, unless both sides have said that it is over
    pages.close();
    while let Ok(page) = pages.pop().await {
        let _ = returned.push(page).await;
    }
    while on_the_way > 0 {
        let page = back.pop().await.map_err(io::Error::other)?;
        let _ = returned.push(page).await;
        on_the_way -= 1;
    }
    outcome
}

struct Session {
    conn: Fd,
    pages: local::Receiver<Page>,
    /// Where the kernel's holds come back to.
    sent: local::Sender<Page>,
    back: local::Receiver<Page>,
    returned: local::Sender<Page>,
    /// Pages that the client has not acknowledged.
    on_the_way: usize,
    idle: Duration,
}

impl Session {
    async fn run(&mut self) -> io::Result<()> {
        let mut progress = Instant::now();
        loop {
            let late = progress + self.idle;
            let next = select! {
                page = self.back.pop() => {
                    self.acknowledged(page).await?;
                    progress = Instant::now();
                    continue;
                }
                // One that has taken everything so far may wait for more as long as the others take.
                _ = time::sleep_until(late), if self.on_the_way > 0 => return Err(io::ErrorKind::TimedOut.into()),
                page = self.pages.pop() => page,
            };
            let Ok(page) = next else { break };
            let len = page.len();
            let send = ops::send_zc(&self.conn, page).flags(libc::MSG_WAITALL).will_push(self.sent.clone());
            self.on_the_way += 1;
            if send.timeout(self.idle).await?? < len {
                return Err(io::ErrorKind::TimedOut.into()); // the rest of the page did not find room in time
            }
            if self.on_the_way == 1 {
                progress = Instant::now(); // nothing was awaited until now
            }
        }
        ops::shutdown(&self.conn, Shutdown::Write).await?;
        while self.on_the_way > 0 {
            let page = self.back.pop().timeout(self.idle).await.map_err(io::Error::from)?;
            self.acknowledged(page).await?;
        }
        // It closes when it has read all.
        while ops::recv(&self.conn, [0; 512]).timeout(self.idle).await?.into_result()?.0 > 0 {}
        Ok(())
    }

    async fn acknowledged(&mut self, page: Result<Page, channel::PopError>) -> io::Result<()> {
        self.on_the_way -= 1;
        let _ = self.returned.push(page.map_err(io::Error::other)?).await;
        Ok(())
    }
}

/// From now on to close the connection is to reset it, unless both sides have ended it: the kernel then throws away what was
/// not acknowledged, and lets go of the pages at once.
fn reset_on_close(conn: &Fd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of_val(&linger) as libc::socklen_t;
    // SAFETY: (local) a live socket, and an option of the length that is told.
    let done = unsafe {
        let linger = (&raw const linger).cast();
        libc::setsockopt(conn.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, linger, len)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A client, on a thread of its own: how much came, and its checksum.
fn receive(from: SocketAddr) -> io::Result<(u64, Vec<u8>)> {
    let mut conn = TcpStream::connect(from)?;
    let (mut length, mut sum, mut buf) = (0, Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match conn.read(&mut buf)? {
            0 => return Ok((length, sum.finalize().to_vec())),
            n => {
                sum.update(&buf[..n]);
                length += n as u64;
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn say(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn complain(error: &io::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "zc_fanout: {error}"); // there is no other place to complain
    ExitCode::FAILURE
}

/// The error, and what it is about.
fn about(what: impl Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// A socket that a byte arrives on when Ctrl-C is pressed.
fn interrupts() -> io::Result<UnixStream> {
    let (interrupts, sender) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGINT, sender)?;
    Ok(interrupts)
}

async fn close_on_interrupt(interrupts: UnixStream, stop: Sender<()>) {
    let _ = ops::recv(Fd::from(interrupts), [0; 1]).await;
    stop.close();
}
