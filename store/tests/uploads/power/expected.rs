//! What has to be found after a cut, and what may be.

use std::collections::{BTreeMap, BTreeSet};

use ferry_proto::{Mode, RelPath, Timestamp};
use ferry_store::{EntryKind, Ledger, RowKind, StageId, Staged, Store, StoreError};

use super::plan::{Content, Plan};

/// What names hold, as far as clients were told, and what is under way.
#[derive(Default)]
pub(super) struct Expected {
    /// Durable: what had a receipt, and what was found after an earlier cut.
    settled: BTreeMap<RelPath, Held>,
    /// Tasks that were offered, and of which nobody was told that they are done or never will be.
    under_way: BTreeSet<usize>,
    /// Names of files that have had an answer since the last cut.
    answered: BTreeSet<RelPath>,
    /// Names of files that must have a row.
    recorded: BTreeSet<RelPath>,
    /// Names that were found to be one of several of their file.
    linked: usize,
}

#[derive(Clone)]
struct Held {
    content: Content,
    /// Where it is known what they must be.
    meta: Option<(Option<Timestamp>, Option<Mode>)>,
}

impl Expected {
    /// A task is offered.
    pub(super) fn begin(&mut self, task: usize) {
        self.under_way.insert(task);
    }

    /// It will not be done, and its client knows.
    pub(super) fn withdraw(&mut self, task: usize) {
        self.under_way.remove(&task);
    }

    /// Its client was told that this name holds it: `is_new` if it got a receipt, else it was held already.
    pub(super) fn acknowledge(&mut self, plan: &Plan, task: usize, at: Option<RelPath>, is_new: bool) {
        self.under_way.remove(&task);
        let content = plan.tasks[task].content.clone();
        let header = &plan.tasks[task].header;
        let path = at.unwrap_or_else(|| header.path.clone());
        let before = self.settled.get(&path).filter(|before| before.content == content);
        let is_set = match content {
            // A twin that was there already keeps its own.
            Content::File(_) if is_new => plan.may_replace(task) || before.is_none(),
            Content::File(_) => plan.client(task).terms.overwrite,
            Content::Folder | Content::Link(_) => is_new,
        };
        let offered = Some((header.modified, header.mode));
        let meta = if is_set { offered } else { before.and_then(|before| before.meta) };
        match content {
            Content::File(_) => self.answered.insert(path.clone()),
            Content::Folder | Content::Link(_) => self.answered.remove(&path),
        };
        self.settled.insert(path, Held { content, meta });
    }

    /// The names that have to be there.
    pub(super) fn names(&self) -> Vec<RelPath> {
        self.settled.keys().cloned().collect()
    }

    /// How many of them were found to be one of several of their file after the last cut.
    pub(super) fn linked(&self) -> usize {
        self.linked
    }

    /// Whether anything that is under way may come to this name.
    fn is_quiet(&self, plan: &Plan, path: &RelPath) -> bool {
        !self.under_way.iter().any(|task| plan.may_land_at(*task, path))
    }

    /// Whether this name may hold this.
    fn allows(&self, plan: &Plan, path: &RelPath, content: &Content) -> bool {
        let settled = self.settled.get(path);
        settled.is_some_and(|held| held.content == *content)
            || settled.is_none() && *content == Content::Folder && plan.folders().contains(path)
            || self.under_way.iter().any(|task| {
                plan.tasks[*task].content == *content
                    && plan.may_land_at(*task, path)
                    && (settled.is_none() || plan.may_replace(*task))
            })
    }

    /// What must be true of the names whatever has happened.
    pub(super) fn check_names(&self, plan: &Plan, store: &impl Store) {
        let found = look(store);
        for (path, held) in &found {
            assert!(
                self.allows(plan, path, &held.content),
                "promise 1: {path} holds what nobody sent: {:?}, but its receipt is for {:?}",
                held.content,
                self.settled.get(path).map(|held| &held.content)
            );
        }
        for (path, held) in &self.settled {
            let found = found.get(path);
            let found = found.unwrap_or_else(|| panic!("promise 2: {path} is lost: {:?}", held.content));
            if let Some((modified, mode)) = held.meta
                && self.is_quiet(plan, path)
            {
                let (found_modified, found_mode) = found.meta.unwrap_or_default();
                let is_folder = held.content == Content::Folder;
                // Whatever happens in a folder changes its time, and a link has no mode.
                assert!(is_folder || found_modified == modified, "promise 2: the time of {path} is lost");
                let has_mode = !matches!(held.content, Content::Link(_));
                let kept = if is_folder { 0o700 } else { 0o600 };
                let expected = mode.map(|mode| Mode::from_bits(mode.bits() | kept));
                assert!(!has_mode || found_mode == expected, "promise 2: the mode of {path} is lost");
            }
        }
    }

