//! Keys that are read and checked as if they were honoured, and are not yet: each is named in a warning. Whoever builds
//! what they are for moves them to [`keys`](super::keys).

use super::draft::{Draft, Setter};
use super::http::HttpListener;
use super::not_yet::split_part;
use super::tls::{self, TlsOptions};
use super::{Config, keys, users, value};

/// Keys with a meaning of their own.
const KEYS: &[keys::Key] = &[
    ("listeners.ssl", "none (or use listeners.ssl.default = 5671)", |draft, _, value| {
        draft.config.tls.listen.clear();
        (value == "none").then_some(())
    }),
    ("listeners.ssl.*", keys::LISTENER, |draft, name, value| {
        draft.config.tls.listen.push((name.into(), value::listener(value)?));
        Some(())
    }),
    ("ssl_handshake_timeout", "milliseconds, 1 to a year, or infinity", |draft, _, value| {
        draft.config.tls.handshake_ms = value::duration_ms(value)?;
        (draft.config.tls.handshake_ms > 0).then_some(())
    }),
    ("ssl_cert_login_from", "distinguished_name, common_name or subject_alternative_name", |draft, _, value| {
        draft.config.tls.cert_login = tls::cert_login(value)?;
        Some(())
    }),
    ("proxy_protocol", keys::TRUE_OR_FALSE, |draft, _, value| {
        draft.config.proxy_protocol = value::boolean(value)?;
        Some(())
    }),
    ("management.path_prefix", "a path that begins with a slash, or nothing", |draft, _, value| {
        draft.config.management.path = if value.is_empty() { "/".into() } else { value.into() };
        (value.is_empty() || value.starts_with('/')).then_some(())
    }),
    ("prometheus.path", "a path that begins with a slash", |draft, _, value| {
        draft.config.prometheus.path = value.into();
        value.starts_with('/').then_some(())
    }),
    ("prometheus.tcp.listener", keys::LISTENER, |draft, _, value| draft.config.prometheus.tcp.set_both(value)),
];

