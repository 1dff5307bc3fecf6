//! Password hashes: RabbitMQ's, so that its definitions can be imported and exported, and Argon2id for our own
//! (<https://www.rabbitmq.com/docs/passwords>).

use std::collections::{BTreeSet, VecDeque};

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// Bytes of the salt in front of RabbitMQ's hashes.
const SALT_BYTES: usize = 4;
/// Bytes of the salt of an Argon2id hash.
const ARGON2_SALT_BYTES: usize = 16;
/// The longest text of a hash.
const TEXT_BYTES_MAX: usize = 512;

/// How a password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RabbitMQ's default: cheap to check, and so to guess.
    Sha256,
    /// RabbitMQ's other.
    Sha512,
    /// Of RabbitMQ before 3.6: taken from definitions, never made.
    Md5,
    /// 19 MiB and some 20 ms for each guess. RabbitMQ does not know it.
    Argon2id,
}

impl Algorithm {
    const ALL: [Algorithm; 4] = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Md5, Algorithm::Argon2id];

    /// What definitions call it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "rabbit_password_hashing_sha256",
            Algorithm::Sha512 => "rabbit_password_hashing_sha512",
            Algorithm::Md5 => "rabbit_password_hashing_md5",
            Algorithm::Argon2id => "argon2id",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether it is too dear for an event loop.
    pub fn is_dear(self) -> bool {
        self == Algorithm::Argon2id
    }

    fn digest(self, salt: &[u8], password: &[u8]) -> Vec<u8> {
        match self {
            Algorithm::Sha256 => Sha256::new().chain_update(salt).chain_update(password).finalize().to_vec(),
            Algorithm::Sha512 => Sha512::new().chain_update(salt).chain_update(password).finalize().to_vec(),
            Algorithm::Md5 => Md5::new().chain_update(salt).chain_update(password).finalize().to_vec(),
            Algorithm::Argon2id => vec![],
        }
    }
}

/// What is kept of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    algorithm: Algorithm,
    /// As definitions have it: base64 of salt and digest, or Argon2's own form.
    text: String,
}

impl Credential {
    /// One as definitions have it.
    ///
    /// # Errors
    /// A text for people, when it is no hash of this algorithm.
    pub fn parse(algorithm: Algorithm, text: &str) -> Result<Credential, String> {
        let is_good = text.len() <= TEXT_BYTES_MAX
            && match algorithm {
                Algorithm::Argon2id => PasswordHash::new(text)
                    .is_ok_and(|hash| hash.algorithm.as_str() == "argon2id" && hash.hash.is_some()),
                _ => STANDARD
                    .decode(text)
                    .is_ok_and(|bytes| bytes.len() == SALT_BYTES + algorithm.digest(&[], &[]).len()),
            };
        match is_good {
            true => Ok(Credential { algorithm, text: text.to_owned() }),
            false => Err(format!("the password hash is none of {}", algorithm.name())),
        }
    }

    /// Hashes a password with a salt that nobody can foresee. Takes as long as the algorithm is dear.
    pub fn new(algorithm: Algorithm, password: &[u8], salt: [u8; ARGON2_SALT_BYTES]) -> Credential {
        let text = match algorithm {
            Algorithm::Argon2id => {
                let salt = argon2::password_hash::SaltString::encode_b64(&salt);
                let hash = salt.and_then(|salt| Ok(Argon2::default().hash_password(password, &salt)?.to_string()));
                // Only a password of 4 GiB could not be hashed; nothing is equal to no hash.
                hash.unwrap_or_default()
            }
            _ => {
                let salt = salt.get(..SALT_BYTES).unwrap_or_default();
                STANDARD.encode([salt, &algorithm.digest(salt, password)].concat())
            }
        };
        Credential { algorithm, text }
    }

