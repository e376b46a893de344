//! A wrapper for stores and ledgers that writes down what is called and lets things happen at chosen calls.

use std::{
    fmt::Display,
    io,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use ferry_proto::RelPath;

use crate::{
    Checkpoint, Entry, Filed, Held, Ledger, LedgerError, Meta, Recorded, Register, Results, Revision, Row,
    StageId, Staged, Stamp, Store, StoreError, lock::lock,
};

/// What was called, in order, and what is to happen at later calls.
#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<Scenes>>);

#[derive(Default)]
struct Scenes {
    calls: Vec<String>,
    coming: Vec<Coming>,
    free_space: Option<u64>,
}

/// What is to happen at a call, and how many of them pass before it.
struct Coming {
    call: &'static str,
    passes: usize,
    deed: Box<dyn FnOnce() -> Result<(), Trouble> + Send>,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No space is left.
    Full,
    /// Some other error.
    Broken,
}

impl Script {
    /// At the call of this name that comes after `passes` others of it, does something first; an error is what
    /// the call returns.
    pub fn at(
        &self,
        call: &'static str,
        passes: usize,
        deed: impl FnOnce() -> Result<(), Trouble> + Send + 'static,
    ) {
        lock(&self.0).coming.push(Coming { call, passes, deed: Box::new(deed) });
    }

    /// The next call of this name fails.
    pub fn fail(&self, call: &'static str, trouble: Trouble) {
        self.at(call, 0, move || Err(trouble));
    }

    /// Nothing that was to happen, and has not yet, will.
    pub fn take_coming(&self) {
        lock(&self.0).coming.clear();
    }

    /// From now on the store has this much space.
    pub fn set_free_space(&self, bytes: u64) {
        lock(&self.0).free_space = Some(bytes);
    }

    /// What was called since this was last asked: each the name of the method and what it was about.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0).calls)
    }

    /// How often this method was called since the calls were last taken.
    pub fn count(&self, call: &str) -> usize {
        lock(&self.0).calls.iter().filter(|it| it.split(' ').next() == Some(call)).count()
    }

    fn call(&self, call: &str, about: impl Display) -> Result<(), Trouble> {
        let deed = {
            let mut scenes = lock(&self.0);
            scenes.calls.push(format!("{call} {about}").trim_end().into());
            let mut due = None;
            for (index, coming) in scenes.coming.iter_mut().enumerate().filter(|(_, it)| it.call == call) {
                match coming.passes.checked_sub(1) {
                    Some(passes) => coming.passes = passes,
                    None => due = due.or(Some(index)),
                }
            }
            due.map(|index| scenes.coming.remove(index).deed)
        };
        deed.map_or(Ok(()), |deed| deed())
    }
}

/// A store or a ledger that plays by a script.
pub struct Scripted<T> {
    inner: T,
    script: Script,
}

impl<T> Scripted<T> {
    /// Calls go to `inner` when the script has had its turn.
    pub fn new(inner: T, script: &Script) -> Self {
        Scripted { inner, script: script.clone() }
    }
}

impl<S: Store> Store for Scripted<S> {
    type Staged = Scripted<S::Staged>;

    fn checkpoint_distance(&self) -> u64 {
        self.inner.checkpoint_distance()
    }

    fn stage(&self, id: StageId, fleeting: bool) -> Result<Self::Staged, StoreError> {
        self.script.call("stage", "")?;
        Ok(Scripted::new(self.inner.stage(id, fleeting)?, &self.script))
    }

    fn stage_same(&self, id: StageId, key: &RelPath, seen: &Stamp) -> Result<Self::Staged, StoreError> {
        self.script.call("stage_same", key)?;
        Ok(Scripted::new(self.inner.stage_same(id, key, seen)?, &self.script))
    }

    fn reopen(&self, id: StageId, length: u64) -> Result<Self::Staged, StoreError> {
        self.script.call("reopen", length)?;
        Ok(Scripted::new(self.inner.reopen(id, length)?, &self.script))
    }

    fn discard(&self, id: StageId) -> Result<(), StoreError> {
        self.script.call("discard", "")?;
        self.inner.discard(id)
    }

    fn staged(&self) -> Result<Vec<(StageId, SystemTime)>, StoreError> {
        self.script.call("staged", "")?;
        self.inner.staged()
    }

    fn make_durable(
        &self,
        bodies: Vec<(&mut Self::Staged, Meta)>,
        published: &[(&RelPath, &Stamp)],
    ) -> (Results, Results) {
        let called: Results = bodies.iter().map(|_| Ok(self.script.call("seal", "")?)).collect();
        let well = bodies.into_iter().zip(&called).filter(|(_, called)| called.is_ok());
        let inner = well.map(|((staged, meta), _)| (&mut staged.inner, meta)).collect();
        let names: Vec<String> = published.iter().map(|(key, _)| key.to_string()).collect();
        let settling = if names.is_empty() { Ok(()) } else { self.script.call("settle", names.join(" ")) };
        let (sealed, settled) =
            self.inner.make_durable(inner, if settling.is_ok() { published } else { &[] });
        let mut sealed = sealed.into_iter();
        let mut next = || sealed.next().expect("each has its result");
        let sealed = called.into_iter().map(|called| called.and_then(|()| next())).collect();
        let settled = match settling {
            Ok(()) => settled,
            Err(trouble) => published.iter().map(|_| Err(trouble.into())).collect(),
        };
        (sealed, settled)
    }

