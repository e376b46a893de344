//! A pass over everything that is held: what the rows say is compared with what the disk has.
//!
//! First every row is compared with its file, in the order of names, so that a pass can go on where another one was
//! interrupted. Then whatever lies on the disk is looked for among the rows. It takes no lock, and works in another
//! process than the one that serves. So what differs is a suspect at first. It is looked at once more when every row
//! that was owed then is written, and counts only if it, and its row, are still what they were; and its revision is
//! written only if the row still is.

pub(super) mod compare;

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path, thread::sleep, time::Duration};

use ferry_proto::{Kind, RelPath};

use crate::{
    Amiss, Finding, LedgerError, Recorded, Register, Row, StoreError,
    source::{Found, Shelf, SourceError, Walk},
};
use compare::Suspect;

/// Rows that are read at a time.
const PAGE: usize = 1000;

/// Suspects that are looked at together: as many revisions as a batch of the committer has rows.
const TOGETHER: usize = 256;

/// Something that changes while it is compared is tried this often.
const ATTEMPTS: usize = 5;

/// Between two looks whether rows are still owed. A batch takes about as long as some of them.
const LOOK: Duration = Duration::from_millis(1);

/// What a pass is about.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Only this name and what is below it.
    pub below: Option<RelPath>,
    /// Take in what somebody has done by hand, for this client.
    pub adopt: Option<String>,
    /// What its findings are known by.
    pub pass: i64,
    /// Bytes that are read at a time.
    pub at_once: usize,
}

/// Where a pass has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// Every row up to this name is compared.
    Rows(Option<RelPath>),
    /// All rows are, and what is on the disk is being looked for among them.
    Disk,
}

