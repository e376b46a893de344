//! `PUT /files/PATH`: the body is the file, and the answer its receipt.

use std::future::pending;

use ferry_proto::{Code, Conflict, Digest, Header, Kind, RelPath};
use ferry_store::{Cut, Outcome};
use hyper::{HeaderMap, StatusCode, body::Incoming, header};
use serde_json::json;

use super::{
    Web,
    answer::{self, Answer, Refusal},
    headers::{self, CONTENT_DIGEST, REPR_DIGEST},
    intake::{self, Begun, Offer, Receipt, Sink, Stopped},
};
use crate::catalogue::Client;

/// Takes a file. Where another one has its name, both are kept; with `If-None-Match: *` it is refused.
pub(super) async fn put(
    web: &Web,
    client: &Client,
    path: RelPath,
    headers: &HeaderMap,
    body: &mut Incoming,
    cut: Cut,
) -> Answer {
    if headers.contains_key(header::CONTENT_RANGE) {
        let detail = "a part of a file cannot be put: tus, at /uploads, can go on with one";
        return Err(Refusal::bad_request(detail));
    }
    let said = headers::digest(headers, &[REPR_DIGEST, CONTENT_DIGEST])?;
    let size = length(headers)?;
    let only_if_new = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == "*");
    let conflict = if only_if_new { Conflict::Fail } else { Conflict::KeepBoth };
    let offer = Offer::new(web, client, conflict, None, cut);
    let header = Header { size, digest: said, ..Header::new(path.clone(), Kind::File) };
    let stored = store(web, &offer, header, said, body).await;
    let receipt =
        stored.and_then(|outcome| Receipt::of(outcome, &path)).map_err(|refusal| match refusal.code() {
            Code::Exists if only_if_new => refusal.with_status(StatusCode::PRECONDITION_FAILED),
            _ => refusal,
        })?;
    let mut response = answer::object(&json!({
        "status": receipt.status,
        "name": receipt.name.to_string(),
        "location": receipt.location(),
        "digest": format!("sha256:{}", receipt.digest.hex()),
    }));
    receipt.put_into(&mut response);
    if receipt.status == "sent" {
        *response.status_mut() = StatusCode::CREATED;
        answer::put(&mut response, header::LOCATION, &receipt.location());
    }
    Ok(response)
}

async fn store(
    web: &Web,
    offer: &Offer,
    header: Header,
    said: Option<Digest>,
    body: &mut Incoming,
) -> Result<Outcome, Refusal> {
    let (ticket, waiting) = match offer.begin(web, header).await? {
        Begun::Done(outcome) => return Ok(outcome),
        Begun::Wanted(ticket, waiting) => (ticket, waiting),
    };
    let (sink, waiting) = Sink::open(web, ticket, 0, waiting).await?;
    match intake::take_in(web, sink, body, offer, pending()).await? {
        (sink, Ok(())) => sink.complete(said, waiting).await,
        (_, Err(Stopped::Failed(failed))) => Err(waiting.fail(failed)),
        (sink, Err(Stopped::Cut)) => {
            // A file that is put is put whole: nobody would go on with a part of it.
            sink.abandon().await?;
            Err(intake::cut())
        }
    }
}

/// The bytes of a body, if they were said. What was said twice, or is no number, the HTTP library has refused.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|value| value.parse().ok());
    length.map(Some).ok_or_else(|| Refusal::bad_request("the length is no number"))
}
