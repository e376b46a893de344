//! What is to be sent, as the connection sees it: what has changed since it settled is not sent in the middle of it, but
//! waits until it has settled again.

use std::{fs, path::Path, sync::Arc, time::Duration};

use ferry_proto::{Algorithm, Code, Digest, HasherState, Kind};
use ferry_session::send::{Disproved, Fate, Manifest, Next, Origin, Stage, Task};
use ferry_store::source::{Identity, Item, Links};

use super::{Watching, settling::News};
use crate::queue::Queue;

/// See the module.
pub(crate) struct Outgoing(Arc<Watching>);

impl Outgoing {
    pub(super) fn new(watching: Arc<Watching>) -> Self {
        Outgoing(watching)
    }

    fn queue(&self) -> &Queue {
        &self.0.queue
    }

    fn below<'a>(&self, task: &'a Task) -> Option<&'a Path> {
        match &task.origin {
            Origin::Tree(item) => Some(self.0.below(item.source.path())),
            Origin::Stdin(_) => None,
        }
    }

    /// It was not sent after all; what happens to it next decides about it.
    fn settle_anew(&self, task: Task) {
        if let Some(below) = self.below(&task) {
            self.0.notes.note(below, News::Touched);
        }
        self.queue().drop_task(task);
    }

    /// Whether a file is still what it was when it had settled: the server may have been away for hours since.
    fn is_as_it_was(&self, task: &Task) -> bool {
        let Origin::Tree(item) = &task.origin else { return true };
        if item.kind != Kind::File {
            return true;
        }
        let path = item.source.path();
        let now = match self.0.tree.links {
            Links::Follow => fs::metadata(path),
            Links::Keep | Links::Skip => fs::symlink_metadata(path),
        };
        now.is_ok_and(|metadata| Identity::of(&metadata) == item.identity)
    }
}

impl Manifest for Outgoing {
    fn next(&self, is_wanted: &dyn Fn() -> bool) -> Option<Next> {
        loop {
            match self.queue().next(is_wanted)? {
                Next::Task(task) if !self.is_as_it_was(&task) => self.settle_anew(task),
                next => return Some(next),
            }
        }
    }

    fn put_back(&self, task: Task) {
        match task.attempt {
            0 => self.queue().put_back(task),
            // It has changed while it was read.
            _ => self.settle_anew(task),
        }
    }

    fn settle(&self, task: Task, fate: Fate) {
        let below = self.below(&task).map(Path::to_owned);
        match &fate {
            Fate::Failed { code: Code::SourceChanged | Code::SourceVanished, .. } => {
                return self.settle_anew(task);
            }
            Fate::Failed { .. } => {
                let failed = |below: &Path| {
                    self.0.notes.with(|settling| settling.failed(below, std::time::Instant::now()));
                };
                below.as_deref().into_iter().for_each(failed);
            }
            Fate::Sent { .. } | Fate::Held { .. } | Fate::WouldSend { .. } => {
                let is_done = |below: &Path| self.0.notes.lock().is_done(below);
                below.as_deref().into_iter().for_each(is_done);
            }
        }
        self.queue().settle(task, fate);
    }

    fn nudge(&self) {
        self.queue().nudge();
    }

    fn known_digest(&self, item: &Item, algorithm: Algorithm) -> Option<Digest> {
        self.queue().known_digest(item, algorithm)
    }

    fn learned(&self, item: &Item, digest: Digest) {
        self.queue().learned(item, digest);
    }

    fn known_state(&self, identity: &Identity, algorithm: Algorithm, most: u64) -> Option<HasherState> {
        self.queue().known_state(identity, algorithm, most)
    }

    fn learned_state(&self, identity: &Identity, state: HasherState) {
        self.queue().learned_state(identity, state);
    }

    fn spent(&self, stage: Stage, time: Duration) {
        self.queue().spent(stage, time);
    }

    fn digested(&self, bytes: u64) {
        Manifest::digested(self.queue(), bytes);
    }

    fn disproved(&self, item: &Item) -> Disproved {
        self.queue().disproved(item)
    }

    fn begun(&self, task: &Task, offset: u64, is_further: bool) {
        self.queue().begun(task, offset, is_further);
    }

    fn advanced(&self, task: &Task, bytes: u64) {
        self.queue().advanced(task, bytes);
    }
}
