//! What there is to send, and what became of it.

use std::{fmt::Debug, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use ferry_proto::{
    Algorithm, Attributes, Code, Digest, HasherState, Header, Kind, Leaving, Missing, RelPath,
};
use ferry_store::{
    Digests,
    source::{Identity, Item, SourceError},
};

use super::Same;

/// The list of what is to be sent, shared by every connection that works on it.
pub trait Manifest: Send + Sync + 'static {
    /// What comes next. Waits while other tasks are outstanding, because they may come back or let a folder's turn
    /// come; `None` when everything is settled, the run is over, or nothing is wanted any more.
    fn next(&self, is_wanted: &dyn Fn() -> bool) -> Option<Next>;

    /// A connection has ended: whoever waits for what comes next looks whether that is still wanted.
    fn nudge(&self);

    /// A task could not be finished here and is to be tried again.
    fn put_back(&self, task: Task);

    /// A task is finished, well or not.
    fn settle(&self, task: Task, fate: Fate);

    /// What else is to be said of an entry. [`SourceError::Changed`] if it is no longer the version that the item speaks of.
    fn attributes(&self, _: &Item) -> Result<Attributes, SourceError> {
        Ok(Attributes::default())
    }

    /// The digest of a file that has not changed since it was learned.
    fn known_digest(&self, item: &Item, algorithm: Algorithm) -> Option<Digest>;

    /// A whole file was read and had these digests. An error says that it cannot be: the file is not sent.
    fn learned(&self, item: &Item, found: &Digests) -> Result<(), SourceError>;

    /// The longest state of a hasher, of at most this many bytes of a file that has not changed since it was kept.
    fn known_state(&self, identity: &Identity, algorithm: Algorithm, most: u64) -> Option<HasherState>;

    /// So much of a file was read, and this is the hasher's state.
    fn learned_state(&self, identity: &Identity, state: HasherState);

    /// A part of the work has taken so much more time.
    fn spent(&self, stage: Stage, time: Duration);

    /// Bytes of a file were read, only to be digested.
    fn digested(&self, bytes: u64);

    /// A known digest has turned out wrong, though the file seems untouched: it has these.
    fn disproved(&self, item: &Item, found: &Digests) -> Disproved;

    /// A large body, or a stream, begins at this offset; `is_further` if it never began so far on before.
    fn begun(&self, task: &Task, offset: u64, is_further: bool);

    /// Bytes of this task's body are about to leave.
    fn advanced(&self, task: &Task, bytes: u64);
}

/// What it means that a known digest is not that of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disproved {
    /// It was wrong, and is known no more.
    Forgotten,
    /// It was right, and the file is damaged: in these words.
    Damaged(String),
}

/// A part of the work on a file's way. Different ones go on at the same time, so that the slowest holds up all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading sources.
    DiskRead,
    /// Digesting them.
    Hash,
    /// Encrypting, and waiting for the network, without what it waits for a receiver that has too much to do.
    Network,
    /// The receiver's digesting.
    ServerHash,
    /// The receiver's writing.
    ServerDisk,
    /// The receiver's making bytes and names durable.
    ServerSync,
}

/// How fast bytes may leave.
pub trait Pace: Send + Sync + 'static {
    /// Bytes that may leave in one go, so that waiting for them keeps nobody from noticing anything else.
    fn at_once(&self) -> usize;

    /// Waits until this many more bytes may leave.
    fn allow(&self, bytes: usize) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// As fast as they can.
pub struct Unlimited;

impl Pace for Unlimited {
    fn at_once(&self) -> usize {
        usize::MAX
    }

    fn allow(&self, _: usize) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// Something to be sent.
    Task(Task),
    /// Something that was asked for and cannot be sent, to be told.
    Missing(Missing),
}

