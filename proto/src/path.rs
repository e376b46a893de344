//! Names: what a peer may call a file.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{codec, escape, limits};

/// A path below a root that someone else chose.
///
/// It is a list of components, kept joined by `/`:
/// - at least one component, at most [`limits::DEPTH`];
/// - each 1 to [`limits::NAME`] bytes, none of them `.` or `..`, no `/` and no NUL inside;
/// - at most [`limits::PATH`] bytes in all;
/// - the first is not `.ferry` in any case, which is where a server keeps its own things.
///
/// Within that a name is bytes: it travels and is stored as it is, valid UTF-8 or not.
///
/// ```
/// use ferry_proto::RelPath;
///
/// let path = RelPath::new("holiday/a:b\\c.jpg")?;
/// assert_eq!(path.components().collect::<Vec<_>>(), [&b"holiday"[..], b"a:b\\c.jpg"]);
/// assert!(RelPath::new("../etc/passwd").is_err());
/// assert!(RelPath::new("/etc/passwd").is_err());
/// assert!(RelPath::new(".Ferry/staging/x").is_err());
/// # Ok::<(), ferry_proto::PathError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Box<[u8]>);

/// Why bytes are not a [`RelPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No component, or an empty one (`a//b`, a leading or trailing `/`).
    #[error("the path is empty, absolute or has an empty component")]
    EmptyComponent,
    /// A `.` or `..`.
    #[error("the path has a `.` or `..` in it")]
    Dots,
    /// A NUL byte.
    #[error("the path has a NUL byte in it")]
    Nul,
    /// A `/` where only one name is meant.
    #[error("the name has a `/` in it")]
    Slash,
    /// A component over [`limits::NAME`] bytes.
    #[error("a name in the path is longer than {} bytes", limits::NAME)]
    NameTooLong,
    /// Over [`limits::PATH`] bytes.
    #[error("the path is longer than {} bytes", limits::PATH)]
    TooLong,
    /// Over [`limits::DEPTH`] components.
    #[error("the path is deeper than {} levels", limits::DEPTH)]
    TooDeep,
    /// The first component is `.ferry`.
    #[error("`.ferry` belongs to the server")]
    Reserved,
}

impl RelPath {
    /// Checks the bytes of a path, components joined by `/`.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let bytes = bytes.as_ref();
        if bytes.len() > limits::PATH {
            return Err(PathError::TooLong);
        }
        for (level, name) in bytes.split(|&b| b == b'/').enumerate() {
            match name {
                _ if level >= limits::DEPTH => return Err(PathError::TooDeep),
                b"" => return Err(PathError::EmptyComponent),
                b"." | b".." => return Err(PathError::Dots),
                _ if name.contains(&0) => return Err(PathError::Nul),
                _ if name.len() > limits::NAME => return Err(PathError::NameTooLong),
                // No letter outside ASCII folds to one of these, so this is every case-folding.
                _ if level == 0 && name.eq_ignore_ascii_case(b".ferry") => return Err(PathError::Reserved),
                _ => {}
            }
        }
        Ok(RelPath(bytes.into()))
    }

    /// This path with more of them below it.
    pub fn join(&self, below: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let below = below.as_ref();
        let mut joined = Vec::with_capacity(self.0.len() + 1 + below.len());
        joined.extend_from_slice(&self.0);
        joined.push(b'/');
        joined.extend_from_slice(below);
        RelPath::new(joined)
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/')
    }

    /// The last component.
    pub fn name(&self) -> &[u8] {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(slash) => &self.0[slash + 1..],
            None => &self.0,
        }
    }

    /// The path of the folder that holds it; `None` at the top level.
    pub fn parent(&self) -> Option<RelPath> {
        let slash = self.0.iter().rposition(|&b| b == b'/')?;
        Some(RelPath(self.0[..slash].into()))
    }

    /// The same folder, another last component.
    pub fn with_name(&self, name: &[u8]) -> Result<Self, PathError> {
        if name.contains(&b'/') {
            return Err(PathError::Slash);
        }
        match self.parent() {
            Some(parent) => parent.join(name),
            None => RelPath::new(name),
        }
    }

    /// Whether it is below `base`.
    pub fn is_below(&self, base: &RelPath) -> bool {
        self.rest_below(base).is_some()
    }

    /// What is left of it below `base`; `None` if it is not below it, or if the rest is not a path by itself: `.ferry`
    /// may be anywhere but at the top.
    pub fn below(&self, base: &RelPath) -> Option<RelPath> {
        RelPath::new(self.rest_below(base)?).ok()
    }

    fn rest_below(&self, base: &RelPath) -> Option<&[u8]> {
        self.0.strip_prefix(&base.0[..])?.strip_prefix(b"/")
    }

    /// The bytes, components joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Prints the path with everything escaped that could act on a terminal.
