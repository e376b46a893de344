//! SIGKILL, at any instant, of either side or both.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    thread::sleep,
    time::Duration,
};

use rustix::process::Signal;

use super::{
    MIB, Told, assurances, chance, failures, is_full,
    remains::{Known, Remains, Sources, names_by_file, visible},
    source::Source,
    triggers::{Deck, Fired, Left, Trigger},
};
use crate::support::{Client, Proxy, Running, Server, assert_same_contents, eventually};

/// A kill costs each connection no more bytes than this: a checkpoint's distance, small files that wait for their
/// sync, what is between the server's network and its disk, and what is still in the network.
const LOST_AT_MOST: i64 = 70 * MIB as i64;

/// What a run may need besides the bytes of files: offers of every entry, frames and encryption.
const OVERHEAD: i64 = 2 * MIB as i64;

#[test]
fn hostile_21_promises_1_2_and_3_hold_whatever_is_killed_and_whenever() {
    sweep("kill sweep", Source::make, &[], if is_full() { 250 } else { 30 });
}

#[test]
fn hostile_21_names_of_one_file_become_one_file_whatever_is_killed_and_whenever() {
    sweep("kill sweep of hard links", Source::linked, &["--hard-links"], if is_full() { 150 } else { 15 });
}

fn sweep(title: &str, make: fn(&mut fastrand::Rng) -> Source, flags: &'static [&'static str], kills: usize) {
    let mut rng = chance(title);
    let (source, other) = (make(&mut rng), make(&mut rng));
    let (mut tally, mut deck, mut rounds) = (Tally::default(), Deck::default(), 0);
    while tally.kills < kills {
        rounds += 1;
        assert!(rounds <= 3 * kills, "hardly any run could be killed before it had ended:\n{tally}");
        let in_this_round = rng.usize(1..=4).min(kills - tally.kills);
        // Now and then over the files of an earlier run, and now and then by several connections.
        let before = (rng.u8(..4) == 0).then_some(&other);
        let jobs = if rng.u8(..4) == 0 { 3 } else { 1 };
        let round = Round::begin(Sources { now: &source, before }, flags, jobs);
        round.run(in_this_round, &mut deck, &mut tally, &mut rng);
    }
    println!("{tally}in {rounds} rounds");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Client,
    Server,
    Both,
}

/// Until the whole tree is there.
struct Round<'a> {
    sources: Sources<'a>,
    flags: &'static [&'static str],
    jobs: u32,
    server: Server,
    proxy: Proxy,
    client: Client,
    running: Option<Running>,
    told: Told,
    known: Known,
    /// What had gone to the server, and what it had kept of it, at the last kill.
    since: Account,
    story: String,
}

#[derive(Debug, Clone, Copy)]
struct Account {
    passed: u64,
    kept: u64,
}

