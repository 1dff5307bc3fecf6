//! The format of rabbitmq.conf: `key = value` lines, `#` comments, values in single quotes where they contain a `#`.
//!
//! This part reads lines; what the keys mean is the table in [`keys`](super::keys). Every key of RabbitMQ is either
//! honoured or named in a warning, and anything else stops the start: a setting that silently does nothing is worse
//! than a broker that does not start.

#![allow(clippy::disallowed_methods)] // the one file that a configuration is read from

use std::path::Path;

use super::draft::{Draft, Note};
use super::keys;
use super::{Config, ConfigError, Warning};

/// The largest configuration file read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads the file at `path`: what it says goes over `config`.
pub fn load(path: &Path, config: Config) -> Result<(Config, Vec<Warning>), ConfigError> {
    let name = path.display().to_string();
    let error = |text: String| ConfigError { file: name.clone(), line: 0, text };
    let bytes = std::fs::metadata(path).map_err(|cause| error(format!("cannot be read: {cause}")))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(error(format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|cause| error(format!("cannot be read: {cause}")))?;
    parse(&name, &text, config)
}

/// Reads `text`: what it says goes over `config`. `file` is the name that errors and warnings carry.
pub fn parse(file: &str, text: &str, config: Config) -> Result<(Config, Vec<Warning>), ConfigError> {
    let mut draft = Draft::over(config);
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let error = |text: String| ConfigError { file: file.into(), line: index + 1, text };
        if let Some((key, value)) = setting(line).map_err(|text| error(text.into()))? {
            keys::apply(&mut draft, index + 1, &key, value).map_err(error)?;
        }
    }
    let error = |note: Note| ConfigError { file: file.into(), line: note.line, text: note.text };
    let (config, notes) = draft.finish().map_err(error)?;
    let warning = |note: Note| Warning { file: file.into(), line: note.line, text: note.text };
    let warnings = notes.into_iter().map(warning).collect();
    Ok((config, warnings))
}

/// One line: a key with its value, nothing, or what is wrong with it. Dots that belong to a part of a key stay
/// escaped (`\.`), so that the parts can still be told from one another.
fn setting(line: &str) -> Result<Option<(String, &str)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let Some((key, value)) = line.split_once('=') else {
        return Err("expected `key = value`");
    };
    let key = key.trim_end();
    let plain = key.replace("\\.", "");
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)) {
        return Err("expected `key = value`, the key in letters, digits, dots, dashes and underscores");
    }
    let value = value.trim_start();
    let value = match value.strip_prefix('\'') {
        Some(rest) => {
            let Some((inside, after)) = rest.split_once('\'') else {
                return Err("the closing quote is missing");
            };
            let after = after.trim_start();
            if !after.is_empty() && !after.starts_with('#') {
                return Err("only a comment may follow the closing quote");
            }
            inside
        }
        // As in RabbitMQ, a `#` starts a comment anywhere in a bare value.
        None => match value.split('#').next().unwrap_or_default().trim_end() {
            "" => return Err("the value is missing"),
            bare => bare,
        },
    };
    // Taken as they stand they would be wrong passwords at best.
    if value.starts_with("encrypted:") {
        return Err("encrypted values are not supported");
    }
    if value.contains("$(") {
        return Err("values with $(...) are not supported");
    }
    Ok(Some((key.into(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, expected) in [
            ("", "none"),
            ("   \t", "none"),
            ("# heartbeat = 1", "none"),
            ("  ## comment", "none"),
            ("heartbeat = 60", "heartbeat|60"),
            ("heartbeat=60", "heartbeat|60"),
            ("\theartbeat\t=\t60 \r", "heartbeat|60"),
            ("heartbeat = 60 # a minute", "heartbeat|60"),
            ("heartbeat = 60#", "heartbeat|60"),
            ("default_pass = 'a#b c'", "default_pass|a#b c"),
            ("default_pass = 'a=b' # quoted", "default_pass|a=b"),
            ("default_pass = a=b", "default_pass|a=b"),
            ("default_pass = it's", "default_pass|it's"),
            ("default_pass = ''", "default_pass|"),
            ("default_pass = pässword", "default_pass|pässword"),
            ("loopback_users.a\\.b = true", "loopback_users.a\\.b|true"),
            ("heartbeat", "expected `key = value`"),
            ("= 60", "expected `key = value`, the key in letters, digits, dots, dashes and underscores"),
            ("heart beat = 60", "expected `key = value`, the key in letters, digits, dots, dashes and underscores"),
            (
                "[{rabbit, [{x, '=', 1}]}].",
                "expected `key = value`, the key in letters, digits, dots, dashes and underscores",
            ),
            ("heartbeat =", "the value is missing"),
            ("heartbeat = # none", "the value is missing"),
            ("default_pass = 'a", "the closing quote is missing"),
            ("default_pass = 'a' b", "only a comment may follow the closing quote"),
            ("default_pass = encrypted:abc", "encrypted values are not supported"),
            ("default_pass = $(PASS)", "values with $(...) are not supported"),
        ] {
            let found = match setting(line) {
                Ok(None) => "none".into(),
                Ok(Some((key, value))) => format!("{key}|{value}"),
                Err(text) => text.into(),
            };
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Path::new("no-such-dir/leveret.conf"), Config::default()).unwrap_err().to_string();
        assert!(error.starts_with("no-such-dir/leveret.conf: cannot be read: "), "{error}");
    }
}
