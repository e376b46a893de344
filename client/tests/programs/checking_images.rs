//! `--check-images`: pictures that are cut off are named before they are sent, and are sent all the same.

use std::fs;

use rustix::process::Signal;

use crate::support::{Client, Server, assert_same_contents, eventually, names, testdata, write};

const CUT: &str = "IMG_20241005_112000.jpg";

/// A folder of pictures, of which one is cut off, beside a server.
fn pictures(server: &Server) -> std::path::PathBuf {
    let root = server.beside().join("pictures");
    for name in [CUT, "IMG_20240316_081501.jpg", "Sticker_20240620-141500.png", "IMG-20240801-WA0007.webp"] {
        write(root.join(name), fs::read(testdata().join("photos").join(name)).unwrap());
    }
    // Of these nothing can be said: a kind that is not decoded here, and no picture at all.
    write(root.join("exif.dng"), fs::read(testdata().join("pictures/exif.dng")).unwrap());
    write(root.join("notes.txt"), "notes");
    root
}

#[test]
fn a_picture_that_is_cut_off_is_named_and_sent() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = pictures(&server);
    let dry = client.send(&root).args(["--check-images", "-n"]).run().code(0);
    dry.says(format!("{CUT}: it is cut off\n")).says("flawed 1");
    let silent = client.send(&root).run().code(0);
    assert!(!silent.stderr().contains(CUT), "nobody has asked: {silent:?}");
    fs::remove_dir_all(server.inbox().join("pictures")).unwrap();

    let outcome = client.send(&root).args(["--check-images", "--json"]).run().code(0);
    let flawed: Vec<_> = outcome.objects().into_iter().filter(|object| object["event"] == "flawed").collect();
    let [flawed] = &flawed[..] else { panic!("{flawed:?}") };
    assert_eq!(flawed["name"], format!("pictures/{CUT}"));
    assert_eq!(flawed["source"], root.join(CUT).display().to_string());
    assert_eq!((outcome.total("flawed"), outcome.total("failed"), outcome.total("kept")), (1, 0, 0));
    assert_same_contents(&root, &server.inbox().join("pictures"));
    let quiet = client.send(&root).args(["--check-images", "-q"]).run().code(0);
    quiet.says(format!("{CUT}: it is cut off\n"));
}

#[test]
fn promise_7_a_picture_that_is_cut_off_is_not_removed() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = pictures(&server);
    for _ in 0..3 {
        let outcome = client.send(&root).args(["--check-images", "--move"]).run().code(1);
        outcome.says(format!("{CUT}: it has arrived, and stays here: it is cut off")).says("kept here 1");
        assert_eq!(names(&root), [CUT]);
        // Whatever is remembered.
        let _ = fs::remove_file(client.home().join("digests.db"));
    }
    assert_eq!(names(&server.inbox().join("pictures")).len(), 6);
    client.send(&root).arg("--move").run().code(0);
    assert_eq!(names(&root), Vec::<String>::new());
}

/// What a card that was cut off leaves, and a name that lies.
#[test]
fn promise_7_what_only_its_name_calls_a_picture_is_named_and_sent_and_not_removed() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("card");
    let flawed = [
        ("IMG_1.JPG", "", "it is empty"),
        ("IMG_2.CR3", "", "it is empty"),
        ("a.jpeg", "notes", "it is no JPEG, though its name says so"),
        ("b.Png", "\0\0\0\0\0\0\0\0", "it is no PNG, though its name says so"),
        ("c.webp", "RIFF", "it is no WebP, though its name says so"),
        ("d.gif", "G", "it is no GIF, though its name says so"),
    ];
    flawed.iter().for_each(|(name, content, _)| drop(write(root.join(name), content)));
    // Nothing is promised by these, or nothing that can be told here.
    let others = [("notes.txt", ""), ("jpg", ""), ("e.nef", "raw"), ("._IMG_1.JPG", "\0\x05\x16\x07")];
    others.iter().for_each(|(name, content)| drop(write(root.join(name), content)));

    let taken = |flags: &[&str]| {
        let listed = client.send(&root).arg("-n").args(flags).run().code(0).stdout();
        let names = listed.lines().filter_map(|line| line.split_once("card/"));
        let mut names: Vec<_> = names.map(|(_, name)| name.to_owned()).collect();
        names.sort();
        names
    };
    let flawed_names = flawed.map(|(name, ..)| name);
    assert_eq!(taken(&["--images"]), [""; 0], "by content, none of them is one");
    assert_eq!(taken(&["--images", "--check-images"]), flawed_names);
    // Each time.
    for flags in [&["--check-images"][..], &["--check-images", "--images"], &["--check-images", "-q"]] {
        let outcome = client.send(&root).args(flags).run().code(0);
        for (name, _, flaw) in flawed {
            assert!(outcome.stderr().contains(&format!("{name}: {flaw}\n")), "{name}: {outcome:?}");
        }
        let named = outcome.stderr().matches(": it is ").count();
        assert_eq!(named, flawed.len(), "{outcome:?}");
    }
    client.send(&root).args(["--check-images", "--move"]).run().code(1).says("kept here 6").says("flawed 6");
    assert_eq!(names(&root), flawed_names);
    assert_eq!(names(&server.inbox().join("card")).len(), flawed.len() + others.len());
}

#[test]
fn an_unchanged_picture_is_looked_at_once() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = pictures(&server);
    let well = "IMG_20240316_081501.jpg";
    let inode = std::os::unix::fs::MetadataExt::ino(&root.join(well).metadata().unwrap());
    // What was touched just before is not remembered.
    eventually("the look is remembered", || {
        client.send(&root).arg("--check-images").run().code(0);
        let db = rusqlite::Connection::open(client.home().join("digests.db")).unwrap();
        let changed =
            db.execute("UPDATE looks SET flaw = 'made up' WHERE inode = ?1", [inode as i64]).unwrap();
        (changed == 1).then_some(())
    });
    let outcome = client.send(&root).arg("--check-images").run().code(0);
    let outcome = outcome.says(format!("{well}: made up\n")).says("flawed 2");
    drop(outcome);
    // Touched, it is looked at again.
    let bytes = fs::read(root.join(well)).unwrap();
    write(root.join(well), bytes);
    let again = client.send(&root).arg("--check-images").run().code(0).says("flawed 1");
    assert!(!again.stderr().contains("made up"), "{again:?}");
}

#[test]
fn hostile_11_a_picture_that_says_it_is_enormous_is_sent_unseen() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("pictures");
    for name in ["huge.png", "huge.jpg", "huge.gif", "huge.webp", "bomb.png"] {
        write(root.join(name), fs::read(testdata().join("pictures").join(name)).unwrap());
    }
    let outcome = client.send(&root).args(["--check-images"]).run().code(0);
    outcome
        .says("huge.png: it is too large to be looked into")
        .says("huge.jpg: it is too large to be looked into");
    assert_same_contents(&root, &server.inbox().join("pictures"));
}

#[test]
fn a_watch_names_them_as_well() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = pictures(&server);
    let watch = client.ferry("watch").arg(&root).args(["--to", "box", "--settle", "0s", "--check-images"]);
    let running = watch.start();
    running.has_told(&format!("{CUT}: it is cut off"));
    eventually("it has arrived", || server.inbox().join("pictures").join(CUT).is_file().then_some(()));
    running.signal(Signal::TERM);
    running.wait();
}
