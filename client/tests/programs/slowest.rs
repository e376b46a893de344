//! What `-v` says of the part of the work that holds up the rest, where one part is made slow on purpose.

use std::fs;

use crate::support::{Client, Outcome, Plan, Proxy, Server, may_trace, noise, write};

const LENGTH: usize = 8 * 1024 * 1024;

/// Runs what follows under strace, which holds up some of its system calls.
const HELD_UP: &[&str] = &[
    "sh",
    "-c",
    "exec strace -D -f -qq -o /dev/null -e trace=\"$CALLS\" -e inject=\"$CALLS\":delay_exit=\"$DELAY\" \"$@\"",
    "sh",
];

/// A server and its client, either of which may be held up: which calls, and by how many microseconds.
fn send(server: Option<(&str, &str)>, client: Option<(&str, &str)>, plan: Plan) -> Outcome {
    let server = match server {
        None => Server::start(),
        Some((calls, delay)) => {
            Server::setup().wrapped(HELD_UP).env("CALLS", calls).env("DELAY", delay).start()
        }
    };
    let proxy = Proxy::to(server.address());
    let sender = Client::new();
    sender.pair(&server.invite_at(proxy.address()));
    proxy.set(plan);
    let source = server.beside().join("source");
    write(source.join("large"), noise(LENGTH, 1));
    let ferry = match client {
        None => sender.ferry("send"),
        Some((calls, delay)) => sender.wrapped(HELD_UP, "send").env("CALLS", calls).env("DELAY", delay),
    };
    let outcome = ferry.arg(&source).args(["--to", "box", "-v", "--json"]).run().code(0);
    assert_eq!(fs::metadata(server.inbox().join("source/large")).unwrap().len(), LENGTH as u64);
    outcome
}

/// The stage that took longest, and how long.
fn slowest(outcome: &Outcome) -> (String, f64) {
    let summary = outcome.summary();
    let stages = summary["stages"].as_object().unwrap();
    let times = stages.iter().map(|(name, time)| (name.clone(), time.as_f64().unwrap()));
    times.max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap()
}

#[test]
fn a_slow_network_is_named() {
    let (name, time) = slowest(&send(None, None, Plan::Slow(4 * 1024 * 1024)));
    assert_eq!(name, "network");
    // What the sockets hold has left early.
    assert!((0.2..20.0).contains(&time), "{time} s");
}

#[test]
fn a_slow_source_disk_is_named() {
    if may_trace() {
        let (name, _) = slowest(&send(None, Some(("read,pread64", "40000")), Plan::Forward));
        assert_eq!(name, "disk_read");
    }
}

#[test]
fn a_slow_disk_of_the_server_is_named() {
    if may_trace() {
        let (name, _) = slowest(&send(Some(("write", "20000")), None, Plan::Forward));
        assert_eq!(name, "server_disk");
    }
}

#[test]
fn a_server_that_takes_long_to_sync_is_named() {
    if may_trace() {
        let calls = "fsync,fdatasync,syncfs";
        let (name, time) = slowest(&send(Some((calls, "700000")), None, Plan::Forward));
        assert_eq!(name, "server_sync");
        assert!(time >= 0.7, "{time} s");
    }
}

#[test]
fn the_last_line_and_the_progress_tell_it_to_people_who_ask() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("file"), noise(LENGTH, 1));
    client.send(&source).args(["--dir", "a", "-v"]).run().code(0).says("slowest: ").says(", server sync ");
    let plain = client.send(&source).args(["--dir", "b"]).run().code(0);
    assert!(!plain.stderr().contains("slowest"), "{plain:?}");
    let json = client.send(&source).args(["--dir", "c", "--json"]).run().code(0);
    assert!(json.summary().get("stages").is_none(), "{json:?}");
}
