//! Links and special files, wherever they stand and whenever they come.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use ferry_proto::{Mode, Timestamp};
use ferry_store::{EntryKind, LocalStore, Meta, StageId, Staged, Store, StoreError};
use rustix::fs::{CWD, FileType, RenameFlags};

use crate::{Inbox, assert_kind, key, mode, support::in_time};

#[test]
fn hostile_06_links_below_the_root_lead_nowhere() {
    let inbox = Inbox::new();
    fs::write(inbox.outside().join("victim"), "outside").unwrap();
    fs::create_dir(inbox.outside().join("empty")).unwrap();
    symlink(inbox.outside(), inbox.on_disk("folder")).unwrap();
    symlink("../outside/victim", inbox.on_disk("file")).unwrap();
    symlink("../outside/new", inbox.on_disk("dangling")).unwrap();
    let before = snapshot(&inbox.outside());

    let store = &inbox.store;
    for name in ["folder/victim", "folder/new", "folder/new/new", "folder/empty"] {
        let path = key(name);
        assert_kind(inbox.put(&path, b"new", Meta::default()));
        assert_kind(store.make_folder(&path));
        assert_kind(store.make_link(&path, b"x", Meta::default(), true));
        assert_kind(store.set_meta(&path, mode(0o777), None));
        assert_kind(store.stat(&path));
        assert_kind(store.read(&path, 0, &mut |_| panic!("read through a link")));
        assert_kind(store.remove(&path));
        assert_kind(store.list(Some(&path), usize::MAX));
    }
    for name in ["file", "dangling"] {
        let path = key(name);
        assert_kind(store.make_folder(&path));
        assert_kind(store.set_meta(&path, mode(0o777), None));
        assert_kind(store.read(&path, 0, &mut |_| panic!("read through a link")));
        assert!(matches!(store.stat(&path).unwrap().unwrap().kind, EntryKind::Symlink(_)));
        inbox.put(&path, b"new", Meta::default()).unwrap();
        assert_eq!(fs::symlink_metadata(inbox.on_disk(name)).unwrap().len(), 3, "the link made way itself");
    }
    store.remove(&key("folder")).unwrap();
    assert_eq!(snapshot(&inbox.outside()), before);
}

/// A racing owner swaps a folder with a link to a folder outside, and a file with a link to a file outside.
#[test]
fn hostile_06_links_swapped_in_by_a_racing_thread_lead_nowhere() {
    const ROUNDS: u32 = 400;
    /// Ends the other thread also when this one fails.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let inbox = Inbox::new();
    fs::write(inbox.outside().join("victim"), "outside, and longer").unwrap();
    fs::create_dir(inbox.outside().join("only-outside")).unwrap();
    fs::create_dir(inbox.on_disk("folder")).unwrap();
    fs::create_dir(inbox.on_disk("calm")).unwrap();
    symlink(inbox.outside(), inbox.on_disk("swap")).unwrap();
    let before = snapshot(&inbox.outside());

    let stop = AtomicBool::new(false);
    let (mut went_on, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = |a: &str, b: &str| {
                let (a, b) = (inbox.on_disk(a), inbox.on_disk(b));
                // What is to be swapped may just have been removed.
                let _ = rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
            };
            while !stop.load(Ordering::Relaxed) {
                exchange("folder", "swap");
                let _ = fs::remove_file(inbox.on_disk("calm/swap"));
                let _ = symlink("../../outside/victim", inbox.on_disk("calm/swap"));
                exchange("calm/file", "calm/swap");
            }
        });
        let _stop = Stop(&stop);
        let store = &inbox.store;
        let mut count = |result: Result<(), StoreError>| match result {
            Ok(()) => went_on += 1,
            Err(_) => refused += 1,
        };
        let meta = Meta {
            modified: Timestamp::new(1, 1).ok(),
            mode: Some(Mode::from_bits(0o777)),
            ..Meta::default()
        };
        for round in 0..ROUNDS {
            for name in ["folder/victim", "folder/deep/victim", "calm/file"] {
                let path = key(name);
                let mut staged = store.stage(StageId(round.into()), false).unwrap();
                staged.append(b"inside").unwrap();
                match store.publish(&mut staged, &path, true) {
                    Ok(stamp) if round % 50 == 0 => count(store.settle(&[(&path, &stamp)]).remove(0)),
                    result => count(result.map(drop)),
                }
                store.discard(StageId(round.into())).unwrap();
                count(store.set_meta(&path, meta.clone(), None).map(drop));
                let mut bytes = Vec::new();
                count(store.read(&path, 0, &mut |piece| {
                    bytes.extend_from_slice(piece);
                    true
                }));
                assert!(bytes == b"inside" || bytes.is_empty(), "read from outside: {bytes:?}");
                let entry = store.stat(&path);
                if let Ok(Some(entry)) = &entry {
                    assert!(matches!(entry.kind, EntryKind::File(6) | EntryKind::Symlink(_)), "{entry:?}");
                }
                count(entry.map(drop));
                count(store.make_link(&path, b"x", meta.clone(), true).map(drop));
                count(store.remove(&path));
            }
            count(store.make_folder(&key("folder/made/made")).map(drop));
            count(store.remove(&key("folder/only-outside")));
            let listed = store.list(Some(&key("folder")), usize::MAX);
            for (name, _) in listed.iter().flatten() {
                assert_ne!(name, b"only-outside", "listed what is outside");
            }
            count(listed.map(drop));
        }
    });
    assert!(went_on > 0 && refused > 0, "nothing raced: {went_on} went on, {refused} were refused");
    assert_eq!(snapshot(&inbox.outside()), before);
}

