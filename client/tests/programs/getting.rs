//! Getting files back.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, symlink},
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use rustix::process::Signal;

use crate::support::{
    Client, Ferry, Plan, Proxy, Server, Snapshot, assert_given_back, eventually, make_fifo, names, noise,
    set_mode, set_modified, snapshot, testdata, without_privileges, write,
};

const MIB: usize = 1024 * 1024;

/// Gets something from `box` into a folder.
fn get(client: &Client, what: &str, to: &Path) -> Ferry {
    client.ferry("get").arg(format!("box:{what}")).arg(to)
}

/// Sends a tree, and returns where it is.
fn sent(server: &Server, client: &Client, files: &[(&str, Vec<u8>)]) -> PathBuf {
    let source = server.beside().join("tree");
    for (name, bytes) in files {
        write(source.join(name), bytes);
    }
    client.send(&source).run().code(0);
    source
}

#[test]
fn what_was_sent_comes_back_as_it_was() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("tree");
    for (number, mode) in [0o400, 0o644, 0o600, 0o755, 0o777, 0o444].into_iter().enumerate() {
        let file = write(source.join(format!("modes/{number}")), noise(1000 * number, number as u64));
        set_mode(&file, mode);
        set_modified(&file, 1_000_000_000 + number as i64, 123_456_789);
    }
    write(source.join("large"), noise(3 * MIB, 7));
    fs::create_dir_all(source.join("empty/deep")).unwrap();
    symlink("../outside/nothing", source.join("dangling")).unwrap();
    symlink("/etc/passwd", source.join("absolute")).unwrap();
    set_modified(source.join("dangling"), 1_111_111_111, 5);
    for name in [&b"caf\xe9"[..], b"a\nb", b"a\\b:c", b" .", b"\x1b[31m"] {
        use std::os::unix::ffi::OsStrExt;
        write(source.join(std::ffi::OsStr::from_bytes(name)), name);
    }
    set_modified(source.join("empty/deep"), 999_999_999, 1);
    set_mode(source.join("empty"), 0o500);
    client.send(&source).run().code(0);
    client.send(testdata()).run().code(0);

    let to = server.beside().join("back");
    get(&client, "", &to).run().code(0);
    assert_given_back(&source, &to.join("tree"));
    assert_given_back(&testdata(), &to.join("testdata"));
    assert!(!to.join(".ferry").exists(), "it leaves nothing of its own behind");
    let again = get(&client, "", &to).arg("--json").run().code(0);
    assert_eq!((again.total("sent"), again.total("failed")), (0, 0), "{again:?}");
    set_mode(source.join("empty"), 0o700);
    set_mode(to.join("tree/empty"), 0o700);
}

#[test]
fn paths_name_a_folder_what_is_in_it_or_a_file() {
    let server = Server::start();
    let client = Client::paired(&server);
    sent(&server, &client, &[("a/b/1", vec![1]), ("a/2", vec![2]), ("3", vec![3])]);
    let to = |name: &str| server.beside().join(name);
    get(&client, "tree/a", &to("folder")).run().code(0);
    assert_eq!(names(&to("folder")), ["a", "a/2", "a/b", "a/b/1"]);
    get(&client, "tree/a/", &to("contents")).run().code(0);
    assert_eq!(names(&to("contents")), ["2", "b", "b/1"]);
    get(&client, "tree/a/b/1", &to("file")).run().code(0);
    assert_eq!(names(&to("file")), ["1"]);
    get(&client, "tree/3", &to("named")).args(["--name", "x/y"]).run().code(0);
    assert_eq!(names(&to("named")), ["x", "x/y"]);
    let both = client.ferry("get").args(["box:tree/a/b", "box:tree/3"]).arg(to("both"));
    both.run().code(0);
    assert_eq!(names(&to("both")), ["3", "b", "b/1"]);
    // Without a folder it is this one.
    fs::create_dir(to("here")).unwrap();
    client.ferry("get").arg("box:tree/3").in_folder(&to("here")).run().code(0);
    assert_eq!(names(&to("here")), ["3"]);

    let outcome = get(&client, "tree/none", &to("none")).run().code(1).says("tree/none");
    assert!(outcome.stderr().contains("No such file"), "{outcome:?}");
    get(&client, "tree/3/", &to("none")).run().code(1).says("no folder");
    let twins = client.ferry("get").args(["box:tree/a/", "box:tree/"]).arg(to("none"));
    twins.run().code(2).says("each other's way");
    client.ferry("get").args(["nowhere:x"]).run().code(2);
    get(&client, "../x", &to("none")).run().code(2);
}

