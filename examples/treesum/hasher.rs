//! The hashers: contents in, digests out, buffers back.
//!
//! Knows: `sha2`, the channels around it. Does not know: where the bytes come from.

use std::io;

use millstream::channel::{Receiver, Sender};
use millstream::spawn;
use sha2::{Digest as _, Sha256};

use crate::{Digest, File, Outcome};

/// The bytes of a file.
pub(crate) enum Content {
    Whole(Vec<u8>),
    /// In order, up to the last one or an error. Without either the file is not complete, and has no digest.
    Pieces(Receiver<io::Result<Piece>>),
}

pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    pub(crate) last: bool,
}

/// Hashes until there are no more contents.
///
/// A small file is hashed on the spot, a long one by a task of its own, so that no file waits for the pieces of another
/// while the buffers with its own bytes are what those pieces wait for.
pub(crate) async fn hash_files(
    contents: Receiver<(File, Content)>,
    results: Sender<Outcome>,
    buffers: Sender<Vec<u8>>,
) {
    while let Ok((file, content)) = contents.pop().await {
        match content {
            Content::Whole(bytes) => {
                let digest = Sha256::digest(&bytes).into();
                put_back(&buffers, bytes);
                if results.push(Outcome { file, digest: Ok(digest) }).await.is_err() {
                    return;
                }
            }
            Content::Pieces(pieces) => {
                let (results, buffers) = (results.clone(), buffers.clone());
                spawn(async move {
                    if let Some(digest) = hash_pieces(pieces, &buffers).await {
                        let _ = results.push(Outcome { file, digest }).await; // nobody wants it: the program ends
                    }
                })
                .detach();
            }
        }
    }
}

/// The digest of all pieces, or nothing when they stop before the last.
async fn hash_pieces(
    pieces: Receiver<io::Result<Piece>>,
    buffers: &Sender<Vec<u8>>,
) -> Option<io::Result<Digest>> {
    let mut hash = Sha256::new();
    loop {
        match pieces.pop().await.ok()? {
            Ok(Piece { bytes, last }) => {
                hash.update(&bytes);
                put_back(buffers, bytes);
                if last {
                    return Some(Ok(hash.finalize().into()));
                }
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

fn put_back(buffers: &Sender<Vec<u8>>, buffer: Vec<u8>) {
    let _ = buffers.try_push(buffer); // there is room for every buffer there is
}
