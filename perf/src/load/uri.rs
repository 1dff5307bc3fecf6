//! AMQP URIs: `amqp://user:password@host:port/vhost`.

use percent_encoding::percent_decode_str;

/// Where a broker is, and as whom to log in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// A name or an address; IPv6 addresses without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
    /// The virtual host.
    pub vhost: String,
}

impl Default for Uri {
    fn default() -> Uri {
        let guest = || "guest".to_owned();
        Uri { host: "localhost".into(), port: 5672, user: guest(), password: guest(), vhost: "/".into() }
    }
}

impl Uri {
    /// Reads a URI. What is left out has its default: `guest`, `guest`, port 5672, virtual host `/`.
    ///
    /// # Errors
    /// What is wrong with it, for the user.
    pub fn parse(text: &str) -> Result<Uri, String> {
        if text.starts_with("amqps://") {
            return Err(format!("{}: TLS is not supported, only amqp://", hidden(text)));
        }
        let Some(rest) = text.strip_prefix("amqp://") else {
            return Err(format!("{}: not an AMQP URI: amqp://user:password@host:port/vhost is expected", hidden(text)));
        };
        if rest.contains(['?', '#']) {
            return Err(format!("{}: parameters in the URI are not supported, use the options", hidden(text)));
        }
        let mut uri = Uri::default();
        let (authority, vhost) = match rest.split_once('/') {
            Some((authority, vhost)) => (authority, Some(vhost)),
            None => (rest, None),
        };
        // A slash with nothing behind it is somebody's habit, not a virtual host without a name.
        if let Some(vhost) = vhost.filter(|vhost| !vhost.is_empty()) {
            if vhost.contains('/') {
                return Err(format!("{}: a slash in the virtual host is written %2f", hidden(text)));
            }
            uri.vhost = decode(vhost)?;
        }
        let host = match authority.rsplit_once('@') {
            Some((login, host)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                uri.user = decode(user)?;
                uri.password = decode(password)?;
                host
            }
            None => authority,
        };
        let (host, port) = match host.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, port)) => (host, port.strip_prefix(':')),
                None => return Err(format!("{}: the bracket of the IPv6 address is not closed", hidden(text))),
            },
            None => match host.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(format!("{}: an IPv6 address is written in brackets: [::1]", hidden(text)));
                }
                Some((host, port)) => (host, Some(port)),
                None => (host, None),
            },
        };
        if !host.is_empty() {
            uri.host = decode(host)?;
        }
        if let Some(port) = port.filter(|port| !port.is_empty()) {
            uri.port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("{port}: not a port"))?;
        }
        Ok(uri)
    }

    /// Host and port, as a person writes them.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

fn decode(text: &str) -> Result<String, String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(format!("{text}: not UTF-8")),
    }
}

/// A URI as it may be shown: without the password.
fn hidden(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(start), Some(end)) if start + 3 <= end => format!("{}***{}", &text[..start + 3], &text[end..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(host: &str, port: u16, user: &str, password: &str, vhost: &str) -> Uri {
        Uri { host: host.into(), port, user: user.into(), password: password.into(), vhost: vhost.into() }
    }

    #[test]
    fn uris_are_read() {
        for (text, expected) in [
            ("amqp://", Uri::default()),
            ("amqp://localhost", Uri::default()),
            ("amqp://h:1", uri("h", 1, "guest", "guest", "/")),
            ("amqp://h:1/", uri("h", 1, "guest", "guest", "/")),
            ("amqp://u:p%40@h:1/%2f", uri("h", 1, "u", "p@", "/")),
            ("amqp://u@h/v", uri("h", 5672, "u", "", "v")),
            ("amqp://[::1]", uri("::1", 5672, "guest", "guest", "/")),
            ("amqp://a:b@[fe80::1]:99/x", uri("fe80::1", 99, "a", "b", "x")),
        ] {
            assert_eq!(Uri::parse(text), Ok(expected), "{text}");
        }
        assert_eq!(Uri::parse("amqp://[::1]:7").unwrap().address(), "[::1]:7");
        assert_eq!(Uri::parse("amqp://h:7").unwrap().address(), "h:7");
    }

    #[test]
    fn wrong_uris_say_why_and_hide_the_password() {
        for (text, expected) in [
            ("amqps://u:secret@h", "amqps://***@h: TLS is not supported, only amqp://"),
            ("h:1", "h:1: not an AMQP URI: amqp://user:password@host:port/vhost is expected"),
            ("amqp://h:0", "0: not a port"),
            ("amqp://h:70000", "70000: not a port"),
            ("amqp://::1", "amqp://::1: an IPv6 address is written in brackets: [::1]"),
            ("amqp://[::1", "amqp://[::1: the bracket of the IPv6 address is not closed"),
            ("amqp://u:secret@h/?x=1", "amqp://***@h/?x=1: parameters in the URI are not supported, use the options"),
            ("amqp://h/a/b", "amqp://h/a/b: a slash in the virtual host is written %2f"),
            ("amqp://%ff@h", "%ff: not UTF-8"),
        ] {
            assert_eq!(Uri::parse(text), Err(expected.to_owned()), "{text}");
        }
    }
}
