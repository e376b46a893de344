//! Names: folders and links, what is known of a name, what is done to it.

use ferry_proto::{Mode, Timestamp, limits};

use super::*;

pub(super) fn folders_are_made_with_those_above(store: &impl Store) {
    let make = |folder| store.make_folder(&key(folder));
    assert_eq!(make("a/b").expect("making a folder makes those above"), [key("a"), key("a/b")]);
    assert_eq!(make("a/b/c").expect("making a folder makes those above"), [key("a/b/c")]);
    assert_eq!(make("a/b/c").expect("a folder that exists is no error"), []);
    assert_eq!(make("a").expect("a folder that exists is no error"), []);
    for folder in ["a", "a/b", "a/b/c"] {
        assert_eq!(entry(store, folder).kind, EntryKind::Folder, "a folder was not made");
    }
    let stamp = entry(store, "a/b/c").stamp;
    settle(store, &[("a/b/c", &stamp)]).remove(0).expect("a folder that was just made settles");
}

pub(super) fn links_are_kept_verbatim(store: &impl Store) {
    let modified = Timestamp::new(1_400_000_000, 0).ok();
    let long = "x/".repeat(2000).into_bytes();
    let targets: [&[u8]; 6] = [b"nowhere", b"../../outside", b"/etc/passwd", b"latin-\xe9", b"a\nb", &long];
    for (number, target) in targets.into_iter().enumerate() {
        let name = format!("link-{number}");
        let stamp = store
            .make_link(&key(&name), target, Meta { modified, mode: None, ..Meta::default() }, false)
            .expect("making a link works, wherever it leads");
        settle(store, &[(&name, &stamp)]).remove(0).expect("a link that was just made settles");
        let entry = entry(store, &name);
        assert_eq!(entry.kind, EntryKind::Symlink(target.to_vec()), "a link's target is not kept verbatim");
        assert_eq!(Some(entry.modified), modified, "a link does not have the time it was given");
        assert_eq!(entry.stamp, stamp, "make_link and stat disagree about the stamp");
    }
    assert!(staged_ids(store).is_empty(), "making links left something staged");
}