/// Something to be sent.
#[derive(Debug)]
pub struct Task {
    /// What.
    pub origin: Origin,
    /// How often it was tried before, because it changed while it was read.
    pub attempt: u32,
    /// The furthest offset at which its body began.
    pub reached: u64,
    /// What else is said of it.
    pub attributes: Box<Attributes>,
    /// Its source is removed when the receiver has it for good.
    pub leaves: bool,
    /// The file that it is another name of, which the receiver has by now.
    pub same: Option<Box<Same>>,
    /// Device and inode of the file with several names of which it has the turn; it may be another file by now.
    pub(super) turn: Option<(u64, u64)>,
}

/// Where a task's bytes come from.
#[derive(Debug)]
pub enum Origin {
    /// An entry of a tree.
    Tree(Item),
    /// Bytes whose number nobody knows, and where they go.
    Stream(RelPath, Arc<dyn Stream>),
}

/// A source that can be read once.
pub trait Stream: Debug + Send + Sync + 'static {
    /// Waits a moment for something to be read, or the end; false if there is neither so far. What has not been read from
    /// can still be left to another connection.
    fn is_ready(&self) -> io::Result<bool>;

    /// Reads what comes next; nothing is the end.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Asks at the end whether it was the true one. An error is that of a source that cannot be read.
    fn finish(&self) -> io::Result<()>;
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it for good now.
    Sent {
        /// Its digest, if it is a file.
        digest: Option<Digest>,
        /// Bytes of the whole file.
        bytes: u64,
        /// The name it got, if another than asked for.
        path: Option<RelPath>,
        /// Bytes were added behind what was announced, and not sent.
        grew: bool,
    },
    /// The receiver had it already.
    Held {
        /// Its digest, if it is a file.
        digest: Option<Digest>,
        /// Bytes of the whole file.
        bytes: u64,
        /// The name it has, if another than asked for.
        path: Option<RelPath>,
    },
    /// In a dry run: it would be sent.
    WouldSend {
        /// Bytes of the whole file.
        bytes: u64,
        /// Nothing has its name so far.
        is_new: bool,
    },
    /// It was not sent.
    Failed {
        /// Why.
        code: Code,
        /// A sentence about it; written by the peer, or here.
        detail: String,
    },
}

impl Task {
    /// A task that was not tried before.
    pub fn new(origin: Origin) -> Self {
        let (attempt, reached, attributes, leaves) = (0, 0, Box::default(), false);
        Task { origin, attempt, reached, attributes, leaves, same: None, turn: None }
    }

    /// Where it goes.
    pub fn path(&self) -> &RelPath {
        match &self.origin {
            Origin::Tree(item) => &item.path,
            Origin::Stream(path, _) => path,
        }
    }

    /// Bytes of its body, as far as they are known.
    pub fn size(&self) -> Option<u64> {
        match &self.origin {
            Origin::Tree(Item { kind: Kind::File, identity, .. }) => Some(identity.size),
            _ => None,
        }
    }

    /// Whether it is a regular file, or a stream that becomes one.
    pub fn is_file(&self) -> bool {
        match &self.origin {
            Origin::Tree(item) => item.kind == Kind::File,
            Origin::Stream(..) => true,
        }
    }

    fn leaving(&self, item: &Item) -> Option<Box<Leaving>> {
        let Identity { inode, changed, .. } = item.identity;
        (self.leaves && item.kind != Kind::Folder).then(|| Box::new(Leaving { inode, changed }))
    }

    /// Its header, with a digest where that is known.
    pub(crate) fn header(&self, digest: Option<Digest>) -> Header {
        match &self.origin {
            Origin::Stream(path, _) => Header::new(path.clone(), Kind::File),
            Origin::Tree(item) => Header {
                size: self.size(),
                digest,
                modified: Some(item.modified),
                // A link has no permission bits of its own.
                mode: (!matches!(item.kind, Kind::Symlink(_))).then_some(item.mode),
                same_as: digest.and(self.same.as_ref()).map(|same| same.path.clone()),
                leaving: self.leaving(item),
                attributes: self.attributes.clone(),
                ..Header::new(item.path.clone(), item.kind.clone())
            },
        }
    }
}
