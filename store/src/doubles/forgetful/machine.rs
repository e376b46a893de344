//! When the power goes, and which calls are held up until then.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;

use super::{ForgetfulLedger, ForgetfulStore, disk::Disk};
use crate::{LedgerError, StoreError, doubles::MemoryLedger, lock::lock};

/// What nothing takes: whoever has waited for this long waits in vain.
const HANGS: Duration = Duration::from_secs(20);

/// See the module above.
#[derive(Clone)]
pub struct Machine(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    book: Arc<MemoryLedger>,
    distance: u64,
}

struct State {
    disk: Disk,
    chance: Rng,
    power: Power,
    calls: u64,
    held_up: HeldUp,
}

enum Power {
    On,
    /// It goes at the call that comes after so many others, of one name or of any.
    OnUntil(PowerCut),
    /// It went at a call of this name, or at none.
    Off(Option<&'static str>),
}

/// At which call the power goes.
#[derive(Debug, Clone, Copy)]
pub struct PowerCut {
    /// How many others come before it.
    pub passes: u64,
    /// What is called, of a store, a staged body or a ledger, by the name of the method; `None` is anything.
    pub call: Option<&'static str>,
}

/// A call that waits until it may go on.
enum HeldUp {
    None,
    /// The call of this name that comes after so many others.
    Coming(&'static str, usize),
    Waiting,
}

/// The power went at this call, or before.
#[derive(Debug, thiserror::Error)]
#[error("the power is off")]
pub struct PowerOff;

/// What becomes of a call.
enum Passage {
    On,
    GoesOff,
    Off,
}

impl Machine {
    /// A machine with an empty disk. Everything that is left to chance comes from the seed.
    pub fn new(seed: u64, checkpoint_distance: u64) -> Self {
        Machine::with(Disk::new(), Rng::with_seed(seed), Arc::default(), checkpoint_distance)
    }

    fn with(disk: Disk, chance: Rng, book: Arc<MemoryLedger>, distance: u64) -> Self {
        let state = State { disk, chance, power: Power::On, calls: 0, held_up: HeldUp::None };
        Machine(Arc::new(Inner { state: Mutex::new(state), changed: Condvar::new(), book, distance }))
    }

    /// Its store, as a process opens it.
    pub fn store(&self) -> ForgetfulStore {
        // What an earlier process left becomes durable then, because nobody knows any more what of it was not.
        lock(&self.0.state).disk.sync_all();
        ForgetfulStore::new(self.clone())
    }

    /// Its ledger, as a process opens it.
    pub fn ledger(&self) -> ForgetfulLedger {
        ForgetfulLedger::new(self.clone())
    }

    /// From now on the power is to go at this call; `None` lets it stay.
    pub fn cut_at(&self, cut: Option<PowerCut>) {
        let mut state = lock(&self.0.state);
        if !matches!(state.power, Power::Off(_)) {
            state.power = cut.map_or(Power::On, Power::OnUntil);
        }
    }

    /// The power goes, between two calls.
    pub fn cut_now(&self) {
        let mut state = lock(&self.0.state);
        if !matches!(state.power, Power::Off(_)) {
            state.power = Power::Off(None);
            self.0.changed.notify_all();
        }
    }

    /// Whether the power is off, so that every call fails.
    pub fn is_off(&self) -> bool {
        matches!(lock(&self.0.state).power, Power::Off(_))
    }

    /// What was being called when the power went.
    pub fn cut_in(&self) -> Option<&'static str> {
        match lock(&self.0.state).power {
            Power::Off(call) => call,
            Power::On | Power::OnUntil(_) => None,
        }
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        lock(&self.0.state).calls
    }

    /// The machine as it is found when the power is back; this one stays off.
    pub fn after_cut(&self) -> Machine {
        self.cut_now();
        let mut state = lock(&self.0.state);
        let mut chance = state.chance.fork();
        let disk = state.disk.after_cut(&mut chance);
        Machine::with(disk, chance, self.0.book.clone(), self.0.distance)
    }

