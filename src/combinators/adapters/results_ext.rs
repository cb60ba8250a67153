//! Destinations of what goes on giving results.
//!
//! Knows: the adapters. Does not know: which op it is.

use core::future::Future;

use super::result_stream::ResultStream;
use super::will_push::WillPush;
use super::will_spawn::WillSpawn;
use crate::channel::Destination;
use crate::operation::Results;

/// The destinations that the results of a multishot op can have.
pub trait ResultsExt: Results {
    /// Puts every result into a channel, in order.
    ///
    /// `end` is a [`Sender`](crate::channel::Sender) of a bounded or local channel, or the
    /// [`Producer`](crate::channel::spsc::Producer) of an spsc channel, by value: when the op is over, the end is dropped, and
    /// with the last one the channel closes.
    ///
    /// A full channel holds the results back: the op holds one, its backlog fills, and then the kernel is asked to pause. When
    /// the receiver takes some again, everything comes, in order, and the kernel is asked to go on. So what is in memory is
    /// bounded by the capacity of the channel, the backlog, and what the kernel had done by the time it heard.
    ///
    /// # Completion
    ///
    /// Resolves to [`Delivered`](super::Delivered): how many results went into the channel, and why there will be no more.
    ///
    /// * When the op is over: with [`End::Finished`](super::End::Finished) or its error. By then everything that came is in
    ///   the channel.
    /// * When the channel is closed, also while nothing comes: the op is cancelled and waited out. What had come and did not
    ///   get into the channel goes where the results of a dropped op go. [`End::Closed`](super::End::Closed).
    /// * When it was [asked to stop](crate::Operation::request_cancel): with `ECANCELED`. What had come goes into the channel as
    ///   far as there is room, without waiting; the rest where the results of a dropped op go.
    ///
    /// # Cancel safety
    ///
    /// Dropping it, or losing a race, cancels the op. What is not in the channel by then goes where the results of a dropped
    /// op go: connections to the next accept, bytes to the next read, anything else is released.
    ///
    /// # Panics
    ///
    /// When polled outside a runtime, on another runtime than the one it was started on, and after it has resolved.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::TcpStream;
    /// use millstream::combinators::ResultsExt;
    /// use millstream::{channel, ops, spawn};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let listener = ops::listen_tcp("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let (tx, connections) = channel::bounded(16);
    /// let accepting = spawn(ops::accept_multishot(&listener).will_push(tx));
    ///
    /// let _clients = [TcpStream::connect(address)?, TcpStream::connect(address)?];
    /// for _ in 0..2 {
    ///     connections.pop().await?;
    /// }
    /// drop(connections); // closes the channel, which ends the op
    /// assert_eq!(accepting.await?.count, 2);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[must_use = "nothing starts until it is awaited"]
    fn will_push<D: Destination<Self::Item>>(self, end: D) -> WillPush<Self, D>
    where
        Self: Sized,
    {
        WillPush::new(self, end)
    }

    /// Makes a task of every result: that of the future which `make` returns for it.
    ///
    /// The tasks run on the runtime that polls this, detached: they go on when this is over or dropped. Without
    /// [`limit`](WillSpawn::limit) there may be any number of them.
    ///
    /// # Completion
    ///
    /// Resolves to [`Delivered`](super::Delivered) when the op is over, or was asked to stop: what had come by then becomes
    /// tasks as far as the limit allows, and the rest goes where the results of a dropped op go.
    ///
    /// # Cancel safety
    ///
    /// As [`will_push`](Self::will_push). Tasks that were spawned are not touched.
    ///
    /// # Panics
    ///
    /// When polled outside a runtime, on another runtime than the one it was started on, and after it has resolved. A panic
    /// of `make` does not get out: its result is dropped, and the next one comes. A panic of a task is the task's.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::combinators::ResultsExt;
    /// use millstream::ops::{self, IntoResult};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let listener = ops::listen_tcp("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let server = ops::accept_multishot(&listener).will_spawn(async |connection| {
    ///     ops::send_all(&connection, "hello").await.into_result()
    /// });
    /// let serving = millstream::spawn(server.limit(100));
    ///
    /// let client = ops::connect_tcp(address).await?;
    /// let (n, greeting) = ops::recv(&client, vec![0; 16]).await.into_result()?;
    /// assert_eq!(&greeting[..n], b"hello");
    /// serving.cancel();
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[must_use = "nothing starts until it is awaited"]
    fn will_spawn<F, T>(self, make: F) -> WillSpawn<Self, F, T>
    where
        Self: Sized,
        F: FnMut(Self::Item) -> T,
        T: Future + 'static,
    {
        WillSpawn::new(self, make)
    }

    /// Makes a [`Stream`](futures_core::Stream) of the results, which ends with the op; an error of the op is its last item.
    ///
    /// # Cancel safety
    ///
    /// Dropping it cancels the op. What was not taken goes where the results of a dropped op go.
    ///
    /// # Panics
    ///
    /// When polled outside a runtime, and on another runtime than the one it was started on.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use futures::StreamExt;
    /// use millstream::combinators::ResultsExt;
    /// use millstream::ops;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let mut ticks = ops::timeout_multishot(Duration::from_millis(1)).count(3).stream();
    /// let mut passed = 0;
    /// while let Some(periods) = ticks.next().await {
    ///     passed += periods?;
    /// }
    /// assert_eq!(passed, 3);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    fn stream(self) -> ResultStream<Self>
    where
        Self: Sized,
    {
        ResultStream::new(self)
    }
}

impl<R: Results> ResultsExt for R {}
