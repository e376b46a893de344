//! What reading a file for a client has taught about it: its row is brought up to date, or its damage is noted.

use ferry_proto::{Digest, Mode, RelPath};

use super::{Uploads, scrub::compare::renewed};
use crate::{Amiss, Change, Digests, Finding, LedgerError, Revision, Row, RowKind, Store, source::Identity};

/// A file was read, and had these digests.
#[derive(Debug, Clone)]
pub struct Lesson {
    /// Its name.
    pub path: RelPath,
    /// Its version.
    pub identity: Identity,
    /// Its permission bits on the disk.
    pub mode: Mode,
    /// What it had.
    pub found: Digests,
}

impl<S: Store> Uploads<S> {
    /// Writes down what was learned, as far as it is about files that have a row.
    pub fn learn(&self, lessons: &[Lesson]) -> Result<(), LedgerError> {
        let mut revisions = Vec::new();
        for lesson in lessons {
            if let Some(row) = self.shared.ledger.find(&lesson.path)?
                && let Some(change) = change(lesson, &row)
            {
                revisions.push(Revision { path: lesson.path.clone(), seen: Some(row.stamp), change });
            }
        }
        if revisions.is_empty() { Ok(()) } else { self.shared.ledger.revise(&revisions).map(drop) }
    }
}

/// What a lesson changes about a row.
fn change(lesson: &Lesson, row: &Row) -> Option<Change> {
    let Lesson { identity, mode, found, .. } = lesson;
    let RowKind::File { size, digests } = row.kind else { return None };
    let agrees = digests.agree_with(found);
    let kind = RowKind::File { size, digests: digests.with(found) };
    if identity.stamp(false) != row.stamp {
        let is_same = identity.size == size && agrees;
        return is_same.then(|| Change::Renew(Row { kind, ..renewed(row, identity, *mode) }));
    }
    damage(&digests, found).or_else(|| {
        let is_news = row.is_damaged || kind != row.kind;
        (agrees && is_news).then(|| Change::Renew(Row { kind, is_damaged: false, ..row.clone() }))
    })
}

/// What is to be noted of a file that is known by other digests than were found, if nobody has touched it.
pub(super) fn damage(known: &Digests, found: &Digests) -> Option<Change> {
    let differing = |expected: Digest| Some((expected, found.by(expected.algorithm())?));
    let (expected, found) = known.iter().filter_map(differing).find(|(expected, found)| expected != found)?;
    let (expected, found) = (Some(expected), Some(found));
    Some(Change::Note(Finding { what: Amiss::Rotted, expected, found, detail: String::new(), pass: None }))
}
