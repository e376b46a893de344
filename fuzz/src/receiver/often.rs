//! The local store, with checkpoints so near to each other that going on after one is a matter of some kilobytes.

use std::time::SystemTime;

use ferry_proto::RelPath;
use ferry_store::{Entry, LocalStore, Meta, StageId, Stamp, Store, StoreError};

/// Bytes between two checkpoints.
const DISTANCE: u64 = 4096;

/// See the module. Nothing but the distance is changed.
pub(super) struct Often(pub(super) LocalStore);

impl Store for Often {
    type Staged = <LocalStore as Store>::Staged;

    fn checkpoint_distance(&self) -> u64 {
        DISTANCE
    }

    fn stage(&self, id: StageId) -> Result<Self::Staged, StoreError> {
        self.0.stage(id)
    }

    fn reopen(&self, id: StageId, length: u64) -> Result<Self::Staged, StoreError> {
        self.0.reopen(id, length)
    }

    fn discard(&self, id: StageId) -> Result<(), StoreError> {
        self.0.discard(id)
    }

    fn staged(&self) -> Result<Vec<(StageId, SystemTime)>, StoreError> {
        self.0.staged()
    }

    fn seal(&self, staged: &mut Self::Staged, meta: Meta) -> Result<(), StoreError> {
        self.0.seal(staged, meta)
    }

    fn publish(&self, staged: &mut Self::Staged, key: &RelPath, replace: bool) -> Result<Stamp, StoreError> {
        self.0.publish(staged, key, replace)
    }

    fn make_folder(&self, key: &RelPath) -> Result<(), StoreError> {
        self.0.make_folder(key)
    }

    fn make_link(
        &self,
        key: &RelPath,
        target: &[u8],
        meta: Meta,
        replace: bool,
    ) -> Result<Stamp, StoreError> {
        self.0.make_link(key, target, meta, replace)
    }

    fn set_meta(&self, key: &RelPath, meta: Meta, seen: Option<&Stamp>) -> Result<Stamp, StoreError> {
        self.0.set_meta(key, meta, seen)
    }

    fn settle(&self, published: &[(&RelPath, &Stamp)]) -> Vec<Result<(), StoreError>> {
        self.0.settle(published)
    }

    fn stat(&self, key: &RelPath) -> Result<Option<Entry>, StoreError> {
        self.0.stat(key)
    }

    fn read(
        &self,
        key: &RelPath,
        offset: u64,
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.0.read(key, offset, sink)
    }

    fn list(&self, key: Option<&RelPath>) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        self.0.list(key)
    }

    fn remove(&self, key: &RelPath) -> Result<(), StoreError> {
        self.0.remove(key)
    }

    fn free_space(&self) -> Option<u64> {
        self.0.free_space()
    }
}
