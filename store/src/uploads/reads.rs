//! Reads that take long: of whole files that somebody touched, and of what there is of a body. Each holds a thread, so
//! they are kept from holding all of them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Long reads at a time, all connections together: enough for a disk, and half of the threads that a server has.
const AT_A_TIME: usize = 4;

/// Bytes that are read in about the time that a sync takes.
const SHORT: u64 = 16 * 1024 * 1024;

/// How many there are.
#[derive(Default)]
pub(super) struct LongReads(AtomicUsize);

/// One of them, until it is dropped.
pub(super) struct Reading<'a>(Option<&'a LongReads>);

impl LongReads {
    /// Begins to read this many bytes; `None` while too many others do.
    pub(super) fn begin(&self, bytes: u64) -> Option<Reading<'_>> {
        if bytes <= SHORT {
            return Some(Reading(None));
        }
        let one_more = |reads| (reads < AT_A_TIME).then_some(reads + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Reading(Some(self)))
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(reads) = self.0 {
            reads.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reads_are_few_and_short_ones_are_free() {
        let reads = LongReads::default();
        let mut going_on: Vec<_> =
            (0..AT_A_TIME).map(|_| reads.begin(SHORT + 1).expect("one more")).collect();
        assert!(reads.begin(u64::MAX).is_none());
        let _short: Vec<_> = (0..100).map(|_| reads.begin(SHORT).expect("a short one never waits")).collect();
        going_on.pop();
        assert!(reads.begin(SHORT + 1).is_some(), "one has ended");
    }
}
