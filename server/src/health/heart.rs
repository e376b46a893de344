//! Whether the server gets on: its runtime gives tasks their turns, and its committer, which every file passes, answers.
//! It is what the watchdog of systemd is told of, too, looked at all the time so that nobody who asks has to wait.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use ferry_store::{LocalStore, Uploads, lock};

/// Between two looks.
const BEAT: Duration = Duration::from_secs(1);

/// Longer than one step of a disk that is well takes. It is long for a probe, which asks more than once, too.
const STANDSTILL: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Heart(Mutex<Beats>);

struct Beats {
    /// When the runtime last gave the one who looks his turn.
    runtime: Instant,
    /// When the committer had last moved on, and to where.
    committer: (Instant, u64),
}

impl Heart {
    pub(super) fn of(uploads: &Uploads<LocalStore>) -> Self {
        let now = Instant::now();
        Heart(Mutex::new(Beats { runtime: now, committer: (now, uploads.pulse()) }))
    }

    /// Looks for as long as it is polled; on the runtime that it is about.
    pub(super) async fn beat(&self, uploads: Uploads<LocalStore>) {
        let mut beats = tokio::time::interval(BEAT);
        loop {
            beats.tick().await;
            self.note(uploads.pulse());
        }
    }

    fn note(&self, pulse: u64) {
        let (mut beats, now) = (lock(&self.0), Instant::now());
        beats.runtime = now;
        if beats.committer.1 != pulse {
            beats.committer = (now, pulse);
        }
    }

    /// How long the committer has stood still.
    pub(super) fn standstill(&self) -> Duration {
        lock(&self.0).committer.0.elapsed()
    }

    /// What stands still for too long.
    pub(super) fn faults(&self) -> Vec<String> {
        let committer = self.standstill();
        let runtime = lock(&self.0).runtime.elapsed();
        [("the runtime", runtime), ("the committer", committer)]
            .into_iter()
            .filter(|(_, still)| *still > STANDSTILL)
            .map(|(what, still)| format!("{what} has stood still for {} s", still.as_secs()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_is_told_and_what_moves_is_not() {
        let long_ago = Instant::now() - 2 * STANDSTILL;
        let heart = Heart(Mutex::new(Beats { runtime: long_ago, committer: (long_ago, 7) }));
        assert_eq!(heart.faults().len(), 2);
        heart.note(7);
        assert!(matches!(&heart.faults()[..], [one] if one.contains("committer")), "{:?}", heart.faults());
        heart.note(8);
        assert_eq!(heart.faults(), [""; 0]);
    }
}
