//! An echo server that lets the kernel do what it can by itself: accept one connection after the other, receive whatever
//! comes into buffers that no connection holds while it is silent, and pause when somebody does not keep up.
//!
//! ```text
//! cargo run --release --example echo_multishot -- --addr 127.0.0.1:7000
//! ```
//!
//! Connections are accepted into the ring's own table of descriptors, and each becomes a task; when the table is full, clients
//! wait in the kernel's backlog. (With `--numbers` they get a descriptor of the process each, from one entry in the ring for
//! all.) Of each connection, one entry in the ring receives: what comes goes through a channel to the task that sends it back,
//! and the buffers return to the pool when they are sent. A client that takes nothing back fills its channel; then its receive
//! pauses, its socket fills, and the client has to stop sending. So the memory in use is what the pool has, whatever clients
//! do. Until it learns of the pause the kernel goes on: such a client holds some hundred buffers of the pool, until it takes
//! what it asked for or `--idle` has passed; the pool has enough for several of them and for everybody else. (Before Linux 6.8
//! the kernel goes on as long as there are bytes and buffers.)
//!
//! With `--bundles` one receive fills as many buffers as there are bytes for. That is less work where messages are longer than
//! a buffer, but a channel counts bundles: a single slow client may then hold the whole pool, and the others wait for it.
//!
//! Ctrl-C closes the *cancel slot*, a channel nobody ever pushes to. The server is done when the last session has let go of
//! its end of another one.

use std::error::Error;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use millstream::channel::{self, Receiver, Sender};
use millstream::combinators::{OneOf2, ResultsExt};
use millstream::ops::{self, AnyFd, BufPool, Fd, FdTable, IntoFd, IntoResult, PoolBuf};
use millstream::{Operation, race, spawn, time};
use signal_hook::consts::SIGINT;

/// Send back whatever comes in
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, default_value = "127.0.0.1:0")]
    addr: SocketAddr,

    /// Connections served at once
    #[arg(long, value_name = "N", default_value = "1024")]
    connections: NonZero<u16>,

    /// Give connections descriptors of the process, and not of the ring
    #[arg(long)]
    numbers: bool,

    /// Seconds a client may neither send nor take anything
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    idle: Duration,

    /// Buffers that all connections share, at most 32768
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u16).range(1..=32768))]
    buffers: u16,

    /// Bytes in each of them
    #[arg(long, value_name = "BYTES", default_value = "4096")]
    size: NonZero<u16>,

    /// Messages that may wait between a connection's receiver and its sender
    #[arg(long, value_name = "N", default_value = "4")]
    capacity: NonZero<u16>,

    /// Fill several buffers at once, where the kernel can; one client may then hold them all
    #[arg(long)]
    bundles: bool,
}

fn seconds(text: &str) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

#[millstream::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "echo_multishot: {error}"); // there is no other place to complain
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { addr, connections, numbers, idle, buffers, size, capacity, bundles } = arguments;
    let pool = BufPool::new(buffers.into(), usize::from(size.get()))
        .map_err(|error| format!("cannot make {buffers} buffers of {size} bytes: {error}"))?;
    let listener = ops::listen_tcp(addr)
        .and_then(|listener| no_delay(&listener).map(|()| listener))
        .map_err(|error| format!("cannot listen on {addr}: {error}"))?;
    let interrupts = interrupts().map_err(|error| format!("cannot wait for Ctrl-C: {error}"))?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)
        .map_err(|error| format!("cannot say where it listens: {error}"))?;

    let (stop, stopped) = channel::bounded::<()>(1);
    spawn(close_on_interrupt(interrupts, stop)).detach();
    let terms = Terms { pool: pool.clone(), capacity: capacity.get().into(), bundles, idle, stopped };
    serve(&listener, connections.get(), numbers, terms).await?;
    let (available, all, lowest) = (pool.available(), pool.capacity(), pool.lowest());
    // Whoever was told of the start may be gone.
    let _ = writeln!(io::stdout(), "stopped; {available} of {all} buffers are back, {lowest} at the fewest");
    Ok(())
}

