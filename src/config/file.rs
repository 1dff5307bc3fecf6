//! The configuration files: which there are, what is in them, and which of several lines for one key counts.
//!
//! What a file says line by line is read in [`lines`]; what the keys mean is the table in
//! [`keys`](super::keys). Every key of RabbitMQ is either honoured or named in a warning, and anything else stops the
//! start: a setting that silently does nothing is worse than a broker that does not start.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the files that a configuration is read from

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::draft::Draft;
use super::env::Environment;
use super::{Config, ConfigError, Remark, keys, lines};

/// The largest configuration file read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Most files read of one directory.
const FILES_MAX: usize = 1000;

/// Most keys that the files may set together.
const KEYS_MAX: usize = 10_000;

/// The longest value that `$(...)` may lead to, in bytes.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// After so many problems the rest is not looked at.
const PROBLEMS_MAX: usize = 100;

/// Where a setting stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named, or what else has the setting: `environment`, `command line`.
    pub source: String,
    /// The line, from 1; 0 where there are none.
    pub line: usize,
}

impl Place {
    /// What is to be said about this place.
    pub fn remark(&self, text: impl Into<String>) -> Remark {
        Remark { file: self.source.clone(), line: self.line, text: text.into() }
    }
}

/// A line of a file, before anybody knows what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, with escaped dots as they stand.
    pub key: String,
    /// The value, with `$(...)` as it stands.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// What the files say: for each key its last line, and everything that is wrong with the others.
#[derive(Debug, Default)]
pub struct Files {
    /// The lines that count, in order.
    pub settings: Vec<Setting>,
    /// Their places in that list, by key.
    by_key: BTreeMap<String, usize>,
    /// What is wrong.
    pub problems: Vec<Remark>,
    /// What is to be known.
    pub warnings: Vec<Remark>,
}

impl Files {
    /// Adds the file at `path`.
    pub fn read(&mut self, path: &Path) {
        let name = path.display().to_string();
        match text_of(path) {
            Ok(text) => self.take(&name, &text),
            Err((line, text)) => self.problems.push(Place { source: name, line }.remark(text)),
        }
    }

    /// Adds the files that `pattern` names, as RabbitMQ's `RABBITMQ_CONFIG_FILES` does, by their names: a directory,
    /// or a directory and a file name in which `*` stands for anything. Whatever is not there is not missed.
    pub fn read_all(&mut self, pattern: &Path) {
        let (directory, wanted) = match (pattern.is_dir(), pattern.parent(), pattern.file_name()) {
            (false, Some(parent), Some(name)) => (parent, name.to_string_lossy().into_owned()),
            _ => (pattern, "*".into()),
        };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                let place = Place { source: directory.display().to_string(), line: 0 };
                return self.problems.push(place.remark(format!("cannot be read: {error}")));
            }
        };
        let is_wanted = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            is_like(&name, &wanted) && (!name.starts_with('.') || wanted.starts_with('.')) && path.is_file()
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut paths: Vec<PathBuf> = paths.filter(is_wanted).take(FILES_MAX + 1).collect();
        if paths.len() > FILES_MAX {
            let place = Place { source: directory.display().to_string(), line: 0 };
            return self.problems.push(place.remark(format!("has more than {FILES_MAX} files")));
        }
        paths.sort();
        paths.iter().for_each(|path| self.read(path));
    }

    /// Adds `text`. `file` is the name that errors and warnings carry.
    pub fn take(&mut self, file: &str, text: &str) {
        for (line, said) in lines::read(text) {
            let place = Place { source: file.into(), line };
            match said {
                Ok((key, value)) => self.put(Setting { key, value: value.into(), place }),
                Err(text) if self.problems.len() < PROBLEMS_MAX => self.problems.push(place.remark(text)),
                Err(_) => return,
            }
        }
    }

    /// Adds a setting. As in RabbitMQ, the last one of a key counts, and the others are not looked at.
    fn put(&mut self, setting: Setting) {
        match self.by_key.get(&setting.key) {
            Some(place) => self.settings[*place] = setting,
            None if self.settings.len() == KEYS_MAX => {
                if self.problems.len() < PROBLEMS_MAX {
                    self.problems.push(setting.place.remark(format!("there are more than {KEYS_MAX} keys")));
                }
            }
            None => {
                self.by_key.insert(setting.key.clone(), self.settings.len());
                self.settings.push(setting);
            }
        }
    }

    /// Puts what they stand for in the place of all `$(...)`: another key's value, or a variable's.
    pub fn substitute(&mut self, environment: &Environment) {
        let all: BTreeMap<String, String> =
            self.settings.iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect();
        for setting in &mut self.settings {
            match substituted(&setting.value, &all, environment, &mut vec![&setting.key]) {
                // Taken as they stand they would be wrong passwords at best.
                Ok(value) if value.starts_with("encrypted:") => {
                    let text = format!("{}: encrypted values are not supported", setting.key);
                    self.problems.push(setting.place.remark(text));
                }
                Ok(value) => setting.value = value,
                Err(text) => self.problems.push(setting.place.remark(format!("{}: {text}", setting.key))),
            }
        }
    }

    /// What the settings do to `draft`.
    pub fn apply(self, draft: &mut Draft) -> Vec<Remark> {
        let mut problems = self.problems;
        draft.warnings.extend(self.warnings);
        for setting in self.settings {
            if problems.len() >= PROBLEMS_MAX {
                break;
            }
            if let Err(text) = keys::apply(draft, &setting.place, &setting.key, &setting.value) {
                problems.push(setting.place.remark(text));
            }
        }
        problems
    }
}

