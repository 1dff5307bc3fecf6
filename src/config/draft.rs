//! A configuration while its file is read: what each key does to it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::file::Place;
use super::log::LogDraft;
use super::memory::Watermark;
use super::settings::{DefaultQueueType, Mechanism};
use super::store::{DiskFree, Fsync};
use super::value::{self, Kilo};
use super::{Config, ConfigError, PORT_DEFAULT, Remark, SHARDS_MAX};

/// A configuration while its file is read. Keys that fill a list together are gathered here by name: a key given
/// twice counts once, with its last value, as in RabbitMQ.
#[derive(Debug, Default)]
pub struct Draft {
    pub(super) config: Config,
    pub(super) log: LogDraft,
    pub(super) cluster_name: Option<String>,
    pub(super) data_base: Option<PathBuf>,
    pub(super) ips: Option<Vec<IpAddr>>,
    pub(super) port: Option<u16>,
    pub(super) max_connections: Option<Option<u32>>,
    pub(super) max_channels: Option<u16>,
    place: Place,
    key: String,
    listeners: Vec<(String, Vec<SocketAddr>)>,
    listeners_none: bool,
    tags: Vec<(String, bool)>,
    loopback_users: Vec<(String, bool)>,
    loopback_none: bool,
    mechanisms: Vec<(String, Option<Mechanism>)>,
    mechanisms_place: Place,
    disk_free_absolute: Option<DiskFree>,
    disk_free_relative: Option<DiskFree>,
    has_events: bool,
    event_vhost: Option<(Place, String)>,
    memory_absolute: Option<Watermark>,
    memory_relative: Option<Watermark>,
    pub(super) warnings: Vec<Remark>,
}

/// What a key does: `name` is what stands in the place of its `*`. `None`: the value is not as it should be.
pub type Setter = fn(&mut Draft, name: &str, value: &str) -> Option<()>;

impl Draft {
    /// A draft that starts with `config`.
    pub fn over(config: Config) -> Draft {
        Draft { config, ..Draft::default() }
    }

    /// What follows is said by `key` at this place.
    pub fn at(&mut self, place: &Place, key: &str) {
        self.place = place.clone();
        self.key = key.into();
    }

    /// Where what is being read stands.
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// The key that is being read.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Warns about the current line.
    pub fn warn(&mut self, text: String) {
        self.warnings.push(self.place.remark(text));
    }

    /// The configuration and its warnings, or what is wrong with it: `problems` and what only shows at the end.
    pub fn finish(mut self, mut problems: Vec<Remark>) -> Result<(Config, Vec<Remark>), ConfigError> {
        let config = &mut self.config;
        // RabbitMQ's newer names count where both are given.
        if let Some(most) = self.max_connections {
            config.settings.node.connection_max = most;
        }
        if let Some(most) = self.max_channels {
            config.settings.channel_max = most;
        }
        config.settings.advertise.cluster_name = self.cluster_name.unwrap_or_else(|| config.node_name.clone());
        if let Some(base) = self.data_base {
            config.data_dir = Some(base.join(&config.node_name));
        }
        self.warnings.extend(self.log.finish(&mut config.log, &config.node_name));
        if self.listeners_none {
            config.listen = vec![];
        } else if !self.listeners.is_empty() {
            config.listen = vec![];
            for address in self.listeners.into_iter().flat_map(|(_, addresses)| addresses) {
                if !config.listen.contains(&address) {
                    config.listen.push(address);
                }
            }
        }
        if let Some(ips) = self.ips {
            config.listen = ips.into_iter().map(|ip| SocketAddr::new(ip, PORT_DEFAULT)).collect();
        }
        if let Some(port) = self.port {
            set_port(&mut config.listen, port);
        }
        if !self.tags.is_empty() {
            config.settings.users[0].tags = chosen(self.tags);
        }
        if self.loopback_none {
            config.settings.loopback_users = vec![];
        } else if !self.loopback_users.is_empty() {
            config.settings.loopback_users = chosen(self.loopback_users);
        }
        if !self.mechanisms.is_empty() {
            // auth_mechanisms.10 comes after auth_mechanisms.2.
            self.mechanisms.sort_by_key(|(place, _)| (place.parse().unwrap_or(u64::MAX), place.clone()));
            config.settings.mechanisms = self.mechanisms.into_iter().filter_map(|(_, mechanism)| mechanism).collect();
            if config.settings.mechanisms.is_empty() {
                problems.push(self.mechanisms_place.remark("no authentication mechanism is left to log in with"));
            }
        }
        let vhosts = &mut config.settings.vhosts;
        match self.event_vhost {
            Some((place, _)) if !self.has_events => {
                let text = "event_exchange.vhost means nothing without event_exchange.enabled = true";
                self.warnings.push(place.remark(text));
            }
            _ if !self.has_events => {}
            // As in RabbitMQ, it is made if there is none of this name.
            named => {
                let vhost = named.map(|(_, name)| name).or_else(|| vhosts.first().cloned());
                let is_new = vhost.as_ref().is_some_and(|vhost| !vhosts.contains(vhost));
                vhosts.extend(vhost.clone().filter(|_| is_new));
                config.settings.event_exchange = vhost;
            }
        }
        // As in RabbitMQ, bytes count where both are given.
        if let Some(limit) = self.disk_free_absolute.or(self.disk_free_relative) {
            config.store.disk_free_limit = limit;
        }
        // As in RabbitMQ, here it is the share.
        if let Some(watermark) = self.memory_relative.or(self.memory_absolute) {
            config.memory.watermark = watermark;
        }
        if problems.is_empty() {
            Ok((self.config, self.warnings))
        } else {
            Err(ConfigError { problems, warnings: self.warnings })
        }
    }
}

