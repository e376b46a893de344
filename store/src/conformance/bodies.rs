//! Bodies: staged, sealed, published, settled.

use std::time::{Duration, SystemTime};

use ferry_proto::{Mode, Timestamp};

use super::*;

pub(super) fn a_body_is_published_whole(store: &impl Store) {
    let mut staged = stage(store, 1, b"one ");
    staged.append(b"two").expect("appending works");
    assert!(stat(store, "a/b/file").is_none(), "a name leads to something before it is published");

    let meta = Meta {
        modified: Timestamp::new(1_500_000_000, 250).ok(),
        mode: Some(Mode::from_bits(0o640)),
        ..Meta::default()
    };
    seal(store, &mut staged, meta.clone()).expect("sealing works");
    let file = key("a/b/file");
    assert_fails!(store.publish(&mut staged, &file, true), StoreError::NotFound, "its folder is not there");
    store.make_folder(&key("a/b")).expect("making a folder makes those above");
    let stamp = store.publish(&mut staged, &file, false).expect("a refused body can still take its name");
    settle(store, &[("a/b/file", &stamp)]).remove(0).expect("what was just published settles");

    assert_eq!(read(store, "a/b/file"), b"one two", "a file does not hold the bytes that were appended");
    let entry = entry(store, "a/b/file");
    assert_eq!(entry.kind, EntryKind::File(7), "a file does not have the size of its body");
    assert_eq!(Some(entry.modified), meta.modified, "sealing did not set the time");
    assert_eq!(Some(entry.mode), meta.mode, "sealing did not set the mode");
    assert_eq!(entry.stamp, stamp, "publish and stat disagree about the stamp");
    assert!(staged_ids(store).is_empty(), "a published body is still staged");
}

pub(super) fn many_are_sealed_in_one_go_and_each_as_it_says(store: &impl Store) {
    const MANY: u8 = 20;
    let mut staged: Vec<_> = (0..MANY).map(|number| stage(store, number.into(), &[number])).collect();
    let meta = |number: usize| Meta {
        modified: Timestamp::new(1_500_000_000 + number as i64, 0).ok(),
        mode: Some(Mode::from_bits(0o600 + number as u32 % 8)),
        ..Meta::default()
    };
    let bodies = staged.iter_mut().enumerate().map(|(number, staged)| (staged, meta(number))).collect();
    for sealed in store.seal(bodies) {
        sealed.expect("sealing works");
    }
    for (number, staged) in staged.iter_mut().enumerate() {
        let name = number.to_string();
        store.publish(staged, &key(&name), false).expect("a sealed body can be published");
        let entry = entry(store, &name);
        assert_eq!(read(store, &name), [number as u8], "a body was taken for another");
        let found = Meta { modified: Some(entry.modified), mode: Some(entry.mode), ..Meta::default() };
        assert_eq!(found, meta(number), "a body was sealed with the time or mode of another");
    }
    assert!(store.seal(Vec::new()).is_empty());
}

pub(super) fn an_empty_body_is_a_file(store: &impl Store) {
    put(store, 1, b"", "empty", false).expect("a body of no bytes is published");
    assert_eq!(entry(store, "empty").kind, EntryKind::File(0), "a body of no bytes is no empty file");
}

pub(super) fn publishing_without_replace_leaves_what_is_there(store: &impl Store) {
    put(store, 1, b"old", "file", false).expect("publishing works");
    store.make_link(&key("link"), b"nowhere", Meta::default(), false).expect("making a link works");
    store.make_folder(&key("folder")).expect("making a folder works");
    let mut staged = stage(store, 2, b"new");
    seal(store, &mut staged, Meta::default()).expect("sealing works");
    for taken in ["file", "link", "folder"] {
        assert_fails!(
            store.publish(&mut staged, &key(taken), false),
            StoreError::Exists,
            "a taken name was not refused with Exists"
        );
        assert_fails!(
            store.make_link(&key(taken), b"x", Meta::default(), false),
            StoreError::Exists,
            "a taken name was not refused to a link with Exists"
        );
    }
    assert_eq!(read(store, "file"), b"old", "a refused body changed the file that has the name");
    assert_eq!(
        entry(store, "link").kind,
        EntryKind::Symlink(b"nowhere".to_vec()),
        "a refused body took a link"
    );
    store.publish(&mut staged, &key("other"), false).expect("a refused body can still take another name");
    assert_eq!(read(store, "other"), b"new", "a refused body lost its bytes");
}

pub(super) fn publishing_with_replace_takes_the_place_of_files_and_links(store: &impl Store) {
    put(store, 1, b"victim", "victim", false).expect("publishing works");
    put(store, 2, b"old", "file", false).expect("publishing works");
    store.make_link(&key("link"), b"victim", Meta::default(), false).expect("making a link works");
    for (id, name) in [(3, "file"), (4, "link")] {
        put(store, id, b"new", name, true).expect("replacing a file or a link works");
        assert_eq!(entry(store, name).kind, EntryKind::File(3), "what was replaced is still there");
        assert_eq!(read(store, name), b"new", "a replaced name does not hold the new bytes");
    }
    store.make_link(&key("file"), b"victim", Meta::default(), true).expect("a link replaces a file");
    assert_eq!(entry(store, "file").kind, EntryKind::Symlink(b"victim".to_vec()), "the link is not there");
    store.make_link(&key("file"), b"other", Meta::default(), true).expect("a link replaces a link");
    assert_eq!(
        entry(store, "file").kind,
        EntryKind::Symlink(b"other".to_vec()),
        "the newer link is not there"
    );
    assert_eq!(read(store, "victim"), b"victim", "replacing a link changed what it leads to");
}

