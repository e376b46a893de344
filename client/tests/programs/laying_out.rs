//! `--layout`: where files go by when they were taken, and what becomes of a camera's card.

use std::{fs, os::unix::fs::symlink, path::Path};

use rustix::process::Signal;

use crate::support::{Client, Ferry, Proxy, Server, eventually, names, noise, set_modified, testdata, write};

const MIB: usize = 1024 * 1024;

const BY_MONTH: &str = "{taken:%Y/%m}/{name}";

/// A photo that was taken then, whatever the file system says, and has so many bytes behind the picture.
fn photo(taken: &str, more: usize, seed: u64) -> Vec<u8> {
    let mut photo = fs::read(testdata().join("photos/IMG_20240316_081501.jpg")).unwrap();
    let said = b"2024:03:16 08:15:01";
    while let Some(at) = photo.windows(said.len()).position(|window| window == said) {
        photo[at..at + said.len()].copy_from_slice(taken.as_bytes());
    }
    photo.extend(noise(more, seed));
    photo
}

fn laid_out(client: &Client, source: impl AsRef<Path>, layout: &str) -> Ferry {
    client.send(source.as_ref()).args(["--dir", "photos", "--layout", layout]).env("TZ", "UTC")
}

/// Names of files, without folders.
fn files(inbox: &Path) -> Vec<String> {
    names(inbox).into_iter().filter(|name| inbox.join(name).is_file()).collect()
}

#[test]
fn files_go_where_their_time_says() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("DCIM");
    write(root.join("100/IMG_1.jpg"), photo("2023:12:31 23:59:59", 10, 1));
    write(root.join("101/IMG_2.jpg"), photo("2024:01:01 00:00:00", 400_000, 2));
    // 2022-02-02, which is all that is known of it.
    set_modified(write(root.join("101/film.mp4"), "a film"), 1_643_797_800, 0);
    fs::create_dir(root.join("empty")).unwrap();
    symlink("IMG_2.jpg", root.join("101/latest")).unwrap();
    let there = ["photos/2022/02/film.mp4", "photos/2023/12/IMG_1.jpg", "photos/2024/01/IMG_2.jpg"];

    let dry = laid_out(&client, &root, BY_MONTH).arg("-n").run().code(0);
    let mut lines: Vec<_> = dry.stdout().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, there.map(|name| format!("send  {name}")));
    assert_eq!(server.names(), Vec::<String>::new());

    let receipts = server.beside().join("receipts");
    let outcome =
        laid_out(&client, &root, BY_MONTH).arg("--receipts").arg(&receipts).arg("--json").run().code(0);
    let mut expected: Vec<_> = there.map(|name| (name.to_owned(), "sent".to_owned())).into();
    let link = root.join("101/latest").display().to_string();
    expected.insert(0, (link.clone(), "skipped".to_owned()));
    assert_eq!(outcome.statuses(), expected);
    assert_eq!(files(server.inbox()), there);
    let receipts = fs::read_to_string(receipts).unwrap();
    assert!(there.iter().all(|name| receipts.contains(&format!("  {name}\n"))), "{receipts}");

    // Nothing is sent twice, whatever is known here.
    for _ in 0..2 {
        let again = laid_out(&client, &root, BY_MONTH).arg("--json").run().code(0);
        let mut expected: Vec<_> = there.map(|name| (name.to_owned(), "held".to_owned())).into();
        expected.insert(0, (link.clone(), "skipped".to_owned()));
        assert_eq!(again.statuses(), expected);
        fs::remove_file(client.home().join("digests.db")).unwrap();
    }
    assert_eq!(files(server.inbox()), there);
}

#[test]
fn every_field_is_filled() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("card");
    let layouts = [
        ("{taken:%Y}/{taken:%m}-{modified:%d}/{name}", "photos/2024/06-02/a.b.jpg"),
        ("{dir}/{stem}_{taken:%H%M%S}.{ext}", "photos/x/y/a.b_235958.jpg"),
        ("{{{stem}}}", "photos/{a.b}"),
        ("all-{name}", "photos/all-a.b.jpg"),
    ];
    let picture = write(root.join("x/y/a.b.jpg"), photo("2024:06:30 23:59:58", 0, 0));
    set_modified(&picture, 1_643_797_800, 0);
    for (layout, name) in layouts {
        laid_out(&client, &root, layout).args(["--json"]).run().code(0);
        assert!(server.inbox().join(name).is_file(), "{layout} makes {:?}", files(server.inbox()));
    }
    // A file that is a source itself is in no folder, and one without an ending has no point at its end.
    let plain = write(root.join("plain"), "plain");
    set_modified(&plain, 1_643_797_800, 0);
    laid_out(&client, &plain, "{dir}/{taken:%Y|undated/more}/{stem}.{ext}").run().code(0);
    assert_eq!(fs::read(server.inbox().join("photos/undated/more/plain")).unwrap(), b"plain");
    // Its time is told in the zone of this machine.
    let east =
        laid_out(&client, &plain, "{taken:%Y-%m-%d-%H}").env("TZ", "Asia/Tokyo").arg("-n").run().code(0);
    assert_eq!(east.stdout(), "send  photos/2022-02-02-19\n");
}

