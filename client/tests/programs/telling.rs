//! What ferry tells, to people and to scripts.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::Path,
    process::Command,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Client, NodeKind, Server, assert_same_tree, digest, eventually, make_fifo, names, noise, run, schema,
    set_mode, snapshot, testdata, write,
};

/// Names that `sha256sum` escapes, and some that it does not.
fn odd_names(folder: &Path) {
    for name in
        [&b"plain"[..], b"new\nline", b"back\\slash", b"return\rhere", b"both \\ and \n", b"caf\xe9", b" "]
    {
        write(folder.join(std::ffi::OsStr::from_bytes(name)), name);
    }
    write(folder.join("empty"), "");
    write(folder.join("large"), noise(1_000_000, 1));
    fs::create_dir(folder.join("hollow")).unwrap();
    symlink("plain", folder.join("link")).unwrap();
}

#[test]
fn receipts_are_what_sha256sum_checks() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    odd_names(&source);
    let receipts = server.beside().join("receipts");
    let files = snapshot(&source).values().filter(|node| matches!(node.kind, NodeKind::File(..))).count();
    let check = || {
        let mut command = Command::new("sha256sum");
        command.args(["--check", "--strict", "--quiet"]).arg(&receipts).current_dir(server.inbox());
        run(command)
    };
    let mut seen = Vec::new();
    // Sent, and held.
    for _ in 0..2 {
        client.send(&source).args(["--dir", "a/b", "--receipts"]).arg(&receipts).run().code(0);
        check().code(0);
        let text = fs::read(&receipts).unwrap();
        let mut lines: Vec<Vec<u8>> = text.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
        assert_eq!(lines.pop(), Some(Vec::new()), "the last line ends");
        lines.sort();
        assert_eq!(lines.len(), files, "a line for each file and for nothing else");
        seen.push(lines);
    }
    assert_eq!(seen[0], seen[1]);
    // And it can tell.
    fs::write(server.inbox().join("a/b/source/plain"), "rotten").unwrap();
    check().code(1);
}

#[test]
fn receipts_by_blake3_are_what_b3sum_checks() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    // Names that b3sum can read: it wants UTF-8. The last is more than one of the pieces that are hashed.
    for (name, length) in [("plain", 5), ("new\nline", 6), ("back\\slash", 0), ("huge", 70 * 1024 * 1024)] {
        write(source.join(name), noise(length, 2));
    }
    let receipts = server.beside().join("receipts");
    let send =
        || client.send(&source).args(["--digest", "blake3", "--json", "--receipts"]).arg(&receipts).run();
    let mut seen = Vec::new();
    for status in ["sent", "held"] {
        let outcome = send().code(0);
        let objects = outcome.objects();
        let huge = objects.iter().find(|object| object["name"] == "source/huge").unwrap();
        assert_eq!((&huge["status"], &huge["digest"].as_str().unwrap()[..7]), (&status.into(), "blake3:"));
        let mut command = Command::new("b3sum");
        command.arg("--check").arg(&receipts).current_dir(server.inbox());
        run(command).code(0);
        let mut lines: Vec<String> =
            String::from_utf8_lossy(&fs::read(&receipts).unwrap()).lines().map(str::to_owned).collect();
        lines.sort();
        seen.push(lines);
    }
    assert_eq!(seen[0], seen[1]);
    // What has the other digest only is read, and moves no bytes.
    assert_eq!(client.send(&source).arg("--json").run().code(0).total("bytes"), 0);
}

#[test]
fn receipts_name_what_was_renamed_and_leave_out_what_failed() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    let receipts = server.beside().join("receipts");
    for (name, content) in [("a.txt", "old"), ("b.txt", "b"), ("taken", "taken")] {
        write(source.join(name), content);
    }
    client.send(format!("{}/", source.display())).run().code(0);
    write(source.join("a.txt"), "new");
    fs::remove_file(server.inbox().join("taken")).unwrap();
    fs::create_dir(server.inbox().join("taken")).unwrap();
    let send =
        client.send(format!("{}/", source.display())).args(["--on-conflict", "keep-both", "--receipts"]);
    send.arg(&receipts).run().code(1).says("taken");
    let text = fs::read_to_string(&receipts).unwrap();
    let mut lines: Vec<&str> = text.lines().map(|line| &line[66..]).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a (2).txt", "b.txt"]);
    let mut command = Command::new("sha256sum");
    command.args(["--check", "--strict"]).arg(&receipts).current_dir(server.inbox());
    run(command).code(0);
}

