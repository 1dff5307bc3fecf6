//! The binary's log: lines to the console, to a file, or to both. An embedding program has a logger of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use env_logger::fmt::Formatter;
use env_logger::{Builder, Target};
use log::{LevelFilter, Log, Metadata, Record};

use crate::config::log::{LogConfig, LogFile, LogFormat};

/// What records about connections name as their target.
const CONNECTION: &str = "connection";

/// How often it is looked whether somebody has moved the file away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Begins to log as `config` says, for the rest of the process.
///
/// # Errors
/// When the file cannot be opened; one line for the operator.
pub fn init(config: &LogConfig) -> Result<(), String> {
    let outputs = Outputs::open(config)?;
    log::set_max_level(outputs.most());
    log::set_boxed_logger(Box::new(outputs)).map_err(|error| format!("cannot log: {error}"))
}

/// The outputs, each with a filter of its own. A record goes to all of them that let it pass.
#[derive(Debug)]
struct Outputs(Vec<env_logger::Logger>);

impl Outputs {
    /// Opens what is to be written to.
    fn open(config: &LogConfig) -> Result<Outputs, String> {
        let mut outputs = vec![];
        if let Some(console) = &config.console {
            let target = if console.is_stdout { Target::Stdout } else { Target::Stderr };
            outputs.push(output(config, console.level, console.format, target));
        }
        if let Some(file) = &config.file {
            let path = file.path.display();
            let rotating = Rotating::open(file).map_err(|error| format!("cannot log to {path}: {error}"))?;
            outputs.push(output(config, file.level, file.format, Target::Pipe(Box::new(rotating))));
        }
        Ok(Outputs(outputs))
    }

    /// What is logged at all.
    fn most(&self) -> LevelFilter {
        self.0.iter().map(|output| output.filter()).max().unwrap_or(LevelFilter::Off)
    }
}

impl Log for Outputs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.iter().any(|output| output.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        self.0.iter().for_each(|output| output.log(record));
    }

    fn flush(&self) {}
}

/// One place that lines go to, at most those of `level`.
fn output(config: &LogConfig, level: Option<LevelFilter>, format: LogFormat, target: Target) -> env_logger::Logger {
    let most = level.unwrap_or(LevelFilter::Trace);
    let of = |category: Option<LevelFilter>| category.or(level).unwrap_or(LevelFilter::Info).min(most);
    let line = match format {
        LogFormat::Plain => plain,
        LogFormat::Json => json,
    };
    Builder::new()
        .filter_level(of(config.level))
        .filter_module(CONNECTION, of(config.connection_level.or(config.level)))
        .format(line)
        .target(target)
        .build()
}

fn plain(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    writeln!(out, "{} {:<5} {}", out.timestamp_millis(), record.level(), record.args())
}

fn json(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let domain = if record.target() == CONNECTION { "rabbitmq.connection" } else { "rabbitmq" };
    let level = match record.level() {
        log::Level::Warn => "warning".into(),
        level => level.as_str().to_ascii_lowercase(),
    };
    let (time, text) = (out.timestamp_millis(), serde_json::Value::String(record.args().to_string()));
    writeln!(out, "{{\"time\":\"{time}\",\"level\":\"{level}\",\"msg\":{text},\"domain\":\"{domain}\"}}")
}

/// A file that is begun anew when it is full, and opened again when somebody has moved it.
#[derive(Debug)]
struct Rotating {
    config: LogFile,
    file: File,
    length: u64,
    looked: Instant,
}

impl Rotating {
    fn open(config: &LogFile) -> io::Result<Rotating> {
        if let Some(directory) = config.path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory)?;
        }
        let file = append(&config.path)?;
        let length = file.metadata()?.len();
        Ok(Rotating { config: config.clone(), file, length, looked: Instant::now() })
    }

    /// Whether the file is no longer what its name leads to: tools that rotate logs move it.
    fn is_gone(&self) -> bool {
        let identity = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
        let (named, own) = (std::fs::metadata(&self.config.path), self.file.metadata());
        !matches!((named, own), (Ok(named), Ok(own)) if identity(&named) == identity(&own))
    }

    /// Opens the file that the name leads to now.
    fn again(&mut self) -> io::Result<()> {
        self.file = append(&self.config.path)?;
        self.length = self.file.metadata()?.len();
        Ok(())
    }

    /// Begins a new file. The old ones move up by one, and the last is gone.
    fn rotate(&mut self) -> io::Result<()> {
        let named = |number: usize| PathBuf::from(format!("{}.{number}", self.config.path.display()));
        match self.config.rotation_count {
            0 => std::fs::remove_file(&self.config.path)?,
            count => {
                for number in (1..count).rev() {
                    let _ = std::fs::rename(named(number - 1), named(number));
                }
                std::fs::rename(&self.config.path, named(0))?;
            }
        }
        self.again()
    }
}

