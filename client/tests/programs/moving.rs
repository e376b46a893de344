//! `--move`: promise 7 says when a source may go.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use ferry_proto::{Answer, Done, Message, Receipt, Verdict};
use rustix::process::Signal;

use crate::support::{
    Client, FakeServer, Plan, Proxy, Server, Wire, assert_same_contents, eventually, is_root, left_out,
    names, noise, set_mode, set_modified, snapshot, without_privileges, write,
};

const MIB: usize = 1024 * 1024;

#[test]
fn promise_7_what_has_arrived_goes_and_everything_else_stays() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("card");
    write(root.join("DCIM/1.jpg"), noise(10_000, 1));
    write(root.join("DCIM/2.jpg"), noise(3 * MIB, 2));
    write(root.join("DCIM/index.dat"), "the camera's own");
    symlink("DCIM/1.jpg", root.join("latest")).unwrap();
    let before = snapshot(&root);
    client.send(&root).args(["--move", "-n"]).run().code(0);
    assert_eq!(snapshot(&root), before, "a dry run removes nothing");
    client.send(&root).args(["--move", "--exclude", "*.dat"]).run().code(0);
    assert_eq!(names(&root), ["DCIM", "DCIM/index.dat"]);
    let there = ["card", "card/DCIM", "card/DCIM/1.jpg", "card/DCIM/2.jpg", "card/latest"];
    assert_eq!(server.names(), there);
    // What the server holds already is as good as what it gets.
    let again = write(root.join("DCIM/1.jpg"), noise(10_000, 1));
    let outcome = client.send(&root).args(["--move", "--exclude", "*.dat", "--json"]).run().code(0);
    assert!(outcome.statuses().contains(&("card/DCIM/1.jpg".into(), "held".into())), "{outcome:?}");
    assert!(!again.exists());
}

#[test]
fn what_is_moved_takes_nobodys_place() {
    let server = Server::start();
    let client = Client::paired(&server);
    let picture = server.beside().join("IMG_1.jpg");
    for content in ["first", "second", "second", "third"] {
        write(&picture, content);
        client.send(&picture).arg("--move").run().code(0);
        assert!(!picture.exists());
    }
    assert_eq!(server.names(), ["IMG_1 (2).jpg", "IMG_1 (3).jpg", "IMG_1.jpg"]);
    write(&picture, "fourth");
    client.send(&picture).args(["--move", "--on-conflict", "fail"]).run().code(1);
    assert_eq!(fs::read(&picture).unwrap(), b"fourth", "it has not arrived");
    client.send(&picture).args(["--move", "--on-conflict", "replace"]).run().code(0);
    assert_eq!(fs::read(server.inbox().join("IMG_1.jpg")).unwrap(), b"fourth");
}

/// Sends one file to a server that takes it, and lets something be done to it before the receipt.
fn changed_before_its_receipt(change: impl FnOnce(&Path) + Send + 'static) -> (PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path().join("file"), noise(2 * MIB, 1));
    let changed = file.clone();
    let server = FakeServer::start(vec![Box::new(move |wire: &mut Wire| {
        wire.let_in();
        let seq = wire.offered().seq;
        wire.say(Verdict { seq, answer: Answer::Send { offset: 0, prefix: None } });
        let (_, bytes, digest) = wire.take_body();
        change(&changed);
        wire.say(Receipt { seq, digest: Some(digest), path: None });
        while !matches!(wire.message(), Message::Done(_)) {}
        wire.say(Done { entries: 1, bytes: bytes.len() as u64 });
        wire.last_words();
    })]);
    let client = Client::new();
    let send = client.ferry("send").arg(&file).args(["--to", &server.invite(), "--move"]);
    send.run().code(1).says("file: it has arrived, and stays here: it changed");
    server.finish();
    (file, folder)
}

#[test]
fn promise_7_a_file_that_is_no_longer_what_was_read_stays() {
    let (file, _folder) = changed_before_its_receipt(|file| {
        OpenOptions::new().append(true).open(file).unwrap().write_all(b"more").unwrap();
    });
    assert_eq!(file.metadata().unwrap().len() as usize, 2 * MIB + 4);
    let (file, _folder) = changed_before_its_receipt(|file| {
        let modified = file.metadata().unwrap().modified().unwrap();
        fs::write(file, noise(2 * MIB, 2)).unwrap();
        fs::File::options().write(true).open(file).unwrap().set_modified(modified).unwrap();
    });
    assert!(fs::read(file).unwrap() == noise(2 * MIB, 2), "the same size and time are not the same file");
    let (file, _folder) = changed_before_its_receipt(|file| {
        fs::rename(write(file.with_extension("new"), "another one"), file).unwrap();
    });
    assert_eq!(fs::read(file).unwrap(), b"another one");
    let (file, _folder) = changed_before_its_receipt(|file| {
        fs::rename(file, file.with_extension("old")).unwrap();
        symlink("file.old", file).unwrap();
    });
    assert!(file.is_symlink() && file.with_extension("old").exists());
}

