//! What a look into pictures has shown.

use ferry_store::source::Identity;
use rusqlite::{Connection, OptionalExtension, params};

/// What was wrong with it, if it was looked into and is still the same.
pub(super) fn find(db: &Connection, identity: &Identity) -> rusqlite::Result<Option<Option<String>>> {
    db.prepare_cached(
        "SELECT flaw FROM looks WHERE device = ?1 AND inode = ?2 AND size = ?3 AND modified_s = ?4 AND modified_ns = ?5
         AND changed_s = ?6 AND changed_ns = ?7",
    )?
    .query_row(columns(identity), |row| row.get(0))
    .optional()
}

/// Keeps what was wrong with it, or that nothing was.
pub(super) fn keep(db: &Connection, identity: &Identity, flaw: Option<&str>) -> rusqlite::Result<()> {
    let [device, inode, size, modified_s, modified_ns, changed_s, changed_ns] = columns(identity);
    db.prepare_cached("INSERT OR REPLACE INTO looks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![device, inode, size, modified_s, modified_ns, changed_s, changed_ns, flaw])?;
    Ok(())
}

/// A version of a file, in the order of its columns.
fn columns(identity: &Identity) -> [i64; 7] {
    [
        identity.device as i64,
        identity.inode as i64,
        identity.size as i64,
        identity.modified.seconds(),
        identity.modified.nanos().into(),
        identity.changed.seconds(),
        identity.changed.nanos().into(),
    ]
}