#[test]
fn two_folders_that_hold_the_same_name_do_not_replace_each_others_files() {
    let server = Server::start();
    let client = Client::paired(&server);
    sent(&server, &client, &[("a/x", vec![1]), ("b/x", vec![2]), ("b/y", vec![3])]);
    let to = server.beside().join("back");
    let both = client.ferry("get").args(["box:tree/a/", "box:tree/b/"]).arg(&to).arg("--json").run().code(1);
    assert_eq!((both.total("sent"), both.total("failed")), (2, 1), "{both:?}");
    assert_eq!(fs::read(to.join("y")).unwrap(), [3]);
}

#[test]
fn one_file_goes_to_standard_output() {
    let server = Server::start();
    let client = Client::paired(&server);
    let bytes = noise(5 * MIB + 1, 3);
    sent(&server, &client, &[("file", bytes.clone()), ("empty", vec![])]);
    let outcome = client.ferry("get").args(["box:tree/file", "-"]).run().code(0);
    assert!(outcome.stdout == bytes, "other bytes");
    assert_eq!(client.ferry("get").args(["box:tree/empty", "-"]).run().code(0).stdout, b"");
    client.ferry("get").args(["box:tree", "-"]).run().code(1).says("it is a folder");
    client.ferry("get").args(["box:tree/none", "-"]).run().code(1).says("tree/none");
    client.ferry("get").args(["box:tree/", "-"]).run().code(2);
    client.ferry("get").args(["box:tree/file", "box:tree/empty", "-"]).run().code(2);
    for flags in [&["--jobs", "2"][..], &["--checksum"], &["--name", "x"], &["--on-conflict", "skip"]] {
        client.ferry("get").args(["box:tree/file", "-"]).args(flags).run().code(2).says("mean nothing");
    }
    client.ferry("ls").args(["box:tree", "--bytes"]).run().code(2);
    let made = server.beside().join("made");
    get(&client, "none", &made).run().code(1);
    assert!(!made.exists(), "nothing came, so nothing is left behind");
    // Closed, it would go nowhere, and nobody would notice.
    let shell = ["sh", "-c", "exec \"$@\" >&-", "sh"];
    client.wrapped(&shell, "get").args(["box:tree/file", "-"]).run().code(6).says("is closed");
    let shell = ["sh", "-c", "exec \"$@\" >/dev/null", "sh"];
    client.wrapped(&shell, "get").args(["box:tree/file", "-"]).run().code(0);
}

#[test]
fn standard_output_goes_on_after_a_cut() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let bytes = noise(20 * MIB, 3);
    sent(&server, &client, &[("file", bytes.clone())]);
    proxy.set_back(Plan::CutAfter(9 * MIB as u64));
    let outcome = client.ferry("get").args(["box:tree/file", "-"]).run().code(0).says("trying again");
    assert!(outcome.stdout == bytes, "other bytes");
    assert!(proxy.to_client() < 30 * MIB as u64, "{} bytes came", proxy.to_client());
}

#[test]
fn files_without_a_receipt_come_too() {
    let server = Server::start();
    let client = Client::paired(&server);
    write(server.inbox().join("by hand/small"), noise(1000, 1));
    write(server.inbox().join("by hand/large"), noise(2 * MIB, 2));
    let to = server.beside().join("back");
    get(&client, "by hand", &to).run().code(0);
    assert_given_back(&server.inbox().join("by hand"), &to.join("by hand"));
}

#[test]
fn a_file_that_is_damaged_on_the_server_is_not_given_back() {
    let server = Server::start();
    let client = Client::paired(&server);
    sent(&server, &client, &[("small", noise(1000, 1)), ("large", noise(2 * MIB, 2)), ("well", vec![1])]);
    for name in ["small", "large"] {
        // Its times stay what they are, as if the disk had done it.
        let file = server.inbox().join("tree").join(name);
        server.rot(&file);
    }
    let to = server.beside().join("back");
    let outcome = get(&client, "tree", &to).arg("--json").run().code(1);
    assert_eq!((outcome.total("sent"), outcome.total("failed")), (2, 2), "{outcome:?}");
    assert!(outcome.stdout().contains("damaged"), "{outcome:?}");
    assert_eq!(names(&to), ["tree", "tree/well"]);
    client.ferry("get").args(["box:tree/large", "-"]).run().code(1).says("damaged");
}

