//! Bodies that are being received into folders here: how far each is, and the hasher's state there.

use std::time::{Duration, SystemTime};

use ferry_proto::{Algorithm, Digest, HasherState, RelPath, Timestamp};
use ferry_store::{BodyKey, Checkpoint, StageId, Stamp};
use rusqlite::{Connection, named_params, params};

/// Every checkpoint of a folder's.
pub(super) fn all(db: &Connection, folder: &[u8]) -> rusqlite::Result<Vec<Checkpoint>> {
    let mut statement = db.prepare_cached("SELECT * FROM bodies WHERE folder = ?1")?;
    let found = statement.query_map([folder], checkpoint)?;
    // One that makes no sense is no checkpoint.
    found.filter_map(Result::transpose).collect()
}

/// Writes a body's checkpoint in the place of its older one.
pub(super) fn save(db: &Connection, folder: &[u8], checkpoint: &Checkpoint) -> rusqlite::Result<()> {
    let Checkpoint { id, key, offset, kept, at } = checkpoint;
    db.prepare_cached(
        "INSERT OR REPLACE INTO bodies
            (id, folder, server, path, size, modified_s, modified_ns, algorithm, digest, offset, state, stamp, at)
         VALUES (:id, :folder, :server, :path, :size, :modified_s, :modified_ns, :algorithm, :digest, :offset, :state,
                 :stamp, :at)",
    )?
    .execute(named_params! {
        ":id": id.to_string(),
        ":folder": folder,
        ":server": key.client,
        ":path": key.path.as_bytes(),
        ":size": key.size as i64,
        ":modified_s": key.modified.map(|time| time.seconds()),
        ":modified_ns": key.modified.map(|time| time.nanos()),
        ":algorithm": key.digest.map(|digest| digest.algorithm().number()),
        ":digest": key.digest.map(|digest| *digest.bytes()),
        ":offset": *offset as i64,
        ":state": kept.as_ref().map(|(state, _)| state.to_bytes()),
        ":stamp": kept.as_ref().map(|(_, stamp)| &stamp.0),
        ":at": super::seconds(*at),
    })?;
    Ok(())
}

/// Forgets a body; one that is not there is no error.
pub(super) fn remove(db: &Connection, id: StageId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM bodies WHERE id = ?1")?.execute(params![id.to_string()])?;
    Ok(())
}

fn checkpoint(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Checkpoint>> {
    let id: String = row.get("id")?;
    let path: Vec<u8> = row.get("path")?;
    let (Some(id), Ok(path)) = (StageId::parse(&id), RelPath::new(path)) else { return Ok(None) };
    let offset = row.get::<_, i64>("offset")? as u64;
    let seconds: Option<i64> = row.get("modified_s")?;
    let nanos: Option<u32> = row.get("modified_ns")?;
    let algorithm: Option<u8> = row.get("algorithm")?;
    let digest: Option<[u8; 32]> = row.get("digest")?;
    let state: Option<Vec<u8>> = row.get("state")?;
    let stamp: Option<Vec<u8>> = row.get("stamp")?;
    let since = Duration::from_secs(row.get::<_, i64>("at")?.max(0) as u64);
    Ok(Some(Checkpoint {
        id,
        key: BodyKey {
            client: row.get("server")?,
            path,
            size: row.get::<_, i64>("size")? as u64,
            modified: seconds.zip(nanos).map(|(seconds, nanos)| Timestamp::saturating(seconds, nanos)),
            digest: algorithm
                .and_then(Algorithm::from_number)
                .zip(digest)
                .map(|(algorithm, bytes)| Digest::new(algorithm, bytes)),
            upload: None,
        },
        offset,
        kept: state.and_then(|state| HasherState::from_bytes(offset, &state)).zip(stamp.map(Stamp)),
        at: SystemTime::UNIX_EPOCH + since,
    }))
}
