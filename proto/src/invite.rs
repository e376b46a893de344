//! The link that introduces a client to a server, and the fingerprint in it.
//!
//! `ferry://ADDRESS[,ADDRESS…]/FINGERPRINT/SECRET`: addresses are `HOST:PORT`, an IPv6 one in brackets; the
//! fingerprint is the SHA-256 of the server's public key (SubjectPublicKeyInfo, DER), the secret 16 random
//! bytes, both in base64url without padding.

use std::{fmt, str::FromStr};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::limits;

/// The SHA-256 of a public key (SubjectPublicKeyInfo, DER): how a machine is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

/// What makes an invite valid, once. It is erased from memory when dropped and never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 16]);

/// An invite, as its link tells it.
///
/// ```
/// use ferry_proto::Invite;
///
/// let link = "ferry://nas.local:7117,[fe80::1]:7117/47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU/AAAAAAAAAAAAAAAAAAAAAA";
/// let invite: Invite = link.parse()?;
/// assert_eq!(invite.addresses, ["nas.local:7117", "[fe80::1]:7117"]);
/// assert_eq!(invite.to_link(), link);
/// # Ok::<(), ferry_proto::InviteError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// Where the server may be reached, best first: at least one, at most [`limits::ADDRESSES`].
    pub addresses: Vec<String>,
    /// The server's key.
    pub fingerprint: Fingerprint,
    /// What the server will ask for.
    pub secret: Secret,
}

/// Why a text is not an invite link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// It does not begin with `ferry://`.
    #[error("an invite link begins with `ferry://`")]
    Scheme,
    /// It does not have its three parts.
    #[error("the invite link is not complete: was a part of it lost in copying?")]
    Parts,
    /// An address is not `HOST:PORT`.
    #[error("the invite link has an address that is not HOST:PORT")]
    Address,
    /// The fingerprint is damaged.
    #[error("the invite link's fingerprint is damaged: was a part of it lost in copying?")]
    Fingerprint,
    /// The secret is damaged.
    #[error("the invite link's secret is damaged: was a part of it lost in copying?")]
    Secret,
}

impl Fingerprint {
    /// Of a digest made elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Fingerprint(bytes)
    }

    /// Of a public key: SubjectPublicKeyInfo in DER.
    pub fn of_key(spki: &[u8]) -> Self {
        Fingerprint(*crate::Algorithm::Sha256.digest(spki).bytes())
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        decode(text).map(Fingerprint).ok_or(InviteError::Fingerprint)
    }
}

impl Secret {
    /// From 16 random bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Secret(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// As it stands in links: 16 bytes in base64url without padding.
    pub fn to_text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// What a server keeps of it: enough to know it again, not enough to use it.
    pub fn digest(&self) -> [u8; 32] {
        *crate::Algorithm::Sha256.digest(&self.0).bytes()
    }
}

impl FromStr for Secret {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        decode(text).map(Secret).ok_or(InviteError::Secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Invite {
    /// Whether a text can be one of the addresses.
    pub fn is_address(text: &str) -> bool {
        is_address(text)
    }

    /// The link. It holds the secret, so it has no `Display`.
    pub fn to_link(&self) -> String {
        format!("ferry://{}/{}/{}", self.addresses.join(","), self.fingerprint, self.secret.to_text())
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invite(ferry://{}/{}/…)", self.addresses.join(","), self.fingerprint)
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(link: &str) -> Result<Self, InviteError> {
        let rest = link.trim().strip_prefix("ferry://").ok_or(InviteError::Scheme)?;
        let mut parts = rest.split('/');
        let (Some(addresses), Some(fingerprint), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InviteError::Parts);
        };
        let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
        if addresses.len() > limits::ADDRESSES || !addresses.iter().all(|a| is_address(a)) {
            return Err(InviteError::Address);
        }
        Ok(Invite { addresses, fingerprint: fingerprint.parse()?, secret: secret.parse()? })
    }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_is_fine = match bracketed {
        Some(v6) => {
            let (address, zone) = v6.split_once('%').unwrap_or((v6, "zone"));
            address.parse::<std::net::Ipv6Addr>().is_ok() && is_name(zone)
        }
        None => is_name(host),
    };
    let port_is_fine =
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
    host_is_fine && port_is_fine
}

fn is_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_damaged_link_says_what_is_wrong() {
        let whole = format!("ferry://host:7117/{FINGERPRINT}/{SECRET}");
        assert!(whole.parse::<Invite>().is_ok());
        assert!(format!("ferry://[fe80::1%eth0]:1/{FINGERPRINT}/{SECRET}").parse::<Invite>().is_ok());
        for (link, error) in [
            ("http://host".to_owned(), InviteError::Scheme),
            (format!("ferry://host:7117/{FINGERPRINT}"), InviteError::Parts),
            (format!("{whole}/more"), InviteError::Parts),
            (format!("ferry://host/{FINGERPRINT}/{SECRET}"), InviteError::Address),
            (format!("ferry://host:0/{FINGERPRINT}/{SECRET}"), InviteError::Address),
            (format!("ferry://host:+1/{FINGERPRINT}/{SECRET}"), InviteError::Address),
            (format!("ferry://[fe80::1%]:1/{FINGERPRINT}/{SECRET}"), InviteError::Address),
            (format!("ferry://[fe80::1%\x1b[31m]:1/{FINGERPRINT}/{SECRET}"), InviteError::Address),
            (format!("ferry://a b:1/{FINGERPRINT}/{SECRET}"), InviteError::Address),
            (format!("ferry://:1/{FINGERPRINT}/{SECRET}"), InviteError::Address),
            (format!("ferry://host:1,/{FINGERPRINT}/{SECRET}"), InviteError::Address),
            (format!("ferry://host:1/{}/{SECRET}", &FINGERPRINT[1..]), InviteError::Fingerprint),
            (whole[..whole.len() - 1].to_owned(), InviteError::Secret),
        ] {
            assert_eq!(link.parse::<Invite>(), Err(error), "{link}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let invite: Invite = format!("ferry://host:1/{FINGERPRINT}/{SECRET}").parse().unwrap();
        assert!(!format!("{invite:?} {:?}", invite.secret).contains("AAAA"));
    }
}
