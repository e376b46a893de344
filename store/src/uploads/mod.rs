//! The only writer of files and of their rows: one rule for resuming, limits, conflicts and commits, whatever
//! protocol the bytes came by.
//!
//! An offer is decided ([`Uploads::begin`]), a body is opened, appended to and completed ([`Upload`]), and the
//! committer turns what is complete into durable files, many at a time.

mod body;
mod commit;
mod decide;
mod fault;
mod figures;
mod hashing;
mod lessons;
mod line;
mod made;
mod owners;
mod quotas;
mod reads;
mod ready;
mod same;
pub mod scrub;
mod staging;
mod target;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ferry_proto::{Algorithm, Code, Conflict, Digest, RelPath};

pub use self::{
    body::{Mark, Ticket, Upload},
    decide::Busy,
    figures::{Figures, Histogram},
    lessons::Lesson,
    owners::Lease,
    ready::Unready,
};
use self::{
    commit::Committer, figures::Tally, hashing::Hashers, made::Made, owners::Owners, quotas::Quotas,
    reads::LongReads,
};
use crate::{Ledger, Meter, Store, StoreError};

/// Space that bodies leave free, so that the catalogue can still be written when the disk is full: a batch of rows and
/// the growth of the log that it goes through.
const SPACE_KEPT_FREE: u64 = 8 * 1024 * 1024;

/// Uploads into one store, with one ledger.
pub struct Uploads<S: Store> {
    shared: Arc<Shared<S>>,
}

impl<S: Store> Clone for Uploads<S> {
    fn clone(&self) -> Self {
        Uploads { shared: self.shared.clone() }
    }
}

struct Shared<S: Store> {
    store: Arc<S>,
    ledger: Arc<dyn Ledger>,
    owners: Arc<Owners>,
    committer: Committer<S>,
    hashers: Hashers,
    reads: LongReads,
    quotas: Arc<Quotas>,
    made: Arc<Made>,
    tally: Arc<Tally>,
}

/// Under which conditions a client puts files.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The client's name.
    pub client: String,
    /// The folder that is the root for it; `None` is the store's own.
    pub folder: Option<RelPath>,
    /// Whether it may replace what is there.
    pub overwrite: bool,
    /// What it wants where another file has the name.
    pub conflict: Conflict,
    /// Only decide.
    pub dry_run: bool,
    /// How digests are made.
    pub digest: Algorithm,
    /// The number of the one upload that a body under these terms is part of. Without it whatever agrees in all else is gone
    /// on with, because whoever sends it compares what is there; with it only what was begun under the same number.
    pub upload: Option<u64>,
    /// Whether it is asked for a digest before its bytes where that may spare them. Who cannot tell one sends them.
    pub asks_ahead: bool,
    /// The largest file.
    pub max_file: u64,
    /// Bytes that the client may hold in all; `None` is no limit.
    pub quota: Option<u64>,
    /// Ends what was handed in and is not done, too.
    pub cut: Cut,
    /// Counts what the time goes into.
    pub meter: Arc<Meter>,
}

/// Cuts a session off from what it has begun. A session that is merely over is not: what has arrived whole is kept.
#[derive(Debug, Clone, Default)]
pub struct Cut(Arc<AtomicBool>);

impl Cut {
    /// From here on nothing more becomes of anything that was handed in under these terms.
    pub fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_cut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What becomes of an offer at first.
pub enum Begin {
    /// The answer was given to the reply, or will be.
    Answered,
    /// The body is wanted.
    Send(Box<Ticket>, Reply),
    /// Another connection has this very body under way: ask again with this a little later, meanwhile do others.
    Busy(Box<Busy>, Reply),
}

/// The answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The name holds it already; the path, below the client's root, if it is another than offered.
    Held(Option<Digest>, Option<RelPath>),
    /// The digest is needed first.
    NeedDigest,
    /// It is durable now: its digest, if it is a file, its bytes, and the path, below the client's root, if it is
    /// another than offered.
    Stored(Option<Digest>, u64, Option<RelPath>),
    /// It is not, and no part of it can be seen.
    Failed(Code, String),
}

/// Takes the one answer to an offer, on whichever thread finds it. Dropped without one, it tells a failure:
/// nobody waits for ever.
pub struct Reply(Option<Box<dyn FnOnce(Outcome) + Send>>);

impl Reply {
    /// `take` is called once.
    pub fn new(take: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Reply(Some(Box::new(take)))
    }

    /// Gives the answer.
    pub fn give(mut self, outcome: Outcome) {
        if let Some(take) = self.0.take() {
            take(outcome);
        }
    }

    /// Gives none: nobody waits for it any more.
    pub fn withdraw(mut self) {
        self.0 = None;
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(take) = self.0.take() {
            take(Outcome::Failed(Code::Internal, "the server has lost track of this file".into()));
        }
    }
}

impl<S: Store> Uploads<S> {
    /// Begins with what an earlier process left: bodies with a checkpoint stay, cut back to it; others go. Large bodies
    /// are hashed by that many threads.
    pub fn open(store: Arc<S>, ledger: Arc<dyn Ledger>, hashers: usize) -> Result<Self, StoreError> {
        staging::recover(&*store, &*ledger)?;
        Ok(Self::asking(store, ledger, hashers))
    }

    /// The same without looking at what is staged: for offers in dry runs alone.
    pub fn asking(store: Arc<S>, ledger: Arc<dyn Ledger>, hashers: usize) -> Self {
        let owners = Arc::new(Owners::default());
        let quotas = Arc::new(Quotas::default());
        let (made, tally) = (Arc::new(Made::default()), Arc::<Tally>::default());
        let committer =
            Committer::start(store.clone(), ledger.clone(), quotas.clone(), made.clone(), tally.clone());
        Uploads {
            shared: Arc::new(Shared {
                store,
                ledger,
                owners,
                committer,
                hashers: Hashers::start(hashers),
                reads: LongReads::default(),
                quotas,
                made,
                tally,
            }),
        }
    }

    /// The store that it writes to.
    pub fn store(&self) -> &S {
        &self.shared.store
    }

    /// Removes staged bodies that nobody has gone on with for this long. Returns how many.
    pub fn sweep(&self, retention: Duration) -> Result<usize, StoreError> {
        self.shared.sweep(retention)
    }

    /// Whether so much of a client waits to be committed that more is better left for later.
    pub fn is_behind(&self, client: &str) -> bool {
        self.shared.committer.is_behind(client)
    }

    /// A number that moves on with everything that the committer does, and soon after this was asked, even where
    /// nothing else is to be done. If it stands still, what is handed in is not committed.
    pub fn pulse(&self) -> u64 {
        self.shared.committer.pulse()
    }

    /// Waits until everything that was handed in is committed or has failed, and takes no more.
    pub fn close(&self) {
        self.shared.committer.close();
    }
}
