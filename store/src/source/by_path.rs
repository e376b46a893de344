//! Going through a tree that its owner names by a path.

use std::{
    fs::FileType,
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use ferry_proto::{Kind, Mode, RelPath};
use walkdir::{DirEntry, WalkDir};

use super::{
    Choose, Identity, Item, Links, Location, SourceError,
    walk::{Sight, Visit},
};

/// See the module.
pub(super) struct ByPath {
    entries: walkdir::IntoIter,
    /// Levels below the root at which they begin.
    offset: usize,
    root: PathBuf,
    base: Option<RelPath>,
    links: Links,
    choose: Box<dyn Choose>,
}

impl ByPath {
    pub(super) fn new(root: &Path, base: Option<RelPath>, links: Links, choose: Box<dyn Choose>) -> Self {
        let entries = WalkDir::new(root).into_iter();
        let mut by_path = ByPath { entries, offset: 0, root: root.to_owned(), base, links, choose };
        by_path.go_to(Path::new(""), true);
        by_path
    }

    /// Goes on with the entry at this path below the root, and perhaps all that is in it.
    pub(super) fn go_to(&mut self, below: &Path, is_whole: bool) {
        let is_root = below.as_os_str().is_empty();
        let start = if is_root { self.root.clone() } else { self.root.join(below) };
        self.entries = WalkDir::new(start)
            .max_depth(if is_whole { usize::MAX } else { 0 })
            .follow_links(self.links == Links::Follow)
            .follow_root_links(is_root && self.base.is_none())
            .same_file_system(self.choose.stays_on_one_file_system())
            .into_iter();
        self.offset = below.components().count();
    }

    /// A root that is a link to a folder is entered, and yet shown as a link.
    fn is_followed_root(&self, entry: &DirEntry) -> bool {
        self.base.is_none() && self.offset + entry.depth() == 0 && entry.path().is_dir()
    }

    fn look(&mut self, entry: &DirEntry) -> Result<Sight, SourceError> {
        let below = entry.path().strip_prefix(&self.root).unwrap_or(Path::new(""));
        if let Some(why) = self.choose.by_name(below, entry.file_type().is_dir()) {
            return Ok(Sight::LeftOut(why));
        }
        let below = below.as_os_str().as_bytes();
        let path = match (&self.base, below) {
            (Some(base), b"") => base.clone(),
            (Some(base), below) => base.join(below)?,
            (None, b"") if self.is_followed_root(entry) => return Ok(Sight::Root),
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
            t => return Ok(Sight::Skipped(what_it_is(t))),
        };
        let metadata = entry.metadata().map_err(io::Error::from)?;
        let identity = Identity::of(&metadata);
        let item = Item {
            source: Location::of_path(entry.path().to_owned()),
            path,
            kind,
            identity,
            modified: identity.modified,
            mode: Mode::from_bits(metadata.mode()),
            has_other_names: metadata.nlink() > 1,
            known: None,
            is_damaged: false,
            is_unsure: false,
            folder: None,
        };
        Ok(self.choose.by_facts(&item).map_or(Sight::Item(item), Sight::LeftOut))
    }
}

impl Iterator for ByPath {
    type Item = Visit;

    fn next(&mut self) -> Option<Visit> {
        Some(match self.entries.next()? {
            Ok(entry) => {
                let sight = self.look(&entry).unwrap_or_else(Sight::Problem);
                if matches!(sight, Sight::Problem(_) | Sight::LeftOut(_)) && entry.file_type().is_dir() {
                    self.entries.skip_current_dir();
                }
                Visit { depth: self.offset + entry.depth(), path: entry.into_path(), sight }
            }
            Err(error) => {
                let path = error.path().unwrap_or(&self.root).to_owned();
                let depth = self.offset + error.depth();
                let error =
                    error.into_io_error().unwrap_or_else(|| io::Error::other("links lead in a circle"));
                Visit { depth, path, sight: Sight::Closed(error.into()) }
            }
        })
    }
}

fn what_it_is(file_type: FileType) -> &'static str {
    match file_type {
        t if t.is_symlink() => "a symbolic link",
        t if t.is_fifo() => "a FIFO",
        t if t.is_socket() => "a socket",
        t if t.is_block_device() || t.is_char_device() => "a device",
        _ => "of an unknown kind",
    }
}
