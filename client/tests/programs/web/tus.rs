//! Uploads that can be gone on with: tus 1.0.0.

use std::fs;

use ferry_proto::Algorithm;

use crate::support::{Plan, Proxy, Reply, Server, Visitor, base64, digest_header, eventually, noise};

use super::MIB;

const CHECKPOINT: usize = 32 * MIB;

fn started() -> (Server, Visitor) {
    let server = Server::setup().web().start();
    let visitor = Visitor::signed_in(&server);
    (server, visitor)
}

/// The checksum of a part.
fn checksum(bytes: &[u8]) -> String {
    format!("sha256 {}", base64(Algorithm::Sha256.digest(bytes).bytes()))
}

fn assert_holds(server: &Server, name: &str, bytes: &[u8]) {
    assert!(fs::read(server.inbox().join(name)).unwrap() == bytes, "{name}");
}

#[test]
fn what_can_be_done_is_told_to_anybody() {
    let (_server, visitor) = started();
    for target in ["/uploads", "/uploads/"] {
        let reply = visitor.ask("OPTIONS", target).without("Cookie").without("Origin").send().status(204);
        let reply = reply.has("tus-version", "1.0.0").has("tus-checksum-algorithm", "sha256");
        let extensions = reply.header("tus-extension").unwrap();
        assert_eq!(extensions, "creation,creation-with-upload,termination,expiration,checksum");
        assert!(reply.number("tus-max-size") > 0);
    }
}

#[test]
fn promise_2_an_upload_in_parts_is_there_when_its_last_part_is_answered() {
    let (mut server, visitor) = started();
    let bytes = noise(3 * MIB, 1);
    let reply =
        visitor.create("folder/a b.jpg", bytes.len() as u64, ",lastModified MTYwMDAwMDAwMDEyMw==").send();
    let reply = reply.status(201).has("tus-resumable", "1.0.0");
    assert!(reply.header("upload-expires").unwrap().ends_with(" GMT"));
    assert_eq!(reply.number("upload-offset"), 0);
    let upload = reply.header("location").unwrap().to_owned();
    assert!(upload.starts_with("/uploads/"), "{upload}");
    for (part, start) in bytes.chunks(MIB).zip((0..).step_by(MIB)) {
        assert_eq!(visitor.offset(&upload), start);
        assert_eq!(server.names(), [""; 0]);
        let reply = visitor.part(&upload, start, part).send().status(204);
        assert_eq!(reply.number("upload-offset"), start + MIB as u64);
        assert_eq!(reply.header("tus-resumable"), Some("1.0.0"));
        if start as usize + MIB == bytes.len() {
            reply.has_receipt("sent", "folder/a b.jpg", &bytes);
        } else {
            assert_eq!(reply.header("repr-digest"), None);
        }
    }
    // Who has not heard the last answer asks.
    let told = visitor.tus("HEAD", &upload).send().status(200).has_receipt("sent", "folder/a b.jpg", &bytes);
    assert_eq!(
        (told.number("upload-offset"), told.number("upload-length")),
        (bytes.len() as u64, bytes.len() as u64)
    );
    visitor.part(&upload, bytes.len() as u64, "").send().status(204).has_receipt(
        "sent",
        "folder/a b.jpg",
        &bytes,
    );
    server.restart();
    assert_holds(&server, "folder/a b.jpg", &bytes);
    let modified = fs::metadata(server.inbox().join("folder/a b.jpg")).unwrap().modified().unwrap();
    let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(modified.as_millis(), 1_600_000_000_123);
    assert_eq!(server.names(), ["folder", "folder/a b.jpg"]);
    assert_eq!(server.staged(), []);
}

