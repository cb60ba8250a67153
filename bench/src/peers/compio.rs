//! The work on compio, with the setup flags the floor has.
//!
//! Knows: compio. Does not know: other peers.

use std::io;
use std::net::TcpListener;

use compio::BufResult;
use compio::driver::ProactorBuilder;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::runtime::{Runtime, RuntimeBuilder};

use crate::floor::echo::BUFFER;

pub(crate) const NAME: &str = "compio";

fn runtime() -> io::Result<Runtime> {
    let mut ring = ProactorBuilder::new();
    ring.single_issuer(true).defer_taskrun(true).coop_taskrun(true).taskrun_flag(true);
    RuntimeBuilder::new().with_proactor(ring).build()
}

/// Serves connections until all are closed.
pub(crate) fn serve(listener: TcpListener, connections: usize) -> io::Result<()> {
    runtime()?.block_on(async {
        let listener = compio::net::TcpListener::from_std(listener)?;
        let mut sessions = Vec::with_capacity(connections);
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().await?;
            sessions.push(compio::runtime::spawn(async move {
                let mut buffer = Vec::with_capacity(BUFFER);
                loop {
                    let (received, sent);
                    BufResult(received, buffer) = stream.read(buffer).await;
                    if received? == 0 {
                        return io::Result::Ok(());
                    }
                    BufResult(sent, buffer) = stream.write_all(buffer).await;
                    sent?;
                    buffer.clear();
                }
            }));
        }
        for session in sessions {
            session.await.map_err(|error| io::Error::other(format!("{error:?}")))??;
        }
        Ok(())
    })
}
