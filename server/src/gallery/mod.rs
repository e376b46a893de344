//! What is known of pictures in the inbox, for those who look at them: what they say of themselves, and small ones of them.
//!
//! All of it is made from the files when it is asked for, and kept in a database of its own (`cache`) by what is in the
//! files, so that a file may have another name or time and nothing is made again. Whoever removes that database loses time.

mod cache;
mod facts;

use std::{
    collections::HashMap,
    io::{self, BufReader},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ferry_pictures::{Flaw, Limits};
use ferry_proto::{Algorithm, Digest, RelPath};
use ferry_store::{
    Entry, EntryKind, Ledger, LocalStore, Stamp, Store, Uploads, lock,
    source::{Change, Identity, Links, Location, Shelf, Source, SourceError},
};
use tokio::sync::Semaphore;

use self::cache::Cache;
pub(crate) use self::facts::Facts;
use crate::{
    catalogue::Catalogue,
    inbox::{self, InboxError, OpenFile},
};

/// The longer edge of a small picture, in pixels: what a phone shows of a third of its width.
const EDGE: u32 = 400;

/// How long making one may take. A large picture takes a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one is not tried again that took longer. So no more than sixty are remembered for each that is made at a time.
const RESPITE: Duration = Duration::from_secs(10 * 60);

/// How long a listing looks into pictures that nobody has looked into before.
const LOOKING: Duration = Duration::from_millis(700);

/// Entries of one listing: a page that shows them still has room in a phone.
const ENTRIES: usize = 50_000;

/// Rows that are looked up at a time.
const ROWS: usize = 256;

/// Pictures that are made small at a time: each takes a core, and memory for all of its pixels.
const AT_ONCE: usize = 2;

/// See the module.
pub(crate) struct Gallery {
    uploads: Uploads<LocalStore>,
    shelf: Shelf,
    catalogue: Arc<Catalogue>,
    cache: Cache,
    /// Whose turn it is to look into what is listed: one's, for it keeps a thread and the disk busy.
    turn: Semaphore,
    makers: Arc<Semaphore>,
    /// Pictures that took too long, and when. Another time the machine may have less to do.
    slow: Mutex<HashMap<Key, Instant>>,
}

/// What a folder holds.
pub(crate) struct Listing {
    /// The names of folders in it.
    pub(crate) folders: Vec<Vec<u8>>,
    pub(crate) files: Vec<Listed>,
    /// Not everything has been looked into.
    pub(crate) is_looking: bool,
    /// There is more than is listed.
    pub(crate) has_more: bool,
}

/// A file in a listing.
pub(crate) struct Listed {
    pub(crate) name: Vec<u8>,
    pub(crate) entry: Entry,
    pub(crate) size: u64,
    pub(crate) key: Key,
    /// Present if it was looked into.
    pub(crate) facts: Option<Facts>,
}

/// What a file's content is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

/// Why something cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GalleryError {
    #[error(transparent)]
    Inbox(#[from] InboxError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("what is known of pictures cannot be kept: {0}")]
    Cache(#[from] rusqlite::Error),
    #[error("what is known of pictures cannot be kept: {0}")]
    File(#[from] io::Error),
}

impl Key {
    /// By its digest, or else by what the disk says of it.
    fn of(digest: Option<Digest>, stamp: &Stamp) -> Self {
        let by_stamp = || Algorithm::Sha256.digest(&[b"stamp", &stamp.0[..]].concat());
        Key(*digest.unwrap_or_else(by_stamp).bytes())
    }

    /// Enough of it to tell a file's versions apart.
    pub(crate) fn version(&self) -> String {
        self.0[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Gallery {
    /// With what is kept in this folder.
    pub(crate) fn open(
        uploads: Uploads<LocalStore>,
        shelf: Shelf,
        catalogue: Arc<Catalogue>,
        state: &Path,
    ) -> Result<Self, GalleryError> {
        let cache = Cache::open(&state.join("pictures.db"))?;
        let (turn, makers) = (Semaphore::new(1), Arc::new(Semaphore::new(AT_ONCE)));
        Ok(Gallery { uploads, shelf, catalogue, cache, turn, makers, slow: Mutex::default() })
    }

    /// What a folder holds, newest first; `with_facts` looks into its pictures, too.
    pub(crate) fn list(&self, folder: Option<&RelPath>, with_facts: bool) -> Result<Listing, GalleryError> {
        let mut entries = self.uploads.store().list(folder, ENTRIES + 1).map_err(InboxError::from)?;
        let has_more = entries.len() > ENTRIES;
        entries.truncate(ENTRIES);
        let (mut folders, mut files) = (Vec::new(), Vec::new());
        for (name, entry) in entries {
            let path = match folder {
                Some(folder) => folder.join(&name),
                None => RelPath::new(&name),
            };
            // What no client can name is not there for it.
            let Ok(path) = path else { continue };
            match entry.kind {
                EntryKind::Folder => folders.push(name),
                EntryKind::File(size) => files.push((path, name, entry, size)),
                EntryKind::Symlink(_) | EntryKind::Other => {}
            }
        }
        folders.sort();
        let mut listed = Vec::with_capacity(files.len());
        for chunk in files.chunks(ROWS) {
            let paths: Vec<_> = chunk.iter().map(|(path, ..)| path.clone()).collect();
            let rows = self.catalogue.find_each(&paths).map_err(InboxError::from)?;
            for ((_, name, entry, size), row) in chunk.iter().zip(rows) {
                // What is known to be damaged is not known by what was received.
                let row = row.filter(|row| row.stamp == entry.stamp && !row.is_damaged);
                let key = Key::of(row.and_then(|row| row.kind.digest(Algorithm::Sha256)), &entry.stamp);
                listed.push(Listed {
                    name: name.clone(),
                    entry: entry.clone(),
                    size: *size,
                    key,
                    facts: None,
                });
            }
        }
        let is_looking = with_facts && self.look_into(&mut listed, folder)?;
        listed.sort_by_cached_key(|file| std::cmp::Reverse((file.when(), file.name.clone())));
        Ok(Listing { folders, files: listed, is_looking, has_more })
    }

    /// Whether there is more to look into than there was time for, or somebody else looks into something meanwhile.
    fn look_into(&self, files: &mut [Listed], folder: Option<&RelPath>) -> Result<bool, GalleryError> {
        let mut pictures: Vec<_> =
            files.iter_mut().filter(|file| facts::may_be_picture(&file.name)).collect();
        let keys: Vec<_> = pictures.iter().map(|file| file.key).collect();
        for (file, facts) in pictures.iter_mut().zip(self.cache.facts(&keys)?) {
            file.facts = facts;
        }
        let (turn, since) = (self.turn.try_acquire(), Instant::now());
        let (mut fresh, mut is_looking) = (Vec::new(), false);
        for file in pictures.iter_mut().filter(|file| file.facts.is_none()) {
            if turn.is_err() || since.elapsed() > LOOKING {
                is_looking = true;
                break;
            }
            let path = match folder {
                Some(folder) => folder.join(&file.name),
                None => RelPath::new(&file.name),
            };
            let Ok(source) = path.map_err(SourceError::from).and_then(|path| self.source(&path)) else {
                continue;
            };
            // It is another one by now.
            if Some(source.identity()) != Identity::of_stamp(&file.entry.stamp) {
                continue;
            }
            let facts = Facts::of(BufReader::new(source));
            fresh.push((file.key, facts.clone()));
            file.facts = Some(facts);
        }
        self.cache.keep_facts(&fresh)?;
        Ok(is_looking)
    }

    fn source(&self, path: &RelPath) -> Result<Source, SourceError> {
        Source::open(&Location::on(&self.shelf, path), Links::Keep)
    }

    fn open_file(&self, path: &RelPath) -> Result<(OpenFile, Key), InboxError> {
        let file = inbox::open(&self.shelf, &self.catalogue, path)?;
        let key = Key::of(file.digest(), &file.source.stamp());
        Ok((file, key))
    }

    /// A file, and what it says of itself if it may be a picture.
    pub(crate) fn file(&self, path: &RelPath) -> Result<(OpenFile, Option<Facts>), GalleryError> {
        let (mut file, key) = self.open_file(path)?;
        if !facts::may_be_picture(path.name()) {
            return Ok((file, None));
        }
        let facts = match self.cache.facts(&[key])?.pop().flatten() {
            Some(facts) => facts,
            None => {
                let facts = Facts::of(BufReader::new(&mut file.source));
                self.cache.keep_facts(&[(key, facts.clone())])?;
                facts
            }
        };
        Ok((file, Some(facts)))
    }

    /// A small picture of a file, and its version; `None` where there is none. Whoever does not wait for it any more does not
    /// have it made.
    pub(crate) async fn thumbnail(
        self: &Arc<Self>,
        path: RelPath,
    ) -> Result<Option<(Vec<u8>, String)>, GalleryError> {
        let gallery = self.clone();
        let name = path.clone();
        let kept = on_disk(move || {
            let (_, key) = gallery.open_file(&name)?;
            Ok((key, gallery.made(&key)?))
        });
        if let (key, Some(jpeg)) = kept.await? {
            return Ok((!jpeg.is_empty()).then(|| (jpeg, key.version())));
        }
        let Ok(maker) = self.makers.clone().acquire_owned().await else { return Ok(None) };
        let is_unwanted = Unwanted::default();
        let (gallery, flag) = (self.clone(), is_unwanted.0.clone());
        on_disk(move || {
            // Until it is made, or has come to nothing, whoever waits for it.
            let _maker = maker;
            gallery.make(&path, &flag)
        })
        .await
    }

    fn make(
        &self,
        path: &RelPath,
        is_unwanted: &AtomicBool,
    ) -> Result<Option<(Vec<u8>, String)>, GalleryError> {
        let (OpenFile { mut source, .. }, key) = self.open_file(path)?;
        if let Some(jpeg) = self.made(&key)? {
            return Ok((!jpeg.is_empty()).then(|| (jpeg, key.version())));
        }
        let (since, opened) = (Instant::now(), source.identity());
        let is_over = || is_unwanted.load(Ordering::Relaxed) || since.elapsed() > PATIENCE;
        let limits = Limits { is_over: &is_over, ..Limits::THUMBNAIL };
        let made = ferry_pictures::thumbnail(BufReader::new(&mut source), EDGE, &limits);
        if source.change_since(&opened).map_err(SourceError::from)? != Change::None {
            return Err(SourceError::Changed.into());
        }
        match made {
            Ok(jpeg) => {
                self.cache.keep_thumbnail(&key, &jpeg)?;
                Ok(Some((jpeg, key.version())))
            }
            // Nobody waits, or the disk is at fault: another time it may be better.
            Err(Flaw::TooSlow) if is_unwanted.load(Ordering::Relaxed) => Ok(None),
            Err(Flaw::TooSlow) => {
                tracing::debug!(%path, "its small picture takes too long");
                lock(&self.slow).insert(key, Instant::now());
                Ok(None)
            }
            Err(Flaw::Unreadable(error)) => Err(SourceError::Io(error).into()),
            Err(flaw) => {
                tracing::debug!(%path, %flaw, "there is no thumbnail");
                self.cache.keep_thumbnail(&key, &[])?;
                Ok(None)
            }
        }
    }

    /// What was made already; empty where there is none, and where that took too long not long ago.
    fn made(&self, key: &Key) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut slow = lock(&self.slow);
        slow.retain(|_, since| since.elapsed() < RESPITE);
        if slow.contains_key(key) {
            return Ok(Some(Vec::new()));
        }
        drop(slow);
        self.cache.thumbnail(key)
    }

    /// Forgets what is too much. To be called now and then.
    pub(crate) fn tidy(&self) -> rusqlite::Result<()> {
        self.cache.tidy()
    }
}

impl Listed {
    /// When it was taken, or else when it was last modified: letters that sort by time.
    fn when(&self) -> String {
        let taken = self.facts.as_ref().and_then(|facts| facts.taken.clone());
        taken.unwrap_or_else(|| {
            let modified = jiff::Timestamp::from_second(self.entry.modified.seconds()).unwrap_or_default();
            modified.strftime("%Y-%m-%dT%H:%M:%S").to_string()
        })
    }
}

/// Says, when it is dropped, that nobody waits any more.
#[derive(Default)]
struct Unwanted(Arc<AtomicBool>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GalleryError> + Send + 'static,
) -> Result<T, GalleryError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(SourceError::Io(std::io::Error::other(panic)).into()))
}
