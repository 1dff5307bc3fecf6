//! The forms that values take in a configuration: sizes, durations, addresses, levels. `None` means malformed or out
//! of range; the caller knows what to say is expected.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use log::LevelFilter;

/// What `kB`, `MB` and `GB` count. RabbitMQ takes them as powers of ten where it calls the unit an information unit
/// and as powers of two where its schema says `bytesize` (`frame_max`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kilo {
    /// 1000 bytes.
    Decimal,
    /// 1024 bytes.
    Binary,
}

/// `true` or `false`.
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A whole number between `min` and `max`.
pub fn integer(value: &str, min: u64, max: u64) -> Option<u64> {
    // Digits only: `parse` alone would take a plus sign.
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    value.parse().ok().filter(|number| (min..=max).contains(number))
}

/// A number with or without a fraction, such as `1.5`, in thousandths. Further digits are dropped.
pub fn thousandths(value: &str) -> Option<u64> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let whole = integer(whole, 0, 1_000_000)?;
    integer(fraction, 0, u64::MAX)?;
    let digits = fraction.bytes().chain(*b"000").take(3);
    Some(digits.fold(whole, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// A size in bytes: a number with RabbitMQ's units, `k kB KiB M MB MiB G GB GiB` in any case.
pub fn size_bytes(value: &str, kilo: Kilo) -> Option<u64> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let number = integer(&value[..digits], 0, u64::MAX)?;
    let unit = value[digits..].trim_start().to_ascii_lowercase();
    let (power, base) = match unit.as_str() {
        "" | "b" => (0, 1),
        "k" | "kib" => (1, 1024),
        "m" | "mib" => (2, 1024),
        "g" | "gib" => (3, 1024),
        "kb" => (1, if kilo == Kilo::Binary { 1024 } else { 1000 }),
        "mb" => (2, if kilo == Kilo::Binary { 1024 } else { 1000 }),
        "gb" => (3, if kilo == Kilo::Binary { 1024 } else { 1000 }),
        _ => return None,
    };
    number.checked_mul(u64::pow(base, power))
}

/// A duration in milliseconds: a bare number of them, or RabbitMQ's `2h30m`, with `w d h m s ms`, or `infinity`,
/// which is a year here so that sums with it stay far from any limit.
pub fn duration_ms(value: &str) -> Option<u64> {
    const YEAR_MS: u64 = 365 * 86_400_000;
    if value == "infinity" {
        return Some(YEAR_MS);
    }
    if let Some(bare) = integer(value, 0, YEAR_MS) {
        return Some(bare);
    }
    let mut rest = value;
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = integer(&rest[..digits], 0, YEAR_MS)?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit_ms = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return None,
        };
        rest = &rest[letters..];
        total = total.checked_add(number.checked_mul(unit_ms)?)?;
    }
    (!value.is_empty() && total <= YEAR_MS).then_some(total)
}

/// The addresses that a listener's value names: a port alone means all interfaces, as in RabbitMQ.
pub fn listener(value: &str) -> Option<Vec<SocketAddr>> {
    if let Some(port) = integer(value, 0, u64::from(u16::MAX)) {
        let port = port as u16;
        return Some(vec![
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        ]);
    }
    if let Ok(address) = value.parse::<SocketAddr>() {
        return Some(vec![address]);
    }
    // RabbitMQ takes `::1:5672` too: what follows the last colon is the port.
    let (address, port) = value.rsplit_once(':')?;
    let address: IpAddr = address.parse().ok()?;
    Some(vec![SocketAddr::new(address, integer(port, 0, u64::from(u16::MAX))? as u16)])
}

/// An address with or without a port: `127.0.0.1`, `127.0.0.1:5672`, `::1`, `[::1]`, `[::1]:5672`.
pub fn address(value: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = value.parse::<SocketAddr>() {
        return Some((address.ip(), Some(address.port())));
    }
    let bare = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
    bare.parse().ok().map(|address| (address, None))
}

/// A log level by RabbitMQ's name or by Rust's. Levels that we do not have round to the nearest that hides no more.
pub fn log_level(value: &str) -> Option<LevelFilter> {
    Some(match value {
        "none" | "off" => LevelFilter::Off,
        "emergency" | "alert" | "critical" | "error" => LevelFilter::Error,
        "warning" | "warn" => LevelFilter::Warn,
        "notice" | "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        "trace" => LevelFilter::Trace,
        _ => return None,
    })
}

/// A product and a version of three numbers: `RabbitMQ 4.2.0`.
pub fn product_version(value: &str) -> Option<(&str, &str)> {
    let (product, version) = value.rsplit_once(' ')?;
    let product = product.trim_end();
    let numbers = version.split('.').filter(|part| integer(part, 0, 1_000_000).is_some()).count();
    (!product.is_empty() && numbers == 3 && version.split('.').count() == 3).then_some((product, version))
}

