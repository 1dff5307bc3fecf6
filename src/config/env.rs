//! RabbitMQ's environment variables: those that we honour, those that mean nothing here, and those that the official
//! image has removed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::draft::{self, Draft, Setter};
use super::file::{Files, Place};
use super::not_yet::{Why, nearest_of};
use super::{Config, ConfigError, Remark, keys, log, node, value};

/// What is in front of the variables that are RabbitMQ's.
const PREFIX: &str = "RABBITMQ_";

/// What remarks name as the place of a variable.
const SOURCE: &str = "environment";

/// The variables of a process, as text. One that is empty counts as not set, as in RabbitMQ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// RabbitMQ's that are no text.
    odd: Vec<String>,
}

/// A variable that we honour: its name without the prefix, what is expected of its value, what it does.
type Variable = (&'static str, &'static str, Setter);

const LEVELS: &str = "levels such as debug or connection=error, with commas between them";

const VARIABLES: &[Variable] = &[
    ("DEFAULT_PASS", keys::SHORT, draft::default_pass),
    ("DEFAULT_USER", keys::SHORT, draft::default_user),
    ("DEFAULT_VHOST", keys::SHORT, draft::default_vhost),
    ("KEEP_PID_FILE_ON_EXIT", "true or false", keep_pid_file),
    ("LOG", LEVELS, log::levels),
    ("LOGS", "a file, - or -stderr", log::logs),
    ("LOG_BASE", "a directory", log::directory),
    ("MNESIA_BASE", "a directory", data_base),
    ("MNESIA_DIR", "a directory", data_dir),
    ("NODENAME", "1 to 255 bytes such as rabbit@localhost", node_name),
    ("NODE_IP_ADDRESS", "an IP address, or auto", node_ip_address),
    ("NODE_PORT", "a number, 0 to 65535", node_port),
    ("PID_FILE", "a file", pid_file),
    ("PRODUCT_NAME", keys::SHORT, node::product_name),
    ("PRODUCT_VERSION", keys::SHORT, node::product_version),
];

/// Read before all others: they say what else is read.
const FILES: [&str; 2] = ["CONFIG_FILE", "CONFIG_FILES"];

/// What RabbitMQ or its scripts read and we do not.
const NAMES: &[(Why, &str)] = &[
    (Why::Yet, "ADVANCED_CONFIG_FILE CONF_ENV_FILE MOTD_FILE"),
    (
        Why::Inside,
        "ALLOW_INPUT BASE BOOT_MODULE CTL_DIST_PORT_MAX CTL_DIST_PORT_MIN CTL_ERL_ARGS DATA_DIR DBG \
         DEFAULT_ERLANG_ARGS DIST_PORT ENABLED_PLUGINS ENABLED_PLUGINS_FILE ERLANG_COOKIE EXPECTED_ERLANG_VERSION \
         FEATURE_FLAGS FEATURE_FLAGS_FILE FORCED_FEATURE_FLAGS_ON_INIT GENERATED_CONFIG_DIR HOME IGNORE_SIGHUP \
         IO_THREAD_POOL_SIZE MAX_NUMBER_OF_ATOMS MAX_NUMBER_OF_PROCESSES NODE_ONLY PGP_KEY_ID PLUGINS_DIR \
         PLUGINS_EXPAND_DIR QUORUM_DIR SCRIPTS_DIR SCHEMA_DIR SERVER_ADDITIONAL_ERL_ARGS SERVER_CODE_PATH \
         SERVER_ERL_ARGS SERVER_START_ARGS SERVICENAME CONSOLE_LOG START_RABBIT STREAM_DIR VERSION",
    ),
    (Why::Cluster, "CLUSTER_NODES QUEUE_MASTER_LOCATOR USE_LONGNAME"),
];

