//! The local store: the contract of every store, and what it has to survive.

#![allow(clippy::unwrap_used, reason = "a test ends where something that it stands on fails")]

mod links;
#[path = "../support/mod.rs"]
mod support;

use std::{
    cell::Cell,
    collections::BTreeSet,
    fmt::Debug,
    fs,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ferry_proto::{Mode, PathError, RelPath, Timestamp};
use ferry_store::{LocalStore, Meta, StageId, Staged, Stamp, Store, StoreError, conformance};
use support::as_nobody;
use tempfile::TempDir;

/// A store in a folder that has a neighbour, `outside`.
struct Inbox {
    dir: TempDir,
    store: Arc<LocalStore>,
    ids: AtomicU64,
}

impl Inbox {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        let store = Arc::new(LocalStore::open(&dir.path().join("root")).unwrap());
        Inbox { dir, store, ids: AtomicU64::new(0) }
    }

    fn on_disk(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("root").join(name)
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn put(&self, path: &RelPath, bytes: &[u8], meta: Meta) -> Result<Stamp, StoreError> {
        let id = StageId(self.ids.fetch_add(1, Ordering::Relaxed).into());
        let mut staged = self.store.stage(id, false).unwrap();
        staged.append(bytes).unwrap();
        self.store.seal(vec![(&mut staged, meta)]).remove(0).unwrap();
        let made = path.parent().map_or(Ok(Vec::new()), |parent| self.store.make_folder(&parent));
        made.and_then(|_| self.store.publish(&mut staged, path, true))
            .inspect_err(|_| self.store.discard(id).unwrap())
    }
}

fn key(name: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(name).unwrap()
}

fn mode(bits: u32) -> Meta {
    Meta { modified: None, mode: Some(Mode::from_bits(bits)), ..Meta::default() }
}

#[track_caller]
fn assert_kind<T: Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Kind)), "{result:?}");
}

fn keeps_the_contract_below(dir: TempDir) {
    let made = Cell::new(0);
    conformance::check(|| {
        let root = dir.path().join(made.replace(made.get() + 1).to_string());
        fs::create_dir(&root).unwrap();
        LocalStore::open(&root).unwrap()
    });
}

#[test]
fn keeps_the_contract_of_every_store() {
    keeps_the_contract_below(tempfile::tempdir().unwrap());
}

/// `tmpfs` keeps every time that fits into 64 bits, where others cut to what they can hold.
#[test]
fn keeps_the_contract_in_memory() {
    match tempfile::tempdir_in("/dev/shm") {
        Ok(dir) => keeps_the_contract_below(dir),
        Err(error) => eprintln!("skipped, no /dev/shm: {error}"),
    }
}

#[test]
fn a_folder_is_one_store_at_a_time() {
    let inbox = Inbox::new();
    let again = || LocalStore::open(&inbox.on_disk(""));
    assert!(matches!(again(), Err(StoreError::InUse)));
    assert!(inbox.put(&key("still-works"), b"x", Meta::default()).is_ok());
    let Inbox { dir, store, .. } = inbox;
    drop(store);
    assert!(LocalStore::open(&dir.path().join("root")).is_ok());
}

#[test]
fn a_folder_that_has_lost_its_path_is_noticed() {
    let inbox = Inbox::new();
    let (root, elsewhere) = (inbox.on_disk(""), inbox.outside().join("moved"));
    let is_there = || inbox.store.is_at(&root).unwrap();
    assert!(is_there());
    fs::rename(&root, &elsewhere).unwrap();
    assert!(!is_there());
    fs::create_dir(&root).unwrap();
    assert!(!is_there(), "another folder, as the one below a disk that is not mounted");
    fs::remove_dir(&root).unwrap();
    symlink(&elsewhere, root.as_path().parent().unwrap().join("root")).unwrap();
    assert!(is_there());
    let (free, whole) = inbox.store.space().unwrap();
    assert!(0 < free && free <= whole, "{free} of {whole}");
}

#[test]
fn opening_tidies_up_what_a_kill_left_and_nothing_else() {
    let inbox = Inbox::new();
    fs::write(inbox.on_disk("file"), "owner's").unwrap();
    symlink("x", inbox.on_disk(".ferry/staging/link-7")).unwrap();
    drop(inbox.store.stage(StageId(1), false).unwrap());
    let Inbox { dir, store, .. } = inbox;
    drop(store);
    let root = dir.path().join("root");
    let store = LocalStore::open(&root).unwrap();
    assert_eq!(fs::read_dir(root.join(".ferry/staging")).unwrap().count(), 1);
    assert_eq!(store.staged().unwrap()[0].0, StageId(1));
    assert_eq!(fs::read(root.join("file")).unwrap(), b"owner's");
    let private = fs::metadata(root.join(".ferry")).unwrap().mode();
    assert_eq!(private & 0o777, 0o700, "what is not whole is nobody's business");
}