/// What is told of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// It differs.
    Amiss(&'a Finding),
    /// It differed, and was taken in.
    Adopted(&'a Finding),
    /// It is what its row says, which has the stamp of its file again, or forgets what was amiss with it.
    Renewed,
    /// It is what its row says.
    Well,
    /// It changes all the time, so there was nothing to be compared.
    Moving,
}

/// Who goes along with a pass. An error from any of these ends it.
pub trait Companion {
    /// So many bytes were read.
    fn read(&mut self, bytes: usize) -> Result<(), ScrubError>;

    /// Asked now and then; the time to say [`ScrubError::Stopped`].
    fn check(&mut self) -> Result<(), ScrubError>;

    /// A name was compared. It need not be one that a peer may say.
    fn told(&mut self, name: &Path, told: Told<'_>) -> Result<(), ScrubError>;

    /// Whether it is time to note how far the pass has come.
    fn wants_to_note(&self) -> bool;

    /// Everything up to there is compared, told and written down.
    fn note(&mut self, position: &Position) -> Result<(), ScrubError>;
}

/// Why a pass has ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// Somebody wanted that.
    #[error("stopped")]
    Stopped,
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Anything else.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// Goes on with a pass from a position, to its end.
pub fn run(
    shelf: &Shelf,
    register: &dyn Register,
    terms: &Terms,
    from: Position,
    companion: &mut dyn Companion,
) -> Result<(), ScrubError> {
    let buffer = vec![0; terms.at_once.max(1)];
    let mut scrub = Scrub { shelf, register, terms, companion, suspects: Vec::new(), buffer };
    if let Position::Rows(after) = from {
        scrub.compare_rows(after)?;
    }
    scrub.settle()?;
    scrub.companion.note(&Position::Disk)?;
    scrub.look_for_strangers()?;
    scrub.settle()?;
    scrub.companion.note(&Position::Disk)
}

struct Scrub<'a> {
    shelf: &'a Shelf,
    register: &'a dyn Register,
    terms: &'a Terms,
    companion: &'a mut dyn Companion,
    suspects: Vec<Suspect>,
    buffer: Vec<u8>,
}

impl Scrub<'_> {
    fn compare_rows(&mut self, mut after: Option<RelPath>) -> Result<(), ScrubError> {
        loop {
            let page = self.register.rows(after.as_ref(), self.terms.below.as_ref(), PAGE)?;
            if page.is_empty() {
                return Ok(());
            }
            for Recorded { path, row, is_noted } in page {
                self.companion.check()?;
                let suspect = self.compare(&path, Some(row), is_noted)?;
                self.suspects.extend(suspect);
                after = Some(path);
                self.settle_now_and_then(|| Position::Rows(after.clone()))?;
            }
        }
    }

    fn look_for_strangers(&mut self) -> Result<(), ScrubError> {
        let mut names = Vec::new();
        for found in Walk::of_shelf(self.shelf, None, self.terms.below.as_ref(), true, |_| {}) {
            self.companion.check()?;
            match found {
                Found::Item(item) => item.pass(|item| {
                    if item.kind != Kind::Folder {
                        names.push(item.path.clone());
                    }
                }),
                // Neither file nor link: nothing that could have been received.
                Found::Skipped(..) | Found::LeftOut(..) => {}
                Found::Problem(path, error) => self.cannot_look(&path, &error)?,
            }
            if names.len() >= PAGE {
                self.sort_out(&mut names)?;
            }
        }
        self.sort_out(&mut names)
    }

    /// Compares those of the names that have no row.
    fn sort_out(&mut self, names: &mut Vec<RelPath>) -> Result<(), ScrubError> {
        let have_rows = self.register.have_rows(names)?;
        for (path, has_row) in names.drain(..).zip(have_rows) {
            if !has_row {
                self.companion.check()?;
                let suspect = self.compare(&path, None, false)?;
                self.suspects.extend(suspect);
            }
            self.settle_now_and_then(|| Position::Disk)?;
        }
        Ok(())
    }

    /// Something that the walk could not name, or not look into.
    fn cannot_look(&mut self, path: &Path, error: &SourceError) -> Result<(), ScrubError> {
        if matches!(error, SourceError::Io(error) if error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(());
        }
        let what = if matches!(error, SourceError::Name(_)) { Amiss::Unreceipted } else { Amiss::Unreadable };
        let detail = error.to_string();
        // Nothing is written down: what is found so is found again by every run of a pass.
        let finding = Finding { what, expected: None, found: None, detail, pass: Some(self.terms.pass) };
        self.companion.told(path, Told::Amiss(&finding))
    }

    fn settle_now_and_then(&mut self, position: impl FnOnce() -> Position) -> Result<(), ScrubError> {
        if self.suspects.len() < TOGETHER && !self.companion.wants_to_note() {
            return Ok(());
        }
        self.settle()?;
        self.companion.note(&position())
    }

    /// Looks at suspects once more, and writes down and tells what has proved true. The others are compared again.
    fn settle(&mut self) -> Result<(), ScrubError> {
        let mut suspects = std::mem::take(&mut self.suspects);
        let is_about_rows = suspects.iter().any(|suspect| suspect.row.is_some());
        for _ in 0..ATTEMPTS {
            if suspects.is_empty() {
                return Ok(());
            }
            self.wait_for_owed_rows()?;
            let (mut firm, mut again) = (Vec::new(), Vec::new());
            for suspect in suspects {
                if self.is_as_it_was(&suspect)? { firm.push(suspect) } else { again.push(suspect) }
            }
            let revisions: Vec<_> = firm.iter().map(Suspect::revision).collect();
            let written = self.register.revise(&revisions)?;
            for (suspect, written) in firm.into_iter().zip(written) {
                if written {
                    self.companion.told(shown(&suspect.path), suspect.told())?;
                } else {
                    again.push(suspect);
                }
            }
            suspects = Vec::new();
            for Suspect { path, is_noted, .. } in again {
                let row = self.register.find(&path)?;
                // What has no row any more, and is still there, is found on the disk later.
                if row.is_some() || !is_about_rows {
                    suspects.extend(self.compare(&path, row, is_noted)?);
                }
            }
        }
        // What still is none of both is written all the time; a commit has checked it then.
        suspects.iter().try_for_each(|suspect| self.companion.told(shown(&suspect.path), Told::Moving))
    }

    /// A file that has its name may not have its row yet.
    fn wait_for_owed_rows(&mut self) -> Result<(), ScrubError> {
        let owed = self.register.debt();
        while owed.is_some() && self.register.debt() == owed {
            self.companion.check()?;
            sleep(LOOK);
        }
        Ok(())
    }

    fn is_as_it_was(&mut self, suspect: &Suspect) -> Result<bool, ScrubError> {
        let row: Option<Row> = self.register.find(&suspect.path)?;
        Ok(row == suspect.row && compare::look(self.shelf, &suspect.path) == suspect.sight)
    }
}

fn shown(path: &RelPath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}

impl From<StoreError> for ScrubError {
    fn from(error: StoreError) -> Self {
        ScrubError::Other(Box::new(error))
    }
}
