//! What was found out about pictures, and small ones of them, by what the files hold. It can all be had again, so nothing is
//! synced, and what cannot be read is begun anew.

use std::{
    fs::{OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Mutex,
    time::SystemTime,
};

use ferry_store::lock;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Facts, GalleryError, Key};

/// What this version writes; another one begins anew.
const VERSION: i64 = 1;

/// Bytes of small pictures that are kept: some 60,000 of them.
const MOST: i64 = 1024 * 1024 * 1024;

/// Pictures of which is known what they say of themselves, in some hundred bytes each.
const MOST_FACTS: i64 = 1_000_000;

/// See the module.
pub(super) struct Cache(Mutex<Connection>);

impl Cache {
    pub(super) fn open(path: &Path) -> Result<Self, GalleryError> {
        let db = connect(path).or_else(|error| {
            tracing::warn!(%error, "what was known of pictures cannot be read, and is found out again");
            for ending in ["", "-wal", "-shm"] {
                let mut name = path.as_os_str().to_owned();
                name.push(ending);
                let _ = std::fs::remove_file(name);
            }
            connect(path)
        })?;
        Ok(Cache(Mutex::new(db)))
    }

    /// What is known of each.
    pub(super) fn facts(&self, keys: &[Key]) -> rusqlite::Result<Vec<Option<Facts>>> {
        let db = lock(&self.0);
        let tx = db.unchecked_transaction()?;
        let mut find = tx.prepare_cached("SELECT look FROM looks WHERE key = ?1")?;
        keys.iter()
            .map(|key| {
                let facts: Option<String> = find.query_row([key.0], |row| row.get(0)).optional()?;
                // What makes no sense is looked at again.
                Ok(facts.and_then(|facts| serde_json::from_str(&facts).ok()))
            })
            .collect()
    }

    pub(super) fn keep_facts(&self, facts: &[(Key, Facts)]) -> rusqlite::Result<()> {
        if facts.is_empty() {
            return Ok(());
        }
        let mut db = lock(&self.0);
        let tx = db.transaction()?;
        {
            let mut keep = tx.prepare_cached("INSERT OR REPLACE INTO looks (key, look) VALUES (?1, ?2)")?;
            for (key, facts) in facts {
                let facts = serde_json::to_string(facts)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
                keep.execute(params![key.0, facts])?;
            }
        }
        tx.commit()
    }

    /// The small picture; empty where there is none.
    pub(super) fn thumbnail(&self, key: &Key) -> rusqlite::Result<Option<Vec<u8>>> {
        lock(&self.0)
            .prepare_cached("SELECT jpeg FROM thumbnails WHERE key = ?1")?
            .query_row([key.0], |row| row.get(0))
            .optional()
    }

    pub(super) fn keep_thumbnail(&self, key: &Key, jpeg: &[u8]) -> rusqlite::Result<()> {
        let made = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        lock(&self.0)
            .prepare_cached("INSERT OR REPLACE INTO thumbnails (key, jpeg, made) VALUES (?1, ?2, ?3)")?
            .execute(params![key.0, jpeg, made.as_secs() as i64])?;
        Ok(())
    }

    /// Removes the oldest of what is too much.
    pub(super) fn tidy(&self) -> rusqlite::Result<()> {
        self.tidy_down_to(MOST, MOST_FACTS)
    }

    fn tidy_down_to(&self, most: i64, most_facts: i64) -> rusqlite::Result<()> {
        let db = lock(&self.0);
        db.execute(
            "DELETE FROM thumbnails WHERE rowid IN (
                 SELECT rowid FROM (SELECT rowid, sum(length(jpeg)) OVER (ORDER BY made DESC, rowid DESC) AS bytes
                                    FROM thumbnails)
                 WHERE bytes > ?1)",
            [most],
        )?;
        // Later ones have higher numbers, and few of them are missing.
        db.execute("DELETE FROM looks WHERE rowid <= (SELECT max(rowid) FROM looks) - ?1", [most_facts])?;
        Ok(())
    }
}

/// Makes the file for its owner alone, as what it is made of is; log and index take their mode from it.
fn make_private(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

fn connect(path: &Path) -> Result<Connection, GalleryError> {
    make_private(path)?;
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "off")?;
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found != VERSION {
        let tx = db.transaction()?;
        tx.execute_batch(
            "DROP TABLE IF EXISTS looks; DROP TABLE IF EXISTS thumbnails;
             CREATE TABLE looks (
                 -- What a picture says of itself, in JSON, by the SHA-256 of the file, or else by what the disk says of it.
                 key BLOB PRIMARY KEY, look TEXT NOT NULL
             ) STRICT;
             CREATE TABLE thumbnails (
                 -- Small pictures; an empty one says that there is none.
                 key BLOB PRIMARY KEY, jpeg BLOB NOT NULL, made INTEGER NOT NULL
             ) STRICT;",
        )?;
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.commit()?;
    }
    Ok(db)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        Key([number; 32])
    }

    #[test]
    fn what_was_kept_comes_back_and_a_damaged_database_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pictures.db");
        let facts =
            Facts { taken: Some("2024-03-16T08:15:01".to_owned()), is_decoded: true, ..Facts::default() };
        let cache = Cache::open(&path).unwrap();
        cache.keep_facts(&[(key(1), facts.clone()), (key(2), Facts::default())]).unwrap();
        cache.keep_thumbnail(&key(1), b"jpeg").unwrap();
        cache.keep_thumbnail(&key(2), b"").unwrap();
        drop(cache);
        let cache = Cache::open(&path).unwrap();
        let kept = cache.facts(&[key(3), key(1), key(2)]).unwrap();
        assert_eq!(kept, [None, Some(facts), Some(Facts::default())]);
        assert_eq!(cache.thumbnail(&key(1)).unwrap().unwrap(), b"jpeg");
        assert_eq!(cache.thumbnail(&key(2)).unwrap().unwrap(), b"");
        assert_eq!(cache.thumbnail(&key(3)).unwrap(), None);
        for file in folder.path().read_dir().unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "hostile_17: others may read it");
        }
        drop(cache);
        std::fs::write(&path, vec![7; 8192]).unwrap();
        let cache = Cache::open(&path).unwrap();
        assert_eq!(cache.thumbnail(&key(1)).unwrap(), None);
    }

    #[test]
    fn hostile_10_what_is_too_much_goes_the_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("pictures.db")).unwrap();
        for number in 0..10 {
            cache.keep_thumbnail(&key(number), &[0; 100]).unwrap();
            cache.keep_facts(&[(key(number), Facts::default())]).unwrap();
        }
        cache.tidy_down_to(450, 3).unwrap();
        let kept: Vec<u8> =
            (0..10).filter(|&number| cache.thumbnail(&key(number)).unwrap().is_some()).collect();
        assert_eq!(kept, [6, 7, 8, 9]);
        let keys: Vec<_> = (0..10).map(key).collect();
        let known: Vec<_> = cache.facts(&keys).unwrap().iter().map(Option::is_some).collect();
        assert_eq!(known, [[false; 7].as_slice(), &[true; 3]].concat());
    }
}
