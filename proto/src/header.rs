//! What goes ahead of a body: name, size, digest, time, mode and kind of one entry.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Attributes, Digest, RelPath, codec, limits};

/// The tag of [`Header::same_as`].
const SAME_AS: u16 = 3;

/// The tag of [`Header::leaving`].
const LEAVING: u16 = 4;

/// One entry of a tree, as its sender describes it.
///
/// The size is `None` only for a stream whose end is not known yet. The digest is `None` where finding it out
/// would mean reading a large file twice; it then comes after the body. Time and mode are `None` for streams.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawHeader")]
pub struct Header {
    /// Where it goes.
    pub path: RelPath,
    /// What it is.
    pub kind: Kind,
    /// Bytes of a file's body.
    pub size: Option<u64>,
    /// The digest of a file's body, where it is known ahead.
    pub digest: Option<Digest>,
    /// When it was last modified.
    pub modified: Option<Timestamp>,
    /// Its permission bits.
    pub mode: Option<Mode>,
    /// The name of a file that was offered before and that this is another name of, if it is one that the receiver has by now.
    pub same_as: Option<RelPath>,
    /// Its source will be removed when the receiver has it for good. So what the receiver holds has to be read, and must not
    /// be that source itself.
    pub leaving: Option<Box<Leaving>>,
    /// What is said only where that is asked for.
    pub attributes: Box<Attributes>,
    /// Further attributes, which are not known here. A receiver passes over them.
    pub extensions: Vec<Extension>,
}

/// What the file system of a source that will be removed knows it by. A receiver that finds the same on its own disk has been
/// offered its own file, by another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// The inode, or what stands for it.
    pub inode: u64,
    /// When it was last changed in any way.
    pub changed: Timestamp,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file; its body follows.
    File,
    /// A folder; no body.
    Folder,
    /// A symbolic link with its target, kept verbatim; no body.
    Symlink(#[serde(with = "link_target")] Vec<u8>),
}

/// A moment, as nanoseconds can tell it, before or after 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(i64, u32)", into = "(i64, u32)")]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

/// Permission bits, setuid, setgid and sticky included: at most `0o7777`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Mode(u32);

/// An attribute by tag; its meaning is the tag's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Which attribute.
    pub tag: u16,
    /// Its value.
    pub value: Vec<u8>,
}

/// A header that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A folder or link with a size or a digest.
    #[error("only a file has a size and a digest")]
    BodyWithoutFile,
    /// Another name of something without a digest.
    #[error("only a file with a digest is the same as another")]
    SameAs,
    /// A size over [`limits::FILE`].
    #[error("the size is beyond every file")]
    TooLarge,
    /// Too many extensions, or too many bytes of them.
    #[error("too many extensions")]
    TooManyExtensions,
    /// A symlink with an empty target, a NUL in it, or over [`limits::LINK_TARGET`] bytes.
    #[error("the link's target is empty, too long or has a NUL byte in it")]
    LinkTarget,
    /// An extension that is known, and says what it cannot say.
    #[error("a malformed extension")]
    Extension,
    /// Nanoseconds of a second or more.
    #[error("the time has too many nanoseconds")]
    Nanos,
    /// Mode bits over `0o7777`.
    #[error("the mode has bits that no mode has")]
    Mode,
}

impl Header {
    /// The header of a file, folder or link about which nothing else is known yet.
    pub fn new(path: RelPath, kind: Kind) -> Self {
        Header {
            path,
            kind,
            size: None,
            digest: None,
            modified: None,
            mode: None,
            same_as: None,
            leaving: None,
            attributes: Box::default(),
            extensions: Vec::new(),
        }
    }

    /// Whether a body follows an answer that asks for one.
    pub fn has_body(&self) -> bool {
        self.kind == Kind::File
    }

    fn check(&self) -> Result<(), HeaderError> {
        if !self.has_body() && (self.size.is_some() || self.digest.is_some()) {
            return Err(HeaderError::BodyWithoutFile);
        }
        if self.same_as.is_some() && (self.size.is_none() || self.digest.is_none()) {
            return Err(HeaderError::SameAs);
        }
        if self.size.is_some_and(|size| size > limits::FILE) {
            return Err(HeaderError::TooLarge);
        }
        if let Kind::Symlink(target) = &self.kind
            && (target.is_empty() || target.len() > limits::LINK_TARGET || target.contains(&0))
        {
            return Err(HeaderError::LinkTarget);
        }
        Ok(())
    }
}

impl Timestamp {
    /// A moment `seconds` and `nanos` after the start of 1970, UTC; the nanoseconds always count forward.
    pub fn new(seconds: i64, nanos: u32) -> Result<Self, HeaderError> {
        if nanos < 1_000_000_000 { Ok(Timestamp { seconds, nanos }) } else { Err(HeaderError::Nanos) }
    }

