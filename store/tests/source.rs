//! Sources: what a walk finds, in which order, and how a changing file is noticed.

#![allow(clippy::unwrap_used, reason = "a test ends where something that it stands on fails")]

mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{ErrorKind, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use ferry_proto::{Kind, PathError, RelPath};
use ferry_store::{
    LocalStore,
    source::{Change, Choose, Found, Item, Links, Location, Pick, Source, SourceError, Walk},
};
use rustix::fs::{CWD, FileType};
use support::{as_nobody, in_time};
use tempfile::TempDir;

/// A folder with these files; a name that ends in `/` is a folder.
fn tree(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        let path = dir.path().join(name);
        fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
        if !name.ends_with('/') {
            fs::write(path, name).unwrap();
        }
    }
    dir
}

fn key(name: &str) -> RelPath {
    RelPath::new(name).unwrap()
}

fn open(path: &Path, links: Links) -> Result<Source, SourceError> {
    Source::open(&Location::of_path(path.to_owned()), links)
}

fn mkfifo(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o666), 0).unwrap();
}

/// What a walk came to, everything being settled as soon as it is found.
#[derive(Default)]
struct Walked {
    items: BTreeMap<String, Kind>,
    order: Vec<String>,
    skipped: BTreeMap<PathBuf, &'static str>,
    problems: BTreeMap<PathBuf, SourceError>,
}

impl Walked {
    fn new(root: &Path, base: Option<&str>, links: Links) -> Self {
        Walked::by(Walk::new(root, base.map(key), links))
    }

    /// Going only to these; what ends in a slash is a folder and all that is in it.
    fn picking(root: &Path, base: Option<&str>, picks: &[&str]) -> Self {
        let pick =
            |name: &&str| Pick { below: name.trim_end_matches('/').into(), is_whole: name.ends_with('/') };
        let picks = picks.iter().map(pick).collect();
        Walked::by(Walk::picking(root, base.map(key), Links::Keep, Box::new(NotSkipped), picks))
    }

    fn by(walk: Walk) -> Self {
        let mut walked = Walked::default();
        for found in walk {
            match found {
                Found::Item(item) => walked.settle(item),
                Found::Skipped(path, what) => assert_eq!(walked.skipped.insert(path, what), None),
                Found::LeftOut(path, why) => panic!("{path:?} is left out: {why}"),
                Found::Problem(path, error) => assert!(walked.problems.insert(path, error).is_none()),
            }
        }
        walked
    }

    fn settle(&mut self, item: Item) {
        let mut next = Some(item);
        while let Some(item) = next {
            let path = item.path.to_string();
            assert_eq!(self.items.insert(path.clone(), item.kind.clone()), None, "{path} was found twice");
            self.order.push(path);
            next = item.settle();
        }
    }

    fn names(&self) -> Vec<&str> {
        self.items.keys().map(String::as_str).collect()
    }
}

/// Leaves out what is called `skip`, and says nothing else.
struct NotSkipped;

impl Choose for NotSkipped {
    fn by_name(&mut self, below: &Path, _: bool) -> Option<String> {
        below.ends_with("skip").then(|| "skipped".to_owned())
    }

    fn by_facts(&mut self, _: &Item) -> Option<String> {
        None
    }
}

/// Every folder stands behind everything that is below it.
fn assert_folders_come_last(order: &[String]) {
    for (place, folder) in order.iter().enumerate() {
        let below = format!("{folder}/");
        let late = order[place..].iter().find(|path| path.starts_with(&below));
        assert_eq!(late, None, "{folder} came before something in it");
    }
}

const NESTED: [&str; 9] = ["a/b/c/1", "a/b/c/2", "a/b/3", "a/4", "a/empty/", "d/e/5", "d/6", "7", "z/y/x/w/"];
const NESTED_FOUND: [&str; 17] = [
    "7", "a", "a/4", "a/b", "a/b/3", "a/b/c", "a/b/c/1", "a/b/c/2", "a/empty", "d", "d/6", "d/e", "d/e/5",
    "z", "z/y", "z/y/x", "z/y/x/w",
];

#[test]
fn folders_come_after_what_is_in_them() {
    let dir = tree(&NESTED);
    let walked = Walked::new(dir.path(), None, Links::Keep);
    assert_eq!(walked.names(), NESTED_FOUND);
    assert_folders_come_last(&walked.order);
    assert!(walked.skipped.is_empty() && walked.problems.is_empty());
}

