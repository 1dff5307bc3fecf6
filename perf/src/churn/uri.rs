//! AMQP URIs: `amqp://user:password@host:port/vhost`, each part optional, percent-encoded.

/// Where a broker is, and who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// A name or an address, without the brackets of IPv6.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
    /// The virtual host.
    pub vhost: String,
}

impl Uri {
    /// Reads a URI. Missing parts are `guest`, `guest`, `localhost`, 5672 and `/`.
    ///
    /// # Errors
    /// What is wrong with it, for the user.
    pub fn parse(text: &str) -> Result<Uri, String> {
        let wrong = |what: &str| format!("{text}: {what}");
        let rest = match text.split_once("://") {
            Some(("amqp", rest)) => rest,
            Some((scheme, _)) => return Err(wrong(&format!("the scheme {scheme} is not supported, only amqp"))),
            None => return Err(wrong("not a URI, expected amqp://…")),
        };
        let rest = rest.split_once('?').map_or(rest, |(head, _)| head);
        let (authority, vhost) = match rest.split_once('/') {
            Some((authority, "")) => (authority, "/".to_owned()),
            Some((authority, vhost)) => (authority, decode(vhost).ok_or_else(|| wrong("bad percent-encoding"))?),
            None => (rest, "/".to_owned()),
        };
        let (login, place) =
            authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
        let (user, password) = match login {
            None => ("guest", "guest"),
            Some(login) => login.split_once(':').unwrap_or((login, "guest")),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("a bracket is not closed"))?;
                (host, rest.strip_prefix(':'))
            }
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None | Some("") => 5672,
            Some(port) => port.parse().map_err(|_| wrong("the port is no number from 1 to 65535"))?,
        };
        let plain = |part: &str| decode(part).ok_or_else(|| wrong("bad percent-encoding"));
        let host = if host.is_empty() { "localhost".to_owned() } else { plain(host)? };
        Ok(Uri { host, port, user: plain(user)?, password: plain(password)?, vhost })
    }
}

fn decode(text: &str) -> Option<String> {
    let mut out = vec![];
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> String {
        match Uri::parse(text) {
            Ok(uri) => format!("{} {} {} {} {}", uri.user, uri.password, uri.host, uri.port, uri.vhost),
            Err(error) => error,
        }
    }

    #[test]
    fn parts_have_defaults_and_are_decoded() {
        assert_eq!(parts("amqp://"), "guest guest localhost 5672 /");
        assert_eq!(parts("amqp://127.0.0.1:5680"), "guest guest 127.0.0.1 5680 /");
        assert_eq!(parts("amqp://a:b%40c@h/%2Fx"), "a b@c h 5672 /x");
        assert_eq!(parts("amqp://a@h:1/"), "a guest h 1 /");
        assert_eq!(parts("amqp://[::1]:7/v?heartbeat=3"), "guest guest ::1 7 v");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(parts("localhost").contains("not a URI"));
        assert!(parts("amqps://h").contains("amqps is not supported"));
        assert!(parts("amqp://h:99999").contains("port"));
        assert!(parts("amqp://[::1").contains("bracket"));
        assert!(parts("amqp://h/%z1").contains("percent"));
    }
}
