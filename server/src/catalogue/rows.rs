//! What a row of files says: how it is read and written.

use std::time::SystemTime;

use ferry_proto::{Algorithm, Attributes, Mode, Owner, RelPath};
use ferry_store::{Amiss, Filed, Recorded, Row, RowKind, Stamp};
use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::{
    columns::{self, Column, Fields},
    history::Span,
};

/// What [`whole`] takes.
macro_rules! whole {
    () => {
        "kind, size, sha256, blake3, target, modified, modified_nanos, mode, stamp,
         uid, gid, user_name, group_name, xattrs, (SELECT what FROM findings WHERE findings.path = files.path)"
    };
}

const CURRENT: &str = concat!(
    "SELECT ",
    whole!(),
    ", id, client, since FROM files LEFT JOIN attributes ON file = id WHERE path = ?1 AND until IS NULL"
);

const NEXT: &str = concat!(
    "SELECT ",
    whole!(),
    ", path FROM files LEFT JOIN attributes ON file = id
     WHERE until IS NULL AND path >= :from AND (:last IS NULL OR path < :last)
       AND (path = :name OR path > :first)
     ORDER BY path LIMIT :most"
);

/// What a name holds.
pub(super) struct Current {
    pub(super) id: i64,
    pub(super) since: SystemTime,
    pub(super) row: Row,
    pub(super) client: String,
    /// Whether something was found amiss with it.
    pub(super) is_noted: bool,
}

/// The row of what a name holds now.
pub(super) fn current(db: &Connection, path: &RelPath) -> rusqlite::Result<Option<Current>> {
    db.prepare_cached(CURRENT)?
        .query_row([Column(path)], |row| {
            let mut fields = Fields::of(row);
            let (row, is_noted) = whole(&mut fields)?;
            Ok(Current { row, is_noted, id: fields.take()?, client: fields.take()?, since: fields.column()? })
        })
        .optional()
}

/// The next rows in the order of names.
pub(super) fn next(
    db: &Connection,
    after: Option<&RelPath>,
    span: &Span,
    most: usize,
) -> rusqlite::Result<Vec<Recorded>> {
    // What comes right after a name, which has no zero in it.
    let from = after.map_or(span.name().to_vec(), |after| [after.as_bytes(), b"\0"].concat());
    db.prepare_cached(NEXT)?
        .query_map(
            named_params! {
                ":from": from,
                ":name": span.name(),
                ":first": span.first(),
                ":last": span.last(),
                ":most": most as i64,
            },
            |row| {
                let mut fields = Fields::of(row);
                let (row, is_noted) = whole(&mut fields)?;
                Ok(Recorded { row, is_noted, path: fields.column()? })
            },
        )?
        .collect()
}

/// A row, and whether something was found amiss with it.
fn whole(fields: &mut Fields<'_>) -> rusqlite::Result<(Row, bool)> {
    let mut row = Row {
        kind: kind(fields)?,
        modified: columns::modified(fields)?,
        mode: fields.take::<Option<u32>>()?.map(Mode::from_bits),
        stamp: Stamp(fields.take()?),
        attributes: columns::attributes(fields)?,
        is_damaged: false,
    };
    let amiss = fields.look()?.as_str_or_null()?;
    row.is_damaged = amiss == Some(Amiss::Rotted.word());
    Ok((row, amiss.is_some()))
}

/// What a row speaks of: its columns from `kind` to `target`.
pub(super) fn kind(fields: &mut Fields<'_>) -> rusqlite::Result<RowKind> {
    let kind = fields.look()?.as_str()?;
    let (size, digests) = (fields.take::<Option<Column<u64>>>()?, columns::digests(fields)?);
    let target: Option<Vec<u8>> = fields.take()?;
    match (kind, size, digests, target) {
        ("file", Some(Column(size)), Some(digests), None) => Ok(RowKind::File { size, digests }),
        ("folder", None, None, None) => Ok(RowKind::Folder),
        ("symlink", None, None, Some(target)) => Ok(RowKind::Symlink(target)),
        _ => Err(columns::damaged("kind")),
    }
}

