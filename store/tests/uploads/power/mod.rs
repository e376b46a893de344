//! Power cuts. The store and the ledger are on a machine that forgets what was not synced, the power goes at some call,
//! and after each cut every answer that was given is honoured, no name holds wrong bytes, and what was begun goes on.
//!
//! A story is a list of things that clients want, brought in over several cuts, then to the end. Chance decides
//! everything in it and comes from a seed; `FERRY_TEST_SEED` tells one story again.

mod expected;
mod plan;
mod run;

use std::{collections::BTreeMap, env, fmt, sync::Arc, time::Duration};

use fastrand::Rng;
use ferry_proto::Conflict;
use ferry_store::{
    Outcome, Store, Uploads,
    doubles::{ForgetfulStore, Machine, PowerCut},
};

use self::{
    expected::Expected,
    plan::{DISTANCE, Plan, one_of},
    run::Run,
};

/// Where the power goes more often than chance would have it: where something is made durable, and around it.
const CALLS: [&str; 13] = [
    "make_durable",
    "publish",
    "record",
    "sync",
    "save_checkpoint",
    "make_folder",
    "make_link",
    "set_meta",
    "stage",
    "stage_same",
    "reopen",
    "discard",
    "drop_checkpoint",
];

#[test]
fn promises_1_2_and_3_hold_after_a_power_cut_at_any_call() {
    let mut tally = Tally::default();
    if let Some(seed) = replayed() {
        tell(seed, &mut tally);
        return;
    }
    let cuts = if is_full() { 50_000 } else { 3_000 };
    let mut seeds = Rng::new();
    while tally.cuts() < cuts {
        tell(seeds.u64(..), &mut tally);
    }
    println!("{tally}");
    let Tally { receipts, held, resumed, honoured, holes, linked, .. } = tally;
    let counts = [receipts, held, resumed, honoured, holes, linked];
    assert!(counts.iter().all(|count| *count > cuts / 10), "{tally}");
    for call in CALLS {
        assert!(tally.cuts.contains_key(call), "the power never went at {call}: {tally}");
    }
}

#[test]
fn a_seed_tells_one_story() {
    let told = |seed| {
        let mut tally = Tally::default();
        tell(seed, &mut tally);
        tally
    };
    for seed in 0..10 {
        assert_eq!(told(seed), told(seed));
    }
}

/// What was seen.
#[derive(Default, PartialEq, Eq, Debug)]
struct Tally {
    stories: usize,
    /// By the call at which the power went.
    cuts: BTreeMap<&'static str, usize>,
    /// Between two calls: nothing was left to be done, or the committer was held up.
    other_cuts: usize,
    calls: u64,
    receipts: usize,
    held: usize,
    resumed: usize,
    /// Pieces of bodies that were holes.
    holes: usize,
    /// Names that had to be there after a cut.
    honoured: usize,
    /// Names that were found to be one of several of their file.
    linked: usize,
}

impl Tally {
    fn cuts(&self) -> usize {
        self.cuts.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { stories, calls, receipts, held, resumed, holes, honoured, linked, cuts, other_cuts } =
            self;
        writeln!(f, "{} cuts at {calls} calls in {stories} stories: {cuts:?}", self.cuts())?;
        writeln!(
            f,
            "{other_cuts} others; {receipts} receipts, {held} held, {resumed} gone on with, {holes} holes, \
             {honoured} names honoured, {linked} linked"
        )
    }
}

/// Tells a story, and if it ends badly how to tell it again.
fn tell(seed: u64, tally: &mut Tally) {
    struct Teller(u64);
    impl Drop for Teller {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("FERRY_TEST_SEED={} tells this story again", self.0);
            }
        }
    }
    let _teller = Teller(seed);
    Story::new(seed, tally).tell();
}

struct Story<'a> {
    machine: Machine,
    plan: Plan,
    expected: Expected,
    rng: Rng,
    tally: &'a mut Tally,
}

impl<'a> Story<'a> {
    fn new(seed: u64, tally: &'a mut Tally) -> Self {
        // Ids of staged bodies come from this thread's own chance.
        fastrand::seed(seed);
        let mut rng = Rng::with_seed(seed);
        let machine = Machine::new(rng.u64(..), DISTANCE as u64);
        Story { machine, plan: Plan::random(&mut rng), expected: Expected::default(), rng, tally }
    }

