//! A folder as a descriptor: nothing here resolves a path from anywhere but below it, or through a link.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use ferry_proto::RelPath;
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// A folder that is open already.
    pub(crate) fn of(fd: OwnedFd) -> Self {
        Folder(fd)
    }

    /// Opens a folder that the owner of this process names; links in the path are the owner's own.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(Folder(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// Opens what is at `path` below this folder, without following any link.
    pub(crate) fn open_at(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.0, path, flags, mode, resolve) {
                // The kernel asks to try again when a rename elsewhere raced with the look-up.
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS) => return self.open_by_component(path, flags, mode),
                result => return result,
            }
        }
    }

    /// Where there is no `openat2`: one component after the other, each without following a link.
    fn open_by_component(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let mut names = path.split(|&b| b == b'/').peekable();
        let mut folder: Option<OwnedFd> = None;
        while let Some(name) = names.next() {
            let at = folder.as_ref().map_or(self.0.as_fd(), |fd| fd.as_fd());
            if names.peek().is_none() {
                return rustix::fs::openat(at, name, flags, mode);
            }
            folder = Some(rustix::fs::openat(at, name, DIRECTORY | OFlags::PATH, Mode::empty())?);
        }
        Err(Errno::INVAL)
    }

    /// The folder at `path`; the folder itself where there is none.
    pub(crate) fn folder(&self, path: Option<&RelPath>) -> Result<Folder, Errno> {
        let path = path.map_or(&b"."[..], |path| path.as_bytes());
        self.open_at(path, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).map(Folder)
    }

    /// Makes one folder level; whether it was new.
    pub(crate) fn make(&self, name: &[u8]) -> Result<bool, Errno> {
        match rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// What one name in this folder is, a link being itself.
    pub(crate) fn stat(&self, name: &[u8]) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Makes the names in this folder durable.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        rustix::fs::fsync(&self.0)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
