//! `ferry watch`: what appears is sent when it has settled, whatever happens to either end meanwhile.
//!
//! A clock that is set back is not tried: that would disturb everything else on the machine. Neither is a file system that
//! is unmounted under a watch: the root that is removed, and the one that another folder takes the place of, go the same way.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use rustix::{
    fs::{CWD, RenameFlags},
    process::Signal,
};

use crate::support::{
    Client, Outcome, Plan, Proxy, Running, Server, assert_same_file, assert_same_tree, eventually, left_out,
    make_fifo, noise, set_mode, set_modified, without_privileges, write,
};

const MIB: usize = 1024 * 1024;

/// A folder under watch, and the server that it goes to.
struct Watched {
    server: Server,
    client: Client,
    folder: PathBuf,
    flags: Vec<String>,
    running: Option<Running>,
}

impl Watched {
    /// A folder with one file in it, which has arrived.
    fn start(flags: &[&str]) -> Self {
        let mut watched = Self::prepare(flags);
        watched.watch();
        watched.has_arrived("first");
        watched
    }

    fn prepare(flags: &[&str]) -> Self {
        let server = Server::start();
        let client = Client::paired(&server);
        let folder = server.beside().join("watched");
        write(folder.join("first"), "first");
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Watched { server, client, folder, flags, running: None }
    }

    fn watch(&mut self) {
        self.running = Some(self.watch_with(&[]));
    }

    fn watch_with(&self, wrapper: &[&str]) -> Running {
        let ferry = self.client.wrapped(wrapper, "watch").arg(&self.folder).args(["--to", "box"]);
        ferry.args(&self.flags).start()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.folder.join(name.as_ref())
    }

    fn inbox(&self) -> PathBuf {
        self.server.inbox().join("watched")
    }

    fn received(&self, name: &str) -> usize {
        let words = format!(" file=watched/{name} ");
        self.server.log().lines().filter(|line| line.contains("received") && line.contains(&words)).count()
    }

    fn has_arrived(&self, name: &str) {
        eventually(name, || (self.received(name) > 0).then_some(()));
    }

    /// Waits until every connection has ended, as it does when nothing is left to do.
    fn has_parted(&self) {
        let count = |log: &str, words: &str| log.matches(words).count();
        eventually("the end of every connection", || {
            let log = self.server.log();
            let ends = count(&log, "INFO finished") + count(&log, "INFO connection lost");
            (count(&log, "INFO connected") == ends).then_some(())
        });
    }

    fn is_complete(&self) {
        self.has_parted();
        assert_same_tree(&self.folder, &self.inbox());
    }

    fn stop(&mut self) -> Outcome {
        let running = self.running.take().unwrap();
        running.signal(Signal::TERM);
        running.wait()
    }
}

#[test]
fn what_is_there_and_what_appears_arrives() {
    let mut watched = Watched::prepare(&[]);
    write(watched.path("before/deep/er/file"), "before");
    fs::create_dir(watched.path("empty")).unwrap();
    set_mode(watched.path("empty"), 0o750);
    set_modified(watched.path("empty"), 1_000_000_000, 5);
    symlink("/nowhere", watched.path("link")).unwrap();
    watched.watch();
    watched.has_arrived("first");
    watched.is_complete();
    // One by one, in a tree that is made at once, in one that is moved in, and under names that are no text.
    write(watched.path("before/deep/new"), "new");
    write(watched.path("made/a/b/c/d/file"), "made");
    let elsewhere = watched.server.beside().join("elsewhere");
    write(elsewhere.join("x/y/file"), "moved in");
    set_modified(elsewhere.join("x/y/file"), 1_000_000_000, 7);
    fs::rename(&elsewhere, watched.path("moved")).unwrap();
    let odd = OsStr::from_bytes(b"caf\xe9\n");
    write(watched.path(odd).join(odd), "no text");
    symlink("first", watched.path("made/link")).unwrap();
    fs::create_dir(watched.path("made/empty")).unwrap();
    set_mode(watched.path("made/empty"), 0o711);
    watched.has_arrived("moved/x/y/file");
    watched.is_complete();
    // What is in it has been watched since.
    for folder in ["before/deep/er", "made/a/b/c", "moved/x", "empty"] {
        write(watched.path(folder).join("later"), folder);
    }
    fs::rename(watched.path("made/a/b"), watched.path("made/renamed")).unwrap();
    watched.has_arrived("empty/later");
    eventually("the new name", || watched.inbox().join("made/renamed/c/later").exists().then_some(()));
    write(watched.path("made/renamed/c/last"), "last");
    watched.has_arrived("made/renamed/c/last");
    watched.has_parted();
    assert!(watched.inbox().join("made/a/b/c/d/file").exists(), "ferry removes nothing");
    fs::remove_dir_all(watched.inbox().join("made/a/b")).unwrap();
    let modified = fs::metadata(watched.path("made/a")).unwrap();
    set_modified(watched.inbox().join("made/a"), modified.mtime(), modified.mtime_nsec());
    watched.is_complete();
    let outcome = watched.stop().code(0);
    outcome.says("sent  watched/empty/later").says("sent  watched/made/link");
}

