//! What arrives: names, bytes, times, modes and kinds, byte for byte.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

use rusqlite::OptionalExtension;

use crate::support::{
    Client, Plan, Proxy, Server, assert_same_contents, assert_same_file, assert_same_tree, make_fifo, noise,
    set_mode, set_modified, snapshot, testdata, write,
};

/// `testdata` as it is, and what git cannot hold.
fn awkward(folder: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(testdata()).arg(folder).status().unwrap();
    assert!(copied.success());
    let name = |bytes: &'static [u8]| folder.join(OsStr::from_bytes(bytes));
    write(name(b"caf\xe9 in Latin-1"), "not UTF-8");
    write(name(b"\xff\xfe/\x80"), "nothing of it is");
    write(name(b"every \x01 \x07 \x1b \x7f control"), "characters");
    write(folder.join("n".repeat(255)).join("m".repeat(255)), "as long as names get");
    fs::create_dir_all(folder.join("empty/folders/only")).unwrap();
    symlink(OsStr::from_bytes(b"caf\xe9 target"), name(b"link \xe9")).unwrap();
    symlink("/", folder.join("link to everything")).unwrap();
    symlink("..", folder.join("link upwards")).unwrap();
    symlink("x".repeat(4095), folder.join("link as long as links get")).unwrap();
    for (path, seconds, nanos) in [
        ("testdata/awkward/empty", 0, 1),
        ("testdata/awkward/one-byte", -1, 999_999_999),
        ("testdata/awkward/aux.h", 4_102_444_800, 123_456_789),
        ("testdata/awkward/link-dangling", 1_000_000_000, 7),
        ("empty/folders", 1_234_567_890, 42),
        ("testdata/awkward", 86_400, 500),
    ] {
        set_modified(folder.join(path), seconds, nanos);
    }
}

#[test]
fn promise_8_awkward_names_times_and_kinds_go_there_and_back_unchanged() {
    let (there, back) = (Server::start(), Server::start());
    let source = there.beside().join("source");
    fs::create_dir(&source).unwrap();
    awkward(&source);
    let before = snapshot(&source);
    Client::paired(&there).send(&source).run().code(0);
    assert_same_tree(&source, &there.inbox().join("source"));
    Client::paired(&back).send(there.inbox().join("source")).args(["--jobs", "3"]).run().code(0);
    assert_same_tree(&source, &back.inbox().join("source"));
    assert_eq!(snapshot(&source), before, "the source is as it was");
}

#[test]
fn the_photos_arrive_with_what_they_are() {
    let server = Server::start();
    let client = Client::paired(&server);
    client.send(testdata().join("photos")).run().code(0);
    assert_same_tree(&testdata().join("photos"), &server.inbox().join("photos"));
}

#[test]
fn sizes_around_every_limit_arrive() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    let (small, mib, checkpoint) = (256 * 1024, 1024 * 1024, 32 * 1024 * 1024);
    for around in [small, mib, 4 * mib, checkpoint] {
        for size in [around - 1, around, around + 1] {
            write(source.join(size.to_string()), noise(size, size as u64));
        }
    }
    client.send(&source).run().code(0);
    assert_same_tree(&source, &server.inbox().join("source"));
}

#[test]
fn many_small_files_over_several_connections() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    for number in 0..1000_u32 {
        let name = format!("{}/{}/{number}", number % 7, number % 31);
        write(source.join(name), number.to_le_bytes().repeat(number as usize % 50));
    }
    let outcome = client.send(&source).args(["--jobs", "4", "--json"]).run().code(0);
    assert_same_tree(&source, &server.inbox().join("source"));
    let entries = snapshot(&source).len() as u64;
    assert_eq!((outcome.total("sent"), outcome.total("held")), (entries, 0));
    assert_eq!(server.staged(), []);
}

