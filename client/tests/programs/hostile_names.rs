//! Names that a peer must not use, said by a peer that uses them.

use std::fs;

use ferry_proto::{Algorithm, Code, Conflict, Frame, Header, Kind, Message, Offer, RelPath, Seq};

use crate::support::{Client, NodeKind, Peer, Server, hello, snapshot, write};

/// The frame of an offer with this name, which no [`RelPath`] could hold.
fn offer_named(name: &[u8], kind: Kind) -> Vec<u8> {
    let stand_in = RelPath::new("X").unwrap();
    let mut frame = Vec::new();
    Message::from(Offer { seq: Seq(0), header: Header::new(stand_in, kind) }).encode(&mut frame);
    // Type and length; the sequence number 0; the name's length 1; the name; all that follows.
    let [frame_type, _, _, _, _, 0, 1, b'X', rest @ ..] = &frame[..] else { panic!("{frame:?}") };
    let length = match name.len() {
        short @ ..=250 => vec![short as u8],
        long => [&[251][..], &(long as u16).to_le_bytes()].concat(),
    };
    let payload = [&[0][..], &length, name, rest].concat();
    [&[*frame_type][..], &(payload.len() as u32).to_le_bytes(), &payload].concat()
}

#[test]
fn the_frames_of_these_tests_are_frames() {
    for name in [b"Y".to_vec(), vec![b'y'; 255], [b"long/".to_vec(), vec![b'y'; 250]].concat()] {
        let frame = offer_named(&name, Kind::Folder);
        let mut input = &frame[..];
        let decoded = ferry_proto::Decoder::new().next(&mut input).unwrap();
        let Some(Frame::Control(Message::Offer(offer))) = decoded else { panic!("{decoded:?}") };
        assert_eq!(offer.header.path.as_bytes(), name);
    }
}

/// Names, each of them with what is wrong about it.
fn bad_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        // 1: out of the root, or in two ways into it.
        &b""[..],
        b".",
        b"..",
        b"../x",
        b"../beside",
        b"a/../../x",
        b"a/..",
        b"/etc/ferry-was-here",
        b"/",
        b"//",
        b"a//b",
        b"a/",
        b"./a",
        b"a/.",
        b"a/./b",
        b"nul\0inside",
        b"\0",
        // 3: what is the server's own.
        b".ferry",
        b".ferry/x",
        b".ferry/staging/x",
        b".ferry/catalogue.db",
        b".ferry/identity.key",
        b".FERRY/x",
        b".Ferry/lock",
        b".fErRy",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    names.push(vec![b'n'; 256]);
    names.push(vec![b'n'; 4096]);
    names.push(b"l/".repeat(1000)[..1999].to_vec());
    names.push(b"l/".repeat(129)[..257].to_vec());
    names.push([&b"d/".repeat(100)[..], &b"n".repeat(255), b"/", &b"n".repeat(4000)].concat());
    names
}

