//! The catalogue as a whole: several connections at once, and versions.

use std::{
    fs::File,
    path::Path,
    process::Command,
    sync::Barrier,
    time::{Duration, Instant},
};

use ferry_proto::{Algorithm, Attributes, Fingerprint, Secret, Timestamp};
use ferry_store::{RowKind, Stamp};
use rustix::fs::FlockOperation;
use tempfile::TempDir;

use super::{files::Usage, *};

pub(super) fn fresh() -> (TempDir, Catalogue) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(&folder.path().join("catalogue.db")).unwrap();
    (folder, catalogue)
}

pub(super) fn path(bytes: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(bytes).unwrap()
}

pub(super) fn key(number: u8) -> Fingerprint {
    Fingerprint::from_bytes([number; 32])
}

fn filed(name: String, content: &[u8]) -> Filed {
    let kind =
        RowKind::File { size: content.len() as u64, digests: Algorithm::Sha256.digest(content).into() };
    let modified = Timestamp::new(1_700_000_000, 1).ok();
    let (attributes, stamp) = (Attributes::default(), Stamp(vec![7; 40]));
    let row = Row { kind, modified, mode: None, attributes, stamp, is_damaged: false };
    Filed { path: path(name), row, client: "laptop".into(), staged: Some(StageId(1)), before: None }
}

#[test]
fn promise_2_what_was_written_is_there_after_reopening() {
    let (folder, catalogue) = fresh();
    let row = filed("a".into(), b"x");
    catalogue.record(std::slice::from_ref(&row)).unwrap();
    drop(catalogue);
    let catalogue = Catalogue::open(&folder.path().join("catalogue.db")).unwrap();
    assert_eq!(catalogue.find(&path("a")).unwrap(), Some(row.row));
}

#[test]
fn a_newer_catalogue_is_refused_with_both_versions() {
    let (folder, catalogue) = fresh();
    lock(&catalogue.writer).pragma_update(None, "user_version", 1000).unwrap();
    drop(catalogue);
    let error = Catalogue::open(&folder.path().join("catalogue.db")).err().unwrap();
    assert!(matches!(error, CatalogueError::Newer { found: 1000, .. }));
    let text = error.to_string();
    assert!(text.contains("catalogue.db was written by a newer ferryd") && text.contains("1000"), "{text}");
}

#[test]
fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalogue.db");
    std::fs::write(&file, [b'x'; 4096]).unwrap();
    let error = Catalogue::open(&file).err().unwrap();
    assert!(error.to_string().contains("cannot open"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), [b'x'; 4096]);
}

#[test]
fn reading_does_not_wait_for_a_long_transaction() {
    let (_folder, catalogue) = fresh();
    catalogue.record(&[filed("a".into(), b"old")]).unwrap();
    catalogue
        .write("test", |tx| {
            files::record(tx, &filed("a".into(), b"new"), SystemTime::now(), &mut Usage::default())?;
            let began = Instant::now();
            assert_eq!(catalogue.find(&path("a")).unwrap(), Some(filed("a".into(), b"old").row));
            assert_eq!(catalogue.client_of(key(1)).unwrap(), None);
            assert!(began.elapsed() < Duration::from_secs(5));
            Ok(())
        })
        .unwrap();
    assert_eq!(catalogue.find(&path("a")).unwrap(), Some(filed("a".into(), b"new").row));
}

#[test]
fn writers_wait_for_each_other_and_lose_nothing() {
    const EACH: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalogue.db");
    let together = Barrier::new(4);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (file, together) = (&file, &together);
            scope.spawn(move || {
                together.wait();
                // They all find no database, and one of them makes it.
                let catalogue = Catalogue::open(file).unwrap();
                for n in 0..EACH {
                    catalogue.record(&[filed(format!("{writer}/{n}"), b"x")]).unwrap();
                    catalogue.record(&[filed("contended".into(), &[writer, n as u8])]).unwrap();
                }
            });
        }
    });
    let catalogue = Catalogue::open(&file).unwrap();
    for writer in 0..4 {
        for n in 0..EACH {
            assert!(catalogue.find(&path(format!("{writer}/{n}"))).unwrap().is_some());
        }
    }
    let rows: i64 = lock(&catalogue.reader)
        .query_one("SELECT count(*) FROM files WHERE path = CAST('contended' AS BLOB)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 4 * EACH as i64);
}

const OTHER_PROCESS: &str = "FERRY_TEST_CATALOGUE";

/// An administrative command while the server runs: this test starts itself again as that other process.
#[test]
fn another_process_may_invite_while_the_server_has_it_open() {
    let secret = Secret::from_bytes([5; 16]);
    if let Some(file) = std::env::var_os(OTHER_PROCESS) {
        // The server's lock on it is what tells everyone that the log is still in use.
        let database = File::options().read(true).write(true).open(&file).unwrap();
        rustix::fs::fcntl_lock(&database, FlockOperation::NonBlockingLockExclusive).unwrap_err();
        drop(database);
        let catalogue = Catalogue::open(Path::new(&file)).unwrap();
        assert_eq!(catalogue.listen().unwrap(), ["127.0.0.1:7117".parse().unwrap()]);
        let expires = SystemTime::now() + Duration::from_secs(60);
        let terms = NewInvite { name: None, expires, uses: 1, grant: Grant::whole() };
        catalogue.invite(&terms, &secret).unwrap();
        return;
    }
    let (folder, catalogue) = fresh();
    catalogue.set_listen(&["127.0.0.1:7117".parse().unwrap()]).unwrap();
    // Opening it once more in this process must not take away the locks of the first one.
    let _second = Catalogue::open(&folder.path().join("catalogue.db")).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "catalogue::tests::another_process_may_invite_while_the_server_has_it_open"])
        .env(OTHER_PROCESS, folder.path().join("catalogue.db"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(catalogue.enrol(&secret, key(1), "laptop", SystemTime::now()).unwrap().spent == Spent::Enrolled);
    // The other one has closed it, and must not have taken anything away from under this one.
    assert!(folder.path().join("catalogue.db-wal").exists());
    catalogue.record(&[filed("a".into(), b"x")]).unwrap();
}

#[test]
fn a_panic_in_a_transaction_leaves_a_working_catalogue() {
    let (_folder, catalogue) = fresh();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        catalogue.write("test", |tx| -> rusqlite::Result<()> {
            files::record(tx, &filed("half".into(), b"x"), SystemTime::now(), &mut Usage::default())?;
            panic!("as a fault of ours would")
        })
    }));
    assert!(panicked.is_err());
    catalogue.record(&[filed("whole".into(), b"x")]).unwrap();
    assert_eq!(catalogue.find(&path("half")).unwrap(), None);
}
