//! `zc/…`: a stream over the loopback device, sent with a copy and without.
//!
//! Knows: millstream's two kinds of send. Does not know: devices that could gather the bytes themselves.
//!
//! What counts is the CPU time of both sides: whoever saves a copy at one end may pay for it at the other.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::Barrier;

use millstream::channel;
use millstream::ops::{self, Buf, BufferTable, Fd, IntoResult};

use super::{sleepy_runtime, two_threads};
use crate::clock::{Sample, Stopwatch};
use crate::measure::{Case, Clock, OURS, Target};

/// Buffers of the sender: enough that it need not wait for the one that it has just sent.
const BUFFERS: usize = 8;

/// As `OURS`, from registered buffers.
const REGISTERED: &str = "millstream send_zc, registered";
/// The copying send, beside `OURS`, which is the one without a copy.
const COPYING: &str = "millstream send";

pub(super) fn cases() -> Vec<Case> {
    [1, 4, 16, 64, 256, 1024].map(case).into()
}

fn case(kib: usize) -> Case {
    let estimate = 3_000.0 + kib as f64 * 300.0;
    Case::new(format!("zc/{kib}KiB"), Clock::Cpu, Target::None)
        .with(OURS, move |plan| {
            stream(kib * 1024, plan.units(estimate), async |socket: &Fd, size, count| {
                recycled(socket, vec![vec![1_u8; size]; BUFFERS], count).await
            })
        })
        .with(REGISTERED, move |plan| {
            stream(kib * 1024, plan.units(estimate), async |socket: &Fd, size, count| {
                let memory = vec![1_u8; size * BUFFERS];
                let mut rest = BufferTable::new(1)?.register(memory)?;
                let mut buffers = Vec::with_capacity(BUFFERS);
                for _ in 1..BUFFERS {
                    let (buffer, others) = rest.split_at(size);
                    buffers.push(buffer);
                    rest = others;
                }
                buffers.push(rest);
                recycled(socket, buffers, count).await
            })
        })
        .with(COPYING, move |plan| {
            stream(kib * 1024, plan.units(estimate), async |socket: &Fd, size, count| {
                let mut buffer = vec![1_u8; size];
                for _ in 0..count {
                    (_, buffer) = ops::send_all(socket, buffer).await.into_result()?;
                }
                Ok(())
            })
        })
}

/// Sends `count` times without a copy, from whichever buffer has come back.
async fn recycled<B: Buf>(socket: &Fd, buffers: Vec<B>, count: u64) -> io::Result<()> {
    let (recycle, free) = channel::local(BUFFERS);
    for buffer in buffers {
        recycle.try_push(buffer).expect("room for all of them");
    }
    for _ in 0..count {
        let buffer = free.pop().await.map_err(io::Error::other)?;
        let size = buffer.init_len();
        let send = ops::send_zc(socket, buffer).flags(libc::MSG_WAITALL);
        assert_eq!(send.will_push(recycle.clone()).await?, size);
    }
    for _ in 0..BUFFERS {
        free.pop().await.map_err(io::Error::other)?; // the last are back
    }
    Ok(())
}

/// Times `count` sends of `size` bytes, and a thread that reads them all.
fn stream(
    size: usize,
    count: u64,
    send: impl AsyncFnOnce(&Fd, usize, u64) -> io::Result<()> + Send,
) -> io::Result<Sample> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let socket = TcpStream::connect(listener.local_addr()?)?;
    socket.set_nodelay(true)?;
    let mut peer = listener.accept()?.0;
    let sender = |ready: &Barrier| {
        let runtime = sleepy_runtime(); // to spin while the other side is busy is no cost of a send
        ready.wait();
        let runtime = runtime?;
        let watch = Stopwatch::start();
        runtime.block_on(async {
            let socket = Fd::from(socket);
            send(&socket, size, count).await
        })?;
        Ok(watch.stop(count))
    };
    let reader = |ready: &Barrier| {
        let mut room = vec![0; 256 * 1024];
        ready.wait();
        let mut left = size as u64 * count;
        while left > 0 {
            match peer.read(&mut room)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => left -= n as u64,
            }
        }
        Ok(())
    };
    Ok(two_threads(sender, reader)?.0)
}