pub(super) fn folders_are_never_replaced(store: &impl Store) {
    put(store, 1, b"inside", "folder/file", false).expect("publishing works");
    store.make_folder(&key("empty")).expect("making a folder works");
    for (id, name) in [(2, "folder"), (3, "empty")] {
        assert_fails!(
            put(store, id, b"new", name, true),
            StoreError::Kind,
            "a body in the place of a folder was not refused with Kind"
        );
        assert_fails!(
            store.make_link(&key(name), b"x", Meta::default(), true),
            StoreError::Kind,
            "a link in the place of a folder was not refused with Kind"
        );
        assert_eq!(entry(store, name).kind, EntryKind::Folder, "a folder was replaced");
    }
    assert_fails!(
        store.make_folder(&key("folder/file")),
        StoreError::Kind,
        "a folder in the place of a file was not refused with Kind"
    );
    for below in ["folder/file/x", "folder/file/x/y"] {
        assert_fails!(
            put(store, 4, b"new", below, true),
            StoreError::Kind,
            "a body below a file was not refused with Kind"
        );
        assert_fails!(
            store.make_folder(&key(below)),
            StoreError::Kind,
            "a folder below a file was not refused with Kind"
        );
        store.discard(StageId(4)).expect("discarding works");
    }
    assert_eq!(read(store, "folder/file"), b"inside", "a file in a folder changed");
}

pub(super) fn one_of_many_publishers_wins_whole(store: &impl Store) {
    const PUBLISHERS: u8 = 4;
    const ROUNDS: u8 = 8;
    const SIZE: usize = 100_000;
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let id = publisher * ROUNDS + round;
                    put(store, id.into(), &[id; SIZE], "new/folder/file", true).expect("publishing works");
                    let bytes = read(store, "new/folder/file");
                    assert_eq!(bytes.len(), SIZE, "a reader saw a part of a file");
                    assert!(bytes.iter().all(|b| *b == bytes[0]), "a reader saw a mix of two files");
                }
            });
        }
    });
}

pub(super) fn a_staged_body_is_gone_on_with(store: &impl Store) {
    let mut staged = stage(store, 1, b"0123456789");
    staged.sync().expect("syncing works");
    assert_eq!(staged.id(), StageId(1), "a staged body has another id than it was staged under");
    assert_eq!(replay(&mut staged), b"0123456789", "a replay does not give everything appended");
    staged.append(b"ab").expect("appending after a replay works");
    assert_eq!(replay(&mut staged), b"0123456789ab", "appending after a replay did not add to the end");
    drop(staged);

    let mut staged = store.reopen(StageId(1), 4).expect("a staged body is opened again");
    assert_eq!(staged.id(), StageId(1), "a staged body has another id when it is opened again");
    staged.append(b"-").expect("appending works");
    assert_eq!(replay(&mut staged), b"0123-", "opening it again did not cut the body back to the length");
    seal(store, &mut staged, Meta::default()).expect("sealing works");
    store.publish(&mut staged, &key("file"), false).expect("publishing works");
    assert_eq!(read(store, "file"), b"0123-", "a body that was gone on with was not published as it was");
}

pub(super) fn holes_are_zeros_wherever_a_body_is_cut(store: &impl Store) {
    const HOLE: usize = 100_000;
    let whole = [&b"ab"[..], &[0; HOLE], b"cd", &[0; HOLE]].concat();
    for (id, cut) in (1..).zip([0, 1, 2, 3, HOLE, HOLE + 2, HOLE + 3, HOLE + 4, HOLE + 5, whole.len()]) {
        let mut staged = stage(store, id, b"");
        append_from(&mut staged, &whole, HOLE, 0);
        staged.sync().expect("syncing works");
        drop(staged);
        let mut staged = store.reopen(StageId(id), cut as u64).expect("a body is opened again inside a hole");
        assert!(replay(&mut staged) == whole[..cut], "a body that was cut back at {cut} holds other bytes");
        append_from(&mut staged, &whole, HOLE, cut);
        seal(store, &mut staged, Meta::default()).expect("sealing works");
        store.publish(&mut staged, &key("file"), true).expect("publishing works");
        assert!(
            read(store, "file") == whole,
            "a body that was cut back at {cut} is published as something else"
        );
    }
}

/// Appends what comes from here on: two bytes, a hole, two bytes, a hole.
fn append_from(staged: &mut impl Staged, whole: &[u8], hole: usize, from: usize) {
    for (at, length) in [(0, 2), (2, hole), (hole + 2, 2), (hole + 4, hole)] {
        let begin = from.clamp(at, at + length);
        let appended = match length == hole {
            true => staged.append_hole((at + length - begin) as u64),
            false => staged.append(&whole[begin..at + length]),
        };
        appended.expect("appending works, also of nothing");
    }
}

