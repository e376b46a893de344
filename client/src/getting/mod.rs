//! Receiving what was asked for, into a folder here.
//!
//! The server walks what it is asked for anew with each request, so a lost connection costs another pass over it, in which
//! what is here already is held. Several connections share a pass.

mod ledger;
mod stream;
mod wanted;

use std::{
    collections::BTreeSet,
    path::Path,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ferry_proto::{
    Algorithm, Code, Conflict, Digest, Features, Fingerprint, Get, Header, List as Listing, Receiver,
    RelPath, Request, Verb, Wants,
};
use ferry_session::{
    Buffers, Incoming, Outbox, Room, SessionError, greet,
    receive::{self, Destination, Witness},
};
use ferry_store::{Cut, Lease, LocalStore, StoreError, Terms, Uploads, lock};

use tokio::sync::Notify;

use self::{
    ledger::Book,
    wanted::{Doorman, List},
};
pub(crate) use self::{stream::Streaming, wanted::Wanted};
use crate::{
    choosing::Rules, commands::Work, dial::Session, digests::Digests, names::Names, output::Narrator,
    pace::Pace,
};

/// Bytes of bodies that have come and are not written yet, all connections together.
const ROOM: usize = 32 * 1024 * 1024;

/// What was begun in a folder and not gone on with for this long is given up by the next run there, as a server does it.
const GIVEN_UP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Threads that hash large bodies.
const HASHERS: usize = 2;

/// How to receive.
pub(crate) struct Options {
    /// What of it.
    pub(crate) rules: Arc<Rules>,
    pub(crate) on_conflict: Conflict,
    /// Read and digest what is here anew.
    pub(crate) checksum: bool,
    /// What files get back beside content, times and modes.
    pub(crate) wants: Wants,
    pub(crate) dry_run: bool,
    pub(crate) digest: Algorithm,
}

/// A run that receives.
pub(crate) struct Getting {
    list: List,
    options: Options,
    uploads: Uploads<LocalStore>,
    terms: Arc<Terms>,
    room: Room,
    buffers: Buffers,
    pace: Arc<Pace>,
    told: Arc<Told>,
    passes: Passes,
}

impl Getting {
    /// Into a folder that exists.
    pub(crate) fn new(
        wanted: Vec<Wanted>,
        folder: &Path,
        server: Fingerprint,
        options: Options,
        digests: Arc<Digests>,
        pace: Pace,
        narrator: Arc<Narrator>,
    ) -> Result<Arc<Self>, StoreError> {
        let store = Arc::new(LocalStore::restoring(folder)?);
        let book = Arc::new(Book::new(digests, &options, store.clone(), folder));
        let told = Arc::new(Told::new(narrator, store.clone()));
        // Who only asks leaves alone what others have begun here.
        let uploads = match options.dry_run {
            true => Uploads::asking(store, book, HASHERS),
            false => Uploads::open(store, book, HASHERS)?,
        };
        if !options.dry_run {
            uploads.sweep(GIVEN_UP)?;
        }
        let terms = Terms {
            client: server.to_string(),
            folder: None,
            overwrite: true,
            conflict: options.on_conflict,
            dry_run: options.dry_run,
            digest: options.digest,
            upload: None,
            asks_ahead: true,
            max_file: u64::MAX,
            quota: None,
            cut: Cut::default(),
            meter: Arc::default(),
        };
        Ok(Arc::new(Getting {
            list: List::new(wanted, options.rules.clone(), options.wants, told.clone()),
            options,
            uploads,
            terms: Arc::new(terms),
            room: Room::new(ROOM),
            buffers: Buffers::default(),
            pace: Arc::new(pace),
            told,
            passes: Passes::default(),
        }))
    }

    /// Waits until what has come is durable. Returns whether all is well.
    pub(crate) fn finish(&self) -> bool {
        self.uploads.close();
        if self.passes.is_finished() {
            for path in self.list.unanswered() {
                self.told.missing(Some(&path), Code::Protocol, "the server has not said a word about it");
            }
            let owed = std::mem::take(&mut *lock(&self.told.owed));
            for name in owed {
                self.told.missing(
                    Some(&name),
                    Code::Protocol,
                    "the server has offered it, and given it up without a word",
                );
            }
            for name in self.options.rules.unmet() {
                self.told.failed.store(true, Ordering::Relaxed);
                self.told.narrator.not_there(&name, Code::SourceVanished, "it is in the list, and not there");
            }
        }
        // What cannot be tidied up is tidied up by the next run.
        let _ = self.uploads.store().tidy();
        !self.told.failed.load(Ordering::Relaxed)
    }

    async fn pass(
        &self,
        incoming: &mut Incoming,
        outbox: &Outbox,
        shared: Features,
        id: u32,
    ) -> Result<(), SessionError> {
        let (paths, &Options { wants, dry_run, digest, .. }) = (self.list.paths(), &self.options);
        let verb = match dry_run {
            true => Verb::List(Listing { paths, digest, recursive: true, reread: false, wants }),
            false => Verb::Get(Get { paths, digest, wants }),
        };
        outbox.say(Request { id, verb })?;
        let asking = outbox.clone();
        let lease = Lease::new(move || asking.ping());
        incoming.keep_alive(lease.clone());
        let destination = Destination {
            uploads: self.uploads.clone(),
            terms: self.terms.clone(),
            lease,
            room: self.room.clone(),
            buffers: self.buffers.clone(),
            pace: self.pace.clone(),
            witness: self.told.clone(),
        };
        let receiver = Receiver::asking(dry_run, digest).sharing(shared);
        receive::receive(incoming, outbox, receiver, &self.list, destination).await
    }
}

impl Work for Getting {
    async fn on(&self, session: Session) -> Result<(), SessionError> {
        let shared = session.shared();
        let Session { mut incoming, outbox, .. } = session;
        while let Some(part) = self.passes.take_part() {
            let number = part.number;
            let mut result = self.pass(&mut incoming, &outbox, shared, number).await;
            if result.is_ok() {
                part.has_ended();
                result = incoming.meanwhile(|| Ok(()), self.passes.until_over(number)).await;
            }
            if let Err(error) = result {
                greet::part(incoming, outbox, &error).await;
                return Err(error);
            }
        }
        greet::farewell(incoming, outbox, Code::Bye, "").await;
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.passes.is_finished()
    }

    fn progress(&self) -> u64 {
        self.told.progress.load(Ordering::Relaxed)
    }

    fn motion(&self) -> [u64; 2] {
        [self.told.narrator.bytes(), 0]
    }

    fn goes_on(&self) -> bool {
        self.told.narrator.has_moved()
    }

    fn stop(&self) {
        self.told.stopped.store(true, Ordering::Relaxed);
    }
}

/// Passes over what was asked for, one after the other. One in which a connection was lost is followed by another, for
/// nobody knows what the server has said on that connection last. So a pass is over when its last connection has ended.
#[derive(Default)]
struct Passes {
    pass: Mutex<Pass>,
    is_over: Notify,
}

#[derive(Default)]
struct Pass {
    number: u32,
    connections: usize,
    is_spoilt: bool,
    is_finished: bool,
}

/// One connection's part in a pass. If it ends without a word, it was lost.
struct Part<'a> {
    passes: &'a Passes,
    number: u32,
    has_ended: bool,
}

