//! `echo`: what a request costs a server over loopback TCP, the server and its load in processes and on CPUs of their own.
//!
//! Knows: the floors, millstream, the peers. Does not know: how rounds are compared.

use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use clap::{Args, ValueEnum};
use futures::StreamExt;
use millstream::combinators::ResultsExt;
use millstream::ops::{self, BufPool, BufQueue, Fd, FdTable, FixedFd, IntoResult};
use millstream::{Runtime, channel};

use super::{default_runtime, sleepy_runtime};
use crate::clock::{self, Sample};
use crate::floor;
use crate::measure::{
    self, Case, Clock, FLOOR, FLOOR_BUNDLED, FLOOR_MULTISHOT, OURS, OURS_BUNDLED, OURS_CHANNEL,
    OURS_MULTISHOT, OURS_QUEUED, OURS_SLEEPY, Plan, Target,
};
use crate::peers::{compio, glommio, monoio, tokio};

/// How many connections there are; from `MANY` on the CPU time per request has targets.
const CONNECTIONS: [usize; 4] = [1, 50, 500, 1000];
const MANY: usize = 50;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in [64, 1024] {
        cases.extend(CONNECTIONS.map(|connections| many(size, connections)));
        cases.push(awake(size));
    }
    cases.push(long(4 * floor::echo::BUFFER, MANY));
    cases
}

/// Messages that fill several buffers: what it brings to receive and send those together.
fn long(size: usize, connections: usize) -> Case {
    let round = move |kind| {
        move |plan: &Plan| round(kind, size, connections, plan.units_of_short_round(12_000.0), false)
    };
    Case::new(format!("echo/{size}/{connections}"), Clock::Cpu, Target::None)
        .with(FLOOR, round(Kind::Floor))
        .with(FLOOR_MULTISHOT, round(Kind::FloorMultishot))
        .with(FLOOR_BUNDLED, round(Kind::FloorBundled))
        .with(OURS, round(Kind::Millstream))
        .with(OURS_MULTISHOT, round(Kind::Multishot))
        .with(OURS_BUNDLED, round(Kind::Bundled))
        .with(OURS_QUEUED, round(Kind::Queued))
}

/// So many connections, the load asleep whenever it has nothing to do.
fn many(size: usize, connections: usize) -> Case {
    // One at a time, both sides sleep and wake for every request.
    let estimate = if connections == 1 { 40_000.0 } else { 4_000.0 };
    let round = move |kind| {
        move |plan: &Plan| round(kind, size, connections, plan.units_of_short_round(estimate), false)
    };
    let name = format!("echo/{size}/{connections}");
    let case = if connections < MANY {
        Case::new(name, Clock::Cpu, Target::None)
    } else {
        Case::new(name, Clock::Cpu, Target::Of(1.04, FLOOR))
            .target(OURS, Target::Best(1.0, measure::PEERS))
            .target(OURS_MULTISHOT, Target::Of(1.04, FLOOR_MULTISHOT))
            .target(OURS_MULTISHOT, Target::Best(1.0, measure::PEERS))
    };
    let case = case
        .with(FLOOR, round(Kind::Floor))
        .with(FLOOR_MULTISHOT, round(Kind::FloorMultishot))
        .with(OURS, round(Kind::Millstream))
        .with(OURS_SLEEPY, round(Kind::Sleepy))
        .with(OURS_MULTISHOT, round(Kind::Multishot))
        .with(OURS_CHANNEL, round(Kind::Channel));
    with_peers(case, round)
}

/// One connection, the load always awake: what a request takes when nobody has to be woken for it, if the server is awake too.
fn awake(size: usize) -> Case {
    let round =
        move |kind| move |plan: &Plan| round(kind, size, 1, plan.units_of_short_round(25_000.0), true);
    let name = format!("echo/{size}/1/awake");
    let case = Case::new(name, Clock::Wall, Target::Best(0.5, measure::PEERS));
    let case = case.with(FLOOR, round(Kind::FloorAwake)).with(OURS, round(Kind::Millstream));
    with_peers(case, round)
}

