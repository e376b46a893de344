//! The instants at which something is killed.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, Metadata},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use ferry_proto::limits;

use super::{MIB, remains::visible, source::LARGE};
use crate::support::{GIVE_UP, Proxy, Running, Server};

/// Between two looks. It is no more than a disk takes for a sync.
const LOOK: Duration = Duration::from_micros(200);

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trigger {
    /// Time alone.
    After(Duration),
    /// So many bytes have gone to the server.
    Passed(u64),
    /// A body in staging has grown to this length, or beyond.
    Staged(u64),
    /// A large body is no longer in staging: it has its name.
    Renamed,
    /// The client has told so many receipts.
    Told(usize),
    /// The catalogue's log has changed so often.
    Logged(usize),
    /// So many more names are visible.
    Visible(usize),
}

/// How the wait ended.
pub(super) enum Fired {
    Yes,
    /// The client ended first.
    ClientEnded,
}

/// What is still to be done when a trigger is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) bytes: u64,
    pub(super) files: usize,
}

/// Deals the kinds of triggers in turn, in an order that chance decides.
#[derive(Default)]
pub(super) struct Deck(Vec<usize>);

impl Deck {
    const KINDS: usize = 9;

    pub(super) fn draw(&mut self, left: Left, rng: &mut fastrand::Rng) -> Trigger {
        if self.0.is_empty() {
            self.0 = (0..Self::KINDS).collect();
            rng.shuffle(&mut self.0);
        }
        let files = left.files.max(1);
        match self.0.pop() {
            Some(0) => Trigger::After(Duration::from_micros(rng.u64(0..1_500_000))),
            Some(1) => Trigger::Passed(rng.u64(0..left.bytes.max(1))),
            Some(2) => Trigger::Staged(rng.u64(1..96 * MIB)),
            // Whole: its sync is next.
            Some(3) => Trigger::Staged(LARGE[rng.usize(..LARGE.len())]),
            Some(4) => Trigger::Renamed,
            Some(5) => Trigger::Told(rng.usize(1..=files)),
            Some(6) => Trigger::Logged(rng.usize(1..12)),
            Some(7) => Trigger::Visible(1),
            _ => Trigger::Visible(rng.usize(1..=files)),
        }
    }
}

impl Trigger {
    /// Waits for it.
    pub(super) fn wait(self, server: &Server, proxy: &Proxy, client: &mut Running) -> Fired {
        let mut watch = Watch::begin(server, proxy, client);
        loop {
            if client.has_ended() {
                return Fired::ClientEnded;
            }
            if watch.has_fired(self, server, proxy, client) {
                return Fired::Yes;
            }
            assert!(watch.start.elapsed() < GIVE_UP, "gave up waiting for {self}");
            sleep(LOOK);
        }
    }
}

/// What was there when the wait began, and what has been seen since.
struct Watch {
    start: Instant,
    passed: u64,
    told: usize,
    visible: usize,
    staged: Vec<(String, u64)>,
    large: BTreeSet<String>,
    log: Option<(u64, SystemTime)>,
    changes: usize,
}

impl Watch {
    fn begin(server: &Server, proxy: &Proxy, client: &Running) -> Self {
        Watch {
            start: Instant::now(),
            passed: proxy.to_server(),
            told: client.lines_so_far(),
            visible: visible(server.inbox()).len(),
            staged: server.staged(),
            large: BTreeSet::new(),
            log: log(server),
            changes: 0,
        }
    }

    fn has_fired(&mut self, trigger: Trigger, server: &Server, proxy: &Proxy, client: &Running) -> bool {
        match trigger {
            Trigger::After(delay) => self.start.elapsed() >= delay,
            Trigger::Passed(bytes) => proxy.to_server() - self.passed >= bytes,
            Trigger::Staged(length) => server.staged().iter().any(|body| {
                // What lay there before is not what is waited for.
                body.1 >= length && !self.staged.contains(body)
            }),
            Trigger::Renamed => {
                let staged = server.staged();
                let large = staged.iter().filter(|(_, length)| *length >= limits::CHECKPOINT);
                self.large.extend(large.map(|(id, _)| id.clone()));
                self.large.iter().any(|id| staged.iter().all(|(staged, _)| staged != id))
            }
            Trigger::Told(lines) => client.lines_so_far() - self.told >= lines,
            Trigger::Logged(times) => {
                let now = log(server);
                if now != self.log {
                    self.log = now;
                    self.changes += 1;
                }
                self.changes >= times
            }
            Trigger::Visible(names) => visible(server.inbox()).len() - self.visible >= names,
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Length and time of the catalogue's log.
fn log(server: &Server) -> Option<(u64, SystemTime)> {
    let metadata = fs::metadata(server.inbox().join(".ferry/catalogue.db-wal"));
    metadata.ok().and_then(|m: Metadata| Some((m.len(), m.modified().ok()?)))
}
