//! Files: the page in `docs/`, and JSON.
//!
//! Knows: tables, rows. Does not know: how either looks.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use super::{Row, channels, floors, machine, versions};
use crate::measure::Outcome;

/// Puts the tables into a Markdown file, each between its two markers; a table whose cases did not run stays as it is.
///
/// # Errors
///
/// The file lacks the markers of a table.
pub(crate) fn write_markdown(path: &Path, rows: &[Row]) -> io::Result<()> {
    let (channels, floors): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_channel());
    let with_versions = format!("{}; {}", machine(), versions(channels::CRATES));
    let tables = [
        ("bench", machine(), floors::table(&floors)),
        ("channels", with_versions, channels::verdicts(&channels)),
        ("channel-figures", String::new(), channels::figures(&channels)),
    ];
    let mut page = fs::read_to_string(path)?;
    for (name, about, table) in tables {
        if !table.is_empty() {
            let table = format!("{about}\n\n{}", table.markdown());
            page = replace(&page, name, table.trim()).ok_or_else(|| no_markers(path, name))?;
        }
    }
    fs::write(path, page)
}

fn markers(name: &str) -> (String, String) {
    (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"))
}

fn no_markers(path: &Path, name: &str) -> io::Error {
    let (begin, end) = markers(name);
    io::Error::other(format!("{} has no {begin} and {end} to put a table between", path.display()))
}

fn replace(page: &str, name: &str, table: &str) -> Option<String> {
    let (begin, end) = markers(name);
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{table}\n\n{end}{after}"))
}

/// One object per case and contestant.
pub(crate) fn write_json(path: &Path, rows: &[Row]) -> io::Result<()> {
    let object = |row: &Row, outcome: &Outcome| {
        json!({
            "case": row.case,
            "who": outcome.who,
            "unit": "ns",
            "clock": row.clock().to_lowercase(),
            "median": outcome.median(),
            "min": outcome.min(),
            "rounds": outcome.figures.len(),
            "trouble": outcome.trouble.as_ref().map(ToString::to_string),
        })
    };
    let objects: Vec<_> = rows.iter().flat_map(|row| row.outcomes.iter().map(|o| object(row, o))).collect();
    fs::write(path, serde_json::to_string_pretty(&objects)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;
    use crate::measure::Target;

    #[test]
    fn a_page_keeps_what_is_around_its_tables() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("millstream-bench-{}.md", std::process::id()));
        let rest = "after\n<!-- channels:begin -->\nother\n<!-- channels:end -->\n";
        fs::write(&path, format!("before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\n{rest}"))?;
        let rows = [row(Target::None, &[120.0])];
        write_markdown(&path, &rows)?;
        let page = fs::read_to_string(&path)?;
        fs::write(&path, "no markers")?;
        let refused = write_markdown(&path, &rows);
        fs::remove_file(&path)?;
        assert!(
            page.starts_with("before\n") && page.ends_with(&format!("<!-- bench:end -->\n{rest}")),
            "{page}"
        );
        assert!(page.contains("| 120.0 | 1.20 |") && !page.contains("old"), "{page}");
        assert!(refused.is_err());
        Ok(())
    }
}
