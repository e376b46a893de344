//! Staged bodies: made, found again, opened again, removed.

use std::{
    collections::HashSet,
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Shared,
    fault::{Fault, Step},
    owners::{Ownership, hold},
    target::Target,
};
use crate::{Checkpoint, Ledger, LedgerError, Part, StageId, Store, StoreError};

/// Too many open files are a matter of moments: the committer closes those that wait for it. After this long it is
/// something else, and the body fails.
const CROWDED: Duration = Duration::from_secs(10);

/// Between two tries to open a body. A commit takes about as long.
const RETRY: Duration = Duration::from_millis(10);

impl<S: Store> Shared<S> {
    /// Begins a body; a fleeting one is nobody's to go on with, and replaces nothing that is known of.
    pub(super) fn stage(&self, target: &Target, fleeting: bool) -> Result<S::Staged, Fault> {
        let id = StageId::random();
        let meter = &target.terms.meter;
        when_there_is_room(|| Ok(meter.time(Part::Disk, || self.store.stage(id, fleeting))))?
            .step("begin a body", &target.path)
    }

    /// The staged body that an offer goes on with, and from where. Those of other contents of this client's file are
    /// removed: their source is gone. Those of an upload with another number have a source of their own.
    pub(super) fn find_staged(&self, ownership: &Ownership) -> Result<Option<Checkpoint>, Fault> {
        let key = ownership.key();
        let mut best: Option<Checkpoint> = None;
        let found = self.ledger.checkpoints_for(&key.client, &key.path)?;
        for found in found.into_iter().filter(|found| found.key.upload == key.upload) {
            let is_better = best.as_ref().is_none_or(|best| found.offset > best.offset);
            let worse =
                if found.key.agrees_with(key) && is_better { best.replace(found) } else { Some(found) };
            if let Some(worse) = worse {
                self.discard(Some(ownership), worse.id);
            }
        }
        Ok(best)
    }

    /// Opens a staged body of ours again, cut back to `offset`.
    pub(super) fn reopen(
        &self,
        target: &Target,
        ownership: &Ownership,
        id: StageId,
        offset: u64,
    ) -> Result<S::Staged, Fault> {
        // Not held between two tries, so that who takes it over does not wait with us.
        when_there_is_room(|| hold(Some(ownership), || Ok(self.store.reopen(id, offset))))?
            .step("open a body again", &target.path)
    }

    /// Removes a staged body and its checkpoint. Once another connection has taken over, that has what it could find
    /// by a checkpoint, and only the rest is removed. Without an ownership nobody else can have it.
    pub(super) fn discard(&self, ownership: Option<&Ownership>, id: StageId) {
        let removed = hold(ownership, || {
            discard(&*self.store, &*self.ledger, id);
            Ok(())
        });
        if let (Err(_), Some(key)) = (removed, ownership.map(Ownership::key)) {
            let checkpoints = self.ledger.checkpoints_for(&key.client, &key.path);
            if checkpoints.is_ok_and(|found| found.iter().all(|checkpoint| checkpoint.id != id)) {
                discard(&*self.store, &*self.ledger, id);
            }
        }
    }

    /// Removes staged bodies that nobody has gone on with for this long.
    pub(super) fn sweep(&self, retention: Duration) -> Result<usize, StoreError> {
        let now = SystemTime::now();
        let mut swept = 0;
        for checkpoint in self.ledger.checkpoints().map_err(ledger_failed)? {
            let age = now.duration_since(checkpoint.at).unwrap_or_default();
            if age < retention {
                continue;
            }
            if let Some(_ownership) = self.owners.claim_free(&checkpoint.key) {
                self.store.discard(checkpoint.id)?;
                self.ledger.drop_checkpoint(checkpoint.id).map_err(ledger_failed)?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// Begins with what an earlier process left: bodies with a checkpoint stay, cut back to it; others go.
pub(super) fn recover<S: Store>(store: &S, ledger: &dyn Ledger) -> Result<(), StoreError> {
    let mut kept = HashSet::new();
    for checkpoint in ledger.checkpoints().map_err(ledger_failed)? {
        match store.reopen(checkpoint.id, checkpoint.offset) {
            Ok(_) => drop(kept.insert(checkpoint.id)),
            Err(StoreError::NotFound) => ledger.drop_checkpoint(checkpoint.id).map_err(ledger_failed)?,
            Err(other) => return Err(other),
        }
    }
    for (id, _) in store.staged()? {
        if !kept.contains(&id) {
            store.discard(id)?;
        }
    }
    Ok(())
}

/// Removes a staged body and its checkpoint. What cannot be removed now is removed at the next start.
pub(super) fn discard<S: Store>(store: &S, ledger: &dyn Ledger, id: StageId) {
    if let Err(error) = store.discard(id) {
        tracing::warn!(%id, %error, "a staged body cannot be removed");
    }
    if let Err(error) = ledger.drop_checkpoint(id) {
        tracing::warn!(%id, %error, "a checkpoint cannot be removed");
    }
}

/// Waits while too many files are open.
fn when_there_is_room<T>(
    mut open: impl FnMut() -> Result<Result<T, StoreError>, Fault>,
) -> Result<Result<T, StoreError>, Fault> {
    let start = Instant::now();
    loop {
        match open()? {
            Err(StoreError::Crowded) if start.elapsed() < CROWDED => sleep(RETRY),
            result => return Ok(result),
        }
    }
}

fn ledger_failed(error: LedgerError) -> StoreError {
    match error {
        LedgerError::Full => StoreError::Full,
        LedgerError::Other(error) => StoreError::Io(std::io::Error::other(error)),
    }
}
