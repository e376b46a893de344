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

use crate::{Entry, StoreError, attributes};

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
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
            if name == b".." {
                return Err(Errno::XDEV);
            }
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
        self.below(path.map_or(&b"."[..], |path| path.as_bytes()))
    }

    /// The same, for a path that need not be a peer's to name.
    pub(crate) fn below(&self, path: &[u8]) -> Result<Folder, Errno> {
        self.open_at(path, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).map(Folder)
    }

    /// What is at `path`, a link being itself; `None` if nothing is.
    pub(crate) fn look(&self, path: &[u8]) -> Result<Option<Entry>, StoreError> {
        // In one call where there is nothing, which is what most names are asked for.
        let found = match self.open_at(path, OFlags::PATH, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(None),
            Err(other) => return Err(other.into()),
        };
        attributes::entry(&rustix::fs::fstat(&found)?, || rustix::fs::readlinkat(&found, "", Vec::new()))
            .map(Some)
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

/// Makes a folder below a root, and those above it, durably. It takes no lock, so that it works beside a process that
/// has the root open as a store.
pub fn make_folder(root: &Path, key: &RelPath) -> Result<(), StoreError> {
    let mut folder = Folder::open(root)?;
    for name in key.components() {
        folder.make(name)?;
        folder.sync()?;
        folder = folder.below(name)?;
    }
    Ok(())
}

impl From<Folder> for OwnedFd {
    fn from(folder: Folder) -> OwnedFd {
        folder.0
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, os::unix::fs::symlink};

    use super::*;
    use crate::StoreError;

    #[test]
    fn hostile_06_without_openat2_the_same_is_opened_and_the_same_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(root.join("a/b/file"), "inside").unwrap();
        fs::write(outside.join("file"), "outside").unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("b", root.join("a/within")).unwrap();
        symlink("../outside/file", root.join("file")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();

        let folder = Folder::open(&root).unwrap();
        let ways = [Folder::open_at, Folder::open_by_component];
        let (file, directory) = (OFlags::RDONLY, OFlags::RDONLY | OFlags::DIRECTORY);
        let new = OFlags::CREATE | OFlags::WRONLY;
        for open in ways {
            let open = |path: &str, flags: OFlags| {
                let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let mode = if flags.contains(OFlags::CREATE) { 0o600 } else { 0 };
                open(&folder, path.as_bytes(), flags, Mode::from_raw_mode(mode))
            };
            let mut bytes = String::new();
            fs::File::from(open("a/b/file", file).unwrap()).read_to_string(&mut bytes).unwrap();
            assert_eq!(bytes, "inside");
            open("a/b", directory).unwrap();
            open(".", directory).unwrap();
            for (path, flags) in [
                ("absolute", directory),
                ("absolute/file", file),
                ("absolute/new", new),
                ("relative", directory),
                ("relative/file", file),
                ("relative/new", new),
                ("a/within", directory),
                ("a/within/file", file),
                ("a/within/new", new),
                ("file", file),
                ("file", new),
                ("magic", directory),
                ("magic/etc/passwd", file),
                ("a/b/file/x", file),
                ("..", directory),
                ("../outside/file", file),
                ("a/../../outside/file", file),
            ] {
                let refused = open(path, flags).map_err(StoreError::from);
                assert!(matches!(refused, Err(StoreError::Kind)), "{path}: {refused:?}");
            }
            assert!(open("/etc/passwd", file).is_err());
            assert!(matches!(open("a/none/file", file), Err(Errno::NOENT)));
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "outside");
    }
}
