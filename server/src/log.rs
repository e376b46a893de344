//! Log lines, on standard error.

use std::{
    io::IsTerminal,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ferry_proto::{Code, Digest, Header, Kind, RelPath, escape};
use ferry_session::receive::Witness;
use ferry_store::lock;
use tracing_subscriber::{filter::LevelFilter, fmt};

use crate::{cli::LogFormat, health::Counts};

/// Starts writing log lines.
pub(crate) fn start(format: LogFormat, level: LevelFilter) {
    let lines = fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        // It would tell them where the log goes, and panic where that fails too.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
    }
}

/// Lines about what a peer does wrong, so many a second: whoever knocks ten thousand times must not fill the disk with
/// log lines.
pub(crate) struct Few {
    most: u32,
    about: &'static str,
    second: Mutex<Option<(Instant, u32)>>,
}

/// About peers that are no clients.
pub(crate) static STRANGERS: Few = Few::new(10, "peers that are no clients");

/// Lines a second about files of one request that fail: enough to see what goes wrong, and the client is told about each.
const FAILURES: u32 = 100;

impl Few {
    pub(crate) const fn new(most: u32, about: &'static str) -> Self {
        Few { most, about, second: Mutex::new(None) }
    }

    /// Writes a line, unless there were too many of them within the second.
    pub(crate) fn line(&self, line: impl FnOnce()) {
        let mut second = lock(&self.second);
        let (since, lines) = match *second {
            Some((since, lines)) if since.elapsed() < Duration::from_secs(1) => (since, lines + 1),
            ended => {
                self.tell_the_rest(ended);
                (Instant::now(), 1)
            }
        };
        *second = Some((since, lines));
        drop(second);
        if lines <= self.most {
            line();
        }
    }

    fn tell_the_rest(&self, ended: Option<(Instant, u32)>) {
        let unsaid = ended.map_or(0, |(_, lines)| lines.saturating_sub(self.most));
        if unsaid > 0 {
            tracing::info!(unsaid, "more of the like about {}", self.about);
        }
    }
}

impl Drop for Few {
    fn drop(&mut self) {
        let ended = lock(&self.second).take();
        self.tell_the_rest(ended);
    }
}

/// Writes what a client's files come to, and counts it.
pub(crate) struct Journal {
    client: String,
    counts: Arc<Counts>,
    failures: Arc<Few>,
}

/// So many lines about files that fail.
pub(crate) fn failures() -> Arc<Few> {
    Arc::new(Few::new(FAILURES, "files that failed"))
}

impl Journal {
    /// Of one request.
    pub(crate) fn of(client: &str, counts: &Arc<Counts>) -> Self {
        Self::among(client, counts, &failures())
    }

    /// Of one request that is a single file, among others.
    pub(crate) fn among(client: &str, counts: &Arc<Counts>, failures: &Arc<Few>) -> Self {
        Journal { client: client.to_owned(), counts: counts.clone(), failures: failures.clone() }
    }

    /// Bytes of a body have come.
    pub(crate) fn came(&self, bytes: u64) {
        self.counts.received_bytes.add(bytes);
    }

    /// The client has got something that it had asked for.
    pub(crate) fn gave(&self, kind: &Kind, path: &RelPath, bytes: u64, digest: Option<&Digest>) {
        let client = &self.client;
        self.counts.given.one(kind);
        match digest {
            Some(digest) => tracing::info!(%client, file = %path, bytes, %digest, "gave"),
            None => tracing::debug!(%client, entry = %path, "gave"),
        }
    }

    /// Bytes of a file go to the client.
    pub(crate) fn gives(&self, bytes: u64) {
        self.counts.given_bytes.add(bytes);
    }

    /// It has not got it, or not whole.
    pub(crate) fn could_not_give(&self, path: &RelPath, code: Code, detail: &str) {
        self.counts.not_given.one(code);
        let (client, detail) = (&self.client, escape::text(detail));
        self.failures.line(|| tracing::warn!(%client, file = %path, %code, %detail, "not given"));
    }
}

impl Witness for Journal {
    fn given_up(&self, header: &Header, code: Code) {
        self.failed(header, code, "given up by its sender");
    }

    fn stored(&self, header: &Header, path: &RelPath, bytes: u64, digest: Option<&Digest>, took: Duration) {
        self.counts.received.one(&header.kind);
        let client = &self.client;
        let ms = took.as_millis() as u64;
        match digest {
            Some(digest) => tracing::info!(%client, file = %path, bytes, %digest, ms, "received"),
            // Folders and links cost a client next to nothing, and would cost the log a line.
            None => tracing::debug!(%client, entry = %path, ms, "made"),
        }
    }

    fn held(&self, header: &Header, path: &RelPath, _: Option<&Digest>) {
        self.counts.held.one(&header.kind);
        tracing::debug!(client = %self.client, file = %path, "held");
    }

    fn advanced(&self, _: &Header, bytes: u64) {
        self.came(bytes);
    }

    fn failed(&self, header: &Header, code: Code, detail: &str) {
        self.counts.not_received.one(code);
        let path = &header.path;
        let (client, detail) = (&self.client, escape::text(detail));
        self.failures.line(|| tracing::warn!(%client, file = %path, %code, %detail, "failed"));
    }
}
