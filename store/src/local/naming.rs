//! How a staged body, or a link, gets its name: in one step, whole, and in nobody's place unless it may.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};

use ferry_proto::RelPath;
use rustix::{
    fs::{self, AtFlags, FileType, OFlags, RenameFlags},
    io::Errno,
};

use super::{AS_ANY_FILE, LocalStaged, LocalStore};
use crate::{StoreError, folder::Folder, lock::lock};

/// That files can be made without a name here, and be given one when they are whole: half the work in the folders, and
/// nothing to clear away after a crash.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unnamed {
    /// By its descriptor, which before Linux 6.10 takes a privilege.
    ByDescriptor,
    /// By what `/proc` calls the descriptor, which takes `/proc`.
    ByProc,
}

impl Unnamed {
    /// The way that works here, if one does.
    pub(super) fn can_be(staging: &Folder) -> Option<Self> {
        [Unnamed::ByDescriptor, Unnamed::ByProc].into_iter().find(|way| way.works(staging).is_ok())
    }

    fn works(self, staging: &Folder) -> Result<(), Errno> {
        const PROBE: &str = "link-probe";
        let file = Unnamed::make(staging)?;
        self.link(&file, staging, PROBE.as_bytes())?;
        fs::unlinkat(staging, PROBE, AtFlags::empty())
    }

    pub(super) fn make(staging: &Folder) -> Result<OwnedFd, Errno> {
        staging.open_at(b".", OFlags::TMPFILE | OFlags::RDWR, AS_ANY_FILE)
    }

    /// Gives a file that is open one more name.
    pub(super) fn link_in_any_way(file: impl AsFd, folder: &Folder, name: &[u8]) -> Result<(), Errno> {
        let by_descriptor = Unnamed::ByDescriptor.link(&file, folder, name);
        by_descriptor.or_else(|_| Unnamed::ByProc.link(&file, folder, name))
    }

    fn link(self, file: impl AsFd, folder: &Folder, name: &[u8]) -> Result<(), Errno> {
        match self {
            Unnamed::ByDescriptor => fs::linkat(file, "", folder, name, AtFlags::EMPTY_PATH),
            Unnamed::ByProc => {
                let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
                fs::linkat(fs::CWD, path, folder, name, AtFlags::SYMLINK_FOLLOW)
            }
        }
    }
}

impl LocalStore {
    /// Refuses to replace what only its owner should remove.
    fn check_replaceable(folder: &Folder, name: &[u8]) -> Result<(), StoreError> {
        match folder.stat(name) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile | FileType::Symlink => Ok(()),
                _ => Err(StoreError::Kind),
            },
            Err(Errno::NOENT) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    pub(super) fn rename_in(
        &self,
        staged: &str,
        folder: &Folder,
        name: &[u8],
        replace: bool,
    ) -> Result<(), StoreError> {
        // Most names are free, and then it takes no look at what is there.
        match self.rename_to_free(staged, folder, name) {
            // Also where the file system cannot tell that it is free.
            Err(_) if replace => {
                Self::check_replaceable(folder, name)?;
                Ok(fs::renameat(&self.staging, staged, folder, name)?)
            }
            result => result,
        }
    }

    /// Gives an unnamed body a name that is free, and says whether it could. If somebody has taken it meanwhile and is to
    /// be replaced, the body gets a name in staging, to be renamed from there.
    pub(super) fn link_in(
        &self,
        staged: &mut LocalStaged,
        folder: &Folder,
        key: &RelPath,
        replace: bool,
    ) -> Result<bool, StoreError> {
        let Some(unnamed) = staged.unnamed else { return Ok(false) };
        match unnamed.link(&staged.file, folder, key.name()) {
            Err(Errno::EXIST) if replace => {
                unnamed.link(&staged.file, &self.staging, staged.id.to_string().as_bytes())?;
                staged.unnamed = None;
                // Until the file itself says that it has a name, a cut may take away both this one and the older one.
                fs::fsync(&staged.file)?;
                return Ok(false);
            }
            result => result?,
        }
        // That it has a name is written in the file, too, and that was synced before.
        lock(&self.touched).push((key.clone(), staged.file.clone()));
        Ok(true)
    }

    fn rename_to_free(&self, staged: &str, folder: &Folder, name: &[u8]) -> Result<(), StoreError> {
        match fs::renameat_with(&self.staging, staged, folder, name, RenameFlags::NOREPLACE) {
            // Some file systems (NFS among them) know no such rename. A second name that is not taken does the same.
            Err(Errno::INVAL) => match fs::linkat(&self.staging, staged, folder, name, AtFlags::empty()) {
                Ok(()) => Ok(fs::unlinkat(&self.staging, staged, AtFlags::empty())?),
                // Without links either, it is the name that cannot be.
                Err(Errno::PERM | Errno::OPNOTSUPP) => Err(Errno::INVAL.into()),
                Err(other) => Err(other.into()),
            },
            result => Ok(result?),
        }
    }

    /// The folder that a body or a link is to be published in. In one batch that is the same one again and again, so it
    /// is kept open until the batch is made durable, when it is looked whether its path still leads there.
    pub(super) fn publish_in(&self, parent: Option<RelPath>) -> Result<Arc<Folder>, StoreError> {
        let mut last = lock(&self.publishing_in);
        if let Some((path, folder)) = &*last
            && *path == parent
        {
            return Ok(folder.clone());
        }
        let folder = Arc::new(self.root.folder(parent.as_ref())?);
        *last = Some((parent, folder.clone()));
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_without_a_name_gets_one_in_either_way() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        for way in [Unnamed::ByDescriptor, Unnamed::ByProc] {
            let name = format!("{way:?}");
            let mut file = std::fs::File::from(Unnamed::make(&folder).unwrap());
            file.write_all(name.as_bytes()).unwrap();
            assert_eq!(way.link(&file, &folder, name.as_bytes()), Ok(()));
            assert_eq!(way.link(&file, &folder, name.as_bytes()), Err(Errno::EXIST));
            assert_eq!(std::fs::read(dir.path().join(&name)).unwrap(), name.as_bytes());
        }
        assert!(Unnamed::can_be(&folder).is_some());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "what was tried is not cleared away");
    }
}
