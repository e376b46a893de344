//! What each connection does that sends: for `send` and for `watch`.

use std::sync::Arc;

use ferry_proto::{Conflict, Features};
use ferry_session::{
    SessionError,
    send::{self, Manifest, Options},
};
use ferry_store::source::Links;

use crate::{config::Run, dial::Session, output::Narrator, pace::Pace, queue::Queue};

/// What every connection of a run shares.
pub(super) struct Putting {
    pub(super) queue: Arc<Queue>,
    pub(super) narrator: Arc<Narrator>,
    pace: Arc<Pace>,
    on_conflict: Conflict,
    options: Options,
}

impl Putting {
    pub(super) fn new(run: &Run, links: Links, queue: Arc<Queue>, narrator: Arc<Narrator>) -> Self {
        let options = Options {
            asked: false,
            dry_run: run.dry_run,
            shared: Features::default(),
            links,
            digest: run.digest,
            checksum: run.checksum,
            has_company: run.jobs > 1,
        };
        let pace = Arc::new(Pace::new(run.limit_rate));
        Putting { queue, narrator, pace, on_conflict: run.on_conflict, options }
    }

    pub(super) fn links(&self) -> Links {
        self.options.links
    }

    /// Sends what there is until nothing is outstanding.
    pub(super) async fn on(&self, session: Session, manifest: Arc<dyn Manifest>) -> Result<(), SessionError> {
        let options = Options { shared: session.shared(), ..self.options };
        let Session { incoming, outbox, welcome, notes: _ } = session;
        let pace = self.pace.clone();
        send::put(incoming, outbox, welcome.limits, self.on_conflict, options, manifest, pace).await
    }

    /// See [`Work::progress`](super::Work::progress).
    pub(super) fn progress(&self) -> u64 {
        self.queue.progress()
    }

    /// See [`Work::motion`](super::Work::motion).
    pub(super) fn motion(&self) -> [u64; 2] {
        [self.narrator.bytes(), self.queue.digested()]
    }

    /// See [`Work::goes_on`](super::Work::goes_on).
    pub(super) fn goes_on(&self) -> bool {
        self.narrator.has_moved()
    }
}
