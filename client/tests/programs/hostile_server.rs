//! A server that lies: `ferry` must not say that all is well.

use ferry_proto::{Algorithm, Answer, Code, Digest, Done, Failed, Message, Receipt, Request, Seq, Verdict};

use crate::support::{Client, FakeServer, Outcome, Wire, write};

type Script = Box<dyn FnOnce(&mut Wire) + Send>;

/// Sends `files` to a server that follows the scripts, one for each connection.
fn send_to(scripts: Vec<Script>, files: &[&str]) -> Outcome {
    send_with(&["--retry", "0"], scripts, files)
}

fn send_with(flags: &[&str], scripts: Vec<Script>, files: &[&str]) -> Outcome {
    let server = FakeServer::start(scripts);
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new();
    let sources = files.iter().map(|name| write(folder.path().join(name), format!("content of {name}")));
    let send = client.ferry("send").args(sources.collect::<Vec<_>>()).args(["--to", &server.invite()]);
    let outcome = send.arg("--json").args(flags).run();
    server.finish();
    outcome
}

fn receipt(wire: &mut Wire, seq: u64, digest: Option<Digest>) {
    wire.say(Receipt { seq: Seq(seq), digest, path: None });
}

fn ask(wire: &mut Wire, seq: Seq) {
    wire.say(Verdict { seq, answer: Answer::Send { offset: 0, prefix: None } });
}

/// Lets a client in, and takes one file as it should be; the digest that its receipt must have.
fn take_one(wire: &mut Wire) -> (Seq, u64, Digest) {
    wire.let_in();
    let offer = wire.offered();
    ask(wire, offer.seq);
    let (body, bytes, digest) = wire.take_body();
    assert_eq!((body.seq, body.offset), (offer.seq, 0));
    assert_eq!(Algorithm::Sha256.digest(&bytes), digest);
    (offer.seq, bytes.len() as u64, digest)
}

fn finish(wire: &mut Wire, done: Done) {
    while !matches!(wire.message(), Message::Done(_)) {}
    wire.say(done);
    wire.last_words();
}

#[test]
fn an_honest_fake_server_is_believed() {
    let script: Script = Box::new(|wire| {
        let (seq, bytes, digest) = take_one(wire);
        receipt(wire, seq.0, Some(digest));
        finish(wire, Done { entries: 1, bytes });
    });
    let outcome = send_to(vec![script], &["file"]).code(0);
    assert_eq!(outcome.statuses(), [("file".to_owned(), "sent".to_owned())]);
}

#[test]
fn promise_8_a_receipt_for_other_bytes_is_a_failure() {
    for wrong in [Some(Algorithm::Sha256.digest(b"other bytes")), None] {
        let script: Script = Box::new(move |wire| {
            let (seq, bytes, _) = take_one(wire);
            receipt(wire, seq.0, wrong);
            finish(wire, Done { entries: 1, bytes });
        });
        let outcome = send_to(vec![script], &["file"]).code(1);
        assert_eq!(outcome.statuses(), [("file".to_owned(), "failed".to_owned())]);
    }
}

#[test]
fn promise_8_what_the_server_calls_failed_has_failed() {
    let script: Script = Box::new(|wire| {
        let (seq, bytes, _) = take_one(wire);
        let detail = "no \x1b[31mroom".to_owned();
        wire.say(Failed { seq, code: Code::StorageFull, detail });
        finish(wire, Done { entries: 0, bytes });
    });
    let outcome = send_to(vec![script], &["file"]).code(1);
    let object = &outcome.objects()[0];
    assert_eq!((&object["status"], &object["code"]), (&"failed".into(), &Code::StorageFull.number().into()));
    assert_eq!(object["detail"], "no \\x1b[31mroom");
}

#[test]
fn promise_8_an_end_before_done_is_never_success() {
    // At every point where a connection can end: after the welcome, an offer, a body, and the receipt.
    for point in 0..4 {
        let script: Script = Box::new(move |wire| {
            wire.let_in();
            if point == 0 {
                return;
            }
            let offer = wire.offered();
            if point == 1 {
                return;
            }
            ask(wire, offer.seq);
            let (_, _, digest) = wire.take_body();
            if point == 3 {
                receipt(wire, offer.seq.0, Some(digest));
            }
        });
        let outcome = send_to(vec![script], &["one", "two"]).code(3);
        assert_eq!(outcome.total("sent"), u64::from(point == 3), "{outcome:?}");
    }
}

#[test]
fn promise_8_answers_that_nobody_asked_for_are_never_success() {
    let other = Algorithm::Sha256.digest(b"other bytes");
    let answers: Vec<Message> = vec![
        Receipt { seq: Seq(0), digest: Some(other), path: None }.into(),
        Receipt { seq: Seq(7), digest: Some(other), path: None }.into(),
        Verdict { seq: Seq(0), answer: Answer::Held { digest: Some(other), path: None } }.into(),
        Verdict { seq: Seq(0), answer: Answer::Held { digest: None, path: None } }.into(),
        Verdict { seq: Seq(u64::MAX), answer: Answer::NeedDigest }.into(),
        Verdict { seq: Seq(0), answer: Answer::Send { offset: u64::MAX, prefix: Some(other) } }.into(),
        Verdict { seq: Seq(0), answer: Answer::Send { offset: 0, prefix: Some(other) } }.into(),
        Failed { seq: Seq(9), code: Code::Internal, detail: String::new() }.into(),
        Done { entries: 1, bytes: 0 }.into(),
        Request { id: 1, verb: ferry_proto::Verb::Unknown(9) }.into(),
    ];
    for answer in answers {
        let (said, shown) = (answer.clone(), format!("{answer:?}"));
        let script: Script = Box::new(move |wire| {
            wire.let_in();
            wire.offered();
            wire.say(said);
            wire.last_words();
        });
        let outcome = send_to(vec![script], &["file"]).code(3);
        assert_eq!(outcome.total("sent") + outcome.total("held"), 0, "{shown}: {outcome:?}");
    }
}

#[test]
fn promise_8_counts_that_do_not_agree_are_never_success() {
    let script: Script = Box::new(|wire| {
        let (seq, bytes, digest) = take_one(wire);
        receipt(wire, seq.0, Some(digest));
        finish(wire, Done { entries: 2, bytes });
    });
    send_to(vec![script], &["file"]).code(3);
}

#[test]
fn a_request_that_is_refused_ends_in_4() {
    let script: Script = Box::new(|wire| {
        wire.let_in();
        let Message::Request(Request { id, .. }) = wire.message() else { panic!("no request") };
        let detail = "this client may not send files here".to_owned();
        wire.say(ferry_proto::Rejected { id, code: Code::NotAllowed, detail });
        wire.last_words();
    });
    send_to(vec![script], &["file"]).code(4).says("may not send");
}

#[test]
fn bytes_that_are_no_frames_are_no_reason_to_try_again() {
    for bytes in [&[5, 0xff, 0xff, 0xff, 0xff][..], &[8, 1, 0, 0, 0, 0], &[99, 0, 0, 0, 0]] {
        let script: Script = Box::new(move |wire| {
            wire.let_in();
            wire.raw(bytes);
            wire.last_words();
        });
        let outcome = send_with(&["--retry", "5"], vec![script], &["file"]).code(3);
        assert!(!outcome.stderr().contains("trying again"), "{outcome:?}");
    }
}
