//! The expiration property of messages.

/// The longest expiration: ten years, in milliseconds.
const EXPIRATION_MAX_MS: u64 = 315_360_000_000;

/// An expiration in milliseconds, if it is one.
pub fn parse(text: &str) -> Option<u64> {
    if error(text).is_some() { None } else { text.trim_start_matches(['+', '-']).parse().ok() }
}

/// What is wrong with an expiration property (rabbitmq-semantics.md section 9, number 7).
pub fn error(text: &str) -> Option<String> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'+') => (1, &text[1..]),
        Some(b'-') => (-1, &text[1..]),
        _ => (1, text),
    };
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = digits.split_at(len);
    if number.is_empty() {
        return Some("no_integer".into());
    }
    if !rest.is_empty() {
        return Some(format!("{{leftover_string,\"{rest}\"}}"));
    }
    let number = number.trim_start_matches('0');
    let value: u64 = if number.is_empty() { 0 } else { number.parse().unwrap_or(u64::MAX) };
    if sign < 0 && value > 0 {
        return Some(format!("{{value_negative,-{number}}}"));
    }
    (value > EXPIRATION_MAX_MS).then(|| format!("{{value_too_large,{number}}}"))
}

#[cfg(test)]
mod tests {
    use super::error as expiration_error;

    #[test]
    fn expirations_are_decimal_integers_of_at_most_ten_years() {
        for good in ["0", "5", "+5", "-0", "0005", "315360000000"] {
            assert_eq!(expiration_error(good), None, "{good}");
        }
        for (bad, error) in [
            ("", "no_integer"),
            (" 5", "no_integer"),
            ("foo", "no_integer"),
            ("+", "no_integer"),
            ("5x", "{leftover_string,\"x\"}"),
            ("-1", "{value_negative,-1}"),
            ("315360000001", "{value_too_large,315360000001}"),
            ("99999999999999999999999", "{value_too_large,99999999999999999999999}"),
        ] {
            assert_eq!(expiration_error(bad).as_deref(), Some(error), "{bad}");
        }
    }
}
