//! What a client has asked for: found in the inbox, with what the catalogue says of it, for one connection or several.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Arc, Mutex, Weak, mpsc},
    time::Duration,
};

use ferry_proto::{Algorithm, Attributes, Code, Digest, HasherState, Kind, Missing, RelPath, RunId, Wants};
use ferry_session::send::{Backlog, Disproved, Fate, Manifest, Next, Origin, Stage, Task, source_failure};
use ferry_store::{
    Digests, Ledger, Lesson, LocalStore, RowKind, Uploads, lock,
    source::{Found, Identity, Item, Shelf, SourceError, Walk},
};

use crate::{
    catalogue::ClientId,
    inbox::{self, beneath},
    log::Journal,
};

/// Lessons that wait to be written down. What does not fit is learned again another time.
const LESSONS: usize = 1024;
/// Files with several names, and such names, that the server remembers for one request: some MB. Those beyond come as files
/// of their own.
const HARD_LINKS: usize = 65_536;

/// What is asked for, by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The folder that is the root for the client.
    pub(crate) folder: Option<RelPath>,
    /// Below it; none of them is everything.
    pub(crate) paths: Vec<RelPath>,
    /// Also what is further below than directly in them.
    pub(crate) recursive: bool,
    /// Only to be told of.
    pub(crate) is_list: bool,
    /// What else is to be told.
    pub(crate) wants: Wants,
}

/// One run of a client, and the number of its request.
type Run = (ClientId, RunId, u32);

/// Requests that are under way.
#[derive(Default)]
pub(crate) struct Givings(Mutex<HashMap<Run, Weak<Share>>>);

/// One connection's part in a request. When the last one ends, so does the search.
pub(crate) struct Share {
    pub(crate) giving: Arc<Giving>,
    wish: Wish,
}

/// See the module.
pub(crate) struct Giving {
    backlog: Backlog,
    journal: Journal,
    folder: Option<RelPath>,
    is_list: bool,
    wants: Wants,
    ledger: Arc<dyn Ledger>,
    lessons: mpsc::SyncSender<Lesson>,
}

impl Givings {
    /// Takes part in a request that is under way, or begins it.
    pub(crate) fn join(
        &self,
        run: Run,
        wish: Wish,
        shelf: Shelf,
        ledger: Arc<dyn Ledger>,
        uploads: Uploads<LocalStore>,
        journal: Journal,
    ) -> Arc<Share> {
        let mut givings = lock(&self.0);
        givings.retain(|_, share| share.strong_count() > 0);
        if let Some(share) = givings.get(&run).and_then(Weak::upgrade)
            && share.wish == wish
        {
            return share;
        }
        let (lessons, to_learn) = mpsc::sync_channel(LESSONS);
        std::thread::spawn(move || learn(&uploads, &to_learn));
        let (folder, is_list, wants) = (wish.folder.clone(), wish.is_list, wish.wants);
        let backlog = Backlog::new(wants.hard_links.then_some(HARD_LINKS));
        let giving = Giving { backlog, journal, folder, is_list, wants, ledger, lessons };
        let giving = Arc::new(giving);
        let (searching, wish_to_search) = (giving.clone(), wish.clone());
        std::thread::spawn(move || searching.search(&wish_to_search, &shelf));
        let share = Arc::new(Share { giving, wish });
        givings.insert(run, Arc::downgrade(&share));
        share
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.giving.backlog.stop();
    }
}

/// Writes down what is learned, as much at a time as has come meanwhile, until nothing more can come.
fn learn(uploads: &Uploads<LocalStore>, to_learn: &mpsc::Receiver<Lesson>) {
    while let Ok(first) = to_learn.recv() {
        let lessons: Vec<_> = std::iter::once(first).chain(to_learn.try_iter().take(LESSONS)).collect();
        inbox::write_down(uploads, &lessons);
    }
}

impl Giving {
    /// A file was read and had these digests: its row may want to know. Never waits.
    fn note(&self, item: &Item, found: &Digests) {
        if let Ok(path) = beneath(self.folder.as_ref(), &item.path) {
            let lesson = Lesson { path, identity: item.identity, mode: item.mode, found: *found };
            let _ = self.lessons.try_send(lesson);
        }
    }

    fn search(&self, wish: &Wish, shelf: &Shelf) {
        let everything = [None];
        let some: Vec<_> = wish.paths.iter().map(Some).collect();
        let roots = if some.is_empty() { &everything[..] } else { &some };
        for root in roots {
            let (folder, ledger) = (wish.folder.clone(), self.ledger.clone());
            let tell = move |items: &mut [&mut Item]| tell_what_is_known(items, folder.as_ref(), &*ledger);
            for found in Walk::of_shelf(shelf, wish.folder.as_ref(), *root, wish.recursive, tell) {
                let next = match found {
                    Found::Item(item) => Next::Task(Task::new(Origin::Tree(item))),
                    // As when sending, such things are passed over; but not without a word about what was asked for.
                    Found::Skipped(path, what) => {
                        match root.map(|root| beneath(wish.folder.as_ref(), root)) {
                            Some(Ok(asked)) if path.as_os_str().as_bytes() == asked.as_bytes() => {
                                let (code, detail) = (Code::SourceUnreadable, format!("it is {what}"));
                                Next::Missing(Missing { path: root.cloned(), code, detail })
                            }
                            _ if self.backlog.is_stopped() => return,
                            _ => continue,
                        }
                    }
                    // Everything in a store is chosen.
                    Found::LeftOut(..) => continue,
                    Found::Problem(path, error) => {
                        Next::Missing(missing(&path, &error, wish.folder.as_ref(), *root))
                    }
                };
                if !self.backlog.add(next) {
                    return;
                }
            }
        }
        self.backlog.has_all();
    }
}

