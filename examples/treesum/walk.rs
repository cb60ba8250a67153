//! The files below some paths, in the byte order of their full paths, within a bounded memory.
//!
//! Knows: directories. Does not know: what is done with a file, channels, the ring.
//!
//! One heap holds everything that is known and not yet visited. A directory sorts as its path with a slash at the end,
//! so it sorts before all it contains and after every sibling whose files come first (`a.txt` before `a/b`, which a
//! plain sort of names gets wrong). Visiting the least entry of the heap is then all there is to it: a file is the next
//! file, a directory is replaced by its entries. Several roots, also nested or equal ones, need nothing more.
//!
//! A directory whose entries would not fit in the memory left is read in passes: each keeps the least names that fit
//! and leaves an entry behind that says where the next pass goes on.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ffi::OsString;
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What the heap may hold, in bytes, before directories are read in passes.
const BUDGET: usize = 16 << 20;
/// What every pass over a directory may add all the same, so that a deep tree stays readable.
const LEAST_PASS: usize = 4 << 10;

/// A regular file, or a path that could not be looked at.
pub(crate) type Found = Result<PathBuf, (PathBuf, io::Error)>;

/// An iterator over the regular files at and below the roots, sorted. Symbolic links are not followed.
pub(crate) struct Walk {
    ahead: BinaryHeap<Reverse<Entry>>,
    /// The cost of what is in `ahead`.
    held: usize,
    budget: usize,
}

impl Walk {
    pub(crate) fn new(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        Self::within(BUDGET, roots)
    }

    fn within(budget: usize, roots: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut walk = Self { ahead: BinaryHeap::new(), held: 0, budget };
        for root in roots {
            let file_type = fs::symlink_metadata(&root).map(|metadata| metadata.file_type());
            walk.add(Entry::new(root.into_os_string().into_vec(), file_type, None));
        }
        walk
    }

    fn add(&mut self, entry: Option<Entry>) {
        if let Some(entry) = entry {
            self.held += entry.cost();
            self.ahead.push(Reverse(entry));
        }
    }

    /// Replaces a directory by its entries after `floor`, as many of the least as fit.
    fn list(&mut self, prefix: &[u8], floor: &[u8], this: &Rc<Ancestor>) -> io::Result<()> {
        let allowance = LEAST_PASS.max(self.budget.saturating_sub(self.held) / 2);
        let mut kept = BinaryHeap::<Entry>::new();
        let mut cost = 0;
        let mut cut = false;
        let mut outcome = Ok(());
        for item in fs::read_dir(path_of(prefix))? {
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    outcome = Err(error); // what was read before it still counts
                    break;
                }
            };
            let path = [prefix, item.file_name().as_bytes()].concat();
            let Some(entry) = Entry::new(path, item.file_type(), Some(this)) else { continue };
            if entry.key.as_slice() <= floor || cut && kept.peek().is_some_and(|last| entry > *last) {
                continue;
            }
            cost += entry.cost();
            kept.push(entry);
            while cost > allowance && kept.len() > 1 {
                cost -= kept.pop().map_or(0, |last| last.cost());
                cut = true;
            }
        }
        if cut {
            let key = kept.peek().map(|last| last.key.clone()).unwrap_or_default();
            self.add(Some(Entry { key, kind: Kind::Rest { prefix: prefix.len(), this: Rc::clone(this) } }));
        }
        for entry in kept {
            self.add(Some(entry));
        }
        outcome
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        while let Some(Reverse(Entry { mut key, kind })) = self.ahead.pop() {
            self.held -= cost_of(&key);
            let (shown, outcome) = match kind {
                Kind::File => return Some(Ok(into_path(key))),
                Kind::Lost(error) => (key.len(), Err(error)),
                Kind::Directory { shown, parent } => {
                    let entered = Ancestor::enter(&key[..shown], parent);
                    (shown, entered.and_then(|this| self.list(&key, b"", &this)))
                }
                Kind::Rest { prefix, this } => (prefix, self.list(&key[..prefix], &key, &this)),
            };
            if let Err(error) = outcome {
                key.truncate(shown);
                return Some(Err((into_path(key), error)));
            }
        }
        None
    }
}

