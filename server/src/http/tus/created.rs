//! What an upload was created with, which its URL says.

use std::time::{Duration, SystemTime};

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use ferry_proto::{Code, Digest, RelPath, Timestamp};
use hyper::{HeaderMap, header::HeaderName};

use super::{
    super::{
        answer::Refusal,
        get::date,
        headers::{CONTENT_DIGEST, digest},
    },
    UPLOAD_CHECKSUM, UPLOAD_LENGTH, nameless, sha256,
};

/// See the module. Whoever makes up a URL gets what he could have created as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Created {
    /// Another one for each.
    pub(super) number: u64,
    /// In seconds since 1970 UTC.
    at: u64,
    pub(super) path: RelPath,
    pub(super) size: u64,
    pub(super) modified: Option<Timestamp>,
    pub(super) digest: Option<Digest>,
}

const DAY: u64 = 24 * 60 * 60;

impl Created {
    /// As the request wants it that creates one.
    pub(super) fn of_headers(headers: &HeaderMap) -> Result<Self, Refusal> {
        let size = number(headers, &UPLOAD_LENGTH)?;
        let text = headers.get(HeaderName::from_static("upload-metadata"));
        let text = text.map(|text| text.to_str()).transpose();
        let bad = |detail: &str| Refusal::bad_request(format!("Upload-Metadata: {detail}"));
        let text = text.map_err(|_| bad("it is not ASCII"))?.unwrap_or_default();
        let (mut path, mut modified, mut digest) = (None, None, None);
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let value = BASE64.decode(value.trim().as_bytes());
            let value = value.map_err(|_| bad("a value is not in base64"))?;
            match key {
                "filename" | "name" if !value.is_empty() => {
                    path = Some(
                        RelPath::new(&value)
                            .map_err(|error| Refusal::new(Code::BadName, error.to_string()))?,
                    );
                }
                "lastModified" => modified = milliseconds(&value),
                "sha256" => {
                    let bytes =
                        HEXLOWER_PERMISSIVE.decode(&value).ok().and_then(|bytes| bytes.try_into().ok());
                    digest = Some(sha256(bytes.ok_or_else(|| bad("sha256 is no SHA-256 in hexadecimal"))?));
                }
                // What others say of their files.
                _ => {}
            }
        }
        let path = path.unwrap_or_else(nameless);
        Ok(Created { number: fastrand::u64(..), at: now(), path, size, modified, digest })
    }

    /// All of it as letters for a URL.
    pub(super) fn to_id(&self) -> String {
        let Created { number, at, path, size, modified, digest } = self;
        let mut bytes = Vec::with_capacity(128 + path.as_bytes().len());
        for number in [number, at, size] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.push(u8::from(modified.is_some()) | u8::from(digest.is_some()) << 1);
        if let Some(modified) = modified {
            bytes.extend(modified.seconds().to_be_bytes());
            bytes.extend(modified.nanos().to_be_bytes());
        }
        if let Some(digest) = digest {
            bytes.extend(digest.bytes());
        }
        bytes.extend(path.as_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// What such letters say.
    pub(super) fn of_id(id: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(id.as_bytes()).ok()?;
        let mut rest = &bytes[..];
        let (number, at, size) = (take_u64(&mut rest)?, take_u64(&mut rest)?, take_u64(&mut rest)?);
        let [has] = take(&mut rest)?;
        if has > 3 {
            return None;
        }
        let modified = match has & 1 {
            0 => None,
            _ => {
                let seconds = i64::from_be_bytes(take(&mut rest)?);
                Some(Timestamp::new(seconds, u32::from_be_bytes(take(&mut rest)?)).ok()?)
            }
        };
        let digest = if has & 2 == 0 { None } else { Some(sha256(take(&mut rest)?)) };
        let path = RelPath::new(rest).ok()?;
        // Clocks are set back now and then, but nobody has created it tomorrow.
        if at > now() + DAY {
            return None;
        }
        Some(Created { number, at, path, size, modified, digest })
    }

    /// Whether it has been so long ago that only what has come by it keeps it.
    pub(super) fn is_over(&self, retention: Duration) -> bool {
        self.at().checked_add(retention).is_none_or(|end| end < SystemTime::now())
    }

    /// When it was created.
    pub(super) fn at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.at)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// When a retention is over, as HTTP says it.
pub(super) fn end(since: SystemTime, retention: Duration) -> Option<String> {
    let end = since.checked_add(retention)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    date(Timestamp::new(end.as_secs().try_into().ok()?, 0).ok()?)
}

/// Seconds since 1970 UTC.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A header that has to be there, and a number.
pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Refusal> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    let digits = value.filter(|value| !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()));
    let number =
        digits.and_then(|digits| digits.parse().ok()).filter(|&number| number <= ferry_proto::limits::FILE);
    number.ok_or_else(|| Refusal::bad_request(format!("{name} is missing, or no number that can be")))
}

