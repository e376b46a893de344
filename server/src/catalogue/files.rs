//! What names hold, and held before: the rows of files, folders and links.

use std::{collections::HashMap, time::SystemTime};

use ferry_proto::RelPath;
use ferry_store::{Before, Change, Filed, Revision, Row, RowKind, Stamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    columns::Column,
    findings,
    rows::{Current, current, insert, touch},
};

/// Versions of a name that are remembered beside the one that it holds: whoever changes a file twice a day can look back
/// over some weeks, and whoever changes it all the time fills no disk.
const VERSIONS: i64 = 100;

/// Rows that one transaction prunes: some milliseconds of work.
pub(super) const PRUNE_SLICE: usize = 10_000;

/// The row of what a name holds now.
pub(super) fn find(db: &Connection, path: &RelPath) -> rusqlite::Result<Option<Row>> {
    Ok(current(db, path)?.map(|current| current.row))
}

/// Writes what a name holds from now on. Where that is the content that it held before, its row gets the new time, mode
/// and stamp, and the bytes stay their first sender's; else the older row is closed.
pub(super) fn record(
    db: &Connection,
    filed: &Filed,
    now: SystemTime,
    usage: &mut Usage,
) -> rusqlite::Result<()> {
    let mut since = now;
    let current = current(db, &filed.path)?;
    if current.as_ref().is_none_or(|current| current.is_noted) {
        findings::forget(db, &filed.path)?;
    }
    if let Some(current) = current {
        if current.row == filed.row {
            return Ok(());
        }
        if current.row.kind.is_same_as(&filed.row.kind) {
            touch(db, &current, &filed.row)?;
            return renew_others(db, filed, current.id);
        }
        since = close_row(db, &filed.path, &current, now, usage)?;
    }
    usage.add(&filed.client, &filed.row.kind);
    let id = insert(db, filed, since)?;
    renew_others(db, filed, id)
}

/// Writes the stamp of a file with several names down for all of them.
fn renew_others(db: &Connection, filed: &Filed, id: i64) -> rusqlite::Result<()> {
    let Some(Before { stamp, twin }) = &filed.before else { return Ok(()) };
    let mut note = db.prepare_cached("INSERT OR REPLACE INTO hard_links (file, stamp) VALUES (?1, ?2)")?;
    if let Some(twin) = twin {
        if let Some(twin) = current(db, twin)?.filter(|twin| twin.row.stamp == *stamp) {
            note.execute(params![twin.id, stamp.0])?;
        }
        note.execute(params![id, stamp.0])?;
    }
    db.prepare_cached(
        "UPDATE files SET stamp = ?2
         WHERE id IN (SELECT file FROM hard_links WHERE stamp = ?1) AND stamp = ?1 AND until IS NULL",
    )?
    .execute(params![stamp.0, filed.row.stamp.0])?;
    db.prepare_cached("UPDATE hard_links SET stamp = ?2 WHERE stamp = ?1")?
        .execute(params![stamp.0, filed.row.stamp.0])?;
    Ok(())
}

/// Whether names hold anything now, as far as is known here.
pub(super) fn any(db: &Connection) -> rusqlite::Result<bool> {
    db.query_one("SELECT EXISTS (SELECT 1 FROM usage WHERE names > 0)", [], |row| row.get(0))
}

/// Closes the row of a name, if it has this stamp.
pub(super) fn close(
    db: &Connection,
    path: &RelPath,
    stamp: &Stamp,
    now: SystemTime,
    usage: &mut Usage,
) -> rusqlite::Result<()> {
    if let Some(current) = current(db, path)?.filter(|current| current.row.stamp == *stamp) {
        close_row(db, path, &current, now, usage)?;
    }
    Ok(())
}

/// Writes down what reading a file again has shown, if its row is still the one that was compared.
pub(super) fn revise(
    db: &Connection,
    revision: &Revision,
    now: SystemTime,
    usage: &mut Usage,
) -> rusqlite::Result<bool> {
    let Revision { path, seen, change } = revision;
    let current = current(db, path)?;
    if current.as_ref().map(|current| &current.row.stamp) != seen.as_ref() {
        return Ok(false);
    }
    match (change, current) {
        (Change::Note(finding), _) => findings::note(db, path, finding, now)?,
        (Change::Adopt(row, client), _) => {
            let (path, row, client) = (path.clone(), row.clone(), client.clone());
            record(db, &Filed { path, row, client, staged: None, before: None }, now, usage)?;
        }
        (Change::Renew(row), Some(current)) => {
            touch(db, &current, row)?;
            // Its other names are looked at by themselves, and come to the same.
            db.prepare_cached("UPDATE hard_links SET stamp = ?2 WHERE file = ?1")?
                .execute(params![current.id, row.stamp.0])?;
            findings::forget(db, path)?;
        }
        (Change::Close, Some(current)) => {
            close_row(db, path, &current, now, usage)?;
        }
        (Change::Renew(_) | Change::Close, None) => findings::forget(db, path)?,
    }
    Ok(true)
}

