//! What every store has to do.
//!
//! A store passes when [`check`] returns; otherwise it panics with a sentence that says what is broken.

use std::time::{Duration, SystemTime};

use ferry_proto::{Mode, RelPath, Timestamp, limits};

use crate::{Entry, EntryKind, Meta, StageId, Staged, Stamp, Store, StoreError};

/// Checks a store; `make` makes an empty one for each of the cases.
pub fn check<S: Store>(make: impl Fn() -> S) {
    let cases: [fn(&S); 20] = [
        a_body_is_published_whole,
        an_empty_body_is_a_file,
        publishing_without_replace_leaves_what_is_there,
        publishing_with_replace_takes_the_place_of_files_and_links,
        folders_are_never_replaced,
        one_of_many_publishers_wins_whole,
        a_staged_body_is_gone_on_with,
        a_body_that_is_too_short_is_not_found,
        an_id_is_staged_once,
        discarded_bodies_are_gone,
        folders_are_made_with_those_above,
        links_are_kept_verbatim,
        links_are_never_followed,
        meta_is_set_as_far_as_it_is_safe,
        times_out_of_range_are_no_panic,
        stamps_tell_versions_apart,
        settling_notices_what_moved,
        reading_begins_and_stops_where_it_is_told,
        lists_and_removals_are_exact,
        odd_names_stay_as_they_are,
    ];
    for case in cases {
        case(&make());
    }
    let distance = make().checkpoint_distance();
    assert!(
        distance > 0 && distance.is_multiple_of(limits::CHECKPOINT),
        "the checkpoint distance is {distance}, not a multiple of {}",
        limits::CHECKPOINT
    );
}

/// The result is an error that matches, or the sentence is what is broken.
macro_rules! assert_fails {
    ($result:expr, $error:pat, $sentence:literal) => {
        match $result {
            Err($error) => {}
            other => panic!(concat!($sentence, ": {:?}"), other.map(drop)),
        }
    };
}

fn a_body_is_published_whole(store: &impl Store) {
    let mut staged = stage(store, 1, b"one ");
    staged.append(b"two").expect("appending works");
    assert!(stat(store, "a/b/file").is_none(), "a name leads to something before it is published");

    let meta = Meta { modified: Timestamp::new(1_500_000_000, 250).ok(), mode: Some(Mode::from_bits(0o640)) };
    store.seal(&mut staged, meta).expect("sealing works");
    let stamp =
        store.publish(&mut staged, &key("a/b/file"), false).expect("publishing makes the folders above");
    settle(store, &[("a/b/file", &stamp)]).remove(0).expect("what was just published settles");

    assert_eq!(read(store, "a/b/file"), b"one two", "a file does not hold the bytes that were appended");
    let entry = entry(store, "a/b/file");
    assert_eq!(entry.kind, EntryKind::File(7), "a file does not have the size of its body");
    assert_eq!(Some(entry.modified), meta.modified, "sealing did not set the time");
    assert_eq!(Some(entry.mode), meta.mode, "sealing did not set the mode");
    assert_eq!(entry.stamp, stamp, "publish and stat disagree about the stamp");
    assert!(staged_ids(store).is_empty(), "a published body is still staged");
}

fn an_empty_body_is_a_file(store: &impl Store) {
    put(store, 1, b"", "empty", false).expect("a body of no bytes is published");
    assert_eq!(entry(store, "empty").kind, EntryKind::File(0), "a body of no bytes is no empty file");
}

