//! The copying: blocks, each moved by a chain of a read and a write over one buffer.
//!
//! Knows: the ring, channels, where the holes are. Does not know: paths, messages, how the ends were opened.
//!
//! ```text
//!              pieces                read ──▶ write, one buffer each, `depth` in flight
//!   planner ──────────▶ lane ──▶ lane ──▶ lane
//! ```
//!
//! A write behind a read is queued before the read has begun, so its length is fixed: that of the piece. Where the read
//! comes out shorter, because the file ends there or because a pipe has no more right now, the kernel cancels the write;
//! what has been read is in the buffer, and is written from there.

use std::io;
use std::ops::Range;
use std::rc::Rc;

use millstream::channel::{self, local};
use millstream::ops::{self, BufExt, Fd, Relay};
use millstream::spawn;

use crate::extents::Extents;

/// What a pipe gives at a time. A chain that asks for more would break every time.
const STREAM_BLOCK: usize = 64 * 1024;

/// Where one end of the copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is read or written at any offset: a file, a disk.
    Anywhere,
    /// One byte comes after the other: a pipe, a terminal.
    InOrder,
}

/// What is copied, and how.
pub(crate) struct Job<P> {
    pub(crate) from: (Fd, Place),
    pub(crate) to: (Fd, Place),
    /// How long the source says it is.
    pub(crate) size: u64,
    /// What is not written reads as zeros: holes need not be.
    pub(crate) sparse: bool,
    /// Bytes of one chain, and chains in flight.
    pub(crate) block: usize,
    pub(crate) depth: usize,
    /// Told of so many bytes that are done.
    pub(crate) progress: P,
}

/// Which end failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Read(io::Error),
    Write(io::Error),
}

/// Bytes of the source, and where they go to.
struct Piece {
    at: u64,
    len: usize,
}

type Buffer = Relay<Vec<u8>>;

/// Copies everything, and gives the length of the copy: more than was written when the source ends in a hole.
///
/// When it is dropped, what is in flight goes on until the runtime has ended.
pub(crate) async fn copy<P: Fn(u64) + 'static>(job: Job<P>) -> Result<u64, Failure> {
    let job = Rc::new(job);
    // Pieces of their own only if both ends take them in any order.
    if job.from.1 == Place::InOrder || job.to.1 == Place::InOrder {
        return job.copy_the_rest(0).await;
    }
    let depth = job.size.div_ceil(job.block as u64).min(job.depth as u64) as usize;
    let (pieces_tx, pieces) = channel::local(depth);
    let lanes: Vec<_> = (0..depth).map(|_| spawn(Rc::clone(&job).lane(pieces.clone()))).collect();
    drop(pieces);
    let planned = job.plan(pieces_tx).await;
    let mut ends = u64::MAX;
    let mut outcome = planned;
    for lane in lanes {
        match lane.await.expect("a lane does not panic") {
            Ok(end) => ends = ends.min(end),
            Err(failure) => outcome = outcome.and(Err(failure)),
        }
    }
    outcome?;
    if ends < job.size {
        return Ok(ends); // it became shorter meanwhile
    }
    job.copy_the_rest(job.size).await
}

impl<P: Fn(u64) + 'static> Job<P> {
    /// The planner: cuts what the source has into pieces, as fast as the lanes take them.
    async fn plan(&self, pieces: local::Sender<Piece>) -> Result<(), Failure> {
        let mut before = 0;
        let all = (!self.sparse).then_some(Ok(0..self.size));
        let parts = self.sparse.then(|| Extents::new(&self.from.0, self.size));
        for extent in all.into_iter().chain(parts.into_iter().flatten()) {
            let extent = extent.map_err(Failure::Read)?;
            (self.progress)(extent.start - before);
            before = extent.end;
            for piece in cut(extent, self.block) {
                if pieces.push(piece).await.is_err() {
                    return Ok(()); // a lane has failed, and says why
                }
            }
        }
        (self.progress)(self.size.saturating_sub(before));
        Ok(())
    }

    /// A lane: moves one piece after the other. Gives the offset at which the source has turned out to end, if it has.
    async fn lane(self: Rc<Self>, pieces: local::Receiver<Piece>) -> Result<u64, Failure> {
        let mut buffer = Relay::new(vec![0; self.block]);
        let mut end = u64::MAX;
        while let Ok(piece) = pieces.pop().await {
            let moved = self.transfer(buffer, piece.at, piece.len).await;
            let Ok((done, returned)) = moved else {
                pieces.close(); // the planner and the other lanes need not go on
                return moved.map(|_| end);
            };
            buffer = returned;
            if done < piece.len {
                end = end.min(piece.at + done as u64);
            }
        }
        Ok(end)
    }

    /// Moves what comes from `at` on, up to the end, one chain after the other. Gives where the end was.
    async fn copy_the_rest(&self, mut at: u64) -> Result<u64, Failure> {
        let len = self.block.min(STREAM_BLOCK);
        let mut buffer = Relay::new(vec![0; len]);
        loop {
            let (done, returned) = self.transfer(buffer, at, len).await?;
            buffer = returned;
            at += done as u64;
            if done < len {
                return Ok(at);
            }
        }
    }

    /// Moves `len` bytes from `at`: by one chain, or by several where reads come out short. Fewer only at the end of the
    /// source.
    async fn transfer(&self, mut buffer: Buffer, at: u64, len: usize) -> Result<(usize, Buffer), Failure> {
        let mut done = 0;
        while done < len {
            let (moved, returned) = self.chain(buffer, at + done as u64, len - done).await?;
            buffer = returned;
            match moved {
                Some(0) => break,
                Some(moved) => {
                    done += moved;
                    (self.progress)(moved as u64);
                }
                None => {} // interrupted
            }
        }
        Ok((done, buffer))
    }

    /// One chain: reads up to `len` bytes, and writes them. `Some(0)` is the end of the source.
    async fn chain(&self, buffer: Buffer, at: u64, len: usize) -> Result<(Option<usize>, Buffer), Failure> {
        let out = buffer.take().slice(..len);
        let mut read = ops::read(&self.from.0, buffer.slice(..len));
        let mut write = ops::write(&self.to.0, out);
        if self.from.1 == Place::Anywhere {
            read = read.at(at);
        }
        if self.to.1 == Place::Anywhere {
            write = write.at(at);
        }
        let ((read, slice), (written, _)) = (read >> write).await;
        let buffer = slice.into_inner();
        let read = match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok((None, buffer)),
            read => read.map_err(Failure::Read)?,
        };
        let written = match written {
            Ok(written) => written,
            // The short read has broken the chain, or a signal has come.
            Err(error) if read < len && error.raw_os_error() == Some(libc::ECANCELED) => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(Failure::Write(error)),
        };
        if written == read {
            return Ok((Some(read), buffer));
        }
        let mut rest = ops::write_all(&self.to.0, buffer.slice(written..read));
        if self.to.1 == Place::Anywhere {
            rest = rest.at(at + written as u64);
        }
        let (outcome, slice) = rest.await;
        outcome.map_err(Failure::Write)?;
        Ok((Some(read), slice.into_inner()))
    }
}

/// The pieces of an extent: whole blocks where it is long enough, and none that crosses a multiple of the block.
fn cut(extent: Range<u64>, block: usize) -> impl Iterator<Item = Piece> {
    let mut at = extent.start;
    std::iter::from_fn(move || {
        let to_boundary = block as u64 - at % block as u64;
        let len = to_boundary.min(extent.end - at);
        let piece = Piece { at, len: len as usize };
        at += len;
        (len > 0).then_some(piece)
    })
}
