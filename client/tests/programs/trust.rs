//! Who is trusted with what, and how a run ends that reaches the wrong one, or none.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
};

use ferry_proto::Code;
use ferry_session::identity::Identity;

use crate::support::{Client, FakeServer, Peer, Proxy, Server, assert_same_file, hello, set_mode, write};

/// A file with a name and content that would be seen if they crossed.
fn secret(server: &Server) -> PathBuf {
    write(server.beside().join("a-secret-name"), "secret content ".repeat(100))
}

#[test]
fn hostile_16_a_man_in_the_middle_learns_nothing_and_is_refused() {
    let (server, other) = (Server::start(), Server::start());
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let file = secret(&server);
    client.send(&file).run().code(0);
    fs::remove_file(server.inbox().join("a-secret-name")).unwrap();

    proxy.lead_to(other.address());
    proxy.record();
    let connections = proxy.connections();
    client.send(&file).run().code(4).says("not the server that was paired with").says("Nothing was sent");
    assert_eq!(proxy.connections(), connections + 1, "no second try");
    other.logged(&["handshake failed"]);
    let log = other.log();
    assert!(!log.contains("connected") && !log.contains("hello"), "{log}");
    let said = proxy.recorded();
    assert!(!said.is_empty() && !said.windows(8).any(|window| window == b"a-secret"), "{said:?}");
    assert_eq!(other.names(), [""; 0]);

    // The right one, again.
    proxy.lead_to(server.address());
    client.send(&file).run().code(0);
    assert_same_file(&file, &server.inbox().join("a-secret-name"));
}

#[test]
fn hostile_16_at_pairing_too_the_key_of_the_link_counts() {
    let (server, other) = (Server::start(), Server::start());
    let link = server.invite_at(other.address());
    let client = Client::new();
    client.ferry("pair").arg(&link).run().code(4).says("not the server");
    client.ferry("send").arg(secret(&server)).args(["--to", &link]).run().code(4);
    assert_eq!(client.ferry("remotes").run().code(0).stdout(), "");
    let log = other.log();
    assert!(!log.contains("connected") && !log.contains("refused"), "{log}");
    // The invite was not spent.
    let (_, secret) = link.rsplit_once('/').unwrap();
    let whole = server.invite();
    let (head, _) = whole.rsplit_once('/').unwrap();
    client.pair(&format!("{head}/{secret}"));
}

#[test]
fn a_server_with_another_key_at_the_same_address_is_refused() {
    let mut server = Server::start();
    let client = Client::paired(&server);
    let file = secret(&server);
    server.kill();
    fs::remove_file(server.inbox().join(".ferry/identity.key")).unwrap();
    server.restart();
    server.logged(&["WARN", "the server's key was gone"]);
    client.send(&file).run().code(4).says("ferry remotes remove");
    assert_eq!(server.names(), [""; 0]);
    // Whoever knows better says so: a name never comes to mean another server by itself.
    client.ferry("pair").arg(server.invite()).args(["--as", "box"]).run().code(2).says("box");
    client.ferry("remotes").args(["remove", "box"]).run().code(0);
    client.pair(&server.invite());
    client.send(&file).run().code(0);
}

#[test]
fn hostile_15_an_unknown_client_is_told_so() {
    let server = Server::start();
    let client = Client::paired(&server);
    let file = secret(&server);
    fs::remove_file(client.home().join("identity.key")).unwrap();
    client.send(&file).run().code(4).says("does not know this client");
    server.logged(&["refused", "unknown client"]);
    assert_eq!(server.names(), [""; 0]);
    // It can ask for nothing.
    let mut peer = Peer::connect(&server, &Identity::generate());
    peer.say(hello(None));
    assert_eq!(peer.thrown_out(), Code::UnknownClient);
}

#[test]
fn hostile_15_an_invite_that_is_used_expired_or_made_up_lets_nobody_in() {
    let server = Server::start();
    let file = secret(&server);
    let used = server.invite();
    Client::new().pair(&used);
    let expired = server.expired_invite();
    let made_up = format!("{}AAAAAAAAAAAAAAAAAAAAAA", &used[..used.len() - 22]);
    for link in [&used, &expired, &made_up] {
        let client = Client::new();
        client.ferry("pair").arg(link).run().code(4).says("invite is not valid");
        client.ferry("send").arg(&file).args(["--to", link]).run().code(4).says("invite is not valid");
        assert_eq!(client.ferry("remotes").run().stdout(), "");
    }
    assert_eq!(server.names(), [""; 0]);
}

#[test]
fn hostile_17_the_secret_of_an_invite_is_in_no_log_and_no_error() {
    let server = Server::setup().env("FERRYD_LOG", "trace").start();
    let file = secret(&server);
    let (good, expired) = (server.invite(), server.expired_invite());
    let client = Client::new();
    let outcomes = [
        client.ferry("send").arg(&file).args(["--to", &good, "-v"]).run().code(0),
        client.ferry("pair").arg(&good).run().code(0),
        Client::new().ferry("pair").arg(&good).run().code(4),
        client.ferry("send").arg(server.beside().join("none")).args(["--to", &expired, "--json"]).run(),
        client.ferry("send").arg(&file).args([&good, "--to", &expired]).run().code(2),
    ];
    let told: String = outcomes.iter().map(|outcome| outcome.stdout() + &outcome.stderr()).collect();
    let config = fs::read_to_string(client.home().join("config.toml")).unwrap();
    for link in [good, expired] {
        let (_, secret) = link.rsplit_once('/').unwrap();
        assert!(!told.contains(secret) && !config.contains(secret), "{told}");
        assert!(!server.log().contains(secret), "{}", server.log());
    }
}

