//! What the catalogue costs a batch of files, and what it costs to look one up among many.

use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput};
use ferry_proto::{Algorithm, RelPath, Timestamp};
use ferry_server::catalogue::Catalogue;
use ferry_store::{Filed, Ledger, Row, RowKind, StageId, Stamp};
use tempfile::TempDir;

/// Rows of one transaction: as many as the committer writes at most.
const BATCH: usize = 256;

/// Rows that are there already.
const ROWS: usize = 100_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let (_folder, catalogue) = filled();
    let mut group = criterion.benchmark_group("catalogue of 100,000 rows");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(20);
    let mut next = ROWS;
    group.bench_function("record 256 new rows", |bencher| {
        bencher.iter_batched(
            || {
                next += BATCH;
                batch(next - BATCH)
            },
            |rows| catalogue.record(&rows).expect("rows can be written"),
            BatchSize::PerIteration,
        );
    });
    let unchanged = batch(0);
    group.bench_function("record 256 unchanged rows", |bencher| {
        bencher.iter(|| catalogue.record(&unchanged).expect("rows can be written"));
    });
    group.throughput(Throughput::Elements(1)).sample_size(100);
    // A stride that shares no factor with their number comes by all of them.
    let mut at = 0;
    group.bench_function("find by name", |bencher| {
        bencher.iter(|| {
            at = (at + 61_803) % ROWS;
            catalogue.find(&path(at)).expect("rows can be read").expect("it is there")
        });
    });
    group.bench_function("find what is not there", |bencher| {
        let missing = RelPath::new("folder 7/missing").expect("a good name");
        bencher.iter(|| catalogue.find(&missing).expect("rows can be read"));
    });
    group.finish();
    criterion.final_summary();
}

fn filled() -> (TempDir, Catalogue) {
    // Where the build is, and not in memory as the system's folder for what is temporary may be.
    let folder = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a folder can be made");
    let catalogue = Catalogue::open(&folder.path().join("catalogue.db")).expect("a catalogue can be made");
    let rows: Vec<_> = (0..ROWS).map(filed).collect();
    rows.chunks(10_000).for_each(|rows| catalogue.record(rows).expect("rows can be written"));
    (folder, catalogue)
}

fn batch(first: usize) -> Vec<Filed> {
    (first..first + BATCH).map(filed).collect()
}

fn filed(number: usize) -> Filed {
    let digest = Algorithm::Sha256.digest(&number.to_le_bytes());
    let row = Row {
        kind: RowKind::File { size: number as u64, digests: digest.into() },
        modified: Timestamp::new(1_700_000_000, 1).ok(),
        mode: None,
        attributes: ferry_proto::Attributes::default(),
        stamp: Stamp(vec![7; 56]),
        is_damaged: false,
    };
    Filed {
        path: path(number),
        row,
        client: "laptop".into(),
        staged: Some(StageId(number as u128)),
        before: None,
    }
}

fn path(number: usize) -> RelPath {
    RelPath::new(format!("folder {}/IMG_{number:06}.jpg", number / 500)).expect("a good name")
}
