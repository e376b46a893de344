//! The one place that knows how control payloads become bytes: bincode 2, standard configuration (little endian,
//! variable-length integers), with a limit.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error, SeqAccess, Visitor},
};

use crate::{frame::DecodeError, limits};

/// Appends the bytes of `value`. It cannot fail for the types of this crate: their lengths are all known ahead.
pub(crate) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, out, bincode::config::standard())
        .expect("writing to memory cannot fail, and every type here knows its length");
}

/// Reads exactly one value; bytes left over are an error.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let config = bincode::config::standard().with_limit::<{ limits::CONTROL }>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        Ok(_) => Err(DecodeError::TrailingBytes),
        Err(error) => Err(DecodeError::Malformed(error.to_string())),
    }
}

/// Reads a byte string of at most `limit` bytes.
pub(crate) fn byte_string<'de, D: Deserializer<'de>>(
    deserializer: D,
    limit: usize,
) -> Result<Vec<u8>, D::Error> {
    struct ByteString(usize);

    impl Visitor<'_> for ByteString {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {} bytes", self.0)
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            self.visit_byte_buf(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            if bytes.len() > self.0 { Err(E::invalid_length(bytes.len(), &self)) } else { Ok(bytes) }
        }
    }

    deserializer.deserialize_byte_buf(ByteString(limit))
}

/// For `#[serde(deserialize_with = "codec::list::<LIMIT, _, _>")]`: a sequence of at most `LIMIT` elements. The
/// number that is claimed reserves no more memory than the limit.
pub(crate) fn list<'de, const LIMIT: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct List<T, const LIMIT: usize>(PhantomData<T>);

    impl<'de, const LIMIT: usize, T: Deserialize<'de>> Visitor<'de> for List<T, LIMIT> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {LIMIT} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
            let claimed = elements.size_hint().unwrap_or(0);
            if claimed > LIMIT {
                return Err(A::Error::invalid_length(claimed, &self));
            }
            let mut list = Vec::with_capacity(claimed);
            while let Some(element) = elements.next_element()? {
                if list.len() == LIMIT {
                    return Err(A::Error::invalid_length(LIMIT + 1, &self));
                }
                list.push(element);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(List::<T, LIMIT>(PhantomData))
}

/// For `#[serde(with = "codec::sentence")]`: text of at most [`limits::DETAIL`] bytes, cut where it is longer.
pub(crate) mod sentence {
    use super::*;

    pub(crate) fn serialize<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        let end = text.floor_char_boundary(limits::DETAIL);
        serializer.serialize_str(&text[..end])
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        bounded_text(deserializer, limits::DETAIL)
    }
}

/// For `#[serde(with = "codec::label")]`: text of at most [`limits::AGENT`] bytes, cut where it is longer.
pub(crate) mod label {
    use super::*;

    pub(crate) fn serialize<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        let end = text.floor_char_boundary(limits::AGENT);
        serializer.serialize_str(&text[..end])
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        bounded_text(deserializer, limits::AGENT)
    }
}

fn bounded_text<'de, D: Deserializer<'de>>(deserializer: D, limit: usize) -> Result<String, D::Error> {
    let bytes = byte_string(deserializer, limit)?;
    String::from_utf8(bytes).map_err(|_| D::Error::custom("text is not UTF-8"))
}
