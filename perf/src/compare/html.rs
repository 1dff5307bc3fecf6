//! The report as one page that needs nothing beside itself.

use super::cells;
use super::data::Comparison;
use super::format::{microseconds, nanoseconds, rate};
use super::markdown::by_scenario;
use super::plot::{COLOURS, Group, Scale, bars, curves};
use super::statistics::Spread;
use super::summary::{Figures, Line, lines};
use crate::scenarios::row::Headline;

const STYLE: &str = include_str!("style.css");

/// The whole page.
///
/// # Errors
/// The drawing library's.
pub fn page(comparison: &Comparison) -> Result<String, String> {
    let names: Vec<&str> = comparison.brokers.iter().map(|broker| &*broker.name).collect();
    let title = escape(&format!("Brokers compared: {}", names.join(", ")));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    page += &head(comparison);
    let lines = lines(comparison);
    page += &overview(comparison, &lines);
    for (scenario, lines) in by_scenario(&lines) {
        page += &format!("<section>\n<h2>{}</h2>\n", escape(scenario));
        page += &format!("<p class=\"about\">{}</p>\n", escape(&lines[0].row.about));
        page += &short_table(comparison, lines);
        page += &plots(comparison, lines)?;
        page += "</section>\n";
    }
    page += &appendix(comparison, &lines);
    page += "</main>\n</body>\n</html>\n";
    Ok(page)
}

fn head(comparison: &Comparison) -> String {
    let mut text = String::from("<dl>\n");
    for (name, value) in cells::facts(comparison) {
        text += &format!("<dt>{name}</dt><dd>{}</dd>\n", escape(&value));
    }
    text += "</dl>\n<table>\n";
    text += "<thead><tr><th>broker</th><th>version</th><th>start</th><th>source</th></tr></thead>\n<tbody>\n";
    for (index, broker) in comparison.brokers.iter().enumerate() {
        let [version, start, source] = cells::version(comparison, index).map(|cell| escape(&cell));
        let name = named(index, &broker.name);
        text += &format!("<tr><td>{name}</td><td>{version}</td><td>{start}</td><td><code>{source}</code></td></tr>\n");
    }
    text += &format!("</tbody>\n</table>\n<p class=\"soft\">{}</p>\n", escape(cells::LEGEND));
    if let Some(warning) = cells::warning(comparison) {
        text += &format!("<p class=\"warning\">{}</p>\n", escape(&warning));
    }
    text
}

