//! What can be wrong with the catalogue.

use std::{
    io,
    path::{Path, PathBuf},
};

use ferry_store::LedgerError;
use rusqlite::ErrorCode;

/// Less free space than this, and an error of the disk is taken for a full one: a transaction and the growth of the
/// log's index may ask for as much.
const TOO_LITTLE: u64 = 1024 * 1024;

/// The catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Its file cannot be made.
    #[error("cannot create the catalogue {}: {source}", path.display())]
    Create {
        /// The database.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A newer ferryd has written it; reading it by older rules could lose what they do not know.
    #[error(
        "the catalogue {} was written by a newer ferryd (its schema is version {found}, this ferryd knows \
         versions up to {known})",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The version that it has.
        found: i64,
        /// The last version known here.
        known: i64,
    },
    /// The file system does not allow several processes to share it.
    #[error(
        "the file system of the catalogue {} cannot share it between processes: keep it elsewhere with --state",
        path.display()
    )]
    NoLog {
        /// The database.
        path: PathBuf,
    },
    /// No space is left for it.
    #[error("catalogue {}: cannot {operation}: no space is left", path.display())]
    Full {
        /// The database.
        path: PathBuf,
        /// What was to be done.
        operation: &'static str,
    },
    /// Anything else.
    #[error("catalogue {}: cannot {operation}: {source}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What was to be done.
        operation: &'static str,
        /// Why it cannot.
        source: rusqlite::Error,
    },
}

impl CatalogueError {
    pub(super) fn new(path: &Path, operation: &'static str, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source, || free_space(&path)) {
            CatalogueError::Full { path, operation }
        } else {
            CatalogueError::Sqlite { path, operation, source }
        }
    }
}

impl From<CatalogueError> for LedgerError {
    fn from(error: CatalogueError) -> Self {
        match error {
            CatalogueError::Full { .. } => LedgerError::Full,
            other => LedgerError::Other(Box::new(other)),
        }
    }
}

/// A write without space is SQLITE_FULL, but a sync, a truncation or a new file without space is an error like any
/// other, whose errno SQLite keeps to itself: the disk has to be asked.
fn is_full(error: &rusqlite::Error, free: impl FnOnce() -> Option<u64>) -> bool {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => true,
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => free().is_some_and(|n| n < TOO_LITTLE),
        _ => false,
    }
}

pub(super) fn free_space(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn hostile_19_a_full_disk_is_known_by_every_sign_of_it() {
        let sqlite = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let (none, some) = (|| Some(4096), || Some(1 << 30));
        assert!(is_full(&sqlite(ffi::SQLITE_FULL), some));
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_CANTOPEN] {
            assert!(is_full(&sqlite(code), none), "{code}");
            assert!(!is_full(&sqlite(code), some), "{code}");
            assert!(!is_full(&sqlite(code), || None), "{code}");
        }
        assert!(!is_full(&sqlite(ffi::SQLITE_BUSY), none));
        assert!(!is_full(&rusqlite::Error::QueryReturnedNoRows, none));
    }

    #[test]
    fn free_space_is_asked_of_the_disk_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_space(folder.path()).is_some());
        assert_eq!(free_space(Path::new("/nonexistent/catalogue.db")), None);
    }

    #[test]
    fn only_a_full_disk_is_told_as_one() {
        let path = Path::new("catalogue.db");
        let full = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None);
        let error = CatalogueError::new(path, "record files", full);
        assert_eq!(error.to_string(), "catalogue catalogue.db: cannot record files: no space is left");
        assert!(matches!(LedgerError::from(error), LedgerError::Full));

        let other = CatalogueError::new(path, "record files", rusqlite::Error::QueryReturnedNoRows);
        let LedgerError::Other(told) = LedgerError::from(other) else { panic!("not full") };
        assert!(told.to_string().starts_with("catalogue catalogue.db: cannot record files: "), "{told}");
    }
}
