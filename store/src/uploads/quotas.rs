//! How much a client may hold: the bytes of its rows, and those that its staged bodies are to have.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use ferry_proto::{Code, RelPath, units};

use super::{Terms, fault::Fault};
use crate::{Ledger, StageId, lock::lock};

/// Names that a client with a quota may take for nothing, and the bytes of its quota that are worth one more: what a name
/// costs a disk. Else who may hold a byte could fill the disk with empty files.
const NAMES: u64 = 1000;
const WORTH: u64 = 4096;

/// What is reserved, by client, for bodies that are under way here.
#[derive(Default)]
pub(super) struct Quotas {
    reserved: Mutex<HashMap<String, HashMap<StageId, u64>>>,
}

/// Room for one body, until this is dropped.
pub(super) struct Reserved {
    id: StageId,
    terms: Arc<Terms>,
    quotas: Arc<Quotas>,
}

impl Quotas {
    /// Whether a file of this size would fit, without what is staged for its name already.
    pub(super) fn check(
        &self,
        ledger: &dyn Ledger,
        terms: &Terms,
        path: &RelPath,
        bytes: u64,
    ) -> Result<(), Fault> {
        let Some(quota) = terms.quota else { return Ok(()) };
        let reserved = lock(&self.reserved);
        let none = HashMap::new();
        let under_way = reserved.get(&terms.client).unwrap_or(&none);
        fits(ledger, terms, quota, under_way, bytes, |_, staged_for| staged_for != path)
    }

    /// Whether a client may take another name. A name is noted when it is taken, so a few more than allowed may be.
    pub(super) fn check_names(&self, ledger: &dyn Ledger, terms: &Terms) -> Result<(), Fault> {
        let Some(quota) = terms.quota else { return Ok(()) };
        let (most, names) = (NAMES + quota / WORTH, ledger.held_by(&terms.client)?.names);
        if names < most {
            return Ok(());
        }
        let sentence =
            format!("the quota of {} is worth {most} names, and all are taken", units::told(quota));
        Err(Fault::new(Code::QuotaExceeded, sentence))
    }

    /// Reserves room for a body; `None` without a quota. What an earlier process has staged of the same body is
    /// part of it.
    pub(super) fn reserve(
        self: &Arc<Self>,
        ledger: &dyn Ledger,
        terms: &Arc<Terms>,
        id: StageId,
        bytes: u64,
    ) -> Result<Option<Reserved>, Fault> {
        if terms.quota.is_none() {
            return Ok(None);
        }
        let mut reserved = Reserved { id, terms: terms.clone(), quotas: self.clone() };
        reserved.grow(ledger, bytes)?;
        Ok(Some(reserved))
    }

    /// Turns what was reserved into rows. Nobody sees both, or neither, so that the last byte of a quota can be used.
    pub(super) fn while_recording<T>(&self, done: Vec<Reserved>, record: impl FnOnce() -> T) -> T {
        if done.is_empty() {
            return record();
        }
        let mut reserved = lock(&self.reserved);
        let recorded = record();
        done.iter().for_each(|done| release(&mut reserved, done));
        drop(reserved);
        recorded
    }
}

impl Reserved {
    /// Reserves this many bytes, in all.
    pub(super) fn grow(&mut self, ledger: &dyn Ledger, bytes: u64) -> Result<(), Fault> {
        let Some(quota) = self.terms.quota else { return Ok(()) };
        let mut reserved = lock(&self.quotas.reserved);
        let under_way = reserved.entry(self.terms.client.clone()).or_default();
        let before = under_way.insert(self.id, 0);
        let fits = fits(ledger, &self.terms, quota, under_way, bytes, |_, _| true);
        let kept = if fits.is_ok() { Some(bytes) } else { before };
        match kept {
            Some(bytes) => drop(under_way.insert(self.id, bytes)),
            None => release(&mut reserved, self),
        }
        fits
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        release(&mut lock(&self.quotas.reserved), self);
    }
}

fn release(reserved: &mut HashMap<String, HashMap<StageId, u64>>, done: &Reserved) {
    if let Some(under_way) = reserved.get_mut(&done.terms.client) {
        under_way.remove(&done.id);
        if under_way.is_empty() {
            reserved.remove(&done.terms.client);
        }
    }
}

/// Whether this many more bytes fit beside the rows, what is under way, and what is staged and counts.
fn fits(
    ledger: &dyn Ledger,
    terms: &Terms,
    quota: u64,
    under_way: &HashMap<StageId, u64>,
    bytes: u64,
    counts: impl Fn(StageId, &RelPath) -> bool,
) -> Result<(), Fault> {
    let held = ledger.held_by(&terms.client)?;
    let staged = held.staged.iter().filter(|(id, path, _)| !under_way.contains_key(id) && counts(*id, path));
    let staged: u64 = staged.map(|(_, _, size)| size).fold(0, |sum, size| sum.saturating_add(*size));
    let reserved = under_way.values().fold(0_u64, |sum, size| sum.saturating_add(*size));
    let used = held.rows.saturating_add(staged).saturating_add(reserved);
    if used.saturating_add(bytes) <= quota {
        return Ok(());
    }
    let (quota, used) = (units::told(quota), units::told(used));
    let sentence = format!("this does not fit the quota of {quota}, of which {used} are in use or reserved");
    Err(Fault::new(Code::QuotaExceeded, sentence))
}
