//! Messages that can be told apart and checked to the last bit: everything in one follows from its name and size.

use crate::rng::{Rng, mix};

/// The smallest body.
pub const BODY_MIN: usize = 16;

/// A message's name: who publishes it, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub source: u16,
    pub number: u32,
}

impl Id {
    fn seed(self, size: usize) -> u64 {
        mix(u64::from(self.source) << 48 ^ u64::from(self.number) << 16 ^ size as u64 ^ (size as u64) << 40)
    }

    /// A size for it: small ones are as frequent as large ones.
    pub fn size(self, min: usize, max: usize) -> usize {
        let mut rng = Rng::new(self.seed(0));
        let doublings = (max / min.max(1)).max(1).ilog2() + 1;
        let low = min << rng.below(doublings.into());
        let size = low + rng.below(low as u64 + 1) as usize;
        size.clamp(min.max(BODY_MIN), max.max(BODY_MIN))
    }

    /// Its body: source, the size's lower half, number, checksum, and bytes from chance.
    pub fn body(self, size: usize) -> Vec<u8> {
        assert!(size >= BODY_MIN);
        let seed = self.seed(size);
        let mut body = Vec::with_capacity(size + 8);
        body.extend_from_slice(&self.source.to_le_bytes());
        body.extend_from_slice(&(size as u16).to_le_bytes());
        body.extend_from_slice(&self.number.to_le_bytes());
        body.extend_from_slice(&mix(seed).to_le_bytes());
        let mut rng = Rng::new(seed);
        while body.len() < size {
            body.extend_from_slice(&rng.next().to_le_bytes());
        }
        body.truncate(size);
        body
    }

    /// Its properties on the wire: delivery-mode and message-id.
    pub fn properties(self, persistent: bool) -> Vec<u8> {
        let text = format!("{}-{}", self.source, self.number);
        let mut properties = vec![0x10, 0x80, if persistent { 2 } else { 1 }, text.len() as u8];
        properties.extend_from_slice(text.as_bytes());
        properties
    }

    /// The name of the message with this content; what is wrong with it otherwise.
    pub fn read(properties: &[u8], body: &[u8]) -> Result<Id, String> {
        let Some(head) = body.first_chunk::<8>() else {
            return Err(format!("a body of {} bytes", body.len()));
        };
        let source = u16::from_le_bytes([head[0], head[1]]);
        let number = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let id = Id { source, number };
        if body.len() < BODY_MIN || id.body(body.len()) != body {
            return Err(format!("an altered body of {} bytes that says it is {id:?}", body.len()));
        }
        let persistent = properties.get(2) == Some(&2);
        if id.properties(persistent) != properties {
            return Err(format!("{id:?} with altered properties {properties:?}"));
        }
        Ok(id)
    }
}

#[test]
fn a_message_that_was_altered_is_noticed() {
    let id = Id { source: 3, number: 70_000 };
    for size in [16, 17, 300, 100_000] {
        let (properties, body) = (id.properties(true), id.body(size));
        assert_eq!(Id::read(&properties, &body), Ok(id));
        for at in [0, 2, 4, 9, size - 1] {
            let mut altered = body.clone();
            altered[at] ^= 1;
            assert!(Id::read(&properties, &altered).is_err(), "{size} {at}");
        }
        assert!(Id::read(&properties, &body[..size - 1]).is_err());
        assert!(Id::read(&id.properties(false)[1..], &body).is_err());
        let other = Id { number: 70_001, ..id };
        assert!(Id::read(&other.properties(true), &body).is_err());
    }
}
