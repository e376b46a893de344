//! Files that come back: whole, in parts, not at all where they are known, and never run.

use std::{fs, os::unix::fs::MetadataExt};

use crate::support::{Server, Visitor, digest_header, eventually, noise, set_modified, web::file};

use super::MIB;

fn started() -> (Server, Visitor) {
    let server = Server::setup().web().start();
    let visitor = Visitor::signed_in(&server);
    (server, visitor)
}

#[test]
fn a_file_comes_back_with_its_digest_as_its_tag() {
    let (server, visitor) = started();
    let bytes = noise(3 * MIB, 1);
    visitor.put("a/photo.jpg", &bytes).status(201);
    let reply = visitor.get("/files/a/photo.jpg").status(200);
    assert!(reply.body == bytes);
    let hex = ferry_proto::Algorithm::Sha256.digest(&bytes).hex();
    let tag = format!("\"{hex}\"");
    let reply =
        reply.has("etag", &tag).has("repr-digest", &digest_header(&bytes)).has("accept-ranges", "bytes");
    let reply = reply.has("content-type", "image/jpeg").has("cache-control", "private, no-cache");
    assert!(reply.header("last-modified").unwrap().ends_with(" GMT"));
    assert_eq!(reply.number("content-length"), bytes.len() as u64);
    let head = visitor.ask("HEAD", "/files/a/photo.jpg").send().status(200).has("etag", &tag);
    assert_eq!((head.number("content-length"), head.body.len()), (bytes.len() as u64, 0));
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let ask = |method| visitor.ask(method, "/files/a/photo.jpg").header("If-None-Match", &known).send();
        assert!(ask("GET").status(304).has("etag", &tag).body.is_empty());
        ask("HEAD").status(304);
    }
    visitor.ask("GET", "/files/a/photo.jpg").header("If-None-Match", "\"x\"").send().status(200);

    // What its owner has changed has another tag, and its old digest proves nothing.
    fs::write(server.inbox().join("a/photo.jpg"), "other").unwrap();
    let reply = visitor.ask("GET", "/files/a/photo.jpg").header("If-None-Match", &tag).send().status(200);
    assert_eq!(reply.body, b"other");
    assert_eq!(reply.header("repr-digest"), None);
    let weak = reply.header("etag").unwrap().to_owned();
    assert!(weak.starts_with("W/\""), "{weak}");
    visitor.ask("GET", "/files/a/photo.jpg").header("If-None-Match", &weak).send().status(304);
    fs::write(server.inbox().join("a/photo.jpg"), "again").unwrap();
    visitor.ask("GET", "/files/a/photo.jpg").header("If-None-Match", &weak).send().status(200);
}

#[test]
fn hostile_09_parts_of_a_file_are_those_that_were_asked_for() {
    let (_server, visitor) = started();
    let bytes = noise(1000, 1);
    visitor.put("file", &bytes).status(201);
    let get = |range: &str| visitor.ask("GET", "/files/file").header("Range", range).send();
    for (range, first, last) in [
        ("bytes=0-9", 0, 9),
        ("bytes=10-", 10, 999),
        ("bytes=-10", 990, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=990-5000", 990, 999),
        ("bytes=999-99999999999999999999999999", 999, 999),
    ] {
        let reply = get(range).status(206);
        assert_eq!(reply.header("content-range"), Some(&*format!("bytes {first}-{last}/1000")));
        assert!(reply.body == bytes[first..=last], "{range}");
    }
    for range in ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=18446744073709551615-"] {
        assert_eq!(get(range).status(416).header("content-range"), Some("bytes */1000"), "{range}");
    }
    for range in ["bytes=5-4", "bytes=a-b", "bytes=0-1,5-6", "items=0-1", "bytes=--1", "bytes=0x1-2", ""] {
        assert!(get(range).status(200).body == bytes, "{range}");
    }
    let reply = visitor.get("/files/file");
    let tag = reply.header("etag").unwrap();
    for (condition, status) in
        [(tag, 206), ("\"x\"", 200), (&*format!("W/{tag}"), 200), ("Thu, 01 Jan 1970 00:00:00 GMT", 200)]
    {
        let ask =
            visitor.ask("GET", "/files/file").header("Range", "bytes=0-9").header("If-Range", condition);
        ask.send().status(status);
    }
    visitor.put("empty", "").status(201);
    let ask = visitor.ask("GET", "/files/empty").header("Range", "bytes=0-");
    ask.send().status(416);
    assert!(visitor.get("/files/empty").status(200).body.is_empty());
    let head = visitor.ask("HEAD", "/files/file").header("Range", "bytes=0-9").send();
    assert!([200, 206].contains(&head.status), "{head:?}");
}

