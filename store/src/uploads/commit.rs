//! The committer: turns complete bodies into durable files, as many at a time as have come in meanwhile.
//!
//! The order is the promise: bytes synced, then renamed, then the folders synced, then the rows, then the
//! replies. A lone file is committed at once; grouping waits for nothing but the disk. Where more has come in meanwhile,
//! one sync does for the names of one batch and for the bytes of the next one, and replies wait for both.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ferry_proto::{Code, Digest, RelPath};

use super::{
    Outcome, Reply,
    fault::{Fault, Step},
    figures::{OpenBody, Tally},
    line::Line,
    made::Made,
    owners::{Ownership, hold, holding},
    quotas::{Quotas, Reserved},
    same::Twin,
    staging::discard,
    target::Target,
};
use crate::{
    Before, Entry, EntryKind, Filed, Ledger, Meta, Meter, Part, Row, RowKind, Staged, Stamp, Store,
    StoreError, lock::lock,
};

/// Jobs in one batch: each holds an open file until the next batch is durable, too, and none of them is answered before.
const BATCH: usize = 256;

/// Jobs of one client that wait, beyond which it is behind: the next batch and the one after it.
const BEHIND: usize = 2 * BATCH;

/// Something to be made durable, and who wants to know.
pub(super) struct Job<S: Store> {
    pub(super) target: Target,
    pub(super) work: Work<S>,
    pub(super) reply: Reply,
}

/// What is to be made durable.
pub(super) enum Work<S: Store> {
    /// A complete body takes its name.
    Body {
        staged: S::Staged,
        ownership: Option<Ownership>,
        reserved: Option<Reserved>,
        meta: Meta,
        size: u64,
        digest: Digest,
        /// Present where it is another name of a file that is here.
        twin: Option<Twin>,
        /// Present where a file without a row was seen to hold the same.
        found: Option<Found>,
        /// Present where it is none: it has bytes of its own, which count until it has its name.
        open: Option<OpenBody>,
    },
    /// A name of a file that has another one, whose row is good for both.
    Twin { twin: Twin, row: Row, reserved: Option<Reserved>, outcome: Outcome },
    /// A folder is made, or gets another time and mode.
    Folder { meta: Meta },
    /// A symbolic link is made.
    Link { link: Vec<u8>, meta: Meta },
    /// A folder or link that is there, and that no row says to be durable, is made so.
    Settle { seen: Stamp, outcome: Outcome },
    /// A file that is held gets another time, mode or row.
    Refresh {
        path: RelPath,
        seen: Stamp,
        reserved: Option<Reserved>,
        meta: Meta,
        kind: RowKind,
        outcome: Outcome,
    },
}

/// A file that was there, and what it was like when it was read.
pub(super) struct Found {
    pub(super) path: RelPath,
    pub(super) entry: Entry,
}

/// The thread that commits, and the line before it.
pub(super) struct Committer<S: Store> {
    line: Arc<Line<(Job<S>, Instant)>>,
    /// Counts what the thread does, step by step, so that a long batch is not taken for a standstill.
    beats: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<S: Store> Committer<S> {
    pub(super) fn start(
        store: Arc<S>,
        ledger: Arc<dyn Ledger>,
        quotas: Arc<Quotas>,
        made: Arc<Made>,
        tally: Arc<Tally>,
    ) -> Self {
        let (line, beats) = (Arc::new(Line::new()), Arc::<AtomicU64>::default());
        let worker = Worker { store, ledger, quotas, made, tally, line: line.clone(), beats: beats.clone() };
        let thread = std::thread::spawn(move || worker.run());
        Committer { line, beats, thread: Mutex::new(Some(thread)) }
    }

    /// It never waits; whoever has much for it asks [`Committer::is_behind`] first.
    pub(super) fn hand_in(&self, job: Job<S>) {
        let (client, name) = (job.target.terms.client.clone(), job.target.path.clone());
        if let Err((job, _)) = self.line.join(&client, name, (job, Instant::now())) {
            job.reply.give(Outcome::Failed(Code::Stopping, "the server is stopping".into()));
        }
    }

    /// Whether so much of a client waits that more is better left for later.
    pub(super) fn is_behind(&self, client: &str) -> bool {
        self.line.length(client) >= BEHIND
    }

    /// How much waits, of all clients.
    pub(super) fn waiting(&self) -> usize {
        self.line.whole_length()
    }

    /// What the thread has done so far; asks it to do something more. It never waits.
    pub(super) fn pulse(&self) -> u64 {
        self.line.nudge();
        self.beats.load(Ordering::Relaxed)
    }

    /// Takes no more jobs and waits for those it has.
    pub(super) fn close(&self) {
        self.line.close();
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the committer ended in a panic");
        }
    }
}

