//! Whoever means harm, or takes their time: what they cost, and that others do not wait for them.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    thread::{scope, sleep},
    time::Duration,
};

use crate::{
    faults::Disk,
    support::{Line, Server, Visitor, digest, eventually, noise, run},
};

use super::MIB;

fn started() -> (Server, Visitor) {
    let server = Server::setup().web().start();
    let visitor = Visitor::signed_in(&server);
    (server, visitor)
}

/// Says this over a connection of its own; the status of the answer, if there is one.
fn said(server: &Server, request: impl AsRef<[u8]>) -> Option<u16> {
    let mut line = Line::to(server.web());
    let _ = line.say(request);
    line.reply().ok().map(|reply| reply.status)
}

#[test]
fn hostile_12_headers_without_end_are_refused_at_their_limit() {
    // Twice what it was seen to be.
    const MOST: u64 = 16 * MIB as u64;
    let (server, visitor) = started();
    let before = server.most_memory();
    let long = "x".repeat(MIB);
    let many: String = (0..10_000).map(|number| format!("X-{number}: x\r\n")).collect();
    for (request, expected) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), [414, 431]),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"), [431, 431]),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), [431, 431]),
        (format!("{long} / HTTP/1.1\r\nHost: x\r\n\r\n"), [431, 400]),
    ] {
        let status = said(&server, &request);
        // Who says more than is read hears of a reset, or of the reason.
        assert!(status.is_none_or(|status| expected.contains(&status)), "{status:?}");
    }
    // Without end, until the server has had enough.
    let mut line = Line::to(server.web());
    line.say("GET / HTTP/1.1\r\n").unwrap();
    let mut said = 0;
    while line.say(format!("X-{said}: {}\r\n", "y".repeat(1000))).is_ok() {
        said += 1;
        assert!(said < 100_000, "headers have no end");
    }
    let cost = server.most_memory() - before;
    assert!(cost <= MOST, "{cost} bytes");
    visitor.put("file", "x").status(201);
}

#[test]
fn hostile_12_what_is_no_http_ends_in_an_error_and_nothing_else() {
    let (server, visitor) = started();
    let host = "Host: x\r\n";
    for request in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET /\r\n\r\n".to_owned(),
        "\r\n\r\n\r\n".to_owned(),
        "\0\0\0\0".to_owned(),
        format!("GET / HTTP/1.1\r\n{host} folded: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}No colon\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}Na me: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}: x\r\n\r\n"),
        format!("G\u{e9}T / HTTP/1.1\r\n{host}\r\n"),
    ] {
        let mut line = Line::to(server.web());
        let _ = line.say(&request);
        // Half of a request is waited for.
        line.close();
        let status = line.reply().ok().map(|reply| reply.status);
        assert!(status.is_none_or(|status| status / 100 == 4 || status == 505), "{request:?}: {status:?}");
    }
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.web()).unwrap();
        let _ = stream.write_all(&[&[22, 3, 1, 0xff, 0xff][..], &noise(100_000, 1)].concat());
        let _ = stream.read_to_end(&mut Vec::new());
    }
    visitor.put("file", "x").status(201);
    assert!(!server.log().contains("panic"), "{}", server.log());
}

/// Each kind of target that a request can have, for whoever may do most.
#[test]
fn hostile_20_no_request_brings_about_a_panic() {
    let (server, _visitor) = started();
    let visitor = Visitor::with_token(&server, &[]);
    visitor.get("/session").status(200);
    let address = server.web();
    for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "X"] {
        for target in [
            "*",
            "/",
            "//",
            "/files",
            "/files/",
            "/uploads/",
            "/known/",
            "/session/",
            "/page",
            "/page/",
            "/?",
            "/files?x",
            "example.org:443",
            "http://",
            "http:/",
            "https://x",
            "https://x/files/a",
            "x",
            "?",
            "#",
            "/\u{e9}",
            "/files/\u{e9}/\u{202e}",
            "https://[::1]",
            "https://user:password@x/",
            "/files/%",
            &address.to_string(),
        ] {
            let mut line = visitor.tus(method, target).header("Upload-Length", "1").begin();
            let reply = line.reply_to(method == "HEAD");
            if let Ok(reply) = reply {
                assert_ne!(reply.status, 500, "{method} {target}: {reply:?}");
            }
        }
    }
    for (name, values) in [
        ("Range", ["bytes=", "bytes=-", "\u{fe}", "bytes=18446744073709551615-18446744073709551615"]),
        ("If-None-Match", ["", "\"", "\u{fe}", "W/"]),
        ("Repr-Digest", ["=", "sha-256", "sha-256=:", "\u{fe}"]),
        ("Cookie", ["=", ";", "__Host-ferry", "\u{fe}"]),
        ("Upload-Metadata", [",", " ", "a b c", "\u{fe}"]),
        ("Upload-Checksum", ["sha256", "sha256 ", " ", "\u{fe}"]),
        ("Origin", ["", "https://", "\u{fe}", "x"]),
        ("X-HTTP-Method-Override", ["", " ", "\u{fe}", "GET"]),
        ("Content-Length", ["", "+1", "1,1", "x"]),
        ("Expect", ["100-continue", "x", "", "\u{fe}"]),
    ] {
        for value in values {
            for (method, target) in
                [("GET", "/files/a"), ("PUT", "/files/a"), ("POST", "/uploads"), ("POST", "/session")]
            {
                let ask = visitor.tus(method, target).header("Upload-Length", "0").header(name, value);
                if let Ok(reply) = ask.begin().reply() {
                    assert_ne!(reply.status, 500, "{method} {target} {name}: {value:?}: {reply:?}");
                }
            }
        }
    }
    assert!(!server.log().contains("panic"), "{}", server.log());
}