/// Something that is known and not yet visited, ordered by its key.
struct Entry {
    /// The full path; of a directory, with a slash at the end.
    key: Vec<u8>,
    kind: Kind,
}

enum Kind {
    File,
    /// `shown` is the length of the path as it was named, with or without the slash at the end.
    Directory {
        shown: usize,
        parent: Option<Rc<Ancestor>>,
    },
    /// What follows the key in the directory whose path is the first `prefix` bytes of the key.
    Rest {
        prefix: usize,
        this: Rc<Ancestor>,
    },
    Lost(io::Error),
}

impl Entry {
    /// The entry for a path, or nothing when it is neither a file nor a directory.
    fn new(path: Vec<u8>, file_type: io::Result<FileType>, parent: Option<&Rc<Ancestor>>) -> Option<Self> {
        let mut key = path;
        let kind = match file_type {
            Ok(kind) if kind.is_file() => Kind::File,
            Ok(kind) if kind.is_dir() => {
                let shown = key.len();
                if !key.ends_with(b"/") {
                    key.push(b'/');
                }
                Kind::Directory { shown, parent: parent.cloned() }
            }
            Ok(_) => return None,
            Err(error) => Kind::Lost(error),
        };
        Some(Self { key, kind })
    }

    fn cost(&self) -> usize {
        cost_of(&self.key)
    }
}

