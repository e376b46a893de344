//! What is there already is not sent again, and what is not there any more is.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use ferry_proto::Algorithm;
use rusqlite::{Connection, params};

use crate::support::{
    Client, Outcome, Server, assert_same_tree, eventually, noise, set_mode, set_modified, snapshot, write,
};

/// A server and a client, and a tree that is on both; every file last modified long ago.
struct Sent {
    server: Server,
    client: Client,
    source: PathBuf,
}

fn sent() -> Sent {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    for (name, length) in [("empty", 0), ("small", 1000), ("large", 2_000_000), ("below/file", 10)] {
        set_modified(write(source.join(name), noise(length, 5)), 1_000_000_000, length as i64);
    }
    std::os::unix::fs::symlink("small", source.join("link")).unwrap();
    fs::create_dir(source.join("hollow")).unwrap();
    client.send(&source).run().code(0);
    Sent { server, client, source }
}

impl Sent {
    /// Sends again; afterwards both are the same, and no name was sent but these.
    #[track_caller]
    fn sends_only(&self, names: &[&str]) -> Outcome {
        self.sends_only_with(&[], names)
    }

    #[track_caller]
    fn sends_only_with(&self, flags: &[&str], names: &[&str]) -> Outcome {
        let outcome = self.client.send(&self.source).arg("--json").args(flags).run().code(0);
        assert_same_tree(&self.source, &self.there(""));
        // Folders are told of where their time had to be set again; that moves no bytes.
        let objects = outcome.objects();
        let files = objects.iter().filter(|object| object["status"] == "sent" && object["kind"] != "folder");
        let sent: Vec<&str> = files.map(|file| file["name"].as_str().unwrap()).collect();
        assert_eq!(sent, names, "{outcome:?}");
        let sizes = sent.iter().map(|name| fs::symlink_metadata(self.source(name)).unwrap());
        let bytes: u64 = sizes.filter(fs::Metadata::is_file).map(|file| file.len()).sum();
        assert_eq!(outcome.total("bytes"), bytes, "{outcome:?}");
        outcome
    }

    fn there(&self, name: &str) -> PathBuf {
        self.server.inbox().join("source").join(name)
    }

    /// The source of a name on the server.
    fn source(&self, name: &str) -> PathBuf {
        self.source.join(Path::new(name).strip_prefix("source").unwrap())
    }
}

#[test]
fn an_unchanged_tree_costs_no_bytes() {
    let sent = sent();
    let entries = snapshot(&sent.source).len();
    for flags in [&[][..], &["--checksum"], &["--jobs", "3"]] {
        let outcome = sent.sends_only_with(flags, &[]);
        let statuses = outcome.statuses();
        assert_eq!(statuses.len(), entries);
        assert!(statuses.iter().all(|(_, status)| status == "held"), "{outcome:?}");
        assert_eq!(outcome.total("held"), entries as u64);
    }
    assert_eq!(sent.server.staged(), []);
}

#[test]
fn another_time_or_mode_is_taken_over_without_a_body() {
    let sent = sent();
    for (number, name) in ["empty", "small", "large", "below/file"].iter().enumerate() {
        set_modified(sent.source.join(name), 1_500_000_000, number as i64);
        sent.sends_only(&[]);
        set_mode(sent.source.join(name), 0o640);
        sent.sends_only(&[]);
    }
    set_mode(sent.source.join("hollow"), 0o711);
    set_modified(sent.source.join("hollow"), 1_500_000_000, 7);
    sent.sends_only(&[]);
}

#[test]
fn other_bytes_are_sent() {
    let sent = sent();
    write(sent.source.join("small"), noise(1000, 6));
    sent.sends_only(&["source/small"]);
    write(sent.source.join("large"), noise(2_000_000, 7));
    sent.sends_only(&["source/large"]);
    write(sent.source.join("large"), noise(2_000_001, 7));
    sent.sends_only(&["source/large"]);
    write(sent.source.join("empty"), "no longer");
    sent.sends_only(&["source/empty"]);
    // The same size and the same time as before, which only the system's own change time tells apart.
    write(sent.source.join("below/file"), noise(10, 8));
    set_modified(sent.source.join("below/file"), 1_000_000_000, 10);
    sent.sends_only(&["source/below/file"]);
}