#[test]
fn modes_are_kept_in_the_catalogue_and_the_owner_can_always_write() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    let modes = [
        ("read-only", 0o444),
        ("hidden", 0o000),
        ("group", 0o640),
        ("run", 0o755),
        ("setuid", 0o4755),
        ("setgid", 0o2755),
        ("sticky", 0o1644),
    ];
    for (name, mode) in modes {
        set_mode(write(source.join("folder").join(name), name), mode);
    }
    set_mode(source.join("folder"), 0o555);
    set_modified(source.join("folder"), 1_000_000_000, 5);
    client.wrapped(&[], "send").arg(&source).arg("box").run().code(0);
    // Also checks that nothing but rwx is on the server's disk.
    assert_same_tree(&source, &server.inbox().join("source"));
    assert_eq!(snapshot(server.inbox())[&b"source/folder"[..]].mode, 0o755);

    let catalogue = server.catalogue();
    let kept = |name: &str| -> Option<u32> {
        let query = "SELECT mode FROM files WHERE path = ?1 AND until IS NULL";
        catalogue.query_row(query, [name.as_bytes()], |row| row.get(0)).optional().unwrap()
    };
    for (name, mode) in modes {
        assert_eq!(kept(&format!("source/folder/{name}")), Some(mode), "{name}");
    }
    assert_eq!(kept("source/folder"), Some(0o555));

    // A folder that is read-only at its source takes another file all the same.
    set_mode(source.join("folder"), 0o755);
    write(source.join("folder/later"), "later");
    set_mode(source.join("folder"), 0o555);
    client.send(&source).run().code(0);
    assert_same_tree(&source, &server.inbox().join("source"));
    set_mode(source.join("folder"), 0o755);
}

#[test]
fn links_are_kept_followed_or_skipped() {
    let server = Server::start();
    let client = Client::paired(&server);
    let outside = server.beside().join("outside");
    write(outside.join("file"), "outside");
    let source = server.beside().join("source");
    write(source.join("file"), "file");
    symlink("file", source.join("link")).unwrap();
    symlink(&outside, source.join("folder")).unwrap();
    let send = |how: &str| client.send(&source).args(["--links", how, "--name", how]).run();

    send("keep").code(0);
    assert_same_tree(&source, &server.inbox().join("keep"));
    send("skip").code(0).says("link: a symbolic link").says("folder: a symbolic link");
    assert_eq!(fs::read_dir(server.inbox().join("skip")).unwrap().count(), 1);
    send("follow").code(0);
    assert_eq!(fs::read(server.inbox().join("follow/link")).unwrap(), b"file");
    assert_same_tree(&outside, &server.inbox().join("follow/folder"));
    assert!(!snapshot(server.inbox())[&b"follow/link"[..]].is_symlink());
}

#[test]
fn promise_1_no_name_is_seen_before_its_file_is_whole() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let source = write(server.beside().join("large"), noise(40_000_000, 3));
    proxy.set(Plan::SilentAfter(36_000_000));
    let running = client.send(&source).start();
    proxy.falls_silent();
    assert_eq!(server.names(), [""; 0]);
    assert_eq!(server.staged().len(), 1);
    proxy.set(Plan::Forward);
    running.wait().code(0);
    assert_eq!(server.names(), ["large"]);
    assert_same_file(&source, &server.inbox().join("large"));
    assert_eq!(server.staged(), []);
}

#[test]
fn promise_2_what_has_a_receipt_is_there_after_a_crash() {
    let mut server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("small"), noise(1000, 1));
    write(source.join("large"), noise(3_000_000, 2));
    write(source.join("below/empty"), "");
    client.send(&source).run().code(0);
    server.kill();
    assert_same_tree(&source, &server.inbox().join("source"));
    server.restart();
    let again = client.send(&source).arg("--json").run().code(0);
    assert_eq!((again.total("sent"), again.total("bytes")), (0, 0), "{again:?}");
}

#[test]
fn promise_4_a_link_in_the_inbox_leads_nowhere() {
    // What confines the process must not be all that holds it back.
    for flags in [&[][..], &["--no-confine"]] {
        lead_outside(&Server::setup().args(flags).start());
    }
}

