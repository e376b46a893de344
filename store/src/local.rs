//! The store that is a folder.
//!
//! Bodies are staged in `.ferry` below it, on the same file system, so that publishing is a rename or a link.

mod naming;
mod settling;

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use ferry_proto::{Attributes, Owner, RelPath, Wants, limits};
use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, OFlags},
    io::Errno,
    process::{Resource, getrlimit},
};

use self::naming::Unnamed;
use crate::{
    Entry, Meta, Results, StageId, Staged, Stamp, Store, StoreError,
    attributes::{apply, entry, restore, restore_link, stamp, timestamps},
    durable::Durable,
    folder::Folder,
    fresh::Fresh,
    lock::lock,
    source::Shelf,
    xattrs,
};

/// Bytes read at a time where a whole file is read.
const READ: usize = 256 * 1024;

/// Open files that bodies leave to others: to folders on the way to a name, to files that are read, to the catalogue.
const SPARE: u64 = 16;

/// How the names of links begin that are being made in staging.
const LINK: &str = "link-";

/// The mode that a body begins with, and keeps where its sender says none: what the process's umask leaves of it. Until it has
/// its name, it lies where nobody else comes.
const AS_ANY_FILE: fs::Mode = fs::Mode::from_raw_mode(0o666);

/// Who has this file locked has the folder.
const LOCK: &str = "lock";

/// A folder that files are received into.
#[derive(Debug)]
pub struct LocalStore {
    root: Folder,
    staging: Folder,
    staging_name: &'static str,
    /// Whether files are given back what they had, and do not merely get what is safe.
    restores: bool,
    /// What had to be left out of that, by name.
    shortfalls: Mutex<HashMap<RelPath, String>>,
    durable: Durable,
    fresh: Fresh,
    publishing_in: Mutex<Option<(Option<RelPath>, Arc<Folder>)>>,
    /// Whether bodies that nobody goes on with can do without a name.
    unnamed: Option<Unnamed>,
    /// What got its first name, or another time or mode, and is not settled yet.
    touched: Mutex<Vec<(RelPath, Arc<File>)>>,
    /// How many files may be open, as was last asked.
    most_open: AtomicU64,
    links: AtomicU64,
    _lock: OwnedFd,
}

/// A body in `.ferry/staging`.
#[derive(Debug)]
pub struct LocalStaged {
    id: StageId,
    file: Arc<File>,
    /// How it gets its first name, if it has none.
    unnamed: Option<Unnamed>,
    /// What could not be given back to it.
    shortfall: Option<String>,
}

