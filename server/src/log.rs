//! Log lines, on standard error.

use std::{
    io::IsTerminal,
    sync::Mutex,
    time::{Duration, Instant},
};

use ferry_proto::{Code, Digest, RelPath, escape};
use ferry_session::receive::Witness;
use ferry_store::lock;
use tracing_subscriber::{filter::LevelFilter, fmt};

use crate::cli::LogFormat;

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

/// Lines a second that strangers may cause.
const STRANGERS: u32 = 10;

/// Writes a line about a peer that is no client, unless there were too many of them within the second: whoever knocks
/// ten thousand times must not fill the disk with log lines.
pub(crate) fn stranger(line: impl FnOnce()) {
    static SECOND: Mutex<Option<(Instant, u32)>> = Mutex::new(None);
    let mut second = lock(&SECOND);
    let (since, lines) = match *second {
        Some((since, lines)) if since.elapsed() < Duration::from_secs(1) => (since, lines + 1),
        ended => {
            let unsaid = ended.map_or(0, |(_, lines)| lines.saturating_sub(STRANGERS));
            if unsaid > 0 {
                tracing::info!(unsaid, "more of the like about peers that are no clients");
            }
            (Instant::now(), 1)
        }
    };
    *second = Some((since, lines));
    drop(second);
    if lines <= STRANGERS {
        line();
    }
}

/// Writes what a client's files come to.
pub(crate) struct Journal {
    pub(crate) client: String,
}

impl Witness for Journal {
    fn stored(&self, path: &RelPath, bytes: u64, digest: Option<&Digest>, took: Duration) {
        let client = &self.client;
        let ms = took.as_millis() as u64;
        match digest {
            Some(digest) => tracing::info!(%client, file = %path, bytes, %digest, ms, "received"),
            None => tracing::info!(%client, entry = %path, ms, "made"),
        }
    }

    fn held(&self, path: &RelPath) {
        tracing::debug!(client = %self.client, file = %path, "held");
    }

    fn failed(&self, path: &RelPath, code: Code, detail: &str) {
        tracing::warn!(client = %self.client, file = %path, %code, detail = %escape::text(detail), "failed");
    }
}