    /// Holds up the call of this name that comes after `passes` others of it, until it is let go or the power goes.
    /// There is one at a time.
    pub fn hold_up(&self, call: &'static str, passes: usize) {
        lock(&self.0.state).held_up = HeldUp::Coming(call, passes);
        self.0.changed.notify_all();
    }

    /// Lets go what is held up, and nothing more is to be.
    pub fn let_go(&self) {
        lock(&self.0.state).held_up = HeldUp::None;
        self.0.changed.notify_all();
    }

    /// Waits until a call is held up, or until `or` is true; it is asked again whenever [`Machine::nudge`] was called.
    pub fn wait_until_held_up(&self, or: impl Fn() -> bool) {
        let mut state = lock(&self.0.state);
        while !matches!(state.held_up, HeldUp::Waiting) && !or() {
            let waited = self.0.changed.wait_timeout(state, HANGS).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            assert!(!waited.1.timed_out(), "this hangs");
        }
    }

    /// Something has happened that somebody may be waiting for.
    pub fn nudge(&self) {
        let _state = lock(&self.0.state);
        self.0.changed.notify_all();
    }

    pub(super) fn distance(&self) -> u64 {
        self.0.distance
    }

    /// Does what a call does to the disk, or some of it when the power goes, or nothing.
    pub(super) fn during<T, E: From<PowerOff>>(
        &self,
        call: &'static str,
        deed: impl FnOnce(&mut Disk) -> Result<T, E>,
    ) -> Result<T, E> {
        let (mut state, passage) = self.enter(call);
        match passage {
            Passage::On => return deed(&mut state.disk),
            Passage::GoesOff if state.chance.bool() => {
                state.disk.failing = Some(state.chance.fork());
                let _ = deed(&mut state.disk);
            }
            Passage::GoesOff | Passage::Off => {}
        }
        Err(PowerOff.into())
    }

    /// The same for a call of the ledger: it is done when the power goes, or not at all.
    pub(super) fn during_ledger<T>(
        &self,
        call: &'static str,
        deed: impl FnOnce(&MemoryLedger) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.during(call, |_| deed(&self.0.book))
    }

    fn enter(&self, call: &'static str) -> (MutexGuard<'_, State>, Passage) {
        let mut state = lock(&self.0.state);
        if state.is_to_wait(call) {
            self.0.changed.notify_all();
            while matches!(state.held_up, HeldUp::Waiting) && !matches!(state.power, Power::Off(_)) {
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let passage = state.pass(call);
        if matches!(passage, Passage::GoesOff) {
            self.0.changed.notify_all();
        }
        (state, passage)
    }
}

impl State {
    fn is_to_wait(&mut self, call: &str) -> bool {
        match &mut self.held_up {
            HeldUp::Coming(coming, 0) if *coming == call => {
                self.held_up = HeldUp::Waiting;
                true
            }
            HeldUp::Coming(coming, passes) if *coming == call => {
                *passes -= 1;
                false
            }
            _ => false,
        }
    }

    fn pass(&mut self, call: &'static str) -> Passage {
        match &mut self.power {
            Power::Off(_) => return Passage::Off,
            Power::OnUntil(cut) if cut.call.is_none_or(|expected| expected == call) => {
                match cut.passes.checked_sub(1) {
                    Some(passes) => cut.passes = passes,
                    None => {
                        self.power = Power::Off(Some(call));
                        return Passage::GoesOff;
                    }
                }
            }
            Power::On | Power::OnUntil(_) => {}
        }
        self.calls += 1;
        Passage::On
    }
}

impl From<PowerOff> for StoreError {
    fn from(off: PowerOff) -> Self {
        StoreError::Io(std::io::Error::other(off))
    }
}

impl From<PowerOff> for LedgerError {
    fn from(off: PowerOff) -> Self {
        LedgerError::Other(off.into())
    }
}
