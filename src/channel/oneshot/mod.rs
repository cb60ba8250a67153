//! One value, once: a reply, a result, a signal.
//!
//! Knows: its own parts. Does not know: the other channels.

mod closed;
mod pop;
mod receiver;
mod sender;
mod state;

pub use closed::Closed;
pub use pop::Pop;
pub use receiver::Receiver;
pub use sender::Sender;

/// Makes a channel for one value.
///
/// One allocation, no lock: a few bits that both ends change. The value goes in without waiting, whether or not anybody
/// waits for it.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use millstream::channel;
///
/// let (reply, answer) = channel::oneshot();
/// let worker = std::thread::spawn(move || reply.push(6 * 7));
/// assert_eq!(answer.await?, 42);
/// worker.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// Ends move between threads if the value may:
///
/// ```compile_fail,E0277
/// let (tx, rx) = millstream::channel::oneshot::<std::rc::Rc<()>>();
/// std::thread::spawn(move || drop(tx));
/// ```
#[doc(alias = "channel")]
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = state::new();
    (Sender::new(sender), Receiver::new(receiver))
}
