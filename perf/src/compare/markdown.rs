//! The report as Markdown.

use super::cells;
use super::data::Comparison;
use super::summary::{Line, lines};

/// The whole page.
pub fn page(comparison: &Comparison) -> String {
    let mut page = String::from("# Brokers compared\n\n");
    for (name, value) in cells::facts(comparison) {
        page += &format!("- {name}: {value}\n");
    }
    page += &format!("\n```sh\n{}\n```\n\n", cells::command(comparison));
    page += &table(&["broker", "version", "start", "source"]);
    for (index, broker) in comparison.brokers.iter().enumerate() {
        let [version, start, source] = cells::version(comparison, index);
        page += &row(&[broker.name.clone(), version, start, format!("`{source}`")]);
    }
    page += &format!("\n{}\n", cells::LEGEND);
    if let Some(warning) = cells::warning(comparison) {
        page += &format!("\n**{warning}**\n");
    }
    let lines = lines(comparison);
    if comparison.brokers.len() > 1 {
        page += &format!("\n## At a glance\n\n{}\n\n", cells::GLANCE);
        let names = comparison.brokers.iter().skip(1).map(|broker| &*broker.name);
        page += &table(&["scenario"].into_iter().chain(names).collect::<Vec<_>>());
        for (scenario, lines) in by_scenario(&lines) {
            let glances = (1..comparison.brokers.len()).map(|broker| cells::glance(lines, broker));
            page += &row(&[scenario.to_owned()].into_iter().chain(glances).collect::<Vec<_>>());
        }
    }
    for (scenario, lines) in by_scenario(&lines) {
        page += &format!("\n## {scenario}\n\n{}\n\n", lines[0].row.about);
        page += &short_table(comparison, lines);
    }
    page += "\n## All figures\n\n";
    page += &table(&cells::LONG);
    for line in &lines {
        for broker in 0..comparison.brokers.len() {
            let mut cells = cells::long(comparison, line, broker);
            cells[0] = format!("{}: {}", line.row.scenario, cells[0]);
            page += &row(&cells);
        }
    }
    page += "\n## Command lines\n\nEach row can be run by hand, with the broker's URI.\n\n";
    for row in &comparison.rows {
        page += &format!("- {}: {}\n", row.scenario, row.name);
        for step in &row.steps {
            let when = if step.beside { ", at the same time" } else { "" };
            let label = if step.label.is_empty() { String::new() } else { format!("{}{when}: ", step.label) };
            page += &format!("  - {label}`{}`\n", step.command);
        }
    }
    page
}

/// Lines of one scenario stand together.
pub fn by_scenario<'a, 'b>(lines: &'a [Line<'b>]) -> Vec<(&'b str, &'a [Line<'b>])> {
    let groups = lines.chunk_by(|a, b| a.row.scenario == b.row.scenario);
    groups.map(|group| (&*group[0].row.scenario, group)).collect()
}

fn short_table(comparison: &Comparison, lines: &[Line<'_>]) -> String {
    let heads: Vec<&str> = ["row"].into_iter().chain(comparison.brokers.iter().map(|broker| &*broker.name)).collect();
    let mut text = table(&heads);
    let mut notes: Vec<String> = vec![];
    for line in lines {
        let mut words = vec![line.name.clone()];
        for broker in 0..comparison.brokers.len() {
            let cell = cells::short(line, broker);
            let mut word = format!("**{}**", cell.figure);
            cell.details.iter().for_each(|detail| word += &format!(", {detail}"));
            cell.ratios.iter().for_each(|ratios| word += &format!(" ({ratios})"));
            for remark in &cell.remarks {
                notes.push(format!("{}, {}: {remark}", line.name, comparison.brokers[broker].name));
                word += &format!(" [{}]", notes.len());
            }
            words.push(word);
        }
        text += &row(&words);
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    for (index, note) in notes.iter().enumerate() {
        text += &format!("[{}] {note}  \n", index + 1);
    }
    text
}

fn table(heads: &[&str]) -> String {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    row(&heads) + "|" + &"---|".repeat(heads.len()) + "\n"
}

fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two brokers, a row of two steps of which one is shown, a row about latency; a failed and a disturbed run.
    const DATA: &str = include_str!("testdata/comparison.json");
    const EXPECTED: &str = include_str!("testdata/comparison.md");

    #[test]
    fn a_comparison_is_written_as_expected() {
        let comparison = Comparison::from_json(DATA).expect("data");
        assert_eq!(page(&comparison), EXPECTED);
    }

    #[test]
    fn data_that_does_not_fit_together_is_refused() {
        let error = Comparison::from_json(&DATA.replace("\"row\": 1", "\"row\": 7")).expect_err("no such row");
        assert_eq!(error, "a run is of a row or broker that is not there");
    }
}