#[test]
fn only_what_is_picked_comes_and_the_folders_around_it() {
    let dir = tree(&NESTED);
    fs::create_dir_all(dir.path().join("d/skip/below")).unwrap();
    symlink("a", dir.path().join("link")).unwrap();
    // Behind a file, a link, or a folder that is left out, there is nothing; and what has gone is no problem.
    let picks =
        ["z/y/", "a/b/c/2", "z/y/x/w", "7/x", "link/4", "d/skip/below", "a/4", "d/gone", "gone/x", "a/empty"];
    let walked = Walked::picking(dir.path(), None, &picks);
    let found = ["a", "a/4", "a/b", "a/b/c", "a/b/c/2", "a/empty", "d", "z", "z/y", "z/y/x", "z/y/x/w"];
    assert_eq!(walked.names(), found);
    assert_folders_come_last(&walked.order);
    assert!(walked.skipped.is_empty() && walked.problems.is_empty());
    let walked = Walked::picking(dir.path(), Some("to"), &["link", "a"]);
    assert_eq!(walked.names(), ["to", "to/a", "to/link"]);
    assert_eq!(walked.items["to/link"], Kind::Symlink(b"a".to_vec()));
    // Whole, the root is what a walk finds that goes everywhere.
    fs::remove_dir_all(dir.path().join("d/skip")).unwrap();
    fs::remove_file(dir.path().join("link")).unwrap();
    assert_eq!(Walked::picking(dir.path(), None, &["/", "a/4"]).names(), NESTED_FOUND);
    assert_eq!(Walked::picking(&dir.path().join("gone"), Some("to"), &["/", "a"]).names(), [""; 0]);
}

#[test]
fn folders_come_after_what_is_in_them_whatever_order_threads_settle_it_in() {
    const THREADS: usize = 4;
    let dir = tree(&NESTED);
    for _ in 0..50 {
        let mut items: Vec<Item> = Walk::new(dir.path(), Some(key("top")), Links::Keep)
            .map(|found| match found {
                Found::Item(item) => item,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(items.len(), 7 + 2, "only files and empty folders can be given out yet");
        items.sort_by_cached_key(|_| RandomState::new().hash_one(()));
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            while !items.is_empty() {
                let some = items.split_off(items.len().saturating_sub(items.len().div_ceil(THREADS)));
                let order = &order;
                scope.spawn(move || {
                    for item in some {
                        let mut next = Some(item);
                        while let Some(item) = next {
                            order.lock().unwrap().push(item.path.to_string());
                            next = item.settle();
                        }
                    }
                });
            }
        });
        let mut order = order.into_inner().unwrap();
        assert_folders_come_last(&order);
        order.sort();
        let expected = NESTED_FOUND.map(|name| format!("top/{name}"));
        assert_eq!(order[0], "top");
        assert_eq!(order[1..], expected);
    }
}

#[test]
fn a_tree_goes_to_its_base_and_without_one_to_the_top() {
    let dir = tree(&["holiday/a/1", "holiday/2"]);
    let root = dir.path().join("holiday");
    let with_base = Walked::new(&root, Some("x/photos"), Links::Keep);
    assert_eq!(with_base.names(), ["x/photos", "x/photos/2", "x/photos/a", "x/photos/a/1"]);
    let without = Walked::new(&root, None, Links::Keep);
    assert_eq!(without.names(), ["2", "a", "a/1"]);
    let with_a_slash = Walked::new(&dir.path().join("holiday/"), None, Links::Keep);
    assert_eq!(with_a_slash.names(), ["2", "a", "a/1"]);
}

#[test]
fn a_link_at_the_root_is_entered_only_where_its_contents_are_asked_for() {
    let dir = tree(&NESTED);
    let links = tempfile::tempdir().unwrap();
    let root = links.path().join("link");
    symlink(dir.path(), &root).unwrap();
    let direct = Walked::new(dir.path(), None, Links::Keep);
    for links in [Links::Keep, Links::Skip, Links::Follow] {
        let walked = Walked::new(&root, None, links);
        assert_eq!(walked.items, direct.items);
        assert_eq!(walked.order, direct.order, "a folder was held back");
    }
    let kept = Walked::new(&root, Some("link"), Links::Keep);
    let target = dir.path().as_os_str().as_bytes().to_vec();
    assert_eq!(kept.items, BTreeMap::from([("link".into(), Kind::Symlink(target))]));
    assert_eq!(Walked::new(&root, Some("link"), Links::Follow).items.len(), 1 + NESTED_FOUND.len());
}

