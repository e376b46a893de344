//! Owners and extended attributes: kept where that is asked for, and given back.

use std::{
    fs,
    os::unix::fs::{MetadataExt, lchown, symlink},
    path::Path,
};

use ferry_proto::{
    Algorithm, Attributes, Header, Kind, Message, Mode, Owner, RelPath, Request, Verb, Wants, Xattrs,
};
use rustix::fs::{XattrFlags, getxattr, lgetxattr, listxattr, lsetxattr, removexattr, setxattr};

use crate::support::{Client, FakeServer, Ferry, Server, Wire, is_root, left_out, run, set_mode, write};

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|error| panic!("{name} of {}: {error}", path.display()));
}

/// The value of an attribute, a link's own, too.
fn of(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 64 * 1024];
    let length = lgetxattr(path, name, &mut buffer[..]).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

fn names_of(path: &Path) -> Vec<u8> {
    let mut buffer = vec![0; 64 * 1024];
    let length = listxattr(path, &mut buffer[..]).unwrap();
    buffer.truncate(length);
    buffer
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

fn get(client: &Client, what: &str, to: &Path, flags: &[&str]) -> Ferry {
    client.ferry("get").arg(format!("box:{what}")).arg(to).args(flags)
}

#[test]
fn extended_attributes_come_back_and_never_touch_the_servers_disk() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("tree");
    let (small, large) = (write(source.join("small"), "x"), write(source.join("large"), vec![7; 400_000]));
    fs::create_dir(source.join("folder")).unwrap();
    let long = vec![0xfe; 1500];
    for path in [&small, &large, &source.join("folder"), &source] {
        set(path, "user.text", b"some text");
        set(path, "user.empty", b"");
        set(path, "user.binary \n", &long);
    }
    set_mode(&small, 0o444);
    client.send(&source).arg("--xattrs").run().code(0);
    for name in ["tree", "tree/small", "tree/large", "tree/folder"] {
        assert_eq!(of(&server.inbox().join(name), "user.text"), None, "{name}");
    }
    // Unasked they stay where they are.
    let plain = server.beside().join("plain");
    get(&client, "", &plain, &[]).run().code(0);
    assert_eq!(of(&plain.join("tree/small"), "user.text"), None);
    let check = |back: &Path| {
        for name in ["tree", "tree/small", "tree/large", "tree/folder"] {
            let path = back.join(name);
            assert_eq!(of(&path, "user.text").as_deref(), Some(&b"some text"[..]), "{name}");
            assert_eq!(of(&path, "user.empty").as_deref(), Some(&b""[..]), "{name}");
            assert_eq!(of(&path, "user.binary \n").as_deref(), Some(&long[..]), "{name}");
        }
        assert_eq!(fs::metadata(back.join("tree/small")).unwrap().mode() & 0o7777, 0o444);
    };
    let back = server.beside().join("back");
    get(&client, "", &back, &["--xattrs"]).run().code(0);
    check(&back);
    // What is there already gets them, too, and loses what it should not have. Then all of it is as it should be.
    set(&plain.join("tree/large"), "user.other", b"of another time");
    let run = get(&client, "", &plain, &["--xattrs", "--json"]).run().code(0);
    assert_eq!(run.total("failed"), 0, "{run:?}");
    check(&plain);
    assert_eq!(of(&plain.join("tree/large"), "user.other"), None);
    let changed = |path: &Path| fs::metadata(path).map(|it| (it.ctime(), it.ctime_nsec())).unwrap();
    let before = changed(&plain.join("tree/small"));
    let again = get(&client, "", &plain, &["--xattrs", "--json"]).run().code(0);
    assert_eq!((again.total("sent"), again.total("failed")), (0, 0), "{again:?}");
    assert_eq!(changed(&plain.join("tree/small")), before, "it was set again, though it had them");
}

#[test]
fn a_send_refreshes_what_is_kept_only_where_it_is_asked_to() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("file"), "x");
    let kept = |number: &str| {
        let back = server.beside().join(number);
        get(&client, "file", &back, &["--xattrs"]).run().code(0);
        of(&back.join("file"), "user.x")
    };
    set(&source, "user.x", b"1");
    client.send(&source).arg("--xattrs").run().code(0);
    assert_eq!(kept("1"), Some(b"1".into()));
    // Only the attribute has changed, so it is held, and what is kept is new.
    set(&source, "user.x", b"2");
    let run = client.send(&source).args(["--xattrs", "--json"]).run().code(0);
    assert_eq!((run.total("sent"), run.total("held")), (0, 1), "{run:?}");
    assert_eq!(kept("2"), Some(b"2".into()));
    set(&source, "user.x", b"3");
    client.send(&source).run().code(0);
    assert_eq!(kept("3"), Some(b"2".into()), "nobody has asked for it");
    removexattr(&source, "user.x").unwrap();
    client.send(&source).arg("--xattrs").run().code(0);
    assert_eq!(kept("4"), None);
    // A grant that may not overwrite changes nothing that is kept.
    set(&source, "user.x", b"5");
    let adder = Client::granted(&server, &["--no-overwrite"]);
    adder.send(&source).arg("--xattrs").run().code(0);
    assert_eq!(kept("5"), None);
}

