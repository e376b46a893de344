//! What has happened so far in a run, in figures.

use std::time::{Duration, Instant};

use ferry_proto::units;

/// Which way files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the server.
    Send,
    /// From it.
    Get,
}

impl Direction {
    pub(super) fn word(self) -> &'static str {
        match self {
            Direction::Send => "send",
            Direction::Get => "get",
        }
    }

    pub(super) fn done(self) -> &'static str {
        match self {
            Direction::Send => "sent",
            Direction::Get => "got",
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Totals {
    pub(super) start: Instant,
    pub(super) sent: u64,
    pub(super) held: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    /// Of those that have arrived, which should be gone here and are not.
    pub(super) kept: u64,
    /// Pictures that are cut off or cannot be decoded.
    pub(super) flawed: u64,
    /// Bytes of bodies that left.
    pub(super) bytes: u64,
    pub(super) direction: Direction,
    pub(super) dry_run: bool,
    /// What holds it up at the moment, if that was asked for.
    pub(super) slowest: Option<&'static str>,
}

impl Totals {
    pub(super) fn new(direction: Direction, dry_run: bool) -> Self {
        let start = Instant::now();
        let (sent, held, failed, skipped, kept, flawed, bytes) = (0, 0, 0, 0, 0, 0, 0);
        Totals { start, sent, held, failed, skipped, kept, flawed, bytes, direction, dry_run, slowest: None }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.sent + self.held + self.failed + self.skipped + self.bytes == 0
    }

    /// How many entries are done, of how many if that is known.
    pub(super) fn entries(&self, all: Option<u64>) -> String {
        let done = self.sent + self.held + self.failed;
        let entries = match all {
            Some(all) => format!("{done}/{}", counted(all)),
            None => counted(done),
        };
        let held = if self.held > 0 { format!(", {} held", self.held) } else { String::new() };
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        let slowest = self.slowest.map_or(String::new(), |name| format!(", slowest: {name}"));
        format!("{entries}{held}{failed}{slowest}")
    }

    /// The last line for people.
    pub(super) fn sentence(&self) -> String {
        let took = self.start.elapsed();
        let verb = match (self.direction, self.dry_run) {
            (Direction::Send, false) => "sent",
            (Direction::Send, true) => "would send",
            (Direction::Get, false) => "got",
            (Direction::Get, true) => "would get",
        };
        let mut parts = vec![format!("{verb} {}", counted(self.sent))];
        if self.held > 0 {
            parts.push(format!("held {}", self.held));
        }
        if self.failed > 0 {
            parts.push(format!("failed {}", self.failed));
        }
        if self.skipped > 0 {
            parts.push(format!("skipped {}", self.skipped));
        }
        if self.kept > 0 {
            parts.push(format!("kept here {}", self.kept));
        }
        if self.flawed > 0 {
            parts.push(format!("flawed {}", self.flawed));
        }
        let rate = self.bytes as f64 / took.as_secs_f64().max(0.001);
        let moved = match self.dry_run {
            true => format!(": {}", units::told(self.bytes)),
            false => {
                format!(": {} in {}, {}/s", units::told(self.bytes), time(took), units::told(rate as u64))
            }
        };
        parts.join(", ") + &moved
    }
}

fn counted(entries: u64) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

/// A length of time for people.
fn time(took: Duration) -> String {
    let seconds = took.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", took.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
