//! `ferryd scrub`: whether what was received is still there, and what becomes of what is not.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use ferry_proto::{Algorithm, Digest};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Client, Outcome, Server, digest, eventually, make_fifo, noise, set_modified, snapshot, write,
};

const MIB: usize = 1024 * 1024;

/// A server that has a tree, and who has sent it.
struct Sent {
    server: Server,
    client: Client,
    source: PathBuf,
}

fn sent(files: &[(&str, Vec<u8>)]) -> Sent {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("tree");
    for (name, bytes) in files {
        set_modified(write(source.join(name), bytes), 1_000_000_000, 5);
    }
    client.send(&source).run().code(0);
    Sent { server, client, source }
}

impl Sent {
    fn there(&self, name: &str) -> PathBuf {
        self.server.inbox().join("tree").join(name)
    }

    fn scrub(&self, flags: &[&str], code: i32) -> Outcome {
        self.server.ferryd(&[&["scrub", "--json"], flags].concat()).code(code)
    }

    /// What it finds: each with its status and name.
    fn differences(&self, flags: &[&str], code: i32) -> Vec<(String, String)> {
        let mut found = self.scrub(flags, code).statuses();
        found.sort();
        found
    }

    fn verify(&self, flags: &[&str], code: i32) -> String {
        self.client.ferry("verify").arg(&self.source).arg("box:").args(flags).run().code(code).stdout()
    }

    /// Sends again; how many bytes that took.
    fn sends(&self, flags: &[&str]) -> u64 {
        self.client.send(&self.source).arg("--json").args(flags).run().code(0).total("bytes")
    }

    /// What the catalogue says is amiss.
    fn findings(&self) -> Vec<(String, String)> {
        self.server.findings()
    }

    /// Rows of the catalogue, those of the past included, in the order of names.
    fn rows(&self, which: &str) -> Vec<Known> {
        let catalogue = self.server.catalogue();
        let query = format!(
            "SELECT CAST(path AS TEXT), kind, coalesce(sha256, target, x'') FROM files {which} ORDER BY path"
        );
        let mut query = catalogue.prepare(&query).unwrap();
        let rows = query
            .query_map([], |row| Ok(Known { name: row.get(0)?, kind: row.get(1)?, holds: row.get(2)? }))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }
}

/// A row of the catalogue, with the digest of a file or the target of a link.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    name: String,
    kind: String,
    holds: Vec<u8>,
}

/// Says that something is over, however it ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn pair(name: &str, status: &str) -> (String, String) {
    (name.to_owned(), status.to_owned())
}

#[test]
fn what_a_disk_has_done_is_found_told_to_everybody_and_repaired_by_the_next_send() {
    let sent = sent(&[("small", noise(1000, 1)), ("large", noise(2 * MIB, 2)), ("well", vec![7; 10])]);
    let outcome = sent.scrub(&[], 0);
    assert_eq!((outcome.total("names"), outcome.total("bytes")), (4, (1000 + 2 * MIB + 10) as u64));
    for name in ["small", "large"] {
        let good = digest(sent.there(name)).to_string();
        sent.server.rot(sent.there(name));
        // Nobody has read it yet.
        assert_eq!(sent.verify(&[], 0), "");
        let found = sent.scrub(&[], 1);
        let object = found.objects().remove(0);
        assert_eq!((&object["status"], &object["name"]), (&"rotted".into(), &format!("tree/{name}").into()));
        assert_eq!(
            (&object["expected"], &object["found"]),
            (&good.as_str().into(), &digest(sent.there(name)).to_string().into())
        );
        assert_eq!(found.total("rotted"), 1);
        assert_eq!(sent.findings(), [pair(&format!("tree/{name}"), "rotted")]);

        let damaged = format!("different  tree/{name}: it is damaged on the server\n");
        assert_eq!((sent.verify(&[], 1), sent.verify(&["--reread"], 1)), (damaged.clone(), damaged));
        let to = sent.server.beside().join("back").join(name);
        fs::create_dir_all(&to).unwrap();
        for flags in [&[][..], &["--digest", "blake3"]] {
            let get = sent.client.ferry("get").arg(format!("box:tree/{name}")).arg(&to).args(flags);
            get.run().code(1).says("damaged");
            assert!(!to.join(name).exists());
        }
        let names = sent.client.ferry("ls").arg("box:tree").run().code(0).stdout();
        assert!(names.contains(name), "{names}");
        let digests = sent.client.ferry("ls").args(["box:tree", "--digests"]).run().code(1).says("damaged");
        assert!(digests.stdout().contains(&format!("-  {name}").replace("-  ", &format!("{:<71}  ", "-"))));
        assert!(!digests.stdout().contains(&digest(sent.there(name)).to_string()), "{digests:?}");
        // Only scrub adopts, and this it does not.
        assert_eq!(sent.differences(&["--adopt"], 1), [pair(&format!("tree/{name}"), "rotted")]);

        assert_eq!(sent.sends(&[]), fs::metadata(sent.there(name)).unwrap().len());
        assert_eq!(digest(sent.there(name)).to_string(), good);
        assert_eq!((sent.findings(), sent.verify(&[], 0)), (vec![], String::new()));
        sent.scrub(&[], 0);
        assert_eq!(sent.sends(&[]), 0);
    }
}

