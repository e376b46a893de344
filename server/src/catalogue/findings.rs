//! What was found amiss with names, until they are written anew or found well.

use std::time::SystemTime;

use ferry_proto::{Digest, RelPath};
use ferry_store::{Amiss, Finding};
use rusqlite::{Connection, named_params, params};

use super::{
    Catalogue, CatalogueError, Span,
    columns::{self, Column},
};

/// Findings that are read at a time.
const PAGE: usize = 1000;

pub(super) const TABLES: &str = "
CREATE TABLE findings (
    -- What was found amiss with names of the inbox, by `ferryd scrub` or while a file was read for a client. It goes when
    -- the name is written anew, or found well.
    path           BLOB    PRIMARY KEY,  -- as in files
    what           TEXT    NOT NULL CHECK (what IN ('rotted', 'changed', 'missing', 'unreceipted', 'unreadable')),
    algorithm      INTEGER,              -- of the digests: 1 is SHA-256, 2 is BLAKE3
    expected       BLOB,                 -- the digest of what was received
    found          BLOB,                 -- the digest of what is there
    detail         TEXT    NOT NULL,     -- more about it, maybe nothing
    first          INTEGER NOT NULL,     -- when it was found first, in milliseconds since 1970 UTC
    last           INTEGER NOT NULL,     -- when it was found last
    pass           INTEGER               -- the pass that found it last; NULL is no pass
) STRICT, WITHOUT ROWID;
CREATE INDEX findings_pass ON findings (pass, path);

CREATE TABLE passes (
    -- Passes of `ferryd scrub` that are under way or were interrupted: the next one for the same path goes on there.
    id             INTEGER PRIMARY KEY,
    path           BLOB    NOT NULL UNIQUE,  -- what it is about; empty is the whole inbox
    adopt          INTEGER NOT NULL,         -- 1 if it takes in what was done by hand
    on_disk        INTEGER NOT NULL,         -- 1 once all rows are compared
    after          BLOB,                     -- the last name whose row is compared
    names          INTEGER NOT NULL,         -- names that were compared so far
    bytes          INTEGER NOT NULL,         -- bytes that were read for that
    renewed        INTEGER NOT NULL,         -- rows that were brought up to date
    adopted        INTEGER NOT NULL          -- differences that were taken in
) STRICT;
";

/// Writes down what is amiss.
pub(super) fn note(
    db: &Connection,
    path: &RelPath,
    finding: &Finding,
    now: SystemTime,
) -> rusqlite::Result<()> {
    let Finding { what, expected, found, detail, pass } = finding;
    let algorithm = expected.or(*found).map(|digest| digest.algorithm().number());
    db.prepare_cached(
        "INSERT INTO findings (path, what, algorithm, expected, found, detail, first, last, pass)
         VALUES (:path, :what, :algorithm, :expected, :found, :detail, :now, :now, :pass)
         ON CONFLICT (path) DO UPDATE SET
            first = iif(what = :what, first, :now), what = :what, algorithm = :algorithm, expected = :expected,
            found = :found, detail = :detail, last = :now, pass = coalesce(:pass, pass)",
    )?
    .execute(named_params! {
        ":path": Column(path),
        ":what": what.word(),
        ":algorithm": algorithm,
        ":expected": expected.map(|digest| *digest.bytes()),
        ":found": found.map(|digest| *digest.bytes()),
        ":detail": detail,
        ":now": Column(now),
        ":pass": pass,
    })?;
    Ok(())
}

/// Nothing is amiss with a name any more.
pub(super) fn forget(db: &Connection, path: &RelPath) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM findings WHERE path = ?1")?.execute([Column(path)])?;
    Ok(())
}

/// Forgets what a pass has not met again of names that have no row: nothing else would.
pub(super) fn forget_strangers(db: &Connection, span: &Span, pass: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM findings
         WHERE what IN ('unreceipted', 'unreadable') AND pass IS NOT :pass
           AND (:last IS NULL OR path = :name OR (path > :first AND path < :last))",
    )?
    .execute(named_params! {
        ":pass": pass,
        ":name": span.name(),
        ":first": span.first(),
        ":last": span.last(),
    })?;
    Ok(())
}

