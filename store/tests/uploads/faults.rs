//! Full disks, broken ledgers and faults of our own: one file fails by name, and everything else goes on.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use ferry_proto::Conflict;
use ferry_store::{
    Outcome,
    doubles::Trouble::{Broken, Full},
};

use crate::inbox::*;

const SPACE_KEPT_FREE: u64 = 8 * 1024 * 1024;

/// The next file arrives, and nothing is left of those that failed.
fn assert_goes_on(inbox: &Inbox) {
    assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]));
    assert_eq!(inbox.put(&Client::new(), file("next", b"next"), b"next"), stored(b"next"));
    assert_eq!(inbox.read("next"), b"next");
}

#[test]
fn hostile_19_a_full_disk_fails_the_file_and_leaves_nothing_of_it() {
    for (call, passes) in [
        ("stage", 0),
        ("append", 0),
        ("append", 3),
        ("append", 34),
        ("sync", 0),
        ("save_checkpoint", 0),
        ("seal", 0),
        ("publish", 0),
    ] {
        let inbox = Inbox::new();
        inbox.script.at(call, passes, || Err(Full));
        assert_failed!(inbox.put(&Client::new(), file("dir/large", big()), big()), StorageFull);
        assert!(!inbox.on_disk("dir/large").exists(), "{call}");
        assert_eq!(inbox.row("dir/large"), None);
        assert_goes_on(&inbox);
    }
}

#[test]
fn hostile_19_a_full_disk_leaves_the_older_file_as_it_was() {
    for call in ["append", "seal", "publish"] {
        let inbox = Inbox::new();
        inbox.put(&Client::new(), file("name", b"old"), b"old");
        let before = inbox.tree();
        inbox.script.fail(call, Full);
        assert_failed!(inbox.put(&Client::new(), file("name", b"new"), b"new"), StorageFull);
        assert_eq!(inbox.tree(), before);
        assert_eq!(inbox.offer(&Client::new(), file("name", b"old")).told(), held(b"old"));
        assert_goes_on(&inbox);
    }
}

#[test]
fn hostile_19_bodies_leave_some_space_free() {
    let inbox = Inbox::new();
    let mut sending = inbox.open_body(inbox.offer(&Client::new(), unhashed("name", b"1234567")).wanted());
    inbox.script.set_free_space(SPACE_KEPT_FREE + 3);
    sending.append(b"123").unwrap();
    assert_failed!(sending.append(b"4567").unwrap_err(), StorageFull);
    drop(sending);
    inbox.script.set_free_space(SPACE_KEPT_FREE - 1);
    assert_failed!(inbox.put(&Client::new(), file("one", b"1"), b"1"), StorageFull);
    assert_eq!(inbox.names(), [""; 0]);
    inbox.script.set_free_space(SPACE_KEPT_FREE + 4);
    assert_goes_on(&inbox);
}

#[test]
fn hostile_19_a_ledger_that_fails_fails_the_file_and_later_ones_go_on() {
    for (trouble, is_full) in [(Full, true), (Broken, false)] {
        let inbox = Inbox::new();
        inbox.script.fail("record", trouble);
        let told = inbox.put(&Client::new(), file("name", b"bytes"), b"bytes");
        match is_full {
            true => assert_failed!(told, StorageFull),
            false => assert_failed!(told, StorageFailed),
        }
        // It has its name but no row, so it is unreceipted; the next try takes it in without its bytes.
        assert_eq!(inbox.row("name"), None);
        assert_eq!(inbox.offer(&Client::new(), file("name", b"bytes")).told(), held(b"bytes"));
        assert!(inbox.row("name").is_some());

        inbox.script.fail("record", trouble);
        assert!(matches!(inbox.offer(&Client::new(), folder("folder")).told(), Outcome::Failed(..)));
        for call in ["find", "checkpoints_for"] {
            inbox.script.fail(call, trouble);
            let told = inbox.put(&Client::new(), file("name", big()), big());
            match call {
                // Another size: no row is looked at.
                "find" => assert_eq!(told, stored(big())),
                _ => assert!(matches!(told, Outcome::Failed(..))),
            }
            fs::write(inbox.on_disk("name"), "x").unwrap();
        }
        assert_goes_on(&inbox);
    }
}

#[test]
fn hostile_19_what_the_ledger_says_of_a_name_is_needed_to_hold_it() {
    let inbox = Inbox::new();
    inbox.put(&Client::new(), file("name", b"bytes"), b"bytes");
    inbox.script.fail("find", Broken);
    assert_failed!(inbox.offer(&Client::new(), file("name", b"bytes")).told(), StorageFailed);
    assert_eq!(inbox.offer(&Client::new(), file("name", b"bytes")).told(), held(b"bytes"));
}