/// Switches Nagle's algorithm off, for every connection that will be accepted: an answer of several sends would wait for the
/// client's delayed acknowledgement. The option is one of connections for std, so this borrows one's name.
fn no_delay(listener: &Fd) -> io::Result<()> {
    TcpStream::from(listener.as_fd().try_clone_to_owned()?).set_nodelay(true)
}

/// What every session is told.
#[derive(Clone)]
struct Terms {
    pool: BufPool,
    capacity: usize,
    bundles: bool,
    idle: Duration,
    stopped: Receiver<()>,
}

/// Accepts until stopped, then waits for the sessions.
async fn serve(listener: &Fd, limit: u16, numbers: bool, terms: Terms) -> Result<(), Box<dyn Error>> {
    let stopped = terms.stopped.clone();
    let (alive, all_ended) = channel::local::<()>(1);
    let accepted = if numbers {
        let sessions = ops::accept_multishot(listener).will_spawn(move |conn| told(conn, &terms, &alive));
        race!(stopped.pop() || sessions.limit(limit.into())).await
    } else {
        // The limit of open files is one of this table, too.
        let table = FdTable::new(limit.into())
            .map_err(|error| format!("cannot make a table for {limit} connections: {error}"))?;
        let accepts = ops::accept_direct_multishot(listener, &table);
        race!(stopped.pop() || accepts.will_spawn(move |conn| told(conn, &terms, &alive))).await
    };
    if let OneOf2::B(accepted) = accepted {
        accepted.into_result().map_err(|error| format!("cannot accept: {error}"))?;
    }
    let _ = all_ended.pop().await; // closed by whoever ends last
    Ok(())
}

/// A session that says when it is over, by letting go of `alive`.
fn told<F: Connection>(
    conn: F,
    terms: &Terms,
    alive: &channel::local::Sender<()>,
) -> impl Future<Output = ()> + use<F> {
    let (alive, terms) = (alive.clone(), terms.clone());
    async move {
        let _ = session(conn, terms).await; // a client that breaks off is no news
        drop(alive);
    }
}

/// A descriptor of either kind.
trait Connection: AnyFd + IntoFd<Fd = Self> {}

impl<F: AnyFd + IntoFd<Fd = F>> Connection for F {}

/// Receives into a channel, and sends back what comes out of it.
async fn session(conn: impl Connection, terms: Terms) -> io::Result<()> {
    let Terms { pool, capacity, bundles, idle, stopped } = terms;
    let receive = ops::recv_multishot(conn.clone(), &pool);
    let served = if bundles {
        let (received_tx, received) = channel::local(capacity);
        until_stopped(stopped, receive.bundled().backlog(capacity).will_push(received_tx));
        send_back(&conn, received, |bundle| bundle, idle).await
    } else {
        let (received_tx, received) = channel::local(capacity);
        until_stopped(stopped, receive.backlog(capacity).will_push(received_tx));
        send_back(&conn, received, Some, idle).await
    };
    // The client is told now. Before Linux 6.13 a slot's file is closed only when the ops of other slots that began before have
    // ended, and among those are sends to clients that take nothing.
    let _ = ops::shutdown(conn, Shutdown::Both).await; // it may be gone
    served
}

/// Closes the channel that `receiving` has, whichever ends it.
fn until_stopped(stopped: Receiver<()>, receiving: impl Operation<Output: 'static> + 'static) {
    spawn(async move { race!(stopped.pop() || receiving).await }).detach();
}

/// Sends all that has gone into the channel, also when the server stops meanwhile.
async fn send_back<M, B: IntoIterator<Item = PoolBuf>>(
    conn: &impl Connection,
    received: channel::local::Receiver<M>,
    buffers: impl Fn(M) -> B,
    idle: Duration,
) -> io::Result<()> {
    // No message for too long, or none any more: the client has said all, and has had all of it back.
    while let Ok(Ok(message)) = time::timeout(idle, received.pop()).await {
        for bytes in buffers(message) {
            let Ok(sent) = time::timeout(idle, ops::send_all(conn.clone(), bytes)).await else {
                return Ok(()); // it does not take what it asked for
            };
            sent.into_result()?;
        }
    }
    Ok(())
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
