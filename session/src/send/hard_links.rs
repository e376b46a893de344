//! Names of the same file, offered one after the other: each later one as another name of an earlier one.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

use ferry_proto::{Digest, RelPath};
use ferry_store::{lock, source::Identity};

use super::{Fate, Origin, Task};

/// A file that a receiver has by now.
#[derive(Debug, Clone)]
pub struct Same {
    /// Under which name.
    pub path: RelPath,
    pub(crate) digest: Digest,
    pub(crate) identity: Identity,
}

/// Which names have had their turn, and which wait for it.
pub(super) struct HardLinks {
    /// Files, and names that wait for their turn, beyond which names go as files of their own.
    most: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    files: HashMap<(u64, u64), File>,
    waiting: usize,
}

#[derive(Default)]
struct File {
    same: Option<Same>,
    /// A name of it is being worked on.
    is_under_way: bool,
    waiting: VecDeque<Task>,
}

impl HardLinks {
    pub(super) fn new(most: usize) -> Self {
        HardLinks { most, known: Mutex::default() }
    }

    /// The task, if it is its turn. Else it is kept until a name before it is settled.
    pub(super) fn hand_out(&self, mut task: Task) -> Option<Task> {
        let Some(key) = key_of(&task) else { return Some(task) };
        let mut known = lock(&self.known);
        let is_full = known.files.len() + known.waiting >= self.most;
        if is_full && !known.files.contains_key(&key) {
            return Some(task);
        }
        let file = known.files.entry(key).or_default();
        if !file.is_under_way {
            file.is_under_way = true;
            task.turn = Some(key);
            task.same = file.same.clone().map(Box::new);
            return Some(task);
        }
        if is_full {
            return Some(task);
        }
        file.waiting.push_back(task);
        known.waiting += 1;
        None
    }

    /// A name has had its turn, whatever has become of it. Returns the next one of this file, if there is one.
    pub(super) fn end_turn(&self, task: &mut Task, fate: Option<&Fate>) -> Option<Task> {
        let key = task.turn.take()?;
        let mut known = lock(&self.known);
        let file = known.files.get_mut(&key)?;
        file.is_under_way = false;
        // What had the name at last may have been another file.
        let is_it = |same: &Same| (same.identity.device, same.identity.inode) == key;
        if let Some(same) = fate.and_then(|fate| same_of(task, fate)).filter(is_it) {
            file.same = Some(same);
        }
        let next = file.waiting.pop_front()?;
        known.waiting -= 1;
        Some(next)
    }
}

/// Device and inode of a file that has several names.
fn key_of(task: &Task) -> Option<(u64, u64)> {
    match &task.origin {
        Origin::Tree(item) if item.has_other_names && task.is_file() => {
            Some((item.identity.device, item.identity.inode))
        }
        _ => None,
    }
}

/// What a later name can be the same as.
fn same_of(task: &Task, fate: &Fate) -> Option<Same> {
    let (Fate::Sent { digest, path, .. } | Fate::Held { digest, path, .. }) = fate else { return None };
    let Origin::Tree(item) = &task.origin else { return None };
    let path = path.clone().unwrap_or_else(|| item.path.clone());
    Some(Same { path, digest: (*digest)?, identity: item.identity })
}
