//! What is logged, and where: plain data for the binary, and the keys and variables that fill it.

use std::path::PathBuf;

use log::LevelFilter;

use super::Remark;
use super::draft::Draft;
use super::file::Place;
use super::value;

/// Old log files that are kept when nobody says another number.
pub const ROTATION_COUNT_DEFAULT: usize = 10;

/// What the binary logs, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// What is logged at most (`log.default.level`); `None`: what an output says, or else `info`.
    pub level: Option<LevelFilter>,
    /// The same for what is about connections (`log.connection.level`).
    pub connection_level: Option<LevelFilter>,
    /// The output to the console.
    pub console: Option<LogConsole>,
    /// The output to a file.
    pub file: Option<LogFile>,
}

/// How lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, text.
    #[default]
    Plain,
    /// A JSON object with `time`, `level`, `msg` and `domain`.
    Json,
}

/// The log on the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConsole {
    /// To the standard output, not to the standard error output.
    pub is_stdout: bool,
    /// What is written at most.
    pub level: Option<LevelFilter>,
    /// How.
    pub format: LogFormat,
}

/// The log in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The file; its directory is made where it is missing.
    pub path: PathBuf,
    /// What is written at most.
    pub level: Option<LevelFilter>,
    /// How.
    pub format: LogFormat,
    /// Bytes after which a new file is begun; 0: never.
    pub rotation_bytes: u64,
    /// Old files that are kept, `NAME.0` the newest of them; 0: what was written is thrown away.
    pub rotation_count: usize,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        let console = LogConsole { is_stdout: false, level: None, format: LogFormat::Plain };
        LogConfig { level: None, connection_level: None, console: Some(console), file: None }
    }
}

impl LogConfig {
    /// Has all that is logged follow one level.
    pub fn set_level(&mut self, level: LevelFilter) {
        self.level = Some(level);
        self.connection_level = None;
        if let Some(console) = &mut self.console {
            console.level = None;
        }
        if let Some(file) = &mut self.file {
            file.level = None;
        }
    }
}

/// The log of a configuration while its files are read.
#[derive(Debug, Default)]
pub struct LogDraft {
    level: Option<LevelFilter>,
    connection_level: Option<LevelFilter>,
    console: Option<bool>,
    console_level: Option<LevelFilter>,
    console_format: LogFormat,
    is_stdout: bool,
    directory: Option<PathBuf>,
    /// `Some(None)`: none, whatever the directory.
    file: Option<Option<PathBuf>>,
    /// The file is named from the working directory, not from that one.
    is_path: bool,
    file_level: Option<LevelFilter>,
    file_format: LogFormat,
    rotation_bytes: u64,
    rotation_count: Option<usize>,
    /// What was said of the file, should there be none.
    said_of_file: Option<(Place, String)>,
}

impl LogDraft {
    /// The outputs that were asked for.
    fn outputs(self, config: &mut LogConfig, node_name: &str) {
        let directory = self.directory.as_deref();
        let named = match self.file {
            Some(file) => file.map(|file| match directory {
                Some(directory) if !self.is_path => directory.join(file),
                _ => file,
            }),
            None => directory.map(|directory| directory.join(format!("{node_name}.log"))),
        };
        config.file = named.map(|path| LogFile {
            path,
            level: self.file_level,
            format: self.file_format,
            rotation_bytes: self.rotation_bytes,
            rotation_count: self.rotation_count.unwrap_or(ROTATION_COUNT_DEFAULT),
        });
        let is_on = self.console.unwrap_or(config.file.is_none());
        let console = LogConsole { is_stdout: self.is_stdout, level: self.console_level, format: self.console_format };
        config.console = is_on.then_some(console);
    }

    /// Puts what was said into `config`, and returns warnings.
    pub fn finish(mut self, config: &mut LogConfig, node_name: &str) -> Vec<Remark> {
        config.level = self.level.or(config.level);
        config.connection_level = self.connection_level.or(config.connection_level);
        let said = self.said_of_file.take();
        self.outputs(config, node_name);
        let warn = |(place, key): (Place, String)| {
            place.remark(format!("{key} has no effect: no file is named by log.file or log.dir"))
        };
        said.filter(|_| config.file.is_none()).map(warn).into_iter().collect()
    }
}

