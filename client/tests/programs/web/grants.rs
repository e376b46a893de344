//! What a grant allows is allowed by every way in, and nothing else.

use std::{fs, os::unix::fs::symlink};

use serde_json::json;

use crate::support::{Reply, Server, Visitor, digest_header, noise, web::file};

type Way = fn(&Visitor, &str, &[u8]) -> Reply;

/// Every way to send a file under a name.
const WAYS: [Way; 6] = [
    |visitor, name, bytes| visitor.put(name, bytes),
    |visitor, name, bytes| {
        visitor.ask("PUT", &file(name)).header("Repr-Digest", digest_header(bytes)).body(bytes).send()
    },
    |visitor, name, bytes| visitor.ask("PUT", &file(name)).header("If-None-Match", "*").body(bytes).send(),
    |visitor, name, bytes| {
        let ask = visitor.ask("PUT", &file(name)).header("Transfer-Encoding", "chunked");
        ask.body([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n0\r\n\r\n"].concat()).send()
    },
    |visitor, name, bytes| {
        let created = visitor.create(name, bytes.len() as u64, "").send();
        match created.header("location") {
            Some(upload) => visitor.part(upload, 0, bytes).send(),
            None => created,
        }
    },
    |visitor, name, bytes| {
        let create = visitor.create(name, bytes.len() as u64, "");
        create.header("Content-Type", "application/offset+octet-stream").body(bytes).send()
    },
];

fn server() -> Server {
    Server::setup().web().start()
}

#[test]
fn hostile_15_a_grant_for_one_folder_is_for_no_other() {
    let server = server();
    fs::write(server.inbox().join("secret"), "secret").unwrap();
    let visitor = Visitor::granted(&server, &["--path", "photos/phone"]);
    assert_eq!(visitor.get("/session").status(200).json()["folder"], "photos/phone");
    for (number, way) in WAYS.iter().enumerate() {
        let (name, bytes) = (format!("{number}/file"), format!("content {number}"));
        let reply = way(&visitor, &name, bytes.as_bytes());
        assert!(reply.status / 100 == 2, "{reply:?}");
        // Names are told as the client knows them.
        reply.has_receipt("sent", &name, bytes.as_bytes());
        assert_eq!(fs::read(server.inbox().join("photos/phone").join(&name)).unwrap(), bytes.as_bytes());
        visitor.get(&file(&name)).status(200);
        for name in ["../secret", "../../secret", "/secret", "x/../../../secret"] {
            way(&visitor, name, b"changed").refuses(400, "bad-name");
        }
    }
    for name in ["secret", "photos/phone/0/file"] {
        for way in ["/files", "/list", "/thumbs", "/facts"] {
            visitor.get(&file(name).replacen("/files", way, 1)).status(404);
        }
        let known = format!("{{\"files\":[{{\"name\":\"{name}\",\"size\":6}}]}}");
        let reply = visitor.ask("POST", "/known").body(known).send().status(200);
        assert_eq!(reply.json()["may_be_here"][0], false);
    }
    let listed = visitor.get("/list").status(200).json();
    assert_eq!((listed["folders"].as_array().unwrap().len(), &listed["files"]), (WAYS.len(), &json!([])));
    for target in ["/../secret", "/../../secret", "/%2e%2e/%2e%2e/secret", "//secret", "/.."] {
        for way in ["/files", "/list", "/thumbs", "/facts"] {
            visitor.get(&format!("{way}{target}")).refuses(400, "bad-name");
        }
    }
    assert_eq!(fs::read(server.inbox().join("secret")).unwrap(), b"secret");
    // A link that leads out of it is no way out.
    symlink("../..", server.inbox().join("photos/phone/out")).unwrap();
    for way in ["/files", "/list", "/thumbs", "/facts"] {
        visitor.get(&format!("{way}/out/secret")).status(404);
    }
    visitor.get("/list/out").status(404);
    for way in WAYS {
        let reply = way(&visitor, "out/new", b"x");
        assert!(reply.status >= 400, "{reply:?}");
    }
    assert!(!server.inbox().join("new").exists());
    assert_eq!(server.staged(), []);
}

#[test]
fn hostile_15_who_may_only_put_or_only_get_does_nothing_else() {
    let server = server();
    fs::write(server.inbox().join("there"), "content").unwrap();
    let putter = Visitor::granted(&server, &["--can", "put"]);
    putter.get("/files/there").refuses(403, "not-allowed");
    putter.ask("HEAD", "/files/there").send().status(403);
    for target in ["/list", "/list/there", "/thumbs/there", "/facts/there"] {
        putter.get(target).refuses(403, "not-allowed");
    }
    let lister = Visitor::granted(&server, &["--can", "list"]);
    lister.get("/list").status(200);
    for target in ["/files/there", "/thumbs/there", "/facts/there"] {
        lister.get(target).refuses(403, "not-allowed");
    }
    let getter = Visitor::granted(&server, &["--can", "get"]);
    for way in WAYS {
        way(&getter, "new", b"x").refuses(403, "not-allowed");
        way(&getter, "there", b"x").refuses(403, "not-allowed");
    }
    getter
        .ask("POST", "/known")
        .body("{\"files\":[{\"name\":\"there\",\"size\":7}]}")
        .send()
        .refuses(403, "not-allowed");
    let upload = putter.created("upload", 3);
    getter.part(&upload, 0, "abc").send().refuses(403, "not-allowed");
    getter.tus("HEAD", &upload).send().status(403);
    getter.tus("DELETE", &upload).send().refuses(403, "not-allowed");
    getter.get("/files/there").status(200);
    putter.part(&upload, 0, "abc").send().status(204);
    assert_eq!(server.names(), ["there", "upload"]);
}

/// Nobody overwrites by the web; whether a grant would allow it makes no difference.
#[test]
fn hostile_15_what_is_there_is_not_overwritten_by_any_route() {
    for flags in [&["--no-overwrite"][..], &[]] {
        let server = server();
        let visitor = Visitor::granted(&server, flags);
        fs::write(server.inbox().join("file"), "theirs").unwrap();
        fs::create_dir(server.inbox().join("folder")).unwrap();
        symlink("file", server.inbox().join("link")).unwrap();
        for (number, way) in WAYS.iter().enumerate() {
            for name in ["file", "link"] {
                let reply = way(&visitor, name, format!("other {number}").as_bytes());
                assert!(reply.status == 412 || reply.status / 100 == 2, "{name}: {reply:?}");
                if let Some(location) = reply.header("content-location") {
                    assert_ne!(location, file(name));
                }
            }
            way(&visitor, "folder", b"x").refuses(409, "kind-conflict");
            let reply = way(&visitor, "file/below", b"x");
            assert!(reply.status == 409 || reply.status == 400, "{reply:?}");
        }
        assert_eq!(fs::read(server.inbox().join("file")).unwrap(), b"theirs");
        assert_eq!(fs::read_link(server.inbox().join("link")).unwrap().to_str(), Some("file"));
        assert!(server.inbox().join("folder").is_dir());
        assert_eq!(server.staged(), []);
    }
}

#[test]
fn hostile_15_a_quota_is_kept_to_the_byte_by_every_route() {
    for way in WAYS {
        let server = server();
        let visitor = Visitor::granted(&server, &["--quota", "1000"]);
        way(&visitor, "much", &noise(1001, 1)).refuses(507, "quota-exceeded");
        let reply = way(&visitor, "one", &noise(600, 2));
        assert!(reply.status / 100 == 2, "{reply:?}");
        way(&visitor, "two", &noise(401, 3)).refuses(507, "quota-exceeded");
        let reply = way(&visitor, "three", &noise(400, 4));
        assert!(reply.status / 100 == 2, "exactly the quota fits: {reply:?}");
        way(&visitor, "four", &noise(1, 5)).refuses(507, "quota-exceeded");
        let told = visitor.get("/session").json();
        assert_eq!((&told["quota"], &told["held"]), (&1000.into(), &1000.into()));
        assert!(told["max_file"].is_null(), "nothing is set: {told}");
        assert_eq!(server.names(), ["one", "three"]);
        assert_eq!(server.staged(), []);
    }
}

#[test]
fn hostile_15_many_parallel_uploads_get_no_more_than_the_quota() {
    const SIZE: usize = 10_000;
    let server = server();
    let visitor = Visitor::granted(&server, &["--quota", &(10 * SIZE).to_string()]);
    let statuses: Vec<u16> = std::thread::scope(|threads| {
        let send = |number: usize| {
            WAYS[number % WAYS.len()](&visitor, &format!("file-{number}"), &noise(SIZE, number as u64)).status
        };
        let sent: Vec<_> = (0..60).map(|number| threads.spawn(move || send(number))).collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    });
    let (stored, refused): (Vec<u16>, Vec<u16>) = statuses.into_iter().partition(|status| status / 100 == 2);
    assert!(refused.iter().all(|&status| status == 507), "{refused:?}");
    assert_eq!(server.names().len(), stored.len());
    assert!(stored.len() <= 10, "{} were stored", stored.len());
    // What was reserved for the others is free again.
    for number in stored.len()..10 {
        visitor.put(format!("more-{number}"), noise(SIZE, 100 + number as u64)).status(201);
    }
    visitor.put("one more", "x").refuses(507, "quota-exceeded");
    assert_eq!(server.names().len(), 10);
    assert_eq!(server.staged(), []);
}

#[test]
fn hostile_09_no_file_is_larger_than_the_largest_by_any_route() {
    let server = Server::setup().web().args(["--max-file", "1000"]).start();
    let visitor = Visitor::signed_in(&server);
    assert_eq!(visitor.get("/session").json()["max_file"], 1000);
    let options = visitor.ask("OPTIONS", "/uploads").send().status(204);
    assert_eq!(options.number("tus-max-size"), 1000);
    for (number, way) in WAYS.iter().enumerate() {
        way(&visitor, "large", &noise(1001, 1)).refuses(413, "too-large");
        let reply = way(&visitor, &format!("file-{number}"), &noise(1000, number as u64));
        assert!(reply.status / 100 == 2, "{reply:?}");
    }
    assert_eq!(server.names().len(), WAYS.len());
    assert_eq!(server.staged(), []);
}