/// Nobody can hand anything in any more; the thread ends when it has done what was.
impl<S: Store> Drop for Committer<S> {
    fn drop(&mut self) {
        self.line.close();
    }
}

/// What the thread works with.
struct Worker<S: Store> {
    store: Arc<S>,
    ledger: Arc<dyn Ledger>,
    quotas: Arc<Quotas>,
    made: Arc<Made>,
    tally: Arc<Tally>,
    line: Arc<Line<(Job<S>, Instant)>>,
    beats: Arc<AtomicU64>,
}

/// What has its name, which is not known to be durable yet; then it is answered.
struct Named {
    what: What,
    outcome: Outcome,
    /// Kept until the row is written, so that nobody goes on with a body that is a file already.
    ownership: Option<Ownership>,
    reserved: Option<Reserved>,
}

enum What {
    New(Box<Filed>),
    /// It was there, and gets no row.
    There(RelPath, Stamp),
}

impl Named {
    /// Something that had no staged body.
    fn new(what: What, outcome: Outcome) -> Self {
        Named { what, outcome, ownership: None, reserved: None }
    }

    fn name(&self) -> (&RelPath, &Stamp) {
        match &self.what {
            What::New(row) => (&row.path, &row.row.stamp),
            What::There(path, stamp) => (path, stamp),
        }
    }
}

/// Somebody who waits for an answer, since when, and what counts how long.
struct Asker {
    reply: Reply,
    since: Instant,
    meter: Arc<Meter>,
}

/// What became of each.
type Faults = Vec<Result<(), Fault>>;

enum Placed {
    At(RelPath, Stamp),
    /// This sibling holds the same already.
    Twin(RelPath, Stamp),
    /// So does this one, which has no row yet, and is as it was found.
    Found(RelPath, Stamp, Meta),
}

impl<S: Store> Worker<S> {
    fn run(&self) {
        let mut before: Vec<(Named, Asker)> = Vec::new();
        while let Some(batch) =
            if before.is_empty() { self.line.next(BATCH) } else { Some(self.line.next_if_any(BATCH)) }
        {
            self.beat();
            let meters = batch.iter().map(|(job, _)| &job.target.terms.meter);
            let meters: Vec<_> =
                meters.chain(before.iter().map(|(_, asker)| &asker.meter)).cloned().collect();
            let begin = Instant::now();
            // A panic here is a fault of ours; those who wait are told that they failed when their replies are dropped,
            // and the server lives.
            before = catch_unwind(AssertUnwindSafe(|| self.turn(batch, before))).unwrap_or_else(|_| {
                tracing::error!("a batch ended in a panic");
                self.ledger.owes_rows(false);
                Vec::new()
            });
            count_once(meters, begin.elapsed());
        }
    }

    fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends what was named before, and brings a batch so far that it has its names. Returns those.
    fn turn(&self, mut batch: Vec<(Job<S>, Instant)>, before: Vec<(Named, Asker)>) -> Vec<(Named, Asker)> {
        if batch.is_empty() && before.is_empty() {
            return Vec::new();
        }
        if !batch.is_empty() {
            self.tally.batches.count(batch.len() as u64);
        }
        let (sealed, settled) = self.make_durable(&mut batch, &before);
        self.record(before, settled);
        // Of those that get their names now, it owes the rows.
        self.ledger.owes_rows(!batch.is_empty());
        if batch.is_empty() { Vec::new() } else { self.name_all(batch, sealed) }
    }

    /// Gives what is sealed its names, if there is room for their rows.
    fn name_all(&self, batch: Vec<(Job<S>, Instant)>, sealed: Faults) -> Vec<(Named, Asker)> {
        let room = self.ledger.check_room().map_err(Fault::from);
        let mut named = Vec::with_capacity(batch.len());
        for ((job, since), sealed) in batch.into_iter().zip(sealed) {
            self.beat();
            let Job { target, work, reply } = job;
            let published = sealed.and_then(|()| match &room {
                Ok(()) => self.publish(&target, work),
                Err(fault) => {
                    self.give_up(work);
                    Err(fault.clone())
                }
            });
            match published {
                Ok(new) => named.push((new, Asker { reply, since, meter: target.terms.meter.clone() })),
                Err(fault) => reply.give(fault.into()),
            }
        }
        named
    }