/// Notes that something is said about the log file.
fn of_file(draft: &mut Draft) -> &mut LogDraft {
    let said = (draft.place(), draft.key().to_owned());
    draft.log.said_of_file.get_or_insert(said);
    &mut draft.log
}

pub(super) fn console(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.log.console = Some(value::boolean(value)?);
    Some(())
}

pub(super) fn console_level(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.log.console_level = Some(value::log_level(value)?);
    Some(())
}

pub(super) fn console_formatter(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.log.console_format = format(value)?;
    Some(())
}

pub(super) fn console_stdio(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.log.is_stdout = value == "stdout";
    ["stdout", "stderr"].contains(&value).then_some(())
}

pub(super) fn level(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.log.level = Some(value::log_level(value)?);
    Some(())
}

pub(super) fn connection_level(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.log.connection_level = Some(value::log_level(value)?);
    Some(())
}

pub(super) fn directory(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.log.directory = Some(value.into());
    (!value.is_empty()).then_some(())
}

pub(super) fn file(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.log.file = Some((value != "false").then(|| value.into()));
    (!value.is_empty() && value != "true").then_some(())
}

pub(super) fn file_level(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    of_file(draft).file_level = Some(value::log_level(value)?);
    Some(())
}

pub(super) fn file_formatter(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    of_file(draft).file_format = format(value)?;
    Some(())
}

pub(super) fn rotation_size(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    of_file(draft).rotation_bytes = value::size_bytes(value, value::Kilo::Decimal)?;
    Some(())
}

pub(super) fn rotation_count(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    of_file(draft).rotation_count = Some(value::integer(value, 0, 1000)? as usize);
    Some(())
}

/// For outputs that there are not: only their absence is honoured.
pub(super) fn no_output(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    if value::boolean(value)? {
        draft.warn(format!("{} = true is not honoured yet", draft.key()));
    }
    Some(())
}

/// `RABBITMQ_LOGS`
pub(super) fn logs(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let is_elsewhere = value.starts_with("exchange:") || value.starts_with("syslog:");
    match value {
        "-" | "-stderr" => {
            draft.log.console = Some(true);
            draft.log.is_stdout = value == "-";
            draft.log.file = Some(None);
        }
        _ if is_elsewhere => draft.warn(format!("{} = {value} is not honoured yet", draft.key())),
        _ => {
            draft.log.is_path = true;
            draft.log.file = Some(Some(value.into()));
        }
    }
    Some(())
}

/// `RABBITMQ_LOG`: levels by category, and how lines look.
pub(super) fn levels(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (category, level) = part.split_once('=').map_or((part, None), |(front, level)| (front, Some(level)));
        let log = &mut draft.log;
        match (category, level.map(value::log_level)) {
            ("+json" | "-json", None) => {
                log.console_format = if part == "+json" { LogFormat::Json } else { LogFormat::Plain };
                log.file_format = log.console_format;
            }
            // Lines are single and without colours.
            ("-color" | "+single_line", None) => {}
            ("+color" | "-single_line", None) => draft.warn(format!("{} = {part} is not honoured yet", draft.key())),
            ("connection", level) => log.connection_level = Some(level.unwrap_or(Some(LevelFilter::Info))?),
            (_, None) if value::log_level(category).is_some() => {
                log.level = value::log_level(category);
                (log.console_level, log.file_level) = (None, None);
            }
            ("default", Some(level)) => log.level = Some(level?),
            _ => draft.warn(format!("{}: {part} is not honoured yet", draft.key())),
        }
    }
    Some(())
}

