//! What clients may do.

use std::time::SystemTime;

use ferry_proto::RelPath;
use rusqlite::{Connection, Row, named_params};

use super::columns::Column;

/// What a client may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The folder that is the root for it; `None` is the whole inbox.
    pub folder: Option<RelPath>,
    /// May send.
    pub put: bool,
    /// May read.
    pub get: bool,
    /// May list.
    pub list: bool,
    /// May replace what is there.
    pub overwrite: bool,
    /// Bytes that it may hold; `None` is no limit.
    pub quota: Option<u64>,
    /// When it ends, to the millisecond; `None` is never.
    pub expires: Option<SystemTime>,
}

impl Grant {
    /// The whole inbox, without limits.
    pub fn whole() -> Self {
        Grant { folder: None, put: true, get: true, list: true, overwrite: true, quota: None, expires: None }
    }
}

/// The columns of a grant `g`, for a query that joins them.
macro_rules! grant_columns {
    () => {
        "g.id AS grant_id, g.folder, g.put, g.get, g.list, g.overwrite, g.quota, g.expires"
    };
}
pub(super) use grant_columns;

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Grant> {
    Ok(Grant {
        folder: row.get::<_, Option<Column<RelPath>>>("folder")?.map(|Column(path)| path),
        put: row.get("put")?,
        get: row.get("get")?,
        list: row.get("list")?,
        overwrite: row.get("overwrite")?,
        quota: row.get::<_, Option<Column<u64>>>("quota")?.map(|Column(bytes)| bytes),
        expires: row.get::<_, Option<Column<SystemTime>>>("expires")?.map(|Column(time)| time),
    })
}

/// Returns its id.
pub(super) fn insert(db: &Connection, grant: &Grant) -> rusqlite::Result<i64> {
    db.prepare_cached(
        "INSERT INTO grants (folder, put, get, list, overwrite, quota, expires)
         VALUES (:folder, :put, :get, :list, :overwrite, :quota, :expires)",
    )?
    .insert(named_params! {
        ":folder": grant.folder.as_ref().map(Column),
        ":put": grant.put,
        ":get": grant.get,
        ":list": grant.list,
        ":overwrite": grant.overwrite,
        ":quota": grant.quota.map(Column),
        ":expires": grant.expires.map(Column),
    })
}

/// A grant like another one. Returns its id.
pub(super) fn copy(db: &Connection, id: i64) -> rusqlite::Result<i64> {
    db.prepare_cached(
        "INSERT INTO grants (folder, put, get, list, overwrite, quota, expires)
         SELECT folder, put, get, list, overwrite, quota, expires FROM grants WHERE id = ?1",
    )?
    .insert([id])
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{
        super::{
            lock,
            tests::{fresh, path},
        },
        *,
    };

    fn load(db: &Connection, id: i64) -> Grant {
        let sql = concat!("SELECT ", grant_columns!(), " FROM grants g WHERE id = ?1");
        db.query_one(sql, [id], from_row).unwrap()
    }

    #[test]
    fn every_term_of_a_grant_comes_back() {
        let (_folder, catalogue) = fresh();
        let db = lock(&catalogue.writer);
        let nothing = Grant { put: false, get: false, list: false, overwrite: false, ..Grant::whole() };
        let grants = [
            Grant::whole(),
            nothing.clone(),
            Grant { put: true, ..nothing.clone() },
            Grant { get: true, ..nothing.clone() },
            Grant { list: true, ..nothing.clone() },
            Grant { overwrite: true, ..nothing.clone() },
            Grant { folder: Some(path(b"photos/\xe9")), quota: Some(0), ..Grant::whole() },
            Grant {
                quota: Some(1 << 40),
                expires: Some(UNIX_EPOCH + Duration::from_millis(1_795_000_000_123)),
                ..nothing
            },
        ];
        for grant in grants {
            let id = insert(&db, &grant).unwrap();
            assert_eq!(load(&db, id), grant);
            let twin = copy(&db, id).unwrap();
            assert_ne!(twin, id);
            assert_eq!(load(&db, twin), grant);
        }
    }
}
