//! Sources that cannot be read, or do not keep still.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, symlink},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use ferry_proto::{Answer, Done, Message, Offer, Verdict};
use rustix::process::Signal;

use crate::support::{
    Client, FakeServer, Plan, Proxy, Running, Server, assert_same_file, make_fifo, noise, set_mode,
    set_modified, snapshot, without_privileges, write,
};

#[test]
fn what_is_no_file_is_passed_over_with_a_warning() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("file"), "content");
    make_fifo(source.join("fifo"));
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let outcome = client.send(&source).arg("--json").run().code(0);
    assert_eq!(outcome.total("skipped"), 2, "{outcome:?}");
    assert_eq!(outcome.statuses().iter().filter(|(_, status)| status == "skipped").count(), 2);
    client.send(&source).run().code(0).says("fifo: a FIFO").says("socket: a socket");
    assert_eq!(server.names(), ["source", "source/file"]);
}

#[test]
fn promise_8_a_source_that_is_not_there_is_named_and_the_others_arrive() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    let (there, none) = (write(source.join("there"), "content"), source.join("none"));
    let send = |sources: [&PathBuf; 3]| client.ferry("send").args(sources).arg("box");
    send([&none, &there, &source.join("neither")]).run().code(1).says("none: ").says("neither: ");
    assert_same_file(&there, &server.inbox().join("there"));
    // A path through something that is no folder.
    client.send(there.join("below")).run().code(1).says("there/below: ");
    client.send(format!("{}/", there.display())).run().code(1).says("there/: ");
    assert_eq!(server.names(), ["there"]);
}

#[test]
fn promise_8_what_may_not_be_read_is_named_and_the_others_arrive() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    for name in ["small", "open", "folder/inside"] {
        write(source.join(name), name);
    }
    write(source.join("large"), noise(1_000_000, 1));
    let closed = [("small", 0o644), ("large", 0o644), ("folder", 0o755)];
    for (name, _) in closed {
        set_mode(source.join(name), 0);
    }
    let send = || client.wrapped(without_privileges(), "send").arg(&source).arg("box");
    let outcome = send().arg("--json").run().code(1);
    send().run().code(1).says("small: ").says("large: ").says("folder: ");
    for (name, mode) in closed {
        set_mode(source.join(name), mode);
    }
    assert_eq!(fs::read(server.inbox().join("source/open")).unwrap(), b"open");
    assert!(!server.inbox().join("source/small").exists() && !server.inbox().join("source/large").exists());
    let failed = outcome.statuses().into_iter().filter(|(_, status)| status == "failed");
    assert_eq!(failed.count(), 3, "{outcome:?}");
    client.send(&source).run().code(0);
}

#[test]
fn links_that_lead_in_a_circle_end() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("below/file"), "content");
    symlink("..", source.join("below/up")).unwrap();
    symlink("self", source.join("self")).unwrap();
    symlink("no such file", source.join("dangling")).unwrap();
    let outcome = client.send(&source).args(["--links", "follow"]).run().code(1);
    let outcome = outcome.says("below/up: ").says("self: ").says("dangling: ");
    assert!(outcome.stderr().lines().count() < 10, "{outcome:?}");
    assert_eq!(server.names(), ["source", "source/below", "source/below/file"]);
    client.send(&source).run().code(0);
}

#[test]
fn hostile_03_a_source_with_the_servers_own_name_is_refused_and_the_others_arrive() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    for name in [".ferry/catalogue.db", ".FERRY/x", ".fErRy", "other/.ferry/fine", ".ferryx", ".ferr\u{fd}"] {
        write(source.join(name), name);
    }
    let outcome = client.send(format!("{}/", source.display())).run().code(1);
    outcome.says(".ferry: ").says(".FERRY: ").says(".fErRy: ");
    let arrived = [".ferryx", ".ferr\u{fd}", "other", "other/.ferry", "other/.ferry/fine"];
    assert_eq!(server.names(), arrived);
    client.send(source.join(".ferry")).run().code(2);
    client.send(source.join(".ferryx")).run().code(0);
}

