//! What receiving into a folder here stands on: the digest cache says what its files are, whoever has put them there.

use std::{
    collections::HashSet,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Arc, Mutex},
};

use ferry_proto::{Algorithm, Attributes, RelPath, Wants};
use ferry_store::{
    Checkpoint, Digests as Known, EntryKind, Filed, Held, Ledger, LedgerError, LocalStore, Row, RowKind,
    StageId, Stamp, Store, lock, source::Identity,
};

use super::Options;
use crate::digests::Digests;

/// See the module. What is written down is a cache: losing it costs time only.
pub(super) struct Book {
    digests: Arc<Digests>,
    /// Whether files are read anew, whatever is known of them.
    distrusts: bool,
    /// Device and inode of those that were, or were written, in this run: what another name can be the same as. It grows
    /// with the number of files, by these 16 bytes, and only where they are distrusted and hard links are wanted.
    seen: Mutex<HashSet<(u64, u64)>>,
    /// What files get back beside content, times and modes.
    wants: Wants,
    store: Arc<LocalStore>,
    /// What the folder is called in the cache.
    folder: Vec<u8>,
    /// The bodies that there is something to forget of.
    saved: Mutex<HashSet<StageId>>,
}

impl Book {
    pub(super) fn new(
        digests: Arc<Digests>,
        options: &Options,
        store: Arc<LocalStore>,
        folder: &Path,
    ) -> Self {
        let folder = folder.as_os_str().as_bytes().to_vec();
        let (distrusts, wants) = (options.checksum, options.wants);
        let (seen, saved) = (Mutex::default(), Mutex::default());
        Book { digests, distrusts, seen, wants, store, folder, saved }
    }

    fn trusts(&self, identity: Option<Identity>) -> bool {
        let is_seen = |it: Identity| lock(&self.seen).contains(&(it.device, it.inode));
        !self.distrusts || identity.is_some_and(is_seen)
    }
}

impl Ledger for Book {
    /// What has the name now is what the row speaks of; a file without a known digest has none.
    fn find(&self, path: &RelPath) -> Result<Option<Row>, LedgerError> {
        let failed = |error| LedgerError::Other(Box::new(error));
        let found = self.store.stat(path).map_err(failed)?;
        let Some(entry) = found else { return Ok(None) };
        let kind = match entry.kind {
            EntryKind::File(size) => {
                let identity = Identity::of_stamp(&entry.stamp);
                if !self.trusts(identity) {
                    return Ok(None);
                }
                // What another name of it was made of is looked for right after that.
                let by = |algorithm| match self.wants.hard_links {
                    true => self.digests.find_even_fresh(identity.as_ref()?, algorithm),
                    false => self.digests.find(identity.as_ref()?, algorithm),
                };
                let Some(digests) = Known::of(Algorithm::ALL.into_iter().filter_map(by)) else {
                    return Ok(None);
                };
                RowKind::File { size, digests }
            }
            EntryKind::Folder => RowKind::Folder,
            EntryKind::Symlink(target) => RowKind::Symlink(target),
            EntryKind::Other => return Ok(None),
        };
        let attributes = match self.wants.attributes() {
            true => self.store.attributes(path, self.wants).map_err(failed)?,
            false => Attributes::default(),
        };
        let (modified, mode) = (Some(entry.modified), Some(entry.mode));
        Ok(Some(Row { kind, modified, mode, attributes, stamp: entry.stamp, is_damaged: false }))
    }

    fn check_room(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    fn record(&self, batch: &[Filed]) -> Result<(), LedgerError> {
        for filed in batch {
            if let RowKind::File { digests, .. } = &filed.row.kind
                && let Some(identity) = Identity::of_stamp(&filed.row.stamp)
            {
                digests.iter().for_each(|digest| self.digests.wrote(identity, digest));
                if self.distrusts && self.wants.hard_links {
                    lock(&self.seen).insert((identity.device, identity.inode));
                }
            }
            if let Some(id) = filed.staged {
                self.drop_checkpoint(id)?;
            }
        }
        Ok(())
    }

    fn close(&self, _: &RelPath, _: &Stamp) -> Result<(), LedgerError> {
        Ok(())
    }

    fn held_by(&self, _: &str) -> Result<Held, LedgerError> {
        Ok(Held::default())
    }

    fn checkpoints_for(&self, client: &str, path: &RelPath) -> Result<Vec<Checkpoint>, LedgerError> {
        let mut found = self.checkpoints()?;
        found.retain(|checkpoint| checkpoint.key.client == client && checkpoint.key.path == *path);
        Ok(found)
    }

    fn checkpoints(&self) -> Result<Vec<Checkpoint>, LedgerError> {
        let found = self.digests.checkpoints(&self.folder);
        lock(&self.saved).extend(found.iter().map(|checkpoint| checkpoint.id));
        Ok(found)
    }

    fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        lock(&self.saved).insert(checkpoint.id);
        self.digests.save_checkpoint(&self.folder, checkpoint);
        Ok(())
    }

    fn drop_checkpoint(&self, id: StageId) -> Result<(), LedgerError> {
        if lock(&self.saved).remove(&id) {
            self.digests.drop_checkpoint(id);
        }
        Ok(())
    }
}
