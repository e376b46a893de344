//! What is to be sent: walking a tree, reading files, and noticing when they change under the reader.
//!
//! A source is named by a path of its owner's, or lies in a store, where nothing outside of it is ever read.

mod beneath;
mod by_path;
mod picked;
mod reading;
mod stretches;
mod walk;

use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use ferry_proto::{AttributeError, Kind, Mode, PathError, RelPath, Timestamp};
use rustix::fs::{self, AtFlags, OFlags, Stat};

pub use self::{reading::AttributeReader, stretches::Stretch, walk::Walk};
use self::{stretches::Stretches, walk::Pending};
use crate::{Digests, Entry, Stamp, StoreError, attributes, error::plain, folder::Folder};

/// Bytes in the unit in which `stat` counts what a file takes, on every file system.
const BLOCK: u64 = 512;

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
    /// Whether it is a file that has several names.
    pub has_other_names: bool,
    /// The digests that it is known to have.
    pub known: Option<Box<Digests>>,
    /// Whether it is known not to have them any more, though nobody seems to have touched it.
    pub is_damaged: bool,
    /// Whether what is known of it could not be looked up.
    pub is_unsure: bool,
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
    #[error("{}", plain(.0))]
    Io(#[from] io::Error),
    /// It cannot be named.
    #[error(transparent)]
    Name(#[from] PathError),
    /// What is known of it cannot be looked up.
    #[error("what the server knows of it cannot be read")]
    Unsure,
    /// It is not what its digests say that it is, though nobody seems to have touched it.
    #[error("the server's copy is damaged: it is not what was received")]
    Damaged,
    /// It has attributes that cannot be said.
    #[error(transparent)]
    Attributes(#[from] AttributeError),
    /// It is not what it was.
    #[error("it changed while it was being read")]
    Changed,
}

impl Shelf {
    /// Opens a folder that the owner of this process names.
    pub fn open(path: &Path) -> io::Result<Self> {
        Folder::open(path).map(Shelf::new)
    }

    /// What has this name; `None` if nothing has.
    pub fn look(&self, path: &RelPath) -> Result<Option<Entry>, StoreError> {
        self.0.look(path.as_bytes())
    }

    /// The folder as it is now, wherever it is moved to.
    pub(crate) fn new(folder: Folder) -> Self {
        Shelf(Arc::new(folder))
    }
}

impl Location {
    /// On a shelf.
    pub fn on(shelf: &Shelf, path: &RelPath) -> Self {
        Location { shelf: Some(shelf.clone()), path: OsStr::from_bytes(path.as_bytes()).into() }
    }

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
        self.open_as(OFlags::NONBLOCK | OFlags::RDONLY, links)
    }

    fn open_as(&self, flags: OFlags, links: Links) -> io::Result<File> {
        let mode = rustix::fs::Mode::empty();
        if let Some(Shelf(folder)) = &self.shelf {
            return Ok(folder.open_at(self.path.as_os_str().as_bytes(), flags, mode)?.into());
        }
        let nofollow = if links == Links::Follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        Ok(rustix::fs::open(&self.path, flags | nofollow | OFlags::CLOEXEC, mode)?.into())
    }
}

impl Item {
    /// Brings it up to date with its file, as it was opened.
    pub fn update(&mut self, source: &Source) {
        if self.identity != source.identity {
            (self.modified, self.mode, self.known) = (source.identity.modified, source.mode, None);
            self.is_damaged = false;
        }
        self.identity = source.identity;
    }

    /// Removes it, a file or a link, if it still is the version that is known here, and as such: what came to its name
    /// otherwise is left alone. In the instant between looking and removing nobody is kept from putting another file there.
    pub fn remove(&self) -> Result<(), SourceError> {
        let path = self.source.path();
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput).map_err(io::Error::from)?;
        let around = path.parent().filter(|around| !around.as_os_str().is_empty());
        let folder =
            fs::open(around.unwrap_or(Path::new(".")), OFlags::PATH | OFlags::DIRECTORY, fs::Mode::empty())
                .map_err(io::Error::from)?;
        let there = fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        if Identity::of_stat(&there) != self.identity {
            return Err(SourceError::Changed);
        }
        fs::unlinkat(&folder, name, AtFlags::empty()).map_err(io::Error::from)?;
        Ok(())
    }

    /// Sends it elsewhere, without the folders around it: they do not wait for it any more.
    pub fn file_at(self, path: RelPath) -> Self {
        Item { path, folder: None, ..self }
    }

    /// What a store knows this version by.
    pub fn stamp(&self) -> Stamp {
        self.identity.stamp(self.kind == Kind::Folder)
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

    /// What a store knows this version by.
    pub(crate) fn stamp(&self, is_folder: bool) -> Stamp {
        let Identity { device, inode, size, modified, changed, .. } = *self;
        attributes::stamp_of(is_folder, device, inode, size, modified, changed)
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
    /// Where reading goes on.
    position: u64,
    stretches: Stretches,
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
        let is_whole = metadata.blocks().saturating_mul(BLOCK) >= metadata.len();
        let stretches = if is_whole { Stretches::none() } else { Stretches::default() };
        Ok(Source { file, identity, mode, position: 0, stretches })
    }

    /// Its version when it was opened.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What a store knows this version by.
    pub fn stamp(&self) -> Stamp {
        self.identity.stamp(false)
    }

    /// The file itself, for who reads it in an order of his own.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Its permission bits when it was opened.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Reads from this offset next.
    pub fn go_to(&mut self, offset: u64) -> io::Result<()> {
        self.position = self.file.seek(SeekFrom::Start(offset))?;
        Ok(())
    }

    /// What comes next. A hole reaches at most to where the file ended when it was opened.
    pub fn next_stretch(&mut self) -> io::Result<Stretch> {
        self.stretches.at(&self.file, self.position, self.identity.size)
    }

    /// Goes on behind so many bytes, which are a hole.
    pub fn pass_over(&mut self, bytes: u64) -> io::Result<()> {
        self.go_to(self.position.saturating_add(bytes))
    }

    /// What has become of it since it had this identity.
    pub fn change_since(&self, identity: &Identity) -> io::Result<Change> {
        Ok(identity.change(&Identity::of(&self.file.metadata()?)))
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.file.seek(to)?;
        Ok(self.position)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

fn moment(seconds: i64, nanos: i64) -> Timestamp {
    // The kernel's nanoseconds are always below a second; a file system that breaks this gets whole seconds.
    Timestamp::saturating(seconds, u32::try_from(nanos).unwrap_or(0))
}