#[test]
fn hostile_05_nothing_that_was_uploaded_is_run_by_a_browser() {
    let (_server, visitor) = started();
    let html = b"<html><script>alert(document.cookie)</script>";
    let names = [
        "a.html",
        "a.HTM",
        "a.svg",
        "a.xhtml",
        "a.xml",
        "a.js",
        "a.mjs",
        "a.css",
        "a.pdf",
        "a",
        "a.jpg.html",
        "a.",
        "a.html.",
        "a.swf",
        "a.wasm",
        "a.jpg",
        "a.png",
        "a.txt",
        "a.mp4",
        "b.html;.jpg",
        "b\0.jpg",
    ];
    for name in names.iter().filter(|name| !name.contains('\0')) {
        visitor.put(name, html).status(201);
        for target in [file(name), format!("{}?download", file(name))] {
            let reply = visitor.get(&target).status(200).has("x-content-type-options", "nosniff");
            let policy = reply.header("content-security-policy").unwrap();
            assert!(policy.contains("sandbox") && !policy.contains("allow"), "{policy}");
            assert!(policy.contains("default-src 'none'"), "{policy}");
            let (kind, disposition) =
                (reply.header("content-type").unwrap(), reply.header("content-disposition").unwrap());
            let is_picture = ["image/", "video/", "text/plain"].iter().any(|shown| kind.starts_with(shown));
            let is_inline = disposition.starts_with("inline;");
            assert!(is_inline || disposition.starts_with("attachment;"), "{disposition}");
            assert_eq!(is_inline, is_picture && !target.contains('?'), "{name}: {kind}, {disposition}");
            assert!(
                !["html", "svg", "xml", "script", "css"].iter().any(|runs| kind.contains(runs)),
                "{kind}"
            );
        }
    }
    // Neither the page nor a refusal can be made to be anything else.
    for target in
        ["/", "/page/page.css", "/files/nothing%3Cscript%3E", "/%3Cscript%3E", "/files/%3Cscript%3E%zz"]
    {
        let reply = visitor.get(target).has("x-content-type-options", "nosniff");
        let policy = reply.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(part), "{target}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        assert!(
            reply.status == 200 || !String::from_utf8_lossy(&reply.body).contains("<script"),
            "{reply:?}"
        );
    }
}

#[test]
fn the_page_has_no_code_in_it_and_asks_nobody_else() {
    let (_server, visitor) = started();
    let page = visitor
        .ask("GET", "/")
        .without("Cookie")
        .send()
        .status(200)
        .has("content-type", "text/html; charset=utf-8");
    let tag = page.header("etag").unwrap().to_owned();
    visitor.ask("GET", "/").header("If-None-Match", tag).send().status(304);
    let text = String::from_utf8(page.body).unwrap();
    for inline in ["style=", "onclick", "onload", "javascript:", "http://", "https://", "<style"] {
        assert!(!text.contains(inline), "{inline} in the page");
    }
    for script in text.split("<script").skip(1) {
        let (tag, rest) = script.split_once('>').unwrap();
        assert!(tag.contains("src=") && rest.starts_with("</script>"), "{script}");
    }
    for name in ["", "..", "../http.rs", "%2e%2e/page.css", "nothing", "index.html/x"] {
        visitor.get(&format!("/page/{name}")).status(404);
    }
    visitor.ask("POST", "/").send().status(404);
}