#[test]
fn old_receipts_stay_until_there_are_new_ones() {
    let mut server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("source/file"), "content");
    let folder = server.beside().join("receipts");
    let (old, link) = (write(folder.join("old"), "what was there\n"), folder.join("link"));
    set_mode(&old, 0o640);
    symlink("old", &link).unwrap();
    let send = || client.send(&source).args(["--retry", "0", "--receipts"]).arg(&link).run();
    server.stop();
    send().code(3);
    assert_eq!(fs::read(&old).unwrap(), b"what was there\n");
    assert_eq!(names(&folder), ["link", "old"]);
    server.restart();
    send().code(0);
    assert_eq!(fs::read_to_string(&old).unwrap(), receipt("file", b"content"));
    assert_eq!(names(&folder), ["link", "old"], "nothing else is left");
    assert!(link.is_symlink(), "a link still leads there");
    assert_eq!(fs::metadata(&old).unwrap().permissions().mode() & 0o777, 0o640);
    // A run without any takes nobody's place, and makes an empty one where there was none.
    client.send(folder.join("none")).arg("--receipts").arg(&old).run().code(1);
    assert_eq!(fs::read_to_string(&old).unwrap(), receipt("file", b"content"));
    client.send(folder.join("none")).arg("--receipts").arg(folder.join("new")).run().code(1);
    assert_eq!(fs::read(folder.join("new")).unwrap(), b"");
}

#[test]
fn an_interrupted_run_leaves_the_receipts_of_what_has_arrived() {
    let server = Server::start();
    let client = Client::paired(&server);
    let first = write(server.beside().join("source/first"), "content");
    let large = write(server.beside().join("source/large"), noise(40_000_000, 1));
    let receipts = write(server.beside().join("receipts"), "what was there\n");
    let send = client.ferry("send").args([&first, &large]).args(["--to", "box", "--json"]);
    let running = send.args(["--limit-rate", "500kB", "--receipts"]).arg(&receipts).start();
    eventually("a receipt", || running.stdout_so_far().contains("first").then_some(()));
    assert_eq!(fs::read(&receipts).unwrap(), b"what was there\n", "old ones stay as long as it runs");
    running.signal(Signal::INT);
    running.wait().code(5);
    assert_eq!(fs::read_to_string(&receipts).unwrap(), receipt("first", b"content"));
}

#[test]
fn receipts_go_straight_to_what_is_no_file_of_its_own() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("source/file"), "content");
    let expected = receipt("file", b"content");
    let outcome = client.send(&source).args(["--receipts", "/dev/stdout"]).run().code(0);
    assert_eq!(outcome.stdout(), expected);
    // A log that somebody else writes to as well: what is in it stays, and it stays where it is.
    let log = write(server.beside().join("log"), "before\n");
    let append = format!("exec \"$@\" >>'{}'", log.display());
    let send = client.wrapped(&["sh", "-c", &append, "sh"], "send").arg(&source);
    send.args(["--to", "box", "--receipts", "/dev/stdout"]).run().code(0);
    assert_eq!(fs::read_to_string(&log).unwrap(), format!("before\n{expected}"));

    let fifo = server.beside().join("fifo");
    make_fifo(&fifo);
    let running = client.send(&source).arg("--receipts").arg(&fifo).start();
    assert_eq!(fs::read_to_string(&fifo).unwrap(), expected);
    running.wait().code(0);
    client.send(&source).args(["--receipts", "/dev/null"]).run().code(0);
    client.send(&source).args(["--receipts", "/dev/full"]).run().code(1).says("receipts cannot be written");
    client.send(&source).arg("--receipts").arg(server.beside()).run().code(6);
    client.send(&source).arg("--receipts").arg(server.beside().join("none/file")).run().code(6);
    client.send(&source).arg("--receipts").arg(server.beside().join("none/")).run().code(6);
}

/// The line that a receipt makes.
fn receipt(name: &str, content: &[u8]) -> String {
    format!("{}  {name}\n", ferry_proto::Algorithm::Sha256.digest(content).hex())
}

/// The name of an object, by its bytes.
fn name_of(object: &Value) -> Vec<u8> {
    match object.get("name_bytes") {
        Some(bytes) => {
            assert!(object["name"].as_str().unwrap().contains("\\x"), "escaped: {object}");
            bytes.as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect()
        }
        None => object["name"].as_str().unwrap().as_bytes().to_vec(),
    }
}

