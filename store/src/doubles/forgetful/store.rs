//! A store on the disk of a machine whose power can be cut.

use std::{
    sync::Mutex,
    time::{Duration, SystemTime},
};

use ferry_proto::RelPath;

use super::{
    Machine, PowerOff,
    disk::{Disk, Number, STAGING},
};
use crate::{
    Entry, EntryKind, Meta, Results, StageId, Staged, Stamp, Store, StoreError, fresh::Fresh, lock::lock,
};

/// See the module.
pub struct ForgetfulStore {
    machine: Machine,
    /// The very thing that the local store knows by which folders it has to sync.
    fresh: Fresh,
    /// What got its first name, or another time or mode, and is not settled yet.
    touched: Mutex<Vec<Number>>,
}

/// A body in such a store.
pub struct ForgetfulStaged {
    machine: Machine,
    id: StageId,
    file: Number,
    is_named: bool,
}

impl ForgetfulStore {
    pub(super) fn new(machine: Machine) -> Self {
        ForgetfulStore { machine, fresh: Fresh::default(), touched: Mutex::default() }
    }

    /// Whether each name still leads to what it is to lead to.
    fn settle_on(&self, disk: &mut Disk, published: &[(&RelPath, &Stamp)]) -> Vec<bool> {
        if published.is_empty() {
            return Vec::new();
        }
        let (to_sync, now_durable) = self.fresh.to_sync(published.iter().map(|(key, _)| *key));
        let mut are_all_there = true;
        std::mem::take(&mut *lock(&self.touched)).into_iter().for_each(|file| _ = disk.sync(file));
        for path in to_sync {
            match disk.find(path.as_ref()) {
                Ok(folder) => disk.sync_names(folder),
                Err(_) => are_all_there = false,
            }
        }
        if are_all_there {
            self.fresh.are_durable(&now_durable);
        }
        let leads_to =
            |key, stamp: &Stamp| disk.find(Some(key)).is_ok_and(|found| disk.stamp(found) == *stamp);
        published.iter().map(|(key, stamp)| leads_to(*key, stamp)).collect()
    }
}

impl Store for ForgetfulStore {
    type Staged = ForgetfulStaged;

    fn checkpoint_distance(&self) -> u64 {
        self.machine.distance()
    }

    fn stage(&self, id: StageId, fleeting: bool) -> Result<ForgetfulStaged, StoreError> {
        let file = self.machine.during("stage", |disk| {
            if find_staged(disk, id)?.is_some() {
                return Err(StoreError::Exists);
            }
            let file = disk.make_file();
            if !fleeting {
                disk.set_name(STAGING, &staged_name(id), Some(file));
            }
            Ok(file)
        })?;
        Ok(ForgetfulStaged { machine: self.machine.clone(), id, file, is_named: !fleeting })
    }

    fn stage_same(&self, id: StageId, key: &RelPath, seen: &Stamp) -> Result<ForgetfulStaged, StoreError> {
        let file = self.machine.during("stage_same", |disk| {
            let file = disk.find(Some(key))?;
            disk.bytes(file)?;
            if disk.stamp(file) != *seen {
                return Err(StoreError::Moved);
            }
            if find_staged(disk, id)?.is_some() {
                return Err(StoreError::Exists);
            }
            disk.set_name(STAGING, &staged_name(id), Some(file));
            Ok(file)
        })?;
        Ok(ForgetfulStaged { machine: self.machine.clone(), id, file, is_named: true })
    }

    fn reopen(&self, id: StageId, length: u64) -> Result<ForgetfulStaged, StoreError> {
        let file = self.machine.during("reopen", |disk| {
            let file = find_staged(disk, id)?.ok_or(StoreError::NotFound)?;
            let length = usize::try_from(length).map_err(|_| StoreError::NotFound)?;
            let found = disk.bytes(file)?.len();
            if found < length || disk.count_names(file) > 1 {
                return Err(StoreError::NotFound);
            }
            if found > length {
                disk.truncate(file, length);
            }
            Ok(file)
        })?;
        Ok(ForgetfulStaged { machine: self.machine.clone(), id, file, is_named: true })
    }

