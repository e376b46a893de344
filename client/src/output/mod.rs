//! What a run tells: to people as bars or lines, to scripts as JSON, to `sha256sum` as receipts.

mod bars;
mod json;
mod lines;
mod screen;
mod stages;

use std::{
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use ferry_proto::{Code, Digest, Header, Kind, RelPath, escape, units};
use ferry_session::send::{Fate, Origin, Stage, Task};
use ferry_store::source::SourceError;

use self::{
    bars::Bars,
    json::Json,
    lines::Lines,
    stages::{Slowest, Stages},
};
use crate::{
    config::{Form, Output},
    exit::{Exit, Failure},
    receipts::Receipts,
};

/// Who is told what becomes of each entry.
pub(crate) trait Report: Send + Sync + 'static {
    /// A large body begins, at this offset.
    fn begun(&self, task: &Task, offset: u64);
    /// Bytes of a body are leaving.
    fn advanced(&self, task: &Task, bytes: u64);
    /// A part of the work has taken so much more time.
    fn spent(&self, stage: Stage, time: Duration);
    /// A body was interrupted and will be tried again.
    fn stalled(&self, task: &Task);
    /// An entry is finished; whether that is a failure. It is one, too, where it should be gone here and had to be kept.
    fn settled(&self, task: &Task, fate: &Fate, kept: Option<String>) -> bool;
    /// An entry is of no kind that is sent.
    fn skipped(&self, source: &Path, what: &'static str);
    /// An entry is not among what was chosen.
    fn left_out(&self, source: &Path, why: &str);
    /// A name in the list of what is to be sent is nowhere.
    fn unmet(&self, name: &[u8]);
    /// An earlier source had a file of this name; sending this one too would replace that.
    fn twin(&self, source: &Path, path: &RelPath);
    /// An entry cannot be read or named.
    fn unreadable(&self, source: &Path, error: &SourceError);
}

/// One way of telling it. An error is standard output's, and means that data is lost.
trait Teller: Send {
    /// A body begins, of so many bytes if that is known, at this offset.
    fn begun(&mut self, _path: &RelPath, _size: Option<u64>, _offset: u64) {}
    fn advanced(&mut self, path: &RelPath, bytes: u64, totals: &Totals) -> io::Result<()>;
    fn finished(&mut self, entry: &Entry<'_>, totals: &Totals) -> io::Result<()>;
    /// A body is no longer on its way.
    fn dropped(&mut self, _path: &RelPath) {}
    /// What the walk has found so far; true when that is all.
    fn expected(&mut self, _files: u64, _bytes: u64, _is_all: bool) {}
    /// A sentence for people.
    fn say(&mut self, sentence: &str) {
        to_stderr(sentence);
    }
    /// A line that was asked for, on standard output.
    fn print(&mut self, line: &str) -> io::Result<()> {
        to_stdout(line)
    }
    /// The last words; with what the stages took, if that was asked for.
    fn summary(&mut self, totals: &Totals, stages: Option<&Stages>, exit: Exit) -> io::Result<()>;
    /// Takes away what is only shown for a while.
    fn clear(&mut self) {}
}

/// One entry that is finished.
struct Entry<'a> {
    status: Status,
    kind: &'static str,
    /// The name that was asked for, if it came so far.
    asked: Option<&'a RelPath>,
    /// The name on the server, below the client's folder.
    name: &'a [u8],
    /// The name here, where that is what people look for.
    local: Option<&'a Path>,
    digest: Option<&'a Digest>,
    bytes: u64,
    /// What went wrong, or is worth knowing.
    detail: Option<String>,
    code: Option<Code>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Sent,
    Held,
    Failed,
    /// Of no kind that is sent.
    Skipped,
    /// Not chosen.
    LeftOut,
    WouldSend,
}

/// Which way files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the server.
    Send,
    /// From it.
    Get,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Direction::Send => "send",
            Direction::Get => "get",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Direction::Send => "sent",
            Direction::Get => "got",
        }
    }
}

