//! Numbers that are zero, huge, repeated or untrue, and bodies that are not what was said of them.

use std::fs;

use ferry_proto::{
    Abort, Algorithm, Answer, Body, Code, Digest, Done, End, Header, Kind, Message, Mode, Offer, RelPath,
    Seq, Timestamp, Verdict, limits,
};

use crate::support::{Client, Peer, Server, eventually, hello, noise, snapshot, write};

fn sha256(bytes: &[u8]) -> Digest {
    Algorithm::Sha256.digest(bytes)
}

fn frame(frame_type: u8, length: u32, payload: &[u8]) -> Vec<u8> {
    [&[frame_type][..], &length.to_le_bytes(), payload].concat()
}

#[test]
fn hostile_09_frames_that_claim_too_much_end_the_session_at_their_first_bytes() {
    let server = Server::start();
    let too_long = [
        frame(5, u32::MAX, b""),
        frame(5, limits::CONTROL as u32 + 1, b""),
        frame(8, u32::MAX, b""),
        frame(8, limits::CHUNK as u32 + 1, b""),
        frame(200, u32::MAX, b""),
        frame(8, 0, b""),
        frame(0, 0, b""),
        frame(127, 0, b""),
        frame(5, 0, b""),
        frame(14, 3, &[0, 0, 0]),
        frame(14, 1, &[255]),
        // A list of features, a name and an agent that claim more than there is.
        frame(1, 40, &[&b"ferry\0\x01\0\x01\0"[..], &[0; 16], &[253], &[0xff; 8], &[0; 5]].concat()),
    ];
    for frame in &too_long {
        let mut peer = Peer::welcomed(&server);
        peer.raw(frame);
        assert_eq!(peer.thrown_out(), Code::Protocol, "{frame:?}");
        // As the first word, too.
        let mut peer = Peer::connect(&server, &ferry_session::identity::Identity::generate());
        peer.raw(frame);
        assert_eq!(peer.thrown_out(), Code::Protocol, "{frame:?}");
    }
    assert_eq!(server.log().matches("session ended").count(), too_long.len());
    // Of lines about strangers not all are written where many come within a second.
    assert!(server.log().contains("no hello"), "{}", server.log());
    let mut peer = Peer::sending(&server);
    peer.raw(&frame(129, 5, b"later"));
    peer.raw(&frame(255, 0, b""));
    peer.send(0, "after", b"frames of later versions are passed over");
}

/// A peer that is welcome and does this; the code with which it is thrown out.
fn thrown_out(server: &Server, deed: impl FnOnce(&mut Peer)) -> Code {
    let mut peer = Peer::sending(server);
    deed(&mut peer);
    peer.thrown_out()
}

#[test]
fn hostile_09_numbers_that_repeat_skip_or_overflow_end_the_session() {
    let server = Server::start();
    let mut bystander = Peer::sending(&server);
    bystander.send(0, "before", b"before");
    let content = &b"content"[..];
    let digest = sha256(content);
    let asked = |peer: &mut Peer| {
        peer.offer(0, "name", 7, None);
        peer.asked(0);
    };
    type Deed<'a> = Box<dyn Fn(&mut Peer) + 'a>;
    let deeds: Vec<(&str, Deed<'_>)> = vec![
        (
            "an offer that repeats",
            Box::new(|peer| {
                asked(peer);
                peer.offer(0, "other", 7, None);
            }),
        ),
        ("an offer that skips", Box::new(|peer| peer.offer(1, "name", 7, None))),
        ("an offer at the end of all numbers", Box::new(|peer| peer.offer(u64::MAX, "name", 7, None))),
        ("a body of nothing", Box::new(|peer| peer.say(Body { seq: Seq(u64::MAX), offset: 0 }))),
        (
            "a body that begins elsewhere",
            Box::new(|peer| {
                asked(peer);
                peer.say(Body { seq: Seq(0), offset: 3 });
            }),
        ),
        (
            "a body that begins at the end of all numbers",
            Box::new(|peer| {
                asked(peer);
                peer.say(Body { seq: Seq(0), offset: u64::MAX });
            }),
        ),
        (
            "a body twice",
            Box::new(|peer| {
                asked(peer);
                peer.body(0, content, digest);
                peer.receipt(0);
                fs::remove_file(server.inbox().join("name")).unwrap();
                peer.say(Body { seq: Seq(0), offset: 0 });
            }),
        ),
        (
            "a body in a body",
            Box::new(|peer| {
                asked(peer);
                peer.say(Body { seq: Seq(0), offset: 0 });
                peer.say(Body { seq: Seq(0), offset: 0 });
            }),
        ),
        ("a chunk outside a body", Box::new(|peer| peer.chunks(content))),
        ("an end outside a body", Box::new(|peer| peer.say(End { digest }))),
        ("an abort of nothing", Box::new(|peer| peer.say(Abort { seq: Seq(3), code: Code::Cancelled }))),
        ("Done with other counts", Box::new(|peer| peer.say(Done { entries: u64::MAX, bytes: u64::MAX }))),
        (
            "Done before the answers",
            Box::new(|peer| {
                asked(peer);
                peer.say(Done { entries: 1, bytes: 0 });
            }),
        ),
        (
            "a welcome",
            Box::new(|peer| {
                peer.say(ferry_proto::Receipt { seq: Seq(0), digest: None, path: None });
            }),
        ),
        ("a hello again", Box::new(|peer| peer.say(crate::support::hello(None)))),
    ];
    for (what, deed) in deeds {
        assert_eq!(thrown_out(&server, deed), Code::Protocol, "{what}");
        bystander.live();
    }
    bystander.send(1, "after", b"after");
    assert_eq!(server.names(), ["after", "before"]);
    assert_eq!(server.staged(), []);
}

