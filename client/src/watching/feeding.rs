//! The feeder: goes to what has settled, and queues it for the connection; and to everything at the start, and whenever not
//! everything was told.

use std::{
    fs,
    io::ErrorKind,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ferry_proto::{Kind, Timestamp, escape};
use ferry_store::source::{Found, Identity, Item, Pick, SourceError, Walk};

use super::{Tree, Watching, folder_at, gone};
use crate::exit::Failure;

/// What settles within this time goes together: the folders around it are then sent once.
const TOGETHER: Duration = Duration::from_millis(100);

/// How long a connection is kept when nothing is left to do, so that pictures that come from a camera one by one do not
/// need one each.
const LINGER: Duration = Duration::from_secs(5);

/// How often it is looked whether the root is still there: an unmounted one says nothing.
const LOOK: Duration = Duration::from_secs(30);

/// How often the whole tree is looked at where the system does not tell of everything, if that takes no time.
const ROUND: Duration = Duration::from_secs(60);

/// A round takes this part of the time at the most.
const SHARE: u32 = 20;

impl Watching {
    /// The feeder's work, from the first look at the whole tree until the watch is stopped, which is no failure.
    pub(crate) fn feed(&self) -> Result<(), Failure> {
        let mut feeder = Feeder::new();
        self.notes.with(|settling| settling.look_whole(Path::new(""), Instant::now()));
        loop {
            match self.wait(&mut feeder) {
                Turn::Stopped => return Ok(()),
                Turn::Appeared(paths) => self.stand_in(paths.iter()),
                Turn::Settled(picks) => {
                    let is_of_all = picks.iter().any(is_root_whole);
                    let begin = Instant::now();
                    self.go_to(picks);
                    self.notes.lock().looked_at();
                    feeder.has_fed(is_of_all.then(|| begin.elapsed()));
                }
                Turn::Rest => {
                    self.queue.rest();
                    self.digests.save_or_tell(&self.narrator);
                }
                Turn::Look => self.look(&mut feeder)?,
            }
        }
    }

    fn wait(&self, feeder: &mut Feeder) -> Turn {
        let mut settling = self.notes.lock();
        loop {
            if self.notes.is_stopped() {
                return Turn::Stopped;
            }
            if settling.has_appeared() {
                return Turn::Appeared(settling.take_appeared());
            }
            let now = Instant::now();
            if now >= feeder.not_before {
                let picks = settling.take_due(now);
                if !picks.is_empty() {
                    return Turn::Settled(picks);
                }
            }
            if feeder.rest_at.take_if(|at| *at <= now).is_some() {
                return Turn::Rest;
            }
            if feeder.look_at <= now || self.notes.take_root_touched() {
                feeder.look_at = now + LOOK;
                return Turn::Look;
            }
            let due = settling.next_due().map(|due| due.max(feeder.not_before));
            let next = [due, feeder.rest_at].into_iter().flatten().fold(feeder.look_at, Instant::min);
            settling = self.notes.wait(settling, next);
        }
    }

    /// Watches new folders at once, and what is in them already: it is sent when it has settled.
    fn stand_in<'a>(&self, paths: impl Iterator<Item = &'a Arc<Path>>) {
        let is_folder = |path: &&Arc<Path>| {
            let whole = self.tree.root.join(path);
            fs::symlink_metadata(whole).is_ok_and(|metadata| metadata.is_dir())
        };
        let picks: Vec<_> = paths.filter(is_folder).map(|path| whole(path)).collect();
        if picks.is_empty() {
            return;
        }
        self.notes.with(|settling| {
            for pick in &picks {
                settling.look_whole_later(&pick.below, Instant::now());
            }
        });
        // Going there is enough.
        self.walk(picks).for_each(drop);
    }

    fn walk(&self, mut picks: Vec<Pick>) -> Walk {
        picks.sort();
        picks.dedup();
        let Tree { root, base, links, rules, .. } = &self.tree;
        let watches = self.watches.clone();
        let seen = Box::new(move |below: &Path| watches.stand(below));
        rules.pick(root, base.clone(), *links, picks, seen)
    }

    /// Queues what is there.
    fn go_to(&self, picks: Vec<Pick>) {
        let is_of_all = picks.iter().any(is_root_whole);
        let mut root_has_failed = false;
        // What has gone is nothing that has failed.
        for pick in &picks {
            if fs::symlink_metadata(self.tree.root.join(&pick.below)).is_err() {
                self.notes.lock().is_done(&pick.below);
            }
        }
        for found in self.walk(picks) {
            let found = match (&self.tree.filing, found) {
                // It is not sent, but has come.
                (Some(_), Found::Item(item)) if item.kind == Kind::Folder => {
                    self.notes.lock().is_done(self.below(item.source.path()));
                    continue;
                }
                (Some(filing), found) => filing.file(&self.tree.root, found),
                (None, found) => Some(found),
            };
            let Some(found) = found else { continue };
            let goes_on = match found {
                Found::Item(item) => self.take(item),
                Found::Skipped(path, what) => {
                    self.notes.lock().is_done(self.below(&path));
                    self.narrator.skipped(&path, what);
                    true
                }
                Found::LeftOut(path, why) => {
                    self.notes.lock().is_done(self.below(&path));
                    self.narrator.left_out(&path, &why);
                    true
                }
                // It has gone meanwhile.
                Found::Problem(_, SourceError::Io(error)) if error.kind() == ErrorKind::NotFound => true,
                Found::Problem(path, error) => {
                    let below = self.below(&path);
                    root_has_failed |= below.as_os_str().is_empty();
                    self.narrator.unreadable(&path, &error);
                    self.notes.with(|settling| settling.failed(below, Instant::now()));
                    true
                }
            };
            if !goes_on {
                return;
            }
        }
        if is_of_all && !root_has_failed {
            self.notes.lock().is_done(Path::new(""));
        }
    }

    /// Queues an entry that was found, if it has settled; false if the watch is over. Waits while the queue is full, which
    /// it is while the server is away.
    fn take(&self, item: Item) -> bool {
        let has_settled = item.kind == Kind::Folder || {
            let below = self.below(item.source.path());
            let rests_until = rests_until(&item.identity, self.tree.rest);
            self.notes.with(|settling| {
                let is_waiting = settling.is_waiting(below);
                if let (false, Some(until)) = (is_waiting, rests_until) {
                    settling.wait_until(below, until);
                }
                !is_waiting && rests_until.is_none() && settling.set_out(below)
            })
        };
        let next = if has_settled { Some(item) } else { item.settle() };
        let Some(next) = next else { return true };
        let is_taken = self.queue.offer(next);
        self.has_work.notify_one();
        is_taken
    }

    /// Whether the root is still the folder that it was, and the next round where the system does not tell of everything.
    fn look(&self, feeder: &mut Feeder) -> Result<(), Failure> {
        let root = &self.tree.root;
        let now_there = folder_at(root).map_err(|problem| gone(root, &problem))?;
        if now_there != self.device_and_inode {
            return Err(gone(root, "another folder has taken its place"));
        }
        let restless = self.notes.lock().take_restless(Instant::now());
        for below in restless {
            let shown = escape::bytes(self.tree.root.join(&below).as_os_str().as_encoded_bytes()).to_string();
            self.narrator.say(&format!("{shown} goes on changing: it is sent when it rests"));
        }
        if let Some(trouble) = self.watches.take_trouble()
            && !std::mem::replace(&mut feeder.has_told, true)
        {
            let round = feeder.round().as_secs();
            self.narrator.say(&format!("{trouble}. Until then the whole tree is looked at every {round} s"));
        }
        if self.watches.are_short() && feeder.last_round.elapsed() >= feeder.round() {
            feeder.last_round = Instant::now();
            self.watches.try_again();
            self.notes.with(|settling| settling.look_whole(Path::new(""), Instant::now()));
        }
        Ok(())
    }
}

