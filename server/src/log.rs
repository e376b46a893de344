//! Log lines, on standard error.

use std::{io::IsTerminal, time::Duration};

use ferry_proto::{Code, Digest, RelPath, escape};
use ferry_session::receive::Witness;
use tracing_subscriber::{EnvFilter, fmt};

use crate::cli::LogFormat;

/// Starts writing log lines.
pub(crate) fn start(format: LogFormat, filter: &str) {
    let filter = EnvFilter::new(filter);
    let lines = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        // It would tell them where the log goes, and panic where that fails too.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
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