impl Passes {
    /// `None` when nothing is left to do.
    fn take_part(&self) -> Option<Part<'_>> {
        let mut pass = lock(&self.pass);
        if pass.is_finished {
            return None;
        }
        pass.connections += 1;
        Some(Part { passes: self, number: pass.number, has_ended: false })
    }

    /// Waits until every connection has ended its part in a pass.
    async fn until_over(&self, number: u32) {
        loop {
            let mut is_over = pin!(self.is_over.notified());
            is_over.as_mut().enable();
            if self.is_over(number) {
                return;
            }
            is_over.await;
        }
    }

    fn is_over(&self, number: u32) -> bool {
        let pass = lock(&self.pass);
        pass.is_finished || pass.number != number
    }

    fn is_finished(&self) -> bool {
        lock(&self.pass).is_finished
    }
}

impl Part<'_> {
    /// The server has nothing more.
    fn has_ended(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let mut pass = lock(&self.passes.pass);
        pass.connections -= 1;
        pass.is_spoilt |= !self.has_ended;
        if pass.connections == 0 {
            if pass.is_spoilt {
                pass.number += 1;
                pass.is_spoilt = false;
            } else {
                pass.is_finished = true;
            }
            self.passes.is_over.notify_waiters();
        }
    }
}

/// Tells what becomes of everything, once, whatever number of passes it takes.
struct Told {
    narrator: Arc<Narrator>,
    store: Arc<LocalStore>,
    progress: AtomicU64,
    failed: AtomicBool,
    stopped: AtomicBool,
    /// The names that were told of.
    names: Names,
    /// Names here of what was offered, of which nothing was told yet.
    owed: Mutex<BTreeSet<RelPath>>,
}

impl Told {
    fn new(narrator: Arc<Narrator>, store: Arc<LocalStore>) -> Self {
        Told {
            narrator,
            store,
            progress: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            names: Names::default(),
            owed: Mutex::default(),
        }
    }

