//! What a kill has left in an inbox, and whether it is what was promised.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
};

use ferry_proto::{Algorithm, Digest, limits};
use rusqlite::Connection;

use super::{
    CatalogueCopy, Told,
    source::{Source, prefix},
};
use crate::support::{Server, digest};

/// What may be in an inbox: this source, and another one that was sent before.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) now: &'a Source,
    pub(super) before: Option<&'a Source>,
}

/// See the module.
pub(super) struct Remains {
    /// Size of every file of the source that a user sees.
    visible: BTreeMap<String, u64>,
    /// Every file that the catalogue says is held.
    rows: BTreeMap<String, Digest>,
    checkpoints: Vec<Checkpoint>,
    /// Length of every body in staging, by its id.
    staged: BTreeMap<String, u64>,
}

struct Checkpoint {
    id: String,
    name: String,
    size: u64,
    offset: u64,
}

/// Files that were found whole, by their inode, size and times: nobody could have touched them since unseen.
#[derive(Default)]
pub(super) struct Known(HashMap<(u64, u64, i64, i64, i64, i64), Digest>);

impl Remains {
    /// Looks at what is there, and fails unless every visible file is a whole one of a source, every row speaks of
    /// such a file, and every checkpoint of bytes of the source that are there.
    pub(super) fn of(server: &Server, sources: Sources<'_>, is_dead: bool, known: &mut Known) -> Self {
        let inbox = server.inbox();
        // In this order where the server lives: what is in the catalogue stays visible.
        let (rows, checkpoints) = if is_dead {
            let copy = CatalogueCopy::of(inbox);
            (rows(&copy.connection), checkpoints(&copy.connection))
        } else {
            let catalogue = server.catalogue();
            (rows(&catalogue), checkpoints(&catalogue))
        };
        let staged = server.staged().into_iter().collect();
        let mut remains = Remains { visible: BTreeMap::new(), rows, checkpoints, staged };
        for name in visible(inbox) {
            let path = inbox.join(&name);
            let found = known.digest(&path);
            match sources.now.content(&name) {
                Some(content) if content.digest == found => drop(remains.visible.insert(name, content.size)),
                Some(_) => assert!(sources.had(&name, found), "`{name}` is visible and not whole"),
                None => panic!("`{name}` was never sent"),
            }
        }
        for (name, digest) in &remains.rows {
            let is_new = sources.now.content(name).is_some_and(|content| content.digest == *digest);
            assert!(is_new || sources.had(name, *digest), "the catalogue has another digest of `{name}`");
            let is_there =
                if is_new { remains.visible.contains_key(name) } else { inbox.join(name).exists() };
            assert!(is_there, "the catalogue has `{name}`, the disk does not");
        }
        for checkpoint in &remains.checkpoints {
            remains.check(checkpoint, sources.now, inbox, is_dead);
        }
        remains
    }

    fn check(&self, checkpoint: &Checkpoint, source: &Source, inbox: &Path, is_dead: bool) {
        let Checkpoint { id, name, size, offset } = checkpoint;
        let content = source.content(name).unwrap_or_else(|| panic!("`{name}` was never sent"));
        assert_eq!(*size, content.size, "the checkpoint of `{name}` is of another file");
        assert_eq!(offset % limits::CHECKPOINT, 0, "`{name}`: {offset} is no checkpoint");
        let Some(&length) = self.staged.get(id) else {
            assert!(self.visible.contains_key(name), "the body of `{name}` is neither staged nor visible");
            return;
        };
        assert!(length >= *offset, "`{name}` has {length} bytes, and a checkpoint at {offset}");
        match File::open(inbox.join(".ferry/staging").join(id)) {
            Ok(file) => {
                let expected = source.prefix(name, *offset);
                assert_eq!(prefix(file, *offset), expected, "other bytes are staged for `{name}`");
            }
            // A living server has just given it its name.
            Err(error) => assert!(!is_dead, "the body of `{name}` cannot be read: {error}"),
        }
    }

    /// Fails unless everything that has a receipt is visible.
    pub(super) fn assert_holds(&self, told: &Told) {
        for (name, digest) in told {
            assert!(self.visible.contains_key(name), "`{name}` has a receipt, and is not there");
            let row = self.rows.get(name).map(Digest::to_string);
            assert_eq!(row.as_ref(), Some(digest), "`{name}` has a receipt, and another row");
        }
    }