#[test]
fn what_is_being_written_is_sent_once_when_it_is_complete() {
    let mut watched = Watched::start(&[]);
    let slow = watched.path("slow");
    let mut file = File::create(&slow).unwrap();
    for _ in 0..10 {
        file.write_all(&noise(10_000, 1)).unwrap();
        // This is how slowly it is written; it is a long time for nobody.
        sleep(Duration::from_millis(500));
    }
    // It stands still for longer than the settling time, but nobody has closed it.
    write(watched.path("meanwhile"), "meanwhile");
    watched.has_arrived("meanwhile");
    assert_eq!(watched.received("slow"), 0);
    file.write_all(b"the end").unwrap();
    drop(file);
    // As editors and browsers do.
    fs::write(watched.path("page.part"), "a part").unwrap();
    fs::rename(watched.path("page.part"), watched.path("page")).unwrap();
    fs::write(watched.path(".first.tmp"), "another version").unwrap();
    fs::rename(watched.path(".first.tmp"), watched.path("first")).unwrap();
    for name in ["slow", "page"] {
        watched.has_arrived(name);
    }
    watched.is_complete();
    let received = ["slow", "page", "first", "page.part", ".first.tmp"].map(|name| watched.received(name));
    assert_eq!(received, [1, 1, 2, 0, 0]);
    watched.stop().code(0);
}

#[test]
fn a_log_that_is_always_written_to_is_outstanding() {
    let mut watched = Watched::start(&[]);
    let mut log = OpenOptions::new().create(true).append(true).open(watched.path("log")).unwrap();
    for _ in 0..8 {
        log.write_all(b"a line\n").unwrap();
        sleep(Duration::from_millis(500));
    }
    let outcome = watched.stop().code(5);
    outcome.says("goes on from here");
    assert_eq!(watched.received("log"), 0);
    drop(log);
    watched.watch();
    watched.has_arrived("log");
    watched.is_complete();
    watched.stop().code(0);
}

#[test]
fn the_rules_mean_what_they_mean_in_send() {
    let mut watched = Watched::prepare(&[
        "--exclude",
        "*.part",
        "--exclude",
        "cache/",
        "--gitignore",
        "--max-size",
        "1MB",
        "--json",
    ]);
    write(watched.path(".gitignore"), "*.o\n");
    watched.watch();
    watched.has_arrived("first");
    write(watched.path("film.part"), "a part");
    write(watched.path("cache/file"), "cache");
    write(watched.path("deep/a.o"), "object");
    write(watched.path("deep/large"), noise(MIB, 1));
    write(watched.path("deep/small"), "small");
    watched.has_arrived("deep/small");
    watched.has_parted();
    let expected = [".gitignore", "deep", "deep/small", "first"].map(|name| format!("watched/{name}"));
    assert_eq!(watched.server.names()[1..], expected);
    // What was left out is taken as soon as the rules take it.
    fs::rename(watched.path("film.part"), watched.path("film")).unwrap();
    fs::write(watched.path(".gitignore"), "cache\n").unwrap();
    fs::write(watched.path("deep/large"), "not any more").unwrap();
    for name in ["film", "deep/a.o", "deep/large"] {
        watched.has_arrived(name);
    }
    watched.has_parted();
    let outcome = watched.stop().code(0);
    let objects = outcome.objects();
    let summaries = objects.iter().filter(|object| object.get("summary").is_some()).count();
    assert_eq!(summaries, 1);
    assert!(outcome.total("skipped") > 0);
    assert!(!watched.inbox().join("cache").exists());
}