    /// Makes the bodies of a batch durable, and what was named before, all in one go. Returns what became of each.
    fn make_durable(&self, batch: &mut [(Job<S>, Instant)], before: &[(Named, Asker)]) -> (Faults, Faults) {
        let (mut sealed, mut bodies, mut whose) = (Vec::with_capacity(batch.len()), Vec::new(), Vec::new());
        for (index, (job, _)) in batch.iter_mut().enumerate() {
            let Work::Body { staged, ownership, meta, .. } = &mut job.work else {
                sealed.push(Ok(()));
                continue;
            };
            // Until all of them are sealed, so that nobody takes one over meanwhile.
            sealed.push(holding(ownership.as_ref()).map(|held| {
                whose.push((index, staged.id(), &job.target.path, held));
                bodies.push((staged, meta.clone()));
            }));
        }
        let names: Vec<_> = before.iter().map(|(named, _)| named.name()).collect();
        self.beat();
        let (results, settled) = self.store.make_durable(bodies, &names);
        self.beat();
        for ((index, id, path, _held), result) in whose.into_iter().zip(results) {
            sealed[index] =
                result.step("sync a body", path).inspect_err(|_| discard(&*self.store, &*self.ledger, id));
        }
        let settled = settled.into_iter().zip(names);
        (sealed, settled.map(|(settled, (path, _))| settled.step("sync a folder", path)).collect())
    }

    /// Removes a body that does not get its name.
    fn give_up(&self, work: Work<S>) {
        if let Work::Body { staged, ownership, .. } = work {
            // Unless it is somebody else's by now.
            let _ = hold(ownership.as_ref(), || {
                discard(&*self.store, &*self.ledger, staged.id());
                Ok(())
            });
        }
    }

    /// Writes the rows of what is durable, and gives the answers.
    fn record(&self, named: Vec<(Named, Asker)>, settled: Faults) {
        let (mut rows, mut told, mut reserved) = (Vec::with_capacity(named.len()), Vec::new(), Vec::new());
        for ((new, asker), settled) in named.into_iter().zip(settled) {
            match (settled, new.what) {
                (Ok(()), What::New(row)) => {
                    rows.push(*row);
                    reserved.extend(new.reserved);
                    told.push((new.outcome, asker, new.ownership));
                }
                (Ok(()), What::There(..)) => {
                    self.count(asker.since);
                    asker.reply.give(new.outcome);
                }
                (Err(fault), _) => asker.reply.give(fault.into()),
            }
        }
        if rows.is_empty() {
            return;
        }
        let recorded =
            self.quotas.while_recording(reserved, || self.ledger.record(&rows)).map_err(Fault::from);
        for (outcome, asker, ownership) in told {
            drop(ownership);
            let Asker { reply, since, .. } = asker;
            reply.give(match &recorded {
                Ok(()) => {
                    self.count(since);
                    outcome
                }
                Err(fault) => Outcome::Failed(fault.code, fault.detail.clone()),
            });
        }
    }

    /// Something is durable and written down.
    fn count(&self, since: Instant) {
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tally.commit_micros.count(micros);
    }