#[test]
fn what_the_catalogue_cannot_tell_is_a_failure_by_name_and_of_nothing_else() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = sent(&server, &client, &[("bad", vec![1]), ("rotten", vec![2]), ("well", vec![3])]);
    server.rot(server.inbox().join("tree/rotten"));
    server.ferryd(&["scrub"]).code(1);
    let catalogue = Connection::open(server.inbox().join(".ferry/catalogue.db")).unwrap();
    let broken = "UPDATE files SET sha256 = x'00' WHERE path = CAST('tree/bad' AS BLOB)";
    assert_eq!(catalogue.execute(broken, []), Ok(1));
    let to = server.beside().join("back");
    let outcome = get(&client, "tree", &to).run().code(1);
    outcome
        .says("tree/bad: what the server knows of it cannot be read")
        .says("tree/rotten: ")
        .says("damaged");
    assert_eq!(names(&to), ["tree", "tree/well"]);
    let outcome = client.ferry("verify").arg(&source).arg("box:").run().code(1);
    assert!(outcome.stdout().contains("unreadable tree/bad: "), "{outcome:?}");
}

#[test]
fn what_the_server_cannot_read_is_named_and_the_rest_comes() {
    let server = Server::setup().wrapped(without_privileges()).start();
    let client = Client::paired(&server);
    sent(&server, &client, &[("file", vec![1]), ("closed/file", vec![2]), ("open/file", vec![3])]);
    set_mode(server.inbox().join("tree/closed"), 0o000);
    set_mode(server.inbox().join("tree/file"), 0o000);
    let to = server.beside().join("back");
    let outcome = get(&client, "tree", &to).arg("--json").run().code(1);
    let failed: Vec<_> = outcome.statuses().into_iter().filter(|(_, status)| status == "failed").collect();
    let expected = ["tree/closed", "tree/file"].map(|name| (name.to_owned(), "failed".to_owned()));
    assert_eq!(failed, expected, "{outcome:?}");
    assert_eq!(names(&to), ["tree", "tree/open", "tree/open/file"]);
    set_mode(server.inbox().join("tree/closed"), 0o700);
}

#[test]
fn several_connections_share_the_work() {
    let server = Server::start();
    let client = Client::paired(&server);
    let files: Vec<_> = (0..400).map(|n| (format!("{}/{n}", n % 7), noise(n * 37, n as u64))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let source = sent(&server, &client, &files);
    let to = server.beside().join("back");
    let outcome = get(&client, "tree", &to).args(["--jobs", "4", "--json"]).run().code(0);
    assert_eq!((outcome.total("sent"), outcome.total("held")), (408, 0), "{outcome:?}");
    assert_given_back(&source, &to.join("tree"));
    let mut gave: Vec<_> =
        server.log().lines().filter(|line| line.contains("gave")).map(str::to_owned).collect();
    assert_eq!(gave.len(), 400, "each file is given once");
    gave.sort();
}

#[test]
fn conflicts_are_settled_as_when_sending() {
    let server = Server::start();
    let client = Client::paired(&server);
    sent(&server, &client, &[("x.txt", b"theirs".to_vec())]);
    let to = |policy: &str| {
        let folder = server.beside().join(policy);
        write(folder.join("x.txt"), "ours");
        folder
    };
    let run = |policy: &str, code| {
        let folder = to(policy);
        get(&client, "tree/x.txt", &folder).args(["--on-conflict", policy]).run().code(code);
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        (read("x.txt"), read("x (2).txt"))
    };
    assert_eq!(run("replace", 0), ("theirs".into(), String::new()));
    assert_eq!(run("keep-both", 0), ("ours".into(), "theirs".into()));
    assert_eq!(run("skip", 1), ("ours".into(), String::new()));
    assert_eq!(run("fail", 1), ("ours".into(), String::new()));
}

#[test]
fn a_dry_run_tells_what_would_come_and_makes_nothing() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = sent(&server, &client, &[("a/1", vec![1]), ("2", vec![2])]);
    let to = server.beside().join("back");
    let dry = |code| get(&client, "tree", &to).arg("-n").run().code(code);
    let mut lines: Vec<_> = dry(0).stdout().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["get   tree", "get   tree/2", "get   tree/a", "get   tree/a/1"]);
    assert!(!to.exists());
    get(&client, "tree", &to).run().code(0);
    write(source.join("2"), [3, 3]);
    client.send(&source).run().code(0);
    let before = snapshot(&to);
    let outcome = dry(0);
    assert!(
        outcome.stdout().contains("get   tree/2") && !outcome.stdout().contains("tree/a/1"),
        "{outcome:?}"
    );
    // But for the folder itself, in which a place to receive into comes and goes.
    let but_itself = |mut tree: Snapshot| {
        tree.remove(&b""[..]);
        tree
    };
    assert_eq!(but_itself(snapshot(&to)), but_itself(before));
    assert!(!to.join(".ferry").exists());
}

