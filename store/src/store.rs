//! What a store is: the contract that uploads stand on.

use std::time::SystemTime;

use ferry_proto::{Attributes, Header, Mode, RelPath, Timestamp};

use crate::StoreError;

/// Where received files live.
///
/// A body is staged under an id of its own, written from front to back, sealed, and then published under its
/// key. Between two calls anyone else may move, change or remove what is published: a store holds no answer over
/// from one call to the next. No signature speaks of descriptors, renames or inodes, so that a store need not be
/// a file system.
///
/// The order that makes a file durable is [`seal`](Store::seal), [`publish`](Store::publish),
/// [`settle`](Store::settle); after `settle` a power cut loses none of it. What one batch needs first and another one last
/// goes together: [`make_durable`](Store::make_durable).
pub trait Store: Send + Sync + 'static {
    /// A staged body that is open for writing.
    type Staged: Staged;

    /// Distance of checkpoints in bytes; a multiple of [`ferry_proto::limits::CHECKPOINT`].
    fn checkpoint_distance(&self) -> u64;

    /// Begins a body of no bytes. A fleeting one is never asked for by its id, is meant for a name that is free, and may be
    /// gone when it is dropped. [`StoreError::Crowded`] while too many others are open.
    fn stage(&self, id: StageId, fleeting: bool) -> Result<Self::Staged, StoreError>;

    /// Stages another name of a file that is published and still has this stamp, to be sealed and published like any body;
    /// the file is the same. Any error says that it does not become one.
    fn stage_same(&self, id: StageId, key: &RelPath, seen: &Stamp) -> Result<Self::Staged, StoreError>;

    /// Opens a staged body again, cut back to `length` bytes; one of just that length keeps its stamp.
    /// [`StoreError::NotFound`] if it does not exist, is shorter, or has a name already, as a cut in the middle of
    /// publishing may leave it; [`StoreError::Crowded`] while too many others are open.
    fn reopen(&self, id: StageId, length: u64) -> Result<Self::Staged, StoreError>;

    /// Removes a staged body; one that does not exist is no error.
    fn discard(&self, id: StageId) -> Result<(), StoreError>;

    /// Every staged body, with the time of its last change.
    fn staged(&self) -> Result<Vec<(StageId, SystemTime)>, StoreError>;

    /// Seals bodies and settles names, which are those of others, all in one go. Returns what became of each.
    fn make_durable(
        &self,
        bodies: Vec<(&mut Self::Staged, Meta)>,
        published: &[(&RelPath, &Stamp)],
    ) -> (Results, Results);

    /// Gives staged bodies their times and modes and makes their bytes durable.
    fn seal(&self, bodies: Vec<(&mut Self::Staged, Meta)>) -> Results {
        self.make_durable(bodies, &[]).0
    }

    /// Gives a sealed body its name in a folder that is there, else [`StoreError::NotFound`]. With `replace` it takes
    /// the place of a file or link, else [`StoreError::Exists`]; never that of anything else ([`StoreError::Kind`]).
    /// Nobody ever sees the name without a whole file.
    fn publish(&self, staged: &mut Self::Staged, key: &RelPath, replace: bool) -> Result<Stamp, StoreError>;

    /// Makes a folder and those above it; one that exists is no error. Returns those that are new.
    fn make_folder(&self, key: &RelPath) -> Result<Vec<RelPath>, StoreError>;

    /// Makes a symbolic link, under the same rules as [`publish`](Store::publish).
    fn make_link(&self, key: &RelPath, target: &[u8], meta: Meta, replace: bool)
    -> Result<Stamp, StoreError>;

    /// Sets time and mode of a file or folder, durably when it is settled; with `seen`, only if that is still its stamp,
    /// else [`StoreError::Moved`].
    fn set_meta(&self, key: &RelPath, meta: Meta, seen: Option<&Stamp>) -> Result<Stamp, StoreError>;

    /// Makes names durable, and says of each whether it still leads to what has this stamp
    /// ([`StoreError::Moved`] if not).
    fn settle(&self, published: &[(&RelPath, &Stamp)]) -> Results {
        self.make_durable(Vec::new(), published).1
    }

    /// What has this name; `None` if nothing has.
    fn stat(&self, key: &RelPath) -> Result<Option<Entry>, StoreError>;

    /// Reads a file from `offset` until its end or until `sink` says `false`.
    fn read(&self, key: &RelPath, offset: u64, sink: &mut dyn FnMut(&[u8]) -> bool)
    -> Result<(), StoreError>;

    /// The names in a folder, `None` being the root; where there are more than `most`, any so many of them.
    fn list(&self, key: Option<&RelPath>, most: usize) -> Result<Vec<(Vec<u8>, Entry)>, StoreError>;

    /// Removes a file, a link or an empty folder.
    fn remove(&self, key: &RelPath) -> Result<(), StoreError>;

    /// Bytes that can still be written, where the store knows.
    fn free_space(&self) -> Option<u64>;
}

/// What became of each, in the order in which they were given.
pub type Results = Vec<Result<(), StoreError>>;

/// A staged body that is open for writing.
pub trait Staged: Send + 'static {
    /// Which one.
    fn id(&self) -> StageId;

    /// Appends bytes.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Appends so many zeros, which take no space where the store can do without it.
    fn append_hole(&mut self, length: u64) -> Result<(), StoreError>;

    /// Reads what was appended so far, from the first byte, all of it or until `sink` says `false`: then
    /// nothing more can be appended.
    fn replay(&mut self, sink: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), StoreError>;

    /// What this version of it is known by.
    fn stamp(&self) -> Result<Stamp, StoreError>;

    /// Makes what has been appended durable.
    fn sync(&mut self) -> Result<(), StoreError>;
}

/// Names a staged body; chosen at random by whoever begins it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageId(pub u128);

/// What a store knows a version of a file by, and nobody else can read: another stamp means that the file was
/// touched by somebody. A folder keeps its stamp whatever happens in it. It is kept in the ledger as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(pub Vec<u8>);

/// The attributes that a store sets; `None` leaves one as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// When it was last modified.
    pub modified: Option<Timestamp>,
    /// Its permission bits. A store keeps read and write (for a folder, enter) for the owner whatever they say, and
    /// never sets setuid, setgid or sticky; one that gives files back sets them as they were.
    pub mode: Option<Mode>,
    /// Whose it is, and the like. Only a store that gives files back sets them.
    pub attributes: Attributes,
}

impl Meta {
    /// What a header says.
    pub(crate) fn of(header: &Header) -> Self {
        Meta { modified: header.modified, mode: header.mode, attributes: (*header.attributes).clone() }
    }
}

/// What a name holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Its version.
    pub stamp: Stamp,
    /// When it was last modified.
    pub modified: Timestamp,
    /// Its permission bits, as the store has them.
    pub mode: Mode,
}

impl Entry {
    pub(crate) fn meta(&self) -> Meta {
        Meta { modified: Some(self.modified), mode: Some(self.mode), ..Meta::default() }
    }
}

/// What kind of thing a name holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of this many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// Anything else: a FIFO, a socket, a device.
    Other,
}

impl std::fmt::Display for StageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl StageId {
    /// Another one.
    pub(crate) fn random() -> Self {
        StageId(fastrand::u128(..))
    }

    /// The id that prints like this.
    pub fn parse(text: &str) -> Option<Self> {
        let is_ours =
            text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_ours.then(|| u128::from_str_radix(text, 16).ok().map(StageId)).flatten()
    }
}