    /// How it was hashed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// As definitions have it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is that of this password. Takes as long as the algorithm is dear, and does not tell by its time how
    /// much of a password was right. An empty password is never right.
    pub fn verify(&self, password: &[u8]) -> bool {
        let is_right = match self.algorithm {
            Algorithm::Argon2id => PasswordHash::new(&self.text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            _ => {
                let bytes = STANDARD.decode(&self.text).unwrap_or_default();
                let (salt, digest) = bytes.split_at_checked(SALT_BYTES).unwrap_or_default();
                self.algorithm.digest(salt, password).ct_eq(digest).into()
            }
        };
        is_right && !password.is_empty()
    }
}

/// Dear passwords that are remembered.
const PROVEN_MAX: usize = 1024;

/// Passwords that were found to be right, so that the same one need not be checked again at length. What is remembered
/// is a hash with a secret: nobody finds a password by trying who does not have that.
#[derive(Debug, Default)]
pub struct Proven {
    secret: [u64; 4],
    digests: BTreeSet<[u8; 32]>,
    in_order: VecDeque<[u8; 32]>,
}

impl Proven {
    /// None so far.
    pub fn new(secret: [u64; 4]) -> Proven {
        Proven { secret, ..Proven::default() }
    }

    fn digest(&self, credential: &Credential, password: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.secret.iter().for_each(|part| hash.update(part.to_le_bytes()));
        // A hash has no zero in it.
        hash.update(&credential.text);
        hash.update([0]);
        hash.update(password);
        hash.finalize().into()
    }

    /// Whether a password is known to be right.
    pub fn knows(&self, credential: &Credential, password: &[u8]) -> bool {
        self.digests.contains(&self.digest(credential, password))
    }

    /// A password was right.
    pub fn remember(&mut self, credential: &Credential, password: &[u8]) {
        let digest = self.digest(credential, password);
        if self.digests.insert(digest) {
            self.in_order.push_back(digest);
        }
        if self.in_order.len() > PROVEN_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.digests.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_each_algorithm_are_read_again_and_know_their_password() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
            let made = Credential::new(algorithm, b"s3kRe7", *b"0123456789abcdef");
            let read = Credential::parse(algorithm, made.text()).unwrap();
            assert_eq!((&read, read.algorithm()), (&made, algorithm));
            assert!(read.verify(b"s3kRe7"));
            for wrong in [&b"s3kRe"[..], b"s3kRe77", b"", b"S3kRe7"] {
                assert!(!read.verify(wrong), "{algorithm:?} {wrong:?}");
            }
            assert!(!Credential::new(algorithm, b"", [7; 16]).verify(b""), "an empty password is never right");
            assert_ne!(Credential::new(algorithm, b"s3kRe7", [9; 16]), made);
        }
        assert_eq!(Algorithm::named("rabbit_password_hashing_sha1"), None);
    }

    #[test]
    fn what_rabbitmq_has_hashed_is_known() {
        // The documentation's own example: salt 908DC60A, password test12.
        let text = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
        assert!(Credential::parse(Algorithm::Sha256, text).unwrap().verify(b"test12"));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let sha256 = Credential::new(Algorithm::Sha256, b"x", [1; 16]);
        let long = "A".repeat(TEXT_BYTES_MAX + 4);
        for (algorithm, text) in [
            (Algorithm::Sha256, ""),
            (Algorithm::Sha256, "not base64!"),
            (Algorithm::Sha256, "kI3GCg=="),
            (Algorithm::Sha512, sha256.text()),
            (Algorithm::Md5, sha256.text()),
            (Algorithm::Argon2id, sha256.text()),
            (Algorithm::Argon2id, "$argon2i$v=19$m=16,t=2,p=1$MTIzNDU2Nzg$UaR6lm4pyyLbAKCWWBBVvg"),
            (Algorithm::Argon2id, "$argon2id$v=19$m=16,t=2,p=1$MTIzNDU2Nzg"),
            (Algorithm::Sha256, &long),
        ] {
            let error = Credential::parse(algorithm, text).unwrap_err();
            assert!(error.contains(algorithm.name()), "{error}");
        }
    }

    #[test]
    fn so_many_passwords_are_remembered_each_with_its_hash() {
        let (a, b) = (Credential::new(Algorithm::Md5, b"a", [1; 16]), Credential::new(Algorithm::Md5, b"b", [1; 16]));
        let mut proven = Proven::new([1, 2, 3, 4]);
        proven.remember(&a, b"a");
        assert!(proven.knows(&a, b"a") && !proven.knows(&b, b"a") && !proven.knows(&a, b"b"));
        (0..PROVEN_MAX).for_each(|n| proven.remember(&b, format!("{n}").as_bytes()));
        assert!(!proven.knows(&a, b"a"), "the oldest gives way");
        assert!(proven.knows(&b, b"0") && proven.digests.len() == PROVEN_MAX);
    }
}
