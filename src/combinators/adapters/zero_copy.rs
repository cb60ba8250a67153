//! Channels and tasks as the places where a buffer goes that was sent without a copy.
//!
//! Knows: zero-copy sends, channels, tasks. Does not know: notifications.

use core::fmt;
use core::future::{Future, poll_fn};

use crate::channel::{Destination, Inlet, TryPushError};
use crate::combinators::adapters::link_timeout::LinkTimeout;
use crate::combinators::limit::Limitable;
use crate::ops::requests::{Delivery, Message, To};
use crate::ops::{AnyFd, Recycle, ZeroCopy};
use crate::runtime::try_spawn;

impl<M: Message, F: AnyFd> ZeroCopy<M, F> {
    /// Resolves when the bytes are sent; the buffer goes into the channel when the kernel has let go of it.
    ///
    /// A channel of buffers so fills itself again: who wants to send pops one, fills it, sends it, and need not wait for
    /// whoever reads at the other end of the connection. A full channel is waited for by a small task. On a closed one, and
    /// on a full one when the runtime ends, the buffer is dropped. It is pushed exactly once, whatever becomes of the send
    /// and of this future, also when it was never polled.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    ///
    /// # Examples
    ///
    /// See [`send_zc`](crate::ops::send_zc).
    pub fn will_push<E: Destination<M::Buf> + 'static>(self, end: E) -> ZeroCopy<M, F, To<Pushed<E>>> {
        self.recycle(Pushed(end))
    }

    /// Resolves when the bytes are sent; `f(buf)` becomes a task when the kernel has let go of the buffer.
    ///
    /// Where no task can be spawned, on a runtime that ends and for a send that is dropped unstarted outside of any, the
    /// buffer is dropped with the future that `f` has made.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::net::{TcpListener, TcpStream};
    /// use std::rc::Rc;
    /// use millstream::ops;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = millstream::Runtime::new()?;
    /// # runtime.block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let socket = TcpStream::connect(listener.local_addr()?)?;
    /// let (_peer, _) = listener.accept()?;
    /// let free = Rc::new(Cell::new(0));
    /// let count = free.clone();
    /// let done = async move |buf: Vec<u8>| count.set(count.get() + buf.len());
    /// let n = ops::send_zc(socket, vec![7; 4096]).will_spawn(done).await?;
    /// # while free.get() == 0 { millstream::time::sleep(std::time::Duration::from_millis(1)).await; }
    /// assert_eq!((n, free.get()), (4096, 4096)); // once the task has run
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn will_spawn<G, T>(self, f: G) -> ZeroCopy<M, F, To<Spawned<G>>>
    where
        G: FnOnce(M::Buf) -> T + 'static,
        T: Future + 'static,
    {
        self.recycle(Spawned(f))
    }
}

/// Puts a buffer into a channel.
pub struct Pushed<E>(E);

impl<B: 'static, E: Destination<B> + 'static> Recycle<B> for Pushed<E> {
    fn recycle(self, buf: B) {
        let mut inlet = self.0.into_inlet();
        if let Err(TryPushError::Full(buf)) = inlet.try_push(buf) {
            // A task for each buffer that has to wait: as many as the user has made, and let out of hand.
            let mut slot = Some(buf);
            let _ = try_spawn(poll_fn(move |cx| inlet.poll_push(&mut slot, cx)));
        }
    }
}

impl<E> fmt::Debug for Pushed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pushed").finish_non_exhaustive()
    }
}

/// Makes a task that gets a buffer.
pub struct Spawned<G>(G);

impl<B: 'static, T: Future + 'static, G: FnOnce(B) -> T + 'static> Recycle<B> for Spawned<G> {
    fn recycle(self, buf: B) {
        let _ = try_spawn((self.0)(buf));
    }
}

impl<G> fmt::Debug for Spawned<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Spawned").finish_non_exhaustive()
    }
}

impl<M: Message, F: AnyFd, D: Delivery<M::Buf>> Limitable for ZeroCopy<M, F, D> {
    type Limited = LinkTimeout<Self>;

    fn limited(self, after: core::time::Duration) -> LinkTimeout<Self> {
        LinkTimeout::new(self, after)
    }
}
