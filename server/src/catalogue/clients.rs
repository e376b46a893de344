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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId(pub(super) i64);

#[cfg(test)]
impl GrantId {
    pub(crate) fn for_tests(number: i64) -> Self {
        GrantId(number)
    }
}

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

/// Who is at the other end of a connection, as far as that can be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// What it has shown.
    pub kind: PeerKind,
    /// What is kept of that.
    pub fingerprint: Fingerprint,
}

/// What a peer is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerKind {
    /// A key, which it has proved to hold.
    Key,
    /// The cookie of a browser.
    Browser,
    /// A token in a request.
    Token,
}

impl From<Fingerprint> for Peer {
    fn from(fingerprint: Fingerprint) -> Self {
        Peer { kind: PeerKind::Key, fingerprint }
    }
}

impl PeerKind {
    fn column(self) -> &'static str {
        match self {
            PeerKind::Key => "key",
            PeerKind::Browser => "browser",
            PeerKind::Token => "token",
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
    /// Browsers that are signed in as this client.
    pub browsers: usize,
    /// Tokens that are good for this client.
    pub tokens: usize,
    /// When it was enrolled.
    pub enrolled: SystemTime,
}

impl Catalogue {
    /// The client that this peer is, revoked or not.
    pub fn client_of(&self, peer: impl Into<Peer>) -> Result<Option<Client>, CatalogueError> {
        self.read("look up a client", |db| of_peer(db, peer.into()))
    }

    /// Forgets what a peer was known by. The client stays, and whatever else it is known by.
    pub fn forget(&self, peer: impl Into<Peer>) -> Result<(), CatalogueError> {
        let Peer { kind, fingerprint } = peer.into();
        self.write("forget a peer", |tx| {
            tx.prepare_cached("DELETE FROM peers WHERE fingerprint = ?1 AND kind = ?2")?
                .execute(params![Column(fingerprint), kind.column()])?;
            Ok(())
        })
    }

    /// Every client, revoked ones too, in the order of their enrolment.
    pub fn clients(&self) -> Result<Vec<ClientEntry>, CatalogueError> {
        self.read("list the clients", |db| {
            let mut statement = db.prepare_cached(concat!(
                "SELECT c.id, c.name, c.revoked, c.enrolled, p.fingerprint, p.kind, ",
                grant_columns!(),
                " FROM clients c JOIN grants g ON g.id = c.grant_id LEFT JOIN peers p ON p.client_id = c.id
                  ORDER BY c.id, p.enrolled, p.fingerprint",
            ))?;
            let mut rows = statement.query([])?;
            let mut entries: Vec<ClientEntry> = Vec::new();
            while let Some(row) = rows.next()? {
                let client = from_row(row)?;
                if entries.last().is_none_or(|entry| entry.client.id != client.id) {
                    let enrolled = row.get::<_, Column<_>>("enrolled")?.0;
                    entries.push(ClientEntry {
                        client,
                        fingerprints: Vec::new(),
                        browsers: 0,
                        tokens: 0,
                        enrolled,
                    });
                }
                let (key, kind): (Option<Column<Fingerprint>>, Option<String>) =
                    (row.get("fingerprint")?, row.get("kind")?);
                if let (Some(entry), Some(Column(key)), Some(kind)) = (entries.last_mut(), key, kind) {
                    match kind.as_str() {
                        "browser" => entry.browsers += 1,
                        "token" => entry.tokens += 1,
                        _ => entry.fingerprints.push(key),
                    }
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

pub(super) fn of_peer(db: &Connection, Peer { kind, fingerprint }: Peer) -> rusqlite::Result<Option<Client>> {
    db.prepare_cached(concat!(
        "SELECT c.id, c.name, c.revoked, ",
        grant_columns!(),
        " FROM peers p JOIN clients c ON c.id = p.client_id JOIN grants g ON g.id = c.grant_id
          WHERE p.fingerprint = ?1 AND p.kind = ?2",
    ))?
    .query_row(params![Column(fingerprint), kind.column()], from_row)
    .optional()
}

/// Makes a client that is known by one thing. A revoked client that was known by it no longer is.
pub(super) fn insert(
    db: &Connection,
    name: &str,
    grant_id: i64,
    Peer { kind, fingerprint }: Peer,
    now: SystemTime,
) -> rusqlite::Result<()> {
    let id = db
        .prepare_cached("INSERT INTO clients (name, grant_id, enrolled) VALUES (?1, ?2, ?3)")?
        .insert(params![name, grant_id, Column(now)])?;
    db.prepare_cached(
        "INSERT OR REPLACE INTO peers (fingerprint, client_id, enrolled, kind) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![Column(fingerprint), id, Column(now), kind.column()])?;
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
                insert(tx, name, grant, key(number).into(), at)
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
                "INSERT INTO peers SELECT ?1, client_id, enrolled + 1, kind FROM peers WHERE fingerprint = ?2",
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
                ClientEntry {
                    client: laptop,
                    fingerprints: vec![key(1), key(3)],
                    browsers: 0,
                    tokens: 0,
                    enrolled: then
                },
                ClientEntry {
                    client: phone,
                    fingerprints: vec![key(2)],
                    browsers: 0,
                    tokens: 0,
                    enrolled: then
                },
            ]
        );
    }

    #[test]
    fn hostile_15_what_one_kind_of_peer_is_known_by_is_nothing_to_another() {
        let (_folder, catalogue) = fresh();
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let peer = |kind| Peer { kind, fingerprint: key(1) };
        let kinds = [PeerKind::Key, PeerKind::Browser, PeerKind::Token];
        for kind in kinds {
            let insert = |tx: &rusqlite::Transaction<'_>| {
                tx.execute("DELETE FROM peers", [])?;
                let grant = grants::insert(tx, &Grant::whole())?;
                insert(tx, kind.column(), grant, peer(kind), now)
            };
            catalogue.write("test", insert).unwrap();
            for other in kinds {
                let client = catalogue.client_of(peer(other)).unwrap();
                assert_eq!(
                    client.map(|client| client.name).as_deref(),
                    (other == kind).then_some(kind.column())
                );
            }
            let entry = catalogue.clients().unwrap().pop().unwrap();
            let counted = (entry.fingerprints.len(), entry.browsers, entry.tokens);
            let expected = (kind == PeerKind::Key, kind == PeerKind::Browser, kind == PeerKind::Token);
            assert_eq!(counted, (expected.0.into(), expected.1.into(), expected.2.into()));
        }
        catalogue.forget(peer(PeerKind::Browser)).unwrap();
        assert!(catalogue.client_of(peer(PeerKind::Token)).unwrap().is_some());
        catalogue.forget(peer(PeerKind::Token)).unwrap();
        assert_eq!(catalogue.client_of(peer(PeerKind::Token)).unwrap(), None);
        assert_eq!(catalogue.clients().unwrap().len(), kinds.len(), "the clients stay");
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
