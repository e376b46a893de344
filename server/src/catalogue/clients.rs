//! Clients, and the keys by which they are known.

use std::{collections::HashMap, time::SystemTime};

use ferry_proto::Fingerprint;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Catalogue, CatalogueError, Grant,
    columns::Column,
    grants::{self, grant_columns},
    invites, names,
};

/// Names a client for as long as the catalogue lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub(super) i64);

#[cfg(test)]
impl ClientId {
    pub(crate) fn for_tests(number: i64) -> Self {
        ClientId(number)
    }
}

/// Names a grant for as long as a client, or an invite, has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrantId(pub(super) i64);

/// Whether a session of a client may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// It may do nothing any more.
    pub shut_out: Option<ShutOut>,
    /// The grant that it has now; those that it had before have smaller numbers.
    pub grant: GrantId,
}

/// Someone who has been enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Which one.
    pub id: ClientId,
    /// What it is called: 1 to 64 letters, digits, `.`, `_` and `-`. No two clients have one name.
    pub name: String,
    /// What it may do, unless it is revoked.
    pub grant: Grant,
    /// Which grant that is: it has another one once it has spent another invite.
    pub grant_id: GrantId,
    /// When it was revoked.
    pub revoked: Option<SystemTime>,
}

/// Why a client may do nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutOut {
    /// The server's owner has revoked it.
    Revoked,
    /// Its grant's time is over.
    Expired,
}

impl Client {
    /// Whether it may do nothing any more, and why.
    pub fn shut_out(&self, now: SystemTime) -> Option<ShutOut> {
        match (self.revoked, self.grant.expires) {
            (Some(_), _) => Some(ShutOut::Revoked),
            (None, Some(expires)) if expires <= now => Some(ShutOut::Expired),
            _ => None,
        }
    }
}

/// A client with all that is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientEntry {
    /// The client.
    pub client: Client,
    /// Its keys. A revoked client loses one that is enrolled anew.
    pub fingerprints: Vec<Fingerprint>,
    /// When it was enrolled.
    pub enrolled: SystemTime,
}

impl Catalogue {
    /// The client that has this key, revoked or not.
    pub fn client_of(&self, key: Fingerprint) -> Result<Option<Client>, CatalogueError> {
        self.read("look up a client", |db| by_key(db, key))
    }

    /// Every client, revoked ones too, in the order of their enrolment.
    pub fn clients(&self) -> Result<Vec<ClientEntry>, CatalogueError> {
        self.read("list the clients", |db| {
            let mut statement = db.prepare_cached(concat!(
                "SELECT c.id, c.name, c.revoked, c.enrolled, p.fingerprint, ",
                grant_columns!(),
                " FROM clients c JOIN grants g ON g.id = c.grant_id LEFT JOIN peers p ON p.client_id = c.id
                  ORDER BY c.id, p.enrolled, p.fingerprint",
            ))?;
            let mut rows = statement.query([])?;
            let mut entries: Vec<ClientEntry> = Vec::new();
            while let Some(row) = rows.next()? {
                let key = row.get::<_, Option<Column<Fingerprint>>>("fingerprint")?.map(|Column(key)| key);
                let client = from_row(row)?;
                match entries.last_mut() {
                    Some(entry) if entry.client.id == client.id => entry.fingerprints.extend(key),
                    _ => entries.push(ClientEntry {
                        client,
                        fingerprints: key.into_iter().collect(),
                        enrolled: row.get::<_, Column<_>>("enrolled")?.0,
                    }),
                }
            }
            Ok(entries)
        })
    }

    /// What may become of the sessions of every client.
    pub fn standings(&self, now: SystemTime) -> Result<HashMap<ClientId, Standing>, CatalogueError> {
        let clients = self.clients()?;
        Ok(clients
            .into_iter()
            .map(|ClientEntry { client, .. }| {
                let standing = Standing { shut_out: client.shut_out(now), grant: client.grant_id };
                (client.id, standing)
            })
            .collect())
    }

    /// Whether anyone has ever been enrolled.
    pub fn has_clients(&self) -> Result<bool, CatalogueError> {
        self.read("look for clients", |db| {
            db.query_one("SELECT EXISTS (SELECT 1 FROM clients)", [], |row| row.get(0))
        })
    }

    /// What a client will be called that comes by an invite with this name.
    pub fn name_for(&self, wanted: &str) -> Result<String, CatalogueError> {
        self.read("look for a free name", |db| names::unique(db, wanted))
    }

    /// Revokes the client of this name, and the invites that would let it in again: those of its name, and what is
    /// left of the one by which it came.
    pub fn revoke(&self, name: &str, now: SystemTime) -> Result<Revoked, CatalogueError> {
        self.write("revoke a client", |tx| {
            let client = tx
                .prepare_cached("UPDATE clients SET revoked = ?2 WHERE name = ?1 AND revoked IS NULL")?
                .execute(params![name, Column(now)])?;
            Ok(Revoked { client: client == 1, invites: invites::close(tx, name, now)? })
        })
    }
}

