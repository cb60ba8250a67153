//! Which operations have `&`, `|` and `>>`.
//!
//! Knows: the operation types of the crate. Does not know: what the operators do.
//!
//! A new kind of operation gets its operators with one line here.

use std::io;

use crate::channel::{
    self, Closed, Pop, PopMany, Push, PushFrom, PushMany, Reserve, Sharing, broadcast, oneshot, spsc, watch,
};
use crate::combinators::operators::impl_operators;
use crate::operation::Operation;
use crate::ops::requests::{All, Ask, ConnectTcp, Delivery, Filled, Message, Pooled};
use crate::ops::{AnyFd, Buf, Op, Request, Slice, ZeroCopy};
use crate::runtime::time::{self, Sleep, Tick};
use crate::runtime::{JoinHandle, RemoteJoinHandle};

impl_operators! { all any then: [R: Request,] Op<R>; }
impl_operators! { all any then: [A: Ask, F: AnyFd, T: Filled,] Pooled<A, F, T>; }
impl_operators! { all any then: [M: Message, F: AnyFd, D: Delivery<M::Buf>,] ZeroCopy<M, F, D>; }
impl_operators! {
    all any: [] ConnectTcp;
    [B: Buf, O: Operation<Output = (io::Result<usize>, Slice<B>)> + Unpin,] All<B, O>;
}
impl_operators! { all any: ['a, T, S: Sharing,] Push<'a, T, S>; ['a, T, S: Sharing,] Pop<'a, T, S>; }
impl_operators! { all any: ['a, T, S: Sharing,] PushMany<'a, T, S>; ['a, T, S: Sharing,] PopMany<'a, T, S>; }
impl_operators! { all any: ['a, T, S: Sharing,] Reserve<'a, T, S>; ['a, T, S: Sharing,] Closed<'a, T, S>; }
impl_operators! { all any: ['a, T,] spsc::Push<'a, T>; ['a, T,] spsc::PushMany<'a, T>; ['a, T,] spsc::Reserve<'a, T>; }
impl_operators! { all any: ['a, T,] spsc::Pop<'a, T>; ['a, T,] spsc::PopMany<'a, T>; ['a, T,] spsc::Closed<'a, T>; }
impl_operators! { all any: ['a, T, S: Sharing,] PushFrom<'a, T, S>; }
impl_operators! {
    all any: [T,] oneshot::Receiver<T>; ['a, T,] oneshot::Pop<'a, T>; ['a, T,] oneshot::Closed<'a, T>;
}
impl_operators! { all any: ['a, T,] broadcast::Push<'a, T>; ['a, T,] broadcast::Closed<'a, T>; }
impl_operators! { all any: ['a, T: Clone,] broadcast::Pop<'a, T>; ['a, T: Clone,] watch::Pop<'a, T>; }
impl_operators! { all any: ['a, T,] watch::Closed<'a, T>; ['a,] channel::time::Pop<'a>; }
impl_operators! { all any: [] Sleep; ['a,] Tick<'a>; [F: Future,] time::Timeout<F>; }
impl_operators! { all any: [T,] JoinHandle<T>; [T,] RemoteJoinHandle<T>; }
