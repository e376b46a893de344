//! Trees of files: made, looked at and compared.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use ferry_proto::{Algorithm, Digest, escape};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeKind {
    File(u64, Digest),
    Folder,
    Symlink(Vec<u8>),
    Other,
}

impl Node {
    pub(crate) fn is_symlink(&self) -> bool {
        matches!(self.kind, NodeKind::Symlink(_))
    }
}

/// A tree by the names below its top, which is empty itself.
pub(crate) type Snapshot = BTreeMap<Vec<u8>, Node>;

/// Writes a file, and makes the folders above it.
pub(crate) fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("folders can be made");
    fs::write(path, bytes).expect("a file can be written");
    path.to_owned()
}

/// Bytes without a pattern, the same for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    // SplitMix64.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Sets a modification time, a link's own too.
pub(crate) fn set_modified(path: impl AsRef<Path>, seconds: i64, nanos: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos },
    };
    rustix::fs::utimensat(CWD, path.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time can be set");
}

pub(crate) fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode can be set");
}

pub(crate) fn make_fifo(path: impl AsRef<Path>) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, path.as_ref(), rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO can be made");
}

/// The awkward names and the photos of this repository.
pub(crate) fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

/// The digest of a file.
pub(crate) fn digest(path: impl AsRef<Path>) -> Digest {
    let mut file = File::open(path).expect("a file can be opened");
    let mut hasher = Algorithm::Sha256.hasher();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).expect("a file can be read") {
            0 => return hasher.finish(),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Every name below a folder that a user sees, in order, escaped. What a server keeps for itself is left out.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let visible = snapshot(folder).into_keys().filter(|name| !name.is_empty());
    visible.map(|name| escape::bytes(&name).to_string()).collect()
}

/// Everything at and below a path, but for what a server keeps for itself.
pub(crate) fn snapshot(top: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    look(top, b"", &mut found);
    found
}

fn look(path: &Path, name: &[u8], found: &mut Snapshot) {
    let metadata = fs::symlink_metadata(path)
        .unwrap_or_else(|error| panic!("{}: {error}", escape::bytes(path.as_os_str().as_bytes())));
    let kind = match metadata.file_type() {
        kind if kind.is_file() => NodeKind::File(metadata.len(), digest(path)),
        kind if kind.is_dir() => NodeKind::Folder,
        kind if kind.is_symlink() => {
            let target = fs::read_link(path).expect("a link can be read");
            NodeKind::Symlink(target.into_os_string().as_bytes().to_vec())
        }
        _ => NodeKind::Other,
    };
    let is_folder = kind == NodeKind::Folder;
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    found.insert(name.to_vec(), Node { kind, mode: metadata.mode() & 0o7777, modified });
    if !is_folder {
        return;
    }
    for entry in fs::read_dir(path).expect("a folder can be read") {
        let entry = entry.expect("a folder can be read");
        let below = entry.file_name();
        if name.is_empty() && below == OsStr::new(".ferry") {
            continue;
        }
        let separator: &[u8] = if name.is_empty() { b"" } else { b"/" };
        look(&entry.path(), &[name, separator, below.as_bytes()].concat(), found);
    }
}

/// What a tree becomes on a server: the owner keeps the right to read and write, and nothing else is added.
fn received(mut tree: Snapshot) -> Snapshot {
    for node in tree.values_mut() {
        match node.kind {
            NodeKind::File(..) => node.mode = node.mode & 0o777 | 0o600,
            NodeKind::Folder => node.mode = node.mode & 0o777 | 0o700,
            NodeKind::Symlink(_) | NodeKind::Other => {}
        }
    }
    tree
}

/// Checks that a tree has arrived, its top included: names, bytes, links, times and modes, and nothing else.
#[track_caller]
pub(crate) fn assert_same_tree(source: &Path, arrived: &Path) {
    compare(received(snapshot(source)), snapshot(arrived));
}

/// Checks that what is in a folder has arrived in another one; times and modes of the two folders themselves are
/// their own.
#[track_caller]
pub(crate) fn assert_same_contents(source: &Path, arrived: &Path) {
    let without_top = |mut tree: Snapshot| {
        tree.remove(&b""[..]);
        tree
    };
    compare(without_top(received(snapshot(source))), without_top(snapshot(arrived)));
}

/// Checks that a tree, or a file, has come back just as it was, its top included.
#[track_caller]
pub(crate) fn assert_given_back(source: &Path, back: &Path) {
    compare(snapshot(source), snapshot(back));
}

/// Checks that one file has arrived, with its time and mode.
#[track_caller]
pub(crate) fn assert_same_file(source: &Path, arrived: &Path) {
    assert_same_tree(source, arrived);
}

#[track_caller]
fn compare(expected: Snapshot, actual: Snapshot) {
    let mut differences = Vec::new();
    let mut all: Vec<&Vec<u8>> = expected.keys().chain(actual.keys()).collect();
    all.sort();
    all.dedup();
    for name in all {
        let (wanted, found) = (expected.get(name), actual.get(name));
        if wanted != found {
            differences.push(format!("`{}`: expected {wanted:?}, found {found:?}", escape::bytes(name)));
        }
    }
    assert!(differences.is_empty(), "the trees differ:\n{}", differences.join("\n"));
}
