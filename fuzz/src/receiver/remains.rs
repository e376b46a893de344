//! What must hold of the disk and the ledger when every connection of a script has ended.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Read,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use ferry_proto::{Algorithm, Digest, RelPath};
use ferry_store::{EntryKind, Ledger, RowKind, Store, doubles::MemoryLedger};

use super::{peer::Account, stand::Stand};

/// The name of a folder that is none of the client's business.
pub(super) const BESIDE: &str = "beside";

/// A folder beside the root with something in it that nobody may touch.
pub(super) struct Sentinel {
    place: PathBuf,
    seen: Seen,
}

/// Everything that the file system knows about each entry of a folder, and the bytes of files.
type Seen = BTreeMap<PathBuf, (Vec<i64>, Vec<u8>)>;

impl Sentinel {
    pub(super) fn new(place: PathBuf) -> Self {
        fs::create_dir_all(place.join("folder")).expect("the folder above is ours");
        fs::write(place.join("kept"), "not to be touched").expect("the folder is ours");
        let seen = look_at(&place);
        Sentinel { place, seen }
    }

    /// It is what it was.
    pub(super) fn check(&self) {
        assert_eq!(look_at(&self.place), self.seen, "something outside of the root has changed");
    }
}

fn look_at(place: &Path) -> Seen {
    let mut seen = Seen::new();
    let mut left = vec![place.to_owned()];
    while let Some(path) = left.pop() {
        let it = fs::symlink_metadata(&path).expect("it is there");
        let facts = [it.mode().into(), it.nlink() as i64, it.size() as i64, it.ino() as i64];
        let times = [it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()];
        let bytes = if it.is_file() { fs::read(&path).expect("it is ours") } else { Vec::new() };
        if it.is_dir() {
            left.extend(names(&path).into_iter().map(|name| path.join(name)));
        }
        seen.insert(path, ([facts, times].concat(), bytes));
    }
    seen
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("the folder can be read").file_name().into())
        .collect();
    names.sort();
    names
}

/// A name holds a whole file whose digest its sender has named, and its receipt and its row say the same. Returns how
/// many regular files there are.
pub(super) fn check_files(
    root: &Path,
    folder: Option<&RelPath>,
    store: &Stand,
    ledger: &MemoryLedger,
    account: &Account,
) -> usize {
    let files = files_below(root, folder);
    for (path, digest) in &files {
        assert!(account.ended.contains(digest), "{path:?} holds bytes that no end has named");
        let entry = store.stat(path).expect("it can be looked at").expect("it is there");
        let row = ledger.find(path).expect("a ledger in memory");
        if let Some(row) = row.filter(|row| row.stamp == entry.stamp) {
            let RowKind::File { size, digests } = row.kind else { panic!("{path:?} is filed as no file") };
            let filed = (EntryKind::File(size), digests.by(digest.algorithm()));
            assert_eq!(filed, (entry.kind, Some(*digest)), "the row of {path:?}");
        }
    }
    let whole = |path: &RelPath| match folder {
        Some(folder) => folder.join(path).expect("it was taken"),
        None => path.clone(),
    };
    for (path, digest) in account.stored.iter().filter(|(path, _)| !account.unsure.contains(path)) {
        assert_eq!(files.get(&whole(path)), digest.as_ref(), "{path:?} is not what its last receipt says");
        let entry =
            store.stat(&whole(path)).expect("it can be looked at").expect("what has a receipt is there");
        let row =
            ledger.find(&whole(path)).expect("a ledger in memory").expect("what has a receipt has a row");
        assert_eq!(row.stamp, entry.stamp, "the row of {path:?} speaks of something else");
    }
    files.len()
}

/// Regular files in the root, or in this folder of it, by their digests. With a folder, nothing else is in the root but
/// what is not the client's.
fn files_below(root: &Path, folder: Option<&RelPath>) -> HashMap<RelPath, Digest> {
    let mut files = HashMap::new();
    let mut left: Vec<PathBuf> = names(root).into_iter().filter(|name| name != Path::new(".ferry")).collect();
    if let Some(folder) = folder {
        left.retain(|name| name != Path::new(BESIDE));
        let is_ours = |name: &PathBuf| name.as_os_str().as_bytes() == folder.as_bytes();
        assert!(left.iter().all(is_ours), "outside of the client's folder there is {left:?}");
    }
    while let Some(name) = left.pop() {
        let path = root.join(&name);
        let it = fs::symlink_metadata(&path).expect("it is there");
        if it.is_dir() {
            left.extend(names(&path).into_iter().map(|below| name.join(below)));
        } else if it.is_file() {
            let name = RelPath::new(name.as_os_str().as_bytes()).expect("only valid names are made");
            files.insert(name, digest_of(&path));
        }
    }
    files
}

/// Of a file that may be larger than the memory that is allowed here.
fn digest_of(path: &Path) -> Digest {
    let mut file = fs::File::open(path).expect("it is ours");
    let (mut hasher, mut buffer) = (Algorithm::Sha256.hasher(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer).expect("it is ours") {
            0 => return hasher.finish(),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Staging holds the bodies that have a checkpoint, at least as long as that says, and nothing else. Returns how many.
pub(super) fn check_staging(root: &Path, ledger: &MemoryLedger) -> usize {
    let checkpoints = ledger.checkpoints().expect("a ledger in memory");
    let offsets: BTreeMap<PathBuf, u64> =
        checkpoints.iter().map(|it| (it.id.to_string().into(), it.offset)).collect();
    let staging = root.join(".ferry/staging");
    let staged = names(&staging);
    assert_eq!(
        staged,
        offsets.keys().cloned().collect::<Vec<_>>(),
        "staged bodies, and those with a checkpoint"
    );
    for (name, offset) in offsets {
        let length = fs::metadata(staging.join(name)).expect("it is there").len();
        assert!(length >= offset, "a checkpoint at {offset} of a body of {length} bytes");
    }
    assert_eq!(names(&root.join(".ferry")), [Path::new("lock"), Path::new("staging")]);
    staged.len()
}
