//! The catalogue: the SQLite database in which the server keeps what it holds, what is under way, and who may come.
//!
//! - [`Catalogue`] is the [`Ledger`] of the server's uploads: the rows of files, with their history, and checkpoints;
//! - clients, their keys and grants, and the invites that enrol them;
//! - a few things that one command tells another, such as where the server listens.
//!
//! Several processes may have it open at once: `ferryd` while it serves, and its administrative commands. Each
//! method is one transaction, durable when it returns. A user may read it with `sqlite3`; the comments in
//! `schema.rs` go into the database with the tables.

mod bodies;
mod clients;
mod columns;
mod connection;
mod debts;
mod error;
mod files;
mod findings;
mod grants;
mod history;
mod invites;
mod names;
mod passes;
mod rows;
mod schema;
mod settings;

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use ferry_proto::RelPath;
use ferry_store::{
    Checkpoint, Filed, Held, Ledger, LedgerError, Recorded, Register, Revision, Row, StageId, Stamp,
};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use self::debts::Debts;
pub use self::{
    clients::{Client, ClientEntry, ClientId, GrantId, Peer, PeerKind, Revoked, ShutOut, Standing},
    error::CatalogueError,
    grants::Grant,
    history::{Arrival, Span},
    invites::{EnrolError, Enrolled, NewInvite, OpenInvite, Spent},
    names::{ADOPTED, is_client_name},
    passes::Pass,
    settings::Site,
};

/// Free space without which nothing more is taken: a batch of rows, and the growth of the log that they go through.
const ROOM: u64 = 2 * 1024 * 1024;

/// The database of the server.
pub struct Catalogue {
    path: PathBuf,
    writer: Mutex<Connection>,
    /// A connection of its own: in WAL mode it sees the last committed state while the other one is busy writing.
    reader: Mutex<Connection>,
    debts: Debts,
    /// Transactions that have failed since it was opened.
    failures: AtomicU64,
}

impl Catalogue {
    /// Opens the database, makes it (for its owner alone) if it does not exist, and brings an older one up to date.
    /// The folder must exist.
    pub fn open(path: &Path) -> Result<Self, CatalogueError> {
        connection::create(path)?;
        let failed = |error| CatalogueError::new(path, "open", error);
        let mut writer = connection::connect(path)?;
        schema::migrate(&mut writer, schema::STEPS).map_err(failed)?.map_err(|newer| {
            CatalogueError::Newer { path: path.to_owned(), found: newer.found, known: newer.known }
        })?;
        let reader = connection::connect(path)?;
        reader.pragma_update(None, "query_only", true).map_err(failed)?;
        let debts = Debts::beside(path);
        let (writer, reader) = (Mutex::new(writer), Mutex::new(reader));
        Ok(Catalogue { path: path.to_owned(), writer, reader, debts, failures: AtomicU64::new(0) })
    }

    /// Whether names of the inbox hold files, as far as is known here.
    pub fn has_files(&self) -> Result<bool, CatalogueError> {
        self.read("look for files", files::any)
    }

    /// Bodies with a checkpoint, and their bytes up to there.
    pub fn resumable(&self) -> Result<(u64, u64), CatalogueError> {
        self.read("add up bodies", bodies::sum)
    }

    /// How often it could not be read or written since it was opened.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Forgets what names held before `older_than` and invites that had expired by then; what names hold now stays.
    /// Returns how many rows went.
    pub fn prune(&self, older_than: SystemTime) -> Result<usize, CatalogueError> {
        let mut pruned = self.write("prune", |tx| invites::prune(tx, older_than))?;
        loop {
            // Each slice is a transaction, so that uploads and other processes get their turn between two.
            let slice = self.write("prune", |tx| files::prune_slice(tx, older_than))?;
            pruned += slice;
            if slice < files::PRUNE_SLICE {
                return Ok(pruned);
            }
        }
    }

