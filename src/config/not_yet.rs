//! The keys of RabbitMQ that we do not honour: why, and what was probably meant by a name that nobody knows.

use super::known::{ABSENT, CLUSTER, GROUPS, INSIDE, YET};

/// Why a key has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It may have one in a later version.
    Yet,
    /// It is about how RabbitMQ and Erlang work inside.
    Inside,
    /// It is about clusters.
    Cluster,
    /// It is about a part that there is none of: another protocol, a plugin.
    Absent,
}

impl Why {
    /// What there is to say about `name`.
    pub fn text(self, name: &str) -> String {
        match self {
            Why::Yet => format!("{name} is not honoured yet"),
            Why::Inside => format!("{name} has no effect: it is about the inside of RabbitMQ"),
            Why::Cluster => format!("{name} has no effect: there are no clusters"),
            Why::Absent => format!("{name} has no effect: what it is about does not exist here"),
        }
    }
}

const ALL: [(Why, &str); 4] = [(Why::Yet, YET), (Why::Inside, INSIDE), (Why::Cluster, CLUSTER), (Why::Absent, ABSENT)];

/// The longest key that is compared with others, in bytes.
pub const NEAREST_BYTES_MAX: usize = 128;

/// Each name of a list, with the prefix that it stands below.
fn names(list: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut prefix = "";
    list.lines().flat_map(move |line| {
        let names = match line.split_once(": ") {
            Some((front, names)) => {
                prefix = front;
                names
            }
            None => line,
        };
        let prefix = prefix;
        names.split_whitespace().map(move |name| (prefix, name))
    })
}

/// Why `key` has no effect, if it is one of RabbitMQ's.
pub fn why(key: &str) -> Option<Why> {
    let is_in = |list| names(list).any(|(prefix, name)| after(key, prefix).is_some_and(|rest| is_below(rest, name)));
    ALL.iter().find(|(_, list)| is_in(list)).map(|(why, _)| *why)
}

/// The first part of a key, and what follows its dot. A dot after a backslash belongs to a part.
pub fn split_part(key: &str) -> (&str, Option<&str>) {
    let bytes = key.as_bytes();
    match (0..bytes.len()).find(|&at| bytes[at] == b'.' && (at == 0 || bytes[at - 1] != b'\\')) {
        Some(dot) => (&key[..dot], Some(&key[dot + 1..])),
        None => (key, None),
    }
}

/// What follows `prefix` in `key`.
fn after<'a>(key: &'a str, prefix: &str) -> Option<&'a str> {
    let mut rest = key;
    for wanted in prefix.split('.').filter(|_| !prefix.is_empty()) {
        let (part, behind) = split_part(rest);
        if part != wanted && (wanted != "*" || part.is_empty()) {
            return None;
        }
        rest = behind?;
    }
    Some(rest)
}

/// Whether `rest` is what `name` means, which may end in a group.
fn is_below(rest: &str, name: &str) -> bool {
    let Some((front, group)) = group(name) else { return is_named(rest, name) };
    let below = after(rest, front);
    below.is_some_and(|below| group.split_whitespace().any(|name| is_named(below, name)))
}

/// What stands before a group in a name, and the names of the group.
fn group(name: &str) -> Option<(&str, &'static str)> {
    let (front, names) = GROUPS.iter().find_map(|(mark, names)| Some((name.strip_suffix(mark)?, *names)))?;
    Some((front.trim_end_matches('.'), names))
}

/// Whether `key` is what `pattern` means, in which `*` is any one part.
pub fn is_named(key: &str, pattern: &str) -> bool {
    match pattern.rsplit_once('.') {
        None => split_part(key).1.is_none() && (key == pattern || pattern == "*" && !key.is_empty()),
        Some((front, last)) => after(key, front).is_some_and(|rest| is_named(rest, last)),
    }
}

