//! What is published is whole, or nothing is; and what was receipted is durable.

use std::{fs, os::unix::fs::MetadataExt, sync::mpsc};

use ferry_proto::{Conflict, Mode};
use ferry_store::{Outcome, RowKind};

use crate::inbox::*;

#[test]
fn promise_1_a_complete_body_is_there_with_its_bytes_time_and_row() {
    let inbox = Inbox::new();
    let body = &big()[..3_000_000];
    for header in [file("a/b/known", body), unhashed("a/b/unknown", body)] {
        let path = header.path.clone();
        assert_eq!(inbox.put(&Client::new(), header.clone(), body), stored(body));
        let name = path.to_string();
        assert!(inbox.read(&name) == body);
        let on_disk = fs::metadata(inbox.on_disk(&name)).unwrap();
        assert_eq!((on_disk.mtime(), on_disk.mtime_nsec()), (1_500_000_000, 500));
        assert_eq!(on_disk.mode() & 0o7777, 0o754);
        let row = inbox.row(&name).unwrap();
        assert_eq!(row.kind, RowKind::File { size: 3_000_000, digests: digest(body).into() });
        assert_eq!((row.modified, row.mode), (header.modified, header.mode));
    }
    assert_eq!(inbox.staged(), [0; 0]);
}

#[test]
fn promise_1_a_stream_has_no_size_ahead() {
    let inbox = Inbox::new();
    let mut header = unhashed("stream", b"");
    (header.size, header.modified, header.mode) = (None, None, None);
    assert_eq!(inbox.put(&Client::new(), header.clone(), b"of unknown length"), stored(b"of unknown length"));
    assert_eq!(inbox.read("stream"), b"of unknown length");
    header.path = key("empty");
    assert_eq!(inbox.put(&Client::new(), header, b""), stored(b""));
    assert_eq!(inbox.read("empty"), b"");
}

#[test]
fn promise_1_a_body_with_another_digest_is_absent() {
    let inbox = Inbox::new();
    inbox.put(&Client::new(), file("old", b"old"), b"old");
    for name in ["old", "new"] {
        // The bytes are not those of the digest at the end.
        let mut sending = inbox.open_body(inbox.offer(&Client::new(), unhashed(name, b"right")).wanted());
        sending.append(b"wrong").unwrap();
        assert_failed!(sending.finish(digest(b"right")), DigestMismatch);
        // They are, but it is not the announced one.
        let mut sending = inbox.open_body(inbox.offer(&Client::new(), file(name, b"right")).wanted());
        sending.append(b"wrong").unwrap();
        assert_failed!(sending.finish(digest(b"wrong")), DigestMismatch);
        // They are the announced ones, but the end says otherwise.
        let mut sending = inbox.open_body(inbox.offer(&Client::new(), file(name, b"right")).wanted());
        sending.append(b"right").unwrap();
        assert_failed!(sending.finish(digest(b"wrong")), DigestMismatch);
    }
    assert_eq!(inbox.names(), ["old"]);
    assert_eq!(inbox.read("old"), b"old");
    assert_eq!(inbox.staged(), [0; 0]);
}

#[test]
fn hostile_09_a_body_that_does_not_keep_its_size_is_absent() {
    let inbox = Inbox::new();
    let client = Client::new();
    let mut short = inbox.open_body(inbox.offer(&client, unhashed("short", b"four")).wanted());
    short.append(b"thr").unwrap();
    assert_failed!(short.finish(digest(b"thr")), SizeMismatch);

    let mut long = inbox.open_body(inbox.offer(&client, unhashed("long", b"four")).wanted());
    long.append(b"four").unwrap();
    assert_failed!(long.append(b"5").unwrap_err(), SizeMismatch);
    assert_eq!(inbox.staged(), [0; 0], "what failed is removed at once");
    // The bytes it had are those that were announced, and yet they were not all that came.
    assert_failed!(long.finish(digest(b"four")), Cancelled);

    let none = inbox.open_body(inbox.offer(&client, unhashed("none", b"four")).wanted());
    assert_failed!(none.finish(digest(b"")), SizeMismatch);
    assert_eq!(inbox.names(), [""; 0]);
    assert_eq!(inbox.staged(), [0; 0]);
}

#[test]
fn hostile_09_no_file_is_larger_than_the_terms_say() {
    let inbox = Inbox::new();
    let client = Client::new().with(|terms| terms.max_file = 4);
    assert_failed!(inbox.put(&client, file("large", b"12345"), b"12345"), TooLarge);
    assert_eq!(inbox.put(&client, file("fits", b"1234"), b"1234"), stored(b"1234"));
    let mut endless = unhashed("endless", b"");
    endless.size = None;
    let mut sending = inbox.open_body(inbox.offer(&client, endless).wanted());
    sending.append(b"1234").unwrap();
    assert_failed!(sending.append(b"5").unwrap_err(), TooLarge);
    drop(sending);
    assert_eq!(inbox.names(), ["fits"]);
    assert_eq!(inbox.staged(), [0; 0]);
}

