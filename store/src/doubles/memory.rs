//! A ledger in memory.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use ferry_proto::RelPath;

use crate::{
    Amiss, Change, Checkpoint, Filed, Finding, Held, Ledger, LedgerError, Recorded, Register, Revision, Row,
    RowKind, StageId, Stamp, lock::lock,
};

/// A ledger that is gone with its process.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    rows: Mutex<BTreeMap<RelPath, Row>>,
    senders: Mutex<BTreeMap<RelPath, String>>,
    checkpoints: Mutex<BTreeMap<StageId, Checkpoint>>,
    findings: Mutex<BTreeMap<RelPath, Finding>>,
    /// Odd while rows are owed.
    debts: AtomicU64,
}

impl MemoryLedger {
    /// What was found amiss, by name.
    pub fn findings(&self) -> Vec<(RelPath, Finding)> {
        lock(&self.findings).iter().map(|(path, finding)| (path.clone(), finding.clone())).collect()
    }
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
            lock(&self.findings).remove(&filed.path);
            checkpoints.retain(|id, _| Some(*id) != filed.staged);
        }
        Ok(())
    }

    fn close(&self, path: &RelPath, stamp: &Stamp) -> Result<(), LedgerError> {
        let mut rows = lock(&self.rows);
        if rows.get(path).is_some_and(|row| row.stamp == *stamp) {
            rows.remove(path);
            lock(&self.findings).remove(path);
        }
        Ok(())
    }

    fn revise(&self, batch: &[Revision]) -> Result<Vec<bool>, LedgerError> {
        let (mut rows, mut senders) = (lock(&self.rows), lock(&self.senders));
        let mut findings = lock(&self.findings);
        let mut revise = |Revision { path, seen, change }: &Revision| {
            if rows.get(path).map(|row| &row.stamp) != seen.as_ref() {
                return false;
            }
            findings.remove(path);
            match change {
                Change::Renew(row) => drop(rows.insert(path.clone(), row.clone())),
                Change::Adopt(row, client) => {
                    rows.insert(path.clone(), row.clone());
                    senders.insert(path.clone(), client.clone());
                }
                Change::Close => drop(rows.remove(path)),
                Change::Note(finding) => {
                    if let Some(row) = rows.get_mut(path) {
                        row.is_damaged = finding.what == Amiss::Rotted;
                    }
                    findings.insert(path.clone(), finding.clone());
                }
            }
            true
        };
        Ok(batch.iter().map(&mut revise).collect())
    }

    fn owes_rows(&self, owes: bool) {
        let turn = |debts: u64| Some(if owes { (debts + 1) | 1 } else { (debts + 1) & !1 });
        let _ = self.debts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, turn);
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

impl Register for MemoryLedger {
    fn rows(
        &self,
        after: Option<&RelPath>,
        below: Option<&RelPath>,
        most: usize,
    ) -> Result<Vec<Recorded>, LedgerError> {
        let rows = lock(&self.rows);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let belongs = |path: &RelPath| below.is_none_or(|below| path == below || path.is_below(below));
        let found = rows.range::<RelPath, _>((from, Bound::Unbounded)).filter(|(path, _)| belongs(path));
        let recorded = |(path, row): (&RelPath, &Row)| Recorded {
            path: path.clone(),
            row: row.clone(),
            is_noted: lock(&self.findings).contains_key(path),
        };
        Ok(found.take(most).map(recorded).collect())
    }

    fn have_rows(&self, paths: &[RelPath]) -> Result<Vec<bool>, LedgerError> {
        let rows = lock(&self.rows);
        Ok(paths.iter().map(|path| rows.contains_key(path)).collect())
    }

    fn debt(&self) -> Option<u64> {
        Some(self.debts.load(Ordering::SeqCst)).filter(|debts| debts % 2 == 1)
    }
}
