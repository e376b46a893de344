//! What reading a file for a client has taught about it: its row is brought up to date, or its damage is noted.

use ferry_proto::{Digest, Mode, RelPath};

use super::{Uploads, reads::SHORT, scrub::compare::renewed};
use crate::{Amiss, Change, Digests, Finding, LedgerError, Revision, Row, RowKind, Store, source::Identity};

/// A file was read, and had this digest.
#[derive(Debug, Clone)]
pub struct Lesson {
    /// Its name.
    pub path: RelPath,
    /// Its version.
    pub identity: Identity,
    /// Its permission bits on the disk.
    pub mode: Mode,
    /// What it had.
    pub digest: Digest,
}

impl<S: Store> Uploads<S> {
    /// Writes down what was learned, as far as it is about files that have a row.
    pub fn learn(&self, lessons: &[Lesson]) -> Result<(), LedgerError> {
        let mut revisions = Vec::new();
        for lesson in lessons {
            if let Some(row) = self.shared.ledger.find(&lesson.path)?
                && let Some(change) = self.change(lesson, &row)
            {
                revisions.push(Revision { path: lesson.path.clone(), seen: Some(row.stamp), change });
            }
        }
        if revisions.is_empty() { Ok(()) } else { self.shared.ledger.revise(&revisions).map(drop) }
    }

    fn change(&self, lesson: &Lesson, row: &Row) -> Option<Change> {
        let Lesson { path, identity, mode, digest } = lesson;
        let RowKind::File { size, digests } = row.kind else { return None };
        let known = digests.by(digest.algorithm());
        if identity.stamp(false) != row.stamp {
            let is_same = identity.size == size && known == Some(*digest);
            return is_same.then(|| Change::Renew(renewed(row, identity, *mode)));
        }
        match known {
            Some(known) if known != *digest => Some(damage(known, *digest)),
            Some(_) => row.is_damaged.then(|| Change::Renew(Row { is_damaged: false, ..row.clone() })),
            // Whether it is of the same bytes as the others takes one more reading; of a large file that is not worth it.
            None if size > SHORT || row.is_damaged => None,
            None => {
                let all = self.read_again(path, row, digests.iter().chain([*digest]))?;
                let lost = digests.iter().find_map(|known| {
                    let found = all.by(known.algorithm())?;
                    (found != known).then(|| damage(known, found))
                });
                lost.or_else(|| {
                    let kind = RowKind::File { size, digests: all };
                    Some(Change::Renew(Row { kind, ..row.clone() }))
                })
            }
        }
    }

    /// All digests like these of a file, if it is what its row speaks of.
    fn read_again(&self, path: &RelPath, row: &Row, like: impl Iterator<Item = Digest>) -> Option<Digests> {
        let mut hashers: Vec<_> = like.map(|digest| digest.algorithm().hasher()).collect();
        let mut take = |bytes: &[u8]| {
            hashers.iter_mut().for_each(|hasher| hasher.update(bytes));
            true
        };
        self.shared.store.read(path, 0, &mut take).ok()?;
        let is_untouched = self.shared.store.stat(path).ok()??.stamp == row.stamp;
        Digests::of(hashers.into_iter().map(|hasher| hasher.finish())).filter(|_| is_untouched)
    }
}

fn damage(expected: Digest, found: Digest) -> Change {
    let (expected, found) = (Some(expected), Some(found));
    Change::Note(Finding { what: Amiss::Rotted, expected, found, detail: String::new(), pass: None })
}