impl LocalStore {
    /// Opens the folder, which must exist, and makes `.ferry/staging` in it. [`StoreError::InUse`] if another
    /// process has it open as a store.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, "staging")
    }

    fn open_with(root: &Path, staging_name: &'static str) -> Result<Self, StoreError> {
        let root = Folder::open(root)?;
        let (private, lock) = lock_private(&root)?;
        match fs::mkdirat(&private, staging_name, fs::Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(other) => return Err(other.into()),
        }
        // What an earlier process renamed or made is durable from here on, so only what happens from now on has
        // to be kept track of.
        fs::syncfs(&root)?;
        let staging = private.below(staging_name.as_bytes())?;
        for name in names(&staging)?.collect::<Result<Vec<_>, _>>()? {
            if name.starts_with(LINK.as_bytes()) {
                fs::unlinkat(&staging, &name[..], AtFlags::empty())?;
            }
        }
        let durable = Durable::beside(&staging);
        let unnamed = Unnamed::can_be(&staging).filter(|_| durable.is_of_a_kind_that_is_known());
        Ok(LocalStore {
            root,
            staging,
            staging_name,
            restores: false,
            shortfalls: Mutex::default(),
            durable,
            fresh: Fresh::default(),
            publishing_in: Mutex::default(),
            unnamed,
            touched: Mutex::default(),
            most_open: AtomicU64::new(0),
            links: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// The same, for files that are given back: with just the modes that they had (setuid and its like only together with
    /// the owner that they are for), the attributes that are told, and a staging folder of its own, so that it does not take an inbox's for its own.
    pub fn restoring(root: &Path) -> Result<Self, StoreError> {
        Ok(LocalStore { restores: true, ..Self::open_with(root, "restoring")? })
    }

    /// Removes what it has made for itself, unless something is staged there.
    pub fn tidy(&self) -> Result<(), StoreError> {
        let private = self.root.below(b".ferry")?;
        fs::unlinkat(&private, self.staging_name, AtFlags::REMOVEDIR)?;
        if names(&private)?.all(|name| name.is_ok_and(|name| name == LOCK.as_bytes())) {
            fs::unlinkat(&private, LOCK, AtFlags::empty())?;
            fs::unlinkat(&self.root, ".ferry", AtFlags::REMOVEDIR)?;
        }
        Ok(())
    }

    /// Bytes that can still be written, and bytes of the whole file system.
    pub fn space(&self) -> Result<(u64, u64), StoreError> {
        let disk = fs::fstatvfs(&self.root)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok((bytes(disk.f_bavail), bytes(disk.f_blocks)))
    }

    /// Whether this path still leads to the folder that was opened by it. If not, what is saved from now on is not found
    /// there: it was removed, moved away, or covered by a disk that was mounted since.
    pub fn is_at(&self, root: &Path) -> Result<bool, StoreError> {
        let ours = fs::fstat(&self.root)?;
        match fs::stat(root) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    fn apply(&self, file: impl AsFd, meta: &Meta, file_type: FileType) -> Result<Option<String>, StoreError> {
        match self.restores {
            true => restore(file, meta),
            false => apply(file, meta, self.owner_keeps(file_type)).map(|()| None),
        }
    }

    fn note_shortfall(&self, key: &RelPath, shortfall: Option<String>) {
        if let Some(shortfall) = shortfall {
            lock(&self.shortfalls).insert(key.clone(), shortfall);
        }
    }

    /// What could not be given back to the file, folder or link that has this name now, in words. It is told once.
    pub fn take_shortfall(&self, key: &RelPath) -> Option<String> {
        lock(&self.shortfalls).remove(key)
    }

    /// The attributes that something has on the disk, as far as they are asked for; its owner as numbers alone.
    pub fn attributes(&self, key: &RelPath, wants: Wants) -> Result<Attributes, StoreError> {
        let found = self.root.open_at(key.as_bytes(), OFlags::PATH, fs::Mode::empty())?;
        let stat = fs::fstat(&found)?;
        let owner =
            wants.owner.then_some(Owner { uid: stat.st_uid, gid: stat.st_gid, user: None, group: None });
        let xattrs = wants.xattrs.then(|| xattrs::read(&found)).transpose();
        Ok(Attributes {
            owner,
            xattrs: xattrs.map_err(|error| StoreError::Io(std::io::Error::other(error)))?,
        })
    }

    /// What the owner may do with something of this kind, whatever mode it gets.
    fn owner_keeps(&self, file_type: FileType) -> u32 {
        match file_type {
            FileType::Directory => 0o700,
            _ => 0o600,
        }
    }

    /// Its files as sources.
    pub fn shelf(&self) -> Result<Shelf, StoreError> {
        Ok(Shelf::new(self.root.folder(None)?))
    }

    /// Whether enough others can still be opened beside this one: the system hands out the lowest free number.
    fn has_room_beside(&self, file: impl AsFd) -> bool {
        let taken = file.as_fd().as_raw_fd() as u64 + SPARE;
        taken < self.most_open.load(Ordering::Relaxed) || {
            let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            self.most_open.store(most, Ordering::Relaxed);
            taken < most
        }
    }

    fn open_meta(&self, key: &RelPath) -> Result<OwnedFd, StoreError> {
        // Non-blocking, so that a FIFO that someone put there does not hold this thread.
        Ok(self.root.open_at(key.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK, fs::Mode::empty())?)
    }
}

impl Store for LocalStore {
    type Staged = LocalStaged;

    fn checkpoint_distance(&self) -> u64 {
        limits::CHECKPOINT
    }

    fn stage(&self, id: StageId, fleeting: bool) -> Result<LocalStaged, StoreError> {
        let unnamed = self.unnamed.filter(|_| fleeting);
        let (file, unnamed) = match unnamed.and_then(|_| Unnamed::make(&self.staging).ok()) {
            Some(file) => (file, unnamed),
            // Where it failed, this tells why.
            None => {
                let (flags, mode) = (OFlags::CREATE | OFlags::EXCL | OFlags::RDWR, AS_ANY_FILE);
                (self.staging.open_at(id.to_string().as_bytes(), flags, mode)?, None)
            }
        };
        if !self.has_room_beside(&file) {
            self.discard(id)?;
            return Err(StoreError::Crowded);
        }
        Ok(LocalStaged { id, file: Arc::new(file.into()), unnamed, shortfall: None })
    }

    fn stage_same(&self, id: StageId, key: &RelPath, seen: &Stamp) -> Result<LocalStaged, StoreError> {
        let file = self.open_meta(key)?;
        let stat = fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stamp(&stat) != *seen {
            return Err(StoreError::Moved);
        }
        if !self.has_room_beside(&file) {
            return Err(StoreError::Crowded);
        }
        Unnamed::link_in_any_way(&file, &self.staging, id.to_string().as_bytes())?;
        Ok(LocalStaged { id, file: Arc::new(file.into()), unnamed: None, shortfall: None })
    }

    fn reopen(&self, id: StageId, length: u64) -> Result<LocalStaged, StoreError> {
        let file = self.staging.open_at(id.to_string().as_bytes(), OFlags::RDWR, fs::Mode::empty())?;
        if !self.has_room_beside(&file) {
            return Err(StoreError::Crowded);
        }
        let file = File::from(file);
        let metadata = file.metadata()?;
        // With a second name it is a file that somebody has already, and whole.
        if !metadata.is_file() || metadata.len() < length || metadata.nlink() > 1 {
            return Err(StoreError::NotFound);
        }
        if metadata.len() > length {
            file.set_len(length)?;
        }
        fs::seek(&file, fs::SeekFrom::End(0))?;
        Ok(LocalStaged { id, file: Arc::new(file), unnamed: None, shortfall: None })
    }

    fn discard(&self, id: StageId) -> Result<(), StoreError> {
        match fs::unlinkat(&self.staging, id.to_string(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    fn staged(&self) -> Result<Vec<(StageId, SystemTime)>, StoreError> {
        let mut found = Vec::new();
        for name in names(&self.staging)? {
            let name = name?;
            let Some(id) = std::str::from_utf8(&name).ok().and_then(StageId::parse) else { continue };
            let Ok(stat) = self.staging.stat(&name) else { continue };
            let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
            found.push((id, SystemTime::UNIX_EPOCH + seconds));
        }
        Ok(found)
    }

    fn make_durable(
        &self,
        bodies: Vec<(&mut LocalStaged, Meta)>,
        published: &[(&RelPath, &Stamp)],
    ) -> (Results, Results) {
        let mut bodies = bodies;
        let apply = |(staged, meta): &mut (&mut LocalStaged, Meta)| {
            staged.shortfall = self.apply(&staged.file, meta, FileType::RegularFile)?;
            Ok(())
        };
        let applied: Vec<Result<(), StoreError>> = bodies.iter_mut().map(apply).collect();
        let settling = self.settling(published);
        // Of a body not only the data: time and mode are part of what the receipt says.
        let well = bodies.iter().zip(&applied).filter(|(_, applied)| applied.is_ok());
        let whole = well.map(|((staged, _), _)| staged.file.as_fd());
        let all: Vec<_> = whole.chain(settling.to_sync()).collect();
        let mut synced = self.durable.sync(&all).into_iter();
        let mut next = || synced.next().unwrap_or(Err(Errno::IO)).map_err(StoreError::from);
        let sealed = applied.into_iter().map(|applied| applied.and_then(|()| next())).collect();
        (sealed, self.settled(published, settling, synced))
    }

    fn publish(&self, staged: &mut LocalStaged, key: &RelPath, replace: bool) -> Result<Stamp, StoreError> {
        let folder = self.publish_in(key.parent())?;
        if !self.link_in(staged, &folder, key, replace)? {
            self.rename_in(&staged.id.to_string(), &folder, key.name(), replace)?;
        }
        self.note_shortfall(key, staged.shortfall.take());
        // Renaming may have changed its ctime, so the stamp is taken after it.
        Ok(stamp(&fs::fstat(&staged.file)?))
    }

    fn make_folder(&self, key: &RelPath) -> Result<Vec<RelPath>, StoreError> {
        let mut new = Vec::new();
        let mut above: Option<RelPath> = None;
        let mut folder = self.root.folder(None)?;
        for name in key.components() {
            let path = match &above {
                None => RelPath::new(name),
                Some(above) => above.join(name),
            };
            let path = path.map_err(|_| StoreError::Name)?;
            if self.fresh.make(&path, || folder.make(name))? {
                new.push(path.clone());
            }
            folder = folder.below(name)?;
            above = Some(path);
        }
        Ok(new)
    }

    fn make_link(
        &self,
        key: &RelPath,
        target: &[u8],
        meta: Meta,
        replace: bool,
    ) -> Result<Stamp, StoreError> {
        let folder = self.publish_in(key.parent())?;
        // Made in staging and renamed, so that it replaces an older one in one step.
        let staged = format!("{LINK}{}", self.links.fetch_add(1, Ordering::Relaxed));
        fs::symlinkat(target, &self.staging, &staged)?;
        let made = (|| {
            if self.restores && !meta.attributes.is_empty() {
                let flags = OFlags::PATH;
                let link = self.staging.open_at(staged.as_bytes(), flags, fs::Mode::empty())?;
                self.note_shortfall(key, restore_link(link, &meta.attributes)?);
            }
            if let Some(modified) = meta.modified {
                fs::utimensat(&self.staging, &staged, &timestamps(modified), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            self.rename_in(&staged, &folder, key.name(), replace)
        })();
        if let Err(error) = made {
            fs::unlinkat(&self.staging, &staged, AtFlags::empty())?;
            return Err(error);
        }
        Ok(stamp(&folder.stat(key.name())?))
    }

    fn set_meta(&self, key: &RelPath, meta: Meta, seen: Option<&Stamp>) -> Result<Stamp, StoreError> {
        let file = self.open_meta(key)?;
        let stat = fs::fstat(&file)?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if !matches!(file_type, FileType::Directory | FileType::RegularFile) {
            return Err(StoreError::Kind);
        }
        if seen.is_some_and(|seen| *seen != stamp(&stat)) {
            return Err(StoreError::Moved);
        }
        let shortfall = self.apply(&file, &meta, file_type)?;
        self.note_shortfall(key, shortfall);
        let stamp = stamp(&fs::fstat(&file)?);
        if self.has_room_beside(&file) {
            lock(&self.touched).push((key.clone(), Arc::new(file.into())));
        } else {
            fs::fsync(&file)?;
        }
        Ok(stamp)
    }

    fn stat(&self, key: &RelPath) -> Result<Option<Entry>, StoreError> {
        self.root.look(key.as_bytes())
    }

    fn read(
        &self,
        key: &RelPath,
        offset: u64,
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let file = File::from(self.open_meta(key)?);
        if !file.metadata()?.is_file() {
            return Err(StoreError::Kind);
        }
        fs::seek(&file, fs::SeekFrom::Start(offset))?;
        read_all(&file, sink)
    }

    fn list(&self, key: Option<&RelPath>, most: usize) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        let folder = self.root.folder(key)?;
        let mut entries = Vec::new();
        for name in names(&folder)? {
            let name = name?;
            if key.is_none() && name.eq_ignore_ascii_case(b".ferry") {
                continue;
            }
            if entries.len() == most {
                break;
            }
            let stat = match folder.stat(&name) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(other) => return Err(other.into()),
            };
            let entry = entry(&stat, || fs::readlinkat(&folder, &name, Vec::new()))?;
            entries.push((name, entry));
        }
        Ok(entries)
    }

    fn remove(&self, key: &RelPath) -> Result<(), StoreError> {
        let folder = self.root.folder(key.parent().as_ref())?;
        match fs::unlinkat(&folder, key.name(), AtFlags::empty()) {
            Err(Errno::ISDIR) => Ok(fs::unlinkat(&folder, key.name(), AtFlags::REMOVEDIR)?),
            result => Ok(result?),
        }
    }

    fn free_space(&self) -> Option<u64> {
        Some(self.space().ok()?.0)
    }
}

impl Staged for LocalStaged {
    fn id(&self) -> StageId {
        self.id
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        Ok((&*self.file).write_all(bytes)?)
    }

    fn append_hole(&mut self, length: u64) -> Result<(), StoreError> {
        // The file is as long as what was appended at any moment, so that a checkpoint, or the end, may come after a hole
        // as after anything else.
        let so_far = fs::seek(&self.file, fs::SeekFrom::Current(0))?;
        let longer = so_far.checked_add(length).ok_or(Errno::FBIG)?;
        self.file.set_len(longer)?;
        fs::seek(&self.file, fs::SeekFrom::Start(longer))?;
        Ok(())
    }

    fn replay(&mut self, sink: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), StoreError> {
        fs::seek(&self.file, fs::SeekFrom::Start(0))?;
        // Reading to the end leaves the descriptor where appending goes on.
        read_all(&self.file, sink)
    }

    fn stamp(&self) -> Result<Stamp, StoreError> {
        Ok(stamp(&fs::fstat(&self.file)?))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(fs::fdatasync(&self.file)?)
    }
}

/// Opens the folder that is the store's own, and locks it: [`StoreError::InUse`] if somebody else has.
fn lock_private(root: &Folder) -> Result<(Folder, OwnedFd), StoreError> {
    loop {
        root.make(b".ferry")?;
        // Whoever has tidied up meanwhile has removed it.
        let private = match root.below(b".ferry") {
            Err(Errno::NOENT) => continue,
            opened => opened?,
        };
        // Keys and bodies that are not whole are nobody's business.
        fs::fchmod(&private, fs::Mode::from_raw_mode(0o700))?;
        let (flags, mode) = (OFlags::CREATE | OFlags::RDWR, fs::Mode::from_raw_mode(0o600));
        let lock = match private.open_at(LOCK.as_bytes(), flags, mode) {
            Err(Errno::NOENT) => continue,
            opened => opened?,
        };
        match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(StoreError::InUse),
            Err(other) => return Err(other.into()),
        }
        // Whoever had it before may have removed it.
        let is_there = private.stat(LOCK.as_bytes()).is_ok_and(|there| {
            fs::fstat(&lock)
                .is_ok_and(|locked| (there.st_dev, there.st_ino) == (locked.st_dev, locked.st_ino))
        });
        if is_there {
            return Ok((private, lock));
        }
    }
}

/// One after the other, so that nobody's folder is held in memory whole.
fn names(folder: &Folder) -> Result<impl Iterator<Item = Result<Vec<u8>, StoreError>>, StoreError> {
    let is_name = |name: &Vec<u8>| name != b"." && name != b"..";
    let names = fs::Dir::read_from(folder)?.map(|entry| Ok(entry?.file_name().to_bytes().to_vec()));
    Ok(names.filter(move |name| name.as_ref().map_or(true, is_name)))
}

fn read_all(mut file: &File, sink: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), StoreError> {
    let mut buffer = vec![0; READ];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) if sink(&buffer[..read]) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(store: &LocalStore) -> Vec<String> {
        store.fresh.names()
    }

    fn put(store: &LocalStore, id: u128, name: &str) -> (RelPath, Stamp) {
        let key = RelPath::new(name).unwrap();
        let mut staged = store.stage(StageId(id), false).unwrap();
        store.seal(vec![(&mut staged, Meta::default())]).remove(0).unwrap();
        if let Some(parent) = key.parent() {
            store.make_folder(&parent).unwrap();
        }
        let stamp = store.publish(&mut staged, &key, false).unwrap();
        (key, stamp)
    }

    #[test]
    fn promise_2_a_folder_is_fresh_until_something_in_it_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path()).unwrap();
        let (deep, deep_stamp) = put(&store, 1, "a/b/c/file");
        let (other, other_stamp) = put(&store, 2, "other/file");
        assert_eq!(fresh(&store), ["a", "a/b", "a/b/c", "other"]);

        assert!(store.settle(&[(&deep, &deep_stamp)])[0].is_ok());
        assert_eq!(fresh(&store), ["other"], "what was not settled is not durable either");
        assert!(store.settle(&[(&other, &other_stamp)])[0].is_ok());
        assert_eq!(fresh(&store), [""; 0]);

        put(&store, 3, "a/file");
        assert_eq!(fresh(&store), [""; 0], "a folder that was there is not fresh");
    }

    #[test]
    fn promise_2_a_fresh_folder_that_could_not_be_synced_stays_fresh() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path()).unwrap();
        let (key, stamp) = put(&store, 1, "a/b/file");
        std::fs::rename(dir.path().join("a"), dir.path().join("away")).unwrap();
        assert!(matches!(store.settle(&[(&key, &stamp)])[..], [Err(StoreError::Moved)]));
        assert_eq!(fresh(&store), ["a", "a/b"]);

        std::fs::rename(dir.path().join("away"), dir.path().join("a")).unwrap();
        assert!(store.settle(&[(&key, &stamp)])[0].is_ok());
        assert_eq!(fresh(&store), [""; 0]);
    }
}
