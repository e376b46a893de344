//! What the system tells of a tree: folders are asked about one by one, and what happens in them is noted.

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use notify::{
    Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};

use super::{
    Tree,
    settling::{News, Settling},
};

/// What is noted, and who waits for it.
pub(super) struct Notes {
    root: PathBuf,
    reads_gitignores: bool,
    /// The client's own cache, if it lies in the tree: it changes with everything that is sent.
    own_cache: Option<PathBuf>,
    settling: Mutex<Settling>,
    /// Something may be due earlier than it was.
    changed: Condvar,
    is_stopped: AtomicBool,
    /// The root itself may have gone.
    is_root_touched: AtomicBool,
}

impl Notes {
    pub(super) fn new(tree: &Tree) -> Arc<Self> {
        let Tree { root, rest, rules, cache, .. } = tree;
        let real = |path: &Path| path.canonicalize().ok();
        let own_cache = real(cache).zip(real(root));
        let own_cache = own_cache.and_then(|(cache, root)| Some(cache.strip_prefix(root).ok()?.to_owned()));
        let (root, rest, reads_gitignores) = (root.clone(), *rest, rules.reads_gitignores());
        Arc::new(Notes {
            root,
            reads_gitignores,
            own_cache,
            settling: Mutex::new(Settling::new(rest)),
            changed: Condvar::new(),
            is_stopped: AtomicBool::new(false),
            is_root_touched: AtomicBool::new(false),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Settling> {
        ferry_store::lock(&self.settling)
    }

    /// Does something about what settles, and tells whoever waits if something is due earlier now.
    pub(super) fn with<T>(&self, deed: impl FnOnce(&mut Settling) -> T) -> T {
        let mut settling = self.lock();
        let before = settling.next_due();
        let done = deed(&mut settling);
        if settling.has_appeared()
            || settling.next_due().is_some_and(|due| before.is_none_or(|before| due < before))
        {
            self.changed.notify_all();
        }
        done
    }

    /// Notes news of a path, wherever it comes from.
    pub(super) fn note(&self, below: &Path, news: News) {
        self.with(|settling| settling.note(below, news, Instant::now()));
    }

    /// Waits until then, or until something may be due earlier.
    pub(super) fn wait<'a>(
        &self,
        settling: MutexGuard<'a, Settling>,
        until: Instant,
    ) -> MutexGuard<'a, Settling> {
        let timeout = until.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(settling, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn stop(&self) {
        // Under the lock, so that nobody who has just looked misses it.
        let _settling = self.lock();
        self.is_stopped.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Whether something has happened to the root since this was last asked.
    pub(super) fn take_root_touched(&self) -> bool {
        self.is_root_touched.swap(false, Ordering::Relaxed)
    }

    /// Whether it is the client's cache, or a file that the database keeps beside it.
    fn is_own(&self, below: &Path) -> bool {
        let Some(cache) = &self.own_cache else { return false };
        let (Some(name), Some(own)) = (below.file_name(), cache.file_name()) else { return false };
        name.as_bytes().starts_with(own.as_bytes()) && below.parent() == cache.parent()
    }

    fn hear(&self, event: &Event) {
        if event.need_rescan() {
            // The system had more to tell than it keeps: what was lost is found by looking at everything.
            return self.with(|settling| settling.look_whole(Path::new(""), Instant::now()));
        }
        let (news, is_change_of_folder) = match event.kind {
            EventKind::Create(CreateKind::File) => (News::Touched, false),
            EventKind::Create(_) => (News::Appeared, false),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => (News::Appeared, false),
            // Both ends have been told one by one.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
            EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => (News::Touched, true),
            EventKind::Modify(ModifyKind::Data(_)) => (News::Written, false),
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => (News::Closed, false),
            // Whoever only reads changes nothing.
            EventKind::Access(_) => return,
            _ => (News::Touched, false),
        };
        for path in &event.paths {
            let Ok(below) = path.strip_prefix(&self.root) else { continue };
            if self.is_own(below) {
                continue;
            }
            if below.as_os_str().is_empty() && is_change_of_folder {
                self.is_root_touched.store(true, Ordering::Relaxed);
                let _settling = self.lock();
                self.changed.notify_all();
            }
            self.note(below, news);
            let Some(parent) = below.parent() else { continue };
            // What is not there any more is not sent, and the folder around it has another time.
            if is_change_of_folder {
                self.note(parent, News::Touched);
            }
            if self.reads_gitignores && below.file_name().is_some_and(|name| name == ".gitignore") {
                self.with(|settling| settling.look_whole_later(parent, Instant::now()));
            }
        }
    }
}

/// The watches of the system. Without enough of them the tree has to be looked at now and then.
pub(super) struct Watches {
    root: PathBuf,
    watcher: Mutex<Option<RecommendedWatcher>>,
    /// Why there are not enough, until somebody asks.
    trouble: Mutex<Option<String>>,
    is_short: AtomicBool,
}

impl Watches {
    pub(super) fn new(root: PathBuf, notes: Arc<Notes>) -> Arc<Self> {
        let hear = move |event: notify::Result<Event>| match event {
            Ok(event) => notes.hear(&event),
            // Whatever it was that it could not tell.
            Err(_) => notes.with(|settling| settling.look_whole(Path::new(""), Instant::now() + UNTOLD)),
        };
        let (watcher, trouble) = match RecommendedWatcher::new(hear, Config::default()) {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => {
                let limits = "fs.inotify.max_user_instances, or the limit of open files";
                (None, Some(format!("the system does not tell of changes here ({error}: {limits})")))
            }
        };
        let is_short = AtomicBool::new(watcher.is_none());
        Arc::new(Watches { root, watcher: Mutex::new(watcher), trouble: Mutex::new(trouble), is_short })
    }

    /// Asks to be told of what happens in a folder. One that has gone, or may not be read, is met as such by whoever looks
    /// into it.
    pub(super) fn stand(&self, below: &Path) {
        if self.is_short.load(Ordering::Relaxed) {
            return;
        }
        let path = if below.as_os_str().is_empty() { self.root.clone() } else { self.root.join(below) };
        let mut watcher = ferry_store::lock(&self.watcher);
        let Some(watcher) = watcher.as_mut() else { return };
        let Err(error) = watcher.watch(&path, RecursiveMode::NonRecursive) else { return };
        let trouble = match error.kind {
            ErrorKind::PathNotFound => return,
            ErrorKind::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
                ) =>
            {
                return;
            }
            ErrorKind::MaxFilesWatch => {
                "there are more folders than the system watches for one user; raise that with \
                                         `sysctl fs.inotify.max_user_watches=N`"
                    .to_owned()
            }
            other => format!("the system does not tell of changes here ({})", notify::Error::new(other)),
        };
        if !self.is_short.swap(true, Ordering::Relaxed) {
            *ferry_store::lock(&self.trouble) = Some(trouble);
        }
    }

    /// Whether there are not enough of them.
    pub(super) fn are_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    /// There may be enough now: the next folder tries.
    pub(super) fn try_again(&self) {
        let has_some = ferry_store::lock(&self.watcher).is_some();
        self.is_short.store(!has_some, Ordering::Relaxed);
    }

    /// What there is to be told of it, once.
    pub(super) fn take_trouble(&self) -> Option<String> {
        ferry_store::lock(&self.trouble).take()
    }
}

/// The pause after an error of the watcher, so that a lasting one does not keep the tree being looked at.
const UNTOLD: Duration = Duration::from_secs(60);
