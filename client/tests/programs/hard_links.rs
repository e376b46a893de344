//! Several names of one file: kept and given back as that where that is asked for.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use ferry_proto::{
    Algorithm, Answer, Code, Conflict, Header, Kind, Message, Mode, Offer, RelPath, Request, Seq, Timestamp,
    Verb, Verdict,
};

use rusqlite::Connection;

use crate::support::{
    Client, FakeServer, Ferry, Peer, Proxy, Server, Wire, assert_given_back, assert_same_tree, names, noise,
    set_mode, set_modified, write,
};

const MIB: usize = 1024 * 1024;

/// Three names of a large file in two folders, two of a small one, and a file with one name.
fn tree(server: &Server) -> PathBuf {
    let tree = server.beside().join("tree");
    let large = write(tree.join("a/large"), noise(5 * MIB, 1));
    let small = write(tree.join("a/small"), noise(1000, 2));
    write(tree.join("single"), noise(1000, 3));
    fs::create_dir(tree.join("b")).unwrap();
    set_mode(&large, 0o640);
    set_modified(&large, 1_000_000_000, 7);
    for (file, name) in [(&large, "b/again"), (&large, "z"), (&small, "b/small too")] {
        fs::hard_link(file, tree.join(name)).unwrap();
    }
    tree
}

/// The inodes of the large file's names, of the small one's, and of the one that is alone.
fn inodes(tree: &Path) -> [BTreeSet<u64>; 3] {
    let of = |names: &[&str]| names.iter().map(|name| fs::metadata(tree.join(name)).unwrap().ino()).collect();
    [of(&["a/large", "b/again", "z"]), of(&["a/small", "b/small too"]), of(&["single"])]
}

fn assert_linked(tree: &Path) {
    let inodes = inodes(tree);
    assert!(inodes.iter().all(|inodes| inodes.len() == 1), "{inodes:?}");
    let all: BTreeSet<_> = inodes.iter().flatten().collect();
    assert_eq!(all.len(), 3);
}

fn get(client: &Client, to: &Path) -> Ferry {
    client.ferry("get").arg("box:").arg(to)
}

/// When anything about a tree's files has changed last.
fn changed(tree: &Path) -> Vec<(i64, i64)> {
    let files = ["a/large", "b/again", "z", "a/small", "b/small too", "single"];
    files
        .iter()
        .map(|name| fs::metadata(tree.join(name)).unwrap())
        .map(|it| (it.ctime(), it.ctime_nsec()))
        .collect()
}

#[test]
fn names_of_one_file_stay_that_and_are_sent_once() {
    for jobs in ["1", "4"] {
        let server = Server::start();
        let proxy = Proxy::to(server.address());
        let client = Client::new();
        client.pair(&server.invite_at(proxy.address()));
        let source = tree(&server);
        let inbox = server.inbox().join("tree");
        client.send(&source).args(["--hard-links", "--jobs", jobs]).run().code(0);
        assert_linked(&inbox);
        assert_same_tree(&source, &inbox);
        let came = proxy.to_server();
        assert!(came < 6 * MIB as u64, "{came} bytes for one file of 5 MiB");
        // Nothing is touched again, with the flag or without: the rows of all names are those of the file.
        let before = changed(&inbox);
        for flags in [&["--hard-links"][..], &[], &["--checksum"]] {
            let run = client.send(&source).args(flags).arg("--json").run().code(0);
            assert_eq!((run.total("sent"), run.total("failed")), (0, 0), "{run:?}");
        }
        assert_eq!(changed(&inbox), before);

        let back = server.beside().join("back");
        get(&client, &back).args(["--hard-links", "--jobs", jobs]).run().code(0);
        assert_linked(&back.join("tree"));
        assert_given_back(&source, &back.join("tree"));
        let came = proxy.to_client();
        assert!(came < 6 * MIB as u64, "{came} bytes for one file of 5 MiB");
        let before = changed(&back.join("tree"));
        let again = get(&client, &back).args(["--hard-links", "--json"]).run().code(0);
        assert_eq!((again.total("sent"), again.total("failed")), (0, 0), "{again:?}");
        assert_eq!(changed(&back.join("tree")), before);
    }
}

#[test]
fn without_the_flag_each_name_is_a_file_and_with_it_they_become_one() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = tree(&server);
    let (inbox, back) = (server.inbox().join("tree"), server.beside().join("back"));
    client.send(&source).run().code(0);
    assert_eq!(inodes(&inbox).map(|inodes| inodes.len()), [3, 2, 1]);
    client.send(&source).arg("--hard-links").run().code(0);
    assert_linked(&inbox);
    assert_same_tree(&source, &inbox);
    get(&client, &back).run().code(0);
    assert_eq!(inodes(&back.join("tree")).map(|inodes| inodes.len()), [3, 2, 1]);
    get(&client, &back).arg("--hard-links").run().code(0);
    assert_linked(&back.join("tree"));
    assert_given_back(&source, &back.join("tree"));
}