#[test]
fn hostile_15_what_a_grant_does_not_allow_is_not_given() {
    let server = Server::start();
    write(server.inbox().join("theirs/file"), "theirs");
    write(server.inbox().join("others/file"), "others'");
    let (to, other_to) = (server.beside().join("back"), server.beside().join("other"));
    let sender = Client::granted(&server, &["--can", "put"]);
    get(&sender, "", &to).run().code(4).says("may not read");
    let lister = Client::granted(&server, &["--can", "list"]);
    get(&lister, "", &to).run().code(4).says("may not read");
    assert!(!to.exists(), "nothing came, so nothing is left behind");
    let reader = Client::granted(&server, &["--can", "get", "--path", "theirs"]);
    get(&reader, "", &to).run().code(0);
    assert_eq!(names(&to), ["file"]);
    get(&reader, "others/file", &other_to).run().code(1);
    get(&reader, "theirs/file", &other_to).run().code(1);
    assert!(!other_to.exists());
}

#[test]
fn hostile_03_what_is_the_servers_own_is_not_given() {
    let server = Server::start();
    let client = Client::paired(&server);
    sent(&server, &client, &[("file", vec![1])]);
    let to = server.beside().join("back");
    get(&client, "", &to).run().code(0);
    assert_eq!(names(&to), ["tree", "tree/file"]);
    for own in [".ferry", ".ferry/catalogue.db", ".FERRY/lock"] {
        get(&client, own, &to).run().code(2);
    }
}

#[test]
fn hostile_06_links_in_the_inbox_are_given_as_links_and_never_followed() {
    let server = Server::start();
    let client = Client::paired(&server);
    let outside = write(server.beside().join("outside/secret"), "secret");
    fs::create_dir(server.inbox().join("in")).unwrap();
    symlink(outside.parent().unwrap(), server.inbox().join("in/folder")).unwrap();
    symlink(&outside, server.inbox().join("in/file")).unwrap();
    let to = server.beside().join("back");
    get(&client, "", &to).run().code(0);
    assert_eq!(names(&to), ["in", "in/file", "in/folder"]);
    assert!(snapshot(&to).values().filter(|node| node.is_symlink()).count() == 2);
    // Neither as something to get by itself.
    let other = server.beside().join("other");
    get(&client, "in/folder/secret", &other).run().code(1);
    get(&client, "in/folder/", &other).run().code(1);
    assert!(!other.exists(), "nothing came, so nothing is left behind");
}

#[test]
fn promise_3_a_get_goes_on_after_a_kill_of_either_side() {
    let mut server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let bytes = noise(150 * MIB, 1);
    let source = sent(&server, &client, &[("large", bytes)]);
    let to = server.beside().join("back");
    let staged = || {
        let staged = fs::read_dir(to.join(".ferry/restoring")).into_iter().flatten();
        staged.map(|entry| entry.unwrap().metadata().unwrap().len()).max().unwrap_or(0)
    };
    // The client is killed.
    proxy.set_back(Plan::SilentAfter(70 * MIB as u64));
    let running = get(&client, "tree/large", &to).start();
    eventually("two checkpoints", || (staged() > 68 * MIB as u64).then_some(()));
    running.signal(Signal::KILL);
    running.wait();
    assert_eq!(names(&to), [""; 0], "nothing of it is seen");
    // Then the server.
    proxy.set_back(Plan::SilentAfter(36 * MIB as u64));
    let running = get(&client, "tree/large", &to).args(["--retry", "forever"]).start();
    eventually("another checkpoint", || (staged() > 99 * MIB as u64).then_some(()));
    server.kill();
    proxy.set(Plan::Forward);
    server.restart_elsewhere();
    proxy.lead_to(server.address());
    running.wait().code(0);
    assert_given_back(&source.join("large"), &to.join("large"));
    assert!(!to.join(".ferry").exists());
    let came = proxy.to_client();
    assert!(came < 230 * MIB as u64, "{came} bytes came for {}", 150 * MIB);
}

