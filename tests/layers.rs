//! Holds the structure of the source: who may import whom, what every file says of itself, how long it may be.
//!
//! Knows: the layer table of `ARCHITECTURE.md`, and the paths that the source names. Does not know: types; a name that
//! travels through an allowed re-export is the re-exporting layer's to answer for.
//!
//! Code in `mod tests` and in `tests.rs` files may import anything: a test may stand above what it tests.

mod support;

use support::sources::{Source, assert_none, rust_files};

/// A layer: the path its files begin with, the paths below `crate` that they may name, and single items beyond those.
struct Layer {
    files: &'static str,
    may_import: &'static [&'static str],
    items: &'static [&'static str],
}

const ANY: &[&str] = &[""];
const RING_OPERATION: &[&str] =
    &["ops::RingOperation", "ops::Chain", "ops::Link", "ops::EntryFlags", "ops::ChainTooLong"];

/// Bottom up. A file belongs to the layer with the longest matching path. Every layer may import itself.
const LAYERS: &[Layer] = &[
    Layer { files: "src/sync.rs", may_import: &[], items: &[] },
    Layer { files: "src/util/", may_import: &["sync"], items: &[] },
    Layer { files: "src/operation.rs", may_import: &[], items: &[] },
    Layer { files: "src/channel/", may_import: &["sync", "util", "operation"], items: &[] },
    Layer { files: "src/runtime/driver/", may_import: &["sync", "util"], items: &[] },
    Layer { files: "src/runtime/inflight/", may_import: &["sync", "util", "runtime::driver"], items: &[] },
    Layer {
        files: "src/runtime/",
        may_import: &["sync", "util", "operation", "runtime::driver", "runtime::inflight"],
        items: &[],
    },
    Layer { files: "src/ops/", may_import: &["sync", "util", "operation", "runtime"], items: &[] },
    Layer { files: "src/combinators/", may_import: &["operation", "util"], items: RING_OPERATION },
    Layer { files: "src/combinators/adapters/", may_import: ANY, items: &[] },
    Layer { files: "src/combinators/adapters.rs", may_import: ANY, items: &[] },
    Layer { files: "src/lib.rs", may_import: ANY, items: &[] },
];

/// Paths outside the crate that only some files may name, and why the others may not.
const OUTSIDE: &[(&str, &[&str], &str)] = &[
    ("io_uring", &["src/runtime/driver/", "src/runtime/inflight/", "src/ops/"], "the ring is the driver's"),
    ("std::sync", LOOM_NEED_NOT_SEE, "loom cannot see it"),
    ("core::sync", LOOM_NEED_NOT_SEE, "loom cannot see it"),
    ("std::thread", LOOM_NEED_NOT_SEE, "loom cannot see it"),
];

const LOOM_NEED_NOT_SEE: &[&str] = &[
    "src/sync.rs",
    "src/runtime/", // what of it has models names `crate::sync` all the same
    "src/ops/",
    "src/combinators/adapters",
    "src/channel/lock.rs", // its half that sleeps in the kernel; the half that decides has a model
    "src/util/parking.rs", // how many processors there are
];

const LONGEST: usize = 800;

fn layer_of(path: &str) -> Option<&'static Layer> {
    LAYERS.iter().filter(|layer| path.starts_with(layer.files)).max_by_key(|layer| layer.files.len())
}

/// The module path below `crate` that a layer's files define: `src/runtime/driver/` is `runtime::driver`.
fn module_of(path: &str) -> String {
    let path = path.trim_start_matches("src/").trim_end_matches('/').trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" || path == "mod" { String::new() } else { path.replace('/', "::") }
}

/// Whether `path` is `prefix` or below it.
fn below(path: &str, prefix: &str) -> bool {
    prefix.is_empty()
        || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The layer that answers for a path below `crate`.
fn owner(path: &str) -> Option<&'static Layer> {
    let named = |layer: &&Layer| {
        let module = module_of(layer.files);
        !module.is_empty() && below(path, &module)
    };
    LAYERS.iter().filter(named).max_by_key(|layer| layer.files.len())
}

fn allowed(layer: &Layer, path: &str) -> bool {
    if layer.may_import == ANY || layer.items.iter().any(|item| below(path, item)) {
        return true;
    }
    let Some(owner) = owner(path) else { return false }; // the root's re-exports: name the module instead
    if owner.files == layer.files {
        return true;
    }
    let target = module_of(owner.files);
    layer.may_import.iter().any(|prefix| below(&target, prefix))
}

// --- paths in code --------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Sign(char),
}

