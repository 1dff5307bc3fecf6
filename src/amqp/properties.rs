//! Content properties of class basic (specification section 4.2.6.1): kept as raw bytes, read when somebody asks.

use super::codec::{DecodeError, Reader, write_long_str, write_short_str};
use super::table::Table;

/// The property flags: which properties are present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PropertyFlags(pub u16);

#[allow(missing_docs)] // the specification's names
impl PropertyFlags {
    pub const CONTENT_TYPE: u16 = 1 << 15;
    pub const CONTENT_ENCODING: u16 = 1 << 14;
    pub const HEADERS: u16 = 1 << 13;
    pub const DELIVERY_MODE: u16 = 1 << 12;
    pub const PRIORITY: u16 = 1 << 11;
    pub const CORRELATION_ID: u16 = 1 << 10;
    pub const REPLY_TO: u16 = 1 << 9;
    pub const EXPIRATION: u16 = 1 << 8;
    pub const MESSAGE_ID: u16 = 1 << 7;
    pub const TIMESTAMP: u16 = 1 << 6;
    pub const TYPE: u16 = 1 << 5;
    pub const USER_ID: u16 = 1 << 4;
    pub const APP_ID: u16 = 1 << 3;
    pub const CLUSTER_ID: u16 = 1 << 2;
    const UNKNOWN: u16 = 0b11;
}

/// The properties of a message, decoded without copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // the specification's names
pub struct Properties<'a> {
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    pub headers: Option<Table<'a>>,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<&'a str>,
    pub reply_to: Option<&'a str>,
    pub expiration: Option<&'a str>,
    pub message_id: Option<&'a str>,
    pub timestamp: Option<u64>,
    pub kind: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub app_id: Option<&'a str>,
    pub cluster_id: Option<&'a str>,
}

/// The flags at the head of raw properties; none when even those are missing.
#[inline]
pub fn flags(raw: &[u8]) -> u16 {
    match raw.first_chunk::<2>() {
        Some(head) => u16::from_be_bytes(*head),
        None => 0,
    }
}

/// Whether raw properties have a delivery-mode of 2: the message is to survive a restart.
#[inline]
pub fn is_persistent(raw: &[u8]) -> bool {
    let flags = flags(raw);
    if flags & PropertyFlags::DELIVERY_MODE == 0 {
        return false;
    }
    let mut at = 2;
    for text in [PropertyFlags::CONTENT_TYPE, PropertyFlags::CONTENT_ENCODING] {
        if flags & text != 0 {
            at += 1 + usize::from(raw.get(at).copied().unwrap_or(0));
        }
    }
    if flags & PropertyFlags::HEADERS != 0 {
        let len = raw.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |len| u32::from_be_bytes(*len));
        at += 4 + len as usize;
    }
    raw.get(at) == Some(&2)
}