fn with_peers<R>(case: Case, round: impl Fn(Kind) -> R) -> Case
where
    R: Fn(&Plan) -> io::Result<Sample> + 'static,
{
    case.with_kind(monoio::NAME, measure::Kind::Peer, round(Kind::Monoio))
        .with_kind(tokio::NAME, measure::Kind::Peer, round(Kind::Tokio))
        .with_kind(compio::NAME, measure::Kind::Peer, round(Kind::Compio))
        .with_kind(glommio::NAME, measure::Kind::Peer, round(Kind::Glommio))
}

/// Who serves.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Floor,
    FloorAwake,
    FloorMultishot,
    FloorBundled,
    Millstream,
    Sleepy,
    Multishot,
    Bundled,
    Queued,
    Channel,
    Monoio,
    Tokio,
    Compio,
    Glommio,
}

/// Serves a number of connections until all are closed.
#[derive(Debug, Args)]
pub(crate) struct Server {
    kind: Kind,
    connections: usize,
    cpu: usize,
    /// How long messages are, for those who share buffers.
    #[arg(long, default_value = "1")]
    size: usize,
}

impl Server {
    /// Says its port when it can serve, or why it cannot here.
    pub(crate) fn run(&self) -> io::Result<()> {
        let serve = match self.kind.ready(floor::echo_multishot::buffers(self.connections, self.size)) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                println!("skipped {error}");
                return Ok(());
            }
            ready => ready?,
        };
        clock::pin(self.cpu)?;
        let listener = floor::echo::listen(self.connections)?;
        println!("{}", listener.local_addr()?.port());
        serve(listener, self.connections)
    }
}

/// Serves so many connections until all are closed.
type Serve = Box<dyn FnOnce(TcpListener, usize) -> io::Result<()>>;

impl Kind {
    /// What is made before the thread is pinned: one of ours on a thread that has a single CPU would not spin.
    fn ready(self, buffers: usize) -> io::Result<Serve> {
        Ok(match self {
            Kind::Floor => Box::new(|listener, n| floor::echo::serve(&listener, n, false)),
            Kind::FloorAwake => Box::new(|listener, n| floor::echo::serve(&listener, n, true)),
            Kind::FloorMultishot => {
                Box::new(move |listener, n| floor::echo_multishot::serve(&listener, n, buffers))
            }
            Kind::FloorBundled => {
                Box::new(move |listener, n| floor::echo_bundled::serve(&listener, n, buffers))
            }
            Kind::Millstream => ours(default_runtime()?, serve),
            Kind::Sleepy => ours(sleepy_runtime()?, serve),
            Kind::Multishot => ours(default_runtime()?, async move |listener, n| {
                serve_multishot(listener, n, buffers, received_at_once).await
            }),
            Kind::Bundled => ours(default_runtime()?, async move |listener, n| {
                serve_multishot(listener, n, buffers, received_bundled).await
            }),
            Kind::Queued => ours(default_runtime()?, async move |listener, n| {
                serve_multishot(listener, n, buffers, received_bundled_and_queued).await
            }),
            Kind::Channel => ours(default_runtime()?, async move |listener, n| {
                serve_multishot(listener, n, buffers, received_through_a_channel).await
            }),
            Kind::Monoio => Box::new(monoio::serve),
            Kind::Tokio => Box::new(tokio::serve),
            Kind::Compio => Box::new(compio::serve),
            Kind::Glommio => {
                let executor = glommio::executor()?;
                Box::new(move |listener, connections| glommio::serve(&executor, listener, connections))
            }
        })
    }
}