/// The same content, with another time, mode or stamp, or another digest beside those that are known.
pub(super) fn touch(db: &Connection, current: &Current, row: &Row) -> rusqlite::Result<()> {
    let kind = row.kind.clone().with(&current.row.kind);
    db.prepare_cached(
        "UPDATE files SET stamp = :stamp, modified = :modified, modified_nanos = :modified_nanos, mode = :mode,
                          sha256 = :sha256, blake3 = :blake3
         WHERE id = :id",
    )?
    .execute(named_params! {
        ":id": current.id,
        ":stamp": row.stamp.0,
        ":modified": row.modified.map(|time| time.seconds()),
        ":modified_nanos": row.modified.map(|time| time.nanos()),
        ":mode": row.mode.map(|mode| mode.bits()),
        ":sha256": digest_of(&kind, Algorithm::Sha256),
        ":blake3": digest_of(&kind, Algorithm::Blake3),
    })?;
    tell(db, current.id, &row.attributes)
}

/// Writes what else is said of a row. What is not said stays.
fn tell(db: &Connection, id: i64, attributes: &Attributes) -> rusqlite::Result<()> {
    let Attributes { owner, xattrs } = attributes;
    if let Some(Owner { uid, gid, user, group }) = owner {
        db.prepare_cached(
            "INSERT INTO attributes (file, uid, gid, user_name, group_name) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (file) DO UPDATE SET uid = ?2, gid = ?3, user_name = ?4, group_name = ?5",
        )?
        .execute(params![id, uid, gid, user, group])?;
    }
    if let Some(xattrs) = xattrs {
        db.prepare_cached(
            "INSERT INTO attributes (file, xattrs) VALUES (?1, ?2) ON CONFLICT (file) DO UPDATE SET xattrs = ?2",
        )?
        .execute(params![id, xattrs.to_bytes()])?;
    }
    Ok(())
}

fn digest_of(kind: &RowKind, algorithm: Algorithm) -> Option<[u8; 32]> {
    kind.digest(algorithm).map(|digest| *digest.bytes())
}

/// Returns the row's number.
pub(super) fn insert(db: &Connection, filed: &Filed, since: SystemTime) -> rusqlite::Result<i64> {
    let Filed { path, row, client, staged: _, before: _ } = filed;
    let (kind, size, target) = match &row.kind {
        RowKind::File { size, .. } => ("file", Some(Column(*size)), None),
        RowKind::Folder => ("folder", None, None),
        RowKind::Symlink(target) => ("symlink", None, Some(target)),
    };
    db.prepare_cached(
        "INSERT INTO files (path, kind, size, sha256, blake3, target, modified, modified_nanos, mode, stamp,
                            client, since)
         VALUES (:path, :kind, :size, :sha256, :blake3, :target, :modified, :modified_nanos, :mode, :stamp,
                 :client, :since)",
    )?
    .execute(named_params! {
        ":path": Column(path),
        ":kind": kind,
        ":size": size,
        ":sha256": digest_of(&row.kind, Algorithm::Sha256),
        ":blake3": digest_of(&row.kind, Algorithm::Blake3),
        ":target": target,
        ":modified": row.modified.map(|time| time.seconds()),
        ":modified_nanos": row.modified.map(|time| time.nanos()),
        ":mode": row.mode.map(|mode| mode.bits()),
        ":stamp": row.stamp.0,
        ":client": client,
        ":since": Column(since),
    })?;
    let id = db.last_insert_rowid();
    if !row.attributes.is_empty() {
        tell(db, id, &row.attributes)?;
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::{
        super::{
            lock,
            tests::{fresh, path},
        },
        *,
    };

    #[test]
    fn looking_up_another_name_needs_no_other_plan() {
        let (_folder, catalogue) = fresh();
        let db = lock(&catalogue.reader);
        for name in ["a", "b"] {
            assert!(current(&db, &path(name)).unwrap().is_none());
        }
        let statement = db.prepare_cached(CURRENT).unwrap();
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        assert!(statement.get_status(StatementStatus::Run) > 0, "it is another statement");
    }
}
