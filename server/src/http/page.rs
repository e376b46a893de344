//! The page, as it lies in the binary.

use ferry_proto::Algorithm;
use hyper::{HeaderMap, StatusCode, header};

use super::{
    answer::{self, Answer, Refusal},
    get::is_known,
};

/// One file of the page.
struct Part {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! parts {
    ($($name:literal: $media_type:literal,)*) => {
        &[$(Part {
            name: $name,
            media_type: $media_type,
            bytes: include_bytes!(concat!("../../page/", $name)),
        },)*]
    };
}

/// All there is.
const PARTS: &[Part] = parts! {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "album.js": "text/javascript; charset=utf-8",
    "choosing.js": "text/javascript; charset=utf-8",
    "elements.js": "text/javascript; charset=utf-8",
    "facts.js": "text/javascript; charset=utf-8",
    "fault.js": "text/javascript; charset=utf-8",
    "full.js": "text/javascript; charset=utf-8",
    "grid.js": "text/javascript; charset=utf-8",
    "hasher.js": "text/javascript; charset=utf-8",
    "hashing.js": "text/javascript; charset=utf-8",
    "hex.js": "text/javascript; charset=utf-8",
    "http.js": "text/javascript; charset=utf-8",
    "known.js": "text/javascript; charset=utf-8",
    "memory.js": "text/javascript; charset=utf-8",
    "pace.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "photos.js": "text/javascript; charset=utf-8",
    "place.js": "text/javascript; charset=utf-8",
    "queue.js": "text/javascript; charset=utf-8",
    "rows.js": "text/javascript; charset=utf-8",
    "session.js": "text/javascript; charset=utf-8",
    "sha256.js": "text/javascript; charset=utf-8",
    "shown.js": "text/javascript; charset=utf-8",
    "tiles.js": "text/javascript; charset=utf-8",
    "tus.js": "text/javascript; charset=utf-8",
    "upload.js": "text/javascript; charset=utf-8",
    "view.js": "text/javascript; charset=utf-8",
    "vigil.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
};

/// `GET /` and `GET /page/NAME`. What has a new version has another tag, so browsers ask each time and are rarely sent it.
pub(super) fn part(name: &str, headers: &HeaderMap) -> Answer {
    let part = PARTS.iter().find(|part| part.name == name).ok_or_else(Refusal::not_found)?;
    let tag = format!("\"{}\"", Algorithm::Sha256.digest(part.bytes).hex());
    let mut response = match is_known(headers, &tag) {
        true => answer::nothing(StatusCode::NOT_MODIFIED),
        false => hyper::Response::new(answer::full(part.bytes)),
    };
    answer::set(&mut response, header::CONTENT_TYPE, part.media_type);
    answer::set(&mut response, header::CACHE_CONTROL, "no-cache");
    answer::put(&mut response, header::ETAG, &tag);
    Ok(response)
}
