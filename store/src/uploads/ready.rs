//! Whether a file would be taken now, found out by trying.

use super::{SPACE_KEPT_FREE, Uploads};
use crate::{LedgerError, StageId, Staged, Store, StoreError};

/// Why no file would be taken now.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// No body can be begun.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No row can be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl<S: Store> Uploads<S> {
    /// Whether a body could be begun now, found out by beginning one of no bytes and giving it up, and whether there is
    /// room for more and for its row. It is disk work, and takes as long as the disk takes.
    pub fn check_ready(&self) -> Result<(), Unready> {
        let (store, ledger) = (&*self.shared.store, &*self.shared.ledger);
        if store.free_space().is_some_and(|free| free < SPACE_KEPT_FREE) {
            return Err(StoreError::Full.into());
        }
        let staged = store.stage(StageId::random(), true)?;
        let id = staged.id();
        drop(staged);
        store.discard(id)?;
        Ok(ledger.check_room()?)
    }
}
