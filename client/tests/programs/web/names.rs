//! Names, by every way in that a URL or an upload has: odd ones arrive, dangerous ones do not.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

use crate::support::{Server, Visitor, make_fifo, web::file};

/// Every way to ask for what a path names.
const READING: [&str; 4] = ["/files", "/list", "/thumbs", "/facts"];

fn started() -> (Server, Visitor) {
    let server = Server::setup().web().start();
    let visitor = Visitor::signed_in(&server);
    (server, visitor)
}

#[test]
fn hostile_01_hostile_03_names_that_lead_elsewhere_are_refused_by_every_way_in() {
    let (server, visitor) = started();
    fs::write(server.beside().join("outside"), "outside").unwrap();
    let long = "x".repeat(256);
    let deep = ["x"; 1000].join("/");
    let names = [
        "../outside",
        "a/../../outside",
        "/etc/passwd",
        "a//b",
        "./a",
        "a/.",
        "a/",
        "..",
        ".",
        "a\0b",
        "\0",
        &long,
        &deep,
        ".ferry/x",
        ".FERRY/x",
        ".Ferry",
        ".ferry/catalogue.db",
        ".ferry/staging/x",
        ".ferry/identity.key",
        ".ferry/web.pem",
        ".ferry",
    ];
    for name in names {
        visitor.put(name, "x").refuses(400, "bad-name");
        for way in READING {
            visitor.get(&file(name).replacen("/files", way, 1)).refuses(400, "bad-name");
        }
        visitor.ask("HEAD", &file(name)).send().status(400);
        visitor.create(name, 1, "").send().refuses(400, "bad-name");
        let create = visitor.create(name, 1, "").header("Content-Type", "application/offset+octet-stream");
        create.body("x").send().refuses(400, "bad-name");
        let known = serde_json::json!({ "files": [{ "name": name, "size": 7 }] });
        let reply = visitor.ask("POST", "/known").body(known.to_string()).send().status(200);
        assert_eq!(reply.json()["may_be_here"][0], false, "{name:?}");
    }
    // As they are, where a browser would have made something else of them.
    for target in [
        "/files/../outside",
        "/files/a/../../outside",
        "/files/./a",
        "/files//etc/passwd",
        "/files/a//b",
        "/files/%2e%2e/outside",
        "/files/.%2e/outside",
        "/files/%2E%2E/%2E%2E/outside",
        "/files/%2eferry/x",
        "/files/a%00b",
        "/files/..%2foutside",
        "/files/a%2fb",
        "/files/a%",
        "/files/%zz",
        "/files/a%2",
    ] {
        for way in READING {
            visitor.get(&target.replacen("/files", way, 1)).refuses(400, "bad-name");
        }
        visitor.ask("PUT", target).body("x").send().refuses(400, "bad-name");
    }
    for target in
        ["/files", "/files/", "/filesystem", "/files%2fa", "/../files/a", "//files/a", "/x/../files/a"]
    {
        let reply = visitor.ask("PUT", target).body("x").send();
        assert_eq!(reply.status, 404, "{target}: {reply:?}");
        visitor.get(target).status(404);
    }
    // The whole of a URL where its path should be, and a host that it is not for.
    let absolute = format!("https://{}/files/../outside", server.web());
    visitor.ask("PUT", &absolute).body("x").send().refuses(400, "bad-name");
    assert_eq!(server.names(), [""; 0]);
    assert_eq!(fs::read(server.beside().join("outside")).unwrap(), b"outside");
    assert_eq!(server.staged(), []);
}

