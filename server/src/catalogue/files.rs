//! The rows of files, folders and links.

use std::time::SystemTime;

use ferry_proto::{Mode, RelPath};
use ferry_store::{Filed, Row, RowKind, Stamp};
use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::columns::{self, Column};

/// Rows that one transaction prunes: some milliseconds of work.
pub(super) const PRUNE_SLICE: usize = 10_000;

/// The row of what a name holds now.
pub(super) fn find(db: &Connection, path: &RelPath) -> rusqlite::Result<Option<Row>> {
    Ok(current(db, path)?.map(|current| current.row))
}

/// Writes what a name holds from now on. Where that is what it held before, only touched on the disk, its row gets
/// the new stamp; else the older row is closed.
pub(super) fn record(db: &Connection, filed: &Filed, now: SystemTime) -> rusqlite::Result<()> {
    let mut since = now;
    let mut client = filed.client.clone();
    if let Some(current) = current(db, &filed.path)? {
        if current.row == filed.row {
            return Ok(());
        }
        let is_same_content = current.row.kind == filed.row.kind;
        if (Row { stamp: filed.row.stamp.clone(), ..current.row }) == filed.row {
            db.prepare_cached("UPDATE files SET stamp = ?2 WHERE id = ?1")?
                .execute(params![current.id, filed.row.stamp.0])?;
            return Ok(());
        }
        // Its bytes stay their sender's, whoever gives them another time or mode.
        if is_same_content {
            client = current.client;
        }
        // A clock that was set back must not let the new row begin before the older one.
        since = now.max(current.since);
        db.prepare_cached("UPDATE files SET until = ?2 WHERE id = ?1")?
            .execute(params![current.id, Column(since)])?;
    }
    insert(db, filed, &client, since)
}

/// Whether there is any file that a name holds now.
pub(super) fn any(db: &Connection) -> rusqlite::Result<bool> {
    db.query_one("SELECT EXISTS (SELECT 1 FROM usage WHERE bytes > 0)", [], |row| row.get(0))
}

/// Closes the row of a name, if it has this stamp.
pub(super) fn close(db: &Connection, path: &RelPath, stamp: &Stamp, now: SystemTime) -> rusqlite::Result<()> {
    if let Some(current) = current(db, path)?.filter(|current| current.row.stamp == *stamp) {
        // A clock that was set back must not let it end before it began.
        db.prepare_cached("UPDATE files SET until = ?2 WHERE id = ?1")?
            .execute(params![current.id, Column(now.max(current.since))])?;
    }
    Ok(())
}

/// Bytes of the files that a client has sent and that names hold now.
pub(super) fn bytes_of(db: &Connection, client: &str) -> rusqlite::Result<u64> {
    let bytes = db
        .prepare_cached("SELECT bytes FROM usage WHERE client = ?1")?
        .query_row([client], |row| Ok(row.get::<_, Column<u64>>(0)?.0))
        .optional()?;
    Ok(bytes.unwrap_or(0))
}

/// Removes rows that were closed before a time, at most [`PRUNE_SLICE`] of them. Returns how many.
pub(super) fn prune_slice(db: &Connection, older_than: SystemTime) -> rusqlite::Result<usize> {
    db.prepare_cached("DELETE FROM files WHERE id IN (SELECT id FROM files WHERE until < ?1 LIMIT ?2)")?
        .execute(params![Column(older_than), PRUNE_SLICE as i64])
}

struct Current {
    id: i64,
    since: SystemTime,
    row: Row,
    client: String,
}

fn current(db: &Connection, path: &RelPath) -> rusqlite::Result<Option<Current>> {
    db.prepare_cached(
        "SELECT id, kind, size, algorithm, digest, target, modified, modified_nanos, mode, stamp, client, since
         FROM files WHERE path = ?1 AND until IS NULL",
    )?
    .query_row([Column(path)], |row| {
        Ok(Current {
            id: row.get("id")?,
            since: row.get::<_, Column<_>>("since")?.0,
            row: Row {
                kind: kind(row)?,
                modified: columns::modified(row)?,
                mode: row.get::<_, Option<u32>>("mode")?.map(Mode::from_bits),
                stamp: Stamp(row.get("stamp")?),
            },
            client: row.get("client")?,
        })
    })
    .optional()
}

fn kind(row: &rusqlite::Row<'_>) -> rusqlite::Result<RowKind> {
    match row.get_ref("kind")?.as_str()? {
        "file" => {
            let digest = columns::digest(row)?.ok_or_else(|| columns::damaged("digest"))?;
            Ok(RowKind::File { size: row.get::<_, Column<_>>("size")?.0, digest })
        }
        "folder" => Ok(RowKind::Folder),
        "symlink" => Ok(RowKind::Symlink(row.get("target")?)),
        _ => Err(columns::damaged("kind")),
    }
}

