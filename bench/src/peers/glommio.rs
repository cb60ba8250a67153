//! The work on glommio.
//!
//! Knows: glommio. Does not know: other peers.
#![allow(unsafe_code, reason = "glommio takes a listener only as a raw descriptor")]

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, IntoRawFd};

use futures::{AsyncReadExt, AsyncWriteExt};
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

use crate::floor::echo::BUFFER;

pub(crate) const NAME: &str = "glommio";

/// An error of kind `Unsupported` says what it lacks here: it wants to lock memory.
pub(crate) fn executor() -> io::Result<LocalExecutor> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make();
    executor.map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error.to_string()))
}

/// Serves connections until all are closed.
pub(crate) fn serve(executor: &LocalExecutor, listener: TcpListener, connections: usize) -> io::Result<()> {
    executor.run(async {
        // SAFETY: the descriptor is nobody else's.
        let listener = unsafe { glommio::net::TcpListener::from_raw_fd(listener.into_raw_fd()) };
        let mut sessions = Vec::with_capacity(connections);
        for _ in 0..connections {
            let mut stream = listener.accept().await?;
            let session = glommio::spawn_local(async move {
                let mut buffer = vec![0; BUFFER];
                loop {
                    let received = stream.read(&mut buffer).await?;
                    if received == 0 {
                        return io::Result::Ok(());
                    }
                    stream.write_all(&buffer[..received]).await?;
                }
            });
            sessions.push(session.detach());
        }
        for session in sessions {
            session.await.ok_or_else(|| io::Error::other("a session was cancelled"))??;
        }
        Ok(())
    })
}