#[test]
fn hostile_02_odd_names_are_honest_and_stay_what_they_are() {
    let (server, visitor) = started();
    let full = "y".repeat(255);
    let names: Vec<&[u8]> = vec![
        b"%2e%2e",
        b"%2f",
        b"%252e",
        b"a%00b",
        "caf\u{e9}".as_bytes(),
        "cafe\u{301}".as_bytes(),
        b"\xc0\xae\xc0\xae",
        b"\xc0\xaf",
        b"caf\xe9",
        b"\xff\xfe",
        "\u{2024}\u{2024}".as_bytes(),
        "\u{ff0e}\u{ff0e}".as_bytes(),
        "..\u{2215}x".as_bytes(),
        b"a\\..\\b",
        b"C:x",
        b"aux.h",
        b"trailing.",
        b"trailing ",
        b" leading",
        b"...",
        b"..x",
        b"-rf",
        b"a+b&c=d;e#f?g",
        b"\x1b[31mred\x07",
        b"new\nline\r\n",
        "\u{202e}gpj.exe".as_bytes(),
        b"<script>alert(1)</script>",
        b"quote\"s'",
        full.as_bytes(),
        b"x/.ferry",
        b"*",
        b"~",
        b"$(id)",
        b"a,b",
    ];
    for (number, name) in names.iter().enumerate() {
        let bytes = format!("content {number}");
        let path = server.inbox().join(OsStr::from_bytes(name));
        visitor.put(name, &bytes).status(201).has_receipt("sent", name, bytes.as_bytes());
        assert_eq!(fs::read(&path).unwrap(), bytes.as_bytes());
        let reply = visitor.get(&file(name)).status(200);
        assert_eq!(reply.body, bytes.as_bytes());
        visitor.get(&file(name).replacen("/files", "/facts", 1)).status(200);
        visitor.get(&file(name).replacen("/files", "/thumbs", 1)).status(404);
        // What is said of it are letters that a header may have, and the name in a form that comes back.
        let disposition = reply.header("content-disposition").unwrap();
        assert!(disposition.bytes().all(|b| (0x20..0x7f).contains(&b)), "{disposition}");
        let plain = disposition.split("filename=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(!plain.contains(['\\', '%', '<']), "{disposition}");
        let last = name.rsplit(|&b| b == b'/').next().unwrap();
        let encoded = file(last).to_uppercase();
        let encoded = encoded.strip_prefix("/FILES/").unwrap();
        let told = disposition.split("filename*=UTF-8''").nth(1).unwrap().to_uppercase();
        assert_eq!(told, encoded);
        // So does its folder's list, which is text in JSON and nothing that could be run.
        let folder = name
            .iter()
            .rposition(|&b| b == b'/')
            .map_or(String::new(), |end| file(&name[..end]).replacen("/files", "", 1));
        let reply =
            visitor.get(&format!("/list{folder}")).status(200).has("content-type", "application/json");
        assert!(!reply.body.iter().any(|&b| b < 0x20), "{reply:?}");
        let listed = reply.json()["files"].as_array().unwrap().clone();
        let url = |listed: &serde_json::Value| listed["url"].as_str().unwrap().to_uppercase();
        assert!(listed.iter().any(|listed| url(listed) == encoded), "{listed:?}");
        fs::remove_file(&path).unwrap();
        // And by the other way in.
        let upload = visitor.created(name, bytes.len() as u64);
        visitor.part(&upload, 0, &bytes).send().status(204).has_receipt("sent", name, bytes.as_bytes());
        assert_eq!(fs::read(&path).unwrap(), bytes.as_bytes());
    }
    // Two of them are in folders.
    let found = crate::support::names(server.inbox()).len();
    assert_eq!(found, names.len() + 2, "twins stay two names: {:?}", server.names());
    let log = server.log();
    assert!(!log.contains('\x1b') && !log.contains('\u{202e}') && !log.contains('\x07'), "{log}");
}

#[test]
fn hostile_06_no_link_in_the_inbox_leads_a_request_out_of_it() {
    let (server, visitor) = started();
    let (inbox, outside) = (server.inbox(), server.beside().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    fs::write(inbox.join("file"), "inside").unwrap();
    symlink(&outside, inbox.join("away")).unwrap();
    symlink("../outside", inbox.join("up")).unwrap();
    symlink("../outside/file", inbox.join("link")).unwrap();
    symlink("file", inbox.join("within")).unwrap();
    symlink("nowhere", inbox.join("dangling")).unwrap();
    symlink("loop", inbox.join("loop")).unwrap();
    for name in ["away/file", "up/file", "link", "within", "dangling", "loop", "loop/x", "away"] {
        for way in READING {
            let reply = visitor.get(&file(name).replacen("/files", way, 1));
            assert_eq!(reply.status, 404, "{name}: {reply:?}");
        }
    }
    let listed = visitor.get("/list").status(200).json();
    assert_eq!(listed["folders"], serde_json::json!([]));
    assert_eq!(listed["files"].as_array().unwrap().len(), 1, "a link is listed: {listed}");
    for name in ["away/new", "up/file", "up/new", "loop/x", "dangling/x"] {
        let reply = visitor.put(name, "x");
        assert!(reply.status == 409 || reply.status == 400, "{name}: {reply:?}");
        let reply = visitor.create(name, 1, "").send();
        let status = match reply.header("location") {
            Some(upload) => visitor.part(upload, 0, "x").send().status,
            None => reply.status,
        };
        assert!(status == 409 || status == 400, "{name}: {status}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"outside");
    assert_eq!(server.staged(), []);
}

/// A folder that becomes a link and a folder again, while files are put below it and read from it.
#[test]
fn hostile_06_a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere() {
    let (server, visitor) = started();
    let (inbox, outside) = (server.inbox(), server.beside().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("there"), "outside").unwrap();
    fs::create_dir(inbox.join("folder")).unwrap();
    fs::write(inbox.join("folder/there"), "inside").unwrap();
    symlink(&outside, inbox.join("link")).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let (folder, link) = (inbox.join("folder"), inbox.join("link"));
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                use rustix::fs::{CWD, RenameFlags, renameat_with};
                renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let replies: Vec<_> = (0..200)
            .flat_map(|number| {
                [visitor.get("/files/folder/there"), visitor.put(format!("folder/file-{number}"), "x")]
            })
            .collect();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        for reply in replies {
            assert!(reply.status != 200 || reply.body == b"inside", "{reply:?}");
        }
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn hostile_07_what_is_no_file_is_not_read_and_holds_nobody_up() {
    let (server, visitor) = started();
    make_fifo(server.inbox().join("fifo"));
    fs::create_dir(server.inbox().join("folder")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(server.inbox().join("socket")).unwrap();
    for name in ["fifo", "folder", "socket"] {
        for way in ["/files", "/thumbs", "/facts"] {
            visitor.get(&file(name).replacen("/files", way, 1)).status(404);
        }
        visitor.put(name, "x").refuses(409, "kind-conflict");
        let known = serde_json::json!({ "files": [{ "name": name, "size": 0 }] });
        visitor.ask("POST", "/known").body(known.to_string()).send().status(200);
    }
    for name in ["fifo/x", "socket/x"] {
        let reply = visitor.put(name, "x");
        assert!(reply.status == 409 || reply.status == 400, "{reply:?}");
    }
    visitor.put("file", "x").status(201);
    assert_eq!(server.names(), ["fifo", "file", "folder", "socket"]);
}

/// A file that takes the place of another one while that is sent is not written over.
#[test]
fn hostile_23_two_that_send_one_name_leave_two_whole_files() {
    let (server, visitor) = started();
    let other = Visitor::signed_in(&server);
    let slow = visitor.ask("PUT", "/files/name").header("Expect", "100-continue").length(6);
    let mut slow = slow.begin();
    assert_eq!(slow.head().unwrap().status, 100);
    let upload = other.created("name", 6);
    other.part(&upload, 0, "123").send().status(204);
    other.put("name", "other").status(201).has_receipt("sent", "name", b"other");
    slow.say("abcdef").unwrap();
    slow.reply().unwrap().status(201).has_receipt("sent", "name (2)", b"abcdef");
    other.part(&upload, 3, "456").send().status(204).has_receipt("sent", "name (3)", b"123456");
    let read = |name: &str| fs::read(Path::new(server.inbox()).join(name)).unwrap();
    assert_eq!(
        (read("name"), read("name (2)"), read("name (3)")),
        (b"other".to_vec(), b"abcdef".to_vec(), b"123456".to_vec())
    );
}

#[test]
fn what_may_be_here_is_told_by_name_and_size() {
    let (server, visitor) = started();
    visitor.put("a/b.jpg", "12345").status(201);
    visitor.put("a/b.jpg", "123").status(201);
    let ask = |files: serde_json::Value| {
        visitor.ask("POST", "/known").body(serde_json::json!({ "files": files }).to_string()).send()
    };
    let file = |name: &str, size: i64| serde_json::json!({ "name": name, "size": size });
    let reply = ask(serde_json::json!([
        file("a/b.jpg", 5),
        file("a/b.jpg", 3),
        file("a/b.jpg", 4),
        file("a/c.jpg", 5),
        file("a", 5)
    ]));
    assert_eq!(reply.status(200).json()["may_be_here"], serde_json::json!([true, true, false, false, false]));
    assert_eq!(ask(serde_json::json!([])).status(200).json()["may_be_here"], serde_json::json!([]));
    ask(vec![file("a", 1); 1000].into()).status(200);
    ask(vec![file("a", 1); 1001].into()).refuses(400, "protocol");
    ask(serde_json::json!([file("a", -1)])).refuses(400, "protocol");
    for body in ["", "[]", "{\"files\":[{\"name\":\"x\"}]}", "{\"files\":{}}"] {
        visitor.ask("POST", "/known").body(body).send().refuses(400, "protocol");
    }
    visitor.get("/known").status(405);
    assert_eq!(server.names(), ["a", "a/b (2).jpg", "a/b.jpg"], "to ask changes nothing");
}
