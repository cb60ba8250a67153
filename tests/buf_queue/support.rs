//! What the tests of queues share: streams whose bytes say where they belong, runtimes that lack something, buffers that are
//! counted.
//!
//! Knows: the public face of the crate. Does not know: what is tested.
#![allow(unsafe_code, reason = "implements the unsafe buffer traits for a buffer that is counted")]

use std::future::Future;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use millstream::ops::{self, Buf, Fd, Feature, Visible};
use millstream::{Results, Runtime, yield_now};

pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

pub(crate) fn pair() -> io::Result<(UnixStream, Fd)> {
    let (a, b) = UnixStream::pair()?;
    Ok((a, b.into()))
}

/// Polls once, for nobody.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) fn look<R: Results>(results: &mut R) -> Poll<ControlFlow<R::End, R::Item>> {
    results.poll_next(&mut Context::from_waker(Waker::noop()))
}

/// Turns of the loop, so that whatever is under way has arrived.
pub(crate) async fn settle() {
    for _ in 0..4 {
        yield_now().await;
        let _ = ops::nop().await;
    }
}

/// A stream's bytes, by their place in it.
pub(crate) fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// Bytes of a stream, from this place on.
pub(crate) fn piece(at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(pattern).collect()
}

/// Runtimes of this kernel, and of one that sends no bundles.
pub(crate) fn senders() -> impl Iterator<Item = Runtime> {
    let without = Feature::SendBundle.bit();
    [0, without]
        .into_iter()
        .map(|without| Runtime::builder().without_features(without).build().expect("io_uring"))
}

/// Runtimes of this kernel, and of kernels that lack one thing after the other.
pub(crate) fn receivers() -> impl Iterator<Item = Runtime> {
    let recv = Feature::RecvMultishot.bit() | Feature::ReadMultishot.bit();
    let bundle = Feature::RecvBundle.bit();
    [0, recv, bundle, recv | bundle]
        .into_iter()
        .map(|without| Runtime::builder().without_features(without).build().expect("io_uring"))
}

/// The other end of a stream: everything that comes has its place.
pub(crate) struct Reader {
    stream: UnixStream,
    pub(crate) read: usize,
}

impl Reader {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, read: 0 })
    }

    /// Reads what is there, at most this much.
    pub(crate) fn read(&mut self, most: usize) -> usize {
        let before = self.read;
        let mut bytes = [0; 4096];
        while self.read - before < most {
            let room = bytes.len().min(most - (self.read - before));
            let Ok(n @ 1..) = self.stream.read(&mut bytes[..room]) else { break };
            for byte in &bytes[..n] {
                assert_eq!(*byte, pattern(self.read), "byte {} of the stream", self.read);
                self.read += 1;
            }
        }
        self.read - before
    }
}

/// A buffer that is counted: how many are there.
pub(crate) struct Counted {
    bytes: Vec<u8>,
    there: Arc<AtomicUsize>,
}

impl Counted {
    pub(crate) fn new(bytes: Vec<u8>, there: &Arc<AtomicUsize>) -> Self {
        there.fetch_add(1, Ordering::Relaxed);
        Self { bytes, there: Arc::clone(there) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.there.fetch_sub(1, Ordering::Relaxed);
    }
}

// SAFETY: (local) the vector's promises: it is not changed here.
unsafe impl Buf for Counted {
    fn stable_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    fn init_len(&self) -> usize {
        self.bytes.len()
    }

    fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

// SAFETY: (local) as above.
unsafe impl Visible for Counted {}

// SAFETY: (local) as above.
unsafe impl millstream::ops::BufMut for Counted {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    unsafe fn set_filled(&mut self, len: usize) {
        // SAFETY: (local) as the caller promises.
        unsafe { self.bytes.set_len(len) };
    }
}
