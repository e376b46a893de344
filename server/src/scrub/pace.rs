//! How fast files are read.

use std::time::{Duration, Instant};

/// How late a pause may end without making the rate too low.
const SLACK: Duration = Duration::from_millis(50);

/// Bytes that are read at a time: they stay in a core's own cache while they are hashed.
const AT_ONCE: usize = 128 * 1024;

/// As fast as it goes, or so many bytes a second.
pub(super) struct Pace {
    rate: Option<u64>,
    /// When everything that was read so far is due at the rate.
    paid_until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Pace { rate, paid_until: None }
    }

    /// Bytes that may be read in one go: an eighth of a second's worth at the most.
    pub(super) fn at_once(&self) -> usize {
        let eighth = self.rate.map_or(AT_ONCE, |rate| usize::try_from(rate / 8).unwrap_or(AT_ONCE));
        eighth.clamp(1, AT_ONCE)
    }

    /// After so many bytes were read at this time: when the next ones may be.
    pub(super) fn next(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        // Time in which nothing was read is not saved up, but what a pause took too long is.
        let from = self.paid_until.map_or(now, |until| until.max(now.checked_sub(SLACK).unwrap_or(now)));
        let until = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.paid_until = Some(until);
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_though_every_pause_takes_too_long() {
        let mut pace = Pace::new(Some(10_000_000));
        let (start, mut now, mut read) = (Instant::now(), Instant::now(), 0);
        while now < start + Duration::from_secs(5) {
            let chunk = pace.at_once();
            read += chunk;
            // Reading itself takes time, and a timer is late.
            now += Duration::from_micros(300);
            if let Some(next) = pace.next(chunk, now).filter(|next| *next > now) {
                now = next + Duration::from_millis(3);
            }
        }
        let rate = read as f64 / now.duration_since(start).as_secs_f64();
        assert!((9_500_000.0..10_500_000.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_low_rate_is_kept_in_small_pieces_and_none_is_no_pause() {
        assert_eq!(Pace::new(Some(1000)).at_once(), 125);
        assert_eq!(Pace::new(Some(1)).at_once(), 1);
        assert_eq!(Pace::new(Some(u64::MAX)).at_once(), AT_ONCE);
        assert_eq!(Pace::new(None).next(1 << 30, Instant::now()), None);
    }
}
