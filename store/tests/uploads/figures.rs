//! What is told of uploads in numbers: what is under way is counted while it is, and what was committed once.

use std::fs;

use ferry_store::{
    Figures, Histogram, StoreError, Unready,
    doubles::Trouble::{Broken, Full},
};

use crate::inbox::*;

fn often(histogram: &Histogram) -> u64 {
    histogram.buckets.iter().map(|(_, often)| often).sum()
}

fn under_way(inbox: &Inbox) -> (usize, u64, u64) {
    let Figures { waiting, open_bodies, open_bytes, .. } = inbox.uploads.figures();
    (waiting, open_bodies, open_bytes)
}

#[test]
fn bodies_count_while_they_are_open_whatever_becomes_of_them() {
    let inbox = Inbox::new();
    let client = Client::new();
    let mut given_up = inbox.open_body(inbox.offer(&client, unhashed("one", b"1234567")).wanted());
    let mut complete = inbox.open_body(inbox.offer(&client, unhashed("two", b"12")).wanted());
    given_up.append(b"12345").unwrap();
    complete.append(b"12").unwrap();
    assert_eq!(under_way(&inbox), (0, 2, 7));
    drop(given_up);
    assert_eq!(under_way(&inbox), (0, 1, 2));
    assert_eq!(complete.finish(digest(b"12")), stored(b"12"));
    assert_eq!(under_way(&inbox), (0, 0, 0));
    // It fails in the middle, and where it gets its name.
    for call in ["append", "publish"] {
        inbox.script.fail(call, Full);
        assert_failed!(inbox.put(&client, file("three", b"123"), b"123"), StorageFull);
        assert_eq!(under_way(&inbox), (0, 0, 0), "{call}");
    }
}

#[test]
fn what_is_durable_counts_once_and_what_has_failed_does_not() {
    let inbox = Inbox::new();
    let client = Client::new();
    inbox.put(&client, file("one", b"1"), b"1");
    inbox.offer(&client, folder("folder")).told();
    let Figures { commit_micros, batches, .. } = inbox.uploads.figures();
    assert_eq!((often(&commit_micros), often(&batches), batches.sum), (2, 2, 2));
    assert!(commit_micros.sum > 0);
    inbox.script.fail("record", Broken);
    inbox.put(&client, file("two", b"2"), b"2");
    let after = inbox.uploads.figures();
    assert_eq!((after.commit_micros, often(&after.batches)), (commit_micros, 3));
}

#[test]
fn hostile_19_an_inbox_that_can_take_nothing_says_why_and_keeps_nothing_of_the_try() {
    let inbox = Inbox::new();
    inbox.uploads.check_ready().unwrap();
    inbox.script.fail("stage", Broken);
    assert!(matches!(inbox.uploads.check_ready(), Err(Unready::Store(StoreError::Io(_)))));
    inbox.script.set_free_space(8 * 1024 * 1024 - 1);
    assert!(matches!(inbox.uploads.check_ready(), Err(Unready::Store(StoreError::Full))));
    inbox.script.set_free_space(8 * 1024 * 1024);
    inbox.uploads.check_ready().unwrap();
    assert_eq!(inbox.staged(), []);
    fs::remove_dir_all(inbox.on_disk(".ferry")).unwrap();
    assert!(matches!(inbox.uploads.check_ready(), Err(Unready::Store(_))));
}
