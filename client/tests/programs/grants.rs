//! What a client may do.

use std::{
    fs,
    time::{Duration, Instant},
};

use ferry_proto::{Algorithm, Code, Conflict, Get, List, Message, Request, Verb, Wants};
use rusqlite::{Connection, ToSql};

use crate::support::{
    Client, Peer, Server, assert_same_contents, assert_same_file, assert_same_tree, eventually, hello,
    is_root, left_out, noise, set_modified, snapshot, write,
};

/// Changes the grants of every client.
fn grant(server: &Server, what: &str, value: impl ToSql) {
    let catalogue = Connection::open(server.inbox().join(".ferry/catalogue.db")).unwrap();
    catalogue.execute(&format!("UPDATE grants SET {what} = ?1"), [value]).unwrap();
}

#[test]
fn promise_4_a_grant_for_a_folder_ends_at_that_folder() {
    let server = Server::start();
    let client = Client::granted(&server, &["--path", "photos/2026"]);
    assert!(server.inbox().join("photos/2026").is_dir(), "the folder is made with the invite");
    write(server.inbox().join("photos/other"), "somebody else's");
    write(server.inbox().join("file"), "somebody else's");
    let source = server.beside().join("source");
    write(source.join("file"), "content");
    write(source.join("photos/other"), "content");
    let receipts = server.beside().join("receipts");
    let send = || client.send(format!("{}/", source.display()));
    let outcome = send().args(["--json", "--receipts"]).arg(&receipts).run().code(0);
    assert_same_contents(&source, &server.inbox().join("photos/2026"));
    for name in ["photos/other", "file"] {
        assert_eq!(fs::read(server.inbox().join(name)).unwrap(), b"somebody else's");
    }
    // It does not even learn where that folder is.
    let told = outcome.stdout() + &fs::read_to_string(&receipts).unwrap();
    assert!(!told.contains("2026"), "{told}");
    let again = send().arg("--json").run().code(0);
    assert_eq!((again.total("sent"), again.total("bytes")), (0, 0));
    client.send(&source).args(["--dir", "../up"]).run().code(2);

    // The server's own folder has its name at the top of the inbox only; in a grant it is like any other.
    write(source.join("file"), "another");
    send().args(["--on-conflict", "keep-both", "-v"]).run().code(0).says("sent  file (2)");
    assert_eq!(fs::read(server.inbox().join("photos/2026/file (2)")).unwrap(), b"another");
}

#[test]
fn hostile_15_no_overwrite_holds_by_every_route() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("file"), "content");
    std::os::unix::fs::symlink("old", source.join("link")).unwrap();
    write(source.join("folder/inside"), "content");
    client.send(&source).run().code(0);
    grant(&server, "overwrite", 0);
    let before = snapshot(server.inbox());

    // Other bytes, another time, another target, another kind.
    write(source.join("file"), "others!");
    fs::remove_file(source.join("link")).unwrap();
    std::os::unix::fs::symlink("new", source.join("link")).unwrap();
    set_modified(source.join("folder/inside"), 1_000_000_000, 0);
    crate::support::set_mode(source.join("folder/inside"), 0o600);
    set_modified(source.join("folder"), 1_000_000_000, 0);
    for policy in ["replace", "skip", "fail"] {
        let outcome = client.send(&source).args(["--on-conflict", policy]).run().code(1);
        let outcome = outcome.says("source/file: ").says("source/link: ");
        assert_eq!(outcome.stderr().lines().filter(|line| line.starts_with("ferry: ")).count(), 2);
        assert_eq!(snapshot(server.inbox()), before);
    }
    let (file, link) = (source.join("file"), source.join("link"));
    client.send(&link).args(["--name", "source/file"]).run().code(1).says("source/file: ");
    client.send(&file).args(["--name", "source/link"]).run().code(1).says("source/link: ");
    client.send(&file).args(["--name", "source/folder"]).run().code(1).says("source/folder: ");
    client.send("-").args(["--name", "source/file"]).stdin("stream").run().code(1).says("source/file: ");
    assert_eq!(snapshot(server.inbox()), before);
    // Something new is no overwriting.
    client.send(&file).args(["--name", "source/new"]).run().code(0);
    assert_same_file(&file, &server.inbox().join("source/new"));
    client.send(&file).args(["--on-conflict", "keep-both", "--name", "source/file"]).run().code(0);
    assert_same_file(&file, &server.inbox().join("source/file (2)"));
    for (name, node) in before.iter().filter(|(name, _)| !b"source".starts_with(name)) {
        assert_eq!(&snapshot(server.inbox())[name], node);
    }
}

#[test]
fn a_client_that_may_not_send_is_told_so() {
    let server = Server::start();
    let client = Client::granted(&server, &["--can", "get,list"]);
    let file = write(server.beside().join("file"), "content");
    client.send(&file).run().code(4).says("may not send");
    assert_eq!((server.names(), server.staged()), (vec![], vec![]));
}

