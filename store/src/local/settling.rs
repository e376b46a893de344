//! Names that are to be durable: what has to be synced for them, and what became of them after that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use ferry_proto::RelPath;
use rustix::io::Errno;

use super::LocalStore;
use crate::{Results, Stamp, StoreError, attributes::stamp, folder::Folder, lock::lock};

/// What a batch of names stands on.
pub(super) struct Settling {
    folders: BTreeMap<Option<RelPath>, Folder>,
    failed: Vec<(Option<RelPath>, Errno)>,
    /// Folders whose own names are durable when those around them are synced.
    now_durable: BTreeSet<RelPath>,
    touched: Vec<(RelPath, Arc<File>)>,
}

impl Settling {
    /// What is to be synced, in the order that [`LocalStore::settled`] is told of it.
    pub(super) fn to_sync(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.folders.values().map(Folder::as_fd).chain(self.touched.iter().map(|(_, file)| file.as_fd()))
    }
}

impl LocalStore {
    pub(super) fn settling(&self, published: &[(&RelPath, &Stamp)]) -> Settling {
        *lock(&self.publishing_in) = None;
        let (to_sync, now_durable) = self.fresh.to_sync(published.iter().map(|(key, _)| *key));
        let (mut folders, mut failed) = (BTreeMap::new(), Vec::new());
        for path in to_sync {
            match self.root.folder(path.as_ref()) {
                Ok(folder) if self.has_room_beside(&folder) => drop(folders.insert(path, folder)),
                Ok(folder) => failed.extend(folder.sync().err().map(|errno| (path, errno))),
                Err(errno) => failed.push((path, errno)),
            }
        }
        // Where nothing is to be settled, nobody would hear of what happens to them.
        let touched =
            if published.is_empty() { Vec::new() } else { std::mem::take(&mut *lock(&self.touched)) };
        Settling { folders, failed, now_durable, touched }
    }

    pub(super) fn settled(
        &self,
        published: &[(&RelPath, &Stamp)],
        settling: Settling,
        mut synced: impl Iterator<Item = Result<(), Errno>>,
    ) -> Results {
        let Settling { folders, mut failed, now_durable, touched } = settling;
        for (path, synced) in folders.keys().zip(synced.by_ref()) {
            failed.extend(synced.err().map(|errno| (path.clone(), errno)));
        }
        let files_failed: BTreeMap<_, _> =
            touched.iter().zip(synced).filter_map(|((key, _), synced)| Some((key, synced.err()?))).collect();
        if failed.is_empty() {
            self.fresh.are_durable(&now_durable);
        }
        published
            .iter()
            .map(|(key, expected)| {
                let is_above = |path: &Option<RelPath>| path.as_ref().is_none_or(|path| key.is_below(path));
                if let Some((_, errno)) = failed.iter().find(|(path, _)| is_above(path)) {
                    return Err(moved(*errno));
                }
                files_failed.get(key).map_or(Ok(()), |errno| Err(*errno))?;
                let looked = match folders.get(&key.parent()) {
                    Some(folder) => folder.stat(key.name()),
                    // Too many were open to keep it.
                    None => {
                        self.root.folder(key.parent().as_ref()).and_then(|folder| folder.stat(key.name()))
                    }
                };
                match looked {
                    Ok(stat) if stamp(&stat) == **expected => Ok(()),
                    Ok(_) => Err(StoreError::Moved),
                    Err(errno) => Err(moved(errno)),
                }
            })
            .collect()
    }
}

/// What has a name no more, or something else has it, was moved.
fn moved(errno: Errno) -> StoreError {
    match errno.into() {
        StoreError::NotFound | StoreError::Kind => StoreError::Moved,
        other => other,
    }
}
