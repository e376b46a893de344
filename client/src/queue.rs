//! The queue of a run: filled by the walk, worked on by every connection, and told what became of each entry.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ferry_proto::{Algorithm, Digest, HasherState, Kind, RelPath};
use ferry_session::send::{Fate, Manifest, Origin, Stage, Task};
use ferry_store::source::{Found, Identity, Links, Walk};

use crate::{digests::Digests, output::Report, place::SourceArg};

/// How far the walk runs ahead of the connections.
const AHEAD: usize = 4096;

/// See the module.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// There is something to take, or never will be.
    changed: Condvar,
    /// The walk may go on.
    has_room: Condvar,
    digests: Digests,
    report: Arc<dyn Report>,
    /// Counts what brings the run nearer to its end.
    progress: AtomicU64,
    /// Bytes that were read only to be digested.
    digested: AtomicU64,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Task>,
    outstanding: usize,
    walking: bool,
    stopped: bool,
    failed: bool,
}

impl Queue {
    pub(crate) fn new(digests: Digests, report: Arc<dyn Report>) -> Arc<Self> {
        Arc::new(Queue {
            state: Mutex::new(State { walking: true, ..State::default() }),
            changed: Condvar::new(),
            has_room: Condvar::new(),
            digests,
            report,
            progress: AtomicU64::new(0),
            digested: AtomicU64::new(0),
        })
    }

    /// Walks the sources, on the caller's thread, until all is queued or the run is over.
    pub(crate) fn walk(&self, sources: Vec<SourceArg>, links: Links) {
        let mut names = may_meet(&sources).then(HashSet::new);
        for source in sources {
            match source {
                SourceArg::Stdin(path) => {
                    if !self.add(Task::new(Origin::Stdin(path))) {
                        return;
                    }
                }
                SourceArg::Tree { root, base } => {
                    for found in Walk::new(&root, base, links) {
                        match found {
                            Found::Item(item)
                                if item.kind != Kind::Folder && is_twin(&mut names, &item.path) =>
                            {
                                self.lock().failed = true;
                                self.report.twin(&item.source, &item.path);
                                if let Some(folder) = item.settle()
                                    && !self.add(Task::new(Origin::Tree(folder)))
                                {
                                    return;
                                }
                            }
                            Found::Item(item) => {
                                if !self.add(Task::new(Origin::Tree(item))) {
                                    return;
                                }
                            }
                            Found::Skipped(path, what) => self.report.skipped(&path, what),
                            Found::Problem(path, error) => {
                                self.lock().failed = true;
                                self.report.unreadable(&path, &error);
                            }
                        }
                    }
                }
            }
        }
        self.lock().walking = false;
        self.changed.notify_all();
    }

    /// Ends the run: nothing more is handed out.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
        self.has_room.notify_all();
    }

    /// Whether something was not sent that should have been.
    pub(crate) fn has_failures(&self) -> bool {
        self.lock().failed
    }

    /// Whether everything that was asked for is settled.
    pub(crate) fn is_finished(&self) -> bool {
        let state = self.lock();
        !state.walking && state.ready.is_empty() && state.outstanding == 0
    }

    /// Grows whenever the run comes nearer to its end; resending what was lost does not count.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Bytes that were read only to be digested: nothing leaves meanwhile, and yet the run does not stand still.
    pub(crate) fn digested(&self) -> u64 {
        self.digested.load(Ordering::Relaxed)
    }

    /// Keeps what was learned for the next run. An error says that this costs time, then or in this run already.
    pub(crate) fn save(&self) -> Result<(), rusqlite::Error> {
        self.digests.save()
    }

    /// Waits while the queue is full; false when the run is over.
    fn add(&self, task: Task) -> bool {
        let state = self.lock();
        let is_full = |state: &mut State| state.ready.len() >= AHEAD && !state.stopped;
        let mut state = self.has_room.wait_while(state, is_full).unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return false;
        }
        state.ready.push_back(task);
        self.tell_of_one_more(&state);
        true
    }

    /// Where there was something before, nobody waits for it.
    fn tell_of_one_more(&self, state: &State) {
        if state.ready.len() == 1 {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        ferry_store::lock(&self.state)
    }
}

/// Whether files of two sources can have one name: where one goes into the folder of another.
fn may_meet(sources: &[SourceArg]) -> bool {
    let bases: Vec<Option<&RelPath>> = sources
        .iter()
        .map(|source| match source {
            SourceArg::Stdin(path) => Some(path),
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

/// Whether an earlier source had a file of this name. Names are kept as hashes of 16 bytes, so that a million of them fit
/// in little memory.
fn is_twin(names: &mut Option<HashSet<[u8; 16]>>, path: &RelPath) -> bool {
    let Some(names) = names else { return false };
    let digest = Algorithm::Sha256.digest(path.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&digest.bytes()[..16]);
    !names.insert(short)
}

impl Manifest for Queue {
    fn next(&self) -> Option<Task> {
        let state = self.lock();
        let must_wait = |state: &mut State| {
            !state.stopped && state.ready.is_empty() && (state.walking || state.outstanding > 0)
        };
        let mut state = self.changed.wait_while(state, must_wait).unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return None;
        }
        let task = state.ready.pop_front()?;
        state.outstanding += 1;
        // Not before there is room for many: a walk that goes on for one entry at a time costs more than its work.
        if state.ready.len() == AHEAD / 2 {
            self.has_room.notify_all();
        }
        Some(task)
    }

    fn put_back(&self, task: Task) {
        self.report.stalled(&task);
        let mut state = self.lock();
        state.outstanding -= 1;
        state.ready.push_front(task);
        self.tell_of_one_more(&state);
    }

    fn settle(&self, task: Task, fate: Fate) {
        if self.lock().stopped {
            return;
        }
        self.progress.fetch_add(1, Ordering::Relaxed);
        let failed = self.report.settled(&task, &fate);
        let mut state = self.lock();
        state.failed |= failed;
        state.outstanding -= 1;
        if let Origin::Tree(item) = task.origin
            && let Some(folder) = item.settle()
        {
            state.ready.push_front(Task::new(Origin::Tree(folder)));
            self.tell_of_one_more(&state);
        }
        if state.outstanding == 0 {
            self.changed.notify_all();
        }
    }

    fn known_digest(&self, identity: &Identity, algorithm: Algorithm) -> Option<Digest> {
        self.digests.find(identity, algorithm)
    }

    fn learned(&self, identity: &Identity, digest: Digest) {
        self.digests.learn(identity, digest);
    }

    fn known_state(&self, identity: &Identity, algorithm: Algorithm, most: u64) -> Option<HasherState> {
        self.digests.find_state(identity, algorithm, most)
    }

    fn learned_state(&self, identity: &Identity, state: HasherState) {
        self.digests.keep_state(identity, &state);
    }

    fn spent(&self, stage: Stage, time: Duration) {
        self.report.spent(stage, time);
    }

    fn digested(&self, bytes: u64) {
        self.digested.fetch_add(bytes, Ordering::Relaxed);
    }

    fn forget(&self, identity: &Identity) {
        self.digests.forget(identity);
    }

    fn begun(&self, task: &Task, offset: u64, is_further: bool) {
        if is_further {
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        self.report.begun(task, offset);
    }

    fn advanced(&self, task: &Task, bytes: u64) {
        self.report.advanced(task, bytes);
    }
}