#[test]
fn hostile_10_attributes_that_no_header_can_say_fail_their_file_by_name() {
    let server = Server::start();
    let client = Client::paired(&server);
    // Most file systems have room for fewer on one file than a header has; one in memory has room for more.
    let roomy = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let source = roomy.path().join("tree");
    let many = write(source.join("many"), "x");
    write(source.join("few"), "y");
    // Of those of users it has none before Linux 6.6, but of root's.
    let set_one = |number: &i32| {
        let set = |kind: &str| setxattr(&many, format!("{kind}.{number}"), b"", XattrFlags::empty());
        set("user").or_else(|_| set("trusted")).is_ok()
    };
    let made = (0..257).take_while(set_one).count();
    if made < 257 {
        assert!(!is_root(), "/dev/shm is to take more than the {made} extended attributes that could be set");
        return left_out("no file can have so many extended attributes here");
    }
    let run = client.send(&source).args(["--xattrs", "--json"]).run().code(1);
    assert!(run.stdout().contains("more than 256 extended attributes"), "{run:?}");
    assert_eq!(run.total("failed"), 1, "{run:?}");
    assert!(!server.inbox().join("tree/many").exists(), "not without what was asked for");
    assert!(server.inbox().join("tree/few").exists());
    client.send(&source).run().code(0);
    assert!(server.inbox().join("tree/many").exists());
}

/// The least that one of another user's files needs: somebody who may give files away.
#[test]
fn owners_come_back_by_name_or_number_with_setuid_and_its_like() {
    if !is_root() {
        return left_out("only root can give files away");
    }
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("tree");
    let program = write(source.join("program"), "#!/bin/sh\n");
    let shared = source.join("shared");
    fs::create_dir(&shared).unwrap();
    symlink("nowhere", source.join("link")).unwrap();
    for (number, path) in (70_001..).zip([&program, &shared, &source.join("link")]) {
        lchown(path, Some(number), Some(number + 100)).unwrap();
    }
    set_mode(&program, 0o6711);
    set_mode(&shared, 0o3770);
    client.send(&source).arg("--owner").run().code(0);
    let disk = server.inbox().join("tree/program");
    assert_eq!((owner(&disk), fs::metadata(&disk).unwrap().mode() & 0o7777), ((0, 0), 0o711));

    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
    let check = |back: &Path| {
        assert_eq!(owner(&back.join("tree")), owner(&source));
        assert_eq!(
            (owner(&back.join("tree/program")), mode(&back.join("tree/program"))),
            ((70_001, 70_101), 0o6711)
        );
        assert_eq!(
            (owner(&back.join("tree/shared")), mode(&back.join("tree/shared"))),
            ((70_002, 70_102), 0o3770)
        );
        assert_eq!(owner(&back.join("tree/link")), (70_003, 70_103));
    };
    // hostile 8: unasked, nothing runs as somebody else.
    let back = server.beside().join("back");
    get(&client, "", &back, &[]).run().code(0);
    assert_eq!((owner(&back.join("tree/program")), mode(&back.join("tree/program"))), ((0, 0), 0o711));
    get(&client, "", &back, &["--owner"]).run().code(0);
    check(&back);
    let again = get(&client, "", &back, &["--owner", "--json"]).run().code(0);
    assert_eq!((again.total("sent"), again.total("failed")), (0, 0), "{again:?}");
    let fresh = server.beside().join("fresh");
    get(&client, "", &fresh, &["--owner"]).run().code(0);
    check(&fresh);
    // Another owner of the same content is news for the server, too.
    lchown(&program, Some(70_009), None).unwrap();
    set_mode(&program, 0o6711);
    client.send(&source).arg("--owner").run().code(0);
    get(&client, "", &fresh, &["--owner"]).run().code(0);
    assert_eq!(owner(&fresh.join("tree/program")), (70_009, 70_101));
}

#[test]
fn promise_8_whoever_asks_for_owners_and_may_not_give_them_is_told_before_anything_is_done() {
    let server = Server::start();
    let client = Client::paired(&server);
    client.send(write(server.beside().join("file"), "x")).arg("--owner").run().code(0);
    let to = server.beside().join("to");
    if !is_root() {
        get(&client, "file", &to, &["--owner"]).run().code(6).says("only root");
    } else {
        // As nobody, from where nobody may run it.
        let open = tempfile::tempdir().unwrap();
        set_mode(open.path(), 0o755);
        let program = open.path().join("ferry");
        fs::copy(env!("CARGO_BIN_EXE_ferry"), &program).unwrap();
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
        command.args(["get", "box:file"]).arg(&to).arg("--owner").env("FERRY_HOME", open.path());
        run(command).code(6).says("only root");
    }
    assert!(!to.exists());
}

