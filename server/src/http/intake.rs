//! From the body of a request to [`Uploads`](ferry_store::Uploads): what comes is gathered while what came before is written.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ferry_proto::{Algorithm, Code, Conflict, Digest, Hasher, Header, Put, RelPath, limits};
use ferry_session::{Buffer, Permit, receive::Witness};
use ferry_store::{Begin, Cut, Lease, LocalStore, Outcome, Reply, Terms, Ticket, Upload};
use http_body_util::BodyExt;
use hyper::{
    Response, StatusCode,
    body::{Bytes, Incoming},
    header,
};
use tokio::{
    runtime::Handle,
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

/// Bytes that are read on after a refusal.
const DRAINED: usize = 8 * 1024 * 1024;

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
    /// The body is wanted.
    Wanted(Box<Ticket>, Waiting),
}

/// How a file ends is told here, in the end. To let go of it is no failure: what has come may be gone on with.
pub(super) struct Waiting {
    // Dropped first: then the reply finds that nobody waits.
    outcome: oneshot::Receiver<Outcome>,
    reply: Reply,
}

impl Waiting {
    /// It has failed, which the log is told, and whoever asked.
    pub(super) fn fail(self, failed: Outcome) -> Refusal {
        self.reply.give(failed.clone());
        failed.into()
    }
}

/// Why a body did not come whole.
pub(super) enum Stopped {
    /// The connection was lost, or nothing came for too long.
    Cut,
    /// It cannot be kept.
    Failed(Outcome),
}

impl Offer {
    /// `upload` is the number of an upload that only its URL may go on with.
    pub(super) fn new(web: &Web, client: &Client, conflict: Conflict, upload: Option<u64>, cut: Cut) -> Self {
        let put = Put { on_conflict: conflict, dry_run: false, digest: Algorithm::Sha256 };
        let terms = Terms { asks_ahead: false, upload, ..web.house.terms(client, put, cut) };
        Offer { terms: Arc::new(terms), life: Life::new(), journal: Arc::new(web.journal(client)) }
    }

    /// So many bytes of its body have come.
    fn advanced(&self, bytes: usize) {
        self.life.beat();
        self.journal.came(bytes as u64);
    }