/// Everything below a folder that somebody could have changed.
fn snapshot(folder: &Path) -> BTreeSet<String> {
    let describe = |path: &Path| {
        let it = fs::symlink_metadata(path).unwrap();
        let content = if it.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        let times = (it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec());
        format!("{path:?} {:o} {} {} {times:?} {content:?}", it.mode(), it.ino(), it.nlink())
    };
    let entries = fs::read_dir(folder).unwrap().map(|entry| describe(&entry.unwrap().path()));
    entries.chain([describe(folder)]).collect()
}

#[test]
fn hostile_07_the_servers_own_folder_is_never_a_link() {
    for (link, to_folder) in [(".ferry", true), (".ferry/staging", true), (".ferry/lock", false)] {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join(link).parent().unwrap()).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(outside.join("link-0"), "").unwrap();
        let target = if to_folder { outside.clone() } else { outside.join("new") };
        symlink(&target, root.join(link)).unwrap();
        let before = snapshot(&outside);
        assert_kind(LocalStore::open(&root));
        assert_eq!(snapshot(&outside), before, "{link}");
    }
    for file in [".ferry", ".ferry/staging"] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
        fs::write(dir.path().join(file), "").unwrap();
        assert_kind(LocalStore::open(dir.path()));
    }
}

#[test]
fn hostile_07_special_files_hold_nobody_up_and_are_never_replaced() {
    let inbox = Inbox::new();
    let make = |name: &str, kind, device| {
        rustix::fs::mknodat(CWD, inbox.on_disk(name), kind, rustix::fs::Mode::from_raw_mode(0o666), device)
    };
    make("fifo", FileType::Fifo, 0).unwrap();
    let _socket = UnixListener::bind(inbox.on_disk("socket")).unwrap();
    let mut names = vec!["fifo", "socket"];
    match make("device", FileType::CharacterDevice, rustix::fs::makedev(1, 3)) {
        Ok(()) => names.push("device"),
        Err(errno) => eprintln!("without a device, which only root can make: {errno}"),
    }
    for name in names {
        let path = key(name);
        let (store, at) = (inbox.store.clone(), path.clone());
        assert_kind(in_time(move || store.read(&at, 0, &mut |_| panic!("something was read"))));
        let (store, at) = (inbox.store.clone(), path.clone());
        assert_kind(in_time(move || store.set_meta(&at, mode(0o600), None)));
        let (store, at) = (inbox.store.clone(), path.clone());
        assert_kind(in_time(move || store.make_folder(&at)));
        assert_kind(inbox.put(&path, b"new", Meta::default()));
        assert_kind(inbox.put(&path.join("below").unwrap(), b"new", Meta::default()));
        assert_kind(inbox.store.make_link(&path, b"x", Meta::default(), true));
        assert_eq!(inbox.store.stat(&path).unwrap().unwrap().kind, EntryKind::Other);
        let taken = inbox.store.make_link(&path, b"x", Meta::default(), false);
        assert!(matches!(taken, Err(StoreError::Exists)), "{taken:?}");
    }
}

#[test]
fn hostile_07_a_fifo_in_staging_holds_nobody_up() {
    let inbox = Inbox::new();
    let fifo = inbox.on_disk(".ferry/staging").join(StageId(7).to_string());
    rustix::fs::mknodat(CWD, fifo, FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    let store = inbox.store.clone();
    let reopened = in_time(move || store.reopen(StageId(7), 0).map(drop));
    assert!(matches!(reopened, Err(StoreError::NotFound)), "{reopened:?}");
    let store = inbox.store.clone();
    let staged = in_time(move || store.stage(StageId(7), false).map(drop));
    assert!(matches!(staged, Err(StoreError::Exists)), "{staged:?}");
    inbox.store.discard(StageId(7)).unwrap();
}
