//! Folders that were made and whose own names are not durable yet.

use std::{collections::BTreeSet, sync::Mutex};

use ferry_proto::RelPath;

use crate::lock::lock;

/// A file in such a folder is durable only when the folders above are synced too, up to one that was there.
#[derive(Debug, Default)]
pub(crate) struct Fresh(Mutex<BTreeSet<RelPath>>);

impl Fresh {
    /// Makes the folder at `path`; `make` says whether it is new. One that was there is not fresh.
    pub(crate) fn make<E>(&self, path: &RelPath, make: impl FnOnce() -> Result<bool, E>) -> Result<bool, E> {
        // Held while it is made, so that nobody settles what is in it without knowing that it is fresh.
        let mut fresh = lock(&self.0);
        let is_fresh = make()?;
        if is_fresh {
            fresh.insert(path.clone());
        }
        Ok(is_fresh)
    }

    /// The folders to be synced so that these names are durable, and the fresh ones among those above, which are
    /// durable then as well.
    pub(crate) fn to_sync<'a>(
        &self,
        keys: impl Iterator<Item = &'a RelPath>,
    ) -> (BTreeSet<Option<RelPath>>, BTreeSet<RelPath>) {
        let fresh = lock(&self.0);
        let (mut to_sync, mut now_durable) = (BTreeSet::new(), BTreeSet::new());
        for key in keys {
            to_sync.insert(key.parent());
            let mut next = Some(key.clone());
            while let Some(path) = next {
                next = path.parent();
                if fresh.contains(&path) {
                    to_sync.insert(next.clone());
                    now_durable.insert(path);
                }
            }
        }
        (to_sync, now_durable)
    }

    /// Call this when the folders around these were synced.
    pub(crate) fn are_durable(&self, folders: &BTreeSet<RelPath>) {
        lock(&self.0).retain(|folder| !folders.contains(folder));
    }

    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.0).iter().map(RelPath::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_2_fresh_folders_up_the_chain_are_synced_too() {
        let path = |name| RelPath::new(name).unwrap();
        let fresh = Fresh(Mutex::new(["a/b", "a/b/c", "x", "y"].map(path).into()));
        let keys = ["a/b/c/file", "a/b/c/other", "x", "old/file"].map(path);
        let (to_sync, now_durable) = fresh.to_sync(keys.iter());
        let expected = [None, Some("a"), Some("a/b"), Some("a/b/c"), Some("old")];
        assert_eq!(to_sync, expected.map(|folder| folder.map(path)).into());
        assert_eq!(now_durable, ["a/b", "a/b/c", "x"].map(path).into());
        fresh.are_durable(&now_durable);
        assert_eq!(fresh.names(), ["y"]);
    }
}