#[test]
fn hostile_09_a_body_that_is_not_what_its_header_says_fails_and_the_session_goes_on() {
    let server = Server::start();
    let mut peer = Peer::sending(&server);
    let content = noise(3_000_000, 1);
    let digest = sha256(&content);
    let wrong = sha256(b"something else");
    let cases = [
        // Announced length, announced digest, bytes sent, digest at the end, what comes of it.
        (2_999_999, Some(digest), &content[..], digest, Code::SizeMismatch),
        (3_000_001, Some(digest), &content[..], digest, Code::SizeMismatch),
        (3_000_000, None, &content[..2_000_000], digest, Code::SizeMismatch),
        (0, None, &content[..1], digest, Code::SizeMismatch),
        (1, None, &[][..], sha256(b""), Code::SizeMismatch),
        (limits::FILE, None, &content[..], digest, Code::SizeMismatch),
        (3_000_000, None, &content[..], wrong, Code::DigestMismatch),
        (3_000_000, Some(wrong), &content[..], digest, Code::DigestMismatch),
        (3_000_000, Some(wrong), &content[..], wrong, Code::DigestMismatch),
    ];
    for (seq, (length, announced, bytes, said, code)) in cases.into_iter().enumerate() {
        let (name, seq) = (format!("file-{seq}"), seq as u64);
        peer.offer(seq, &name, length, announced);
        peer.asked(seq);
        peer.body(seq, bytes, said);
        assert_eq!(peer.failure(seq), code, "{name}");
        server.logged(&["failed", &format!("file={name} "), code.to_string().as_str()]);
    }
    let count = cases.len() as u64;
    peer.send(count, "good", &content);
    assert_eq!(server.names(), ["good"]);
    assert_eq!(server.staged(), []);
    // What was there stays when what should replace it fails.
    peer.offer(count + 1, "good", 7, None);
    peer.asked(count + 1);
    peer.body(count + 1, b"content", wrong);
    assert_eq!(peer.failure(count + 1), Code::DigestMismatch);
    assert!(fs::read(server.inbox().join("good")).unwrap() == content);
}

#[test]
fn hostile_09_sizes_beyond_every_limit() {
    let server = Server::setup().args(["--max-file", "1MB"]).start();
    let mut peer = Peer::sending(&server);
    for (seq, size) in [1_000_001, u64::from(u32::MAX), limits::FILE].into_iter().enumerate() {
        peer.offer(seq as u64, "large", size, None);
        assert_eq!(peer.failure(seq as u64), Code::TooLarge);
    }
    // A stream does not say how long it will be.
    let path = RelPath::new("stream").unwrap();
    peer.say(Offer { seq: Seq(3), header: Header::new(path, Kind::File) });
    peer.asked(3);
    let content = noise(3_000_000, 1);
    peer.body(3, &content, sha256(&content));
    assert_eq!(peer.failure(3), Code::TooLarge);
    peer.send(4, "fits", &content[..1_000_000]);
    assert_eq!((server.names(), server.staged()), (vec!["fits".to_owned()], vec![]));
}