impl<'a> Round<'a> {
    fn begin(sources: Sources<'a>, flags: &'static [&'static str], jobs: u32) -> Self {
        let server = Server::start();
        let proxy = Proxy::to(server.address());
        let client = Client::new();
        client.pair(&server.invite_at(proxy.address()));
        if let Some(before) = sources.before {
            client.send(before.tree()).args(flags).run().code(0);
        }
        let since = Account { passed: proxy.to_server(), kept: 0 };
        let (told, known) = (Told::new(), Known::default());
        let story = format!("{jobs} jobs, over earlier files: {}\n", sources.before.is_some());
        let running = None;
        let mut round =
            Round { sources, flags, jobs, server, proxy, client, running, told, known, since, story };
        round.send();
        round
    }

    fn send(&mut self) {
        let send = self.client.send(self.sources.now.tree()).args(["--json", "--retry", "forever"]);
        self.running = Some(send.args(["--jobs", &self.jobs.to_string()]).args(self.flags).start());
    }

    fn run(mut self, kills: usize, deck: &mut Deck, tally: &mut Tally, rng: &mut fastrand::Rng) {
        for _ in 0..kills {
            let trigger = deck.draw(self.left(), rng);
            let running = self.running.as_mut().expect("the client runs");
            let Fired::Yes = trigger.wait(&self.server, &self.proxy, running) else { break };
            if rng.bool() {
                sleep(Duration::from_micros(rng.u64(0..20_000)));
            }
            let victim = [Victim::Client, Victim::Server, Victim::Both][rng.usize(..3)];
            writeln!(self.story, "{victim:?} killed at {trigger:?}").expect("text can be written");
            let lost = self.kill(victim, tally);
            let most = LOST_AT_MOST * i64::from(self.jobs);
            assert!(lost <= most, "this kill cost {lost} bytes, and not {most} at the most");
            tally.count(trigger, victim, lost);
        }
        self.finish();
    }

    fn left(&self) -> Left {
        let files = self.sources.now.files().saturating_sub(visible(self.server.inbox()).len());
        Left { bytes: self.sources.now.bytes() - self.since.kept, files }
    }

    /// Kills, looks at what is left, and lets both sides go on. Returns how many bytes have to be sent again.
    fn kill(&mut self, victim: Victim, tally: &mut Tally) -> i64 {
        let running = self.running.as_ref().expect("the client runs");
        if victim != Victim::Client {
            self.server.kill();
        }
        if victim != Victim::Server {
            running.signal(Signal::KILL);
        }
        match victim {
            Victim::Server => self.told.extend(assurances(running.stdout_so_far().as_bytes())),
            Victim::Client | Victim::Both => {
                let outcome = self.running.take().map(Running::wait);
                self.told.extend(outcome.iter().flat_map(|outcome| assurances(&outcome.stdout)));
            }
        }
        if victim == Victim::Client {
            let server = &self.server;
            eventually("the end of the session", || is_at_rest(&server.log()).then_some(()));
        }

        let is_dead = victim != Victim::Client;
        let remains = Remains::of(&self.server, self.sources, is_dead, &mut self.known);
        remains.assert_holds(&self.told);
        if is_dead {
            tally.look(&remains, &self.told, self.sources);
        }
        let now = Account { passed: self.proxy.to_server(), kept: remains.kept() };
        let lost = (now.passed - self.since.passed) as i64 - (now.kept as i64 - self.since.kept as i64);
        self.since = now;

        if is_dead {
            self.server.restart_elsewhere();
            self.proxy.lead_to(self.server.address());
        }
        if self.running.is_none() {
            self.send();
        }
        lost
    }

    /// Lets the client finish; nothing may be missing, wrong, too much, or sent twice without a reason.
    fn finish(mut self) {
        let mut outcome = self.running.take().expect("the client runs").wait();
        // What a killed client's connection had still to give another name is touched by that, and if it is offered at that
        // very time, it fails, to be held by the next run.
        let is_touched =
            |(_, detail): &(String, String)| detail == "someone else moved or changed it meanwhile";
        if !self.flags.is_empty() && outcome.status.code() == Some(1) {
            assert!(failures(&outcome).iter().all(is_touched), "{outcome:?}");
            self.send();
            outcome = self.running.take().expect("the client runs").wait();
        }
        let outcome = outcome.code(0);
        let missing = self.sources.now.bytes() - self.since.kept;
        let sent = self.proxy.to_server() - self.since.passed;
        let too_much = sent as i64 - missing as i64;
        assert!(too_much <= OVERHEAD, "{too_much} bytes were sent that the server had kept");
        self.told.extend(assurances(&outcome.stdout));
        Remains::of(&self.server, self.sources, false, &mut self.known).assert_holds(&self.told);
        let folder = self.sources.now.tree();
        let above = folder.parent().expect("a tree is in a folder");
        assert_same_contents(above, self.server.inbox());
        // A body that was begun under one name stays for its time where the file has come under another one.
        let begun = if self.flags.is_empty() { 0 } else { self.server.checkpoints().len() };
        let staged = self.server.staged();
        assert_eq!(staged.len(), begun, "this is left in staging: {staged:?}");

        // Names that a server's end has parted, while the client went on, become one file again, without a byte.
        let run = || self.client.send(&folder).arg("--json").args(self.flags).run().code(0);
        if !self.flags.is_empty() {
            let reunited = run();
            assert_eq!((reunited.total("bytes"), reunited.total("failed")), (0, 0), "{reunited:?}");
            assert_same_contents(above, self.server.inbox());
        }
        assert_eq!(names_by_file(self.server.inbox()), names_by_file(above), "other names are one file");
        let again = run();
        assert_eq!((again.total("sent"), again.total("failed")), (0, 0), "{again:?}");
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}\n{}", self.story, self.server.log());
        }
    }
}

/// Whether every session that this log tells of has ended.
fn is_at_rest(log: &str) -> bool {
    // The log goes on over restarts; sessions do not.
    let since = log.rfind(" ready ").unwrap_or(0);
    let count = |words: &str| log[since..].matches(words).count();
    count(" connected ") == count(" finished ") + count(" connection lost ") + count(" session ended ")
}

/// What the kills of a sweep have hit.
#[derive(Default)]
struct Tally {
    kills: usize,
    kinds: BTreeMap<String, usize>,
    victims: BTreeMap<Victim, usize>,
    bodies: usize,
    syncs: usize,
    renames: usize,
    receipts: usize,
    worst: i64,
    lost: i64,
}

impl Tally {
    fn count(&mut self, trigger: Trigger, victim: Victim, lost: i64) {
        self.kills += 1;
        let kind = format!("{trigger:?}");
        let kind = kind.split('(').next().unwrap_or(&kind).to_owned();
        *self.kinds.entry(kind).or_default() += 1;
        *self.victims.entry(victim).or_default() += 1;
        self.worst = self.worst.max(lost);
        self.lost += lost;
    }

    fn look(&mut self, remains: &Remains, told: &Told, sources: Sources<'_>) {
        self.bodies += usize::from(remains.hit_a_body());
        self.syncs += usize::from(remains.hit_a_sync());
        self.renames += usize::from(remains.hit_a_rename(sources));
        self.receipts += usize::from(remains.hit_a_receipt(told, sources));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { kills, kinds, victims, bodies, syncs, renames, receipts, worst, lost } = self;
        writeln!(f, "{kills} kills: {kinds:?}, {victims:?}")?;
        writeln!(
            f,
            "of the server, in a body {bodies}, before a sync {syncs}, between rename and commit {renames}, between commit and receipt {receipts}"
        )?;
        writeln!(
            f,
            "bytes to be sent again: {worst} at the most, {} on average",
            lost / (*kills).max(1) as i64
        )
    }
}
