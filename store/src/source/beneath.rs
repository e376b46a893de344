//! Going through what lies in a store: by descriptors, and never through a link.

use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt, path::PathBuf};

use ferry_proto::{Kind, Mode, RelPath};
use rustix::{
    fs::{self, AtFlags, Dir, FileType, OFlags, Stat},
    io::Errno,
};

use super::{
    Identity, Item, Location, Shelf, SourceError,
    walk::{Sight, Visit},
};

/// Folders that one walk has open. Of those above them it keeps the names that are left.
const OPEN: usize = 16;

/// See the module. Paths are bytes below the store's own root here: what is deep in it need not have a name that a peer
/// may say.
pub(super) struct Beneath {
    shelf: Shelf,
    /// What the paths of items begin below.
    folder: Option<RelPath>,
    recursive: bool,
    /// Where the walk begins, until it has begun.
    root: Option<Option<RelPath>>,
    /// The folder that came last, to be gone into.
    next: Option<Vec<u8>>,
    levels: Vec<Level>,
}

/// A folder that is gone through.
struct Level {
    path: Vec<u8>,
    names: Names,
}

enum Names {
    Open(Dir),
    Listed(std::vec::IntoIter<Result<Vec<u8>, Errno>>),
}

impl Beneath {
    pub(super) fn new(shelf: Shelf, folder: Option<RelPath>, path: Option<RelPath>, recursive: bool) -> Self {
        Beneath { shelf, folder, recursive, root: Some(path), next: None, levels: Vec::new() }
    }

    fn begin(&mut self, path: Option<RelPath>) -> Visit {
        let folder = self.folder.as_ref().map_or(&b"."[..], RelPath::as_bytes);
        let Some(path) = path else {
            self.next = Some(folder.to_vec());
            return Visit { depth: 0, path: PathBuf::new(), sight: Sight::Root };
        };
        let whole = join(folder, path.as_bytes());
        match self.stat(&whole) {
            Ok(stat) => self.visit(0, whole, &stat),
            Err(errno) => problem(0, &whole, errno),
        }
    }

    /// Goes into a folder; an error says that it cannot.
    fn go_in(&mut self, path: Vec<u8>) -> Result<(), Errno> {
        let dir = Dir::new(self.shelf.0.below(&path)?)?;
        self.levels.push(Level { path, names: Names::Open(dir) });
        if let Some(above) = self.levels.len().checked_sub(OPEN + 1) {
            self.levels[above].names.close();
        }
        Ok(())
    }

    /// What comes next in the innermost folder; none, if nothing does.
    fn step(&mut self) -> Option<Visit> {
        let depth = self.levels.len();
        loop {
            let level = self.levels.last_mut()?;
            let name = match level.names.next()? {
                Ok(name) => name,
                Err(errno) => {
                    let sight = Sight::Closed(io::Error::from(errno).into());
                    return Some(Visit { depth, path: shown(&level.path), sight });
                }
            };
            // What is in there is a store's own; a folder that a client takes for the root may have been one.
            let is_top =
                level.path == b"." || self.folder.as_ref().is_some_and(|top| level.path == top.as_bytes());
            if is_top && name.eq_ignore_ascii_case(b".ferry") {
                continue;
            }
            let whole = join(&level.path, &name);
            let stat = match &level.names {
                Names::Open(dir) => {
                    dir.fd().and_then(|folder| fs::statat(folder, &name[..], AtFlags::SYMLINK_NOFOLLOW))
                }
                Names::Listed(_) => self.stat(&whole),
            };
            return Some(match stat {
                Ok(stat) => self.visit(depth, whole, &stat),
                // Its owner has moved or removed it meanwhile.
                Err(Errno::NOENT) => continue,
                Err(errno) => problem(depth, &whole, errno),
            });
        }
    }

    fn visit(&mut self, depth: usize, whole: Vec<u8>, stat: &Stat) -> Visit {
        let sight = self.look(&whole, stat).unwrap_or_else(Sight::Problem);
        let path = shown(&whole);
        if matches!(&sight, Sight::Item(item) if item.kind == Kind::Folder) && (depth == 0 || self.recursive)
        {
            self.next = Some(whole);
        }
        Visit { depth, path, sight }
    }

    fn look(&self, whole: &[u8], stat: &Stat) -> Result<Sight, SourceError> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Symlink(self.target(whole).map_err(io::Error::from)?),
            _ => return Ok(Sight::Skipped("neither a file nor a folder nor a link")),
        };
        let named = match &self.folder {
            Some(folder) => whole.strip_prefix(folder.as_bytes()).and_then(|rest| rest.strip_prefix(b"/")),
            None => Some(whole),
        };
        let identity = Identity::of_stat(stat);
        Ok(Sight::Item(Item {
            source: Location { shelf: Some(self.shelf.clone()), path: shown(whole) },
            path: RelPath::new(named.unwrap_or_default())?,
            kind,
            identity,
            modified: identity.modified,
            mode: Mode::from_bits(stat.st_mode),
            has_other_names: stat.st_nlink > 1,
            known: None,
            is_damaged: false,
            is_unsure: false,
            folder: None,
        }))
    }

    fn stat(&self, whole: &[u8]) -> Result<Stat, Errno> {
        fs::fstat(self.shelf.0.open_at(whole, OFlags::PATH, fs::Mode::empty())?)
    }

    fn target(&self, whole: &[u8]) -> Result<Vec<u8>, Errno> {
        let link = self.shelf.0.open_at(whole, OFlags::PATH, fs::Mode::empty())?;
        fs::readlinkat(link, "", Vec::new()).map(std::ffi::CString::into_bytes)
    }
}

impl Iterator for Beneath {
    type Item = Visit;

    fn next(&mut self) -> Option<Visit> {
        if let Some(root) = self.root.take() {
            return Some(self.begin(root));
        }
        if let Some(path) = self.next.take()
            && let Err(errno) = self.go_in(path.clone())
        {
            let sight = Sight::Closed(io::Error::from(errno).into());
            return Some(Visit { depth: self.levels.len() + 1, path: shown(&path), sight });
        }
        while !self.levels.is_empty() {
            if let Some(visit) = self.step() {
                return Some(visit);
            }
            self.levels.pop();
        }
        None
    }
}

impl Names {
    /// Reads what is left, so that the folder need not stay open.
    fn close(&mut self) {
        let left: Vec<_> = self.by_ref().collect();
        *self = Names::Listed(left.into_iter());
    }
}

impl Iterator for Names {
    type Item = Result<Vec<u8>, Errno>;

    fn next(&mut self) -> Option<Result<Vec<u8>, Errno>> {
        match self {
            Names::Listed(names) => names.next(),
            Names::Open(dir) => loop {
                let name = dir.next()?.map(|entry| entry.file_name().to_bytes().to_vec());
                if !matches!(name.as_deref(), Ok(b"." | b"..")) {
                    return Some(name);
                }
            },
        }
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match folder {
        b"." => name.to_vec(),
        folder => [folder, b"/", name].concat(),
    }
}

fn shown(path: &[u8]) -> PathBuf {
    OsStr::from_bytes(path).into()
}

fn problem(depth: usize, whole: &[u8], errno: Errno) -> Visit {
    Visit { depth, path: shown(whole), sight: Sight::Problem(io::Error::from(errno).into()) }
}
