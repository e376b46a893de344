//! What arrived when: rows of files, the closed ones included, in the order in which they came.

use std::time::SystemTime;

use ferry_proto::RelPath;
use ferry_store::RowKind;
use rusqlite::{Connection, OptionalExtension, named_params};

use super::{
    Catalogue, CatalogueError,
    columns::{Column, Fields},
    rows,
};

/// Rows that are read at a time: they are all that is held in memory, and no reader stays in the way of the log's
/// being emptied for longer than that takes.
const PAGE: usize = 1000;

/// Something that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    id: i64,
    /// Its name.
    pub path: RelPath,
    /// What it was.
    pub kind: RowKind,
    /// Who sent it.
    pub client: String,
    /// When it came.
    pub since: SystemTime,
    /// When something else took its name, or it was found to be gone.
    pub until: Option<SystemTime>,
}

/// Names that belong together in the order of bytes: one, and all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    name: Option<RelPath>,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Span {
    /// A name and what is below it; with none, everything.
    pub fn of(below: Option<&RelPath>) -> Self {
        let edge = |separator: u8| below.map_or(Vec::new(), |path| [path.as_bytes(), &[separator]].concat());
        Span { name: below.cloned(), first: edge(b'/'), last: edge(b'/' + 1) }
    }

    /// The name itself, which is empty for everything.
    pub(super) fn name(&self) -> &[u8] {
        self.name.as_ref().map_or(b"", |path| path.as_bytes())
    }

    /// What every name below sorts after.
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    /// What every name below sorts before; nothing is no limit.
    pub(super) fn last(&self) -> Option<&[u8]> {
        self.name.is_some().then_some(&self.last[..])
    }
}

impl Catalogue {
    /// When what a name holds now came, and from whom.
    pub fn arrival_of(&self, path: &RelPath) -> Result<Option<(SystemTime, String)>, CatalogueError> {
        self.read("look up when a file came", |db| {
            db.prepare_cached("SELECT since, client FROM files WHERE path = ?1 AND until IS NULL")?
                .query_row([Column(path)], |row| Ok((row.get::<_, Column<_>>(0)?.0, row.get(1)?)))
                .optional()
        })
    }

    /// Goes through what arrived since then, a page at a time, and ends where `tell` says so. Rows that come meanwhile
    /// are told, too.
    pub fn arrivals<E: From<CatalogueError>>(
        &self,
        span: &Span,
        since: Option<SystemTime>,
        mut tell: impl FnMut(Arrival) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after = i64::MIN;
        loop {
            let page = self.read("list what arrived", |db| page(db, after, span, since))?;
            let is_last = page.len() < PAGE;
            for arrival in page {
                after = arrival.id;
                tell(arrival)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

fn page(
    db: &Connection,
    after: i64,
    span: &Span,
    since: Option<SystemTime>,
) -> rusqlite::Result<Vec<Arrival>> {
    // Their numbers grow as they come, whatever the clock does.
    db.prepare_cached(
        "SELECT id, path, kind, size, sha256, blake3, target, client, since, until FROM files
         WHERE id > :after AND (:since IS NULL OR since >= :since)
           AND (:last IS NULL OR path = :name OR (path > :first AND path < :last))
         ORDER BY id LIMIT :page",
    )?
    .query_map(
        named_params! {
            ":after": after,
            ":since": since.map(Column),
            ":name": span.name(),
            ":first": span.first(),
            ":last": span.last(),
            ":page": PAGE as i64,
        },
        |row| {
            let mut fields = Fields::of(row);
            Ok(Arrival {
                id: fields.take()?,
                path: fields.column()?,
                kind: rows::kind(&mut fields)?,
                client: fields.take()?,
                since: fields.column()?,
                until: fields.take::<Option<Column<_>>>()?.map(|until| until.0),
            })
        },
    )?
    .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ferry_proto::Algorithm;
    use ferry_store::{Filed, Row, Stamp};

    use super::{
        super::{
            files::{Usage, record},
            lock,
            tests::{fresh, path},
        },
        *,
    };

    fn told(catalogue: &Catalogue, below: Option<&str>, since: Option<SystemTime>) -> Vec<(String, bool)> {
        let below = below.map(path);
        let mut told = Vec::new();
        catalogue
            .arrivals::<CatalogueError>(&Span::of(below.as_ref()), since, |arrival| {
                told.push((arrival.path.to_string(), arrival.until.is_some()));
                Ok(())
            })
            .unwrap();
        told
    }

    fn put(catalogue: &Catalogue, name: &str, content: &[u8], at: SystemTime) {
        let kind =
            RowKind::File { size: content.len() as u64, digests: Algorithm::Sha256.digest(content).into() };
        let row = Row {
            kind,
            modified: None,
            mode: None,
            attributes: ferry_proto::Attributes::default(),
            stamp: Stamp(content.to_vec()),
            is_damaged: false,
        };
        let filed = Filed { path: path(name), row, client: "laptop".into(), staged: None, before: None };
        record(&lock(&catalogue.writer), &filed, at, &mut Usage::default()).unwrap();
    }

    #[test]
    fn everything_is_told_in_the_order_in_which_it_came_whatever_the_clock_said() {
        let (_folder, catalogue) = fresh();
        let now = SystemTime::now();
        put(&catalogue, "b", b"1", now);
        put(&catalogue, "a", b"2", now - Duration::from_secs(60));
        put(&catalogue, "b", b"3", now);
        let row = |name: &str, is_closed| (name.to_owned(), is_closed);
        assert_eq!(told(&catalogue, None, None), [row("b", true), row("a", false), row("b", false)]);
        let recent = told(&catalogue, None, Some(now - Duration::from_secs(1)));
        assert_eq!(recent, [row("b", true), row("b", false)]);
        // What is kept is milliseconds, so a little later is later.
        assert_eq!(told(&catalogue, None, Some(now + Duration::from_millis(1))), []);
    }

    #[test]
    fn a_path_stands_for_itself_and_what_is_below_it_and_nothing_beside_it() {
        let (_folder, catalogue) = fresh();
        for name in ["a", "a!", "a/b", "a/b/c", "a0", "a-b", "b/a", "ab"] {
            put(&catalogue, name, name.as_bytes(), SystemTime::now());
        }
        let names = |below| told(&catalogue, Some(below), None).into_iter().map(|(name, _)| name);
        assert_eq!(names("a").collect::<Vec<_>>(), ["a", "a/b", "a/b/c"]);
        assert_eq!(names("a/b/c").collect::<Vec<_>>(), ["a/b/c"]);
        assert_eq!(names("c").count(), 0);
    }

    #[test]
    fn more_than_a_page_is_told_once_each() {
        let (_folder, catalogue) = fresh();
        let db = lock(&catalogue.writer);
        db.execute_batch("BEGIN").unwrap();
        drop(db);
        for number in 0..2 * PAGE + 1 {
            put(&catalogue, &number.to_string(), b"x", SystemTime::now());
        }
        lock(&catalogue.writer).execute_batch("COMMIT").unwrap();
        let names: Vec<_> = told(&catalogue, None, None).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, (0..2 * PAGE + 1).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}
