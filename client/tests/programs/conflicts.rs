//! Where another file has the name.

use std::{fs, path::PathBuf};

use crate::support::{Client, Server, noise, write};

/// A server that holds `old` as `name.txt`, and a client that has `new` of that name.
struct Taken {
    server: Server,
    client: Client,
    source: PathBuf,
}

const OLD: &[u8] = b"what was there";

fn taken(new: &[u8]) -> Taken {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("name.txt"), OLD);
    client.send(&source).run().code(0);
    fs::write(&source, new).unwrap();
    Taken { server, client, source }
}

impl Taken {
    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.server.inbox().join(name)).unwrap()
    }
}

#[test]
fn replace_is_what_happens() {
    let taken = taken(b"new");
    taken.client.send(&taken.source).run().code(0);
    assert_eq!(taken.read("name.txt"), b"new");
    fs::write(&taken.source, "newer").unwrap();
    taken.client.send(&taken.source).args(["--on-conflict", "replace"]).run().code(0);
    assert_eq!(taken.read("name.txt"), b"newer");
    assert_eq!(taken.server.names(), ["name.txt"]);
}

#[test]
fn keep_both_numbers_the_new_one_and_never_makes_a_second_copy() {
    for new in [&b"new"[..], &noise(2_000_000, 1)] {
        let taken = taken(new);
        let send = || taken.client.send(&taken.source).args(["--on-conflict", "keep-both", "--json"]).run();
        let outcome = send().code(0);
        assert_eq!(outcome.statuses(), [("name (2).txt".to_owned(), "sent".to_owned())]);
        // Its receipt was lost, so to say.
        let outcome = send().code(0);
        assert_eq!(outcome.statuses(), [("name (2).txt".to_owned(), "held".to_owned())]);
        assert_eq!(outcome.total("bytes"), 0);
        assert_eq!(taken.server.names(), ["name (2).txt", "name.txt"]);
        assert_eq!((taken.read("name.txt"), taken.read("name (2).txt")), (OLD.to_vec(), new.to_vec()));

        fs::write(&taken.source, "a third").unwrap();
        send().code(0);
        assert_eq!(taken.read("name (3).txt"), b"a third");
        // What is there under its own name is held there.
        fs::write(&taken.source, OLD).unwrap();
        assert_eq!(send().code(0).statuses(), [("name.txt".to_owned(), "held".to_owned())]);
        assert_eq!(taken.server.names(), ["name (2).txt", "name (3).txt", "name.txt"]);
    }
}

#[test]
fn skip_and_fail_leave_the_old_one_and_count_as_failed() {
    for policy in ["skip", "fail"] {
        for new in [&b"new"[..], &noise(2_000_000, 1), &OLD.to_ascii_uppercase()] {
            let taken = taken(new);
            let other = write(taken.server.beside().join("other"), "other");
            let send = |flags: &[&str]| {
                let ferry = taken.client.ferry("send").args([&taken.source, &other]).arg("box");
                ferry.args(["--on-conflict", policy]).args(flags).run()
            };
            send(&[]).code(1).says("name.txt");
            let outcome = send(&["--json"]).code(1);
            let expected = [("name.txt", "failed"), ("other", "held")];
            assert_eq!(outcome.statuses(), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
            assert_eq!((outcome.total("bytes"), outcome.total("failed")), (0, 1));
            assert_eq!(taken.read("name.txt"), OLD);
            assert_eq!(taken.server.names(), ["name.txt", "other"]);
            // The same bytes are no conflict.
            fs::write(&taken.source, OLD).unwrap();
            send(&[]).code(0);
        }
    }
}

#[test]
fn a_file_never_takes_the_place_of_a_folder_nor_a_folder_that_of_a_file() {
    let server = Server::start();
    let client = Client::paired(&server);
    let at = |name: &str| server.beside().join("source").join(name);
    write(at("1/name/file"), "in a folder");
    write(at("2/name"), "a file");
    for (first, second) in [("1", "2"), ("2", "1")] {
        let folder = format!("first-{first}");
        let send = |source: &str| client.send(at(source).join("name")).args(["--dir", &folder]);
        send(first).run().code(0);
        let before = server.names();
        for policy in ["replace", "skip", "fail"] {
            send(second).args(["--on-conflict", policy]).run().code(1).says("name");
            assert_eq!(server.names(), before);
        }
    }
    assert_eq!(fs::read(server.inbox().join("first-2/name")).unwrap(), b"a file");
    assert_eq!(fs::read(server.inbox().join("first-1/name/file")).unwrap(), b"in a folder");
}

#[test]
fn links_keep_to_the_same_rules() {
    let server = Server::start();
    let client = Client::paired(&server);
    let link = server.beside().join("link");
    std::os::unix::fs::symlink("old", &link).unwrap();
    client.send(&link).run().code(0);
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("new", &link).unwrap();
    let there = |name: &str| fs::read_link(server.inbox().join(name)).unwrap();
    let send = |policy: &str| client.send(&link).args(["--on-conflict", policy]).run();
    send("skip").code(1).says("link");
    send("fail").code(1).says("link");
    assert_eq!(there("link"), PathBuf::from("old"));
    send("keep-both").code(0);
    send("keep-both").code(0);
    assert_eq!(server.names(), ["link", "link (2)"]);
    assert_eq!((there("link"), there("link (2)")), ("old".into(), "new".into()));
    send("replace").code(0);
    assert_eq!(there("link"), PathBuf::from("new"));
}
