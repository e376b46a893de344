//! Uploads that can be gone on with: tus 1.0.0, with creation, creation-with-upload, termination, expiration and checksum.
//! See <https://tus.io/protocols/resumable-upload>.
//!
//! The URL of an upload says all that it was created with, so it outlives the server, and nothing is written down before there
//! is a body. What is under way is remembered here; of what is not, staging knows how far it has come: to its last checkpoint.
//!
//! The newest request about an upload has it: one whose connection has died without a word is ended by the next.

mod created;
mod desk;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ferry_proto::{Algorithm, Code, Conflict, Digest, Header, Kind, RelPath};
use ferry_store::{Cut, Ticket};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName},
    http::request::Parts,
};
use tokio::sync::{MutexGuard, watch};

use self::created::Created;
pub(super) use self::desk::Desk;
use super::{
    Web,
    answer::{self, Answer, Body, Refusal},
    headers::{self, REPR_DIGEST},
    intake::{self, Begun, Offer, Receipt, Sink, Stopped, Waiting},
};
use crate::catalogue::Client;

/// Where uploads are, in URLs.
pub(super) const AT: &str = "/uploads";

const VERSION: &str = "1.0.0";

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// What a body is called that is a part of a file.
const PART: &str = "application/offset+octet-stream";

/// How far an upload is.
#[derive(Default)]
enum State {
    /// Nobody has asked since the server started, or nobody for long.
    #[default]
    Unknown,
    /// Nothing has come since; it goes on at the ticket's offset.
    Wanted(Offer, Box<Ticket>, Waiting),
    /// It is being written.
    Open(Offer, Sink, Waiting),
    /// It is a file.
    Done(Receipt),
    /// It was ended by its sender.
    Gone,
}

impl State {
    /// Bytes that need not be sent again.
    fn offset(&self, created: &Created) -> u64 {
        match self {
            State::Unknown | State::Gone => 0,
            State::Wanted(_, ticket, _) => ticket.offset(),
            State::Open(_, sink, _) => sink.length(),
            State::Done(_) => created.size,
        }
    }
}

/// What a request about an upload works with.
struct Visit<'a> {
    web: &'a Web,
    client: &'a Client,
    created: &'a Created,
    state: MutexGuard<'a, State>,
    /// Says that a newer request wants it.
    newer: watch::Receiver<u64>,
    own: u64,
    cut: Cut,
}

/// `OPTIONS /uploads`: what can be done here, for anybody.
pub(super) fn options(web: &Web) -> Response<Body> {
    let mut response = answer::nothing(StatusCode::NO_CONTENT);
    let extensions = "creation,creation-with-upload,termination,expiration,checksum";
    answer::set(&mut response, HeaderName::from_static("tus-version"), VERSION);
    answer::set(&mut response, HeaderName::from_static("tus-extension"), extensions);
    answer::set(&mut response, HeaderName::from_static("tus-checksum-algorithm"), "sha256");
    let most = web.house.settings.borrow().max_file.to_string();
    answer::put(&mut response, HeaderName::from_static("tus-max-size"), &most);
    response
}

/// Says by which version of tus an answer is given.
pub(super) fn with_version(mut response: Response<Body>) -> Response<Body> {
    answer::set(&mut response, TUS_RESUMABLE, VERSION);
    response
}

/// Everything else about uploads. `rest` is what follows `/uploads` in the path.
pub(super) async fn uploads(
    web: &Web,
    client: &Client,
    parts: &Parts,
    rest: &str,
    body: &mut Incoming,
    cut: Cut,
) -> Answer {
    let headers = &parts.headers;
    if headers.get(TUS_RESUMABLE).is_none_or(|version| version != VERSION) {
        return Err(Refusal::new(Code::Version, "this server speaks tus 1.0.0")
            .with_status(StatusCode::PRECONDITION_FAILED)
            .with_header(HeaderName::from_static("tus-version"), VERSION));
    }
    // For those who cannot send other methods.
    let instead = headers.get(METHOD_OVERRIDE).filter(|_| parts.method == Method::POST);
    let method = instead.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let method = method.as_ref().unwrap_or(&parts.method);
    let Some(id) = rest.strip_prefix('/').filter(|id| !id.is_empty()) else {
        return match *method {
            Method::POST => create(web, client, headers, body, cut).await,
            _ => Err(Refusal::method("OPTIONS, POST")),
        };
    };
    let created = Created::of_id(id).ok_or_else(Refusal::not_found)?;
    let slot = slot(web, client, id);
    let mut visit = Visit::of(web, client, &created, &slot, cut).await;
    visit.refuse_when_over().await?;
    match *method {
        Method::HEAD | Method::GET => visit.head().await,
        Method::PATCH => visit.patch(headers, body).await,
        Method::DELETE => visit.terminate().await,
        _ => Err(Refusal::method("HEAD, PATCH, DELETE")),
    }
}