#[test]
fn promise_7_a_file_without_a_receipt_stays_whatever_is_killed() {
    let mut arrived_first = 0;
    for round in 0..6 {
        let mut server = Server::start();
        let proxy = Proxy::to(server.address());
        let client = Client::new();
        client.pair(&server.invite_at(proxy.address()));
        let (root, copy) = (server.beside().join("card"), server.beside().join("copy"));
        for number in 0..60 {
            let bytes = noise(if number % 20 == 0 { 3 * MIB } else { 20_000 }, number);
            for tree in [&root, &copy] {
                set_modified(write(tree.join(format!("{number}")), &bytes), 1_600_000_000, 0);
            }
        }
        let start = proxy.to_server();
        let mut running = client.send(&root).args(["--move", "--retry", "0"]).start();
        if round < 2 {
            proxy.wait_for(start + 100_000 + round * 1_500_000);
        } else {
            let few = 60 - 10 * round as usize;
            let left = || std::fs::read_dir(&root).unwrap().count();
            eventually("some are gone", || (left() <= few || running.has_ended()).then_some(()));
        }
        // On even rounds the client, on odd ones the server.
        match round % 2 {
            0 => running.signal(Signal::KILL),
            _ => server.kill(),
        }
        running.wait();
        arrived_first += check(&copy, &root, server.inbox());
        if round % 2 == 1 {
            server.restart();
        }
        client.send(&root).arg("--move").run().code(0);
        assert_eq!(names(&root), Vec::<String>::new());
        assert_same_contents(&copy, &server.inbox().join("card"));
    }
    assert!(arrived_first > 0, "every kill came before anything had arrived");
}

/// Everything is here or there, whole. Returns how many are only there.
fn check(copy: &Path, root: &Path, inbox: &Path) -> usize {
    let mut gone = 0;
    for name in names(copy) {
        let whole = fs::read(copy.join(&name)).unwrap();
        match fs::read(root.join(&name)) {
            Ok(bytes) => assert!(bytes == whole, "{name} is not what it was"),
            Err(_) => {
                assert!(fs::read(inbox.join("card").join(&name)).unwrap() == whole, "{name} is lost");
                gone += 1;
            }
        }
    }
    gone
}

#[test]
fn what_cannot_be_removed_is_told() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("card");
    write(root.join("closed/a"), "a");
    write(root.join("open/b"), "b");
    set_mode(root.join("closed"), 0o555);
    set_mode(root.join("open"), 0o777);
    let send = client.wrapped(without_privileges(), "send").arg(&root).args(["--to", "box", "--move"]);
    let outcome = send.run().code(1);
    outcome.says("closed/a: it has arrived, and stays here: ").says("kept here 1");
    assert_eq!(names(&root), ["closed", "closed/a", "open"]);
    assert_eq!(fs::read(server.inbox().join("card/closed/a")).unwrap(), b"a");
    set_mode(root.join("closed"), 0o755);
}

#[test]
fn a_file_that_has_grown_stays() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let log = write(server.beside().join("log"), noise(48 * MIB, 1));
    set_modified(&log, 1_600_000_000, 0);
    proxy.set(Plan::SilentAfter(1_000_000));
    let running = client.send(&log).args(["--move", "--retry", "0"]).start();
    proxy.falls_silent();
    OpenOptions::new().append(true).open(&log).unwrap().write_all(b"one more line").unwrap();
    proxy.set(Plan::Forward);
    running.wait().code(1).says("it stays here, because it has grown");
    assert_eq!(log.metadata().unwrap().len() as usize, 48 * MIB + 13);
}

#[test]
fn promise_7_nothing_is_moved_out_of_an_inbox() {
    let server = Server::start();
    let client = Client::paired(&server);
    let file = write(server.beside().join("photos/1.jpg"), "the only copy");
    client.send(file.parent().unwrap()).run().code(0);
    // It would be held there, being the same file, and then it would be removed.
    for source in ["photos", "photos/1.jpg"] {
        let send = client.send(server.inbox().join(source)).arg("--move");
        send.run().code(2).says("the inbox of a server");
    }
    assert_eq!(fs::read(server.inbox().join("photos/1.jpg")).unwrap(), b"the only copy");
    client.send("-").args(["--name", "x", "--move"]).stdin("x").run().code(2);
    client.send(&file).args(["--links", "follow", "--move"]).run().code(2);
}

