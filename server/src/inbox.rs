//! Files of the inbox that are opened to be read, with what the catalogue says of them as long as nobody has touched them;
//! and what becomes known of them by that.

use ferry_proto::{Algorithm, Digest, PathError, RelPath, Timestamp};
use ferry_store::{
    Entry, EntryKind, Ledger, LedgerError, Lesson, LocalStore, Row, StoreError, Uploads,
    source::{Links, Location, Shelf, Source, SourceError},
};

use crate::catalogue::Catalogue;

/// A file that is open.
pub(crate) struct OpenFile {
    pub(crate) source: Source,
    path: RelPath,
    /// What the catalogue says of this version.
    row: Option<Row>,
}

/// Why a file, or what is known of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InboxError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("what is known of files cannot be looked up: {0}")]
    Catalogue(#[from] LedgerError),
}

/// Where in the inbox a client's path is whose root is this folder.
pub(crate) fn beneath(folder: Option<&RelPath>, path: &RelPath) -> Result<RelPath, PathError> {
    match folder {
        Some(folder) => folder.join(path),
        None => Ok(path.clone()),
    }
}

/// Opens a file, unless it is known to be damaged.
pub(crate) fn open(shelf: &Shelf, catalogue: &Catalogue, path: &RelPath) -> Result<OpenFile, InboxError> {
    // Nothing else is opened, not even to find out what it is.
    match shelf.look(path)? {
        Some(Entry { kind: EntryKind::File(_), .. }) => {}
        _ => return Err(StoreError::NotFound.into()),
    }
    let source = Source::open(&Location::on(shelf, path), Links::Keep)?;
    let row = catalogue.find(path)?.filter(|row| row.speaks_of(&source.stamp(), source.identity().size));
    match row {
        Some(Row { is_damaged: true, .. }) => Err(SourceError::Damaged.into()),
        row => Ok(OpenFile { source, path: path.clone(), row }),
    }
}

impl OpenFile {
    /// Its digest, where the catalogue knows that.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.row.as_ref()?.kind.digest(Algorithm::Sha256)
    }

    /// When it was last modified, as its sender has said, or else the disk.
    pub(crate) fn modified(&self) -> Timestamp {
        let said = self.row.as_ref().and_then(|row| row.modified);
        said.unwrap_or(self.source.identity().modified)
    }

    /// Writes down, and tells the log, that all of it was read while nobody touched it, and has this digest in place of the
    /// one that the catalogue knows.
    pub(crate) fn note_damage(&self, uploads: &Uploads<LocalStore>, found: Digest) {
        tell_of_damage(&self.path);
        let (path, identity, mode) = (self.path.clone(), self.source.identity(), self.source.mode());
        write_down(uploads, &[Lesson { path, identity, mode, found: found.into() }]);
    }
}

/// Tells the log of a file that has rotted.
pub(crate) fn tell_of_damage(file: &RelPath) {
    tracing::error!(%file, "a file is not what was received, though nobody has touched it: it is damaged");
}

/// Writes down what reading files has taught.
pub(crate) fn write_down(uploads: &Uploads<LocalStore>, lessons: &[Lesson]) {
    if let Err(error) = uploads.learn(lessons) {
        tracing::warn!(%error, "what was learned of files cannot be written down");
    }
}