#[test]
fn promise_1_a_body_that_is_given_up_leaves_nothing() {
    let inbox = Inbox::new();
    let client = Client::new();
    let mut dropped = inbox.open_body(inbox.offer(&client, file("dropped", big())).wanted());
    let mut abandoned = inbox.open_body(inbox.offer(&client, file("abandoned", big())).wanted());
    dropped.append(b"byt").unwrap();
    abandoned.append(big()).unwrap();
    assert_eq!(inbox.staged().len(), 2);
    drop(dropped);
    abandoned.upload.abandon();
    assert_eq!(inbox.staged(), [0; 0]);
    assert_failed!(abandoned.finish(digest(big())), Cancelled);
    assert_eq!(inbox.names(), [""; 0]);
}

#[test]
fn promise_2_a_lone_file_is_sealed_published_settled_recorded_and_then_answered() {
    let inbox = Inbox::new();
    let client = Client::new();
    let mut sending = inbox.open_body(inbox.offer(&client, file("a/file", b"bytes")).wanted());
    sending.append(b"bytes").unwrap();
    inbox.script.take_calls();
    assert_eq!(sending.finish(digest(b"bytes")), stored(b"bytes"));
    let calls = inbox.script.take_calls();
    let of_a_new_folder = ["publish a/file", "make_folder a"];
    assert_eq!(calls[0], "seal");
    assert_eq!(calls[1..3], of_a_new_folder);
    assert_eq!(calls[3..], ["publish a/file", "settle a/file", "record a/file"]);

    assert_eq!(inbox.offer(&client, folder("a")).told(), Outcome::Stored(None, 0, None));
    let calls = inbox.script.take_calls();
    assert_eq!(calls[calls.len() - 4..], ["make_folder a", "set_meta a", "settle a", "record a"]);
    assert_eq!(inbox.offer(&client, link("l", "a")).told(), Outcome::Stored(None, 0, None));
    let calls = inbox.script.take_calls();
    assert_eq!(calls[calls.len() - 3..], ["make_link l", "settle l", "record l"]);
}

/// Bodies that complete while the committer is held up, so that they are one batch.
fn batch(inbox: &Inbox, names: &[&str]) -> Vec<mpsc::Receiver<Outcome>> {
    let client = Client::new();
    let begin = |name: &&str| inbox.begin(&client, name, name.as_bytes());
    let bodies: Vec<_> = names.iter().map(|name| (begin(name), name)).collect();
    let gate = inbox.gate("seal", 0);
    let first = begin(&"first").end(digest(b"first"));
    gate.wait();
    let told = bodies.into_iter().map(|(body, name)| body.end(digest(name.as_bytes()))).collect();
    inbox.script.take_calls();
    drop(gate);
    assert_eq!(answer(&first), stored(b"first"));
    told
}

#[test]
fn promise_2_files_that_complete_together_are_synced_and_recorded_together() {
    let inbox = Inbox::new();
    for (told, name) in batch(&inbox, &["a", "b/x", "b/y"]).iter().zip(["a", "b/x", "b/y"]) {
        assert_eq!(answer(told), stored(name.as_bytes()));
    }
    let calls = inbox.script.take_calls();
    let expected = [
        "publish first",
        // What the first one still needs and what these need first, in one go.
        "seal",
        "seal",
        "seal",
        "settle first",
        "record first",
        "publish a",
        "publish b/x",
        "make_folder b",
        "publish b/x",
        "publish b/y",
        "settle a b/x b/y",
        "record a b/x b/y",
    ];
    assert_eq!(calls, expected);
}

#[test]
fn hostile_15_what_a_session_has_handed_in_that_is_cut_comes_to_nothing() {
    let inbox = Inbox::new();
    let (cut, over) = (Client::new(), Client::new().with(|terms| terms.client = "bert".into()));
    let gate = inbox.gate("settle", 0);
    let first = inbox.begin(&over, "first", b"x").end(digest(b"x"));
    gate.wait();
    // These wait for the committer, which is busy.
    let body = inbox.begin(&cut, "file", b"bytes").end(digest(b"bytes"));
    let kept = inbox.begin(&over, "kept", b"bytes").end(digest(b"bytes"));
    cut.terms.cut.cut();
    // A session that is over has not been cut.
    over.lease.end();
    drop(gate);
    assert_failed!(answer(&body), Revoked);
    assert_failed!(inbox.offer(&cut, folder("folder")).told(), Revoked);
    assert_failed!(inbox.offer(&cut, link("link", "x")).told(), Revoked);
    assert_eq!((answer(&first), answer(&kept)), (stored(b"x"), stored(b"bytes")));
    assert_eq!(inbox.names(), ["first", "kept"]);
    assert_eq!(inbox.staged(), [0; 0]);
}