#[test]
fn what_appears_while_the_server_is_away_arrives_when_it_is_back() {
    let mut watched = Watched::start(&[]);
    watched.has_parted();
    watched.server.kill();
    write(watched.path("early"), "early");
    watched.running().has_told("trying again until it works");
    // What has changed since it had settled is not sent as it was then, and not in the middle of a change.
    let mut early = File::create(watched.path("early")).unwrap();
    early.write_all(b"half of it").unwrap();
    for number in 0..20 {
        write(watched.path(format!("{number}/file")), number.to_string());
    }
    // Another try, at the least.
    sleep(Duration::from_secs(3));
    watched.server.restart();
    for number in 0..20 {
        watched.has_arrived(&format!("{number}/file"));
    }
    assert_eq!(watched.received("early"), 0);
    early.write_all(b", and the other half").unwrap();
    drop(early);
    watched.has_arrived("early");
    // By then everything that was put off meanwhile has settled, too.
    write(watched.path("last"), "last");
    watched.has_arrived("last");
    watched.is_complete();
    assert_eq!(watched.received("early"), 1);
    let told = watched.running().stderr_so_far();
    assert_eq!(told.matches("trying again").count(), 1, "{told}");
    assert_eq!(told.matches("the server is there again").count(), 1, "{told}");
    watched.stop().code(0);
    // A server that is away from the beginning is no reason to end either.
    watched.server.kill();
    write(watched.path("later"), "later");
    watched.watch();
    watched.running().has_told("trying again until it works");
    watched.server.restart();
    watched.has_arrived("later");
    watched.is_complete();
    watched.stop().code(0);
}

#[test]
fn promise_3_a_killed_watch_goes_on_where_it_was() {
    const LENGTH: usize = 100 * MIB;
    const CHECKPOINT: u64 = 32 * MIB as u64;
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let folder = server.beside().join("watched");
    write(folder.join("small"), noise(MIB, 2));
    let mut watched = Watched { server, client, folder, flags: Vec::new(), running: None };
    watched.watch();
    watched.has_arrived("small");
    watched.has_parted();
    proxy.set(Plan::SilentAfter(70 * MIB as u64));
    write(watched.path("large"), noise(LENGTH, 1));
    proxy.falls_silent();
    let is_halfway = |watched: &Watched| watched.server.checkpoints() == [2 * CHECKPOINT];
    eventually("the second checkpoint", || is_halfway(&watched).then_some(()));
    let running = watched.running.take().unwrap();
    running.signal(Signal::KILL);
    drop(running);
    proxy.cut();
    let before = proxy.to_server();
    watched.watch();
    watched.has_arrived("large");
    watched.is_complete();
    // The rest of it, and offers: nothing of what is there already.
    let sent = proxy.to_server() - before;
    let rest = LENGTH as u64 - 2 * CHECKPOINT;
    assert!((rest..rest + MIB as u64 / 2).contains(&sent), "{sent} bytes for a rest of {rest}");
    watched.stop().code(0);
}

#[test]
fn it_stops_whatever_it_is_doing() {
    for signal in [Signal::INT, Signal::TERM] {
        // While it cannot reach the server.
        let mut watched = Watched::prepare(&[]);
        watched.server.kill();
        watched.watch();
        watched.running().has_told("trying again");
        let running = watched.running.take().unwrap();
        running.signal(signal);
        running.wait().code(5).says("goes on from here");
        // In the middle of a body.
        watched.server.restart();
        watched.flags = vec!["--limit-rate".to_owned(), "1MB".to_owned()];
        write(watched.path("large"), noise(40 * MIB, 1));
        watched.watch();
        eventually("a body on its way", || {
            watched.server.staged().iter().any(|(_, length)| *length > 0).then_some(())
        });
        let running = watched.running.take().unwrap();
        running.signal(signal);
        running.wait().code(5).says("goes on from here");
        // With nothing to do, and the connection still there.
        watched.flags.clear();
        watched.watch();
        watched.has_arrived("large");
        watched.running().has_told("sent  watched/large");
        let connected = || watched.server.log().matches("INFO connected").count();
        let before = connected();
        watched.has_parted();
        assert_eq!(connected(), before);
        watched.stop().code(0);
        assert_same_tree(&watched.folder, &watched.inbox());
    }
}

#[test]
fn hostile_22_what_changes_while_it_is_sent_settles_anew_and_has_not_failed() {
    let mut watched = Watched::start(&["--limit-rate", "20MB"]);
    let mut bytes = noise(100 * MIB, 1);
    write(watched.path("large"), &bytes);
    eventually("a body on its way", || {
        watched.server.staged().iter().any(|(_, length)| *length > 0).then_some(())
    });
    bytes[7] ^= 1;
    let file = OpenOptions::new().write(true).open(watched.path("large")).unwrap();
    file.write_all_at(&bytes[7..8], 7).unwrap();
    drop(file);
    watched.has_arrived("large");
    watched.is_complete();
    assert_eq!(watched.received("large"), 1, "{}", watched.server.log());
    let outcome = watched.stop().code(0);
    assert!(!outcome.stderr().contains("failed") && !outcome.stderr().contains("changed"), "{outcome:?}");
}