/// What has happened so far.
#[derive(Debug, Clone)]
struct Totals {
    start: Instant,
    sent: u64,
    held: u64,
    failed: u64,
    skipped: u64,
    /// Of those that have arrived, which should be gone here and are not.
    kept: u64,
    /// Bytes of bodies that left.
    bytes: u64,
    direction: Direction,
    dry_run: bool,
    /// What holds it up at the moment, if that was asked for.
    slowest: Option<&'static str>,
}

/// Everything that is told about one run.
pub(crate) struct Narrator {
    inner: Mutex<Inner>,
    output: Output,
    stages: Stages,
}

struct Inner {
    teller: Box<dyn Teller>,
    totals: Totals,
    slowest: Slowest,
    receipts: Option<Receipts>,
    receipts_failed: Option<String>,
    stdout_failed: Option<io::Error>,
}

impl Inner {
    /// Keeps the first thing that went wrong with standard output.
    fn wrote(&mut self, result: io::Result<()>) {
        self.stdout_failed = self.stdout_failed.take().or(result.err());
    }
}

impl Narrator {
    pub(crate) fn new(
        output: Output,
        direction: Direction,
        dry_run: bool,
        receipts: Option<Receipts>,
    ) -> Self {
        let teller: Box<dyn Teller> = match output.form {
            Form::Bars => Box::new(Bars::new()),
            Form::Lines => Box::new(Lines::new(true)),
            Form::Silent => Box::new(Lines::new(false)),
            Form::Json => Box::new(Json::new()),
        };
        let inner = Inner {
            teller,
            totals: Totals::new(direction, dry_run),
            slowest: Slowest::new(),
            receipts,
            receipts_failed: None,
            stdout_failed: None,
        };
        Narrator { inner: Mutex::new(inner), output, stages: Stages::default() }
    }

    /// What a look ahead has found so far.
    pub(crate) fn expected(&self, files: u64, bytes: u64, is_all: bool) {
        self.lock().teller.expected(files, bytes, is_all);
    }

