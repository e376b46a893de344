//! A ledger on the disk of a machine whose power can be cut. What it has said it has written stays written.

use ferry_proto::RelPath;

use super::Machine;
use crate::{Checkpoint, Filed, Held, Ledger, LedgerError, Row, StageId, Stamp};

/// See the module.
pub struct ForgetfulLedger(Machine);

impl ForgetfulLedger {
    pub(super) fn new(machine: Machine) -> Self {
        ForgetfulLedger(machine)
    }
}

impl Ledger for ForgetfulLedger {
    fn find(&self, path: &RelPath) -> Result<Option<Row>, LedgerError> {
        self.0.during_ledger("find", |book| book.find(path))
    }

    fn check_room(&self) -> Result<(), LedgerError> {
        self.0.during_ledger("check_room", |book| book.check_room())
    }

    fn record(&self, batch: &[Filed]) -> Result<(), LedgerError> {
        self.0.during_ledger("record", |book| book.record(batch))
    }

    fn close(&self, path: &RelPath, stamp: &Stamp) -> Result<(), LedgerError> {
        self.0.during_ledger("close", |book| book.close(path, stamp))
    }

    fn held_by(&self, client: &str) -> Result<Held, LedgerError> {
        self.0.during_ledger("held_by", |book| book.held_by(client))
    }

    fn checkpoints_for(&self, client: &str, path: &RelPath) -> Result<Vec<Checkpoint>, LedgerError> {
        self.0.during_ledger("checkpoints_for", |book| book.checkpoints_for(client, path))
    }

    fn checkpoints(&self) -> Result<Vec<Checkpoint>, LedgerError> {
        self.0.during_ledger("checkpoints", |book| book.checkpoints())
    }

    fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        self.0.during_ledger("save_checkpoint", |book| book.save_checkpoint(checkpoint))
    }

    fn drop_checkpoint(&self, id: StageId) -> Result<(), LedgerError> {
        self.0.during_ledger("drop_checkpoint", |book| book.drop_checkpoint(id))
    }
}
