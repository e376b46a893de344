//! The checkpoints of bodies that are under way.

use ferry_proto::{HasherState, RelPath};
use ferry_store::{BodyKey, Checkpoint, StageId, Stamp};
use rusqlite::{Connection, named_params, params};

use super::columns::{self, Column, Fields};

/// What [`checkpoint`] takes, and [`save`] writes.
const COLUMNS: &str =
    "id, client, path, size, modified, modified_nanos, algorithm, digest, upload, offset, state, stamp, at";

/// The checkpoints of a client's bodies for a name.
pub(super) fn of(db: &Connection, client: &str, path: &RelPath) -> rusqlite::Result<Vec<Checkpoint>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM bodies WHERE client = ?1 AND path = ?2"))?
        .query_map(params![client, Column(path)], checkpoint)?
        .collect()
}

/// Where each body of a client goes, and the bytes of the whole file.
pub(super) fn of_client(db: &Connection, client: &str) -> rusqlite::Result<Vec<(StageId, RelPath, u64)>> {
    db.prepare_cached("SELECT id, path, size FROM bodies WHERE client = ?1")?
        .query_map([client], |row| {
            Ok((row.get::<_, Column<_>>(0)?.0, row.get::<_, Column<_>>(1)?.0, row.get::<_, Column<_>>(2)?.0))
        })?
        .collect()
}

/// Every checkpoint.
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Checkpoint>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM bodies"))?.query_map([], checkpoint)?.collect()
}

/// How many there are, and the bytes up to there.
pub(super) fn sum(db: &Connection) -> rusqlite::Result<(u64, u64)> {
    db.prepare_cached("SELECT count(*), coalesce(sum(offset), 0) FROM bodies")?
        .query_row([], |row| Ok((row.get::<_, Column<_>>(0)?.0, row.get::<_, Column<_>>(1)?.0)))
}

/// Writes a body's checkpoint in the place of its older one.
pub(super) fn save(db: &Connection, checkpoint: &Checkpoint) -> rusqlite::Result<()> {
    let Checkpoint { id, key, offset, kept, at } = checkpoint;
    db.prepare_cached(&format!(
        "INSERT OR REPLACE INTO bodies ({COLUMNS})
         VALUES (:id, :client, :path, :size, :modified, :modified_nanos, :algorithm, :digest, :upload, :offset,
                 :state, :stamp, :at)"
    ))?
    .execute(named_params! {
        ":id": Column(*id),
        ":client": key.client,
        ":path": Column(&key.path),
        ":size": Column(key.size),
        ":modified": key.modified.map(|time| time.seconds()),
        ":modified_nanos": key.modified.map(|time| time.nanos()),
        ":algorithm": key.digest.map(|digest| digest.algorithm().number()),
        ":digest": key.digest.map(|digest| *digest.bytes()),
        ":upload": key.upload.map(u64::cast_signed),
        ":offset": Column(*offset),
        ":state": kept.as_ref().map(|(state, _)| state.to_bytes()),
        ":stamp": kept.as_ref().map(|(_, stamp)| &stamp.0),
        ":at": Column(*at),
    })?;
    Ok(())
}

/// Forgets a body; one that is not there is no error.
pub(super) fn remove(db: &Connection, id: StageId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM bodies WHERE id = ?1")?.execute([Column(id)])?;
    Ok(())
}

