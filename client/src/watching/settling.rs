//! What has appeared or changed, until it has settled: nothing has happened to it for the settling time. Sans clock: `now`
//! is passed in.
//!
//! What was sent is not in here any more: what is kept grows with what is going on, and not with the tree. Where too much
//! goes on at once, all of it becomes one thing to look at: the tree.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_store::source::Pick;

/// Paths that are kept one by one: some 20 MB of them.
const MOST: usize = 65_536;

/// Paths that are handed out at a time.
const TOGETHER: usize = 4096;

/// A file that somebody still has open for writing, as far as is known, is waited for this many settling times: a download
/// may stand still for a while. Not for ever, because a log stays open, and the news of a close can be lost.
const OPEN: u32 = 15;

/// After this long it is told that something does not settle.
const RESTLESS: Duration = Duration::from_secs(10 * 60);

/// The pause after something has failed; it doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What has happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It is there now, and may be a folder with something in it.
    Appeared,
    /// Bytes were written to it.
    Written,
    /// Whoever wrote to it has closed it.
    Closed,
    /// Anything else.
    Touched,
}

/// See the module. Paths are below the root of the tree.
pub(super) struct Settling {
    rest: Duration,
    waiting: HashMap<Arc<Path>, Waiting>,
    /// All of them, each by a time at which it has not settled yet, or just so; and some that stand earlier now, or no more.
    line: BinaryHeap<Reverse<(Instant, Arc<Path>)>>,
    /// What could not be sent, and how often.
    failed: HashMap<Arc<Path>, u32>,
    /// Something failed that is not among these, for want of room.
    failed_more: bool,
    /// Files that are queued or being sent, and whether they have settled anew since. The queue bounds it.
    under_way: HashMap<Arc<Path>, bool>,
    /// What may be a new folder, in which something happens already.
    appeared: Vec<Arc<Path>>,
    /// What was handed out is still being looked at.
    is_looked_at: bool,
}

struct Waiting {
    since: Instant,
    /// When it has settled.
    due: Instant,
    /// Where it stands in the line.
    stands: Instant,
    is_whole: bool,
    is_open: bool,
    is_told: bool,
}

impl Settling {
    pub(super) fn new(rest: Duration) -> Self {
        Settling {
            rest,
            waiting: HashMap::new(),
            line: BinaryHeap::new(),
            failed: HashMap::new(),
            failed_more: false,
            under_way: HashMap::new(),
            appeared: Vec::new(),
            is_looked_at: false,
        }
    }

    /// Something has happened.
    pub(super) fn note(&mut self, below: &Path, news: News, now: Instant) {
        let has_failed = self.failed.contains_key(below);
        let path = self.wait(below, now + self.rest);
        let Some(waiting) = self.waiting.get_mut(&path) else { return };
        // The tree, or a folder whole, is looked at however much goes on in it.
        if !waiting.is_whole {
            waiting.due = now + self.rest;
        }
        waiting.is_whole |= has_failed;
        match news {
            News::Written => waiting.is_open = true,
            News::Closed => {
                waiting.is_open = false;
                // While it was open it may have been put off for long.
                if waiting.stands > waiting.due {
                    waiting.stands = waiting.due;
                    self.line.push(Reverse((waiting.due, path)));
                }
            }
            News::Appeared if self.appeared.len() < MOST => self.appeared.push(path),
            News::Appeared | News::Touched => {}
        }
    }

    /// A look at the tree, or a folder in it, with everything in it.
    pub(super) fn look_whole(&mut self, below: &Path, at: Instant) {
        let path = self.wait(below, at);
        if let Some(waiting) = self.waiting.get_mut(&path) {
            waiting.is_whole = true;
        }
    }

    /// The same, when it has had time to settle.
    pub(super) fn look_whole_later(&mut self, below: &Path, now: Instant) {
        self.look_whole(below, now + self.rest);
    }

    /// Something was touched so shortly before it was found that it settles only then.
    pub(super) fn wait_until(&mut self, below: &Path, due: Instant) {
        self.wait(below, due);
    }

    /// Makes it wait until then, if it does not wait for something earlier. Returns what waits now.
    fn wait(&mut self, below: &Path, due: Instant) -> Arc<Path> {
        let mut path: Arc<Path> = below.into();
        let is_too_much = self.waiting.len() >= MOST && !self.waiting.contains_key(below);
        if is_too_much {
            // What cannot be kept is found by looking at everything.
            self.waiting.clear();
            self.line.clear();
            self.appeared.clear();
            path = Path::new("").into();
        }
        let line = &mut self.line;
        let mut stand = || line.push(Reverse((due, path.clone())));
        match self.waiting.get_mut(&path) {
            Some(waiting) if waiting.due <= due => {}
            Some(waiting) => {
                (waiting.due, waiting.stands) = (due, due);
                stand();
            }
            None => {
                let (since, stands) = (due, due);
                let waiting =
                    Waiting { since, due, stands, is_whole: is_too_much, is_open: false, is_told: false };
                stand();
                self.waiting.insert(path.clone(), waiting);
            }
        }
        path
    }

