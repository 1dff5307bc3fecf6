//! The binary's log: lines to the console, to a file, or to both. An embedding program has a logger of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    let logger = Logger::open(config)?;
    log::set_max_level(logger.most());
    log::set_boxed_logger(Box::new(logger)).map_err(|error| format!("cannot log: {error}"))
}

/// What is logged, and where.
#[derive(Debug)]
struct Logger {
    outputs: Vec<Output>,
}

/// One place that lines go to.
#[derive(Debug)]
struct Output {
    /// What goes there at most.
    level: LevelFilter,
    /// The same for what is about connections.
    connection_level: LevelFilter,
    format: LogFormat,
    sink: Mutex<Sink>,
}

#[derive(Debug)]
enum Sink {
    Stdout,
    Stderr,
    File(Rotating),
}

impl Logger {
    /// Opens what is to be written to.
    fn open(config: &LogConfig) -> Result<Logger, String> {
        let output = |level: Option<LevelFilter>, format, sink| {
            let most = level.unwrap_or(LevelFilter::Trace);
            let of = |category: Option<LevelFilter>| category.or(level).unwrap_or(LevelFilter::Info).min(most);
            let (level, connection_level) = (of(config.level), of(config.connection_level.or(config.level)));
            Output { level, connection_level, format, sink: Mutex::new(sink) }
        };
        let mut outputs = vec![];
        if let Some(console) = &config.console {
            let sink = if console.is_stdout { Sink::Stdout } else { Sink::Stderr };
            outputs.push(output(console.level, console.format, sink));
        }
        if let Some(file) = &config.file {
            let path = file.path.display();
            let rotating = Rotating::open(file).map_err(|error| format!("cannot log to {path}: {error}"))?;
            outputs.push(output(file.level, file.format, Sink::File(rotating)));
        }
        Ok(Logger { outputs })
    }

    /// What is logged at all.
    fn most(&self) -> LevelFilter {
        let levels = self.outputs.iter().map(|output| output.level.max(output.connection_level));
        levels.max().unwrap_or(LevelFilter::Off)
    }
}

impl Output {
    fn takes(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= if metadata.target() == CONNECTION { self.connection_level } else { self.level }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.outputs.iter().any(|output| output.takes(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        for output in self.outputs.iter().filter(|output| output.takes(record.metadata())) {
            let line = line(output.format, SystemTime::now(), record);
            // Whoever does not listen does not stop the broker, and neither does a thread that has panicked.
            let mut sink = output.sink.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let _ = match &mut *sink {
                Sink::Stdout => io::stdout().write_all(line.as_bytes()),
                Sink::Stderr => io::stderr().write_all(line.as_bytes()),
                Sink::File(file) => file.write(line.as_bytes()),
            };
        }
    }

    fn flush(&self) {}
}

/// One record as a line.
fn line(format: LogFormat, time: SystemTime, record: &Record<'_>) -> String {
    match format {
        LogFormat::Plain => format!("{} {:<5} {}\n", timestamp(time, 'T', "Z"), record.level(), record.args()),
        LogFormat::Json => {
            let domain = if record.target() == CONNECTION { "rabbitmq.connection" } else { "rabbitmq" };
            let level = match record.level() {
                log::Level::Warn => "warning".into(),
                level => level.as_str().to_ascii_lowercase(),
            };
            let text = serde_json::Value::String(record.args().to_string());
            let time = timestamp(time, ' ', "+00:00");
            format!("{{\"time\":\"{time}\",\"level\":\"{level}\",\"msg\":{text},\"domain\":\"{domain}\"}}\n")
        }
    }
}

/// A time of the Gregorian calendar, in UTC.
fn timestamp(time: SystemTime, between: char, zone: &str) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (hour, minute, second, ms) = (seconds / 3600, seconds / 60 % 60, seconds % 60, since.subsec_millis());
    // Years begin in March here, so that a leap day is the last of its year; 400 years have 146,097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}{between}{hour:02}:{minute:02}:{second:02}.{ms:03}{zone}")
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

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
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
        self.file.write_all(line)
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

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::log::LogConsole;

    #[test]
    fn times() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (951_868_800, "2000-03-01T00:00:00.007Z"),
            (1_709_164_800, "2024-02-29T00:00:00.007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(7);
            assert_eq!(timestamp(time, 'T', "Z"), expected);
        }
    }

    #[test]
    fn lines() {
        let show = |format, target| {
            let mut record = Record::builder();
            let record = record.level(log::Level::Warn).target(target);
            line(format, UNIX_EPOCH, &record.args(format_args!("a \"b\"\n")).build())
        };
        assert_eq!(show(LogFormat::Plain, "x"), "1970-01-01T00:00:00.000Z WARN  a \"b\"\n\n");
        let expected = "{\"time\":\"1970-01-01 00:00:00.000+00:00\",\"level\":\"warning\",\"msg\":\"a \\\"b\\\"\\n\",\
                        \"domain\":\"rabbitmq.connection\"}\n";
        assert_eq!(show(LogFormat::Json, CONNECTION), expected);
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
            let logger = Logger::open(&config).unwrap();
            let found = (logger.outputs[0].level, logger.outputs[0].connection_level);
            assert_eq!(found, expected, "{level:?} {connection:?} {output:?}");
            assert_eq!(logger.most(), expected.0.max(expected.1));
            let takes = |target, level| logger.enabled(&Metadata::builder().target(target).level(level).build());
            assert_eq!(takes(CONNECTION, log::Level::Warn), expected.1 >= Warn);
            assert_eq!(takes("leveret::server", log::Level::Warn), expected.0 >= Warn);
        }
        assert_eq!(Logger { outputs: vec![] }.most(), Off);
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
            file.write(text.as_bytes()).unwrap();
        }
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or("-".into());
        let old = |number| read(&directory.join("deep").join(format!("a.log.{number}")));
        assert_eq!(read(&path), "d\n");
        assert_eq!([old(0), old(1), old(2)], ["a line that is longer than all of it\n", "abc\n", "-"]);
        // A tool that rotates logs moves it, and it is missed at the next look.
        std::fs::rename(&path, directory.join("moved")).unwrap();
        file.write(b"e\n").unwrap();
        file.looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
        file.write(b"f\n").unwrap();
        assert_eq!((read(&directory.join("moved")), read(&path)), ("d\ne\n".into(), "f\n".into()));
        // What is there is added to, and counted.
        let mut file = Rotating::open(&LogFile { rotation_count: 0, ..config }).unwrap();
        file.write(b"1234567\n").unwrap();
        assert_eq!(read(&path), "f\n1234567\n");
        file.write(b"g\n").unwrap();
        assert_eq!((read(&path), old(0)), ("g\n".into(), "a line that is longer than all of it\n".into()));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
