//! An inbox with uploads into it, and clients that send.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use ferry_proto::{Algorithm, Conflict, Digest, Header, Kind, Mode, RelPath, Timestamp, limits};
use ferry_store::{
    Begin, Busy, Checkpoint, Cut, Lease, Ledger, LocalStore, Outcome, Reply, Row, Terms, Ticket, Upload,
    Uploads,
    doubles::{MemoryLedger, Script, Scripted},
};
use tempfile::TempDir;

pub(crate) type TestStore = Scripted<LocalStore>;

pub(crate) struct Inbox {
    dir: TempDir,
    /// Of the store and the ledger together, so that their calls stand in one order.
    pub(crate) script: Script,
    pub(crate) ledger: Arc<Scripted<MemoryLedger>>,
    pub(crate) uploads: Uploads<TestStore>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let script = Script::default();
        let ledger = Arc::new(Scripted::new(MemoryLedger::default(), &script));
        Inbox::open(tempfile::tempdir().unwrap(), script, ledger)
    }

    fn open(dir: TempDir, script: Script, ledger: Arc<Scripted<MemoryLedger>>) -> Self {
        let store = Arc::new(Scripted::new(LocalStore::open(dir.path()).unwrap(), &script));
        let uploads = Uploads::open(store, ledger.clone(), 2).unwrap();
        Inbox { dir, script, ledger, uploads }
    }

    /// Another process on the same folder with the same ledger. Nothing may be open any more.
    pub(crate) fn restart(self) -> Self {
        self.restart_after(|_| {})
    }

    /// Does something to the folder while no process is running.
    pub(crate) fn restart_after(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Inbox { dir, script, ledger, uploads } = self;
        uploads.close();
        drop(uploads);
        meanwhile(dir.path());
        Inbox::open(dir, script, ledger)
    }

    pub(crate) fn on_disk(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.on_disk(name)).unwrap()
    }

    /// Every name below the inbox, except what the server keeps for itself, with all of it that can change.
    pub(crate) fn tree(&self) -> BTreeMap<PathBuf, String> {
        let entries = walkdir::WalkDir::new(self.dir.path()).min_depth(1).into_iter();
        let entries = entries.filter_entry(|entry| entry.file_name() != ".ferry");
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                let it = entry.metadata().unwrap();
                let content = if it.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
                let digest = Algorithm::Sha256.digest(&content);
                let name = entry.path().strip_prefix(self.dir.path()).unwrap().to_owned();
                let (time, changed) = ((it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec()));
                (name, format!("{:o} {} {time:?} {changed:?} {digest}", it.mode(), it.ino()))
            })
            .collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.tree().into_keys().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    /// Lengths of the bodies in staging.
    pub(crate) fn staged(&self) -> Vec<u64> {
        let entries = fs::read_dir(self.on_disk(".ferry/staging")).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).collect()
    }

    pub(crate) fn checkpoints(&self) -> Vec<Checkpoint> {
        self.ledger.checkpoints().unwrap()
    }

    pub(crate) fn row(&self, name: &str) -> Option<Row> {
        self.ledger.find(&key(name)).unwrap()
    }

    pub(crate) fn offer(&self, client: &Client, header: Header) -> Offered {
        let (reply, told) = reply();
        Offered::new(self.uploads.begin(&client.terms, &client.lease, header, reply), told)
    }

    pub(crate) fn offer_again(&self, client: &Client, busy: Box<Busy>) -> Offered {
        let (reply, told) = reply();
        Offered::new(self.uploads.begin_again(&client.terms, &client.lease, busy, reply), told)
    }

    /// Opens a body where its ticket says.
    pub(crate) fn open_body(&self, wanted: Wanted) -> Sending {
        let offset = wanted.ticket.offset();
        self.open_body_at(wanted, offset).unwrap()
    }

    pub(crate) fn open_body_at(&self, wanted: Wanted, offset: u64) -> Result<Sending, Outcome> {
        let Wanted { ticket, reply, told } = wanted;
        Ok(Sending { upload: self.uploads.open_body(*ticket, offset)?, reply, told })
    }

    /// Offers a file and sends what is asked for of it.
    pub(crate) fn put(&self, client: &Client, header: Header, body: &[u8]) -> Outcome {
        match self.offer(client, header) {
            Offered::Told(outcome) => outcome,
            Offered::Wanted(wanted) => self.send(wanted, body),
            Offered::Busy(_) => panic!("another connection has this body under way"),
        }
    }

    /// Sends a body from where its ticket says.
    pub(crate) fn send(&self, wanted: Wanted, body: &[u8]) -> Outcome {
        let offset = wanted.ticket.offset() as usize;
        let mut sending = match self.open_body_at(wanted, offset as u64) {
            Ok(sending) => sending,
            Err(outcome) => return outcome,
        };
        match sending.append(&body[offset..]) {
            Ok(()) => sending.finish(digest(body)),
            Err(outcome) => outcome,
        }
    }

    /// Holds up the call of this name that comes after `passes` others of it.
    pub(crate) fn gate(&self, call: &'static str, passes: usize) -> Gate {
        let (arrive, arrived) = mpsc::channel();
        let (open, opened) = mpsc::channel();
        self.script.at(call, passes, move || {
            arrive.send(()).unwrap();
            let _ = opened.recv();
            Ok(())
        });
        Gate { arrived, _open: open }
    }

    /// Offers a file and sends all of it, but not its end.
    pub(crate) fn begin(&self, client: &Client, name: &str, body: &[u8]) -> Sending {
        let mut sending = self.open_body(self.offer(client, file(name, body)).wanted());
        sending.append(body).unwrap();
        sending
    }

    /// Offers a large file, sends this much of it and loses the connection.
    pub(crate) fn put_cut(&self, client: &Client, header: Header, bytes: &[u8]) {
        let mut sending = self.open_body(self.offer(client, header).wanted());
        sending.append(bytes).unwrap();
    }
}

