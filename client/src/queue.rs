//! The queue of a run: filled by the walk, worked on by every connection, and told what became of each entry.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ferry_proto::{Algorithm, Attributes, Code, Digest, HasherState, Kind, RelPath};
use ferry_session::send::{Backlog, Disproved, Fate, Manifest, Next, Origin, Stage, Task, source_failure};
use ferry_store::{
    lock,
    source::{AttributeReader, Found, Identity, Item, Links, SourceError},
};

use crate::{
    choosing::Rules,
    digests::Digests,
    examining::Examiner,
    layout::Filing,
    names::Names,
    output::Narrator,
    place::{self, SourceArg},
};

/// See the module.
pub(crate) struct Queue {
    backlog: Backlog,
    /// Something was not sent that should have been.
    failed: AtomicBool,
    digests: Arc<Digests>,
    attributes: AttributeReader,
    narrator: Arc<Narrator>,
    /// What has arrived is removed here.
    moves: bool,
    /// Looks into pictures before they are sent.
    examiner: Option<Examiner>,
    /// Where what was removed last lay, and whether that is in an inbox: the next is likely to lie there too.
    last_folder: Mutex<Option<(PathBuf, bool)>>,
    /// Counts what brings the run nearer to its end.
    progress: AtomicU64,
    /// Bytes that were read only to be digested.
    digested: AtomicU64,
}

impl Queue {
    pub(crate) fn new(
        digests: Arc<Digests>,
        attributes: AttributeReader,
        keeps_hard_links: bool,
        narrator: Arc<Narrator>,
        moves: bool,
        examiner: Option<Examiner>,
    ) -> Arc<Self> {
        Arc::new(Queue {
            backlog: Backlog::new(keeps_hard_links.then_some(usize::MAX)),
            failed: AtomicBool::new(false),
            digests,
            attributes,
            narrator,
            moves,
            examiner,
            last_folder: Mutex::default(),
            progress: AtomicU64::new(0),
            digested: AtomicU64::new(0),
        })
    }

    /// Walks the sources, on the caller's thread, until all that is chosen is queued or the run is over.
    pub(crate) fn walk(
        &self,
        sources: Vec<SourceArg>,
        links: Links,
        rules: &Arc<Rules>,
        filing: Option<&Filing>,
    ) {
        match &self.examiner {
            None => self.find(sources, links, rules, filing, &|origin| self.add(origin)),
            Some(examiner) => examiner.look_ahead(
                |examine| self.find(sources, links, rules, filing, examine),
                |origin| self.add(origin),
            ),
        }
        for name in rules.unmet() {
            self.failed.store(true, Ordering::Relaxed);
            self.narrator.unmet(&name);
        }
        self.backlog.has_all();
    }

