//! What a server says of itself to its local network (DNS-SD, RFC 6763). Anybody there can say it: it tells where to try, and
//! never whom to trust.

use std::{fmt, str::FromStr};

use crate::Fingerprint;

/// The kind of service, in the local domain.
pub const SERVICE: &str = "_ferry._tcp.local.";

/// The key of the newest version of the protocol that the server speaks.
pub const TXT_VERSION: &str = "v";

/// The key of the beginning of its fingerprint.
pub const TXT_FINGERPRINT: &str = "fp";

/// The beginning of a fingerprint: a hint that an announcement may be of the server with that key, and no more.
///
/// It has [`Prefix::CHARS`] characters of the fingerprint's text, which are 96 bits: no two servers share it by chance.
/// More would not make it more than a hint, because whoever has heard an announcement can repeat all of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(String);

/// A text is not the beginning of a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the first {} characters of a fingerprint", Prefix::CHARS)]
pub struct PrefixError;

impl Prefix {
    /// Characters of base64url, 6 bits each.
    pub const CHARS: usize = 16;

    /// Whether a server with this fingerprint has it.
    pub fn fits(&self, fingerprint: Fingerprint) -> bool {
        *self == fingerprint.prefix()
    }
}

impl Fingerprint {
    /// What an announcement tells of it.
    pub fn prefix(self) -> Prefix {
        Prefix(self.to_string().chars().take(Prefix::CHARS).collect())
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match text.len() == Prefix::CHARS && text.bytes().all(is_base64url) {
            true => Ok(Prefix(text.to_owned())),
            false => Err(PrefixError),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_fits_the_fingerprint_that_it_begins_and_no_other() {
        let fingerprint = Fingerprint::of_key(b"a key");
        let prefix = fingerprint.prefix();
        assert!(fingerprint.to_string().starts_with(&prefix.to_string()));
        assert_eq!(prefix.to_string().parse(), Ok(prefix.clone()));
        assert!(prefix.fits(fingerprint) && !prefix.fits(Fingerprint::of_key(b"another key")));
    }

    #[test]
    fn hostile_18_what_is_no_prefix_fits_nothing() {
        for text in [
            "",
            "A",
            "AAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAA\n",
            "AAAAAAAAAAAAAAA=",
            "äAAAAAAAAAAAAAA",
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(PrefixError), "{text:?}");
        }
    }
}
