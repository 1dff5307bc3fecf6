//! Why a run did not end well.

use std::fmt;

/// A failure with the text that the user sees: one line, without the program's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The command line asks for something impossible: nothing was sent to a broker.
    Usage(String),
    /// The run failed: the broker is gone, has refused something, or a check found something.
    Run(String),
}

impl Failure {
    /// The command line is wrong.
    pub fn usage(text: impl Into<String>) -> Failure {
        Failure::Usage(text.into())
    }

    /// The run has failed.
    pub fn run(text: impl Into<String>) -> Failure {
        Failure::Run(text.into())
    }

    /// The broker has closed a connection or a channel: `what` is whose, `code` and `text` are the broker's.
    pub fn closed(what: &str, code: u16, text: &str) -> Failure {
        Failure::Run(format!("the broker has closed {what}: {code} {text}"))
    }

    /// The process's exit status: 2 for wrong usage, 1 for a failed run.
    pub fn exit_status(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Run(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Run(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}
