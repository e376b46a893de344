//! Comparing what is held with what was received, with things happening between any two steps.

use std::{
    fs,
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use ferry_proto::{Algorithm, Conflict};
use ferry_store::{
    Change, Digests, Ledger, Outcome, Register, Revision, Row, RowKind,
    scrub::{self, Companion, Position, ScrubError, Terms, Told},
    source::Shelf,
};

use crate::inbox::*;

/// Writes down what a pass tells, and does something at each step that is asked whether to go on.
#[derive(Default)]
struct Notes {
    told: Vec<String>,
    read: usize,
    positions: Vec<Position>,
    notes_always: bool,
    stops_after: Option<usize>,
}

impl Companion for Notes {
    fn read(&mut self, bytes: usize) -> Result<(), ScrubError> {
        self.read += bytes;
        match self.stops_after {
            Some(most) if self.read > most => Err(ScrubError::Stopped),
            _ => Ok(()),
        }
    }

    fn check(&mut self) -> Result<(), ScrubError> {
        Ok(())
    }

    fn told(&mut self, name: &Path, told: Told<'_>) -> Result<(), ScrubError> {
        let word = match told {
            Told::Amiss(finding) => finding.what.word(),
            Told::Adopted(_) => "adopted",
            Told::Renewed => "renewed",
            Told::Well => return Ok(()),
            Told::Moving => "moving",
        };
        self.told.push(format!("{word} {}", name.display()));
        Ok(())
    }

    fn wants_to_note(&self) -> bool {
        self.notes_always
    }

    fn note(&mut self, position: &Position) -> Result<(), ScrubError> {
        self.positions.push(position.clone());
        Ok(())
    }
}

fn terms() -> Terms {
    Terms { below: None, adopt: None, pass: 1, at_once: 4096 }
}

fn scrub_with(root: &Path, register: &dyn Register) -> Vec<String> {
    let mut notes = Notes::default();
    let shelf = Shelf::open(root).unwrap();
    scrub::run(&shelf, register, &terms(), Position::Rows(None), &mut notes).unwrap();
    notes.told
}

fn scrub(inbox: &Inbox) -> Vec<String> {
    scrub_with(&inbox.on_disk(""), &*inbox.ledger)
}

/// Makes the row of a file believe that it has always been as it is now.
fn rot(inbox: &Inbox, name: &str, body: &[u8]) {
    fs::write(inbox.on_disk(name), body).unwrap();
    let row = inbox.row(name).unwrap();
    let stamp = ferry_store::Store::stat(inbox.uploads.store(), &key(name)).unwrap().unwrap().stamp;
    let renewed = Change::Renew(Row { stamp, ..row.clone() });
    let revision = Revision { path: key(name), seen: Some(row.stamp), change: renewed };
    assert_eq!(inbox.ledger.revise(&[revision]).unwrap(), [true]);
}

#[test]
fn what_is_rotten_is_asked_for_whoever_sends_it() {
    for client in [
        Client::new(),
        Client::without_overwrite(Conflict::Replace),
        Client::without_overwrite(Conflict::KeepBoth),
        Client::on_conflict(Conflict::Fail),
    ] {
        let inbox = Inbox::new();
        assert_eq!(inbox.put(&Client::new(), file("a", b"bytes"), b"bytes"), stored(b"bytes"));
        rot(&inbox, "a", b"bytez");
        assert_eq!(scrub(&inbox), ["rotted a"]);
        inbox.script.take_calls();
        assert_eq!(inbox.put(&client, file("a", b"bytes"), b"bytes"), stored(b"bytes"));
        assert_eq!(inbox.script.count("read"), 0, "a failing disk is not asked for it");
        assert_eq!((inbox.names(), inbox.read("a")), (vec!["a".to_owned()], b"bytes".to_vec()));
        assert_eq!(scrub(&inbox), [""; 0]);
        assert_eq!(inbox.offer(&client, file("a", b"bytes")).told(), held(b"bytes"));
    }
}

#[test]
fn who_may_not_overwrite_puts_no_other_content_in_the_place_of_what_is_rotten() {
    let inbox = Inbox::new();
    inbox.put(&Client::new(), file("a", b"bytes"), b"bytes");
    rot(&inbox, "a", b"bytez");
    scrub(&inbox);
    let client = Client::without_overwrite(Conflict::Replace);
    for other in [b"other", b"bytez"] {
        assert!(matches!(inbox.offer(&client, file("a", other)).told(), Outcome::Failed(..)));
    }
    // Nor once its owner has touched it: then it is the owner's.
    fs::write(inbox.on_disk("a"), "owner").unwrap();
    assert!(matches!(inbox.offer(&client, file("a", b"bytes")).told(), Outcome::Failed(..)));
    assert_eq!(inbox.read("a"), b"owner");
}

#[test]
fn a_name_whose_row_is_still_to_be_written_is_no_difference() {
    for (before, word) in [(None, "unreceipted"), (Some(b"older"), "changed")] {
        let inbox = Inbox::new();
        if let Some(before) = before {
            inbox.put(&Client::new(), file("a", before), before);
        }
        let gate = inbox.gate("record", 0);
        let told = inbox.begin(&Client::new(), "a", b"bytes").end(digest(b"bytes"));
        gate.wait();
        assert_eq!(inbox.read("a"), b"bytes", "it has its name");
        let (asked, has_asked) = mpsc::channel();
        inbox.script.at("debt", 4, move || {
            asked.send(()).unwrap();
            Ok(())
        });
        let (root, ledger) = (inbox.on_disk(""), inbox.ledger.clone());
        let scrub = std::thread::spawn(move || scrub_with(&root, &*ledger));
        let waits = has_asked.recv_timeout(Duration::from_secs(20));
        drop(gate);
        assert!(waits.is_ok(), "it does not wait, and calls it {word}: {:?}", scrub.join());
        assert_eq!(scrub.join().unwrap(), [""; 0]);
        assert_eq!(answer(&told), stored(b"bytes"));
    }
}

#[test]
fn what_is_recorded_while_a_file_is_compared_stays_what_it_is() {
    // Between a look at the rows and the revision, the owner does something, and the server sends over it.
    let inbox = Arc::new(Inbox::new());
    inbox.put(&Client::new(), file("a", b"bytes"), b"bytes");
    fs::write(inbox.on_disk("a"), "by hand").unwrap();
    let sending = inbox.clone();
    inbox.script.at("revise", 0, move || {
        assert_eq!(sending.put(&Client::new(), file("a", b"newer"), b"newer"), stored(b"newer"));
        Ok(())
    });
    assert_eq!(scrub(&inbox), [""; 0]);
    assert_eq!(inbox.offer(&Client::new(), file("a", b"newer")).told(), held(b"newer"));
    // The committer tells that nothing is owed after it has answered.
    inbox.uploads.close();
    assert_eq!(inbox.ledger.debt(), None);
}

#[test]
fn what_never_stands_still_is_no_difference() {
    let inbox = Arc::new(Inbox::new());
    inbox.put(&Client::new(), file("a", b"bytes"), b"bytes");
    fs::write(inbox.on_disk("a"), "by hand").unwrap();
    for turn in 0..100 {
        let path = inbox.on_disk("a");
        inbox.script.at("debt", turn, move || {
            fs::write(path, format!("by hand, {turn}")).unwrap();
            Ok(())
        });
    }
    assert_eq!(scrub(&inbox), ["moving a"]);
    inbox.script.take_coming();
    assert_eq!(scrub(&inbox), ["changed a"]);
}

#[test]
fn promise_3_a_pass_goes_on_after_the_last_name_that_was_noted() {
    let inbox = Inbox::new();
    for name in ["a", "b/c", "b", "d"].into_iter().filter(|name| *name != "b") {
        inbox.put(&Client::new(), file(name, big_of(name)), big_of(name));
    }
    let shelf = Shelf::open(&inbox.on_disk("")).unwrap();
    let mut notes = Notes { notes_always: true, stops_after: Some(2 * LENGTH), ..Notes::default() };
    let stopped = scrub::run(&shelf, &*inbox.ledger, &terms(), Position::Rows(None), &mut notes);
    assert!(matches!(stopped, Err(ScrubError::Stopped)));
    assert_eq!(notes.positions.last(), Some(&Position::Rows(Some(key("b/c")))));
    let from = notes.positions.pop().unwrap();
    let mut notes = Notes::default();
    scrub::run(&shelf, &*inbox.ledger, &terms(), from, &mut notes).unwrap();
    assert_eq!((notes.read, notes.told), (LENGTH, vec![]));
}

const LENGTH: usize = 100_000;

fn big_of(name: &str) -> &'static [u8] {
    Box::leak(vec![name.as_bytes()[0]; LENGTH].into_boxed_slice())
}

#[test]
fn every_digest_of_a_row_is_compared() {
    let inbox = Inbox::new();
    inbox.put(&Client::new(), file("a", b"bytes"), b"bytes");
    let row = inbox.row("a").unwrap();
    let wrong = Digests::from(digest(b"bytes")).with(&Algorithm::Blake3.digest(b"others").into());
    let kind = RowKind::File { size: 5, digests: wrong };
    let change = Change::Renew(Row { kind, ..row.clone() });
    inbox.ledger.revise(&[Revision { path: key("a"), seen: Some(row.stamp), change }]).unwrap();
    assert_eq!(scrub(&inbox), ["rotted a"]);
}
