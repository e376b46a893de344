//! What the time goes into, for people who ask what holds their files up.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// A part of receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Writing bodies.
    Disk,
    /// Digesting them.
    Hash,
    /// Making them durable, and giving them their names.
    Sync,
}

/// Adds up what parts take, whichever threads do them.
#[derive(Debug, Default)]
pub struct Meter([AtomicU64; 3]);

impl Meter {
    /// Does something, and counts the time for a part.
    pub fn time<T>(&self, part: Part, deed: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let done = deed();
        self.add(part, begin.elapsed());
        done
    }

    /// Reads something from the disk, and hashes it meanwhile: what the whole takes, but for the hashing, is the disk's.
    pub(crate) fn time_reading<T>(&self, deed: impl FnOnce(&Meter) -> T) -> T {
        let hashing = Meter::default();
        let begin = Instant::now();
        let done = deed(&hashing);
        let hashed = hashing.spent(Part::Hash);
        self.add(Part::Hash, hashed);
        self.add(Part::Disk, begin.elapsed().saturating_sub(hashed));
        done
    }

    /// What a part has taken so far.
    pub fn spent(&self, part: Part) -> Duration {
        Duration::from_nanos(self.0[part as usize].load(Ordering::Relaxed))
    }

    pub(crate) fn add(&self, part: Part, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0[part as usize].fetch_add(nanos, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashing_is_no_reading() {
        let meter = Meter::default();
        let (begin, hour) = (Instant::now(), Duration::from_secs(3600));
        meter.time_reading(|hashing| hashing.add(Part::Hash, hour));
        assert_eq!((meter.spent(Part::Hash), meter.spent(Part::Disk)), (hour, Duration::ZERO));
        meter.time_reading(|_| ());
        assert!(meter.spent(Part::Disk) <= begin.elapsed());
    }

    #[test]
    fn each_part_is_counted_by_itself() {
        let meter = Meter::default();
        meter.add(Part::Hash, Duration::from_micros(5));
        meter.add(Part::Hash, Duration::from_micros(7));
        assert_eq!(meter.time(Part::Sync, || 3), 3);
        assert_eq!(
            (meter.spent(Part::Hash), meter.spent(Part::Disk)),
            (Duration::from_micros(12), Duration::ZERO)
        );
    }
}