    /// What must be true of rows and of staging once an earlier process's remains were tidied up.
    pub(super) fn check_remains(&mut self, plan: &Plan, store: &impl Store, ledger: &impl Ledger) {
        for path in std::mem::take(&mut self.recorded) {
            let row = ledger.find(&path).unwrap().unwrap_or_else(|| panic!("promise 2: {path} has no row"));
            let RowKind::File { size, .. } = row.kind else { panic!("promise 2: {path} has another's row") };
            assert_eq!(store.stat(&path).unwrap().unwrap().kind, EntryKind::File(size));
        }
        let checkpoints = ledger.checkpoints().unwrap();
        let staged: BTreeSet<StageId> = store.staged().unwrap().into_iter().map(|(id, _)| id).collect();
        let saved = checkpoints.iter().map(|checkpoint| checkpoint.id).collect();
        assert_eq!(staged, saved, "promise 3: staged bodies and checkpoints are not the same");
        for checkpoint in checkpoints {
            let (id, offset) = (checkpoint.id, checkpoint.offset);
            let longer = store.reopen(id, offset + 1).map(drop);
            assert!(matches!(longer, Err(StoreError::NotFound)), "promise 3: a body was not cut back");
            let mut bytes = Vec::new();
            let mut sink = |piece: &[u8]| {
                bytes.extend_from_slice(piece);
                true
            };
            store.reopen(id, offset).unwrap().replay(&mut sink).unwrap();
            let is_source = |content: &Content| match content {
                Content::File(source) => source.starts_with(&bytes),
                Content::Folder | Content::Link(_) => false,
            };
            let mut sources = plan.tasks.iter().filter(|task| task.header.path == checkpoint.key.path);
            assert!(
                sources
                    .any(|task| task.header.modified == checkpoint.key.modified && is_source(&task.content)),
                "promise 3: the {offset} bytes that {} is to go on after are not its own",
                checkpoint.key.path
            );
        }
    }

    /// From here on what was found after a cut is what there is.
    pub(super) fn begin_again(&mut self, plan: &Plan, store: &impl Store) {
        let mut answered = std::mem::take(&mut self.answered);
        answered.retain(|path| self.is_quiet(plan, path));
        self.recorded.append(&mut answered);
        self.settled = look(store);
        let mut files: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for path in self.settled.keys() {
            let entry = store.stat(path).unwrap().unwrap();
            if matches!(entry.kind, EntryKind::File(_)) {
                *files.entry(entry.stamp.0).or_default() += 1;
            }
        }
        self.linked = files.values().filter(|names| **names > 1).sum();
        self.recorded.retain(|path| self.settled.contains_key(path));
        self.under_way.clear();
    }
}

/// Everything that is in the inbox.
fn look(store: &impl Store) -> BTreeMap<RelPath, Held> {
    let mut found = BTreeMap::new();
    let mut folders = vec![None];
    while let Some(folder) = folders.pop() {
        for (name, entry) in store.list(folder.as_ref(), usize::MAX).unwrap() {
            let path = match &folder {
                None => RelPath::new(&name),
                Some(folder) => folder.join(&name),
            };
            let path = path.unwrap();
            let content = match entry.kind {
                EntryKind::File(_) => Content::File(read(store, &path).into()),
                EntryKind::Folder => Content::Folder,
                EntryKind::Symlink(target) => Content::Link(target),
                EntryKind::Other => panic!("{path} is nothing that anybody made"),
            };
            if content == Content::Folder {
                folders.push(Some(path.clone()));
            }
            found.insert(path, Held { content, meta: Some((Some(entry.modified), Some(entry.mode))) });
        }
    }
    found
}

fn read(store: &impl Store, path: &RelPath) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        true
    };
    store.read(path, 0, &mut sink).unwrap();
    bytes
}
