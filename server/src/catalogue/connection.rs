//! How the database file is made and opened.

use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Mutex,
    thread::sleep,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::CatalogueError;

/// How long one process waits for another's transaction. The longest is a slice of pruning or a batch of rows,
/// which take milliseconds; ten seconds are for a disk that is busy with bodies.
const BUSY: Duration = Duration::from_secs(10);

/// Between two tries where SQLite does not wait by itself.
const RETRY: Duration = Duration::from_millis(20);

/// Bytes that the write-ahead log keeps once a large transaction has passed through it.
const LOG_KEPT: u64 = 16 * 1024 * 1024;

/// More than the statements of one connection, so that each is prepared once.
const STATEMENTS: usize = 48;

/// Makes an empty file, which to SQLite is an empty database, readable for its owner alone; log and index take
/// their mode from it. One that exists is left as it is.
pub(super) fn create(path: &Path) -> Result<(), CatalogueError> {
    // Closing any descriptor of a file drops every POSIX lock that this process holds on it, those of SQLite
    // too. So the descriptor made here must be closed before anyone else in this process opens the database.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = ferry_store::lock(&MAKING);

    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let synced = match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        // SQLite makes what it writes durable, but not the name of a file that it did not make.
        Ok(file) => drop_then_sync_folder(file, path),
        Err(error) => Err(error),
    };
    synced.map_err(|source| CatalogueError::Create { path: path.to_owned(), source })
}

fn drop_then_sync_folder(file: File, path: &Path) -> std::io::Result<()> {
    drop(file);
    match path.parent() {
        Some(folder) if folder != Path::new("") => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// A connection to a database that exists.
pub(super) fn connect(path: &Path) -> Result<Connection, CatalogueError> {
    let failed = |error| CatalogueError::new(path, "open", error);
    // Without SQLITE_OPEN_URI, so that a path is nothing but a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(BUSY).map_err(failed)?;
    let mode = write_ahead(&db).map_err(failed)?;
    if mode != "wal" {
        return Err(CatalogueError::NoLog { path: path.to_owned() });
    }
    settle(&db).map_err(failed)?;
    Ok(db)
}

/// Turns the write-ahead log on. While another process does the same, SQLite says that it is busy at once.
fn write_ahead(db: &Connection) -> rusqlite::Result<String> {
    let give_up = Instant::now() + BUSY;
    loop {
        match db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)) {
            Err(error) if is_busy(&error) && Instant::now() < give_up => sleep(RETRY),
            answer => return answer,
        }
    }
}

fn settle(db: &Connection) -> rusqlite::Result<()> {
    // With the write-ahead log, anything less than FULL loses the last transactions in a power cut.
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "foreign_keys", true)?;
    // A confined process may make no file where SQLite would spill to. Nothing here sorts or undoes more than a batch.
    db.pragma_update(None, "temp_store", "memory")?;
    db.pragma_update(None, "journal_size_limit", LOG_KEPT as i64)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // Without it SQLite looks at the values that are bound, and plans a statement anew whenever they are others.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{super::Catalogue, *};

    #[test]
    fn hostile_17_the_catalogue_is_readable_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.db");
        let catalogue = Catalogue::open(&path).unwrap();
        catalogue.set_listen(&[]).unwrap();
        let mut seen = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
            seen += 1;
        }
        assert_eq!(seen, 3, "database, log and index");
    }

    #[test]
    fn promise_2_every_connection_syncs_fully() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.db");
        create(&path).unwrap();
        let db = connect(&path).unwrap();
        let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(pragma("synchronous"), 2);
        assert_eq!(pragma("foreign_keys"), 1);
        assert_eq!(pragma("busy_timeout"), 10_000);
        assert_eq!(
            db.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0)).unwrap(),
            "wal"
        );
    }

    #[test]
    fn hostile_07_nothing_spills_into_a_file_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.db");
        create(&path).unwrap();
        let db = connect(&path).unwrap();
        assert_eq!(db.pragma_query_value(None, "temp_store", |row| row.get::<_, i64>(0)).unwrap(), 2);
    }

    #[test]
    fn the_log_is_turned_on_as_soon_as_nobody_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.db");
        // A process that has just made the database, and does not have its log yet.
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE t (a)").unwrap();
        std::thread::scope(|scope| {
            let opened = scope.spawn(|| connect(&path).map(drop));
            sleep(RETRY * 5);
            other.execute_batch("COMMIT").unwrap();
            opened.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_path_is_nothing_but_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file:x?mode=memory#");
        Catalogue::open(&path).unwrap().set_listen(&["127.0.0.1:1".parse().unwrap()]).unwrap();
        assert_eq!(Catalogue::open(&path).unwrap().listen().unwrap().len(), 1);
        assert!(path.exists());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Catalogue::open(Path::new("/nonexistent/catalogue.db")).err().unwrap();
        assert!(error.to_string().contains("/nonexistent/catalogue.db"), "{error}");
    }
}