/// Whether the value of `key` is nothing to be shown.
pub fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    let words = ["pass", "secret", "token", "privatekey", "access_key", "signing_key"];
    words.iter().any(|word| last.contains(word)) || key.contains(".signing_keys.")
}

/// What to say about a value, which is not shown where it is a secret.
pub fn bad_value(key: &str, value: &str, expected: &str) -> String {
    /// Characters shown of a value.
    const SHOWN_MAX: usize = 60;
    if is_secret(key) {
        return format!("bad value of {key}: expected {expected}");
    }
    let end = value.char_indices().nth(SHOWN_MAX);
    let shown = end.map_or(value.to_owned(), |(end, _)| format!("{}...", &value[..end]));
    format!("bad value of {key}, `{shown}`: expected {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, decimal, binary) in [
            ("0", Some(0), Some(0)),
            ("131072", Some(131_072), Some(131_072)),
            ("128kB", Some(128_000), Some(131_072)),
            ("128KB", Some(128_000), Some(131_072)),
            ("128k", Some(131_072), Some(131_072)),
            ("128 KiB", Some(131_072), Some(131_072)),
            ("2MB", Some(2_000_000), Some(2_097_152)),
            ("2M", Some(2_097_152), Some(2_097_152)),
            ("1GiB", Some(1 << 30), Some(1 << 30)),
            ("1gb", Some(1_000_000_000), Some(1 << 30)),
            ("", None, None),
            ("kB", None, None),
            ("-1", None, None),
            ("+1", None, None),
            ("1.5MB", None, None),
            ("1 parsec", None, None),
            ("99999999999999999999", None, None),
            ("99999999999GiB", None, None),
            ("1é", None, None),
        ] {
            assert_eq!(size_bytes(text, Kilo::Decimal), decimal, "{text}");
            assert_eq!(size_bytes(text, Kilo::Binary), binary, "{text}");
        }
    }

    #[test]
    fn fractions() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("1.0", Some(1000)),
            ("1.5", Some(1500)),
            ("0.0019", Some(1)),
            ("12.3456", Some(12_345)),
            ("1000000", Some(1_000_000_000)),
            ("1000001", None),
            ("", None),
            (".5", None),
            ("1.", None),
            ("1.5.0", None),
            ("-1", None),
            ("1,5", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("10000", Some(10_000)),
            ("0", Some(0)),
            ("250ms", Some(250)),
            ("10s", Some(10_000)),
            ("2m", Some(120_000)),
            ("1h30m", Some(5_400_000)),
            ("1d", Some(86_400_000)),
            ("1w", Some(604_800_000)),
            ("infinity", Some(31_536_000_000)),
            ("53w", None),
            ("", None),
            ("s", None),
            ("10x", None),
            ("10s5", None),
            ("-1", None),
            ("99999999999999999999d", None),
            ("1µs", None),
        ] {
            assert_eq!(duration_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn listeners() {
        for (text, expected) in [
            ("5672", "0.0.0.0:5672 [::]:5672"),
            ("127.0.0.1:5672", "127.0.0.1:5672"),
            ("[::1]:5672", "[::1]:5672"),
            ("::1:5672", "[::1]:5672"),
            (":::5672", "[::]:5672"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("65536", "-"),
            ("localhost:5672", "-"),
            ("127.0.0.1", "-"),
            ("127.0.0.1:", "-"),
            ("", "-"),
        ] {
            let found = listener(text).map(|all| all.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" "));
            assert_eq!(found.as_deref().unwrap_or("-"), expected, "{text}");
        }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("127.0.0.1", "127.0.0.1 None"),
            ("127.0.0.1:1", "127.0.0.1 Some(1)"),
            ("::1", "::1 None"),
            ("[::1]", "::1 None"),
            ("[::1]:0", "::1 Some(0)"),
            ("localhost", "-"),
            ("127.0.0.1:70000", "-"),
            ("", "-"),
        ] {
            let found = address(text).map(|(address, port)| format!("{address} {port:?}"));
            assert_eq!(found.as_deref().unwrap_or("-"), expected, "{text}");
        }
    }

    #[test]
    fn products() {
        for (text, expected) in [
            ("RabbitMQ 4.2.0", Some(("RabbitMQ", "4.2.0"))),
            ("My Broker 1.0.12", Some(("My Broker", "1.0.12"))),
            ("RabbitMQ", None),
            ("4.2.0", None),
            (" 4.2.0", None),
            ("RabbitMQ 4.2", None),
            ("RabbitMQ 4.2.0.1", None),
            ("RabbitMQ 4.2.x", None),
        ] {
            assert_eq!(product_version(text), expected, "{text}");
        }
    }
}
