//! What holds a run up: the part of the work that takes the most time, while others wait for it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use ferry_session::send::Stage;

/// Stages as people know them, in the order of a file's way.
const STAGES: [(Stage, &str); 6] = [
    (Stage::DiskRead, "disk read"),
    (Stage::Hash, "hash"),
    (Stage::Network, "network"),
    (Stage::ServerHash, "server hash"),
    (Stage::ServerDisk, "server disk"),
    (Stage::ServerSync, "server sync"),
];

/// The stages of which the server tells, once a second.
const SERVER: std::ops::Range<usize> = 3..STAGES.len();

/// How long the slowest stage is told before it is looked at again.
const LOOK: Duration = Duration::from_secs(1);

/// What each stage has taken so far, of all connections together, in nanoseconds.
#[derive(Default)]
pub(super) struct Stages([AtomicU64; STAGES.len()]);

/// The slowest stage of late.
pub(super) struct Slowest {
    looked: Instant,
    seen: [Duration; STAGES.len()],
    name: Option<&'static str>,
}

impl Stages {
    pub(super) fn spent(&self, stage: Stage, time: Duration) {
        if let Some(index) = STAGES.iter().position(|(known, _)| *known == stage) {
            self.0[index].fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Each stage's name and time.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        STAGES.iter().zip(self.times()).map(|((_, name), time)| (*name, time))
    }

    /// A sentence about the whole run; `None` if nothing took any time.
    pub(super) fn sentence(&self) -> Option<String> {
        let slowest = slowest(&self.times())?;
        let parts: Vec<_> =
            self.all().map(|(name, time)| format!("{name} {:.1} s", time.as_secs_f64())).collect();
        Some(format!("slowest: {slowest} ({})", parts.join(", ")))
    }

    fn times(&self) -> [Duration; STAGES.len()] {
        self.0.each_ref().map(|nanos| Duration::from_nanos(nanos.load(Ordering::Relaxed)))
    }
}

impl Slowest {
    pub(super) fn new() -> Self {
        Slowest { looked: Instant::now(), seen: [Duration::ZERO; STAGES.len()], name: None }
    }

    /// Which stage has taken most since the last look. What the server does is known later than what is done here, so
    /// nothing is said before it has told of the same time.
    pub(super) fn look(&mut self, stages: &Stages) -> Option<&'static str> {
        if self.looked.elapsed() < LOOK {
            return self.name;
        }
        let times = stages.times();
        if times[SERVER] != self.seen[SERVER] {
            self.looked = Instant::now();
            let mut since = times;
            since.iter_mut().zip(self.seen).for_each(|(time, seen)| *time = time.saturating_sub(seen));
            self.seen = times;
            self.name = slowest(&since);
        }
        self.name
    }
}

fn slowest(times: &[Duration]) -> Option<&'static str> {
    let (name, time) = STAGES.iter().zip(times).max_by_key(|(_, time)| **time)?;
    (!time.is_zero()).then_some(name.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_stage_is_named_for_the_run_and_for_the_last_moment() {
        let stages = Stages::default();
        assert_eq!(stages.sentence(), None);
        stages.spent(Stage::Network, Duration::from_millis(2500));
        stages.spent(Stage::ServerSync, Duration::from_millis(1500));
        let mut slowest = Slowest::new();
        assert_eq!(slowest.look(&stages), None, "not yet");
        let later = |slowest: &mut Slowest| slowest.looked -= LOOK;
        later(&mut slowest);
        assert_eq!(slowest.look(&stages), Some("network"));
        stages.spent(Stage::DiskRead, Duration::from_millis(800));
        later(&mut slowest);
        assert_eq!(slowest.look(&stages), Some("network"), "the server has not told of that time");
        stages.spent(Stage::ServerSync, Duration::from_millis(900));
        stages.spent(Stage::Hash, Duration::from_millis(899));
        later(&mut slowest);
        assert_eq!(slowest.look(&stages), Some("server sync"));
        let sentence = "slowest: network (disk read 0.8 s, hash 0.9 s, network 2.5 s, server hash 0.0 s, \
                        server disk 0.0 s, server sync 2.4 s)";
        assert_eq!(stages.sentence().unwrap(), sentence);
    }
}