impl std::fmt::Display for RelPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        escape::bytes(&self.0).fmt(f)
    }
}

impl std::fmt::Debug for RelPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RelPath({self})")
    }
}

impl AsRef<[u8]> for RelPath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = codec::byte_string(deserializer, limits::PATH)?;
        RelPath::new(bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_01_names_that_leave_or_confuse_are_refused() {
        use PathError::*;
        let long = "x".repeat(256);
        let deep = vec!["d"; 129].join("/");
        let huge = vec!["y".repeat(200); 21].join("/");
        for (name, error) in [
            ("../x", Dots),
            ("a/../../x", Dots),
            ("/etc/x", EmptyComponent),
            ("a//b", EmptyComponent),
            ("./a", Dots),
            ("a/.", Dots),
            ("", EmptyComponent),
            ("a/", EmptyComponent),
            ("a\0b", Nul),
            (&long, NameTooLong),
            (&deep, TooDeep),
            (&huge, TooLong),
            (".ferry", Reserved),
            (".FeRRy/staging", Reserved),
        ] {
            assert_eq!(RelPath::new(name), Err(error), "{name:?}");
        }
    }

    #[test]
    fn hostile_01_odd_names_are_honest() {
        let long = "x".repeat(255);
        let deep = vec!["d"; 128].join("/");
        for name in [
            "aux.h",
            "a:b",
            "a\\x2db.mount",
            "trailing.",
            "...",
            "new\nline",
            "a/.ferry",
            ".ferry2",
            &long,
            &deep,
        ] {
            assert_eq!(RelPath::new(name).map(|p| p.as_bytes().to_vec()), Ok(name.as_bytes().to_vec()));
        }
        assert!(RelPath::new(b"latin-\xe9").is_ok());
    }

    #[test]
    fn parts_come_apart_and_together() {
        let path = RelPath::new("a/b/c").unwrap();
        assert_eq!(path.name(), b"c");
        assert_eq!(path.parent(), RelPath::new("a/b").ok());
        assert_eq!(path.with_name(b"d"), RelPath::new("a/b/d"));
        assert_eq!(path.below(&RelPath::new("a").unwrap()), RelPath::new("b/c").ok());
        assert_eq!(RelPath::new("ab").unwrap().below(&RelPath::new("a").unwrap()), None);
        assert_eq!(RelPath::new("top").unwrap().parent(), None);
        assert_eq!(path.join("../x"), Err(PathError::Dots));
    }

    #[test]
    fn another_name_is_in_the_same_folder() {
        let path = RelPath::new("a/b").unwrap();
        assert_eq!(path.with_name(b"c/d"), Err(PathError::Slash));
        assert_eq!(RelPath::new("top").unwrap().with_name(b"c/d"), Err(PathError::Slash));
        assert_eq!(path.with_name(b""), Err(PathError::EmptyComponent));
    }

    #[test]
    fn what_is_left_below_a_folder_is_never_the_servers_own() {
        let folder = RelPath::new("a").unwrap();
        let path = RelPath::new("a/.FERRY/staging/x").unwrap();
        assert!(path.is_below(&folder));
        assert_eq!(path.below(&folder), None);
        assert_eq!(path.below(&RelPath::new("a/.ferry").unwrap()), None);
        assert_eq!(path.below(&RelPath::new("a/.FERRY").unwrap()), RelPath::new("staging/x").ok());
        assert!(!folder.is_below(&folder) && !folder.is_below(&path));
    }
}