    fn tell(mut self) {
        self.tally.stories += 1;
        for _ in 0..self.rng.usize(1..=4) {
            let cut = self.random_cut();
            self.run(Some(cut));
            self.cut();
            if self.rng.u8(..4) == 0 {
                // While it is being tidied up.
                self.machine.cut_at(Some(PowerCut { passes: self.rng.u64(..8), call: None }));
                drop(self.open());
                self.cut();
            }
            if self.rng.u8(..3) == 0 {
                self.let_owner_remove();
            }
        }
        let answers = self.run(None);
        assert_eq!(answers.len(), self.plan.tasks.len(), "promise 3: something was not brought in");
        for (task, answer) in answers {
            if let Outcome::Failed(code, _) = answer {
                let (path, terms) = (&self.plan.tasks[task].header.path, &self.plan.client(task).terms);
                assert_eq!(terms.conflict, Conflict::Skip, "promise 3: {path} was refused: {code:?}");
            }
        }
        self.cut();
        let uploads = self.open().expect("the power is on");
        uploads.sweep(Duration::ZERO).unwrap();
        self.expected.check_remains(&self.plan, uploads.store(), &self.machine.ledger());
        assert!(uploads.store().staged().unwrap().is_empty(), "something stays in staging");
    }

    /// A process that serves until the power goes, or until everything is there.
    fn run(&mut self, cut: Option<PowerCut>) -> BTreeMap<usize, Outcome> {
        let uploads = self.open().expect("the power is on");
        self.expected.check_names(&self.plan, uploads.store());
        self.expected.check_remains(&self.plan, uploads.store(), &self.machine.ledger());
        self.machine.cut_at(cut);
        let cuts_amid = cut.is_some() && self.rng.bool();
        Run::new(self, uploads, cuts_amid).finish()
    }

    /// `None` if the power goes meanwhile.
    fn open(&self) -> Option<Uploads<ForgetfulStore>> {
        let opened = Uploads::open(Arc::new(self.machine.store()), Arc::new(self.machine.ledger()), 1);
        assert!(opened.is_ok() || self.machine.is_off(), "what a cut has left cannot be opened");
        opened.ok()
    }

    /// The power goes if it has not, and comes back.
    fn cut(&mut self) {
        self.tally.calls += self.machine.calls();
        self.machine.cut_now();
        match self.machine.cut_in() {
            Some(call) => *self.tally.cuts.entry(call).or_default() += 1,
            None => self.tally.other_cuts += 1,
        }
        self.machine = self.machine.after_cut();
        let store = self.machine.store();
        self.expected.check_names(&self.plan, &store);
        self.tally.honoured += self.expected.names().len();
        self.expected.begin_again(&self.plan, &store);
        self.tally.linked += self.expected.linked();
    }

    /// Sooner rather than later, because a run over what is there already makes few calls.
    fn random_cut(&mut self) -> PowerCut {
        let (call, most) = match self.rng.bool() {
            true => (None, self.plan.calls()),
            false => (Some(one_of(&mut self.rng, &CALLS)), self.plan.tasks.len() as u64 / 2),
        };
        let most = most >> self.rng.u8(..4);
        PowerCut { passes: self.rng.u64(..=most), call }
    }

    /// While no process is running, the inbox is its owner's.
    fn let_owner_remove(&mut self) {
        let store = self.machine.store();
        for path in self.expected.names() {
            if self.rng.u8(..6) == 0 {
                // A folder stays as long as something is in it.
                let _ = store.remove(&path);
            }
        }
        self.expected.begin_again(&self.plan, &store);
    }
}

/// The seed of the one story that is wanted.
fn replayed() -> Option<u64> {
    env::var("FERRY_TEST_SEED").ok().map(|seed| seed.parse().expect("FERRY_TEST_SEED is a number"))
}

/// Whether there is time for everything.
fn is_full() -> bool {
    env::var("FERRY_TEST_FULL").is_ok_and(|value| value == "1")
}
