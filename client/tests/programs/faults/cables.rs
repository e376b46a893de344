//! Cables that are cut, and clients whose connections die or seem to.

use std::{fs, net::SocketAddr, path::PathBuf};

use rustix::process::Signal;

use super::{MIB, chance};
use crate::support::{
    Client, Ferry, Plan, Proxy, Running, Server, assert_same_contents, assert_same_file, eventually, noise,
    set_modified, write,
};

/// Offers, frames and encryption: what a run sends besides the bytes of files.
const OVERHEAD: u64 = 2 * MIB;

#[test]
fn hostile_23_a_client_killed_behind_a_cut_cable_is_succeeded_by_its_next_run() {
    let (line, first) = Line::cut();
    first.signal(Signal::KILL);
    first.wait();
    line.is_succeeded();
}

#[test]
fn hostile_23_a_client_that_hangs_behind_a_cut_cable_is_succeeded_by_its_next_run() {
    let (line, first) = Line::cut();
    line.is_succeeded();

    // What it still had to say comes late, and does no harm.
    line.first.set(Plan::Forward);
    let outcome = first.wait();
    match outcome.status.code() {
        // It had found the connection dead itself, and came again.
        Some(0) => {}
        Some(1) => drop(outcome.says("large: another connection of the same client took this file over")),
        // Or came again too often while nobody answered.
        _ => drop(outcome.code(3).says("the same command goes on from here")),
    }
    assert_same_file(&line.file, &line.server.inbox().join("large"));
    assert_eq!(line.server.names(), ["large"]);
}

#[test]
fn hostile_23_a_client_that_lives_and_is_slow_is_not_robbed_by_another_run() {
    let line = Line::new(72 * MIB);
    let mut first = line.client.send(&line.file).args(["--json", "--limit-rate", "20MB"]).start();
    line.reaches(1, &mut first);
    line.first.set(Plan::Slow(2 * MIB));

    let second = line.another_run().arg("--json").run().code(0);
    assert!(!first.has_ended(), "the first one had finished before the second: nothing was shown");
    assert_eq!(second.statuses(), [("large".to_owned(), "sent".to_owned())]);
    assert!(line.second.to_server() >= line.size, "it went on with what another one was sending");
    assert_same_file(&line.file, &line.server.inbox().join("large"));

    line.first.set(Plan::Forward);
    let first = first.wait().code(0);
    assert_eq!(first.statuses(), [("large".to_owned(), "sent".to_owned())]);
    assert!(line.first.to_server() <= line.size + OVERHEAD, "the first one was made to begin anew");
    assert_same_file(&line.file, &line.server.inbox().join("large"));
    assert_eq!((line.server.names(), line.server.staged()), (vec!["large".to_owned()], vec![]));
}

#[test]
fn hostile_23_two_runs_that_race_for_the_same_files_leave_whole_ones() {
    let line = Line::new(72 * MIB);
    let folder = line.file.parent().unwrap().to_owned();
    for number in 0..300 {
        write(folder.join(format!("small/{number}")), noise(number * 97, number as u64));
    }
    let first = line.client.send(&folder).arg("--json").start();
    let second = line.client.send(&folder).arg("--json").start();
    for outcome in [first.wait(), second.wait()] {
        let outcome = outcome.code(0);
        assert_eq!(outcome.total("failed"), 0, "{outcome:?}");
    }
    assert_same_contents(&folder, &line.server.inbox().join("source"));
    assert_eq!(line.server.staged(), []);
}

#[test]
fn hostile_23_two_runs_that_find_the_same_files_without_rows_both_hold_them() {
    let line = Line::new(MIB);
    let folder = line.file.parent().unwrap().to_owned();
    // As a crash between names and rows leaves them, or an owner who copies them there.
    for number in 0..300 {
        let bytes = noise(number * 7, number as u64);
        write(line.server.inbox().join(format!("source/{number}")), &bytes);
        set_modified(write(folder.join(number.to_string()), bytes), 1_600_000_000, number as i64);
    }
    let first = line.client.send(&folder).arg("--json").start();
    let second = line.client.send(&folder).arg("--json").start();
    for outcome in [first.wait(), second.wait()] {
        outcome.code(0);
    }
    assert_same_contents(&folder, &line.server.inbox().join("source"));
}

#[test]
fn first_runs_of_one_client_that_start_at_once_are_not_in_each_others_way() {
    let server = Server::start();
    let file = write(server.beside().join("file"), "content");
    for round in 0..5 {
        let client = Client::paired(&server);
        let send = |number| client.send(&file).args(["--name", &format!("{round}-{number}")]).start();
        let runs: Vec<_> = (0..8).map(send).collect();
        for run in runs {
            run.wait().code(0);
        }
    }
    assert_eq!(server.names().len(), 5 * 8);
}

#[test]
fn promise_3_a_run_goes_on_by_itself_after_every_cut() {
    let mut rng = chance("cuts");
    let line = Line::new(100 * MIB + 17);
    let folder = line.file.parent().unwrap().to_owned();
    for number in 0..2000_u64 {
        write(folder.join(format!("small/{number}")), noise(rng.usize(0..8000), number));
    }
    // Slower than the disk, so that everything between the two is full when a cut comes.
    let mut send =
        line.client.send(&folder).args(["--json", "--limit-rate", "100MB", "--retry", "forever"]).start();
    for cut in 1..=4 {
        line.first.set(Plan::CutAfter(rng.u64(MIB..30 * MIB)));
        let what = format!("connection {cut} after a cut");
        until(&what, &mut send, || line.first.connections() > 1 + cut);
    }
    let outcome = send.wait().code(0).says("trying again");
    // Of what had arrived the receipts may have been lost, so some of it may be held.
    assert_eq!((outcome.total("failed"), outcome.total("sent") + outcome.total("held")), (0, 2003));
    assert_same_contents(&folder, &line.server.inbox().join("source"));
    assert_eq!(line.server.staged(), []);
}

