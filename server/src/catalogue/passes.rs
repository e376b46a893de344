//! How far passes of `ferryd scrub` have come.

use ferry_proto::RelPath;
use ferry_store::scrub::Position;
use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::{Catalogue, CatalogueError, Span, columns::Column, findings};

/// A pass that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// What its findings are known by.
    pub id: i64,
    /// Where it has come to.
    pub position: Position,
    /// Names that were compared.
    pub names: u64,
    /// Bytes that were read for that.
    pub bytes: u64,
    /// Rows that were brought up to date.
    pub renewed: u64,
    /// Differences that were taken in.
    pub adopted: u64,
    /// Whether an earlier run has begun it.
    pub is_resumed: bool,
}

impl Catalogue {
    /// Goes on with a pass over these names that was interrupted, or begins one. One that was to do something else is
    /// begun anew.
    pub fn begin_pass(&self, below: Option<&RelPath>, adopt: bool) -> Result<Pass, CatalogueError> {
        let span = Span::of(below);
        self.write("begin a pass", |tx| {
            if let Some(pass) = find(tx, &span, adopt)? {
                return Ok(pass);
            }
            // Findings of passes that are over still have their numbers.
            let id: i64 = tx.query_one(
                "SELECT max(coalesce((SELECT max(id) FROM passes), 0), coalesce((SELECT max(pass) FROM findings), 0)) + 1",
                [],
                |row| row.get(0),
            )?;
            tx.execute(
                "INSERT OR REPLACE INTO passes (id, path, adopt, on_disk, names, bytes, renewed, adopted)
                 VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0)",
                params![id, span.name(), adopt],
            )?;
            let position = Position::Rows(None);
            Ok(Pass { id, position, names: 0, bytes: 0, renewed: 0, adopted: 0, is_resumed: false })
        })
    }

    /// Writes down how far a pass has come.
    pub fn note_pass(&self, pass: &Pass) -> Result<(), CatalogueError> {
        let (on_disk, after) = match &pass.position {
            Position::Rows(after) => (false, after.as_ref()),
            Position::Disk => (true, None),
        };
        self.write("note how far a pass has come", |tx| {
            tx.prepare_cached(
                "UPDATE passes SET on_disk = :on_disk, after = :after, names = :names, bytes = :bytes,
                                   renewed = :renewed, adopted = :adopted
                 WHERE id = :id",
            )?
            .execute(named_params! {
                ":id": pass.id,
                ":on_disk": on_disk,
                ":after": after.map(Column),
                ":names": Column(pass.names),
                ":bytes": Column(pass.bytes),
                ":renewed": Column(pass.renewed),
                ":adopted": Column(pass.adopted),
            })?;
            Ok(())
        })
    }

    /// A pass is over: the next one begins anew.
    pub fn end_pass(&self, pass: &Pass, below: Option<&RelPath>) -> Result<(), CatalogueError> {
        self.write("end a pass", |tx| {
            findings::forget_strangers(tx, &Span::of(below), pass.id)?;
            tx.execute("DELETE FROM passes WHERE id = ?1", [pass.id])?;
            Ok(())
        })
    }
}

fn find(db: &Connection, span: &Span, adopt: bool) -> rusqlite::Result<Option<Pass>> {
    db.query_row(
        "SELECT id, on_disk, after, names, bytes, renewed, adopted FROM passes WHERE path = ?1 AND adopt = ?2",
        params![span.name(), adopt],
        |row| {
            let number = |column: &str| Ok::<u64, rusqlite::Error>(row.get::<_, Column<_>>(column)?.0);
            let position = match row.get("on_disk")? {
                true => Position::Disk,
                false => Position::Rows(row.get::<_, Option<Column<_>>>("after")?.map(|after| after.0)),
            };
            Ok(Pass {
                id: row.get("id")?,
                position,
                names: number("names")?,
                bytes: number("bytes")?,
                renewed: number("renewed")?,
                adopted: number("adopted")?,
                is_resumed: true,
            })
        },
    )
    .optional()
}