impl<'a> Properties<'a> {
    /// Reads raw properties (flags and property list) and checks them to the last byte.
    ///
    /// # Errors
    /// The first thing wrong.
    #[inline]
    pub fn decode(raw: &'a [u8]) -> Result<Properties<'a>, DecodeError> {
        let mut reader = Reader::new(raw);
        let flags = reader.u16()?;
        let mut properties = Properties::default();
        if flags == 0 {
            reader.finish()?;
            return Ok(properties);
        }
        if flags & PropertyFlags::UNKNOWN != 0 {
            return Err(DecodeError::UnknownProperty);
        }
        let has = |flag| flags & flag != 0;
        let p = &mut properties;
        if has(PropertyFlags::CONTENT_TYPE) {
            p.content_type = Some(reader.short_str()?);
        }
        if has(PropertyFlags::CONTENT_ENCODING) {
            p.content_encoding = Some(reader.short_str()?);
        }
        if has(PropertyFlags::HEADERS) {
            p.headers = Some(Table::read(&mut reader)?);
        }
        if has(PropertyFlags::DELIVERY_MODE) {
            p.delivery_mode = Some(reader.u8()?);
        }
        if has(PropertyFlags::PRIORITY) {
            p.priority = Some(reader.u8()?);
        }
        if has(PropertyFlags::CORRELATION_ID) {
            p.correlation_id = Some(reader.short_str()?);
        }
        if has(PropertyFlags::REPLY_TO) {
            p.reply_to = Some(reader.short_str()?);
        }
        if has(PropertyFlags::EXPIRATION) {
            p.expiration = Some(reader.short_str()?);
        }
        if has(PropertyFlags::MESSAGE_ID) {
            p.message_id = Some(reader.short_str()?);
        }
        if has(PropertyFlags::TIMESTAMP) {
            p.timestamp = Some(reader.u64()?);
        }
        if has(PropertyFlags::TYPE) {
            p.kind = Some(reader.short_str()?);
        }
        if has(PropertyFlags::USER_ID) {
            p.user_id = Some(reader.short_str()?);
        }
        if has(PropertyFlags::APP_ID) {
            p.app_id = Some(reader.short_str()?);
        }
        if has(PropertyFlags::CLUSTER_ID) {
            p.cluster_id = Some(reader.short_str()?);
        }
        reader.finish()?;
        Ok(properties)
    }

    /// Appends the properties as on the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0, 0]);
        let mut flags = 0;
        let mut short = |out: &mut Vec<u8>, flag: u16, value: Option<&str>| {
            if let Some(text) = value {
                flags |= flag;
                write_short_str(out, text.as_bytes());
            }
        };
        short(out, PropertyFlags::CONTENT_TYPE, self.content_type);
        short(out, PropertyFlags::CONTENT_ENCODING, self.content_encoding);
        if let Some(table) = self.headers {
            write_long_str(out, table.as_bytes());
        }
        out.extend(self.delivery_mode);
        out.extend(self.priority);
        short(out, PropertyFlags::CORRELATION_ID, self.correlation_id);
        short(out, PropertyFlags::REPLY_TO, self.reply_to);
        short(out, PropertyFlags::EXPIRATION, self.expiration);
        short(out, PropertyFlags::MESSAGE_ID, self.message_id);
        if let Some(seconds) = self.timestamp {
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        short(out, PropertyFlags::TYPE, self.kind);
        short(out, PropertyFlags::USER_ID, self.user_id);
        short(out, PropertyFlags::APP_ID, self.app_id);
        short(out, PropertyFlags::CLUSTER_ID, self.cluster_id);
        for (flag, present) in [
            (PropertyFlags::HEADERS, self.headers.is_some()),
            (PropertyFlags::DELIVERY_MODE, self.delivery_mode.is_some()),
            (PropertyFlags::PRIORITY, self.priority.is_some()),
            (PropertyFlags::TIMESTAMP, self.timestamp.is_some()),
        ] {
            if present {
                flags |= flag;
            }
        }
        if let Some(place) = out.get_mut(at..at + 2) {
            place.copy_from_slice(&flags.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::{TableWriter, Value};

    #[test]
    fn all_and_each_alone_come_back() {
        let mut headers = TableWriter::new();
        headers.put("x", Value::I32(1));
        let all = Properties {
            content_type: Some("text/plain"),
            content_encoding: Some("gzip"),
            headers: Some(headers.table()),
            delivery_mode: Some(2),
            priority: Some(9),
            correlation_id: Some("c"),
            reply_to: Some("r"),
            expiration: Some("10"),
            message_id: Some("m"),
            timestamp: Some(1 << 40),
            kind: Some("t"),
            user_id: Some("guest"),
            app_id: Some("a"),
            cluster_id: Some(""),
        };
        let mut raw = vec![];
        all.encode(&mut raw);
        assert_eq!(flags(&raw), 0xfffc);
        assert_eq!(Properties::decode(&raw), Ok(all));
        for cut in 0..raw.len() {
            assert!(Properties::decode(&raw[..cut]).is_err(), "{cut}");
        }
        raw.push(0);
        assert_eq!(Properties::decode(&raw), Err(DecodeError::TrailingBytes));
        assert_eq!(Properties::decode(&[0, 1, 0, 0]), Err(DecodeError::UnknownProperty));
        assert_eq!(Properties::decode(&[0, 0]), Ok(Properties::default()));
    }
}