#[test]
fn its_own_files_do_not_keep_it_busy() {
    let mut watched = Watched::prepare(&[]);
    watched.folder = watched.client.home().to_owned();
    write(watched.path("first"), noise(MIB, 1));
    let at = watched.server.inbox().join("watched");
    watched.flags = vec!["--name".to_owned(), "watched".to_owned()];
    watched.watch();
    watched.has_arrived("first");
    watched.has_parted();
    let connected = |server: &Server| server.log().matches("INFO connected").count();
    let before = connected(&watched.server);
    // What it has written by now would have settled, and been sent.
    sleep(Duration::from_secs(5));
    assert_eq!(connected(&watched.server), before);
    write(watched.path("new"), "new");
    watched.has_arrived("new");
    watched.has_parted();
    watched.stop().code(0);
    assert_same_file(&watched.path("first"), &at.join("first"));
}

#[test]
fn a_client_that_is_revoked_watches_no_longer() {
    let mut watched = Watched::prepare(&[]);
    watched.client = Client::granted(&watched.server, &["--name", "laptop"]);
    watched.watch();
    watched.has_arrived("first");
    watched.has_parted();
    watched.server.ferryd(&["revoke", "laptop"]).code(0);
    write(watched.path("new"), "new");
    watched.running.take().unwrap().wait().code(4).says("revoked");
    assert_eq!(watched.received("new"), 0);
}

#[test]
fn more_news_than_the_system_keeps_hide_nothing() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let mut watched = Watched::prepare(&[]);
    let touched = ["first", "second"].map(|name| write(watched.path(name), name));
    watched.watch();
    watched.has_arrived("first");
    watched.has_arrived("second");
    watched.running().suspend();
    // Two in turn: what is like the news before it is told once for both.
    for number in 0..limit {
        set_mode(&touched[number % 2], 0o644);
    }
    write(watched.path("lost/deep/file"), "nobody tells of this");
    watched.running().signal(Signal::CONT);
    watched.has_arrived("lost/deep/file");
    watched.is_complete();
    // And the folder that nobody told of is watched.
    write(watched.path("lost/deep/later"), "later");
    watched.has_arrived("lost/deep/later");
    watched.is_complete();
    watched.stop().code(0);
}