pub(super) fn a_body_that_is_too_short_is_not_found(store: &impl Store) {
    assert_fails!(store.reopen(StageId(1), 0), StoreError::NotFound, "a body was opened that never began");
    drop(stage(store, 1, b"short"));
    assert_fails!(store.reopen(StageId(1), 6), StoreError::NotFound, "a body was opened beyond its end");
    let mut staged = store.reopen(StageId(1), 5).expect("a body can be opened at its end");
    assert_eq!(replay(&mut staged), b"short", "a refused reopening changed the body");
}

pub(super) fn an_id_is_staged_once(store: &impl Store) {
    drop(stage(store, 1, b"first"));
    assert_fails!(store.stage(StageId(1), false), StoreError::Exists, "an id was staged twice");
    let mut staged = store.reopen(StageId(1), 5).expect("the first body is still there");
    assert_eq!(replay(&mut staged), b"first", "staging an id again changed its body");
}

pub(super) fn discarded_bodies_are_gone(store: &impl Store) {
    drop((stage(store, 1, b"one"), stage(store, u128::MAX, b"two")));
    assert_eq!(staged_ids(store), [1, u128::MAX], "the staged bodies are not those that were begun");
    let hour = Duration::from_secs(3600);
    for (_, changed) in store.staged().expect("staged bodies are listed") {
        let now = SystemTime::now();
        assert!(changed > now - hour && changed < now + hour, "a staged body's last change was not just now");
    }
    store.discard(StageId(1)).expect("discarding works");
    store.discard(StageId(1)).expect("discarding twice is no error");
    assert_eq!(staged_ids(store), [u128::MAX], "discarding took another body, or none");
    assert_fails!(store.reopen(StageId(1), 0), StoreError::NotFound, "a discarded body can be opened");
}

pub(super) fn settling_notices_what_moved(store: &impl Store) {
    let published = |id: u128, name: &str| put(store, id, b"bytes", name, true).expect("publishing works");
    let (kept, removed) = (published(1, "a/kept"), published(2, "a/removed"));
    let (replaced, folder) = (published(3, "a/replaced"), published(4, "a/folder"));
    let (link, away) = (published(5, "a/link"), published(6, "b/away"));
    store.remove(&key("a/removed")).expect("removing works");
    published(7, "a/replaced");
    store.remove(&key("a/folder")).expect("removing works");
    store.make_folder(&key("a/folder")).expect("making a folder works");
    store.make_link(&key("a/link"), b"kept", Meta::default(), true).expect("making a link works");
    store.remove(&key("b/away")).expect("removing works");
    store.remove(&key("b")).expect("removing works");

    let settled = settle(
        store,
        &[
            ("a/removed", &removed),
            ("a/replaced", &replaced),
            ("a/folder", &folder),
            ("a/link", &link),
            ("b/away", &away),
            ("a/kept", &kept),
        ],
    );
    let [removed, replaced, folder, link, away, kept] =
        <[_; 6]>::try_from(settled).expect("settle gives one answer for each name");
    assert_fails!(removed, StoreError::Moved, "settle did not notice that a file was removed");
    assert_fails!(replaced, StoreError::Moved, "settle did not notice that a file was replaced");
    assert_fails!(folder, StoreError::Moved, "settle did not notice a folder in the place of a file");
    assert_fails!(link, StoreError::Moved, "settle did not notice a link in the place of a file");
    assert_fails!(away, StoreError::Moved, "settle did not notice that the folder of a file was removed");
    kept.expect("what moved made settle fail for what did not");
    assert!(store.settle(&[]).is_empty(), "settle answered for what nobody asked");
}

pub(super) fn sealing_and_settling_go_together(store: &impl Store) {
    let first = put(store, 1, b"first", "first", false).expect("publishing works");
    let moved = put(store, 2, b"moved", "moved", false).expect("publishing works");
    store.remove(&key("moved")).expect("a file can be removed");
    let (mut next, mut last) = (stage(store, 3, b"next"), begin(store, 4, b"last", true));
    let bodies = vec![(&mut next, Meta::default()), (&mut last, Meta::default())];
    let (sealed, settled) = store.make_durable(bodies, &[(&key("first"), &first), (&key("moved"), &moved)]);
    assert_eq!(sealed.len(), 2, "each body has one answer");
    sealed.into_iter().for_each(|sealed| sealed.expect("what moved made sealing fail"));
    let [first, moved] = <[_; 2]>::try_from(settled).expect("each name has one answer");
    first.expect("what is there is settled");
    assert_fails!(moved, StoreError::Moved, "it was not noticed that a file was removed");
    for (staged, name) in [(&mut next, "next"), (&mut last, "last")] {
        let stamp = store.publish(staged, &key(name), false).expect("what was sealed is published");
        settle(store, &[(name, &stamp)]).remove(0).expect("and settled");
        assert_eq!(read(store, name), name.as_bytes());
    }
}
