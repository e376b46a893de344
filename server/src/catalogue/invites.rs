//! Invites, and how they enrol keys.

use std::time::SystemTime;

use ferry_proto::{Fingerprint, Secret};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{
    Catalogue, CatalogueError, Client, Grant, Peer, ShutOut, clients, columns,
    columns::Column,
    grants::{self, grant_columns},
    names,
};

/// The setting that names the invite which was shown at the first start: the digest of its secret.
const FIRST: &str = "first-invite";

/// What an invite is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvite {
    /// What the client will be called; `None` is what it calls itself.
    pub name: Option<String>,
    /// When it ends, to the millisecond.
    pub expires: SystemTime,
    /// How many keys it enrols.
    pub uses: u32,
    /// What each of them may do.
    pub grant: Grant,
}

/// A key that is welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Whose key it is.
    pub client: Client,
    /// What the invite was spent for.
    pub spent: Spent,
}

impl Enrolled {
    /// A client that has spent nothing.
    pub fn known(client: Client) -> Self {
        Enrolled { client, spent: Spent::Nothing }
    }
}

/// What an invite was spent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// For a client that was not known before.
    Enrolled,
    /// For another grant of a client that was.
    Regranted,
    /// For nothing: the key had spent it before.
    Nothing,
}

/// An invite that can still be spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenInvite {
    /// What it is worth; its uses are those that are left.
    pub terms: NewInvite,
    /// When it was made.
    pub made: SystemTime,
}

/// Why a key is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The invite is unknown, expired or used up; a peer is not told which.
    #[error("the invite is unknown, expired or used up")]
    Invalid,
    /// The key spent this invite before, and its client was shut out since.
    #[error("the client of this key was shut out")]
    ShutOut(ShutOut),
    /// The catalogue cannot be used.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl Catalogue {
    /// Makes an invite; it is valid when this returns. Of the secret only its digest is kept.
    pub fn invite(&self, terms: &NewInvite, secret: &Secret) -> Result<(), CatalogueError> {
        self.write("make an invite", |tx| insert(tx, terms, secret))
    }

    /// The same for the invite that a server shows which has no clients. It takes the place of the one that an earlier
    /// start has shown.
    pub fn first_invite(&self, terms: &NewInvite, secret: &Secret) -> Result<(), CatalogueError> {
        self.write("make the first invite", |tx| {
            tx.execute(
                "UPDATE invites SET uses_left = 0
                 WHERE lower(hex(digest)) = (SELECT value FROM settings WHERE key = ?1)",
                [FIRST],
            )?;
            tx.execute(
                "INSERT OR REPLACE INTO settings (key, value) VALUES (?1, lower(hex(?2)))",
                params![FIRST, secret.digest()],
            )?;
            insert(tx, terms, secret)
        })
    }

    /// Every invite that can still be spent, in the order in which they were made.
    pub fn open_invites(&self, now: SystemTime) -> Result<Vec<OpenInvite>, CatalogueError> {
        self.read("list the invites", |db| {
            let mut statement = db.prepare_cached(concat!(
                "SELECT i.name, i.made, i.expires AS invite_expires, i.uses_left, ",
                grant_columns!(),
                " FROM invites i JOIN grants g ON g.id = i.grant_id WHERE i.uses_left > 0 AND i.expires > ?1
                  ORDER BY i.made",
            ))?;
            let open = statement.query_map([Column(now)], |row| {
                let terms = NewInvite {
                    name: row.get("name")?,
                    expires: row.get::<_, Column<_>>("invite_expires")?.0,
                    uses: row.get("uses_left")?,
                    grant: grants::from_row(row)?,
                };
                Ok(OpenInvite { terms, made: row.get::<_, Column<_>>("made")?.0 })
            })?;
            open.collect()
        })
    }

    /// What a client would be called now that came by an invite; `None` is what it calls itself. Nothing is spent.
    pub fn name_by(&self, secret: &Secret, now: SystemTime) -> Result<Option<String>, EnrolError> {
        let found = self.read("look at an invite", |db| {
            let mut open = db.prepare_cached(
                "SELECT name FROM invites WHERE digest = ?1 AND uses_left > 0 AND expires > ?2",
            )?;
            let name =
                open.query_row(params![secret.digest(), Column(now)], |row| row.get("name")).optional()?;
            let free = |name: Option<String>| name.map(|name| names::unique(db, &name)).transpose();
            name.map(free).transpose()
        })?;
        found.ok_or(EnrolError::Invalid)
    }

    /// Closes an invite. `false` if it is not open, or unknown.
    pub fn close_invite(&self, secret: &Secret, now: SystemTime) -> Result<bool, CatalogueError> {
        self.write("close an invite", |tx| {
            let mut close = tx.prepare_cached(
                "UPDATE invites SET uses_left = 0 WHERE digest = ?1 AND uses_left > 0 AND expires > ?2",
            )?;
            Ok(close.execute(params![secret.digest(), Column(now)])? == 1)
        })
    }

    /// What comes of a key that presents an invite. One use is one key: the key that spent an invite may present
    /// it again until it expires. A key that is enrolled gets the grant of the invite in place of its own. One whose
    /// client was revoked, or whose grant is over, needs another invite than the one it spent, and is then another
    /// client.
    ///
    /// An enrolled key is as welcome without an invite, so one that is no longer valid does not keep it out.
    pub fn enrol(
        &self,
        secret: &Secret,
        peer: impl Into<Peer>,
        suggested_name: &str,
        now: SystemTime,
    ) -> Result<Enrolled, EnrolError> {
        let peer = peer.into();
        self.write("enrol a client", |tx| present(tx, secret, peer, suggested_name, now))?
    }
}

