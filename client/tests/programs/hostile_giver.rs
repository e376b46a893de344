//! A server that lies when it is asked for files: nothing comes that was not asked for, nothing goes anywhere else, and
//! nothing that is missing goes unnoticed.

use std::{fs, os::unix::fs::symlink, path::Path};

use ferry_proto::{
    Abort, Algorithm, Answer, Body, Code, Digest, Done, End, Header, Kind, Message, Missing, Mode, Offer,
    RelPath, Request, Seq, Verb, Verdict,
};

use crate::support::{Client, FakeServer, Outcome, Wire, names, write};

type Script = Box<dyn FnOnce(&mut Wire) + Send>;

/// Asks a server that follows the scripts, one for each connection, for `asked`, and looks at what became of the folder.
fn get_from(scripts: Vec<Script>, asked: &str, look: impl FnOnce(&Path)) -> Outcome {
    get_prepared(scripts, asked, |_| {}, look)
}

fn get_prepared(
    scripts: Vec<Script>,
    asked: &str,
    prepare: impl FnOnce(&Path),
    look: impl FnOnce(&Path),
) -> Outcome {
    // Pairing takes a connection of its own.
    let pairing: Script = Box::new(|wire| {
        wire.let_in();
        wire.last_words();
    });
    let server = FakeServer::start([pairing].into_iter().chain(scripts).collect());
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    fs::create_dir(&to).unwrap();
    write(folder.path().join("outside/file"), "outside");
    prepare(&to);
    let client = Client::new();
    client.pair(&server.invite());
    let get = client.ferry("get").arg(format!("box:{asked}")).arg(&to);
    let outcome = get.args(["--json", "--retry", "0"]).run();
    look(&to);
    assert_eq!(names(&folder.path().join("outside")), ["file"]);
    assert_eq!(fs::read(folder.path().join("outside/file")).unwrap(), b"outside");
    server.finish();
    outcome
}

fn path(name: &str) -> RelPath {
    RelPath::new(name).unwrap()
}

/// Lets the client in, and hears what it asks for.
fn asked(wire: &mut Wire) -> Vec<RelPath> {
    wire.let_in();
    match wire.message() {
        Message::Request(Request { verb: Verb::Get(get), .. }) => get.paths,
        other => panic!("not asked for files, but {other:?}"),
    }
}

fn file(name: &str, content: &[u8]) -> Header {
    let digest = Some(Algorithm::Sha256.digest(content));
    Header { size: Some(content.len() as u64), digest, ..Header::new(path(name), Kind::File) }
}

fn offer(wire: &mut Wire, seq: u64, header: Header) {
    wire.say(Offer { seq: Seq(seq), header });
}

/// Gives a file as an honest server does.
fn give(wire: &mut Wire, seq: u64, name: &str, content: &[u8]) {
    offer(wire, seq, file(name, content));
    assert!(matches!(
        wire.message(),
        Message::Verdict(Verdict { answer: Answer::Send { offset: 0, .. }, .. })
    ));
    body(wire, seq, content, Algorithm::Sha256.digest(content));
    assert!(matches!(wire.message(), Message::Receipt(receipt) if receipt.seq == Seq(seq)));
}

fn body(wire: &mut Wire, seq: u64, content: &[u8], digest: Digest) {
    wire.say(Body { seq: Seq(seq), offset: 0 });
    wire.chunks(content);
    wire.say(End { digest });
}

fn finish(wire: &mut Wire, entries: u64, bytes: u64) {
    wire.say(Done { entries, bytes });
    wire.last_words();
}

#[test]
fn an_honest_fake_server_is_believed() {
    let script: Script = Box::new(|wire| {
        assert_eq!(asked(wire), [path("a/file")]);
        give(wire, 0, "a/file", b"content");
        finish(wire, 1, 7);
    });
    let look = |to: &Path| assert_eq!(fs::read(to.join("file")).unwrap(), b"content");
    let outcome = get_from(vec![script], "a/file", look).code(0);
    assert_eq!(outcome.statuses(), [("file".to_owned(), "sent".to_owned())]);
}