/// What the feeder does next.
enum Turn {
    Stopped,
    Appeared(Vec<Arc<Path>>),
    Settled(Vec<Pick>),
    Rest,
    Look,
}

/// When the feeder does what.
struct Feeder {
    not_before: Instant,
    rest_at: Option<Instant>,
    look_at: Instant,
    last_round: Instant,
    /// How long the last look at the whole tree took.
    took: Duration,
    has_told: bool,
}

impl Feeder {
    fn new() -> Self {
        let now = Instant::now();
        Feeder {
            not_before: now,
            rest_at: None,
            look_at: now + LOOK,
            last_round: now,
            took: Duration::ZERO,
            has_told: false,
        }
    }

    fn has_fed(&mut self, took: Option<Duration>) {
        let now = Instant::now();
        (self.not_before, self.rest_at) = (now + TOGETHER, Some(now + LINGER));
        if let Some(took) = took {
            // Whether it could be watched is told now.
            (self.took, self.look_at) = (took, now);
        }
    }

    fn round(&self) -> Duration {
        ROUND.max(self.took * SHARE)
    }
}

fn is_root_whole(pick: &Pick) -> bool {
    pick.is_whole && pick.below.as_os_str().is_empty()
}

fn whole(below: &Path) -> Pick {
    Pick { below: below.to_owned(), is_whole: true }
}

/// Until when something waits that was touched so shortly before it was found. A time in the future says nothing about how
/// long ago it was.
fn rests_until(identity: &Identity, rest: Duration) -> Option<Instant> {
    let age = [identity.modified, identity.changed]
        .into_iter()
        .filter_map(|time| age(time, identity.seen))
        .min()?;
    let left = rest.checked_sub(age).filter(|left| !left.is_zero())?;
    Some(Instant::now() + left)
}

fn age(time: Timestamp, seen: SystemTime) -> Option<Duration> {
    let seconds = u64::try_from(time.seconds()).ok()?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, time.nanos()))?;
    seen.duration_since(time).ok()
}
