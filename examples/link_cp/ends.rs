//! Opening both ends, with the decisions that `cp` makes.
//!
//! Knows: paths, kinds of files, modes. Does not know: how the bytes get from one to the other.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use millstream::ops::{self, Fd, FileKind, Metadata};

use crate::copy::Place;

/// Both ends, open.
pub(crate) struct Ends {
    pub(crate) from: (Fd, Place),
    pub(crate) to: (Fd, Place),
    /// What the source says of its length.
    pub(crate) size: u64,
    /// Where the copy lies.
    pub(crate) dest: PathBuf,
    /// The copy is a regular file, whose length is ours to set.
    pub(crate) regular: bool,
}

/// Why nothing is copied, in words.
#[derive(Debug)]
pub(crate) struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    pub(crate) fn new(text: fmt::Arguments<'_>) -> Self {
        Self(text.to_string())
    }
}

fn refuse<T>(text: fmt::Arguments<'_>) -> Result<T, Refusal> {
    Err(Refusal::new(text))
}

/// The source, open, and what there is at the other end.
pub(crate) struct Plan {
    from: Fd,
    /// Where the copy will lie.
    pub(crate) dest: PathBuf,
    /// Something is there already, and will be overwritten.
    pub(crate) exists: bool,
    /// Of a file that is made.
    mode: u32,
}

/// Opens the source, and looks where the copy goes. Makes and changes nothing.
pub(crate) async fn look(source: &Path, dest: &Path) -> Result<Plan, Refusal> {
    let origin = match ops::statx(source).await {
        Ok(origin) if origin.kind() == FileKind::Directory => {
            return refuse(format_args!("omitting directory {}", quoted(source)));
        }
        Ok(origin) => origin,
        Err(error) => return refuse(format_args!("cannot stat {}: {}", quoted(source), reason(&error))),
    };
    let (dest, target) = resolve(source, dest).await?;
    if target.as_ref().is_some_and(|target| same(target, &origin)) {
        return refuse(format_args!("{} and {} are the same file", quoted(source), quoted(&dest)));
    }
    let from = ops::open(source).await.or_else(|error| {
        refuse(format_args!("cannot open {} for reading: {}", quoted(source), reason(&error)))
    })?;
    Ok(Plan { from, dest, exists: target.is_some(), mode: origin.mode() & 0o777 })
}

impl Plan {
    /// Opens what is there. It may take for ever: a pipe waits for its other end.
    pub(crate) async fn overwrite(&self) -> Result<Fd, Refusal> {
        self.opened(ops::open(&self.dest).flags(libc::O_WRONLY | libc::O_TRUNC).await).await
    }

    /// Makes a file where there is none. It waits for nobody, and is not to be dropped half-way: the kernel might have made
    /// the file all the same, and nobody would know whose it is.
    pub(crate) async fn make(&self) -> Result<Fd, Refusal> {
        let new = ops::open(&self.dest).flags(libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL);
        self.opened(new.mode(self.mode).await).await
    }

    async fn opened(&self, to: io::Result<Fd>) -> Result<Fd, Refusal> {
        match to {
            // Nothing is there, but the name is taken.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_symlink(&self.dest).await => {
                refuse(format_args!("not writing through dangling symlink {}", quoted(&self.dest)))
            }
            to => to.or_else(|error| {
                refuse(format_args!("cannot create regular file {}: {}", quoted(&self.dest), reason(&error)))
            }),
        }
    }

    /// Asks anew of what was opened: a name may have come to mean something else meanwhile.
    pub(crate) async fn ends(self, source: &Path, to: Fd) -> Result<Ends, Refusal> {
        let stat = async |fd: &Fd, path: &Path| {
            let answer = ops::statx_fd(fd).await;
            answer.or_else(|error| refuse(format_args!("cannot stat {}: {}", quoted(path), reason(&error))))
        };
        let Self { from, dest, .. } = self;
        let (source, target) = (stat(&from, source).await?, stat(&to, &dest).await?);
        let regular = target.kind() == FileKind::File;
        let size = if source.kind() == FileKind::File { source.len() } else { 0 };
        Ok(Ends { from: (from, place(&source)), to: (to, place(&target)), size, dest, regular })
    }
}

/// Where the copy goes: into a directory, under the name of the source. With what is there now, if anything is.
async fn resolve(source: &Path, dest: &Path) -> Result<(PathBuf, Option<Metadata>), Refusal> {
    let look = async |path: &Path| match ops::statx(path).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => refuse(format_args!("cannot stat {}: {}", quoted(path), reason(&error))),
    };
    let found = look(dest).await?;
    let Some(name) = source.file_name().filter(|_| is_directory(found.as_ref())) else {
        return Ok((dest.to_owned(), found));
    };
    let inside = dest.join(name);
    let found = look(&inside).await?;
    if is_directory(found.as_ref()) {
        return refuse(format_args!("cannot overwrite directory {} with non-directory", quoted(&inside)));
    }
    Ok((inside, found))
}

fn is_directory(found: Option<&Metadata>) -> bool {
    found.is_some_and(|found| found.kind() == FileKind::Directory)
}

async fn is_symlink(path: &Path) -> bool {
    ops::statx(path).no_follow().await.is_ok_and(|found| found.kind() == FileKind::Symlink)
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn place(file: &Metadata) -> Place {
    match file.kind() {
        FileKind::File | FileKind::BlockDevice => Place::Anywhere,
        _ => Place::InOrder,
    }
}

/// A path in a message.
pub(crate) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

/// What the C library calls the error, without the number that Rust adds.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(code) => text.replace(&format!(" (os error {code})"), ""),
        None => text,
    }
}
