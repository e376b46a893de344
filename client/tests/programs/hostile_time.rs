//! Peers that take their time. The server's patience is a matter of seconds, so they all come at once.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread::{scope, sleep},
    time::Duration,
};

use ferry_proto::{Body, Code, Conflict, Frame, FrameHeader, Message, Ping, Seq, limits};
use ferry_session::identity::Identity;

use crate::support::{Client, Peer, Server, assert_same_file, eventually, hello, noise, write};

/// Bytes one second apart, until the other end has had enough; true if it had before they ran out.
fn dribble(peer: &mut Peer, bytes: &[u8]) -> bool {
    for byte in bytes {
        if peer.try_raw(&[*byte]).is_err() {
            return true;
        }
        sleep(Duration::from_secs(1));
    }
    false
}

#[test]
fn hostile_13_hostile_14_slow_and_silent_peers_lose_their_slots() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("file"), "content");
    let key = Identity::generate;
    let known = || {
        let mut peer = Peer::welcomed(&server);
        peer.put(Conflict::Replace);
        peer
    };
    scope(|threads| {
        // Nothing at all.
        threads.spawn(|| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
        });
        // A handshake, one byte a second.
        threads.spawn(|| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            // A record that promises to be long.
            for byte in [&[22, 3, 1, 1, 0][..], &[1; 250]].concat() {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                sleep(Duration::from_secs(1));
            }
            panic!("a handshake may take minutes");
        });
        // No hello.
        threads.spawn(|| {
            assert_eq!(Peer::connect(&server, &key()).thrown_out(), Code::Silent);
        });
        // A hello, one byte a second.
        threads.spawn(|| {
            let mut peer = Peer::connect(&server, &key());
            let mut frame = Vec::new();
            Message::from(hello(None)).encode(&mut frame);
            assert!(dribble(&mut peer, &frame), "a hello may take {} s", frame.len());
        });
        // Not a word after the welcome, and no answer to a ping.
        threads.spawn(|| assert_eq!(known().thrown_out(), Code::Silent));
        // A frame, one byte a second.
        threads.spawn(|| {
            let mut peer = known();
            let mut frame = Vec::new();
            let path = ferry_proto::RelPath::new("a name that takes its time ".repeat(8)).unwrap();
            let header = ferry_proto::Header::new(path, ferry_proto::Kind::Folder);
            Message::from(ferry_proto::Offer { seq: ferry_proto::Seq(0), header }).encode(&mut frame);
            assert!(dribble(&mut peer, &frame), "a frame may take {} s", frame.len());
        });
        // Questions, and no ear for the answers.
        threads.spawn(|| {
            let mut peer = known();
            let mut pings = Vec::new();
            (0..10_000).for_each(|token| Message::from(Ping { token }).encode(&mut pings));
            assert!(peer.flood(&pings, Duration::from_secs(30)), "it is neither read nor thrown out");
            server.logged(&["session ended", "does not read"]);
        });
        // Nobody waits for them.
        threads.spawn(|| client.send(&source).run().code(0));
    });
    assert_same_file(&source, &server.inbox().join("file"));
    assert_eq!(server.names(), ["file"]);
}

#[test]
fn hostile_13_whoever_waits_longest_makes_way_for_the_newest() {
    const PLACES: usize = 5;
    let server = Server::setup().args(["--max-connections", &PLACES.to_string()]).start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("file"), "content");
    let mut inside = Peer::sending(&server);
    let silent: Vec<_> = (0..4 * PLACES).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    client.send(&source).args(["--retry", "0"]).run().code(0);
    for mut gone in silent.into_iter().take(2 * PLACES) {
        assert_eq!(gone.read(&mut [0]).unwrap_or(0), 0);
    }
    // A peer that has proved some key is told, if it had done so before it had to go.
    let told = eventually("a peer that is told", || {
        let mut waiting = Peer::connect(&server, &Identity::generate());
        let _silent: Vec<_> =
            (0..4 * PLACES).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        match waiting.hear() {
            Some(Frame::Control(Message::Goodbye(goodbye))) => Some(goodbye.code),
            _ => None,
        }
    });
    assert_eq!(told, Code::Busy);
    // Whoever has come in waits no more.
    inside.send(0, "inside", b"content");
}

