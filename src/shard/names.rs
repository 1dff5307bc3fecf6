//! Generated names: of queues, consumer tags and reply addresses, from a given seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A source of names that cannot be guessed from each other.
#[derive(Debug)]
pub struct Names {
    random: ChaCha8Rng,
}

impl Names {
    /// Names for shard `stream` of the broker with this seed.
    pub fn new(seed: [u8; 32], stream: u64) -> Names {
        let mut random = ChaCha8Rng::from_seed(seed);
        random.set_stream(stream);
        Names { random }
    }

    /// `prefix` and 22 characters of URL-safe base64, as RabbitMQ's.
    pub fn generate(&mut self, prefix: &str) -> String {
        let mut name = String::with_capacity(prefix.len() + 22);
        name.push_str(prefix);
        for _ in 0..22 {
            name.push(ALPHABET[(self.random.next_u32() & 63) as usize] as char);
        }
        name
    }

    /// Four numbers, for the seed of a hash.
    pub fn numbers(&mut self) -> [u64; 4] {
        std::array::from_fn(|_| self.random.next_u64())
    }
}
