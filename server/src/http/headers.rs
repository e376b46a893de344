//! Headers that this server reads and writes beside those that everybody knows.

use data_encoding::BASE64;
use ferry_proto::{Algorithm, Digest};
use hyper::{HeaderMap, header::HeaderName};

use super::answer::Refusal;

/// The digest of a whole file (RFC 9530).
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The digest of what a message holds (RFC 9530): of a whole file that is sent as it is, the same.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// `sent` or `held`.
pub(super) const FERRY_STATUS: HeaderName = HeaderName::from_static("ferry-status");

/// As RFC 9530 says it.
pub(super) fn said_digest(digest: &Digest) -> String {
    format!("sha-256=:{}:", BASE64.encode(digest.bytes()))
}

/// The digest that a request says in these headers, by an algorithm that is known here. Others say nothing, as the RFC wants it.
pub(super) fn digest(headers: &HeaderMap, names: &[HeaderName]) -> Result<Option<Digest>, Refusal> {
    let mut found: Option<Digest> = None;
    for name in names {
        for value in headers.get_all(name) {
            let bad = || Refusal::bad_request(format!("{name} is not what RFC 9530 calls a digest"));
            let members = value.to_str().map_err(|_| bad())?.split(',');
            for member in members {
                let (key, value) = member.trim().split_once('=').ok_or_else(bad)?;
                if key != "sha-256" {
                    continue;
                }
                let value =
                    value.strip_prefix(':').and_then(|value| value.strip_suffix(':')).ok_or_else(bad)?;
                let bytes = BASE64.decode(value.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
                let said = Digest::new(Algorithm::Sha256, bytes.ok_or_else(bad)?);
                if found.is_some_and(|found| found != said) {
                    return Err(Refusal::bad_request("the request has two digests that differ"));
                }
                found = Some(said);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn read(pairs: &[(HeaderName, &str)]) -> Result<Option<Digest>, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        digest(&headers, &[REPR_DIGEST, CONTENT_DIGEST])
    }

    #[test]
    fn a_digest_is_read_as_the_rfc_writes_it() {
        // RFC 9530, appendix: the digest of `{"hello": "world"}` and a newline.
        let said = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        let expected = Algorithm::Sha256.digest(b"{\"hello\": \"world\"}\n");
        assert_eq!(read(&[(REPR_DIGEST, said)]).unwrap(), Some(expected));
        assert_eq!(said_digest(&expected), said);
        assert_eq!(read(&[(CONTENT_DIGEST, said), (REPR_DIGEST, said)]).unwrap(), Some(expected));
        let many = format!("sha-512=:AAAA:, unixsum=7 , {said}");
        assert_eq!(read(&[(REPR_DIGEST, &many)]).unwrap(), Some(expected));
        assert_eq!(read(&[(REPR_DIGEST, "sha-512=:AAAA:")]).unwrap(), None);
        assert_eq!(read(&[]).unwrap(), None);
    }

    #[test]
    fn hostile_09_what_is_no_digest_is_refused() {
        let said = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        let other = said_digest(&Algorithm::Sha256.digest(b""));
        for bad in ["", "sha-256", "sha-256=", "sha-256=::", "sha-256=:AAAA:", "sha-256=RK/0", "sha-256=:é:"]
        {
            assert!(read(&[(REPR_DIGEST, bad)]).is_err(), "{bad:?}");
        }
        assert!(read(&[(REPR_DIGEST, said), (CONTENT_DIGEST, &other)]).is_err());
    }
}