    fn discard(&self, id: StageId) -> Result<(), StoreError> {
        self.machine.during("discard", |disk| {
            if find_staged(disk, id)?.is_some() {
                disk.set_name(STAGING, &staged_name(id), None);
            }
            Ok(())
        })
    }

    fn staged(&self) -> Result<Vec<(StageId, SystemTime)>, StoreError> {
        self.machine.during("staged", |disk| {
            let found = disk.names(STAGING)?.iter().filter_map(|(name, file)| {
                let id = StageId::parse(std::str::from_utf8(name).ok()?)?;
                let seconds = u64::try_from(disk.entry(file).modified.seconds()).unwrap_or(0);
                Some((id, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
            });
            Ok(found.collect())
        })
    }

    fn make_durable(
        &self,
        bodies: Vec<(&mut ForgetfulStaged, Meta)>,
        published: &[(&RelPath, &Stamp)],
    ) -> (Results, Results) {
        let durable = self.machine.during("make_durable", |disk| {
            bodies.iter().for_each(|(staged, meta)| disk.set_meta(staged.file, meta));
            bodies.iter().for_each(|(staged, _)| _ = disk.sync(staged.file));
            Ok::<_, PowerOff>(self.settle_on(disk, published))
        });
        let sealed = bodies.iter().map(|_| if durable.is_ok() { Ok(()) } else { Err(PowerOff.into()) });
        let settled = match &durable {
            Ok(there) => there.iter().map(|there| there.then_some(()).ok_or(StoreError::Moved)).collect(),
            Err(PowerOff) => published.iter().map(|_| Err(PowerOff.into())).collect(),
        };
        (sealed.collect(), settled)
    }

    fn publish(
        &self,
        staged: &mut ForgetfulStaged,
        key: &RelPath,
        replace: bool,
    ) -> Result<Stamp, StoreError> {
        self.machine.during("publish", |disk| {
            let folder = place_for(disk, key, replace)?;
            if staged.is_named && find_staged(disk, staged.id)? != Some(staged.file) {
                return Err(StoreError::NotFound);
            }
            let taken = disk.names(folder)?.get(key.name());
            if taken == Some(staged.file) {
                // A rename from one name of a file to another one does nothing.
                return Ok(disk.stamp(staged.file));
            }
            if taken.is_some() && !staged.is_named {
                // As the local store does, which cannot put what has no name in the place of something.
                disk.set_name(STAGING, &staged_name(staged.id), Some(staged.file));
                if !disk.sync(staged.file) {
                    return Err(PowerOff.into());
                }
                staged.is_named = true;
            }
            if staged.is_named {
                disk.set_name(STAGING, &staged_name(staged.id), None);
            } else {
                lock(&self.touched).push(staged.file);
            }
            disk.set_name(folder, key.name(), Some(staged.file));
            Ok(disk.stamp(staged.file))
        })
    }

    fn make_folder(&self, key: &RelPath) -> Result<Vec<RelPath>, StoreError> {
        self.machine.during("make_folder", |disk| {
            let mut above = Vec::new();
            let mut next = Some(key.clone());
            while let Some(path) = next {
                next = path.parent();
                above.push(path);
            }
            let mut new = Vec::new();
            for path in above.into_iter().rev() {
                if self.fresh.make(&path, || make_one(disk, &path))? {
                    new.push(path);
                }
            }
            Ok(new)
        })
    }

    fn make_link(
        &self,
        key: &RelPath,
        target: &[u8],
        meta: Meta,
        replace: bool,
    ) -> Result<Stamp, StoreError> {
        self.machine.during("make_link", |disk| {
            let folder = place_for(disk, key, replace)?;
            let link = disk.make_link(target);
            disk.set_meta(link, &Meta { mode: None, ..meta });
            disk.set_name(folder, key.name(), Some(link));
            Ok(disk.stamp(link))
        })
    }

    fn set_meta(&self, key: &RelPath, meta: Meta, seen: Option<&Stamp>) -> Result<Stamp, StoreError> {
        self.machine.during("set_meta", |disk| {
            let number = disk.find(Some(key))?;
            if let EntryKind::Symlink(_) = disk.entry(number).kind {
                return Err(StoreError::Kind);
            }
            if seen.is_some_and(|seen| *seen != disk.stamp(number)) {
                return Err(StoreError::Moved);
            }
            disk.set_meta(number, &meta);
            lock(&self.touched).push(number);
            Ok(disk.stamp(number))
        })
    }

    fn stat(&self, key: &RelPath) -> Result<Option<Entry>, StoreError> {
        self.machine.during("stat", |disk| match disk.find(Some(key)) {
            Ok(found) => Ok(Some(disk.entry(found))),
            Err(StoreError::NotFound) => Ok(None),
            Err(other) => Err(other),
        })
    }

    fn read(
        &self,
        key: &RelPath,
        offset: u64,
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let bytes = self.machine.during("read", |disk| {
            let bytes = disk.bytes(disk.find(Some(key))?)?;
            let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            Ok::<_, StoreError>(bytes[offset..].to_vec())
        })?;
        sink(&bytes);
        Ok(())
    }

    fn list(&self, key: Option<&RelPath>, most: usize) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        self.machine.during("list", |disk| {
            let names = disk.names(disk.find(key)?)?;
            Ok(names.iter().take(most).map(|(name, to)| (name.to_vec(), disk.entry(to))).collect())
        })
    }

    fn remove(&self, key: &RelPath) -> Result<(), StoreError> {
        self.machine.during("remove", |disk| {
            let found = disk.find(Some(key))?;
            if disk.names(found).is_ok_and(|names| names.iter().next().is_some()) {
                return Err(StoreError::Exists);
            }
            let folder = disk.find_parent(key)?;
            disk.set_name(folder, key.name(), None);
            Ok(())
        })
    }

    fn free_space(&self) -> Option<u64> {
        None
    }
}

impl Staged for ForgetfulStaged {
    fn id(&self) -> StageId {
        self.id
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.machine.during("append", |disk| {
            disk.append(self.file, bytes);
            Ok(())
        })
    }