#[test]
fn hostile_13_answers_that_nobody_reads_cost_little_and_end_the_session() {
    /// Offers at a time, so that no window is exceeded.
    const BATCH: usize = 200;
    // Three times what it was seen to be. Without bounds it is a hundred times that.
    const MOST: u64 = 16 * 1024 * 1024;
    let server = Server::setup().env("FERRYD_LOG", "debug").start();
    let mut peer = Peer::welcomed(&server);
    let name = ["x".repeat(250).as_str(); 16].join("/");
    peer.put(Conflict::KeepBoth);
    peer.send(0, &name, b"content");
    let before = server.most_memory();
    // Each is held under the name beside it, of four thousand bytes, which is in the answer.
    let path = ferry_proto::RelPath::new(&name).unwrap();
    let header = ferry_proto::Header::new(path, ferry_proto::Kind::Symlink(b"x".to_vec()));
    let is_over = || server.log().contains("does not read");
    let mut seq = 0;
    while !is_over() {
        let mut offers = Vec::new();
        for _ in 0..BATCH {
            seq += 1;
            Message::from(ferry_proto::Offer { seq: Seq(seq), header: header.clone() }).encode(&mut offers);
        }
        let _ = peer.try_raw(&offers);
        let held = || server.log().matches(" held ").count() + 1 >= seq as usize;
        let mut ping = Vec::new();
        Message::from(Ping { token: seq }).encode(&mut ping);
        eventually("answers, or an end", || {
            // It lives, and does not listen.
            let _ = peer.try_raw(&ping);
            (held() || is_over()).then_some(())
        });
    }
    let cost = server.most_memory() - before;
    assert!(cost <= MOST, "{cost} bytes, {seq} answers");
}

#[test]
fn hostile_13_strangers_do_not_fill_the_log() {
    let server = Server::start();
    for number in 0..3000_u64 {
        let mut stranger = TcpStream::connect(server.address()).unwrap();
        let _ = stranger.write_all(&noise(100, number));
    }
    Client::paired(&server).send(write(server.beside().join("file"), "content")).run().code(0);
    let lines = server.log().matches("handshake failed").count();
    // Ten a second, however long it took.
    assert!((1..1000).contains(&lines), "{lines} lines");
}

/// More than the server has room for, if it gave each of them what their chunk's header claims.
#[test]
fn hostile_13_bodies_that_take_their_time_hold_nobody_up() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("file"), noise(8 * 1024 * 1024, 1));
    let _slow: Vec<Peer> = (0..20)
        .map(|number| {
            let mut peer = Peer::sending(&server);
            peer.offer(0, format!("slow-{number}"), 2 * limits::CHUNK as u64, None);
            assert_eq!(peer.asked(0), 0);
            peer.say(Body { seq: Seq(0), offset: 0 });
            peer.raw(&FrameHeader::chunk(limits::CHUNK).to_bytes());
            peer.raw(b"a first byte");
            peer
        })
        .collect();
    client.send(&source).run().code(0);
    assert_same_file(&source, &server.inbox().join("file"));
    assert!(!server.log().contains("connection lost"), "the slow ones went first");
}

/// Besides its bytes, what is queued for a peer costs memory for each piece, and pieces are all that a flood has.
#[test]
fn hostile_13_questions_without_an_ear_for_the_answers_cost_next_to_no_memory() {
    // Four times what is queued for a peer before it is thrown out: what one leaves is not always used by the next.
    // Without bounds it is as much as the peer asks for.
    const MOST: u64 = 16 * 1024 * 1024;
    let server = Server::start();
    let mut pings = Vec::new();
    (0..10_000).for_each(|token| Message::from(Ping { token }).encode(&mut pings));
    // What every session costs is no part of it.
    Peer::sending(&server).send(0, "file", b"content");
    let before = server.most_memory();
    let flood = |mut peer: Peer, words: &[&str]| {
        assert!(peer.flood(&pings, Duration::from_secs(30)), "it is neither read nor thrown out");
        let cost = server.most_memory() - before;
        assert!(cost <= MOST, "{words:?}: {cost} bytes");
        server.logged(words);
    };
    flood(Peer::connect(&server, &Identity::generate()), &["no hello", "a ping before the welcome"]);
    flood(Peer::welcomed(&server), &["session ended", "does not read"]);
    flood(Peer::sending(&server), &["session ended", "does not read"]);
}