    fn publish(&self, staged: &mut Self::Staged, key: &RelPath, replace: bool) -> Result<Stamp, StoreError> {
        self.script.call("publish", key)?;
        self.inner.publish(&mut staged.inner, key, replace)
    }

    fn make_folder(&self, key: &RelPath) -> Result<Vec<RelPath>, StoreError> {
        self.script.call("make_folder", key)?;
        self.inner.make_folder(key)
    }

    fn make_link(
        &self,
        key: &RelPath,
        target: &[u8],
        meta: Meta,
        replace: bool,
    ) -> Result<Stamp, StoreError> {
        self.script.call("make_link", key)?;
        self.inner.make_link(key, target, meta, replace)
    }

    fn set_meta(&self, key: &RelPath, meta: Meta, seen: Option<&Stamp>) -> Result<Stamp, StoreError> {
        self.script.call("set_meta", key)?;
        self.inner.set_meta(key, meta, seen)
    }

    fn stat(&self, key: &RelPath) -> Result<Option<Entry>, StoreError> {
        self.script.call("stat", key)?;
        self.inner.stat(key)
    }

    fn read(
        &self,
        key: &RelPath,
        offset: u64,
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.script.call("read", key)?;
        self.inner.read(key, offset, sink)
    }

    fn list(&self, key: Option<&RelPath>, most: usize) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        self.script.call("list", "")?;
        self.inner.list(key, most)
    }

    fn remove(&self, key: &RelPath) -> Result<(), StoreError> {
        self.script.call("remove", key)?;
        self.inner.remove(key)
    }

    fn free_space(&self) -> Option<u64> {
        let told = lock(&self.script.0).free_space;
        told.or_else(|| self.inner.free_space())
    }
}

impl<S: Staged> Staged for Scripted<S> {
    fn id(&self) -> StageId {
        self.inner.id()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.script.call("append", bytes.len())?;
        self.inner.append(bytes)
    }

    fn append_hole(&mut self, length: u64) -> Result<(), StoreError> {
        self.script.call("append_hole", length)?;
        self.inner.append_hole(length)
    }

    fn replay(&mut self, sink: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), StoreError> {
        self.script.call("replay", "")?;
        self.inner.replay(sink)
    }

    fn stamp(&self) -> Result<Stamp, StoreError> {
        self.inner.stamp()
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.script.call("sync", "")?;
        self.inner.sync()
    }
}

impl<L: Ledger> Ledger for Scripted<L> {
    fn find(&self, path: &RelPath) -> Result<Option<Row>, LedgerError> {
        self.script.call("find", path)?;
        self.inner.find(path)
    }

    fn check_room(&self) -> Result<(), LedgerError> {
        self.inner.check_room()
    }

    fn record(&self, batch: &[Filed]) -> Result<(), LedgerError> {
        let names: Vec<String> = batch.iter().map(|filed| filed.path.to_string()).collect();
        self.script.call("record", names.join(" "))?;
        self.inner.record(batch)
    }

    fn close(&self, path: &RelPath, stamp: &Stamp) -> Result<(), LedgerError> {
        self.script.call("close", path)?;
        self.inner.close(path, stamp)
    }

    fn revise(&self, batch: &[Revision]) -> Result<Vec<bool>, LedgerError> {
        let names: Vec<String> = batch.iter().map(|revision| revision.path.to_string()).collect();
        self.script.call("revise", names.join(" "))?;
        self.inner.revise(batch)
    }

    fn owes_rows(&self, owes: bool) {
        self.inner.owes_rows(owes);
    }

    fn held_by(&self, client: &str) -> Result<Held, LedgerError> {
        self.inner.held_by(client)
    }

    fn checkpoints_for(&self, client: &str, path: &RelPath) -> Result<Vec<Checkpoint>, LedgerError> {
        self.script.call("checkpoints_for", path)?;
        self.inner.checkpoints_for(client, path)
    }

    fn checkpoints(&self) -> Result<Vec<Checkpoint>, LedgerError> {
        self.script.call("checkpoints", "")?;
        self.inner.checkpoints()
    }

    fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        self.script.call("save_checkpoint", checkpoint.offset)?;
        self.inner.save_checkpoint(checkpoint)
    }

    fn drop_checkpoint(&self, id: StageId) -> Result<(), LedgerError> {
        self.script.call("drop_checkpoint", "")?;
        self.inner.drop_checkpoint(id)
    }
}

impl<L: Register> Register for Scripted<L> {
    fn rows(
        &self,
        after: Option<&RelPath>,
        below: Option<&RelPath>,
        most: usize,
    ) -> Result<Vec<Recorded>, LedgerError> {
        self.script.call("rows", after.map_or(String::new(), RelPath::to_string))?;
        self.inner.rows(after, below, most)
    }

    fn have_rows(&self, paths: &[RelPath]) -> Result<Vec<bool>, LedgerError> {
        self.inner.have_rows(paths)
    }

    fn debt(&self) -> Option<u64> {
        // It cannot fail.
        let _ = self.script.call("debt", "");
        self.inner.debt()
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Full => StoreError::Full,
            Trouble::Broken => StoreError::Io(io::Error::other("broken on purpose")),
        }
    }
}

impl From<Trouble> for LedgerError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Full => LedgerError::Full,
            Trouble::Broken => LedgerError::Other("broken on purpose".into()),
        }
    }
}
