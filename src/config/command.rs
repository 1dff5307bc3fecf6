//! `leveret config`: what is wrong with a configuration, and what it says in the end.

use super::args::{Arguments, ConfigCommand};
use super::env::Environment;
use super::file::Setting;
use super::value::is_secret;

/// Does what `leveret config` is asked for. Returns what is to be printed, and whether the configuration can be used.
pub fn run(command: ConfigCommand, arguments: Arguments, environment: &Environment) -> (String, bool) {
    let settings = match command {
        ConfigCommand::Check => Ok(vec![]),
        ConfigCommand::Show => arguments.settings(environment),
    };
    let (remarks, is_good) = match arguments.configure(environment) {
        Ok((_, warnings)) => (warnings.iter().map(|one| format!("warning: {one}")).collect(), true),
        Err(error) => {
            let problems = error.problems.iter().map(|one| format!("error: {one}"));
            let warnings = error.warnings.iter().map(|one| format!("warning: {one}"));
            (problems.chain(warnings).collect::<Vec<_>>(), false)
        }
    };
    let text = match (command, settings) {
        (ConfigCommand::Show, Ok(settings)) if is_good => settings.iter().map(shown).collect::<Vec<_>>(),
        _ => {
            let end = if is_good { "the configuration can be used" } else { "the configuration cannot be used" };
            remarks.into_iter().chain([end.into()]).collect()
        }
    };
    (text.join("\n"), is_good)
}

/// A setting as a line that could stand in a file, with the place that it comes from.
fn shown(setting: &Setting) -> String {
    let Setting { key, value, place } = setting;
    let value = match value.as_str() {
        _ if is_secret(key) => "********".into(),
        plain if !plain.is_empty() && plain.trim() == plain && !plain.contains(['#', '\n', '\'']) => plain.into(),
        other => format!("'{other}'"),
    };
    format!("{key} = {value} # {}:{}", place.source, place.line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::Place;

    #[test]
    fn settings_as_lines() {
        for (key, value, expected) in [
            ("heartbeat", "60", "heartbeat = 60 # f:3"),
            ("cluster_name", "a#b", "cluster_name = 'a#b' # f:3"),
            ("cluster_name", "", "cluster_name = '' # f:3"),
            ("default_pass", "x", "default_pass = ******** # f:3"),
            ("default_users.a.password", "x", "default_users.a.password = ******** # f:3"),
            ("ssl_options.key.RSAPrivateKey", "x", "ssl_options.key.RSAPrivateKey = ******** # f:3"),
        ] {
            let place = Place { source: "f".into(), line: 3 };
            assert_eq!(shown(&Setting { key: key.into(), value: value.into(), place }), expected);
        }
    }
}
