//! How the server is, for its operators: `/healthz` says whether it can take files, `/metrics` tells numbers to Prometheus.
//!
//! It is plain HTTP on a listener of its own, which is there only if somebody wants it, and tells no name of a file, a
//! client or an address. It runs on a thread of its own, so that it answers where the rest of the server does not, and so
//! that however many ask, they take no turn of those who send files.

mod counts;
mod heart;
mod looks;
mod page;

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use ferry_session::Room;
use ferry_store::{LocalStore, Uploads};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::watch, task::AbortHandle, time::timeout};

pub(crate) use self::counts::{Counts, End};
use self::{
    heart::Heart,
    looks::{Look, Looks, Place},
    page::Page,
};
use crate::{catalogue::Catalogue, door::Door, listen::BREATH, seats::Seats};

/// Connections at a time. A Prometheus or two and some probes need one each, for a moment; beyond that the oldest makes way.
const AT_ONCE: usize = 16;

/// Until a request has come. Who asks is near, and has it ready.
const HEAD: Duration = Duration::from_secs(5);

/// Bytes of a request: the least that hyper can do with. Nothing after the first line is looked at.
const REQUEST: usize = 8 * 1024;

/// For a connection from its beginning to its end: a request, the look that it waits for, and the answer, however slowly
/// that is read.
const WHOLE: Duration = Duration::from_secs(15);

/// What is told of.
pub(crate) struct Health {
    pub(crate) root: PathBuf,
    pub(crate) uploads: Uploads<LocalStore>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) room: Room,
    pub(crate) seats: Arc<Seats>,
    pub(crate) door: Arc<Door>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Takes the address.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address} (--metrics)"))?;
    listener.set_nonblocking(true).context("cannot use a listener")?;
    Ok(listener)
}

/// Where the numbers are to be found.
pub(crate) fn page(listener: &TcpListener) -> anyhow::Result<String> {
    let address = listener.local_addr().context("cannot tell the address of a listener")?;
    Ok(format!("http://{address}/metrics"))
}

/// Answers from here on, until the process ends: also that it is stopping. To be called on the server's runtime.
pub(crate) fn start(listener: TcpListener, health: Health) -> anyhow::Result<()> {
    if listener.local_addr().is_ok_and(|address| !address.ip().to_canonical().is_loopback()) {
        tracing::warn!("how the server is can be asked from other machines, without encryption, by anybody");
    }
    let Health { root, uploads, catalogue, .. } = &health;
    let (uploads, catalogue) = (uploads.clone(), catalogue.clone());
    let heart = Arc::new(Heart::of(&uploads));
    let looks = Looks::start(Place { root: root.clone(), uploads: uploads.clone(), catalogue });
    let looks = looks.context("cannot start the thread that looks at the disk")?;
    let beating = heart.clone();
    tokio::spawn(async move { beating.beat(uploads).await });
    let teller = Arc::new(Teller { health, heart, looks, since: SystemTime::now() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start what tells how the server is")?;
    let thread = std::thread::Builder::new().name("health".to_owned());
    thread
        .spawn(move || runtime.block_on(listen(listener, teller)))
        .context("cannot start the thread that tells how the server is")?;
    Ok(())
}

async fn listen(listener: TcpListener, teller: Arc<Teller>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "nobody can be told how the server is"),
    };
    let mut open = VecDeque::<AbortHandle>::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection that asks how the server is cannot be accepted");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= AT_ONCE
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let answered = timeout(WHOLE, answer(stream, teller.clone()));
        open.push_back(tokio::spawn(answered).abort_handle());
    }
}

/// One request of one connection.
async fn answer(stream: TcpStream, teller: Arc<Teller>) {
    let service = service_fn(|request: Request<_>| {
        let teller = teller.clone();
        async move { Ok::<_, Infallible>(teller.respond(request.method(), request.uri().path()).await) }
    });
    let mut connection = http1::Builder::new();
    connection.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(REQUEST);
    if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "somebody did not want to know how the server is after all");
    }
}

/// Who answers.
struct Teller {
    health: Health,
    heart: Arc<Heart>,
    looks: Looks,
    since: SystemTime,
}

