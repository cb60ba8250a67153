//! Pictures of the channel cases: grouped bars, an SVG file per family.
//!
//! Knows: rows, plotters. Does not know: targets.

use std::io;
use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Row;
use super::channels::contender;

/// A chart: its title, and what its cases begin and end with. What is left of a name between the two stands below the bars
/// and has no slash.
type Chart = (&'static str, &'static str, &'static str);

const PICTURES: &[(&str, &[Chart])] = &[
    (
        "same",
        &[
            ("one producer, one consumer, one thread; by capacity", "channel/same/1x/", ""),
            ("64 producers, 64 consumers, one channel, one thread; by capacity", "channel/same/64x/", ""),
            ("one producer, one consumer, one thread, messages of 256 bytes", "channel/same/1x/", "/256"),
        ],
    ),
    (
        "threads",
        &[
            ("one producer and one consumer, a runtime each; by capacity", "channel/threads/1x1/", ""),
            ("16 such pairs across two runtimes", "channel/threads/16pairs/", ""),
            ("2 producers, 2 consumers, one channel, two runtimes", "channel/threads/2x2/", ""),
            ("4 producers, 4 consumers, one channel, two runtimes", "channel/threads/4x4/", ""),
        ],
    ),
    (
        "parked",
        &[
            ("sleeping at once: one producer, one consumer; by capacity", "channel/parked/threads/1x1/", ""),
            ("16 such pairs across two runtimes", "channel/parked/threads/16pairs/", ""),
            ("2 producers, 2 consumers, one channel, two runtimes", "channel/parked/threads/2x2/", ""),
            ("4 producers, 4 consumers, one channel, two runtimes", "channel/parked/threads/4x4/", ""),
        ],
    ),
    (
        "blocking",
        &[
            ("plain threads: one producer, one consumer; by capacity", "channel/blocking/1x1/", ""),
            ("2 producers, 2 consumers", "channel/blocking/2x2/", ""),
            ("4 producers, 4 consumers", "channel/blocking/4x4/", ""),
        ],
    ),
    (
        "others",
        &[
            ("a round trip, on one thread and between two", "channel/pingpong/", ""),
            ("a pop polled and dropped, by how many others wait", "channel/cancel/", ""),
            ("in batches at capacity 1024, two runtimes; by size", "channel/batch/", ""),
        ],
    ),
];

const WIDTH: u32 = 1100;
const CHART_HEIGHT: u32 = 300;
const LEGEND_HEIGHT: u32 = 44;
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// Who is drawn in which colour: ours in blues, the others apart from them and from each other.
const COLOURS: &[(&str, RGBColor)] = &[
    ("millstream-local", RGBColor(0x08, 0x30, 0x6b)),
    ("millstream-spsc", RGBColor(0x21, 0x71, 0xb5)),
    ("millstream", RGBColor(0x6b, 0xae, 0xd6)),
    ("kanal", RGBColor(0xd9, 0x5f, 0x02)),
    ("crossfire", RGBColor(0x1b, 0x9e, 0x77)),
    ("crossfire-spsc", RGBColor(0x74, 0xc4, 0x76)),
    ("flume", RGBColor(0x75, 0x70, 0xb3)),
    ("async-channel", RGBColor(0xe7, 0x29, 0x8a)),
    ("tokio", RGBColor(0x99, 0x99, 0x99)),
    ("unsync", RGBColor(0xe6, 0xab, 0x02)),
    ("async-unsync", RGBColor(0xa6, 0x76, 0x1d)),
    ("crossbeam-channel", RGBColor(0xb1, 0x59, 0x28)),
    ("std", RGBColor(0x55, 0x55, 0x55)),
];

/// Draws what was measured, and says where; a family without figures is left out.
pub(crate) fn draw(directory: &Path, rows: &[Row]) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory)?;
    let mut drawn = Vec::new();
    for (file, charts) in PICTURES {
        let charts: Vec<(&str, Vec<Group<'_>>)> = charts
            .iter()
            .map(|&(title, begin, end)| (title, groups(rows, begin, end)))
            .filter(|(_, groups)| !groups.is_empty())
            .collect();
        if !charts.is_empty() {
            let path = directory.join(format!("channels-{file}.svg"));
            picture(&path, &charts).map_err(|error| io::Error::other(error.to_string()))?;
            drawn.push(path);
        }
    }
    Ok(drawn)
}