#[test]
fn promise_8_the_owner_of_the_inbox_may_change_anything_in_it() {
    let sent = sent();
    // The same size, and the old time.
    fs::write(sent.there("small"), noise(1000, 9)).unwrap();
    set_modified(sent.there("small"), 1_000_000_000, 1000);
    sent.sends_only(&["source/small"]);
    fs::write(sent.there("large"), "another size").unwrap();
    sent.sends_only(&["source/large"]);
    fs::remove_file(sent.there("empty")).unwrap();
    sent.sends_only(&["source/empty"]);
    fs::rename(sent.there("below"), sent.there("../moved")).unwrap();
    sent.sends_only(&["source/below/file"]);
    fs::remove_file(sent.there("link")).unwrap();
    fs::remove_dir(sent.there("hollow")).unwrap();
    let outcome = sent.sends_only(&["source/link"]);
    assert!(outcome.statuses().contains(&("source/hollow".to_owned(), "sent".to_owned())));
    // Only touched: its bytes are read there, and stay.
    set_modified(sent.there("large"), 1_600_000_000, 0);
    sent.sends_only(&[]);
    // Another file of the same name, size, bytes and time.
    let copy = fs::read(sent.there("large")).unwrap();
    fs::remove_file(sent.there("large")).unwrap();
    fs::write(sent.there("large"), copy).unwrap();
    sent.sends_only(&[]);
}

/// No program can set a file's change time, so a file that changed without any trace is made the other way round:
/// the cache is told that the file as it is now had the old bytes.
#[test]
fn checksum_finds_what_changed_without_a_trace() {
    let sent = sent();
    let old = Algorithm::Sha256.digest(&fs::read(sent.source.join("large")).unwrap());
    write(sent.source.join("large"), noise(2_000_000, 10));
    set_modified(sent.source.join("large"), 1_000_000_000, 2_000_000);
    let file = fs::metadata(sent.source.join("large")).unwrap();
    let cache = Connection::open(sent.client.home().join("digests.db")).unwrap();
    cache
        .execute(
            "INSERT OR REPLACE INTO digests (device, inode, algorithm, size, modified_s, modified_ns, changed_s,
             changed_ns, digest) VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                file.dev() as i64,
                file.ino() as i64,
                file.size() as i64,
                file.mtime(),
                file.mtime_nsec(),
                file.ctime(),
                file.ctime_nsec(),
                old.bytes(),
            ],
        )
        .unwrap();
    // Without it the cache is believed: nothing is read, and the server holds what the cache says.
    let trusting = sent.client.send(&sent.source).arg("--json").run().code(0);
    assert_eq!(trusting.total("bytes"), 0, "{trusting:?}");
    assert_ne!(fs::read(sent.there("large")).unwrap(), fs::read(sent.source.join("large")).unwrap());
    sent.sends_only_with(&["--checksum"], &["source/large"]);
    // And what the cache says never stands for the bytes that are sent: those have told it by now.
    let healed = sent.client.send(&sent.source).arg("--json").run().code(0);
    assert_eq!((healed.total("sent"), healed.total("failed")), (0, 0), "{healed:?}");
    sent.sends_only(&[]);
}

/// A file of the last two seconds may change again without its times showing it. One from the future always is.
#[test]
fn the_digest_of_a_fresh_file_is_not_remembered() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    set_modified(write(source.join("future"), noise(2_000_000, 1)), 4_000_000_000, 0);
    set_modified(write(source.join("old"), noise(2_000_000, 2)), 1_000_000_000, 0);
    let remembered = || {
        client.send(&source).run().code(0);
        let cache = Connection::open(client.home().join("digests.db")).unwrap();
        let mut inodes = cache.prepare("SELECT inode FROM digests").unwrap();
        inodes.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect::<Vec<i64>>()
    };
    let inodes = eventually("a digest in the cache", || Some(remembered()).filter(|some| !some.is_empty()));
    assert_eq!(inodes, [fs::metadata(source.join("old")).unwrap().ino() as i64]);
}

#[test]
fn a_lost_or_damaged_cache_costs_time_only() {
    let sent = sent();
    for file in ["digests.db", "digests.db-wal", "digests.db-shm"] {
        let _ = fs::remove_file(sent.client.home().join(file));
    }
    sent.sends_only(&[]);
    fs::write(sent.client.home().join("digests.db"), "no database at all ".repeat(1000)).unwrap();
    sent.sends_only(&[]);
}

#[test]
fn a_cache_that_cannot_be_used_is_told_of_and_everything_arrives() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("source"), noise(2_000_000, 1));
    let cache = Connection::open(client.home().join("digests.db")).unwrap();
    cache.execute_batch("CREATE TABLE digests (what_nobody_knows)").unwrap();
    let told = client.send(&source).run().code(0).says("the digest cache cannot be used").stderr();
    assert_eq!(told.matches("digest cache").count(), 1, "{told}");
    let quiet = client.send(&source).arg("-q").run().code(0);
    assert_eq!(quiet.stderr(), "");
}
