//! From the body of a request to [`Uploads`](ferry_store::Uploads): what comes is gathered while what came before is written.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ferry_proto::{Code, Conflict, Digest, Header, Put, RelPath, limits};
use ferry_session::{Buffer, Permit, receive::Witness};
use ferry_store::{Begin, Cut, Lease, LocalStore, Outcome, Reply, Terms, Ticket, Upload};
use http_body_util::BodyExt;
use hyper::{
    Response, StatusCode,
    body::{Bytes, Incoming},
    header,
};
use serde_json::json;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};

use super::{
    Web,
    answer::{self, Body, Refusal},
    headers::{FERRY_STATUS, REPR_DIGEST, said_digest},
    url,
};
use crate::{catalogue::Client, log::Journal};

/// Bytes that are written at a time, and as many gathered meanwhile: where it costs nothing any more to hand them over.
const PIECE: usize = 256 * 1024;

/// How long a request waits for another one that has the same body under way, which loses it when it shows no life.
const BUSY: Duration = Duration::from_secs(20);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// What a client offers over the web, as long as it lasts.
pub(super) struct Offer {
    terms: Arc<Terms>,
    life: Life,
    journal: Arc<Journal>,
}

/// The signs of life of whoever sends a body.
#[derive(Clone)]
pub(super) struct Life {
    lease: Arc<Lease>,
    asked: Arc<AtomicU64>,
}

impl Life {
    fn new() -> Self {
        let asked = Arc::<AtomicU64>::default();
        let count = asked.clone();
        Life { lease: Lease::new(move || count.fetch_add(1, Ordering::Relaxed) + 1), asked }
    }

    /// Some of the body has come.
    fn beat(&self) {
        self.lease.heard();
        self.lease.answered(self.asked.load(Ordering::Relaxed));
    }
}

/// What becomes of an offer at first.
pub(super) enum Begun {
    /// There is nothing to send.
    Done(Outcome),
    /// The body is wanted; how it ended is told here, in the end.
    Wanted(Box<Ticket>, Reply, oneshot::Receiver<Outcome>),
}

/// Why a body did not come whole.
pub(super) enum Stopped {
    /// The connection was lost, or nothing came for too long.
    Cut,
    /// It cannot be kept.
    Failed(Outcome),
}

impl Offer {
    /// Web uploads keep both where another file has the name.
    pub(super) fn new(web: &Web, client: &Client, conflict: Conflict, cut: Cut) -> Self {
        let put = Put { on_conflict: conflict, dry_run: false, digest: ferry_proto::Algorithm::Sha256 };
        let terms = Terms { asks_ahead: false, ..web.house.terms(client, put, cut) };
        Offer { terms: Arc::new(terms), life: Life::new(), journal: Arc::new(Journal::of(&client.name)) }
    }

    pub(super) fn life(&self) -> &Life {
        &self.life
    }

    /// Offers a file, and waits for as long as another request has it under way.
    pub(super) async fn begin(&self, web: &Web, header: Header) -> Result<Begun, Refusal> {
        let (reply, outcome) = self.reply(header.clone());
        let since = Instant::now();
        let (uploads, terms, lease) =
            (web.house.uploads.clone(), self.terms.clone(), self.life.lease.clone());
        let mut begun = spawn_blocking(move || uploads.begin(&terms, &lease, header, reply)).await;
        loop {
            match begun.map_err(|_| Refusal::internal())? {
                Begin::Answered => return Ok(Begun::Done(outcome.await.map_err(|_| Refusal::internal())?)),
                Begin::Send(ticket, reply) => return Ok(Begun::Wanted(ticket, reply, outcome)),
                Begin::Busy(_, reply) if since.elapsed() > BUSY => {
                    reply.withdraw();
                    let detail = "another request sends this very file: try again when it has ended";
                    return Err(Refusal::busy(detail).with_status(StatusCode::LOCKED));
                }
                Begin::Busy(busy, reply) => {
                    sleep(LOOK).await;
                    let (uploads, terms, lease) =
                        (web.house.uploads.clone(), self.terms.clone(), self.life.lease.clone());
                    begun = spawn_blocking(move || uploads.begin_again(&terms, &lease, busy, reply)).await;
                }
            }
        }
    }

    /// What tells the log and whoever waits about an offer's end.
    fn reply(&self, header: Header) -> (Reply, oneshot::Receiver<Outcome>) {
        let (tell, outcome) = oneshot::channel();
        let (journal, since) = (self.journal.clone(), Instant::now());
        let reply = Reply::new(move |outcome| {
            match &outcome {
                Outcome::Held(digest, name) => {
                    journal.held(&header, name.as_ref().unwrap_or(&header.path), digest.as_ref());
                }
                Outcome::NeedDigest => {}
                Outcome::Stored(digest, bytes, name) => {
                    let name = name.as_ref().unwrap_or(&header.path);
                    journal.stored(&header, name, *bytes, digest.as_ref(), since.elapsed());
                }
                Outcome::Failed(code, detail) => journal.failed(&header, *code, detail),
            }
            // Whoever has gone will ask again.
            let _ = tell.send(outcome);
        });
        (reply, outcome)
    }
}