/// Removes invites that had expired before a time, with their grants and uses. Returns how many.
pub(super) fn prune(tx: &Transaction<'_>, older_than: SystemTime) -> rusqlite::Result<usize> {
    let pruned =
        tx.prepare_cached("DELETE FROM invites WHERE expires < ?1")?.execute([Column(older_than)])?;
    if pruned > 0 {
        tx.execute(
            "DELETE FROM grants WHERE id NOT IN (SELECT grant_id FROM invites)
                                  AND id NOT IN (SELECT grant_id FROM clients)",
            [],
        )?;
    }
    Ok(pruned)
}

fn insert(tx: &Transaction<'_>, terms: &NewInvite, secret: &Secret) -> rusqlite::Result<()> {
    let made = SystemTime::now();
    let grant = grants::insert(tx, &terms.grant)?;
    tx.prepare_cached(
        "INSERT INTO invites (digest, grant_id, name, made, expires, uses_left) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        secret.digest(),
        grant,
        terms.name,
        Column(made),
        Column(terms.expires),
        terms.uses
    ])?;
    Ok(())
}

/// Closes the open invites by which a client of this name would come or has come. Returns how many.
pub(super) fn close(tx: &Transaction<'_>, name: &str, now: SystemTime) -> rusqlite::Result<usize> {
    tx.prepare_cached(
        "UPDATE invites SET uses_left = 0 WHERE uses_left > 0 AND expires > ?2 AND (name = ?1 OR digest IN (
             SELECT u.invite FROM invite_uses u JOIN peers p ON p.fingerprint = u.fingerprint
             JOIN clients c ON c.id = p.client_id WHERE c.name = ?1))",
    )?
    .execute(params![name, Column(now)])
}

struct Invite {
    digest: [u8; 32],
    grant: i64,
    name: Option<String>,
    expires: SystemTime,
    uses_left: u32,
    /// By the key that presents it now.
    spent: bool,
}

fn present(
    tx: &Transaction<'_>,
    secret: &Secret,
    peer: Peer,
    suggested_name: &str,
    now: SystemTime,
) -> rusqlite::Result<Result<Enrolled, EnrolError>> {
    let Some(invite) = find(tx, secret, peer.fingerprint)? else { return Ok(Err(EnrolError::Invalid)) };
    if now >= invite.expires || (invite.uses_left == 0 && !invite.spent) {
        return Ok(Err(EnrolError::Invalid));
    }
    let known = clients::of_peer(tx, peer)?.map(|client| (client.shut_out(now), client));
    let known = match (known, invite.spent) {
        (Some((None, client)), true) => return Ok(Ok(Enrolled::known(client))),
        (Some((Some(shut_out), _)), true) => return Ok(Err(EnrolError::ShutOut(shut_out))),
        (None, true) => return Ok(Err(EnrolError::Invalid)),
        (Some((None, client)), false) => Some(client),
        (Some((Some(_), _)) | None, false) => None,
    };
    spend(tx, &invite, peer.fingerprint, now)?;
    // A grant of its own: clients that came by one invite have separate quotas, and can be changed one by one.
    let grant = grants::copy(tx, invite.grant)?;
    let spent = match known {
        Some(client) => {
            clients::regrant(tx, &client, grant)?;
            Spent::Regranted
        }
        None => {
            let name = names::unique(tx, invite.name.as_deref().unwrap_or(suggested_name))?;
            clients::insert(tx, &name, grant, peer, now)?;
            Spent::Enrolled
        }
    };
    let client = clients::of_peer(tx, peer)?.ok_or_else(|| columns::damaged("client"))?;
    Ok(Ok(Enrolled { client, spent }))
}