#[test]
fn hostile_09_hostile_08_times_and_modes_at_their_ends() {
    let server = Server::start();
    let mut peer = Peer::sending(&server);
    let mut seq = 0;
    let times = [(i64::MIN, 0), (i64::MAX, 999_999_999), (-1, 999_999_999), (0, 0), (1 << 40, 1)];
    // Twice: what is there then must not be in the way.
    for is_again in [false, true] {
        for (number, (seconds, nanos)) in times.into_iter().enumerate() {
            for (name, kind) in
                [("file", Kind::File), ("folder", Kind::Folder), ("link", Kind::Symlink(b"to".to_vec()))]
            {
                let path = RelPath::new(format!("{name}-{number}")).unwrap();
                let is_file = kind == Kind::File;
                let header = Header {
                    modified: Some(Timestamp::new(seconds, nanos).unwrap()),
                    mode: Some(Mode::from_bits(0o7777)),
                    size: is_file.then_some(7),
                    digest: is_file.then(|| sha256(b"content")),
                    ..Header::new(path, kind)
                };
                peer.say(Offer { seq: Seq(seq), header });
                match peer.message() {
                    Message::Verdict(Verdict { answer: Answer::Send { .. }, .. }) if is_file && !is_again => {
                        peer.body(seq, b"content", sha256(b"content"));
                        peer.receipt(seq);
                    }
                    Message::Verdict(Verdict { answer: Answer::Held { .. }, .. }) if is_again => {}
                    // The second time, too: where the disk cannot hold a time, there is always another one to set.
                    Message::Receipt(receipt) if !is_file => assert_eq!(receipt.seq, Seq(seq)),
                    other => panic!("{other:?}"),
                }
                seq += 1;
            }
        }
    }
    let arrived = snapshot(server.inbox());
    assert_eq!(arrived.len(), 1 + 3 * times.len());
    for (name, node) in arrived.iter().filter(|(name, _)| name.starts_with(b"f")) {
        assert_eq!(node.mode, 0o777, "{}", String::from_utf8_lossy(name));
    }
    for (number, (seconds, nanos)) in times.into_iter().enumerate() {
        for name in ["file", "folder", "link"] {
            let name = format!("{name}-{number}");
            let modified = arrived[name.as_bytes()].modified;
            match seconds {
                // As far as the disk can go, which is 32 bits everywhere.
                i64::MIN => assert!(modified.0 <= i64::from(i32::MIN), "{name}: {modified:?}"),
                0x8000_0000.. => assert!(modified.0 >= i64::from(i32::MAX), "{name}: {modified:?}"),
                _ => assert_eq!(modified, (seconds, i64::from(nanos)), "{name}"),
            }
        }
    }
}

#[test]
fn hostile_10_more_offers_than_the_window_end_the_session() {
    let server = Server::start();
    let mut peer = Peer::sending(&server);
    let mut frames = Vec::new();
    for seq in 0..=limits::OFFERS as u64 {
        let path = RelPath::new(seq.to_string()).unwrap();
        let header = Header { size: Some(1), ..Header::new(path, Kind::File) };
        Message::from(Offer { seq: Seq(seq), header }).encode(&mut frames);
    }
    peer.raw(&frames);
    assert_eq!(peer.thrown_out(), Code::Protocol);
    server.logged(&["session ended", "window"]);
    assert_eq!((server.names(), server.staged()), (vec![], vec![]));
}

#[test]
fn hostile_10_one_client_leaves_seats_to_others() {
    let server = Server::start();
    let (first, identity) = Peer::enrolled(&server);
    let mut sessions = vec![first];
    let refused = loop {
        let mut peer = Peer::connect(&server, &identity);
        peer.say(hello(None));
        match peer.message() {
            Message::Welcome(_) => sessions.push(peer),
            Message::Goodbye(goodbye) => break goodbye.code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((refused, sessions.len()), (Code::Busy, 64));
    Client::paired(&server).send(write(server.beside().join("file"), "content")).run().code(0);
}

#[test]
fn hostile_10_sessions_beyond_the_limit_are_turned_away_and_seats_come_back() {
    let server = Server::setup().args(["--max-connections", "3"]).start();
    let client = Client::paired(&server);
    let source = crate::support::write(server.beside().join("file"), "content");
    eventually("a free slot for each peer", || {
        // The pairing above may still have one.
        (client.send(&source).args(["--retry", "9"]).run().status.code() == Some(0)).then_some(())
    });
    let mut peers: Vec<Peer> = Vec::new();
    let invites: Vec<Peer> = (0..3).map(|_| Peer::welcomed(&server)).collect();
    peers.extend(invites);
    client.send(&source).args(["--retry", "0"]).run().code(3).says("as many sessions as it may");
    for (number, mut peer) in peers.into_iter().enumerate() {
        peer.put(ferry_proto::Conflict::Replace);
        peer.send(0, &number.to_string(), b"those who are in stay in");
    }
    client.send(&source).args(["--retry", "9"]).run().code(0);
}
