//! Digests, always with their algorithm.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

/// How a digest was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256; `sha256sum` agrees with it.
    Sha256,
}

impl Algorithm {
    /// The number on the wire and in databases.
    pub fn number(self) -> u8 {
        match self {
            Algorithm::Sha256 => 1,
        }
    }

    /// The algorithm with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Algorithm::Sha256),
            _ => None,
        }
    }

    /// A hasher that has seen no bytes yet.
    pub fn hasher(self) -> Hasher {
        match self {
            Algorithm::Sha256 => Hasher(Sha256::new()),
        }
    }

    /// The digest of bytes that are all at hand.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Sha256 => "sha256",
        })
    }
}

/// The digest of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 32],
}

impl Digest {
    /// A digest made elsewhere.
    pub fn new(algorithm: Algorithm, bytes: [u8; 32]) -> Self {
        Digest { algorithm, bytes }
    }

    /// How it was made.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Its bytes in hexadecimal, without the algorithm.
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.algorithm.number(), self.bytes).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (number, bytes) = <(u8, [u8; 32])>::deserialize(deserializer)?;
        let algorithm =
            Algorithm::from_number(number).ok_or_else(|| D::Error::custom("unknown digest algorithm"))?;
        Ok(Digest { algorithm, bytes })
    }
}

/// A digest in the making.
#[derive(Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken so far; more can follow.
    pub fn so_far(&self) -> Digest {
        self.clone().finish()
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        Digest { algorithm: Algorithm::Sha256, bytes: self.0.finalize().into() }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(sha256)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_standard_vector() {
        let digest = Algorithm::Sha256.digest(b"abc");
        assert_eq!(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