#[test]
fn hostile_12_two_lengths_of_one_body_make_no_second_request() {
    let (server, visitor) = started();
    let hidden = "PUT /files/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n";
    let who = format!("Cookie: {}\r\nOrigin: https://x\r\n", visitor.credential());
    let hidden = format!("{hidden}{who}\r\nx");
    let request = |headers: &str, body: &str| {
        format!("PUT /files/outer HTTP/1.1\r\nHost: x\r\n{who}{headers}\r\n{body}")
    };
    for (headers, body) in [
        (
            format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", hidden.len() + 5),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", hidden.len() + 5),
            format!("0\r\n\r\n{hidden}"),
        ),
        (format!("Content-Length: 0\r\nContent-Length: {}\r\n", hidden.len()), hidden.clone()),
        (format!("Content-Length: {}, 0\r\n", hidden.len()), hidden.clone()),
        ("Transfer-Encoding: identity\r\n".to_owned(), hidden.clone()),
        ("Transfer-Encoding: chunked, identity\r\n".to_owned(), format!("0\r\n\r\n{hidden}")),
        ("Transfer-Encoding: xchunked\r\n".to_owned(), format!("0\r\n\r\n{hidden}")),
        ("Content-Length: -1\r\n".to_owned(), hidden.clone()),
        ("Content-Length: 18446744073709551616\r\n".to_owned(), hidden.clone()),
        ("Content-Length: 0x10\r\n".to_owned(), hidden.clone()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("ffffffffffffffffff\r\n{hidden}")),
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("-1\r\n{hidden}")),
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("0x1\r\nx\r\n0\r\n\r\n{hidden}")),
    ] {
        let mut line = Line::to(server.web());
        let _ = line.say(request(&headers, &body));
        line.close();
        let first = line.reply();
        let second = line.reply();
        let has_two = first.as_ref().is_ok_and(|reply| reply.status / 100 == 2) && second.is_ok();
        // What is a request of its own by RFC 9112 is one; what is in doubt ends the connection.
        assert!(
            !has_two || headers.starts_with("Transfer-Encoding: chunked\r\nContent"),
            "{headers}: {first:?}, {second:?}"
        );
    }
    // The two are no way past each other either: what is hidden behind one is at most what its own sender may say.
    let mut line = Line::to(server.web());
    let _ = line.say(request("Content-Length: 5\r\n", "12345") + &request("Content-Length: 5\r\n", "67890"));
    for _ in 0..2 {
        line.reply().unwrap().status(201);
    }
    assert!(!server.log().contains("panic"));
}

#[test]
fn requests_one_after_another_and_of_older_kinds_are_answered_in_order() {
    let (server, visitor) = started();
    visitor.put("a", "first").status(201);
    visitor.put("b", "second").status(201);
    let mut line = Line::to(server.web());
    let both = ["a", "b", "a"].map(|name| visitor.ask("GET", &format!("/files/{name}")).head()).concat();
    line.say(both).unwrap();
    let bodies: Vec<_> = (0..3).map(|_| line.reply().unwrap().body).collect();
    assert_eq!(bodies, [b"first".to_vec(), b"second".to_vec(), b"first".to_vec()]);
    // HTTP/1.0 closes behind its answer, and knows no chunks.
    let mut line = Line::to(server.web());
    line.say(format!("GET /files/a HTTP/1.0\r\nCookie: {}\r\n\r\n", visitor.credential())).unwrap();
    let reply = line.reply().unwrap().status(200);
    assert_eq!((reply.body.as_slice(), reply.header("transfer-encoding")), (&b"first"[..], None));
    line.ends();
    // A body behind a question that has none is no part of the next one.
    let mut line = visitor.ask("GET", "/files/a").length(3).body("xyz").begin();
    line.say(visitor.ask("GET", "/files/b").head()).unwrap();
    assert_eq!(line.reply().unwrap().body, b"first");
    if let Ok(reply) = line.reply() {
        assert_eq!(reply.body, b"second");
    }
}

