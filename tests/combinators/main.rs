//! Combinators over scripted operations: what is started, stopped, waited for and dropped, and in what order.
//!
//! The numbers in names such as `condy_103` refer to the behaviours of the library this design started from. Where each
//! of them is held:
//!
//! | behaviour | where |
//! |---|---|
//! | 44, 74, 76-79, 81-83, 85-88, 100, 101 on a real ring | `combinators_ring.rs` |
//! | 80-83, 86, 90, 91, 96, 100, 102-104 on scripted operations | here |
//! | 113-116 channel operations as arms | `channels.rs`; across threads in `combinators_lossless.rs` |
//! | 71-73, 84, 89 one op, two in a row, a stored combinator, destructured outputs | ordinary awaits of ordinary values |
//! | 92-95, 97-99 completion order and every output | `parallel.rs`; but a `parallel_any` of nothing is an error |
//! | 105-107 stopping from another task or thread | a channel is the stop signal, a handle stops its task (`adapters.rs`) |
//! | children started although one was ready at once | not so here: later arms never start (`when_any.rs`) |
//! | channel elements in a link, `when_all` in a link | do not compile (`must_not_compile.rs`) |
//! | a link longer than the queue loops for ever | an error, and everything comes back (`link.rs`) |

mod adapters;
mod arms;
mod channels;
mod fake;
mod flags;
mod link;
mod nesting;
mod operators;
mod parallel;
mod signals;
mod when_all;
mod when_any;