fn format(value: &str) -> Option<LogFormat> {
    match value {
        "plaintext" => Some(LogFormat::Plain),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::env::Environment;
    use crate::config::file::{Files, parse};
    use crate::config::{Config, LogConfig};

    fn show(log: &LogConfig) -> String {
        let level = |level: Option<log::LevelFilter>| level.map_or("-".into(), |level| level.to_string());
        let console = log.console.as_ref().map_or("off".into(), |one| {
            let stream = if one.is_stdout { "stdout" } else { "stderr" };
            format!("{stream} {} {:?}", level(one.level), one.format)
        });
        let file = log.file.as_ref().map_or("off".into(), |one| {
            let (path, level) = (one.path.display(), level(one.level));
            format!("{path} {level} {:?} {} {}", one.format, one.rotation_bytes, one.rotation_count)
        });
        format!("{} {}; {console}; {file}", level(log.level), level(log.connection_level))
    }

    #[test]
    fn keys() {
        for (text, expected) in [
            ("", "- -; stderr - Plain; off"),
            ("log.console = false", "- -; off; off"),
            ("log.console.level = debug\nlog.console.formatter = json", "- -; stderr DEBUG Json; off"),
            ("log.console.stdio = stdout", "- -; stdout - Plain; off"),
            ("log.default.level = none\nlog.connection.level = error", "OFF ERROR; stderr - Plain; off"),
            ("log.file = a.log", "- -; off; a.log - Plain 0 10"),
            ("log.file = a.log\nlog.dir = /var/log", "- -; off; /var/log/a.log - Plain 0 10"),
            ("log.file = /a.log\nlog.dir = /var/log", "- -; off; /a.log - Plain 0 10"),
            ("log.dir = d", "- -; off; d/leveret@localhost.log - Plain 0 10"),
            ("log.dir = d\nlog.file = false", "- -; stderr - Plain; off"),
            ("log.dir = d\nlog.console = true", "- -; stderr - Plain; d/leveret@localhost.log - Plain 0 10"),
            (
                "log.file = a\nlog.file.level = warning\nlog.file.formatter = json\nlog.file.rotation.size = 10MB\n\
                 log.file.rotation.count = 5",
                "- -; off; a WARN Json 10000000 5",
            ),
        ] {
            let (config, warnings) = parse("f", text, Config::default()).unwrap();
            assert_eq!(show(&config.log), expected, "{text}");
            assert_eq!(warnings, [], "{text}");
        }
        for (text, expected) in [
            ("log.file.level = info", "f:1: log.file.level has no effect: no file is named by log.file or log.dir"),
            ("log.exchange = true", "f:1: log.exchange = true is not honoured yet"),
            ("log.exchange = false\nlog.syslog = false\nlog.journald = false", ""),
            ("log.file = x\nlog.file.rotation.date = $D0", "f:2: log.file.rotation.date is not honoured yet"),
            ("log.queue.level = debug", "f:1: log.queue.level is not honoured yet"),
        ] {
            let (_, warnings) = parse("f", text, Config::default()).unwrap();
            let warnings: Vec<_> = warnings.iter().map(|one| one.to_string()).collect();
            assert_eq!(warnings.join("; "), expected, "{text}");
        }
    }

    #[test]
    fn variables() {
        for (variables, text, expected) in [
            (&[("LOGS", "-")][..], "log.file = a", "- -; stdout - Plain; off"),
            (&[("LOGS", "-stderr")], "", "- -; stderr - Plain; off"),
            (&[("LOGS", "b.log")], "log.file = a\nlog.dir = d", "- -; off; b.log - Plain 0 10"),
            (&[("LOG_BASE", "d"), ("NODENAME", "n@h")], "", "- -; off; d/n@h.log - Plain 0 10"),
            (&[("LOG", "debug,connection=error")], "log.console.level = info", "DEBUG ERROR; stderr - Plain; off"),
            (&[("LOG", "+json, warning")], "", "WARN -; stderr - Json; off"),
            (&[("LOG", "connection,-color,default=error")], "", "ERROR INFO; stderr - Plain; off"),
        ] {
            let named = variables.iter().map(|(name, value)| (format!("RABBITMQ_{name}").into(), value.into()));
            let environment = Environment::new(named);
            let mut files = Files::default();
            files.take("f", text);
            let (config, warnings) = environment.over(files, Config::default()).unwrap();
            assert_eq!(show(&config.log), expected, "{variables:?}");
            assert_eq!(warnings, [], "{variables:?}");
        }
    }
}