    /// Offers a file, and waits for as long as another request has it under way.
    pub(super) async fn begin(&self, web: &Web, header: Header) -> Result<Begun, Refusal> {
        let (reply, outcome) = reply(&self.journal, header.clone());
        let since = Instant::now();
        let (uploads, terms, lease) =
            (web.house.uploads.clone(), self.terms.clone(), self.life.lease.clone());
        let mut begun = spawn_blocking(move || uploads.begin(&terms, &lease, header, reply)).await;
        loop {
            match begun.map_err(|_| Refusal::internal())? {
                Begin::Answered => return Ok(Begun::Done(outcome.await.map_err(|_| Refusal::internal())?)),
                Begin::Send(ticket, reply) => return Ok(Begun::Wanted(ticket, Waiting { outcome, reply })),
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
}

/// What tells the log, and whoever waits, how an offer ends.
fn reply(journal: &Arc<Journal>, header: Header) -> (Reply, oneshot::Receiver<Outcome>) {
    let (tell, outcome) = oneshot::channel();
    let (journal, since) = (journal.clone(), Instant::now());
    let reply = Reply::new(move |outcome| {
        match &outcome {
            Outcome::Failed(..) if tell.is_closed() => {}
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

/// A body that is open, and what else is made of the bytes that come now.
///
/// It lets go of the body on a thread for disks, wherever it is dropped.
pub(super) struct Sink {
    upload: Option<Box<Upload<LocalStore>>>,
    /// The digest of this request's bytes alone.
    pub(super) checksum: Option<Hasher>,
}

impl Sink {
    /// Opens a body at an offset.
    pub(super) async fn open(
        web: &Web,
        ticket: Box<Ticket>,
        offset: u64,
        waiting: Waiting,
    ) -> Result<(Self, Waiting), Refusal> {
        let uploads = web.house.uploads.clone();
        let opened = spawn_blocking(move || uploads.open_body(*ticket, offset)).await;
        match opened.map_err(|_| Refusal::internal())? {
            Ok(upload) => Ok((Sink { upload: Some(Box::new(upload)), checksum: None }, waiting)),
            Err(failed) => Err(waiting.fail(failed)),
        }
    }

    /// Does something with the body that may take a while.
    pub(super) async fn with<T: Send + 'static>(
        mut self,
        work: impl FnOnce(&mut Upload<LocalStore>) -> Result<T, Outcome> + Send + 'static,
    ) -> Result<(Self, Result<T, Outcome>), Refusal> {
        let done = spawn_blocking(move || {
            let done = self.upload.as_deref_mut().map_or_else(|| Err(lost()), work);
            (self, done)
        });
        done.await.map_err(|_| Refusal::internal())
    }

    /// Removes what has come of the body.
    pub(super) async fn abandon(self) -> Result<(), Refusal> {
        let abandon = |upload: &mut Upload<LocalStore>| {
            upload.abandon();
            Ok(())
        };
        self.with(abandon).await.map(drop)
    }

    /// Bytes that have come so far.
    pub(super) fn length(&self) -> u64 {
        self.upload.as_deref().map_or(0, Upload::length)
    }

    /// Has a whole body committed, if it has the digest that its sender has said, if any.
    pub(super) async fn complete(
        mut self,
        said: Option<Digest>,
        waiting: Waiting,
    ) -> Result<Outcome, Refusal> {
        let Waiting { outcome, reply } = waiting;
        let handed_in = spawn_blocking(move || match self.upload.take() {
            Some(upload) => match said.map_or_else(|| upload.digest(), Ok) {
                Ok(digest) => upload.complete(digest, reply),
                Err(failed) => reply.give(failed),
            },
            None => reply.give(lost()),
        });
        handed_in.await.map_err(|_| Refusal::internal())?;
        outcome.await.map_err(|_| Refusal::internal())
    }

    fn append(&mut self, chunk: Chunk) -> Result<(), Outcome> {
        if let Some(checksum) = &mut self.checksum {
            checksum.update(chunk.as_ref());
        }
        self.upload.as_mut().map_or_else(|| Err(lost()), |upload| upload.append(chunk))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let (Some(upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(upload));
        }
    }
}

fn lost() -> Outcome {
    Outcome::Failed(Code::Internal, "the server has lost track of this file".to_owned())
}

/// Bytes on their way to the disk, and the room that they take.
struct Chunk {
    bytes: Buffer,
    room: Vec<Permit>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

type Written = (Sink, Result<(), Outcome>);

/// Takes a body in, until it is whole or `until` comes first. What has come before it stopped is written in any case.
pub(super) async fn take_in(
    web: &Web,
    sink: Sink,
    body: &mut Incoming,
    offer: &Offer,
    until: impl Future<Output = ()>,
) -> Result<(Sink, Result<(), Stopped>), Refusal> {
    let mut until = pin!(until);
    let (mut free, mut writing): (_, Option<JoinHandle<Written>>) = (Some(sink), None);
    let (mut gathered, mut came): (Option<Chunk>, Option<Bytes>) = (None, None);
    let (mut is_whole, mut stopped) = (false, None);
    loop {
        if let Some(mut sink) = free.take() {
            match gathered.take() {
                Some(chunk) => {
                    writing = Some(spawn_blocking(move || {
                        let appended = sink.append(chunk);
                        (sink, appended)
                    }));
                }
                None if is_whole && came.is_none() => return Ok((sink, stopped.map_or(Ok(()), Err))),
                None => free = Some(sink),
            }
        }
        let has_room = gathered.as_ref().is_none_or(|chunk| chunk.bytes.len() < PIECE);
        tokio::select! {
            biased;
            written = async { writing.as_mut().expect("the branch is disabled without one").await },
                if writing.is_some() =>
            {
                writing = None;
                let (sink, appended) = written.map_err(|_| Refusal::internal())?;
                if let Err(outcome) = appended {
                    // Its sender was given leave to send all of it, and is to hear the reason.
                    drain(body).await;
                    return Ok((sink, Err(Stopped::Failed(outcome))));
                }
                free = Some(sink);
            }
            // Its bytes are here already; nobody waits for those that others have not sent yet.
            permit = web.house.room.take(came.as_ref().map_or(0, Bytes::len)), if came.is_some() => {
                if let Some(bytes) = came.take() {
                    let chunk = gathered.get_or_insert_with(|| Chunk {
                        bytes: web.house.buffers.take_empty(PIECE),
                        room: Vec::new(),
                    });
                    chunk.bytes.extend_from_slice(&bytes);
                    chunk.room.push(permit);
                }
            }
            () = &mut until, if !is_whole => (is_whole, stopped) = (true, Some(Stopped::Cut)),
            frame = timeout(limits::UNREAD, body.frame()), if came.is_none() && has_room && !is_whole => {
                match frame {
                    Ok(Some(Ok(frame))) => {
                        offer.advanced(frame.data_ref().map_or(0, Bytes::len));
                        came = frame.into_data().ok().filter(|bytes| !bytes.is_empty());
                    }
                    Ok(None) => is_whole = true,
                    Ok(Some(Err(_))) | Err(_) => (is_whole, stopped) = (true, Some(Stopped::Cut)),
                }
            }
        }
    }
}

/// Reads on for a while after a refusal, so that the reason is not lost to a reset.
pub(super) async fn drain(body: &mut Incoming) {
    let mut left = DRAINED;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Whoever has more to say than that hears of a reset.
    let _ = timeout(limits::GOODBYE_DRAIN, reading).await;
}

/// The proof that a file has arrived.
#[derive(Clone)]
pub(super) struct Receipt {
    /// `sent` or `held`.
    pub(super) status: &'static str,
    pub(super) digest: Digest,
    /// The name that it has.
    pub(super) name: RelPath,
}

impl Receipt {
    /// Of an upload that has ended well; else why it has not.
    pub(super) fn of(outcome: Outcome, offered: &RelPath) -> Result<Self, Refusal> {
        let (status, digest, name) = match outcome {
            Outcome::Stored(digest, _, name) => ("sent", digest, name),
            Outcome::Held(digest, name) => ("held", digest, name),
            failed => return Err(failed.into()),
        };
        let digest = digest.ok_or_else(Refusal::internal)?;
        Ok(Receipt { status, digest, name: name.unwrap_or_else(|| offered.clone()) })
    }

    /// Where the file is now.
    pub(super) fn location(&self) -> String {
        format!("/files/{}", url::encode(&self.name))
    }

    /// Says all of it in headers.
    pub(super) fn put_into(&self, response: &mut Response<Body>) {
        answer::put(response, FERRY_STATUS, self.status);
        answer::put(response, REPR_DIGEST, &said_digest(&self.digest));
        answer::put(response, header::CONTENT_LOCATION, &self.location());
    }
}

/// What is said to somebody whose body did not come whole. Mostly nobody hears it.
pub(super) fn cut() -> Refusal {
    Refusal::new(Code::Silent, "the body did not come whole")
}

#[cfg(test)]
mod tests {
    use ferry_proto::Kind;

    use super::*;
    use crate::health::Counts;

    #[test]
    fn a_body_that_is_let_go_of_has_not_failed() {
        let counts = Arc::<Counts>::default();
        let journal = Arc::new(Journal::of("phone", &counts));
        let failures = || counts.not_received.now().map(|(_, count)| count).sum::<u64>();
        let waiting = || {
            let (reply, outcome) = reply(&journal, Header::new(RelPath::new("a").unwrap(), Kind::File));
            Waiting { outcome, reply }
        };
        drop(waiting());
        assert_eq!(failures(), 0);
        let refusal = waiting().fail(Outcome::Failed(Code::StorageFull, String::new()));
        assert_eq!((refusal.code(), failures()), (Code::StorageFull, 1));
    }
}
