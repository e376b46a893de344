//! What the page shows of a folder: `GET /list`, `/thumbs` and `/facts`.

use ferry_proto::{RelPath, escape};
use hyper::{HeaderMap, Response, StatusCode, header};
use serde::Serialize;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{
    Web,
    answer::{self, Answer, Refusal},
    get::is_known,
    in_inbox, media, place, url,
};
use crate::{
    catalogue::Client,
    clients::rfc3339,
    gallery::{Facts, GalleryError, Listed, Listing},
};

/// Requests that look at pictures at a time, of all clients together.
const VIEWERS: usize = 64;

/// Listings at a time, of all clients together: one of 50,000 entries takes 25 MB until it has left.
const LISTINGS: usize = 8;

impl From<GalleryError> for Refusal {
    fn from(error: GalleryError) -> Self {
        match error {
            GalleryError::Inbox(error) => error.into(),
            error => {
                tracing::warn!(%error, "a picture cannot be shown");
                Refusal::internal()
            }
        }
    }
}

/// A file, as it is listed.
#[derive(Serialize)]
struct File<'a> {
    name: String,
    url: String,
    size: u64,
    modified: i64,
    kind: &'static str,
    version: String,
    taken: Option<&'a str>,
    width: Option<u32>,
    height: Option<u32>,
}

impl<'a> File<'a> {
    fn of(listed: &'a Listed) -> Self {
        let Listed { name, entry, size, key, facts } = listed;
        let (name, url) = said(name);
        File {
            kind: kind(listed.name.as_slice(), facts.as_ref()),
            name,
            url,
            size: *size,
            modified: milliseconds(entry.modified),
            version: key.version(),
            taken: facts.as_ref().and_then(|facts| facts.taken.as_deref()),
            width: facts.as_ref().and_then(|facts| facts.width),
            height: facts.as_ref().and_then(|facts| facts.height),
        }
    }
}

/// A name for people, and for a URL. The page makes text inert where it shows it; bytes that are no text are escaped here.
fn said(name: &[u8]) -> (String, String) {
    let text = std::str::from_utf8(name).map_or_else(|_| escape::bytes(name).to_string(), str::to_owned);
    (text, url::encode_bytes(name))
}

fn kind(name: &[u8], facts: Option<&Facts>) -> &'static str {
    match facts {
        Some(facts) if facts.is_decoded => return "picture",
        Some(facts) if facts.media_type.is_some() => return "image",
        _ => {}
    }
    match media::of_name(name).media_type.split('/').next() {
        // It has not been looked into yet, or is none.
        Some("image") if facts.is_none() => "picture",
        Some("video") => "video",
        Some("audio") => "audio",
        _ => "other",
    }
}

fn milliseconds(time: ferry_proto::Timestamp) -> i64 {
    time.seconds().saturating_mul(1000).saturating_add(i64::from(time.nanos() / 1_000_000))
}

/// `GET /list/PATH`: what a folder holds, newest first.
pub(super) async fn list(web: &Web, client: &Client, path: Option<RelPath>) -> Answer {
    let folder = match path {
        Some(path) => Some(in_inbox(client, &path)?),
        None => client.grant.folder.clone(),
    };
    let with_facts = client.grant.get;
    let share = place(&web.listers, client, LISTINGS).await?;
    let gallery = web.gallery.clone();
    let told = spawn_blocking(move || {
        let Listing { folders, files, is_looking, has_more } = gallery.list(folder.as_ref(), with_facts)?;
        let folders = folders.iter().map(|name| {
            let (name, url) = said(name);
            json!({ "name": name, "url": url })
        });
        let (folders, files): (Vec<_>, Vec<_>) = (folders.collect(), files.iter().map(File::of).collect());
        let told = json!({ "folders": folders, "files": files, "looking": is_looking, "more": has_more });
        Ok::<_, Refusal>((told.to_string(), share))
    });
    let (told, share) = told.await.map_err(|_| Refusal::internal())??;
    let mut response = Response::new(answer::pieces(told, share));
    answer::set(&mut response, header::CONTENT_TYPE, "application/json");
    Ok(response)
}

/// `GET /thumbs/PATH`: a small picture.
pub(super) async fn thumbnail(
    web: &Web,
    client: &Client,
    path: RelPath,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Answer {
    let path = in_inbox(client, &path)?;
    let _share = place(&web.viewers, client, VIEWERS).await?;
    let (jpeg, version) = web.gallery.thumbnail(path).await?.ok_or_else(Refusal::not_found)?;
    let tag = format!("\"{version}\"");
    let mut response = match is_known(headers, &tag) {
        true => answer::nothing(StatusCode::NOT_MODIFIED),
        false => Response::new(answer::full(jpeg)),
    };
    answer::set(&mut response, header::CONTENT_TYPE, "image/jpeg");
    answer::put(&mut response, header::ETAG, &tag);
    let is_of_version = query.and_then(|query| query.strip_prefix("v=")) == Some(&version);
    let kept = if is_of_version { "private, max-age=31536000, immutable" } else { "private, no-cache" };
    answer::set(&mut response, header::CACHE_CONTROL, kept);
    Ok(response)
}

/// `GET /facts/PATH`: all that is known of a file.
pub(super) async fn facts(web: &Web, client: &Client, path: RelPath) -> Answer {
    let path = in_inbox(client, &path)?;
    let share = place(&web.viewers, client, VIEWERS).await?;
    let (gallery, catalogue) = (web.gallery.clone(), web.house.catalogue.clone());
    let told = spawn_blocking(move || {
        // Until it is done, whoever waits for it.
        let _share = share;
        let (file, facts) = gallery.file(&path)?;
        let digest = file.digest();
        let arrival = digest.and_then(|_| catalogue.arrival_of(&path).ok().flatten());
        let (received, from) = arrival.unzip();
        let kind = kind(path.name(), facts.as_ref());
        let mut told = json!(facts.unwrap_or_default());
        let (name, _) = said(path.name());
        let more = json!({
            "name": name,
            "kind": kind,
            "size": file.source.identity().size,
            "modified": milliseconds(file.modified()),
            "digest": digest.map(|digest| format!("sha256:{}", digest.hex())),
            "received": received.map(rfc3339),
            "from": from,
        });
        if let (Some(told), serde_json::Value::Object(more)) = (told.as_object_mut(), more) {
            told.remove("is_decoded");
            told.extend(more);
        }
        Ok::<_, Refusal>(told)
    });
    Ok(answer::object(&told.await.map_err(|_| Refusal::internal())??))
}