#[test]
fn json_has_one_object_for_each_entry_and_the_summary_last() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    odd_names(&source);
    fs::create_dir_all(source.join("deep/er")).unwrap();
    let expected = snapshot(&source);
    for (status, jobs) in [("sent", "1"), ("held", "1"), ("held", "4")] {
        let outcome = client.send(&source).args(["--json", "--jobs", jobs]).run().code(0);
        assert_eq!(outcome.stderr(), "", "nothing else is said");
        let objects = outcome.objects();
        let (last, others) = objects.split_last().unwrap();
        let entries: Vec<&Value> = others.iter().filter(|object| object.get("event").is_none()).collect();
        let told: BTreeMap<Vec<u8>, &Value> = entries.iter().map(|o| (name_of(o), *o)).collect();
        assert_eq!(told.len(), entries.len(), "no name twice");
        assert_eq!(told.len(), expected.len());
        for (name, node) in &expected {
            let separator: &[u8] = if name.is_empty() { b"" } else { b"/" };
            let object = told[&[b"source", separator, name].concat()];
            assert_eq!(object["status"], status);
            let (kind, bytes, digest) = match &node.kind {
                NodeKind::File(size, digest) => ("file", *size, Value::from(digest.to_string())),
                NodeKind::Folder => ("folder", 0, Value::Null),
                NodeKind::Symlink(_) => ("symlink", 0, Value::Null),
                NodeKind::Other => unreachable!(),
            };
            assert_eq!((&object["kind"], &object["bytes"]), (&kind.into(), &bytes.into()));
            assert_eq!(object.get("digest").cloned().unwrap_or_default(), digest);
        }
        let summary = &last["summary"];
        let (sent, held) = if status == "sent" { (expected.len(), 0) } else { (0, expected.len()) };
        for (field, value) in [("sent", sent), ("held", held), ("failed", 0), ("skipped", 0), ("exit", 0)] {
            assert_eq!(summary[field], value, "{field}");
        }
    }
}

#[test]
fn promise_8_json_and_exit_code_tell_what_failed() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("good"), "good");
    write(source.join("bad"), "bad");
    fs::create_dir(server.inbox().join("bad")).unwrap();
    let outcome = client.send(format!("{}/", source.display())).arg("--json").run().code(1);
    let expected = [("bad", "failed"), ("good", "sent")];
    assert_eq!(outcome.statuses(), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let objects = outcome.objects();
    let bad = objects.iter().find(|object| object["name"] == "bad").unwrap();
    assert_eq!(bad["code"], ferry_proto::Code::KindConflict.number());
    assert!(!bad["detail"].as_str().unwrap().is_empty());
    let summary = outcome.summary();
    assert_eq!((&summary["failed"], &summary["exit"]), (&1.into(), &1.into()));
}

#[test]
fn promise_8_json_that_cannot_be_written_is_no_success_and_everything_arrives() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    odd_names(&source);
    let pipe = server.beside().join("pipe");
    make_fifo(&pipe);
    let send = |flags: &[&str], stdout: &Path| {
        let shell = format!("exec \"$@\" >'{}'", stdout.display());
        let send = client.wrapped(&["sh", "-c", &shell, "sh"], "send");
        send.arg(&source).args(["--to", "box"]).args(flags).start()
    };
    // Whoever reads goes away before there is anything to read.
    let send_to_nobody = |flags: &[&str]| {
        let running = send(flags, &pipe);
        drop(fs::File::open(&pipe).unwrap());
        running.wait()
    };
    let full = Path::new("/dev/full");
    send(&["--json", "--dir", "full"], full).wait().code(1).says("standard output").says("sent ");
    send_to_nobody(&["--json", "--dir", "pipe"]).code(1).says("standard output").says("sent ");
    for folder in ["full", "pipe"] {
        assert_same_tree(&source, &server.inbox().join(folder).join("source"));
    }
    // What is only looked at may be looked at in part.
    write(source.join("later"), "later");
    send_to_nobody(&["-n"]).code(0);
    send(&["-n"], full).wait().code(1).says("standard output");
    let remotes = client.wrapped(&["sh", "-c", "exec \"$@\" >/dev/full", "sh"], "remotes");
    remotes.run().code(1).says("standard output");
    let verify = client.wrapped(&["sh", "-c", "exec \"$@\" >/dev/full", "sh"], "verify");
    let verify =
        verify.arg(server.inbox().join("full/source")).args(["--to", "box", "--dir", "full", "--json"]);
    verify.run().code(1).says("standard output");
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    odd_names(&source);
    write(source.join("huge"), noise(40_000_000, 1));
    let told = client.send(&source).arg("--dry-run").run().code(0).stdout();
    assert!(told.contains("send  source/large\n") && told.contains("send  source/new\\nline\n"), "{told}");
    assert_eq!(told.lines().count(), snapshot(&source).len());
    assert_eq!((server.names(), server.staged()), (vec![], vec![]));

    client.send(&source).run().code(0);
    let before = snapshot(server.inbox());
    write(source.join("large"), noise(1_000_000, 2));
    write(source.join("plain"), "another");
    write(source.join("later"), "later");
    let mut told: Vec<String> =
        client.send(&source).arg("-n").run().code(0).stdout().lines().map(str::to_owned).collect();
    told.sort();
    assert_eq!(told, ["send  source", "send  source/large", "send  source/later", "send  source/plain"]);
    let refused = client.send(&source).args(["-n", "--on-conflict", "fail", "--json"]).run().code(1);
    assert_eq!((refused.total("failed"), refused.total("would_send")), (2, 2));
    assert_eq!(refused.total("bytes"), "later".len() as u64, "what would be sent");
    assert_eq!(snapshot(server.inbox()), before);
    assert_eq!(server.staged(), []);
}

