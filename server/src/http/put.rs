//! `PUT /files/PATH`: the body is the file, and the answer its receipt.

use ferry_proto::{Code, Conflict, Header, Kind, RelPath};
use ferry_store::Cut;
use hyper::{HeaderMap, StatusCode, body::Incoming, header};

use super::{
    Web,
    answer::{Answer, Refusal},
    headers,
    intake::{self, Begun, Offer, Stopped},
};
use crate::catalogue::Client;

/// Takes a file. Where another one has its name, both are kept; with `If-None-Match: *` it is refused.
pub(super) async fn put(
    web: &Web,
    client: &Client,
    path: RelPath,
    headers: &HeaderMap,
    body: Incoming,
    cut: Cut,
) -> Answer {
    if !client.grant.put {
        return Err(Refusal::new(Code::NotAllowed, "this client may not send files here"));
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        let detail = "a part of a file cannot be put: tus, at /uploads, can go on with one";
        return Err(Refusal::bad_request(detail));
    }
    let said = headers::digest(headers)?;
    let size = length(headers)?;
    let only_if_new = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == "*");
    let conflict = if only_if_new { Conflict::Fail } else { Conflict::KeepBoth };
    let offer = Offer::new(web, client, conflict, cut);
    let header = Header { size, digest: said, ..Header::new(path.clone(), Kind::File) };
    let exists = |refusal: Refusal| match refusal.code() {
        Code::Exists if only_if_new => refusal.with_status(StatusCode::PRECONDITION_FAILED),
        _ => refusal,
    };
    let (ticket, reply, outcome) = match offer.begin(web, header).await? {
        Begun::Done(outcome) => {
            return intake::receipt(outcome, &path, size.unwrap_or_default()).map_err(exists);
        }
        Begun::Wanted(ticket, reply, outcome) => (ticket, reply, outcome),
    };
    let upload = match intake::open(web, ticket, 0).await? {
        Ok(upload) => upload,
        Err(failed) => {
            reply.give(failed.clone());
            return Err(failed.into());
        }
    };
    let (upload, taken) = intake::take_in(web, upload, body, offer.life()).await?;
    let outcome = match taken {
        Ok(()) => intake::complete(upload, said, reply, outcome).await?,
        Err(Stopped::Failed(failed)) => {
            reply.give(failed.clone());
            failed
        }
        Err(Stopped::Cut) => {
            reply.withdraw();
            // What it leaves is removed, which is disk work.
            let _ = tokio::task::spawn_blocking(move || drop(upload)).await;
            return Err(intake::cut());
        }
    };
    intake::receipt(outcome, &path, size.unwrap_or_default()).map_err(exists)
}

/// The bytes of a body, if they were said. What was said twice, or is no number, the HTTP library has refused.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|value| value.parse().ok());
    length.map(Some).ok_or_else(|| Refusal::bad_request("the length is no number"))
}