#[test]
fn hostile_04_what_was_not_asked_for_ends_the_run() {
    let others = ["b", "a/files", "a", "file", "a/file2/x"];
    for name in others {
        let script: Script = Box::new(move |wire| {
            asked(wire);
            offer(wire, 0, file(name, b"content"));
            let goodbye = wire.last_words().expect("the client says why");
            assert_eq!(goodbye.code, Code::Protocol);
        });
        let empty = |to: &Path| assert_eq!(names(to), [""; 0]);
        get_from(vec![script], "a/file", empty).code(3).says("not asked for");
    }
}

#[test]
fn hostile_03_nothing_is_written_into_the_folder_that_is_ferrys_own() {
    let script: Script = Box::new(|wire| {
        asked(wire);
        for (seq, name) in ["a/.ferry/lock", "a/.FERRY/x", "a/.ferry"].into_iter().enumerate() {
            offer(wire, seq as u64, file(name, b"content"));
            assert!(matches!(wire.message(), Message::Failed(failed) if failed.code == Code::BadName));
        }
        give(wire, 3, "a/x", b"content");
        offer(wire, 4, Header::new(path("a"), Kind::Folder));
        assert!(matches!(wire.message(), Message::Verdict(_)));
        finish(wire, 5, 7);
    });
    let outcome = get_from(vec![script], "a/", |to| assert_eq!(names(to), ["x"])).code(1);
    assert_eq!((outcome.total("sent"), outcome.total("failed")), (1, 3), "{outcome:?}");
}

#[test]
fn hostile_06_links_here_are_not_followed() {
    let script: Script = Box::new(|wire| {
        asked(wire);
        offer(wire, 0, file("a/link/new", b"content"));
        assert!(matches!(wire.message(), Message::Failed(failed) if failed.code == Code::KindConflict));
        // A link that comes, and what is to go through it.
        offer(wire, 1, Header::new(path("a/given"), Kind::Symlink(b"../../outside".to_vec())));
        assert!(matches!(wire.message(), Message::Receipt(_)));
        offer(wire, 2, file("a/given/file", b"changed"));
        assert!(matches!(wire.message(), Message::Failed(failed) if failed.code == Code::KindConflict));
        offer(wire, 3, Header { mode: Some(Mode::from_bits(0o777)), ..file("a/file", b"content") });
        assert!(matches!(wire.message(), Message::Verdict(_)));
        body(wire, 3, b"content", Algorithm::Sha256.digest(b"content"));
        assert!(matches!(wire.message(), Message::Receipt(_)));
        offer(wire, 4, Header { mode: Some(Mode::from_bits(0o755)), ..Header::new(path("a"), Kind::Folder) });
        assert!(matches!(wire.message(), Message::Receipt(_) | Message::Verdict(_)));
        finish(wire, 5, 7);
    });
    let prepare = |to: &Path| {
        fs::create_dir(to.join("a")).unwrap();
        symlink("../../outside", to.join("a/link")).unwrap();
        // What has the name makes way; what it leads to is left alone.
        symlink("../../outside/file", to.join("a/file")).unwrap();
    };
    let look = |to: &Path| {
        assert_eq!(names(to), ["a", "a/file", "a/given", "a/link"]);
        assert!(fs::symlink_metadata(to.join("a/file")).unwrap().is_file());
    };
    get_prepared(vec![script], "a", prepare, look).code(1);
}

#[test]
fn hostile_08_what_lets_a_program_run_as_somebody_else_is_not_given_back() {
    use std::os::unix::fs::PermissionsExt;
    let script: Script = Box::new(|wire| {
        asked(wire);
        offer(wire, 0, Header { mode: Some(Mode::from_bits(0o7755)), ..file("a", b"content") });
        assert!(matches!(wire.message(), Message::Verdict(_)));
        body(wire, 0, b"content", Algorithm::Sha256.digest(b"content"));
        assert!(matches!(wire.message(), Message::Receipt(_)));
        finish(wire, 1, 7);
    });
    let look =
        |to: &Path| assert_eq!(fs::metadata(to.join("a")).unwrap().permissions().mode() & 0o7777, 0o755);
    get_from(vec![script], "a", look).code(0);
}

