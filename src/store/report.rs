//! What was found wrong with a data directory. Nothing of it keeps a broker from starting.

use std::fmt::{Display, Formatter, Result};

/// So many findings are kept one by one; further ones are counted.
pub const FINDINGS_MAX: usize = 1000;

/// What damage cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Files in which nothing was found: what they held, if anything, is not known.
    pub files: u64,
    /// Batches of which nothing was found.
    pub batches: u64,
    /// Records that were damaged, of any kind. Each may have held many messages.
    pub records: u64,
    /// Messages that were damaged one by one.
    pub messages: u64,
}

impl Lost {
    /// Nothing.
    pub const NOTHING: Lost = Lost { files: 0, batches: 0, records: 0, messages: 0 };

    /// Whether nothing was lost.
    pub fn is_nothing(&self) -> bool {
        *self == Lost::NOTHING
    }

    fn add(&mut self, other: Lost) {
        self.files += other.files;
        self.batches += other.batches;
        self.records += other.records;
        self.messages += other.messages;
    }
}

impl Display for Lost {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        if self.is_nothing() {
            return out.write_str("nothing lost");
        }
        let parts = [(self.files, "file", "files"), (self.batches, "batch", "batches")];
        let parts = parts.into_iter().chain([(self.records, "record", "records")]);
        let parts = parts.into_iter().chain([(self.messages, "message", "messages")]);
        let parts: Vec<_> = parts
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
            .collect();
        write!(out, "lost {}", parts.join(", "))
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In which file.
    pub file: String,
    /// Where in it, if not in all of it.
    pub at: Option<u64>,
    /// What it is.
    pub what: String,
    /// What it costs.
    pub lost: Lost,
    /// It is as an interrupted program leaves it: no damage.
    pub expected: bool,
}

impl Display for Finding {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        write!(out, "{}", self.file)?;
        if let Some(at) = self.at {
            write!(out, " at byte {at}")?;
        }
        write!(out, ": {}", self.what)?;
        if self.expected { Ok(()) } else { write!(out, " ({})", self.lost) }
    }
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// In the order in which it was found; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more: u64,
    /// How many of all are damage.
    pub damages: u64,
    /// What all of it costs.
    pub lost: Lost,
}

impl Report {
    /// Whether there is no damage.
    pub fn is_sound(&self) -> bool {
        self.damages == 0
    }

    /// Adds damage.
    pub fn damage(&mut self, file: impl Into<String>, at: impl Into<Option<u64>>, what: impl Into<String>, lost: Lost) {
        self.damages += 1;
        self.lost.add(lost);
        self.push(Finding { file: file.into(), at: at.into(), what: what.into(), lost, expected: false });
    }

    /// Adds something that needs nobody's attention.
    pub fn note(&mut self, file: impl Into<String>, at: impl Into<Option<u64>>, what: impl Into<String>) {
        let (file, at, what) = (file.into(), at.into(), what.into());
        self.push(Finding { file, at, what, lost: Lost::NOTHING, expected: true });
    }

    fn push(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Keeps the findings that `keep` says, and counts again. Those that were only counted are forgotten.
    pub fn retain(&mut self, keep: impl FnMut(&Finding) -> bool) {
        let mut findings = std::mem::take(&mut self.findings);
        findings.retain(keep);
        *self = Report::default();
        for finding in findings {
            self.damages += u64::from(!finding.expected);
            self.lost.add(finding.lost);
            self.push(finding);
        }
    }

    /// Adds what another report says.
    pub fn append(&mut self, other: Report) {
        self.damages += other.damages;
        self.lost.add(other.lost);
        self.more += other.more;
        other.findings.into_iter().for_each(|finding| self.push(finding));
    }
}

/// One line per finding, and none if there is nothing.
impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        self.findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
        match self.more {
            0 => Ok(()),
            more => writeln!(out, "and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_well_and_is_bounded() {
        let mut report = Report::default();
        assert_eq!(report.to_string(), "");
        report.note("segment-00000001", 4096, "an unfinished batch at the end");
        assert!(report.is_sound());
        report.damage("segment-00000002", None, "missing", Lost::NOTHING);
        report.damage("checkpoint-a", 3, "bad checksum", Lost { files: 1, batches: 1, records: 2, messages: 1 });
        assert!(!report.is_sound());
        let expected = "\
segment-00000001 at byte 4096: an unfinished batch at the end
segment-00000002: missing (nothing lost)
checkpoint-a at byte 3: bad checksum (lost 1 file, 1 batch, 2 records, 1 message)
";
        assert_eq!(report.to_string(), expected);
        let mut all = Report::default();
        (0..FINDINGS_MAX).for_each(|_| all.append(report.clone()));
        assert_eq!((all.findings.len(), all.more), (FINDINGS_MAX, 2 * FINDINGS_MAX as u64));
        assert_eq!((all.damages, all.lost.records), (2 * FINDINGS_MAX as u64, 2 * FINDINGS_MAX as u64));
        assert!(all.to_string().ends_with("and 2000 more\n"));
    }
}
