//! What uploads write down: files that are held, and bodies that are under way. The server keeps it in its
//! catalogue.

use std::time::SystemTime;

use ferry_proto::{Algorithm, Attributes, Digest, HasherState, Mode, RelPath, Timestamp};

use crate::{Digests, Meta, Revision, StageId, Stamp};

/// The book in which [`Uploads`](crate::Uploads) writes. Every method is atomic and durable when it returns.
pub trait Ledger: Send + Sync + 'static {
    /// The row of a name.
    fn find(&self, path: &RelPath) -> Result<Option<Row>, LedgerError>;

    /// The rows of several names, in their order.
    fn find_each(&self, paths: &[RelPath]) -> Result<Vec<Option<Row>>, LedgerError> {
        paths.iter().map(|path| self.find(path)).collect()
    }

    /// Whether rows can be written now; [`LedgerError::Full`] before space has run out for the last of them, so that
    /// nothing gets a name that cannot get its row.
    fn check_room(&self) -> Result<(), LedgerError>;

    /// Writes rows in one transaction, each in the place of the name's older one, and forgets the checkpoints of
    /// bodies that became files with them.
    fn record(&self, batch: &[Filed]) -> Result<(), LedgerError>;

    /// Notes that a name no longer holds what its row speaks of, if that still has this stamp.
    fn close(&self, path: &RelPath, stamp: &Stamp) -> Result<(), LedgerError>;

    /// Writes down what reading files again has shown, each where the name's row is still the one that was compared; all
    /// in one transaction. Returns for each whether it was written. A ledger that has no rows of its own has nothing to revise.
    fn revise(&self, batch: &[Revision]) -> Result<Vec<bool>, LedgerError> {
        Ok(vec![false; batch.len()])
    }

    /// Names are about to be given whose rows come with a later [`Ledger::record`] (`true`), or all that were given have
    /// theirs, or never will (`false`). Each `true` says that of those before it, too. Whoever compares names with rows
    /// meanwhile must not take such a name for one that nobody knows of.
    fn owes_rows(&self, _owes: bool) {}

    /// What a client holds, for its quota.
    fn held_by(&self, client: &str) -> Result<Held, LedgerError>;

    /// The checkpoints of a client's bodies for a name.
    fn checkpoints_for(&self, client: &str, path: &RelPath) -> Result<Vec<Checkpoint>, LedgerError>;

    /// Every checkpoint.
    fn checkpoints(&self) -> Result<Vec<Checkpoint>, LedgerError>;

    /// Writes how far a body is durable.
    fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), LedgerError>;

    /// Forgets a body.
    fn drop_checkpoint(&self, id: StageId) -> Result<(), LedgerError>;
}

/// What a client holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Bytes of the files that names hold now and that it sent.
    pub rows: u64,
    /// Names that hold what it sent: files, folders and links.
    pub names: u64,
    /// Its bodies that have a checkpoint: where each goes, and the bytes of the whole file.
    pub staged: Vec<(StageId, RelPath, u64)>,
}

/// What the ledger knows of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub kind: RowKind,
    /// The time its sender gave.
    pub modified: Option<Timestamp>,
    /// The mode its sender gave, all of it: the disk's may be narrower or wider.
    pub mode: Option<Mode>,
    /// What else its sender said of it. Where a row that is written says nothing, the older row of the same content goes on
    /// to say it.
    pub attributes: Attributes,
    /// The version that this row speaks of.
    pub stamp: Stamp,
    /// Whether what is there is known not to be what was received, though nobody seems to have touched it. Such a file is
    /// nothing that is held.
    pub is_damaged: bool,
}

impl Row {
    /// Whether it is about what has this stamp and so many bytes. What has rotted is not well because somebody has touched
    /// it since.
    pub fn speaks_of(&self, stamp: &Stamp, bytes: u64) -> bool {
        let has_rotted = self.is_damaged && matches!(self.kind, RowKind::File { size, .. } if size == bytes);
        self.stamp == *stamp || has_rotted
    }

    /// What its sender said of it.
    pub(crate) fn meta(&self) -> Meta {
        Meta { modified: self.modified, mode: self.mode, attributes: self.attributes.clone() }
    }

    /// Whether it says this, as far as this says anything.
    pub(crate) fn says(&self, meta: &Meta) -> bool {
        self.modified == meta.modified && self.mode == meta.mode && meta.attributes.are_in(&self.attributes)
    }
}

/// What kind of thing a row speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowKind {
    /// A file.
    File {
        /// Its bytes.
        size: u64,
        /// Their digests.
        digests: Digests,
    },
    /// A folder.
    Folder,
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
}

impl RowKind {
    /// The digest by this algorithm, if it is a file and has been digested by that.
    pub fn digest(&self, by: Algorithm) -> Option<Digest> {
        match self {
            RowKind::File { digests, .. } => digests.by(by),
            RowKind::Folder | RowKind::Symlink(_) => None,
        }
    }

    /// Whether both speak of the same content.
    pub fn is_same_as(&self, other: &RowKind) -> bool {
        match (self, other) {
            (RowKind::File { size, digests }, RowKind::File { size: other_size, digests: others }) => {
                size == other_size && digests.agree_with(others)
            }
            _ => self == other,
        }
    }

    /// What is known of a content by this and by another row of it.
    pub fn with(self, other: &RowKind) -> Self {
        match (self, other) {
            (RowKind::File { size, digests }, RowKind::File { digests: others, .. }) => {
                RowKind::File { size, digests: digests.with(others) }
            }
            (kind, _) => kind,
        }
    }
}

/// A row to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filed {
    /// The name.
    pub path: RelPath,
    /// What it holds now.
    pub row: Row,
    /// The client that sent it.
    pub client: String,
    /// The staged body that became it, if it may have a checkpoint.
    pub staged: Option<StageId>,
    /// What the same file was known by before, if it may have other names.
    pub before: Option<Before>,
}

/// A file got one more name, or another time or mode, and so another stamp: the rows of its other names get that, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// Its stamp until then.
    pub stamp: Stamp,
    /// The name that the new one was made from.
    pub twin: Option<RelPath>,
}

/// What a body must agree with to be gone on with: bytes of two sources are never joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyKey {
    /// The client that sends it.
    pub client: String,
    /// Where it goes.
    pub path: RelPath,
    /// Bytes of the whole file.
    pub size: u64,
    /// When the source was last modified.
    pub modified: Option<Timestamp>,
    /// Its digest, when it was known ahead.
    pub digest: Option<Digest>,
    /// The number of the one upload that it is part of, where nothing else is known that would tell two sources apart.
    pub upload: Option<u64>,
}

/// A body under way that is durable up to an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The staged body.
    pub id: StageId,
    /// What it is part of.
    pub key: BodyKey,
    /// Durable bytes.
    pub offset: u64,
    /// The hasher's state there, and the version of the staged body that it is good for: as it was right after this
    /// offset was made durable, or the body was cut back to it.
    pub kept: Option<(HasherState, Stamp)>,
    /// When this was written down.
    pub at: SystemTime,
}

/// The ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// No space is left for it.
    #[error("no space is left for the catalogue")]
    Full,
    /// Anything else.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl BodyKey {
    /// Whether a body begun under `self` may be gone on with under `other`. A digest that only one of the two
    /// knows decides nothing: the prefix is compared in any case.
    pub fn agrees_with(&self, other: &BodyKey) -> bool {
        let digests = match (self.digest, other.digest) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        digests
            && self.client == other.client
            && self.path == other.path
            && self.size == other.size
            && self.modified == other.modified
            && self.upload == other.upload
    }
}