    /// Bytes of bodies that left so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().totals.bytes
    }

    /// Tells people something that is no file's own.
    pub(crate) fn say(&self, sentence: &str) {
        if !self.output.quiet {
            self.lock().teller.say(sentence);
        }
    }

    /// The receipts, and the last line. Returns how the run ends; receipts or data that cannot be written make it worse.
    fn finish(&self, exit: Exit) -> Exit {
        let mut inner = self.lock();
        let Inner { teller, totals, receipts, receipts_failed, stdout_failed, .. } = &mut *inner;
        let receipts = receipts.take();
        let failed = receipts_failed.take().or_else(|| {
            let is_complete = matches!(exit, Exit::Well | Exit::SomeFailed);
            let finished = receipts.map(|receipts| receipts.finish(is_complete));
            finished.and_then(Result::err).map(|error| error.to_string())
        });
        let exit =
            if failed.is_some() || stdout_failed.is_some() { exit.at_best_some_failed() } else { exit };
        if let Some(error) = failed {
            teller.say(&format!("ferry: the receipts cannot be written: {error}"));
        }
        // A run that did not come to anything has nothing to sum up; its error says it all.
        let is_nothing = totals.is_nothing() && !matches!(exit, Exit::Well | Exit::SomeFailed);
        let summed_up = if self.output.form == Form::Json || !(self.output.quiet || is_nothing) {
            teller.summary(totals, self.output.verbose.then_some(&self.stages), exit)
        } else {
            teller.clear();
            Ok(())
        };
        match stdout_failed.take().or(summed_up.err()) {
            None => exit,
            Some(error) => {
                teller.say(&format!("ferry: standard output cannot be written: {error}"));
                if self.output.form == Form::Json {
                    // The other summary is lost.
                    teller.say(&totals.sentence());
                }
                exit.at_best_some_failed()
            }
        }
    }

    /// The last words of a run. Returns how it ends.
    pub(crate) fn end(&self, result: Result<Exit, Failure>) -> Result<Exit, Failure> {
        match result {
            Ok(exit) => Ok(self.finish(exit)),
            Err(failure) => {
                self.finish(failure.code);
                Err(failure)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        ferry_store::lock(&self.inner)
    }

    /// What holds the run up at the moment.
    fn look(&self, inner: &mut Inner) {
        if self.output.verbose {
            inner.totals.slowest = inner.slowest.look(&self.stages);
        }
    }

    fn tell(&self, entry: &Entry<'_>) {
        let mut inner = self.lock();
        self.look(&mut inner);
        let Inner { teller, totals, .. } = &mut *inner;
        match entry.status {
            Status::Sent | Status::WouldSend => totals.sent += 1,
            Status::Held => totals.held += 1,
            Status::Failed => totals.failed += 1,
            Status::Skipped | Status::LeftOut => totals.skipped += 1,
        }
        if entry.status == Status::WouldSend {
            totals.bytes += entry.bytes;
        }
        let told = teller.finished(entry, totals);
        inner.wrote(told);
        if self.output.form == Form::Json {
            return;
        }
        let Inner { teller, totals, .. } = &mut *inner;
        let local = entry.local.map(|path| path.as_os_str().as_bytes());
        let name = escape::bytes(local.unwrap_or(entry.name));
        match (entry.status, &entry.detail) {
            (Status::Failed, detail) => {
                teller.say(&format!("ferry: {name}: {}", detail.as_deref().unwrap_or("failed")));
            }
            (Status::LeftOut, Some(why)) if self.output.verbose => {
                teller.say(&format!("out   {name}: {why}"))
            }
            (Status::LeftOut, _) => {}
            (Status::WouldSend, why) => {
                let why = why.as_ref().filter(|_| self.output.verbose);
                let why = why.map_or(String::new(), |why| format!(": {why}"));
                match teller.print(&format!("{:<5} {name}{why}", totals.direction.word())) {
                    // Whoever only looks at it may have seen enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                    printed => inner.wrote(printed),
                }
            }
            (_, Some(detail)) if !self.output.quiet => teller.say(&format!("ferry: {name}: {detail}")),
            (Status::Held, _) if self.output.verbose => teller.say(&format!("held  {name}")),
            (Status::Sent, _)
                if self.output.verbose
                    || (self.output.each_sent && !self.output.quiet && entry.kind != "folder") =>
            {
                teller.say(&format!("{:<5} {name}", totals.direction.done()));
            }
            _ => {}
        }
    }
}

/// What becomes of bodies on their way, and of entries that come from a server.
impl Narrator {
    /// A body begins, of so many bytes if that is known, at this offset.
    pub(crate) fn begun(&self, path: &RelPath, size: Option<u64>, offset: u64) {
        self.lock().teller.begun(path, size, offset);
    }

    /// Bytes of a body are on their way.
    pub(crate) fn advanced(&self, path: &RelPath, bytes: u64) {
        let mut inner = self.lock();
        self.look(&mut inner);
        let Inner { teller, totals, .. } = &mut *inner;
        totals.bytes += bytes;
        let told = teller.advanced(path, bytes, totals);
        inner.wrote(told);
    }

    /// A body is no longer on its way.
    pub(crate) fn dropped(&self, path: &RelPath) {
        self.lock().teller.dropped(path);
    }

    /// It is here now, under this name.
    pub(crate) fn got(&self, header: &Header, name: &RelPath, bytes: u64, digest: Option<&Digest>) {
        self.receipt(header.has_body(), digest, name);
        self.tell(&Entry { digest, bytes, ..of_header(Status::Sent, header, name) });
    }

    /// It was here already.
    pub(crate) fn had(&self, header: &Header, name: &RelPath, digest: Option<&Digest>) {
        self.receipt(header.has_body(), digest, name);
        let bytes = header.size.unwrap_or(0);
        self.tell(&Entry { digest, bytes, ..of_header(Status::Held, header, name) });
    }

    /// It would be got.
    pub(crate) fn would_get(&self, header: &Header, is_new: bool) {
        let (bytes, detail) = (header.size.unwrap_or(0), Self::why(is_new));
        self.tell(&Entry { bytes, detail, ..of_header(Status::WouldSend, header, &header.path) });
    }

    /// Why something would be done.
    fn why(is_new: bool) -> Option<String> {
        Some(if is_new { "new" } else { "not the same as what is there" }.to_owned())
    }

    /// It could not be received.
    pub(crate) fn not_got(&self, header: &Header, code: Code, detail: &str) {
        let detail = Some(escape::text(detail).to_string());
        self.tell(&Entry { detail, code: Some(code), ..of_header(Status::Failed, header, &header.path) });
    }

    /// It was not chosen.
    pub(crate) fn not_chosen(&self, header: &Header, why: String) {
        self.tell(&Entry { detail: Some(why), ..of_header(Status::LeftOut, header, &header.path) });
    }

    /// It does not come.
    pub(crate) fn not_there(&self, name: &[u8], code: Code, detail: &str) {
        let text = if detail.is_empty() { code.phrase() } else { detail };
        let detail = Some(escape::text(text).to_string());
        let (kind, code, status) = ("other", Some(code), Status::Failed);
        self.tell(&Entry {
            status,
            kind,
            asked: None,
            name,
            local: None,
            digest: None,
            bytes: 0,
            detail,
            code,
        });
    }
}

fn of_header<'a>(status: Status, header: &'a Header, name: &'a RelPath) -> Entry<'a> {
    let (kind, asked, name) = (kind_name(&header.kind), Some(&header.path), name.as_bytes());
    Entry { status, kind, asked, name, local: None, digest: None, bytes: 0, detail: None, code: None }
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Symlink(_) => "symlink",
    }
}

