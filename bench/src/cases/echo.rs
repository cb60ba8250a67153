//! `echo`: server CPU time per request over loopback TCP, the server and its load in processes and on CPUs of their own.
//!
//! Knows: the floor, millstream. Does not know: how rounds are compared.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::{Args, ValueEnum};
use millstream::ops::{self, Fd, IntoResult};

use super::{default_runtime, sleepy_runtime};
use crate::clock::{self, Sample};
use crate::floor;
use crate::measure::{Case, Clock, FLOOR, OURS, OURS_SLEEPY, Plan, Target};
use crate::peers::{monoio, tokio};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in [64, 1024] {
        for connections in [50, 500] {
            let round = move |kind| move |plan: &Plan| round(kind, size, connections, plan.units(4_000.0));
            let case = Case::new(format!("echo/{size}/{connections}"), Clock::Cpu, Target::Ratio(1.04))
                .with(FLOOR, round(Kind::Floor))
                .with(OURS, round(Kind::Millstream))
                .with(OURS_SLEEPY, round(Kind::Sleepy));
            let case = case.with(monoio::NAME, round(Kind::Monoio)).with(tokio::NAME, round(Kind::Tokio));
            cases.push(case);
        }
    }
    cases
}

/// Who serves.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Floor,
    Millstream,
    Sleepy,
    Monoio,
    Tokio,
}

/// Serves a number of connections until all are closed.
#[derive(Debug, Args)]
pub(crate) struct Server {
    kind: Kind,
    connections: usize,
    cpu: usize,
}

impl Server {
    pub(crate) fn run(&self) -> io::Result<()> {
        clock::pin(self.cpu)?;
        let listener = floor::echo::listen(self.connections)?;
        println!("{}", listener.local_addr()?.port());
        match self.kind {
            Kind::Floor => floor::echo::serve(&listener, self.connections),
            Kind::Millstream => default_runtime()?.block_on(serve(listener, self.connections)),
            Kind::Sleepy => sleepy_runtime()?.block_on(serve(listener, self.connections)),
            Kind::Monoio => monoio::serve(listener, self.connections),
            Kind::Tokio => tokio::serve(listener, self.connections),
        }
    }
}

async fn serve(listener: TcpListener, connections: usize) -> io::Result<()> {
    let listener = Fd::from(listener);
    let mut sessions = Vec::with_capacity(connections);
    for _ in 0..connections {
        sessions.push(millstream::spawn(session(ops::accept(&listener).await?)));
    }
    for session in sessions {
        session.await.map_err(|error| io::Error::other(format!("{error:?}")))??;
    }
    Ok(())
}

async fn session(connection: Fd) -> io::Result<()> {
    // A second descriptor for as long as the option takes: std sets it only on a stream it owns.
    TcpStream::from(connection.as_fd().try_clone_to_owned()?).set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(floor::echo::BUFFER);
    loop {
        let (received, sent);
        (received, buffer) = ops::recv(&connection, buffer).await.into_result()?;
        if received == 0 {
            return Ok(());
        }
        (sent, buffer) = ops::send(&connection, buffer).await.into_result()?;
        if sent < received {
            return Err(io::Error::other("a reply did not fit into an empty socket buffer"));
        }
    }
}

/// Sends requests over a number of connections, one at a time on each.
#[derive(Debug, Args)]
pub(crate) struct Load {
    port: u16,
    connections: usize,
    size: usize,
    requests: u64,
    cpu: usize,
}

impl Load {
    pub(crate) fn run(&self) -> io::Result<()> {
        clock::pin(self.cpu)?;
        let took = floor::echo::load(self.port, self.connections, self.size, self.requests)?;
        println!("{}", took.as_nanos());
        Ok(())
    }
}

/// One server, one load. The server's CPU time is its whole life's: starting and accepting are the same few
/// milliseconds for everyone, and a small part of a long round.
fn round(kind: Kind, size: usize, connections: usize, requests: u64) -> io::Result<Sample> {
    let (here, there) = clock::two_cpus()?;
    let kind = kind.to_possible_value().expect("no kind is hidden");
    let mut server = again("echo-server", &[kind.get_name(), &connections.to_string(), &there.to_string()])?;
    let mut port = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut port)?;

    let numbers = [connections, size, requests as usize, here].map(|number| number.to_string());
    let mut arguments = vec![port.trim()];
    arguments.extend(numbers.iter().map(String::as_str));
    let mut load = again("echo-load", &arguments)?;
    let mut took = String::new();
    load.stdout.take().expect("piped").read_to_string(&mut took)?;
    clock::wait_for_cpu(load)?;

    let cpu = clock::wait_for_cpu(server)?;
    let wall = took.trim().parse().map(Duration::from_nanos).map_err(io::Error::other)?;
    Ok(Sample::of(cpu, wall, requests))
}

/// This binary again, as something else.
fn again(role: &str, arguments: &[&str]) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    clock::spawn_dependent(&mut command)
}
