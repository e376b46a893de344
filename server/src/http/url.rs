//! Paths of files in URLs. A name is decoded once, component by component, and checked in the form in which it is opened.

use std::{borrow::Cow, fmt::Write};

use ferry_proto::{PathError, RelPath};
use percent_encoding::percent_decode_str;

/// Why a URL names no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    /// A `/` that is not one between two names.
    #[error("a name in the path has an encoded `/` in it")]
    Slash,
    /// A `%` that two hexadecimal digits do not follow.
    #[error("the path has a `%` in it that encodes nothing")]
    Percent,
    /// What it encodes is no path.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// What the rest of a URL's path names, below the folder that its client sees; `None` is that folder.
pub(super) fn decode(encoded: &str) -> Result<Option<RelPath>, UrlError> {
    let encoded = encoded.strip_prefix('/').unwrap_or(encoded);
    if encoded.is_empty() {
        return Ok(None);
    }
    let names = encoded.split('/').map(decode_name).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(RelPath::new(names.join(&b'/'))?))
}

fn decode_name(encoded: &str) -> Result<Cow<'_, [u8]>, UrlError> {
    let mut percents = encoded.split('%').skip(1);
    let is_hex = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if !percents.all(is_hex) {
        return Err(UrlError::Percent);
    }
    let name: Cow<'_, [u8]> = percent_decode_str(encoded).into();
    if name.contains(&b'/') {
        return Err(UrlError::Slash);
    }
    Ok(name)
}

/// A path as it stands in a URL: what a browser would make of each name, and nothing that anything on the way reads
/// otherwise.
pub(super) fn encode(path: &RelPath) -> String {
    encode_bytes(path.as_bytes())
}

/// The same for one name of a path, or several.
pub(super) fn encode_bytes(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(byte.into())
            }
            // Writing to a string cannot fail.
            other => drop(write!(encoded, "%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_02_a_name_is_decoded_once_and_checked_as_it_is_opened() {
        let path = |bytes: &[u8]| Ok(Some(RelPath::new(bytes).unwrap()));
        assert_eq!(decode(""), Ok(None));
        assert_eq!(decode("/"), Ok(None));
        assert_eq!(decode("/a%20b/c.jpg"), path(b"a b/c.jpg"));
        assert_eq!(decode("/caf%C3%A9"), path("café".as_bytes()));
        // Twice encoded is a name with a percent sign; what is not UTF-8 is a name, too, and no other one.
        assert_eq!(decode("/%252e%252e"), path(b"%2e%2e"));
        assert_eq!(decode("/%252f"), path(b"%2f"));
        assert_eq!(decode("/%C0%AE%C0%AE/%C0%AF"), path(b"\xc0\xae\xc0\xae/\xc0\xaf"));
        assert_eq!(decode("/a\\b:c"), path(b"a\\b:c"));
        assert_eq!(decode("/a+b"), path(b"a+b"));
        assert_eq!(decode("/e%CC%81"), path("e\u{301}".as_bytes()));
        assert_eq!(decode("/\u{2024}\u{2024}"), path("\u{2024}\u{2024}".as_bytes()));
        for (encoded, error) in [
            ("/..", UrlError::Path(PathError::Dots)),
            ("/a/../b", UrlError::Path(PathError::Dots)),
            ("/%2e%2e/x", UrlError::Path(PathError::Dots)),
            ("/.%2E", UrlError::Path(PathError::Dots)),
            ("/%2e/x", UrlError::Path(PathError::Dots)),
            ("//etc/passwd", UrlError::Path(PathError::EmptyComponent)),
            ("/a//b", UrlError::Path(PathError::EmptyComponent)),
            ("/a/", UrlError::Path(PathError::EmptyComponent)),
            ("/a%00b", UrlError::Path(PathError::Nul)),
            ("/.ferry/x", UrlError::Path(PathError::Reserved)),
            ("/%2eFERRY/x", UrlError::Path(PathError::Reserved)),
            ("/a%2fb", UrlError::Slash),
            ("/..%2f..%2fetc", UrlError::Slash),
            ("/a%", UrlError::Percent),
            ("/a%2", UrlError::Percent),
            ("/%zz", UrlError::Percent),
            ("/%+1", UrlError::Percent),
        ] {
            assert_eq!(decode(encoded), Err(error), "{encoded}");
        }
        assert!(decode(&format!("/{}", "%61".repeat(256))).is_err());
        assert!(decode(&"/x".repeat(200)).is_err());
    }

    #[test]
    fn what_was_encoded_comes_back() {
        let all: Vec<u8> = (1..=255).filter(|&b| b != b'/').collect();
        for bytes in [&all[..200], &all[200..], b"a/b c/%2e", "\u{202e}gpj.exe".as_bytes()] {
            let path = RelPath::new(bytes).unwrap();
            assert_eq!(decode(&encode(&path)), Ok(Some(path.clone())));
            assert!(encode(&path).bytes().all(|b| b.is_ascii_graphic()));
        }
    }
}
