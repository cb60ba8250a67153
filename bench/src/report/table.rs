//! A table, as text and as Markdown.
//!
//! Knows: cells. Does not know: what is in them.

use std::fmt::Write as _;

/// Rows of as many cells as there are headings.
#[derive(Debug)]
pub(super) struct Table {
    headings: Vec<String>,
    /// Names to the left, numbers to the right.
    numeric: Vec<bool>,
    lines: Vec<Vec<String>>,
}

impl Table {
    /// A heading that ends in `>` has numbers below it.
    pub(super) fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Table {
        let (headings, numeric) = headings
            .into_iter()
            .map(|heading| match heading.strip_suffix('>') {
                Some(heading) => (heading.to_owned(), true),
                None => (heading.to_owned(), false),
            })
            .unzip();
        Table { headings, numeric, lines: Vec::new() }
    }

    pub(super) fn push(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.headings.len(), "a cell for each heading");
        self.lines.push(cells);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn text(&self) -> String {
        let all = || [&self.headings].into_iter().chain(&self.lines);
        let width = |column: usize| all().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let mut text = String::new();
        for line in all() {
            for ((cell, &width), &numeric) in line.iter().zip(&widths).zip(&self.numeric) {
                let _ =
                    if numeric { write!(text, "{cell:>width$}  ") } else { write!(text, "{cell:<width$}  ") };
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }

    pub(super) fn markdown(&self) -> String {
        let rule: String =
            self.numeric.iter().map(|&numeric| if numeric { "---:|" } else { "---|" }).collect();
        let mut text = format!("| {} |\n|{rule}\n", self.headings.join(" | "));
        for line in &self.lines {
            let _ = writeln!(text, "| {} |", line.join(" | "));
        }
        text
    }
}