/// The digest was not known ahead, so nobody can say whether the file is there until it has come again.
#[test]
fn promise_3_who_never_heard_that_all_had_arrived_makes_no_second_copy() {
    let (mut server, visitor) = started();
    let bytes = noise(2 * MIB, 1);
    let upload = visitor.created("file", bytes.len() as u64);
    visitor.part(&upload, 0, &bytes).send().status(204);
    server.restart();
    let here = visitor.offset(&upload);
    if here < bytes.len() as u64 {
        visitor
            .part(&upload, here, &bytes[here as usize..])
            .send()
            .status(204)
            .has_receipt("sent", "file", &bytes);
    }
    // With its digest, it is known at once.
    let sum = format!(",sha256 {}", base64(Algorithm::Sha256.digest(&bytes).hex()));
    let reply = visitor.create("file", bytes.len() as u64, &sum).send().status(201);
    assert_eq!(reply.number("upload-offset"), bytes.len() as u64);
    reply.has_receipt("held", "file", &bytes);
    assert_eq!(server.names(), ["file"]);
    assert_eq!(server.staged(), []);
}

#[test]
fn promise_3_what_is_cut_in_the_middle_goes_on_at_what_had_arrived() {
    let (server, visitor) = started();
    let proxy = Proxy::to(server.web());
    let far = visitor.by(proxy.address());
    // Long enough to be seen in staging.
    let bytes = noise(40 * MIB, 1);
    let upload = far.created("file", bytes.len() as u64);
    let mut here = 0;
    for round in 0..3 {
        let rest = &bytes[here as usize..];
        let part = far.part(&upload, here, &rest[..2 * MIB]).length(rest.len() as u64);
        let mut part = part.begin();
        let some = here + MIB as u64;
        eventually("bytes in staging", || server.staged().iter().any(|(_, size)| *size > some).then_some(()));
        proxy.set(Plan::CutAfter(0));
        let _ = part.say(&rest[2 * MIB..3 * MIB]);
        assert!(part.reply().is_err());
        let now = visitor.offset(&upload);
        // What was on its way is lost, and no more than that.
        assert!(now > some, "round {round}: from {here} to {now}");
        here = now;
    }
    visitor
        .part(&upload, here, &bytes[here as usize..])
        .send()
        .status(204)
        .has_receipt("sent", "file", &bytes);
    assert_holds(&server, "file", &bytes);
    assert_eq!(server.staged(), []);
}

#[test]
fn hostile_23_whoever_comes_anew_takes_over_from_a_connection_that_hangs() {
    let (server, visitor) = started();
    let bytes = noise(MIB, 1);
    let upload = visitor.created("file", bytes.len() as u64);
    visitor.part(&upload, 0, &bytes[..10]).send().status(204);
    let mut hung = visitor.part(&upload, 10, &bytes[10..1000]).length(bytes.len() as u64 - 10).begin();
    eventually("bytes in staging", || {
        server.staged().iter().any(|(_, length)| *length == 1000).then_some(())
    });
    assert_eq!(visitor.offset(&upload), 1000);
    visitor.part(&upload, 1000, &bytes[1000..]).send().status(204).has_receipt("sent", "file", &bytes);
    // What it says now, nobody listens to.
    let _ = hung.say(noise(MIB - 1000, 2));
    let reply = hung.reply().unwrap();
    assert!(reply.status >= 400, "{reply:?}");
    assert_holds(&server, "file", &bytes);
    assert_eq!(server.names(), ["file"]);
}

#[test]
fn promise_3_a_killed_server_goes_on_from_its_checkpoint() {
    let (mut server, visitor) = started();
    let bytes = noise(100 * MIB, 1);
    let upload = visitor.created("file", bytes.len() as u64);
    visitor.part(&upload, 0, &bytes[..70 * MIB]).send().status(204);
    server.restart();
    let here = visitor.offset(&upload);
    assert_eq!(here, 2 * CHECKPOINT as u64);
    // What a browser remembers of it is no more than its URL.
    let reply =
        visitor.part(&upload, here, &bytes[here as usize..]).header("Repr-Digest", digest_header(&bytes));
    reply.send().status(204).has_receipt("sent", "file", &bytes);
    assert_holds(&server, "file", &bytes);
    assert_eq!((server.names(), server.staged()), (vec!["file".to_owned()], vec![]));
}

