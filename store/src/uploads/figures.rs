//! What uploads have come to, in numbers, for whoever watches over a server. Counting is a few additions to each file;
//! nobody waits for it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::Uploads;
use crate::Store;

/// From a lone small file on a fast disk to what a disk in trouble takes; in microseconds.
const LATENCIES: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

/// Up to a full batch.
const SIZES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// What uploads have come to since they were opened, and what is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Entries that wait for the committer.
    pub waiting: usize,
    /// Bodies that are being received, or wait for their names.
    pub open_bodies: u64,
    /// Their bytes, holes included.
    pub open_bytes: u64,
    /// How long entries took from being handed to the committer to being durable and recorded, in microseconds.
    pub commit_micros: Histogram,
    /// How many entries were committed at a time.
    pub batches: Histogram,
}

/// How often a number was how large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// For each bound, in ascending order, how often the number was no larger than it and larger than the one before; and
    /// how often it was larger than all of them.
    pub buckets: Vec<(Option<u64>, u64)>,
    /// All the numbers together.
    pub sum: u64,
}

impl<S: Store> Uploads<S> {
    /// The figures as they are now. It waits for nothing but a lock that is held for moments.
    pub fn figures(&self) -> Figures {
        let Tally { open_bodies, open_bytes, commit_micros, batches } = &*self.shared.tally;
        Figures {
            waiting: self.shared.committer.waiting(),
            open_bodies: open_bodies.load(Ordering::Relaxed),
            open_bytes: open_bytes.load(Ordering::Relaxed),
            commit_micros: commit_micros.read(),
            batches: batches.read(),
        }
    }
}

/// What is counted.
pub(super) struct Tally {
    open_bodies: AtomicU64,
    open_bytes: AtomicU64,
    pub(super) commit_micros: Counted<15>,
    pub(super) batches: Counted<9>,
}

impl Default for Tally {
    fn default() -> Self {
        let (commit_micros, batches) = (Counted::new(&LATENCIES), Counted::new(&SIZES));
        Tally { open_bodies: AtomicU64::new(0), open_bytes: AtomicU64::new(0), commit_micros, batches }
    }
}

/// How often a number was within each bound.
pub(super) struct Counted<const N: usize> {
    bounds: &'static [u64; N],
    within: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Counted<N> {
    fn new(bounds: &'static [u64; N]) -> Self {
        let within = [const { AtomicU64::new(0) }; N];
        Counted { bounds, within, beyond: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    pub(super) fn count(&self, number: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < number);
        self.within.get(bucket).unwrap_or(&self.beyond).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(number, Ordering::Relaxed);
    }

    fn read(&self) -> Histogram {
        let within = self.bounds.iter().zip(&self.within);
        let within = within.map(|(bound, often)| (Some(*bound), often.load(Ordering::Relaxed)));
        let beyond = (None, self.beyond.load(Ordering::Relaxed));
        Histogram { buckets: within.chain([beyond]).collect(), sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// A staged body that is open: it counts until this is dropped.
pub(super) struct OpenBody {
    tally: Arc<Tally>,
    bytes: u64,
}

impl OpenBody {
    /// One of so many bytes so far.
    pub(super) fn of(tally: &Arc<Tally>, bytes: u64) -> Self {
        tally.open_bodies.fetch_add(1, Ordering::Relaxed);
        tally.open_bytes.fetch_add(bytes, Ordering::Relaxed);
        OpenBody { tally: tally.clone(), bytes }
    }

    pub(super) fn grow(&mut self, bytes: u64) {
        self.tally.open_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }
}

impl Drop for OpenBody {
    fn drop(&mut self) {
        self.tally.open_bodies.fetch_sub(1, Ordering::Relaxed);
        self.tally.open_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_counted_once_within_the_first_bound_that_it_fits() {
        let counted = Counted::new(&SIZES);
        [1, 2, 3, 4, 256, 257, 1_000].iter().for_each(|number| counted.count(*number));
        let Histogram { buckets, sum } = counted.read();
        let often: Vec<u64> = buckets.iter().map(|(_, often)| *often).collect();
        assert_eq!((often, sum), (vec![1, 1, 2, 0, 0, 0, 0, 0, 1, 2], 1_523));
        assert_eq!((buckets[0].0, buckets[8].0, buckets[9].0), (Some(1), Some(256), None));
    }

    #[test]
    fn a_body_counts_until_it_is_gone() {
        let tally = Arc::<Tally>::default();
        let now = || (tally.open_bodies.load(Ordering::Relaxed), tally.open_bytes.load(Ordering::Relaxed));
        let (mut first, second) = (OpenBody::of(&tally, 0), OpenBody::of(&tally, 32));
        first.grow(7);
        assert_eq!(now(), (2, 39));
        drop(second);
        assert_eq!(now(), (1, 7));
        drop(first);
        assert_eq!(now(), (0, 0));
    }
}