/// The checksum of a part, if one is said: tus has a header for it, and so has HTTP.
pub(super) fn checksum(headers: &HeaderMap) -> Result<Option<Digest>, Refusal> {
    let Some(value) = headers.get(UPLOAD_CHECKSUM) else { return digest(headers, &[CONTENT_DIGEST]) };
    let bytes = value.to_str().ok().and_then(|value| {
        let value = value.strip_prefix("sha256 ")?;
        BASE64.decode(value.trim().as_bytes()).ok()?.try_into().ok()
    });
    let bad = || Refusal::bad_request("Upload-Checksum is no SHA-256: `sha256` and its base64");
    bytes.map(|bytes| Some(sha256(bytes))).ok_or_else(bad)
}

/// A browser's time of a file. One that makes no sense is none.
fn milliseconds(text: &[u8]) -> Option<Timestamp> {
    let all: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let nanos = u32::try_from(all.rem_euclid(1000)).ok()? * 1_000_000;
    Timestamp::new(all.div_euclid(1000), nanos).ok()
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(length: &str, metadata: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(UPLOAD_LENGTH, HeaderValue::from_str(length).unwrap());
        if let Some(metadata) = metadata {
            headers.insert("upload-metadata", HeaderValue::from_str(metadata).unwrap());
        }
        headers
    }

    fn of(metadata: &str) -> Result<Created, Refusal> {
        Created::of_headers(&headers("7", Some(metadata)))
    }

    fn said(key: &str, value: &[u8]) -> String {
        format!("{key} {}", BASE64.encode(value))
    }

    #[test]
    fn what_was_created_comes_back_out_of_its_url() {
        let digest = sha256([7; 32]);
        let name = said("filename", "a/é \u{202e}.jpg".as_bytes());
        let time = said("lastModified", b"1795000000123");
        let sum = said("sha256", digest.hex().as_bytes());
        for metadata in
            [name.clone(), format!("{name},{time}"), format!("{time}, {sum},{name},is_confidential")]
        {
            let created = of(&metadata).unwrap();
            assert_eq!(Created::of_id(&created.to_id()), Some(created.clone()));
            assert_eq!((created.path.as_bytes(), created.size), ("a/é \u{202e}.jpg".as_bytes(), 7));
            assert!(!created.is_over(Duration::from_secs(60)) && created.is_over(Duration::ZERO));
        }
        let created = of(&format!("{name},{time},{sum}")).unwrap();
        assert_eq!(created.modified, Timestamp::new(1_795_000_000, 123_000_000).ok());
        assert_eq!(created.digest, Some(digest));
        assert_ne!(of(&name).unwrap().number, of(&name).unwrap().number);
    }

    #[test]
    fn who_says_nothing_of_a_file_gets_a_plain_name() {
        for metadata in [None, Some(""), Some("filename"), Some("filename ,x")] {
            let created = Created::of_headers(&headers("0", metadata)).unwrap();
            assert_eq!((created.path, created.size), (nameless(), 0));
        }
    }

    #[test]
    fn hostile_01_names_of_uploads_are_checked_like_all_names() {
        for name in ["../x", "a/../../x", "/etc/x", "a//b", "./a", "a/.", "a\0b", ".ferry/x", ".FERRY"] {
            assert!(of(&said("filename", name.as_bytes())).is_err(), "{name:?}");
            let mut id = of(&said("filename", b"x")).unwrap();
            id.path = RelPath::new("x").unwrap();
            let mut bytes = BASE64URL_NOPAD.decode(id.to_id().as_bytes()).unwrap();
            bytes.truncate(bytes.len() - 1);
            bytes.extend(name.as_bytes());
            assert_eq!(Created::of_id(&BASE64URL_NOPAD.encode(&bytes)), None, "{name:?}");
        }
    }

    #[test]
    fn hostile_09_numbers_that_cannot_be_are_refused() {
        for length in ["", "-1", "+1", "1.5", "9223372036854775808", "99999999999999999999", "0x10", " 1 2"] {
            assert!(Created::of_headers(&headers(length, None)).is_err(), "{length:?}");
        }
        assert!(of("filename not*base64").is_err());
        assert!(of(&said("sha256", b"1234")).is_err());
        for time in ["", "x", "99999999999999999999999", "1.5"] {
            assert_eq!(of(&said("lastModified", time.as_bytes())).unwrap().modified, None);
        }
        for id in ["", "A", "AAAA", "é", "////"] {
            assert_eq!(Created::of_id(id), None);
        }
    }
}