/// Opens when it is dropped.
pub(crate) struct Gate {
    arrived: Receiver<()>,
    _open: Sender<()>,
}

impl Gate {
    /// Until somebody stands before it.
    pub(crate) fn wait(&self) {
        self.arrived.recv_timeout(Duration::from_secs(20)).expect("the call comes");
    }
}

/// What became of an offer at first.
pub(crate) enum Offered {
    Told(Outcome),
    Wanted(Wanted),
    Busy(Box<Busy>),
}

impl Offered {
    fn new(begin: Begin, told: Receiver<Outcome>) -> Self {
        match begin {
            Begin::Answered => Offered::Told(answer(&told)),
            Begin::Send(ticket, reply) => Offered::Wanted(Wanted { ticket, reply, told }),
            Begin::Busy(busy, reply) => {
                reply.withdraw();
                Offered::Busy(busy)
            }
        }
    }

    #[track_caller]
    pub(crate) fn told(self) -> Outcome {
        match self {
            Offered::Told(outcome) => outcome,
            Offered::Wanted(_) => panic!("the body was asked for"),
            Offered::Busy(_) => panic!("another connection has this body under way"),
        }
    }

    #[track_caller]
    pub(crate) fn wanted(self) -> Wanted {
        match self {
            Offered::Wanted(wanted) => wanted,
            Offered::Told(outcome) => panic!("the body was not asked for: {outcome:?}"),
            Offered::Busy(_) => panic!("another connection has this body under way"),
        }
    }

    #[track_caller]
    pub(crate) fn busy(self) -> Box<Busy> {
        match self {
            Offered::Busy(busy) => busy,
            Offered::Told(outcome) => panic!("the body was not asked for: {outcome:?}"),
            Offered::Wanted(_) => panic!("the body was asked for"),
        }
    }
}

/// A body that was asked for.
pub(crate) struct Wanted {
    pub(crate) ticket: Box<Ticket>,
    reply: Reply,
    told: Receiver<Outcome>,
}

/// A body on its way.
pub(crate) struct Sending {
    pub(crate) upload: Upload<TestStore>,
    reply: Reply,
    told: Receiver<Outcome>,
}

impl Sending {
    /// In pieces as they come from the network.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Outcome> {
        bytes.chunks(limits::CHUNK).try_for_each(|chunk| self.upload.append(chunk.to_vec()))
    }

    /// Ends the body; the outcome can be asked for.
    pub(crate) fn end(self, digest: Digest) -> Receiver<Outcome> {
        self.upload.complete(digest, self.reply);
        self.told
    }

    /// Ends the body and waits for its outcome.
    pub(crate) fn finish(self, digest: Digest) -> Outcome {
        answer(&self.end(digest))
    }
}

/// A reply whose outcome can be waited for.
pub(crate) fn reply() -> (Reply, Receiver<Outcome>) {
    let (tell, told) = mpsc::channel();
    (Reply::new(move |outcome| drop(tell.send(outcome))), told)
}