#[test]
fn names_that_are_not_trusted_but_read_become_one_file_too() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = tree(&server);
    client.send(&source).arg("--hard-links").run().code(0);
    let back = server.beside().join("back");
    let get = || get(&client, &back).args(["--hard-links", "--checksum", "--json"]).run().code(0);
    assert_eq!(get().total("bytes"), 5 * MIB as u64 + 2000, "each file comes once");
    assert_linked(&back.join("tree"));
    assert_given_back(&source, &back.join("tree"));
    // Whatever is known of them, they are read: one has changed, and as far as the cache knows nobody has touched it.
    let large = back.join("tree/a/large");
    let mut bytes = fs::read(&large).unwrap();
    bytes[MIB] ^= 1;
    fs::write(&large, bytes).unwrap();
    set_modified(&large, 1_000_000_000, 7);
    let now = fs::metadata(&large).unwrap();
    let cache = Connection::open(client.home().join("digests.db")).unwrap();
    let seen = "UPDATE digests SET changed_s = ?1, changed_ns = ?2 WHERE inode = ?3";
    assert_eq!(cache.execute(seen, [now.ctime(), now.ctime_nsec(), now.ino() as i64]), Ok(1));
    assert_eq!(get().total("bytes"), 5 * MIB as u64);
    assert_linked(&back.join("tree"));
    assert_given_back(&source, &back.join("tree"));
}

#[test]
fn what_has_rotted_gets_no_other_name() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("known"), noise(1000, 1));
    client.send(&source).run().code(0);
    server.rot(server.inbox().join("known"));
    server.ferryd(&["scrub"]).code(1);
    let mut peer = Peer::sending(&server);
    peer.say(Offer { seq: Seq(0), header: same("new", "known", &noise(1000, 1)) });
    assert_eq!(peer.asked(0), 0);
    assert_eq!(server.names(), ["known"]);
}

#[test]
fn another_content_for_one_name_leaves_the_others_alone() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = tree(&server);
    let inbox = server.inbox().join("tree");
    client.send(&source).arg("--hard-links").run().code(0);
    let old = fs::read(source.join("z")).unwrap();
    fs::remove_file(source.join("a/large")).unwrap();
    write(source.join("a/large"), "another one");
    client.send(&source).arg("--hard-links").run().code(0);
    assert_eq!(fs::read(inbox.join("a/large")).unwrap(), b"another one");
    assert!(fs::read(inbox.join("z")).unwrap() == old);
    assert_eq!(inodes(&inbox)[0].len(), 2);
    assert_same_tree(&source, &inbox);
    // What changes all of them changes all of them.
    fs::write(source.join("z"), noise(2 * MIB, 9)).unwrap();
    set_mode(source.join("z"), 0o600);
    client.send(&source).arg("--hard-links").run().code(0);
    assert_same_tree(&source, &inbox);
    assert_eq!(inodes(&inbox)[0].len(), 2);
    let again = client.send(&source).arg("--json").run().code(0);
    assert_eq!(again.total("sent"), 0, "{again:?}");
}

fn same(name: &str, as_name: &str, content: &[u8]) -> Header {
    Header {
        size: Some(content.len() as u64),
        digest: Some(Algorithm::Sha256.digest(content)),
        modified: Timestamp::new(5, 5).ok(),
        mode: Some(Mode::from_bits(0o777)),
        same_as: RelPath::new(as_name).ok(),
        ..Header::new(RelPath::new(name).unwrap(), Kind::File)
    }
}

