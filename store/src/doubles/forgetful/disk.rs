//! Files, folders and links as a disk has them: what is there now, and what is there after a cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use fastrand::Rng;
use ferry_proto::{Mode, RelPath, Timestamp};

use super::{data::Data, names::Names};
use crate::{Entry, EntryKind, Meta, Stamp, StoreError};

/// What a file, a folder or a link is known by on the disk, whatever its names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(pub(super) u64);

/// The folder that everything is received into.
pub(super) const ROOT: Number = Number(0);

/// The folder of the bodies that have no name yet. It is not below the root, so that nobody can name it.
pub(super) const STAGING: Number = Number(1);

/// See the module.
pub(super) struct Disk {
    nodes: BTreeMap<Number, Node>,
    next: u64,
    /// Moves on with everything that is done, as the time of a change does.
    clock: u64,
    /// While the power goes, of what is to be synced some is and some is not.
    pub(super) failing: Option<Rng>,
}

struct Node {
    content: Content,
    now: Attributes,
    durable: Attributes,
}

enum Content {
    File(Data),
    Folder(Names),
    /// Nobody can sync a link: it is durable with its name.
    Link(Vec<u8>),
}

#[derive(Clone, Copy)]
struct Attributes {
    modified: Timestamp,
    mode: Mode,
    changed: u64,
    /// Whether a name was given to it. What says of itself that it has none is lost in a cut, whatever folders say.
    is_named: bool,
}

impl Disk {
    pub(super) fn new() -> Self {
        let mut disk = Disk { nodes: BTreeMap::new(), next: 0, clock: 0, failing: None };
        for expected in [ROOT, STAGING] {
            let made = disk.make_folder();
            assert_eq!(made, expected, "numbers are given from 0 on");
        }
        disk
    }

    pub(super) fn make_file(&mut self) -> Number {
        self.make(Content::File(Data::default()), 0o600)
    }

    pub(super) fn make_folder(&mut self) -> Number {
        self.make(Content::Folder(Names::default()), 0o755)
    }

    pub(super) fn make_link(&mut self, target: &[u8]) -> Number {
        self.make(Content::Link(target.to_vec()), 0o777)
    }

    fn make(&mut self, content: Content, mode: u32) -> Number {
        let number = Number(self.next);
        self.next += 1;
        // What is no file is made with its name.
        let is_named = !matches!(content, Content::File(_));
        let now =
            Attributes { modified: time(), mode: Mode::from_bits(mode), changed: self.tick(), is_named };
        self.nodes.insert(number, Node { content, now, durable: now });
        number
    }

    /// What has this name; `None` is the root.
    pub(super) fn find(&self, key: Option<&RelPath>) -> Result<Number, StoreError> {
        let mut at = ROOT;
        for name in key.iter().flat_map(|key| key.components()) {
            at = self.names(at)?.get(name).ok_or(StoreError::NotFound)?;
        }
        Ok(at)
    }

    /// The folder that a name is in.
    pub(super) fn find_parent(&self, key: &RelPath) -> Result<Number, StoreError> {
        let parent = self.find(key.parent().as_ref())?;
        self.names(parent).map(|_| parent)
    }

    /// The names in a folder; [`StoreError::Kind`] if it is none.
    pub(super) fn names(&self, folder: Number) -> Result<&Names, StoreError> {
        match &self.node(folder).content {
            Content::Folder(names) => Ok(names),
            Content::File(_) | Content::Link(_) => Err(StoreError::Kind),
        }
    }

    /// Lets a name lead to something else, or to nothing.
    pub(super) fn set_name(&mut self, folder: Number, name: &[u8], to: Option<Number>) {
        let changed = self.tick();
        // Whatever is named or loses a name has changed, too.
        if let Some(node) = to.and_then(|to| self.nodes.get_mut(&to)) {
            (node.now.changed, node.now.is_named) = (changed, true);
        }
        let folder = self.node_mut(folder);
        (folder.now.modified, folder.now.changed) = (time(), changed);
        if let Content::Folder(names) = &mut folder.content {
            names.set(name, to);
        }
    }

    /// How many names lead there.
    pub(super) fn count_names(&self, number: Number) -> usize {
        let folders = self.nodes.values().filter_map(|node| match &node.content {
            Content::Folder(names) => Some(names),
            Content::File(_) | Content::Link(_) => None,
        });
        folders.flat_map(Names::iter).filter(|(_, to)| *to == number).count()
    }

    /// The bytes of a file; [`StoreError::Kind`] if it is none.
    pub(super) fn bytes(&self, file: Number) -> Result<&[u8], StoreError> {
        match &self.node(file).content {
            Content::File(data) => Ok(data.bytes()),
            Content::Folder(_) | Content::Link(_) => Err(StoreError::Kind),
        }
    }

    pub(super) fn append(&mut self, file: Number, bytes: &[u8]) {
        self.write(file, |data| data.append(bytes));
    }