/// `POST /uploads`: says where the body goes, and takes it if it came along.
async fn create(web: &Web, client: &Client, headers: &HeaderMap, body: &mut Incoming, cut: Cut) -> Answer {
    let created = Created::of_headers(headers)?;
    let id = created.to_id();
    let slot = slot(web, client, &id);
    let mut visit = Visit::of(web, client, &created, &slot, cut).await;
    let has_body = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == PART);
    visit.begin().await?;
    if has_body {
        visit.append(0, headers, body).await?;
    } else {
        visit.finish_if_whole(headers).await?;
    }
    let mut response = answer::nothing(StatusCode::CREATED);
    answer::put(&mut response, header::LOCATION, &format!("/uploads/{id}"));
    visit.describe(&mut response);
    Ok(response)
}

fn slot(web: &Web, client: &Client, id: &str) -> Arc<desk::Slot> {
    // Connections get a quarter of the files that the system lets the server open, and bodies that stand still no more.
    let most_open = web.house.settings.borrow().max_connections;
    web.uploads.slot(client, id, most_open)
}

impl<'a> Visit<'a> {
    /// Waits until no other request has the upload; whoever has it is asked to let go.
    async fn of(
        web: &'a Web,
        client: &'a Client,
        created: &'a Created,
        slot: &'a desk::Slot,
        cut: Cut,
    ) -> Self {
        let (own, newer) = slot.ask();
        let mut state = slot.state.lock().await;
        slot.is_of(client, &mut state);
        Visit { web, client, created, state, newer, own, cut }
    }

    /// Finds out how far it is, if that is not known.
    async fn begin(&mut self) -> Result<(), Refusal> {
        if !matches!(*self.state, State::Unknown) {
            return Ok(());
        }
        let Created { path, size, modified, digest, number, .. } = self.created;
        let header = Header {
            size: Some(*size),
            modified: *modified,
            digest: *digest,
            ..Header::new(path.clone(), Kind::File)
        };
        // Two files may agree in all that is known of them without a digest. Then only this URL goes on with what came by it.
        let number = digest.is_none().then_some(*number);
        let offer = Offer::new(self.web, self.client, Conflict::KeepBoth, number, self.cut.clone());
        *self.state = match offer.begin(self.web, header).await? {
            Begun::Done(outcome) => State::Done(Receipt::of(outcome, path)?),
            Begun::Wanted(ticket, waiting) => State::Wanted(offer, ticket, waiting),
        };
        Ok(())
    }

    async fn head(&mut self) -> Answer {
        self.refuse_when_gone()?;
        self.begin().await?;
        let mut response = answer::nothing(StatusCode::OK);
        self.describe(&mut response);
        answer::put(&mut response, UPLOAD_LENGTH, &self.created.size.to_string());
        Ok(response)
    }

    async fn patch(&mut self, headers: &HeaderMap, body: &mut Incoming) -> Answer {
        self.refuse_when_gone()?;
        if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != PART) {
            let refusal = Refusal::bad_request(format!("the body of a part is {PART}"));
            return Err(refusal.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let offset = created::number(headers, &UPLOAD_OFFSET)?;
        self.begin().await?;
        let here = self.state.offset(self.created);
        if offset != here {
            return Err(Refusal::new(Code::TakenOver, format!("the upload is at {here}, not at {offset}")));
        }
        self.append(offset, headers, body).await?;
        let mut response = answer::nothing(StatusCode::NO_CONTENT);
        self.describe(&mut response);
        Ok(response)
    }

    /// Takes a part. If it is the last one, the file is there for good when this returns.
    async fn append(&mut self, offset: u64, headers: &HeaderMap, body: &mut Incoming) -> Result<(), Refusal> {
        let checksum = created::checksum(headers)?;
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > self.created.size - offset) {
            let detail = "the part is longer than what is left of the upload";
            return Err(Refusal::new(Code::TooLarge, detail));
        }
        let (offer, sink, waiting) = match std::mem::take(&mut *self.state) {
            State::Wanted(offer, ticket, waiting) => {
                let is_all = offset == 0 && length == Some(self.created.size) && checksum.is_none();
                let ticket = if is_all { ticket } else { Box::new(ticket.with_marks()) };
                let (sink, waiting) = Sink::open(self.web, ticket, offset, waiting).await?;
                (offer, sink, waiting)
            }
            State::Open(offer, sink, waiting) => (offer, sink, waiting),
            other => {
                // There is nothing to append to.
                *self.state = other;
                return Ok(());
            }
        };
        let (mut sink, mark) = match checksum {
            None => (sink, None),
            Some(_) => {
                let (sink, mark) = sink.with(|upload| upload.mark()).await?;
                match mark {
                    Ok(mark) => (sink, Some(mark)),
                    Err(failed) => return Err(waiting.fail(failed)),
                }
            }
        };
        sink.checksum = checksum.map(|checksum| checksum.algorithm().hasher());
        let (mut newer, own) = (self.newer.clone(), self.own);
        let until = async move { drop(newer.wait_for(|newest| *newest != own).await) };
        let (mut sink, taken) = intake::take_in(self.web, sink, body, &offer, until).await?;
        if let Err(Stopped::Failed(failed)) = taken {
            return Err(waiting.fail(failed));
        }
        // Of a part that is not whole it cannot be said whether it is right.
        let is_right = match (checksum, sink.checksum.take()) {
            (Some(said), Some(hasher)) => taken.is_ok() && hasher.finish() == said,
            _ => true,
        };
        if let (false, Some(mark)) = (is_right, mark) {
            let (back, rolled) = sink.with(|upload| upload.roll_back(mark)).await?;
            if let Err(failed) = rolled {
                return Err(waiting.fail(failed));
            }
            sink = back;
        }
        *self.state = State::Open(offer, sink, waiting);
        if taken.is_err() {
            return Err(intake::cut());
        }
        if !is_right {
            let refusal = Refusal::new(Code::DigestMismatch, "the part does not have its checksum");
            return Err(refusal.with_status(CHECKSUM_MISMATCH.try_into().unwrap_or(StatusCode::BAD_REQUEST)));
        }
        self.finish_if_whole(headers).await
    }