#[test]
fn rot_that_nobody_has_met_is_met_by_whoever_asks_for_another_digest() {
    // One that is read before it is offered, and one that is digested as it goes.
    for (name, size) in [("small", 1000), ("large", 2 * MIB)] {
        let sent = sent(&[(name, noise(size, 1))]);
        sent.server.rot(sent.there(name));
        let to = sent.server.beside().join("back");
        let get = sent.client.ferry("get").arg(format!("box:tree/{name}")).arg(&to);
        get.args(["--digest", "blake3"]).run().code(1).says("damaged");
        assert!(!to.exists(), "nothing of it is left");
        let noted = || (sent.findings() == [pair(&format!("tree/{name}"), "rotted")]).then_some(());
        eventually("it is noted", noted);
        sent.sends(&[]);
        assert_eq!(sent.findings(), []);
        sent.server.rot(sent.there(name));
        let told = sent.verify(&["--digest", "blake3"], 1);
        assert_eq!(told, format!("different  tree/{name}: it is damaged on the server\n"));
        sent.sends(&[]);
        sent.scrub(&[], 0);
        sent.verify(&["--digest", "blake3"], 0);
    }
}

#[test]
fn what_has_rotted_is_not_well_because_somebody_has_touched_it() {
    let sent = sent(&[("file", noise(1000, 1))]);
    let good = digest(sent.there("file"));
    sent.server.rot(sent.there("file"));
    let rotted = [pair("tree/file", "rotted")];
    assert_eq!(sent.differences(&[], 1), rotted);
    set_modified(sent.there("file"), 1_500_000_000, 0);
    assert_eq!(sent.differences(&["--adopt"], 1), rotted);
    let to = sent.server.beside().join("back");
    sent.client.ferry("get").arg("box:tree/file").arg(&to).run().code(1).says("damaged");
    assert_eq!(sent.verify(&[], 1), "different  tree/file: it is damaged on the server\n");
    assert_eq!(sent.sends(&[]), 1000);
    assert_eq!(digest(sent.there("file")), good);
    sent.scrub(&[], 0);
}

