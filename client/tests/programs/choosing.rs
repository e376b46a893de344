//! Which entries are taken: the same rules for sending, getting and verifying.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    Client, Outcome, Server, is_root, left_out, make_fifo, names, noise, set_modified, testdata,
    without_privileges, write,
};

/// A tree with something for each rule.
fn tree(at: &Path) -> PathBuf {
    let root = at.join("tree");
    for (name, size) in [
        ("a.txt", 10),
        ("b.tmp", 10),
        ("keep.tmp", 10),
        ("sub/c.txt", 2000),
        ("sub/cache/d.txt", 10),
        ("cache", 10),
        ("sub/deep/e.raw", 50_000),
    ] {
        write(root.join(name), noise(size, 1));
    }
    set_modified(root.join("a.txt"), 1_000_000_000, 0);
    root
}

fn all() -> Vec<&'static str> {
    vec![
        "a.txt",
        "b.tmp",
        "cache",
        "keep.tmp",
        "sub",
        "sub/c.txt",
        "sub/cache",
        "sub/cache/d.txt",
        "sub/deep",
        "sub/deep/e.raw",
    ]
}

#[test]
fn rules_mean_the_same_when_sending_getting_and_verifying() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = tree(server.beside());
    let list = write(server.beside().join("list"), "./sub/c.txt\nsub/deep/\n");
    let list = list.to_str().unwrap();
    client.send(&root).args(["--name", "all"]).run().code(0);
    let cases: &[(&[&str], &[&str])] = &[
        (&["--exclude", "*.tmp"], &["b.tmp", "keep.tmp"]),
        (&["--include", "keep.*", "--exclude", "*.tmp"], &["b.tmp"]),
        (&["--exclude", "*.tmp", "--include", "keep.*"], &["b.tmp", "keep.tmp"]),
        (&["--exclude", "cache/"], &["sub/cache", "sub/cache/d.txt"]),
        (&["--exclude", "cache"], &["cache", "sub/cache", "sub/cache/d.txt"]),
        (&["--exclude", "sub/*/*.txt"], &["sub/cache/d.txt"]),
        (&["--max-size", "1kB"], &["sub/c.txt", "sub/deep/e.raw"]),
        (&["--min-size", "1kB"], &["a.txt", "b.tmp", "cache", "keep.tmp", "sub/cache/d.txt"]),
        (&["--newer-than", "2001-09-09T01:46:40Z"], &["a.txt"]),
        (&["--newer-than", "365d"], &["a.txt"]),
        (&["--from-file", list], &["a.txt", "b.tmp", "cache", "keep.tmp", "sub/cache", "sub/cache/d.txt"]),
    ];
    for (number, (flags, out)) in cases.iter().enumerate() {
        let expected: Vec<_> = all().into_iter().filter(|name| !out.contains(name)).collect();
        let name = format!("case-{number}");
        client.send(&root).args(["--name", &name]).args(*flags).run().code(0);
        assert_eq!(names(&server.inbox().join(&name)), expected, "sent with {flags:?}");
        let to = server.beside().join(&name);
        client.ferry("get").arg("box:all/").arg(&to).args(*flags).run().code(0);
        assert_eq!(names(&to), expected, "got with {flags:?}");
        let verify = || client.ferry("verify").arg(&root).args(["--to", "box", "--name", &name]);
        verify().args(*flags).arg("--json").run().code(0);
        let lacks: Vec<_> = verify().run().code(1).stdout().lines().map(str::to_owned).collect();
        let missing: Vec<_> = out.iter().map(|out| format!("missing    {name}/{out}")).collect();
        assert_eq!(lacks.len(), missing.len(), "{lacks:?}");
        assert!(missing.iter().all(|line| lacks.contains(line)), "{lacks:?}");
    }
}

#[test]
fn names_begin_with_what_the_run_is_about() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = tree(server.beside());
    let contents = format!("{}/", root.display());
    let cases: [(&str, &str, bool); 5] = [
        (root.to_str().unwrap(), "/tree/cache", false),
        (root.to_str().unwrap(), "/cache", true),
        (&contents, "/cache", false),
        (&contents, "/tree/cache", true),
        (root.to_str().unwrap(), "tree/cache", false),
    ];
    for (number, (source, glob, is_there)) in cases.into_iter().enumerate() {
        let dir = format!("case-{number}");
        client.send(source).args(["--dir", &dir, "--exclude", glob]).run().code(0);
        let top = server.inbox().join(&dir).join(if source.ends_with('/') { "" } else { "tree" });
        assert_eq!(top.join("cache").exists(), is_there, "{source} without {glob}");
        assert!(top.join("sub/cache").exists());
    }
    // What is named itself is no exception.
    let outcome = client.send(root.join("b.tmp")).args(["--exclude", "*.tmp"]).run().code(0);
    outcome.says("skipped 1");
    assert!(!server.inbox().join("b.tmp").exists());
}