    /// Gives something its name.
    fn publish(&self, target: &Target, work: Work<S>) -> Result<Named, Fault> {
        let (store, ledger) = (&*self.store, &*self.ledger);
        let filed = |path, kind, meta: Meta, stamp, staged| {
            let Meta { modified, mode, attributes } = meta;
            let row = Row { kind, modified, mode, attributes, stamp, is_damaged: false };
            Box::new(Filed { path, row, client: target.terms.client.clone(), staged, before: None })
        };
        let new = |row, outcome| Named::new(What::New(row), outcome);
        let there = |path, stamp, outcome| Named::new(What::There(path, stamp), outcome);
        match work {
            // It counts among the open ones until this ends.
            Work::Body { mut staged, ownership, reserved, meta, size, digest, twin, found, open: _open } => {
                let id = staged.id();
                let kind = RowKind::File { size, digests: digest.into() };
                let placed = hold(ownership.as_ref(), || {
                    let placed = self.place(target, &kind, found.as_ref(), |path, replace| {
                        store.publish(&mut staged, path, replace)
                    });
                    if !matches!(placed, Ok(Placed::At(..))) {
                        // Nothing has taken its name, so nothing of it stays.
                        discard(store, ledger, id);
                    }
                    placed
                });
                match placed? {
                    // Its bytes were sent, so it gets a receipt; the twin's row is what it stands on.
                    Placed::Twin(path, stamp) => {
                        let outcome = Outcome::Stored(Some(digest), size, target.shown(&path));
                        Ok(there(path, stamp, outcome))
                    }
                    Placed::Found(path, stamp, meta) => {
                        let outcome = Outcome::Stored(Some(digest), size, target.shown(&path));
                        let row = filed(path, kind, meta, stamp, None);
                        Ok(Named { reserved, ..new(row, outcome) })
                    }
                    Placed::At(path, stamp) => {
                        let outcome = match &twin {
                            None => Outcome::Stored(Some(digest), size, target.shown(&path)),
                            // None of its bytes have come.
                            Some(_) => Outcome::Held(Some(digest), target.shown(&path)),
                        };
                        // Only what can be gone on with has ever been written down.
                        let mut row = filed(path, kind, meta, stamp, ownership.as_ref().map(|_| id));
                        row.before = twin.map(|Twin { path, stamp }| Before { stamp, twin: Some(path) });
                        Ok(Named { what: What::New(row), outcome, ownership, reserved })
                    }
                }
            }
            Work::Folder { meta } => {
                target.refuse_when_cut()?;
                self.make_folder(target, &target.path)?;
                if !target.terms.overwrite
                    && let Some(entry) = self.made_by_others(target)?
                {
                    return Ok(there(target.path.clone(), entry.stamp, Outcome::Held(None, None)));
                }
                let stamp = store
                    .set_meta(&target.path, meta.clone(), None)
                    .step("set a time and mode", &target.path)?;
                self.made.forget(&target.path, &target.terms.client);
                let row = filed(target.path.clone(), RowKind::Folder, meta, stamp, None);
                Ok(new(row, Outcome::Stored(None, 0, None)))
            }
            Work::Link { link, meta } => {
                let kind = RowKind::Symlink(link.clone());
                match self.place(target, &kind, None, |path, replace| {
                    store.make_link(path, &link, meta.clone(), replace)
                })? {
                    Placed::Twin(path, stamp) | Placed::Found(path, stamp, _) => {
                        let outcome = Outcome::Held(None, target.shown(&path));
                        Ok(there(path, stamp, outcome))
                    }
                    Placed::At(path, stamp) => {
                        let outcome = Outcome::Stored(None, 0, target.shown(&path));
                        let row = filed(path, kind, meta, stamp, None);
                        Ok(new(row, outcome))
                    }
                }
            }
            Work::Settle { seen, outcome } => {
                target.refuse_when_cut()?;
                Ok(there(target.path.clone(), seen, outcome))
            }
            Work::Refresh { path, seen, reserved, mut meta, kind, outcome } => {
                target.refuse_when_cut()?;
                let stamp = match store.set_meta(&path, meta.clone(), Some(&seen)) {
                    // Touched since it was looked at. If it was an upload of the same content, its row says so.
                    Err(StoreError::Moved) => {
                        match ledger.find(&path)?.filter(|row| row.kind.is_same_as(&kind) && !row.is_damaged)
                        {
                            Some(row) => {
                                if !target.terms.overwrite {
                                    meta = row.meta();
                                }
                                store.set_meta(&path, meta.clone(), Some(&row.stamp))
                            }
                            None => Err(StoreError::Moved),
                        }
                    }
                    result => result,
                }
                .step("set a time and mode", &path)?;
                let mut row = filed(path, kind, meta, stamp, None);
                row.before = Some(Before { stamp: seen, twin: None });
                Ok(Named { reserved, ..new(row, outcome) })
            }
            Work::Twin { twin: Twin { path: twin, stamp }, row, reserved, outcome } => {
                target.refuse_when_cut()?;
                let mut row = filed(target.path.clone(), row.kind.clone(), row.meta(), stamp.clone(), None);
                row.before = Some(Before { stamp, twin: Some(twin) });
                Ok(Named { reserved, ..new(row, outcome) })
            }
        }
    }