impl Write for Rotating {
    /// Writes all of `line`, so that no line is in two files.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            if self.is_gone() {
                self.again()?;
            }
        }
        let limit = self.config.rotation_bytes;
        if limit > 0 && self.length > 0 && self.length + line.len() as u64 > limit {
            self.rotate()?;
        }
        self.length += line.len() as u64;
        self.file.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::config::log::LogConsole;

    #[test]
    fn lines() {
        let shown = |mut lines: io::PipeReader| {
            let mut text = String::new();
            lines.read_to_string(&mut text).unwrap();
            text.replace(|digit: char| digit.is_ascii_digit(), "0")
        };
        let open = |level, format| {
            let (lines, pipe) = io::pipe().unwrap();
            (output(&LogConfig::default(), level, format, Target::Pipe(Box::new(pipe))), lines)
        };
        let (plain, of_plain) = open(None, LogFormat::Plain);
        let (json, of_json) = open(Some(LevelFilter::Warn), LogFormat::Json);
        let outputs = Outputs(vec![plain, json]);
        for (level, target) in [(log::Level::Warn, CONNECTION), (log::Level::Info, "x"), (log::Level::Error, "x")] {
            let mut record = Record::builder();
            outputs.log(&record.level(level).target(target).args(format_args!("a \"b\"\n")).build());
        }
        drop(outputs);
        let time = "0000-00-00T00:00:00.000Z";
        let line = |level| format!("{time} {level} a \"b\"\n\n");
        assert_eq!(shown(of_plain), [line("WARN "), line("INFO "), line("ERROR")].concat());
        let line = |level, domain| {
            format!(r#"{{"time":"{time}","level":"{level}","msg":"a \"b\"\n","domain":"{domain}"}}"#) + "\n"
        };
        assert_eq!(shown(of_json), [line("warning", "rabbitmq.connection"), line("error", "rabbitmq")].concat());
    }

    #[test]
    fn levels() {
        use LevelFilter::{Debug, Error, Info, Off, Warn};
        for (level, connection, output, expected) in [
            (None, None, None, (Info, Info)),
            (None, None, Some(Debug), (Debug, Debug)),
            (Some(Warn), None, Some(Debug), (Warn, Warn)),
            (Some(Debug), None, Some(Warn), (Warn, Warn)),
            (None, Some(Error), None, (Info, Error)),
            (Some(Off), Some(Info), None, (Off, Info)),
            (Some(Debug), Some(Debug), None, (Debug, Debug)),
        ] {
            let console = LogConsole { is_stdout: false, level: output, format: LogFormat::Plain };
            let config = LogConfig { level, connection_level: connection, console: Some(console), file: None };
            let outputs = Outputs::open(&config).unwrap();
            assert_eq!(outputs.most(), expected.0.max(expected.1));
            for (target, most) in [("leveret::server", expected.0), (CONNECTION, expected.1)] {
                for one in log::Level::iter() {
                    let is_on = outputs.enabled(&Metadata::builder().target(target).level(one).build());
                    assert_eq!(is_on, one <= most, "{level:?} {connection:?} {output:?} {target} {one}");
                }
            }
        }
        assert_eq!(Outputs(vec![]).most(), Off);
    }

    #[test]
    fn files_rotate_and_follow_their_name() {
        let directory = std::env::temp_dir().join(format!("leveret-log-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let path = directory.join("deep").join("a.log");
        let config = LogFile {
            path: path.clone(),
            level: None,
            format: LogFormat::Plain,
            rotation_bytes: 10,
            rotation_count: 2,
        };
        let mut file = Rotating::open(&config).unwrap();
        for text in ["1234\n", "5678\n", "abc\n", "a line that is longer than all of it\n", "d\n"] {
            file.write_all(text.as_bytes()).unwrap();
        }
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or("-".into());
        let old = |number| read(&directory.join("deep").join(format!("a.log.{number}")));
        assert_eq!(read(&path), "d\n");
        assert_eq!([old(0), old(1), old(2)], ["a line that is longer than all of it\n", "abc\n", "-"]);
        // A tool that rotates logs moves it, and it is missed at the next look.
        std::fs::rename(&path, directory.join("moved")).unwrap();
        file.write_all(b"e\n").unwrap();
        file.looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
        file.write_all(b"f\n").unwrap();
        assert_eq!((read(&directory.join("moved")), read(&path)), ("d\ne\n".into(), "f\n".into()));
        // What is there is added to, and counted.
        let mut file = Rotating::open(&LogFile { rotation_count: 0, ..config }).unwrap();
        file.write_all(b"1234567\n").unwrap();
        assert_eq!(read(&path), "f\n1234567\n");
        file.write_all(b"g\n").unwrap();
        assert_eq!((read(&path), old(0)), ("g\n".into(), "a line that is longer than all of it\n".into()));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