#[test]
fn hostile_01_hostile_03_bad_names_end_the_session_and_leave_no_trace() {
    let server = Server::start();
    let (mut bystander, identity) = Peer::enrolled(&server);
    bystander.put(Conflict::Replace);
    bystander.send(0, "before", b"before");
    let private = fs::read_dir(server.inbox().join(".ferry")).unwrap().count();
    let beside = || {
        let names = fs::read_dir(server.beside()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let outside = beside();
    let key = fs::read(server.inbox().join(".ferry/identity.key")).unwrap();

    for name in bad_names() {
        for kind in [Kind::File, Kind::Folder, Kind::Symlink(b"/etc".to_vec())] {
            let mut peer = Peer::again(&server, &identity);
            peer.put(Conflict::Replace);
            peer.raw(&offer_named(&name, kind));
            assert_eq!(peer.thrown_out(), Code::Protocol, "{:?}", String::from_utf8_lossy(&name));
            bystander.live();
        }
    }
    server.logged(&["session ended", "path"]);
    assert!(!fs::exists("/etc/ferry-was-here").unwrap());
    assert_eq!(beside(), outside);
    assert_eq!(fs::read_dir(server.inbox().join(".ferry")).unwrap().count(), private);
    assert_eq!(fs::read(server.inbox().join(".ferry/identity.key")).unwrap(), key);
    assert_eq!(server.staged(), []);
    // Another session has noticed nothing.
    bystander.send(1, "after", b"after");
    assert_eq!(server.names(), ["after", "before"]);
}

#[test]
fn hostile_01_hostile_02_odd_names_that_are_honest_arrive_as_they_are() {
    let server = Server::start();
    let mut peer = Peer::sending(&server);
    let long = [&b"l/".repeat(127)[..], b"l"].concat();
    let honest = [
        &b"back\\..\\slash"[..],
        b"C:\\windows\\x",
        b"c:x",
        b"aux.h",
        b"trailing.",
        b"...",
        b"..a",
        b"%2e%2e%2fx",
        b"%252e%252e",
        b"\xc0\xae\xc0\xae",
        b"\xe2\x80\xa4\xe2\x80\xa4",
        b"caf\xc3\xa9",
        b"cafe\xcc\x81",
        b".ferryd",
        b"below/.ferry/x",
        b"-rf",
        b"~",
        b"$HOME",
        b"*",
        &long,
    ];
    for (seq, name) in honest.iter().enumerate() {
        let digest = Algorithm::Sha256.digest(name);
        peer.offer(seq as u64, name, name.len() as u64, Some(digest));
        assert_eq!(peer.asked(seq as u64), 0);
        peer.body(seq as u64, name, digest);
        assert_eq!(peer.receipt(seq as u64), Some(digest));
    }
    let arrived = snapshot(server.inbox());
    let files = arrived.iter().filter(|(_, node)| matches!(node.kind, NodeKind::File(..)));
    let mut names: Vec<&[u8]> = files.map(|(name, _)| &name[..]).collect();
    let mut expected = honest.to_vec();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn hostile_03_a_client_cannot_name_what_is_the_servers_own() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = write(server.beside().join("source"), "content");
    for flags in [
        &["--dir", ".ferry"][..],
        &["--dir", ".FERRY/staging"],
        &["--name", ".ferry"],
        &["--name", ".Ferry/identity.key"],
    ] {
        client.send(&source).args(flags).run().code(2).says(".ferry");
    }
    client.ferry("send").arg(&source).arg("box:.ferry/staging").run().code(2);
    assert_eq!((server.names(), server.staged()), (vec![], vec![]));
}

#[test]
fn hostile_05_what_a_peer_says_about_itself_is_inert_in_the_log() {
    let server = Server::start();
    let invite: ferry_proto::Invite = server.invite().parse().unwrap();
    let identity = ferry_session::identity::Identity::generate();
    let mut peer = Peer::connect(&server, &identity);
    let bad = "\x1b]0;title\x07\x1b[2J\r\n2026-01-01T00:00:00Z  INFO forged\u{202e}";
    peer.say(ferry_proto::Hello {
        agent: bad.to_owned(),
        name: bad.to_owned(),
        ..hello(Some(invite.secret.clone()))
    });
    peer.welcome();
    peer.put(Conflict::Replace);
    let digest = Algorithm::Sha256.digest(b"content");
    peer.offer(0, bad, 7, Some(digest));
    peer.asked(0);
    peer.body(0, b"content", digest);
    peer.receipt(0);
    peer.say(ferry_proto::Goodbye { code: Code::Internal, detail: bad.to_owned() });
    server.logged(&["session ended"]);
    let log = server.log();
    assert!(!log.contains(['\x1b', '\x07', '\r', '\u{202e}']), "{log:?}");
    assert!(!log.lines().any(|line| line.contains("forged") && line.starts_with("2026-01-01T")), "{log}");
    assert_eq!(snapshot(server.inbox()).len(), 2, "it is a name like any other");
}
