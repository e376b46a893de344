//! How the server is, told to its operators: numbers that are true, a word on whether it can take files, and nothing that
//! a peer could make more of than it is.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Client, GIVE_UP, Peer, Server, Visitor, assert_same_file, bare, digest_header, eventually, may_trace,
    noise, run, set_mode, without_privileges, write,
};

/// On a free port of this machine.
const METRICS: [&str; 2] = ["--metrics", "0"];

/// What was answered.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Sends a request as it is, and reads until the server closes.
fn ask(server: &Server, request: &str) -> Answer {
    let mut stream = TcpStream::connect(server.metrics()).unwrap();
    stream.set_read_timeout(Some(GIVE_UP)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer { status: status.unwrap(), head: head.to_lowercase(), body: body.to_owned() }
}

fn get(server: &Server, path: &str) -> Answer {
    ask(server, &format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n"))
}

fn health(server: &Server) -> (u16, String) {
    let Answer { status, body, .. } = get(server, "/healthz");
    (status, body)
}

/// Asks until the server is not well, and why in these words.
fn is_unwell(server: &Server, words: &str) {
    eventually(words, || {
        let (status, body) = health(server);
        assert_eq!(status == 200, body == "ok\n", "{status}: {body}");
        (status == 503 && body.contains(words)).then_some(())
    });
}

fn is_well(server: &Server) {
    eventually("a server that is well", || (health(server) == (200, "ok\n".to_owned())).then_some(()));
}

/// A page of numbers, by name and labels as they are written.
struct Numbers(BTreeMap<String, f64>);

impl Numbers {
    fn of(server: &Server) -> Self {
        let Answer { status, head, body } = get(server, "/metrics");
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        Numbers(parsed(&body))
    }

    #[track_caller]
    fn at(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no {name} in {:#?}", self.0))
    }

    /// All of a family, whatever their labels.
    fn sum(&self, family: &str) -> f64 {
        let begin = format!("{family}{{");
        self.0.iter().filter(|(name, _)| name.starts_with(&begin)).map(|(_, number)| number).sum()
    }
}

/// Reads a page by the rules of the format, and stricter: every family has its help and type once and before its numbers,
/// names and labels are plain, counters end as they should, and histograms add up.
fn parsed(page: &str) -> BTreeMap<String, f64> {
    let (mut numbers, mut families) = (BTreeMap::new(), HashSet::new());
    let mut family: Option<(&str, &str)> = None;
    let mut helped = "";
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    assert!(page.ends_with('\n'), "the last line is cut off");
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(name) && !words.contains('\\') && families.insert(name), "{line}");
            helped = name;
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(name == helped && ["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            family = Some((name, kind));
            continue;
        }
        let (name, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let number: f64 = number.parse().unwrap_or_else(|_| panic!("{line}"));
        let (bare, labels) = match name.split_once('{') {
            Some((bare, labels)) => (bare, labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))),
            None => (name, ""),
        };
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            let value = value.strip_suffix('"').unwrap_or_else(|| panic!("{line}"));
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
            assert!(is_name(label) && value.bytes().all(is_plain), "{line}");
        }
        let belongs = match family {
            Some((name, "histogram")) => {
                bare.strip_prefix(name).is_some_and(|end| ["_bucket", "_sum", "_count"].contains(&end))
            }
            Some((name, _)) => bare == name,
            None => false,
        };
        assert!(belongs && number.is_finite() && number >= 0.0, "{line}");
        assert!(numbers.insert(name.to_owned(), number).is_none(), "twice: {line}");
    }
    for histogram in ["ferryd_commit_duration_seconds", "ferryd_commit_batch_entries"] {
        adds_up(page, histogram, &numbers);
    }
    numbers
}

