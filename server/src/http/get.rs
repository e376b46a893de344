//! `GET /files/PATH`: a file as it lies in the inbox. What was uploaded is never run, whatever it is.

use ferry_proto::{Digest, RelPath, Timestamp};
use ferry_store::source::Identity;
use hyper::{HeaderMap, Response, StatusCode, header};
use tokio::task::spawn_blocking;

use super::{
    Web,
    answer::{self, Answer, Body, Refusal},
    headers::{REPR_DIGEST, said_digest},
    in_inbox, media, place,
    reading::Reading,
    url,
};
use crate::{
    catalogue::Client,
    inbox::{self, InboxError},
};

/// Requests for files that are answered at a time, of all clients together.
const READERS: usize = 128;

/// Which bytes of a file are wanted.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part {
        first: u64,
        last: u64,
    },
    /// There are none.
    Nothing,
}

/// Gives a file, or a part of it.
pub(super) async fn get(
    web: &Web,
    client: &Client,
    path: RelPath,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Answer {
    let share = place(&web.readers, client, READERS).await?;
    let (house, there) = (web.house.clone(), in_inbox(client, &path)?);
    let opened = spawn_blocking(move || inbox::open(&house.shelf, &house.catalogue, &there));
    let file = opened.await.map_err(|_| Refusal::internal())??;
    let (identity, digest, modified) = (file.source.identity(), file.digest(), file.modified());
    let (size, tag) = (identity.size, tag(&identity, digest.as_ref()));
    let wanted = match headers.get(header::RANGE).filter(|_| is_same(headers, &tag)) {
        Some(range) => range.to_str().map_or(Wanted::All, |range| part(range, size)),
        None => Wanted::All,
    };
    let is_known = is_known(headers, &tag);
    let (status, first, length) = match wanted {
        _ if is_known => (StatusCode::NOT_MODIFIED, 0, 0),
        Wanted::All => (StatusCode::OK, 0, size),
        Wanted::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Wanted::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    let mut response = match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
            let (uploads, told) = (web.house.uploads.clone(), (web.journal(client), path.clone()));
            let part = first..first + length;
            let reading = Reading::new(file, part, uploads, told, web.stays(client), share);
            let mut response = Response::new(Body::new(reading.map_err(InboxError::from)?));
            answer::put(&mut response, header::CONTENT_LENGTH, &length.to_string());
            response
        }
        _ => Response::new(answer::empty()),
    };
    *response.status_mut() = status;
    answer::put(&mut response, header::ETAG, &tag);
    // Anybody may have touched it by the next time, and it is nobody's but this visitor's.
    answer::set(&mut response, header::CACHE_CONTROL, "private, no-cache");
    match status {
        StatusCode::NOT_MODIFIED => return Ok(response),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            answer::put(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(response);
        }
        StatusCode::PARTIAL_CONTENT => {
            let range = format!("bytes {first}-{}/{size}", first + length - 1);
            answer::put(&mut response, header::CONTENT_RANGE, &range);
        }
        _ => {}
    }
    describe(&mut response, &path, query == Some("download"));
    answer::set(&mut response, header::ACCEPT_RANGES, "bytes");
    if let Some(digest) = &digest {
        answer::put(&mut response, REPR_DIGEST, &said_digest(digest));
    }
    if let Some(date) = date(modified) {
        answer::put(&mut response, header::LAST_MODIFIED, &date);
    }
    Ok(response)
}

/// What a version is known by: its digest where that is known, else whatever the disk says of it.
fn tag(identity: &Identity, digest: Option<&Digest>) -> String {
    match digest {
        Some(digest) => format!("\"{}\"", digest.hex()),
        None => {
            let Identity { inode, size, changed, .. } = identity;
            format!("W/\"{inode:x}-{size:x}-{:x}.{:x}\"", changed.seconds(), changed.nanos())
        }
    }
}

/// Whether whoever asks has this version.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|value| value.trim() == "*" || opaque(value) == opaque(tag))
}

/// Whether a range may be of this version: where that is asked, it has to be the very same.
fn is_same(headers: &HeaderMap, tag: &str) -> bool {
    headers.get(header::IF_RANGE).is_none_or(|value| value == tag && !tag.starts_with("W/"))
}

/// Which part a header asks for. One that asks for several, or cannot be read, gets the whole, as it may.
fn part(range: &str, size: u64) -> Wanted {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More than can be counted is more than there is.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let bounds = match (first, last) {
        ("", last) => number(last).map(|length| (size - length.min(size), size.wrapping_sub(1), length == 0)),
        (first, "") => number(first).map(|first| (first, size.wrapping_sub(1), false)),
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Some((first, last, false)),
            _ => None,
        },
    };
    match bounds {
        None => Wanted::All,
        Some((first, _, is_empty)) if is_empty || first >= size => Wanted::Nothing,
        Some((first, last, _)) => Wanted::Part { first, last: last.min(size - 1) },
    }
}

/// Says what a file is, and how a browser is to take it. Only what no browser runs is shown in place.
fn describe(response: &mut Response<Body>, path: &RelPath, is_download: bool) {
    let media = media::of_name(path.name());
    answer::set(response, header::CONTENT_TYPE, media.media_type);
    answer::set(response, header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    let how = if media.is_shown && !is_download { "inline" } else { "attachment" };
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b" .-_()".contains(b);
    let plain: String = path.name().iter().map(|b| if is_plain(b) { char::from(*b) } else { '_' }).collect();
    // RFC 6266: the first form for who does not know the second, which says the name itself.
    let whole = url::encode_bytes(path.name());
    let disposition = format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{whole}");
    answer::put(response, header::CONTENT_DISPOSITION, &disposition);
}

/// A point in time as HTTP says it.
pub(super) fn date(time: Timestamp) -> Option<String> {
    let time = jiff::Timestamp::from_second(time.seconds()).ok()?;
    Some(time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn hostile_09_ranges_are_what_the_rfc_says_and_never_more_than_there_is() {
        let of_ten = |range| part(range, 10);
        let some = |first, last| Wanted::Part { first, last };
        assert_eq!(of_ten("bytes=0-3"), some(0, 3));
        assert_eq!(of_ten("bytes=3-"), some(3, 9));
        assert_eq!(of_ten("bytes=-3"), some(7, 9));
        assert_eq!(of_ten("bytes=-30"), some(0, 9));
        assert_eq!(of_ten("bytes=9-99999999999999999999999"), some(9, 9));
        for nothing in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(of_ten(nothing), Wanted::Nothing, "{nothing}");
        }
        for all in [
            "bytes=",
            "bytes=-",
            "bytes=3-2",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "lines=1-2",
            "bytes=-1-",
        ] {
            assert_eq!(of_ten(all), Wanted::All, "{all}");
        }
        for range in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(part(range, 0), Wanted::Nothing, "{range}");
        }
    }

    #[test]
    fn a_version_is_known_by_its_tag() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            headers.insert(header::IF_RANGE, HeaderValue::from_static(value));
            headers
        };
        for (value, known, same) in [
            ("\"a\"", true, true),
            ("\"b\", \"a\"", true, false),
            ("W/\"a\"", true, false),
            ("*", true, false),
            ("\"b\"", false, false),
            ("a", false, false),
        ] {
            assert_eq!(
                (is_known(&with(value), "\"a\""), is_same(&with(value), "\"a\"")),
                (known, same),
                "{value}"
            );
        }
        assert!(!is_same(&with("W/\"a\""), "W/\"a\""), "a weak tag proves nothing of bytes");
        assert!(is_same(&HeaderMap::new(), "\"a\"") && !is_known(&HeaderMap::new(), "\"a\""));
    }
}