    pub(super) fn truncate(&mut self, file: Number, length: usize) {
        self.write(file, |data| data.truncate(length));
    }

    fn write(&mut self, file: Number, deed: impl FnOnce(&mut Data)) {
        let changed = self.tick();
        let node = self.node_mut(file);
        (node.now.modified, node.now.changed) = (time(), changed);
        if let Content::File(data) = &mut node.content {
            deed(data);
        }
    }

    /// Sets time and mode.
    pub(super) fn set_meta(&mut self, number: Number, meta: &Meta) {
        let changed = self.tick();
        let node = self.node_mut(number);
        let kept = if matches!(node.content, Content::Folder(_)) { 0o700 } else { 0o600 };
        if let Some(mode) = meta.mode {
            node.now.mode = Mode::from_bits(mode.bits() & 0o777 | kept);
        }
        node.now.modified = meta.modified.unwrap_or(node.now.modified);
        node.now.changed = changed;
    }

    /// Makes time, mode and, of a file, the bytes durable. Returns whether it came to that before the power went.
    pub(super) fn sync(&mut self, number: Number) -> bool {
        if self.fails() {
            return false;
        }
        let node = self.node_mut(number);
        node.durable = node.now;
        if let Content::File(data) = &mut node.content {
            data.sync();
        }
        true
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_names(&mut self, folder: Number) {
        if self.fails() {
            return;
        }
        if let Content::Folder(names) = &mut self.node_mut(folder).content {
            names.sync();
        }
    }

    /// Makes everything durable.
    pub(super) fn sync_all(&mut self) {
        let all: Vec<_> = self.nodes.keys().copied().collect();
        for number in all {
            self.sync(number);
            self.sync_names(number);
        }
    }

    fn fails(&mut self) -> bool {
        self.failing.as_mut().is_some_and(Rng::bool)
    }

    pub(super) fn entry(&self, number: Number) -> Entry {
        let node = self.node(number);
        let kind = match &node.content {
            Content::File(data) => EntryKind::File(data.bytes().len() as u64),
            Content::Folder(_) => EntryKind::Folder,
            Content::Link(target) => EntryKind::Symlink(target.clone()),
        };
        Entry { kind, stamp: self.stamp(number), modified: node.now.modified, mode: node.now.mode }
    }

    pub(super) fn stamp(&self, number: Number) -> Stamp {
        let node = self.node(number);
        let Attributes { modified, changed, .. } = node.now;
        let (seconds, nanos) = (modified.seconds() as u64, modified.nanos().into());
        let size = self.bytes(number).map_or(0, |bytes| bytes.len() as u64);
        let parts = [number.0, size, seconds, nanos, changed];
        let is_folder = matches!(node.content, Content::Folder(_));
        let parts = if is_folder { &parts[..1] } else { &parts[..] };
        Stamp(parts.iter().flat_map(|part| part.to_le_bytes()).collect())
    }

    /// The disk as it is found after a cut; all of it is durable.
    pub(super) fn after_cut(&self, rng: &mut Rng) -> Disk {
        let mut found = BTreeMap::new();
        for (number, node) in &self.nodes {
            let content = match &node.content {
                Content::File(data) => Content::File(data.after_cut(rng)),
                Content::Folder(names) => Content::Folder(names.after_cut(rng)),
                Content::Link(target) => Content::Link(target.clone()),
            };
            let is_link = matches!(content, Content::Link(_));
            let now = if is_link || rng.bool() { node.now } else { node.durable };
            found.insert(*number, Node { content, now, durable: now });
        }
        let mut disk = Disk { nodes: found, next: self.next, clock: self.clock, failing: None };
        disk.forget_names_of_what_has_none();
        disk.forget_what_has_no_name();
        disk
    }

    /// As a check of the file system does.
    fn forget_names_of_what_has_none(&mut self) {
        let unnamed = self.nodes.iter().filter(|(_, node)| !node.now.is_named);
        let unnamed: BTreeSet<_> = unnamed.map(|(number, _)| *number).collect();
        for node in self.nodes.values_mut() {
            if let Content::Folder(names) = &mut node.content {
                names.forget(&unnamed);
            }
        }
    }

    fn forget_what_has_no_name(&mut self) {
        let (mut named, mut to_visit) = (BTreeSet::new(), vec![ROOT, STAGING]);
        while let Some(number) = to_visit.pop() {
            if named.insert(number)
                && let Ok(names) = self.names(number)
            {
                to_visit.extend(names.iter().map(|(_, to)| to));
            }
        }
        self.nodes.retain(|number, _| named.contains(number));
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn node(&self, number: Number) -> &Node {
        self.nodes.get(&number).expect("a node is there as long as its machine runs")
    }

    fn node_mut(&mut self, number: Number) -> &mut Node {
        self.nodes.get_mut(&number).expect("a node is there as long as its machine runs")
    }
}

fn time() -> Timestamp {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::saturating(now.as_secs() as i64, now.subsec_nanos())
}
