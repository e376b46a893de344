//! A ledger in memory.

use std::{collections::BTreeMap, sync::Mutex};

use ferry_proto::RelPath;

use crate::{Checkpoint, Filed, Held, Ledger, LedgerError, Row, RowKind, StageId, Stamp, lock::lock};

/// A ledger that is gone with its process.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    rows: Mutex<BTreeMap<RelPath, Row>>,
    senders: Mutex<BTreeMap<RelPath, String>>,
    checkpoints: Mutex<BTreeMap<StageId, Checkpoint>>,
}

impl Ledger for MemoryLedger {
    fn find(&self, path: &RelPath) -> Result<Option<Row>, LedgerError> {
        Ok(lock(&self.rows).get(path).cloned())
    }

    fn check_room(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    fn record(&self, batch: &[Filed]) -> Result<(), LedgerError> {
        let (mut rows, mut checkpoints) = (lock(&self.rows), lock(&self.checkpoints));
        for filed in batch {
            // Whoever sends what is there already sends nothing.
            let mut row = filed.row.clone();
            match rows.get(&filed.path).filter(|old| old.kind.is_same_as(&row.kind)) {
                Some(old) => {
                    row.kind = row.kind.with(&old.kind);
                    row.attributes = row.attributes.or(old.attributes.clone());
                }
                None => drop(lock(&self.senders).insert(filed.path.clone(), filed.client.clone())),
            }
            if let Some(before) = &filed.before {
                rows.values_mut()
                    .filter(|other| other.stamp == before.stamp)
                    .for_each(|other| other.stamp = row.stamp.clone());
            }
            rows.insert(filed.path.clone(), row);
            checkpoints.retain(|id, _| Some(*id) != filed.staged);
        }
        Ok(())
    }

    fn close(&self, path: &RelPath, stamp: &Stamp) -> Result<(), LedgerError> {
        let mut rows = lock(&self.rows);
        if rows.get(path).is_some_and(|row| row.stamp == *stamp) {
            rows.remove(path);
        }
        Ok(())
    }

    fn held_by(&self, client: &str) -> Result<Held, LedgerError> {
        let size = |row: &Row| match row.kind {
            RowKind::File { size, .. } => size,
            RowKind::Folder | RowKind::Symlink(_) => 0,
        };
        // In the order of `record`.
        let rows = lock(&self.rows);
        let senders = lock(&self.senders);
        let is_its = |path: &&RelPath| senders.get(*path).is_some_and(|sender| sender == client);
        let its = || rows.iter().filter(|(path, _)| is_its(path));
        let (names, bytes) = (its().count() as u64, its().map(|(_, row)| size(row)).sum());
        let checkpoints = lock(&self.checkpoints);
        let staged = checkpoints.values().filter(|checkpoint| checkpoint.key.client == client);
        let staged = staged.map(|it| (it.id, it.key.path.clone(), it.key.size)).collect();
        Ok(Held { rows: bytes, names, staged })
    }

    fn checkpoints_for(&self, client: &str, path: &RelPath) -> Result<Vec<Checkpoint>, LedgerError> {
        let is_asked_for = |it: &&Checkpoint| it.key.client == client && it.key.path == *path;
        Ok(lock(&self.checkpoints).values().filter(is_asked_for).cloned().collect())
    }

    fn checkpoints(&self) -> Result<Vec<Checkpoint>, LedgerError> {
        Ok(lock(&self.checkpoints).values().cloned().collect())
    }

    fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        lock(&self.checkpoints).insert(checkpoint.id, checkpoint.clone());
        Ok(())
    }

    fn drop_checkpoint(&self, id: StageId) -> Result<(), LedgerError> {
        lock(&self.checkpoints).remove(&id);
        Ok(())
    }
}
