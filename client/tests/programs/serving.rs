//! The server as a service: how it starts, what it logs, how it stops.

use std::{fs, net::TcpListener, os::unix::fs::symlink, process::Command};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Client, Outcome, Plan, Proxy, Server, assert_same_file, assert_same_tree, bare, eventually, is_root,
    left_out, noise, run, set_mode, without_privileges, write,
};

/// Checks that it ended with one sentence, and not with success.
#[track_caller]
fn one_sentence(outcome: Outcome, words: &[&str]) {
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert_eq!(outcome.stdout(), "", "{outcome:?}");
    let stderr = outcome.stderr();
    let lines: Vec<&str> = stderr.lines().collect();
    let [line] = lines[..] else { panic!("{outcome:?}") };
    assert!(line.starts_with("ferryd: "), "{outcome:?}");
    assert!(words.iter().all(|word| line.contains(word)), "{words:?}: {outcome:?}");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let setup = Server::setup().listen(address);
    one_sentence(setup.refused(), &[&address.to_string(), "in use", "--listen"]);
    let setup = Server::setup().listen("192.0.2.1:1".parse().unwrap());
    one_sentence(setup.refused(), &["192.0.2.1:1"]);
}

#[test]
fn a_root_that_cannot_be_made_is_told() {
    let setup = Server::setup();
    let root = setup.inbox().join("without/parent");
    let setup = setup.root(&root);
    one_sentence(setup.refused(), &["without/parent", "does not exist"]);
    assert!(!root.exists());
    let file = write(root.with_file_name("file"), "");
    one_sentence(Server::setup().root(&file).refused(), &["file", "not a folder"]);
    // One whose parent exists is made.
    let server = Server::setup().root(root.with_file_name("made")).start();
    assert!(server.inbox().is_dir());
}

#[test]
fn hostile_19_a_read_only_file_system_is_told() {
    let setup = Server::setup();
    fs::create_dir(setup.inbox()).unwrap();
    let read_only = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let mut wrapper = vec!["unshare"];
    wrapper.extend(if is_root() { &["-m"][..] } else { &["-Urm"] });
    wrapper.extend(["sh", "-c", read_only]);
    let root = Box::leak(setup.inbox().display().to_string().into_boxed_str());
    wrapper.push(root);
    let possible = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        return left_out("this machine gives no mount namespaces");
    }
    let setup = setup.wrapped(&wrapper);
    one_sentence(setup.refused(), &["inbox", "writable"]);
    assert!(!setup.inbox().join(".ferry").exists());
    // With its state on a disk that can be written, too: files could not be saved.
    let state = setup.inbox().with_file_name("state");
    let setup = setup.args([std::ffi::OsStr::new("--state"), state.as_os_str()]);
    one_sentence(setup.refused(), &["inbox", "writable"]);
}

#[test]
fn hostile_19_a_root_without_permission_is_told() {
    let setup = Server::setup().wrapped(without_privileges());
    fs::create_dir(setup.inbox()).unwrap();
    set_mode(setup.inbox(), 0o555);
    one_sentence(setup.refused(), &["inbox", "writable"]);
    set_mode(setup.inbox(), 0o755);
    let server = setup.start();
    // Taken away while it runs: a file fails, by name, and the server goes on.
    let client = Client::paired(&server);
    fs::create_dir(server.inbox().join("closed")).unwrap();
    set_mode(server.inbox().join("closed"), 0o555);
    let source = server.beside().join("source");
    for name in ["closed/file", "open/file"] {
        write(source.join(name), name);
    }
    set_mode(source.join("closed"), 0o555);
    let outcome = client.ferry("send").args([source.join("closed/file")]).arg("box:closed").run();
    outcome.code(1).says("closed/file: permission denied");
    client.send(source.join("open")).run().code(0);
    assert_eq!(server.names(), ["closed", "open", "open/file"]);
    set_mode(source.join("closed"), 0o755);
    assert_eq!(server.staged(), []);
}

#[test]
fn two_servers_never_save_into_one_folder() {
    let server = Server::start();
    let mut again = Server::setup().root(server.inbox());
    one_sentence(again.refused(), &["another ferryd"]);
    let link = server.beside().join("link");
    symlink(server.inbox(), &link).unwrap();
    again = again.root(&link);
    one_sentence(again.refused(), &["another ferryd"]);
    // The first one has not noticed.
    let file = write(server.beside().join("file"), "content");
    Client::paired(&server).send(&file).run().code(0);
}

