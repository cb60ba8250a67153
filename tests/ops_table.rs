//! `docs/ops.md` has a row for every op, and every row is true of the source: the op is there, and so are its tests.
//!
//! Knows: the functions that `src/ops/mod.rs` makes public, the table. Does not know: kernels; those columns are prose.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::sources::{assert_none, code_of, root, rust_files};

/// Columns of the table.
const COLUMNS: usize = 6;

/// The functions that are public in `millstream::ops`: the names in its `pub use`s that begin with a small letter.
fn public_functions() -> Vec<String> {
    let source = fs::read_to_string(root().join("src/ops/mod.rs")).expect("the module of the ops");
    let code = code_of(&source);
    let (code, _requests) = code.split_once("pub mod requests").expect("the requests come last");
    let mut functions = Vec::new();
    for statement in code.split(';').filter_map(|statement| statement.trim().strip_prefix("pub use ")) {
        let names = statement.rsplit_once("::").map_or(statement, |(_, names)| names);
        for name in names.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "as" {
                functions.push(name.to_owned());
            }
        }
    }
    functions
}

/// The rows: the ops that each is about, and the tests it names.
fn rows() -> Vec<(Vec<String>, Vec<String>)> {
    let page = fs::read_to_string(root().join("docs/ops.md")).expect("the page of the ops");
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), COLUMNS, "a row of another width: {line}");
        let functions = in_backticks(cells[0])
            .filter_map(|call| call.split_once('('))
            .map(|(name, _)| name.to_owned())
            .filter(|name| !name.starts_with('.')) // a method of every op
            .collect();
        rows.push((functions, in_backticks(cells[5]).map(str::to_owned).collect()));
    }
    rows
}

fn in_backticks(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The text of a test program of that name.
fn test_program(name: &str) -> Option<String> {
    let (file, directory) = (root().join(format!("tests/{name}.rs")), root().join(format!("tests/{name}")));
    fs::read_to_string(file).ok().or_else(|| directory.join("main.rs").exists().then(|| all_of(&directory)))
}

fn all_of(directory: &Path) -> String {
    let files = fs::read_dir(directory).expect("a directory").flatten();
    files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect()
}

#[test]
fn the_functions_are_found() {
    let functions = public_functions();
    for known in ["accept", "read", "open_at_direct", "accept_multishot"] {
        assert!(functions.iter().any(|name| name == known), "{known} is not in {functions:?}");
    }
    assert!(!functions.iter().any(|name| name == "nodes"));
}

#[test]
fn every_op_has_one_row_and_every_row_its_ops() {
    let functions = public_functions();
    let mut rows_of: BTreeMap<String, usize> = BTreeMap::new();
    for name in rows().into_iter().flat_map(|(functions, _)| functions) {
        *rows_of.entry(name).or_default() += 1;
    }
    let mut findings: Vec<_> = functions
        .iter()
        .filter(|name| rows_of.get(*name) != Some(&1))
        .map(|name| format!("{name}: {} rows", rows_of.get(name).unwrap_or(&0)))
        .collect();
    findings
        .extend(rows_of.keys().filter(|name| !functions.contains(name)).map(|name| format!("{name}: no op")));
    assert_none(&findings, "docs/ops.md");
}

#[test]
fn the_tests_that_a_row_names_use_its_ops() {
    let mut findings = Vec::new();
    for (functions, tests) in rows() {
        let programs: Vec<_> = tests.iter().map(|name| (name, test_program(name))).collect();
        findings.extend(
            programs
                .iter()
                .filter(|(_, program)| program.is_none())
                .map(|(name, _)| format!("{name}: no such test program")),
        );
        for function in functions {
            let call = format!("{function}(");
            if !programs.iter().any(|(_, program)| program.as_ref().is_some_and(|text| text.contains(&call)))
            {
                findings.push(format!("{function}: in none of {tests:?}"));
            }
        }
    }
    assert_none(&findings, "the tests named in docs/ops.md");
}

/// What a kernel may lack and no probe tells of: of each there is a test that pretends it, and code that listens to that.
#[test]
fn every_ability_is_pretended_to_be_missing() {
    let source = fs::read_to_string(root().join("src/ops/features.rs")).expect("the abilities");
    let code = code_of(&source);
    let (_, variants) = code.split_once("pub enum Feature {").expect("an enum");
    let (variants, _) = variants.split_once('}').expect("its end");
    let variants: Vec<_> = variants.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    assert!(variants.contains(&"SendZc"), "{variants:?}");
    let mut findings = Vec::new();
    for directory in ["src", "tests"] {
        let files = rust_files(&[directory]);
        let names = |name: &str| {
            let path = format!("Feature::{name}");
            // A longer name that begins like this one is another.
            let is_it = |rest: &str| !rest.starts_with(char::is_alphanumeric);
            files.iter().any(|file| file.code.split(&*path).skip(1).any(is_it))
        };
        findings.extend(
            variants.iter().filter(|name| !names(name)).map(|name| format!("{name}: not in {directory}/")),
        );
    }
    assert_none(&findings, "abilities of the kernel");
}
