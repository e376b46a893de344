//! One entry that is finished.

use std::{os::unix::ffi::OsStrExt, path::Path};

use ferry_proto::{Code, Digest, Header, Kind, RelPath};

/// See the module.
pub(super) struct Entry<'a> {
    pub(super) status: Status,
    pub(super) kind: &'static str,
    /// The name that was asked for, if it came so far.
    pub(super) asked: Option<&'a RelPath>,
    /// The name on the server, below the client's folder.
    pub(super) name: &'a [u8],
    /// The name here, where that is what people look for.
    pub(super) local: Option<&'a Path>,
    pub(super) digest: Option<&'a Digest>,
    pub(super) bytes: u64,
    /// What went wrong, or is worth knowing.
    pub(super) detail: Option<String>,
    pub(super) code: Option<Code>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Sent,
    Held,
    Failed,
    /// Of no kind that is sent.
    Skipped,
    /// Not chosen.
    LeftOut,
    WouldSend,
}

impl<'a> Entry<'a> {
    pub(super) fn new(status: Status, kind: &'static str, name: &'a [u8]) -> Self {
        Entry {
            status,
            kind,
            asked: None,
            name,
            local: None,
            digest: None,
            bytes: 0,
            detail: None,
            code: None,
        }
    }

    /// What a server speaks of.
    pub(super) fn of_header(status: Status, header: &'a Header, name: &'a RelPath) -> Self {
        let entry = Entry::new(status, kind_name(&header.kind), name.as_bytes());
        Entry { asked: Some(&header.path), ..entry }
    }

    /// What has no name on the server, and is named by where it is here.
    pub(super) fn of_source(status: Status, kind: &'static str, source: &'a Path, detail: String) -> Self {
        Entry { detail: Some(detail), ..Entry::new(status, kind, source.as_os_str().as_bytes()) }
    }
}

pub(super) fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Symlink(_) => "symlink",
    }
}