/// The ratios at a glance, when there is something to compare.
fn overview(comparison: &Comparison, lines: &[Line<'_>]) -> String {
    if comparison.brokers.len() < 2 {
        return String::new();
    }
    let mut text = format!("<section>\n<h2>At a glance</h2>\n<p class=\"about\">{}</p>\n", escape(cells::GLANCE));
    text += "<div class=\"scroll\"><table>\n<thead><tr><th>scenario</th>";
    for (index, broker) in comparison.brokers.iter().enumerate().skip(1) {
        text += &format!("<th>{}</th>", named(index, &broker.name));
    }
    text += "</tr></thead>\n<tbody>\n";
    for (scenario, lines) in by_scenario(lines) {
        text += &format!("<tr><td>{}</td>", escape(scenario));
        for broker in 1..comparison.brokers.len() {
            text += &format!("<td>{}</td>", escape(&cells::glance(lines, broker)));
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table></div>\n</section>\n"
}

/// A broker's name with its colour.
fn named(index: usize, name: &str) -> String {
    let colour = index % COLOURS;
    let key = format!("<span class=\"key\" style=\"background: var(--b{colour})\"></span>");
    format!("<span class=\"who\">{key}{}</span>", escape(name))
}

fn short_table(comparison: &Comparison, lines: &[Line<'_>]) -> String {
    let mut text = String::from("<div class=\"scroll\"><table>\n<thead><tr><th>row</th>");
    for (index, broker) in comparison.brokers.iter().enumerate() {
        text += &format!("<th>{}</th>", named(index, &broker.name));
    }
    text += "</tr></thead>\n<tbody>\n";
    for line in lines {
        text += &format!("<tr><td>{}</td>", escape(&line.name));
        for broker in 0..comparison.brokers.len() {
            let cell = cells::short(line, broker);
            text += &format!("<td><b>{}</b>", escape(&cell.figure));
            if let Some(ratios) = &cell.ratios {
                text += &format!(" <small class=\"ratio\">{}</small>", escape(ratios));
            }
            cell.details.iter().for_each(|detail| text += &format!("<small>{}</small>", escape(detail)));
            cell.remarks
                .iter()
                .for_each(|remark| text += &format!("<small class=\"remark\">{}</small>", escape(remark)));
            text += "</td>";
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table></div>\n"
}

fn plots(comparison: &Comparison, lines: &[Line<'_>]) -> Result<String, String> {
    let (rates, latencies): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.row.headline == Headline::Rate);
    let every: Vec<&Line<'_>> = lines.iter().collect();
    let unit = capital(rates.first().map_or("", |line| &*line.row.unit));
    let rates = (
        format!("{unit} (longer is better; each row in proportion to its best)"),
        groups(&rates, |figures| figures.rate, rate),
        Scale::OfGroup,
    );
    let latencies = (
        "p99 of the latency in µs (shorter is better; logarithmic)".to_owned(),
        groups(&latencies, |figures| figures.p99, microseconds),
        Scale::Log,
    );
    let cpu = (
        "CPU of the broker for each message or operation, in ns (shorter is better; logarithmic)".to_owned(),
        groups(&every, |figures| figures.cpu, nanoseconds),
        Scale::Log,
    );
    let mut text = String::new();
    for (title, groups, scale) in [rates, latencies, cpu] {
        if groups.is_empty() {
            continue;
        }
        // One legend is enough for the plots below each other.
        let legend = if text.is_empty() { legend(comparison) } else { String::new() };
        text += &format!("<h3>{}</h3>\n{legend}{}\n", escape(&title), bars(&groups, scale)?);
    }
    let with: Vec<&Line<'_>> =
        lines.iter().filter(|line| line.figures.iter().any(|figures| figures.curve.len() > 1)).collect();
    if !with.is_empty() {
        text += "<h3>Latency by percentile (lower is better; logarithmic)</h3>\n<div class=\"curves\">\n";
        for line in with {
            text += &curves(&line.name, &line.figures.iter().map(|figures| figures.curve.clone()).collect())?;
            text.push('\n');
        }
        text += "</div>\n";
    }
    Ok(text)
}

type Get = fn(&Figures) -> Option<Spread>;

/// The lines that have a value for some broker.
fn groups(lines: &[&Line<'_>], get: Get, write: fn(f64) -> String) -> Vec<Group> {
    let bar = |figures: &Figures| get(figures).map(|spread| (spread.median, write(spread.median)));
    let groups =
        lines.iter().map(|line| Group { label: line.name.clone(), bars: line.figures.iter().map(bar).collect() });
    groups.filter(|group| group.bars.iter().any(Option::is_some)).collect()
}

fn legend(comparison: &Comparison) -> String {
    let names = comparison.brokers.iter().enumerate();
    let names: String =
        names.map(|(index, broker)| format!("<span class=\"name\">{}</span>", named(index, &broker.name))).collect();
    format!("<div class=\"legend\">{names}</div>\n")
}

fn appendix(comparison: &Comparison, lines: &[Line<'_>]) -> String {
    let mut text = String::from("<section>\n<h2>All figures</h2>\n<details>\n<summary>Table</summary>\n");
    text += "<div class=\"scroll\"><table class=\"long\">\n<thead><tr>";
    cells::LONG.iter().for_each(|name| text += &format!("<th>{name}</th>"));
    text += "</tr></thead>\n<tbody>\n";
    for line in lines {
        for broker in 0..comparison.brokers.len() {
            let mut cells = cells::long(comparison, line, broker);
            cells[0] = format!("{}: {}", line.row.scenario, cells[0]);
            text += "<tr>";
            cells.iter().for_each(|cell| text += &format!("<td>{}</td>", escape(cell)));
            text += "</tr>\n";
        }
    }
    text += "</tbody>\n</table></div>\n</details>\n<details>\n<summary>Command lines of the rows</summary>\n";
    for row in &comparison.rows {
        text += &format!("<p>{}: {}</p>\n<pre>", escape(&row.scenario), escape(&row.name));
        let line = |step: &super::data::StepInfo| {
            let when = if step.beside { " # at the same time as the next" } else { "" };
            escape(&format!("{}{when}", step.command))
        };
        text += &row.steps.iter().map(line).collect::<Vec<_>>().join("\n");
        text += "</pre>\n";
    }
    text += "</details>\n<p class=\"soft\">Written by</p>\n";
    text + &format!("<pre>{}</pre>\n</section>\n", escape(&cells::command(comparison)))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