#[test]
fn promise_3_uploads_that_agree_in_all_but_their_bytes_never_mix() {
    let (mut server, visitor) = started();
    let size = 70 * MIB;
    let files: Vec<_> = (1..=2).map(|seed| noise(size, seed)).collect();
    let time = ",lastModified MTYwMDAwMDAwMDAwMA==";
    let create = || visitor.create("file", size as u64, time).send().status(201);
    let uploads: Vec<_> = files.iter().map(|_| create().header("location").unwrap().to_owned()).collect();
    assert_ne!(uploads[0], uploads[1]);
    // By turns, with kills in between: whatever is kept of either, it is its own.
    for round in 0..2 {
        for (upload, bytes) in uploads.iter().zip(&files) {
            let here = visitor.offset(upload) as usize;
            let end = (here + 34 * MIB).min(size - 1);
            visitor.part(upload, here as u64, &bytes[here..end]).send().status(204);
        }
        if round == 0 {
            server.restart();
        }
    }
    for (upload, bytes) in uploads.iter().zip(&files) {
        let here = visitor.offset(upload) as usize;
        let part =
            visitor.part(upload, here as u64, &bytes[here..]).header("Repr-Digest", digest_header(bytes));
        part.send().status(204);
    }
    assert_eq!(server.names(), ["file", "file (2)"]);
    let mut found: Vec<_> =
        server.names().iter().map(|name| fs::read(server.inbox().join(name)).unwrap()).collect();
    found.sort();
    let mut expected = files;
    expected.sort();
    assert!(found == expected, "two uploads were mixed");
    assert_eq!(server.staged(), []);
}

#[test]
fn promise_1_a_part_with_another_checksum_has_not_come() {
    let (server, visitor) = started();
    let bytes = noise(3 * MIB, 1);
    let upload = visitor.created("file", bytes.len() as u64);
    let part = |start: usize, end: usize, sum: &str| {
        visitor.part(&upload, start as u64, &bytes[start..end]).header("Upload-Checksum", sum).send()
    };
    let wrong = checksum(b"other");
    part(0, MIB, &wrong).status(460);
    assert_eq!(visitor.offset(&upload), 0);
    let reply = part(0, MIB, &checksum(&bytes[..MIB])).status(204);
    assert_eq!(reply.number("upload-offset"), MIB as u64);
    part(MIB, 3 * MIB, &wrong).status(460);
    assert_eq!(visitor.offset(&upload), MIB as u64);
    for bad in ["md5 AAAA", "sha256", "sha256 AAAA", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", ""] {
        part(MIB, 2 * MIB, bad).status(400);
        assert_eq!(visitor.offset(&upload), MIB as u64, "{bad}");
    }
    // Cut off, nobody can say whether it was right.
    let mut cut = visitor.part(&upload, MIB as u64, &bytes[MIB..2 * MIB]);
    cut = cut.header("Upload-Checksum", checksum(&bytes[MIB..])).length(2 * MIB as u64);
    let cut = cut.begin();
    eventually("a part in staging", || {
        server.staged().iter().any(|(_, length)| *length > MIB as u64).then_some(())
    });
    drop(cut);
    assert_eq!(visitor.offset(&upload), MIB as u64);
    assert_eq!(server.names(), [""; 0]);
    part(MIB, 3 * MIB, &checksum(&bytes[MIB..])).status(204).has_receipt("sent", "file", &bytes);
    assert_holds(&server, "file", &bytes);
}

#[test]
fn promise_1_the_content_digest_of_a_part_is_that_of_the_part() {
    let (server, visitor) = started();
    let bytes = noise(2 * MIB, 1);
    let upload = visitor.created("file", bytes.len() as u64);
    let part = |start: usize, said: &[u8]| {
        let part = visitor.part(&upload, start as u64, &bytes[start..start + MIB]);
        part.header("Content-Digest", digest_header(said)).send()
    };
    part(0, b"other").status(460);
    assert_eq!(visitor.offset(&upload), 0);
    part(0, &bytes[..MIB]).status(204);
    part(MIB, &bytes[MIB..]).status(204).has_receipt("sent", "file", &bytes);
    assert_holds(&server, "file", &bytes);
}

