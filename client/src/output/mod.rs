//! What a run tells: to people as bars or lines, to scripts as JSON, to `sha256sum` as receipts.

mod bars;
mod entry;
mod json;
mod lines;
mod screen;
mod stages;
mod totals;

use std::{
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use ferry_proto::{Code, Digest, Header, RelPath, escape};
use ferry_session::send::{Fate, Origin, Stage, Task};
use ferry_store::source::{Item, SourceError};

pub(crate) use self::totals::Direction;
use self::{
    bars::Bars,
    entry::{Entry, Status, kind_name},
    json::Json,
    lines::Lines,
    stages::{Slowest, Stages},
    totals::Totals,
};
use crate::{
    config::{Form, Output},
    exit::{Exit, Failure},
    receipts::Receipts,
};

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
    /// A picture is cut off or cannot be decoded.
    fn flawed(&mut self, _path: &RelPath, source: &Path, flaw: &str) -> io::Result<()> {
        let name = escape::bytes(source.as_os_str().as_bytes());
        self.say(&format!("ferry: {name}: {}", escape::text(flaw)));
        Ok(())
    }
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

    /// Whether anything has gone its way, or was there already, in a run that is for more than looking.
    pub(crate) fn has_moved(&self) -> bool {
        let inner = self.lock();
        let Totals { sent, held, bytes, dry_run, .. } = inner.totals;
        !dry_run && sent + held + bytes > 0
    }

    /// Tells people something that is no file's own.
    pub(crate) fn say(&self, sentence: &str) {
        if !self.output.quiet {
            self.lock().teller.say(sentence);
        }
    }

    /// Tells people something that they should know even if they want to hear nothing.
    pub(crate) fn warn(&self, sentence: &str) {
        self.lock().teller.say(sentence);
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
        self.tell(&Entry { digest, bytes, ..Entry::of_header(Status::Sent, header, name) });
    }

    /// It was here already.
    pub(crate) fn had(&self, header: &Header, name: &RelPath, digest: Option<&Digest>) {
        self.receipt(header.has_body(), digest, name);
        let bytes = header.size.unwrap_or(0);
        self.tell(&Entry { digest, bytes, ..Entry::of_header(Status::Held, header, name) });
    }

    /// It would be got.
    pub(crate) fn would_get(&self, header: &Header, is_new: bool) {
        let (bytes, detail) = (header.size.unwrap_or(0), Self::why(is_new));
        self.tell(&Entry { bytes, detail, ..Entry::of_header(Status::WouldSend, header, &header.path) });
    }

    /// Why something would be done.
    fn why(is_new: bool) -> Option<String> {
        Some(if is_new { "new" } else { "not the same as what is there" }.to_owned())
    }

    /// It could not be received.
    pub(crate) fn not_got(&self, header: &Header, code: Code, detail: &str) {
        let detail = Some(escape::text(detail).to_string());
        self.tell(&Entry {
            detail,
            code: Some(code),
            ..Entry::of_header(Status::Failed, header, &header.path)
        });
    }

    /// It was not chosen.
    pub(crate) fn not_chosen(&self, header: &Header, why: String) {
        self.tell(&Entry { detail: Some(why), ..Entry::of_header(Status::LeftOut, header, &header.path) });
    }

    /// It does not come.
    pub(crate) fn not_there(&self, name: &[u8], code: Code, detail: &str) {
        let text = code.explained(detail);
        let detail = Some(escape::text(text).to_string());
        self.tell(&Entry { detail, code: Some(code), ..Entry::new(Status::Failed, "other", name) });
    }
}

/// What becomes of entries that are sent.
impl Narrator {
    /// A part of the work has taken so much more time.
    pub(crate) fn spent(&self, stage: Stage, time: Duration) {
        self.stages.spent(stage, time);
    }

    /// An entry is finished; whether that is a failure. It is one, too, where it should be gone here and had to be kept.
    pub(crate) fn settled(&self, task: &Task, fate: &Fate, kept: Option<String>) -> bool {
        let kind = match &task.origin {
            Origin::Tree(item) => kind_name(&item.kind),
            Origin::Stream(..) => "file",
        };
        let asked = task.path();
        let entry = |status, name, digest, bytes| Entry {
            asked: Some(asked),
            digest,
            bytes,
            ..Entry::new(status, kind, name)
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
                let text = code.explained(detail);
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

    /// A picture that is to be sent is cut off or cannot be decoded.
    pub(crate) fn flawed(&self, item: &Item, flaw: &str) {
        let mut inner = self.lock();
        inner.totals.flawed += 1;
        let told = inner.teller.flawed(&item.path, item.source.path(), flaw);
        inner.wrote(told);
    }

    /// A picture could not be looked into.
    pub(crate) fn unexamined(&self, item: &Item, why: &str) {
        let name = escape::bytes(item.source.path().as_os_str().as_bytes());
        self.say(&format!("ferry: {name}: {why}"));
    }

    /// An entry is of no kind that is sent.
    pub(crate) fn skipped(&self, source: &Path, what: &'static str) {
        self.tell(&Entry::of_source(Status::Skipped, "other", source, format!("{what}: not sent")));
    }

    /// An entry is not among what was chosen.
    pub(crate) fn left_out(&self, source: &Path, why: &str) {
        self.tell(&Entry::of_source(Status::LeftOut, "other", source, why.to_owned()));
    }

    /// A name in the list of what is to be sent is nowhere.
    pub(crate) fn unmet(&self, name: &[u8]) {
        self.not_there(
            name,
            Code::SourceVanished,
            "it is in the list, and not in the folder that the list's names are below",
        );
    }

    /// An earlier source had a file of this name; sending this one too would replace that.
    pub(crate) fn twin(&self, source: &Path, path: &RelPath) {
        let detail = format!("another source of this run has become {path} already");
        self.tell(&Entry {
            code: Some(Code::Exists),
            ..Entry::of_source(Status::Failed, "file", source, detail)
        });
    }

    /// An entry cannot be read or named.
    pub(crate) fn unreadable(&self, source: &Path, error: &SourceError) {
        let (code, detail) = ferry_session::send::source_failure(error);
        self.tell(&Entry { code: Some(code), ..Entry::of_source(Status::Failed, "other", source, detail) });
    }
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

/// What was to be told on standard output is lost.
pub(crate) fn unwritable(error: &io::Error) -> Failure {
    Failure::new(Exit::SomeFailed, format!("standard output cannot be written: {error}"))
}

/// Whoever closed a pipe does not want to hear more; that is no reason to stop sending.
pub(crate) fn to_stderr(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