#[test]
fn where_the_system_does_not_watch_enough_folders_the_tree_is_looked_at_now_and_then() {
    const FEW: &[&str] = &[
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        "echo 3 >/proc/sys/user/max_inotify_watches && exec \"$@\"",
        "sh",
    ];
    let mut check = std::process::Command::new(FEW[0]);
    if !check.args(&FEW[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return left_out("there are no user namespaces here");
    }
    let mut watched = Watched::prepare(&[]);
    for number in 0..6 {
        write(watched.path(format!("{number}/file")), number.to_string());
    }
    watched.running = Some(watched.watch_with(FEW));
    watched.running().has_told("fs.inotify.max_user_watches");
    watched.has_arrived("first");
    watched.has_parted();
    for number in 0..6 {
        write(watched.path(format!("{number}/later")), number.to_string());
    }
    for number in 0..6 {
        watched.has_arrived(&format!("{number}/later"));
    }
    watched.is_complete();
    let told = watched.running().stderr_so_far();
    assert_eq!(told.matches("max_user_watches").count(), 1, "{told}");
    watched.stop().code(0);
}

#[test]
fn hostile_07_what_is_no_file_holds_nobody_up() {
    let mut watched = Watched::start(&["-v"]);
    make_fifo(watched.path("fifo"));
    let _socket = UnixListener::bind(watched.path("socket")).unwrap();
    write(watched.path("file"), "file");
    watched.has_arrived("file");
    // A file becomes a FIFO.
    fs::remove_file(watched.path("file")).unwrap();
    make_fifo(watched.path("file"));
    write(watched.path("last"), "last");
    watched.has_arrived("last");
    watched.has_parted();
    let names = ["watched", "watched/file", "watched/first", "watched/last"];
    assert_eq!(watched.server.names(), names);
    watched.stop().code(0).says("fifo: a FIFO: not sent").says("socket: a socket: not sent");
}

#[test]
fn hostile_06_a_link_in_a_folders_place_leads_nowhere() {
    let mut watched = Watched::start(&[]);
    write(watched.path("folder/file"), "ours");
    watched.has_arrived("folder/file");
    let outside = watched.server.beside().join("outside");
    write(outside.join("file"), "not ours");
    fs::remove_dir_all(watched.path("folder")).unwrap();
    symlink(&outside, watched.path("folder")).unwrap();
    // No link takes a folder's place there.
    watched.running().has_told("watched/folder: ");
    write(outside.join("file"), "nobody's business");
    write(outside.join("new"), "neither");
    write(watched.path("last"), "last");
    watched.has_arrived("last");
    watched.has_parted();
    assert_eq!(fs::read(watched.inbox().join("folder/file")).unwrap(), b"ours");
    assert!(!watched.inbox().join("folder/new").exists());
    watched.stop().code(1);
}

#[test]
fn what_cannot_be_read_is_told_and_sent_when_it_can() {
    let mut watched = Watched::prepare(&[]);
    watched.running = Some(watched.watch_with(without_privileges()));
    watched.has_arrived("first");
    let elsewhere = watched.server.beside().join("elsewhere");
    write(elsewhere.join("closed/file"), "closed");
    write(elsewhere.join("secret"), "secret");
    set_mode(elsewhere.join("closed"), 0);
    set_mode(elsewhere.join("secret"), 0);
    fs::rename(&elsewhere, watched.path("moved")).unwrap();
    watched.running().has_told("moved/secret: ");
    watched.running().has_told("moved/closed: ");
    watched.has_parted();
    // Stopped now, it says so.
    watched.stop().code(1);
    watched.running = Some(watched.watch_with(without_privileges()));
    watched.running().has_told("moved/secret: ");
    watched.running().has_told("moved/closed: ");
    set_mode(watched.path("moved/closed"), 0o755);
    set_mode(watched.path("moved/secret"), 0o644);
    watched.has_arrived("moved/closed/file");
    watched.has_arrived("moved/secret");
    write(watched.path("moved/closed/later"), "later");
    watched.has_arrived("moved/closed/later");
    watched.is_complete();
    watched.stop().code(0);
}

#[test]
fn a_root_that_goes_ends_the_watch() {
    let remove: fn(&Path) = |folder| fs::remove_dir_all(folder).unwrap();
    let replace: fn(&Path) = |folder| {
        // At once, so that there is no time at which nothing is there.
        let other = folder.with_extension("other");
        fs::create_dir(&other).unwrap();
        rustix::fs::renameat_with(CWD, &other, CWD, folder, RenameFlags::EXCHANGE).unwrap();
    };
    for (go, words) in [(remove, "No such file"), (replace, "taken its place")] {
        let mut watched = Watched::start(&[]);
        watched.has_parted();
        go(&watched.folder);
        watched.running.take().unwrap().wait().code(6).says("cannot be watched").says(words);
        assert!(watched.inbox().join("first").exists());
    }
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let server = Server::start();
    let client = Client::paired(&server);
    let folder = server.beside().join("folder");
    let file = write(folder.join("file"), "file");
    symlink(&folder, server.beside().join("link")).unwrap();
    let watch = |words: &[&Path]| client.ferry("watch").args(words).args(["--to", "box"]).run();
    watch(&[&file]).code(6).says("no folder");
    watch(&[&folder.join("missing")]).code(6).says("No such file");
    watch(&[&server.beside().join("link")]).code(2).says("link/");
    watch(&[&folder, &file]).code(2).says("one folder");
    watch(&[Path::new("-")]).code(2);
    client.ferry("watch").arg(&folder).args(["box", "--settle", "soon"]).run().code(2).says("--settle");
    assert_eq!(server.names(), [""; 0]);
}

#[test]
fn a_folder_may_be_named_in_every_way() {
    let server = Server::start();
    let client = Client::paired(&server);
    let folder = server.beside().join("folder");
    write(folder.join("below/early"), "early");
    let link = server.beside().join("link");
    symlink(&folder, &link).unwrap();
    let slash = format!("{}/", link.display());
    let watch = |word: &str, to: &str| {
        client.ferry("watch").args([word, to, "--settle", "0s"]).in_folder(&folder).start()
    };
    let all = [watch(".", "box:dot"), watch(&slash, "box:slash"), watch("../folder", "box:name")];
    let places = ["dot", "slash", "name/folder"].map(|place| server.inbox().join(place));
    for place in &places {
        eventually("what was there", || place.join("below/early").exists().then_some(()));
    }
    let late = write(folder.join("late"), "late");
    for place in &places {
        eventually("what is new", || place.join("late").exists().then_some(()));
        eventually("its time", || {
            let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
            (modified(&late) == modified(&place.join("late"))).then_some(())
        });
        assert_same_file(&late, &place.join("late"));
    }
    drop(all);
}
