//! The keys of a configuration file: those we honour, those of RabbitMQ that we do not honour yet, and no others.

use super::draft::{self, Draft, Setter};
use super::file::Place;
use super::value::bad_value;
use super::{log, node, not_yet, pending};

/// A key we honour: its name, where a part `*` stands for any name; what is expected of its value; what it does.
pub type Key = (&'static str, &'static str, Setter);

pub const TRUE_OR_FALSE: &str = "true or false";
const FORMATTER: &str = "plaintext or json";
const LEVEL: &str = "debug, info, notice, warning, error, critical, alert, emergency or none";
pub const LISTENER: &str = "a port, or an IP address and a port such as 127.0.0.1:5672 or [::1]:5672";
const FRAME_MAX: &str = "a size such as 131072 or 128KB, 4096 bytes to 512 MiB, or 0 for no limit";
pub const SHORT: &str = "1 to 255 bytes";
const NUMBER_16: &str = "a number, 0 to 65535";
const MECHANISM: &str = "PLAIN, AMQPLAIN, ANONYMOUS or RABBIT-CR-DEMO";
const PRODUCT: &str = "a product and a version of three numbers, such as RabbitMQ 4.2.0";
const TIMEOUT: &str = "milliseconds, 1 to a year, or infinity";
const MOST: &str = "a number, 0 to 4294967295, or infinity";
const PERMIT_TRANSIENT: &str = "deprecated_features.permit.transient_nonexcl_queues";
const PERMIT_GLOBAL_QOS: &str = "deprecated_features.permit.global_qos";

const KEYS: &[Key] = &[
    ("listeners.tcp", "none (or use listeners.tcp.default = 5672)", draft::listeners_none),
    ("listeners.tcp.*", LISTENER, draft::listener),
    ("default_user", SHORT, draft::default_user),
    ("default_pass", SHORT, draft::default_pass),
    ("default_vhost", SHORT, draft::default_vhost),
    ("default_user_tags.*", TRUE_OR_FALSE, draft::default_user_tag),
    ("loopback_users", "none (or use loopback_users.guest = true)", draft::loopback_users_none),
    ("loopback_users.*", TRUE_OR_FALSE, draft::loopback_user),
    ("heartbeat", "seconds, 0 to 65535", draft::heartbeat),
    ("channel_max", NUMBER_16, draft::channel_max),
    ("max_channels_per_connection", NUMBER_16, draft::max_channels_per_connection),
    ("frame_max", FRAME_MAX, draft::frame_max),
    ("initial_frame_max", "a size such as 8192 or 32KB, 4096 bytes to 16 MiB", draft::initial_frame_max),
    ("max_message_size", "a size such as 16777216 or 16MiB, 1 byte to 512 MiB", draft::max_message_size),
    ("handshake_timeout", TIMEOUT, draft::handshake_timeout),
    ("auth_mechanisms.*", MECHANISM, draft::auth_mechanism),
    ("auth_backends.*", "internal", draft::auth_backend),
    ("anonymous_login_user", "a user, or none", draft::anonymous_login_user),
    ("cluster_name", SHORT, node::cluster_name),
    ("log.default.level", LEVEL, log::level),
    ("log.connection.level", LEVEL, log::connection_level),
    ("log.console", TRUE_OR_FALSE, log::console),
    ("log.console.level", LEVEL, log::console_level),
    ("log.console.formatter", FORMATTER, log::console_formatter),
    ("log.console.stdio", "stdout or stderr", log::console_stdio),
    ("log.dir", "a directory", log::directory),
    ("log.file", "a file, or false", log::file),
    ("log.file.level", LEVEL, log::file_level),
    ("log.file.formatter", FORMATTER, log::file_formatter),
    ("log.file.rotation.size", "a size such as 10485760 or 10MiB, 0 for never", log::rotation_size),
    ("log.file.rotation.count", "a number, 0 to 1000", log::rotation_count),
    ("log.exchange", TRUE_OR_FALSE, log::no_output),
    ("log.syslog", TRUE_OR_FALSE, log::no_output),
    ("log.journald", TRUE_OR_FALSE, log::no_output),
    (PERMIT_TRANSIENT, TRUE_OR_FALSE, draft::permit_transient_nonexcl_queues),
    (PERMIT_GLOBAL_QOS, TRUE_OR_FALSE, draft::permit_global_qos),
    ("disk_free_limit.absolute", "a size such as 50MB or 1GiB", draft::disk_free_limit_absolute),
    ("disk_free_limit.relative", "a share of the memory, such as 1.5", draft::disk_free_limit_relative),
    ("store.dir", "a directory, or none", draft::store_dir),
    ("store.fsync", "always, interval or never", draft::store_fsync),
    ("store.fsync_interval", "milliseconds, 1 to 60000", draft::store_fsync_interval),
    ("store.memory_limit", "a size such as 1GiB, 1 MiB or more", draft::store_memory_limit),
    ("vm_memory_high_watermark.relative", "a share of the memory, 0 to 1, such as 0.6", draft::memory_relative),
    ("vm_memory_high_watermark.absolute", "a size such as 2GB or 512MiB", draft::memory_absolute),
    ("vm_memory_calculation_strategy", "rss", draft::memory_strategy),
    ("total_memory_available_override_value", "a size such as 8GB", draft::memory_total),
    ("memory_monitor_interval", "milliseconds, 1 to 60000", draft::memory_interval),
    ("connection_max", MOST, node::connection_max),
    ("max_connections", MOST, node::max_connections),
    ("channel_max_per_node", MOST, node::channel_max_per_node),
    ("consumer_max_per_channel", MOST, node::consumer_max_per_channel),
    ("vhost_max", MOST, node::vhost_max),
    ("cluster_queue_limit", MOST, node::cluster_queue_limit),
    ("cluster_exchange_limit", MOST, node::cluster_exchange_limit),
    ("default_queue_type", "classic or quorum", draft::default_queue_type),
    ("consumer_timeout", TIMEOUT, draft::consumer_timeout),
    ("event_exchange.enabled", TRUE_OR_FALSE, draft::event_exchange_enabled),
    ("event_exchange.vhost", SHORT, draft::event_exchange_vhost),
    ("product.name", SHORT, node::product_name),
    ("product.version", SHORT, node::product_version),
    ("server.advertise", PRODUCT, node::advertise),
    ("server.shards", "a number, 1 to 64", draft::shards),
];

