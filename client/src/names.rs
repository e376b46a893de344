//! Names that were met.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::Mutex,
};

use ferry_store::lock;

/// A set of names, as hashes, so that a million of them fit in little memory. The hashes are other ones in each run, so
/// nobody can choose two names that have the same.
#[derive(Default)]
pub(crate) struct Names {
    hashes: Mutex<HashSet<u64>>,
    hashing: RandomState,
}

impl Names {
    /// Adds a name; whether it is new.
    pub(crate) fn insert(&self, name: &[u8]) -> bool {
        lock(&self.hashes).insert(self.hash(name))
    }

    /// Whether this is the hash of one of them.
    pub(crate) fn has(&self, hash: u64) -> bool {
        lock(&self.hashes).contains(&hash)
    }

    pub(crate) fn hash(&self, name: &[u8]) -> u64 {
        self.hashing.hash_one(name)
    }
}
