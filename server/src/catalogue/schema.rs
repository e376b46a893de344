//! The tables, and how those of an older version become them.

use rusqlite::{Connection, TransactionBehavior};

use super::findings;

/// What makes each version out of the one before; the first makes it out of nothing. A step that has been
/// released never changes: what is to be different goes into a new one at the end.
pub(super) const STEPS: &[&str] = &[FIRST, ATTRIBUTES, findings::TABLES, WEB];

/// A database from the future.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Newer {
    pub(super) found: i64,
    pub(super) known: i64,
}

/// Takes every step that the database has not taken, all or none of them.
pub(super) fn migrate(db: &mut Connection, steps: &[&str]) -> rusqlite::Result<Result<(), Newer>> {
    let known = steps.len() as i64;
    // Almost always there is nothing to do, and no reason to wait for a process that is writing.
    if version(db)? == known {
        return Ok(Ok(()));
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Asked again, now that no other process can take the same steps.
    let found = version(&tx)?;
    let Some(missing) = usize::try_from(found).ok().and_then(|taken| steps.get(taken..)) else {
        return Ok(Err(Newer { found, known }));
    };
    for step in missing {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", known)?;
    tx.commit()?;
    Ok(Ok(()))
}

fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

// The comments stand inside the statements, because SQLite keeps those: `.schema` shows them.
const FIRST: &str = "
CREATE TABLE files (
    -- What each name of the inbox holds, and what it held before. A row is closed, not overwritten.
    -- Points in time are milliseconds since 1970 UTC: datetime(since / 1000, 'unixepoch', 'localtime').
    id             INTEGER PRIMARY KEY,
    path           BLOB    NOT NULL,  -- below the inbox, with '/' between names: CAST(path AS TEXT) shows it
    kind           TEXT    NOT NULL CHECK (kind IN ('file', 'folder', 'symlink')),
    size           INTEGER,           -- of a file, in bytes
    sha256         BLOB,              -- of a file, if anybody asked for it: lower(hex(sha256)) is what sha256sum prints
    blake3         BLOB,              -- likewise, as b3sum prints it
    target         BLOB,              -- of a symlink
    modified       INTEGER,           -- the sender's time, in seconds since 1970 UTC
    modified_nanos INTEGER,           -- and nanoseconds after that second
    mode           INTEGER,           -- the sender's permission bits: printf('%o', mode)
    stamp          BLOB    NOT NULL,  -- the version on the disk that this row speaks of
    client         TEXT    NOT NULL,  -- the name of the client that sent it
    since          INTEGER NOT NULL,  -- when it came
    until          INTEGER,           -- when something else took its name; NULL is what the name holds now
    CHECK ((kind = 'file') = (size IS NOT NULL AND (sha256 IS NOT NULL OR blake3 IS NOT NULL))),
    CHECK ((kind = 'symlink') = (target IS NOT NULL)),
    CHECK ((modified IS NULL) = (modified_nanos IS NULL))
) STRICT;
CREATE UNIQUE INDEX files_current ON files (path) WHERE until IS NULL;
CREATE INDEX files_past ON files (until) WHERE until IS NOT NULL;
CREATE INDEX files_versions ON files (path, until) WHERE until IS NOT NULL;

CREATE TABLE usage (
    -- What each client holds: bytes of its current files, and names that hold what it sent. Whoever writes rows of files
    -- keeps it up to date in the same transaction.
    client         TEXT    PRIMARY KEY,
    bytes          INTEGER NOT NULL,
    names          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE bodies (
    -- Files under way: what can be gone on with after an interruption.
    id             BLOB    PRIMARY KEY,  -- names the staged body: lower(hex(id))
    client         TEXT    NOT NULL,
    path           BLOB    NOT NULL,     -- where it goes
    size           INTEGER NOT NULL,     -- of the whole file
    modified       INTEGER,              -- the source's time, in seconds since 1970 UTC
    modified_nanos INTEGER,
    algorithm      INTEGER,              -- of the whole file's digest, where that was known ahead
    digest         BLOB,
    offset         INTEGER NOT NULL,     -- bytes that are durable
    state          BLOB,                 -- of the hasher after them, for this version of the program
    stamp          BLOB,                 -- the version of the staged body for which the state is good
    at             INTEGER NOT NULL      -- when this was written, in milliseconds since 1970 UTC
) STRICT;
CREATE INDEX bodies_goal ON bodies (client, path);

CREATE TABLE grants (
    -- What a client, or an invite's future client, may do. Each client has a row of its own.
    id             INTEGER PRIMARY KEY,
    folder         BLOB,               -- all that it sees of the inbox; NULL is everything
    put            INTEGER NOT NULL,   -- 1 if it may send
    get            INTEGER NOT NULL,   -- 1 if it may read
    list           INTEGER NOT NULL,   -- 1 if it may list
    overwrite      INTEGER NOT NULL,   -- 1 if it may replace what is there
    quota          INTEGER,            -- bytes that it may hold; NULL is no limit
    expires        INTEGER             -- in milliseconds since 1970 UTC; NULL is never
) STRICT;

CREATE TABLE clients (
    -- Who has been enrolled. A revoked client stays, and so does its name: the files tell it.
    id             INTEGER PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE,
    grant_id       INTEGER NOT NULL REFERENCES grants (id),
    enrolled       INTEGER NOT NULL,   -- in milliseconds since 1970 UTC
    revoked        INTEGER             -- likewise; NULL is not revoked
) STRICT;
CREATE INDEX clients_grant ON clients (grant_id);

CREATE TABLE peers (
    -- The keys by which clients are known.
    fingerprint    BLOB    PRIMARY KEY,  -- SHA-256 of the public key
    client_id      INTEGER NOT NULL REFERENCES clients (id),
    enrolled       INTEGER NOT NULL      -- in milliseconds since 1970 UTC
) STRICT;
CREATE INDEX peers_client ON peers (client_id);

CREATE TABLE invites (
    -- What enrols a key that is not known yet.
    digest         BLOB    PRIMARY KEY,  -- SHA-256 of the link's secret, which is not kept
    grant_id       INTEGER NOT NULL REFERENCES grants (id),
    name           TEXT,                 -- what the client will be called; NULL is what it calls itself
    made           INTEGER NOT NULL,     -- in milliseconds since 1970 UTC
    expires        INTEGER NOT NULL,     -- likewise
    uses_left      INTEGER NOT NULL CHECK (uses_left >= 0)  -- each use is one key
) STRICT;
CREATE INDEX invites_grant ON invites (grant_id);

CREATE TABLE invite_uses (
    -- Which keys have spent which invite: each of them may present it again until it expires.
    invite         BLOB    NOT NULL REFERENCES invites (digest) ON DELETE CASCADE,
    fingerprint    BLOB    NOT NULL,
    at             INTEGER NOT NULL,     -- in milliseconds since 1970 UTC
    PRIMARY KEY (invite, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    -- What one ferryd command tells another.
    key            TEXT    PRIMARY KEY,  -- 'listen': the addresses of the running, or the last, server;
                                         -- 'first-invite': the digest of the one that a server without clients shows
    value          TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
";

const ATTRIBUTES: &str = "
CREATE TABLE attributes (
    -- What the sender of a file, folder or symlink said of it beside its time and mode, where it was asked to: `ferry send`
    -- with --owner and --xattrs.
    file           INTEGER PRIMARY KEY REFERENCES files (id) ON DELETE CASCADE,
    uid            INTEGER,           -- whose it is: the numbers on the sender's machine
    gid            INTEGER,
    user_name      BLOB,              -- and the names there: CAST(user_name AS TEXT)
    group_name     BLOB,
    xattrs         BLOB,              -- extended attributes, all of them, as PROTOCOL.md encodes them; NULL is not told
    CHECK ((uid IS NULL) = (gid IS NULL))
) STRICT;

CREATE TABLE hard_links (
    -- Files that have several names here: what happens to one of them is written down for all.
    file           INTEGER PRIMARY KEY REFERENCES files (id) ON DELETE CASCADE,
    stamp          BLOB    NOT NULL   -- the file's, as it was when a name of it was made or changed last
) STRICT;
CREATE INDEX hard_links_stamp ON hard_links (stamp);
";

const WEB: &str = "
ALTER TABLE peers ADD COLUMN kind TEXT NOT NULL DEFAULT 'key'  -- and what that is a digest of, if it is no 'key': the
    CHECK (kind IN ('key', 'browser', 'token'));               -- cookie of a 'browser', or a 'token' in requests
ALTER TABLE bodies ADD COLUMN upload INTEGER;  -- the number in the URL of an upload that only that URL may go on with
";

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "CREATE TABLE things (a TEXT); INSERT INTO things VALUES ('old')";
    const TWO: &str = "ALTER TABLE things ADD COLUMN b INTEGER NOT NULL DEFAULT 7";
    const BROKEN: &str = "INSERT INTO things VALUES ('half', 1); INSERT INTO nowhere VALUES (1)";

    #[test]
    fn an_old_version_is_brought_up_to_date_with_its_rows() {
        let mut db = Connection::open_in_memory().unwrap();
        assert_eq!(migrate(&mut db, &[ONE]).unwrap(), Ok(()));
        assert_eq!(version(&db).unwrap(), 1);
        assert_eq!(migrate(&mut db, &[ONE, TWO]).unwrap(), Ok(()));
        assert_eq!(migrate(&mut db, &[ONE, TWO]).unwrap(), Ok(()));
        assert_eq!(version(&db).unwrap(), 2);
        let rows = db.query_one("SELECT count(*), a, b FROM things", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
        });
        assert_eq!(rows.unwrap(), (1, "old".to_owned(), 7));
    }

    #[test]
    fn a_step_that_fails_leaves_the_old_version() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, &[ONE]).unwrap().unwrap();
        assert!(migrate(&mut db, &[ONE, TWO, BROKEN]).is_err());
        assert_eq!(version(&db).unwrap(), 1);
        let columns = db.prepare("SELECT * FROM things").unwrap().column_count();
        let rows: i64 = db.query_one("SELECT count(*) FROM things", [], |row| row.get(0)).unwrap();
        assert_eq!((columns, rows), (1, 1));
    }

    #[test]
    fn a_version_from_the_future_is_refused_and_left_alone() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, &[ONE, TWO]).unwrap().unwrap();
        assert_eq!(migrate(&mut db, &[ONE]).unwrap(), Err(Newer { found: 2, known: 1 }));
        assert_eq!(version(&db).unwrap(), 2);
        db.pragma_update(None, "user_version", -1).unwrap();
        assert_eq!(migrate(&mut db, &[ONE]).unwrap(), Err(Newer { found: -1, known: 1 }));
    }

    #[test]
    fn what_a_user_sees_explains_itself() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, STEPS).unwrap().unwrap();
        let mut tables = db.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").unwrap();
        let tables: Vec<(String, String)> =
            tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(|t| t.unwrap()).collect();
        assert_eq!(tables.len(), 13);
        for (name, sql) in tables {
            assert!(sql.contains("\n    -- "), "{name} has no comment");
        }
    }
}