    /// Finds what is to be sent, until that is all or nobody takes it any more.
    fn find(
        &self,
        sources: Vec<SourceArg>,
        links: Links,
        rules: &Arc<Rules>,
        filing: Option<&Filing>,
        take: &dyn Fn(Origin) -> bool,
    ) {
        // With a layout any two files may.
        let may_meet = filing.map_or_else(|| may_meet(&sources), |filing| !filing.keeps_both);
        let names = may_meet.then(Names::default);
        // An earlier source had a file of this name.
        let is_twin = |path: &RelPath| names.as_ref().is_some_and(|names| !names.insert(path.as_bytes()));
        for source in sources {
            match source {
                SourceArg::Stream(path, stream) => {
                    if !take(Origin::Stream(path, stream.open())) {
                        return;
                    }
                }
                SourceArg::Tree { root, base } => {
                    let filed = |found| match filing {
                        Some(filing) => filing.file(&root, found),
                        None => Some(found),
                    };
                    for found in rules.walk(&root, base, links).filter_map(filed) {
                        match found {
                            Found::Item(item) if item.kind != Kind::Folder && is_twin(&item.path) => {
                                self.failed.store(true, Ordering::Relaxed);
                                self.narrator.twin(item.source.path(), &item.path);
                                if let Some(folder) = item.settle()
                                    && !take(Origin::Tree(folder))
                                {
                                    return;
                                }
                            }
                            Found::Item(item) => {
                                if !take(Origin::Tree(item)) {
                                    return;
                                }
                            }
                            Found::Skipped(path, what) => self.narrator.skipped(&path, what),
                            Found::LeftOut(path, why) => self.narrator.left_out(&path, &why),
                            Found::Problem(path, error) => {
                                self.failed.store(true, Ordering::Relaxed);
                                self.narrator.unreadable(&path, &error);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Adds an entry of a run that goes on without a walk of its own. Waits while the queue is full; false when the run is
    /// over.
    pub(crate) fn offer(&self, item: Item) -> bool {
        let origin = Origin::Tree(item);
        if let Some(examiner) = &self.examiner {
            examiner.look_at(&origin);
        }
        self.backlog.has_more();
        self.add(origin)
    }

    /// Nothing more will be offered for a while: a connection that has done everything may end.
    pub(crate) fn rest(&self) {
        self.backlog.has_all();
    }

    /// Whether there is nothing to do now.
    pub(crate) fn is_idle(&self) -> bool {
        self.backlog.is_idle()
    }

    /// An entry is not to be sent any more, and nothing is told of it.
    pub(crate) fn drop_task(&self, task: Task) {
        self.narrator.dropped(task.path());
        self.examiner.as_ref().and_then(|examiner| examiner.settle(&task));
        let fate = Fate::Failed { code: Code::SourceChanged, detail: String::new() };
        self.backlog.settle(task, &fate);
    }

    /// Ends the run: nothing more is handed out.
    pub(crate) fn stop(&self) {
        self.backlog.stop();
    }

    /// Whether something was not sent that should have been.
    pub(crate) fn has_failures(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether everything that was asked for is settled.
    pub(crate) fn is_finished(&self) -> bool {
        self.backlog.is_finished()
    }

    /// Grows whenever the run comes nearer to its end; resending what was lost does not count.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Bytes that were read only to be digested: nothing leaves meanwhile, and yet the run does not stand still.
    pub(crate) fn digested(&self) -> u64 {
        self.digested.load(Ordering::Relaxed)
    }

    /// Removes what the server has for good now. Returns why, where it has to stay though it has arrived.
    fn keep_or_remove(&self, task: &Task, fate: &Fate, flaw: Option<String>) -> Option<String> {
        let Origin::Tree(item) = &task.origin else { return None };
        match fate {
            // A camera wants its folders again.
            _ if item.kind == Kind::Folder => None,
            Fate::Sent { grew: true, .. } => Some("it stays here, because it has grown meanwhile".to_owned()),
            Fate::Sent { .. } | Fate::Held { .. } => {
                // Read again, a card that goes bad may tell more than it did.
                if let Some(flaw) = flaw {
                    return Some(format!("it has arrived, and stays here: {flaw}"));
                }
                if self.is_in_an_inbox(item) {
                    return Some(
                        "it has arrived, and stays here: it lies in the inbox of a server".to_owned(),
                    );
                }
                let error = item.remove().err()?;
                let (_, why) = source_failure(&error);
                Some(format!("it has arrived, and stays here: {why}"))
            }
            Fate::WouldSend { .. } | Fate::Failed { .. } => None,
        }
    }

    fn is_in_an_inbox(&self, item: &Item) -> bool {
        let Some(folder) = item.source.path().parent() else { return false };
        let mut last = lock(&self.last_folder);
        match &*last {
            Some((last, is_in_an_inbox)) if last == folder => *is_in_an_inbox,
            _ => last.insert((folder.to_owned(), place::inbox_around(folder).is_some())).1,
        }
    }

    /// Waits while the queue is full; false when the run is over.
    fn add(&self, origin: Origin) -> bool {
        let mut task = Task::new(origin);
        task.leaves = self.moves;
        self.backlog.add(Next::Task(task))
    }
}

/// Whether files of two sources can have one name: where one goes into the folder of another.
fn may_meet(sources: &[SourceArg]) -> bool {
    let bases: Vec<Option<&RelPath>> = sources
        .iter()
        .map(|source| match source {
            SourceArg::Stream(path, _) => Some(path),
            SourceArg::Tree { base, .. } => base.as_ref(),
        })
        .collect();
    let holds = |upper: &Option<&RelPath>, lower: &Option<&RelPath>| match (upper, lower) {
        (Some(upper), Some(lower)) => upper == lower || lower.is_below(upper),
        (None, _) => true,
        (Some(_), None) => false,
    };
    bases.iter().enumerate().any(|(number, base)| {
        bases.iter().enumerate().any(|(other_number, other)| number != other_number && holds(base, other))
    })
}

impl Manifest for Queue {
    fn next(&self, is_wanted: &dyn Fn() -> bool) -> Option<Next> {
        self.backlog.next(is_wanted)
    }

    fn nudge(&self) {
        self.backlog.nudge();
    }

    fn put_back(&self, task: Task) {
        self.narrator.dropped(task.path());
        self.backlog.put_back(task);
    }

    fn settle(&self, task: Task, fate: Fate) {
        if self.backlog.is_stopped() {
            return;
        }
        self.progress.fetch_add(1, Ordering::Relaxed);
        let flaw = self.examiner.as_ref().and_then(|examiner| examiner.settle(&task));
        let kept = if self.moves { self.keep_or_remove(&task, &fate, flaw) } else { None };
        self.failed.fetch_or(self.narrator.settled(&task, &fate, kept), Ordering::Relaxed);
        self.backlog.settle(task, &fate);
    }

    fn attributes(&self, item: &Item) -> Result<Attributes, SourceError> {
        self.attributes.read(item)
    }

    fn known_digest(&self, item: &Item, algorithm: Algorithm) -> Option<Digest> {
        self.digests.find(&item.identity, algorithm)
    }

    fn learned(&self, item: &Item, found: &ferry_store::Digests) -> Result<(), SourceError> {
        found.iter().for_each(|digest| self.digests.learn(&item.identity, digest));
        Ok(())
    }

    fn known_state(&self, identity: &Identity, algorithm: Algorithm, most: u64) -> Option<HasherState> {
        self.digests.find_state(identity, algorithm, most)
    }

    fn learned_state(&self, identity: &Identity, state: HasherState) {
        self.digests.keep_state(identity, &state);
    }

    fn spent(&self, stage: Stage, time: Duration) {
        self.narrator.spent(stage, time);
    }

    fn digested(&self, bytes: u64) {
        self.digested.fetch_add(bytes, Ordering::Relaxed);
    }

    fn disproved(&self, item: &Item, _: &ferry_store::Digests) -> Disproved {
        self.digests.forget(&item.identity);
        Disproved::Forgotten
    }

    fn begun(&self, task: &Task, offset: u64, is_further: bool) {
        if is_further {
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        self.narrator.begun(task.path(), task.size(), offset);
    }

    fn advanced(&self, task: &Task, bytes: u64) {
        self.narrator.advanced(task.path(), bytes);
    }
}