#[test]
fn hostile_07_a_private_folder_that_is_a_link_is_refused() {
    for name in [".ferry", ".ferry/staging", ".ferry/lock"] {
        let setup = Server::setup();
        let elsewhere = setup.inbox().with_file_name("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::create_dir_all(setup.inbox().join(name).parent().unwrap()).unwrap();
        symlink(&elsewhere, setup.inbox().join(name)).unwrap();
        one_sentence(setup.refused(), &["link"]);
        let staged = fs::read_dir(&elsewhere)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name() == "staging");
        assert_eq!(staged.count(), 0, "{name}");
    }
}

#[test]
fn a_first_start_says_how_to_pair() {
    let server = Server::start();
    server.logged(&["no client is paired yet", "ferryd invite"]);
    assert!(!server.log().contains("ferry://"), "a link in a log");
    let client = Client::paired(&server);
    let mut server = server;
    server.stop();
    fs::write(server.beside().join("ferryd.log"), "").unwrap();
    server.restart();
    server.logged(&["ready"]);
    assert!(!server.log().contains("no client"), "{}", server.log());
    client.send(write(server.beside().join("file"), "")).run().code(0);
}

#[test]
fn a_line_of_the_log_tells_what_came() {
    let bytes = noise(300_000, 1);
    let digest = ferry_proto::Algorithm::Sha256.digest(&bytes).to_string();
    for format in ["text", "json"] {
        let server = Server::setup().args(["--log-format", format]).start();
        let client = Client::new();
        client.pair(&server.invite_with(&["--name", "laptop"]));
        let source = write(server.beside().join("a file"), &bytes);
        client.send(&source).run().code(0);
        let stream = client.send("-").args(["--name", "stream"]).stdin(bytes.clone());
        stream.run().code(0);
        for name in ["a file", "stream"] {
            let line = server.logged(&["received", name, &digest]);
            if format == "text" {
                let words = ["client=laptop", "bytes=300000", "ms="];
                assert!(words.iter().all(|word| line.contains(word)), "{line}");
            } else {
                let line: Value = serde_json::from_str(&line).unwrap();
                let fields = &line["fields"];
                assert_eq!((&fields["client"], &fields["file"]), (&"laptop".into(), &name.into()));
                assert_eq!((&fields["bytes"], &fields["digest"]), (&300_000.into(), &digest.clone().into()));
                assert!(fields["ms"].is_u64(), "{line}");
            }
        }
        fs::create_dir(server.inbox().join("taken")).unwrap();
        client.send(&source).args(["--name", "taken"]).run().code(1);
        server.logged(&["failed", "taken", "laptop"]);
    }
}

#[test]
fn promise_3_a_stopped_server_ends_well_and_keeps_what_can_be_gone_on_with() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start();
        let proxy = Proxy::to(server.address());
        let client = Client::new();
        client.pair(&server.invite_at(proxy.address()));
        let source = write(server.beside().join("large"), noise(50_000_000, 1));
        proxy.set(Plan::SilentAfter(40_000_000));
        let running = client.send(&source).args(["--json", "--retry", "9"]).start();
        eventually("a checkpoint", || (server.checkpoints().len() == 1).then_some(()));
        server.signal(signal);
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{}", server.log());
        server.logged(&["stopped"]);
        let staged: Vec<u64> = server.staged().into_iter().map(|(_, length)| length).collect();
        assert!(staged.len() == 1 && staged[0] >= 32 * 1024 * 1024, "{staged:?}");
        assert_eq!(server.names(), [""; 0]);
        // The client waits for it.
        server.restart();
        proxy.set(Plan::Forward);
        running.wait().code(0);
        assert_same_file(&source, &server.inbox().join("large"));
        assert_eq!(server.staged(), []);
    }
}

#[test]
fn a_client_learns_that_the_server_stops() {
    let mut server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("large"), noise(40_000_000, 1));
    let running = client.send(&source).args(["--retry", "0", "--limit-rate", "1MB"]).start();
    eventually("a body under way", || (!server.staged().is_empty()).then_some(()));
    assert_eq!(server.stop().code(), Some(0));
    running.wait().code(3).says("the server is stopping");
    // What has no checkpoint is of no use.
    assert_eq!((server.staged(), server.names()), (vec![], vec![]));
}

#[test]
fn a_body_that_has_failed_is_not_sent_to_its_end() {
    let server = Server::setup().args(["--max-file", "1MB"]).start();
    let client = Client::paired(&server);
    let send = client.send("-").args(["--name", "stream", "--json", "--limit-rate", "4MB"]);
    let outcome = send.stdin(noise(20_000_000, 1)).run().code(1);
    assert_eq!(outcome.statuses(), [("stream".to_owned(), "failed".to_owned())]);
    assert!(outcome.total("bytes") < 20_000_000, "{outcome:?}");
}