#[test]
fn promise_1_what_changes_while_it_is_read_does_not_come_whole() {
    let (server, visitor) = started();
    let bytes = noise(64 * MIB, 1);
    visitor.put("file", &bytes).status(201);
    // Bytes and size are the same, and so is its time.
    let before = fs::metadata(server.inbox().join("file")).unwrap();
    let mut get = visitor.ask("GET", "/files/file").begin();
    assert_eq!(get.head().unwrap().status, 200);
    fs::write(server.inbox().join("file"), noise(64 * MIB, 2)).unwrap();
    set_modified(server.inbox().join("file"), before.mtime(), before.mtime_nsec());
    assert!(get.take(bytes.len()).is_err(), "a mix of two files came as one");
    server.logged(&["not given", "file=file"]);

    visitor.put("rotten", noise(MIB, 3)).status(201);
    server.rot(server.inbox().join("rotten"));
    let mut get = visitor.ask("GET", "/files/rotten").begin();
    assert_eq!(get.head().unwrap().status, 200);
    assert!(get.take(MIB).is_err(), "what has rotted came whole");
    // Nor is a part of it given by who knows that.
    server.ferryd(&["scrub"]).code(1);
    visitor.get("/files/rotten").status(500);
}

#[test]
fn damage_that_is_met_while_a_file_is_read_is_written_down_and_repaired_by_the_next_upload() {
    let server = Server::setup().web().start();
    let visitor = Visitor::granted(&server, &["--path", "theirs"]);
    let (bytes, there) = (noise(MIB, 1), server.inbox().join("theirs/photo.jpg"));
    let cut = || {
        let mut get = visitor.ask("GET", "/files/photo.jpg").begin();
        assert_eq!(get.head().unwrap().status, 200);
        assert!(get.take(MIB).is_err(), "what has rotted came whole");
        assert_eq!(server.findings(), [("theirs/photo.jpg".to_owned(), "rotted".to_owned())]);
    };
    let nothing_is_given = || {
        for target in ["/files/photo.jpg", "/thumbs/photo.jpg", "/facts/photo.jpg"] {
            visitor.get(target).refuses(500, "storage-failed");
        }
        visitor.ask("GET", "/files/photo.jpg").header("Range", "bytes=0-9").send().status(500);
    };
    visitor.put("photo.jpg", &bytes).status(201);
    server.rot(&there);
    // Of a part nothing can be proved.
    visitor.ask("GET", "/files/photo.jpg").header("Range", "bytes=1-").send().status(206);
    assert_eq!(server.findings(), []);
    cut();
    server.logged(&["ERROR", "it is damaged", "file=theirs/photo.jpg"]);
    nothing_is_given();
    let put = visitor.ask("PUT", "/files/photo.jpg").header("Repr-Digest", digest_header(&bytes));
    put.body(&bytes).send().status(201).has_receipt("sent", "photo.jpg", &bytes);
    assert_eq!(server.findings(), []);
    assert!(visitor.get("/files/photo.jpg").status(200).body == bytes);
    // It is not well because somebody has touched it.
    server.rot(&there);
    cut();
    set_modified(&there, 1_500_000_000, 0);
    nothing_is_given();
}

/// Places of readers come back, and others never wait for them.
#[test]
fn hostile_13_readers_that_stop_reading_hold_up_nobody_else() {
    let (server, visitor) = started();
    let other = Visitor::signed_in(&server);
    fs::write(server.inbox().join("large"), noise(32 * MIB, 1)).unwrap();
    fs::write(server.inbox().join("small"), "small").unwrap();
    let stalled: Vec<_> = (0..40).map(|_| visitor.ask("GET", "/files/large").begin()).collect();
    assert_eq!(other.get("/files/small").status(200).body, b"small");
    visitor.put("file", "x").status(201);
    let before = server.open_files();
    drop(stalled);
    eventually("closed files", || (server.open_files() + 30 < before).then_some(()));
    assert_eq!(visitor.get("/files/small").status(200).body, b"small");
}