#[test]
fn a_scrub_for_people_says_what_there_is_to_do() {
    let sent = sent(&[("file", noise(1000, 1))]);
    let well = sent.server.ferryd(&["scrub"]).code(0).says("differences 0");
    assert_eq!(well.stdout(), "");
    sent.server.rot(sent.there("file"));
    let (good, bad) = (digest(sent.source.join("file")), digest(sent.there("file")));
    let found = sent.server.ferryd(&["scrub", "tree/"]).code(1).says("repaired when it is sent again");
    assert_eq!(found.stdout(), format!("rotted      tree/file: it was {good} and is {bad}\n"));
    found.says("compared 2 names, ");
    sent.server.ferryd(&["scrub", "tree/file"]).code(1).says("compared 1 name, ");
    for command in ["scrub", "log"] {
        sent.server.ferryd(&[command, "tree/fil"]).code(1).says("nothing called tree/fil");
    }
    sent.server.ferryd(&["scrub", "../x"]).code(2);
    sent.server.ferryd(&["scrub", "--limit-rate", "0"]).code(2);
}

#[test]
fn who_may_not_overwrite_may_put_back_what_was_received_and_nothing_else() {
    for flags in [&[][..], &["--on-conflict", "keep-both"], &["--on-conflict", "fail"]] {
        let server = Server::start();
        let client = Client::granted(&server, &["--no-overwrite"]);
        let source = write(server.beside().join("file"), noise(1000, 1));
        client.send(&source).run().code(0);
        server.rot(server.inbox().join("file"));
        server.ferryd(&["scrub"]).code(1);
        if flags != ["--on-conflict", "keep-both"] {
            let other = write(server.beside().join("other/file"), noise(1000, 2));
            client.send(&other).args(flags).run().code(1);
        }
        let again = client.send(&source).arg("--json").args(flags).run().code(0);
        assert_eq!((again.total("sent"), server.names()), (1, vec!["file".to_owned()]));
        server.ferryd(&["scrub"]).code(0);
    }
}

#[test]
fn damage_that_is_met_while_a_file_is_given_is_repaired_by_the_next_send_too() {
    let sent = sent(&[("small", noise(1000, 1)), ("large", noise(2 * MIB, 2))]);
    for (name, reads) in [("small", "get"), ("large", "get"), ("small", "verify"), ("large", "verify")] {
        sent.server.rot(sent.there(name));
        match reads {
            "get" => {
                let to = sent.server.beside().join("back").join(name);
                fs::create_dir_all(&to).unwrap();
                sent.client.ferry("get").arg("box:tree").arg(to).run().code(1).says("damaged");
            }
            _ => drop(sent.verify(&["--reread"], 1)),
        }
        let finding = [pair(&format!("tree/{name}"), "rotted")];
        eventually("it is written down", || (sent.findings() == finding).then_some(()));
        assert_eq!(sent.sends(&[]), fs::metadata(sent.there(name)).unwrap().len());
        assert_eq!((sent.findings(), digest(sent.there(name))), (vec![], digest(sent.source.join(name))));
    }
}