/// Which of these names have a row. All of them in one transaction: beginning one costs more than to look one up.
pub(super) fn exist(db: &Connection, paths: &[RelPath]) -> rusqlite::Result<Vec<bool>> {
    let tx = db.unchecked_transaction()?;
    let mut query = tx.prepare_cached("SELECT 1 FROM files WHERE path = ?1 AND until IS NULL")?;
    paths.iter().map(|path| query.exists([Column(path)])).collect()
}

/// Returns when it ended.
fn close_row(
    db: &Connection,
    path: &RelPath,
    current: &Current,
    now: SystemTime,
    usage: &mut Usage,
) -> rusqlite::Result<SystemTime> {
    if current.is_noted {
        findings::forget(db, path)?;
    }
    usage.take(&current.client, &current.row.kind);
    // A clock that was set back must not let it end before it began.
    let until = now.max(current.since);
    db.prepare_cached("UPDATE files SET until = ?2 WHERE id = ?1")?
        .execute(params![current.id, Column(until)])?;
    db.prepare_cached(
        "DELETE FROM files WHERE id IN (SELECT id FROM files WHERE path = ?1 AND until IS NOT NULL
                                        ORDER BY until DESC, id DESC LIMIT -1 OFFSET ?2)",
    )?
    .execute(params![Column(path), VERSIONS])?;
    Ok(until)
}

/// What clients hold more, or less, than is written down.
#[derive(Default)]
pub(super) struct Usage(HashMap<String, (i64, i64)>);

impl Usage {
    fn add(&mut self, client: &str, kind: &RowKind) {
        self.change(client, kind, 1);
    }

    fn take(&mut self, client: &str, kind: &RowKind) {
        self.change(client, kind, -1);
    }

    fn change(&mut self, client: &str, kind: &RowKind, by: i64) {
        let bytes = match kind {
            RowKind::File { size, .. } => *size as i64,
            RowKind::Folder | RowKind::Symlink(_) => 0,
        };
        let (all, names) = self.0.entry(client.to_owned()).or_default();
        *all += by * bytes;
        *names += by;
    }

    /// Writes it down.
    pub(super) fn write(self, db: &Connection) -> rusqlite::Result<()> {
        for (client, (bytes, names)) in self.0 {
            db.prepare_cached(
                "INSERT INTO usage (client, bytes, names) VALUES (?1, ?2, ?3)
                     ON CONFLICT (client) DO UPDATE SET bytes = bytes + ?2, names = names + ?3",
            )?
            .execute(params![client, bytes, names])?;
        }
        Ok(())
    }
}

/// Bytes of the files that a client has sent and that names hold now, and how many names hold what it has sent.
pub(super) fn usage_of(db: &Connection, client: &str) -> rusqlite::Result<(u64, u64)> {
    let usage = db
        .prepare_cached("SELECT bytes, names FROM usage WHERE client = ?1")?
        .query_row([client], |row| Ok((row.get::<_, Column<u64>>(0)?.0, row.get::<_, Column<u64>>(1)?.0)))
        .optional()?;
    Ok(usage.unwrap_or_default())
}

