//! Holes of sparse files: neither sent nor written, and there again in what comes back.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use ferry_proto::{
    Algorithm, Answer, Body, Code, Conflict, Digest, End, Features, Frame, Get, Header, Hello, Hole, Invite,
    Kind, Message, Offer, RelPath, Request, Seq, Verb, Verdict, Wants, limits,
};
use ferry_session::identity::Identity;
use rustix::process::Signal;

use crate::support::{
    Client, Peer, Plan, Proxy, Server, assert_given_back, assert_same_file, eventually, hello, names, noise,
};

const MIB: u64 = 1024 * 1024;

/// A file of this size with data only at these offsets.
fn sparse(path: &Path, size: u64, data: &[(u64, usize)]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for &(at, length) in data {
        file.write_all_at(&noise(length, at), at).unwrap();
    }
}

/// Bytes that a file takes on its disk.
fn taken(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

fn behind_a_proxy() -> (Server, Proxy, Client) {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    (server, proxy, client)
}

#[test]
fn holes_are_neither_sent_nor_written() {
    let (server, proxy, client) = behind_a_proxy();
    let pages = [(100 * MIB, 4096), (100 * MIB + 8192, 4096), (777 * MIB + 4096, 100_000)];
    let [source, back] = ["tree", "back"].map(|name| server.beside().join(name));
    fs::create_dir(&source).unwrap();
    sparse(&source.join("holes at both ends"), 1024 * MIB, &pages);
    sparse(
        &source.join("data at both ends"),
        100 * MIB,
        &[(0, 4096), (50 * MIB, 4096), (100 * MIB - 4096, 4096)],
    );
    sparse(&source.join("one hole"), 70 * MIB + 1, &[]);

    let outcome = client.send(&source).arg("--json").run().code(0);
    assert_eq!(outcome.summary()["bytes"], 1194 * MIB + 1, "holes count as what they are: {outcome:?}");
    client.ferry("get").arg("box:tree").arg(&back).run().code(0);
    for name in ["holes at both ends", "data at both ends", "one hole"] {
        let [here, there, back] =
            [&source, &server.inbox().join("tree"), &back.join("tree")].map(|it| it.join(name));
        assert_same_file(&here, &there);
        assert_given_back(&here, &back);
        assert_eq!((taken(&there), taken(&back)), (taken(&here), taken(&here)), "{name}");
    }
    // Each of the frames that tell of a hole of a MiB takes some bytes, and where it is written alone some more.
    for came in [proxy.to_server(), proxy.to_client()] {
        assert!(came < 2 * MIB, "{came} bytes");
    }
    // What is there is still the same.
    let again = client.send(&source).arg("--json").run().code(0);
    assert_eq!((again.total("sent"), again.total("held")), (0, 4), "{again:?}");
    // A pipe cannot have holes.
    let piped = client.ferry("get").args(["box:tree/one hole", "-"]).run().code(0).stdout;
    assert!(piped.len() as u64 == 70 * MIB + 1 && piped.iter().all(|&byte| byte == 0));
}

#[test]
fn promise_3_a_body_is_gone_on_with_in_the_middle_of_a_hole() {
    let (mut server, proxy, client) = behind_a_proxy();
    let [source, back] = ["large", "back"].map(|name| server.beside().join(name));
    // 480 MiB is the last checkpoint before the second part, and in the middle of a hole.
    sparse(&source, 1000 * MIB, &[(0, 34 * MIB as usize), (500 * MIB, 4 * MIB as usize)]);
    let behind_the_hole = |staged: Option<u64>| staged.filter(|&length| length > 500 * MIB).map(drop);

    proxy.set(Plan::SilentAfter(36 * MIB));
    let running = client.send(&source).start();
    let staged = |server: &Server| server.staged().into_iter().map(|(_, length)| length).max();
    eventually("the part behind the hole", || behind_the_hole(staged(&server)));
    running.signal(Signal::KILL);
    running.wait();
    // The server, too: what it finds when it starts, it cuts back.
    proxy.set(Plan::SilentAfter(2 * MIB));
    let running = client.send(&source).args(["--retry", "forever"]).start();
    eventually("the part behind the hole, again", || behind_the_hole(staged(&server)));
    server.kill();
    proxy.set(Plan::Forward);
    server.restart_elsewhere();
    assert_eq!(staged(&server), Some(480 * MIB));
    proxy.lead_to(server.address());
    running.wait().code(0);
    let came = proxy.to_server();
    assert!(came < 46 * MIB, "{came} bytes: the first part was sent again");
    assert_same_file(&source, &server.inbox().join("large"));

    // The other way.
    let staged = || {
        let staged = fs::read_dir(back.join(".ferry/restoring")).into_iter().flatten();
        staged.map(|entry| entry.unwrap().metadata().unwrap().len()).max()
    };
    let get = || client.ferry("get").arg("box:large").arg(&back);
    proxy.set_back(Plan::SilentAfter(36 * MIB));
    let running = get().start();
    eventually("the part behind the hole, on its way back", || behind_the_hole(staged()));
    running.signal(Signal::KILL);
    running.wait();
    proxy.set_back(Plan::Forward);
    let before = proxy.to_client();
    get().run().code(0);
    let came = proxy.to_client() - before;
    assert!(came < 6 * MIB, "{came} bytes: the first part was sent again");
    assert_given_back(&source, &back.join("large"));
    for copy in [&server.inbox().join("large"), &back.join("large")] {
        assert!(taken(copy) < 40 * MIB, "it takes {} bytes", taken(copy));
    }
}

/// A peer that says that it knows holes.
fn peer(server: &Server) -> Peer {
    let identity = Identity::generate();
    let invite: Invite = server.invite().parse().unwrap();
    let mut peer = Peer::connect(server, &identity);
    peer.say(Hello { features: Features::OURS.numbers(), ..hello(Some(invite.secret)) });
    assert_eq!(Features::named_by(&peer.welcome().features), Features::OURS);
    peer.put(Conflict::Replace);
    peer
}

fn hole(length: usize) -> Hole {
    Hole::new(length).unwrap()
}

fn zeros(length: usize) -> Digest {
    Algorithm::Sha256.digest(&vec![0; length])
}

#[test]
fn hostile_09_holes_count_for_what_was_announced_and_for_the_largest_file() {
    let server = Server::setup().args(["--max-file", "10MB"]).start();
    let mut peer = peer(&server);
    peer.offer(0, "longer", 100, Some(zeros(100)));
    peer.offer(1, "shorter", 100, Some(zeros(100)));
    assert_eq!((peer.asked(0), peer.asked(1)), (0, 0));
    peer.say(Body { seq: Seq(0), offset: 0 });
    peer.say(hole(100));
    peer.say(hole(1));
    assert_eq!(peer.failure(0), Code::SizeMismatch);
    peer.say(End { digest: zeros(101) });
    peer.say(Body { seq: Seq(1), offset: 0 });
    peer.say(hole(99));
    peer.say(End { digest: zeros(99) });
    assert_eq!(peer.failure(1), Code::SizeMismatch);
    // A stream without an end: it takes no space, and ends all the same.
    let path = RelPath::new("endless").unwrap();
    peer.say(Offer { seq: Seq(2), header: Header::new(path, Kind::File) });
    assert_eq!(peer.asked(2), 0);
    peer.say(Body { seq: Seq(2), offset: 0 });
    for _ in 0..10 {
        peer.say(hole(limits::CHUNK));
    }
    assert_eq!(peer.failure(2), Code::TooLarge);
    assert_eq!((server.names(), server.staged().len()), (Vec::new(), 0));
}

#[test]
fn hostile_15_holes_count_for_a_quota() {
    let server = Server::start();
    let client = Client::granted(&server, &["--quota", "100MB"]);
    let source = server.beside().join("large");
    sparse(&source, 101 * 1_000_000, &[]);
    client.send(&source).run().code(1).says("quota");
    sparse(&source, 99 * 1_000_000, &[]);
    client.send(&source).run().code(0);
    assert_eq!(taken(server.inbox().join("large")), 0);
}

#[test]
fn hostile_09_a_hole_out_of_place_or_of_an_impossible_length_ends_the_session() {
    let server = Server::start();
    let of_type_18 = |payload: &[u8]| [&[18, payload.len() as u8, 0, 0, 0][..], payload].concat();
    let mut hole_alone = Vec::new();
    Message::from(hole(7)).encode(&mut hole_alone);
    assert_eq!(hole_alone, of_type_18(&[7]));
    for payload in [&[0][..], &[252, 1, 0, 16, 0], &[253, 0, 0, 0, 0, 0, 0, 0, 128]] {
        let mut peer = peer(&server);
        peer.offer(0, "file", 2 * MIB, None);
        assert_eq!(peer.asked(0), 0);
        peer.say(Body { seq: Seq(0), offset: 0 });
        peer.raw(&of_type_18(payload));
        assert_eq!(peer.thrown_out(), Code::Protocol, "{payload:?}");
    }
    // Where no body is open.
    let mut early = peer(&server);
    early.raw(&hole_alone);
    assert_eq!(early.thrown_out(), Code::Protocol);
    // From one that has not said that it knows them.
    let mut unaware = Peer::sending(&server);
    unaware.offer(0, "file", 7, None);
    assert_eq!(unaware.asked(0), 0);
    unaware.say(Body { seq: Seq(0), offset: 0 });
    unaware.raw(&hole_alone);
    assert_eq!(unaware.thrown_out(), Code::Protocol);
    assert_eq!(names(server.inbox()), [""; 0]);
    // And none is sent to such a one.
    let inbox = server.inbox().join("sparse");
    sparse(&inbox, 2 * MIB, &[]);
    let mut unaware = Peer::welcomed(&server);
    unaware.say(Request {
        id: 1,
        verb: Verb::Get(Get { paths: Vec::new(), digest: Algorithm::Sha256, wants: Wants::default() }),
    });
    let Message::Offer(offer) = unaware.message() else { panic!("no offer") };
    let answer = Answer::Send { offset: 0, prefix: None };
    unaware.say(Verdict { seq: offer.seq, answer });
    let mut bytes = 0;
    loop {
        match unaware.hear() {
            Some(Frame::Chunk(chunk)) => bytes += chunk.len() as u64,
            Some(Frame::Control(Message::End(_))) => break,
            Some(Frame::Control(Message::Hole(_))) => panic!("a hole that nobody can know"),
            Some(_) => {}
            None => panic!("the stream has ended"),
        }
    }
    assert_eq!(bytes, 2 * MIB);
}