/// An entry, its key and what the allocator adds.
fn cost_of(key: &[u8]) -> usize {
    size_of::<Entry>() + 16 + key.len()
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Entry {}

/// A directory that is being walked, and those it is in: how a mount of a directory below itself is noticed.
struct Ancestor {
    identity: (u64, u64),
    parent: Option<Rc<Ancestor>>,
}

impl Ancestor {
    fn enter(path: &[u8], parent: Option<Rc<Self>>) -> io::Result<Rc<Self>> {
        let metadata = fs::symlink_metadata(path_of(path))?;
        let identity = (metadata.dev(), metadata.ino());
        let mut above = parent.as_deref();
        while let Some(ancestor) = above {
            if ancestor.identity == identity {
                return Err(io::Error::other("File system loop detected"));
            }
            above = ancestor.parent.as_deref();
        }
        Ok(Rc::new(Self { identity, parent }))
    }
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn into_path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A directory of its own for one test, removed at the end.
    struct Scratch(tempfile::TempDir);

    impl Scratch {
        fn new() -> io::Result<Self> {
            tempfile::tempdir().map(Self)
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn files(&self, names: &[&[u8]]) -> io::Result<()> {
            for name in names {
                let path = self.path().join(path_of(name));
                fs::create_dir_all(path.parent().expect("below the scratch directory"))?;
                fs::write(path, "")?;
            }
            Ok(())
        }
    }

    /// What the walk must yield: every file, collected in any order, then sorted.
    fn expected(directory: &Path, into: &mut Vec<Vec<u8>>) -> io::Result<()> {
        for item in fs::read_dir(directory)? {
            let item = item?;
            if item.file_type()?.is_dir() {
                expected(&item.path(), into)?;
            } else if item.file_type()?.is_file() {
                into.push(item.path().into_os_string().into_vec());
            }
        }
        into.sort();
        Ok(())
    }

    fn walked(walk: Walk) -> Vec<Vec<u8>> {
        walk.map(|found| found.expect("readable").into_os_string().into_vec()).collect()
    }

    const NAMES: [&[u8]; 14] = [
        b"a/x",
        b"a.b",
        b"a-",
        b"a0",
        b"a/b/c",
        b"a/b.c",
        b"a/b0/d",
        b"\xff\xfe/\x01",
        b"\n/\\",
        b"A/\r",
        b"ab/c/d/e/f/g",
        b"ab/c/d/e!",
        b" ",
        b"ab/c.d/e",
    ];

    #[test]
    fn the_order_is_that_of_the_full_paths() -> io::Result<()> {
        let scratch = Scratch::new()?;
        scratch.files(&NAMES)?;
        let mut all = Vec::new();
        expected(scratch.path(), &mut all)?;
        assert_eq!(all.len(), NAMES.len());
        assert_eq!(walked(Walk::new([scratch.path().to_owned()])), all);
        Ok(())
    }

    #[test]
    fn a_directory_that_does_not_fit_is_read_in_passes() -> io::Result<()> {
        let scratch = Scratch::new()?;
        scratch.files(&NAMES)?;
        for i in 0..3000_u32 {
            let name = i.wrapping_mul(2_654_435_761) % 7919;
            fs::write(scratch.path().join(format!("ab/{name}{}", "x".repeat(i as usize % 7))), "")?;
            if i % 100 == 0 {
                scratch.files(&[format!("ab/{name}d/f").as_bytes(), format!("ab/{name}d!").as_bytes()])?;
            }
        }
        let mut all = Vec::new();
        expected(scratch.path(), &mut all)?;
        for budget in [0, 20_000, 200_000] {
            let mut walk = Walk::within(budget, [scratch.path().to_owned()]);
            let (mut paths, mut peak) = (Vec::new(), 0);
            while let Some(found) = walk.next() {
                paths.push(found.expect("readable").into_os_string().into_vec());
                peak = peak.max(walk.held);
            }
            assert_eq!(paths, all, "within {budget}");
            assert!(peak <= budget + 8 * LEAST_PASS, "{peak} bytes were held within {budget}");
            assert_eq!(walk.held, 0);
        }
        Ok(())
    }

    #[test]
    fn roots_are_merged_also_nested_and_equal_ones() -> io::Result<()> {
        let scratch = Scratch::new()?;
        scratch.files(&NAMES)?;
        let roots = ["a", "ab/c", "a.b", "a/", "a/b", "a", "ab//c", "ab/c/d/e!"]
            .map(|root| scratch.path().join(root));
        let mut all = Vec::new();
        for root in &roots {
            match root.is_dir() {
                true => expected(root, &mut all)?,
                false => all.push(root.clone().into_os_string().into_vec()),
            }
        }
        all.sort();
        assert_eq!(walked(Walk::new(roots)), all);
        Ok(())
    }

    #[test]
    fn links_are_not_followed_and_other_kinds_not_listed() -> io::Result<()> {
        let scratch = Scratch::new()?;
        scratch.files(&[b"d/file"])?;
        symlink(".", scratch.path().join("d/loop"))?;
        symlink("file", scratch.path().join("d/link"))?;
        let _socket = std::os::unix::net::UnixListener::bind(scratch.path().join("d/socket"))?;
        let link = scratch.path().join("d/link");
        assert_eq!(
            walked(Walk::new([scratch.path().to_owned(), link])),
            [scratch.path().join("d/file").as_os_str().as_bytes()]
        );
        Ok(())
    }

    #[test]
    fn what_cannot_be_looked_at_is_reported_in_its_place() -> io::Result<()> {
        let scratch = Scratch::new()?;
        scratch.files(&[b"a", b"gone/x", b"z"])?;
        let roots = ["z", "nothing", "gone", "a"].map(|root| scratch.path().join(root));
        let walk = Walk::new(roots.clone());
        fs::remove_dir_all(&roots[2])?;
        let found: Vec<_> = walk.map(|found| found.map_err(|(path, error)| (path, error.kind()))).collect();
        assert_eq!(
            found,
            [
                Ok(roots[3].clone()),
                Err((roots[2].clone(), io::ErrorKind::NotFound)),
                Err((roots[1].clone(), io::ErrorKind::NotFound)),
                Ok(roots[0].clone()),
            ]
        );
        Ok(())
    }

    #[test]
    fn a_directory_mounted_below_itself_is_a_loop() -> io::Result<()> {
        let scratch = Scratch::new()?;
        let outer = Ancestor::enter(scratch.path().as_os_str().as_bytes(), None)?;
        let again = Ancestor::enter(scratch.path().as_os_str().as_bytes(), Some(outer));
        assert_eq!(again.err().map(|error| error.to_string()).as_deref(), Some("File system loop detected"));
        Ok(())
    }
}
