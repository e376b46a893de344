//! How far hashers have come in files that were not sent to their end: the last few checkpoints of each.

use std::time::{Duration, SystemTime};

use ferry_proto::{Algorithm, HasherState, limits};
use ferry_store::source::Identity;
use rusqlite::{Connection, OptionalExtension, params};

use super::seconds;

/// States that are kept of one file. A server's last checkpoint is behind the sender's reading by what is under way
/// between them, which is less than the distance of two.
const KEPT: u64 = 4;

/// A file whose sending nobody has gone on with for this long is read from its beginning: longer than a server waits.
const TOO_OLD: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The longest state of at most this many bytes.
pub(super) fn find(
    db: &Connection,
    identity: &Identity,
    algorithm: Algorithm,
    most: u64,
) -> rusqlite::Result<Option<HasherState>> {
    let found = db
        .prepare_cached(
            "SELECT length, state FROM states
             WHERE device = ?1 AND inode = ?2 AND algorithm = ?3 AND size = ?4 AND modified_s = ?5 AND modified_ns = ?6
               AND changed_s = ?7 AND changed_ns = ?8 AND length <= ?9
             ORDER BY length DESC LIMIT 1",
        )?
        .query_row(
            params![
                identity.device as i64,
                identity.inode as i64,
                algorithm.number(),
                identity.size as i64,
                identity.modified.seconds(),
                identity.modified.nanos(),
                identity.changed.seconds(),
                identity.changed.nanos(),
                i64::try_from(most).unwrap_or(i64::MAX),
            ],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)),
        )
        .optional()?;
    Ok(found.and_then(|(length, state)| HasherState::from_bytes(u64::try_from(length).ok()?, &state)))
}

/// Writes a state down, and lets those go that are far behind it.
pub(super) fn keep(
    db: &mut Connection,
    identity: &Identity,
    state: &HasherState,
    now: SystemTime,
) -> rusqlite::Result<()> {
    let (device, inode) = (identity.device as i64, identity.inode as i64);
    let algorithm = state.algorithm().number();
    let length = state.length() as i64;
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO states VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            device,
            inode,
            algorithm,
            length,
            identity.size as i64,
            identity.modified.seconds(),
            identity.modified.nanos(),
            identity.changed.seconds(),
            identity.changed.nanos(),
            state.to_bytes(),
            seconds(now),
        ])?;
    transaction
        .prepare_cached(
            "DELETE FROM states WHERE device = ?1 AND inode = ?2 AND algorithm = ?3 AND length <= ?4",
        )?
        .execute(params![device, inode, algorithm, length - (KEPT * limits::CHECKPOINT) as i64])?;
    transaction.commit()
}

/// Lets a file's states go: it was read to its end.
pub(super) fn forget(db: &Connection, identity: &Identity) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM states WHERE device = ?1 AND inode = ?2")?
        .execute(params![identity.device as i64, identity.inode as i64])?;
    Ok(())
}

/// Lets those go that nobody has come back for.
pub(super) fn prune(db: &Connection, now: SystemTime) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM states WHERE at < ?1")?
        .execute([seconds(now).saturating_sub(TOO_OLD.as_secs() as i64)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use ferry_proto::{Timestamp, limits::CHECKPOINT};

    use super::{super::Digests, *};

    fn identity(inode: u64, changed: i64) -> Identity {
        let (modified, changed) = (Timestamp::saturating(1000, 1), Timestamp::saturating(changed, 2));
        Identity { device: 1, inode, size: 20 * CHECKPOINT, modified, changed, seen: SystemTime::now() }
    }

    fn states(number: u64) -> Vec<HasherState> {
        let (mut hasher, piece) = (Algorithm::Blake3.hasher(), vec![1; CHECKPOINT as usize]);
        (1..=number)
            .map(|number| {
                hasher.update(&piece);
                hasher.state(number * CHECKPOINT).unwrap()
            })
            .collect()
    }

    #[test]
    fn promise_3_the_last_states_of_a_file_that_is_still_the_same_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let digests = Digests::open(folder.path()).unwrap();
        let all = states(7);
        all.iter().for_each(|state| digests.keep_state(&identity(1, 1000), state));
        // Another process goes on.
        let digests = Digests::open(folder.path()).unwrap();
        let find = |identity: &Identity, algorithm, most| {
            digests.find_state(identity, algorithm, most).map(|state| state.length() / CHECKPOINT)
        };
        let same = identity(1, 1000);
        assert_eq!(digests.find_state(&same, Algorithm::Blake3, u64::MAX).as_ref(), all.last());
        assert_eq!(find(&same, Algorithm::Blake3, 6 * CHECKPOINT), Some(6));
        assert_eq!(find(&same, Algorithm::Blake3, 6 * CHECKPOINT - 1), Some(5));
        assert_eq!(find(&same, Algorithm::Blake3, 3 * CHECKPOINT), None, "only the last four are kept");
        assert_eq!(find(&same, Algorithm::Sha256, u64::MAX), None);
        assert_eq!(find(&identity(1, 1001), Algorithm::Blake3, u64::MAX), None, "it was touched");
        assert_eq!(find(&identity(2, 1000), Algorithm::Blake3, u64::MAX), None);

        digests.learn(&same, Algorithm::Blake3.digest(b"all of it"));
        digests.save().unwrap();
        assert_eq!(find(&same, Algorithm::Blake3, u64::MAX), None, "what was read to its end needs none");
    }

    #[test]
    fn promise_3_a_file_that_changed_without_showing_it_keeps_no_state() {
        let folder = tempfile::tempdir().unwrap();
        let digests = Digests::open(folder.path()).unwrap();
        let file = identity(1, 1000);
        digests.learn(&file, Algorithm::Blake3.digest(b"what it was"));
        digests.save().unwrap();
        states(2).iter().for_each(|state| digests.keep_state(&file, state));
        digests.forget(&file);
        assert_eq!(digests.find_state(&file, Algorithm::Blake3, u64::MAX), None);
    }

    #[test]
    fn states_that_nobody_comes_back_for_go() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(super::super::SCHEMA).unwrap();
        let state = states(1).remove(0);
        let now = SystemTime::now();
        keep(&mut db, &identity(1, 1), &state, now - TOO_OLD - Duration::from_secs(1)).unwrap();
        keep(&mut db, &identity(2, 1), &state, now - TOO_OLD + Duration::from_secs(9)).unwrap();
        prune(&db, now).unwrap();
        let found = |inode| find(&db, &identity(inode, 1), Algorithm::Blake3, u64::MAX).unwrap().is_some();
        assert_eq!((found(1), found(2)), (false, true));
    }
}