#[test]
fn a_single_file_is_a_source_and_what_is_missing_is_a_problem() {
    let dir = tree(&["file"]);
    let file = dir.path().join("file");
    let walked = Walked::new(&file, Some("renamed"), Links::Keep);
    assert_eq!(walked.items, BTreeMap::from([("renamed".into(), Kind::File)]));

    let problem = |root: &Path, base| {
        let mut walked = Walked::new(root, base, Links::Keep);
        assert!(walked.items.is_empty() && walked.skipped.is_empty());
        match walked.problems.remove(root) {
            Some(SourceError::Io(error)) => error.kind(),
            other => panic!("{root:?}: {other:?}"),
        }
    };
    // Only a folder has contents.
    assert_eq!(problem(&file, None), ErrorKind::NotADirectory);
    let missing = dir.path().join("missing");
    assert_eq!(problem(&missing, None), ErrorKind::NotFound);
    assert_eq!(problem(&missing, Some("missing")), ErrorKind::NotFound);
}

#[test]
fn links_are_kept_followed_or_skipped() {
    let dir = tree(&["folder/file", "plain"]);
    symlink("folder", dir.path().join("to-folder")).unwrap();
    symlink("plain", dir.path().join("to-file")).unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    let link = |target: &str| Kind::Symlink(target.into());

    let kept = Walked::new(dir.path(), None, Links::Keep);
    assert_eq!(kept.names(), ["dangling", "folder", "folder/file", "plain", "to-file", "to-folder"]);
    assert_eq!(kept.items["to-folder"], link("folder"));
    assert_eq!(kept.items["to-file"], link("plain"));
    assert_eq!(kept.items["dangling"], link("nowhere"));

    let followed = Walked::new(dir.path(), None, Links::Follow);
    assert_eq!(
        followed.names(),
        ["folder", "folder/file", "plain", "to-file", "to-folder", "to-folder/file"]
    );
    assert_eq!((&followed.items["to-file"], &followed.items["to-folder"]), (&Kind::File, &Kind::Folder));
    assert_eq!(followed.problems.keys().collect::<Vec<_>>(), [&dir.path().join("dangling")]);

    let skipped = Walked::new(dir.path(), None, Links::Skip);
    assert_eq!(skipped.names(), ["folder", "folder/file", "plain"]);
    let names = ["dangling", "to-file", "to-folder"].map(|name| (dir.path().join(name), "a symbolic link"));
    assert_eq!(skipped.skipped, names.into());
}

#[test]
fn links_that_lead_in_a_circle_are_problems_and_the_rest_goes_on() {
    let dir = tree(&["a/b/file", "z"]);
    symlink("..", dir.path().join("a/b/up")).unwrap();
    symlink("self", dir.path().join("a/self")).unwrap();
    let walked = Walked::new(dir.path(), Some("top"), Links::Follow);
    assert_eq!(walked.names(), ["top", "top/a", "top/a/b", "top/a/b/file", "top/z"]);
    assert_folders_come_last(&walked.order);
    let expected = ["a/b/up", "a/self"].map(|name| dir.path().join(name));
    assert!(walked.problems.keys().eq(&expected), "{:?}", walked.problems);
}

#[test]
fn hostile_07_special_files_are_skipped_and_hold_nobody_up() {
    let dir = tree(&["a/file", "b"]);
    mkfifo(&dir.path().join("a/fifo"));
    let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    symlink("/dev/null", dir.path().join("device")).unwrap();
    let root = dir.path().to_owned();
    let walked = in_time(move || Walked::new(&root, None, Links::Follow));
    assert_eq!(walked.names(), ["a", "a/file", "b"]);
    let expected = [("a/fifo", "a FIFO"), ("device", "a device"), ("socket", "a socket")];
    assert_eq!(walked.skipped, expected.map(|(name, what)| (dir.path().join(name), what)).into());
}

