//! The bytes of one file, and what a cut makes of those that were not synced.

use std::ops::Range;

use fastrand::Rng;

/// What a disk writes whole or not at all: a sector.
const PAGE: usize = 512;

/// See the module.
#[derive(Default)]
pub(super) struct Data {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes from the front that have not changed since they were synced.
    unchanged: usize,
}

impl Data {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.now.extend_from_slice(bytes);
    }

    /// Cuts it back to this many bytes.
    pub(super) fn truncate(&mut self, length: usize) {
        self.now.truncate(length);
        self.unchanged = self.unchanged.min(length);
    }

    pub(super) fn sync(&mut self) {
        self.durable.truncate(self.unchanged);
        self.durable.extend_from_slice(&self.now[self.unchanged..]);
        self.unchanged = self.now.len();
    }

    /// What is found of it after a cut: as it was synced, as it was last, or some of either, page by page.
    pub(super) fn after_cut(&self, rng: &mut Rng) -> Self {
        let found = match rng.u8(..4) {
            0 => self.durable.clone(),
            1 => self.now.clone(),
            _ => self.mixed(rng),
        };
        Data { unchanged: found.len(), durable: found.clone(), now: found }
    }

    fn mixed(&self, rng: &mut Rng) -> Vec<u8> {
        let (old, new) = (self.durable.len(), self.now.len());
        let length = match rng.u8(..3) {
            0 => old,
            1 => new,
            _ => rng.usize(self.unchanged..=old.max(new)),
        };
        let mut found = self.durable[..self.unchanged.min(length)].to_vec();
        while found.len() < length {
            let begin = found.len();
            let page = begin..(begin + 1).next_multiple_of(PAGE).min(length);
            // A page that holds synced bytes is there, and overwritten as a whole. Any other may have been given to the
            // file before anything was written to it.
            let is_there = !begin.is_multiple_of(PAGE);
            let source: &[u8] = match rng.u8(..3) {
                0 => &self.durable,
                1 if !is_there => &[],
                _ => &self.now,
            };
            found.extend(filled(source, page));
        }
        found
    }
}

/// A part of something, with zeros where it has ended.
fn filled(source: &[u8], part: Range<usize>) -> impl Iterator<Item = u8> {
    part.map(|at| source.get(at).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_was_synced_is_found_and_the_rest_in_every_state() {
        let mut data = Data::default();
        data.append(&[1; PAGE + 10]);
        data.sync();
        data.append(&[2; 3 * PAGE]);
        let mut rng = Rng::with_seed(1);
        let (mut pages, mut lengths) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..2000 {
            let found = data.after_cut(&mut rng).now;
            assert!(found.starts_with(&[1; PAGE + 10]), "synced bytes are lost");
            // The page that is synced in part has either what is new of it or nothing.
            if found.len() >= 4 * PAGE {
                let mut first = |page: usize| found[page * PAGE + 10];
                pages.insert([1, 2, 3].map(&mut first));
                assert!(found[PAGE + 10..2 * PAGE].iter().all(|byte| *byte == found[PAGE + 10]));
            }
            lengths.insert(found.len());
        }
        let all = [0, 2].map(|a| [0, 2].map(|b| [0, 2].map(|c| [a, b, c])));
        assert_eq!(pages, all.into_iter().flatten().flatten().collect(), "some mixture is never found");
        assert!(lengths.contains(&(PAGE + 10)) && lengths.contains(&(4 * PAGE + 10)) && lengths.len() > 100);
    }

    #[test]
    fn a_file_that_was_cut_back_may_be_found_longer() {
        let mut data = Data::default();
        data.append(&[1; 4 * PAGE]);
        data.sync();
        data.truncate(PAGE);
        data.append(&[2; PAGE]);
        let mut rng = Rng::with_seed(1);
        let found: BTreeSet<_> = (0..2000).map(|_| data.after_cut(&mut rng).now).collect();
        assert!(found.iter().all(|found| found.starts_with(&[1; PAGE])));
        for expected in [vec![1; 4 * PAGE], [[1; PAGE], [2; PAGE]].concat(), vec![1; PAGE]] {
            assert!(found.contains(&expected), "{} bytes are never found", expected.len());
        }
        data.sync();
        let found = data.after_cut(&mut rng).now;
        assert_eq!(found, [[1; PAGE], [2; PAGE]].concat());
    }
}
