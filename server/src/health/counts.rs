//! What the server counts as it goes along: plain numbers, which cost whoever counts an addition. They are counted
//! whether anybody asks for them or not.
//!
//! No number is kept for a client, a name or an address: what a peer can choose does not decide how many there are.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ferry_proto::{Code, Kind};
use ferry_store::lock;

/// A failed accept is tried again in a fraction of this; so one that is older is over.
const FAILING: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub(crate) struct Counts {
    /// Connections that were accepted.
    pub(crate) accepted: Count,
    /// Peers that had to make way for newer ones before they were known.
    pub(crate) crowded_out: Count,
    /// Peers that did not prove a key.
    pub(crate) failed_handshakes: Count,
    /// Sessions that have begun.
    pub(crate) sessions: Count,
    /// Sessions by how they have ended.
    pub(crate) ended: [Count; 4],
    /// Peers that were not let in, sessions that were cut, and requests that were rejected.
    pub(crate) refusals: ByCode,
    /// Entries that have arrived.
    pub(crate) received: ByKind,
    /// Entries that were here already.
    pub(crate) held: ByKind,
    /// Entries that were given.
    pub(crate) given: ByKind,
    /// Bytes of bodies that have come.
    pub(crate) received_bytes: Count,
    /// Bytes of bodies that have left.
    pub(crate) given_bytes: Count,
    /// What could not be received.
    pub(crate) not_received: ByCode,
    /// What could not be given.
    pub(crate) not_given: ByCode,
    /// Listeners that no longer accept.
    deaf: Count,
    accepts_failed: Count,
    accept_failed: Mutex<Option<Instant>>,
}

/// How a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its client had nothing more to ask for.
    Finished,
    /// Its connection was lost.
    Lost,
    /// The server has cut it: its client was shut out or has another grant, or the server stops.
    Cut,
    /// By a fault of either side.
    Fault,
}

impl End {
    /// What each is called.
    pub(crate) const NAMES: [(End, &'static str); 4] =
        [(End::Finished, "finished"), (End::Lost, "lost"), (End::Cut, "cut"), (End::Fault, "fault")];
}

impl Counts {
    /// A listener accepts, until this is dropped.
    pub(crate) fn accepts(&self) -> Accepting<'_> {
        Accepting(self)
    }

    /// A connection could not be accepted.
    pub(crate) fn accept_has_failed(&self) {
        self.accepts_failed.one();
        *lock(&self.accept_failed) = Some(Instant::now());
    }

    /// How often that was so.
    pub(crate) fn failed_accepts(&self) -> u64 {
        self.accepts_failed.now()
    }

    /// Whether every listener accepts, and what comes gets in.
    pub(crate) fn are_accepting(&self) -> bool {
        let failed = *lock(&self.accept_failed);
        self.deaf.now() == 0 && failed.is_none_or(|failed| failed.elapsed() > FAILING)
    }

    pub(crate) fn end(&self, end: End) {
        self.ended[end as usize].one();
    }
}

/// A listener at work.
pub(crate) struct Accepting<'a>(&'a Counts);

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        self.0.deaf.one();
    }
}

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number for each code that this version knows, and one for all others together: those come from peers.
#[derive(Debug)]
pub(crate) struct ByCode([Count; Code::ALL.len() + 1]);

impl Default for ByCode {
    fn default() -> Self {
        ByCode(std::array::from_fn(|_| Count::default()))
    }
}

impl ByCode {
    pub(crate) fn one(&self, code: Code) {
        let known = Code::ALL.iter().position(|known| *known == code);
        self.0[known.unwrap_or(Code::ALL.len())].one();
    }

    /// Each with its name in the documents of the protocol.
    pub(crate) fn now(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = Code::ALL.iter().map(|code| code.name()).chain(["Other"]);
        names.zip(&self.0).map(|(name, count)| (name, count.now()))
    }
}

/// A number for each kind of entry.
#[derive(Debug, Default)]
pub(crate) struct ByKind([Count; 3]);

impl ByKind {
    pub(crate) fn one(&self, kind: &Kind) {
        let index = match kind {
            Kind::File => 0,
            Kind::Folder => 1,
            Kind::Symlink(_) => 2,
        };
        self.0[index].one();
    }

    pub(crate) fn now(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ["file", "folder", "symlink"].into_iter().zip(&self.0).map(|(name, count)| (name, count.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_09_codes_that_peers_make_up_are_one_number() {
        let counts = ByCode::default();
        (200..300).for_each(|number| counts.one(Code::from_number(number)));
        counts.one(Code::StorageFull);
        let told: Vec<_> = counts.now().filter(|(_, often)| *often > 0).collect();
        assert_eq!(told, [("StorageFull", 1), ("Other", 100)]);
        assert_eq!(counts.now().count(), Code::ALL.len() + 1);
    }

    #[test]
    fn a_listener_that_is_deaf_is_noticed_for_as_long_as_it_is() {
        let counts = Counts::default();
        let (_one, other) = (counts.accepts(), counts.accepts());
        assert!(counts.are_accepting());
        counts.accept_has_failed();
        assert!(!counts.are_accepting());
        *lock(&counts.accept_failed) = Some(Instant::now() - 2 * FAILING);
        assert!(counts.are_accepting());
        drop(other);
        assert!(!counts.are_accepting());
    }

    #[test]
    fn every_end_has_its_own_number_and_name() {
        let counts = Counts::default();
        for (index, (end, _)) in End::NAMES.into_iter().enumerate() {
            counts.end(end);
            assert_eq!(counts.ended[index].now(), 1, "{end:?}");
        }
    }
}
