//! What machines and their owners do to the programs while bytes move: kills, cut cables, disks that are full or
//! read-only, folders that go elsewhere.
//!
//! `FERRY_TEST_FULL=1` makes the sweeps ten times as long. What is chosen at random comes from a seed that is
//! printed; `FERRY_TEST_SEED` replays it, as far as chance is all that decides.

mod back;
mod cables;
mod descriptors;
mod disk;
mod first_start;
mod full;
mod kills;
mod moved;
mod remains;
mod resumed;
mod source;
mod triggers;

use std::{collections::BTreeMap, env, fs, path::Path};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use self::disk::Disk;
use crate::support::Outcome;

const MIB: u64 = 1024 * 1024;

/// Whether there is time for everything.
pub(crate) fn is_full() -> bool {
    env::var("FERRY_TEST_FULL").is_ok_and(|value| value == "1")
}

/// Chance that can be replayed.
pub(crate) fn chance(test: &str) -> fastrand::Rng {
    let seed = match env::var("FERRY_TEST_SEED") {
        Ok(seed) => seed.parse().expect("FERRY_TEST_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("{test}: FERRY_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Digests, as they print, of files that have a receipt or are said to be held.
type Told = BTreeMap<String, String>;

/// Name and digest of every file that lines of `--json` say was sent. A line that a kill has cut short tells
/// nothing.
fn receipts(stdout: &[u8]) -> Told {
    told_as(&["sent"], stdout)
}

/// The same, also of those that are said to be held.
fn assurances(stdout: &[u8]) -> Told {
    told_as(&["sent", "held"], stdout)
}

fn told_as(statuses: &[&str], stdout: &[u8]) -> Told {
    let Some(end) = stdout.iter().rposition(|&byte| byte == b'\n') else { return Told::new() };
    let objects = stdout[..end].split(|&byte| byte == b'\n').map(|line| {
        serde_json::from_slice::<Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
    });
    let told = objects.filter(|object| {
        object["kind"] == "file" && statuses.iter().any(|status| object["status"] == *status)
    });
    told.map(|object| {
        let text = |key: &str| object[key].as_str().unwrap_or_else(|| panic!("no {key} in {object}"));
        (text("name").to_owned(), text("digest").to_owned())
    })
    .collect()
}

/// Name and detail of every entry that lines of `--json` say has failed.
fn failures(outcome: &Outcome) -> Vec<(String, String)> {
    let failed = outcome.objects().into_iter().filter(|object| object["status"] == "failed");
    let text = |value: &Value| value.as_str().expect("names and details are text").to_owned();
    failed.map(|object| (text(&object["name"]), text(&object["detail"]))).collect()
}

/// A copy of a server's database as it lies on the disk, so that looking at it changes nothing of it. Nobody may be
/// writing to it.
struct CatalogueCopy {
    connection: Connection,
    _folder: TempDir,
}

impl CatalogueCopy {
    fn of(inbox: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for name in ["catalogue.db", "catalogue.db-wal"] {
            let from = inbox.join(".ferry").join(name);
            if from.exists() {
                fs::copy(from, folder.path().join(name)).expect("the catalogue can be copied");
            }
        }
        let connection = Connection::open(folder.path().join("catalogue.db")).expect("there is a catalogue");
        let verdict: String = connection
            .pragma_query_value(None, "integrity_check", |row| row.get(0))
            .expect("the catalogue can be read");
        assert_eq!(verdict, "ok", "the catalogue is damaged");
        CatalogueCopy { connection, _folder: folder }
    }
}