#[test]
fn what_is_no_layout_is_told_before_anything_is_sent() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("card");
    write(root.join("a"), "a");
    let bad = [
        ("", "the same name"),
        ("photos", "the same name"),
        ("{taken:%Y}/", "slash"),
        ("/{name}", "slash"),
        ("{taken:%Y}//{name}", "slash"),
        ("../{name}", "no names"),
        ("{dir}/./{name}", "no names"),
        ("{taken:%Y|..}/{name}", "no names"),
        ("{camera}/{name}", "no field `camera`"),
        ("{name:%Y}", "no field `name`"),
        ("{taken}/{name}", "no field `taken`"),
        (
            "{taken:%Q}/{name}",
            ": `%Q` is not known here; %Y, %m, %d, %H, %M and %S are, and most of what `man date` lists\n",
        ),
        ("{taken:%Y/%-m %_5Z %H}/{name}", ": `%_5Z` is not known here; "),
        ("{modified:%Y%%%é}/{name}", ": `%é` is not known here; "),
        ("{taken:%Y%}/{name}", "no letter"),
        ("{taken:%0}/{name}", "no letter"),
        ("{taken:}/{name}", "says nothing of a time"),
        ("{taken:%D}/{name}", "folders of its own"),
        ("{name", "not closed"),
        ("name}", "not closed"),
    ];
    for (layout, words) in bad {
        laid_out(&client, &root, layout).run().code(2).says(words);
    }
    laid_out(&client, &root, BY_MONTH).args(["--name", "x"]).run().code(2).says("--name");
    laid_out(&client, "-", BY_MONTH).run().code(2).says("stream");
    client.ferry("watch").arg(&root).args(["--to", "box", "--layout", "../{name}"]).run().code(2);
    assert_eq!(server.names(), Vec::<String>::new());
}

#[test]
fn two_files_that_go_to_one_name_are_both_kept() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("DCIM");
    for folder in ["100", "101", "102"] {
        // The same length and time, as raw files of one burst have it.
        let seed = if folder == "102" { 101 } else { folder.parse().unwrap() };
        let picture = write(root.join(folder).join("IMG_1.jpg"), photo("2024:05:05 10:00:00", 300_000, seed));
        set_modified(picture, 1_700_000_000, 0);
    }
    let names = ["photos/2024/05/IMG_1 (2).jpg", "photos/2024/05/IMG_1.jpg"];
    for _ in 0..3 {
        laid_out(&client, &root, BY_MONTH).run().code(0);
        assert_eq!(files(server.inbox()), names, "two of the three are the same, and two runs are as one");
    }
    // Two sources of one name are no reason to refuse the run, as they are without a layout.
    let (one, two) = (root.join("100/IMG_1.jpg"), root.join("101/IMG_1.jpg"));
    client.ferry("send").args([&one, &two]).args(["--to", "box"]).run().code(2);
    laid_out(&client, &one, BY_MONTH).arg(&two).run().code(0).says("held 2");
}

#[test]
fn promise_7_a_run_never_replaces_what_it_has_sent_itself() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("DCIM");
    write(root.join("100/IMG_1.jpg"), photo("2024:05:05 10:00:00", 10, 1));
    write(root.join("101/IMG_1.jpg"), photo("2024:05:05 11:00:00", 10, 2));
    let outcome =
        laid_out(&client, &root, BY_MONTH).args(["--move", "--on-conflict", "replace"]).run().code(1);
    outcome.says("another source of this run has become photos/2024/05/IMG_1.jpg already");
    assert_eq!(names(&root).len(), 3, "one of the two is still here");
    assert_eq!(files(server.inbox()), ["photos/2024/05/IMG_1.jpg"]);
}

/// A card with pictures of two months, some of which have the same name, and what a camera keeps for itself.
fn card(root: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for number in 0..40_u64 {
        let month = 5 + number % 2;
        let more = if number % 10 == 0 { 3 * MIB } else { 20_000 };
        let bytes = photo(&format!("2024:{month:02}:10 10:00:{:02}", number), more, number);
        let path = root.join(format!("{}CANON/IMG_{}.jpg", 100 + number % 3, number / 3));
        set_modified(write(path, &bytes), 1_715_335_200, 0);
        all.push(bytes);
    }
    write(root.join("index.ctg"), "the camera's own");
    all
}