#[test]
fn hostile_07_what_takes_the_place_of_a_file_after_the_walk_is_not_read() {
    let dir = tree(&["fifo", "link", "folder", "socket", "other"]);
    let at = |name: &str| dir.path().join(name);
    let found = Walked::new(dir.path(), None, Links::Keep);
    assert!(found.items.values().all(|kind| *kind == Kind::File));
    for name in ["fifo", "link", "folder", "socket"] {
        fs::remove_file(at(name)).unwrap();
    }
    mkfifo(&at("fifo"));
    symlink("other", at("link")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();

    for name in ["fifo", "link", "folder", "socket"] {
        let path = at(name);
        let opened = in_time(move || open(&path, Links::Keep));
        assert!(opened.is_err(), "{name} was opened as a file");
    }
    let (fifo, link) = (at("fifo"), at("link"));
    assert!(matches!(in_time(move || open(&fifo, Links::Follow)), Err(SourceError::Changed)));
    assert!(open(&link, Links::Follow).is_ok());
}

#[test]
fn hostile_19_a_folder_without_permission_is_a_problem_and_the_rest_goes_on() {
    let dir = tree(&["a/1", "closed/2", "z/3"]);
    let set = |name: &str, bits| {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(bits)).unwrap();
    };
    set("", 0o755);
    set("closed", 0o000);
    set("a/1", 0o000);
    let (walked, opened) = as_nobody(|| {
        let walked = Walked::new(dir.path(), Some("top"), Links::Keep);
        (walked, open(&dir.path().join("a/1"), Links::Keep))
    });
    set("closed", 0o700);
    for name in ["top/a", "top/a/1", "top/z", "top/z/3", "top"] {
        assert!(walked.items.contains_key(name), "{name} is missing");
    }
    assert!(!walked.items.contains_key("top/closed/2"));
    assert_folders_come_last(&walked.order);
    assert!(walked.problems.keys().eq([&dir.path().join("closed")]));
    let denied = |error: &SourceError| matches!(error, SourceError::Io(error) if error.kind() == ErrorKind::PermissionDenied);
    assert!(walked.problems.values().all(denied), "{:?}", walked.problems);
    assert!(opened.is_err_and(|error| denied(&error)), "what cannot be read is noticed when it is opened");
}

#[test]
fn hostile_22_what_vanishes_during_the_walk_is_a_problem_and_the_rest_goes_on() {
    let dir = tree(&["a/1", "b/2", "c/3"]);
    let mut walk = Walk::new(dir.path(), None, Links::Keep);
    let Some(Found::Item(first)) = walk.next() else { panic!("nothing was found") };
    let kept = first.path.components().next().unwrap().to_vec();
    // The names were read when the first was found.
    for name in ["a", "b", "c"].into_iter().filter(|name| name.as_bytes() != kept) {
        fs::remove_dir_all(dir.path().join(name)).unwrap();
    }
    let mut problems = 0;
    let mut folders = Vec::from_iter(first.settle());
    for found in walk {
        match found {
            Found::Problem(_, SourceError::Io(error)) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                problems += 1;
            }
            Found::Item(item) => folders.push(item),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(problems, 2);
    assert_eq!(folders.len(), 1);
    assert_eq!(folders[0].path.as_bytes(), kept);
}

#[test]
fn hostile_01_names_that_cannot_travel_are_problems_and_the_rest_goes_on() {
    let deep = vec!["d"; 130].join("/");
    let dir = tree(&[".ferry/lock", "a/.ferry/x", "b", &format!("{deep}/file"), "z/1"]);
    fs::create_dir(dir.path().join(".FERRY")).unwrap();
    let walked = Walked::new(dir.path(), None, Links::Keep);
    let (deepest, too_deep) = (vec!["d"; 128].join("/"), vec!["d"; 129].join("/"));
    for name in ["a", "a/.ferry", "a/.ferry/x", "b", "z", "z/1", &deepest] {
        assert!(walked.items.contains_key(name), "{name} is missing");
    }
    assert_eq!(walked.items.len(), 6 + 128);
    assert_folders_come_last(&walked.order);
    let found = walked.problems.iter().map(|(path, error)| match error {
        SourceError::Name(error) => (path.clone(), *error),
        other => panic!("{path:?}: {other:?}"),
    });
    let expected =
        [(".FERRY", PathError::Reserved), (".ferry", PathError::Reserved), (&too_deep, PathError::TooDeep)];
    assert!(found.eq(expected.map(|(name, error)| (dir.path().join(name), error))));

    // A base counts too.
    let below = Walked::new(dir.path(), Some("base"), Links::Keep);
    assert!(below.items.contains_key("base/.ferry/lock"));
    assert!(below.problems.keys().eq([&dir.path().join(vec!["d"; 128].join("/"))]));
    let long_base = vec!["n".repeat(200); 20].join("/");
    let dir = tree(&["fits", &"n".repeat(100)]);
    let walked = Walked::new(dir.path(), Some(&long_base), Links::Keep);
    assert_eq!(walked.items.len(), 2);
    assert!(matches!(walked.problems.values().next(), Some(SourceError::Name(PathError::TooLong))));
}

#[test]
fn hostile_01_names_are_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let long = [b'x'; 255];
    let names: [&[u8]; 7] =
        [b"latin-\xe9", b"\xff\xfe", b"new\nline", b"a\\b", "cafe\u{301}".as_bytes(), b" ", &long];
    for name in names {
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    symlink(std::ffi::OsStr::from_bytes(b"t\xe9"), dir.path().join("link")).unwrap();
    let found = Walk::new(dir.path(), None, Links::Keep).map(|found| match found {
        Found::Item(item) => item,
        other => panic!("{other:?}"),
    });
    let mut seen = 0;
    for item in found {
        seen += 1;
        match &item.kind {
            Kind::Symlink(target) => assert_eq!(target, b"t\xe9"),
            _ => {
                let mut bytes = Vec::new();
                Source::open(&item.source, Links::Keep).unwrap().read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes, item.path.as_bytes());
            }
        }
    }
    assert_eq!(seen, names.len() + 1);
}