#[test]
fn what_nobody_goes_on_with_is_given_up_after_a_week() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    sent(&server, &client, &[("large", noise(80 * MIB, 1)), ("other", noise(10, 2)), ("last", noise(10, 3))]);
    let to = server.beside().join("back");
    let staging = to.join(".ferry/restoring");
    proxy.set_back(Plan::SilentAfter(70 * MIB as u64));
    let running = get(&client, "tree/large", &to).start();
    let cache = || Connection::open(client.home().join("digests.db")).unwrap();
    let bodies = || cache().query_one("SELECT count(*) FROM bodies", [], |row| row.get::<_, i64>(0));
    eventually("a checkpoint", || (bodies() == Ok(1)).then_some(()));
    running.signal(Signal::KILL);
    running.wait();
    proxy.set(Plan::Forward);
    get(&client, "tree/other", &to).run().code(0);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 1, "it may be gone on with");
    let a_week = 7 * 24 * 60 * 60;
    cache().execute("UPDATE bodies SET at = at - ?1", [a_week]).unwrap();
    get(&client, "tree/last", &to).run().code(0);
    assert_eq!(bodies(), Ok(0));
    assert_eq!(names(&to), ["last", "other"]);
    assert!(!to.join(".ferry").exists());
}

#[test]
fn two_gets_into_one_folder_at_once_do_not_mix() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    sent(&server, &client, &[("large", noise(40 * MIB, 1))]);
    let to = server.beside().join("back");
    proxy.set_back(Plan::SilentAfter(10 * MIB as u64));
    let running = get(&client, "tree/large", &to).start();
    eventually("the first one is at it", || (proxy.to_client() > 9 * MIB as u64).then_some(()));
    get(&client, "tree/large", &to).run().code(6).says("another ferry");
    running.signal(Signal::TERM);
    running.wait().code(5).says("run the same command again");
    // Nor into the folder of a server.
    get(&client, "tree/large", server.inbox()).run().code(6).says("another ferry");
}

#[test]
fn what_is_there_is_listed() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("tree");
    let file = write(source.join("a/file"), noise(1500, 1));
    set_mode(&file, 0o640);
    set_modified(&file, 1_000_000_000, 5);
    symlink("no\nwhere", source.join("link")).unwrap();
    write(source.join("other"), "x");
    client.send(&source).run().code(0);
    write(server.inbox().join("tree/by hand"), "y");
    let ls = |words: &[&str]| client.ferry("ls").args(words).run().code(0).stdout();
    assert_eq!(ls(&["box"]), "tree/\n");
    assert_eq!(ls(&["box:"]), "tree/\n");
    assert_eq!(ls(&["box:tree"]), "a/\nby hand\nlink\nother\n");
    assert_eq!(ls(&["box:tree", "-R"]), "a/\na/file\nby hand\nlink\nother\n");
    assert_eq!(ls(&["box:tree/a/file"]), "file\n");
    let long = ls(&["box:tree", "-lR"]);
    assert!(long.contains("-rw-r-----       1.5 kB  2001-09-09"), "{long}");
    assert!(long.contains("lrwxrwxrwx") && long.contains("link -> no\\nwhere"), "{long}");
    let digest = crate::support::digest(&file).to_string();
    let digests = ls(&["box:tree", "-R", "--digests"]);
    assert!(digests.contains(&format!("{digest}  a/file\n")), "{digests}");
    let by_hand = ferry_proto::Algorithm::Sha256.digest(b"y").to_string();
    assert!(digests.contains(&format!("{by_hand}  by hand\n")), "{digests}");
    let objects = client.ferry("ls").args(["box:tree/a", "--json"]).run().code(0).objects();
    assert_eq!(objects[0]["name"], "file");
    assert_eq!((&objects[0]["bytes"], &objects[0]["mode"]), (&1500.into(), &"0640".into()));
    assert_eq!(
        (&objects[0]["modified"], &objects[0]["digest"]),
        (&"1000000000.000000005".into(), &digest.into())
    );
    client.ferry("ls").arg("box:none").run().code(1).says("none");
    client.ferry("ls").arg("nowhere").run().code(2);
    let putter = Client::granted(&server, &["--can", "put"]);
    putter.ferry("ls").arg("box").run().code(4).says("may not list");
    let lister = Client::granted(&server, &["--can", "list"]);
    lister.ferry("ls").arg("box").run().code(0);
}

