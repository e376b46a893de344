//! The names in one folder, and what a cut makes of those that were not synced.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::disk::Number;

/// Which name leads to what.
type Entries = BTreeMap<Vec<u8>, Number>;

/// See the module.
#[derive(Default)]
pub(super) struct Names {
    now: Entries,
    durable: Entries,
    /// What was done since, in order.
    changes: Vec<Change>,
}

/// A name leads to something else, or to nothing.
struct Change {
    name: Vec<u8>,
    to: Option<Number>,
}

impl Change {
    fn apply(&self, entries: &mut Entries) {
        match self.to {
            Some(to) => drop(entries.insert(self.name.clone(), to)),
            None => drop(entries.remove(&self.name)),
        }
    }
}

impl Names {
    pub(super) fn get(&self, name: &[u8]) -> Option<Number> {
        self.now.get(name).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Number)> {
        self.now.iter().map(|(name, to)| (&name[..], *to))
    }

    pub(super) fn set(&mut self, name: &[u8], to: Option<Number>) {
        let change = Change { name: name.to_vec(), to };
        change.apply(&mut self.now);
        self.changes.push(change);
    }

    /// Forgets, durably, the names of these.
    pub(super) fn forget(&mut self, gone: &BTreeSet<Number>) {
        self.now.retain(|_, to| !gone.contains(to));
        self.sync();
    }

    pub(super) fn sync(&mut self) {
        self.durable = self.now.clone();
        self.changes.clear();
    }

    /// What is found of them after a cut: as they were synced, as they were last, as they were at some time in
    /// between, or each as it was at a time of its own.
    pub(super) fn after_cut(&self, rng: &mut Rng) -> Self {
        let mut found = self.durable.clone();
        match rng.u8(..4) {
            0 => {}
            1 => found = self.now.clone(),
            2 => self.changes[..rng.usize(..=self.changes.len())].iter().for_each(|it| it.apply(&mut found)),
            _ => {
                let names: BTreeSet<_> = self.changes.iter().map(|change| &change.name).collect();
                for name in names {
                    let own: Vec<_> = self.changes.iter().filter(|change| change.name == *name).collect();
                    own[..rng.usize(..=own.len())].iter().for_each(|change| change.apply(&mut found));
                }
            }
        }
        Names { durable: found.clone(), now: found, changes: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_as_it_was_at_some_time_since_it_was_synced() {
        let mut names = Names::default();
        names.set(b"old", Some(Number(1)));
        names.set(b"gone", Some(Number(2)));
        names.sync();
        names.set(b"old", Some(Number(3)));
        names.set(b"gone", None);
        names.set(b"old", Some(Number(4)));
        names.set(b"new", Some(Number(5)));
        let mut rng = Rng::with_seed(1);
        let mut seen = BTreeSet::new();
        for _ in 0..1000 {
            let found = names.after_cut(&mut rng);
            seen.insert([&b"old"[..], b"gone", b"new"].map(|name| found.get(name).map(|number| number.0)));
        }
        let expected = [1, 3, 4]
            .map(|old| [Some(2), None].map(|gone| [None, Some(5)].map(|new| [Some(old), gone, new])));
        assert_eq!(seen, expected.into_iter().flatten().flatten().collect());

        names.sync();
        for _ in 0..100 {
            let found = names.after_cut(&mut rng);
            assert_eq!(found.now, names.now);
        }
    }
}