impl Report for Narrator {
    fn begun(&self, task: &Task, offset: u64) {
        Narrator::begun(self, task.path(), task.size(), offset);
    }

    fn advanced(&self, task: &Task, bytes: u64) {
        Narrator::advanced(self, task.path(), bytes);
    }

    fn spent(&self, stage: Stage, time: Duration) {
        self.stages.spent(stage, time);
    }

    fn stalled(&self, task: &Task) {
        self.dropped(task.path());
    }

    fn settled(&self, task: &Task, fate: &Fate, kept: Option<String>) -> bool {
        let kind = match &task.origin {
            Origin::Tree(item) => kind_name(&item.kind),
            Origin::Stream(..) => "file",
        };
        let asked = task.path();
        let entry = |status, name, digest, bytes| Entry {
            status,
            kind,
            asked: Some(asked),
            name,
            local: None,
            digest,
            bytes,
            detail: None,
            code: None,
        };
        let mut described = match fate {
            Fate::Sent { digest, bytes, path, grew } => {
                let name = path.as_ref().unwrap_or(asked);
                self.receipt(task.is_file(), digest.as_ref(), name);
                let grown =
                    grew.then(|| "it grew while it was read; what it was at first was sent".to_owned());
                Entry { detail: grown, ..entry(Status::Sent, name.as_bytes(), digest.as_ref(), *bytes) }
            }
            Fate::Held { digest, bytes, path } => {
                let name = path.as_ref().unwrap_or(asked);
                self.receipt(task.is_file(), digest.as_ref(), name);
                entry(Status::Held, name.as_bytes(), digest.as_ref(), *bytes)
            }
            Fate::WouldSend { bytes, is_new } => {
                let detail = Self::why(*is_new);
                Entry { detail, ..entry(Status::WouldSend, asked.as_bytes(), None, *bytes) }
            }
            Fate::Failed { code, detail } => {
                // Where the sentence comes from another machine, or says nothing, the code's own says it better.
                let text = if detail.is_empty() { code.phrase() } else { detail };
                let detail = Some(escape::text(text).to_string());
                let local = match (&task.origin, code) {
                    (
                        Origin::Tree(item),
                        Code::SourceChanged | Code::SourceVanished | Code::SourceUnreadable,
                    ) => Some(item.source.path()),
                    _ => None,
                };
                let failed = entry(Status::Failed, asked.as_bytes(), None, 0);
                Entry { detail, code: Some(*code), local, ..failed }
            }
        };
        let is_failure = described.status == Status::Failed || kept.is_some();
        self.lock().totals.kept += u64::from(kept.is_some());
        described.detail = kept.or(described.detail);
        self.tell(&described);
        is_failure
    }

    fn skipped(&self, source: &Path, what: &'static str) {
        self.tell(&of_source(Status::Skipped, "other", source, format!("{what}: not sent"), None));
    }

    fn left_out(&self, source: &Path, why: &str) {
        self.tell(&of_source(Status::LeftOut, "other", source, why.to_owned(), None));
    }

