//! What is to be sent: walking a tree, reading files, and noticing when they change under the reader.

use std::{
    collections::VecDeque,
    fs::{File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use ferry_proto::{Kind, Mode, PathError, RelPath, Timestamp};
use rustix::fs::OFlags;
use walkdir::{DirEntry, WalkDir};

/// What a version of a source file is known by: another identity means that somebody touched it.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Modification time.
    pub modified: Timestamp,
    /// Change time.
    pub changed: Timestamp,
    /// When all this was seen. It is no part of the version, and two identities are equal without it.
    pub seen: SystemTime,
}

/// What became of a file while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Bytes were added behind those that were announced.
    Grew,
    /// Anything else.
    Changed,
}

/// How symbolic links are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// As links.
    Keep,
    /// As what they point to.
    Follow,
    /// Not at all.
    Skip,
}

/// An entry of a tree.
#[derive(Debug)]
pub struct Item {
    /// Where it is.
    pub source: PathBuf,
    /// Where it goes.
    pub path: RelPath,
    /// What it is, a link with its target.
    pub kind: Kind,
    /// Its version when it was found.
    pub identity: Identity,
    /// Its permission bits.
    pub mode: Mode,
    /// The folder around it, if that is sent too.
    folder: Option<Arc<Pending>>,
}

/// A folder that waits until nothing under it is outstanding, because whatever happens in it changes its time.
#[derive(Debug)]
struct Pending {
    item: Item,
}

/// What a walk finds.
#[derive(Debug)]
pub enum Found {
    /// A file, a link, or a folder under which nothing is outstanding any more.
    Item(Item),
    /// Something that is not sent: a FIFO, a socket, a device, a link that is to be skipped.
    Skipped(PathBuf, &'static str),
    /// Something that cannot be read or named.
    Problem(PathBuf, SourceError),
}

/// Why a source cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It cannot be named.
    #[error(transparent)]
    Name(#[from] PathError),
    /// It is not what it was.
    #[error("it changed while it was being read")]
    Changed,
}

/// Walks one source, folders after what is in them.
pub struct Walk {
    entries: walkdir::IntoIter,
    root: PathBuf,
    base: Option<RelPath>,
    links: Links,
    open: Vec<Option<Arc<Pending>>>,
    ready: VecDeque<Found>,
}

impl Walk {
    /// Of the tree at `root`, which goes to `base`; with no base the contents of `root` go to the top level and
    /// `root` itself is not sent.
    pub fn new(root: &Path, base: Option<RelPath>, links: Links) -> Self {
        let entries =
            WalkDir::new(root).follow_links(links == Links::Follow).follow_root_links(base.is_none());
        Walk {
            entries: entries.into_iter(),
            root: root.to_owned(),
            base,
            links,
            open: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    fn step(&mut self, entry: walkdir::Result<DirEntry>) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(&self.root).to_owned();
                let is_unreadable = |folder: &mut Option<Arc<Pending>>| {
                    folder.as_ref().is_some_and(|folder| folder.item.source == path)
                };
                // A folder that cannot be looked into has failed, and is not offered as if all of it were there.
                if let Some(folder) = self.open.pop_if(is_unreadable).flatten().and_then(release) {
                    drop(folder.settle());
                }
                self.leave(error.depth());
                let error =
                    error.into_io_error().unwrap_or_else(|| io::Error::other("links lead in a circle"));
                self.ready.push_back(Found::Problem(path, error.into()));
                return;
            }
        };
        self.leave(entry.depth());
        let is_folder = entry.file_type().is_dir() || self.is_followed_root(&entry);
        match self.describe(&entry) {
            Ok(None) => self.open.push(None),
            Ok(Some(Found::Item(item))) if is_folder => self.open.push(Some(Arc::new(Pending { item }))),
            Ok(Some(found)) => self.ready.push_back(found),
            Err(error) => {
                if is_folder {
                    self.entries.skip_current_dir();
                }
                self.ready.push_back(Found::Problem(entry.into_path(), error));
            }
        }
    }

    /// Leaves the folders at this depth and below.
    fn leave(&mut self, depth: usize) {
        while self.open.len() > depth {
            if let Some(folder) = self.open.pop().flatten()
                && let Some(item) = release(folder)
            {
                self.ready.push_back(Found::Item(item));
            }
        }
    }

    /// A root that is a link to a folder is entered, and yet shown as a link.
    fn is_followed_root(&self, entry: &DirEntry) -> bool {
        self.base.is_none() && entry.depth() == 0 && entry.path().is_dir()
    }