#[test]
fn promise_5_in_the_clear_and_in_older_tls_nothing_is_said() {
    let (server, visitor) = started();
    let clear = |request: String| {
        let mut stream = TcpStream::connect(server.web()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    visitor.put("file", "secret").status(201);
    let cookie = visitor.credential();
    for target in ["/", "/files/file", "/session", "/page/page.css"] {
        let answer = clear(format!("GET {target} HTTP/1.1\r\nHost: nas:7118\r\nCookie: {cookie}\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
        assert!(answer.contains("location: https://nas:7118/\r\n"), "{answer}");
        assert!(!answer.contains("secret") && !answer.contains("set-cookie"), "{answer}");
    }
    let put = format!(
        "PUT /files/clear HTTP/1.1\r\nHost: nas\r\nCookie: {cookie}\r\nOrigin: https://nas\r\nContent-Length: 1\r\n\r\nx"
    );
    assert!(clear(put).starts_with("HTTP/1.1 308 "));
    for host in ["Host: evil\u{e9}\r\n", "Host: a/b\r\n", "Host: a b\r\n", "Host: a@b\r\n", "Host: \r\n", ""]
    {
        let answer = clear(format!("GET / HTTP/1.1\r\n{host}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("\nlocation"), "{host}: {answer}");
    }
    for version in ["-tls1_2", "-tls1_1"] {
        let mut command = Command::new("openssl");
        command.args(["s_client", version, "-connect", &server.web().to_string()]);
        assert_ne!(run(command).status.code(), Some(0), "{version}");
    }
    assert_eq!(server.names(), ["file"]);
}

/// The server's patience is a matter of a minute, so they all come at once.
#[test]
fn hostile_13_hostile_14_who_takes_their_time_loses_their_place() {
    let (server, visitor) = started();
    std::fs::File::create(server.inbox().join("large")).unwrap().set_len(1 << 30).unwrap();
    scope(|threads| {
        // Nothing at all.
        threads.spawn(|| {
            let mut stream = TcpStream::connect(server.web()).unwrap();
            assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
        });
        // A handshake, one byte a second.
        threads.spawn(|| {
            let mut stream = TcpStream::connect(server.web()).unwrap();
            for byte in [&[22, 3, 1, 1, 0][..], &[1; 250]].concat() {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                sleep(Duration::from_secs(1));
            }
            panic!("a handshake may take minutes");
        });
        // Encrypted, and not a word.
        threads.spawn(|| Line::to(server.web()).ends());
        // In the clear, half a request.
        threads.spawn(|| {
            let mut stream = TcpStream::connect(server.web()).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        // Headers, one byte a second, by somebody who is known.
        threads.spawn(|| {
            let mut line = visitor.ask("GET", "/session").begin();
            line.reply().unwrap().status(200);
            let head = visitor.ask("GET", "/session").header("X", "y".repeat(250)).head();
            let is_over = head.bytes().any(|byte| {
                sleep(Duration::from_secs(1));
                line.say([byte]).is_err()
            });
            assert!(is_over, "headers may take {} s", head.len());
        });
        // A body that stops.
        threads.spawn(|| {
            let mut line = visitor.ask("PUT", "/files/silent").length(10).body("abc").begin();
            line.reply().unwrap().refuses(408, "silent");
        });
        // An object that comes bit by bit.
        threads.spawn(|| {
            let mut line = visitor.ask("POST", "/known").length(1000).body("{").begin();
            line.reply().unwrap().refuses(408, "silent");
        });
        threads.spawn(|| {
            let upload = visitor.created("part", 10);
            let mut line = visitor.part(&upload, 0, "abc").length(10).begin();
            line.reply().unwrap().refuses(408, "silent");
            assert_eq!(visitor.offset(&upload), 3);
        });
        // A file that nobody reads: the system takes some of it, and that is all.
        threads.spawn(|| {
            let mut line = visitor.ask("GET", "/files/large").begin();
            assert_eq!(line.head().unwrap().status, 200);
            let large = server.inbox().join("large");
            eventually("the end of its place", || (!server.has_open(&large)).then_some(()));
            assert!(line.take(1 << 30).is_err());
        });
        threads.spawn(|| visitor.put("file", "x").status(201));
    });
    assert_eq!(server.names(), ["file", "large"]);
}

#[test]
fn hostile_10_connections_of_nobody_keep_nobody_out() {
    let server = Server::setup().web().args(["--max-connections", "20"]).start();
    let visitor = Visitor::signed_in(&server);
    let _silent: Vec<_> = (0..150).map(|_| TcpStream::connect(server.web()).unwrap()).collect();
    let _encrypted: Vec<_> = (0..150)
        .filter_map(|_| Line::with(server.web(), crate::support::web::config(&rustls::version::TLS13)).ok())
        .collect();
    visitor.put("file", "x").status(201);
    let _more: Vec<_> = (0..20).map(|_| TcpStream::connect(server.web()).unwrap()).collect();
    visitor.get("/files/file").status(200);
    assert!(server.open_files() < 100, "{}", server.open_files());
}

/// Whoever is known has so many, whatever it does with them.
#[test]
fn hostile_10_connections_of_one_client_have_a_limit() {
    let server = Server::setup().web().args(["--max-connections", "20"]).start();
    let visitor = Visitor::signed_in(&server);
    let mut kept = Vec::new();
    let mut refused = 0;
    for _ in 0..100 {
        let Ok(mut line) = Line::with(server.web(), crate::support::web::config(&rustls::version::TLS13))
        else {
            continue;
        };
        let _ = line.say(visitor.ask("GET", "/session").head());
        match line.reply() {
            Ok(reply) if reply.status == 503 => {
                assert_eq!(reply.header("retry-after"), Some("1"));
                refused += 1;
            }
            Ok(reply) => assert_eq!(reply.status, 200),
            Err(_) => refused += 1,
        }
        kept.push(line);
    }
    assert!(refused >= 80, "{refused} of 100");
    eventually("few connections", || (server.open_files() < 80).then_some(()));
    drop(kept);
    eventually("a place", || (visitor.put("file", "x").status == 201).then_some(()));
}

/// Bodies of many, of which little comes, take no room from others.
#[test]
fn hostile_13_bodies_that_take_their_time_hold_nobody_up() {
    let (server, visitor) = started();
    let other = Visitor::signed_in(&server);
    let _slow: Vec<_> = (0..100)
        .map(|number| {
            if number % 2 == 0 {
                return visitor
                    .ask("PUT", &format!("/files/slow-{number}"))
                    .length(1 << 30)
                    .body("x")
                    .begin();
            }
            let upload = visitor.created(format!("slow-{number}"), 1 << 30);
            visitor.part(&upload, 0, "x").length(1 << 30).begin()
        })
        .collect();
    let bytes = noise(8 * MIB, 1);
    other.put("file", &bytes).status(201).has_receipt("sent", "file", &bytes);
    visitor.put("own", &bytes).status(201);
    assert_eq!(server.names(), ["file", "own"]);
}

#[test]
fn hostile_13_downloads_that_crawl_keep_nobody_from_looking() {
    let server = Server::setup().web().start();
    // More of it than sockets take.
    let big = fs::File::create(server.inbox().join("big")).unwrap();
    big.set_len(256 * MIB as u64).unwrap();
    let slow = [Visitor::signed_in(&server), Visitor::with_token(&server, &[])];
    let mut lines = Vec::new();
    for visitor in &slow {
        // As many as one client may read at a time.
        for _ in 0..32 {
            let mut line = visitor.ask("GET", "/files/big").begin();
            assert_eq!(line.head().unwrap().status, 200);
            lines.push(line);
        }
    }
    let visitor = Visitor::granted(&server, &[]);
    visitor.get("/list").status(200);
    visitor.get("/facts/big").status(200);
    visitor.get("/thumbs/big").status(404);
    visitor.put("file", "x").status(201);
    drop(lines);
}

#[test]
fn hostile_19_a_disk_that_fills_in_the_middle_fails_what_does_not_fit_and_says_so() {
    let Some(disk) = Disk::mounted("size=64m") else { return };
    let server = disk.setup(Server::setup()).web().start();
    let visitor = disk.visitor(&server);
    let large = noise(100 * MIB, 1);
    let whole = visitor.ask("PUT", "/files/put").header("Transfer-Encoding", "chunked");
    let mut line = whole.begin();
    for chunk in large.chunks(MIB) {
        let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        if line.say(framed).is_err() {
            break;
        }
    }
    line.reply().unwrap().refuses(507, "storage-full");
    let upload = visitor.created("upload", large.len() as u64);
    let mut here = 0;
    let refused = loop {
        let reply = visitor.part(&upload, here as u64, &large[here..here + 5 * MIB]).send();
        if reply.status != 204 {
            break reply;
        }
        here += 5 * MIB;
    };
    refused.refuses(507, "storage-full");
    visitor.put("small", noise(MIB, 2)).status(201);
    let inbox = disk.inbox();
    assert_eq!(crate::support::names(&inbox), ["small"]);
    assert_eq!(std::fs::read_dir(inbox.join(".ferry/staging")).unwrap().count(), 0);
    disk.remount("size=192m");
    let here = visitor.offset(&upload) as usize;
    visitor.part(&upload, here as u64, &large[here..]).send().status(204);
    assert_eq!(digest(inbox.join("upload")), ferry_proto::Algorithm::Sha256.digest(&large));
}