#[test]
fn promise_1_the_same_name_twice_is_one_whole_file_after_the_other() {
    let inbox = Inbox::new();
    let (one, two) = (Client::new(), Client::new());
    let mut first = inbox.open_body(inbox.offer(&one, file("name", b"first")).wanted());
    let mut second = inbox.open_body(inbox.offer(&two, file("name", b"second")).wanted());
    first.append(b"fi").unwrap();
    second.append(b"second").unwrap();
    first.append(b"rst").unwrap();
    let (second, first) = (second.end(digest(b"second")), first.end(digest(b"first")));
    assert_eq!((answer(&second), answer(&first)), (stored(b"second"), stored(b"first")));
    assert_eq!(inbox.read("name"), b"first");
    let row = inbox.row("name").unwrap();
    assert_eq!(row.kind, RowKind::File { size: 5, digests: digest(b"first").into() });

    // In one batch they would settle each other as moved.
    let told = batch(&inbox, &["same", "other", "same"]);
    assert!(
        told.iter().zip([b"same", &b"other"[..], b"same"]).all(|(told, body)| answer(told) == stored(body))
    );
    let calls = inbox.script.take_calls();
    assert_eq!(
        calls[calls.len() - 6..],
        ["seal", "settle same other", "record same other", "publish same", "settle same", "record same"]
    );
}

#[test]
fn promise_2_one_that_fails_in_a_batch_fails_alone() {
    let inbox = Inbox::new();
    inbox.script.at("seal", 2, || Err(ferry_store::doubles::Trouble::Broken));
    inbox.script.at("publish", 2, || Err(ferry_store::doubles::Trouble::Broken));
    let (there, gone) = (inbox.on_disk("moved"), inbox.on_disk("away"));
    inbox.script.at("settle", 1, move || {
        fs::rename(there, gone).unwrap();
        Ok(())
    });
    let told = batch(&inbox, &["a", "unsealed", "unpublished", "moved", "b"]);
    let told: Vec<Outcome> = told.iter().map(answer).collect();
    assert_eq!((&told[0], &told[4]), (&stored(b"a"), &stored(b"b")));
    for failed in &told[1..4] {
        assert_failed!(failed, StorageFailed);
    }
    assert_eq!(inbox.names(), ["a", "away", "b", "first"]);
    for name in ["unsealed", "unpublished", "moved"] {
        assert_eq!(inbox.row(name), None);
    }
    assert_eq!(inbox.staged(), [0; 0]);
}

#[test]
fn promise_4_a_client_with_a_folder_stays_in_it() {
    let inbox = Inbox::new();
    let client = Client::new().with(|terms| terms.folder = Some(key("granted/here")));
    assert_eq!(inbox.put(&client, file("a/file", b"one"), b"one"), stored(b"one"));
    assert_eq!(inbox.put(&client, file("a/file", b"one"), b"one"), held(b"one"));
    let keep = client.with(|terms| terms.conflict = Conflict::KeepBoth);
    assert_eq!(inbox.put(&keep, file("a/file", b"two"), b"two"), stored_at(b"two", "a/file (2)"));
    assert_eq!(inbox.put(&keep, file("a/file", b"two"), b"two"), held_at(b"two", "a/file (2)"));
    assert_eq!(inbox.offer(&client, folder("f")).told(), Outcome::Stored(None, 0, None));
    assert_eq!(inbox.offer(&client, link("l", "x")).told(), Outcome::Stored(None, 0, None));
    let names = ["", "/a", "/a/file", "/a/file (2)", "/f", "/l"].map(|name| format!("granted/here{name}"));
    assert_eq!(inbox.names(), [&["granted".to_owned()][..], &names].concat());
    let deep = vec!["d"; 127].join("/");
    assert_failed!(inbox.put(&client, file(&deep, b"x"), b"x"), BadName);
}

#[test]
fn hostile_08_special_bits_stay_in_the_row_and_off_the_disk() {
    let inbox = Inbox::new();
    let mode = Some(Mode::from_bits(0o6711));
    for mut header in [file("file", b"x"), folder("folder")] {
        header.mode = mode;
        let name = header.path.to_string();
        inbox.put(&Client::new(), header, b"x");
        assert_eq!(inbox.row(&name).unwrap().mode, mode);
        assert_eq!(fs::metadata(inbox.on_disk(&name)).unwrap().mode() & 0o7777, 0o711);
    }
}

#[test]
fn closing_commits_what_was_handed_in_and_takes_no_more() {
    let inbox = Inbox::new();
    let mut late = inbox.open_body(inbox.offer(&Client::new(), file("late", b"x")).wanted());
    late.append(b"x").unwrap();
    let told = batch(&inbox, &["a", "b", "c"]);
    inbox.uploads.close();
    for (told, name) in told.iter().zip(["a", "b", "c"]) {
        assert_eq!(told.try_recv(), Ok(stored(name.as_bytes())), "closing did not wait");
    }
    assert_failed!(late.finish(digest(b"x")), Stopping);
    assert_failed!(inbox.offer(&Client::new(), folder("late")).told(), Stopping);
    let inbox = inbox.restart();
    assert_eq!(inbox.names(), ["a", "b", "c", "first"]);
    assert_eq!(inbox.staged(), [0; 0]);
}
