//! What is to be sent, as the connection sees it: what has changed since it settled is not sent in the middle of it, but
//! waits until it has settled again.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_proto::{Algorithm, Attributes, Code, Digest, HasherState, Kind};
use ferry_session::send::{Disproved, Fate, Manifest, Next, Origin, Stage, Task};
use ferry_store::{
    Digests,
    source::{Identity, Item, Links, SourceError},
};

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
            Origin::Stream(..) => None,
        }
    }

    /// It was not sent after all; what happens to it next decides about it.
    fn settle_anew(&self, task: Task) {
        if let Some(below) = self.below(&task) {
            self.0.notes.with(|settling| {
                settling.note(below, News::Touched, Instant::now());
                settling.is_back(below, Instant::now());
            });
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
        if let Fate::Failed { code: Code::SourceChanged | Code::SourceVanished, .. } = fate {
            return self.settle_anew(task);
        }
        let has_failed = matches!(fate, Fate::Failed { .. });
        // Before the queue counts it as done, so that nobody who looks at both finds it in neither.
        if let Some(below) = self.below(&task) {
            self.0.notes.with(|settling| {
                match has_failed {
                    true => settling.failed(below, Instant::now()),
                    false => settling.is_done(below),
                }
                settling.is_back(below, Instant::now());
            });
        }
        self.queue().settle(task, fate);
    }

    fn nudge(&self) {
        self.queue().nudge();
    }

    fn attributes(&self, item: &Item) -> Result<Attributes, SourceError> {
        self.queue().attributes(item)
    }

    fn known_digest(&self, item: &Item, algorithm: Algorithm) -> Option<Digest> {
        self.queue().known_digest(item, algorithm)
    }

    fn learned(&self, item: &Item, found: &Digests) -> Result<(), SourceError> {
        self.queue().learned(item, found)
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

    fn disproved(&self, item: &Item, found: &Digests) -> Disproved {
        self.queue().disproved(item, found)
    }

    fn begun(&self, task: &Task, offset: u64, is_further: bool) {
        self.queue().begun(task, offset, is_further);
    }

    fn advanced(&self, task: &Task, bytes: u64) {
        self.queue().advanced(task, bytes);
    }
}
