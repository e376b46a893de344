//! One name: whether it holds what its row says.

use std::io::{ErrorKind, Read};

use ferry_proto::{Algorithm, Attributes, Digest, Mode, RelPath};
use rustix::io::Errno;

use super::{ATTEMPTS, Scrub, ScrubError, Told};
use crate::{
    Amiss, Change, Digests, Entry, EntryKind, Finding, Hashers, Revision, Row, RowKind, StoreError,
    source::{self, Identity, Links, Location, Shelf, Source, SourceError},
};

/// What has a name, for being looked at once more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Nothing,
    There(Entry),
    /// It cannot be looked at, for this reason.
    Closed(String),
}

/// A name that does not just hold what its row says.
pub(super) struct Suspect {
    pub(super) path: RelPath,
    /// What it was compared with.
    pub(super) row: Option<Row>,
    pub(super) sight: Sight,
    /// Whether something was known to be amiss with it before.
    pub(super) is_noted: bool,
    finding: Option<Finding>,
    change: Change,
}

/// What came of comparing once.
enum Compared {
    Well,
    /// Somebody changes it just now.
    Moving,
    /// The row is to say this from now on.
    Stale(Row, Sight),
    /// It differs; and what it would be to adopt it, if it can be.
    Amiss(Finding, Option<Adoption>, Sight),
}

/// What it is to take in what somebody has done.
enum Adoption {
    Row(Box<Row>),
    Close,
}

/// What came of reading a file.
enum Reading {
    /// It is this, as it was when it was opened.
    Whole(Digests),
    Moving,
    Failed(SourceError),
}

pub(super) fn look(shelf: &Shelf, path: &RelPath) -> Sight {
    match shelf.look(path) {
        Ok(Some(entry)) => Sight::There(entry),
        // What is above it is no folder any more, and no link is followed.
        Ok(None) | Err(StoreError::Kind) => Sight::Nothing,
        Err(error) => Sight::Closed(error.to_string()),
    }
}

impl Suspect {
    pub(super) fn revision(&self) -> Revision {
        let seen = self.row.as_ref().map(|row| row.stamp.clone());
        Revision { path: self.path.clone(), seen, change: self.change.clone() }
    }

    pub(super) fn told(&self) -> Told<'_> {
        match (&self.change, &self.finding) {
            (Change::Adopt(..) | Change::Close, Some(finding)) => Told::Adopted(finding),
            (_, Some(finding)) => Told::Amiss(finding),
            (_, None) => Told::Renewed,
        }
    }
}