/// `value` without `$(...)`. `above` are the keys whose values led here.
fn substituted<'a>(
    value: &str,
    all: &'a BTreeMap<String, String>,
    environment: &Environment,
    above: &mut Vec<&'a str>,
) -> Result<String, String> {
    let mut done = String::new();
    let mut rest = value;
    while let Some((front, back)) = rest.split_once("$(") {
        let Some((name, behind)) = back.split_once(')') else { break };
        let name = name.trim();
        done.push_str(front);
        if let Some((key, value)) = all.get_key_value(name) {
            if above.contains(&name) {
                return Err(format!("$({name}) leads back to itself"));
            }
            above.push(key);
            done.push_str(&substituted(value, all, environment, above)?);
            above.pop();
        } else {
            let variable = environment.get(name);
            done.push_str(variable.ok_or_else(|| format!("there is no key and no variable {name}"))?);
        }
        if done.len() > VALUE_BYTES_MAX {
            return Err(format!("the value is longer than {VALUE_BYTES_MAX} bytes"));
        }
        rest = behind;
    }
    done.push_str(rest);
    Ok(done)
}

/// Whether `name` is what `pattern` means, in which `*` stands for anything.
fn is_like(name: &str, pattern: &str) -> bool {
    let Some((front, back)) = pattern.split_once('*') else { return name == pattern };
    let Some(rest) = name.strip_prefix(front) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| is_like(&rest[at..], back))
}

/// The text of a file, or what is wrong with it, on which line.
fn text_of(path: &Path) -> Result<String, (usize, String)> {
    let unread = |error: std::io::Error| (0, format!("cannot be read: {error}"));
    let mut bytes = vec![];
    let file = File::open(path).map_err(unread)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err((0, format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let sound = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + sound.iter().filter(|byte| **byte == b'\n').count();
        (line, "is not UTF-8 text".into())
    })
}

/// Reads the file at `path` and nothing else: what it says goes over `config`.
pub fn load(path: &Path, config: Config) -> Result<(Config, Vec<Remark>), ConfigError> {
    let mut files = Files::default();
    files.read(path);
    alone(files, config)
}

/// Reads `text`: what it says goes over `config`. `file` is the name that errors and warnings carry.
pub fn parse(file: &str, text: &str, config: Config) -> Result<(Config, Vec<Remark>), ConfigError> {
    let mut files = Files::default();
    files.take(file, text);
    alone(files, config)
}