#[test]
fn promise_3_a_wrong_part_over_a_checkpoint_is_taken_back_for_good() {
    let (mut server, visitor) = started();
    let bytes = noise(70 * MIB, 1);
    let upload = visitor.created("file", bytes.len() as u64);
    let start = 30 * MIB;
    visitor.part(&upload, 0, &bytes[..start]).send().status(204);
    let garbage = noise(10 * MIB, 2);
    let part = visitor.part(&upload, start as u64, &garbage).header("Upload-Checksum", checksum(b"other"));
    part.send().status(460);
    assert_eq!(visitor.offset(&upload), start as u64);
    server.restart();
    let here = visitor.offset(&upload) as usize;
    assert!(here <= start, "{here}");
    let part =
        visitor.part(&upload, here as u64, &bytes[here..]).header("Repr-Digest", digest_header(&bytes));
    part.send().status(204).has_receipt("sent", "file", &bytes);
    assert_holds(&server, "file", &bytes);
}

#[test]
fn promise_1_a_whole_file_with_another_digest_is_not_there() {
    let (server, visitor) = started();
    let bytes = noise(MIB, 1);
    let upload = visitor.created("file", bytes.len() as u64);
    visitor.part(&upload, 0, &bytes[..1000]).send().status(204);
    let part = visitor.part(&upload, 1000, &bytes[1000..]).header("Repr-Digest", digest_header(b"other"));
    part.send().refuses(422, "digest-mismatch");
    assert_eq!(server.names(), [""; 0]);
    assert_eq!(visitor.offset(&upload), 0, "it begins anew");
    eventually("an empty staging", || server.staged().is_empty().then_some(()));
    visitor.part(&upload, 0, &bytes).send().status(204).has_receipt("sent", "file", &bytes);
    // The same where the digest was said at first.
    let sum = format!(",sha256 {}", base64(Algorithm::Sha256.digest(b"other").hex()));
    let reply = visitor.create("other", bytes.len() as u64, &sum).send().status(201);
    let upload = reply.header("location").unwrap();
    visitor.part(upload, 0, &bytes).send().refuses(422, "digest-mismatch");
    assert_eq!(server.names(), ["file"]);
}

#[test]
fn hostile_09_offsets_and_lengths_that_lie_are_refused() {
    let (server, visitor) = started();
    let bytes = noise(1000, 1);
    let upload = visitor.created("file", 1000);
    for offset in [1, 999, 1000, 1001, i64::MAX as u64] {
        visitor.part(&upload, offset, &bytes).send().status(409);
    }
    visitor.part(&upload, 0, &bytes[..500]).send().status(204);
    visitor.part(&upload, 0, &bytes[..500]).send().status(409);
    for offset in ["", "-1", "x", "500.0", "18446744073709551616", "9223372036854775808"] {
        let part = visitor.part(&upload, 0, "x").without("Upload-Offset").header("Upload-Offset", offset);
        part.send().refuses(400, "protocol");
    }
    visitor.part(&upload, 500, "x").without("Upload-Offset").send().refuses(400, "protocol");
    assert_eq!(visitor.offset(&upload), 500);
    // More than was announced.
    visitor.part(&upload, 500, noise(501, 2)).send().refuses(413, "too-large");
    assert_eq!(visitor.offset(&upload), 500, "and nothing is lost by it");
    visitor.part(&upload, 500, &bytes[500..]).send().status(204).has_receipt("sent", "file", &bytes);
    for length in ["", "-1", "x", "1.5", "18446744073709551616", "9223372036854775808"] {
        let create = visitor.create("other", 0, "").without("Upload-Length").header("Upload-Length", length);
        create.send().refuses(400, "protocol");
    }
    visitor.create("other", 0, "").without("Upload-Length").send().refuses(400, "protocol");
    let deferred = visitor.create("other", 0, "").without("Upload-Length").header("Upload-Defer-Length", "1");
    deferred.send().refuses(400, "protocol");
    let huge = visitor.create("other", i64::MAX as u64, "").send();
    assert!(huge.status == 413 || huge.status == 201, "{huge:?}");
    assert_eq!(server.names(), ["file"]);
}

