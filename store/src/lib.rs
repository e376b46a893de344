//! Files on a disk, the same for both ends of ferry.
//!
//! - [`source`]: what is to be sent: walking, reading, and noticing when a file changes under the reader;
//! - [`Store`] and [`LocalStore`]: where bodies are staged and published, below one folder and never outside it;
//! - [`Uploads`]: the only writer of files and of their rows, over a store and a [`Ledger`];
//! - [`conformance`]: what every store has to do, as tests.

pub mod conformance;
mod error;
mod folder;
mod ledger;
mod local;
pub mod source;
mod store;
mod uploads;

pub use error::StoreError;
pub use ledger::{BodyKey, Checkpoint, Filed, Ledger, LedgerError, Row, RowKind};
pub use local::LocalStore;
pub use store::{Entry, EntryKind, Meta, StageId, Staged, Stamp, Store};
pub use uploads::{Begin, Busy, Lease, Outcome, Reply, Terms, Ticket, Upload, Uploads};