#[test]
fn settle_notices_what_the_owner_did() {
    let inbox = Inbox::new();
    let meta = Meta { modified: Timestamp::new(1_500_000_000, 0).ok(), mode: None, ..Meta::default() };
    type Deed = fn(&Path);
    let deeds: [(&str, Deed); 7] = [
        ("removed", |file| fs::remove_file(file).unwrap()),
        ("moved", |file| fs::rename(file, file.with_file_name("elsewhere")).unwrap()),
        ("replaced", |file| {
            fs::write(file.with_file_name("other"), "bytes").unwrap();
            fs::rename(file.with_file_name("other"), file).unwrap();
        }),
        ("rewritten in place", |file| fs::write(file, "BYTES").unwrap()),
        ("replaced by a folder", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
        ("its folder moved away", |file| {
            fs::rename(file.parent().unwrap(), file.parent().unwrap().with_extension("away")).unwrap();
        }),
        ("its folder replaced by a link to it", |file| {
            let folder = file.parent().unwrap();
            fs::rename(folder, folder.with_extension("away")).unwrap();
            symlink(folder.with_extension("away"), folder).unwrap();
        }),
    ];
    for (number, (what, deed)) in deeds.into_iter().enumerate() {
        let touched = key(format!("touched-{number}/file"));
        let untouched = key(format!("untouched-{number}/file"));
        let touched_stamp = inbox.put(&touched, b"bytes", meta.clone()).unwrap();
        let untouched_stamp = inbox.put(&untouched, b"bytes", meta.clone()).unwrap();
        deed(&inbox.on_disk(format!("touched-{number}/file")));
        let settled = inbox.store.settle(&[(&touched, &touched_stamp), (&untouched, &untouched_stamp)]);
        assert!(matches!(settled[..], [Err(StoreError::Moved), Ok(())]), "{what}: {settled:?}");
    }
}

#[test]
fn hostile_01_odd_names_arrive_intact() {
    let inbox = Inbox::new();
    let long = "x".repeat(255);
    let deep = vec!["d"; 128].join("/");
    let names: [&[u8]; 18] = [
        b"aux.h",
        b"a:b",
        b"a\\b",
        b"..\\..\\x",
        b"C:\\x",
        b"a\\x2db.mount",
        b"trailing.",
        b"trailing ",
        b"...",
        b"new\nline",
        b"\r",
        b"latin-\xe9",
        b"\xff\xfe",
        b"*?[]$(x)`x`;|&",
        b"sub/.ferry",
        b".ferry2",
        long.as_bytes(),
        deep.as_bytes(),
    ];
    for name in names {
        inbox.put(&key(name), name, Meta::default()).unwrap();
    }
    for name in names {
        let on_disk = inbox.on_disk(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read(&on_disk).unwrap(), name, "{on_disk:?}");
    }
    let tops = |names: &mut dyn Iterator<Item = Vec<u8>>| -> BTreeSet<Vec<u8>> { names.collect() };
    let expected = tops(&mut names.iter().map(|name| name.split(|b| *b == b'/').next().unwrap().to_vec()));
    let found = fs::read_dir(inbox.on_disk("")).unwrap().map(|entry| entry.unwrap().file_name().into_vec());
    assert_eq!(tops(&mut found.filter(|name| name != b".ferry")), expected);
    assert_eq!(fs::read_dir(inbox.outside()).unwrap().count(), 0);
}

#[test]
fn hostile_02_twins_and_escapes_stay_apart() {
    let inbox = Inbox::new();
    let names = [
        "caf\u{e9}",
        "cafe\u{301}",
        "%2e%2e%2fetc",
        "%252e%252e",
        "\u{2024}\u{2024}",
        "\u{ff0e}\u{ff0e}",
        "\u{2025}\u{2044}x",
        "Case",
        "case",
    ];
    for name in names {
        inbox.put(&key(name), name.as_bytes(), Meta::default()).unwrap();
    }
    for name in names {
        assert_eq!(fs::read(inbox.on_disk(name)).unwrap(), name.as_bytes(), "{name:?}");
    }
    assert_eq!(inbox.store.list(None, usize::MAX).unwrap().len(), names.len());
    assert_eq!(fs::read_dir(inbox.dir.path()).unwrap().count(), 2);
}

#[test]
fn hostile_03_nothing_leads_to_what_the_server_keeps_for_itself() {
    let inbox = Inbox::new();
    for name in [".ferry", ".ferry/staging/x", ".Ferry/lock", ".FERRY/catalogue"] {
        assert_eq!(RelPath::new(name), Err(PathError::Reserved));
    }
    assert_eq!(inbox.store.list(None, usize::MAX).unwrap(), []);
    // A body that is staged has no name that could be asked for.
    let id = StageId(u128::MAX);
    drop(inbox.store.stage(id, false).unwrap());
    assert_eq!(inbox.store.stat(&key(id.to_string())).unwrap(), None);
    assert!(matches!(inbox.store.remove(&key("staging")), Err(StoreError::NotFound)));
}

#[test]
fn hostile_08_special_bits_never_reach_the_disk_and_the_owner_keeps_access() {
    let inbox = Inbox::new();
    let on_disk = |name: &str| fs::symlink_metadata(inbox.on_disk(name)).unwrap().mode() & 0o7777;
    for (asked, file, folder) in [
        (0o6755, 0o755, 0o755),
        (0o4755, 0o755, 0o755),
        (0o2755, 0o755, 0o755),
        (0o1777, 0o777, 0o777),
        (0o7777, 0o777, 0o777),
        (0o0444, 0o644, 0o744),
        (0o0000, 0o600, 0o700),
    ] {
        inbox.put(&key("published"), b"x", mode(asked)).unwrap();
        assert_eq!(on_disk("published"), file, "{asked:o}");
        inbox.store.set_meta(&key("published"), mode(asked), None).unwrap();
        assert_eq!(on_disk("published"), file, "{asked:o}");
        inbox.store.make_folder(&key("folder")).unwrap();
        inbox.store.set_meta(&key("folder"), mode(asked), None).unwrap();
        assert_eq!(on_disk("folder"), folder, "{asked:o}");
    }
    inbox.store.make_link(&key("link"), b"published", mode(0o7777), false).unwrap();
    assert_eq!(on_disk("published"), 0o600, "a link's mode is not applied through it");
    // Without one it is what any other program would have given it.
    inbox.put(&key("no mode"), b"x", Meta::default()).unwrap();
    fs::write(inbox.on_disk("of another program"), "").unwrap();
    assert_eq!(on_disk("no mode"), on_disk("of another program"));
}

#[test]
fn hostile_19_without_permission_nothing_is_done_and_that_is_said() {
    let inbox = Inbox::new();
    inbox.put(&key("file"), b"secret", mode(0o600)).unwrap();
    let mut staged = inbox.store.stage(StageId(7), false).unwrap();
    let other_root = inbox.dir.path().join("other");
    fs::create_dir(&other_root).unwrap();
    // Neither the owner nor anybody else may do anything that is tried below.
    let paths = [".ferry/staging", "file", ""].map(|name| inbox.on_disk(name));
    let locked = [(&paths[0], 0o500), (&paths[1], 0o000), (&paths[2], 0o555), (&other_root, 0o555)];
    let set = |path: &Path, bits| fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
    set(inbox.dir.path(), 0o755);
    locked.iter().for_each(|(path, bits)| set(path, *bits));
    as_nobody(|| {
        let store = &inbox.store;
        let denied = |result: Result<(), StoreError>| {
            assert!(matches!(result, Err(StoreError::Denied(_))), "{result:?}");
        };
        denied(store.stage(StageId(8), false).map(drop));
        denied(store.publish(&mut staged, &key("file"), true).map(drop));
        denied(store.make_folder(&key("folder")).map(drop));
        denied(store.make_link(&key("link"), b"x", Meta::default(), false).map(drop));
        denied(store.set_meta(&key("file"), mode(0o666), None).map(drop));
        denied(store.read(&key("file"), 0, &mut |_| panic!("read without permission")));
        denied(store.remove(&key("file")));
        denied(LocalStore::open(&other_root).map(drop));
    });
    locked.iter().for_each(|(path, _)| set(path, 0o700));
    assert_eq!(fs::read(inbox.on_disk("file")).unwrap(), b"secret");
    assert_eq!(inbox.store.list(None, usize::MAX).unwrap().len(), 1);
}

#[test]
fn hostile_09_times_at_both_ends_are_taken_as_near_as_they_can_be() {
    let inbox = Inbox::new();
    for seconds in [i64::MIN, i64::MAX] {
        let meta =
            Meta { modified: Timestamp::new(seconds, 999_999_999).ok(), mode: None, ..Meta::default() };
        let stamp = inbox.put(&key("file"), b"x", meta).unwrap();
        assert!(inbox.store.settle(&[(&key("file"), &stamp)])[0].is_ok());
        let year_2030 = 1_893_456_000;
        let held = inbox.store.stat(&key("file")).unwrap().unwrap().modified.seconds();
        assert_eq!(held > year_2030, seconds > 0, "{held}");
        assert_eq!(held < 0, seconds < 0, "{held}");
    }
}