#[test]
fn requests_that_are_not_tus_are_told_so() {
    let (server, visitor) = started();
    let upload = visitor.created("file", 3);
    for version in [None, Some("0.2.2"), Some("")] {
        for (method, target) in
            [("POST", "/uploads"), ("HEAD", &upload), ("PATCH", &upload), ("DELETE", &upload)]
        {
            let ask = visitor.ask(method, target).header("Upload-Length", "0");
            let ask = version.into_iter().fold(ask, |ask, version| ask.header("Tus-Resumable", version));
            ask.send().status(412).has("tus-version", "1.0.0");
        }
    }
    for kind in ["application/octet-stream", "", "application/offset+octet-stream2"] {
        let part = visitor.part(&upload, 0, "abc").without("Content-Type").header("Content-Type", kind);
        part.send().status(415);
    }
    for metadata in ["filename", "filename !", "sha256 AAAA", "filename AA==\u{e9}"] {
        let create = visitor.create("x", 3, "").without("Upload-Metadata");
        let reply = create.header("Upload-Metadata", metadata).send();
        // Who says no name gets one.
        assert_eq!(reply.status, if metadata == "filename" { 201 } else { 400 }, "{metadata}: {reply:?}");
    }
    for method in ["PUT", "GETX", "TRACE"] {
        let reply = visitor.tus(method, &upload).send();
        assert_eq!(reply.status, 405, "{method}: {reply:?}");
    }
    visitor.tus("GET", "/uploads").send().status(405);
    assert_eq!(visitor.offset(&upload), 0);
    // For those who cannot say PATCH or DELETE.
    let part = visitor.part(&upload, 0, "abc").header("X-HTTP-Method-Override", "PATCH").method("POST");
    part.send().status(204).has_receipt("sent", "file", b"abc");
    let upload = visitor.created("other", 3);
    visitor.tus("POST", &upload).header("X-HTTP-Method-Override", "DELETE").send().status(204);
    visitor.tus("HEAD", &upload).send().status(410);
    assert_eq!(server.names(), ["file"]);
}

#[test]
fn creation_takes_bytes_along_all_of_them_or_some() {
    let (server, visitor) = started();
    let bytes = noise(MIB, 1);
    let with = |name: &str, body: &[u8]| {
        let create = visitor.create(name, bytes.len() as u64, "");
        create.header("Content-Type", "application/offset+octet-stream").body(body)
    };
    let reply = with("all", &bytes).header("Repr-Digest", digest_header(&bytes)).send().status(201);
    assert_eq!(reply.number("upload-offset"), bytes.len() as u64);
    let reply = reply.has_receipt("sent", "all", &bytes);
    visitor.tus("HEAD", reply.header("location").unwrap()).send().has_receipt("sent", "all", &bytes);
    let reply = with("part", &bytes[..1000]).send().status(201);
    assert_eq!(reply.number("upload-offset"), 1000);
    let upload = reply.header("location").unwrap();
    visitor.part(upload, 1000, &bytes[1000..]).send().status(204).has_receipt("sent", "part", &bytes);
    let sum = checksum(&bytes[..1000]);
    let reply = with("sum", &bytes[..1000]).header("Upload-Checksum", sum).send().status(201);
    assert_eq!(reply.number("upload-offset"), 1000);
    with("wrong", &bytes[..1000]).header("Upload-Checksum", checksum(b"x")).send().status(460);
    with("wrong", &bytes).header("Repr-Digest", digest_header(b"x")).send().refuses(422, "digest-mismatch");
    // A body that comes along with what is held already is not needed, and the answer is heard.
    let large = noise(4 * MIB, 3);
    visitor.put("large", &large).status(201);
    let metadata = format!(",sha256 {}", base64(Algorithm::Sha256.digest(&large).hex()));
    let create = visitor.create("large", large.len() as u64, &metadata);
    let reply = create.header("Content-Type", "application/offset+octet-stream").body(&large).send();
    reply.status(201).has_receipt("held", "large", &large);
    assert_eq!(server.names(), ["all", "large", "part"]);
}