/// What was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revoked {
    /// Whether there was a client, not revoked yet.
    pub client: bool,
    /// Invites that were still open.
    pub invites: usize,
}

/// Gives a client another grant. The old one is gone.
pub(super) fn regrant(db: &Connection, client: &Client, grant_id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE clients SET grant_id = ?2 WHERE id = ?1")?
        .execute(params![client.id.0, grant_id])?;
    db.prepare_cached("DELETE FROM grants WHERE id = ?1")?.execute([client.grant_id.0])?;
    Ok(())
}

pub(super) fn by_key(db: &Connection, key: Fingerprint) -> rusqlite::Result<Option<Client>> {
    db.prepare_cached(concat!(
        "SELECT c.id, c.name, c.revoked, ",
        grant_columns!(),
        " FROM peers p JOIN clients c ON c.id = p.client_id JOIN grants g ON g.id = c.grant_id
          WHERE p.fingerprint = ?1",
    ))?
    .query_row([Column(key)], from_row)
    .optional()
}

/// Makes a client with one key. A revoked client that had the key loses it.
pub(super) fn insert(
    db: &Connection,
    name: &str,
    grant_id: i64,
    key: Fingerprint,
    now: SystemTime,
) -> rusqlite::Result<()> {
    let id = db
        .prepare_cached("INSERT INTO clients (name, grant_id, enrolled) VALUES (?1, ?2, ?3)")?
        .insert(params![name, grant_id, Column(now)])?;
    db.prepare_cached("INSERT OR REPLACE INTO peers (fingerprint, client_id, enrolled) VALUES (?1, ?2, ?3)")?
        .execute(params![Column(key), id, Column(now)])?;
    Ok(())
}

fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Client> {
    Ok(Client {
        id: ClientId(row.get("id")?),
        name: row.get("name")?,
        grant: grants::from_row(row)?,
        grant_id: GrantId(row.get("grant_id")?),
        revoked: row.get::<_, Option<Column<SystemTime>>>("revoked")?.map(|Column(time)| time),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{
        super::{
            lock,
            tests::{fresh, key, path},
        },
        *,
    };

    fn enrol(catalogue: &Catalogue, name: &str, grant: &Grant, number: u8, at: SystemTime) {
        catalogue
            .write("test", |tx| {
                let grant = grants::insert(tx, grant)?;
                insert(tx, name, grant, key(number), at)
            })
            .unwrap();
    }

    #[test]
    fn clients_come_back_with_grant_and_keys() {
        let (_folder, catalogue) = fresh();
        let then = UNIX_EPOCH + Duration::from_millis(1_795_000_000_123);
        let narrow = Grant { folder: Some(path("photos")), get: false, quota: Some(7), ..Grant::whole() };
        assert!(!catalogue.has_clients().unwrap());
        assert_eq!(catalogue.clients().unwrap(), []);
        enrol(&catalogue, "laptop", &Grant::whole(), 1, then);
        enrol(&catalogue, "phone", &narrow, 2, then);
        lock(&catalogue.writer)
            .execute(
                "INSERT INTO peers SELECT ?1, client_id, enrolled + 1 FROM peers WHERE fingerprint = ?2",
                [Column(key(3)), Column(key(1))],
            )
            .unwrap();
        assert!(catalogue.has_clients().unwrap());

        let laptop = catalogue.client_of(key(1)).unwrap().unwrap();
        let phone = catalogue.client_of(key(2)).unwrap().unwrap();
        assert_eq!((laptop.name.as_str(), &laptop.grant), ("laptop", &Grant::whole()));
        assert_eq!((phone.name.as_str(), &phone.grant), ("phone", &narrow));
        assert_eq!(catalogue.client_of(key(3)).unwrap(), Some(laptop.clone()));
        assert_eq!(catalogue.client_of(key(4)).unwrap(), None);
        assert_eq!(
            catalogue.clients().unwrap(),
            [
                ClientEntry { client: laptop, fingerprints: vec![key(1), key(3)], enrolled: then },
                ClientEntry { client: phone, fingerprints: vec![key(2)], enrolled: then },
            ]
        );
    }

    #[test]
    fn hostile_15_a_revoked_client_is_known_as_one() {
        let (_folder, catalogue) = fresh();
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        enrol(&catalogue, "laptop", &Grant::whole(), 1, now);
        assert!(!catalogue.revoke("phone", now).unwrap().client);
        assert!(catalogue.revoke("laptop", now).unwrap().client);
        assert!(!catalogue.revoke("laptop", now + Duration::from_secs(1)).unwrap().client);
        assert_eq!(catalogue.client_of(key(1)).unwrap().unwrap().revoked, Some(now));
        assert_eq!(catalogue.clients().unwrap()[0].client.revoked, Some(now));
        assert!(catalogue.has_clients().unwrap());
    }
}