/// Every name of RabbitMQ.
fn all() -> impl Iterator<Item = String> {
    let join = |front: &str, name: &str| if front.is_empty() { name.to_owned() } else { format!("{front}.{name}") };
    ALL.iter().flat_map(|(_, list)| names(list)).flat_map(move |(prefix, name)| match group(name) {
        None => vec![join(prefix, name)],
        Some((front, group)) => {
            let front = join(prefix, front);
            group.split_whitespace().map(|name| join(front.trim_end_matches('.'), name)).collect()
        }
    })
}

/// The name that was probably meant by `key`: one of RabbitMQ's, or of `ours`.
pub fn nearest<'a>(key: &str, ours: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest_of(key, ours.map(str::to_owned).chain(all()))
}

/// The same for other names.
pub fn nearest_of(key: &str, names: impl Iterator<Item = String>) -> Option<String> {
    if key.len() > NEAREST_BYTES_MAX {
        return None;
    }
    let names = names.map(|pattern| filled(&pattern, key));
    let (slips, name) = names.map(|name| (distance(key, &name), name)).min()?;
    // With more slips than that it is another word.
    (slips <= key.len().div_ceil(4).min(5)).then_some(name)
}

/// `pattern` with the parts of `key` in the places of its stars.
fn filled(pattern: &str, key: &str) -> String {
    let mut rest = Some(key);
    let mut parts = vec![];
    for part in pattern.split('.') {
        let (own, behind) = rest.map_or(("", None), split_part);
        parts.push(if part == "*" && !own.is_empty() { own } else { part });
        rest = behind;
    }
    parts.join(".")
}

/// How many characters must be put in, left out or changed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rabbitmqs_keys_are_known_and_others_are_not() {
        for (key, expected) in [
            ("management.tcp.port", Some(Why::Yet)),
            ("ssl_options.verify", Some(Why::Yet)),
            ("ssl_options.versions.1", Some(Why::Yet)),
            ("ssl_options", Some(Why::Yet)),
            ("ssl_options.versions", None),
            ("ssl_options.versions.a.b", None),
            (r"ssl_options.versions.a\.b", Some(Why::Yet)),
            ("log.file.rotation.size", Some(Why::Yet)),
            ("log.syslog.ssl_options.verify", Some(Why::Yet)),
            ("tcp_listen_options.linger.on", Some(Why::Yet)),
            ("default_users.bob.password", Some(Why::Yet)),
            ("default_users.bob", None),
            ("default_users.bob.x", None),
            ("num_acceptors.tcp", Some(Why::Inside)),
            ("cluster_formation.classic_config.nodes.1", Some(Why::Cluster)),
            ("cluster_formation.consul.ssl_options.cacertfile", Some(Why::Cluster)),
            ("cluster_formation", None),
            ("mqtt.listeners.tcp.default", Some(Why::Absent)),
            ("mqtt.tcp_listen_options.backlog", Some(Why::Absent)),
            ("auth_oauth2.resource_servers.a.scope_aliases.1.alias", Some(Why::Absent)),
            ("", None),
            (".", None),
            ("management", None),
            ("management.", None),
            ("hearbeat", None),
        ] {
            assert_eq!(why(key), expected, "{key}");
        }
        assert!(all().count() > 1000, "{}", all().count());
        for name in all() {
            assert!(why(&name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_nearest_name() {
        for (key, expected) in [
            ("hearbeat", Some("heartbeat")),
            ("listeners.tcp.default.port", Some("listeners.tcp.default")),
            ("listener.tcp.default", Some("listeners.tcp.default")),
            ("management.tcp.prot", Some("management.tcp.port")),
            ("default_users.bob.pasword", Some("default_users.bob.password")),
            ("server.shard", Some("server.shards")),
            ("vm_memory_high_watermark.relativ", Some("vm_memory_high_watermark.relative")),
            ("something.else.entirely", None),
            ("x", None),
            ("ä", None),
        ] {
            assert_eq!(nearest(key, ["server.shards"].into_iter()).as_deref(), expected, "{key}");
        }
        assert_eq!(nearest(&"heartbeat".repeat(100), [].into_iter()), None);
    }
}
