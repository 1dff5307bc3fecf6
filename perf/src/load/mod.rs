//! To be written.

use std::process::ExitCode;

pub fn main(_args: Vec<String>) -> ExitCode {
    ExitCode::FAILURE
}