/// Gives all addresses one port, which may make some of them the same.
pub fn set_port(listen: &mut Vec<SocketAddr>, port: u16) {
    for mut address in std::mem::take(listen) {
        address.set_port(port);
        if !listen.contains(&address) {
            listen.push(address);
        }
    }
}

/// Adds a value by name, or replaces the one of this name.
fn put<T>(list: &mut Vec<(String, T)>, name: &str, value: T) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => list.push((name.into(), value)),
    }
}

/// The names that were set to true.
fn chosen(list: Vec<(String, bool)>) -> Vec<String> {
    list.into_iter().filter(|(_, chosen)| *chosen).map(|(name, _)| name).collect()
}

/// A text that fits a short string on the wire.
pub fn short(value: &str) -> Option<String> {
    (1..=255).contains(&value.len()).then(|| value.into())
}

pub fn listeners_none(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.listeners_none = true;
    (value == "none").then_some(())
}

pub fn listener(draft: &mut Draft, name: &str, value: &str) -> Option<()> {
    put(&mut draft.listeners, name, value::listener(value)?);
    Some(())
}

pub fn default_user(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.users[0].name = short(value)?;
    Some(())
}

pub fn default_pass(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.users[0].password = short(value)?;
    Some(())
}

pub fn auth_backend(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    // Users of the configuration are the only ones, whatever else is named.
    if !["internal", "rabbit_auth_backend_internal"].contains(&value) {
        draft.warn(format!("{} = {value} is not honoured yet: there are internal users only", draft.key()));
    }
    (!value.is_empty()).then_some(())
}

pub fn default_vhost(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.vhosts = vec![short(value)?];
    Some(())
}

pub fn default_user_tag(draft: &mut Draft, tag: &str, value: &str) -> Option<()> {
    put(&mut draft.tags, tag, value::boolean(value)?);
    Some(())
}

pub fn loopback_users_none(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.loopback_none = true;
    (value == "none").then_some(())
}

pub fn loopback_user(draft: &mut Draft, user: &str, value: &str) -> Option<()> {
    put(&mut draft.loopback_users, user, value::boolean(value)?);
    Some(())
}

pub fn heartbeat(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.heartbeat_s = value::integer(value, 0, 65_535)? as u16;
    Some(())
}

pub fn channel_max(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.channel_max = value::integer(value, 0, 65_535)? as u16;
    Some(())
}

pub fn max_channels_per_connection(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.max_channels = Some(value::integer(value, 0, 65_535)? as u16);
    Some(())
}

pub fn frame_max(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let bytes = value::size_bytes(value, Kilo::Binary)?;
    draft.config.settings.frame_max = bytes as u32;
    (bytes == 0 || (4096..=512 << 20).contains(&bytes)).then_some(())
}

pub fn initial_frame_max(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let bytes = value::size_bytes(value, Kilo::Binary)?;
    draft.config.settings.limits.initial_frame_max = bytes as u32;
    (4096..=16 << 20).contains(&bytes).then_some(())
}

pub fn max_message_size(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let limits = &mut draft.config.settings.limits;
    limits.message_bytes_max = value::size_bytes(value, Kilo::Decimal)?;
    (1..=limits.message_bytes_ceiling).contains(&limits.message_bytes_max).then_some(())
}