#[test]
fn hostile_22_a_file_that_changes_under_the_reader_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let append =
        |path: &Path| OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    let touch = |path: &Path| {
        File::options().write(true).open(path).unwrap().set_modified(SystemTime::now()).unwrap();
    };
    type Deed<'a> = &'a dyn Fn(&Path);
    let deeds: [(&str, Change, Deed<'_>); 8] = [
        ("left alone", Change::None, &|_| {}),
        ("read", Change::None, &|path| drop(fs::read(path).unwrap())),
        ("appended to", Change::Grew, &append),
        ("cut", Change::Changed, &|path| {
            OpenOptions::new().write(true).open(path).unwrap().set_len(3).unwrap()
        }),
        ("emptied", Change::Changed, &|path| drop(File::create(path).unwrap())),
        ("rewritten to the same size", Change::Changed, &|path| fs::write(path, "CONTENT").unwrap()),
        ("touched", Change::Changed, &touch),
        ("replaced", Change::Changed, &|path| {
            fs::write(path.with_extension("new"), "content and more").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
    ];
    for (what, expected, deed) in deeds {
        fs::write(&path, "content").unwrap();
        let old = SystemTime::now() - Duration::from_secs(1000);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let source = open(&path, Links::Keep).unwrap();
        let identity = source.identity();
        deed(&path);
        assert_eq!(source.change_since(&identity).unwrap(), expected, "{what}");
        // Seen by name, from the walk to the opening, it is the same.
        let reopened = open(&path, Links::Keep).unwrap();
        assert_eq!(reopened.change_since(&identity).unwrap(), expected, "{what}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn an_item_knows_what_its_source_was() {
    let dir = tree(&["file"]);
    fs::set_permissions(dir.path().join("file"), fs::Permissions::from_mode(0o4751)).unwrap();
    let mut walk = Walk::new(dir.path(), None, Links::Keep);
    let Some(Found::Item(item)) = walk.next() else { panic!("nothing was found") };
    let source = Source::open(&item.source, Links::Keep).unwrap();
    assert_eq!((item.identity, item.mode), (source.identity(), source.mode()));
    assert_eq!((item.identity.size, item.mode.bits()), (4, 0o4751));
    assert!(walk.next().is_none());
}

/// What a walk over a store comes to, everything being settled as soon as it is found.
fn in_store(dir: &Path, folder: Option<&str>, path: Option<&str>, recursive: bool) -> Walked {
    let shelf = LocalStore::open(dir).unwrap().shelf().unwrap();
    let (folder, path) = (folder.map(key), path.map(key));
    let mut walked = Walked::default();
    for found in Walk::of_shelf(&shelf, folder.as_ref(), path.as_ref(), recursive, |_| {}) {
        match found {
            Found::Item(item) => walked.settle(item),
            Found::Skipped(path, what) => assert_eq!(walked.skipped.insert(path, what), None),
            Found::LeftOut(path, why) => panic!("{path:?} is left out: {why}"),
            Found::Problem(path, error) => assert!(walked.problems.insert(path, error).is_none()),
        }
    }
    walked
}

#[test]
fn a_store_is_walked_as_a_tree_is() {
    let dir = tree(&NESTED);
    symlink("nowhere", dir.path().join("a/link")).unwrap();
    mkfifo(&dir.path().join("fifo"));
    let all = in_store(dir.path(), None, None, true);
    let mut expected: Vec<_> = NESTED_FOUND.into_iter().chain(["a/link"]).collect();
    expected.sort_unstable();
    assert_eq!(all.names(), expected);
    assert_eq!(all.items["a/link"], Kind::Symlink(b"nowhere".to_vec()));
    assert_folders_come_last(&all.order);
    assert_eq!(all.skipped.keys().collect::<Vec<_>>(), [Path::new("fifo")]);

    assert_eq!(
        in_store(dir.path(), None, Some("a/b"), true).names(),
        ["a/b", "a/b/3", "a/b/c", "a/b/c/1", "a/b/c/2"]
    );
    assert_eq!(in_store(dir.path(), None, Some("a/4"), true).names(), ["a/4"]);
    assert_eq!(in_store(dir.path(), Some("a"), Some("b/c"), true).names(), ["b/c", "b/c/1", "b/c/2"]);
    assert_eq!(in_store(dir.path(), Some("d"), None, true).names(), ["6", "e", "e/5"]);
    assert_eq!(in_store(dir.path(), None, None, false).names(), ["7", "a", "d", "z"]);
    assert_eq!(in_store(dir.path(), None, Some("a/b"), false).names(), ["a/b", "a/b/3", "a/b/c"]);
    let none = in_store(dir.path(), None, Some("a/none"), true);
    assert!(none.items.is_empty() && none.problems.contains_key(Path::new("a/none")), "{:?}", none.problems);
}

#[test]
fn hostile_03_a_walk_over_a_store_passes_over_what_is_the_stores_own() {
    let dir = tree(&["a/.ferry/file", "file"]);
    let walked = in_store(dir.path(), None, None, true);
    assert_eq!(walked.names(), ["a", "a/.ferry", "a/.ferry/file", "file"]);
    assert!(dir.path().join(".ferry/lock").exists());
}

#[test]
fn hostile_06_a_walk_over_a_store_never_leaves_it() {
    let dir = tree(&["a/file"]);
    let outside = tree(&["secret/file"]);
    symlink(outside.path(), dir.path().join("absolute")).unwrap();
    symlink("..", dir.path().join("a/up")).unwrap();
    symlink("a", dir.path().join("within")).unwrap();
    let walked = in_store(dir.path(), None, None, true);
    assert_eq!(walked.names(), ["a", "a/file", "a/up", "absolute", "within"]);
    for path in ["absolute/secret", "absolute/secret/file", "a/up/a", "within/file"] {
        let walked = in_store(dir.path(), None, Some(path), true);
        assert!(walked.items.is_empty() && walked.problems.len() == 1, "{path}: {:?}", walked.items);
    }
}

#[test]
fn a_walk_over_a_deep_store_keeps_few_folders_open() {
    const DEPTH: usize = 60;
    let dir = tempfile::tempdir().unwrap();
    let mut folder = dir.path().to_owned();
    for level in 0..DEPTH {
        // Something before and something behind the folder that leads on, whatever their order.
        for name in ["0", "1", "2", "3"] {
            fs::write(folder.join(name), [level as u8]).unwrap();
        }
        folder.push("f");
        fs::create_dir(&folder).unwrap();
    }
    let shelf = LocalStore::open(dir.path()).unwrap().shelf().unwrap();
    // Of this tree: other tests of this process open files, too.
    let root = dir.path().canonicalize().unwrap();
    let is_beneath = |fd: &fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(&root));
    let open = || fs::read_dir("/proc/self/fd").unwrap().flatten().filter(is_beneath).count();
    let (mut most, mut found) = (0, 0);
    for next in Walk::of_shelf(&shelf, None, None, true, |_| {}) {
        let Found::Item(item) = next else { panic!("{next:?}") };
        let mut next = Some(item);
        while let Some(item) = next {
            found += 1;
            next = item.settle();
        }
        most = most.max(open());
    }
    assert_eq!(found, DEPTH * 5);
    assert!((1..DEPTH / 3).contains(&most), "{most} files were open");
}

#[test]
fn what_a_store_holds_can_be_read_while_its_names_are_moved_away() {
    let dir = tree(&["a/file"]);
    let shelf = LocalStore::open(dir.path()).unwrap().shelf().unwrap();
    let found = Walk::of_shelf(&shelf, None, Some(&key("a/file")), true, |_| {}).next();
    let Some(Found::Item(item)) = found else { panic!("{found:?}") };
    let mut bytes = Vec::new();
    Source::open(&item.source, Links::Keep).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"a/file");
    fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
    symlink("b", dir.path().join("a")).unwrap();
    assert!(matches!(Source::open(&item.source, Links::Follow), Err(SourceError::Io(_))), "through a link");
}
