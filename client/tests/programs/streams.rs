//! `--from-command`: what a command writes arrives whole, or not at all.

use std::fs;

use rustix::process::Signal;

use crate::support::{Client, Ferry, Plan, Proxy, Server};

/// Sends what a command writes.
fn send(client: &Client, command: &str) -> Ferry {
    client.ferry("send").args(["--from-command", command, "box:dumps", "--name", "db.sql"])
}

#[test]
fn what_a_command_writes_is_published_when_it_has_ended_well() {
    let server = Server::start();
    let client = Client::paired(&server);
    send(&client, "seq 1 300000").run().code(0);
    let there = server.inbox().join("dumps/db.sql");
    let lines: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(fs::read_to_string(&there).unwrap() == lines);
    let outcome = client
        .ferry("send")
        .args(["--from-command", "exec true", "--name", "nothing"])
        .env("FERRY_REMOTE", "box");
    outcome.run().code(0);
    assert_eq!(fs::read(server.inbox().join("nothing")).unwrap(), b"");
}

#[test]
fn promise_1_what_a_failing_command_has_written_is_never_seen() {
    let server = Server::start();
    let client = Client::paired(&server);
    send(&client, "echo the old dump").run().code(0);
    for (command, why) in [
        ("echo half of it; exit 3", "db.sql: the command has failed with exit code 3"),
        ("seq 1 1000000; false", "exit code 1"),
        ("seq 1 100; kill -9 $$", "ended by signal 9"),
        ("/nonexistent/pg_dump db", "exit code 127"),
    ] {
        let outcome = send(&client, command).arg("--json").run().code(1);
        let failed = &outcome.objects()[0];
        assert_eq!(failed["status"], "failed", "{command}");
        assert!(failed["detail"].as_str().unwrap().contains(why.trim_start_matches("db.sql: ")), "{failed}");
        send(&client, command).run().code(1).says(why);
        assert_eq!(fs::read(server.inbox().join("dumps/db.sql")).unwrap(), b"the old dump\n");
    }
    assert_eq!((server.names(), server.staged()), (vec!["dumps".into(), "dumps/db.sql".into()], vec![]));
}

#[test]
fn a_command_is_run_when_its_output_is_wanted() {
    let server = Server::start();
    let client = Client::paired(&server);
    send(&client, "echo first").run().code(0);
    let marker = server.beside().join("marker");
    let command = format!("touch '{}'; echo second", marker.display());
    send(&client, &command).args(["--on-conflict", "fail"]).run().code(1);
    send(&client, &command).arg("-n").run().code(0);
    assert!(!marker.exists());
    send(&client, &command).run().code(0);
    assert!(marker.exists());
}

#[test]
fn promise_8_a_command_whose_connection_is_lost_has_failed() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let start = proxy.to_server();
    proxy.set(Plan::CutAfter(1_000_000));
    let endless = "while echo the quick brown fox jumps over the lazy dog; do :; done";
    let running = send(&client, endless).args(["--retry", "0"]).start();
    proxy.wait_for(start + 1_000_000);
    let outcome = running.wait();
    assert!(matches!(outcome.status.code(), Some(1 | 3)), "{outcome:?}");
    assert_eq!(server.names(), Vec::<String>::new());
    // And it is not run to its end by anybody.
    proxy.set(Plan::Forward);
    let running = send(&client, endless).start();
    proxy.wait_for(proxy.to_server() + 1_000_000);
    running.signal(Signal::INT);
    running.wait().code(5).says("has to be sent from its beginning");
    assert_eq!(server.names(), Vec::<String>::new());
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    let server = Server::start();
    let client = Client::paired(&server);
    let ferry = |words: &[&str]| client.ferry("send").args(words).run();
    ferry(&["--from-command", "echo", "box"]).code(2).says("--name");
    let nowhere = Client::new().ferry("send").args(["--from-command", "echo", "--name", "x"]).run();
    nowhere.code(2).says("no server is paired with yet");
    ferry(&["--from-command", "echo", "file", "box", "--name", "x"]).code(2).says("the one source");
    ferry(&["--from-command", "echo", "box", "--name", "x", "--move"]).code(2).says("--move");
    ferry(&["--from-command", "echo", "box", "--name", "../x"]).code(2);
}
