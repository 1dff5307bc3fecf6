//! The format of rabbitmq.conf: `key = value` lines, `#` comments, values in single quotes where they contain a `#` or
//! go over several lines.

/// A setting or what is wrong, with its line, from 1.
pub type Line<'a> = (usize, Result<(String, &'a str), &'static str>);

/// A key with its value, nothing, or what is wrong.
type Statement<'a> = Result<Option<(String, &'a str)>, &'static str>;

/// The longest key, in bytes: every name that RabbitMQ knows is far shorter.
const KEY_BYTES_MAX: usize = 512;

const NO_SETTING: &str = "expected `key = value`";
const BAD_KEY: &str = "expected `key = value`, the key in letters, digits, dots, dashes and underscores";

/// Everything that is said in `text`, in order. After a bad line it goes on with the next one.
pub fn read(text: &str) -> Vec<Line<'_>> {
    let mut found = vec![];
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut line = 1;
    while !rest.is_empty() {
        let (result, length) = statement(rest);
        if let Some(result) = result.transpose() {
            found.push((line, result));
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// What the text begins with, a key with its value or nothing, and how many bytes it takes with the end of its line.
fn statement(text: &str) -> (Statement<'_>, usize) {
    let end = |from: usize| text[from..].find('\n').map_or(text.len(), |at| from + at + 1);
    let first = end(0);
    let line = text[..first].trim();
    if line.is_empty() || line.starts_with('#') {
        return (Ok(None), first);
    }
    let Some(equals) = text[..first].find('=') else {
        let is_include = line.split_whitespace().next() == Some("include");
        let why = if is_include { "include is not supported: put the file into conf.d" } else { NO_SETTING };
        return (Err(why), first);
    };
    // Dots that belong to a part of a key stay escaped (`\.`), so that the parts can still be told from one another.
    let key = text[..equals].trim();
    if key.len() > KEY_BYTES_MAX {
        return (Err("the key is longer than 512 bytes"), first);
    }
    let plain = key.replace("\\.", "-");
    let is_key =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if !plain.split('.').all(is_key) {
        return (Err(BAD_KEY), first);
    }
    let value = text[equals + 1..first].trim_start();
    let begin = text[..first].len() - value.len();
    if value.is_empty() {
        return (Err("the value is missing"), first);
    }
    if !value.starts_with('\'') {
        // As in RabbitMQ, a `#` starts a comment anywhere in a bare value.
        let bare = value.split('#').next().unwrap_or_default().trim_end();
        let result = if bare.is_empty() { Err("the value is missing") } else { checked(key, bare) };
        return (result, first);
    }
    let Some(inside) = text[begin + 1..].split('\'').next().filter(|inside| begin + 1 + inside.len() < text.len())
    else {
        return (Err("the closing quote is missing"), first);
    };
    let behind = begin + 1 + inside.len() + 1;
    let after = text[behind..end(behind)].trim();
    if !after.is_empty() && !after.starts_with('#') {
        // A quote of some other line is not the one that this value lacks.
        let is_here = behind <= first;
        return (
            Err(if is_here { "only a comment may follow the closing quote" } else { "the closing quote is missing" }),
            first,
        );
    }
    (checked(key, inside), end(behind))
}

/// A setting, unless its value has characters that none can have.
fn checked<'a>(key: &str, value: &'a str) -> Statement<'a> {
    let is_bad = |c: char| c.is_control() && !"\t\r\n".contains(c);
    if value.contains(is_bad) { Err("the value contains a control character") } else { Ok(Some((key.into(), value))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        let one = |(line, result): &Line<'_>| match result {
            Ok((key, value)) => format!("{line}:{key}|{value}"),
            Err(text) => format!("{line}!{text}"),
        };
        read(text).iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn lines() {
        for (text, expected) in [
            ("", ""),
            ("   \t", ""),
            ("# heartbeat = 1", ""),
            ("  ## comment", ""),
            ("heartbeat = 60", "1:heartbeat|60"),
            ("\u{feff}heartbeat=60", "1:heartbeat|60"),
            ("\theartbeat\t=\t60 \r", "1:heartbeat|60"),
            ("heartbeat = 60 # a minute", "1:heartbeat|60"),
            ("heartbeat = 60#", "1:heartbeat|60"),
            ("default_pass = 'a#b c'", "1:default_pass|a#b c"),
            ("default_pass = 'a=b' # quoted", "1:default_pass|a=b"),
            ("default_pass = a=b", "1:default_pass|a=b"),
            ("default_pass = it's", "1:default_pass|it's"),
            ("default_pass = \"a b\"", "1:default_pass|\"a b\""),
            ("default_pass = ''", "1:default_pass|"),
            ("default_pass = pässword", "1:default_pass|pässword"),
            ("loopback_users.a\\.b = true", "1:loopback_users.a\\.b|true"),
            ("a = 1\r\n\r\n# x\r\nb = 2", "1:a|1; 4:b|2"),
            ("a = 'x\ny' # z\nb = 2\n", "1:a|x\ny; 3:b|2"),
            ("a = 'x\r\n'\r\nb = 2", "1:a|x\r\n; 3:b|2"),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_and_the_rest_is_read() {
        for (text, expected) in [
            ("heartbeat\nb = 2", format!("1!{NO_SETTING}; 2:b|2")),
            ("= 60", format!("1!{BAD_KEY}")),
            ("heart beat = 60", format!("1!{BAD_KEY}")),
            ("a..b = 60", format!("1!{BAD_KEY}")),
            (".a = 60", format!("1!{BAD_KEY}")),
            ("a. = 60", format!("1!{BAD_KEY}")),
            ("ä = 60", format!("1!{BAD_KEY}")),
            ("[{rabbit, [{x, '=', 1}]}].", format!("1!{BAD_KEY}")),
            ("heartbeat =\nb = 2", "1!the value is missing; 2:b|2".into()),
            ("heartbeat = # none", "1!the value is missing".into()),
            ("default_pass = 'a", "1!the closing quote is missing".into()),
            ("default_pass = '", "1!the closing quote is missing".into()),
            ("a = 'x\nb = 'y'\n\nc = 3", "1!the closing quote is missing; 2:b|y; 4:c|3".into()),
            ("default_pass = 'a' b", "1!only a comment may follow the closing quote".into()),
            ("a = x\0y", "1!the value contains a control character".into()),
            ("include other.conf", "1!include is not supported: put the file into conf.d".into()),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
    }
}