pub fn handshake_timeout(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let limits = &mut draft.config.settings.limits;
    limits.handshake_ms = value::duration_ms(value)?;
    (limits.handshake_ms > 0).then_some(())
}

pub fn auth_mechanism(draft: &mut Draft, place: &str, value: &str) -> Option<()> {
    let mechanism = Mechanism::from_name(value);
    if mechanism.is_none() {
        if value != "EXTERNAL" {
            return None;
        }
        draft.warn(format!("auth_mechanisms.{place} = EXTERNAL is not offered yet: it needs TLS"));
    }
    draft.mechanisms_place = draft.place();
    put(&mut draft.mechanisms, place, mechanism);
    Some(())
}

pub fn anonymous_login_user(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let user = short(value)?;
    draft.config.settings.anonymous_login_user = (user != "none").then_some(user);
    Some(())
}

pub fn permit_transient_nonexcl_queues(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.permit.transient_nonexcl_queues = value::boolean(value)?;
    Some(())
}

pub fn permit_global_qos(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.permit.global_qos = value::boolean(value)?;
    Some(())
}

pub fn default_queue_type(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.default_queue_type = Some(match value {
        "classic" => DefaultQueueType::Classic,
        "quorum" => DefaultQueueType::Quorum,
        _ => return None,
    });
    Some(())
}

pub fn consumer_timeout(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let timeout_ms = value::duration_ms(value)?;
    draft.config.settings.consumer_timeout_ms = timeout_ms;
    (timeout_ms > 0).then_some(())
}

pub fn event_exchange_enabled(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.has_events = value::boolean(value)?;
    Some(())
}

pub fn event_exchange_vhost(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.event_vhost = Some((draft.place(), short(value)?));
    Some(())
}

pub fn shards(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.shards = value::integer(value, 1, SHARDS_MAX as u64)? as usize;
    Some(())
}

pub fn store_dir(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.data_dir = (value != "none").then(|| value.into());
    (!value.is_empty()).then_some(())
}

pub fn store_fsync(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.store.fsync = match value {
        "always" => Fsync::Always,
        "interval" => Fsync::Interval,
        "never" => Fsync::Never,
        _ => return None,
    };
    Some(())
}

pub fn store_fsync_interval(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let interval_ms = value::duration_ms(value)?;
    draft.config.store.fsync_interval_ms = interval_ms;
    (1..=60_000).contains(&interval_ms).then_some(())
}

pub fn store_memory_limit(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let bytes = usize::try_from(value::size_bytes(value, Kilo::Binary)?).ok()?;
    let limits = &mut draft.config.settings.limits;
    limits.messages_bytes_max = bytes;
    // What the journal has anyway does not stay for longer than what it has not.
    limits.stored_messages_bytes_max = limits.stored_messages_bytes_max.min(bytes);
    (bytes >= 1 << 20).then_some(())
}

pub fn disk_free_limit_absolute(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.disk_free_absolute = Some(DiskFree::Bytes(value::size_bytes(value, Kilo::Decimal)?));
    Some(())
}

pub fn disk_free_limit_relative(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.disk_free_relative = Some(DiskFree::Memory { thousandths: value::thousandths(value)? });
    Some(())
}

pub fn memory_absolute(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.memory_absolute = Some(Watermark::Bytes(value::size_bytes(value, Kilo::Decimal)?));
    Some(())
}

pub fn memory_relative(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let thousandths = value::thousandths(value)?;
    if thousandths > 1000 {
        draft.warn("vm_memory_high_watermark.relative is 1.0 at most: it is taken as 1.0".into());
    }
    draft.memory_relative = Some(Watermark::Share { thousandths: thousandths.min(1000) });
    Some(())
}

pub fn memory_total(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let bytes = value::size_bytes(value, Kilo::Decimal)?;
    draft.config.memory.total_bytes = Some(bytes);
    (bytes > 0).then_some(())
}

pub fn memory_interval(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let interval_ms = value::duration_ms(value)?;
    draft.config.memory.interval_ms = interval_ms;
    (1..=60_000).contains(&interval_ms).then_some(())
}

pub fn memory_strategy(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    if matches!(value, "allocated" | "erlang" | "legacy") {
        draft.warn(format!("vm_memory_calculation_strategy = {value} has no meaning here: it is taken as rss"));
        return Some(());
    }
    (value == "rss").then_some(())
}