    /// `None` for a root that is not sent itself.
    fn describe(&self, entry: &DirEntry) -> Result<Option<Found>, SourceError> {
        let below = entry.path().strip_prefix(&self.root).unwrap_or(Path::new("")).as_os_str().as_bytes();
        let path = match (&self.base, below) {
            (Some(base), b"") => base.clone(),
            (Some(base), below) => base.join(below)?,
            (None, b"") if self.is_followed_root(entry) => return Ok(None),
            (None, b"") => return Err(io::Error::from(io::ErrorKind::NotADirectory).into()),
            (None, below) => RelPath::new(below)?,
        };
        let kind = match entry.file_type() {
            t if t.is_file() => Kind::File,
            t if t.is_dir() => Kind::Folder,
            t if t.is_symlink() && self.links == Links::Keep => {
                let target = std::fs::read_link(entry.path())?;
                Kind::Symlink(target.into_os_string().as_bytes().to_vec())
            }
            t => return Ok(Some(Found::Skipped(entry.path().to_owned(), what_it_is(t)))),
        };
        let metadata = entry.metadata().map_err(io::Error::from)?;
        Ok(Some(Found::Item(Item {
            source: entry.path().to_owned(),
            path,
            kind,
            identity: Identity::of(&metadata),
            mode: Mode::from_bits(metadata.mode()),
            folder: self.open.last().cloned().flatten(),
        })))
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Some(found);
            }
            match self.entries.next() {
                Some(entry) => self.step(entry),
                None if self.open.is_empty() => return None,
                None => self.leave(0),
            }
        }
    }
}

impl Item {
    /// Call this when nothing more will be done about it. Returns the folder around it if this was the last thing
    /// outstanding there: the folder's turn has come.
    pub fn settle(self) -> Option<Item> {
        self.folder.and_then(release)
    }
}

/// Ends one hold on a folder. The last one gets it.
fn release(folder: Arc<Pending>) -> Option<Item> {
    Arc::into_inner(folder).map(|pending| pending.item)
}

impl Identity {
    /// Of a file that was just looked at.
    pub fn of(metadata: &Metadata) -> Self {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: moment(metadata.mtime(), metadata.mtime_nsec()),
            changed: moment(metadata.ctime(), metadata.ctime_nsec()),
            seen: SystemTime::now(),
        }
    }

    /// What became of the file between this identity and a later one.
    pub fn change(&self, later: &Identity) -> Change {
        if self == later {
            Change::None
        } else if self.device == later.device && self.inode == later.inode && later.size > self.size {
            Change::Grew
        } else {
            Change::Changed
        }
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let version = |of: &Self| (of.device, of.inode, of.size, of.modified, of.changed);
        version(self) == version(other)
    }
}

impl Eq for Identity {}

/// An open source file and its version when it was opened.
#[derive(Debug)]
pub struct Source {
    file: File,
    identity: Identity,
    mode: Mode,
}

impl Source {
    /// Opens a regular file. A FIFO or device that took its place meanwhile is an error and does not hold anybody
    /// up.
    pub fn open(path: &Path, links: Links) -> Result<Self, SourceError> {
        let mut flags = OFlags::NONBLOCK;
        if links != Links::Follow {
            flags |= OFlags::NOFOLLOW;
        }
        let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(SourceError::Changed);
        }
        let (identity, mode) = (Identity::of(&metadata), Mode::from_bits(metadata.mode()));
        Ok(Source { file, identity, mode })
    }

    /// Its version when it was opened.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Its permission bits when it was opened.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Reads from this offset next.
    pub fn go_to(&mut self, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset)).map(drop)
    }

    /// What has become of it since it had this identity.
    pub fn change_since(&self, identity: &Identity) -> io::Result<Change> {
        Ok(identity.change(&Identity::of(&self.file.metadata()?)))
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

fn moment(seconds: i64, nanos: i64) -> Timestamp {
    // The kernel's nanoseconds are always below a second; a file system that breaks this gets whole seconds.
    Timestamp::saturating(seconds, u32::try_from(nanos).unwrap_or(0))
}

fn what_it_is(file_type: std::fs::FileType) -> &'static str {
    match file_type {
        t if t.is_symlink() => "a symbolic link",
        t if t.is_fifo() => "a FIFO",
        t if t.is_socket() => "a socket",
        t if t.is_block_device() || t.is_char_device() => "a device",
        _ => "of an unknown kind",
    }
}