impl Catalogue {
    /// Goes through what a pass has found so far, in the order of names.
    pub fn found_by<E: From<CatalogueError>>(
        &self,
        pass: i64,
        mut tell: impl FnMut(RelPath, Finding) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after: Option<RelPath> = None;
        loop {
            let page = self.read("list findings", |db| page(db, pass, after.as_ref()))?;
            let is_last = page.len() < PAGE;
            for (path, finding) in page {
                after = Some(path.clone());
                tell(path, finding)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

fn page(db: &Connection, pass: i64, after: Option<&RelPath>) -> rusqlite::Result<Vec<(RelPath, Finding)>> {
    db.prepare_cached(
        "SELECT path, what, algorithm, expected, found, detail, pass FROM findings
         WHERE pass = ?1 AND path > ?2 ORDER BY path LIMIT ?3",
    )?
    .query_map(params![pass, after.map_or(&b""[..], RelPath::as_bytes), PAGE as i64], |row| {
        let what =
            Amiss::of_word(row.get_ref("what")?.as_str()?).ok_or_else(|| columns::damaged("finding"))?;
        let number: Option<u8> = row.get("algorithm")?;
        let algorithm = number.and_then(ferry_proto::Algorithm::from_number);
        let digest = |column: &str| {
            let bytes: Option<[u8; 32]> = row.get(column)?;
            Ok::<_, rusqlite::Error>(algorithm.zip(bytes).map(|(by, bytes)| Digest::new(by, bytes)))
        };
        let (expected, found) = (digest("expected")?, digest("found")?);
        let finding = Finding { what, expected, found, detail: row.get("detail")?, pass: row.get("pass")? };
        Ok((row.get::<_, Column<_>>("path")?.0, finding))
    })?
    .collect()
}

#[cfg(test)]
mod tests {
    use ferry_proto::Algorithm;
    use ferry_store::{Change, Filed, Ledger, Register, Revision, Row, RowKind, Stamp, scrub::Position};

    use super::{
        super::{
            ADOPTED,
            tests::{fresh, path},
        },
        *,
    };

    fn row(content: &[u8]) -> Row {
        let kind =
            RowKind::File { size: content.len() as u64, digests: Algorithm::Sha256.digest(content).into() };
        Row {
            kind,
            modified: None,
            mode: None,
            attributes: ferry_proto::Attributes::default(),
            stamp: Stamp(content.to_vec()),
            is_damaged: false,
        }
    }

    fn put(catalogue: &Catalogue, name: impl AsRef<[u8]>, content: &[u8]) {
        let filed = Filed {
            path: path(name),
            row: row(content),
            client: "laptop".into(),
            staged: None,
            before: None,
        };
        catalogue.record(&[filed]).unwrap();
    }

    fn revise(catalogue: &Catalogue, name: impl AsRef<[u8]>, seen: Option<&[u8]>, change: Change) -> bool {
        let seen = seen.map(|stamp| Stamp(stamp.to_vec()));
        catalogue.revise(&[Revision { path: path(name), seen, change }]).unwrap() == [true]
    }

    fn rotted(pass: i64) -> Finding {
        let (expected, found) = (Algorithm::Sha256.digest(b"1"), Algorithm::Sha256.digest(b"2"));
        let (expected, found) = (Some(expected), Some(found));
        Finding { what: Amiss::Rotted, expected, found, detail: "a word".into(), pass: Some(pass) }
    }

    fn found(catalogue: &Catalogue, pass: i64) -> Vec<(String, Finding)> {
        let mut found = Vec::new();
        let take = |path: RelPath, finding| -> Result<(), CatalogueError> {
            found.push((path.to_string(), finding));
            Ok(())
        };
        catalogue.found_by(pass, take).unwrap();
        found
    }

    #[test]
    fn a_finding_comes_back_and_goes_with_what_it_was_about() {
        let ends: [fn(&Catalogue); 5] = [
            // Sent again, something else, by hand, gone, found well.
            |catalogue| put(catalogue, "a", b"1"),
            |catalogue| put(catalogue, "a", b"other"),
            |catalogue| {
                assert!(revise(catalogue, "a", Some(b"1"), Change::Adopt(row(b"own"), ADOPTED.into())))
            },
            |catalogue| assert!(revise(catalogue, "a", Some(b"1"), Change::Close)),
            |catalogue| assert!(revise(catalogue, "a", Some(b"1"), Change::Renew(row(b"1")))),
        ];
        for end in ends {
            let (_folder, catalogue) = fresh();
            put(&catalogue, "a", b"1");
            put(&catalogue, "b", b"1");
            assert!(revise(&catalogue, "a", Some(b"1"), Change::Note(rotted(7))));
            assert_eq!(found(&catalogue, 7), [("a".to_owned(), rotted(7))]);
            assert_eq!(found(&catalogue, 8), []);
            let damaged = |name| catalogue.find(&path(name)).unwrap().is_some_and(|row| row.is_damaged);
            assert_eq!((damaged("a"), damaged("b")), (true, false));
            let noted: Vec<_> = catalogue.rows(None, None, 9).unwrap();
            assert_eq!(noted.iter().map(|row| row.is_noted).collect::<Vec<_>>(), [true, false]);
            end(&catalogue);
            assert_eq!((found(&catalogue, 7), damaged("a")), (vec![], false));
        }
    }

    #[test]
    fn promise_2_a_revision_changes_nothing_that_was_recorded_meanwhile() {
        let (_folder, catalogue) = fresh();
        put(&catalogue, "a", b"newer");
        let changes = [
            Change::Renew(row(b"older")),
            Change::Adopt(row(b"own"), ADOPTED.into()),
            Change::Close,
            Change::Note(rotted(1)),
        ];
        for change in changes {
            assert!(!revise(&catalogue, "a", Some(b"older"), change.clone()));
            assert!(!revise(&catalogue, "a", None, change));
            assert_eq!(catalogue.find(&path("a")).unwrap(), Some(row(b"newer")));
        }
        assert_eq!(found(&catalogue, 1), []);
        assert!(revise(&catalogue, "b", None, Change::Adopt(row(b"own"), ADOPTED.into())));
        let held = |client: &str| catalogue.held_by(client).unwrap();
        assert_eq!((held(ADOPTED).rows, held(ADOPTED).names, held("laptop").names), (3, 1, 1));
    }

    #[test]
    fn rows_come_in_the_order_of_their_names_and_go_on_after_any_of_them() {
        let (_folder, catalogue) = fresh();
        let names = [&b"a"[..], b"a!", b"a-b", b"a/", b"a/b/c", b"a0", b"b", b"caf\xe9", b"\xff"];
        for name in names.into_iter().filter(|name| *name != b"a/") {
            put(&catalogue, name, name);
        }
        put(&catalogue, "a/b", b"closed");
        put(&catalogue, "a/b", b"x");
        let rows = |after: Option<&str>, below: Option<&str>, most| -> Vec<String> {
            let (after, below) = (after.map(path), below.map(path));
            let rows = catalogue.rows(after.as_ref(), below.as_ref(), most).unwrap();
            rows.into_iter().map(|row| row.path.to_string()).collect()
        };
        assert_eq!(rows(None, None, 3), ["a", "a!", "a-b"]);
        assert_eq!(rows(Some("a-b"), None, 9), ["a/b", "a/b/c", "a0", "b", "caf\\xe9", "\\xff"]);
        assert_eq!(rows(None, Some("a"), 9), ["a", "a/b", "a/b/c"]);
        assert_eq!(rows(Some("a"), Some("a"), 9), ["a/b", "a/b/c"]);
        assert_eq!(rows(Some("a/b"), Some("a/b"), 9), ["a/b/c"]);
        assert_eq!(rows(Some("a/b/c"), Some("a"), 9), [""; 0]);
        let known = catalogue.have_rows(&[path("a"), path("a/c"), path("a/b")]).unwrap();
        assert_eq!(known, [true, false, true]);
    }

    #[test]
    fn promise_3_a_pass_goes_on_where_it_was_noted_until_it_is_over() {
        let (_folder, catalogue) = fresh();
        let mut pass = catalogue.begin_pass(None, false).unwrap();
        assert!(!pass.is_resumed);
        (pass.position, pass.names, pass.bytes) = (Position::Rows(Some(path("a/b"))), 3, u64::MAX / 2);
        catalogue.note_pass(&pass).unwrap();
        let other = catalogue.begin_pass(Some(&path("a")), false).unwrap();
        assert_ne!(other.id, pass.id);
        pass.is_resumed = true;
        assert_eq!(catalogue.begin_pass(None, false).unwrap(), pass);
        pass.position = Position::Disk;
        catalogue.note_pass(&pass).unwrap();
        assert_eq!(catalogue.begin_pass(None, false).unwrap(), pass);

        // What it did not meet again of what has no row is gone with its end.
        let stranger = |pass| Finding { what: Amiss::Unreceipted, pass: Some(pass), ..rotted(0) };
        assert!(revise(&catalogue, "old", None, Change::Note(stranger(pass.id - 1))));
        assert!(revise(&catalogue, "new", None, Change::Note(stranger(pass.id))));
        catalogue.end_pass(&pass, None).unwrap();
        assert_eq!((found(&catalogue, pass.id - 1).len(), found(&catalogue, pass.id).len()), (0, 1));
        let next = catalogue.begin_pass(None, false).unwrap();
        assert!(!next.is_resumed && next.id > pass.id, "{next:?}");
        // One that adopts is another one.
        catalogue.note_pass(&next).unwrap();
        assert!(!catalogue.begin_pass(None, true).unwrap().is_resumed);
    }
}