#[test]
fn differences_are_named_and_nothing_is_moved() {
    let server = Server::start();
    let client = Client::paired(&server);
    let files = [("same", noise(1000, 1)), ("large", noise(2 * MIB, 2)), ("a/touched", noise(10, 3))];
    let source = sent(&server, &client, &files.map(|(name, bytes)| (name, bytes)));
    symlink("x", source.join("link")).unwrap();
    client.send(&source).run().code(0);
    let verify = |flags: &[&str], code| {
        let verify = client.ferry("verify").arg(&source).arg("box:").args(flags);
        verify.run().code(code)
    };
    assert_eq!(verify(&[], 0).stdout(), "");
    assert!(verify(&[], 0).stderr().contains("same 6"));

    write(source.join("new/file"), "new");
    write(server.inbox().join("tree/a/extra"), "extra");
    let before = snapshot(server.inbox());
    write(source.join("a/touched"), noise(10, 4));
    fs::remove_file(source.join("link")).unwrap();
    symlink("y", source.join("link")).unwrap();
    let mut lines: Vec<_> = verify(&[], 1).stdout().lines().map(str::to_owned).collect();
    lines.sort();
    let expected = [
        "different  tree/a/touched: its content is another one",
        "different  tree/link: it leads elsewhere",
        "extra      tree/a/extra",
        "missing    tree/new",
        "missing    tree/new/file",
    ];
    assert_eq!(lines, expected);
    let objects = verify(&["--json"], 1).objects();
    assert_eq!(objects.last().unwrap()["summary"]["missing"], 2);
    assert_eq!(snapshot(server.inbox()), before);
    // Where nothing is, everything is missing.
    client.ferry("verify").arg(&source).arg("box:elsewhere").run().code(1);
}

#[test]
fn only_reading_finds_what_a_disk_has_done() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = sent(&server, &client, &[("small", noise(1000, 1)), ("large", noise(2 * MIB, 2))]);
    server.rot(server.inbox().join("tree/large"));
    let verify =
        |flag: &[&str], code| client.ferry("verify").arg(&source).arg("box:").args(flag).run().code(code);
    verify(&[], 0);
    assert_eq!(verify(&["--reread"], 1).stdout(), "different  tree/large: it is damaged on the server\n");
}

#[test]
fn several_sources_that_are_merged_are_verified_as_one() {
    let server = Server::start();
    let client = Client::paired(&server);
    let (one, other) = (server.beside().join("one"), server.beside().join("other"));
    write(one.join("a"), "a");
    write(other.join("b"), "b");
    write(other.join("both/c"), "c");
    let run = |command: &str, place: &str, code| {
        let sources = [&one, &other].map(|source| format!("{}/", source.display()));
        client.ferry(command).args(sources).arg(place).run().code(code)
    };
    run("send", "box:merged", 0);
    assert_eq!(run("verify", "box:merged", 0).stdout(), "");
    // What one of them has there, the other one has otherwise.
    write(one.join("both/c"), "another");
    assert!(run("verify", "box:merged", 1).stdout().contains("different  merged/both/c"));
    fs::remove_dir_all(one.join("both")).unwrap();
    write(server.inbox().join("merged/both/extra"), "x");
    assert_eq!(run("verify", "box:merged", 1).stdout(), "extra      merged/both/extra\n");
}

#[test]
fn a_folder_that_has_become_a_link_is_different() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = sent(&server, &client, &[("d/x", vec![1])]);
    fs::rename(source.join("d"), server.beside().join("elsewhere")).unwrap();
    symlink("../elsewhere", source.join("d")).unwrap();
    let outcome = client.ferry("verify").arg(&source).arg("box:").run().code(1);
    assert!(outcome.stdout().contains("different  tree/d: it is no folder here"), "{outcome:?}");
    assert!(outcome.stdout().contains("extra      tree/d/x"), "{outcome:?}");
}

#[test]
fn what_is_ferrys_own_below_a_grant_is_in_nobodys_way() {
    let server = Server::start();
    write(server.inbox().join("sub/.ferry/lock"), "");
    write(server.inbox().join("sub/file"), "x");
    let client = Client::granted(&server, &["--path", "sub"]);
    let to = server.beside().join("back");
    get(&client, "", &to).run().code(0);
    assert_eq!(names(&to), ["file"]);
}