/// Opens a body at an offset.
pub(super) async fn open(
    web: &Web,
    ticket: Box<Ticket>,
    offset: u64,
) -> Result<Result<Upload<LocalStore>, Outcome>, Refusal> {
    let uploads = web.house.uploads.clone();
    spawn_blocking(move || uploads.open_body(*ticket, offset)).await.map_err(|_| Refusal::internal())
}

/// Bytes on their way to the disk, and the room that they take.
struct Chunk {
    bytes: Buffer,
    _room: Vec<Permit>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

type Written = (Upload<LocalStore>, Result<(), Outcome>);

/// Takes a body in. What has come before it stopped is written in any case.
pub(super) async fn take_in(
    web: &Web,
    upload: Upload<LocalStore>,
    mut body: Incoming,
    life: &Life,
) -> Result<(Upload<LocalStore>, Result<(), Stopped>), Refusal> {
    let (mut free, mut writing): (_, Option<JoinHandle<Written>>) = (Some(upload), None);
    let (mut gathered, mut came): (Option<Chunk>, Option<Bytes>) = (None, None);
    let (mut is_whole, mut stopped) = (false, None);
    loop {
        if let Some(mut upload) = free.take() {
            match gathered.take() {
                Some(chunk) => {
                    writing = Some(spawn_blocking(move || {
                        let appended = upload.append(chunk);
                        (upload, appended)
                    }));
                }
                None if is_whole => return Ok((upload, stopped.map_or(Ok(()), Err))),
                None => free = Some(upload),
            }
        }
        let has_room = gathered.as_ref().is_none_or(|chunk| chunk.bytes.len() < PIECE);
        tokio::select! {
            biased;
            written = async { writing.as_mut().expect("the branch is disabled without one").await }, if writing.is_some() => {
                writing = None;
                let (upload, appended) = written.map_err(|_| Refusal::internal())?;
                if let Err(outcome) = appended {
                    return Ok((upload, Err(Stopped::Failed(outcome))));
                }
                free = Some(upload);
            }
            // Its bytes are here already; nobody waits for those that others have not sent yet.
            permit = web.house.room.take(came.as_ref().map_or(0, Bytes::len)), if came.is_some() => {
                if let Some(bytes) = came.take() {
                    let chunk = gathered.get_or_insert_with(|| Chunk {
                        bytes: web.house.buffers.take_empty(PIECE),
                        _room: Vec::new(),
                    });
                    chunk.bytes.extend_from_slice(&bytes);
                    chunk._room.push(permit);
                }
            }
            frame = timeout(limits::UNREAD, body.frame()), if came.is_none() && has_room && !is_whole => {
                match frame {
                    Ok(Some(Ok(frame))) => {
                        life.beat();
                        came = frame.into_data().ok().filter(|bytes| !bytes.is_empty());
                    }
                    Ok(None) => is_whole = true,
                    Ok(Some(Err(_))) | Err(_) => (is_whole, stopped) = (true, Some(Stopped::Cut)),
                }
            }
        }
    }
}

/// Has a whole body committed, if it has the digest that its sender has said, if any.
pub(super) async fn complete(
    upload: Upload<LocalStore>,
    said: Option<Digest>,
    reply: Reply,
    outcome: oneshot::Receiver<Outcome>,
) -> Result<Outcome, Refusal> {
    let handed_in = spawn_blocking(move || match said.map_or_else(|| upload.digest(), Ok) {
        Ok(digest) => upload.complete(digest, reply),
        Err(failed) => reply.give(failed),
    });
    handed_in.await.map_err(|_| Refusal::internal())?;
    outcome.await.map_err(|_| Refusal::internal())
}

/// What is said of an upload that has ended: its receipt, or why there is none.
pub(super) fn receipt(outcome: Outcome, offered: &RelPath, size: u64) -> Result<Response<Body>, Refusal> {
    let (status, word, digest, size, name) = match outcome {
        Outcome::Stored(digest, size, name) => (StatusCode::CREATED, "sent", digest, size, name),
        Outcome::Held(digest, name) => (StatusCode::OK, "held", digest, size, name),
        failed => return Err(failed.into()),
    };
    let digest = digest.ok_or_else(Refusal::internal)?;
    let name = name.as_ref().unwrap_or(offered);
    let location = format!("/files/{}", url::encode(name));
    let mut response = answer::object(&json!({
        "status": word,
        "name": name.to_string(),
        "location": location,
        "bytes": size,
        "digest": format!("sha256:{}", digest.hex()),
    }));
    *response.status_mut() = status;
    answer::put(&mut response, FERRY_STATUS, word);
    answer::put(&mut response, REPR_DIGEST, &said_digest(&digest));
    answer::put(&mut response, header::CONTENT_LOCATION, &location);
    if status == StatusCode::CREATED {
        answer::put(&mut response, header::LOCATION, &location);
    }
    Ok(response)
}

/// What is said to somebody whose body did not come whole. Mostly nobody hears it.
pub(super) fn cut() -> Refusal {
    Refusal::new(Code::Silent, "the body did not come whole")
}
