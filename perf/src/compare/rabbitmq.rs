//! Debian's rabbitmq-server, as it comes, beside one that may be installed and running: with a node name, ports and
//! folders of its own, and with Erlang's distribution on the loopback interface only.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Where Debian has the server itself. What is in the path is a wrapper that changes the user and the folder.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// The ports of one node.
pub struct Ports {
    pub amqp: u16,
    pub distribution: u16,
    /// Erlang's port mapper.
    pub epmd: u16,
}

/// What to start.
pub fn program() -> &'static str {
    if Path::new(PROGRAM).exists() { PROGRAM } else { "rabbitmq-server" }
}

/// Erlang's port mapper in the foreground: a node would start one in the background that stays for ever. None where
/// there is no such program in the path.
pub fn epmd(ports: &Ports) -> Option<Command> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|folder| folder.join("epmd").is_file())?;
    let mut epmd = Command::new("epmd");
    epmd.args(["-port", &ports.epmd.to_string(), "-address", "127.0.0.1"]);
    Some(epmd)
}

/// Sets its environment, so that it neither reads nor writes anything of another node.
pub fn prepare(server: &mut Command, dir: &Path, ports: &Ports) {
    let at = |name: &str| dir.join(name);
    let plugins = at("enabled_plugins");
    // Without the file it would enable what a node at the usual place has enabled. That it cannot be written shows
    // when the node cannot write either.
    let _ = fs::write(&plugins, "[].\n");
    server
        .current_dir(dir)
        .env("HOME", dir)
        .env("RABBITMQ_NODENAME", format!("leveret-perf-{}@localhost", ports.amqp))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", ports.amqp.to_string())
        .env("RABBITMQ_DIST_PORT", ports.distribution.to_string())
        .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
        .env("RABBITMQ_LOG_BASE", at("log"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", plugins)
        .env("RABBITMQ_CONFIG_FILE", at("rabbitmq"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced"))
        .env("RABBITMQ_CONF_ENV_FILE", at("rabbitmq-env.conf"))
        .env("RABBITMQ_PID_FILE", at("pid"))
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", ports.epmd.to_string())
        .env("ERL_CRASH_DUMP", at("erl_crash.dump"));
}
