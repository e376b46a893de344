//! What is sent: a source in memory, with the troubles that a source can have.

use std::fmt;

use ferry_proto::*;

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Content {
    File(Vec<u8>),
    Folder,
    Link(Vec<u8>),
}

/// Short, so that a failed case can be read.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::File(bytes) => {
                write!(f, "File({} bytes, {:.8})", bytes.len(), Algorithm::Sha256.digest(bytes).hex())
            }
            Content::Folder => write!(f, "Folder"),
            Content::Link(target) => write!(f, "Link({})", escape::bytes(target)),
        }
    }
}

/// What the header says ahead of a file's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// Size and digest: a small file, or one with a cached digest.
    Digest,
    /// The size alone: a large file.
    Size,
    /// Neither: standard input.
    Nothing,
    /// A digest that the file had before it changed.
    StaleDigest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// It is gone when the body is asked for.
    Vanished,
    /// It cannot be read from here on.
    UnreadableAt(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) path: RelPath,
    pub(crate) content: Content,
    pub(crate) ahead: Ahead,
    pub(crate) trouble: Trouble,
}

impl Item {
    pub(crate) fn new(path: &str, content: Content, ahead: Ahead) -> Self {
        let path = RelPath::new(path).expect("a good name");
        Item { path, content, ahead, trouble: Trouble::None }
    }

    pub(crate) fn file(path: &str, length: usize, ahead: Ahead) -> Self {
        Item::new(path, Content::File(bytes(path.len(), length)), ahead)
    }

    pub(crate) fn with_trouble(mut self, trouble: Trouble) -> Self {
        self.trouble = trouble;
        self
    }

    /// The bytes of a file; none for anything else.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::File(bytes) => bytes,
            Content::Folder | Content::Link(_) => &[],
        }
    }

    /// The header; `asked_for_digest` once the receiver wants to know it.
    pub(crate) fn header(&self, asked_for_digest: bool) -> Header {
        let kind = match &self.content {
            Content::File(_) => Kind::File,
            Content::Folder => Kind::Folder,
            Content::Link(target) => Kind::Symlink(target.clone()),
        };
        let mut header = Header::new(self.path.clone(), kind);
        if header.has_body() {
            header.size = (self.ahead != Ahead::Nothing).then(|| self.bytes().len() as u64);
            header.digest = match self.ahead {
                Ahead::StaleDigest => Some(Algorithm::Sha256.digest(b"what it was")),
                Ahead::Digest => Some(self.digest()),
                Ahead::Size | Ahead::Nothing => asked_for_digest.then(|| self.digest()),
            };
        }
        header
    }

    pub(crate) fn digest(&self) -> Digest {
        Algorithm::Sha256.digest(self.bytes())
    }
}

/// Bytes without a period that a chunk or a checkpoint could have.
pub(crate) fn bytes(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * at + at * 7 + seed * 31) >> 2) as u8).collect()
}
