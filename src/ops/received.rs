//! What `read`, `readv` and `recv` have in common: they take what a dropped one before them left on the descriptor.
//!
//! Knows: the salvage of a descriptor. Does not know: buffers, entries.

use std::task::{Context, Poll, ready};

use super::fd::AnyFd;
use super::fd::salvage::{Place, Take};
use super::request::Prepared;

/// The bytes for a read of at most `asked`, if an earlier one left some. Pending while one that was dropped may still
/// receive bytes that come before ours.
#[inline]
pub(super) fn poll_received(
    fd: &impl AnyFd,
    cx: &mut Context<'_>,
    take: Take,
    asked: usize,
) -> Poll<Option<(Place, Box<[u8]>)>> {
    if !fd.left_behind().concerns_reads() {
        return Poll::Ready(None);
    }
    fd.left_behind().poll_bytes(cx, || fd.keeps_boundaries(), take, asked)
}

/// As [`poll_received`], for a read at the current position: puts the bytes into place with `fill`, which returns how
/// many it took, and notes in `taken` where they came from. As with the kernel, fewer than asked for break a chain.
pub(super) fn prepare_read(
    fd: &impl AnyFd,
    cx: &mut Context<'_>,
    taken: &mut Option<Place>,
    asked: usize,
    fill: impl FnOnce(&[u8]) -> usize,
) -> Poll<Prepared> {
    let Some((place, bytes)) = ready!(poll_received(fd, cx, Take::Consume, asked)) else {
        return Poll::Ready(Prepared::Submit);
    };
    let n = fill(&bytes);
    *taken = Some(place);
    Poll::Ready(if n < asked { Prepared::AnswerShort(n as i32) } else { Prepared::Answer(n as i32) })
}