#[test]
fn what_was_done_by_hand_is_told_apart_and_can_be_taken_in() {
    let files = ["same", "changed", "longer", "gone", "folder/x", "now-a-link", "behind/x"];
    let sent = sent(&files.map(|name| (name, noise(1000, name.len() as u64))));
    symlink("there", sent.source.join("link")).unwrap();
    sent.client.send(&sent.source).run().code(0);
    // Touched, copied, given another mode: still what was received.
    set_modified(sent.there("same"), 1_234_567_890, 0);
    write(sent.there("changed"), noise(1000, 99));
    write(sent.there("longer"), noise(1001, 99));
    fs::remove_file(sent.there("gone")).unwrap();
    fs::remove_dir_all(sent.there("folder")).unwrap();
    write(sent.there("folder"), "no folder");
    fs::remove_file(sent.there("now-a-link")).unwrap();
    symlink("same", sent.there("now-a-link")).unwrap();
    fs::rename(sent.there("behind"), sent.server.beside().join("outside")).unwrap();
    symlink("../../outside", sent.there("behind")).unwrap();
    fs::remove_file(sent.there("link")).unwrap();
    symlink("elsewhere", sent.there("link")).unwrap();
    let odd = OsStr::from_bytes(b"new/caf\xe9\n");
    write(sent.there("").join(odd), "new");
    symlink("nowhere", sent.there("new/link")).unwrap();
    make_fifo(sent.there("new/fifo"));

    let expected = [
        pair("tree/behind", "missing"),
        pair("tree/behind/x", "missing"),
        pair("tree/changed", "changed"),
        pair("tree/folder", "missing"),
        pair("tree/folder/x", "missing"),
        pair("tree/gone", "missing"),
        pair("tree/link", "changed"),
        pair("tree/longer", "changed"),
        pair("tree/new/caf\\xe9\\n", "unreceipted"),
        pair("tree/new/link", "unreceipted"),
        pair("tree/now-a-link", "missing"),
    ];
    let before = snapshot(sent.server.inbox());
    let outcome = sent.scrub(&[], 1);
    assert_eq!(outcome.statuses(), expected);
    assert_eq!((outcome.total("renewed"), outcome.total("changed"), outcome.total("missing")), (1, 3, 6));
    let new = outcome.objects().into_iter().find(|object| object["name_bytes"].is_array()).unwrap();
    let bytes: Vec<u8> = serde_json::from_value(new["name_bytes"].clone()).unwrap();
    assert_eq!(bytes, b"tree/new/caf\xe9\n");
    assert_eq!(sent.findings().len(), expected.len());
    // The same again, but for what was renewed; and nothing was touched.
    let again = sent.scrub(&[], 1);
    assert_eq!((again.statuses(), again.total("renewed")), (outcome.statuses(), 0));
    assert_eq!(snapshot(sent.server.inbox()), before);

    // What had another kind of thing's name makes way for it.
    let adopted = sent.scrub(&["--adopt"], 0);
    assert!(adopted.statuses().iter().all(|(_, status)| status == "adopted"), "{adopted:?}");
    assert_eq!(adopted.total("adopted"), expected.len() as u64 + 3, "{adopted:?}");
    assert_eq!((sent.findings(), snapshot(sent.server.inbox())), (vec![], before));
    sent.scrub(&[], 0);
    let log = sent.server.ferryd(&["log", "--json", "tree/changed"]).code(0).objects();
    assert_eq!(log.last().unwrap()["client"], "(adopted)");
    assert_eq!(log.last().unwrap()["digest"], digest(sent.there("changed")).to_string());
}

#[test]
fn a_folder_that_was_there_before_ferry_can_be_taken_in() {
    let server = Server::start();
    for number in 0..300 {
        write(server.inbox().join(format!("photos/{}/{number}", number % 7)), noise(100, number));
    }
    let scrub = |flags: &[&str], code| server.ferryd(&[&["scrub", "--json"], flags].concat()).code(code);
    assert_eq!(scrub(&[], 1).total("unreceipted"), 300);
    assert_eq!(scrub(&["--adopt", "photos/3"], 0).total("adopted"), 43);
    assert_eq!(scrub(&["--adopt"], 0).total("adopted"), 257);
    assert_eq!(scrub(&[], 0).total("names"), 300);
    // It is held from now on, without being read.
    let client = Client::paired(&server);
    let source = server.beside().join("photos");
    for number in 0..300 {
        write(source.join(format!("{}/{number}", number % 7)), noise(100, number));
    }
    assert_eq!(client.send(&source).arg("--json").run().code(0).total("bytes"), 0);
}