/// What the official image has removed, with what there is instead. It does not start with them, and neither do we.
const REMOVED: &[(&str, &str)] = &[
    ("DEFAULT_PASS_FILE", "default_pass"),
    ("DEFAULT_USER_FILE", "default_user"),
    ("DEFAULT_VHOST_FILE", "default_vhost"),
    ("MANAGEMENT_SSL_CACERTFILE", "management.ssl.cacertfile"),
    ("MANAGEMENT_SSL_CERTFILE", "management.ssl.certfile"),
    ("MANAGEMENT_SSL_DEPTH", "management.ssl.depth"),
    ("MANAGEMENT_SSL_FAIL_IF_NO_PEER_CERT", "management.ssl.fail_if_no_peer_cert"),
    ("MANAGEMENT_SSL_KEYFILE", "management.ssl.keyfile"),
    ("MANAGEMENT_SSL_VERIFY", "management.ssl.verify"),
    ("SSL_CACERTFILE", "ssl_options.cacertfile"),
    ("SSL_CERTFILE", "ssl_options.certfile"),
    ("SSL_DEPTH", "ssl_options.depth"),
    ("SSL_FAIL_IF_NO_PEER_CERT", "ssl_options.fail_if_no_peer_cert"),
    ("SSL_KEYFILE", "ssl_options.keyfile"),
    ("SSL_VERIFY", "ssl_options.verify"),
    ("VM_MEMORY_HIGH_WATERMARK", "vm_memory_high_watermark.relative"),
];

impl Environment {
    /// The variables of a process.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let mut environment = Environment::default();
        for (name, value) in variables {
            // What is no text has a name that nobody asks for, or is RabbitMQ's and will be told of.
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) if !value.is_empty() => {
                    environment.variables.insert(name, value);
                }
                (Ok(name), Err(_)) if name.starts_with(PREFIX) => environment.odd.push(name),
                _ => {}
            }
        }
        environment
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.as_str())
    }

    /// RabbitMQ's variable of this name.
    fn own(&self, name: &str) -> Option<&str> {
        self.get(&format!("{PREFIX}{name}"))
    }

    /// The configuration files: `file`, or else the one that a variable names, and those in the directory `conf.d`
    /// beside it, or else those that another variable names.
    pub fn files(&self, file: Option<&Path>) -> Files {
        let mut files = Files::default();
        let place = Place { source: SOURCE.into(), line: 0 };
        let main = match (file, self.own("CONFIG_FILE")) {
            (Some(file), _) => Some(file.to_owned()),
            (None, Some(named)) => match main_file(named) {
                Ok(Some(path)) => Some(path),
                Ok(None) => {
                    files.warnings.push(place.remark(format!("RABBITMQ_CONFIG_FILE: there is no file {named}")));
                    Some(named.into())
                }
                Err(text) => {
                    files.problems.push(place.remark(format!("RABBITMQ_CONFIG_FILE: {text}")));
                    None
                }
            },
            (None, None) => None,
        };
        let beside = main.as_ref().and_then(|main| main.parent());
        if let Some(main) = main.as_ref().filter(|main| file.is_some() || main.is_file()) {
            files.read(main);
        }
        match (self.own("CONFIG_FILES"), beside) {
            (Some(pattern), _) => files.read_all(Path::new(pattern)),
            (None, Some(beside)) => files.read_all(&beside.join("conf.d").join("*.conf")),
            (None, None) => {}
        }
        if let Some(advanced) = beside.map(|beside| beside.join("advanced.config")).filter(|path| path.is_file()) {
            let place = Place { source: advanced.display().to_string(), line: 0 };
            files.warnings.push(place.remark("is not honoured yet: it is in the format of Erlang's terms"));
        }
        files
    }

    /// `config` with the files over it, and the variables over them; with warnings.
    pub fn over(&self, mut files: Files, config: Config) -> Result<(Config, Vec<Remark>), ConfigError> {
        files.substitute(self);
        let mut draft = Draft::over(config);
        let mut problems = files.apply(&mut draft);
        let place = Place { source: SOURCE.into(), line: 0 };
        problems.extend(self.odd.iter().map(|name| place.remark(format!("{name} is not UTF-8 text"))));
        for (name, value) in self.variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            draft.at(&place, name);
            if let Err(text) = apply(&mut draft, name, value) {
                problems.push(place.remark(text));
            }
        }
        draft.finish(problems)
    }
}

