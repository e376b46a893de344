//! Why a file fails: what the peer is told, and what the log says about it.

use ferry_proto::{Code, RelPath};

use super::Outcome;
use crate::{LedgerError, StoreError};

/// What the peer is told.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) detail: String,
}

impl Fault {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Fault { code, detail: detail.into() }
    }
}

/// A step that a store may fail at.
pub(super) trait Step<T> {
    /// Names the step and its file, for the log: the peer has no use for the words of this system.
    fn step(self, step: &'static str, path: &RelPath) -> Result<T, Fault>;
}

impl<T> Step<T> for Result<T, StoreError> {
    fn step(self, step: &'static str, path: &RelPath) -> Result<T, Fault> {
        self.map_err(|error| {
            let code = error.code();
            let sentence = match error {
                StoreError::Exists | StoreError::Kind | StoreError::Name | StoreError::Moved => {
                    return Fault::new(code, error.to_string());
                }
                StoreError::Full => "no space is left where it is saved",
                StoreError::Denied(_) => "permission denied where it is saved",
                StoreError::NotFound => "the folder that it goes to is gone",
                StoreError::Crowded | StoreError::InUse | StoreError::Io(_) => "the storage has failed",
            };
            tracing::warn!(%path, step, %error, "{sentence}");
            Fault::new(code, sentence)
        })
    }
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "the catalogue cannot be used");
        match error {
            LedgerError::Full => Fault::new(Code::StorageFull, "no space is left for the catalogue"),
            LedgerError::Other(_) => Fault::new(Code::StorageFailed, "the server's catalogue cannot be used"),
        }
    }
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Self {
        Outcome::Failed(fault.code, fault.detail)
    }
}
