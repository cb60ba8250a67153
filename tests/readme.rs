//! The README's program is the example `hello`, and prints what the README says; and the prose is whole: its programs are
//! compiled, its links lead somewhere.

#[path = "support/example.rs"]
mod example;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const README: &str = include_str!("../README.md");
const HELLO: &str = include_str!("../examples/hello.rs");

/// What stands in the first block of the README that opens with this fence.
fn block(fence: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("\n```{fence}\n")).expect("the README has such a block");
    rest.split_once("\n```").expect("the block ends").0
}

#[test]
fn the_program_is_the_example() {
    let (_, program) = HELLO.split_once("\n\nuse ").expect("the example has imports");
    assert_eq!(block("rust").trim_end(), format!("use {program}").trim_end());
}

#[test]
fn the_output_is_what_it_prints() -> io::Result<()> {
    let output = Command::new(example::path("hello")).current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), block("text").trim_end());
    Ok(())
}

#[test]
fn every_example_is_in_the_index() -> io::Result<()> {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"))? {
        let name = entry?.file_name().into_string().expect("UTF-8");
        let name = name.trim_end_matches(".rs");
        assert!(README.contains(&format!("| [`{name}`](examples/")), "{name} is not in the README's index");
    }
    Ok(())
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every page, with its path from the root.
fn pages() -> io::Result<Vec<(PathBuf, String)>> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/guide"] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder))? {
            let path = Path::new(folder).join(entry?.file_name());
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push((path.clone(), fs::read_to_string(Path::new(ROOT).join(path))?));
            }
        }
    }
    Ok(pages)
}

/// A page without what stands in its blocks of code.
fn prose(page: &str) -> String {
    page.split("\n```").step_by(2).collect()
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() -> io::Result<()> {
    let pages = pages()?;
    let mut links = 0;
    for (path, page) in &pages {
        let folder = path.parent().expect("a page is in a folder");
        for link in prose(page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { path.clone() } else { folder.join(file) };
            assert!(Path::new(ROOT).join(&file).exists(), "{}: {link}", path.display());
            if !place.is_empty() {
                let target = fs::read_to_string(Path::new(ROOT).join(&file))?;
                let headings = prose(&target);
                let mut headings = headings.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|heading| anchor(heading.trim_start_matches('#').trim()) == place),
                    "{}: {link}",
                    path.display()
                );
            }
        }
    }
    assert!(links > 30, "the links were not found");
    Ok(())
}

#[test]
fn every_page_of_the_guide_is_compiled() -> io::Result<()> {
    let lib = fs::read_to_string(Path::new(ROOT).join("src/lib.rs"))?;
    for (path, page) in pages()? {
        let included = lib.contains(&format!("include_str!(\"../{}\")", path.display()));
        assert!(
            included || !page.contains("```rust"),
            "{} has programs that nobody compiles",
            path.display()
        );
        assert!(!page.contains("```rust,"), "{} has a program that is not run", path.display());
    }
    Ok(())
}