#[test]
fn a_file_without_a_byte_arrives() {
    let (server, visitor) = started();
    visitor.create("empty", 0, "").send().status(201).has_receipt("sent", "empty", b"");
    // Who says nothing of its file.
    let create = visitor.create("", 0, "").without("Upload-Metadata");
    create.send().status(201).has_receipt("sent", "upload", b"");
    visitor.put("put", "").status(201).has_receipt("sent", "put", b"");
    assert_eq!(server.names(), ["empty", "put", "upload"]);
}

#[test]
fn what_is_ended_by_its_sender_is_gone_and_a_file_stays() {
    let (mut server, visitor) = started();
    let bytes = noise(40 * MIB, 1);
    let end = |upload: &str| {
        visitor.tus("DELETE", upload).send().status(204);
        for method in ["HEAD", "DELETE"] {
            visitor.tus(method, upload).send().status(410);
        }
        visitor.part(upload, 0, "x").send().status(410);
    };
    let upload = visitor.created("before", 10);
    end(&upload);
    let upload = visitor.created("middle", bytes.len() as u64);
    visitor.part(&upload, 0, &bytes[..35 * MIB]).send().status(204);
    assert_eq!(server.checkpoints(), [CHECKPOINT as u64]);
    end(&upload);
    assert_eq!((server.staged(), server.checkpoints()), (vec![], vec![]));
    // While it is sent.
    let upload = visitor.created("sent", 100);
    visitor.part(&upload, 0, "abc").send().status(204);
    let mut part = visitor.part(&upload, 3, "def").length(97).begin();
    eventually("bytes in staging", || server.staged().iter().any(|(_, length)| *length == 6).then_some(()));
    end(&upload);
    assert!(part.reply().unwrap().status >= 400);
    eventually("an empty staging", || server.staged().is_empty().then_some(()));
    // After a restart, of which it knows only its checkpoint.
    let upload = visitor.created("restart", bytes.len() as u64);
    visitor.part(&upload, 0, &bytes[..35 * MIB]).send().status(204);
    server.restart();
    end(&upload);
    assert_eq!((server.staged(), server.checkpoints()), (vec![], vec![]));
    let upload = visitor.created("file", 3);
    visitor.part(&upload, 0, "abc").send().status(204);
    end(&upload);
    assert_holds(&server, "file", b"abc");
    assert_eq!(server.names(), ["file"]);
}

#[test]
fn an_upload_is_over_when_its_time_is_over() {
    let server = Server::setup().web().args(["--retain-staging", "1s"]).start();
    let visitor = Visitor::signed_in(&server);
    let upload = visitor.created("file", 3);
    eventually("the end of an upload", || (visitor.tus("HEAD", &upload).send().status == 410).then_some(()));
    visitor.part(&upload, 0, "abc").send().status(410);
    visitor.tus("DELETE", &upload).send().status(410);
    assert_eq!(server.names(), [""; 0]);
    // What somebody goes on with lasts longer than that.
    let upload = visitor.created("file", 3);
    let begun = visitor.part(&upload, 0, "ab").send().status(204).header("upload-expires").map(str::to_owned);
    eventually("a later end", || {
        let told = visitor.tus("HEAD", &upload).send().status(200);
        (told.header("upload-expires").map(str::to_owned) != begun).then_some(())
    });
    visitor.part(&upload, 2, "c").send().status(204).has_receipt("sent", "file", b"abc");
}