#[track_caller]
pub(crate) fn answer(told: &Receiver<Outcome>) -> Outcome {
    told.recv_timeout(Duration::from_secs(20)).expect("an answer comes")
}

/// A connection of a client.
pub(crate) struct Client {
    pub(crate) terms: Arc<Terms>,
    pub(crate) lease: Arc<Lease>,
    /// How often it was asked for a sign of life.
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Client {
    pub(crate) fn new() -> Self {
        Client::under(Terms {
            client: "anna".into(),
            folder: None,
            overwrite: true,
            conflict: Conflict::Replace,
            dry_run: false,
            digest: Algorithm::Sha256,
            upload: None,
            asks_ahead: true,
            max_file: limits::FILE,
            quota: None,
            cut: Cut::default(),
            meter: Arc::default(),
        })
    }

    fn under(terms: Terms) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = asked.clone();
        let lease = Lease::new(move || ask.fetch_add(1, Ordering::Relaxed) as u64 + 1);
        Client { terms: Arc::new(terms), lease, asked }
    }

    /// Another connection of the same client, under other terms.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Terms)) -> Self {
        let mut terms = Terms::clone(&self.terms);
        change(&mut terms);
        Client::under(terms)
    }

    /// Another connection of the same client.
    pub(crate) fn again(&self) -> Self {
        self.with(|_| {})
    }

    pub(crate) fn on_conflict(conflict: Conflict) -> Self {
        Client::new().with(|terms| terms.conflict = conflict)
    }

    pub(crate) fn without_overwrite(conflict: Conflict) -> Self {
        Client::on_conflict(conflict).with(|terms| terms.overwrite = false)
    }
}

pub(crate) fn key(name: &str) -> RelPath {
    RelPath::new(name).unwrap()
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Algorithm::Sha256.digest(bytes)
}

pub(crate) fn time(seconds: i64) -> Option<Timestamp> {
    Timestamp::new(seconds, 500).ok()
}

/// The header of a file whose digest is known ahead.
pub(crate) fn file(name: &str, body: &[u8]) -> Header {
    Header { digest: Some(digest(body)), ..unhashed(name, body) }
}

/// The header of a file whose digest comes after its body.
pub(crate) fn unhashed(name: &str, body: &[u8]) -> Header {
    Header { size: Some(body.len() as u64), ..entry(name, Kind::File) }
}

pub(crate) fn folder(name: &str) -> Header {
    entry(name, Kind::Folder)
}

pub(crate) fn link(name: &str, target: &str) -> Header {
    entry(name, Kind::Symlink(target.into()))
}

fn entry(name: &str, kind: Kind) -> Header {
    let mode = Some(Mode::from_bits(0o754));
    Header { modified: time(1_500_000_000), mode, ..Header::new(key(name), kind) }
}

pub(crate) fn stored(body: &[u8]) -> Outcome {
    Outcome::Stored(Some(digest(body)), body.len() as u64, None)
}

pub(crate) fn stored_at(body: &[u8], name: &str) -> Outcome {
    Outcome::Stored(Some(digest(body)), body.len() as u64, Some(key(name)))
}

pub(crate) fn held(body: &[u8]) -> Outcome {
    Outcome::Held(Some(digest(body)), None)
}

pub(crate) fn held_at(body: &[u8], name: &str) -> Outcome {
    Outcome::Held(Some(digest(body)), Some(key(name)))
}

/// One checkpoint distance.
pub(crate) const CHECKPOINT: usize = limits::CHECKPOINT as usize;

/// A body of one checkpoint and a little.
pub(crate) fn big() -> &'static [u8] {
    &bigger()[..CHECKPOINT + 3_000_007]
}

/// A body of two checkpoints and a little, no two parts of it alike.
pub(crate) fn bigger() -> &'static [u8] {
    static BIGGER: OnceLock<Vec<u8>> = OnceLock::new();
    BIGGER.get_or_init(|| {
        let words = (2 * CHECKPOINT + 12_345) / 8;
        let mut state = 1_u64;
        let step = |_| {
            // Knuth's linear congruential generator: a period that no file reaches.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()
        };
        (0..words).flat_map(step).collect()
    })
}

/// The outcome is a failure with this code.
macro_rules! assert_failed {
    ($outcome:expr, $code:ident) => {
        match $outcome {
            ferry_store::Outcome::Failed(ferry_proto::Code::$code, _) => {}
            other => panic!("expected {}, not {other:?}", stringify!($code)),
        }
    };
}
pub(crate) use assert_failed;
