//! A message's content and the record in which it is kept and handed on.
//!
//! ```text
//! record:  0            4            8        16
//!          +------------+------------+--------+---------------+------------+------------+------+
//!          | properties | body       | stamp  | exchange      | routing    | properties | body |
//!          | bytes      | bytes      | u64 LE | length u8,    | key, alike | as on the  |      |
//!          | u32 LE     | u32 LE     |        | bytes         |            | wire       |      |
//!          +------------+------------+--------+---------------+------------+------------+------+
//! ```

use super::codec::Filler;

const HEAD_BYTES: usize = 16;
/// Where the stamp lies.
const STAMP_AT: usize = 8;

/// When a message was published, and what the broker has done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp(u64);

impl Stamp {
    const DEAD: u64 = 1;

    /// That of a message published at this time, in milliseconds since 1970.
    pub fn at(wall_ms: u64) -> Stamp {
        Stamp(wall_ms << 8)
    }

    /// The time, in milliseconds since 1970.
    pub fn wall_ms(self) -> u64 {
        self.0 >> 8
    }

    /// That of a record; damage reads as the oldest.
    #[inline]
    pub fn of(record: &[u8]) -> Stamp {
        let stamp = record.get(STAMP_AT..).and_then(|stamp| stamp.first_chunk());
        Stamp(stamp.map_or(0, |stamp| u64::from_le_bytes(*stamp)))
    }

    /// With the mark of one that was dead-lettered.
    pub fn dead(self) -> Stamp {
        Stamp(self.0 | Stamp::DEAD)
    }

    /// With the time of another.
    pub fn renewed(self, now: Stamp) -> Stamp {
        if self.is_dead() { now.dead() } else { now }
    }

    /// Whether it was dead-lettered: its x-death header is the broker's, not its publisher's.
    pub fn is_dead(self) -> bool {
        self.0 & Stamp::DEAD != 0
    }
}

/// A message's parts, borrowed from wherever they lie: the receive buffer, a block, another shard's batch.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// Exchange and routing key as two short strings in wire form: what a delivery repeats.
    pub names: &'a [u8],
    /// Property flags and property list as received.
    pub properties: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// Its header frame and its one body frame, if there is one, behind each other as on the wire; empty where they
    /// do not lie so. Their channel number is that of the publisher.
    pub frames: &'a [u8],
}

// It is copied for each message.
const _: () = assert!(size_of::<Content<'_>>() == 64 || size_of::<usize>() != 8);

impl<'a> Content<'a> {
    /// Reads a record. Records are written by this module, so damage is our own bug: it reads as empty.
    #[inline]
    pub fn from_record(record: &'a [u8]) -> Content<'a> {
        let nothing = Content { names: &[0, 0], properties: &[0, 0], body: &[], frames: &[] };
        Content::split(record).unwrap_or(nothing)
    }

    #[inline]
    fn split(record: &'a [u8]) -> Option<Content<'a>> {
        let (head, rest) = record.split_first_chunk::<HEAD_BYTES>()?;
        let properties_len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let body_len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let exchange_end = 1 + *rest.first()? as usize;
        let names_len = exchange_end + 1 + *rest.get(exchange_end)? as usize;
        let (names, rest) = rest.split_at_checked(names_len)?;
        let (properties, rest) = rest.split_at_checked(properties_len)?;
        Some(Content { names, properties, body: rest.get(..body_len)?, frames: &[] })
    }

    /// Bytes of the record.
    #[inline]
    pub fn record_bytes(&self) -> usize {
        HEAD_BYTES + self.names.len() + self.properties.len() + self.body.len()
    }

    /// Appends the record, with this stamp.
    #[inline]
    pub fn write_record(&self, out: &mut Vec<u8>, stamp: Stamp) {
        out.reserve(self.record_bytes());
        out.extend_from_slice(&record_head(self.properties, self.body.len(), stamp));
        out.extend_from_slice(self.names);
        out.extend_from_slice(self.properties);
        out.extend_from_slice(self.body);
    }

    /// Writes the record with this stamp to `place`, which has exactly [`record_bytes`](Content::record_bytes).
    #[inline]
    pub fn fill_record(&self, place: &mut [u8], stamp: Stamp) {
        let mut place = Filler::new(place);
        place.put(&record_head(self.properties, self.body.len(), stamp));
        place.put(self.names);
        place.put(self.properties);
        place.put(self.body);
    }

    fn name_bytes(&self) -> (&'a [u8], &'a [u8]) {
        let len = self.names.first().copied().unwrap_or(0) as usize;
        (self.names.get(1..1 + len).unwrap_or(&[]), self.names.get(2 + len..).unwrap_or(&[]))
    }

    /// Whether both names are UTF-8, as short strings must be.
    pub fn names_are_utf8(&self) -> bool {
        let (exchange, key) = self.name_bytes();
        std::str::from_utf8(exchange).is_ok() && std::str::from_utf8(key).is_ok()
    }

    /// The exchange's name.
    pub fn exchange(&self) -> &'a str {
        std::str::from_utf8(self.name_bytes().0).unwrap_or("")
    }

    /// The routing key.
    pub fn routing_key(&self) -> &'a str {
        std::str::from_utf8(self.name_bytes().1).unwrap_or("")
    }
}

#[inline]
fn record_head(properties: &[u8], body_len: usize, Stamp(stamp): Stamp) -> [u8; HEAD_BYTES] {
    let p = (properties.len() as u32).to_le_bytes();
    let b = (body_len as u32).to_le_bytes();
    let s = stamp.to_le_bytes();
    [p[0], p[1], p[2], p[3], b[0], b[1], b[2], b[3], s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]]
}

/// Appends all of a record but its body, which must follow with exactly `body_len` bytes. It is not [stamped](stamp)
/// yet.
#[inline]
pub fn write_record_head(out: &mut Vec<u8>, names: &[u8], properties: &[u8], body_len: usize) {
    out.extend_from_slice(&record_head(properties, body_len, Stamp::default()));
    out.extend_from_slice(names);
    out.extend_from_slice(properties);
}

/// Stamps a record.
pub fn stamp(record: &mut [u8], Stamp(stamp): Stamp) {
    if let Some(place) = record.get_mut(STAMP_AT..HEAD_BYTES) {
        place.copy_from_slice(&stamp.to_le_bytes());
    }
}