#[test]
fn hostile_15_what_a_grant_has_no_verb_for_is_refused() {
    let server = Server::start();
    let link = server.invite_with(&["--can", "put"]);
    let mut peer = Peer::enrolled_by(&server, &link);
    let (paths, digest) = (Vec::new(), Algorithm::Sha256);
    let get = Verb::Get(Get { paths: paths.clone(), digest, wants: Wants::default() });
    let list = Verb::List(List { paths, digest, recursive: false, reread: false, wants: Wants::default() });
    for verb in [get, list] {
        peer.say(Request { id: 1, verb });
        match peer.message() {
            Message::Rejected(rejected) => assert_eq!(rejected.code, Code::NotAllowed),
            other => panic!("not rejected, but {other:?}"),
        }
    }
}

#[test]
fn hostile_15_a_quota_holds_for_many_connections_at_once() {
    let server = Server::start();
    let client = Client::granted(&server, &["--quota", "1MB"]);
    let source = server.beside().join("source");
    for number in 0..60 {
        write(source.join(number.to_string()), noise(50_000, number));
    }
    let outcome = client.send(&source).args(["--jobs", "4", "--json"]).run().code(1);
    assert_eq!((outcome.total("sent"), outcome.total("failed")), (20 + 1, 40), "{outcome:?}");
    client.send(write(server.beside().join("one"), "1")).run().code(1).says("quota of 1.0 MB");
    assert!(server.ferryd(&["clients", "--json"]).code(0).stdout().contains("\"used\":1000000"));
    assert_eq!(server.staged(), []);
}

#[test]
fn hostile_15_revoking_ends_a_running_session() {
    let server = Server::start();
    let client = Client::granted(&server, &["--name", "laptop"]);
    let source = write(server.beside().join("large"), noise(40 * 1024 * 1024, 1));
    let running = client.send(&source).args(["--limit-rate", "2MB", "--retry", "forever"]).start();
    eventually("bytes on their way", || server.staged().iter().any(|(_, length)| *length > 0).then_some(()));
    server.ferryd(&["revoke", "laptop"]).code(0);
    running.wait().code(4).says("revoked");
    server.logged(&["cut", "client=laptop"]);
    assert_eq!(server.names(), [""; 0]);
    server.ferryd(&["revoke", "laptop"]).code(1).says("revoked before");
    server.ferryd(&["revoke", "phone"]).code(1).says("is called phone");
    assert!(server.ferryd(&["clients"]).code(0).stdout().contains("laptop  revoked"));
}

#[test]
fn hostile_15_revoking_and_expiry_work_within_a_second() {
    // And the time that a busy machine takes.
    let patience = Duration::from_secs(3);
    let server = Server::start();
    let mut revoked = Peer::enrolled_by(&server, &server.invite_with(&["--name", "revoked"]));
    revoked.put(Conflict::Replace);
    server.ferryd(&["revoke", "revoked"]).code(0);
    let since = Instant::now();
    assert_eq!(revoked.thrown_out(), Code::Revoked);
    assert!(since.elapsed() < patience, "{:?}", since.elapsed());

    let mut expired = Peer::enrolled_by(&server, &server.invite_with(&["--name", "expired"]));
    expired.put(Conflict::Replace);
    let since = Instant::now();
    grant(&server, "expires", 1);
    assert_eq!(expired.thrown_out(), Code::Expired);
    assert!(since.elapsed() < patience, "{:?}", since.elapsed());
}

#[test]
fn hostile_15_a_grant_for_one_folder_reaches_no_other() {
    let server = Server::setup().args(["--no-confine"]).start();
    let (one, two) =
        (Client::granted(&server, &["--path", "one"]), Client::granted(&server, &["--path", "two"]));
    let source = write(server.beside().join("source/file"), "content of one");
    two.send(&source).run().code(0);
    let before = snapshot(&server.inbox().join("two"));
    // The server's owner may have links from one to the other; no client gets through them.
    std::os::unix::fs::symlink("../two", server.inbox().join("one/folder")).unwrap();
    std::os::unix::fs::symlink("../two/file", server.inbox().join("one/file")).unwrap();
    let other = write(server.beside().join("other"), "another's");
    one.send(&other).args(["--name", "folder/file"]).run().code(1).says("folder/file: ");
    one.send(&other).args(["--name", "file"]).run().code(0);
    assert_eq!(fs::read(server.inbox().join("one/file")).unwrap(), b"another's");
    assert_eq!(snapshot(&server.inbox().join("two")), before);
}