/// What the catalogue says of an entry counts as long as nobody has touched it.
fn tell_what_is_known(items: &mut [&mut Item], folder: Option<&RelPath>, ledger: &dyn Ledger) {
    let named = items.iter_mut().filter_map(|item| Some((beneath(folder, &item.path).ok()?, item)));
    let (paths, items): (Vec<_>, Vec<_>) = named.unzip();
    let rows = match ledger.find_each(&paths) {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        // It may be one of them.
        Err(_) => paths.iter().map(|path| ledger.find(path)).collect::<Vec<_>>(),
    };
    for ((item, path), row) in items.into_iter().zip(&paths).zip(rows) {
        let row = row.unwrap_or_else(|error| {
            tracing::error!(%path, %error, "what is known of a file cannot be looked up");
            item.is_unsure = true;
            None
        });
        let Some(row) = row.filter(|row| row.speaks_of(&item.stamp(), item.identity.size)) else { continue };
        item.modified = row.modified.unwrap_or(item.modified);
        item.mode = row.mode.unwrap_or(item.mode);
        if let RowKind::File { digests, .. } = row.kind {
            item.known = Some(Box::new(digests));
            item.is_damaged = row.is_damaged;
        }
    }
}

/// How a client is told of what it cannot have. What has no name that can be said is told by the folder that it is in.
fn missing(path: &Path, error: &SourceError, folder: Option<&RelPath>, root: Option<&RelPath>) -> Missing {
    let base = folder.map_or(Path::new(""), |folder| Path::new(OsStr::from_bytes(folder.as_bytes())));
    let below = path.strip_prefix(base).unwrap_or(path);
    let named = below.ancestors().find_map(|path| RelPath::new(path.as_os_str().as_bytes()).ok());
    let (code, detail) = source_failure(error);
    Missing { path: named.or(root.cloned()), code, detail }
}

impl Manifest for Giving {
    fn next(&self, is_wanted: &dyn Fn() -> bool) -> Option<Next> {
        self.backlog.next(is_wanted)
    }

    fn nudge(&self) {
        self.backlog.nudge();
    }

    fn put_back(&self, task: Task) {
        self.backlog.put_back(task);
    }

    fn settle(&self, task: Task, fate: Fate) {
        let path = task.path();
        let kind = match &task.origin {
            Origin::Tree(item) => &item.kind,
            Origin::Stream(..) => &Kind::File,
        };
        match &fate {
            Fate::Sent { digest, bytes, .. } => self.journal.gave(kind, path, *bytes, digest.as_ref()),
            Fate::Failed { code: Code::NotChosen, .. } => {}
            Fate::Failed { code, detail } => self.journal.could_not_give(path, *code, detail),
            Fate::Held { .. } | Fate::WouldSend { .. } => {}
        }
        self.backlog.settle(task, &fate);
    }

    /// Not before it is their turn: they may be long, and many wait.
    fn attributes(&self, item: &Item) -> Result<Attributes, SourceError> {
        if item.is_unsure {
            return Err(SourceError::Unsure);
        }
        if !self.wants.attributes() {
            return Ok(Attributes::default());
        }
        let path = beneath(self.folder.as_ref(), &item.path)?;
        let row = self.ledger.find(&path).map_err(|error| {
            tracing::error!(%path, %error, "what is known of a file cannot be looked up");
            SourceError::Unsure
        })?;
        let row = row.filter(|row| row.speaks_of(&item.stamp(), item.identity.size));
        Ok(row.map(|row| row.attributes.only(self.wants)).unwrap_or_default())
    }

    fn known_digest(&self, item: &Item, algorithm: Algorithm) -> Option<Digest> {
        // Of a damaged file nothing is told. Who wants it is offered what was received, which reading then disproves.
        let known = item.known.as_ref().filter(|_| !(item.is_damaged && self.is_list));
        known.and_then(|digests| digests.by(algorithm))
    }

    fn learned(&self, item: &Item, found: &Digests) -> Result<(), SourceError> {
        let known = item.known.as_deref();
        let is_wrong = known.is_some_and(|known| !known.agree_with(found));
        let is_news = known.is_none_or(|known| known.with(found) != *known);
        if is_wrong || is_news || item.is_damaged {
            self.note(item, found);
        }
        if is_wrong {
            inbox::tell_of_damage(&item.path);
            return Err(SourceError::Damaged);
        }
        Ok(())
    }

    fn known_state(&self, _: &Identity, _: Algorithm, _: u64) -> Option<HasherState> {
        None
    }

    fn learned_state(&self, _: &Identity, _: HasherState) {}

    fn disproved(&self, item: &Item, found: &Digests) -> Disproved {
        self.note(item, found);
        inbox::tell_of_damage(&item.path);
        Disproved::Damaged(SourceError::Damaged.to_string())
    }

    fn spent(&self, _: Stage, _: Duration) {}

    fn digested(&self, _: u64) {}

    fn begun(&self, _: &Task, _: u64, _: bool) {}

    fn advanced(&self, _: &Task, bytes: u64) {
        self.journal.gives(bytes);
    }
}