#[test]
fn promise_7_the_receipts_of_what_is_gone_are_not_lost_with_the_next_run() {
    let server = Server::start();
    let client = Client::paired(&server);
    let (root, receipts) = (server.beside().join("card"), server.beside().join("card.sha256"));
    let send = || client.send(&root).arg("--move").arg("--receipts").arg(&receipts).run().code(0);
    let lines = || fs::read_to_string(&receipts).unwrap().lines().count();
    for expected in [1, 2] {
        write(root.join(format!("{expected}")), noise(1000, expected as u64));
        send();
        assert_eq!(lines(), expected);
    }
    // Nothing is left to be moved.
    send();
    assert_eq!(lines(), 2);
    let mut check = std::process::Command::new("sha256sum");
    check.args(["--check", "--quiet"]).arg(&receipts).current_dir(server.inbox());
    crate::support::run(check).code(0);
    // Nor does another run without any take the place of those that are there.
    client.send(server.beside().join("none")).arg("--receipts").arg(&receipts).run().code(1);
    assert_eq!(lines(), 2);
}

#[test]
fn promise_7_the_servers_own_file_is_not_moved_through_a_mount() {
    let server = Server::start();
    let client = Client::paired(&server);
    let file = write(server.beside().join("photos/1.jpg"), "the only copy");
    symlink("1.jpg", server.beside().join("photos/link")).unwrap();
    client.send(file.parent().unwrap()).run().code(0);
    let (there, seen) = (server.inbox().join("photos"), server.beside().join("seen"));
    fs::create_dir(&seen).unwrap();
    let mount = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
    let namespace = if is_root() { "-m" } else { "-Urm" };
    let words = [there.display().to_string(), seen.display().to_string()];
    let mut wrapper = vec!["unshare", namespace, "sh", "-c", mount];
    wrapper.extend(words.map(|word| &*word.leak()));
    let wrapper: &[&'static str] = wrapper.leak();
    let possible = std::process::Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        return left_out("this machine gives no mount namespaces");
    }
    let send = client.wrapped(wrapper, "send").arg(format!("{}/", seen.display()));
    send.args(["--to", "box:photos", "--move"]).run().code(1).says("the very file");
    assert_eq!(fs::read(there.join("1.jpg")).unwrap(), b"the only copy");
    assert!(there.join("link").is_symlink());
}

#[test]
fn promise_7_what_lies_in_an_inbox_below_the_source_stays() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("all");
    write(root.join("own"), "own");
    for name in [".ferry/catalogue.db", "photos/1.jpg"] {
        write(root.join("inbox").join(name), name);
    }
    client.send(&root).arg("--move").run().code(1).says("lies in the inbox of a server");
    assert_eq!(
        names(&root),
        ["inbox", "inbox/.ferry", "inbox/.ferry/catalogue.db", "inbox/photos", "inbox/photos/1.jpg"]
    );
}

#[test]
fn promise_7_a_held_file_has_been_read_before_its_source_goes() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("file"), noise(1000, 1));
    let there = |name: &str| fs::read(server.inbox().join(name)).ok();
    let the_last = || Some(noise(1000, 1));
    for policy in ["replace", "keep-both"] {
        write(&source, noise(1000, 1));
        client.send(&source).run().code(0);
        server.rot(server.inbox().join("file"));
        client.send(&source).args(["--move", "--on-conflict", policy]).run().code(0);
        assert!(!source.exists());
        assert!(
            there("file") == the_last(),
            "what was held had rotted, and its source was the last good copy"
        );
    }
    // Nor is a copy beside another file taken for well.
    write(&source, noise(2000, 2));
    client.send(&source).run().code(0);
    write(&source, noise(1000, 1));
    client.send(&source).args(["--on-conflict", "keep-both"]).run().code(0);
    server.rot(server.inbox().join("file (2)"));
    client.send(&source).arg("--move").run().code(0);
    assert!(!source.exists());
    assert!(there("file (2)") == the_last() || there("file (3)") == the_last(), "{:?}", server.names());
    assert!(there("file") == Some(noise(2000, 2)));
}

#[test]
fn names_of_one_file_are_not_moved_as_that() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("file"), "x");
    client.send(&source).args(["--move", "--hard-links"]).run().code(2);
}