/// What the files say over `config`, without an environment.
fn alone(mut files: Files, config: Config) -> Result<(Config, Vec<Remark>), ConfigError> {
    files.substitute(&Environment::default());
    let mut draft = Draft::over(config);
    let problems = files.apply(&mut draft);
    draft.finish(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(texts: &[&str], variables: &[(&str, &str)]) -> String {
        let mut files = Files::default();
        texts.iter().enumerate().for_each(|(place, text)| files.take(&place.to_string(), text));
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        files.substitute(&Environment::new(variables));
        let settings = files.settings.iter().map(|one| format!("{} = {}", one.key, one.value));
        settings.chain(files.problems.iter().map(|one| format!("! {one}"))).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn the_last_line_of_a_key_counts() {
        for (texts, expected) in [
            (&["a = 1\na = 2"][..], "a = 2"),
            (&["a = 1\nb = 1", "b = 2\nc = 3"], "a = 1; b = 2; c = 3"),
            (&["a = 1", "x", "a = 3"], "a = 3; ! 1:1: expected `key = value`"),
        ] {
            assert_eq!(said(texts, &[]), expected, "{texts:?}");
        }
    }

    #[test]
    fn what_stands_for_something_else() {
        let variables = [("PASS", "p#w"), ("b", "variable"), ("SECRET", "encrypted:x")];
        for (text, expected) in [
            ("a = $(PASS)", "a = p#w"),
            ("a = x$( PASS )y$(PASS)", "a = xp#wyp#w"),
            ("a = $(b)\nb = key", "a = key; b = key"),
            ("a = $(b)$(b)", "a = variablevariable"),
            ("a = $(b)\nb = $(PASS)", "a = p#w; b = p#w"),
            ("a = $(PASS", "a = $(PASS"),
            ("a = $PASS", "a = $PASS"),
            ("a = $(NONE)", "a = $(NONE); ! 0:1: a: there is no key and no variable NONE"),
            ("a = $()", "a = $(); ! 0:1: a: there is no key and no variable "),
            ("a = $(a)", "a = $(a); ! 0:1: a: $(a) leads back to itself"),
            ("a = encrypted:abc", "a = encrypted:abc; ! 0:1: a: encrypted values are not supported"),
            ("a = $(SECRET)", "a = $(SECRET); ! 0:1: a: encrypted values are not supported"),
        ] {
            assert_eq!(said(&[text], &variables), expected, "{text}");
        }
        let said = said(&["a = $(c)$(c)\nc = $(a)"], &[]);
        assert!(said.contains("0:1: a: $(a) leads back") && said.contains("0:2: c: $(c) leads back"), "{said}");
        let long = "x".repeat(VALUE_BYTES_MAX);
        let mut files = Files::default();
        files.take("f", "a = $(LONG)$(LONG)");
        files.substitute(&Environment::new([("LONG".into(), long.into())]));
        assert_eq!(files.problems[0].text, "a: the value is longer than 65536 bytes");
    }

    #[test]
    fn bounds() {
        let lines = |count: usize| (0..count).map(|number| format!("listeners.tcp.{number} = 1\n")).collect::<String>();
        assert_eq!(said(&[&lines(KEYS_MAX)], &[]).matches('!').count(), 0);
        let more = said(&[&lines(KEYS_MAX + 200)], &[]);
        assert!(more.contains("! 0:10001: there are more than 10000 keys"), "{more}");
        assert_eq!(more.matches('!').count(), PROBLEMS_MAX);
        assert_eq!(said(&[&"x\n".repeat(1000)], &[]).matches('!').count(), PROBLEMS_MAX);
        let error =
            parse("f", &(0..1000).map(|number| format!("x{number} = 1\n")).collect::<String>(), Config::default());
        assert_eq!(error.unwrap_err().problems.len(), PROBLEMS_MAX);
    }

    #[test]
    fn names_of_files() {
        for (name, pattern, expected) in [
            ("a.conf", "*.conf", true),
            (".conf", "*.conf", true),
            ("a.conf.bak", "*.conf", false),
            ("a.conf", "a.conf", true),
            ("b.conf", "a.conf", false),
            ("é.conf", "*", true),
            ("abcabc", "a*c*c", true),
            ("abcab", "a*c*c", false),
        ] {
            assert_eq!(is_like(name, pattern), expected, "{name} {pattern}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Path::new("no-such-dir/leveret.conf"), Config::default()).unwrap_err().to_string();
        assert!(error.starts_with("no-such-dir/leveret.conf: cannot be read: "), "{error}");
    }
}
