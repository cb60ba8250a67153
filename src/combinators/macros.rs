//! `race!`, `join!`, `chain!`: combinators whose arms stand between operators.
//!
//! Knows: the combinators' names. Does not know: how an expression is split, which is the macro crate's.

#[doc(hidden)]
pub use millstream_macros::__combine;

/// Runs operations concurrently until one decides: `race!(a || b || c)` is [`when_any((a, b, c))`](crate::combinators::when_any).
///
/// An arm is any expression that is an operation, 2 to 16 of them.
///
/// # Completion
///
/// As [`when_any`](crate::combinators::when_any): the first arm to complete decides, in order where several are ready,
/// the others are stopped and waited out. Output: [`OneOf2`](crate::combinators::OneOf2) …
///
/// # Cancel safety
///
/// As [`when_any`](crate::combinators::when_any).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use millstream::combinators::OneOf3;
/// use millstream::{channel, race, time};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let ((tx, rx), (_stop, stopped)) = (channel::bounded(1), channel::bounded::<()>(1));
/// tx.push(7).await?;
/// match race!(stopped.pop() || rx.pop() || time::sleep(Duration::from_secs(60))).await {
///     OneOf3::A(_stop) => return Ok(()),
///     OneOf3::B(message) => assert_eq!(message?, 7),
///     OneOf3::C(()) => println!("nothing for a minute"),
/// }
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias("select", "when_any", "first"))]
#[macro_export]
macro_rules! race {
    ($($arms:tt)*) => { $crate::combinators::__combine!(race [$crate::combinators::when_any] $($arms)*) };
}

/// Runs operations concurrently and waits for all: `join!(a && b && c)` is [`when_all((a, b, c))`](crate::combinators::when_all).
///
/// # Completion
///
/// As [`when_all`](crate::combinators::when_all): when every arm has completed, with a tuple of outputs.
///
/// # Cancel safety
///
/// As [`when_all`](crate::combinators::when_all).
///
/// # Examples
///
/// ```
/// use millstream::{channel, join};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (tx, rx) = channel::bounded(0);
/// let (pushed, popped) = join!(tx.push("hand to hand") && rx.pop()).await;
/// pushed?;
/// assert_eq!(popped?, "hand to hand");
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias("when_all"))]
#[macro_export]
macro_rules! join {
    ($($arms:tt)*) => { $crate::combinators::__combine!(join [$crate::combinators::when_all] $($arms)*) };
}

/// Runs ring operations one after the other in the kernel: `chain!(a >> b >> c)` is [`link((a, b, c))`](crate::combinators::link).
///
/// # Completion
///
/// As [`link`](crate::combinators::link): when every member has completed; a failure cancels those after it.
///
/// # Cancel safety
///
/// As [`link`](crate::combinators::link).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use millstream::{chain, ops};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (delayed, then) = chain!(ops::timeout(Duration::from_millis(1)) >> ops::nop()).await;
/// delayed?;
/// then?;
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias("link"))]
#[macro_export]
macro_rules! chain {
    ($($arms:tt)*) => { $crate::combinators::__combine!(chain [$crate::combinators::link] $($arms)*) };
}