#[test]
fn quiet_says_nothing_and_verbose_names_everything() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    odd_names(&source);
    let verbose = client.send(&source).arg("-v").run().code(0);
    assert_eq!(verbose.stdout(), "", "what is said to people is no data");
    for line in ["sent  source/plain", "sent  source/hollow", "sent  source/link", "sent  source/new\\nline"]
    {
        assert!(verbose.stderr().lines().any(|told| told == line), "{line}: {verbose:?}");
    }
    let verbose = client.send(&source).arg("-v").run().code(0).says("held  source/plain");
    let entries = snapshot(&source).len();
    let last = verbose.stderr().lines().last().unwrap().to_owned();
    assert!(last.contains(&format!("held {entries}")), "{last}");

    let quiet = client.send(&source).arg("-q").run().code(0);
    assert_eq!((quiet.stdout(), quiet.stderr()), (String::new(), String::new()));
    let outcome = client.send(server.beside().join("no such")).arg("-q").run().code(1);
    assert_eq!(outcome.stderr().lines().count(), 1, "{outcome:?}");
    client.send(&source).args(["-q", "-v"]).run().code(2);
    assert_same_tree(&source, &server.inbox().join("source"));
}

#[test]
fn hostile_05_names_reach_neither_terminal_nor_log_as_commands() {
    let server = Server::setup().env("FERRYD_LOG", "debug").start();
    let client = Client::paired(&server);
    let bad = "\x1b[31mred\x1b[0m\r\nINFO forged\u{202e}gpj\u{200b}";
    let source = server.beside().join("source");
    write(source.join(bad), "content");
    write(source.join("below").join(bad), "content");
    fs::create_dir_all(server.inbox().join("source/below").join(bad)).unwrap();
    for flags in [&["-v"][..], &["-n"], &["-v", "--on-conflict", "fail"]] {
        let outcome = client.send(&source).args(flags).run().code(1);
        let told = outcome.stdout() + &outcome.stderr() + &server.log();
        assert!(!told.contains(['\x1b', '\r', '\u{202e}', '\u{200b}']), "{told:?}");
        // The name is told, and every part of it can be seen.
        let seen = r"\x1b[31mred\x1b[0m\r\nINFO forged\u{202e}gpj\u{200b}";
        assert!(outcome.stdout().contains(seen) || outcome.stderr().contains(seen), "{outcome:?}");
        assert!(server.log().contains(seen), "{}", server.log());
        assert!(!told.lines().any(|line| line.starts_with("INFO")), "{told:?}");
    }
    client.send(testdata().join("awkward")).arg("-v").run().code(0);
    assert!(!server.log().contains(['\x1b', '\u{200f}']));
}