fn tokens(code: &str) -> Vec<(usize, Token<'_>)> {
    let mut found = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let token = if length > 0 { Token::Word(&rest[..length]) } else { Token::Sign(first) };
            if !first.is_whitespace() {
                found.push((line + 1, token));
            }
            rest = &rest[if length > 0 { length } else { first.len_utf8() }..];
        }
    }
    found
}

/// Reads `a::b::{c, d::e}` at `*at` and appends every path it names to `paths`.
fn read_tree(tokens: &[(usize, Token<'_>)], at: &mut usize, prefix: &str, paths: &mut Vec<String>) {
    let mut path = prefix.to_owned();
    loop {
        match tokens.get(*at).map(|t| t.1) {
            Some(Token::Word(word)) => {
                if !path.is_empty() {
                    path.push_str("::");
                }
                path.push_str(word);
                *at += 1;
            }
            Some(Token::Sign('{')) => {
                *at += 1;
                while !matches!(tokens.get(*at).map(|t| t.1), Some(Token::Sign('}')) | None) {
                    let before = *at;
                    read_tree(tokens, at, &path, paths);
                    *at += usize::from(*at == before); // a comma, an alias, a star
                }
                *at += 1;
                return;
            }
            _ => break,
        }
        let colons = tokens.get(*at..*at + 2).is_some_and(|two| two.iter().all(|t| t.1 == Token::Sign(':')));
        if !colons {
            break;
        }
        *at += 2;
    }
    if path != prefix {
        paths.push(path);
    }
}

/// Every path a file names, outside its tests: with its line, and below `crate::` made absolute.
fn paths_of(source: &Source) -> Vec<(usize, String)> {
    let tokens = tokens(&source.code);
    let module = module_of(&source.path);
    let mut inline: Vec<(String, usize)> = Vec::new(); // `mod x {` around here, and the depth of its brace
    let (mut depth, mut at, mut found) = (0_usize, 0, Vec::new());
    while let Some(&(line, token)) = tokens.get(at) {
        let is = |n: usize, sign| tokens.get(at + n).map(|t| t.1) == Some(Token::Sign(sign));
        match token {
            Token::Sign('{') => (depth, at) = (depth + 1, at + 1),
            Token::Sign('}') => {
                depth = depth.saturating_sub(1);
                inline.retain(|(_, opened)| *opened <= depth);
                at += 1;
            }
            Token::Word("mod") if is(2, '{') => {
                if let Some(Token::Word(name)) = tokens.get(at + 1).map(|t| t.1) {
                    inline.push((name.to_owned(), depth + 1));
                }
                at += 2; // the brace comes next
            }
            Token::Word(_) if is(1, ':') && is(2, ':') => {
                let in_macro = at.checked_sub(1).map(|n| tokens[n].1) == Some(Token::Sign('$'));
                let mut paths = Vec::new();
                read_tree(&tokens, &mut at, "", &mut paths);
                // `$crate::…` is a name in the user's crate.
                if !in_macro && !inline.iter().any(|(name, _)| name == "tests") {
                    let around: Vec<_> = inline.iter().map(|(name, _)| name.as_str()).collect();
                    found.extend(paths.into_iter().map(|path| (line, absolute(&module, &around, &path))));
                }
            }
            _ => at += 1,
        }
    }
    found
}

/// `super::x` and `self::x` as paths from `crate`; anything else as it is.
fn absolute(module: &str, inline: &[&str], path: &str) -> String {
    let mut here: Vec<&str> =
        module.split("::").filter(|part| !part.is_empty()).chain(inline.iter().copied()).collect();
    let mut rest = path;
    let mut relative = false;
    loop {
        if let Some(tail) = rest.strip_prefix("super") {
            here.pop();
            (rest, relative) = (tail.trim_start_matches("::"), true);
        } else if let Some(tail) = rest.strip_prefix("self::") {
            (rest, relative) = (tail, true);
        } else {
            break;
        }
    }
    if !relative {
        return path.to_owned();
    }
    std::iter::once("crate")
        .chain(here)
        .chain((!rest.is_empty()).then_some(rest))
        .collect::<Vec<_>>()
        .join("::")
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

// --- the tests ------------------------------------------------------------------------------------------------------

#[test]
fn no_import_goes_up_or_sideways() {
    let mut findings = Vec::new();
    for source in rust_files(&["src"]) {
        let Some(layer) = layer_of(&source.path) else {
            findings.push(format!(
                "{} is in no layer: add it to the table here and in ARCHITECTURE.md",
                source.path
            ));
            continue;
        };
        if is_test_file(&source.path) {
            continue;
        }
        for (line, path) in paths_of(&source) {
            if let Some(inside) = path.strip_prefix("crate::") {
                if !allowed(layer, inside) {
                    findings.push(format!("{}:{line}: {} may not import {path}", source.path, layer.files));
                }
                continue;
            }
            for (outside, layers, why) in OUTSIDE {
                if below(&path, outside) && !layers.iter().any(|files| source.path.starts_with(files)) {
                    findings.push(format!("{}:{line}: {path}: {why}", source.path));
                }
            }
        }
    }
    assert_none(&findings, "imports against the layer table");
}

#[test]
fn every_file_says_what_it_is_for_and_what_it_knows() {
    let mut findings = Vec::new();
    for source in rust_files(&["src", "macros/src", "bench/src", "tests", "examples"]) {
        let header: Vec<_> = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        if header.is_empty() {
            findings.push(format!("{}: the first line is no `//!` saying what the file is for", source.path));
        }
        // The crate tour and the programs speak to users, who have no layers.
        let inner =
            source.path.starts_with("src/") && source.path != "src/lib.rs" && !is_test_file(&source.path);
        let says = |what: &str| header.iter().any(|line| line.contains(what));
        if inner && !(says("Knows:") && says("Does not know:")) {
            findings.push(format!("{}: the header has no line `Knows: … Does not know: …`", source.path));
        }
        let lines = source.text.lines().count();
        if lines > LONGEST {
            findings.push(format!("{}: {lines} lines, more than {LONGEST}", source.path));
        }
    }
    assert_none(&findings, "files that break the house rules");
}

#[test]
fn an_op_says_what_dropping_it_does() {
    let mut findings = Vec::new();
    for source in rust_files(&["src/ops", "src/combinators", "src/channel"]) {
        let lines: Vec<_> = source.text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            // What returns at once cannot be dropped half way; what waits returns an op, a future, or is `async`.
            let waits = line.starts_with("pub async fn ")
                || line.starts_with("pub fn ") && {
                    let end = lines[number..].iter().position(|l| l.contains('{')).unwrap_or(0);
                    let signature = lines[number..=number + end].join(" ");
                    let output = signature.rsplit_once("->").map_or("", |(_, output)| output.trim());
                    output.starts_with("Op<")
                        || output.starts_with("impl Operation")
                        || output.starts_with("impl Future")
                };
            if waits && !docs_above(&lines, number).iter().any(|doc| doc.contains("# Cancel safety")) {
                findings.push(format!(
                    "{}:{}: no `# Cancel safety`: {}",
                    source.path,
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert_none(&findings, "waiting functions whose docs do not say what dropping them does");
}

/// A channel's operations are methods of its ends and named futures, and say what becomes of a value when they are dropped;
/// what does not wait says that.
#[test]
fn a_channels_operation_says_what_dropping_it_does() {
    let sources = rust_files(&["src/channel"]);
    let implements = |text: &str| text.contains("Future for ") || text.contains("Operation for ");
    let is_impl = |line: &&str| line.starts_with("impl") && line.ends_with('{');
    let futures: Vec<(&str, &str)> = (sources.iter())
        .flat_map(|source| source.text.lines().filter(is_impl).map(|line| (source.path.as_str(), line)))
        .filter(|(_, line)| implements(line))
        .filter_map(|(path, line)| Some((path, line.rsplit_once(" for ")?.1)))
        .filter_map(|(path, name)| Some((path, name.split(['<', ' ']).next()?)))
        .collect();
    assert!(futures.len() > 10, "the futures were not found: {futures:?}");
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !source.path.contains("/tests")) {
        let lines: Vec<_> = source.text.lines().collect();
        for (number, line) in lines.iter().map(|line| line.trim()).enumerate() {
            let name = |rest: &'static str| line.strip_prefix(rest)?.split(['<', '(', ' ', ';']).next();
            let says_so = if let Some(name) = name("pub struct ") {
                futures.contains(&(source.path.as_str(), name))
            } else if let Some(name) = name("pub fn ") {
                let end = lines[number..].iter().position(|l| l.contains('{')).unwrap_or(0);
                let signature = lines[number..=number + end].join(" ");
                let output = signature.rsplit_once("->").map_or("", |(_, output)| output.trim());
                let head = output.split(['<', ' ', '(']).next();
                // A oneshot's receiver is a future, too; the other receivers are only ends.
                let waits = futures.iter().any(|(_, future)| *future != "Receiver" && head == Some(future));
                let is_named_so = matches!(name, "drain" | "iter" | "try_iter")
                    || name.starts_with("try_")
                    || name.ends_with("_blocking");
                waits || is_named_so
            } else {
                line.starts_with("impl") && line.contains("Stream for ") && !line.contains("FusedStream")
            };
            if says_so && !docs_above(&lines, number).iter().any(|doc| doc.contains("# Cancel safety")) {
                findings.push(format!("{}:{}: {line}", source.path, number + 1));
            }
        }
    }
    assert_none(&findings, "operations of channels whose docs have no `# Cancel safety`");
}

/// `a.pop() | b.pop()` needs a line for each type, which is forgotten easily.
#[test]
fn a_channels_operation_has_its_operators() {
    let operators = rust_files(&["src/combinators/adapters"]);
    let operators = operators.iter().find(|source| source.path.ends_with("/operators.rs"));
    let operators = operators.expect("they have a file of their own").code.replace("channel::", "");
    let mut findings = Vec::new();
    for source in rust_files(&["src/channel"]).iter().filter(|source| !source.path.contains("/tests")) {
        let implemented = source.code.lines().filter(|line| line.starts_with("impl"));
        for name in implemented.filter_map(|line| line.split_once(" Operation for ")) {
            let name = name.1.split(['<', ' ']).next().unwrap_or_default();
            let mut path = source.path.trim_start_matches("src/channel/").split('/');
            let operation = match (path.next(), path.next()) {
                (Some(flavor), Some(_)) => format!("] {flavor}::{name}<"),
                _ => format!("] {name}<"),
            };
            if !operators.contains(&operation) {
                findings.push(format!("{}: {name}", source.path));
            }
        }
    }
    assert_none(&findings, "operations of channels without operators");
}

fn docs_above<'a>(lines: &[&'a str], number: usize) -> Vec<&'a str> {
    let above = lines[..number].iter().rev().map(|line| line.trim());
    above.take_while(|line| line.starts_with("///") || line.starts_with("#[")).collect()
}

// --- the reader itself ----------------------------------------------------------------------------------------------

#[test]
fn the_reader_finds_the_paths() {
    let text = r##"
        use crate::{sync::{Arc, atomic::AtomicUsize}, util};
        use super::super::ops as _; // crate::hidden::comment
        const S: &str = "crate::hidden::string"; const R: &str = r#"crate::hidden::raw"#;
        fn f<'a>(c: char) -> bool { c == '"' && crate::runtime::g::<u8>() }
        macro_rules! m { () => { $crate::hidden::macro_path } }
        mod tests { use crate::hidden::test; }
        mod inline { use super::sibling::X; }
        use std::sync::Mutex;
    "##;
    let source = Source {
        path: "src/channel/mpmc.rs".into(),
        code: support::sources::code_of(text),
        text: text.to_owned(),
    };
    let found: Vec<_> = paths_of(&source).into_iter().map(|(_, path)| path).collect();
    let expected = [
        "crate::sync::Arc",
        "crate::sync::atomic::AtomicUsize",
        "crate::util",
        "crate::ops",
        "crate::runtime::g",
        "crate::channel::mpmc::sibling::X",
        "std::sync::Mutex",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_table_forbids_what_it_should() {
    let cases = [
        ("src/channel/mpmc.rs", "util::list", true),
        ("src/channel/mpmc.rs", "channel::waiters", true),
        ("src/channel/mpmc.rs", "runtime::context", false),
        ("src/channel/mpmc.rs", "Operation", false),
        ("src/runtime/driver/ring.rs", "runtime::task", false),
        ("src/runtime/inflight/mod.rs", "runtime::driver::Sqe", true),
        ("src/runtime/inflight/mod.rs", "runtime::task", false),
        ("src/runtime/looping.rs", "runtime::inflight", true),
        ("src/runtime/looping.rs", "ops::read", false),
        ("src/ops/file.rs", "runtime::inflight::Node", true),
        ("src/ops/file.rs", "channel::bounded", false),
        ("src/combinators/link.rs", "ops::RingOperation", true),
        ("src/combinators/link.rs", "ops::read", false),
        ("src/combinators/link.rs", "combinators::adapters", false),
        ("src/combinators/adapters/timeout.rs", "runtime::time", true),
        ("src/util/executor.rs", "runtime", false),
    ];
    for (file, path, expected) in cases {
        let layer = layer_of(file).expect("a layer");
        assert_eq!(allowed(layer, path), expected, "{file} importing {path}");
    }
}