/// Removes rows that were closed before a time, at most [`PRUNE_SLICE`] of them. Returns how many.
pub(super) fn prune_slice(db: &Connection, older_than: SystemTime) -> rusqlite::Result<usize> {
    db.prepare_cached("DELETE FROM files WHERE id IN (SELECT id FROM files WHERE until < ?1 LIMIT ?2)")?
        .execute(params![Column(older_than), PRUNE_SLICE as i64])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ferry_proto::{Attributes, Mode, Owner, Timestamp};
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
            kind: RowKind::File { size: content.len() as u64, digests: digest.into() },
            modified: Timestamp::new(1_700_000_000, 999_999_999).ok(),
            mode: Some(Mode::from_bits(0o4755)),
            attributes: Attributes::default(),
            stamp: Stamp(stamp.to_vec()),
            is_damaged: false,
        }
    }

    fn filed(name: impl AsRef<[u8]>, row: Row) -> Filed {
        Filed { path: path(name), row, client: "laptop".into(), staged: None, before: None }
    }

    /// Digest or kind of every row of a name, oldest first, with its times.
    fn history(db: &Connection, name: &str) -> Vec<(String, i64, Option<i64>)> {
        let mut rows = db
            .prepare(
                "SELECT iif(sha256 IS NULL, kind, lower(hex(sha256))), since, until FROM files
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
        let bare = |kind| Row {
            kind,
            modified: None,
            mode: None,
            attributes: Attributes::default(),
            stamp: Stamp(Vec::new()),
            is_damaged: false,
        };
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

    fn attributes(uid: u32, xattrs: &[(&str, &[u8])]) -> Attributes {
        let xattrs = xattrs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
        Attributes {
            owner: Owner::new(uid, uid, Some(b"mia\xe9".to_vec()), None).ok(),
            xattrs: ferry_proto::Xattrs::new(xattrs.collect()).ok(),
        }
    }

    #[test]
    fn what_else_is_said_of_a_content_stays_until_something_else_is_said_or_the_content_changes() {
        let (_folder, catalogue) = fresh();
        let record = |content: &[u8], attributes: Attributes| {
            catalogue.record(&[filed("a", Row { attributes, ..file(content, b"1") })]).unwrap();
            catalogue.find(&path("a")).unwrap().unwrap().attributes
        };
        let first = attributes(1000, &[("user.x", b"\0"), ("user.y", b"")]);
        assert_eq!(record(b"one", first.clone()), first);
        assert_eq!(record(b"one", Attributes::default()), first);
        let none = attributes(0, &[]);
        assert_eq!(
            record(b"one", Attributes { owner: None, ..none.clone() }),
            Attributes { owner: first.owner, ..none.clone() }
        );
        assert_eq!(record(b"one", none.clone()), none);
        // Of another content nobody has said anything; and what was said of the older one goes with its row.
        assert_eq!(record(b"two", Attributes::default()), Attributes::default());
        let count = || -> i64 {
            lock(&catalogue.reader)
                .query_one("SELECT count(*) FROM attributes", [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!(count(), 1);
        catalogue.prune(SystemTime::now() + Duration::from_secs(1)).unwrap();
        assert_eq!(count(), 0);
    }

    #[test]
    fn all_names_of_one_file_have_its_stamp() {
        let (_folder, catalogue) = fresh();
        let record = |name: &str, stamp: &[u8], before: Option<(&[u8], Option<&str>)>| {
            let before =
                before.map(|(stamp, twin)| Before { stamp: Stamp(stamp.to_vec()), twin: twin.map(path) });
            catalogue.record(&[Filed { before, ..filed(name, file(b"same", stamp)) }]).unwrap();
        };
        let stamps = || {
            let stamp = |name: &str| catalogue.find(&path(name)).unwrap().unwrap().stamp.0;
            ["a", "b", "c", "other"].map(stamp)
        };
        record("a", b"1", None);
        record("other", b"1 of another", None);
        record("b", b"2", Some((b"1", Some("a"))));
        record("c", b"3", Some((b"2", Some("b"))));
        assert_eq!(stamps(), [&b"3"[..], b"3", b"3", b"1 of another"]);
        // One of them gets another time.
        record("b", b"4", Some((b"3", None)));
        assert_eq!(stamps(), [&b"4"[..], b"4", b"4", b"1 of another"]);
        // One becomes another file, and is none of them any more.
        catalogue.record(&[filed("a", file(b"new", b"5"))]).unwrap();
        record("c", b"6", Some((b"4", None)));
        assert_eq!(stamps(), [&b"5"[..], b"6", b"6", b"1 of another"]);
        // What had another stamp meanwhile was touched, and is not known to be the same.
        record("other", b"7", Some((b"1", Some("b"))));
        assert_eq!(stamps(), [&b"5"[..], b"6", b"6", b"7"]);
    }

    #[test]
    fn what_a_name_held_stays_as_history() {
        let (_folder, catalogue) = fresh();
        for row in [file(b"one", b"1"), file(b"two", b"2")] {
            catalogue.record(&[filed("a", row)]).unwrap();
        }
        let folder = Row {
            kind: RowKind::Folder,
            modified: None,
            mode: None,
            attributes: Attributes::default(),
            stamp: Stamp(vec![3]),
            is_damaged: false,
        };
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
    fn another_time_or_mode_of_the_same_content_is_no_other_version() {
        let (_folder, catalogue) = fresh();
        let first = file(b"x", b"1");
        let later = Row { modified: Timestamp::new(1_700_000_001, 0).ok(), ..first.clone() };
        let plain = Row { mode: None, modified: None, ..later.clone() };
        for row in [&first, &later, &plain] {
            catalogue.record(&[Filed { client: "phone".into(), ..filed("a", row.clone()) }]).unwrap();
            assert_eq!(catalogue.find(&path("a")).unwrap().as_ref(), Some(row));
        }
        assert_eq!(history(&lock(&catalogue.reader), "a").len(), 1);
    }

    #[test]
    fn hostile_10_a_name_that_changes_all_the_time_is_remembered_so_many_times() {
        let (_folder, catalogue) = fresh();
        for number in 0..VERSIONS + 10 {
            catalogue.record(&[filed("a", file(number.to_string().as_bytes(), b"1"))]).unwrap();
        }
        let rows = history(&lock(&catalogue.reader), "a");
        assert_eq!(rows.len() as i64, VERSIONS + 1);
        assert_eq!(rows[0].0, ferry_proto::Algorithm::Sha256.digest(b"9").hex());
        assert_eq!(rows.iter().filter(|row| row.2.is_none()).count(), 1);
    }

    #[test]
    fn what_clients_hold_is_added_up_as_it_comes_and_goes() {
        let (_folder, catalogue) = fresh();
        let of = |client: &str, name: &str, content: &[u8]| Filed {
            client: client.into(),
            ..filed(name, file(content, content))
        };
        let held = |client: &str| {
            let held = catalogue.held_by(client).unwrap();
            (held.rows, held.names)
        };
        catalogue.record(&[of("one", "a", b"123"), of("one", "b", b""), of("two", "c", b"12345")]).unwrap();
        assert_eq!((held("one"), held("two"), held("three")), ((3, 2), (5, 1), (0, 0)));
        // Replaced by another, and by itself; touched by another, which changes nobody's bytes.
        catalogue.record(&[of("two", "a", b"1"), of("two", "c", b"12")]).unwrap();
        catalogue.record(&[Filed { client: "one".into(), ..filed("c", file(b"12", b"touched")) }]).unwrap();
        assert_eq!((held("one"), held("two")), ((0, 1), (3, 2)));
        let stamp = Stamp(b"1".to_vec());
        catalogue.close(&path("a"), &Stamp(b"another".to_vec())).unwrap();
        assert_eq!(held("two"), (3, 2));
        catalogue.close(&path("a"), &stamp).unwrap();
        assert_eq!((held("two"), catalogue.find(&path("a")).unwrap()), ((2, 1), None));
        // What fails changes nothing.
        let impossible =
            RowKind::File { size: u64::MAX, digests: ferry_proto::Algorithm::Sha256.digest(b"").into() };
        let bad = filed("bad", Row { kind: impossible, ..file(b"", b"1") });
        catalogue.record(&[of("one", "d", b"1234567"), bad]).unwrap_err();
        assert_eq!(held("one"), (0, 1));
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
        let mut usage = Usage::default();
        record(&db, &filed("a", file(b"one", b"1")), now, &mut usage).unwrap();
        record(&db, &filed("a", file(b"two", b"2")), now - Duration::from_secs(3600), &mut usage).unwrap();
        let rows = history(&db, "a");
        assert_eq!((rows[0].2, rows[1].1), (Some(rows[0].1), rows[0].1));
    }

    #[test]
    fn a_batch_is_recorded_whole_or_not_at_all() {
        let (_folder, catalogue) = fresh();
        let good = filed("good", file(b"x", b"1"));
        let impossible =
            RowKind::File { size: u64::MAX, digests: ferry_proto::Algorithm::Sha256.digest(b"").into() };
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
                let (row, then) = (filed("a", file(content, content)), start + Duration::from_secs(age));
                record(&db, &row, then, &mut Usage::default()).unwrap();
            }
        }
        assert_eq!(catalogue.prune(start + Duration::from_secs(100)).unwrap(), 0);
        assert_eq!(catalogue.prune(start + Duration::from_secs(101)).unwrap(), 1);
        assert_eq!(catalogue.prune(SystemTime::now()).unwrap(), 1);
        assert_eq!(catalogue.prune(SystemTime::now()).unwrap(), 0);
        assert_eq!(catalogue.find(&path("a")).unwrap(), Some(file(b"3", b"3")));
    }
}