fn lead_outside(server: &Server) {
    let client = Client::paired(server);
    let outside = server.beside().join("outside");
    write(outside.join("file"), "outside");
    write(outside.join("below/file"), "outside");
    let before = snapshot(&outside);
    symlink(&outside, server.inbox().join("folder")).unwrap();
    symlink(outside.join("file"), server.inbox().join("file")).unwrap();
    let source = server.beside().join("source");
    for name in ["file", "new", "below/file", "below/new"] {
        write(source.join("folder").join(name), "from a client");
    }
    let outcome = client.send(source.join("folder")).run().code(1);
    outcome.says("folder/file: ").says("folder/new: ").says("folder/below/file: ").says("folder/below/new: ");
    assert_eq!(snapshot(&outside), before);
    // A link is a name like any other: a file takes its place, and what it led to stays.
    client.send(source.join("folder/file")).run().code(0);
    assert_eq!(snapshot(&outside), before);
    assert_eq!(fs::read(server.inbox().join("file")).unwrap(), b"from a client");
    assert!(fs::symlink_metadata(server.inbox().join("file")).unwrap().is_file());
}

#[test]
fn hostile_06_a_link_that_is_swapped_in_again_and_again_leads_nowhere() {
    let server = Server::setup().args(["--no-confine"]).start();
    let client = Client::paired(&server);
    let outside = server.beside().join("outside");
    write(outside.join("file-1"), "outside");
    write(outside.join("below/file-1"), "outside");
    let before = snapshot(&outside);
    let source = server.beside().join("source");
    for number in 0..150 {
        write(source.join(format!("folder/file-{number}")), "from a client");
        write(source.join(format!("folder/below/file-{number}")), "from a client");
    }
    let (name, folder) = (server.inbox().join("folder"), server.inbox().join("real"));
    fs::create_dir(&name).unwrap();
    symlink(&outside, &folder).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let kind_conflict = ferry_proto::Code::KindConflict.number();
    let (mut sent, mut refused) = (0, 0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                renameat_with(CWD, &name, CWD, &folder, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..5 {
            let outcome = client.send(source.join("folder")).arg("--json").run();
            let failed = outcome.total("failed");
            assert_eq!(outcome.status.code(), Some(i32::from(failed > 0)), "{outcome:?}");
            sent += outcome.total("sent");
            refused += outcome.objects().iter().filter(|object| object["code"] == kind_conflict).count();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(sent > 0 && refused > 0, "{sent} sent, {refused} refused: it was not swapped while files came");
    assert_eq!(snapshot(&outside), before);
    assert_eq!(server.staged(), []);
}

#[test]
fn hostile_07_a_fifo_where_a_file_is_expected_holds_nobody_up() {
    let server = Server::start();
    let client = Client::paired(&server);
    make_fifo(server.inbox().join("taken"));
    let source = server.beside().join("source");
    for name in ["free", "taken"] {
        write(source.join(name), "content");
    }
    client.send(format!("{}/", source.display())).run().code(1).says("taken");
    assert_eq!(fs::read(server.inbox().join("free")).unwrap(), b"content");
    let taken = fs::symlink_metadata(server.inbox().join("taken")).unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&taken.file_type()));
    fs::remove_file(server.inbox().join("taken")).unwrap();
    client.send(format!("{}/", source.display())).run().code(0);
    assert_same_contents(&source, server.inbox());
}

/// The figures of large and many files are in bench/RESULTS.md; here it is the same with less.
#[test]
fn promise_6_memory_does_not_grow_with_files() {
    const MOST: u64 = 64 * 1024 * 1024;
    let server = Server::start();
    let client = Client::paired(&server);
    let large = write(server.beside().join("large"), noise(200 * 1024 * 1024, 1));
    let many = server.beside().join("many");
    for number in 0..5_000_u64 {
        write(many.join(format!("{}/{number}", number % 50)), noise(2_000, number));
    }
    client.send(&large).args(["--jobs", "4"]).run().code(0);
    client.send(&many).args(["--jobs", "4"]).run().code(0);
    let most = server.most_memory();
    assert!(most < MOST, "{most} bytes at the most");
}