/// The disk is slow because the client seldom runs.
#[test]
fn a_source_that_takes_longer_than_the_timeout_to_digest_is_no_standstill() {
    let server = FakeServer::start(vec![Box::new(|wire| {
        wire.let_in();
        let seq = wire.offered().seq;
        wire.say(Verdict { seq, answer: Answer::NeedDigest });
        let Offer { seq, header } = wire.offered();
        wire.say(Verdict { seq, answer: Answer::Held { digest: header.digest, path: None } });
        while !matches!(wire.message(), Message::Done(_)) {}
        wire.say(Done { entries: 1, bytes: 0 });
        wire.last_words();
    })]);
    let client = Client::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(256 * 1024 * 1024).unwrap();
    let flags = ["--to", &server.invite(), "--timeout", "1s", "--retry", "0", "--json"];
    let mut running = client.ferry("send").arg(file.path()).args(flags).start();
    let slow = Instant::now();
    while !running.has_ended() && slow.elapsed() < Duration::from_secs(60) {
        for (signal, time) in [(Signal::STOP, 200), (Signal::CONT, 20)] {
            running.signal(signal);
            sleep(Duration::from_millis(time));
        }
    }
    let outcome = running.wait().code(0);
    assert_eq!(outcome.total("held"), 1);
    assert!(slow.elapsed() > Duration::from_secs(2), "it was done before the time was up: nothing was shown");
    server.finish();
}

/// A run whose body stands still in the middle, so that something can be done to its source.
struct Held {
    server: Server,
    proxy: Proxy,
    running: Running,
    sources: Vec<PathBuf>,
}

/// More than is on its way between a source and the proxy: what is behind has not been read yet.
const LARGE: usize = 48 * 1024 * 1024;

impl Held {
    /// Sends a large source, and then others, at the same time.
    fn start(others: &[(&str, usize)], flags: &[&str]) -> Held {
        let server = Server::start();
        let proxy = Proxy::to(server.address());
        let client = Client::new();
        client.pair(&server.invite_at(proxy.address()));
        let source = |(name, length): &(&str, usize)| {
            write(server.beside().join("source").join(name), noise(*length, *length as u64))
        };
        let sources: Vec<PathBuf> = [("large", LARGE)].iter().chain(others).map(source).collect();
        proxy.set(Plan::SilentAfter(1_000_000));
        let running = client.ferry("send").args(&sources).arg("box").args(flags).start();
        proxy.falls_silent();
        Held { server, proxy, running, sources }
    }

    fn let_go(self) -> (Server, crate::support::Outcome) {
        self.proxy.set(Plan::Forward);
        (self.server, self.running.wait())
    }
}

#[test]
fn hostile_22_a_source_that_only_grows_is_published_as_long_as_it_was() {
    let held = Held::start(&[], &["--json"]);
    let source = held.sources[0].clone();
    let before = fs::read(&source).unwrap();
    OpenOptions::new().append(true).open(&source).unwrap().write_all(b"one more line").unwrap();
    let (server, outcome) = held.let_go();
    let outcome = outcome.code(0);
    assert!(fs::read(server.inbox().join("large")).unwrap() == before, "not what it was");
    let object = &outcome.objects()[0];
    assert_eq!((&object["status"], &object["bytes"]), (&"sent".into(), &LARGE.into()));
    assert!(object["detail"].as_str().unwrap().contains("grew"), "{object}");
}

#[test]
fn hostile_22_a_log_that_is_being_written_is_published_with_a_warning() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("log"), noise(3_000_000, 1));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, mut log) = (stop.clone(), OpenOptions::new().append(true).open(&source).unwrap());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                log.write_all(b"another line of the log\n").unwrap();
                std::thread::yield_now();
            }
        })
    };
    let outcome = client.send(&source).run();
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    outcome.code(0).says("log: it grew");
    let (there, here) = (fs::read(server.inbox().join("log")).unwrap(), fs::read(&source).unwrap());
    assert!(there.len() >= 3_000_000 && here.starts_with(&there), "not a beginning of the source");
}

#[test]
fn hostile_22_a_source_that_changed_once_is_read_again() {
    // In one step each, so that there is nothing in between to be read.
    let changes: [fn(&File); 3] = [
        |file| file.write_all_at(b"other bytes at the end", LARGE as u64 - 22).unwrap(),
        |file| file.write_all_at(b"other bytes at the beginning", 0).unwrap(),
        |file| file.set_len(2_000_000).unwrap(),
    ];
    for change in changes {
        let held = Held::start(&[("other", 1000)], &["-v"]);
        let [source, other] = &held.sources[..] else { unreachable!() };
        let (source, other) = (source.clone(), other.clone());
        change(&OpenOptions::new().write(true).open(&source).unwrap());
        let (server, outcome) = held.let_go();
        outcome.code(0);
        assert_same_file(&source, &server.inbox().join("large"));
        assert_same_file(&other, &server.inbox().join("other"));
        assert_eq!(server.staged(), []);
    }
}