#[test]
fn hostile_07_what_is_neither_file_nor_folder_nor_link_is_not_passed_over_when_it_was_asked_for() {
    let server = Server::start();
    let client = Client::paired(&server);
    write(server.inbox().join("in/file"), "x");
    make_fifo(server.inbox().join("in/fifo"));
    let to = server.beside().join("back");
    get(&client, "in", &to).run().code(0);
    assert_eq!(names(&to), ["in", "in/file"]);
    get(&client, "in/fifo", &to).run().code(1).says("neither a file");
    client.ferry("ls").arg("box:in/fifo").run().code(1).says("neither a file");
}

#[test]
fn hostile_05_json_holds_nothing_that_a_terminal_acts_on() {
    let server = Server::start();
    let client = Client::paired(&server);
    write(server.inbox().join("a\u{9b}31m\u{202e}"), "x");
    let json = client.ferry("ls").args(["box:", "--json"]).run().code(0);
    assert!(json.stdout().contains("a\\u009b31m\\u202e"), "{json:?}");
    assert_eq!(json.objects()[0]["name"], "a\u{9b}31m\u{202e}");
}

#[test]
fn promise_8_standard_output_that_is_read_late_gets_each_byte_once() {
    let server = Server::start();
    let client = Client::paired(&server);
    let bytes = noise(3 * MIB, 3);
    sent(&server, &client, &[("file", bytes.clone())]);
    let mut get = client.ferry("get").args(["box:tree/file", "-", "--timeout", "1s", "--retry", "9"]).piped();
    let mut stdout = get.stdout.take().unwrap();
    // Longer than it is patient with the server, who is not to blame.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut stdout, &mut read).unwrap();
    assert!(get.wait().unwrap().success());
    assert!(read == bytes, "{} bytes came", read.len());
}

#[test]
fn hostile_07_a_staging_folder_that_leads_elsewhere_is_not_used() {
    let server = Server::start();
    let client = Client::paired(&server);
    sent(&server, &client, &[("file", vec![1])]);
    let (to, elsewhere) = (server.beside().join("back"), server.beside().join("elsewhere"));
    fs::create_dir_all(&to).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, to.join(".ferry")).unwrap();
    get(&client, "tree", &to).run().code(6).says("is a link or no folder");
    assert_eq!(names(&elsewhere), [""; 0]);
    fs::remove_file(to.join(".ferry")).unwrap();
    make_fifo(to.join(".ferry"));
    get(&client, "tree", &to).run().code(6).says("is a link or no folder");
    fs::remove_file(to.join(".ferry")).unwrap();
    // A FIFO where a file goes is no file: it stays.
    fs::create_dir(to.join("tree")).unwrap();
    make_fifo(to.join("tree/file"));
    get(&client, "tree", &to).run().code(1).says("tree/file");
    assert!(fs::symlink_metadata(to.join("tree/file")).unwrap().file_type().is_fifo());
}

#[test]
fn hostile_06_hostile_07_hostile_19_verify_reads_files_alone_and_nothing_behind_links() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source =
        sent(&server, &client, &[("a", vec![1]), ("b", vec![2]), ("c", vec![3]), ("sub/d", vec![4])]);
    let outside = server.beside().join("outside");
    write(outside.join("d"), [4]);
    fs::remove_file(source.join("a")).unwrap();
    make_fifo(source.join("a"));
    fs::remove_file(source.join("b")).unwrap();
    symlink(outside.join("d"), source.join("b")).unwrap();
    set_mode(source.join("c"), 0o000);
    fs::remove_dir_all(source.join("sub")).unwrap();
    symlink(&outside, source.join("sub")).unwrap();
    let verify =
        client.wrapped(without_privileges(), "verify").arg(&source).args(["--to", "box", "--checksum"]);
    let outcome = verify.run().code(1);
    let told = outcome.stdout();
    let mut lines: Vec<_> = told.lines().map(|line| line.split(':').next().unwrap()).collect();
    lines.sort();
    let expected = [
        "different  tree/a",
        "different  tree/b",
        "different  tree/sub",
        "extra      tree/sub/d",
        "unreadable tree/c",
    ];
    assert_eq!(lines, expected, "{told}");
    set_mode(source.join("c"), 0o600);
}
