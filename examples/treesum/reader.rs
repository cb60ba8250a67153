//! The readers: open a file, read it and close it through the ring, and hand its bytes on.
//!
//! Knows: ops, the channels around it. Does not know: what is done with the bytes.

use std::collections::VecDeque;
use std::io;

use millstream::channel::{self, Receiver, Sender};
use millstream::combinators::hard_link;
use millstream::ops::{self, BufExt, Fd};
use millstream::spawn;

use crate::hasher::{Content, Piece};
use crate::{File, Outcome, PIECE};

/// One of several tasks that do the same. It ends when there are no more paths, or when nobody wants its bytes.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) paths: Receiver<File>,
    pub(crate) contents: Sender<(File, Content)>,
    pub(crate) results: Sender<Outcome>,
    /// Empty buffers.
    pub(crate) buffers: Receiver<Vec<u8>>,
    /// Where a buffer goes that turned out not to be needed.
    pub(crate) used: Sender<Vec<u8>>,
    /// Reads in flight on one file.
    pub(crate) depth: usize,
}

/// The next station is gone, so there is nothing left to do.
struct Gone;

impl Reader {
    pub(crate) async fn run(self) {
        while let Ok(file) = self.paths.pop().await {
            if let Err(Gone) = self.read(file).await {
                return;
            }
        }
    }

    async fn read(&self, file: File) -> Result<(), Gone> {
        let fd = match ops::open(&file.path).await {
            Ok(fd) => fd,
            Err(error) => return self.fail(file, error).await,
        };
        // Most files are small: they are whole after one read. The second one, submitted with it and started after it,
        // asks whether this one is. It is not a soft link, which the short read of a small file would break.
        let buffer = self.buffers.pop().await.map_err(|_| Gone)?;
        let ((outcome, buffer), (rest, _)) =
            hard_link((ops::read(&fd, buffer), ops::read(&fd, [0; 1]))).await;
        match outcome.and(rest) {
            Ok(0) => self.hand_on(file, fd, buffer).await,
            Ok(_) => self.stream(file, fd, buffer).await,
            Err(error) => {
                self.put_back(buffer);
                self.fail(file, error).await
            }
        }
    }

    /// The only piece: the file is closed while the bytes wait for room in the channel.
    async fn hand_on(&self, file: File, fd: Fd, buffer: Vec<u8>) -> Result<(), Gone> {
        let push = self.contents.push((file, Content::Whole(buffer)));
        let (_, pushed) = (ops::close(fd) & push).await; // closing what was only read loses nothing
        pushed.map_err(|_| Gone)
    }

    /// The first piece of a long file, and then the others: read several at a time, handed on in order.
    async fn stream(&self, file: File, fd: Fd, first: Vec<u8>) -> Result<(), Gone> {
        let (pieces, receiver) = channel::bounded(self.depth);
        self.contents.push((file, Content::Pieces(receiver))).await.map_err(|_| Gone)?;

        // A file that gives less than was asked for and yet goes on makes its bytes up as it is read, as those of procfs
        // do. It is read in order: elsewhere it would begin from the start each time.
        let depth = if first.len() < PIECE { 1 } else { self.depth };
        let mut offset = first.len() as u64;
        let mut ahead = VecDeque::new(); // reads in flight, in the order of their offsets
        pieces.push(Ok(Piece { bytes: first, last: false })).await.map_err(|_| Gone)?;
        loop {
            while ahead.len() < depth {
                // Reading ahead takes the buffers that lie idle. Only one who holds none waits for one: if readers
                // waited with filled buffers in hand, there might be none left to wait for.
                let buffer = match ahead.is_empty() {
                    true => self.buffers.pop().await.map_err(|_| Gone)?,
                    false => match self.buffers.try_pop() {
                        Ok(buffer) => buffer,
                        Err(_) => break,
                    },
                };
                ahead.push_back(spawn(fill(fd.clone(), offset, buffer)));
                offset += PIECE as u64;
            }
            let Some(next) = ahead.pop_front() else { continue };
            let (outcome, bytes) = next.await.expect("a read neither panics nor is cancelled");
            let last = outcome.is_err() || bytes.len() < PIECE;
            let piece = match outcome {
                Ok(()) => Ok(Piece { bytes, last }),
                Err(error) => {
                    self.put_back(bytes);
                    Err(error)
                }
            };
            pieces.push(piece).await.map_err(|_| Gone)?;
            if last {
                break;
            }
        }
        for beyond in ahead {
            let (_, buffer) = beyond.await.expect("a read neither panics nor is cancelled");
            self.put_back(buffer);
        }
        let _ = ops::close(fd).await;
        Ok(())
    }

    async fn fail(&self, file: File, error: io::Error) -> Result<(), Gone> {
        self.results.push(Outcome { file, digest: Err(error) }).await.map_err(|_| Gone)
    }

    fn put_back(&self, buffer: Vec<u8>) {
        let _ = self.used.try_push(buffer); // there is room for every buffer there is
    }
}

/// Reads from `offset` until the buffer is full or the file ends: a read may always return less than was asked for.
async fn fill(fd: Fd, offset: u64, mut buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
    buffer.clear();
    while buffer.len() < PIECE {
        let filled = buffer.len();
        let (outcome, rest) = ops::read(&fd, buffer.slice(filled..PIECE)).at(offset + filled as u64).await;
        buffer = rest.into_inner();
        match outcome {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return (Err(error), buffer),
        }
    }
    (Ok(()), buffer)
}