#[test]
fn a_restarted_server_takes_its_port_again_at_once() {
    let mut server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("file"), "content");
    let address = server.address();
    for round in 0..5 {
        client.send(&source).args(["--name", &round.to_string()]).run().code(0);
        if round % 2 == 0 {
            server.stop();
        }
        server.restart();
        assert_eq!(server.address(), address);
    }
}

#[test]
fn stale_staging_is_swept() {
    let mut server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let source = write(server.beside().join("large"), noise(50_000_000, 1));
    // What the server has not written when a connection breaks is lost: so far behind its checkpoint that it is written.
    proxy.set(Plan::CutAfter(46_000_000));
    client.send(&source).args(["--retry", "0"]).run().code(3);
    eventually("a checkpoint", || (server.checkpoints().len() == 1).then_some(()));
    // Not yet stale.
    server.restart();
    assert_eq!(server.staged().len(), 1);
    server.set_args(["--retain-staging", "0s"]);
    server.restart();
    eventually("an empty staging", || server.staged().is_empty().then_some(()));
    server.logged(&["removed unfinished uploads"]);
    proxy.lead_to(server.address());
    proxy.set(Plan::Forward);
    let again = client.send(&source).arg("--json").run().code(0);
    assert_eq!(again.total("bytes"), 50_000_000);
}

#[test]
fn what_nobody_can_go_on_with_is_gone_after_a_restart() {
    let mut server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let source = write(server.beside().join("medium"), noise(40_000_000, 1));
    proxy.set(Plan::SilentAfter(10_000_000));
    let running = client.send(&source).start();
    eventually("a body in staging", || (server.staged().len() == 1).then_some(()));
    server.kill();
    drop(running);
    assert_eq!(server.staged().len(), 1);
    server.restart();
    assert_eq!(server.staged(), []);
    assert_eq!(server.names(), [""; 0]);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let setup = Server::setup();
    let config = setup.inbox().with_file_name("ferryd.toml");
    write(&config, "max-file = \"1000\"\nlog-format = \"json\"\n");
    let config = config.display().to_string();
    for (limit, environment, flags) in
        [(1000, None, &[][..]), (2000, Some("2000"), &[]), (3000, Some("2000"), &["--max-file", "3000"])]
    {
        let setup = Server::setup().args(["--config", &config]).args(flags.iter().copied());
        let setup = match environment {
            Some(value) => setup.env("FERRYD_MAX_FILE", value),
            None => setup,
        };
        let server = setup.start();
        let client = Client::paired(&server);
        let source = server.beside().join("source");
        let (fits, not) = (write(source.join("fits"), noise(limit, 1)), noise(limit + 1, 1));
        client.send(&fits).run().code(0);
        client.send(write(source.join("not"), &not)).run().code(1).says("not: ").says(limit.to_string());
        client.send("-").args(["--name", "stream"]).stdin(not).run().code(1).says("stream: ");
        assert_eq!((server.names(), server.staged()), (vec!["fits".to_owned()], vec![]));
        assert!(server.log().lines().any(|line| line.starts_with('{')), "{}", server.log());
    }
    write(&config, "max-flie = 1\n");
    let setup = setup.args(["--config", &config]);
    let outcome = setup.refused();
    assert_eq!(outcome.status.code(), Some(2), "{outcome:?}");
    outcome.says("max-flie");
}

#[test]
fn usage_errors_of_the_server_end_with_2() {
    for words in [
        &["--listen", "nowhere"][..],
        &["--web", "nowhere"],
        &["--retain-staging", "soon"],
        &["--max-file", "big"],
        &["--max-connections", "0"],
        &["--no-such-flag"],
        &["no-such-command"],
        &["invite", "--uses", "0"],
        &["invite", "--expires", "never"],
        &["invite", "--path", "../up"],
        &["invite", "--can", "everything"],
        &["invite", "--quota", "much"],
        &["invite", "--grant-expires", "someday"],
        &["revoke"],
    ] {
        let mut command = bare(&[], "ferryd");
        let nowhere = std::env::temp_dir().join("ferry-does-not-make-this/inbox");
        command.args(words).env("FERRYD_ROOT", nowhere);
        run(command).code(2);
    }
}

#[test]
fn hostile_19_a_log_that_cannot_be_written_stops_nothing() {
    let deaf = ["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"];
    let mut server = Server::setup().wrapped(&deaf).start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    (0..50).for_each(|number| drop(write(source.join(number.to_string()), "content")));
    client.send(&source).run().code(0);
    assert_same_tree(&source, &server.inbox().join("source"));
    assert!(server.stop().success());
}
