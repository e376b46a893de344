//! Error codes: what one side tells the other, as numbers that stay.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a session, an offer or a body ended. Numbers below 32 may end a session, the others
        /// end one file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
            /// A number this version does not know.
            Other(u16),
        }

        impl Code {
            /// Every code this version knows.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The number on the wire.
            pub fn number(self) -> u16 {
                match self {
                    $(Code::$name => $number,)*
                    Code::Other(number) => number,
                }
            }

            /// The code with this number.
            pub fn from_number(number: u16) -> Code {
                match number {
                    $($number => Code::$name,)*
                    other => Code::Other(other),
                }
            }

            /// Its name, as PROTOCOL.md has it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Code::$name => stringify!($name),)*
                    Code::Other(_) => "Other",
                }
            }

            /// What somebody says of it, or else its own phrase.
            pub fn explained(self, detail: &str) -> &str {
                if detail.is_empty() { self.phrase() } else { detail }
            }

            /// A short phrase for people.
            pub fn phrase(self) -> &'static str {
                match self {
                    $(Code::$name => $text,)*
                    Code::Other(_) => "unknown error",
                }
            }
        }
    };
}

codes! {
    /// No error: the side has finished.
    Bye = 0, "finished";
    /// Malformed bytes, or well-formed ones out of place.
    Protocol = 1, "protocol violation";
    /// No protocol version in common.
    Version = 2, "no protocol version in common";
    /// The client's key is not enrolled.
    UnknownClient = 3, "unknown client";
    /// The invite is unknown, expired or used up.
    InvalidInvite = 4, "invite not valid";
    /// The grant does not allow it.
    NotAllowed = 5, "not allowed";
    /// The client was revoked.
    Revoked = 6, "revoked";
    /// The grant's time is over.
    Expired = 7, "expired";
    /// A limit of the server is reached.
    Busy = 8, "too busy";
    /// Nothing was heard for too long.
    Silent = 9, "silent for too long";
    /// The server stops.
    Stopping = 10, "server is stopping";
    /// The request is not known here.
    Unsupported = 11, "not supported";
    /// A fault of the side that says so.
    Internal = 12, "internal error";

    /// The name is not a valid relative path here.
    BadName = 32, "name not acceptable";
    /// The receiving file system cannot hold this name.
    NameUnsupported = 33, "file system cannot hold this name";
    /// A file would replace a folder, or a folder a file.
    KindConflict = 34, "something of another kind has this name";
    /// The name is taken and the conflict policy leaves it alone.
    Exists = 35, "already exists";
    /// No space is left.
    StorageFull = 36, "no space left on the server";
    /// The storage cannot be written.
    StorageDenied = 37, "server may not write there";
    /// Another error of the storage.
    StorageFailed = 38, "storage error";
    /// The bytes do not have the digest.
    DigestMismatch = 39, "digest mismatch";
    /// The body is longer or shorter than announced.
    SizeMismatch = 40, "size mismatch";
    /// The source changed while it was read.
    SourceChanged = 41, "source changed while being read";
    /// The source cannot be read.
    SourceUnreadable = 42, "source cannot be read";
    /// The source is no longer there.
    SourceVanished = 43, "source vanished";
    /// The sender stopped this body because its receiver had failed it.
    Cancelled = 44, "cancelled";
    /// The grant's quota is reached.
    QuotaExceeded = 45, "quota exceeded";
    /// The file is larger than allowed.
    TooLarge = 46, "file too large";
    /// Another connection took this body over.
    TakenOver = 47, "another connection took over";
    /// The receiver has asked for a whole, and does not want this part of it.
    NotChosen = 48, "not chosen";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Code::Other(number) => write!(f, "error {number}"),
            known => f.write_str(known.phrase()),
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.number())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u16::deserialize(deserializer).map(Code::from_number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_distinct_and_come_back() {
        let mut seen = std::collections::HashSet::new();
        for &code in Code::ALL {
            assert!(seen.insert(code.number()), "{code:?} shares its number");
            assert_eq!(Code::from_number(code.number()), code);
        }
        assert_eq!(Code::from_number(9999), Code::Other(9999));
    }
}
