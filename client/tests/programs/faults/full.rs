//! Disks that are full, in every sense, and disks that cannot be written.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::Path,
};

use super::{CatalogueCopy, MIB, disk::Disk, failures, receipts};
use crate::support::{Client, Outcome, Server, assert_same_tree, digest, names, noise, set_modified, write};

#[test]
fn hostile_19_a_file_too_large_for_the_disk_fails_alone_and_by_name() {
    let Some(disk) = Disk::mounted("size=64m") else { return };
    let (_server, client) = start(&disk);
    let source = tempfile::tempdir().unwrap();
    let (first, big, last) =
        (source.path().join("first"), source.path().join("big"), source.path().join("last"));
    write(&big, noise(100 * MIB as usize, 1));
    for number in 0..40_u64 {
        write(first.join(format!("small-{number}")), noise(10_000, number));
        write(last.join(format!("small-{number}")), noise(10_000, 100 + number));
    }
    for number in 0..5 {
        // These wait for their turn, so that they come after the one that fails.
        write(last.join(format!("middling-{number}")), noise(2 * MIB as usize, 200 + number));
    }
    let send = || client.ferry("send").args([&first, &big, &last]).args(["--to", "box", "--json"]);

    let outcome = send().run().code(1);
    let failed = failures(&outcome);
    assert!(
        matches!(&failed[..], [(name, why)] if name == "big" && why == "no space is left where it is saved"),
        "{failed:?}"
    );
    assert_eq!(outcome.total("sent"), 40 + 40 + 5 + 2, "{outcome:?}");
    assert!(!disk.inbox().join("big").exists());
    assert_same_tree(&first, &disk.inbox().join("first"));
    assert_same_tree(&last, &disk.inbox().join("last"));
    is_in_order(&disk, &outcome);

    // People are told on standard error.
    let again = client.ferry("send").args([&first, &big, &last]).args(["--to", "box"]);
    again.run().code(1).says("big: no space is left");
    is_in_order(&disk, &outcome);

    disk.remount("size=192m");
    let outcome = send().run().code(0);
    assert_eq!((outcome.total("sent"), outcome.total("held")), (1, 40 + 40 + 5 + 2), "{outcome:?}");
    assert_same_tree(&big, &disk.inbox().join("big"));
    is_in_order(&disk, &outcome);
}

#[test]
fn hostile_19_what_comes_back_and_is_too_large_for_the_disk_fails_alone_and_by_name() {
    let Some(disk) = Disk::mounted("size=64m") else { return };
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("tree");
    write(source.join("big"), noise(100 * MIB as usize, 1));
    for number in 0..40_u64 {
        write(source.join(format!("small-{number}")), noise(10_000, number));
    }
    client.send(&source).run().code(0);
    let get = || {
        let to = disk.path().join("back");
        client.wrapped(disk.enter(), "get").arg("box:tree").arg(to).arg("--json")
    };
    let outcome = get().run().code(1);
    let failed = failures(&outcome);
    assert!(
        matches!(&failed[..], [(name, why)] if name == "tree/big" && why == "no space is left where it is saved"),
        "{failed:?}"
    );
    let back = disk.seen().join("back/tree");
    assert!(!back.join("big").exists());
    for number in 0..40 {
        let name = format!("small-{number}");
        assert!(fs::read(source.join(&name)).unwrap() == fs::read(back.join(&name)).unwrap(), "{name}");
    }
    disk.remount("size=192m");
    let outcome = get().run().code(0);
    assert_eq!((outcome.total("sent"), outcome.total("held")), (2, 40), "with its folder: {outcome:?}");
    assert_same_tree(&source, &back);
    // A disk that cannot be written is told before anything is asked for.
    disk.remount("ro");
    get().run().code(6).says("not writable");
}

#[test]
fn hostile_19_a_disk_that_many_small_files_fill_takes_the_rest_when_there_is_room_again() {
    let Some(disk) = Disk::mounted("size=48m") else { return };
    let (_server, client) = start(&disk);
    let filler = disk.seen().join("filler");
    fs::write(&filler, noise(30 * MIB as usize, 7)).unwrap();
    fill_and_free(&disk, &client, || fs::remove_file(&filler).unwrap());
}

#[test]
fn hostile_19_a_disk_without_room_for_more_names_takes_the_rest_when_there_is_room_again() {
    let Some(disk) = Disk::mounted("size=200m,nr_inodes=100") else { return };
    let (_server, client) = start(&disk);
    fill_and_free(&disk, &client, || disk.remount("nr_inodes=2000"));
}

