//! For scripts: one JSON object a line, on standard output. `docs/guide.md` describes them.

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

use ferry_proto::{RelPath, escape};
use serde_json::{Map, Value, json};

use super::{Entry, Stages, Status, Teller, Totals, insert_bytes, to_stdout};
use crate::exit::Exit;

/// How often a progress event is written.
const NOW_AND_THEN: Duration = Duration::from_secs(1);

pub(super) struct Json {
    next: Instant,
    /// A line was lost, perhaps in its middle: nothing sensible can follow it.
    is_broken: bool,
}

impl Json {
    pub(super) fn new() -> Self {
        Json { next: Instant::now() + NOW_AND_THEN, is_broken: false }
    }
}

impl Teller for Json {
    fn advanced(&mut self, _path: &RelPath, _bytes: u64, totals: &Totals) -> io::Result<()> {
        if self.next <= Instant::now() {
            self.next = Instant::now() + NOW_AND_THEN;
            let entries = totals.sent + totals.held + totals.failed;
            self.write(&json!({ "event": "progress", "entries": entries, "bytes": totals.bytes }))?;
        }
        Ok(())
    }

    fn finished(&mut self, entry: &Entry<'_>, _totals: &Totals) -> io::Result<()> {
        let mut object = Map::new();
        let status = match entry.status {
            Status::Sent => "sent",
            Status::Held => "held",
            Status::Failed => "failed",
            Status::Skipped | Status::LeftOut => "skipped",
            Status::WouldSend => "would-send",
        };
        object.insert("status".into(), status.into());
        object.insert("kind".into(), entry.kind.into());
        insert_bytes(&mut object, "name", entry.name);
        if let Some(digest) = entry.digest {
            object.insert("digest".into(), digest.to_string().into());
        }
        object.insert("bytes".into(), entry.bytes.into());
        if let Some(code) = entry.code {
            object.insert("code".into(), code.number().into());
        }
        if let Some(detail) = &entry.detail {
            object.insert("detail".into(), detail.as_str().into());
        }
        self.write(&Value::Object(object))
    }

    fn flawed(&mut self, path: &RelPath, source: &Path, flaw: &str) -> io::Result<()> {
        let mut object = Map::new();
        object.insert("event".into(), "flawed".into());
        insert_bytes(&mut object, "name", path.as_bytes());
        insert_bytes(&mut object, "source", source.as_os_str().as_bytes());
        object.insert("detail".into(), flaw.into());
        self.write(&Value::Object(object))
    }

    fn summary(&mut self, totals: &Totals, stages: Option<&Stages>, exit: Exit) -> io::Result<()> {
        let seconds = totals.start.elapsed().as_secs_f64();
        let mut summary = json!({
            (if totals.dry_run { "would_send" } else { "sent" }): totals.sent,
            "held": totals.held,
            "failed": totals.failed,
            "skipped": totals.skipped,
            "kept": totals.kept,
            "flawed": totals.flawed,
            "bytes": totals.bytes,
            "seconds": seconds,
            "exit": exit as u8,
        });
        if let Some(stages) = stages {
            let stages = stages.all().map(|(name, time)| (name.replace(' ', "_"), time.as_secs_f64().into()));
            summary["stages"] = Value::Object(stages.collect());
        }
        self.write(&json!({ "summary": summary }))
    }
}

impl Json {
    fn write(&mut self, value: &Value) -> io::Result<()> {
        if self.is_broken {
            return Ok(());
        }
        let written = to_stdout(&escape::json(&value.to_string()));
        self.is_broken = written.is_err();
        written
    }
}