#[test]
fn promise_7_a_card_is_emptied_of_what_has_receipts_whatever_is_killed() {
    let mut had_gone = 0;
    for round in 0..4 {
        let mut server = Server::start();
        let proxy = Proxy::to(server.address());
        let client = Client::new();
        client.pair(&server.invite_at(proxy.address()));
        let root = server.beside().join("DCIM");
        let all = card(&root);
        let receipts = server.beside().join("receipts");
        let send = || {
            let send = laid_out(&client, &root, BY_MONTH).args(["--images", "--move", "--retry", "0"]);
            send.arg("--receipts").arg(&receipts)
        };
        let mut running = send().start();
        if round < 2 {
            proxy.wait_for(proxy.to_server() + 200_000 + round * 3_000_000);
        } else {
            let few = 41 - 10 * round as usize;
            eventually("some are gone", || (pictures_in(&root) <= few || running.has_ended()).then_some(()));
        }
        match round % 2 {
            0 => running.signal(Signal::KILL),
            _ => server.kill(),
        }
        running.wait();
        let everywhere = contents(&[&root, server.inbox()]);
        assert!(all.iter().all(|bytes| everywhere.contains(bytes)), "a picture is lost");
        had_gone += 40 - pictures_in(&root);
        if round % 2 == 1 {
            server.restart();
        }
        send().run().code(0);
        assert_eq!(files(&root), ["index.ctg"]);
        let arrived = contents(&[server.inbox()]);
        assert!(all.iter().all(|bytes| arrived.contains(bytes)), "a picture is lost");
        assert_eq!(arrived.len(), all.len(), "nothing is there twice");
        let months = ["photos/2024/05/", "photos/2024/06/"];
        assert!(files(server.inbox()).iter().all(|name| months.iter().any(|month| name.starts_with(month))));
    }
    assert!(had_gone > 0, "every kill came before anything had gone");
}

/// How many pictures are on a card, while they go.
fn pictures_in(card: &Path) -> usize {
    let folders = fs::read_dir(card).unwrap().filter_map(|entry| fs::read_dir(entry.unwrap().path()).ok());
    folders.map(Iterator::count).sum()
}

/// What the files below these folders hold.
fn contents(folders: &[&Path]) -> Vec<Vec<u8>> {
    let read = |folder: &&Path| {
        let folder = folder.to_path_buf();
        files(&folder).into_iter().map(move |name| fs::read(folder.join(name)).unwrap()).collect::<Vec<_>>()
    };
    folders.iter().flat_map(read).collect()
}

#[test]
fn promise_7_what_fails_stays_on_the_card() {
    let server = Server::start();
    let client = Client::granted(&server, &["--quota", "4MB"]);
    let root = server.beside().join("DCIM");
    let all = card(&root);
    let receipts = server.beside().join("receipts");
    let send = || laid_out(&client, &root, BY_MONTH).args(["--images", "--move"]);
    send().arg("--receipts").arg(&receipts).run().code(1).says("failed");
    let (here, there) = (contents(&[&root]), contents(&[server.inbox()]));
    assert!(!there.is_empty() && here.len() > 1);
    for bytes in &all {
        assert!(here.contains(bytes) != there.contains(bytes), "a picture is either here or there");
    }
    assert_eq!(fs::read_to_string(receipts).unwrap().lines().count(), there.len());
}

#[test]
fn a_watched_folder_is_laid_out_as_well() {
    let server = Server::start();
    let client = Client::paired(&server);
    let root = server.beside().join("camera");
    write(root.join("a/IMG_1.jpg"), photo("2024:05:05 10:00:00", 10, 1));
    let watch =
        client.ferry("watch").arg(&root).args(["--to", "box", "--layout", BY_MONTH, "--settle", "0s"]);
    let running = watch.start();
    let arrives = |name: &str| eventually(name, || server.inbox().join(name).is_file().then_some(()));
    arrives("2024/05/IMG_1.jpg");
    write(root.join("b/IMG_1.jpg"), photo("2024:05:06 10:00:00", 10, 2));
    arrives("2024/05/IMG_1 (2).jpg");
    write(root.join("b/c/IMG_2.jpg"), photo("2024:06:06 10:00:00", 10, 3));
    arrives("2024/06/IMG_2.jpg");
    running.signal(Signal::TERM);
    let code = running.wait().status.code();
    assert!(matches!(code, Some(0 | 5)), "{code:?}");
    assert_eq!(files(server.inbox()).len(), 3);
}