/// Applies one setting to the draft; an error says what is wrong with it.
pub fn apply(draft: &mut Draft, place: &Place, key: &str, value: &str) -> Result<(), String> {
    draft.at(place, key);
    for (pattern, expected, setter) in KEYS {
        let Some(name) = name_in(key, pattern) else { continue };
        // The setter's value may be half applied when it is refused: nobody will see that draft.
        return setter(draft, &name, value).ok_or_else(|| bad_value(key, value, expected));
    }
    if let Some(Err(expected)) = pending::apply(draft, key, value) {
        return Err(bad_value(key, value, expected));
    }
    if let Some(why) = not_yet::why(key) {
        draft.warn(why.text(key));
        return Ok(());
    }
    let meant = not_yet::nearest(key, KEYS.iter().map(|(pattern, ..)| *pattern));
    let meant = meant.map_or(String::new(), |meant| format!(": did you mean {meant}?"));
    let shown: String = key.chars().take(not_yet::NEAREST_BYTES_MAX).collect();
    Err(format!("unknown key {shown}{meant}"))
}

/// Whether `key` is what `pattern` means, and the name in the place of its `*`.
pub fn name_in(key: &str, pattern: &str) -> Option<String> {
    if !not_yet::is_named(key, pattern) {
        return None;
    }
    let Some((front, behind)) = pattern.split_once('*') else { return Some(String::new()) };
    Some(key[front.len()..key.len() - behind.len()].replace("\\.", "."))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::file::parse;

    /// The text of the first error, or of all warnings.
    fn said(text: &str) -> String {
        match parse("f", text, Config::default()) {
            Ok((_, warnings)) => warnings.iter().map(|one| one.to_string()).collect::<Vec<_>>().join("; "),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn keys_arrive_where_they_belong() {
        type Probe = fn(&Config) -> String;
        let listen: Probe = |c| format!("{:?}", c.listen);
        let users: Probe = |c| {
            let user = &c.settings.users[0];
            format!("{} {} {:?} {:?}", user.name, user.password, user.tags, c.settings.loopback_users)
        };
        let tune: Probe = |c| format!("{} {} {}", c.settings.heartbeat_s, c.settings.frame_max, c.settings.channel_max);
        let limits: Probe = |c| {
            let limits = &c.settings.limits;
            format!("{} {} {}", limits.initial_frame_max, limits.message_bytes_max, limits.handshake_ms)
        };
        let login: Probe = |c| {
            let names: Vec<_> = c.settings.mechanisms.iter().map(|one| one.name()).collect();
            format!("{} {:?}", names.join(","), c.settings.anonymous_login_user)
        };
        let advertise: Probe = |c| {
            let all = &c.settings.advertise;
            [&all.product, &all.version, &all.platform, &all.copyright, &all.information, &all.cluster_name]
                .map(|s| s.as_str())
                .join("|")
        };
        let store: Probe = |c| {
            let dir = c.data_dir.as_ref().map_or("-".into(), |dir| dir.display().to_string());
            let (store, limits) = (&c.store, &c.settings.limits);
            let memory = format!("{} {}", limits.stored_messages_bytes_max >> 20, limits.messages_bytes_max >> 20);
            format!("{dir} {:?} {} {:?} {memory}", store.fsync, store.fsync_interval_ms, store.disk_free_limit)
        };
        let memory: Probe = |c| {
            let memory = &c.memory;
            format!("{:?} {:?} {}", memory.watermark, memory.total_bytes, memory.interval_ms)
        };
        let timeout: Probe = |c| c.settings.consumer_timeout_ms.to_string();
        let events: Probe = |c| format!("{:?} {:?}", c.settings.vhosts, c.settings.event_exchange);
        let rest: Probe = |c| {
            let permit = &c.settings.permit;
            let vhosts = c.settings.vhosts.join(",");
            format!("{vhosts} {} {} {}", c.shards, permit.transient_nonexcl_queues, permit.global_qos)
        };
        for (text, probe, expected) in [
            ("", listen, "[127.0.0.1:5672, [::1]:5672]"),
            ("listeners.tcp.default = 5673", listen, "[0.0.0.0:5673, [::]:5673]"),
            ("listeners.tcp.1 = 127.0.0.1:1\nlisteners.tcp.2 = [::1]:2", listen, "[127.0.0.1:1, [::1]:2]"),
            ("listeners.tcp.1 = 127.0.0.1:1\nlisteners.tcp.1 = 127.0.0.1:2", listen, "[127.0.0.1:2]"),
            ("listeners.tcp.1 = 127.0.0.1:1\nlisteners.tcp.x = 127.0.0.1:1", listen, "[127.0.0.1:1]"),
            ("listeners.tcp = none", listen, "[]"),
            ("", users, r#"guest guest ["administrator"] ["guest"]"#),
            ("default_user = a b\ndefault_pass = 'p#1'", users, r#"a b p#1 ["administrator"] ["guest"]"#),
            ("default_user_tags.monitoring = true", users, r#"guest guest ["monitoring"] ["guest"]"#),
            ("default_user_tags.administrator = false", users, r#"guest guest [] ["guest"]"#),
            ("loopback_users = none", users, r#"guest guest ["administrator"] []"#),
            ("loopback_users.guest = false", users, r#"guest guest ["administrator"] []"#),
            (r"loopback_users.a\.b = true", users, r#"guest guest ["administrator"] ["a.b"]"#),
            ("heartbeat = 0\nframe_max = 0\nchannel_max = 0", tune, "0 0 0"),
            ("heartbeat = 10\nframe_max = 64KB\nmax_channels_per_connection = 7", tune, "10 65536 7"),
            (
                "initial_frame_max = 8192\nmax_message_size = 512MiB\nhandshake_timeout = 5000",
                limits,
                "8192 536870912 5000",
            ),
            ("max_message_size = 1\nhandshake_timeout = 20s", limits, "32768 1 20000"),
            ("", login, r#"PLAIN,AMQPLAIN,ANONYMOUS Some("guest")"#),
            (
                "auth_mechanisms.10 = PLAIN\nauth_mechanisms.2 = RABBIT-CR-DEMO",
                login,
                r#"RABBIT-CR-DEMO,PLAIN Some("guest")"#,
            ),
            ("auth_mechanisms.1 = EXTERNAL\nauth_mechanisms.2 = PLAIN", login, r#"PLAIN Some("guest")"#),
            ("anonymous_login_user = none", login, "PLAIN,AMQPLAIN,ANONYMOUS None"),
            (
                "server.advertise = RabbitMQ 4.2.0\ncluster_name = rabbit@here",
                advertise,
                "RabbitMQ|4.2.0|Erlang/OTP 27.3|Copyright (c) 2007-2025 Broadcom Inc and/or its subsidiaries|\
                 Licensed under the MPL 2.0. Website: https://rabbitmq.com|rabbit@here",
            ),
            ("", store, "- Always 200 Bytes(50000000) 128 1024"),
            ("store.dir = a b/c\nstore.fsync = never", store, "a b/c Never 200 Bytes(50000000) 128 1024"),
            ("store.dir = x\nstore.dir = none", store, "- Always 200 Bytes(50000000) 128 1024"),
            (
                "store.fsync = interval\nstore.fsync_interval = 1s\nstore.memory_limit = 64MB\n\
                 disk_free_limit.relative = 1.5",
                store,
                "- Interval 1000 Memory { thousandths: 1500 } 64 64",
            ),
            (
                "disk_free_limit.absolute = 1GB\ndisk_free_limit.relative = 1.5",
                store,
                "- Always 200 Bytes(1000000000) 128 1024",
            ),
            ("", timeout, "1800000"),
            ("consumer_timeout = 3600000", timeout, "3600000"),
            ("consumer_timeout = 45m", timeout, "2700000"),
            ("event_exchange.enabled = true", events, r#"["/"] Some("/")"#),
            ("event_exchange.enabled = true\ndefault_vhost = v", events, r#"["v"] Some("v")"#),
            ("event_exchange.vhost = e\nevent_exchange.enabled = true", events, r#"["/", "e"] Some("e")"#),
            ("event_exchange.vhost = e\nevent_exchange.enabled = false", events, r#"["/"] None"#),
            ("", memory, "Share { thousandths: 600 } None 1000"),
            ("vm_memory_high_watermark.relative = 0", memory, "Share { thousandths: 0 } None 1000"),
            ("vm_memory_high_watermark.relative = 7", memory, "Share { thousandths: 1000 } None 1000"),
            ("vm_memory_high_watermark.absolute = 2GB", memory, "Bytes(2000000000) None 1000"),
            (
                "vm_memory_high_watermark.relative = 0.25\nvm_memory_high_watermark.absolute = 2GiB\n\
                 total_memory_available_override_value = 8GiB\nmemory_monitor_interval = 2500",
                memory,
                "Share { thousandths: 250 } Some(8589934592) 2500",
            ),
            ("default_vhost = v\nserver.shards = 64", rest, "v 64 true true"),
            ("deprecated_features.permit.transient_nonexcl_queues = false", rest, "/ 1 false true"),
            ("deprecated_features.permit.global_qos = false", rest, "/ 1 true false"),
        ] {
            let (config, _) = parse("f", text, Config::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(probe(&config), expected, "{text}");
        }
    }

    #[test]
    fn errors_name_file_line_key_and_what_is_expected() {
        for (text, expected) in [
            ("\n# x\nhearbeat = 1", "! f:3: unknown key hearbeat: did you mean heartbeat?"),
            ("listeners.tcp.a.b = 1", "! f:1: unknown key listeners.tcp.a.b: did you mean listeners.tcp.a?"),
            ("logs.console = true", "! f:1: unknown key logs.console: did you mean log.console?"),
            ("server.unknown = 1", "! f:1: unknown key server.unknown"),
            ("heartbeat = soon", "! f:1: bad value of heartbeat, `soon`: expected seconds, 0 to 65535"),
            ("heartbeat = 65536", "! f:1: bad value of heartbeat, `65536`: expected seconds, 0 to 65535"),
            (
                "listeners.tcp = all",
                "! f:1: bad value of listeners.tcp, `all`: expected none (or use listeners.tcp.default = 5672)",
            ),
            ("default_pass = ''", "! f:1: bad value of default_pass: expected 1 to 255 bytes"),
            (
                "frame_max = 100",
                "! f:1: bad value of frame_max, `100`: expected a size such as 131072 or 128KB, \
                 4096 bytes to 512 MiB, or 0 for no limit",
            ),
            (
                "max_message_size = 513MiB",
                "! f:1: bad value of max_message_size, `513MiB`: expected a size such as 16777216 or 16MiB, \
                 1 byte to 512 MiB",
            ),
            (
                "handshake_timeout = 0",
                "! f:1: bad value of handshake_timeout, `0`: expected milliseconds, 1 to a year, or infinity",
            ),
            (
                "consumer_timeout = 0",
                "! f:1: bad value of consumer_timeout, `0`: expected milliseconds, 1 to a year, or infinity",
            ),
            (
                "auth_mechanisms.1 = plain",
                "! f:1: bad value of auth_mechanisms.1, `plain`: expected PLAIN, AMQPLAIN, ANONYMOUS or RABBIT-CR-DEMO",
            ),
            ("\nauth_mechanisms.1 = EXTERNAL", "! f:2: no authentication mechanism is left to log in with"),
            ("loopback_users.guest = no", "! f:1: bad value of loopback_users.guest, `no`: expected true or false"),
            ("server.shards = 65", "! f:1: bad value of server.shards, `65`: expected a number, 1 to 64"),
            ("disk_free_limit = 1GB", "! f:1: unknown key disk_free_limit"),
            ("store.dir = ''", "! f:1: bad value of store.dir, ``: expected a directory, or none"),
            ("store.fsync = true", "! f:1: bad value of store.fsync, `true`: expected always, interval or never"),
            (
                "store.fsync_interval = 0",
                "! f:1: bad value of store.fsync_interval, `0`: expected milliseconds, 1 to 60000",
            ),
            (
                "store.memory_limit = 1000",
                "! f:1: bad value of store.memory_limit, `1000`: expected a size such as 1GiB, 1 MiB or more",
            ),
            (
                "disk_free_limit.relative = much",
                "! f:1: bad value of disk_free_limit.relative, `much`: expected a share of the memory, such as 1.5",
            ),
            (
                "vm_memory_high_watermark.relative = -1",
                "! f:1: bad value of vm_memory_high_watermark.relative, `-1`: \
                 expected a share of the memory, 0 to 1, such as 0.6",
            ),
            (
                "vm_memory_high_watermark.absolute = 0.6",
                "! f:1: bad value of vm_memory_high_watermark.absolute, `0.6`: expected a size such as 2GB or 512MiB",
            ),
            (
                "memory_monitor_interval = 0",
                "! f:1: bad value of memory_monitor_interval, `0`: expected milliseconds, 1 to 60000",
            ),
            ("vm_memory_high_watermark = 0.4", "! f:1: unknown key vm_memory_high_watermark"),
            ("heartbeat", "! f:1: expected `key = value`"),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_of_rabbitmq_that_are_not_honoured_are_named() {
        for (text, expected) in [
            ("heartbeat = 60", ""),
            (
                "vm_memory_high_watermark_paging_ratio = 0.6",
                "f:1: vm_memory_high_watermark_paging_ratio has no effect: it is about the inside of RabbitMQ",
            ),
            (
                "vm_memory_high_watermark.relative = 1.5",
                "f:1: vm_memory_high_watermark.relative is 1.0 at most: it is taken as 1.0",
            ),
            ("vm_memory_calculation_strategy = rss", ""),
            (
                "vm_memory_calculation_strategy = allocated",
                "f:1: vm_memory_calculation_strategy = allocated has no meaning here: it is taken as rss",
            ),
            (
                "\nssl_options.verify = verify_peer\nlisteners.ssl.default = 5671",
                "f:2: ssl_options.verify is not honoured yet; f:3: listeners.ssl.default is not honoured yet",
            ),
            (
                "\nevent_exchange.vhost = e",
                "f:2: event_exchange.vhost means nothing without event_exchange.enabled = true",
            ),
            ("event_exchange.protocol = amqp_1_0", "f:1: event_exchange.protocol is not honoured yet"),
            ("listeners.ssl = none", "f:1: listeners.ssl is not honoured yet"),
            ("tcp_listen_options.backlog = 128", "f:1: tcp_listen_options.backlog is not honoured yet"),
            (
                "mqtt.listeners.tcp.default = 1883",
                "f:1: mqtt.listeners.tcp.default has no effect: what it is about does not exist here",
            ),
            ("auth_backends.1 = internal", ""),
            (
                "auth_backends.1 = ldap",
                "f:1: auth_backends.1 = ldap is not honoured yet: there are internal users only",
            ),
            (
                "deprecated_features.permit.ram_node_type = true",
                "f:1: deprecated_features.permit.ram_node_type is not honoured yet",
            ),
            (
                "auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL",
                "f:2: auth_mechanisms.2 = EXTERNAL is not offered yet: it needs TLS",
            ),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }
}