#[test]
fn promise_3_a_scrub_that_is_killed_goes_on_where_it_was() {
    const LENGTH: usize = 100_000;
    let files: Vec<_> = (10..40).map(|number| (format!("{number}"), noise(LENGTH, number))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let sent = sent(&files);
    sent.server.rot(sent.there("10"));
    let all = (LENGTH * files.len()) as u64;
    for end in [Signal::KILL, Signal::TERM, Signal::INT] {
        let running = sent.server.start_ferryd(&["scrub", "--json", "--limit-rate", "500kB"]);
        let bytes = || -> u64 {
            let bytes =
                sent.server.catalogue().query_row("SELECT bytes FROM passes", [], |row| row.get::<_, i64>(0));
            bytes.map_or(0, |bytes| bytes as u64)
        };
        eventually("it has come a part of the way", || (bytes() > 0).then_some(()));
        running.signal(end);
        let ended = running.wait();
        if end != Signal::KILL {
            let ended = ended.code(5).says("the same command goes on");
            assert_eq!(ended.summary()["exit"], 5);
        }
        let done = bytes();
        assert!(done >= LENGTH as u64 && done < all, "{done}");
        // What it was about is another pass.
        assert_eq!(sent.scrub(&["tree/20"], 0).total("read"), LENGTH as u64);
        let rest = sent.scrub(&[], 1);
        assert_eq!((rest.total("read"), rest.total("bytes")), (all - done, all), "{rest:?}");
        assert_eq!(
            (&rest.summary()["resumed"], rest.total("names")),
            (&Value::Bool(true), files.len() as u64 + 1)
        );
        let found = rest.objects().remove(0);
        assert_eq!((&found["name"], &found["earlier"]), (&"tree/10".into(), &Value::Bool(true)));
        assert_eq!((rest.total("rotted"), rest.statuses().len()), (1, 1));
        // It is over, and the next one begins at the beginning.
        assert_eq!(sent.scrub(&[], 1).total("read"), all);
    }
}

#[test]
fn a_scrub_beside_a_busy_server_raises_no_false_alarm() {
    let sent = sent(&[("a", noise(10, 1))]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ends = Ends(&is_over);
            for round in 0..20 {
                for number in 0..100 {
                    // Names that are new, and names that hold something else each time.
                    write(
                        sent.source.join(format!("{number}")),
                        noise(100 + round, (round * 1000 + number) as u64),
                    );
                    write(sent.source.join(format!("in {round}/{number}")), noise(300, number as u64));
                }
                write(sent.source.join("large"), noise(MIB, round as u64));
                sent.client.send(&sent.source).run().code(0);
            }
        });
        let mut passes = 0;
        while !is_over.load(Ordering::Relaxed) {
            assert_raised_no_alarm(&sent, &sent.scrub(&[], 0));
            passes += 1;
        }
        assert!(passes > 1);
    });
    let last = sent.scrub(&[], 0);
    assert_raised_no_alarm(&sent, &last);
    assert_eq!(last.total("moving"), 0);
}

/// Neither by what a pass tells nor by what it writes down.
fn assert_raised_no_alarm(sent: &Sent, pass: &Outcome) {
    let amiss = ["rotted", "changed", "missing", "unreceipted", "unreadable"].map(|what| pass.total(what));
    assert_eq!((pass.statuses(), amiss, sent.findings()), (vec![], [0; 5], vec![]), "{pass:?}");
}