impl Scrub<'_> {
    /// Compares a name with its row. Whatever is well is told.
    pub(super) fn compare(
        &mut self,
        path: &RelPath,
        row: Option<Row>,
        is_noted: bool,
    ) -> Result<Option<Suspect>, ScrubError> {
        let mut row = row;
        for _ in 0..ATTEMPTS {
            let (finding, change, sight) = match self.compare_once(path, &mut row)? {
                Compared::Well => match &row {
                    // Whatever was amiss is not any more.
                    Some(row) if is_noted || row.is_damaged => {
                        let well = Row { is_damaged: false, ..row.clone() };
                        (None, Change::Renew(well), look(self.shelf, path))
                    }
                    Some(_) => {
                        self.companion.told(super::shown(path), Told::Well)?;
                        return Ok(None);
                    }
                    None => return Ok(None),
                },
                Compared::Moving => continue,
                Compared::Stale(renewed, sight) => (None, Change::Renew(renewed), sight),
                Compared::Amiss(finding, adoption, sight) => {
                    let change = match (adoption, &self.terms.adopt) {
                        (Some(Adoption::Row(row)), Some(client)) => Change::Adopt(*row, client.clone()),
                        (Some(Adoption::Close), Some(_)) => Change::Close,
                        _ => Change::Note(finding.clone()),
                    };
                    (Some(finding), change, sight)
                }
            };
            return Ok(Some(Suspect { path: path.clone(), row, sight, is_noted, finding, change }));
        }
        self.companion.told(super::shown(path), Told::Moving)?;
        Ok(None)
    }

    fn compare_once(&mut self, path: &RelPath, row: &mut Option<Row>) -> Result<Compared, ScrubError> {
        match row.as_ref().map(|row| row.kind.clone()) {
            Some(RowKind::File { size, digests }) => self.compare_file(path, row, size, digests),
            Some(RowKind::Folder) => {
                let sight = look(self.shelf, path);
                Ok(match &sight {
                    Sight::There(Entry { kind: EntryKind::Folder, .. }) => Compared::Well,
                    Sight::Closed(why) => self.amiss(Amiss::Unreadable, why.clone(), None, sight),
                    _ => self.missing(sight),
                })
            }
            Some(RowKind::Symlink(target)) => Ok(self.compare_link(path, row, &target)),
            None => self.look_at_stranger(path),
        }
    }

    fn compare_file(
        &mut self,
        path: &RelPath,
        row: &mut Option<Row>,
        size: u64,
        digests: Digests,
    ) -> Result<Compared, ScrubError> {
        let mut source = match Source::open(&Location::on(self.shelf, path), Links::Keep) {
            Ok(source) => source,
            Err(error) => return Ok(self.cannot_open(path, &error)),
        };
        let identity = source.identity();
        let stamp = identity.stamp(false);
        let is_untouched = row.as_ref().is_some_and(|row| row.stamp == stamp);
        // Whoever touches what has rotted, or moves it to another disk, does not make it well.
        let was_damaged = identity.size == size && row.as_ref().is_some_and(|row| row.is_damaged);
        if !is_untouched {
            // What was read of the rows may be hours old.
            let now = self.register.find(path)?;
            if now != *row {
                *row = now;
                return Ok(Compared::Moving);
            }
            if identity.size != size && self.terms.adopt.is_none() {
                let sight = look(self.shelf, path);
                return Ok(match &sight {
                    Sight::There(entry) if entry.stamp == stamp => {
                        self.amiss(Amiss::Changed, "its size is another one".into(), None, sight)
                    }
                    _ => Compared::Moving,
                });
            }
        }
        let mut algorithms = digests.iter().map(|digest| digest.algorithm());
        let first = algorithms.next().unwrap_or_default();
        let actual = match self.read(&mut source, Hashers::by(first, algorithms))? {
            Reading::Whole(actual) => actual,
            Reading::Moving => return Ok(Compared::Moving),
            Reading::Failed(error) => return Ok(self.cannot_read(path, &error)),
        };
        let Some(known) = row.as_ref() else { return Ok(Compared::Moving) };
        let is_same = identity.size == size && actual == digests;
        if is_same && is_untouched {
            return Ok(Compared::Well);
        }
        let sight = look(self.shelf, path);
        if !matches!(&sight, Sight::There(entry) if entry.stamp == stamp) {
            return Ok(Compared::Moving);
        }
        if is_same {
            return Ok(Compared::Stale(renewed(known, &identity, source.mode()), sight));
        }
        let (expected, found) = difference(&digests, &actual);
        let what = if is_untouched || was_damaged { Amiss::Rotted } else { Amiss::Changed };
        let adoption = (what == Amiss::Changed).then(|| Adoption::Row(as_it_is(&source, actual).into()));
        let finding = Finding { what, expected, found, detail: String::new(), pass: Some(self.terms.pass) };
        Ok(Compared::Amiss(finding, adoption, sight))
    }

    fn compare_link(&self, path: &RelPath, row: &Option<Row>, target: &[u8]) -> Compared {
        let sight = look(self.shelf, path);
        match (&sight, row) {
            (Sight::There(entry), Some(row)) => match &entry.kind {
                EntryKind::Symlink(there) if there == target && entry.stamp == row.stamp => Compared::Well,
                EntryKind::Symlink(there) if there == target => {
                    let row = Row {
                        stamp: entry.stamp.clone(),
                        modified: Some(entry.modified),
                        is_damaged: false,
                        ..row.clone()
                    };
                    Compared::Stale(row, sight)
                }
                EntryKind::Symlink(there) => {
                    let row = link_as_it_is(entry, there.clone());
                    self.amiss(
                        Amiss::Changed,
                        "it leads elsewhere".into(),
                        Some(Adoption::Row(row.into())),
                        sight,
                    )
                }
                _ => self.missing(sight),
            },
            (Sight::Closed(why), _) => self.amiss(Amiss::Unreadable, why.clone(), None, sight),
            _ => self.missing(sight),
        }
    }

    /// Something on the disk that has no row.
    fn look_at_stranger(&mut self, path: &RelPath) -> Result<Compared, ScrubError> {
        let sight = look(self.shelf, path);
        let Sight::There(entry) = &sight else { return Ok(Compared::Well) };
        let row = match &entry.kind {
            EntryKind::Folder | EntryKind::Other => return Ok(Compared::Well),
            EntryKind::Symlink(target) => Some(link_as_it_is(entry, target.clone())),
            EntryKind::File(_) if self.terms.adopt.is_none() => None,
            EntryKind::File(_) => {
                let mut source = match Source::open(&Location::on(self.shelf, path), Links::Keep) {
                    Ok(source) => source,
                    Err(error) => return Ok(self.cannot_open(path, &error)),
                };
                if source.identity().stamp(false) != entry.stamp {
                    return Ok(Compared::Moving);
                }
                match self.read(&mut source, Hashers::by(Algorithm::default(), []))? {
                    Reading::Whole(actual) => Some(as_it_is(&source, actual)),
                    Reading::Moving => return Ok(Compared::Moving),
                    Reading::Failed(error) => return Ok(self.cannot_read(path, &error)),
                }
            }
        };
        Ok(self.amiss(Amiss::Unreceipted, String::new(), row.map(|row| Adoption::Row(row.into())), sight))
    }

    /// Reads a file from its beginning to its end.
    fn read(&mut self, source: &mut Source, mut hashers: Hashers) -> Result<Reading, ScrubError> {
        let identity = source.identity();
        let mut left = identity.size;
        while left > 0 {
            match source.read(&mut self.buffer) {
                Ok(0) => return Ok(Reading::Moving),
                Ok(read) => {
                    hashers.update(&self.buffer[..read]);
                    left = left.saturating_sub(read as u64);
                    self.companion.read(read)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Ok(Reading::Failed(error.into())),
            }
        }
        Ok(match source.change_since(&identity) {
            Ok(source::Change::None) => Reading::Whole(hashers.finish()),
            Ok(_) => Reading::Moving,
            Err(error) => Reading::Failed(error.into()),
        })
    }

    fn cannot_open(&self, path: &RelPath, error: &SourceError) -> Compared {
        let sight = look(self.shelf, path);
        match &sight {
            Sight::There(Entry { kind: EntryKind::File(_), .. }) => match error {
                // Something else had its name a moment ago.
                SourceError::Changed => Compared::Moving,
                error => self.cannot_read(path, error),
            },
            Sight::Closed(why) => self.amiss(Amiss::Unreadable, why.clone(), None, sight),
            Sight::There(_) | Sight::Nothing => self.missing(sight),
        }
    }

    fn cannot_read(&self, path: &RelPath, error: &SourceError) -> Compared {
        self.amiss(kind_of(error), error.to_string(), None, look(self.shelf, path))
    }

    fn missing(&self, sight: Sight) -> Compared {
        let detail = match &sight {
            Sight::There(_) => "something of another kind has its name",
            _ => "",
        };
        self.amiss(Amiss::Missing, detail.into(), Some(Adoption::Close), sight)
    }

    fn amiss(&self, what: Amiss, detail: String, adoption: Option<Adoption>, sight: Sight) -> Compared {
        let finding = Finding { what, expected: None, found: None, detail, pass: Some(self.terms.pass) };
        Compared::Amiss(finding, adoption, sight)
    }
}

