//! Figures as people read them.

/// A rate: `1.23 M/s`.
pub fn rate(value: f64) -> String {
    format!("{}/s", scaled(value))
}

/// A number with three digits and a letter for its size.
pub fn scaled(value: f64) -> String {
    match value {
        v if v >= 999.5e6 => format!("{} G", digits(v / 1e9)),
        v if v >= 999_500.0 => format!("{} M", digits(v / 1e6)),
        v if v >= 9_999.5 => format!("{} k", digits(v / 1e3)),
        v if v >= 999.5 => grouped(v.round() as u64),
        v => digits(v),
    }
}

/// Nanoseconds: `812 ns`, `12,868 ns`.
pub fn nanoseconds(value: f64) -> String {
    if value < 99.95 { format!("{} ns", digits(value)) } else { format!("{} ns", grouped(value.round() as u64)) }
}

/// Microseconds, as the unit that fits.
pub fn microseconds(value: f64) -> String {
    match value {
        v if v >= 999_500.0 => format!("{} s", digits(v / 1e6)),
        v if v >= 9_999.5 => format!("{} ms", digits(v / 1e3)),
        v if v >= 999.5 => format!("{} µs", grouped(v.round() as u64)),
        v => format!("{} µs", digits(v)),
    }
}

/// Bytes: `3.2 MiB`.
pub fn bytes(value: f64) -> String {
    match value {
        v if v >= 1024.0 * 1024.0 * 1024.0 => format!("{} GiB", digits(v / (1024.0 * 1024.0 * 1024.0))),
        v if v >= 1024.0 * 1024.0 => format!("{} MiB", digits(v / (1024.0 * 1024.0))),
        v if v >= 1024.0 => format!("{} KiB", digits(v / 1024.0)),
        v => format!("{} B", digits(v)),
    }
}

/// How many times the first: `0.82 ×`, `14 ×`, `0.003 ×`.
pub fn times(value: f64) -> String {
    match value {
        v if v >= 99.5 => format!("{} ×", grouped(v.round() as u64)),
        v if v >= 0.0995 || v == 0.0 => format!("{} ×", digits(v)),
        v => format!("{v:.3} ×"),
    }
}

/// At most three digits that matter, and at most two behind the point.
fn digits(value: f64) -> String {
    match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        0.0 => "0".into(),
        v => format!("{v:.2}"),
    }
}

fn grouped(value: u64) -> String {
    let plain = value.to_string();
    let mut text = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (value, expected) in [
            (0.0, "0/s"),
            (0.5, "0.50/s"),
            (12.34, "12.3/s"),
            (999.4, "999/s"),
            (999.6, "1,000/s"),
            (1000.4, "1,000/s"),
            (9999.0, "9,999/s"),
            (10_000.0, "10.0 k/s"),
            (123_456.0, "123 k/s"),
            (999_499.0, "999 k/s"),
            (999_500.0, "1.00 M/s"),
            (17_012_345.0, "17.0 M/s"),
            (2.5e9, "2.50 G/s"),
        ] {
            assert_eq!(rate(value), expected);
        }
        assert_eq!([nanoseconds(33.333), nanoseconds(12_868.4)], ["33.3 ns", "12,868 ns"]);
        assert_eq!(
            [microseconds(59.0), microseconds(5_734.2), microseconds(23_986.0)],
            ["59.0 µs", "5,734 µs", "24.0 ms"]
        );
        assert_eq!([bytes(12.0), bytes(2048.0), bytes(3.5 * 1024.0 * 1024.0)], ["12.0 B", "2.00 KiB", "3.50 MiB"]);
        assert_eq!(
            [times(0.0081), times(0.82), times(13.97), times(1234.0)],
            ["0.008 ×", "0.82 ×", "14.0 ×", "1,234 ×"]
        );
    }
}