#[test]
fn hostile_15_naming_a_digest_neither_tells_nor_gives_what_another_holds() {
    let server = Server::start();
    let content = noise(100_000, 1);
    let holder = Client::granted(&server, &["--path", "one"]);
    holder.send(write(server.beside().join("secret"), &content)).run().code(0);
    let mut peer = Peer::enrolled_by(&server, &server.invite_with(&["--path", "two"]));
    peer.put(Conflict::Replace);
    let digest = ferry_proto::Algorithm::Sha256.digest(&content);
    for (seq, name) in [(0, "secret"), (1, "other"), (2, "one/secret")] {
        peer.offer(seq, name, content.len() as u64, Some(digest));
        assert_eq!(peer.asked(seq), 0, "{name}: as if nobody held it");
    }
    // Whoever cannot send it has nothing.
    peer.body(0, &noise(content.len(), 2), digest);
    assert_eq!(peer.failure(0), Code::DigestMismatch);
    assert_eq!(server.names(), ["one", "one/secret", "two"]);
}

#[test]
fn hostile_15_a_quota_holds_over_a_restart_and_for_what_the_owner_has_changed() {
    let mut server = Server::start();
    let client = Client::granted(&server, &["--quota", "1MB"]);
    let folder = server.beside().to_owned();
    let file = |name: &str, length: usize| write(folder.join(name), noise(length, length as u64));
    let (large, small, medium) = (file("large", 900_000), file("small", 200_000), file("medium", 50_000));
    client.send(&large).run().code(0);
    server.kill();
    server.restart();
    client.send(&small).run().code(1).says("quota of 1.0 MB");
    // Replacing takes room for both.
    client.send(&small).args(["--name", "large"]).run().code(1).says("quota of 1.0 MB");
    client.send(&medium).args(["--name", "large"]).run().code(0);
    client.send(&small).run().code(0);
    // What its owner removes comes back when its name is offered again.
    client.send(file("most", 750_000)).run().code(0);
    for name in ["most", "small"] {
        fs::remove_file(server.inbox().join(name)).unwrap();
    }
    client.send(&small).run().code(0);
    client.send(file("most", 750_000)).run().code(0);
    assert!(server.ferryd(&["clients", "--json"]).code(0).stdout().contains("\"used\":1000000"));
}

#[test]
fn hostile_15_a_grant_whose_time_is_over_ends_a_running_session() {
    let server = Server::start();
    let client = Client::granted(&server, &["--grant-expires", "8s"]);
    let source = write(server.beside().join("large"), noise(40 * 1024 * 1024, 1));
    let send = || client.send(&source).args(["--limit-rate", "2MB", "--retry", "forever"]);
    send().run().code(4).says("time of this client's grant is over");
    send().run().code(4).says(format!("is over, as it is {}", &jiff::Timestamp::now().to_string()[..10]));
    assert!(server.ferryd(&["clients"]).code(0).stdout().contains("  expired  "));
    // A new invite is the owner's word.
    client.pair(&server.invite());
    client.send(&source).run().code(0);
}

#[test]
fn hostile_15_a_revoked_client_is_not_let_in_by_any_link_that_it_has() {
    let server = Server::start();
    let client = Client::new();
    let link = server.invite_with(&["--uses", "5"]);
    client.pair(&link);
    let (_, identity) = Peer::enrolled(&server);
    let catalogue = Connection::open(server.inbox().join(".ferry/catalogue.db")).unwrap();
    catalogue.execute("UPDATE clients SET revoked = 1", []).unwrap();
    let file = write(server.beside().join("file"), "content");
    client.send(&file).run().code(4).says("revoked").says("ask for a new invite and run `ferry pair` again");
    client.ferry("send").arg(&file).args(["--to", &link]).run().code(4).says("revoked");
    client.ferry("pair").arg(&link).run().code(4).says("revoked");
    let mut peer = Peer::connect(&server, &identity);
    peer.say(hello(None));
    assert_eq!(peer.thrown_out(), Code::Revoked);
    assert_eq!(server.names(), [""; 0]);
    // A new invite is the owner's word.
    client.pair(&server.invite());
    client.send(&file).run().code(0);
}

#[test]
fn hostile_15_whoever_is_revoked_leaves_no_open_link_behind() {
    let server = Server::start();
    let link = server.invite_with(&["--name", "laptop", "--uses", "5"]);
    let second = server.invite_with(&["--name", "laptop"]);
    let other = server.invite_with(&["--name", "phone"]);
    Client::new().pair(&link);
    let listed = server.ferryd(&["clients"]).code(0).stdout();
    assert_eq!(listed.matches("invited").count(), 3, "{listed}");
    server.ferryd(&["revoke", "laptop"]).code(0).says("laptop is shut out").says("2 links");
    for link in [&link, &second] {
        Client::new().ferry("pair").arg(link).run().code(4).says("invite");
    }
    // A link that is no secret any more is closed by itself.
    server.ferryd(&["revoke", &other]).code(0);
    server.ferryd(&["revoke", &other]).code(1).says("not open");
    Client::new().ferry("pair").arg(other).run().code(4).says("invite");
    let listed = server.ferryd(&["clients", "--json"]).code(0).stdout();
    assert!(listed.contains("\"revoked\"") && !listed.contains("invited"), "{listed}");
}