/// What a disk cannot give back any more is damaged, whatever it says of its times.
fn kind_of(error: &SourceError) -> Amiss {
    match error {
        SourceError::Io(error) if Errno::from_io_error(error) == Some(Errno::IO) => Amiss::Rotted,
        _ => Amiss::Unreadable,
    }
}

/// The first digests by the same algorithm that are not the same.
fn difference(expected: &Digests, found: &Digests) -> (Option<Digest>, Option<Digest>) {
    let pairs = expected.iter().map(|digest| (Some(digest), found.by(digest.algorithm())));
    pairs.into_iter().find(|(expected, found)| expected != found).unwrap_or((None, None))
}

/// The row of a file that was touched and is the same. What its sender said of time and mode counts as long as the
/// disk still shows it.
pub(in crate::uploads) fn renewed(row: &Row, identity: &Identity, mode: Mode) -> Row {
    let before = Identity::of_stamp(&row.stamp);
    let has_its_time = before.is_some_and(|before| before.modified == identity.modified);
    let has_its_mode = row.mode.is_some_and(|sent| sent.bits() & 0o777 | 0o600 == mode.bits() & 0o777);
    Row {
        kind: row.kind.clone(),
        modified: if has_its_time { row.modified } else { Some(identity.modified) },
        mode: if has_its_mode { row.mode } else { Some(mode) },
        attributes: row.attributes.clone(),
        stamp: identity.stamp(false),
        is_damaged: false,
    }
}

/// The row of a file that its owner has put there.
fn as_it_is(source: &Source, digests: Digests) -> Row {
    let identity = source.identity();
    Row {
        kind: RowKind::File { size: identity.size, digests },
        modified: Some(identity.modified),
        mode: Some(source.mode()),
        attributes: Attributes::default(),
        stamp: identity.stamp(false),
        is_damaged: false,
    }
}

fn link_as_it_is(entry: &Entry, target: Vec<u8>) -> Row {
    Row {
        kind: RowKind::Symlink(target),
        modified: Some(entry.modified),
        mode: None,
        attributes: Attributes::default(),
        stamp: entry.stamp.clone(),
        is_damaged: false,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_a_disk_cannot_read_is_damaged_and_what_may_not_be_read_is_not() {
        let of = |errno: Errno| kind_of(&SourceError::Io(io::Error::from(errno)));
        assert_eq!(of(Errno::IO), Amiss::Rotted);
        assert_eq!(of(Errno::ACCESS), Amiss::Unreadable);
        assert_eq!(kind_of(&SourceError::Changed), Amiss::Unreadable);
        assert_eq!(SourceError::Io(Errno::ACCESS.into()).to_string(), "Permission denied");
    }

    #[test]
    fn the_digests_that_tell_two_contents_apart_are_named() {
        let digests = |sha: &[u8], blake: &[u8]| {
            Digests::of([Algorithm::Sha256.digest(sha), Algorithm::Blake3.digest(blake)]).unwrap()
        };
        let (expected, found) = difference(&digests(b"a", b"a"), &digests(b"a", b"b"));
        assert_eq!(expected, Some(Algorithm::Blake3.digest(b"a")));
        assert_eq!(found, Some(Algorithm::Blake3.digest(b"b")));
    }
}
