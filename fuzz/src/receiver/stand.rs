//! The local store, with checkpoints so near to each other that going on after one is a matter of some kilobytes, and
//! if wanted with a disk so slow that whatever may pile up in front of it does.

use std::{
    thread::sleep,
    time::{Duration, SystemTime},
};

use ferry_proto::RelPath;
use ferry_store::{Entry, LocalStore, Meta, Results, StageId, Staged, Stamp, Store, StoreError};

/// Bytes between two checkpoints.
const DISTANCE: u64 = 4096;

/// What a slow disk needs to write a few kilobytes: far more than it takes to send them.
const PAUSE: Duration = Duration::from_micros(200);

/// See the module. Nothing else is changed.
pub(super) struct Stand {
    pub(super) inner: LocalStore,
    pub(super) is_slow: bool,
}

/// A body in such a store.
pub(super) struct StandStaged {
    inner: <LocalStore as Store>::Staged,
    is_slow: bool,
}

impl Store for Stand {
    type Staged = StandStaged;

    fn checkpoint_distance(&self) -> u64 {
        DISTANCE
    }

    fn stage(&self, id: StageId, fleeting: bool) -> Result<Self::Staged, StoreError> {
        Ok(StandStaged { inner: self.inner.stage(id, fleeting)?, is_slow: self.is_slow })
    }

    fn stage_same(&self, id: StageId, key: &RelPath, seen: &Stamp) -> Result<Self::Staged, StoreError> {
        Ok(StandStaged { inner: self.inner.stage_same(id, key, seen)?, is_slow: self.is_slow })
    }

    fn reopen(&self, id: StageId, length: u64) -> Result<Self::Staged, StoreError> {
        Ok(StandStaged { inner: self.inner.reopen(id, length)?, is_slow: self.is_slow })
    }

    fn discard(&self, id: StageId) -> Result<(), StoreError> {
        self.inner.discard(id)
    }

    fn staged(&self) -> Result<Vec<(StageId, SystemTime)>, StoreError> {
        self.inner.staged()
    }

    fn make_durable(
        &self,
        bodies: Vec<(&mut Self::Staged, Meta)>,
        published: &[(&RelPath, &Stamp)],
    ) -> (Results, Results) {
        let bodies = bodies.into_iter().map(|(staged, meta)| (&mut staged.inner, meta)).collect();
        self.inner.make_durable(bodies, published)
    }

    fn publish(&self, staged: &mut Self::Staged, key: &RelPath, replace: bool) -> Result<Stamp, StoreError> {
        self.inner.publish(&mut staged.inner, key, replace)
    }

    fn make_folder(&self, key: &RelPath) -> Result<Vec<RelPath>, StoreError> {
        self.inner.make_folder(key)
    }

    fn make_link(
        &self,
        key: &RelPath,
        target: &[u8],
        meta: Meta,
        replace: bool,
    ) -> Result<Stamp, StoreError> {
        self.inner.make_link(key, target, meta, replace)
    }

    fn set_meta(&self, key: &RelPath, meta: Meta, seen: Option<&Stamp>) -> Result<Stamp, StoreError> {
        self.inner.set_meta(key, meta, seen)
    }

    fn stat(&self, key: &RelPath) -> Result<Option<Entry>, StoreError> {
        self.inner.stat(key)
    }

    fn read(
        &self,
        key: &RelPath,
        offset: u64,
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.inner.read(key, offset, sink)
    }

    fn list(&self, key: Option<&RelPath>, most: usize) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        self.inner.list(key, most)
    }

    fn remove(&self, key: &RelPath) -> Result<(), StoreError> {
        self.inner.remove(key)
    }

    fn free_space(&self) -> Option<u64> {
        self.inner.free_space()
    }
}

impl Staged for StandStaged {
    fn id(&self) -> StageId {
        self.inner.id()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.is_slow {
            sleep(PAUSE);
        }
        self.inner.append(bytes)
    }

    fn append_hole(&mut self, length: u64) -> Result<(), StoreError> {
        self.inner.append_hole(length)
    }

    fn replay(&mut self, sink: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), StoreError> {
        self.inner.replay(sink)
    }

    fn stamp(&self) -> Result<Stamp, StoreError> {
        self.inner.stamp()
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.inner.sync()
    }
}
