//! The table in `docs/guide/coming_from_condy.md`: every behaviour of condy, the C++ library this design started from, has
//! a row, with a test that is there or with a sentence that says why ours differs.
//!
//! Knows: the table, the names of tests. Does not know: what they test.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;

use support::sources::{assert_none, root};

const TABLE: &str = "docs/guide/coming_from_condy.md";

/// Every behaviour that must have a row: those of its test-suite by number, those of its documentation by letter.
fn expected() -> BTreeSet<String> {
    let numbers = [43, 44].into_iter().chain(66..=107).chain(113..=116).chain([134, 181]);
    let letters = [("C", 9), ("A", 11), ("L", 14), ("D", 3)];
    numbers
        .map(|number| number.to_string())
        .chain(letters.iter().flat_map(|(letter, count)| (1..=*count).map(move |n| format!("{letter}{n}"))))
        .collect()
}

/// `43, 66–68, A1` in full.
fn keys(cell: &str) -> Vec<String> {
    let mut keys = vec![];
    for part in cell.split(',').map(str::trim) {
        match part.split_once('–') {
            Some((from, to)) => {
                let (from, to): (u32, u32) = (from.parse().expect("a number"), to.parse().expect("a number"));
                keys.extend((from..=to).map(|number| number.to_string()));
            }
            None => keys.push(part.to_owned()),
        }
    }
    keys
}

/// Whether `file::test` is there: a function of that name in `tests/file.rs`, or the file of one that must not compile.
fn is_there(reference: &str) -> bool {
    let Some((file, test)) = reference.split_once("::") else { return false };
    if file == "must_not_compile" {
        return root().join(format!("tests/must_not_compile/{test}.rs")).exists();
    }
    let text = fs::read_to_string(root().join(format!("tests/{file}.rs"))).unwrap_or_default();
    text.contains(&format!("#[test]\nfn {test}()"))
}

#[test]
fn each_behaviour_of_condy_has_a_test_or_a_sentence() {
    let text = fs::read_to_string(root().join(TABLE)).expect("the table is there");
    let (mut seen, mut findings) = (BTreeSet::new(), vec![]);
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| nr ")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, behaviour, here] = cells[..] else {
            findings.push(format!("not three cells: {row}"));
            continue;
        };
        for key in keys(key) {
            if !seen.insert(key.clone()) {
                findings.push(format!("{key} has two rows"));
            }
        }
        let references: Vec<_> =
            here.split('`').skip(1).step_by(2).filter(|code| code.contains("::")).collect();
        let tests = references.iter().filter(|code| code.starts_with(|c: char| c.is_ascii_lowercase()));
        let mut count = 0;
        for test in tests.filter(|code| !code.contains(['(', '&', '>']) && !code.starts_with("ops::")) {
            count += 1;
            if !is_there(test) {
                findings.push(format!("{key} ({behaviour}): there is no test {test}"));
            }
        }
        let says_why = here.starts_with("Differs: ") || here.starts_with("Not here: ");
        if count == 0 && !says_why {
            findings.push(format!("{key} ({behaviour}): neither a test nor a sentence"));
        }
    }
    let expected = expected();
    findings.extend(expected.difference(&seen).map(|key| format!("{key} has no row")));
    findings.extend(seen.difference(&expected).map(|key| format!("{key} is no behaviour we know of")));
    assert_none(&findings, TABLE);
}
