//! Invites, and how they enrol keys.

use std::time::SystemTime;

use ferry_proto::{Fingerprint, Secret};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{
    Catalogue, CatalogueError, Client, Grant, ShutOut, clients, columns, columns::Column, grants, names,
};

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
    /// Whether it was not known before.
    pub new: bool,
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
    pub fn invite(&self, terms: NewInvite, secret: &Secret) -> Result<(), CatalogueError> {
        let made = SystemTime::now();
        self.write("make an invite", |tx| {
            let grant = grants::insert(tx, &terms.grant)?;
            tx.prepare_cached(
                "INSERT INTO invites (digest, grant_id, name, made, expires, uses_left)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
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
        })
    }

    /// What comes of a key that presents an invite. One use is one key: the key that spent an invite may present
    /// it again until it expires, and a key that is enrolled spends none. A key whose client was revoked, or whose grant
    /// is over, needs another invite than the one it spent, and is then another client.
    ///
    /// An enrolled key is as welcome without an invite, so a session asks [`Catalogue::client_of`] first where an
    /// invite that is no longer valid must not keep it out.
    pub fn enrol(
        &self,
        secret: &Secret,
        key: Fingerprint,
        suggested_name: &str,
        now: SystemTime,
    ) -> Result<Enrolled, EnrolError> {
        self.write("enrol a client", |tx| present(tx, secret, key, suggested_name, now))?
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
    key: Fingerprint,
    suggested_name: &str,
    now: SystemTime,
) -> rusqlite::Result<Result<Enrolled, EnrolError>> {
    let Some(invite) = find(tx, secret, key)? else { return Ok(Err(EnrolError::Invalid)) };
    if now >= invite.expires || (invite.uses_left == 0 && !invite.spent) {
        return Ok(Err(EnrolError::Invalid));
    }
    if let Some(client) = clients::by_key(tx, key)? {
        match client.shut_out(now) {
            None => return Ok(Ok(Enrolled { client, new: false })),
            Some(shut_out) if invite.spent => return Ok(Err(EnrolError::ShutOut(shut_out))),
            Some(_) => {}
        }
    } else if invite.spent {
        return Ok(Err(EnrolError::Invalid));
    }
    spend(tx, &invite, key, now)?;
    let name = names::unique(tx, invite.name.as_deref().unwrap_or(suggested_name))?;
    // A grant of its own: clients that came by one invite have separate quotas, and can be changed one by one.
    let grant = grants::copy(tx, invite.grant)?;
    clients::insert(tx, &name, grant, key, now)?;
    let client = clients::by_key(tx, key)?.ok_or_else(|| columns::damaged("client"))?;
    Ok(Ok(Enrolled { client, new: true }))
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
            lock,
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
        catalogue.invite(NewInvite { grant: grant.clone(), ..terms(1) }, &secret(1)).unwrap();
        let Enrolled { client, new } = enrol(&catalogue, 1, 1).unwrap();
        assert!(new);
        assert_eq!((client.name.as_str(), &client.grant, client.revoked), ("laptop", &grant, None));
        assert_eq!(catalogue.client_of(key(1)).unwrap(), Some(client));
    }

    #[test]
    fn hostile_15_unknown_expired_and_used_invites_are_not_valid() {
        let (_folder, catalogue) = fresh();
        let invalid = |result| assert!(matches!(result, Err(EnrolError::Invalid)), "{result:?}");
        invalid(enrol(&catalogue, 1, 1));

        catalogue.invite(terms(1), &secret(1)).unwrap();
        let late = SystemTime::now() + HOUR;
        invalid(catalogue.enrol(&secret(1), key(1), "late", late));
        enrol(&catalogue, 1, 1).unwrap();
        invalid(enrol(&catalogue, 1, 2));
        // Nor for a key that has other rights to be here.
        catalogue.invite(terms(1), &secret(2)).unwrap();
        enrol(&catalogue, 2, 2).unwrap();
        invalid(enrol(&catalogue, 1, 2));

        catalogue.invite(terms(0), &secret(3)).unwrap();
        invalid(enrol(&catalogue, 3, 3));
        assert_eq!(names(&catalogue), ["laptop", "laptop-2"]);
    }

    #[test]
    fn the_key_that_spent_an_invite_may_present_it_until_it_expires() {
        let (_folder, catalogue) = fresh();
        catalogue.invite(terms(1), &secret(1)).unwrap();
        let first = enrol(&catalogue, 1, 1).unwrap();
        let again = enrol(&catalogue, 1, 1).unwrap();
        assert_eq!((again.client, again.new), (first.client, false));
        let late = catalogue.enrol(&secret(1), key(1), "laptop", SystemTime::now() + HOUR);
        assert!(matches!(late, Err(EnrolError::Invalid)));
        assert_eq!(names(&catalogue).len(), 1);
    }

    #[test]
    fn an_enrolled_key_spends_no_other_invite() {
        let (_folder, catalogue) = fresh();
        catalogue.invite(terms(1), &secret(1)).unwrap();
        catalogue.invite(terms(1), &secret(2)).unwrap();
        let first = enrol(&catalogue, 1, 1).unwrap();
        let second = enrol(&catalogue, 2, 1).unwrap();
        assert_eq!((second.client, second.new), (first.client, false));
        assert!(enrol(&catalogue, 2, 2).unwrap().new);
    }

    #[test]
    fn hostile_15_a_revoked_key_needs_a_new_invite() {
        let (_folder, catalogue) = fresh();
        catalogue.invite(terms(2), &secret(1)).unwrap();
        let old = enrol(&catalogue, 1, 1).unwrap().client;
        catalogue.revoke("laptop", SystemTime::now()).unwrap();
        assert!(matches!(enrol(&catalogue, 1, 1), Err(EnrolError::ShutOut(ShutOut::Revoked))));
        assert!(catalogue.client_of(key(1)).unwrap().unwrap().revoked.is_some());

        let narrow = Grant { put: false, ..Grant::whole() };
        catalogue.invite(NewInvite { grant: narrow.clone(), ..terms(1) }, &secret(2)).unwrap();
        let new = enrol(&catalogue, 2, 1).unwrap();
        assert!(new.new);
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
        catalogue.invite(NewInvite { name: Some("My phone".into()), ..terms(2) }, &secret(1)).unwrap();
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
        catalogue.invite(terms(1), &secret(1)).unwrap();
        catalogue.invite(terms(9), &secret(1)).unwrap_err();
    }

    #[test]
    fn hostile_17_no_secret_is_in_the_files() {
        let (folder, catalogue) = fresh();
        let bytes = *b"sixteen secrets!";
        catalogue.invite(terms(1), &Secret::from_bytes(bytes)).unwrap();
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
            catalogue.invite(terms, &secret).unwrap();
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
            catalogue.invite(terms(1), &secret(round)).unwrap();
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