/// What stands before some names, and whose they are.
type Below<T> = (&'static str, fn(&mut Config) -> &mut T);

/// What stands before the options of TLS, and whose they are.
const TLS: &[Below<TlsOptions>] = &[
    ("ssl_options.", |config| &mut config.tls.options),
    ("management.ssl.", |config| &mut config.management.tls),
    ("prometheus.ssl.", |config| &mut config.prometheus.tls),
];

/// What stands before `ip` and `port`, and whose they are.
const HTTP: &[Below<HttpListener>] = &[
    ("management.tcp.", |config| &mut config.management.tcp),
    ("management.ssl.", |config| &mut config.management.ssl),
    ("management.listener.", |config| &mut config.management.tcp),
    ("prometheus.tcp.", |config| &mut config.prometheus.tcp),
    ("prometheus.ssl.", |config| &mut config.prometheus.ssl),
];

/// Reads a key that is not honoured yet, if it is one of these; an error says what was expected of its value.
pub fn apply(draft: &mut Draft, key: &str, value: &str) -> Option<Result<(), &'static str>> {
    let checked = |done: Option<()>, expected: &'static str| Some(done.ok_or(expected));
    for (pattern, expected, setter) in KEYS {
        let setter: Setter = *setter;
        if let Some(name) = keys::name_in(key, pattern) {
            return checked(setter(draft, &name, value), expected);
        }
    }
    for (pattern, expected, setter) in users::KEYS {
        if let Some(name) = keys::name_in(key, pattern) {
            return checked(setter(&mut draft.config.users, &name, value), expected);
        }
    }
    for (prefix, listener) in HTTP {
        match key.strip_prefix(prefix) {
            Some("port") => return checked(listener(&mut draft.config).set_port(value), "a number, 0 to 65535"),
            Some("ip") => return checked(listener(&mut draft.config).set_ip(value), "an IP address"),
            _ => {}
        }
    }
    for (prefix, options) in TLS {
        let Some(rest) = key.strip_prefix(prefix) else { continue };
        for (pattern, expected, setter) in tls::OPTIONS {
            if let Some(name) = keys::name_in(rest, pattern) {
                return checked(setter(options(&mut draft.config), &name, value), expected);
            }
        }
    }
    if let Some((name, Some(part))) = key.strip_prefix("default_policies.operator.").map(split_part) {
        users::operator_policy(&mut draft.config.users, name, part, value);
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::config::file::parse;
    use crate::config::not_yet::why;
    use crate::config::{Config, users};

    /// The configuration, in which every key must be named in a warning.
    fn read(text: &str) -> Config {
        let (config, warnings) = parse("f", text, Config::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(warnings.len(), text.lines().count(), "{warnings:?}");
        assert!(warnings.iter().all(|one| one.text.ends_with(" is not honoured yet")), "{warnings:?}");
        config
    }

    #[test]
    fn listeners() {
        let config = read(
            "listeners.ssl.default = 127.0.0.1:5671\nmanagement.tcp.port = 15000\nmanagement.tcp.ip = ::1\n\
             management.ssl.port = 15001\nprometheus.tcp.listener = 127.0.0.1:9\nmanagement.path_prefix = /x\n\
             prometheus.ssl.ip = 10.0.0.1\nproxy_protocol = true",
        );
        assert_eq!(config.tls.listen, [("default".into(), vec!["127.0.0.1:5671".parse().unwrap()])]);
        let (management, prometheus) = (&config.management, &config.prometheus);
        assert_eq!((management.tcp.ip, management.tcp.port), (Some("::1".parse().unwrap()), 15_000));
        assert_eq!((management.ssl.ip, management.ssl.port, &*management.path), (None, 15_001, "/x"));
        assert_eq!((prometheus.tcp.ip, prometheus.tcp.port), (Some("127.0.0.1".parse().unwrap()), 9));
        assert_eq!((prometheus.ssl.ip, prometheus.ssl.port), (Some("10.0.0.1".parse().unwrap()), 15_691));
        assert!(config.proxy_protocol && management.tcp.is_named && !Config::default().management.tcp.is_named);
    }

    #[test]
    fn tls_options() {
        let config = read(
            "ssl_options.cacertfile = ca\nssl_options.certfile = c\nssl_options.keyfile = k\nssl_options.password = p\n\
             ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\nssl_options.depth = 2\n\
             ssl_options.versions.1 = tlsv1.3\nssl_options.ciphers.1 = X\nssl_options.honor_cipher_order = false\n\
             ssl_handshake_timeout = 2s\nssl_cert_login_from = common_name\nmanagement.ssl.depth = 7",
        );
        let shown = format!("{:?}", config.tls);
        let expected = "TlsConfig { listen: [], options: TlsOptions { cacertfile: Some(\"ca\"), certfile: Some(\"c\"), \
                        keyfile: Some(\"k\"), password: Some(\"p\"), verify: Peer, fail_if_no_peer_cert: true, \
                        depth: Some(2), versions: [(\"1\", V13)], ciphers: [(\"1\", \"X\")], \
                        honor_cipher_order: Some(false) }, handshake_ms: 2000, cert_login: CommonName }";
        assert_eq!(shown, expected);
        assert_eq!(config.management.tls.depth, Some(7));
    }

    #[test]
    fn users_and_limits() {
        let config = read(
            "default_users.bob.password = p\ndefault_users.bob.tags = monitoring, management\n\
             default_users.bob.configure = ^a\ndefault_permissions.read = .*\n\
             password_hashing_module = rabbit_password_hashing_sha512\ncredential_validator.min_length = 8\n\
             default_limits.vhosts.1.pattern = ^x\ndefault_limits.vhosts.1.max_queues = 10\n\
             default_policies.operator.o.max_length = 100\nload_definitions = d.json",
        );
        let all = config.users;
        let bob = &all.users["bob"];
        assert_eq!(
            (bob.password.as_deref(), &bob.tags[..]),
            (Some("p"), &["monitoring".into(), "management".into()][..])
        );
        assert_eq!((bob.permissions.configure.as_deref(), bob.permissions.read.as_deref()), (Some("^a"), None));
        assert_eq!((all.permissions.read.as_deref(), all.hashing), (Some(".*"), users::PasswordHashing::Sha512));
        assert_eq!((all.validator.min_length, all.limits["1"].max_queues), (Some(8), Some(10)));
        assert_eq!(all.operator_policies["o"]["max_length"], "100");
        assert_eq!(all.definitions.unwrap().to_str(), Some("d.json"));
    }

    #[test]
    fn bad_values_stop_the_start_all_the_same() {
        for (text, expected) in [
            ("management.tcp.port = x", "bad value of management.tcp.port, `x`: expected a number, 0 to 65535"),
            ("management.tcp.ip = x", "bad value of management.tcp.ip, `x`: expected an IP address"),
            (
                "ssl_options.versions.1 = sslv3",
                "bad value of ssl_options.versions.1, `sslv3`: expected tlsv1.3, tlsv1.2, tlsv1.1 or tlsv1",
            ),
            ("default_users.bob.password = ''", "bad value of default_users.bob.password: expected 1 to 255 bytes"),
            ("proxy_protocol = on", "bad value of proxy_protocol, `on`: expected true or false"),
        ] {
            let error = parse("f", text, Config::default()).unwrap_err();
            assert_eq!(error.to_string(), format!("f:1: {expected}"));
        }
    }

    #[test]
    fn all_of_them_are_rabbitmqs() {
        let filled = |prefix: &str, pattern: &str| format!("{prefix}{pattern}").replace('*', "x");
        let tls = super::TLS.iter().flat_map(|(prefix, _)| super::tls::OPTIONS.iter().map(|one| filled(prefix, one.0)));
        let http = super::HTTP.iter().flat_map(|(prefix, _)| ["ip", "port"].map(|name| filled(prefix, name)));
        let others = super::KEYS.iter().map(|one| one.0).chain(users::KEYS.iter().map(|one| one.0));
        for key in tls.chain(http).chain(others.map(|pattern| filled("", pattern))) {
            assert!(why(&key).is_some(), "{key}");
        }
    }
}