/// Applies one of RabbitMQ's variables to the draft; an error says what is wrong with it.
fn apply(draft: &mut Draft, name: &str, value: &str) -> Result<(), String> {
    let bare = &name[PREFIX.len()..];
    if let Some((_, expected, setter)) = VARIABLES.iter().find(|(known, ..)| *known == bare) {
        return setter(draft, "", value).ok_or_else(|| value::bad_value(name, value, expected));
    }
    if let Some((_, key)) = REMOVED.iter().find(|(known, _)| *known == bare) {
        return Err(format!("{name} is set but deprecated: use {key} in a configuration file"));
    }
    if FILES.contains(&bare) {
        return Ok(());
    }
    let of = |names: &'static str| names.split_whitespace();
    if let Some((why, _)) = NAMES.iter().find(|(_, names)| of(names).any(|known| known == bare)) {
        draft.warn(why.text(name));
        return Ok(());
    }
    let honoured = VARIABLES.iter().map(|(name, ..)| *name).chain(FILES);
    let all = honoured.chain(NAMES.iter().flat_map(|(_, names)| of(names))).map(str::to_owned);
    let meant = nearest_of(bare, all).map_or(String::new(), |meant| format!(": did you mean {PREFIX}{meant}?"));
    draft.warn(format!("{name} is not known{meant}"));
    Ok(())
}

/// The file that `RABBITMQ_CONFIG_FILE` names, with or without its ending; an error for the format that we do not read.
fn main_file(named: &str) -> Result<Option<PathBuf>, String> {
    let ending = |ending: &str| PathBuf::from(format!("{named}{ending}"));
    let (path, old, new) = (PathBuf::from(named), ending(".config"), ending(".conf"));
    let erlang = |path: &Path| format!("{} is in the format of Erlang's terms, which is not supported", path.display());
    if path.is_file() {
        return if named.ends_with(".config") { Err(erlang(&path)) } else { Ok(Some(path)) };
    }
    if new.is_file() {
        return Ok(Some(new));
    }
    if old.is_file() { Err(erlang(&old)) } else { Ok(None) }
}

fn data_dir(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.data_dir = Some(value.into());
    draft.data_base = None;
    Some(())
}

fn data_base(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    // The variable for the directory itself comes later in the alphabet, and counts.
    draft.data_base = Some(value.into());
    Some(())
}

fn node_name(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let name = draft::short(value)?;
    // It becomes the name of a file and of a directory.
    let is_plain = |c: char| c.is_alphanumeric() || "-_.@".contains(c);
    let host = if name.contains('@') { "" } else { "@localhost" };
    draft.config.node_name = format!("{name}{host}");
    (name.chars().all(is_plain) && !name.starts_with('.')).then_some(())
}

fn node_ip_address(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.ips = Some(match value {
        "auto" => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        _ => vec![value.parse().ok()?],
    });
    Some(())
}

fn node_port(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.port = Some(value::integer(value, 0, 65_535)? as u16);
    Some(())
}

fn pid_file(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.pid_file = Some(value.into());
    Some(())
}