    /// One transaction that writes. It is immediate: a deferred one that reads first and writes later fails where
    /// another process wrote in between.
    fn write<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, CatalogueError> {
        let mut connection = lock(&self.writer);
        let done = connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            let value = work(&tx)?;
            tx.commit()?;
            Ok(value)
        });
        done.map_err(|error| self.failed(operation, error))
    }

    /// One statement that reads; it never waits for a writer.
    fn read<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CatalogueError> {
        work(&lock(&self.reader)).map_err(|error| self.failed(operation, error))
    }

    fn failed(&self, operation: &'static str, error: rusqlite::Error) -> CatalogueError {
        self.failures.fetch_add(1, Ordering::Relaxed);
        CatalogueError::new(&self.path, operation, error)
    }
}

impl Ledger for Catalogue {
    fn find(&self, path: &RelPath) -> Result<Option<Row>, LedgerError> {
        Ok(self.read("look up a file", |db| files::find(db, path))?)
    }

    fn find_each(&self, paths: &[RelPath]) -> Result<Vec<Option<Row>>, LedgerError> {
        Ok(self.read("look up files", |db| {
            // One transaction: beginning one costs more than to look a name up.
            let tx = db.unchecked_transaction()?;
            paths.iter().map(|path| files::find(&tx, path)).collect()
        })?)
    }

    fn check_room(&self) -> Result<(), LedgerError> {
        let is_full = error::free_space(&self.path).is_some_and(|free| free < ROOM);
        if is_full { Err(LedgerError::Full) } else { Ok(()) }
    }

    fn record(&self, batch: &[Filed]) -> Result<(), LedgerError> {
        let now = SystemTime::now();
        Ok(self.write("record files", |tx| {
            let mut usage = files::Usage::default();
            for filed in batch {
                files::record(tx, filed, now, &mut usage)?;
                if let Some(id) = filed.staged {
                    bodies::remove(tx, id)?;
                }
            }
            usage.write(tx)
        })?)
    }

    fn close(&self, path: &RelPath, stamp: &Stamp) -> Result<(), LedgerError> {
        let now = SystemTime::now();
        Ok(self.write("close a row", |tx| {
            let mut usage = files::Usage::default();
            files::close(tx, path, stamp, now, &mut usage)?;
            usage.write(tx)
        })?)
    }

    fn revise(&self, batch: &[Revision]) -> Result<Vec<bool>, LedgerError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let now = SystemTime::now();
        Ok(self.write("revise rows", |tx| {
            let mut usage = files::Usage::default();
            let revised = batch.iter().map(|revision| files::revise(tx, revision, now, &mut usage));
            let revised = revised.collect::<rusqlite::Result<Vec<_>>>()?;
            usage.write(tx)?;
            Ok(revised)
        })?)
    }

    fn owes_rows(&self, owes: bool) {
        self.debts.owe(owes);
    }

    fn held_by(&self, client: &str) -> Result<Held, LedgerError> {
        Ok(self.read("add up what a client holds", |db| {
            let (rows, names) = files::usage_of(db, client)?;
            Ok(Held { rows, names, staged: bodies::of_client(db, client)? })
        })?)
    }

    fn checkpoints_for(&self, client: &str, path: &RelPath) -> Result<Vec<Checkpoint>, LedgerError> {
        Ok(self.read("look up checkpoints", |db| bodies::of(db, client, path))?)
    }

    fn checkpoints(&self) -> Result<Vec<Checkpoint>, LedgerError> {
        Ok(self.read("list checkpoints", bodies::all)?)
    }

    fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        Ok(self.write("save a checkpoint", |tx| bodies::save(tx, checkpoint))?)
    }

    fn drop_checkpoint(&self, id: StageId) -> Result<(), LedgerError> {
        Ok(self.write("drop a checkpoint", |tx| bodies::remove(tx, id))?)
    }
}

impl Register for Catalogue {
    fn rows(
        &self,
        after: Option<&RelPath>,
        below: Option<&RelPath>,
        most: usize,
    ) -> Result<Vec<Recorded>, LedgerError> {
        Ok(self.read("list rows", |db| rows::next(db, after, &Span::of(below), most))?)
    }

    fn have_rows(&self, paths: &[RelPath]) -> Result<Vec<bool>, LedgerError> {
        Ok(self.read("look for rows", |db| files::exist(db, paths))?)
    }

    fn debt(&self) -> Option<u64> {
        self.debts.of_others()
    }
}

/// A panic while it was locked has rolled its transaction back, so the connection is still good.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    ferry_store::lock(connection)
}

#[cfg(test)]
mod tests;
