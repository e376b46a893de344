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