    fn append_hole(&mut self, length: u64) -> Result<(), StoreError> {
        self.machine.during("append_hole", |disk| {
            disk.append(self.file, &vec![0; length as usize]);
            Ok(())
        })
    }

    fn replay(&mut self, sink: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), StoreError> {
        let bytes = self.machine.during("replay", |disk| disk.bytes(self.file).map(<[u8]>::to_vec))?;
        sink(&bytes);
        Ok(())
    }

    fn stamp(&self) -> Result<Stamp, StoreError> {
        self.machine.during("stamp", |disk| Ok(disk.stamp(self.file)))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.machine.during("sync", |disk| {
            disk.sync(self.file);
            Ok(())
        })
    }
}

fn staged_name(id: StageId) -> Vec<u8> {
    id.to_string().into_bytes()
}

fn find_staged(disk: &Disk, id: StageId) -> Result<Option<Number>, StoreError> {
    Ok(disk.names(STAGING)?.get(&staged_name(id)))
}

/// The folder that something is to be published in, if its name is free or what has it may be replaced.
fn place_for(disk: &Disk, key: &RelPath, replace: bool) -> Result<Number, StoreError> {
    let folder = disk.find_parent(key)?;
    match disk.names(folder)?.get(key.name()) {
        None => Ok(folder),
        Some(_) if !replace => Err(StoreError::Exists),
        Some(taken) if disk.names(taken).is_ok() => Err(StoreError::Kind),
        Some(_) => Ok(folder),
    }
}

/// Makes one folder, unless it is there; whether it is new.
fn make_one(disk: &mut Disk, path: &RelPath) -> Result<bool, StoreError> {
    let above = disk.find_parent(path)?;
    match disk.names(above)?.get(path.name()) {
        Some(there) => disk.names(there).map(|_| false),
        None => {
            let folder = disk.make_folder();
            disk.set_name(above, path.name(), Some(folder));
            Ok(true)
        }
    }
}