pub(super) fn links_are_never_followed(store: &impl Store) {
    put(store, 1, b"untouched", "real/file", false).expect("publishing works");
    let before = (entry(store, "real"), entry(store, "real/file"));
    store.make_link(&key("folder"), b"real", Meta::default(), false).expect("making a link works");
    store.make_link(&key("file"), b"real/file", Meta::default(), false).expect("making a link works");
    let meta =
        Meta { modified: Timestamp::new(1, 1).ok(), mode: Some(Mode::from_bits(0o777)), ..Meta::default() };

    for link in ["folder/file", "file"] {
        let path = key(link);
        let read = store.read(&path, 0, &mut |_| panic!("something was read through a link"));
        assert_fails!(read, StoreError::Kind, "reading through a link was not refused with Kind");
        assert_fails!(
            store.set_meta(&path, meta.clone(), None),
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
    assert_fails!(
        store.list(Some(&key("folder")), usize::MAX),
        StoreError::Kind,
        "a link was listed as a folder"
    );
    assert_fails!(store.make_folder(&key("folder")), StoreError::Kind, "a link was taken for a folder");
    assert_fails!(
        store.set_meta(&key("folder"), meta, None),
        StoreError::Kind,
        "a link was set like a folder"
    );
    assert_eq!((entry(store, "real"), entry(store, "real/file")), before, "something changed behind a link");
}

pub(super) fn meta_is_set_as_far_as_it_is_safe(store: &impl Store) {
    put(store, 1, b"x", "folder/file", false).expect("publishing works");
    for (name, kept) in [("folder/file", 0o600), ("folder", 0o700)] {
        for asked in [0o7777, 0o4755, 0o2000, 0o1777, 0o444, 0o000] {
            let modified = Timestamp::new(1_300_000_000 + i64::from(asked), 5).ok();
            let meta = Meta { modified, mode: Some(Mode::from_bits(asked)), ..Meta::default() };
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
    seal(store, &mut sealed, Meta { modified: None, mode, ..Meta::default() }).expect("sealing works");
    store.publish(&mut sealed, &key("sealed"), false).expect("publishing works");
    assert_eq!(entry(store, "sealed").mode.bits(), 0o644, "a sealed body has another mode than is safe");

    let old = entry(store, "folder/file").stamp;
    let meta = Meta { modified: Timestamp::new(7, 7).ok(), mode: None, ..Meta::default() };
    let new = store.set_meta(&key("folder/file"), meta, Some(&old)).expect("the expected version is there");
    let stale = store.set_meta(&key("folder/file"), Meta::default(), Some(&old));
    assert_fails!(stale, StoreError::Moved, "another version than expected was not refused with Moved");
    assert_eq!(entry(store, "folder/file").stamp, new, "a refused set_meta changed the file");
    let missing = store.set_meta(&key("missing"), Meta::default(), None);
    assert_fails!(missing, StoreError::NotFound, "time and mode of nothing were set");
}

pub(super) fn times_out_of_range_are_no_panic(store: &impl Store) {
    let times = [(i64::MIN, 0), (i64::MIN, 999_999_999), (-1, 999_999_999), (0, 0), (i64::MAX, 999_999_999)];
    for (number, (seconds, nanos)) in (1..).zip(times) {
        let meta = Meta { modified: Timestamp::new(seconds, nanos).ok(), mode: None, ..Meta::default() };
        let name = format!("file-{number}");
        // A store may refuse such a time, or come as near to it as it can.
        let mut staged = stage(store, number, b"x");
        if seal(store, &mut staged, meta.clone()).is_ok() {
            assert!(!staged_ids(store).is_empty(), "a body of an odd time is not listed");
            store.publish(&mut staged, &key(&name), false).expect("a sealed body can be published");
            let _ = store.set_meta(&key(&name), meta.clone(), None);
            assert_eq!(entry(store, &name).kind, EntryKind::File(1), "an odd time spoiled a file");
            store.list(None, usize::MAX).expect("a file of an odd time can be listed");
        }
        let _ = store.make_link(&key(&format!("link-{number}")), b"x", meta, false);
    }
}

pub(super) fn stamps_tell_versions_apart(store: &impl Store) {
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

pub(super) fn reading_begins_and_stops_where_it_is_told(store: &impl Store) {
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

pub(super) fn lists_and_removals_are_exact(store: &impl Store) {
    assert_eq!(listed(store, None), [""; 0], "an empty store lists something of its own");
    put(store, 1, b"x", "top", false).expect("publishing works");
    put(store, 2, b"xy", "folder/file", false).expect("publishing works");
    store.make_link(&key("folder/link"), b"file", Meta::default(), false).expect("making a link works");
    drop(stage(store, 3, b"not published"));
    assert_eq!(listed(store, None), ["folder", "top"], "the root lists other names than it holds");
    assert_eq!(listed(store, Some("folder")), ["file", "link"], "a folder lists other names than it holds");
    for (name, listed) in store.list(Some(&key("folder")), usize::MAX).expect("listing works") {
        let path = key("folder").join(name).expect("a listed name is a valid one");
        assert_eq!(Some(listed), store.stat(&path).expect("stat works"), "list and stat disagree");
    }
    for most in 0..2 {
        let some = store.list(Some(&key("folder")), most).expect("listing works");
        assert_eq!(some.len(), most, "more or less was listed than was asked for");
    }
    assert_fails!(
        store.list(Some(&key("missing")), usize::MAX),
        StoreError::NotFound,
        "a missing folder was listed"
    );
    assert_fails!(store.list(Some(&key("top")), usize::MAX), StoreError::Kind, "a file was listed");

    assert!(store.remove(&key("folder")).is_err(), "a folder with something in it was removed");
    assert_fails!(store.remove(&key("missing")), StoreError::NotFound, "nothing was removed");
    assert_fails!(store.remove(&key("missing/x")), StoreError::NotFound, "nothing was removed");
    store.remove(&key("folder/link")).expect("removing a link works");
    assert_eq!(read(store, "folder/file"), b"xy", "removing a link removed what it leads to");
    store.remove(&key("folder/file")).expect("removing a file works");
    store.remove(&key("folder")).expect("removing an empty folder works");
    assert_eq!(listed(store, None), ["top"], "removing took too much or too little");
    assert!(stat(store, "folder/file").is_none(), "what was removed is still there");
}

pub(super) fn odd_names_stay_as_they_are(store: &impl Store) {
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
        seal(store, &mut staged, Meta::default()).expect("sealing works");
        let made = path.parent().map_or(Ok(Vec::new()), |parent| store.make_folder(&parent));
        match made.and_then(|_| store.publish(&mut staged, &path, false)) {
            Ok(_) => held.push(path),
            // What cannot be held is refused, never stored as something else.
            Err(StoreError::Name) => {}
            Err(other) => panic!("an odd name failed with something else than Name: {path}: {other:?}"),
        }
    }
    let listed: Vec<_> =
        store.list(None, usize::MAX).expect("listing works").into_iter().map(|(name, _)| name).collect();
    for path in &held {
        let top = path.components().next().expect("a path has a component");
        assert!(listed.iter().any(|name| name == top), "{path} is listed under another name");
        assert_eq!(read_at(store, path), path.as_bytes(), "{path} holds the bytes of another name");
    }
    assert_eq!(listed.len(), held.len(), "a name was stored twice or under another's");
}