fn ours(runtime: Runtime, serve: impl AsyncFnOnce(TcpListener, usize) -> io::Result<()> + 'static) -> Serve {
    Box::new(move |listener, connections| runtime.block_on(serve(listener, connections)))
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

/// With what the ring has for it: as the second floor, in our words.
async fn serve_multishot(
    listener: TcpListener,
    connections: usize,
    buffers: usize,
    session: impl AsyncFn(FixedFd, BufPool) -> io::Result<()> + Copy + 'static,
) -> io::Result<()> {
    let pool = BufPool::new(buffers, floor::echo::BUFFER)?;
    let table = FdTable::new(connections as u32)?;
    let mut accepted = ops::accept_direct_multishot(Fd::from(listener), &table).stream();
    let mut sessions = Vec::with_capacity(connections);
    while sessions.len() < connections {
        let connection = accepted.next().await.expect("accepts until it is dropped")?;
        let pool = pool.clone();
        sessions.push(millstream::spawn(async move { session(connection, pool).await }));
    }
    for session in sessions {
        session.await.map_err(|error| io::Error::other(format!("{error:?}")))??;
    }
    Ok(())
}

/// What is received is sent by the task that takes it.
async fn received_at_once(connection: FixedFd, pool: BufPool) -> io::Result<()> {
    let mut received = ops::recv_multishot(&connection, &pool).stream();
    while let Some(bytes) = received.next().await {
        ops::send_all(&connection, bytes?).await.into_result()?;
    }
    Ok(())
}

/// The buffers that one receive has filled are sent as one message.
async fn received_bundled(connection: FixedFd, pool: BufPool) -> io::Result<()> {
    let mut received = ops::recv_multishot(&connection, &pool).bundled().stream();
    while let Some(bundle) = received.next().await {
        let bundle = bundle?;
        let len = bundle.len();
        let (sent, _) = ops::sendmsg(&connection, bundle.collect()).flags(libc::MSG_WAITALL).await;
        if sent? < len {
            return Err(io::Error::other("a reply did not fit into an empty socket buffer"));
        }
    }
    Ok(())
}

/// The same out of a queue.
async fn received_bundled_and_queued(connection: FixedFd, pool: BufPool) -> io::Result<()> {
    let out = BufQueue::to_send(pool.capacity())?;
    let mut received = ops::recv_multishot(&connection, &pool).bundled().stream();
    while let Some(bundle) = received.next().await {
        for buffer in bundle? {
            out.push(buffer).map_err(io::Error::other)?;
        }
        while !out.is_empty() {
            let (sent, _buffers) = ops::send_queued(&connection, &out).await;
            sent?;
        }
    }
    Ok(())
}

/// What is received goes into a channel, and another task sends it.
async fn received_through_a_channel(connection: FixedFd, pool: BufPool) -> io::Result<()> {
    let (tx, received) = channel::local(4);
    millstream::spawn(ops::recv_multishot(&connection, &pool).will_push(tx)).detach();
    while let Ok(bytes) = received.pop().await {
        ops::send_all(&connection, bytes).await.into_result()?;
    }
    Ok(())
}

/// Sends requests over a number of connections, one at a time on each.
#[derive(Debug, Args)]
pub(crate) struct Load {
    port: u16,
    server: u32,
    connections: usize,
    size: usize,
    requests: u64,
    cpu: usize,
    /// Looks for replies instead of sleeping until they come.
    #[arg(long)]
    awake: bool,
}

impl Load {
    /// Says what a request took: the server's CPU time, time on the wall, and how long half and 99 of 100 took at most.
    pub(crate) fn run(&self) -> io::Result<()> {
        clock::pin(self.cpu)?;
        let &Load { port, server, connections, size, requests, awake, .. } = self;
        let plan = floor::load::Plan { port, server, connections, size, requests, awake };
        println!("{}", measure::says(&floor::load::run(plan)?));
        Ok(())
    }
}

/// One server, one load.
fn round(kind: Kind, size: usize, connections: usize, requests: u64, awake: bool) -> io::Result<Sample> {
    let (here, there) = clock::two_cpus()?;
    let kind = kind.to_possible_value().expect("no kind is hidden");
    let (n, cpu, length) = (connections.to_string(), there.to_string(), size.to_string());
    let mut server = again("echo-server", &[kind.get_name(), &n, &cpu, "--size", &length])?;
    let mut port = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut port)?;
    if let Some(why) = port.strip_prefix("skipped ") {
        clock::wait_for(server)?;
        return Err(io::Error::new(io::ErrorKind::Unsupported, why.trim()));
    }

    let numbers = [server.id() as usize, connections, size, requests as usize, here].map(|n| n.to_string());
    let mut arguments = vec![port.trim()];
    arguments.extend(numbers.iter().map(String::as_str));
    arguments.extend(awake.then_some("--awake"));
    let mut load = again("echo-load", &arguments)?;
    let mut took = String::new();
    load.stdout.take().expect("piped").read_to_string(&mut took)?;
    clock::wait_for(load)?;
    clock::wait_for(server)?;
    measure::understood(&took).ok_or_else(|| io::Error::other(format!("the load said {took:?}")))
}

/// This binary again, as something else.
fn again(role: &str, arguments: &[&str]) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    clock::spawn_dependent(&mut command)
}
