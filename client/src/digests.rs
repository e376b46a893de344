//! The digest cache: what unchanged files were found to hold, so that they need not be read again, and how far hashers
//! have come in those that were not sent to their end, or not received; and which pictures are flawed.
//!
//! It lives in SQLite, is never loaded whole, and serves several processes at once. Losing it costs time only.

mod bodies;
mod looks;
mod states;

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use ferry_proto::{Algorithm, Digest, HasherState, Timestamp, limits};
use ferry_store::{Checkpoint, StageId, source::Identity};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use crate::{exit::Failure, output::Narrator};

/// A file that was touched this shortly before it was read may change again without its times showing it.
const TOO_FRESH: Duration = Duration::from_secs(2);

/// Digests written at a time, and look-ups that are one reading for the database.
const BATCH: usize = 2048;

const BUSY: Duration = Duration::from_secs(10);

/// Between two tries where SQLite does not wait by itself.
const RETRY: Duration = Duration::from_millis(20);

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS digests (
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        algorithm INTEGER NOT NULL,
        size INTEGER NOT NULL,
        modified_s INTEGER NOT NULL,
        modified_ns INTEGER NOT NULL,
        changed_s INTEGER NOT NULL,
        changed_ns INTEGER NOT NULL,
        digest BLOB NOT NULL,
        PRIMARY KEY (device, inode, algorithm)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS states (
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        algorithm INTEGER NOT NULL,
        length INTEGER NOT NULL,
        size INTEGER NOT NULL,
        modified_s INTEGER NOT NULL,
        modified_ns INTEGER NOT NULL,
        changed_s INTEGER NOT NULL,
        changed_ns INTEGER NOT NULL,
        state BLOB NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (device, inode, algorithm, length)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS looks (
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        modified_s INTEGER NOT NULL,
        modified_ns INTEGER NOT NULL,
        changed_s INTEGER NOT NULL,
        changed_ns INTEGER NOT NULL,
        flaw TEXT,
        PRIMARY KEY (device, inode)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS bodies (
        id TEXT PRIMARY KEY,
        folder BLOB NOT NULL,
        server TEXT NOT NULL,
        path BLOB NOT NULL,
        size INTEGER NOT NULL,
        modified_s INTEGER,
        modified_ns INTEGER,
        algorithm INTEGER,
        digest BLOB,
        offset INTEGER NOT NULL,
        state BLOB,
        stamp BLOB,
        at INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// See the module.
pub(crate) struct Digests {
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    connection: Connection,
    fresh: Vec<(Identity, Digest)>,
    /// Look-ups in the transaction that is open for them: beginning one for each costs more than finding a row does.
    /// What other processes learn meanwhile is found a little later.
    looked_up: usize,
    /// The first thing that went wrong. It costs time only, so the run goes on.
    problem: Option<rusqlite::Error>,
}

impl Digests {
    /// Opens the cache in this folder, making both. A damaged one is begun anew; without any the run goes on, and
    /// [`Digests::save`] tells.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("digests.db");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| Failure::local(format!("cannot make {}: {error}", folder.display())))?;
        let mut opened = connect(&path);
        if opened.as_ref().is_err_and(is_damaged) {
            remove(&path);
            opened = connect(&path);
        }
        let failed =
            |error: &rusqlite::Error| Failure::local(format!("cannot use {}: {error}", path.display()));
        let (connection, problem) = match opened {
            Ok(connection) => (connection, None),
            Err(error) => {
                let in_memory = Connection::open_in_memory().and_then(|connection| {
                    connection.execute_batch(SCHEMA)?;
                    Ok(connection)
                });
                (in_memory.map_err(|_| failed(&error))?, Some(error))
            }
        };
        Ok(Digests {
            path,
            inner: Mutex::new(Inner { connection, fresh: Vec::new(), looked_up: 0, problem }),
        })
    }

    /// The file that it is kept in; what the database puts beside it has longer names.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The digest of a file that is still the same.
    pub(crate) fn find(&self, identity: &Identity, algorithm: Algorithm) -> Option<Digest> {
        let mut inner = self.lock();
        let found = inner.reading().and_then(|()| inner.find(identity, algorithm));
        inner.note(found).flatten()
    }

    /// The same, also of one that was learned in this run and is not written yet.
    pub(crate) fn find_even_fresh(&self, identity: &Identity, algorithm: Algorithm) -> Option<Digest> {
        let is_it =
            |(known, digest): &&(Identity, Digest)| known == identity && digest.algorithm() == algorithm;
        let fresh = self.lock().fresh.iter().rev().find(is_it).map(|(_, digest)| *digest);
        fresh.or_else(|| self.find(identity, algorithm))
    }

    /// The longest state, of at most this many bytes, that a hasher had in a file that is still the same.
    pub(crate) fn find_state(
        &self,
        identity: &Identity,
        algorithm: Algorithm,
        most: u64,
    ) -> Option<HasherState> {
        let mut inner = self.lock();
        let found = states::find(&inner.connection, identity, algorithm, most);
        inner.note(found).flatten()
    }

    /// Keeps a hasher's state at once: the process may be killed before the next one.
    pub(crate) fn keep_state(&self, identity: &Identity, state: &HasherState) {
        if is_too_fresh(identity) {
            return;
        }
        let mut inner = self.lock();
        let kept = inner.writing().and_then(|db| states::keep(db, identity, state, SystemTime::now()));
        inner.note(kept);
    }

    /// What a look into a picture that is still the same has shown: what is wrong with it, or nothing.
    pub(crate) fn find_look(&self, identity: &Identity) -> Option<Option<String>> {
        let mut inner = self.lock();
        let found = inner.reading().and_then(|()| looks::find(&inner.connection, identity));
        inner.note(found).flatten()
    }

    /// Keeps that, unless the picture was touched just before.
    pub(crate) fn keep_look(&self, identity: &Identity, flaw: Option<&str>) {
        if is_too_fresh(identity) {
            return;
        }
        let mut inner = self.lock();
        let kept = inner.writing().and_then(|db| looks::keep(db, identity, flaw));
        inner.note(kept);
    }

    /// Keeps the digest of a file that was written here: nobody has seen it before it was whole.
    pub(crate) fn wrote(&self, identity: Identity, digest: Digest) {
        let mut inner = self.lock();
        inner.fresh.push((identity, digest));
        if inner.fresh.len() >= BATCH {
            inner.save();
        }
    }

    /// How far bodies are that are being received into a folder.
    pub(crate) fn checkpoints(&self, folder: &[u8]) -> Vec<Checkpoint> {
        let mut inner = self.lock();
        let found = bodies::all(&inner.connection, folder);
        inner.note(found).unwrap_or_default()
    }

    /// Keeps how far one is, at once.
    pub(crate) fn save_checkpoint(&self, folder: &[u8], checkpoint: &Checkpoint) {
        let mut inner = self.lock();
        let saved = inner.writing().and_then(|db| bodies::save(db, folder, checkpoint));
        inner.note(saved);
    }

    /// Forgets one.
    pub(crate) fn drop_checkpoint(&self, id: StageId) {
        let mut inner = self.lock();
        let dropped = inner.writing().and_then(|db| bodies::remove(db, id));
        inner.note(dropped);
    }

    /// Keeps the digest of a file that was just read, unless it was touched just before.
    pub(crate) fn learn(&self, identity: &Identity, digest: Digest) {
        if is_too_fresh(identity) {
            return;
        }
        let mut inner = self.lock();
        inner.fresh.push((*identity, digest));
        if inner.fresh.len() >= BATCH {
            inner.save();
        }
    }

    /// Forgets a file that has changed without showing it: its digest, and how far it was hashed.
    pub(crate) fn forget(&self, identity: &Identity) {
        let mut inner = self.lock();
        inner.fresh.retain(|(known, _)| known != identity);
        let file = params![identity.device as i64, identity.inode as i64];
        let forgotten = inner.writing().and_then(|db| {
            db.execute("DELETE FROM digests WHERE device = ?1 AND inode = ?2", file)?;
            db.execute("DELETE FROM looks WHERE device = ?1 AND inode = ?2", file)?;
            states::forget(db, identity)
        });
        inner.note(forgotten);
    }

    /// Writes what has not been written yet. An error is the first one of all calls.
    fn save(&self) -> rusqlite::Result<()> {
        let mut inner = self.lock();
        inner.save();
        let problem = inner.problem.take();
        if problem.as_ref().is_some_and(is_damaged) {
            // The next run begins anew.
            remove(&self.path);
        }
        problem.map_or(Ok(()), Err)
    }

    /// The same at the end of a run, whose narrator tells of an error.
    pub(crate) fn save_or_tell(&self, narrator: &Narrator) {
        if let Err(error) = self.save() {
            narrator
                .say(&format!("the digest cache cannot be used, so unchanged files are read again: {error}"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        ferry_store::lock(&self.inner)
    }
}

impl Inner {
    fn note<T>(&mut self, result: rusqlite::Result<T>) -> Option<T> {
        result.map_err(|error| self.problem.get_or_insert(error)).ok()
    }

    /// Before a look-up.
    fn reading(&mut self) -> rusqlite::Result<()> {
        if self.looked_up == BATCH {
            self.writing()?;
        }
        if self.looked_up == 0 {
            self.connection.execute_batch("BEGIN")?;
        }
        self.looked_up += 1;
        Ok(())
    }

    /// The database without a reading in it, which what is written would have to be younger than.
    fn writing(&mut self) -> rusqlite::Result<&mut Connection> {
        if self.looked_up > 0 {
            self.connection.execute_batch("COMMIT")?;
            self.looked_up = 0;
        }
        Ok(&mut self.connection)
    }

    fn find(&self, identity: &Identity, algorithm: Algorithm) -> rusqlite::Result<Option<Digest>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT digest FROM digests WHERE device = ?1 AND inode = ?2 AND algorithm = ?3 AND size = ?4
             AND modified_s = ?5 AND modified_ns = ?6 AND changed_s = ?7 AND changed_ns = ?8",
        )?;
        let found = statement.query_row(
            params![
                identity.device as i64,
                identity.inode as i64,
                algorithm.number(),
                identity.size as i64,
                identity.modified.seconds(),
                identity.modified.nanos(),
                identity.changed.seconds(),
                identity.changed.nanos(),
            ],
            |row| row.get::<_, [u8; 32]>(0),
        );
        Ok(found.optional()?.map(|bytes| Digest::new(algorithm, bytes)))
    }

    fn save(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        if !fresh.is_empty() {
            let written = self.write(&fresh);
            self.note(written);
        }
    }

    fn write(&mut self, fresh: &[(Identity, Digest)]) -> rusqlite::Result<()> {
        let transaction =
            self.writing()?.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut statement = transaction.prepare_cached(
                "INSERT OR REPLACE INTO digests VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            for (identity, digest) in fresh {
                statement.execute(params![
                    identity.device as i64,
                    identity.inode as i64,
                    digest.algorithm().number(),
                    identity.size as i64,
                    identity.modified.seconds(),
                    identity.modified.nanos(),
                    identity.changed.seconds(),
                    identity.changed.nanos(),
                    &digest.bytes()[..],
                ])?;
                // Shorter ones never have any.
                if identity.size >= limits::CHECKPOINT {
                    states::forget(&transaction, identity)?;
                }
            }
            states::prune(&transaction, SystemTime::now())?;
        }
        transaction.commit()
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    set_up(&connection)?;
    Ok(connection)
}

/// Removes a cache. What cannot be removed is told of when it is opened the next time.
fn remove(path: &Path) {
    for ending in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(ending);
        let _ = std::fs::remove_file(file);
    }
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

/// Turns the write-ahead log on and makes the table. While another process does the same, SQLite says that it is busy
/// at once.
fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    let give_up = Instant::now() + BUSY;
    loop {
        match connection.execute_batch(SCHEMA) {
            Err(error) if is_busy(&error) && Instant::now() < give_up => sleep(RETRY),
            result => return result,
        }
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Counts from when the file was seen, before its first byte was read: in the time that reading takes it may change
/// again, and still show the old time.
fn is_too_fresh(identity: &Identity) -> bool {
    [identity.modified, identity.changed].into_iter().any(|time| is_just_before(time, identity.seen))
}

fn is_just_before(time: Timestamp, seen: SystemTime) -> bool {
    let Ok(seconds) = u64::try_from(time.seconds()) else { return false };
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, time.nanos()));
    // A time in the future says nothing about how long ago it was.
    time.is_none_or(|time| seen.duration_since(time).unwrap_or_default() < TOO_FRESH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_touched_just_before_it_was_read_is_not_trusted_however_long_the_reading_took() {
        let folder = tempfile::tempdir().unwrap();
        let digests = Digests::open(folder.path()).unwrap();
        let digest = Algorithm::Sha256.digest(b"");
        let long_ago = Timestamp::saturating(1_000_000_000, 0);
        let after = |age| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000) + age;
        let nanosecond = Duration::from_nanos(1);
        for (inode, age) in [(1, TOO_FRESH - nanosecond), (2, TOO_FRESH)] {
            let (modified, changed) = (long_ago, long_ago);
            let identity = Identity { device: 1, inode, size: 0, modified, changed, seen: after(age) };
            digests.learn(&identity, digest);
            digests.save().unwrap();
            assert_eq!(
                digests.find(&identity, Algorithm::Sha256).is_some(),
                age >= TOO_FRESH,
                "seen {age:?} later"
            );
        }
    }

    #[test]
    fn the_cache_is_opened_as_soon_as_nobody_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        // A process that has just made the database, and has not turned its log on yet.
        let other = Connection::open(folder.path().join("digests.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE t (a)").unwrap();
        std::thread::scope(|scope| {
            let opened = scope.spawn(|| Digests::open(folder.path()).map(drop));
            sleep(RETRY * 5);
            other.execute_batch("COMMIT").unwrap();
            opened.join().unwrap().unwrap();
        });
    }
}