#[test]
fn hostile_15_another_link_gives_a_known_client_its_grant_at_once() {
    let server = Server::start();
    let client = Client::granted(&server, &["--name", "laptop"]);
    let (first, second) =
        (write(server.beside().join("first"), "1"), write(server.beside().join("second"), "2"));
    client.send(&first).run().code(0);
    let large = write(server.beside().join("large"), noise(20 * 1024 * 1024, 1));
    let running = client.send(&large).args(["--limit-rate", "4MB"]).start();
    eventually("a second session", || (server.log().matches("connected").count() == 3).then_some(()));
    let link = server.invite_with(&["--path", "narrow", "--no-overwrite"]);
    client.pair(&link);
    server.logged(&["another grant", "client=laptop"]);
    // What was under way goes on under the new grant, and nowhere else.
    running.wait().code(0);
    assert_same_file(&large, &server.inbox().join("narrow/large"));
    client.send(&second).args(["--name", "first"]).run().code(0);
    client.send(&first).args(["--name", "first"]).run().code(1).says("overwriting");
    assert_eq!(fs::read(server.inbox().join("first")).unwrap(), b"1");
    assert_eq!(server.names(), ["first", "narrow", "narrow/first", "narrow/large"]);
    Client::new().ferry("pair").arg(&link).run().code(4).says("invite");
    let listed = server.ferryd(&["clients", "--json"]).code(0).stdout();
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert!(listed.contains("\"path\":\"narrow\""), "{listed}");
}

#[test]
fn without_overwriting_a_tree_arrives_with_the_modes_and_times_of_its_folders() {
    let server = Server::start();
    let client = Client::granted(&server, &["--no-overwrite"]);
    let source = server.beside().join("source");
    for name in ["a/b/file", "a/other", "c/d/e/file"] {
        write(source.join(name), "content");
    }
    for (name, mode) in [("a/b", 0o700), ("a", 0o750), ("c/d", 0o770), ("", 0o711)] {
        crate::support::set_mode(source.join(name), mode);
        set_modified(source.join(name), 1_400_000_000, 5);
    }
    client.send(&source).args(["--jobs", "3"]).run().code(0);
    assert_same_tree(&source, &server.inbox().join("source"));
    let again = client.send(&source).arg("--json").run().code(0);
    assert_eq!((again.total("sent"), again.total("held")), (0, 9));
}

#[test]
fn a_command_that_looks_makes_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inbox");
    for words in [&["clients"][..], &["identity"], &["revoke", "laptop"]] {
        let mut command = crate::support::bare(&[], "ferryd");
        command.args(words).arg("--root").arg(&root);
        crate::support::run(command).code(1).says("there is no server").says("--state");
        assert!(!root.exists());
    }
}

#[test]
fn hostile_17_a_state_folder_of_another_user_is_not_used() {
    if !is_root() {
        return left_out("only root can give a folder away");
    }
    let mut server = Server::start();
    server.stop();
    std::os::unix::fs::chown(server.inbox().join(".ferry"), Some(65534), None).unwrap();
    for words in [&["clients"][..], &["invite"], &["serve"]] {
        server
            .ferryd(words)
            .code(1)
            .says("belongs to the user with the number 65534")
            .says("sudo -u '#65534'");
    }
}

#[test]
fn an_invite_that_makes_no_sense_is_a_usage_error() {
    let server = Server::start();
    for words in [
        &["--name", "my laptop"][..],
        &["--name", ""],
        &["--name=-x"],
        &["--host", "a:b:c"],
        &["--host", "http://box"],
        &["--host", "box:99999"],
        &["--host", "box:0"],
        &["--host", "[::1"],
        &["--expires", "0s"],
        &["--grant-expires", "2020-01-01T00:00:00Z"],
        &["--grant-expires", "0s"],
        &["--uses", "0"],
        &["--quota", "much"],
        &["--path", "../up"],
        &["--can", "delete"],
    ] {
        let outcome = server.ferryd(&[&["invite"][..], words].concat()).code(2);
        assert!(outcome.stdout().is_empty() && outcome.stderr().contains("--"), "{outcome:?}");
    }
    let listed = server.ferryd(&["clients"]).code(0);
    assert!(listed.stdout().is_empty(), "{listed:?}");
    // What it is worth is told, beside the link.
    let invite = server.ferryd(&["invite", "--name", "box", "--quota", "5GB", "--no-overwrite"]).code(0);
    invite.says("one client in, as box: put, get, list in the whole inbox, no overwriting, up to 5.0 GB");
}