#[test]
fn what_is_excluded_is_not_even_looked_at() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = tree(server.beside());
    make_fifo(root.join("sub/pipe"));
    fs::create_dir(root.join("closed")).unwrap();
    crate::support::set_mode(root.join("closed"), 0o000);
    let send = |flags: &[&str]| {
        let send = client.wrapped(without_privileges(), "send").arg(&root).args(["--to", "box"]);
        send.args(flags).run()
    };
    send(&[]).code(1).says("closed");
    let quiet = send(&["--exclude", "closed/", "--exclude", "pipe"]).code(0);
    assert!(!quiet.stderr().contains("pipe:") && !quiet.stderr().contains("closed"), "{quiet:?}");
    crate::support::set_mode(root.join("closed"), 0o700);
}

#[test]
fn every_file_that_is_left_out_has_its_reason() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = tree(server.beside());
    let flags = ["--exclude", "*.tmp", "--max-size", "1kB", "--exclude", "cache/"];
    let here = |name: &str| root.join(name).display().to_string();
    let outcome = client.send(&root).args(flags).args(["-n", "-v"]).run().code(0);
    for (name, why) in [
        ("b.tmp", "excluded by `*.tmp`"),
        ("sub/cache", "excluded by `cache/`"),
        ("sub/c.txt", "larger than 1.0 kB"),
    ] {
        assert!(outcome.stderr().contains(&format!("out   {}: {why}", here(name))), "{outcome:?}");
    }
    assert!(!client.send(&root).args(flags).arg("-n").run().code(0).stderr().contains("excluded"));
    outcome.prints("send  tree/a.txt: new");
    write(server.inbox().join("tree/a.txt"), "another one");
    fs::create_dir(server.inbox().join("tree/sub")).unwrap();
    let outcome = client.send(&root).args(flags).args(["-n", "-v"]).run().code(0);
    outcome.prints("send  tree/a.txt: not the same as what is there").prints("send  tree/cache: new");
    let json = client.send(&root).args(flags).args(["-n", "--json"]).run().code(0);
    let why = |name: &str| json.objects().into_iter().find(|o| o["name"] == name).unwrap()["detail"].clone();
    assert_eq!(
        (why("tree/a.txt"), why("tree/cache")),
        ("not the same as what is there".into(), "new".into())
    );
    let told = |outcome: &Outcome, name: &str| {
        let objects = outcome.objects();
        let object = objects.iter().find(|object| object["name"] == name);
        object.map(|object| (object["status"].clone(), object["detail"].clone()))
    };
    let json = client.send(&root).args(flags).arg("--json").run().code(0);
    let expected = Some(("skipped".into(), "excluded by `*.tmp`".into()));
    assert_eq!(told(&json, &here("b.tmp")), expected);
    assert_eq!(json.total("skipped"), 5, "two names, one folder, two sizes");
    client.send(&root).run().code(0);
    let to = server.beside().join("back");
    let json = client.ferry("get").arg("box:tree").arg(&to).args(flags).arg("--json").run().code(0);
    assert_eq!(told(&json, "tree/b.tmp"), expected);
}

#[test]
fn a_list_says_what_is_taken_and_what_it_names_must_be_there() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = tree(server.beside());
    write(root.join("two\nlines"), "x");
    let list = "./a.txt\0two\nlines\0nowhere/at all\0";
    let send = || client.send(&root).args(["--from-file", "-", "--null"]).stdin(list);
    let outcome = send().run().code(1);
    outcome.says("nowhere/at all: it is in the list");
    assert_eq!(names(&server.inbox().join("tree")), ["a.txt", r"two\nlines"]);
    let to = server.beside().join("back");
    let get = client.ferry("get").arg("box:tree").arg(&to).args(["--from-file", "-", "--null"]);
    get.stdin(list).run().code(1).says("nowhere/at all: it is in the list");
    assert_eq!(names(&to), ["tree", "tree/a.txt", r"tree/two\nlines"]);
    let verify = client.ferry("verify").arg(&root).args(["--to", "box", "--from-file", "-", "--null"]);
    let verified = verify.stdin(list).run().code(1);
    assert_eq!(verified.stdout().lines().count(), 1, "{verified:?}");

    client.send(&root).arg(root.join("sub")).args(["--from-file", "-"]).stdin("a").run().code(2);
    let list = write(server.beside().join("bad"), "ok\n../etc/passwd\n");
    let refused = client.send(&root).arg("--from-file").arg(&list).run().code(2);
    refused.says("name 2");
}