fn find(tx: &Transaction<'_>, secret: &Secret, key: Fingerprint) -> rusqlite::Result<Option<Invite>> {
    tx.prepare_cached(
        "SELECT digest, grant_id, name, expires, uses_left,
                EXISTS (SELECT 1 FROM invite_uses WHERE invite = digest AND fingerprint = ?2) AS spent
         FROM invites WHERE digest = ?1",
    )?
    .query_row(params![secret.digest(), Column(key)], |row| {
        Ok(Invite {
            digest: row.get("digest")?,
            grant: row.get("grant_id")?,
            name: row.get("name")?,
            expires: row.get::<_, Column<_>>("expires")?.0,
            uses_left: row.get("uses_left")?,
            spent: row.get("spent")?,
        })
    })
    .optional()
}

fn spend(tx: &Transaction<'_>, invite: &Invite, key: Fingerprint, now: SystemTime) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE invites SET uses_left = uses_left - 1 WHERE digest = ?1")?
        .execute([invite.digest])?;
    tx.prepare_cached("INSERT INTO invite_uses (invite, fingerprint, at) VALUES (?1, ?2, ?3)")?
        .execute(params![invite.digest, Column(key), Column(now)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, time::Duration};

    use super::{
        super::{
            Revoked, lock,
            tests::{fresh, key, path},
        },
        *,
    };

    const HOUR: Duration = Duration::from_secs(3600);

    fn secret(number: u8) -> Secret {
        Secret::from_bytes([number; 16])
    }

    fn terms(uses: u32) -> NewInvite {
        NewInvite { name: None, expires: SystemTime::now() + HOUR, uses, grant: Grant::whole() }
    }

    fn enrol(catalogue: &Catalogue, invite: u8, number: u8) -> Result<Enrolled, EnrolError> {
        catalogue.enrol(&secret(invite), key(number), "laptop", SystemTime::now())
    }

    fn names(catalogue: &Catalogue) -> Vec<String> {
        catalogue.clients().unwrap().into_iter().map(|entry| entry.client.name).collect()
    }

    #[test]
    fn an_invite_enrols_a_key_with_its_grant() {
        let (_folder, catalogue) = fresh();
        let grant = Grant { folder: Some(path("photos")), overwrite: false, ..Grant::whole() };
        catalogue.invite(&NewInvite { grant: grant.clone(), ..terms(1) }, &secret(1)).unwrap();
        let Enrolled { client, spent } = enrol(&catalogue, 1, 1).unwrap();
        assert_eq!(spent, Spent::Enrolled);
        assert_eq!((client.name.as_str(), &client.grant, client.revoked), ("laptop", &grant, None));
        assert_eq!(catalogue.client_of(key(1)).unwrap(), Some(client));
    }

    #[test]
    fn hostile_15_unknown_expired_and_used_invites_are_not_valid() {
        let (_folder, catalogue) = fresh();
        let invalid = |result| assert!(matches!(result, Err(EnrolError::Invalid)), "{result:?}");
        invalid(enrol(&catalogue, 1, 1));

        catalogue.invite(&terms(1), &secret(1)).unwrap();
        let late = SystemTime::now() + HOUR;
        invalid(catalogue.enrol(&secret(1), key(1), "late", late));
        enrol(&catalogue, 1, 1).unwrap();
        invalid(enrol(&catalogue, 1, 2));
        // Nor for a key that has other rights to be here.
        catalogue.invite(&terms(1), &secret(2)).unwrap();
        enrol(&catalogue, 2, 2).unwrap();
        invalid(enrol(&catalogue, 1, 2));

        catalogue.invite(&terms(0), &secret(3)).unwrap();
        invalid(enrol(&catalogue, 3, 3));
        assert_eq!(names(&catalogue), ["laptop", "laptop-2"]);
    }

    #[test]
    fn the_key_that_spent_an_invite_may_present_it_until_it_expires() {
        let (_folder, catalogue) = fresh();
        catalogue.invite(&terms(1), &secret(1)).unwrap();
        let first = enrol(&catalogue, 1, 1).unwrap();
        let again = enrol(&catalogue, 1, 1).unwrap();
        assert_eq!((again.client, again.spent), (first.client, Spent::Nothing));
        let late = catalogue.enrol(&secret(1), key(1), "laptop", SystemTime::now() + HOUR);
        assert!(matches!(late, Err(EnrolError::Invalid)));
        assert_eq!(names(&catalogue).len(), 1);
    }

    #[test]
    fn an_enrolled_key_gets_the_grant_of_another_invite_in_place_of_its_own() {
        let (_folder, catalogue) = fresh();
        let narrow = Grant { overwrite: false, ..Grant::whole() };
        catalogue.invite(&terms(1), &secret(1)).unwrap();
        catalogue.invite(&NewInvite { grant: narrow.clone(), ..terms(1) }, &secret(2)).unwrap();
        let first = enrol(&catalogue, 1, 1).unwrap().client;
        let second = enrol(&catalogue, 2, 1).unwrap();
        assert_eq!(second.spent, Spent::Regranted);
        assert_eq!((second.client.id, &second.client.name), (first.id, &first.name));
        assert_eq!(second.client.grant, narrow);
        assert_ne!(second.client.grant_id, first.grant_id);
        assert_eq!(catalogue.client_of(key(1)).unwrap(), Some(second.client.clone()));
        // Both are spent: the first by this key too, which so cannot get its old grant back.
        assert!(matches!(enrol(&catalogue, 2, 2), Err(EnrolError::Invalid)));
        let back = enrol(&catalogue, 1, 1).unwrap();
        assert_eq!((back.spent, back.client), (Spent::Nothing, second.client));
        let grants: i64 =
            lock(&catalogue.reader).query_one("SELECT count(*) FROM grants", [], |row| row.get(0)).unwrap();
        assert_eq!(grants, 3, "one of the client, and those of the invites");
    }

    #[test]
    fn hostile_15_a_revoked_client_leaves_no_open_invite_behind() {
        let (_folder, catalogue) = fresh();
        let now = SystemTime::now();
        let named = |name: &str| NewInvite { name: Some(name.to_owned()), ..terms(1) };
        catalogue.invite(&terms(3), &secret(1)).unwrap();
        catalogue.invite(&named("laptop"), &secret(2)).unwrap();
        catalogue.invite(&named("phone"), &secret(3)).unwrap();
        enrol(&catalogue, 1, 1).unwrap();
        let open = catalogue.open_invites(now).unwrap();
        assert_eq!(open.iter().map(|invite| invite.terms.uses).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(open[0].terms.grant, Grant::whole());
        assert_eq!(catalogue.revoke("laptop", now).unwrap(), Revoked { client: true, invites: 2 });
        for invite in [1, 2] {
            assert!(matches!(enrol(&catalogue, invite, 2), Err(EnrolError::Invalid)));
        }
        assert_eq!(catalogue.open_invites(now + 2 * HOUR).unwrap(), []);
        assert!(catalogue.close_invite(&secret(3), now).unwrap());
        assert!(!catalogue.close_invite(&secret(3), now).unwrap());
        assert!(matches!(enrol(&catalogue, 3, 2), Err(EnrolError::Invalid)));
        assert_eq!(catalogue.open_invites(now).unwrap(), []);
    }

    #[test]
    fn hostile_15_the_invite_of_a_first_start_takes_the_place_of_an_earlier_one() {
        let (_folder, catalogue) = fresh();
        catalogue.invite(&terms(1), &secret(3)).unwrap();
        catalogue.first_invite(&terms(1), &secret(1)).unwrap();
        catalogue.first_invite(&terms(1), &secret(2)).unwrap();
        assert!(matches!(enrol(&catalogue, 1, 1), Err(EnrolError::Invalid)));
        enrol(&catalogue, 2, 1).unwrap();
        enrol(&catalogue, 3, 2).unwrap();
    }

    #[test]
    fn hostile_15_a_revoked_key_needs_a_new_invite() {
        let (_folder, catalogue) = fresh();
        catalogue.invite(&terms(2), &secret(1)).unwrap();
        let old = enrol(&catalogue, 1, 1).unwrap().client;
        catalogue.revoke("laptop", SystemTime::now()).unwrap();
        assert!(matches!(enrol(&catalogue, 1, 1), Err(EnrolError::ShutOut(ShutOut::Revoked))));
        assert!(catalogue.client_of(key(1)).unwrap().unwrap().revoked.is_some());

        let narrow = Grant { put: false, ..Grant::whole() };
        catalogue.invite(&NewInvite { grant: narrow.clone(), ..terms(1) }, &secret(2)).unwrap();
        let new = enrol(&catalogue, 2, 1).unwrap();
        assert_eq!(new.spent, Spent::Enrolled);
        assert_ne!(new.client.id, old.id);
        assert_eq!((new.client.name.as_str(), &new.client.grant), ("laptop-2", &narrow));
        assert_eq!(catalogue.client_of(key(1)).unwrap(), Some(new.client));
        let entries = catalogue.clients().unwrap();
        assert!(entries[0].client.revoked.is_some());
        assert_eq!((entries[0].fingerprints.len(), entries[1].fingerprints.len()), (0, 1));
    }

    #[test]
    fn clients_of_one_invite_have_names_and_grants_of_their_own() {
        let (_folder, catalogue) = fresh();
        catalogue.invite(&NewInvite { name: Some("My phone".into()), ..terms(2) }, &secret(1)).unwrap();
        enrol(&catalogue, 1, 1).unwrap();
        enrol(&catalogue, 1, 2).unwrap();
        assert_eq!(names(&catalogue), ["My-phone", "My-phone-2"]);
        let grants: i64 = lock(&catalogue.reader)
            .query_one("SELECT count(DISTINCT grant_id) FROM clients", [], |row| row.get(0))
            .unwrap();
        assert_eq!(grants, 2);
    }

    #[test]
    fn a_secret_makes_one_invite_only() {
        let (_folder, catalogue) = fresh();
        catalogue.invite(&terms(1), &secret(1)).unwrap();
        catalogue.invite(&terms(9), &secret(1)).unwrap_err();
    }

    #[test]
    fn hostile_17_no_secret_is_in_the_files() {
        let (folder, catalogue) = fresh();
        let bytes = *b"sixteen secrets!";
        catalogue.invite(&terms(1), &Secret::from_bytes(bytes)).unwrap();
        catalogue.enrol(&Secret::from_bytes(bytes), key(1), "laptop", SystemTime::now()).unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let content = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!content.windows(bytes.len()).any(|window| window == bytes));
        }
    }

    #[test]
    fn an_invite_that_expired_long_ago_is_forgotten_and_its_clients_are_not() {
        let (_folder, catalogue) = fresh();
        let now = SystemTime::now();
        let invite = |number: u8, expires| {
            let terms = NewInvite { name: None, expires, uses: 2, grant: Grant::whole() };
            let secret = Secret::from_bytes([number; 16]);
            catalogue.invite(&terms, &secret).unwrap();
            secret
        };
        let (old, new) = (invite(1, now - HOUR), invite(2, now + HOUR));
        catalogue.enrol(&old, key(1), "laptop", now - 2 * HOUR).unwrap();
        let count = |table: &str| -> i64 {
            lock(&catalogue.writer)
                .query_one(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!(catalogue.prune(now - 2 * HOUR).unwrap(), 0);
        assert_eq!(catalogue.prune(now).unwrap(), 1);
        assert_eq!((count("invites"), count("invite_uses"), count("grants")), (1, 0, 2));
        assert!(catalogue.client_of(key(1)).unwrap().is_some());
        catalogue.enrol(&new, key(2), "phone", now).unwrap();
    }

    #[test]
    fn hostile_15_of_many_keys_that_race_for_one_use_one_wins() {
        let (folder, catalogue) = fresh();
        let others: Vec<Catalogue> =
            (0..4).map(|_| Catalogue::open(&folder.path().join("catalogue.db")).unwrap()).collect();
        for round in 0..10u8 {
            catalogue.invite(&terms(1), &secret(round)).unwrap();
            let together = Barrier::new(8);
            let results: Vec<_> = std::thread::scope(|scope| {
                let race = |racer: u8| {
                    let (catalogue, together) = (&others[usize::from(racer) / 2], &together);
                    scope.spawn(move || {
                        together.wait();
                        enrol(catalogue, round, round * 8 + racer)
                    })
                };
                let racers: Vec<_> = (0..8).map(race).collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).collect()
            });
            let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(|result| result.is_ok());
            assert_eq!(won.len(), 1, "{won:?} {lost:?}");
            assert!(lost.iter().all(|result| matches!(result, Err(EnrolError::Invalid))), "{lost:?}");
        }
        assert_eq!(names(&catalogue).len(), 10);
    }
}
