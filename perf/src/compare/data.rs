//! Everything that a comparison knows: what it writes to `comparison.json`, and what its pages are made from.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::scenarios::row::{Headline, Latency};

/// A comparison, finished or not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    /// `leveret-perf compare`.
    pub tool: String,
    /// The tool's version.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
    /// When it began, RFC 3339, UTC.
    pub date: String,
    /// It was stopped before its end: later rows have fewer runs, or none.
    pub interrupted: bool,
    pub machine: Machine,
    pub settings: Settings,
    /// In the order in which they run; ratios are to the first.
    pub brokers: Vec<BrokerInfo>,
    pub rows: Vec<RowInfo>,
    pub runs: Vec<Run>,
}

/// The machine, as far as it matters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: u32,
    pub kernel: String,
    pub memory_bytes: u64,
    /// TCP's congestion control: on loopback, `bbr` halves the rate of large messages.
    pub congestion_control: String,
    /// Where the scratch folders lie: type and device. Empty when that is not known.
    #[serde(default)]
    pub file_system: String,
}

/// How it was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Settings {
    pub rounds: u32,
    /// Seconds that are measured in each run.
    pub time: f64,
    /// Cores of the brokers and of the load, as `taskset` takes them; none when nothing was pinned.
    pub broker_cores: Option<String>,
    pub load_cores: Option<String>,
    /// How often a disturbed run was repeated at most.
    pub retries: u32,
    /// Cores that other processes may use.
    pub others_max: f64,
    /// Seconds to wait for a quiet machine at most.
    pub quiet_wait: f64,
    /// Seconds by which each sync of the brokers that were started here was delayed.
    #[serde(default)]
    pub sync_delay: f64,
    /// The program that loads.
    pub load_program: String,
}

/// One broker.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BrokerInfo {
    pub name: String,
    /// The command or the URI.
    pub source: String,
    /// What it calls itself; none before it was reached.
    pub product: Option<String>,
    pub version: Option<String>,
    /// From its first start until a connection was open; none when it was running.
    pub start_seconds: Option<f64>,
    /// It stays up through a round, because it starts slowly, or was running.
    pub kept: bool,
}

/// One row of a scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RowInfo {
    pub scenario: String,
    /// What the scenario is about.
    pub about: String,
    pub name: String,
    pub unit: String,
    pub headline: Headline,
    pub latency: Option<Latency>,
    pub steps: Vec<StepInfo>,
}

/// One run of the load program in a row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepInfo {
    pub label: String,
    /// The command line, with URI for the broker's.
    pub command: String,
    pub beside: bool,
    pub shown: bool,
}

/// One row, run once on one broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// From 1.
    pub round: u32,
    /// Index of the row.
    pub row: usize,
    /// Index of the broker.
    pub broker: usize,
    /// From 1; more when it was repeated.
    pub attempt: u32,
    /// Whether it counts: of several attempts one does.
    pub counted: bool,
    /// What the load program wrote, for each step; none when it wrote nothing.
    pub results: Vec<Option<Value>>,
    /// Why it failed.
    pub failed: Option<String>,
    /// Cores that others used meanwhile; none when that cannot be said.
    pub others_cores: Option<f64>,
    /// The one of them that used most.
    pub others_most: Option<String>,
    /// Others used too much.
    pub disturbed: bool,
    /// Seconds of waiting for a quiet machine.
    pub waited_seconds: f64,
    /// The machine did become quiet.
    pub was_quiet: bool,
    /// What had to be cleared away on the broker afterwards.
    pub left_over: Vec<String>,
}

impl Comparison {
    /// Reads `comparison.json`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(text: &str) -> Result<Comparison, String> {
        let comparison: Comparison = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let (rows, brokers) = (comparison.rows.len(), comparison.brokers.len());
        if comparison.runs.iter().any(|run| run.row >= rows || run.broker >= brokers) {
            return Err("a run is of a row or broker that is not there".into());
        }
        Ok(comparison)
    }

    /// The same with this run only.
    pub fn only(&self, run: &Run) -> Comparison {
        Comparison {
            tool: self.tool.clone(),
            version: self.version.clone(),
            command: self.command.clone(),
            date: self.date.clone(),
            interrupted: self.interrupted,
            machine: self.machine.clone(),
            settings: self.settings.clone(),
            brokers: self.brokers.clone(),
            rows: self.rows.clone(),
            runs: vec![run.clone()],
        }
    }

    /// The file's text.
    ///
    /// # Errors
    /// A figure that JSON cannot hold.
    pub fn to_json(&self) -> Result<String, String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        Ok(text + "\n")
    }
}