#[test]
fn gitignores_are_honoured_here_and_for_what_is_extra_there() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = tree(server.beside());
    client.send(&root).run().code(0);
    write(root.join(".gitignore"), "*.tmp\n!keep.tmp\n");
    write(root.join("sub/.gitignore"), "/deep/\n");
    client.send(&root).args(["--gitignore", "--name", "ignoring"]).run().code(0);
    let expected: Vec<_> = [".gitignore", "a.txt", "cache", "keep.tmp", "sub", "sub/.gitignore", "sub/c.txt"]
        .into_iter()
        .chain(["sub/cache", "sub/cache/d.txt"])
        .collect();
    assert_eq!(names(&server.inbox().join("ignoring")), expected);
    // There is more there than here, but nothing that would be sent.
    fs::remove_file(root.join("b.tmp")).unwrap();
    let verify = || client.ferry("verify").arg(&root).args(["--to", "box"]);
    client.send(&root).arg("--gitignore").run().code(0);
    verify().arg("--gitignore").run().code(0);
    verify().run().code(1).prints("extra      tree/b.tmp");
}

#[test]
fn images_are_chosen_by_what_is_in_them() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("card");
    let photo = fs::read_dir(testdata().join("photos")).unwrap().next().unwrap().unwrap().path();
    fs::create_dir_all(root.join("DCIM")).unwrap();
    fs::copy(&photo, root.join("DCIM/no ending")).unwrap();
    write(root.join("DCIM/lie.jpg"), "no image at all");
    write(root.join("movie.mp4"), b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom");
    client.send(&root).arg("--images").run().code(0).says("skipped 2");
    assert_eq!(names(&server.inbox().join("card")), ["DCIM", "DCIM/no ending"]);
    client.ferry("verify").arg(&root).args(["--to", "box", "--images"]).run().code(0);
    client.ferry("verify").arg(&root).args(["--to", "box"]).run().code(1);
}

#[test]
fn rules_that_make_no_sense_are_refused_before_anything_is_done() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = tree(server.beside());
    for flags in [
        &["--exclude", "["][..],
        &["--exclude", ""],
        &["--min-size", "much"],
        &["--newer-than", "yesterday"],
        &["--null"],
        &["--from-file"],
    ] {
        client.send(&root).args(flags).run().code(2);
    }
    client.send(&root).args(["--from-file", "/nonexistent/list"]).run().code(6);
    client.ferry("get").args(["box:tree", "-", "--exclude", "x"]).run().code(2);
    client.ferry("get").args(["box:tree", ".", "--gitignore"]).run().code(2);
    assert_eq!(server.names(), Vec::<String>::new());
}

#[test]
fn folders_with_another_file_system_stay_closed_on_request() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = tree(server.beside());
    fs::create_dir(root.join("mounted")).unwrap();
    let mount = "mount -t tmpfs tmpfs \"$0\" && echo x > \"$0/inside\" && exec \"$@\"";
    let at = root.join("mounted").display().to_string();
    let namespace = if is_root() { "-m" } else { "-Urm" };
    let wrapper: &[&'static str] = vec!["unshare", namespace, "sh", "-c", mount, at.leak()].leak();
    let possible = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        return left_out("this machine gives no mount namespaces");
    }
    let ferry = |command: &str, flags: &[&str]| {
        client.wrapped(wrapper, command).arg(&root).args(["--to", "box"]).args(flags).run()
    };
    let there = server.inbox().join("tree/mounted");
    ferry("send", &["--one-file-system"]).code(0);
    assert_eq!(names(&there), Vec::<String>::new());
    ferry("verify", &["--one-file-system"]).code(0);
    ferry("verify", &[]).code(1).prints("missing    tree/mounted/inside");
    ferry("send", &[]).code(0);
    assert_eq!(names(&there), ["inside"]);
    ferry("verify", &["--one-file-system"]).code(0);
}

#[test]
fn hostile_07_a_gitignore_that_is_no_file_is_none() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = tree(server.beside());
    make_fifo(root.join("sub/.gitignore"));
    std::os::unix::fs::symlink("/dev/zero", root.join(".gitignore")).unwrap();
    client.send(&root).arg("--gitignore").run().code(0);
    client.ferry("verify").arg(&root).args(["--to", "box", "--gitignore"]).run().code(0);
    // A line that is no text hides none behind it.
    fs::remove_file(root.join(".gitignore")).unwrap();
    write(root.join(".gitignore"), b"caf\xe9*\r\n*.tmp\r\n");
    client.send(&root).args(["--gitignore", "--name", "again"]).run().code(0);
    assert!(!server.inbox().join("again/b.tmp").exists() && server.inbox().join("again/a.txt").exists());
}