    fn unmet(&self, name: &[u8]) {
        self.not_there(
            name,
            Code::SourceVanished,
            "it is in the list, and not in the folder that the list's names are below",
        );
    }

    fn twin(&self, source: &Path, path: &RelPath) {
        let detail = format!("another source of this run has become {path} already");
        self.tell(&of_source(Status::Failed, "file", source, detail, Some(Code::Exists)));
    }

    fn unreadable(&self, source: &Path, error: &SourceError) {
        let (code, detail) = ferry_session::send::source_failure(error);
        self.tell(&of_source(Status::Failed, "other", source, detail, Some(code)));
    }
}

/// What has no name on the server, and is named by where it is here.
fn of_source<'a>(
    status: Status,
    kind: &'static str,
    source: &'a Path,
    detail: String,
    code: Option<Code>,
) -> Entry<'a> {
    let (name, detail) = (source.as_os_str().as_bytes(), Some(detail));
    Entry { status, kind, asked: None, name, local: None, digest: None, bytes: 0, detail, code }
}

impl Narrator {
    fn receipt(&self, is_file: bool, digest: Option<&Digest>, name: &RelPath) {
        let mut inner = self.lock();
        if let (true, Some(digest), Some(receipts)) = (is_file, digest, &mut inner.receipts)
            && let Err(error) = receipts.add(digest, name)
        {
            inner.receipts_failed = Some(error.to_string());
        }
    }
}

impl Totals {
    fn new(direction: Direction, dry_run: bool) -> Self {
        let start = Instant::now();
        let (sent, held, failed, skipped, kept, bytes) = (0, 0, 0, 0, 0, 0);
        Totals { start, sent, held, failed, skipped, kept, bytes, direction, dry_run, slowest: None }
    }

    fn is_nothing(&self) -> bool {
        self.sent + self.held + self.failed + self.skipped + self.bytes == 0
    }

    /// How many entries are done, of how many if that is known.
    fn entries(&self, all: Option<u64>) -> String {
        let done = self.sent + self.held + self.failed;
        let of = all.map_or(String::new(), |all| format!("/{all}"));
        let held = if self.held > 0 { format!(", {} held", self.held) } else { String::new() };
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        let slowest = self.slowest.map_or(String::new(), |name| format!(", slowest: {name}"));
        format!("{done}{of} entries{held}{failed}{slowest}")
    }

    /// The last line for people.
    fn sentence(&self) -> String {
        let took = self.start.elapsed();
        let verb = match (self.direction, self.dry_run) {
            (Direction::Send, false) => "sent",
            (Direction::Send, true) => "would send",
            (Direction::Get, false) => "got",
            (Direction::Get, true) => "would get",
        };
        let mut parts = vec![format!("{verb} {}", counted(self.sent))];
        if self.held > 0 {
            parts.push(format!("held {}", self.held));
        }
        if self.failed > 0 {
            parts.push(format!("failed {}", self.failed));
        }
        if self.skipped > 0 {
            parts.push(format!("skipped {}", self.skipped));
        }
        if self.kept > 0 {
            parts.push(format!("kept here {}", self.kept));
        }
        let rate = self.bytes as f64 / took.as_secs_f64().max(0.001);
        let moved = match self.dry_run {
            true => format!(": {}", units::told(self.bytes)),
            false => {
                format!(": {} in {}, {}/s", units::told(self.bytes), time(took), units::told(rate as u64))
            }
        };
        parts.join(", ") + &moved
    }
}

/// Puts a name, or another text that may be anything, into an object: escaped, and as bytes where it is no UTF-8.
pub(crate) fn insert_bytes(object: &mut serde_json::Map<String, serde_json::Value>, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => drop(object.insert(key.into(), text.into())),
        Err(_) => {
            object.insert(key.into(), escape::bytes(bytes).to_string().into());
            object.insert(format!("{key}_bytes"), bytes.into());
        }
    }
}

pub(crate) fn to_stdout(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// Whoever closed a pipe does not want to hear more; that is no reason to stop sending.
pub(crate) fn to_stderr(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn counted(entries: u64) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

/// A length of time for people.
fn time(took: Duration) -> String {
    let seconds = took.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", took.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