    /// Whether there is something to tell.
    fn is_news(&self, name: &[u8]) -> bool {
        if let Ok(name) = RelPath::new(name) {
            lock(&self.owed).remove(&name);
        }
        let is_news = !self.stopped.load(Ordering::Relaxed) && self.names.insert(name);
        self.progress.fetch_add(is_news.into(), Ordering::Relaxed);
        is_news
    }

    /// Whether something is not all that was asked for, which is a failure, though it is here.
    fn falls_short(&self, header: &Header, name: &RelPath) -> bool {
        let Some(detail) = self.store.take_shortfall(name) else { return false };
        self.failed.store(true, Ordering::Relaxed);
        if self.is_news(header.path.as_bytes()) {
            self.narrator.not_got(header, Code::StorageDenied, &format!("it is here, but {detail}"));
        }
        true
    }
}

impl Doorman for Told {
    fn missing(&self, path: Option<&RelPath>, code: Code, detail: &str) {
        self.failed.store(true, Ordering::Relaxed);
        let name = path.map_or(&b"."[..], RelPath::as_bytes);
        if self.is_news(name) {
            self.narrator.not_there(name, code, detail);
        }
    }

    fn left_out(&self, header: &Header, why: String) {
        if self.is_news(header.path.as_bytes()) {
            self.narrator.not_chosen(header, why);
        }
    }

    fn offered(&self, name: &RelPath) {
        lock(&self.owed).insert(name.clone());
    }

    fn withdrawn(&self, name: &RelPath) {
        lock(&self.owed).remove(name);
    }
}

impl Witness for Told {
    fn stored(&self, header: &Header, name: &RelPath, bytes: u64, digest: Option<&Digest>, _: Duration) {
        if !self.falls_short(header, name) && self.is_news(header.path.as_bytes()) {
            self.narrator.got(header, name, bytes, digest);
        }
    }

    fn held(&self, header: &Header, name: &RelPath, digest: Option<&Digest>) {
        if !self.falls_short(header, name) && self.is_news(header.path.as_bytes()) {
            self.narrator.had(header, name, digest);
        }
    }

    fn failed(&self, header: &Header, code: Code, detail: &str) {
        // One that was cut off by the end of its connection comes again.
        if code == Code::Cancelled {
            return self.narrator.dropped(&header.path);
        }
        self.failed.store(true, Ordering::Relaxed);
        if self.is_news(header.path.as_bytes()) {
            self.narrator.not_got(header, code, detail);
        }
    }

    fn given_up(&self, header: &Header, _: Code) {
        self.narrator.dropped(&header.path);
    }

    fn cut_off(&self, header: &Header) {
        self.narrator.dropped(&header.path);
    }

    fn wanted(&self, header: &Header, is_new: bool) {
        if self.is_news(header.path.as_bytes()) {
            self.narrator.would_get(header, is_new);
        }
    }

    fn begun(&self, header: &Header, offset: u64) {
        self.narrator.begun(&header.path, header.size, offset);
    }

    fn advanced(&self, header: &Header, bytes: u64) {
        self.narrator.advanced(&header.path, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_in_which_a_connection_was_lost_is_followed_by_another() {
        let passes = Passes::default();
        let (one, other) = (passes.take_part().unwrap(), passes.take_part().unwrap());
        assert_eq!((one.number, other.number), (0, 0));
        drop(one);
        // It comes again while the other one is still at it, and helps.
        let again = passes.take_part().unwrap();
        assert_eq!(again.number, 0);
        again.has_ended();
        other.has_ended();
        assert!(!passes.is_finished());
        let last = passes.take_part().unwrap();
        assert_eq!(last.number, 1);
        last.has_ended();
        assert!(passes.is_finished() && passes.take_part().is_none());
    }

    #[test]
    fn promise_8_nothing_is_finished_before_the_last_connection_has_ended_its_part() {
        let passes = Passes::default();
        let (one, other) = (passes.take_part().unwrap(), passes.take_part().unwrap());
        one.has_ended();
        assert!(!passes.is_finished());
        // What was said on it last is not known.
        drop(other);
        assert!(!passes.is_finished());
        let again = passes.take_part().unwrap();
        assert_eq!(again.number, 1);
        again.has_ended();
        assert!(passes.is_finished());
    }

    #[test]
    fn one_connection_goes_on_with_the_next_pass() {
        let passes = Passes::default();
        for number in 0..3 {
            let lost = passes.take_part().unwrap();
            assert_eq!(lost.number, number);
        }
        passes.take_part().unwrap().has_ended();
        assert!(passes.is_finished());
    }
}
