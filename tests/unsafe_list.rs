//! Holds the list of files with unsafe code, and what every unsafe block says for itself.
//!
//! Knows: the table in `docs/invariants.md`, comments and attributes. Does not know: whether a SAFETY comment is right.

mod support;

use std::collections::BTreeSet;
use std::fs;

use support::sources::{Source, assert_none, lines_with, root, rust_files};

const EVERYWHERE: &[&str] = &["src", "macros", "bench", "tests", "examples"];
const LIST: &str = "docs/invariants.md";
const HEADING: &str = "## Files with unsafe code";

/// The files of the table below the heading: rows of the form ``| `path` | reason |``.
fn listed() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(LIST)).expect("the list is there");
    let (_, section) = text.split_once(HEADING).expect("the list has its heading");
    let section = section.split("\n## ").next().unwrap_or(section);
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .inspect(|(path, reason)| {
            assert!(reason.trim_matches([' ', '|']).len() > 10, "{path} is listed without a reason")
        })
        .map(|(path, _)| path.to_owned())
        .collect()
}

/// Whether the file as a whole allows unsafe code, however the attribute is broken into lines.
fn allows(source: &Source) -> bool {
    source.code.split("#![allow(").skip(1).any(|rest| rest.trim_start().starts_with("unsafe_code"))
}

#[test]
fn the_list_is_the_files() {
    let allowing: BTreeSet<_> =
        rust_files(EVERYWHERE).into_iter().filter(allows).map(|source| source.path).collect();
    let listed = listed();
    let missing: Vec<_> =
        allowing.difference(&listed).map(|path| format!("{path}: no row in {LIST}")).collect();
    let stale: Vec<_> = listed
        .difference(&allowing)
        .map(|path| format!("{path}: listed, but allows no unsafe code"))
        .collect();
    assert_none(&[missing, stale].concat(), "files with unsafe code against their list");
}

#[test]
fn the_allowance_is_for_a_whole_file_that_uses_it() {
    let mut findings = Vec::new();
    for source in rust_files(EVERYWHERE) {
        let forbidden = source.code.matches("forbid(unsafe_code)").count(); // more than the workspace asks
        let named = source.code.matches("unsafe_code").count() - forbidden;
        if named != usize::from(allows(&source)) {
            findings.push(format!(
                "{}: allow unsafe code once, for the whole file, where the list can see it",
                source.path
            ));
        }
        if allows(&source) && !source.code.contains("unsafe ") {
            findings.push(format!("{}: allows unsafe code and has none", source.path));
        }
    }
    assert_none(&findings, "how unsafe code is allowed");
}

/// An invariant of `docs/invariants.md`, or `(local)` for a block whose whole proof stands beside it.
#[test]
fn every_unsafe_block_names_an_invariant() {
    let mut findings = Vec::new();
    for source in rust_files(&["src"]) {
        let lines: Vec<_> = source.text.lines().collect();
        for keyword in ["unsafe {", "unsafe impl"] {
            for (number, _) in lines_with(&source.code, keyword) {
                let place = format!("{}:{number}", source.path);
                match safety_above(&lines, number - 1) {
                    None => findings.push(format!("{place}: no SAFETY comment")),
                    Some(comment) if !comment.contains("(I") && !comment.contains("(local)") => {
                        findings.push(format!("{place}: names no invariant: {comment}"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    assert_none(&findings, "unsafe blocks that do not say why they are sound");
}

/// The SAFETY comment for the block that begins at `number` (from 0): on the line, or in the comment block next above
/// the statement the block is part of.
fn safety_above(lines: &[&str], number: usize) -> Option<String> {
    let starts = |line: &str| line.contains("SAFETY:");
    if starts(lines[number]) {
        return Some(lines[number].trim().to_owned());
    }
    // A long statement, or attributes, may stand between; another block's comment may not, since it ends with code
    // that itself contains `unsafe`.
    for above in (number.saturating_sub(8)..number).rev() {
        if starts(lines[above]) {
            let comment = lines[above..number].iter().take_while(|line| line.trim_start().starts_with("//"));
            return Some(
                comment.map(|line| line.trim().trim_start_matches("// ")).collect::<Vec<_>>().join(" "),
            );
        }
        if lines[above].contains("unsafe {") {
            return None;
        }
    }
    None
}

#[test]
fn the_reader_finds_the_comment() {
    let text = ["// SAFETY: (I1) one,", "// two.", "let a =", "    unsafe { x() };", "unsafe { y() };"];
    assert_eq!(safety_above(&text, 3).as_deref(), Some("SAFETY: (I1) one, two."));
    assert_eq!(safety_above(&text, 4), None);
}