/// Asks a server for everything, with these flags; it has these entries, and says of them what it likes.
fn get_from(
    headers: Vec<Header>,
    flags: &'static [&str],
    look: impl FnOnce(&Path),
) -> crate::support::Outcome {
    let pairing = |wire: &mut Wire| {
        wire.let_in();
        wire.last_words();
    };
    let giving = move |wire: &mut Wire| {
        wire.let_in();
        let Message::Request(Request { verb: Verb::Get(get), .. }) = wire.message() else {
            panic!("no request")
        };
        let wants = Wants {
            owner: flags.contains(&"--owner"),
            xattrs: flags.contains(&"--xattrs"),
            hard_links: false,
        };
        assert_eq!(get.wants, wants);
        let count = headers.len() as u64;
        let mut sent = 0;
        for (seq, header) in (0..).zip(headers) {
            let is_file = header.has_body();
            wire.say(ferry_proto::Offer { seq: ferry_proto::Seq(seq), header });
            if is_file {
                assert!(matches!(wire.message(), Message::Verdict(_)));
                wire.say(ferry_proto::Body { seq: ferry_proto::Seq(seq), offset: 0 });
                wire.chunks(b"x");
                wire.say(ferry_proto::End { digest: Algorithm::Sha256.digest(b"x") });
                sent += 1;
            }
            assert!(matches!(wire.message(), Message::Receipt(_)));
        }
        wire.say(ferry_proto::Done { entries: count, bytes: sent });
        wire.last_words();
    };
    let server = FakeServer::start(vec![Box::new(pairing), Box::new(giving)]);
    let folder = tempfile::tempdir_in(".").unwrap();
    let client = Client::new();
    client.pair(&server.invite());
    let to = folder.path().join("to");
    let outcome = get(&client, "", &to, flags).args(["--json", "--retry", "0"]).run();
    look(&to);
    server.finish();
    outcome
}

fn file(name: &str, mode: u32, attributes: Attributes) -> Header {
    Header {
        size: Some(1),
        digest: Some(Algorithm::Sha256.digest(b"x")),
        mode: Some(Mode::from_bits(mode)),
        attributes: Box::new(attributes),
        ..Header::new(RelPath::new(name).unwrap(), Kind::File)
    }
}

fn xattrs(pairs: &[(&str, &[u8])]) -> Option<Xattrs> {
    Xattrs::new(pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()).ok()
}

#[test]
fn hostile_08_a_server_gives_nobody_what_was_not_asked_for() {
    let owner_of = Owner::new(70_001, 70_001, None, None).ok();
    let all = || Attributes { owner: owner_of.clone(), xattrs: xattrs(&[("user.x", b"y")]) };
    get_from(vec![file("file", 0o6777, all())], &[], |to| {
        let file = to.join("file");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o777);
        assert_eq!((owner(&file).0, of(&file, "user.x")), (rustix::process::geteuid().as_raw(), None));
    })
    .code(0);
    // Nor setuid without the owner that it is for.
    if !is_root() {
        return left_out("only root may ask for owners");
    }
    let none = Attributes { owner: None, ..all() };
    get_from(vec![file("file", 0o6777, none)], &["--owner"], |to| {
        assert_eq!(fs::metadata(to.join("file")).unwrap().mode() & 0o7777, 0o777);
    })
    .code(0);
}

#[test]
fn promise_8_an_attribute_that_cannot_be_set_is_told_and_the_file_is_kept() {
    let said = xattrs(&[("security.ima", b"0"), ("user.x", b"y"), ("made.up", b"z")]);
    let attributes = Attributes { xattrs: said, ..Attributes::default() };
    let mut link = Header::new(RelPath::new("link").unwrap(), Kind::Symlink(b"file".to_vec()));
    link.attributes.xattrs = xattrs(&[("user.x", b"not for links")]);
    let run = get_from(vec![file("file", 0o644, attributes), link], &["--xattrs"], |to| {
        let file = to.join("file");
        assert_eq!(fs::read(&file).unwrap(), b"x");
        assert_eq!(
            of(&file, "user.x"),
            Some(b"y".into()),
            "what can be set is set, and nothing through the link"
        );
        let mut value = [0; 8];
        assert!(getxattr(&file, "security.ima", &mut value[..]).is_err());
        assert!(names_of(&file).starts_with(b"user.x"));
    });
    let run = run.code(1);
    assert_eq!((run.total("sent"), run.total("failed")), (0, 2), "{run:?}");
    for words in ["security.ima", "made.up", "it is here"] {
        assert!(run.stdout().contains(words), "{words}: {run:?}");
    }
}