#[test]
fn promise_3_a_run_goes_on_by_itself_when_the_server_stops_or_dies_and_comes_back() {
    let mut line = Line::new(200 * MIB);
    let mut send = line.client.send(&line.file).args(["--json", "--limit-rate", "60MB"]).start();
    for (stops, checkpoint) in [(true, 32 * MIB), (false, 96 * MIB), (true, 160 * MIB)] {
        line.reaches(checkpoint, &mut send);
        if stops {
            assert!(line.server.stop().success());
        } else {
            line.server.kill();
        }
        line.server.restart_elsewhere();
        line.first.lead_to(line.server.address());
    }
    let outcome = send.wait().code(0).says("the server is stopping; trying again").says("trying again");
    assert_eq!(outcome.statuses(), [("large".to_owned(), "sent".to_owned())]);
    assert_same_file(&line.file, &line.server.inbox().join("large"));
}

#[test]
fn a_server_that_is_gone_for_good_is_given_up_and_the_same_command_goes_on_when_it_is_back() {
    let mut line = Line::new(100 * MIB);
    for (number, tries) in ["0", "2"].into_iter().enumerate() {
        let checkpoint = (number as u64 + 1) * 32 * MIB;
        let mut send = line.client.send(&line.file).args(["--retry", tries, "--limit-rate", "50MB"]).start();
        line.reaches(checkpoint, &mut send);
        line.server.kill();
        let outcome = send.wait().code(3).says("the same command goes on from here");
        let retried = outcome.stderr().matches("trying again").count();
        assert_eq!(retried.to_string(), tries, "{outcome:?}");
        line.server.restart_elsewhere();
        line.first.lead_to(line.server.address());
    }
    let before = line.first.to_server();
    line.client.send(&line.file).run().code(0);
    assert!(line.first.to_server() - before <= 36 * MIB + OVERHEAD, "it did not go on from a checkpoint");
    assert_same_file(&line.file, &line.server.inbox().join("large"));
}

/// A large file, and two ways from one client to a server.
struct Line {
    server: Server,
    client: Client,
    first: Proxy,
    second: Proxy,
    file: PathBuf,
    size: u64,
}

impl Line {
    fn new(size: u64) -> Self {
        let server = Server::start();
        let (first, second) = (Proxy::to(server.address()), Proxy::to(server.address()));
        let client = Client::new();
        client.pair(&server.invite_at(first.address()));
        let file = write(server.beside().join("source/large"), noise(size as usize, size));
        set_modified(&file, 1_600_000_000, 123_456_789);
        Line { server, client, first, second, file, size }
    }

    /// A run whose cable is cut in the middle of 200 MiB, without any of the two ends being told. All that had passed
    /// until then has been heard: nothing that comes later can be taken for a sign of life.
    fn cut() -> (Self, Running) {
        let line = Line::new(200 * MIB);
        line.first.set(Plan::SilentAfter(110 * MIB));
        let mut first = line.client.send(&line.file).start();
        line.first.falls_silent();
        line.reaches(96 * MIB, &mut first);
        let heard = || line.server.staged().iter().any(|&(_, length)| length >= 108 * MIB);
        until("what had passed is staged", &mut first, heard);
        (line, first)
    }

    /// The same command over the second way finishes, and goes on from the checkpoint.
    fn is_succeeded(&self) {
        let outcome = self.another_run().arg("--json").run().code(0);
        assert_eq!(outcome.statuses(), [("large".to_owned(), "sent".to_owned())]);
        let sent = self.second.to_server();
        let missing = self.size - 96 * MIB;
        assert!(
            sent >= missing && sent <= missing + OVERHEAD,
            "{sent} bytes were sent, {missing} were missing"
        );
        assert_same_file(&self.file, &self.server.inbox().join("large"));
        assert_eq!((self.server.names(), self.server.staged()), (vec!["large".to_owned()], vec![]));
    }

    /// The same command, after the client's configuration was made to lead the second way.
    fn another_run(&self) -> Ferry {
        redirect(&self.client, self.first.address(), self.second.address());
        self.client.send(&self.file)
    }

    /// Waits until the body is durable up to an offset.
    fn reaches(&self, offset: u64, send: &mut Running) {
        until(&format!("a checkpoint at {offset}"), send, || self.checkpoint() >= offset);
    }

    /// How far the body under way is durable.
    fn checkpoint(&self) -> u64 {
        let query = "SELECT coalesce(max(offset), 0) FROM bodies";
        let offset: i64 = self.server.catalogue().query_row(query, [], |row| row.get(0)).unwrap();
        offset as u64
    }
}

/// Waits for something that a run brings about.
fn until(what: &str, send: &mut Running, has_come: impl Fn() -> bool) {
    eventually(what, || {
        assert!(!send.has_ended(), "the run ended before {what}");
        has_come().then_some(())
    });
}

/// Makes what a client knows as its server's address another one.
fn redirect(client: &Client, from: SocketAddr, to: SocketAddr) {
    let config = client.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains(&from.to_string()), "{text}");
    fs::write(&config, text.replace(&from.to_string(), &to.to_string())).unwrap();
}