/// Bounds rise, counts do not fall, and the last bucket has everything.
fn adds_up(page: &str, histogram: &str, numbers: &BTreeMap<String, f64>) {
    let begin = format!("{histogram}_bucket{{le=\"");
    let bucket = |line: &str| {
        let (bound, often) = line.strip_prefix(&begin)?.split_once("\"} ")?;
        Some((if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? }, often.parse().ok()?))
    };
    let buckets: Vec<(f64, f64)> = page.lines().filter_map(bucket).collect();
    assert!(buckets.len() > 5, "{histogram}");
    assert!(buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1), "{buckets:?}");
    let (bound, all) = buckets[buckets.len() - 1];
    assert_eq!((bound, all), (f64::INFINITY, numbers[&format!("{histogram}_count")]));
    let sum = numbers[&format!("{histogram}_sum")];
    assert_eq!(all > 0.0, sum > 0.0, "{histogram}: {all} numbers, {sum} in all");
}

/// Listening sockets of a process.
fn listeners_of(server: &Server) -> usize {
    let mut listening = HashSet::new();
    for table in ["net/tcp", "net/tcp6"] {
        let table = fs::read_to_string(server.process(table)).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[3] == "0A" {
                listening.insert(format!("socket:[{}]", fields[9]));
            }
        }
    }
    let open = fs::read_dir(server.process("fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    open.filter(|link| listening.contains(&*link.to_string_lossy())).count()
}

#[test]
fn promise_5_nothing_is_told_of_the_server_unless_its_owner_wants_it() {
    let mut server = Server::start();
    Client::paired(&server).send(write(server.beside().join("file"), "content")).run().code(0);
    assert_eq!(listeners_of(&server), 1);
    server.stop();
    assert_eq!(server.told(), [format!("listening on {}", server.address())]);
    let server = Server::setup().args(METRICS).start();
    assert!(server.metrics().ip().is_loopback() && server.metrics().port() != 0);
    assert_eq!(listeners_of(&server), 2);
    assert_eq!(server.told().len(), 2);
    // Clients are not told of it.
    assert_eq!(server.listeners(), [server.address()]);
    // It speaks to nobody who does not speak TLS there, and no TLS here.
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("ferryd"), "{answer:?}");
}

#[test]
fn an_address_is_taken_as_it_is_said_wherever_it_is_said() {
    let elsewhere = SocketAddr::from((Ipv4Addr::new(127, 9, 8, 7), 0)).to_string();
    let config =
        |setup: &crate::support::Setup, text: &str| write(setup.inbox().with_file_name("ferryd.toml"), text);
    let setup = Server::setup().env("FERRYD_METRICS", &elsewhere);
    let file = config(&setup, "metrics = '0'");
    let server = setup.args([Path::new("--config"), &file]).start();
    assert_eq!(server.metrics().ip(), IpAddr::V4(Ipv4Addr::new(127, 9, 8, 7)));
    assert!(!server.log().contains("without encryption"));
    // A reload changes nothing of it, and says so.
    let setup = Server::setup();
    let file = config(&setup, &format!("metrics = '{elsewhere}'"));
    let server = setup.args([Path::new("--config"), &file]).start();
    let address = server.metrics();
    assert_eq!(address.ip(), IpAddr::V4(Ipv4Addr::new(127, 9, 8, 7)));
    write(file, "");
    server.signal(Signal::HUP);
    server.logged(&["WARN", "changed, which takes a restart", "setting=\"metrics\""]);
    TcpStream::connect(address).unwrap();
    is_well(&server);
    // Beyond this machine it is told that anybody can ask.
    let server = Server::setup().args(["--metrics", "0.0.0.0:0"]).start();
    server.logged(&["WARN", "from other machines, without encryption"]);
    for words in ["nowhere", "70000", "localhost:1", ""] {
        let mut command = bare(&[], "ferryd");
        command.args(["--metrics", words]).env("FERRYD_ROOT", "/nonexistent/inbox");
        run(command).code(2).says("--metrics");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    Server::setup().args(["--metrics", &port]).refused().code(1).says("--metrics").says("in use");
}

#[test]
fn a_listener_that_is_passed_is_none_for_metrics() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::setup().args(METRICS).passed(listener).start();
    assert_eq!((server.address(), server.listeners()), (address, vec![address]));
    assert_ne!(server.metrics(), address);
    is_well(&server);
    Client::paired(&server).send(write(server.beside().join("file"), "content")).run().code(0);
    assert_eq!(Numbers::of(&server).at("ferryd_entries_received_total{kind=\"file\"}"), 1.0);
}