#[test]
fn promise_4_a_link_is_made_only_to_what_the_grant_shows_and_only_to_that_content() {
    let server = Server::start();
    let owner = Client::paired(&server);
    let source = server.beside().join("mine");
    write(source.join("secret"), "secret");
    fs::create_dir(source.join("theirs")).unwrap();
    write(source.join("theirs/known"), "known");
    owner.send(&source).run().code(0);
    let mut peer = Peer::enrolled_by(&server, &server.invite_with(&["--path", "mine/theirs"]));
    peer.put(Conflict::Replace);
    let mut answer_to = |seq: u64, header: Header| {
        peer.say(Offer { seq: Seq(seq), header });
        let Message::Verdict(Verdict { answer, .. }) = peer.message() else { panic!("no verdict") };
        answer
    };
    let is_wanted = |answer: Answer| matches!(answer, Answer::Send { offset: 0, .. });
    // Outside of its folder, whatever it is called; nothing at all; another content; a folder; itself.
    for (seq, other) in (0..).zip(["secret", "mine/secret", "nothing", "known", ".", "new"]) {
        let as_name = if other == "." { "mine" } else { other };
        let content: &[u8] = if other == "known" { b"other" } else { b"secret" };
        assert!(is_wanted(answer_to(seq, same(&format!("new-{seq}"), as_name, content))), "{other}");
    }
    let held = answer_to(6, same("new", "known", b"known"));
    assert!(matches!(held, Answer::Held { path: None, .. }), "{held:?}");
    let inode = |name: &str| fs::metadata(server.inbox().join("mine/theirs").join(name)).unwrap().ino();
    assert_eq!(inode("new"), inode("known"));
    assert_eq!(names(&server.inbox().join("mine/theirs")), ["known", "new"]);
}

#[test]
fn hostile_15_a_grant_that_may_not_overwrite_links_new_names_and_changes_nothing() {
    let server = Server::start();
    let owner = Client::paired(&server);
    let source = server.beside().join("mine");
    let known = write(source.join("known"), "known");
    set_mode(&known, 0o640);
    write(source.join("taken"), "taken");
    owner.send(&source).run().code(0);
    let before = fs::metadata(server.inbox().join("mine/known")).unwrap();
    let mut peer = Peer::enrolled_by(&server, &server.invite_with(&["--path", "mine", "--no-overwrite"]));
    peer.put(Conflict::Replace);
    peer.say(Offer { seq: Seq(0), header: same("new", "known", b"known") });
    assert!(matches!(peer.message(), Message::Verdict(Verdict { answer: Answer::Held { .. }, .. })));
    peer.say(Offer { seq: Seq(1), header: same("taken", "known", b"known") });
    assert_eq!(peer.failure(1), Code::NotAllowed);
    let after = fs::metadata(server.inbox().join("mine/known")).unwrap();
    assert_eq!((after.mode(), after.mtime(), after.nlink()), (before.mode(), before.mtime(), 2));
    assert_eq!(fs::read(server.inbox().join("mine/taken")).unwrap(), b"taken");
}

#[test]
fn hostile_15_each_name_counts_for_a_quota() {
    let server = Server::start();
    let client = Client::granted(&server, &["--quota", "12MB"]);
    let source = tree(&server);
    let run = client.send(&source).args(["--hard-links", "--json"]).run().code(1);
    assert_eq!(run.total("failed"), 1, "two of three names of 5 MiB fit: {run:?}");
}

/// Asks a server for `asked`, which says what it likes.
fn get_from(
    asked: &'static str,
    flags: &[&str],
    script: impl FnOnce(&mut Wire) + Send + 'static,
) -> (i32, Vec<String>) {
    let pairing = |wire: &mut Wire| {
        wire.let_in();
        wire.last_words();
    };
    let server = FakeServer::start(vec![Box::new(pairing), Box::new(script)]);
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new();
    client.pair(&server.invite());
    let to = folder.path().join("to");
    fs::create_dir(&to).unwrap();
    write(folder.path().join("outside"), "x");
    let run =
        client.ferry("get").arg(format!("box:{asked}")).arg(&to).args(flags).args(["--retry", "0"]).run();
    server.finish();
    (run.status.code().unwrap(), names(&to))
}

#[test]
fn hostile_04_a_link_to_what_was_not_asked_for_ends_the_run() {
    let offering = |header: Header| {
        move |wire: &mut Wire| {
            wire.let_in();
            assert!(matches!(wire.message(), Message::Request(Request { verb: Verb::Get(_), .. })));
            wire.say(Offer { seq: Seq(0), header });
            let code = wire.last_words().expect("the client says why").code;
            assert_eq!(code, Code::Protocol);
        }
    };
    for other in ["b/x", "outside", "a"] {
        let (code, names) = get_from("a/b", &["--hard-links"], offering(same("a/b/new", other, b"x")));
        assert_eq!((code, names), (3, Vec::new()), "{other}");
    }
    // Where nobody has asked for links, they are none.
    let unasked = |wire: &mut Wire| {
        wire.let_in();
        assert!(matches!(wire.message(), Message::Request(Request { verb: Verb::Get(_), .. })));
        wire.say(Offer { seq: Seq(0), header: same("a/b/new", "outside", b"x") });
        let Message::Verdict(Verdict { answer: Answer::Send { offset: 0, .. }, .. }) = wire.message() else {
            panic!("the body is not asked for");
        };
    };
    assert_eq!(get_from("a/b", &[], unasked).0, 3);
}
