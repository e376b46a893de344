//! A whole receiver, from a stream to a disk, at the other end of which a script does whatever it likes.
//!
//! The store is a real one, in a folder in memory where there is one; the ledger is a double. What must hold afterwards
//! is in `remains`, what must hold of each answer in `said`, and nothing may panic, hang or take more memory than
//! [`MEMORY`].

mod peer;
mod remains;
mod said;
mod script;
mod stand;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arbitrary::{Arbitrary, Unstructured};
use ferry_proto::{Algorithm, Code, Digest, Features, Header, Put, Receiver, RelPath, limits};
use ferry_session::{
    Buffers, Room, SessionError, greet,
    receive::{self, Destination, OpenGate, Witness},
    send::Unlimited,
};
use ferry_store::{Lease, LocalStore, Terms, Uploads, doubles::MemoryLedger};
use tokio::{io::DuplexStream, time::timeout};

pub use self::peer::Story;
use self::{
    peer::{Account, SENT},
    remains::{BESIDE, Sentinel},
    script::Script,
    stand::Stand,
};
use crate::memory::peak_of;

/// Bytes that a session and this harness may have allocated at a time: 8 MiB on their way to the disk, 2 MiB of offers,
/// twice where both what came and what was made of it are there, the answers to them, and some buffers.
pub const MEMORY: usize = 16 * 1024 * 1024;

/// What all sessions together may have on their way to the disk.
const ROOM: usize = 64 * 1024 * 1024;

/// Bytes that the stream holds in each direction.
const PIPE: usize = 64 * 1024;

/// A connection that its peer has left ends within this time.
const ENDING: Duration = Duration::from_secs(20);

/// Plays a script, and checks what must hold during it and afterwards. Returns how far it came.
pub fn check(data: &[u8]) -> Story {
    let (mut story, memory) = peak_of(|| play(data));
    assert!(memory <= MEMORY, "{memory} bytes were allocated at a time");
    story.memory = memory;
    story
}

fn play(data: &[u8]) -> Story {
    let script = Script::arbitrary(&mut Unstructured::new(data)).expect("any bytes are a script");
    let place = tempfile::tempdir_in(in_memory()).expect("a folder for temporary files");
    let root = place.path().join("root");
    std::fs::create_dir(&root).expect("the folder above is ours");
    let folder = script.in_folder.then(|| RelPath::new("inbox").expect("a good name"));
    // The folder of somebody else, which is as much outside as what is beside the root.
    let others = folder.is_some().then(|| Sentinel::new(root.join(BESIDE)));
    let outside = Sentinel::new(place.path().join(BESIDE));

    let store =
        Arc::new(Stand { inner: LocalStore::open(&root).expect("an empty folder"), is_slow: script.is_slow });
    let ledger = Arc::new(MemoryLedger::default());
    let uploads = Uploads::open(store.clone(), ledger.clone(), 1).expect("nothing to go on with");
    let mut account = Account::default();
    connections(&script, folder.as_ref(), &uploads, &mut account);
    uploads.close();
    drop(uploads);

    outside.check();
    others.iter().for_each(Sentinel::check);
    account.story.files = remains::check_files(&root, folder.as_ref(), &store, &ledger, &account);
    account.story.staged = remains::check_staging(&root, &ledger);
    account.story
}

fn in_memory() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}

/// One connection after another, until the script has ended.
fn connections(script: &Script, folder: Option<&RelPath>, uploads: &Uploads<Stand>, account: &mut Account) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without I/O").block_on(async {
        let put = Put { on_conflict: script.conflict, dry_run: script.dry_run, digest: Algorithm::Sha256 };
        let terms = Arc::new(Terms {
            client: "somebody".to_owned(),
            folder: folder.cloned(),
            overwrite: script.overwrite,
            conflict: script.conflict,
            dry_run: script.dry_run,
            digest: put.digest,
            quota: None,
            cut: ferry_store::Cut::default(),
            meter: Arc::default(),
            upload: None,
            asks_ahead: true,
            max_file: script.max_file,
        });
        let (room, buffers) = (Room::new(ROOM), Buffers::default());
        let mut budget = SENT;
        let mut steps = &script.steps[..];
        while !steps.is_empty() {
            let (near, far) = tokio::io::duplex(PIPE);
            let (terms, room, buffers) = (terms.clone(), room.clone(), buffers.clone());
            let session = tokio::spawn(serve(far, put, uploads.clone(), terms, room, buffers));
            steps = peer::connected(near, script, steps, &mut budget, account).await;
            let ended = timeout(ENDING, session).await.expect("a session goes on without its peer");
            ended.expect("a session ended in a panic");
        }
    });
}

async fn serve(
    stream: DuplexStream,
    put: Put,
    uploads: Uploads<Stand>,
    terms: Arc<Terms>,
    room: Room,
    buffers: Buffers,
) {
    let (mut incoming, outbox) = ferry_session::open(stream);
    outbox.greeted();
    let asking = outbox.clone();
    let lease = Lease::new(move || asking.ping());
    incoming.keep_alive(lease.clone());
    let destination = Destination {
        uploads,
        terms,
        lease,
        room,
        buffers,
        pace: Arc::new(Unlimited),
        witness: Arc::new(Nobody),
    };
    let receiver = Receiver::new(&put, limits::OFFERS).sharing(Features::OURS);
    if let Err(error) = receive::receive(&mut incoming, &outbox, receiver, &OpenGate, destination).await {
        assert!(!matches!(error, SessionError::Internal(_) | SessionError::Silent), "{error}");
        greet::part(incoming, outbox, &error).await;
    }
}

/// Nobody is told.
struct Nobody;

impl Witness for Nobody {
    fn stored(&self, _: &Header, _: &RelPath, _: u64, _: Option<&Digest>, _: Duration) {}

    fn held(&self, _: &Header, _: &RelPath, _: Option<&Digest>) {}

    fn failed(&self, _: &Header, _: Code, _: &str) {}

    fn given_up(&self, _: &Header, _: Code) {}
}