fn insert(db: &Connection, filed: &Filed, client: &str, since: SystemTime) -> rusqlite::Result<()> {
    let Filed { path, row, .. } = filed;
    let (kind, file, target) = match &row.kind {
        RowKind::File { size, digest } => ("file", Some((*size, digest)), None),
        RowKind::Folder => ("folder", None, None),
        RowKind::Symlink(target) => ("symlink", None, Some(target)),
    };
    db.prepare_cached(
        "INSERT INTO files (path, kind, size, algorithm, digest, target, modified, modified_nanos, mode, stamp,
                            client, since)
         VALUES (:path, :kind, :size, :algorithm, :digest, :target, :modified, :modified_nanos, :mode, :stamp,
                 :client, :since)",
    )?
    .execute(named_params! {
        ":path": Column(path),
        ":kind": kind,
        ":size": file.map(|(size, _)| Column(size)),
        ":algorithm": file.map(|(_, digest)| digest.algorithm().number()),
        ":digest": file.map(|(_, digest)| digest.bytes()),
        ":target": target,
        ":modified": row.modified.map(|time| time.seconds()),
        ":modified_nanos": row.modified.map(|time| time.nanos()),
        ":mode": row.mode.map(|mode| mode.bits()),
        ":stamp": row.stamp.0,
        ":client": client,
        ":since": Column(since),
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ferry_proto::Timestamp;
    use ferry_store::{Ledger, LedgerError};

    use super::{
        super::{
            lock,
            tests::{fresh, path},
        },
        *,
    };

    fn file(content: &[u8], stamp: &[u8]) -> Row {
        let digest = ferry_proto::Algorithm::Sha256.digest(content);
        Row {
            kind: RowKind::File { size: content.len() as u64, digest },
            modified: Timestamp::new(1_700_000_000, 999_999_999).ok(),
            mode: Some(Mode::from_bits(0o4755)),
            stamp: Stamp(stamp.to_vec()),
        }
    }

    fn filed(name: impl AsRef<[u8]>, row: Row) -> Filed {
        Filed { path: path(name), row, client: "laptop".into(), staged: None }
    }

    /// Digest or kind of every row of a name, oldest first, with its times.
    fn history(db: &Connection, name: &str) -> Vec<(String, i64, Option<i64>)> {
        let mut rows = db
            .prepare(
                "SELECT iif(digest IS NULL, kind, lower(hex(digest))), since, until FROM files
                      WHERE CAST(path AS TEXT) = ?1 ORDER BY id",
            )
            .unwrap();
        rows.query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .map(|row| row.unwrap())
            .collect()
    }

    #[test]
    fn every_kind_of_row_comes_back() {
        let (_folder, catalogue) = fresh();
        let bare = |kind| Row { kind, modified: None, mode: None, stamp: Stamp(Vec::new()) };
        let rows = [
            filed("file", file(b"abc", b"\0\xff")),
            filed("empty", file(b"", b"s")),
            filed("folder", Row { mode: Some(Mode::from_bits(0)), ..bare(RowKind::Folder) }),
            filed("link", bare(RowKind::Symlink(b"/dangling/\xe9".to_vec()))),
            filed(b"latin-\xe9/new\nline", bare(RowKind::Folder)),
            filed("old", Row { modified: Timestamp::new(i64::MIN, 1).ok(), ..bare(RowKind::Folder) }),
            filed("new", Row { modified: Timestamp::new(i64::MAX, 0).ok(), ..bare(RowKind::Folder) }),
        ];
        catalogue.record(&rows).unwrap();
        for filed in rows {
            assert_eq!(catalogue.find(&filed.path).unwrap(), Some(filed.row), "{}", filed.path);
        }
        assert_eq!(catalogue.find(&path("fil")).unwrap(), None);
        assert_eq!(catalogue.find(&path("File")).unwrap(), None);
    }

    #[test]
    fn what_a_name_held_stays_as_history() {
        let (_folder, catalogue) = fresh();
        for row in [file(b"one", b"1"), file(b"two", b"2")] {
            catalogue.record(&[filed("a", row)]).unwrap();
        }
        let folder = Row { kind: RowKind::Folder, modified: None, mode: None, stamp: Stamp(vec![3]) };
        catalogue.record(&[filed("a", folder.clone())]).unwrap();
        assert_eq!(catalogue.find(&path("a")).unwrap(), Some(folder));
        let rows = history(&lock(&catalogue.reader), "a");
        let digest = |content| ferry_proto::Algorithm::Sha256.digest(content).hex();
        assert_eq!(
            rows.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(),
            [digest(b"one").as_str(), &digest(b"two"), "folder"]
        );
        assert_eq!((rows[0].2, rows[1].2, rows[2].2), (Some(rows[1].1), Some(rows[2].1), None));
    }

    #[test]
    fn another_time_or_mode_is_history_too() {
        let (_folder, catalogue) = fresh();
        let first = file(b"x", b"1");
        let later = Row { modified: Timestamp::new(1_700_000_001, 0).ok(), ..first.clone() };
        let plain = Row { mode: None, ..later.clone() };
        for row in [&first, &later, &plain] {
            catalogue.record(&[filed("a", row.clone())]).unwrap();
            assert_eq!(catalogue.find(&path("a")).unwrap().as_ref(), Some(row));
        }
        assert_eq!(history(&lock(&catalogue.reader), "a").len(), 3);
    }

    #[test]
    fn a_file_that_was_only_touched_gets_its_new_stamp_in_place() {
        let (_folder, catalogue) = fresh();
        for stamp in [&b"1"[..], b"2", b"2"] {
            catalogue.record(&[filed("a", file(b"same", stamp))]).unwrap();
        }
        assert_eq!(catalogue.find(&path("a")).unwrap(), Some(file(b"same", b"2")));
        let rows = history(&lock(&catalogue.reader), "a");
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].2, None);
    }

    #[test]
    fn one_batch_may_name_a_file_twice() {
        let (_folder, catalogue) = fresh();
        catalogue.record(&[filed("a", file(b"one", b"1")), filed("a", file(b"two", b"2"))]).unwrap();
        assert_eq!(catalogue.find(&path("a")).unwrap(), Some(file(b"two", b"2")));
        assert_eq!(history(&lock(&catalogue.reader), "a").len(), 2);
    }

    #[test]
    fn hostile_19_a_clock_that_jumps_back_leaves_history_in_order() {
        let (_folder, catalogue) = fresh();
        let now = SystemTime::now();
        let db = lock(&catalogue.writer);
        record(&db, &filed("a", file(b"one", b"1")), now).unwrap();
        record(&db, &filed("a", file(b"two", b"2")), now - Duration::from_secs(3600)).unwrap();
        let rows = history(&db, "a");
        assert_eq!((rows[0].2, rows[1].1), (Some(rows[0].1), rows[0].1));
    }

    #[test]
    fn a_batch_is_recorded_whole_or_not_at_all() {
        let (_folder, catalogue) = fresh();
        let good = filed("good", file(b"x", b"1"));
        let impossible = RowKind::File { size: u64::MAX, digest: ferry_proto::Algorithm::Sha256.digest(b"") };
        let bad = filed("bad", Row { kind: impossible, ..file(b"", b"1") });
        let error = catalogue.record(&[good.clone(), bad]).unwrap_err();
        assert!(error.to_string().contains("cannot record files"), "{error}");
        assert_eq!(catalogue.find(&path("good")).unwrap(), None);
        catalogue.record(&[good]).unwrap();
    }

    #[test]
    fn hostile_19_a_full_disk_fails_the_batch_and_nothing_else() {
        let (_folder, catalogue) = fresh();
        catalogue.record(&[filed("before", file(b"x", b"1"))]).unwrap();
        let limit = |pages: i64| {
            lock(&catalogue.writer)
                .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
                .unwrap()
        };
        limit(1);
        let many: Vec<Filed> = (0..2000).map(|n| filed(format!("file {n}"), file(b"y", &[7; 64]))).collect();
        assert!(matches!(catalogue.record(&many), Err(LedgerError::Full)));
        assert_eq!(catalogue.find(&path("file 0")).unwrap(), None);
        assert!(catalogue.find(&path("before")).unwrap().is_some());
        limit(1_000_000);
        catalogue.record(&many).unwrap();
        assert!(catalogue.find(&path("file 1999")).unwrap().is_some());
    }

    #[test]
    fn pruning_removes_old_history_and_nothing_that_is_held() {
        let (_folder, catalogue) = fresh();
        let start = SystemTime::now() - Duration::from_secs(1000);
        {
            let db = lock(&catalogue.writer);
            for (age, content) in [(0, b"1"), (100, b"2"), (200, b"3")] {
                record(&db, &filed("a", file(content, content)), start + Duration::from_secs(age)).unwrap();
            }
        }
        assert_eq!(catalogue.prune(start + Duration::from_secs(100)).unwrap(), 0);
        assert_eq!(catalogue.prune(start + Duration::from_secs(101)).unwrap(), 1);
        assert_eq!(catalogue.prune(SystemTime::now()).unwrap(), 1);
        assert_eq!(catalogue.prune(SystemTime::now()).unwrap(), 0);
        assert_eq!(catalogue.find(&path("a")).unwrap(), Some(file(b"3", b"3")));
    }
}
