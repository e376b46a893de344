//! What is to be sent: walking a tree, reading files, and noticing when they change under the reader.
//!
//! A source is named by a path of its owner's, or lies in a store, where nothing outside of it is ever read.

mod beneath;
mod by_path;
mod picked;
mod walk;

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use ferry_proto::{Kind, Mode, PathError, RelPath, Timestamp};
use rustix::fs::{OFlags, Stat};

use self::walk::Pending;
pub use self::walk::Walk;
use crate::{Digests, Stamp, attributes, folder::Folder};

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

/// A folder whose files are sources, and nothing outside of it.
#[derive(Debug, Clone)]
pub struct Shelf(Arc<Folder>);

/// Where a source is.
#[derive(Debug, Clone)]
pub struct Location {
    /// What its path begins at; without one it is a path like any other.
    shelf: Option<Shelf>,
    path: PathBuf,
}

/// An entry of a tree.
#[derive(Debug)]
pub struct Item {
    /// Where it is.
    pub source: Location,
    /// Where it goes.
    pub path: RelPath,
    /// What it is, a link with its target.
    pub kind: Kind,
    /// Its version when it was found.
    pub identity: Identity,
    /// When it was last modified, as is said of it.
    pub modified: Timestamp,
    /// Its permission bits.
    pub mode: Mode,
    /// The digests that it is known to have.
    pub known: Option<Box<Digests>>,
    /// The folder around it, if that is sent too.
    folder: Option<Arc<Pending>>,
}

/// Which entries of a tree a walk takes. Both answer with a reason why one is left out.
pub trait Choose: Send {
    /// By its name, before anything else is known of it; without what is below it, if it is a folder. The path is below
    /// the root of the walk, and empty for the root itself.
    fn by_name(&mut self, below: &Path, is_folder: bool) -> Option<String>;

    /// By what it is.
    fn by_facts(&mut self, item: &Item) -> Option<String>;

    /// Whether folders are left closed on which another file system is mounted.
    fn stays_on_one_file_system(&self) -> bool {
        false
    }
}

/// An entry of a tree that a walk is to go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pick {
    /// Where it is below the root of the walk, for which this is empty.
    pub below: PathBuf,
    /// With everything in it, if it is a folder.
    pub is_whole: bool,
}

/// Every entry.
struct Everything;

impl Choose for Everything {
    fn by_name(&mut self, _: &Path, _: bool) -> Option<String> {
        None
    }

    fn by_facts(&mut self, _: &Item) -> Option<String> {
        None
    }
}

/// What a walk finds.
#[derive(Debug)]
pub enum Found {
    /// A file, a link, or a folder under which nothing is outstanding any more.
    Item(Item),
    /// Something that is not sent: a FIFO, a socket, a device, a link that is to be skipped.
    Skipped(PathBuf, &'static str),
    /// Something that is not chosen, and why.
    LeftOut(PathBuf, String),
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

impl Shelf {
    /// The folder as it is now, wherever it is moved to.
    pub(crate) fn new(folder: Folder) -> Self {
        Shelf(Arc::new(folder))
    }
}

impl Location {
    /// By a path of the owner's.
    pub fn of_path(path: PathBuf) -> Self {
        Location { shelf: None, path }
    }

    /// The path; for a source in a store the one below it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self, links: Links) -> io::Result<File> {
        // Non-blocking, so that a FIFO that someone put there does not hold this thread.
        let mut flags = OFlags::NONBLOCK;
        if let Some(Shelf(folder)) = &self.shelf {
            let path = self.path.as_os_str().as_bytes();
            return Ok(folder.open_at(path, flags | OFlags::RDONLY, rustix::fs::Mode::empty())?.into());
        }
        if links != Links::Follow {
            flags |= OFlags::NOFOLLOW;
        }
        OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&self.path)
    }
}

impl Item {
    /// Brings it up to date with its file, as it was opened.
    pub fn update(&mut self, source: &Source) {
        if self.identity != source.identity {
            (self.modified, self.mode, self.known) = (source.identity.modified, source.mode, None);
        }
        self.identity = source.identity;
    }

    /// What a store knows this version by.
    pub fn stamp(&self) -> Stamp {
        let Identity { device, inode, size, modified, changed, .. } = self.identity;
        attributes::stamp_of(self.kind == Kind::Folder, device, inode, size, modified, changed)
    }
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

    /// What a store's stamp of a file says; `None` if it is no file's.
    pub fn of_stamp(stamp: &Stamp) -> Option<Self> {
        let [device, inode, size, modified_s, modified_ns, changed_s, changed_ns] =
            attributes::parts_of(stamp)?;
        Some(Identity {
            device,
            inode,
            size,
            modified: moment(modified_s as i64, modified_ns as i64),
            changed: moment(changed_s as i64, changed_ns as i64),
            seen: SystemTime::now(),
        })
    }

    fn of_stat(stat: &Stat) -> Self {
        Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size as u64,
            modified: moment(stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: moment(stat.st_ctime, stat.st_ctime_nsec as i64),
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
    pub fn open(location: &Location, links: Links) -> Result<Self, SourceError> {
        let file = location.open(links)?;
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