fn checkpoint(row: &rusqlite::Row<'_>) -> rusqlite::Result<Checkpoint> {
    let mut fields = Fields::of(row);
    let id = fields.column()?;
    let key = BodyKey {
        client: fields.take()?,
        path: fields.column()?,
        size: fields.column()?,
        modified: columns::modified(&mut fields)?,
        digest: columns::digest(&mut fields)?,
        upload: fields.take::<Option<i64>>()?.map(i64::cast_unsigned),
    };
    let offset = fields.column()?;
    // One that cannot be read costs time only.
    let state: Option<Vec<u8>> = fields.take()?;
    let state = state.and_then(|state| HasherState::from_bytes(offset, &state));
    let stamp: Option<Vec<u8>> = fields.take()?;
    Ok(Checkpoint { id, key, offset, kept: state.zip(stamp.map(Stamp)), at: fields.column()? })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use ferry_proto::{Algorithm, Timestamp, limits};
    use ferry_store::{Filed, Ledger, Row, RowKind, Stamp};

    use super::{
        super::tests::{fresh, path},
        *,
    };

    fn at(id: u128, client: &str, name: &str, offset: u64) -> Checkpoint {
        let key = BodyKey {
            client: client.into(),
            path: path(name),
            size: i64::MAX as u64,
            modified: Timestamp::new(-1, 5).ok(),
            digest: Some(Algorithm::Sha256.digest(name.as_bytes())),
            upload: Some(u64::MAX - 1),
        };
        let at = UNIX_EPOCH + Duration::from_millis(1_795_000_000_123);
        let mut hasher = Algorithm::Sha256.hasher();
        hasher.update(&vec![7; limits::CHECKPOINT as usize]);
        let kept = hasher.state(limits::CHECKPOINT).zip(Some(Stamp(vec![1, 2])));
        let kept = kept.filter(|_| offset == limits::CHECKPOINT);
        Checkpoint { id: StageId(id), key, offset, kept, at }
    }

    #[test]
    fn promise_3_a_checkpoint_comes_back_as_it_was_saved() {
        let (_folder, catalogue) = fresh();
        let full = at(1, "laptop", "a", 32 << 20);
        let mut bare = at(u128::MAX, "laptop", "a", 0);
        (bare.key.modified, bare.key.digest, bare.key.upload) = (None, None, None);
        catalogue.save_checkpoint(&full).unwrap();
        catalogue.save_checkpoint(&bare).unwrap();
        let mut found = catalogue.checkpoints_for("laptop", &path("a")).unwrap();
        found.sort_by_key(|checkpoint| checkpoint.id);
        assert_eq!(found, [full, bare]);
    }

    #[test]
    fn a_later_checkpoint_takes_the_place_of_an_older_one() {
        let (_folder, catalogue) = fresh();
        catalogue.save_checkpoint(&at(1, "laptop", "a", 32 << 20)).unwrap();
        catalogue.save_checkpoint(&at(1, "laptop", "a", 64 << 20)).unwrap();
        assert_eq!(catalogue.checkpoints().unwrap(), [at(1, "laptop", "a", 64 << 20)]);
    }

    #[test]
    fn hostile_15_bodies_under_way_count_for_their_client() {
        let (_folder, catalogue) = fresh();
        catalogue.save_checkpoint(&at(1, "laptop", "a", 32 << 20)).unwrap();
        catalogue.save_checkpoint(&at(2, "phone", "a", 32 << 20)).unwrap();
        let held = catalogue.held_by("laptop").unwrap().staged;
        assert_eq!(held, [(StageId(1), path("a"), at(1, "laptop", "a", 0).key.size)]);
        assert_eq!(catalogue.held_by("tablet").unwrap().staged, []);
    }

    #[test]
    fn bodies_are_told_apart_by_client_and_name() {
        let (_folder, catalogue) = fresh();
        for (id, client, name) in [(1, "laptop", "a"), (2, "laptop", "b"), (3, "phone", "a")] {
            catalogue.save_checkpoint(&at(id, client, name, 1)).unwrap();
        }
        assert_eq!(catalogue.checkpoints_for("laptop", &path("a")).unwrap(), [at(1, "laptop", "a", 1)]);
        assert_eq!(catalogue.checkpoints().unwrap().len(), 3);
        catalogue.drop_checkpoint(StageId(1)).unwrap();
        catalogue.drop_checkpoint(StageId(1)).unwrap();
        assert_eq!(catalogue.checkpoints_for("laptop", &path("a")).unwrap(), []);
        assert_eq!(catalogue.checkpoints().unwrap().len(), 2);
    }

    #[test]
    fn a_body_is_forgotten_in_the_transaction_that_makes_it_a_file() {
        let (_folder, catalogue) = fresh();
        catalogue.save_checkpoint(&at(1, "laptop", "a", 1)).unwrap();
        catalogue.save_checkpoint(&at(2, "laptop", "b", 1)).unwrap();
        let stored = |size| {
            let kind = RowKind::File { size, digests: Algorithm::Sha256.digest(b"x").into() };
            let row = Row {
                kind,
                modified: None,
                mode: None,
                attributes: ferry_proto::Attributes::default(),
                stamp: Stamp(vec![1]),
                is_damaged: false,
            };
            Filed { path: path("a"), row, client: "laptop".into(), staged: Some(StageId(1)), before: None }
        };
        let failing = Filed { staged: None, ..stored(u64::MAX) };
        catalogue.record(&[stored(1), failing]).unwrap_err();
        assert_eq!(catalogue.checkpoints().unwrap().len(), 2);
        catalogue.record(&[stored(1)]).unwrap();
        assert_eq!(catalogue.checkpoints().unwrap(), [at(2, "laptop", "b", 1)]);
        // The same content again makes no row, but its body is gone all the same.
        catalogue.save_checkpoint(&Checkpoint { at: SystemTime::now(), ..at(1, "laptop", "a", 1) }).unwrap();
        catalogue.record(&[stored(1)]).unwrap();
        assert_eq!(catalogue.checkpoints().unwrap(), [at(2, "laptop", "b", 1)]);
    }
}
