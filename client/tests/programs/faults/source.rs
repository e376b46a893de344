//! A tree that takes a while to send, and what each of its files holds.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::symlink,
    path::PathBuf,
};

use ferry_proto::{Algorithm, Digest};
use tempfile::TempDir;

use super::MIB;
use crate::support::{noise, set_mode, set_modified, write};

/// Of large files. The first two end on a checkpoint; the last does not.
pub(super) const LARGE: [u64; 3] = [96 * MIB, 96 * MIB, 66 * MIB + 4321];

/// Files that are too large to go in one piece with their offer, and have no checkpoint.
const MIDDLING: u64 = 4;

const SMALL: u64 = 400;

/// A folder called `tree`.
pub(super) struct Source {
    folder: TempDir,
    files: BTreeMap<String, Content>,
}

/// What a file holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) digest: Digest,
}

impl Source {
    pub(super) fn make(rng: &mut fastrand::Rng) -> Self {
        let mut source = Source::new();
        source.fill(&LARGE, SMALL, rng);
        source.finish();
        source
    }

    /// One with fewer files, of which three of four have more names than one.
    pub(super) fn linked(rng: &mut fastrand::Rng) -> Self {
        let mut source = Source::new();
        source.fill(&LARGE[1..], SMALL / 4, rng);
        let files: Vec<_> = source.files.iter().map(|(name, content)| (name.clone(), *content)).collect();
        for (number, (name, content)) in files.into_iter().enumerate() {
            for other in 0..number % 4 {
                let folder = ["", "folder-0/", "middling/", "others/below/"][(number + other) % 4];
                let other = format!("tree/{folder}{number} as {other}");
                let [from, to] = [&name, &other].map(|name| source.folder.path().join(name));
                fs::create_dir_all(to.parent().expect("it is in a tree")).expect("a folder can be made");
                fs::hard_link(from, to).expect("a file can have more names");
                source.files.insert(other, content);
            }
        }
        source.finish();
        source
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Source { folder, files: BTreeMap::new() }
    }

    fn fill(&mut self, large: &[u64], small: u64, rng: &mut fastrand::Rng) {
        for (number, size) in large.iter().enumerate() {
            self.add(format!("large-{number}"), *size, rng);
        }
        for number in 0..MIDDLING {
            self.add(format!("middling/{number}"), MIB + number, rng);
        }
        for number in 0..small {
            let name = format!("folder-{}/below-{}/{number}", number % 7, number % 3);
            let size = rng.u64(0..20 * 1024);
            self.add(name, size, rng);
        }
    }

    /// Folders come last, because everything that happens in them changes their times.
    fn finish(&self) {
        let tree = self.tree();
        symlink("../nowhere", tree.join("folder-0/dangling")).expect("a link can be made");
        for number in 0..7 {
            set_modified(tree.join(format!("folder-{number}")), 1_500_000_000 + number, 0);
        }
        set_mode(tree.join("folder-1"), 0o750);
    }

    fn add(&mut self, name: String, size: u64, rng: &mut fastrand::Rng) {
        let bytes = noise(size as usize, rng.u64(..));
        let path = write(self.tree().join(&name), &bytes);
        set_mode(&path, [0o644, 0o600, 0o640, 0o755, 0o444][rng.usize(..5)]);
        set_modified(&path, rng.i64(0..1_700_000_000), rng.i64(0..1_000_000_000));
        let digest = Algorithm::Sha256.digest(&bytes);
        self.files.insert(format!("tree/{name}"), Content { size, digest });
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    /// What the file with this name on the server must hold, if there should be one.
    pub(super) fn content(&self, name: &str) -> Option<Content> {
        self.files.get(name).copied()
    }

    /// Each name counts, as if it had them to itself.
    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|content| content.size).sum()
    }

    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    /// The digest of the first bytes of a file.
    pub(super) fn prefix(&self, name: &str, length: u64) -> Digest {
        let file = File::open(self.folder.path().join(name)).expect("a source can be opened");
        prefix(file, length)
    }
}

/// The digest of the first bytes of a file, which must have as many.
pub(super) fn prefix(file: File, length: u64) -> Digest {
    let mut hasher = Algorithm::Sha256.hasher();
    let mut file = file.take(length);
    let mut buffer = vec![0; 256 * 1024];
    let mut found = 0;
    loop {
        match file.read(&mut buffer).expect("a file can be read") {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                found += read as u64;
            }
        }
    }
    assert_eq!(found, length, "it has not as many bytes as that");
    hasher.finish()
}