#[test]
fn hostile_07_links_and_fifos_in_the_inbox_lead_a_scrub_nowhere() {
    let sent = sent(&[("file", noise(1000, 1)), ("folder/file", noise(1000, 2))]);
    let ours = ["file", "folder/file"].map(|name| digest(sent.there(name)));
    let outside = write(sent.server.beside().join("outside/file"), noise(1000, 3));
    let secret = digest(&outside).to_string();
    for flags in [&[][..], &["--adopt"]] {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (aside, place) = (sent.there("../aside"), sent.there("file"));
                let (folder_aside, folder) = (sent.there("../folder-aside"), sent.there("folder"));
                while !is_over.load(Ordering::Relaxed) {
                    fs::rename(&place, &aside).unwrap();
                    make_fifo(&place);
                    fs::remove_file(&place).unwrap();
                    symlink(&outside, &place).unwrap();
                    fs::rename(&folder, &folder_aside).unwrap();
                    symlink(outside.parent().unwrap(), &folder).unwrap();
                    fs::remove_file(&folder).unwrap();
                    fs::rename(&folder_aside, &folder).unwrap();
                    fs::rename(&aside, &place).unwrap();
                }
            });
            let _ends = Ends(&is_over);
            for _ in 0..20 {
                let outcome = sent.server.ferryd(&[&["scrub", "--json"], flags].concat());
                assert!(matches!(outcome.status.code(), Some(0 | 1)), "{outcome:?}");
                assert!(!outcome.stdout().contains(&secret) && outcome.total("rotted") == 0, "{outcome:?}");
            }
        });
    }
    // Nothing of it was taken in as if it were here.
    let log = sent.server.ferryd(&["log", "--json"]).code(0).stdout();
    assert!(!log.contains(&secret), "{log}");
    // No row has ever been of anything but what was here, and of links as links.
    let outside = outside.to_str().unwrap();
    let rows = sent.rows("");
    for Known { name, kind, holds } in &rows {
        let may_be = match (&**name, &**kind) {
            ("tree" | "tree/folder", "folder") => holds.is_empty(),
            ("tree/file" | "aside", "file") => *holds == ours[0].bytes(),
            ("tree/folder/file" | "folder-aside/file", "file") => *holds == ours[1].bytes(),
            ("tree/file", "symlink") => holds == outside.as_bytes(),
            ("tree/folder", "symlink") => holds == outside.strip_suffix("/file").unwrap().as_bytes(),
            _ => false,
        };
        assert!(may_be, "{name} has the row of a {kind}: {rows:?}");
    }
    // And those of what has stayed are what they were.
    sent.scrub(&["--adopt"], 0);
    sent.scrub(&[], 0);
    let now = sent.rows("WHERE until IS NULL AND kind <> 'folder'");
    let file = |name: &str, digest: Digest| Known {
        name: name.to_owned(),
        kind: "file".to_owned(),
        holds: digest.bytes().to_vec(),
    };
    assert_eq!(now, [file("tree/file", ours[0]), file("tree/folder/file", ours[1])]);
}

#[test]
fn a_root_whose_disk_is_not_there_is_not_taken_for_one_from_which_all_was_removed() {
    let sent = sent(&[("file", noise(1000, 1))]);
    fs::rename(sent.there(""), sent.server.beside().join("away")).unwrap();
    sent.server.ferryd(&["scrub", "--adopt"]).code(1).says("is its disk mounted?");
    fs::rename(sent.server.beside().join("away"), sent.there("")).unwrap();
    sent.scrub(&[], 0);
}

#[test]
fn what_a_server_has_read_for_a_client_it_need_not_read_again() {
    let sent = sent(&[("touched", noise(2 * MIB, 1)), ("small", noise(1000, 2))]);
    set_modified(sent.there("touched"), 1_234_567_890, 7);
    let stamp = |name: &str| -> Vec<u8> {
        let query = "SELECT stamp FROM files WHERE CAST(path AS TEXT) = ?1 AND until IS NULL";
        sent.server.catalogue().query_row(query, [name], |row| row.get(0)).unwrap()
    };
    let before = stamp("tree/touched");
    assert_eq!(sent.verify(&[], 0), "");
    eventually("its row is renewed", || (stamp("tree/touched") != before).then_some(()));
    // The time is the one that it has been given.
    let objects = sent.client.ferry("ls").args(["box:tree/touched", "--json"]).run().code(0).objects();
    assert_eq!(objects[0]["modified"], "1234567890.000000007");
    assert_eq!(objects[0]["digest"], digest(sent.there("touched")).to_string());

    let by_blake3 = Algorithm::Blake3.digest(&noise(1000, 2));
    sent.client.ferry("ls").args(["box:tree", "--digests", "--digest", "blake3"]).run().code(0);
    let known = || -> Option<Vec<u8>> {
        let query = "SELECT blake3 FROM files WHERE CAST(path AS TEXT) = 'tree/small'";
        sent.server.catalogue().query_row(query, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(eventually("the other digest is kept, too", known), by_blake3.bytes());
    // All digests of a row are compared.
    sent.scrub(&[], 0);
}