    /// Finds the name under which something may be put, and puts it there.
    fn place(
        &self,
        target: &Target,
        kind: &RowKind,
        found: Option<&Found>,
        mut put: impl FnMut(&RelPath, bool) -> Result<Stamp, StoreError>,
    ) -> Result<Placed, Fault> {
        const STEP: &str = "give a file its name";
        target.refuse_when_cut()?;
        let first = match put(&target.path, target.may_replace()) {
            Err(StoreError::NotFound) if let Some(parent) = target.path.parent() => {
                self.make_folder(target, &parent)?;
                put(&target.path, target.may_replace())
            }
            first => first,
        };
        match first {
            // To put the content back that was received is to replace nothing, whoever may do it.
            Err(StoreError::Exists) if self.is_damaged(target, kind)? => {
                return Ok(Placed::At(
                    target.path.clone(),
                    put(&target.path, true).step(STEP, &target.path)?,
                ));
            }
            Err(StoreError::Exists) => target.refuse_conflict()?,
            placed => return Ok(Placed::At(target.path.clone(), placed.step(STEP, &target.path)?)),
        }
        for path in std::iter::once(target.path.clone()).chain(target.siblings()) {
            if let Some(entry) = self.store.stat(&path).step("look at a name", &path)? {
                if holds(&*self.ledger, &path, &entry, kind)? {
                    return Ok(Placed::Twin(path, entry.stamp));
                }
                if found.is_some_and(|found| found.path == path && found.entry == entry)
                    // Nothing is set; it is made durable like what is, and left alone if somebody touches it now.
                    && let Ok(stamp) = self.store.set_meta(&path, Meta::default(), Some(&entry.stamp))
                {
                    return Ok(Placed::Found(path, stamp, entry.meta()));
                }
                continue;
            }
            match put(&path, false) {
                Err(StoreError::Exists) => {}
                placed => {
                    let stamp = placed.step(STEP, &path)?;
                    return Ok(Placed::At(path, stamp));
                }
            }
        }
        Err(Fault::new(Code::Exists, "every name for another copy is taken"))
    }

    /// Whether what has the name is a damaged copy of this.
    fn is_damaged(&self, target: &Target, kind: &RowKind) -> Result<bool, Fault> {
        match self.store.stat(&target.path).step("look at a name", &target.path)? {
            Some(entry) => holds_damaged(&*self.ledger, &target.path, &entry, kind),
            None => Ok(false),
        }
    }

    /// A folder on which this client has not the first word: it did not make it, or somebody has said already what it
    /// is to be like.
    fn made_by_others(&self, target: &Target) -> Result<Option<Entry>, Fault> {
        let entry = self.store.stat(&target.path).step("look at a name", &target.path)?;
        Ok(entry.filter(|entry| !self.made.is(&target.path, &target.terms.client, entry)))
    }

    /// Makes a folder and those above it, on the way to what a target names.
    fn make_folder(&self, target: &Target, folder: &RelPath) -> Result<(), Fault> {
        const STEP: &str = "make a folder";
        for path in self.store.make_folder(folder).step(STEP, folder)? {
            if !target.terms.overwrite
                && let Some(entry) = self.store.stat(&path).step(STEP, &path)?
            {
                self.made.note(path, &target.terms.client, &entry);
            }
        }
        Ok(())
    }
}

/// Each of those in a batch has waited for all of it, once.
fn count_once(mut meters: Vec<Arc<Meter>>, took: Duration) {
    meters.sort_unstable_by_key(Arc::as_ptr);
    meters.dedup_by(|a, b| Arc::ptr_eq(a, b));
    meters.iter().for_each(|meter| meter.add(Part::Sync, took));
}

/// Whether what has a name is this, by a row that still agrees with the disk.
fn holds(ledger: &dyn Ledger, path: &RelPath, entry: &Entry, kind: &RowKind) -> Result<bool, Fault> {
    Ok(match kind {
        RowKind::Symlink(link) => entry.kind == EntryKind::Symlink(link.clone()),
        kind => ledger
            .find(path)?
            .is_some_and(|row| row.stamp == entry.stamp && row.kind.is_same_as(kind) && !row.is_damaged),
    })
}

/// Whether what has a name is a damaged copy of this, untouched by anybody.
pub(super) fn holds_damaged(
    ledger: &dyn Ledger,
    path: &RelPath,
    entry: &Entry,
    kind: &RowKind,
) -> Result<bool, Fault> {
    let row = ledger.find(path)?;
    Ok(row.is_some_and(|row| row.is_damaged && row.stamp == entry.stamp && row.kind.is_same_as(kind)))
}