fn publishing_without_replace_leaves_what_is_there(store: &impl Store) {
    put(store, 1, b"old", "file", false).expect("publishing works");
    store.make_link(&key("link"), b"nowhere", Meta::default(), false).expect("making a link works");
    store.make_folder(&key("folder")).expect("making a folder works");
    let mut staged = stage(store, 2, b"new");
    store.seal(&mut staged, Meta::default()).expect("sealing works");
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

fn publishing_with_replace_takes_the_place_of_files_and_links(store: &impl Store) {
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

fn folders_are_never_replaced(store: &impl Store) {
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

fn one_of_many_publishers_wins_whole(store: &impl Store) {
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

fn a_staged_body_is_gone_on_with(store: &impl Store) {
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
    store.seal(&mut staged, Meta::default()).expect("sealing works");
    store.publish(&mut staged, &key("file"), false).expect("publishing works");
    assert_eq!(read(store, "file"), b"0123-", "a body that was gone on with was not published as it was");
}

fn a_body_that_is_too_short_is_not_found(store: &impl Store) {
    assert_fails!(store.reopen(StageId(1), 0), StoreError::NotFound, "a body was opened that never began");
    drop(stage(store, 1, b"short"));
    assert_fails!(store.reopen(StageId(1), 6), StoreError::NotFound, "a body was opened beyond its end");
    let mut staged = store.reopen(StageId(1), 5).expect("a body can be opened at its end");
    assert_eq!(replay(&mut staged), b"short", "a refused reopening changed the body");
}

fn an_id_is_staged_once(store: &impl Store) {
    drop(stage(store, 1, b"first"));
    assert_fails!(store.stage(StageId(1)), StoreError::Exists, "an id was staged twice");
    let mut staged = store.reopen(StageId(1), 5).expect("the first body is still there");
    assert_eq!(replay(&mut staged), b"first", "staging an id again changed its body");
}

fn discarded_bodies_are_gone(store: &impl Store) {
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

fn folders_are_made_with_those_above(store: &impl Store) {
    store.make_folder(&key("a/b/c")).expect("making a folder makes those above");
    store.make_folder(&key("a/b/c")).expect("a folder that exists is no error");
    store.make_folder(&key("a")).expect("a folder that exists is no error");
    for folder in ["a", "a/b", "a/b/c"] {
        assert_eq!(entry(store, folder).kind, EntryKind::Folder, "a folder was not made");
    }
    let stamp = entry(store, "a/b/c").stamp;
    settle(store, &[("a/b/c", &stamp)]).remove(0).expect("a folder that was just made settles");
}

fn links_are_kept_verbatim(store: &impl Store) {
    let modified = Timestamp::new(1_400_000_000, 0).ok();
    let long = "x/".repeat(2000).into_bytes();
    let targets: [&[u8]; 6] = [b"nowhere", b"../../outside", b"/etc/passwd", b"latin-\xe9", b"a\nb", &long];
    for (number, target) in targets.into_iter().enumerate() {
        let name = format!("links/{number}");
        let stamp = store
            .make_link(&key(&name), target, Meta { modified, mode: None }, false)
            .expect("making a link makes the folders above, wherever it leads");
        settle(store, &[(&name, &stamp)]).remove(0).expect("a link that was just made settles");
        let entry = entry(store, &name);
        assert_eq!(entry.kind, EntryKind::Symlink(target.to_vec()), "a link's target is not kept verbatim");
        assert_eq!(Some(entry.modified), modified, "a link does not have the time it was given");
        assert_eq!(entry.stamp, stamp, "make_link and stat disagree about the stamp");
    }
    assert!(staged_ids(store).is_empty(), "making links left something staged");
}

fn links_are_never_followed(store: &impl Store) {
    put(store, 1, b"untouched", "real/file", false).expect("publishing works");
    let before = (entry(store, "real"), entry(store, "real/file"));
    store.make_link(&key("folder"), b"real", Meta::default(), false).expect("making a link works");
    store.make_link(&key("file"), b"real/file", Meta::default(), false).expect("making a link works");
    let meta = Meta { modified: Timestamp::new(1, 1).ok(), mode: Some(Mode::from_bits(0o777)) };

    for link in ["folder/file", "file"] {
        let path = key(link);
        let read = store.read(&path, 0, &mut |_| panic!("something was read through a link"));
        assert_fails!(read, StoreError::Kind, "reading through a link was not refused with Kind");
        assert_fails!(
            store.set_meta(&path, meta, None),
            StoreError::Kind,
            "time and mode were set through a link"
        );
    }
    for below in ["folder/file", "folder/new", "folder/new/new"] {
        let path = key(below);
        assert_fails!(store.stat(&path), StoreError::Kind, "stat followed a link");
        assert_fails!(store.remove(&path), StoreError::Kind, "something was removed through a link");
        assert_fails!(store.make_folder(&path), StoreError::Kind, "a folder was made through a link");
        let link = store.make_link(&path, b"x", Meta::default(), true);
        assert_fails!(link, StoreError::Kind, "a link was made through a link");
        assert_fails!(put(store, 2, b"new", below, true), StoreError::Kind, "a body went through a link");
        store.discard(StageId(2)).expect("discarding works");
    }
    assert_fails!(store.list(Some(&key("folder"))), StoreError::Kind, "a link was listed as a folder");
    assert_fails!(store.make_folder(&key("folder")), StoreError::Kind, "a link was taken for a folder");
    assert_fails!(
        store.set_meta(&key("folder"), meta, None),
        StoreError::Kind,
        "a link was set like a folder"
    );
    assert_eq!((entry(store, "real"), entry(store, "real/file")), before, "something changed behind a link");
}

fn meta_is_set_as_far_as_it_is_safe(store: &impl Store) {
    put(store, 1, b"x", "folder/file", false).expect("publishing works");
    for (name, kept) in [("folder/file", 0o600), ("folder", 0o700)] {
        for asked in [0o7777, 0o4755, 0o2000, 0o1777, 0o444, 0o000] {
            let modified = Timestamp::new(1_300_000_000 + i64::from(asked), 5).ok();
            let meta = Meta { modified, mode: Some(Mode::from_bits(asked)) };
            let stamp = store.set_meta(&key(name), meta, None).expect("setting time and mode works");
            let entry = entry(store, name);
            assert_eq!(entry.mode.bits(), asked & 0o777 | kept, "mode {asked:o} was not set as it should be");
            assert_eq!(Some(entry.modified), modified, "a time was not set");
            assert_eq!(entry.stamp, stamp, "set_meta and stat disagree about the stamp");
        }
        let before = entry(store, name);
        store.set_meta(&key(name), Meta::default(), None).expect("setting nothing works");
        let after = entry(store, name);
        assert_eq!((before.modified, before.mode), (after.modified, after.mode), "None changed something");
    }
    let mut sealed = stage(store, 2, b"x");
    let mode = Some(Mode::from_bits(0o6044));
    store.seal(&mut sealed, Meta { modified: None, mode }).expect("sealing works");
    store.publish(&mut sealed, &key("sealed"), false).expect("publishing works");
    assert_eq!(entry(store, "sealed").mode.bits(), 0o644, "a sealed body has another mode than is safe");

    let old = entry(store, "folder/file").stamp;
    let meta = Meta { modified: Timestamp::new(7, 7).ok(), mode: None };
    let new = store.set_meta(&key("folder/file"), meta, Some(&old)).expect("the expected version is there");
    let stale = store.set_meta(&key("folder/file"), Meta::default(), Some(&old));
    assert_fails!(stale, StoreError::Moved, "another version than expected was not refused with Moved");
    assert_eq!(entry(store, "folder/file").stamp, new, "a refused set_meta changed the file");
    let missing = store.set_meta(&key("missing"), Meta::default(), None);
    assert_fails!(missing, StoreError::NotFound, "time and mode of nothing were set");
}

fn times_out_of_range_are_no_panic(store: &impl Store) {
    let times = [(i64::MIN, 0), (i64::MIN, 999_999_999), (-1, 999_999_999), (0, 0), (i64::MAX, 999_999_999)];
    for (number, (seconds, nanos)) in (1..).zip(times) {
        let meta = Meta { modified: Timestamp::new(seconds, nanos).ok(), mode: None };
        let name = format!("file-{number}");
        // A store may refuse such a time, or come as near to it as it can.
        let mut staged = stage(store, number, b"x");
        if store.seal(&mut staged, meta).is_ok() {
            assert!(!staged_ids(store).is_empty(), "a body of an odd time is not listed");
            store.publish(&mut staged, &key(&name), false).expect("a sealed body can be published");
            let _ = store.set_meta(&key(&name), meta, None);
            assert_eq!(entry(store, &name).kind, EntryKind::File(1), "an odd time spoiled a file");
            store.list(None).expect("a file of an odd time can be listed");
        }
        let _ = store.make_link(&key(&format!("link-{number}")), b"x", meta, false);
    }
}

fn stamps_tell_versions_apart(store: &impl Store) {
    let mut last = None;
    for id in 1..=5 {
        let stamp = put(store, id, b"same", "folder/file", true).expect("publishing works");
        assert_ne!(Some(&stamp), last.as_ref(), "another version has the same stamp");
        assert_eq!(entry(store, "folder/file").stamp, stamp, "a stamp changed without reason");
        read(store, "folder/file");
        assert_eq!(entry(store, "folder/file").stamp, stamp, "reading changed the stamp");
        last = Some(stamp);
    }
    let folder = entry(store, "folder").stamp;
    put(store, 6, b"other", "folder/other", false).expect("publishing works");
    store.remove(&key("folder/file")).expect("removing works");
    assert_eq!(entry(store, "folder").stamp, folder, "a folder's stamp changed with what is in it");
    assert_ne!(entry(store, "folder/other").stamp, folder, "a file has the stamp of a folder");
}

fn settling_notices_what_moved(store: &impl Store) {
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

fn reading_begins_and_stops_where_it_is_told(store: &impl Store) {
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    put(store, 1, &bytes, "file", false).expect("publishing works");
    for offset in [0, 1, 999_999, 1_000_000, 5_000_000] {
        let mut got = Vec::new();
        let read = store.read(&key("file"), offset as u64, &mut |piece| {
            got.extend_from_slice(piece);
            true
        });
        read.expect("reading works, also behind the end");
        assert!(got == bytes[offset.min(bytes.len())..], "reading from {offset} gives other bytes");
    }
    let mut pieces = 0;
    let read = store.read(&key("file"), 0, &mut |_| {
        pieces += 1;
        false
    });
    read.expect("stopping is no error");
    assert_eq!(pieces, 1, "reading went on after it was stopped");

    store.make_folder(&key("folder")).expect("making a folder works");
    let read = |name| store.read(&key(name), 0, &mut |_| true);
    assert_fails!(read("folder"), StoreError::Kind, "a folder was read");
    assert_fails!(read("missing"), StoreError::NotFound, "nothing was read");
    assert_fails!(read("missing/file"), StoreError::NotFound, "nothing was read");
}

fn lists_and_removals_are_exact(store: &impl Store) {
    assert_eq!(names(store, None), [""; 0], "an empty store lists something of its own");
    put(store, 1, b"x", "top", false).expect("publishing works");
    put(store, 2, b"xy", "folder/file", false).expect("publishing works");
    store.make_link(&key("folder/link"), b"file", Meta::default(), false).expect("making a link works");
    drop(stage(store, 3, b"not published"));
    assert_eq!(names(store, None), ["folder", "top"], "the root lists other names than it holds");
    assert_eq!(names(store, Some("folder")), ["file", "link"], "a folder lists other names than it holds");
    for (name, listed) in store.list(Some(&key("folder"))).expect("listing works") {
        let path = key("folder").join(name).expect("a listed name is a valid one");
        assert_eq!(Some(listed), store.stat(&path).expect("stat works"), "list and stat disagree");
    }
    assert_fails!(store.list(Some(&key("missing"))), StoreError::NotFound, "a missing folder was listed");
    assert_fails!(store.list(Some(&key("top"))), StoreError::Kind, "a file was listed");

    assert!(store.remove(&key("folder")).is_err(), "a folder with something in it was removed");
    assert_fails!(store.remove(&key("missing")), StoreError::NotFound, "nothing was removed");
    assert_fails!(store.remove(&key("missing/x")), StoreError::NotFound, "nothing was removed");
    store.remove(&key("folder/link")).expect("removing a link works");
    assert_eq!(read(store, "folder/file"), b"xy", "removing a link removed what it leads to");
    store.remove(&key("folder/file")).expect("removing a file works");
    store.remove(&key("folder")).expect("removing an empty folder works");
    assert_eq!(names(store, None), ["top"], "removing took too much or too little");
    assert!(stat(store, "folder/file").is_none(), "what was removed is still there");
}

fn odd_names_stay_as_they_are(store: &impl Store) {
    let long = "n".repeat(limits::NAME).into_bytes();
    let deep = vec!["d"; limits::DEPTH].join("/").into_bytes();
    let odd: [&[u8]; 16] = [
        b"aux.h",
        b"a:b",
        b"a\\x2db.mount",
        b"trailing.",
        b"trailing ",
        b"...",
        b"new\nline",
        b"\x1b[31mred\x1b[0m",
        b"%2e%2e%2fx",
        b"-rf",
        b"latin-\xe9",
        "caf\u{e9}".as_bytes(),
        "cafe\u{301}".as_bytes(),
        "right\u{202e}gpj".as_bytes(),
        &long,
        &deep,
    ];
    let mut held = Vec::new();
    for (id, name) in (1..).zip(odd) {
        let path = RelPath::new(name).expect("these are valid names");
        let mut staged = stage(store, id, name);
        store.seal(&mut staged, Meta::default()).expect("sealing works");
        match store.publish(&mut staged, &path, false) {
            Ok(_) => held.push(path),
            // What cannot be held is refused, never stored as something else.
            Err(StoreError::Name) => {}
            Err(other) => panic!("an odd name failed with something else than Name: {path}: {other:?}"),
        }
    }
    let listed: Vec<_> = store.list(None).expect("listing works").into_iter().map(|(name, _)| name).collect();
    for path in &held {
        let top = path.components().next().expect("a path has a component");
        assert!(listed.iter().any(|name| name == top), "{path} is listed under another name");
        assert_eq!(read_at(store, path), path.as_bytes(), "{path} holds the bytes of another name");
    }
    assert_eq!(listed.len(), held.len(), "a name was stored twice or under another's");
}

fn key(name: &str) -> RelPath {
    RelPath::new(name).expect("the suite uses valid names")
}

fn stage<S: Store>(store: &S, id: u128, bytes: &[u8]) -> S::Staged {
    let mut staged = store.stage(StageId(id)).expect("a body can be begun");
    staged.append(bytes).expect("appending works");
    staged
}

fn put(store: &impl Store, id: u128, bytes: &[u8], name: &str, replace: bool) -> Result<Stamp, StoreError> {
    let mut staged = stage(store, id, bytes);
    store.seal(&mut staged, Meta::default()).expect("sealing works");
    store.publish(&mut staged, &key(name), replace)
}

fn settle(store: &impl Store, published: &[(&str, &Stamp)]) -> Vec<Result<(), StoreError>> {
    let keys: Vec<RelPath> = published.iter().map(|(name, _)| key(name)).collect();
    let published: Vec<_> = keys.iter().zip(published).map(|(key, (_, stamp))| (key, *stamp)).collect();
    store.settle(&published)
}

fn stat(store: &impl Store, name: &str) -> Option<Entry> {
    store.stat(&key(name)).expect("stat works")
}

fn entry(store: &impl Store, name: &str) -> Entry {
    stat(store, name).unwrap_or_else(|| panic!("{name} is not there"))
}

fn read(store: &impl Store, name: &str) -> Vec<u8> {
    read_at(store, &key(name))
}

fn read_at(store: &impl Store, path: &RelPath) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = store.read(path, 0, &mut |piece| {
        bytes.extend_from_slice(piece);
        true
    });
    read.expect("reading works");
    bytes
}

fn replay(staged: &mut impl Staged) -> Vec<u8> {
    let mut bytes = Vec::new();
    staged.replay(&mut |piece| bytes.extend_from_slice(piece)).expect("a replay works");
    bytes
}

fn staged_ids(store: &impl Store) -> Vec<u128> {
    let mut ids: Vec<_> =
        store.staged().expect("staged bodies are listed").iter().map(|(id, _)| id.0).collect();
    ids.sort_unstable();
    ids
}

fn names(store: &impl Store, folder: Option<&str>) -> Vec<String> {
    let listed = store.list(folder.map(key).as_ref()).expect("listing works");
    let mut names: Vec<_> =
        listed.into_iter().map(|(name, _)| String::from_utf8_lossy(&name).into_owned()).collect();
    names.sort_unstable();
    names
}
