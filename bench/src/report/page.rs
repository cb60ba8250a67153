//! Files: the page in `docs/`, and JSON.
//!
//! Knows: tables, rows. Does not know: how either looks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Row, channels, floors, machine, rates, versions};
use crate::measure::Outcome;

/// Puts the tables and links to the pictures into a Markdown file, each between its two markers; what did not run stays as
/// it is.
///
/// # Errors
///
/// The file lacks the markers of a table.
pub(crate) fn write_markdown(path: &Path, rows: &[Row], pictures: &[PathBuf]) -> io::Result<()> {
    let (channels, floors): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_channel());
    let (about, crates) = (machine(), versions(channels::CRATES));
    let parts = [
        ("bench", format!("{about}\n\n{}", floors::table(&floors).markdown()), floors.is_empty()),
        ("rates", rates::table(&floors).markdown(), rates::table(&floors).is_empty()),
        (
            "channels",
            format!("{about}; {crates}\n\n{}", channels::verdicts(&channels).markdown()),
            channels.is_empty(),
        ),
        ("channel-figures", channels::figures(&channels).markdown(), channels.is_empty()),
        ("channel-pictures", links(path, pictures), pictures.is_empty()),
    ];
    let mut page = fs::read_to_string(path)?;
    for (name, part, _) in parts.iter().filter(|(_, _, nothing)| !nothing) {
        page = replace(&page, name, part.trim_end()).ok_or_else(|| no_markers(path, name))?;
    }
    fs::write(path, page)
}

/// The pictures as seen from the page.
fn links(page: &Path, pictures: &[PathBuf]) -> String {
    let directory = page.parent().unwrap_or(Path::new(""));
    let link = |picture: &PathBuf| {
        let path = picture.strip_prefix(directory).unwrap_or(picture);
        let name = picture.file_stem().unwrap_or_default().to_string_lossy();
        format!("![{name}]({})\n", path.display())
    };
    pictures.iter().map(link).collect()
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
            "per_second": outcome.rate().map(|rate| rate.per_second),
            "p50": outcome.rate().map(|rate| rate.latency.p50),
            "p99": outcome.rate().map(|rate| rate.latency.p99),
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
    fn a_picture_is_linked_from_where_the_page_is() {
        let links =
            links(Path::new("docs/page.md"), &["docs/pictures/one.svg".into(), "/tmp/two.svg".into()]);
        assert_eq!(links, "![one](pictures/one.svg)\n![two](/tmp/two.svg)\n");
    }

    #[test]
    fn a_page_keeps_what_is_around_its_tables() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("millstream-bench-{}.md", std::process::id()));
        let rest = "after\n<!-- channels:begin -->\nother\n<!-- channels:end -->\n";
        fs::write(&path, format!("before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\n{rest}"))?;
        let rows = [row(Target::None, &[120.0])];
        write_markdown(&path, &rows, &[])?;
        let page = fs::read_to_string(&path)?;
        fs::write(&path, "no markers")?;
        let refused = write_markdown(&path, &rows, &[]);
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