impl Teller {
    async fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let mut response = match (path, method) {
            ("/healthz" | "/metrics", method) if ![Method::GET, Method::HEAD].contains(method) => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
                response.headers_mut().insert(ALLOW, const { header("GET, HEAD") });
                response
            }
            ("/healthz", _) => self.health().await,
            ("/metrics", _) => {
                let look = self.looks.now().await;
                let mut response = text(StatusCode::OK, self.numbers(look.as_ref()));
                response.headers_mut().insert(CONTENT_TYPE, const { header(page::TYPE) });
                response
            }
            _ => text(StatusCode::NOT_FOUND, "there are /healthz and /metrics\n"),
        };
        response.headers_mut().insert(CACHE_CONTROL, const { header("no-store") });
        response
    }

    async fn health(&self) -> Response<Full<Bytes>> {
        let faults = self.faults(self.looks.now().await.as_ref());
        if faults.is_empty() {
            text(StatusCode::OK, "ok\n")
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, faults.join("\n") + "\n")
        }
    }

    /// Everything because of which no file can be taken now.
    fn faults(&self, look: Option<&Look>) -> Vec<String> {
        let Health { counts, stop, .. } = &self.health;
        let mut faults = Vec::new();
        if *stop.borrow() {
            faults.push("the server is stopping".to_owned());
        } else if !counts.are_accepting() {
            faults.push("connections are not accepted".to_owned());
        }
        faults.extend(self.heart.faults());
        match look {
            Some(look) => faults.extend(look.faults.iter().cloned()),
            None => faults.push("the disk, or the catalogue on it, does not answer in time".to_owned()),
        }
        faults
    }

    fn numbers(&self, look: Option<&Look>) -> String {
        let mut page = Page::default();
        self.tell_of_the_server(&mut page, look);
        self.tell_of_connections(&mut page);
        self.tell_of_files(&mut page);
        self.tell_of_the_disk(&mut page, look);
        page.text()
    }

    fn tell_of_the_server(&self, page: &mut Page, look: Option<&Look>) {
        page.fact("ferryd_build_info", "What runs.", "version", env!("CARGO_PKG_VERSION"));
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        page.gauge("ferryd_start_time_seconds", "When it started, in seconds since 1970.", since);
        let is_healthy = u8::from(self.faults(look).is_empty());
        page.gauge("ferryd_healthy", "1 if it can take files, as /healthz says, else 0.", is_healthy);
    }

    fn tell_of_connections(&self, page: &mut Page) {
        let Health { counts, seats, door, .. } = &self.health;
        let help = "Connections that were accepted.";
        page.counter("ferryd_connections_accepted_total", help, counts.accepted.now());
        let help = "Connections that could not be accepted, for want of open files or memory.";
        page.counter("ferryd_accept_failures_total", help, counts.failed_accepts());
        let help = "Peers that are not known to be clients yet.";
        page.gauge("ferryd_connections_waiting", help, door.waiting());
        let help = "Peers that had to make way for newer ones before they were known.";
        page.counter("ferryd_connections_crowded_out_total", help, counts.crowded_out.now());
        let help = "Connections whose TLS handshake failed.";
        page.counter("ferryd_handshake_failures_total", help, counts.failed_handshakes.now());
        page.gauge("ferryd_sessions_open", "Sessions of clients.", seats.taken());
        page.counter("ferryd_sessions_begun_total", "Sessions that have begun.", counts.sessions.now());
        let ended = End::NAMES.into_iter().zip(&counts.ended).map(|((_, name), count)| (name, count.now()));
        page.counters("ferryd_sessions_ended_total", "Sessions that have ended, by how.", "how", ended);
        let help =
            "Peers that were not let in, sessions that were cut, and requests that were rejected, by code.";
        page.counters("ferryd_refusals_total", help, "code", counts.refusals.now());
    }

    fn tell_of_files(&self, page: &mut Page) {
        let counts = &self.health.counts;
        let help = "Bytes of bodies that have come, whatever became of them; holes count.";
        page.counter("ferryd_received_bytes_total", help, counts.received_bytes.now());
        let help = "Bytes of bodies that have left, whatever became of them; holes count.";
        page.counter("ferryd_given_bytes_total", help, counts.given_bytes.now());
        let help = "Entries that have arrived for good, by kind.";
        page.counters("ferryd_entries_received_total", help, "kind", counts.received.now());
        let help = "Entries that were offered and were here already, by kind; dry runs count.";
        page.counters("ferryd_entries_held_total", help, "kind", counts.held.now());
        let help = "Entries that were given to whoever asked for them, by kind.";
        page.counters("ferryd_entries_given_total", help, "kind", counts.given.now());
        let help = "Entries that were refused, or failed, by direction and code.";
        let received = counts.not_received.now().map(|(code, often)| ("receive", code, often));
        let given = counts.not_given.now().map(|(code, often)| ("give", code, often));
        page.counters_of_two("ferryd_failures_total", help, ["direction", "code"], received.chain(given));
    }

    fn tell_of_the_disk(&self, page: &mut Page, look: Option<&Look>) {
        let Health { uploads, catalogue, room, .. } = &self.health;
        let figures = uploads.figures();
        let help = "From when an entry was complete to when it was durable and recorded.";
        page.histogram("ferryd_commit_duration_seconds", help, &figures.commit_micros, 1e6);
        let help = "Entries that were committed together.";
        page.histogram("ferryd_commit_batch_entries", help, &figures.batches, 1.0);
        let help = "Entries that wait to be committed.";
        page.gauge("ferryd_commit_waiting_entries", help, figures.waiting);
        let help = "How long the committer has stood still; a second or so is nothing.";
        page.gauge("ferryd_commit_standstill_seconds", help, self.heart.standstill().as_secs_f64());
        let (size, taken) = room.size_and_taken();
        let help = "Bytes that fit between network and disk.";
        page.gauge("ferryd_room_size_bytes", help, size);
        let help = "Bytes that are between network and disk.";
        page.gauge("ferryd_room_taken_bytes", help, taken);
        let help = "Bodies that are being received, or wait for their names.";
        page.gauge("ferryd_staging_open_bodies", help, figures.open_bodies);
        let help = "Bytes of the bodies that are being received, or wait for their names; holes count.";
        page.gauge("ferryd_staging_open_bytes", help, figures.open_bytes);
        let help = "Transactions of the catalogue that failed.";
        page.counter("ferryd_catalogue_failures_total", help, catalogue.failures());
        // What the disk did not tell in time is left out: a number from before would be a lie.
        if let Some((bodies, bytes)) = look.and_then(|look| look.resumable) {
            let help =
                "Bodies with a checkpoint, which can be gone on with; some of them are being received.";
            page.gauge("ferryd_staging_resumable_bodies", help, bodies);
            let help = "Bytes of bodies with a checkpoint, up to there; holes count.";
            page.gauge("ferryd_staging_resumable_bytes", help, bytes);
        }
        if let Some((free, whole)) = look.and_then(|look| look.space) {
            page.gauge("ferryd_disk_free_bytes", "Bytes that can be written where the root is.", free);
            page.gauge("ferryd_disk_size_bytes", "Bytes of the file system that the root is on.", whole);
        }
    }
}

const fn header(text: &'static str) -> hyper::header::HeaderValue {
    hyper::header::HeaderValue::from_static(text)
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, header("text/plain; charset=utf-8"));
    response
}
