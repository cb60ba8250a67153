//! What must not compile, and what the compiler says: messages that are ours, for mistakes that people make.
//!
//! A file under `tests/must_not_compile/` is a program with mistakes. Below a line with one stands what the error there must contain,
//! each as `//~^ text`; any other error fails the test. Whatever else the compiler says is its own and may change.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library as this test was built with it: the newest one beside the test's own executable.
fn library() -> PathBuf {
    let executable = env::current_exe().expect("a path");
    let deps = executable.parent().expect("a directory");
    let built = fs::read_dir(deps).expect("readable").map(|entry| entry.expect("readable").path());
    let is_library = |path: &PathBuf| {
        let name = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        name.starts_with("libmillstream-") && path.extension() == Some(OsStr::new("rlib"))
    };
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).expect("a time");
    built.filter(is_library).max_by_key(modified).expect("the library is built before its tests")
}

/// What the compiler says of a program, in paragraphs.
fn compile(program: &Path, library: &Path) -> Vec<String> {
    let deps = library.parent().expect("a directory");
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition=2024", "--emit=metadata", "--color=never", "--cap-lints=allow"])
        .arg("--out-dir")
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .arg("--extern")
        .arg(format!("millstream={}", library.display()))
        .arg(program)
        .output()
        .expect("the compiler runs");
    assert!(!output.status.success(), "{} compiles, and must not", program.display());
    let said = String::from_utf8(output.stderr).expect("text");
    said.split("\n\n").map(str::to_owned).collect()
}

/// The line (from 1) and the text of every expectation.
fn expectations(program: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut line_with_mistake = 0;
    for (number, line) in program.lines().enumerate() {
        match line.trim().strip_prefix("//~^ ") {
            Some(text) => found.push((line_with_mistake, text)),
            None => line_with_mistake = number + 1,
        }
    }
    found
}

#[test]
fn what_must_not_compile_says_why() {
    let library = library();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/must_not_compile");
    let mut findings = Vec::new();
    let mut programs = 0;
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        let text = fs::read_to_string(&path).expect("text");
        let name = path.file_name().expect("a name").to_string_lossy();
        let expected = expectations(&text);
        let errors: Vec<_> = compile(&path, &library)
            .into_iter()
            .filter(|said| said.starts_with("error") && said.contains(" --> "))
            .collect();
        let points_at = |error: &str, line: usize| error.contains(&format!("{name}:{line}:"));
        for (line, text) in &expected {
            if !errors.iter().any(|error| points_at(error, *line) && error.contains(text)) {
                findings.push(format!("{name}:{line}: nothing says: {text}"));
            }
        }
        for error in &errors {
            if !expected.iter().any(|(line, _)| points_at(error, *line)) {
                findings.push(format!("{name}: not expected:\n{error}"));
            }
        }
        programs += 1;
    }
    assert!(programs > 0, "no program was found");
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}