#[test]
fn hostile_19_a_disk_without_a_byte_left_fails_files_and_not_the_session() {
    let Some(disk) = Disk::mounted("size=32m") else { return };
    let (_server, client) = start(&disk);
    let source = tempfile::tempdir().unwrap();
    let tree = source.path().join("tree");
    write(tree.join("file"), noise(1000, 1));
    write(tree.join("empty"), "");
    write(tree.join("below/file"), noise(300_000, 1));
    symlink("nowhere", tree.join("link")).unwrap();
    let earlier = write(source.path().join("earlier"), noise(1000, 3));
    client.send(&earlier).run().code(0);

    let filler = disk.seen().join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write(&[7; 4096]).is_ok() {}
    let outcome = client.send(&tree).arg("--json").run().code(1);
    assert_eq!((outcome.total("sent"), outcome.total("held")), (0, 0), "{outcome:?}");
    let failed = failures(&outcome);
    assert_eq!(failed.len(), 6, "{failed:?}");
    for (name, why) in &failed {
        assert!(why.starts_with("no space is left"), "{name}: {why}");
    }
    // Nothing has to be written for this.
    let held = client.send(&earlier).arg("--json").run().code(0);
    assert_eq!(held.total("held"), 1, "{held:?}");

    drop(file);
    fs::remove_file(filler).unwrap();
    let outcome = client.send(&tree).arg("--json").run().code(0);
    assert_same_tree(&tree, &disk.inbox().join("tree"));
    is_in_order(&disk, &outcome);
}

#[test]
fn hostile_19_an_inbox_that_can_no_longer_be_written_is_told_at_the_start() {
    let Some(disk) = Disk::mounted("size=32m") else { return };
    let (mut server, client) = start(&disk);
    let file = write(server.beside().join("file"), "content");
    client.send(&file).run().code(0);
    assert!(server.stop().success());
    disk.remount("ro");
    let refused = disk.setup(Server::setup()).refused();
    assert!(!refused.status.success());
    let (told, folder) = (refused.stderr(), disk.path().display().to_string());
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains(&folder), "{told}");
    assert_eq!(refused.stdout(), "");

    disk.remount("rw");
    let server = disk.setup(Server::setup()).start();
    assert_eq!(names(&disk.inbox()), ["file"]);
    drop(server);
}

#[test]
fn hostile_19_without_room_for_its_row_a_file_does_not_take_the_place_of_another() {
    let Some(disk) = Disk::mounted("size=8m,mode=700") else { return };
    let server = disk.state_of(Server::setup()).start();
    let (inbox, state) = (server.inbox(), disk.path());
    let client = Client::new();
    let arguments = ["--root".as_ref(), inbox.as_os_str(), "--state".as_ref(), state.as_os_str()];
    client.pair(&disk.invite_by(&arguments));
    let source = write(server.beside().join("file"), "old");
    client.send(&source).run().code(0);
    let mut filler = File::create(disk.seen().join("filler")).unwrap();
    while filler.write(&[7; 4096]).is_ok() {}
    write(&source, "new, and longer");
    client.send(&source).run().code(1).says("no space is left for the catalogue");
    assert_eq!(fs::read(inbox.join("file")).unwrap(), b"old");
}

/// Sends 400 small files where there is no room for all of them, then makes room and sends them again.
fn fill_and_free(disk: &Disk, client: &Client, make_room: impl FnOnce()) {
    let source = tempfile::tempdir().unwrap();
    let tree = source.path().join("tree");
    for number in 0..400_u64 {
        let file = write(tree.join(format!("{}/{number}", number % 5)), noise(64 * 1024, number));
        set_modified(file, 1_600_000_000, number as i64);
    }
    let outcome = client.send(&tree).arg("--json").run().code(1);
    let (sent, failed) = (receipts(&outcome.stdout), failures(&outcome));
    assert!(sent.len() > 10 && failed.len() > 10, "{} sent, {} failed", sent.len(), failed.len());
    for (name, why) in &failed {
        assert!(why.starts_with("no space is left"), "{name}: {why}");
    }
    is_in_order(disk, &outcome);

    make_room();
    let outcome = client.send(&tree).arg("--json").run().code(0);
    assert_eq!(receipts(&outcome.stdout).len(), 400 - sent.len());
    assert_same_tree(&tree, &disk.inbox().join("tree"));
    is_in_order(disk, &outcome);
}

fn start(disk: &Disk) -> (Server, Client) {
    let server = disk.setup(Server::setup()).start();
    let client = Client::new();
    client.pair(&disk.invite());
    (server, client)
}

/// Checks that what has a receipt is there, that nothing else is, and that the catalogue knows as much.
#[track_caller]
fn is_in_order(disk: &Disk, outcome: &Outcome) {
    let inbox = disk.inbox();
    for (name, expected) in receipts(&outcome.stdout) {
        assert_eq!(digest(inbox.join(&name)).to_string(), expected, "{name}");
    }
    assert_eq!(fs::read_dir(inbox.join(".ferry/staging")).unwrap().count(), 0, "staging is not empty");
    let files: Vec<_> = names(&inbox).into_iter().filter(|name| is_file(&inbox.join(name))).collect();
    let copy = CatalogueCopy::of(&inbox);
    let query = "SELECT CAST(path AS TEXT) FROM files WHERE kind = 'file' AND until IS NULL ORDER BY path";
    let mut statement = copy.connection.prepare(query).unwrap();
    let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, files);
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().unwrap().is_file()
}