#[test]
fn promise_1_bytes_with_another_digest_are_not_published() {
    let wrong = Algorithm::Sha256.digest(b"something else");
    let cases: [(Header, Digest); 2] = [
        // In the end, and in the header alone.
        (Header { digest: None, ..file("a", b"content") }, wrong),
        (Header { digest: Some(wrong), ..file("a", b"content") }, wrong),
    ];
    for (header, digest) in cases {
        let script: Script = Box::new(move |wire| {
            asked(wire);
            offer(wire, 0, header);
            assert!(matches!(wire.message(), Message::Verdict(_)));
            body(wire, 0, b"content", digest);
            assert!(matches!(wire.message(), Message::Failed(failed) if failed.code == Code::DigestMismatch));
            finish(wire, 1, 7);
        });
        get_from(vec![script], "a", |to| assert_eq!(names(to), [""; 0])).code(1);
    }
}

#[test]
fn promise_8_silence_about_what_was_asked_for_is_a_failure() {
    let nothing: Script = Box::new(|wire| {
        asked(wire);
        finish(wire, 0, 0);
    });
    get_from(vec![nothing], "a", |_| {}).code(1).prints("has not said a word");
    // All of a folder but the folder itself, which comes last.
    let early: Script = Box::new(|wire| {
        asked(wire);
        give(wire, 0, "a/x", b"content");
        finish(wire, 1, 7);
    });
    get_from(vec![early], "a", |_| {}).code(1).prints("has not said a word");
}

#[test]
fn promise_8_an_end_before_done_is_never_success() {
    for point in 0..4 {
        let script: Script = Box::new(move |wire| {
            asked(wire);
            if point == 0 {
                return;
            }
            offer(wire, 0, file("a", b"content"));
            wire.message();
            if point == 1 {
                return;
            }
            wire.say(Body { seq: Seq(0), offset: 0 });
            wire.chunks(b"cont");
            if point == 2 {
                return;
            }
            wire.chunks(b"ent");
            wire.say(End { digest: Algorithm::Sha256.digest(b"content") });
            wire.message();
        });
        let look = move |to: &Path| {
            let there = names(to);
            assert!(there.is_empty() || (point == 3 && there == ["a"]), "{there:?}");
        };
        get_from(vec![script], "a", look).code(3);
    }
}

#[test]
fn promise_8_a_body_that_is_given_up_is_not_there() {
    let script: Script = Box::new(|wire| {
        asked(wire);
        offer(wire, 0, file("a", b"content"));
        wire.message();
        wire.say(Body { seq: Seq(0), offset: 0 });
        wire.chunks(b"cont");
        wire.say(Abort { seq: Seq(0), code: Code::SourceUnreadable });
        let detail = "the disk \x1b[31mfailed".to_owned();
        wire.say(Missing { path: Some(path("a")), code: Code::SourceUnreadable, detail });
        finish(wire, 1, 4);
    });
    let outcome = get_from(vec![script], "a", |to| assert_eq!(names(to), [""; 0])).code(1);
    assert_eq!(outcome.objects()[0]["detail"], "the disk \\x1b[31mfailed");
    // And not a word more.
    let script: Script = Box::new(|wire| {
        asked(wire);
        offer(wire, 0, file("a", b"content"));
        wire.message();
        wire.say(Body { seq: Seq(0), offset: 0 });
        wire.chunks(b"cont");
        wire.say(Abort { seq: Seq(0), code: Code::SourceUnreadable });
        finish(wire, 1, 4);
    });
    get_from(vec![script], "a", |to| assert_eq!(names(to), [""; 0])).code(1);
}

#[test]
fn promise_8_counts_that_do_not_agree_are_never_success() {
    for (entries, bytes) in [(2, 7), (1, 8), (0, 7)] {
        let script: Script = Box::new(move |wire| {
            asked(wire);
            give(wire, 0, "a", b"content");
            finish(wire, entries, bytes);
        });
        get_from(vec![script], "a", |_| {}).code(3);
    }
}
