//! What reading files again shows, and what the ledger writes down of it.

use ferry_proto::{Digest, RelPath};

use crate::{Ledger, LedgerError, Row, Stamp};

/// Something to be written down about a name, if its row is still the one that was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The name.
    pub path: RelPath,
    /// The stamp in its row; `None` if it had none.
    pub seen: Option<Stamp>,
    /// What it comes to.
    pub change: Change,
}

/// What a comparison comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The name holds what its row speaks of. This is what the row says from now on, and nothing is amiss.
    Renew(Row),
    /// The name holds this, and whoever is named is the one that it counts for.
    Adopt(Row, String),
    /// It holds nothing that its row could speak of.
    Close,
    /// Something is amiss; the row stays what it is.
    Note(Finding),
}

/// A difference between a name and its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of which kind.
    pub what: Amiss,
    /// The digest that the row has, where digests tell the difference.
    pub expected: Option<Digest>,
    /// What the file has in its place.
    pub found: Option<Digest>,
    /// What else there is to say, in words of this program; maybe nothing.
    pub detail: String,
    /// The pass that has found it; `None` if it was met otherwise.
    pub pass: Option<i64>,
}

/// The kinds of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Amiss {
    /// Nobody seems to have touched the file, and yet it is not what was received, or the disk cannot read it.
    Rotted,
    /// Somebody has changed it.
    Changed,
    /// The name does not hold anything of this kind any more.
    Missing,
    /// The name has no row.
    Unreceipted,
    /// It cannot be looked at, for a reason other than the disk's.
    Unreadable,
}

impl Amiss {
    /// All of them.
    pub const ALL: [Amiss; 5] =
        [Amiss::Rotted, Amiss::Changed, Amiss::Missing, Amiss::Unreceipted, Amiss::Unreadable];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Amiss::Rotted => "rotted",
            Amiss::Changed => "changed",
            Amiss::Missing => "missing",
            Amiss::Unreceipted => "unreceipted",
            Amiss::Unreadable => "unreadable",
        }
    }

    /// The kind with this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Amiss::ALL.into_iter().find(|what| what.word() == word)
    }
}

/// A ledger whose rows can be gone through.
pub trait Register: Ledger {
    /// The next rows in the order of names as bytes, at most so many: after one name, and of another and what is below it.
    fn rows(
        &self,
        after: Option<&RelPath>,
        below: Option<&RelPath>,
        most: usize,
    ) -> Result<Vec<Recorded>, LedgerError>;

    /// Which of these names have a row.
    fn have_rows(&self, paths: &[RelPath]) -> Result<Vec<bool>, LedgerError>;

    /// A token for the rows that are owed now ([`Ledger::owes_rows`]); `None` if none are. As soon as there is another
    /// one or none, they are written.
    fn debt(&self) -> Option<u64>;
}

/// A name and its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The name.
    pub path: RelPath,
    /// Its row.
    pub row: Row,
    /// Whether something was found amiss with it.
    pub is_noted: bool,
}
