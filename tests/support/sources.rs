//! Reads this repository's own source, for the tests that hold its structure.
//!
//! Knows: files and enough of Rust's lexical rules to tell code from comments and strings. Does not know: grammar.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with every comment, string and character literal blanked; lines and columns are those of `text`.
    pub(crate) code: String,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below these directories, sorted by path.
pub(crate) fn rust_files(directories: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for directory in directories {
        walk(&root().join(directory), &mut paths);
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let path =
                path.strip_prefix(root()).expect("walked from the root").to_str().expect("UTF-8").to_owned();
            Source { path, code: code_of(&text), text }
        })
        .collect()
}

fn walk(directory: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            walk(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Blanks what is not code. Line breaks stay, so that line numbers do.
pub(crate) fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match &bytes[at..] {
            [b'/', b'/', ..] => bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n),
            [b'/', b'*', ..] => end_of_block_comment(bytes, at),
            [b'"', ..] => end_of_string(bytes, at + 1),
            [b'r', rest @ ..] if !is_word(at.checked_sub(1).map(|n| bytes[n])) || bytes[at - 1] == b'b' => {
                let hashes = rest.iter().take_while(|b| **b == b'#').count();
                if rest.get(hashes) == Some(&b'"') { end_of_raw(bytes, at + hashes + 2, hashes) } else { at }
            }
            [b'\'', b'\\', ..] => {
                bytes[at + 3..].iter().position(|b| *b == b'\'').map_or(bytes.len(), |n| at + n + 4)
            }
            [b'\'', ..] => end_of_char(text, at),
            _ => at,
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("whole literals were blanked")
}

fn is_word(byte: Option<u8>) -> bool {
    byte.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn end_of_block_comment(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn end_of_raw(bytes: &[u8], mut at: usize, hashes: usize) -> usize {
    while at < bytes.len() {
        let tail = &bytes[at + 1..];
        if bytes[at] == b'"' && tail.len() >= hashes && tail[..hashes].iter().all(|b| *b == b'#') {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// `'x'` is a character, `'x` a lifetime.
fn end_of_char(text: &str, at: usize) -> usize {
    let mut after = text[at + 1..].char_indices();
    match (after.next(), after.next()) {
        (Some(_), Some((n, '\''))) => at + 1 + n + 1,
        _ => at,
    }
}

/// Every place of `needle` in the code of a file, as line numbers from 1.
pub(crate) fn lines_with<'a>(text: &'a str, needle: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    text.lines().enumerate().filter(move |(_, line)| line.contains(needle)).map(|(n, line)| (n + 1, line))
}

/// Joins findings into one panic, so that a run shows all of them.
#[track_caller]
pub(crate) fn assert_none(findings: &[String], what: &str) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}
