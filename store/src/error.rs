//! What can go wrong in a store, mapped once from what the operating system says.

use std::io;

use ferry_proto::Code;
use rustix::io::Errno;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing has this name.
    #[error("no such file or folder")]
    NotFound,
    /// Something has this name already.
    #[error("the name is taken")]
    Exists,
    /// Something of another kind has this name or that of a folder above it.
    #[error("something of another kind has this name")]
    Kind,
    /// The file system cannot hold this name.
    #[error("the file system cannot hold this name")]
    Name,
    /// No space or no quota is left.
    #[error("no space is left")]
    Full,
    /// Not writable, or not readable, for this process.
    #[error("permission denied: {}", plain(.0))]
    Denied(io::Error),
    /// This process, or the system, has too many files open.
    #[error("too many files are open")]
    Crowded,
    /// Another process uses the whole store.
    #[error("another process uses it")]
    InUse,
    /// The name no longer leads to what was put there.
    #[error("someone else moved or changed it meanwhile")]
    Moved,
    /// Anything else.
    #[error("{}", plain(.0))]
    Io(io::Error),
}

/// The operating system's words without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_owned()
}

impl StoreError {
    /// The code that a peer is told.
    pub fn code(&self) -> Code {
        match self {
            StoreError::Exists => Code::Exists,
            StoreError::Kind => Code::KindConflict,
            StoreError::Name => Code::NameUnsupported,
            StoreError::Full => Code::StorageFull,
            StoreError::Denied(_) => Code::StorageDenied,
            StoreError::NotFound
            | StoreError::Crowded
            | StoreError::InUse
            | StoreError::Moved
            | StoreError::Io(_) => Code::StorageFailed,
        }
    }
}

impl From<Errno> for StoreError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => StoreError::NotFound,
            Errno::EXIST | Errno::NOTEMPTY => StoreError::Exists,
            // A link in the way is ELOOP, one that leads outside is EXDEV: neither is followed.
            Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::XDEV => StoreError::Kind,
            // What opening a socket, or a device that nothing drives, says.
            Errno::NXIO | Errno::NODEV => StoreError::Kind,
            Errno::NAMETOOLONG | Errno::ILSEQ | Errno::INVAL => StoreError::Name,
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => StoreError::Full,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => StoreError::Denied(errno.into()),
            Errno::MFILE | Errno::NFILE => StoreError::Crowded,
            other => StoreError::Io(other.into()),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => StoreError::Io(error),
        }
    }
}