#[test]
fn what_is_given_up_fails_even_where_it_cannot_be_removed() {
    let inbox = Inbox::new();
    let client = Client::new();
    inbox.put(&client, file("name", b"old"), b"old");
    for call in ["discard", "drop_checkpoint"] {
        inbox.script.fail(call, Broken);
        // Large enough to be gone on with, so that it has a name in staging.
        let mut sending = inbox.open_body(inbox.offer(&client, unhashed("x", big())).wanted());
        sending.append(b"one").unwrap();
        assert_failed!(sending.finish(digest(b"one")), SizeMismatch);
        // A twin that is found at the last moment is still one.
        inbox.script.fail(call, Broken);
        let keep = Client::on_conflict(Conflict::KeepBoth);
        let both = [(); 2].map(|()| inbox.offer(&keep.again(), file("name", call.as_bytes())).wanted());
        let [first, second] = both.map(|wanted| inbox.send(wanted, call.as_bytes()));
        assert!(matches!(first, Outcome::Stored(_, _, Some(_))), "{first:?}");
        assert!(matches!(second, Outcome::Stored(_, _, Some(_))), "{second:?}");
    }
    assert!(inbox.staged().contains(&3));
    // What could not be removed is removed at the next start.
    assert_goes_on(&inbox.restart());
}

#[test]
fn hostile_19_a_settle_or_a_move_that_fails_is_no_receipt() {
    let inbox = Inbox::new();
    inbox.script.fail("settle", Broken);
    assert_failed!(inbox.put(&Client::new(), file("dir/name", b"bytes"), b"bytes"), StorageFailed);
    assert_eq!(inbox.row("dir/name"), None);

    let (dir, away) = (inbox.on_disk("dir"), inbox.on_disk("away"));
    inbox.script.at("settle", 0, move || {
        fs::rename(dir, away).unwrap();
        Ok(())
    });
    assert_failed!(inbox.put(&Client::new(), file("dir/other", b"bytes"), b"bytes"), StorageFailed);
    assert_eq!(inbox.row("dir/other"), None);
    assert_goes_on(&inbox);
}

#[test]
fn hostile_20_a_panic_in_the_committer_fails_its_files_and_later_ones_go_on() {
    for call in ["seal", "publish", "settle", "record"] {
        let inbox = Inbox::new();
        inbox.script.at(call, 0, || panic!("on purpose"));
        assert_failed!(inbox.put(&Client::new(), file("name", b"bytes"), b"bytes"), Internal);
        assert_eq!(inbox.row("name"), None);
        assert_eq!(inbox.put(&Client::new(), file("later", b"later"), b"later"), stored(b"later"));
        // Whether it had its name already or not, the next try ends well.
        let told = inbox.put(&Client::new(), file("name", b"bytes"), b"bytes");
        assert!(told == stored(b"bytes") || told == held(b"bytes"), "{told:?}");
        assert_goes_on(&inbox.restart());
    }
}

#[test]
fn hostile_20_a_panic_while_an_offer_is_decided_or_a_body_is_written_fails_that_file() {
    let inbox = Inbox::new();
    inbox.script.at("checkpoints_for", 0, || panic!("on purpose"));
    let (reply, told) = reply();
    let client = Client::new();
    let begin = || inbox.uploads.begin(&client.terms, &client.lease, file("name", big()), reply);
    assert!(catch_unwind(AssertUnwindSafe(begin)).is_err());
    assert_failed!(answer(&told), Internal);

    for call in ["append", "sync", "save_checkpoint"] {
        inbox.script.at(call, 0, || panic!("on purpose"));
        let wanted = inbox.offer(&client, file("name", big())).wanted();
        assert!(catch_unwind(AssertUnwindSafe(|| inbox.send(wanted, big()))).is_err());
        assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]), "{call}");
    }
    assert_eq!(inbox.put(&client, file("name", big()), big()), stored(big()));
    assert_goes_on(&inbox);
}

#[test]
fn hostile_20_the_pulse_stands_still_only_while_the_committer_does() {
    let inbox = Inbox::new();
    let moves_on = |from: u64| {
        let start = Instant::now();
        while inbox.uploads.pulse() == from {
            assert!(start.elapsed() < Duration::from_secs(20), "it stands still");
        }
    };
    // With nothing to do.
    moves_on(inbox.uploads.pulse());
    let mut pulse = 0;
    let gates = ["seal", "publish", "settle", "record"].map(|call| (call, inbox.gate(call, 0)));
    let told = inbox.begin(&Client::new(), "name", b"bytes").end(digest(b"bytes"));
    for (call, gate) in gates {
        gate.wait();
        let before = std::mem::replace(&mut pulse, inbox.uploads.pulse());
        assert!(pulse > before, "no step of a batch is taken for a standstill: {call}");
        for _ in 0..1000 {
            assert_eq!(inbox.uploads.pulse(), pulse, "{call}");
        }
    }
    assert_eq!(answer(&told), stored(b"bytes"));
    moves_on(pulse);
}

#[test]
fn a_reply_that_is_dropped_tells_a_failure_and_one_that_is_withdrawn_nothing() {
    let (dropped, told) = reply();
    drop(dropped);
    assert_failed!(answer(&told), Internal);
    let (withdrawn, told) = reply();
    withdrawn.withdraw();
    assert!(told.recv().is_err());
}
