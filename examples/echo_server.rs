//! An echo server: what a client sends comes back, until it has said all, says nothing for too long, or we stop.
//!
//! ```text
//! cargo run --release --example echo_server -- --addr 127.0.0.1:7000
//! ```
//!
//! The limit on connections is a channel of permits. A connection is accepted only with a permit in hand, so clients
//! beyond the limit wait in the kernel's backlog and not in this program; when a session ends, however it ends, its
//! permit goes back. Ctrl-C closes the *cancel slot*, a channel nobody ever pushes to: closing it wakes everyone who
//! waits on it. The server is done when all the permits are back.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use millstream::channel::{self, Receiver, Sender};
use millstream::combinators::{OneOf2, OneOf3};
use millstream::ops::{self, Fd, IntoResult};
use millstream::{race, spawn, time};
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

    /// Seconds a client may neither send nor take anything
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    idle: Duration,
}

fn seconds(text: &str) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

#[millstream::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { addr, connections, idle } = arguments;
    let listener = ops::listen_tcp(addr).map_err(|error| format!("cannot listen on {addr}: {error}"))?;
    let interrupts = interrupts().map_err(|error| format!("cannot wait for Ctrl-C: {error}"))?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)
        .map_err(|error| format!("cannot say where it listens: {error}"))?;

    let (stop, stopped) = channel::bounded::<()>(1);
    spawn(close_on_interrupt(interrupts, stop)).detach();
    serve(&listener, connections.get().into(), idle, stopped).await;
    let _ = writeln!(io::stdout(), "stopped"); // whoever was told of the start may be gone
    Ok(())
}

/// Accepts until stopped, then waits for the sessions.
async fn serve(listener: &Fd, limit: usize, idle: Duration, stopped: Receiver<()>) {
    let (permit_tx, permits) = channel::bounded(limit);
    for _ in 0..limit {
        let _ = permit_tx.try_push(()); // there is room for exactly these
    }
    let mut failing = false;
    // Of several arms that are ready the first wins, so the one that must not starve stands first.
    while let OneOf2::B(Ok(())) = race!(stopped.pop() || permits.pop()).await {
        let permit = Permit(permit_tx.clone());
        match race!(stopped.pop() || ops::accept(listener)).await {
            OneOf2::B(Ok(conn)) => {
                failing = false;
                let session = session(conn, idle, stopped.clone());
                spawn(async move {
                    let _ = session.await; // a client that breaks off is no news
                    drop(permit);
                })
                .detach();
            }
            OneOf2::B(Err(error)) => {
                if !failing {
                    complain(format_args!("cannot accept: {error}")); // once, until it works again
                }
                failing = true;
                time::sleep(Duration::from_millis(100)).await; // out of descriptors, perhaps: some will be closed
            }
            OneOf2::A(_) => break,
        }
    }
    for _ in 0..limit {
        let _ = permits.pop().await;
    }
}

/// The right to serve one connection, which goes back where it came from.
struct Permit(Sender<()>);

impl Drop for Permit {
    fn drop(&mut self) {
        let _ = self.0.try_push(()); // a permit taken has left its place free
    }
}

/// Sends back what comes in. What has been received is sent even when the server stops meanwhile.
async fn session(conn: Fd, idle: Duration, stopped: Receiver<()>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let recv = ops::recv(&conn, buffer);
        let (n, received) = match race!(recv || time::sleep(idle) || stopped.pop()).await {
            OneOf3::A(outcome) => outcome.into_result()?,
            OneOf3::B(()) | OneOf3::C(_) => return Ok(()),
        };
        if n == 0 {
            return Ok(()); // the client has said all, and has had all of it back
        }
        let Ok(sent) = time::timeout(idle, ops::send_all(&conn, received)).await else {
            return Ok(()); // it does not take what it asked for
        };
        (_, buffer) = sent.into_result()?;
    }
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

/// Writes a message. There is nobody left to tell when that fails.
fn complain(message: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "echo_server: {message}");
}