#[test]
fn hostile_15_urls_that_are_made_up_or_somebody_elses_lead_nowhere() {
    let (server, visitor) = started();
    let other = Visitor::granted(&server, &["--path", "other"]);
    let upload = visitor.created("file", 1000);
    visitor.part(&upload, 0, noise(500, 1)).send().status(204);
    // Whoever has seen it knows nothing of what has come by it, and does nothing to it.
    assert_eq!(other.offset(&upload), 0);
    other.part(&upload, 500, noise(500, 2)).send().status(409);
    other.tus("DELETE", &upload).send().status(204);
    assert_eq!(visitor.offset(&upload), 500);
    let reply = other.create("file", 1000, "").header("Content-Type", "application/offset+octet-stream");
    reply.body(noise(1000, 3)).send().status(201);
    visitor.part(&upload, 500, &noise(1000, 1)[500..]).send().status(204);
    let own = noise(500, 1).into_iter().chain(noise(1000, 1)[500..].iter().copied()).collect::<Vec<_>>();
    assert_holds(&server, "file", &own);
    for id in ["x", "AAAA", "..", "../files/file", "%2e%2e", "%00", "a/b", &"A".repeat(20_000)] {
        let reply = visitor.tus("HEAD", &format!("/uploads/{id}")).send();
        assert_eq!(reply.status, 404, "{id}");
    }
    let (start, end) = upload.split_at(upload.len() - 10);
    for changed in
        [start.to_owned(), format!("{upload}A"), format!("{start}AAAAAAAAAA"), format!("{upload}/{end}")]
    {
        let reply = visitor.tus("HEAD", &changed).send();
        assert!([200, 404, 410].contains(&reply.status), "{reply:?}");
    }
    assert_eq!(server.names(), ["file", "other", "other/file"]);
}

#[test]
fn hostile_10_uploads_that_are_created_without_end_cost_little() {
    // Three times what it was seen to be.
    const MOST: u64 = 24 * MIB as u64;
    let (server, visitor) = started();
    visitor.put("first", "x").status(201);
    let before = (server.most_memory(), server.open_files());
    let name = "long ".repeat(40);
    let mut line = visitor.create(format!("{name}-first"), 1 << 40, "").begin();
    line.reply().unwrap().status(201);
    for number in 0..3000 {
        line.say(visitor.create(format!("{name}{number}"), 1 << 40, "").head()).unwrap();
        line.reply().unwrap().status(201);
    }
    let cost = server.most_memory() - before.0;
    assert!(cost <= MOST, "{cost} bytes");
    assert!(server.open_files() <= before.1 + 10);
    assert_eq!(server.staged(), []);
    visitor.put("last", "x").status(201);
}

/// A part of each has come, so each has a body that is open.
#[test]
fn hostile_10_bodies_that_stand_still_leave_open_files_for_others() {
    let server = Server::setup().web().wrapped(&["prlimit", "--nofile=128:128", "--"]).start();
    let (visitor, other) = (Visitor::signed_in(&server), Visitor::signed_in(&server));
    let mut line = visitor.create("first", 1000, "").begin();
    line.reply().unwrap().status(201);
    for number in 0..200 {
        let create = visitor.create(format!("file-{number}"), 1000, "");
        let create = create.header("Content-Type", "application/offset+octet-stream").body("x");
        line.say(create.head() + "x").unwrap();
        let reply: Reply = line.reply().unwrap();
        assert!([201, 500, 503, 507].contains(&reply.status), "{reply:?}");
    }
    other.put("other", "content").status(201);
    let upload = other.created("tus", 3);
    other.part(&upload, 0, "abc").send().status(204);
    assert_eq!(server.names(), ["other", "tus"]);
}

/// Each over a connection of its own, as browsers of a household do, and programs that send all at once.
#[test]
fn two_hundred_uploads_at_once_all_arrive() {
    const UPLOADS: usize = 200;
    let (server, visitor) = started();
    let files: Vec<_> = (0..UPLOADS).map(|number| noise(100_000 + 1000 * number, number as u64)).collect();
    std::thread::scope(|threads| {
        for (number, bytes) in files.iter().enumerate() {
            let visitor = &visitor;
            threads.spawn(move || {
                let upload = visitor.created(format!("file-{number}"), bytes.len() as u64);
                let half = bytes.len() / 2;
                visitor.part(&upload, 0, &bytes[..half]).send().status(204);
                let last = visitor.part(&upload, half as u64, &bytes[half..]).send().status(204);
                last.has_receipt("sent", format!("file-{number}"), bytes);
            });
        }
    });
    for (number, bytes) in files.iter().enumerate() {
        assert_holds(&server, &format!("file-{number}"), bytes);
    }
    assert_eq!(server.names().len(), UPLOADS);
    assert_eq!(server.staged(), []);
}
