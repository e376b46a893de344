//! From the first byte of a body to its receipt, on a real folder; and hashing alone, which no body can be faster than.
//!
//! Where the disk is the limit the figures are the disk's: compare them with others of the same machine only.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use criterion::{BatchSize, Criterion, Throughput};
use ferry_proto::{Algorithm, Conflict, Digest, Header, Kind, RelPath, limits};
use ferry_store::{Begin, Cut, Lease, LocalStore, Outcome, Reply, Terms, Uploads, doubles::MemoryLedger};
use tempfile::TempDir;

/// As this sender cuts a body.
const PIECE: usize = 256 * 1024;

const SMALL_FILES: u64 = 1000;
const SMALL: usize = 4096;
const LARGE: usize = 64 * 1024 * 1024;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    // One that lives until the end needs no copies of what is appended.
    let bytes: &'static [u8] = vec![0x5a; LARGE].leak();
    hashing(&mut criterion, bytes);
    small_files(&mut criterion, &bytes[..SMALL]);
    large_file(&mut criterion, bytes);
    criterion.final_summary();
}

fn hashing(criterion: &mut Criterion, bytes: &[u8]) {
    let mut group = criterion.benchmark_group("hashing alone");
    group.throughput(Throughput::Bytes(LARGE as u64)).sample_size(10);
    for algorithm in Algorithm::ALL {
        group.bench_function(format!("{algorithm:?}"), |bencher| bencher.iter(|| digest(algorithm, bytes)));
    }
    group.finish();
}

fn small_files(criterion: &mut Criterion, body: &'static [u8]) {
    let header = file(0, body, Some(digest(Algorithm::Sha256, body)));
    let mut group = criterion.benchmark_group("1,000 small files");
    group.throughput(Throughput::Elements(SMALL_FILES)).sample_size(10);
    group.measurement_time(Duration::from_secs(20));
    group.bench_function("begin to receipt", |bencher| {
        bencher.iter_batched(
            Inbox::new,
            |inbox| {
                for number in 0..SMALL_FILES {
                    inbox.hand_in(Header { path: path(number), ..header.clone() }, body);
                }
                inbox.wait(SMALL_FILES);
                inbox
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn large_file(criterion: &mut Criterion, body: &'static [u8]) {
    let mut group = criterion.benchmark_group("one file of 64 MiB");
    group.throughput(Throughput::Bytes(LARGE as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(10));
    for algorithm in Algorithm::ALL {
        let header = file(0, body, Some(digest(algorithm, body)));
        group.bench_function(format!("begin to receipt, {algorithm:?}"), |bencher| {
            bencher.iter_batched(
                || Inbox::with(algorithm),
                |inbox| {
                    inbox.hand_in(header.clone(), body);
                    inbox.wait(1);
                    inbox
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// An empty inbox, and a client of it.
struct Inbox {
    uploads: Uploads<LocalStore>,
    terms: Arc<Terms>,
    lease: Arc<Lease>,
    tell: mpsc::Sender<Outcome>,
    told: mpsc::Receiver<Outcome>,
    _folder: TempDir,
}

impl Inbox {
    fn new() -> Self {
        Inbox::with(Algorithm::Sha256)
    }

    fn with(digest: Algorithm) -> Self {
        // Where the build is, and not in memory as the system's folder for what is temporary may be.
        let folder =
            tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a folder can be made");
        let store = LocalStore::open(folder.path()).expect("a new folder is a store");
        let uploads = Uploads::open(Arc::new(store), Arc::new(MemoryLedger::default()), 2);
        let terms = Terms {
            client: "bench".into(),
            folder: None,
            overwrite: true,
            conflict: Conflict::Replace,
            dry_run: false,
            digest,
            upload: None,
            asks_ahead: true,
            max_file: limits::FILE,
            quota: None,
            cut: Cut::default(),
            meter: Arc::default(),
        };
        let (tell, told) = mpsc::channel();
        Inbox {
            uploads: uploads.expect("nothing is left from before"),
            terms: Arc::new(terms),
            lease: Lease::new(|| 1),
            tell,
            told,
            _folder: folder,
        }
    }

    /// Offers a file that is not there, and sends it.
    fn hand_in(&self, header: Header, body: &'static [u8]) {
        let tell = self.tell.clone();
        let reply = Reply::new(move |outcome| drop(tell.send(outcome)));
        let digest = header.digest.expect("it is known ahead");
        let Begin::Send(ticket, reply) = self.uploads.begin(&self.terms, &self.lease, header, reply) else {
            panic!("nothing is there")
        };
        let mut upload = self.uploads.open_body(*ticket, 0).expect("a body can be begun");
        for piece in body.chunks(PIECE) {
            upload.append(piece).expect("there is space");
        }
        upload.complete(digest, reply);
    }

    fn wait(&self, receipts: u64) {
        for outcome in self.told.iter().take(receipts as usize) {
            assert!(matches!(outcome, Outcome::Stored(..)), "{outcome:?}");
        }
    }
}

fn file(number: u64, body: &[u8], digest: Option<Digest>) -> Header {
    Header { size: Some(body.len() as u64), digest, ..Header::new(path(number), Kind::File) }
}

fn path(number: u64) -> RelPath {
    RelPath::new(format!("folder {}/file-{number}", number / 100)).expect("a good name")
}

fn digest(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = algorithm.hasher();
    bytes.chunks(PIECE).for_each(|piece| hasher.update(piece));
    hasher.finish()
}