    /// What has settled by now, each path once. Until [`Settling::looked_at`] it counts as outstanding.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Pick> {
        let mut picks = Vec::new();
        while picks.len() < TOGETHER
            && let Some(Reverse((at, _))) = self.line.peek()
            && *at <= now
            && let Some(Reverse((at, path))) = self.line.pop()
        {
            let Some(waiting) = self.waiting.get_mut(&path).filter(|waiting| waiting.stands == at) else {
                continue;
            };
            let open = if waiting.is_open { self.rest * (OPEN - 1) } else { Duration::ZERO };
            let due = waiting.due + open;
            if due > now {
                waiting.stands = due;
                self.line.push(Reverse((due, path)));
            } else if let Some(waiting) = self.waiting.remove(&path) {
                // Whatever fails in it is met again.
                self.failed_more &= !(waiting.is_whole && path.as_os_str().is_empty());
                picks.push(Pick { below: PathBuf::from(&*path), is_whole: waiting.is_whole });
            }
        }
        self.is_looked_at |= !picks.is_empty();
        picks
    }

    /// What was handed out has been queued, or waits here again.
    pub(super) fn looked_at(&mut self) {
        self.is_looked_at = false;
    }

    /// When there may be something to hand out.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.line.peek().map(|Reverse((at, _))| *at)
    }

    /// What should have settled long ago if it had not gone on changing; each path once.
    pub(super) fn take_restless(&mut self, now: Instant) -> Vec<Arc<Path>> {
        let is_restless = |waiting: &Waiting| {
            !waiting.is_told && !waiting.is_whole && now.saturating_duration_since(waiting.since) >= RESTLESS
        };
        let restless = self.waiting.iter_mut().filter(|(_, waiting)| is_restless(waiting));
        restless.map(|(path, waiting)| (waiting.is_told = true, path.clone()).1).collect()
    }

    /// What may be a new folder.
    pub(super) fn take_appeared(&mut self) -> Vec<Arc<Path>> {
        std::mem::take(&mut self.appeared)
    }

    pub(super) fn has_appeared(&self) -> bool {
        !self.appeared.is_empty()
    }

    /// Whether it waits until it has settled, and not only for another try.
    pub(super) fn is_waiting(&self, below: &Path) -> bool {
        self.waiting.contains_key(below) && !self.failed.contains_key(below)
    }

    /// It is to be queued; false if it is already, or being sent: then it comes once more after that, because two of one
    /// name would both be sent whole.
    pub(super) fn set_out(&mut self, below: &Path) -> bool {
        match self.under_way.get_mut(below) {
            Some(settled_anew) => *settled_anew = true,
            None => return self.under_way.insert(below.into(), false).is_none(),
        }
        false
    }

    /// It is not queued any more, nor being sent.
    pub(super) fn is_back(&mut self, below: &Path, now: Instant) {
        if self.under_way.remove(below) == Some(true) {
            self.wait(below, now);
        }
    }

    /// It could not be sent, and is tried again after a pause, or when something happens to it.
    pub(super) fn failed(&mut self, below: &Path, now: Instant) {
        let has_room = self.failed.len() < MOST / 2 || self.failed.contains_key(below);
        let (path, tries) = match has_room {
            true => {
                let tries = self.failed.entry(below.into()).or_default();
                *tries += 1;
                (below, *tries)
            }
            false => {
                self.failed_more = true;
                (Path::new(""), u32::MAX)
            }
        };
        let pause = FIRST_PAUSE.saturating_mul(1 << (tries - 1).min(16)).min(LONGEST_PAUSE);
        self.look_whole(path, now + pause);
    }

    /// It has arrived, or is not to be sent any more.
    pub(super) fn is_done(&mut self, below: &Path) {
        self.failed.remove(below);
    }

    /// Whether something has failed, and has not arrived since.
    pub(super) fn has_failures(&self) -> bool {
        self.failed_more || !self.failed.is_empty()
    }

    /// Whether something is on its way to being sent that has not failed before.
    pub(super) fn is_busy(&self) -> bool {
        self.is_looked_at || self.waiting.keys().any(|path| !self.failed.contains_key(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(2);

    fn pick(below: &str, is_whole: bool) -> Pick {
        Pick { below: below.into(), is_whole }
    }

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_goes_on_changing_does_not_settle() {
        let (mut settling, start) = (Settling::new(REST), Instant::now());
        let file = Path::new("a/file");
        for second in 0..100 {
            settling.note(file, News::Touched, at(start, second * 1000));
            assert_eq!(settling.take_due(at(start, second * 1000 + 999)), []);
        }
        assert!(settling.is_busy() && settling.take_restless(at(start, 100_000)).is_empty());
        let much_later = start + REST + RESTLESS;
        assert_eq!(settling.take_restless(much_later), [Arc::from(file)]);
        assert_eq!(settling.take_restless(much_later), [], "it is told once");
        assert_eq!(settling.take_due(at(start, 100_999)), []);
        assert_eq!(settling.take_due(at(start, 101_000)), [pick("a/file", false)]);
        assert!(settling.is_busy(), "nobody has looked at it");
        settling.looked_at();
        assert!(!settling.is_busy() && settling.next_due().is_none() && settling.line.is_empty());
    }

    #[test]
    fn what_is_open_for_writing_is_waited_for_longer_but_not_for_ever() {
        let (mut settling, start) = (Settling::new(REST), Instant::now());
        settling.note(Path::new("open"), News::Written, start);
        settling.note(Path::new("closed"), News::Written, start);
        settling.note(Path::new("closed"), News::Closed, start);
        assert_eq!(settling.take_due(at(start, 2000)), [pick("closed", false)]);
        assert_eq!(settling.take_due(at(start, 29_999)), []);
        assert_eq!(settling.take_due(at(start, 30_000)), [pick("open", false)]);
    }

    #[test]
    fn what_was_open_for_long_settles_as_soon_as_anything_else_once_it_is_closed() {
        let (mut settling, start) = (Settling::new(REST), Instant::now());
        let file = Path::new("file");
        settling.note(file, News::Written, start);
        assert_eq!(settling.take_due(at(start, 2000)), []);
        settling.note(file, News::Written, at(start, 3000));
        settling.note(file, News::Closed, at(start, 3000));
        assert_eq!(settling.next_due(), Some(at(start, 5000)));
        assert_eq!(settling.take_due(at(start, 4999)), []);
        assert_eq!(settling.take_due(at(start, 5000)), [pick("file", false)]);
        // A log that is opened for each line stands in the line once, or twice for as long as it may rest.
        for second in 10..1000 {
            settling.note(file, News::Written, at(start, second * 1000));
            assert_eq!(settling.take_due(at(start, second * 1000)), []);
            settling.note(file, News::Closed, at(start, second * 1000));
            assert!(settling.line.len() <= 16, "{}", settling.line.len());
        }
    }

    #[test]
    fn what_has_failed_is_tried_again_after_a_growing_pause_or_when_something_happens_to_it() {
        let (mut settling, start) = (Settling::new(REST), Instant::now());
        let file = Path::new("file");
        let mut now = start;
        for pause in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            settling.failed(file, now);
            assert!(settling.has_failures() && !settling.is_busy());
            now += Duration::from_secs(pause) - Duration::from_millis(1);
            assert_eq!(settling.take_due(now), []);
            now += Duration::from_millis(1);
            assert_eq!(settling.take_due(now), [pick("file", true)]);
            settling.looked_at();
        }
        settling.failed(file, now);
        settling.note(file, News::Touched, now);
        assert_eq!(settling.take_due(now + REST), [pick("file", true)]);
        settling.is_done(file);
        settling.looked_at();
        assert!(!settling.has_failures() && !settling.is_busy());
        // What stood in the line for later is nobody's any more.
        assert_eq!(settling.take_due(now + LONGEST_PAUSE), []);
    }

    #[test]
    fn what_settles_anew_while_it_is_sent_comes_after_that() {
        let (mut settling, start) = (Settling::new(REST), Instant::now());
        let file = Path::new("file");
        assert!(settling.set_out(file) && !settling.set_out(file) && !settling.set_out(file));
        assert_eq!(settling.take_due(start + LONGEST_PAUSE), []);
        settling.is_back(file, start);
        assert_eq!(settling.take_due(start), [pick("file", false)]);
        assert!(settling.set_out(file));
        settling.is_back(file, start);
        assert_eq!(settling.take_due(start + LONGEST_PAUSE), []);
    }

    #[test]
    fn more_than_can_be_kept_becomes_a_look_at_the_tree() {
        let (mut settling, start) = (Settling::new(REST), Instant::now());
        for number in 0..=MOST {
            settling.note(Path::new(&number.to_string()), News::Appeared, start);
        }
        assert!(settling.waiting.len() == 1 && settling.line.len() == 1 && settling.appeared.len() <= 1);
        // Which comes, however much goes on.
        settling.note(Path::new(""), News::Touched, at(start, 1999));
        assert_eq!(settling.take_due(at(start, 2000)), [pick("", true)]);
        for number in 0..MOST {
            settling.failed(Path::new(&number.to_string()), start);
        }
        assert!(settling.failed.len() <= MOST / 2 && settling.has_failures());
    }
}