    /// A moment whose nanoseconds may be too many: they are cut to the end of the second.
    pub fn saturating(seconds: i64, nanos: u32) -> Self {
        Timestamp { seconds, nanos: nanos.min(999_999_999) }
    }

    /// Whole seconds since the start of 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after that second.
    pub fn nanos(self) -> u32 {
        self.nanos
    }
}

impl Mode {
    /// The permission bits of a mode, its file-type bits cut off.
    pub fn from_bits(bits: u32) -> Self {
        Mode(bits & 0o7777)
    }

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<(i64, u32)> for Timestamp {
    type Error = HeaderError;

    fn try_from((seconds, nanos): (i64, u32)) -> Result<Self, HeaderError> {
        Timestamp::new(seconds, nanos)
    }
}

impl From<Timestamp> for (i64, u32) {
    fn from(time: Timestamp) -> Self {
        (time.seconds, time.nanos)
    }
}

impl TryFrom<u32> for Mode {
    type Error = HeaderError;

    fn try_from(bits: u32) -> Result<Self, HeaderError> {
        if bits <= 0o7777 { Ok(Mode(bits)) } else { Err(HeaderError::Mode) }
    }
}

impl From<Mode> for u32 {
    fn from(mode: Mode) -> Self {
        mode.0
    }
}

#[derive(Deserialize)]
struct RawHeader {
    path: RelPath,
    kind: Kind,
    size: Option<u64>,
    digest: Option<Digest>,
    modified: Option<Timestamp>,
    mode: Option<Mode>,
    #[serde(deserialize_with = "codec::list::<{ limits::EXTENSIONS }, _, _>")]
    extensions: Vec<Extension>,
}

impl TryFrom<RawHeader> for Header {
    type Error = HeaderError;

    fn try_from(raw: RawHeader) -> Result<Self, HeaderError> {
        let RawHeader { path, kind, size, digest, modified, mode, extensions: all } = raw;
        let bytes: usize = all.iter().map(Extension::cost).sum();
        if all.len() > limits::EXTENSIONS || bytes > limits::EXTENSION_BYTES {
            return Err(HeaderError::TooManyExtensions);
        }
        let (mut attributes, mut extensions) = (Box::<Attributes>::default(), Vec::new());
        let (mut same_as, mut leaving) = (None, None);
        for extension in all {
            if extension.tag == LEAVING {
                let source: Box<Leaving> =
                    codec::decode(&extension.value).map_err(|_| HeaderError::Extension)?;
                leaving.get_or_insert(source);
                continue;
            }
            if extension.tag == SAME_AS {
                let path: RelPath = codec::decode(&extension.value).map_err(|_| HeaderError::Extension)?;
                same_as.get_or_insert(path);
                continue;
            }
            extensions.extend(attributes.take(extension).map_err(|_| HeaderError::Extension)?);
        }
        let header =
            Header { path, kind, size, digest, modified, mode, same_as, leaving, attributes, extensions };
        header.check().map(|()| header)
    }
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Header { path, kind, size, digest, modified, mode, same_as, leaving, attributes, extensions } =
            self;
        let mut known = attributes.extensions();
        known.extend(same_as.as_ref().map(|path| Extension::of(SAME_AS, path)));
        known.extend(leaving.as_ref().map(|source| Extension::of(LEAVING, source)));
        let all: Vec<&Extension> = known.iter().chain(extensions).collect();
        (path, kind, size, digest, modified, mode, all).serialize(serializer)
    }
}

impl Extension {
    pub(crate) fn of(tag: u16, value: &impl Serialize) -> Self {
        let mut bytes = Vec::new();
        codec::encode(value, &mut bytes);
        Extension { tag, value: bytes }
    }

    /// What it counts for [`limits::EXTENSION_BYTES`].
    pub(crate) fn cost(&self) -> usize {
        self.value.len() + 8
    }
}

impl Serialize for Extension {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.tag, Bytes(&self.value)).serialize(serializer)
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct OwnedBytes(Vec<u8>);

impl<'de> Deserialize<'de> for OwnedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        codec::byte_string(deserializer, limits::EXTENSION_BYTES).map(OwnedBytes)
    }
}

impl<'de> Deserialize<'de> for Extension {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (tag, OwnedBytes(value)) = Deserialize::deserialize(deserializer)?;
        Ok(Extension { tag, value })
    }
}

mod link_target {
    use super::*;

    pub(super) fn serialize<S: Serializer>(target: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(target)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let target = codec::byte_string(deserializer, limits::LINK_TARGET)?;
        if target.is_empty() || target.contains(&0) {
            return Err(D::Error::custom(HeaderError::LinkTarget));
        }
        Ok(target)
    }
}