#[test]
fn a_rate_is_not_exceeded() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    for number in 0..4 {
        write(source.join(number.to_string()), noise(100_000, number));
    }
    write(source.join("large"), noise(400_000, 9));
    for (jobs, rate) in [("1", 1_000_000.0), ("4", 1_000_000.0)] {
        let outcome = client.send(&source).args(["--name", jobs, "--jobs", jobs, "--json"]);
        let summary = outcome.args(["--limit-rate", "1MB"]).run().code(0).summary();
        let (bytes, seconds) = (summary["bytes"].as_f64().unwrap(), summary["seconds"].as_f64().unwrap());
        assert_eq!(bytes, 800_000.0);
        assert!(bytes / seconds <= rate, "{summary}");
    }
    assert_eq!(digest(source.join("large")), digest(server.inbox().join("4/large")));
}

#[test]
fn without_a_terminal_a_line_now_and_then_tells_how_much_there_is() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("small"), noise(1000, 1));
    write(source.join("large"), noise(1_200_000, 2));
    let outcome = client.send(&source).args(["--limit-rate", "100kB"]).run().code(0);
    let told = outcome.stderr();
    let line = told.lines().next().unwrap();
    assert!(line.contains("/3 entries, ") && line.contains(" MB of 1.2 MB, "), "{outcome:?}");
}

#[test]
fn promise_8_what_is_not_asked_for_right_is_a_usage_error() {
    let server = Server::start();
    let client = Client::paired(&server);
    let file = write(server.beside().join("file"), "content");
    for flags in [
        &["--jobs", "0"][..],
        &["--jobs", "65"],
        &["--limit-rate", "0"],
        &["--limit-rate", "fast"],
        &["--retry", "sometimes"],
        &["--timeout", "5"],
        &["--on-conflict", "guess"],
        &["--links", "perhaps"],
        &["--no-such-flag"],
    ] {
        let outcome = client.send(&file).args(flags).run().code(2);
        assert!(outcome.stderr().contains(flags[0]), "{outcome:?}");
    }
    for command in ["", "sned"] {
        client.ferry(command).run().code(2);
    }
    client.ferry("send").run().code(2);
    assert_eq!(server.names(), [""; 0]);
}

#[test]
fn what_scripts_are_promised_is_what_they_get() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    for name in [&b"plain"[..], b"caf\xe9", b"a\nb\x1b[31m", b"sub/deep", b"gone", b"other"] {
        write(source.join(OsStr::from_bytes(name)), name);
    }
    symlink(OsStr::from_bytes(b"/\xe9"), source.join("link")).unwrap();
    make_fifo(source.join("fifo"));
    // `objects` holds each of them to docs/output.schema.json.
    for flags in [&["-n"][..], &["-v"], &[], &["--checksum"]] {
        let objects = client.send(&source).arg("--json").args(flags).run().code(0).objects();
        assert!(objects.len() > 9, "{objects:?}");
    }
    let failing = client.ferry("send").args([&source, &server.beside().join("none")]).args(["--to", "box"]);
    assert!(failing.args(["--json", "--digest", "blake3"]).run().code(1).objects().len() > 9);
    let get = |flags: &[&str]| {
        let get = client.ferry("get").arg("box:source").arg(server.beside().join("back"));
        get.arg("--json").args(flags).run().code(0).objects().len()
    };
    assert!(get(&["-n"]) > 8 && get(&["-v"]) > 8 && get(&[]) > 8);
    let list = client.ferry("ls").args(["box:", "-R", "--digests", "--json"]).run().code(0);
    assert_eq!(list.objects().len(), 9);
    write(source.join("new"), "new");
    write(source.join("other"), "another content");
    fs::remove_file(source.join("gone")).unwrap();
    let verify = client.ferry("verify").arg(&source).args(["--to", "box", "--json"]).run().code(1);
    assert_eq!(verify.objects().len(), 4);
    server.invite();
    assert_eq!(server.ferryd(&["clients", "--json"]).code(0).objects().len(), 2);
    // And the schema does not allow just anything.
    for (line, object) in [
        ("ferry send", json!({ "status": "lost", "kind": "file", "name": "x", "bytes": 1 })),
        ("ferry get", json!({ "status": "sent", "kind": "file", "name": "x", "bytes": 1 })),
        ("ferry get", json!({ "summary": { "sent": 1 } })),
        ("ferry ls", json!({ "kind": "file", "name": "x", "size": 1 })),
        ("ferry verify", json!({ "status": "same", "name": "x" })),
        ("ferryd clients", json!({ "name": "x" })),
    ] {
        assert!(schema::fault(line, &object).is_some(), "{line}: {object}");
    }
}