    /// Bytes that need not be sent again.
    pub(super) fn kept(&self) -> u64 {
        let mut kept = self.visible.clone();
        for Checkpoint { name, offset, .. } in &self.checkpoints {
            let bytes = kept.entry(name.clone()).or_default();
            *bytes = (*bytes).max(*offset);
        }
        kept.values().sum()
    }

    /// Whether a body was under way.
    pub(super) fn hit_a_body(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Whether whole bodies were waiting for their names.
    pub(super) fn hit_a_sync(&self) -> bool {
        let is_whole = |c: &Checkpoint| self.staged.get(&c.id).is_some_and(|length| *length == c.size);
        // One body at a time is under way.
        self.checkpoints.iter().any(is_whole) || self.staged.len() > 1
    }

    /// Whether files had their names and no rows.
    pub(super) fn hit_a_rename(&self, sources: Sources<'_>) -> bool {
        let has_row = |name| self.rows.get(name) == sources.now.content(name).map(|c| c.digest).as_ref();
        self.visible.keys().any(|name| !has_row(name))
    }

    /// Whether files had their rows, and nobody was told.
    pub(super) fn hit_a_receipt(&self, told: &Told, sources: Sources<'_>) -> bool {
        let is_new = |name, digest| sources.now.content(name).is_some_and(|c| c.digest == digest);
        self.rows.iter().any(|(name, digest)| is_new(name, *digest) && !told.contains_key(name))
    }
}

impl Sources<'_> {
    /// Whether a file that was sent before held this.
    fn had(&self, name: &str, digest: Digest) -> bool {
        let before = self.before.and_then(|before| before.content(name));
        before.is_some_and(|content| content.digest == digest)
    }
}

impl Known {
    fn digest(&mut self, path: &Path) -> Digest {
        let stamp = || {
            let m = fs::symlink_metadata(path).expect("what is visible stays visible");
            (m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())
        };
        let before = stamp();
        if let Some(digest) = self.0.get(&before) {
            return *digest;
        }
        let found = digest(path);
        if stamp() == before {
            self.0.insert(before, found);
        }
        found
    }
}

/// Which names in a folder are names of one file.
pub(super) fn names_by_file(folder: &Path) -> BTreeSet<BTreeSet<String>> {
    let mut files: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for name in visible(folder) {
        let metadata = fs::metadata(folder.join(&name)).expect("what is visible stays visible");
        files.entry(metadata.ino()).or_default().insert(name);
    }
    files.into_values().collect()
}

/// Every file that a user sees.
pub(super) fn visible(inbox: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(inbox.join(&folder)).expect("the inbox can be read") {
            let entry = entry.expect("the inbox can be read");
            let name = entry.file_name().into_string().expect("names of these tests are UTF-8");
            let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            match entry.file_type().expect("the inbox can be read") {
                _ if name == ".ferry" => {}
                kind if kind.is_dir() => folders.push(name),
                kind if kind.is_file() => found.push(name),
                kind => assert!(kind.is_symlink() && name.ends_with("/dangling"), "`{name}` is a stray"),
            }
        }
    }
    found
}

fn rows(catalogue: &Connection) -> BTreeMap<String, Digest> {
    let query = "SELECT CAST(path AS TEXT), sha256 FROM files WHERE kind = 'file' AND until IS NULL";
    let mut statement = catalogue.prepare(query).expect("the catalogue can be read");
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, Digest::new(Algorithm::Sha256, row.get::<_, [u8; 32]>(1)?))));
    rows.and_then(Iterator::collect).expect("the catalogue can be read")
}

fn checkpoints(catalogue: &Connection) -> Vec<Checkpoint> {
    let query = "SELECT lower(hex(id)), CAST(path AS TEXT), size, offset FROM bodies";
    let mut statement = catalogue.prepare(query).expect("the catalogue can be read");
    let rows = statement.query_map([], |row| {
        Ok(Checkpoint {
            id: row.get(0)?,
            name: row.get(1)?,
            size: row.get::<_, i64>(2)? as u64,
            offset: row.get::<_, i64>(3)? as u64,
        })
    });
    rows.and_then(Iterator::collect).expect("the catalogue can be read")
}
