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
