//! Files on a disk, the same for both ends of ferry.
//!
//! - [`source`]: what is to be sent: walking, reading, and noticing when a file changes under the reader;
//! - [`Store`] and [`LocalStore`]: where bodies are staged and published, below one folder and never outside it;
//! - [`Uploads`]: the only writer of files and of their rows, over a store and a [`Ledger`].
//!
//! With the feature `conformance` there is also what tests stand on: `conformance`, what every store has to do, and
//! `doubles`, stand-ins for stores and ledgers.

mod accounts;
mod attributes;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod digests;
#[cfg(any(test, feature = "conformance"))]
pub mod doubles;
mod durable;
mod error;
mod folder;
mod fresh;
mod ledger;
mod local;
mod lock;
mod meter;
mod revision;
pub mod source;
mod store;
mod uploads;
mod xattrs;

pub use accounts::Accounts;
pub use digests::{Digests, Hashers};
pub use error::StoreError;
pub use folder::make_folder;
pub use ledger::{Before, BodyKey, Checkpoint, Filed, Held, Ledger, LedgerError, Row, RowKind};
pub use local::LocalStore;
pub use lock::lock;
pub use meter::{Meter, Part};
pub use revision::{Amiss, Change, Finding, Recorded, Register, Revision};
pub use store::{Entry, EntryKind, Meta, Results, StageId, Staged, Stamp, Store};
pub use uploads::{
    Begin, Busy, Cut, Figures, Histogram, Lease, Lesson, Mark, Outcome, Reply, Terms, Ticket, Unready,
    Upload, Uploads, scrub,
};