#[test]
fn hostile_22_a_source_that_was_replaced_is_never_mixed() {
    let held = Held::start(&[], &[]);
    let source = held.sources[0].clone();
    let new = write(source.with_file_name("new"), noise(LARGE, 99));
    fs::rename(&new, &source).unwrap();
    let old = noise(LARGE, LARGE as u64);
    let (server, outcome) = held.let_go();
    outcome.code(0);
    let there = fs::read(server.inbox().join("large")).unwrap();
    // It was open, so it may be sent as it was; or it is noticed, and the new one is sent.
    assert!(there == old || there == fs::read(&source).unwrap(), "a mixture was published");
}

#[test]
fn hostile_22_a_source_that_vanishes_is_named() {
    let held = Held::start(&[("second", 2_000_000), ("third", 2_000_000)], &[]);
    fs::remove_file(&held.sources[1]).unwrap();
    let third = held.sources[2].clone();
    let (server, outcome) = held.let_go();
    outcome.code(1).says("second: ");
    assert_eq!(server.names(), ["large", "third"]);
    assert_same_file(&third, &server.inbox().join("third"));
    assert_eq!(server.staged(), []);
}

/// Overwrites files from front to back, again and again, each time with the next number in every byte. So what a
/// file holds at any moment is one number up to some point, and the one before it from there on.
fn rewrite(files: &[(File, usize)], stop: &AtomicBool) {
    for number in (0..=u8::MAX).cycle() {
        let piece = [number; 64 * 1024];
        for (file, length) in files {
            for start in (0..*length).step_by(piece.len()) {
                file.write_all_at(&piece[..piece.len().min(length - start)], start as u64).unwrap();
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

/// Whether a file that is rewritten like this held these bytes at some moment.
fn was_ever(bytes: &[u8]) -> bool {
    let mut numbers = bytes.to_vec();
    numbers.dedup();
    match numbers[..] {
        [_] => true,
        [new, old] => new == old.wrapping_add(1),
        _ => false,
    }
}

#[test]
fn hostile_22_a_source_that_never_keeps_still_is_never_published_wrong() {
    let server = Server::start();
    let client = Client::paired(&server);
    let still = write(server.beside().join("still"), "content");
    let sources = [("large", 8 * 1024 * 1024), ("middle", 1024 * 1024)];
    let paths = sources.map(|(name, length)| write(server.beside().join(name), vec![u8::MAX; length]));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let open = |(path, (_, length))| (OpenOptions::new().write(true).open(path).unwrap(), length);
        let files: Vec<(File, usize)> = paths.iter().zip(sources).map(open).collect();
        let stop = stop.clone();
        std::thread::spawn(move || rewrite(&files, &stop))
    };
    for _ in 0..3 {
        let outcome = client.ferry("send").args(&paths).arg(&still).arg("box").run();
        let mut all_is_well = true;
        for (name, _) in sources {
            let there = server.inbox().join(name);
            match fs::read(&there) {
                Ok(bytes) => {
                    assert!(was_ever(&bytes), "{name} is a mixture");
                    fs::remove_file(there).unwrap();
                }
                Err(_) => {
                    assert!(outcome.stderr().contains(&format!("{name}: it changed")), "{outcome:?}");
                    all_is_well = false;
                }
            }
        }
        outcome.code(if all_is_well { 0 } else { 1 });
        assert_same_file(&still, &server.inbox().join("still"));
        assert_eq!(server.staged(), []);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    client.send(&paths[0]).run().code(0);
    assert_same_file(&paths[0], &server.inbox().join("large"));
}

#[test]
fn promise_7_sources_are_what_they_were() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    for (name, length) in [("small", 10), ("large", 3_000_000), ("below/empty", 0)] {
        set_modified(write(source.join(name), noise(length, 1)), 1_600_000_000, 7);
    }
    set_mode(source.join("small"), 0o400);
    symlink("small", source.join("link")).unwrap();
    let before = snapshot(&source);
    for flags in [&[][..], &["--checksum"], &["--on-conflict", "keep-both", "--dir", "again"], &["--dry-run"]]
    {
        client.send(&source).args(flags).run().code(0);
        assert_eq!(snapshot(&source), before, "{flags:?}");
    }
}