fn keep_pid_file(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    // What RabbitMQ takes for a yes; anything else is a no.
    draft.config.keep_pid_file = ["1", "yes", "true"].contains(&value.trim().to_ascii_lowercase().as_str());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(variables: &[(&str, &str)], text: &str) -> Result<(Config, Vec<Remark>), ConfigError> {
        let named = variables.iter().map(|(name, value)| (format!("{PREFIX}{name}").into(), value.into()));
        let mut files = Files::default();
        files.take("f", text);
        Environment::new(named).over(files, Config::default())
    }

    #[test]
    fn variables_go_over_the_file() {
        type Probe = fn(&Config) -> String;
        let listen: Probe = |c| format!("{:?}", c.listen);
        let user: Probe = |c| {
            let user = &c.settings.users[0];
            format!("{} {} {:?}", user.name, user.password, c.settings.vhosts)
        };
        let name: Probe = |c| {
            let advertise = &c.settings.advertise;
            format!("{} {} {} {}", c.node_name, advertise.cluster_name, advertise.product, advertise.version)
        };
        let files: Probe = |c| {
            let show = |path: &Option<PathBuf>| path.as_ref().map_or("-".into(), |path| path.display().to_string());
            format!("{} {} {}", show(&c.data_dir), show(&c.pid_file), c.keep_pid_file)
        };
        for (variables, text, probe, expected) in [
            (&[("NODE_PORT", "1")][..], "", listen, "[127.0.0.1:1, [::1]:1]"),
            (&[("NODE_PORT", "1")], "listeners.tcp.1 = 10.0.0.1:9", listen, "[10.0.0.1:1]"),
            (&[("NODE_IP_ADDRESS", "10.0.0.1")], "", listen, "[10.0.0.1:5672]"),
            (&[("NODE_IP_ADDRESS", "auto"), ("NODE_PORT", "7")], "", listen, "[0.0.0.0:7, [::]:7]"),
            (&[("NODE_IP_ADDRESS", "::1")], "listeners.tcp.1 = 10.0.0.1:9", listen, "[[::1]:5672]"),
            (&[("NODE_PORT", "")], "", listen, "[127.0.0.1:5672, [::1]:5672]"),
            (
                &[("DEFAULT_USER", "u"), ("DEFAULT_PASS", "p"), ("DEFAULT_VHOST", "v")],
                "default_user = x\ndefault_pass = y",
                user,
                r#"u p ["v"]"#,
            ),
            (&[], "", name, "leveret@localhost leveret@localhost Leveret 0.1.0"),
            (&[("NODENAME", "rabbit@h")], "", name, "rabbit@h rabbit@h Leveret 0.1.0"),
            (&[("NODENAME", "rabbit")], "cluster_name = c", name, "rabbit@localhost c Leveret 0.1.0"),
            (&[("PRODUCT_NAME", "P"), ("PRODUCT_VERSION", "2")], "", name, "leveret@localhost leveret@localhost P 2"),
            (&[("MNESIA_DIR", "d")], "store.dir = e", files, "d - false"),
            (&[("MNESIA_BASE", "b"), ("NODENAME", "n@h")], "", files, "b/n@h - false"),
            (&[("MNESIA_BASE", "b"), ("MNESIA_DIR", "d")], "", files, "d - false"),
            (&[("PID_FILE", "p"), ("KEEP_PID_FILE_ON_EXIT", "Yes")], "", files, "- p true"),
            (&[("PID_FILE", "p"), ("KEEP_PID_FILE_ON_EXIT", "0")], "", files, "- p false"),
        ] {
            let (config, warnings) = run(variables, text).unwrap_or_else(|error| panic!("{variables:?}: {error}"));
            assert_eq!(probe(&config), expected, "{variables:?}");
            assert_eq!(warnings, [], "{variables:?}");
        }
    }

    #[test]
    fn what_is_said_of_variables() {
        for (name, value, expected) in [
            ("NODE_PORT", "x", "! environment: bad value of RABBITMQ_NODE_PORT, `x`: expected a number, 0 to 65535"),
            (
                "NODENAME",
                "a/b",
                "! environment: bad value of RABBITMQ_NODENAME, `a/b`: expected 1 to 255 bytes such as \
                 rabbit@localhost",
            ),
            (
                "SSL_KEYFILE",
                "x",
                "! environment: RABBITMQ_SSL_KEYFILE is set but deprecated: use ssl_options.keyfile in a configuration \
                 file",
            ),
            ("SSL_KEYFILE", "", ""),
            (
                "ERLANG_COOKIE",
                "x",
                "environment: RABBITMQ_ERLANG_COOKIE has no effect: it is about the inside of RabbitMQ",
            ),
            ("USE_LONGNAME", "true", "environment: RABBITMQ_USE_LONGNAME has no effect: there are no clusters"),
            ("MOTD_FILE", "x", "environment: RABBITMQ_MOTD_FILE is not honoured yet"),
            (
                "DEFAULT_PASSW",
                "x",
                "environment: RABBITMQ_DEFAULT_PASSW is not known: did you mean RABBITMQ_DEFAULT_PASS?",
            ),
            ("URL", "x", "environment: RABBITMQ_URL is not known"),
            ("LOGS", "syslog:x", "environment: RABBITMQ_LOGS = syslog:x is not honoured yet"),
            ("LOG", "queue=debug", "environment: RABBITMQ_LOG: queue=debug is not honoured yet"),
        ] {
            let found = match run(&[(name, value)], "") {
                Ok((_, warnings)) => warnings.iter().map(|one| one.to_string()).collect::<Vec<_>>().join("; "),
                Err(error) => format!("! {error}"),
            };
            assert_eq!(found, expected, "{name}");
        }
        for (name, _) in REMOVED {
            let error = run(&[(name, "x")], "").unwrap_err().to_string();
            assert!(error.contains(&format!("RABBITMQ_{name} is set but deprecated")), "{error}");
        }
    }
}