    /// Has it committed, if all of it is here.
    async fn finish_if_whole(&mut self, headers: &HeaderMap) -> Result<(), Refusal> {
        let said = headers::digest(headers, &[REPR_DIGEST])?;
        let is_open = matches!(*self.state, State::Wanted(..) | State::Open(..));
        if !is_open || self.state.offset(self.created) != self.created.size {
            return Ok(());
        }
        let (sink, waiting) = match std::mem::take(&mut *self.state) {
            State::Wanted(_, ticket, waiting) => {
                Sink::open(self.web, ticket, self.created.size, waiting).await?
            }
            State::Open(_, sink, waiting) => (sink, waiting),
            _ => return Err(Refusal::internal()),
        };
        let outcome = sink.complete(said.or(self.created.digest), waiting).await?;
        *self.state = State::Done(Receipt::of(outcome, &self.created.path)?);
        Ok(())
    }

    /// `DELETE`: what has come is removed. A file that has arrived stays.
    async fn terminate(&mut self) -> Answer {
        self.refuse_when_gone()?;
        self.begin().await?;
        match std::mem::replace(&mut *self.state, State::Gone) {
            State::Wanted(_, ticket, waiting) => {
                let offset = ticket.offset();
                let (sink, _) = Sink::open(self.web, ticket, offset, waiting).await?;
                sink.abandon().await?;
            }
            State::Open(_, sink, _) => sink.abandon().await?,
            State::Done(_) | State::Gone | State::Unknown => {}
        }
        Ok(answer::nothing(StatusCode::NO_CONTENT))
    }

    /// Its time is over if it was created long ago, and nothing is here that could be gone on with.
    async fn refuse_when_over(&mut self) -> Result<(), Refusal> {
        if !self.created.is_over(self.retention()) {
            return Ok(());
        }
        self.begin().await?;
        if self.state.offset(self.created) > 0 {
            return Ok(());
        }
        *self.state = State::Unknown;
        let detail = "its time is over: create the upload anew";
        Err(Refusal::new(Code::Expired, detail).with_status(StatusCode::GONE))
    }

    /// How long what nobody goes on with is kept.
    fn retention(&self) -> Duration {
        self.web.house.settings.borrow().retain_staging
    }

    fn refuse_when_gone(&self) -> Result<(), Refusal> {
        match *self.state {
            State::Gone => Err(Refusal::not_found().with_status(StatusCode::GONE)),
            _ => Ok(()),
        }
    }

    /// Says until when the upload can be gone on with, what is here of it, and, if it is a file, its receipt.
    fn describe(&self, response: &mut Response<Body>) {
        let offset = self.state.offset(self.created);
        // From the last part on, or from the beginning where there is none.
        let since = if offset > 0 { SystemTime::now() } else { self.created.at() };
        if let State::Done(receipt) = &*self.state {
            receipt.put_into(response);
        } else if let Some(date) = created::end(since, self.retention()) {
            answer::put(response, UPLOAD_EXPIRES, &date);
        }
        answer::put(response, UPLOAD_OFFSET, &offset.to_string());
    }
}

/// tus says so.
const CHECKSUM_MISMATCH: u16 = 460;

/// Where an upload's file is to go, when nobody has said it.
fn nameless() -> RelPath {
    RelPath::new("upload").expect("it is one plain name")
}

/// The digest that a part has to have.
fn sha256(bytes: [u8; 32]) -> Digest {
    Digest::new(Algorithm::Sha256, bytes)
}