#[test]
fn a_scrape_tells_what_has_happened() {
    let server = Server::setup().args(METRICS).start();
    let fresh = Numbers::of(&server);
    for name in
        ["ferryd_received_bytes_total", "ferryd_sessions_open", "ferryd_commit_duration_seconds_count"]
    {
        assert_eq!(fresh.at(name), 0.0, "{name}");
    }
    assert_eq!(fresh.at("ferryd_failures_total{direction=\"receive\",code=\"KindConflict\"}"), 0.0);
    let client = Client::new();
    client.pair(&server.invite_with(&["--name", "somebodys-laptop"]));
    let source = server.beside().join("source");
    (0..20).for_each(|number| drop(write(source.join(format!("telltale-{number}")), noise(1_000, number))));
    write(source.join("large"), noise(3_000_000, 1));
    client.send(&source).run().code(0);
    let sent = Numbers::of(&server);
    assert_eq!(sent.at("ferryd_entries_received_total{kind=\"file\"}"), 21.0);
    assert_eq!(sent.at("ferryd_entries_received_total{kind=\"folder\"}"), 1.0);
    assert_eq!(sent.at("ferryd_received_bytes_total"), 3_020_000.0);
    assert_eq!(sent.at("ferryd_commit_duration_seconds_count"), 22.0);
    assert_eq!(sent.at("ferryd_commit_batch_entries_sum"), 22.0);
    // The same again is held; what cannot take its name fails; what is asked for is given.
    client.send(&source).run().code(0);
    fs::create_dir(server.inbox().join("taken")).unwrap();
    client.send(source.join("large")).args(["--name", "taken"]).run().code(1);
    client.ferry("get").arg("box:source").arg(server.beside().join("back")).run().code(0);
    let stranger = Client::new();
    let link = server.expired_invite();
    stranger.ferry("pair").args([&link, "--as", "box"]).run().code(4);
    TcpStream::connect(server.address()).unwrap().write_all(&noise(100, 1)).unwrap();
    let after = eventually("sessions that are over", || {
        let now = Numbers::of(&server);
        let is_over =
            now.at("ferryd_sessions_open") == 0.0 && now.at("ferryd_handshake_failures_total") == 1.0;
        (is_over && now.at("ferryd_connections_waiting") == 0.0).then_some(now)
    });
    for (name, number) in [
        ("ferryd_entries_held_total{kind=\"file\"}", 21.0),
        ("ferryd_failures_total{direction=\"receive\",code=\"KindConflict\"}", 1.0),
        ("ferryd_entries_given_total{kind=\"file\"}", 21.0),
        ("ferryd_entries_given_total{kind=\"folder\"}", 1.0),
        ("ferryd_given_bytes_total", 3_020_000.0),
        ("ferryd_refusals_total{code=\"InvalidInvite\"}", 1.0),
        ("ferryd_staging_open_bodies", 0.0),
        ("ferryd_staging_open_bytes", 0.0),
        ("ferryd_staging_resumable_bodies", 0.0),
        ("ferryd_commit_waiting_entries", 0.0),
        ("ferryd_room_taken_bytes", 0.0),
        ("ferryd_catalogue_failures_total", 0.0),
        ("ferryd_accept_failures_total", 0.0),
        ("ferryd_healthy", 1.0),
    ] {
        assert_eq!(after.at(name), number, "{name}");
    }
    assert_eq!(after.sum("ferryd_failures_total"), 1.0);
    let begun = after.at("ferryd_sessions_begun_total");
    assert!(begun >= 4.0 && begun == after.sum("ferryd_sessions_ended_total"), "{begun}");
    assert!(after.at("ferryd_connections_accepted_total") >= begun + 2.0);
    let (free, size) = (after.at("ferryd_disk_free_bytes"), after.at("ferryd_disk_size_bytes"));
    assert!(0.0 < free && free <= size, "{free} of {size}");
    let version = format!("ferryd_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(after.at(&version), 1.0);
}

#[test]
fn on_the_web_a_file_that_fails_is_no_refusal_and_a_refusal_no_failure() {
    let server = Server::setup().web().args(METRICS).start();
    let visitor = Visitor::signed_in(&server);
    visitor.put("taken", "one").status(201);
    visitor.get("/files/nothing").status(404);
    let wrong = digest_header(b"other");
    visitor.ask("PUT", "/files/new").header("Repr-Digest", wrong).body("bytes").send().status(422);
    visitor.ask("PUT", "/files/taken").header("If-None-Match", "*").body("two").send().status(412);
    let after = Numbers::of(&server);
    assert_eq!(after.at("ferryd_refusals_total{code=\"SourceVanished\"}"), 1.0);
    assert_eq!(after.sum("ferryd_refusals_total"), 1.0);
    for code in ["DigestMismatch", "Exists"] {
        let failures = format!("ferryd_failures_total{{direction=\"receive\",code=\"{code}\"}}");
        assert_eq!(after.at(&failures), 1.0, "{code}");
    }
    assert_eq!(after.sum("ferryd_failures_total"), 2.0);
}

#[test]
fn hostile_17_a_scrape_names_no_file_no_client_and_no_place() {
    let server = Server::setup().args(METRICS).start();
    let client = Client::new();
    client.pair(&server.invite_with(&["--name", "somebodys-laptop"]));
    client.send(write(server.beside().join("telltale"), "content")).run().code(0);
    let page = get(&server, "/metrics").body + &get(&server, "/healthz").body;
    let port = server.address().port().to_string();
    for word in ["laptop", "telltale", "inbox", "127.0.0.1", &port, &server.fingerprint().to_string()] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn what_is_under_way_is_told_while_it_is() {
    let server = Server::setup().args(METRICS).start();
    let mut peer = Peer::sending(&server);
    peer.offer(0, "slow", 1_000_000, None);
    assert_eq!(peer.asked(0), 0);
    peer.say(ferry_proto::Body { seq: ferry_proto::Seq(0), offset: 0 });
    peer.chunks(&noise(100_000, 1));
    eventually("an open body", || {
        let now = Numbers::of(&server);
        let is_open = now.at("ferryd_staging_open_bytes") == 100_000.0;
        is_open.then(|| assert_eq!(now.at("ferryd_staging_open_bodies"), 1.0))?;
        assert_eq!((now.at("ferryd_sessions_open"), now.at("ferryd_received_bytes_total")), (1.0, 100_000.0));
        Some(())
    });
    drop(peer);
    eventually("no open body", || {
        let now = Numbers::of(&server);
        let is_over = now.at("ferryd_sessions_ended_total{how=\"lost\"}") == 1.0;
        is_over.then(|| assert_eq!(now.at("ferryd_staging_open_bytes"), 0.0))
    });
}

#[test]
fn what_can_be_gone_on_with_is_told() {
    const CHECKPOINT: usize = ferry_proto::limits::CHECKPOINT as usize;
    let server = Server::setup().args(METRICS).start();
    let mut peer = Peer::sending(&server);
    peer.offer(0, "large", 2 * CHECKPOINT as u64, None);
    assert_eq!(peer.asked(0), 0);
    peer.say(ferry_proto::Body { seq: ferry_proto::Seq(0), offset: 0 });
    peer.chunks(&noise(CHECKPOINT, 1));
    eventually("a checkpoint", || (server.checkpoints().len() == 1).then_some(()));
    drop(peer);
    eventually("a body at rest", || {
        let now = Numbers::of(&server);
        let numbers = ["bodies", "bytes"].map(|what| now.at(&format!("ferryd_staging_resumable_{what}")));
        (now.at("ferryd_staging_open_bodies") == 0.0 && numbers == [1.0, CHECKPOINT as f64]).then_some(())
    });
}

#[test]
fn only_two_pages_are_there_and_nothing_can_be_sent_to_them() {
    let server = Server::setup().args(METRICS).start();
    is_well(&server);
    for path in ["/", "/metrics/", "/healthz/x", "/../etc/passwd", "//metrics", "/%6detrics"] {
        assert_eq!(get(&server, path).status, 404, "{path}");
    }
    assert_eq!(get(&server, "/metrics?name=value").status, 200);
    for path in ["/metrics", "/healthz"] {
        let head = ask(&server, &format!("HEAD {path} HTTP/1.1\r\nhost: here\r\n\r\n"));
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        let answer = ask(&server, &format!("DELETE {path} HTTP/1.1\r\nhost: here\r\n\r\n"));
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
        let old = ask(&server, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert_eq!(old.status, 200, "{path}");
    }
    // A body is not waited for.
    let claims = "POST /metrics HTTP/1.1\r\nhost: here\r\ncontent-length: 1000000000\r\n\r\n";
    assert_eq!(ask(&server, claims).status, 405);
    for nonsense in ["\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET /metrics HTTP/9.9\r\n\r\n"] {
        assert_eq!(ask(&server, nonsense).status, 400, "{nonsense:?}");
    }
    is_well(&server);
}

#[test]
fn hostile_19_a_server_that_has_lost_its_root_is_not_well() {
    let server = Server::setup().args(METRICS).start();
    is_well(&server);
    let away = server.beside().join("away");
    fs::rename(server.inbox(), &away).unwrap();
    is_unwell(&server, "the root is gone");
    // Another folder in its place, as where a disk is no longer mounted.
    fs::create_dir(server.inbox()).unwrap();
    is_unwell(&server, "the root is gone");
    assert_eq!(Numbers::of(&server).at("ferryd_healthy"), 0.0);
    fs::remove_dir(server.inbox()).unwrap();
    fs::rename(&away, server.inbox()).unwrap();
    is_well(&server);
    fs::remove_dir_all(server.inbox()).unwrap();
    is_unwell(&server, "no file can be begun");
}

#[test]
fn hostile_19_a_server_that_may_not_write_is_not_well() {
    let server = Server::setup().args(METRICS).wrapped(without_privileges()).start();
    is_well(&server);
    let staging = server.inbox().join(".ferry/staging");
    set_mode(&staging, 0o500);
    is_unwell(&server, "no file can be begun: permission denied");
    set_mode(&staging, 0o700);
    is_well(&server);
    assert_eq!(server.staged(), []);
}

#[test]
fn hostile_20_a_committer_that_stands_still_is_told_and_its_end_too() {
    let server = Server::setup().args(METRICS).start();
    is_well(&server);
    // It waits for somebody who has locked the catalogue.
    let client = Client::paired(&server);
    let catalogue = Connection::open(server.inbox().join(".ferry/catalogue.db")).unwrap();
    catalogue.execute_batch("BEGIN IMMEDIATE").unwrap();
    let sending = client.send(write(server.beside().join("file"), "content")).start();
    is_unwell(&server, "the committer has stood still for");
    assert!(Numbers::of(&server).at("ferryd_commit_standstill_seconds") > 5.0);
    catalogue.execute_batch("ROLLBACK").unwrap();
    is_well(&server);
    sending.wait().code(0);
}

#[test]
fn hostile_19_a_disk_that_hangs_is_told_in_time() {
    if !may_trace() {
        return;
    }
    // Who asks for the space where the catalogue is waits for a minute, which is much longer than anybody is told to.
    let hanging = [
        "sh",
        "-c",
        "exec strace -D -f -o /dev/null -e trace=statfs -e inject=statfs:delay_enter=60000000 \"$@\"",
        "sh",
    ];
    let server = Server::setup().args(METRICS).wrapped(&hanging).start();
    let (status, body) = health(&server);
    assert_eq!((status, body.contains("does not answer in time")), (503, true), "{body}");
    // What needs no disk is told.
    let numbers = Numbers::of(&server);
    assert_eq!((numbers.at("ferryd_healthy"), numbers.at("ferryd_sessions_open")), (0.0, 0.0));
    assert!(!numbers.0.contains_key("ferryd_disk_free_bytes"));
    drop(Client::paired(&server));
    // Else the server's end would wait for the minute, too.
    let status = fs::read_to_string(server.process("status")).unwrap();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")?.trim().parse().ok());
    kill_process(tracer.and_then(Pid::from_raw).unwrap(), Signal::KILL).unwrap();
    is_well(&server);
}

#[test]
fn a_server_that_stops_says_so() {
    let mut server = Server::setup().args(METRICS).start();
    let _session = Peer::sending(&server);
    is_well(&server);
    // It has some seconds to part from those who do not listen.
    server.signal(Signal::TERM);
    is_unwell(&server, "the server is stopping");
    assert!(server.wait().success());
}

/// Reads until the server has had enough, and how much it said.
fn closed(mut stream: TcpStream) -> usize {
    stream.set_read_timeout(Some(GIVE_UP)).unwrap();
    let (mut all, mut part) = (0, [0; 4096]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => return all,
            Ok(length) => all += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it is not closed"),
            Err(_) => return all,
        }
    }
}

#[test]
fn hostile_12_floods_of_requests_cost_nothing_but_their_own_answers() {
    // What was seen, with room for what else a server does meanwhile.
    const MOST: u64 = 8 * 1024 * 1024;
    let server = Server::setup().args(METRICS).start();
    let client = Client::paired(&server);
    is_well(&server);
    let source = write(server.beside().join("file"), noise(1_000_000, 1));
    let (memory, files) = (server.most_memory(), server.open_files());
    // Many that say nothing, more than the server takes at a time: the newest is answered all the same.
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(server.metrics()).unwrap()).collect();
    is_well(&server);
    assert!(server.open_files() < files + 40, "{} files, {files} before", server.open_files());
    client.send(&source).run().code(0);
    assert_same_file(&source, &server.inbox().join("file"));
    silent.into_iter().for_each(|stream| assert_eq!(closed(stream), 0));
    // A header that never ends.
    let mut endless = TcpStream::connect(server.metrics()).unwrap();
    let line = format!("x-more: {}\r\n", "x".repeat(1_000));
    endless.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    while endless.write_all(line.as_bytes()).is_ok() {}
    // One that comes byte by byte.
    let mut slow = TcpStream::connect(server.metrics()).unwrap();
    for byte in b"GET /metrics HTTP/1.1\r\nx-slow: ".iter().chain([b'x'; 200].iter()) {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(slow.write_all(b"x").is_err(), "a header may take 40 s");
    // Many that do not read their answers.
    let deaf: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(server.metrics()).unwrap();
            let _ = stream.write_all("GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n".repeat(100).as_bytes());
            stream
        })
        .collect();
    is_well(&server);
    drop(deaf);
    eventually("slots that have come back", || (server.open_files() <= files + 2).then_some(()));
    let cost = server.most_memory().saturating_sub(memory);
    assert!(cost <= MOST, "{cost} bytes");
    client.send(&source).args(["--name", "again"]).run().code(0);
}