/// The bars of one case, in the order of [`COLOURS`].
struct Group<'a> {
    label: &'a str,
    bars: Vec<(RGBColor, f64)>,
}

fn groups<'a>(rows: &'a [Row], begin: &str, end: &str) -> Vec<Group<'a>> {
    let group = |row: &'a Row| {
        let label = row.case.strip_prefix(begin)?.strip_suffix(end).filter(|label| !label.contains('/'))?;
        let bar = |&(who, colour): &(&str, RGBColor)| Some((colour, contender(row, who)?.median()?));
        let bars: Vec<_> = COLOURS.iter().filter_map(bar).collect();
        (!bars.is_empty()).then_some(Group { label, bars })
    };
    rows.iter().filter_map(group).collect()
}

type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn picture(path: &Path, charts: &[(&str, Vec<Group<'_>>)]) -> Drawn {
    let height = LEGEND_HEIGHT + CHART_HEIGHT * charts.len() as u32;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (legend_area, body) = root.split_vertically(LEGEND_HEIGHT);
    legend(&legend_area, charts)?;
    for (area, (title, groups)) in body.split_evenly((charts.len(), 1)).iter().zip(charts) {
        chart(area, title, groups)?;
    }
    root.present()?;
    Ok(())
}

fn legend(area: &Drawing<'_>, charts: &[(&str, Vec<Group<'_>>)]) -> Drawn {
    let shown = |colour: &RGBColor| {
        charts
            .iter()
            .any(|(_, groups)| groups.iter().any(|group| group.bars.iter().any(|bar| bar.0 == *colour)))
    };
    let font = ("sans-serif", 14).into_font().color(&INK);
    let mut x = 20;
    for (who, colour) in COLOURS.iter().filter(|(_, colour)| shown(colour)) {
        area.draw(&Rectangle::new([(x, 16), (x + 12, 28)], colour.filled()))?;
        area.draw(&Text::new(*who, (x + 17, 15), font.clone()))?;
        x += 34 + 8 * who.len() as i32;
    }
    Ok(())
}

/// Two digits are all a bar is good for.
fn short(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 9.95 => format!("{ns:.1}"),
        ns if ns < 9_950.0 => format!("{ns:.0}"),
        ns => format!("{:.0}k", ns / 1000.0),
    }
}

/// Bars from the bottom of a logarithmic scale, each with its figure: the best and the worst lie a thousand times apart.
fn chart(area: &Drawing<'_>, title: &str, groups: &[Group<'_>]) -> Drawn {
    let figures = || groups.iter().flat_map(|group| group.bars.iter().map(|bar| bar.1));
    let bottom = figures().fold(f64::INFINITY, f64::min) / 2.0;
    let top = figures().fold(0.0, f64::max) * 2.0;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 17).into_font().color(&INK))
        .margin(10)
        .x_label_area_size(28)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..groups.len() as f64, (bottom..top).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .y_labels(6)
        .y_desc("ns, logarithmic")
        .y_label_formatter(&|ns| short(*ns))
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .draw()?;
    let figure_font = ("sans-serif", 10).into_font().color(&INK);
    let label_font = ("sans-serif", 14).into_font().color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
    for (at, group) in groups.iter().enumerate() {
        let width = 0.9 / group.bars.len() as f64;
        let left = |nth: usize| at as f64 + 0.05 + width * nth as f64;
        chart.draw_series(group.bars.iter().enumerate().map(|(nth, &(colour, ns))| {
            Rectangle::new([(left(nth), bottom), (left(nth) + 0.9 * width, ns)], colour.filled())
        }))?;
        // After all bars, so that none hides the figure beside it.
        chart.draw_series(group.bars.iter().enumerate().map(|(nth, &(_, ns))| {
            let font = figure_font.pos(Pos::new(HPos::Center, VPos::Bottom));
            EmptyElement::at((left(nth) + 0.45 * width, ns)) + Text::new(short(ns), (0, -2), font)
        }))?;
        let label = EmptyElement::at((at as f64 + 0.5, bottom))
            + Text::new(group.label.to_owned(), (0, 8), label_font.clone());
        chart.plotting_area().draw(&label)?;
    }
    Ok(())
}
