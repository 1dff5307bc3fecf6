//! What a scenario is made of.

use serde::{Deserialize, Serialize};

/// Rows that belong together.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// One word, for the command line.
    pub name: &'static str,
    /// A sentence or two: what is measured, and how.
    pub about: &'static str,
    /// The rows, in order.
    pub rows: Vec<Row>,
}

/// One line of a comparison.
#[derive(Debug, Clone)]
pub struct Row {
    /// Unique in its scenario.
    pub name: String,
    /// What the rate counts.
    pub unit: &'static str,
    /// Which figure the row is about.
    pub headline: Headline,
    /// The latency that is shown with it.
    pub latency: Option<Latency>,
    /// What is run, in order.
    pub steps: Vec<Step>,
}

/// Which figure a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Headline {
    /// Messages or operations per second.
    Rate,
    /// The 99th percentile of the latency; the rate is given, or does not matter.
    Latency,
}

/// Which latency a row shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Latency {
    /// From publishing to delivery.
    Consume,
    /// From publishing to the broker's confirm.
    Confirm,
    /// From the first request of an operation to its last answer.
    Operation,
}

/// One run of the load program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it is, where a row has several; empty otherwise.
    pub label: String,
    /// The flags, with [`SPAN`] or [`LONG_SPAN`] for the time.
    pub flags: String,
    /// Runs at the same time as the steps behind it, up to the first that does not.
    pub beside: bool,
    /// Its figures are shown. Those of other steps are only kept.
    pub shown: bool,
}

/// Stands for the measured time, and a second of warm-up.
pub const SPAN: &str = "{span}";
/// The same for a step beside another: it begins before and ends after it.
pub const LONG_SPAN: &str = "{long-span}";

/// Seconds before the measured span.
const WARMUP: u32 = 1;
/// Seconds that a step beside others has more than they have: to be there before, and to be there still.
pub const LONGER: u32 = 3;

impl Scenario {
    /// A scenario of rows.
    pub fn new(name: &'static str, about: &'static str, rows: Vec<Row>) -> Scenario {
        Scenario { name, about, rows }
    }
}

impl Row {
    /// A row of one step whose figure is the rate of messages.
    pub fn new(name: impl Into<String>, flags: impl Into<String>) -> Row {
        let step = Step { label: String::new(), flags: flags.into(), beside: false, shown: true };
        Row { name: name.into(), unit: "messages/s", headline: Headline::Rate, latency: None, steps: vec![step] }
    }

    /// A row of one step whose figure is the rate of operations, with their latency.
    pub fn churn(name: impl Into<String>, flags: impl Into<String>) -> Row {
        Row { unit: "operations/s", latency: Some(Latency::Operation), ..Row::new(name, flags) }
    }

    /// What the rate counts, if it is not messages.
    pub fn unit(self, unit: &'static str) -> Row {
        Row { unit, ..self }
    }

    /// Also shows this latency.
    pub fn with(self, latency: Latency) -> Row {
        Row { latency: Some(latency), ..self }
    }

    /// The row is about this latency.
    pub fn about(self, latency: Latency) -> Row {
        Row { headline: Headline::Latency, ..self.with(latency) }
    }

    /// Names the last step.
    pub fn label(mut self, label: &str) -> Row {
        if let Some(step) = self.steps.last_mut() {
            step.label = label.into();
        }
        self
    }

    /// Then runs this, and shows its figures as well.
    pub fn then(mut self, label: &str, flags: impl Into<String>) -> Row {
        self.steps.push(Step { label: label.into(), flags: flags.into(), beside: false, shown: true });
        self
    }

    /// Runs this at the same time; its figures are not the row's.
    pub fn beside(mut self, label: &str, flags: impl Into<String>) -> Row {
        self.steps.insert(0, Step { label: label.into(), flags: flags.into(), beside: true, shown: false });
        self
    }
}

impl Step {
    /// The flags for this time in seconds.
    pub fn arguments(&self, time: f64) -> Vec<String> {
        let span = |time: f64| format!("--warmup {WARMUP} -z {time}");
        let flags = self.flags.replace(SPAN, &span(time)).replace(LONG_SPAN, &span(time + f64::from(LONGER)));
        flags.split_whitespace().map(str::to_owned).collect()
    }

    /// The command line, as a person types it; `uri` is the broker's.
    pub fn command_line(&self, time: f64, uri: &str) -> String {
        let mut line = String::from("leveret-perf");
        for argument in self.arguments(time) {
            line.push(' ');
            line.push_str(&argument);
        }
        line + " -h " + uri
    }

    /// The flag that leaves what the step declared on the broker; none where it declares nothing, or has the flag.
    pub fn keep(&self) -> Option<&'static str> {
        const KEEP: &str = "--keep";
        let keeps = |word: &str| ["churn", "-p", KEEP].contains(&word);
        (!self.flags.split_whitespace().any(keeps)).then_some(KEEP)
    }

    /// The names of the queues and the exchange that its flags name.
    pub fn names(&self) -> Names {
        let words: Vec<&str> = self.flags.split_whitespace().collect();
        let value = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
        let mut names = Names { queues: vec![], exchange: value("-e").map(str::to_owned) };
        names.queues.extend(value("-u").map(str::to_owned));
        if let Some(pattern) = value("-qp") {
            let number = |flag| value(flag).and_then(|text| text.parse().ok()).unwrap_or(1u32);
            names.queues.extend((number("-qpf")..=number("-qpt")).map(|i| pattern.replace("%d", &i.to_string())));
        }
        names
    }
}

/// What a step may leave on a broker when it fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Queues.
    pub queues: Vec<String>,
    /// The exchange, if it has a name of its own.
    pub exchange: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_put_into_the_flags() {
        let row = Row::new("r", "-x 1 {span} -u q").beside("b", "-y 1 {long-span}");
        assert_eq!(row.steps[1].command_line(0.5, "amqp://h"), "leveret-perf -x 1 --warmup 1 -z 0.5 -u q -h amqp://h");
        assert_eq!(row.steps[0].arguments(4.0), ["-y", "1", "--warmup", "1", "-z", "7"]);
        assert!(row.steps[0].beside && !row.steps[0].shown && row.steps[1].shown);
    }

    #[test]
    fn names_are_found_in_the_flags() {
        let names = |flags: &str| Row::new("r", flags).steps[0].names();
        assert_eq!(names("-x 1 -u q"), Names { queues: vec!["q".into()], exchange: None });
        let found = names("-qp p-%d -qpf 9 -qpt 11 -e e");
        assert_eq!(
            found,
            Names { queues: vec!["p-9".into(), "p-10".into(), "p-11".into()], exchange: Some("e".into()) }
        );
        assert_eq!(names("-x 1"), Names::default());
    }
}