#[test]
fn hostile_17_keys_are_readable_for_their_owner_alone() {
    let server = Server::start();
    let client = Client::paired(&server);
    client.send(secret(&server)).run().code(0);
    let mode = |path: PathBuf| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o7777
    };
    let private = server.inbox().join(".ferry");
    assert_eq!(mode(client.home().join("identity.key")), 0o600);
    assert_eq!((mode(private.clone()), mode(private.join("identity.key"))), (0o700, 0o600));
    assert_eq!((mode(private.join("catalogue.db")), mode(private.join("staging"))), (0o600, 0o700));
    // A key that others could have read is not used.
    set_mode(client.home().join("identity.key"), 0o640);
    client.send(secret(&server)).run().code(6).says("chmod 600");
    set_mode(client.home().join("identity.key"), 0o600);
    // Nor is what others could have written about whom to trust.
    let config = client.home().join("config.toml");
    assert_eq!(mode(config.clone()), 0o600);
    set_mode(&config, 0o620);
    client.send(secret(&server)).run().code(6).says("config.toml").says("chmod go-w");
    set_mode(&config, 0o640);
    client.send(secret(&server)).run().code(0);
}

/// Something that listens and is no ferryd: it says this to everybody, and closes.
fn impostor(words: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut heard = [0; 16];
            let _ = stream.read(&mut heard);
            let _ = stream.write_all(words);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    address
}

#[test]
fn a_peer_that_does_not_prove_its_key_in_any_way_is_not_trusted() {
    let server = Server::start();
    let file = secret(&server);
    for words in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.9\r\n", &[0; 64], &[0xff; 64]]
    {
        let client = Client::new();
        let link = server.invite_at(impostor(words));
        client.ferry("pair").arg(&link).run().code(4).says("does not prove");
        client.ferry("send").arg(&file).args(["--to", &link]).run().code(4).says("Nothing was sent");
    }
}

#[test]
fn promise_5_a_client_without_tls_gets_nowhere() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let mut words = Vec::new();
    ferry_proto::Message::from(hello(None)).encode(&mut words);
    stream.write_all(&words).unwrap();
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    // A TLS alert at the most: record type 21, 7 bytes.
    assert!(heard.is_empty() || (heard[0] == 21 && heard.len() == 7), "{heard:?}");
    server.logged(&["handshake failed"]);
}

/// An address at which nobody listens: a port that was free a moment ago.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_server_that_is_not_there_is_told_from_one_that_is_not_trusted() {
    let mut server = Server::start();
    let client = Client::paired(&server);
    let file = secret(&server);
    let unreachable = [
        (server.invite_at(nobody()), "connection refused"),
        (server.invite_with(&["--host", "no-such-host.invalid:7117"]), "no-such-host.invalid"),
        // It takes the connection and closes it.
        (server.invite_at(closing()), "connection"),
    ];
    for (link, words) in unreachable {
        Client::new().ferry("pair").arg(&link).run().code(3).says(words);
        let send = Client::new().ferry("send").arg(&file).args(["--to", &link, "--retry", "0"]).run();
        let told = send.code(3).says(words);
        assert!(!told.stderr().contains("doctor"), "it knows paired servers alone: {told:?}");
    }
    server.kill();
    client.send(&file).args(["--retry", "1", "--json"]).run().code(3).says("trying again").says("refused");
    let told = client.send(&file).args(["--retry", "0", "-q"]).run().code(3).says("refused");
    let gets = client.ferry("get").arg("box:").arg(server.beside().join("back")).args(["--retry", "0"]).run();
    for told in [told, gets.code(3), client.ferry("ls").arg("box:").run().code(3)] {
        let told = told.says("; `ferry doctor box` looks for reasons\n");
        assert!(!told.stderr().contains("goes on"), "nothing had begun: {told:?}");
    }
}

fn closing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    address
}

#[test]
fn what_is_wrong_here_is_told_before_anything_is_sent() {
    let server = Server::start();
    let client = Client::paired(&server);
    let file = secret(&server);
    let link = server.invite();
    let with_home =
        |home: &str| client.ferry("send").arg(&file).args(["--to", &link]).env("FERRY_HOME", home).run();
    // Nobody can make a folder there, not even root.
    with_home("/dev/null/ferry").code(6).says("/dev/null/ferry");
    let damaged = server.beside().join("damaged");
    write(damaged.join("config.toml"), "remotes = 5");
    with_home(&damaged.display().to_string()).code(6).says("config.toml");
    let no_key = server.beside().join("no-key");
    set_mode(write(no_key.join("identity.key"), "no key"), 0o600);
    with_home(&no_key.display().to_string()).code(6).says("identity.key");
    client.send(&file).args(["--receipts", "/dev/null/receipts"]).run().code(6).says("/dev/null/receipts");
    assert_eq!(server.names(), [""; 0]);
    // A folder where the cache should be costs time only.
    let no_cache = Client::paired(&server);
    fs::create_dir(no_cache.home().join("digests.db")).unwrap();
    no_cache.send(&file).run().code(0).says("digests.db");
}

#[test]
fn hostile_05_what_a_server_says_is_inert_on_the_terminal() {
    let bad = "\x1b[2Jgo\u{202e}ne\r\nferry: all is well";
    let server = FakeServer::start(vec![Box::new(move |wire| {
        wire.message();
        wire.say(ferry_proto::Goodbye { code: Code::NotAllowed, detail: bad.to_owned() });
        wire.last_words();
    })]);
    let outcome = Client::new().ferry("pair").arg(server.invite()).run().code(4).says("go");
    assert!(!outcome.stderr().contains(['\x1b', '\r', '\u{202e}']), "{outcome:?}");
    assert_eq!(outcome.stderr().lines().count(), 1);
    server.finish();
}
