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

/// What the compiler's `unsafe_code` lint speaks of.
const UNSAFE: [&str; 5] = ["unsafe {", "unsafe impl", "unsafe trait ", "unsafe fn ", "unsafe extern "];
/// Of these, what needs a proof.
const PROVED: [&str; 2] = ["unsafe {", "unsafe impl"];

fn is_unsafe(source: &Source) -> bool {
    UNSAFE.iter().any(|keyword| source.code.contains(keyword))
}

/// The reason in the attribute that allows unsafe code for the whole file.
fn reason(source: &Source) -> Option<String> {
    let starts = |start: &usize| source.code[*start..].trim_start().starts_with("unsafe_code");
    let start = source.code.match_indices("#![allow(").map(|(at, found)| at + found.len()).find(starts)?;
    let attribute = source.text[start..].split(")]").next()?;
    let quoted = &attribute[attribute.find('"')? + 1..attribute.rfind('"')?];
    Some(quoted.replace('\\', " ").split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The row a file has in the table: its path, the invariants its comments name, its reason.
fn row(source: &Source) -> String {
    let lines: Vec<_> = source.text.lines().collect();
    let comments = PROVED.iter().flat_map(|keyword| lines_with(&source.code, keyword));
    let leans_on: BTreeSet<_> = comments
        .filter_map(|(number, _)| safety_above(&lines, number - 1))
        .flat_map(|c| named_in(&c))
        .collect();
    let leans_on: Vec<_> = leans_on.into_iter().collect();
    format!("| `{}` | {} | {} |", source.path, leans_on.join(", "), reason(source).unwrap_or_default())
}

#[test]
fn the_list_is_the_files() {
    let expected: BTreeSet<_> =
        rust_files(EVERYWHERE).iter().filter(|source| is_unsafe(source)).map(row).collect();
    let text = fs::read_to_string(root().join(LIST)).expect("the list is there");
    let (_, section) = text.split_once(HEADING).expect("the list has its heading");
    let section = section.split("\n## ").next().unwrap_or(section);
    let listed: BTreeSet<_> =
        section.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let missing: Vec<_> = expected.difference(&listed).map(|row| format!("missing: {row}")).collect();
    let stale: Vec<_> = listed.difference(&expected).map(|row| format!("stale:   {row}")).collect();
    assert_none(&[missing, stale].concat(), "rows of the table in docs/invariants.md");
}

#[test]
fn each_file_allows_its_own_unsafe_code_and_says_why() {
    let mut findings = Vec::new();
    for source in rust_files(EVERYWHERE) {
        let allows = reason(&source);
        if source.code.matches("allow(unsafe_code").count() > usize::from(allows.is_some()) {
            findings.push(format!("{}: allow unsafe code once, for the whole file", source.path));
        }
        if is_unsafe(&source) && allows.is_none_or(|reason| reason.len() < 10) {
            // An allowance of the parent module reaches here too, but nobody would see it in the list.
            findings.push(format!(
                "{}: has unsafe code that it does not allow itself, with a reason",
                source.path
            ));
        }
    }
    assert_none(&findings, "how unsafe code is allowed");
}

#[test]
fn every_unsafe_block_has_its_proof() {
    let mut findings = Vec::new();
    for source in rust_files(EVERYWHERE) {
        let lines: Vec<_> = source.text.lines().collect();
        for (number, _) in PROVED.iter().flat_map(|keyword| lines_with(&source.code, keyword)) {
            if safety_above(&lines, number - 1).is_none() {
                findings.push(format!("{}:{number}: no SAFETY comment", source.path));
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
    // The rest of a long statement, or attributes, may stand between; another unsafe block may not.
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

/// The invariants a comment names, as `I1`; `local` if it names none and so carries the whole proof.
fn named_in(comment: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for group in comment.split('(').skip(1).filter_map(|rest| rest.split(')').next()) {
        let is_one = |word: &str| {
            word.strip_prefix('I').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        if group.split(", ").all(is_one) {
            named.extend(group.split(", ").map(str::to_owned));
        }
    }
    if named.is_empty() {
        named.insert("local".to_owned());
    }
    named
}

#[test]
fn the_reader_finds_the_comment() {
    let text = ["// SAFETY: (I1) one,", "// two.", "let a =", "    unsafe { x() };", "unsafe { y() };"];
    assert_eq!(safety_above(&text, 3).as_deref(), Some("SAFETY: (I1) one, two."));
    assert_eq!(safety_above(&text, 4), None);
    assert_eq!(Vec::from_iter(named_in("SAFETY: (I1, I5) the node (a page of it).")), ["I1", "I5"]);
    assert_eq!(Vec::from_iter(named_in("SAFETY: a local (I think).")), ["local"]);
}
