//! What becomes of a file whose name is taken.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use ferry_proto::{Conflict, Header, Mode};
use ferry_store::{Outcome, RowKind};

use crate::inbox::*;

/// An inbox that holds `dir/a.jpg` with these bytes.
fn inbox_with(body: &[u8]) -> Inbox {
    let inbox = Inbox::new();
    assert_eq!(inbox.put(&Client::new(), file("dir/a.jpg", body), body), stored(body));
    inbox
}

#[test]
fn replace_puts_the_new_file_in_the_place_of_the_old() {
    for (new, header) in
        [(&b"new"[..], file as fn(&str, &[u8]) -> Header), (b"newer", file), (b"newest", unhashed)]
    {
        let inbox = inbox_with(b"old");
        assert_eq!(inbox.put(&Client::new(), header("dir/a.jpg", new), new), stored(new));
        assert_eq!(inbox.read("dir/a.jpg"), new);
        let row = inbox.row("dir/a.jpg").unwrap();
        assert_eq!(row.kind, RowKind::File { size: new.len() as u64, digests: digest(new).into() });
        assert_eq!(inbox.names(), ["dir", "dir/a.jpg"]);
    }
}

#[test]
fn skip_and_fail_leave_the_old_file_and_ask_for_no_bytes() {
    for conflict in [Conflict::Skip, Conflict::Fail] {
        let inbox = inbox_with(b"old");
        let before = inbox.tree();
        let client = Client::on_conflict(conflict);
        assert_failed!(inbox.offer(&client, file("dir/a.jpg", b"new")).told(), Exists);
        assert_failed!(inbox.offer(&client, file("dir/a.jpg", b"newer")).told(), Exists);
        assert_failed!(inbox.offer(&client, unhashed("dir/a.jpg", b"newer")).told(), Exists);
        // One that may be the same is looked at, and if it is the same it is no conflict.
        assert_eq!(inbox.offer(&client, unhashed("dir/a.jpg", b"old")).told(), Outcome::NeedDigest);
        assert_eq!(inbox.offer(&client, file("dir/a.jpg", b"old")).told(), held(b"old"));
        assert_eq!(inbox.tree(), before);
        assert_eq!(inbox.put(&client, file("dir/b.jpg", b"b"), b"b"), stored(b"b"));
    }
}

#[test]
fn keep_both_gives_the_new_file_a_number() {
    let inbox = inbox_with(b"one");
    let client = Client::on_conflict(Conflict::KeepBoth);
    for (body, name) in [(b"two", "dir/a (2).jpg"), (b"333", "dir/a (3).jpg"), (b"444", "dir/a (4).jpg")] {
        assert_eq!(inbox.put(&client, file("dir/a.jpg", body), body), stored_at(body, name));
        assert_eq!(inbox.read(name), body);
        assert_eq!(inbox.row(name).unwrap().kind, RowKind::File { size: 3, digests: digest(body).into() });
    }
    assert_eq!(inbox.read("dir/a.jpg"), b"one");
    assert_eq!(inbox.put(&client, file("dir/b", b"b"), b"b"), stored(b"b"), "a free name needs no number");
}

#[test]
fn keep_both_numbers_the_stem_and_fits_into_the_longest_name() {
    let long_stem = format!("{}.jpg", "x".repeat(251));
    let long_name = "y".repeat(255);
    let cases = [
        ("a.tar.gz", "a.tar (2).gz".to_owned()),
        (".hidden", ".hidden (2)".to_owned()),
        ("noending", "noending (2)".to_owned()),
        ("dot.", "dot (2).".to_owned()),
        ("v1.an ending that is none", "v1.an ending that is none (2)".to_owned()),
        (&long_stem, format!("{} (2).jpg", "x".repeat(247))),
        (&long_name, format!("{} (2)", "y".repeat(251))),
    ];
    let inbox = Inbox::new();
    for (name, expected) in &cases {
        inbox.put(&Client::new(), file(name, b"one"), b"one");
        let told = inbox.put(&Client::on_conflict(Conflict::KeepBoth), file(name, b"two"), b"two");
        assert_eq!(told, stored_at(b"two", expected));
        assert_eq!((inbox.read(name), inbox.read(expected)), (b"one".to_vec(), b"two".to_vec()));
    }
}

#[test]
fn promise_3_a_lost_receipt_makes_no_second_copy() {
    let inbox = inbox_with(b"one");
    let client = Client::on_conflict(Conflict::KeepBoth);
    // The receipt of this one is lost.
    assert_eq!(inbox.put(&client, file("dir/a.jpg", b"two"), b"two"), stored_at(b"two", "dir/a (2).jpg"));
    inbox.put(&client, file("dir/a.jpg", b"333"), b"333");
    let names = inbox.names();

    // With a digest that is known ahead.
    assert_eq!(inbox.offer(&client, file("dir/a.jpg", b"two")).told(), held_at(b"two", "dir/a (2).jpg"));
    assert_eq!(inbox.offer(&client, file("dir/a.jpg", b"333")).told(), held_at(b"333", "dir/a (3).jpg"));
    // Without one: a sibling has the size, so it is asked for.
    assert_eq!(inbox.offer(&client, unhashed("dir/a.jpg", b"two")).told(), Outcome::NeedDigest);
    // Also where the name itself has another size.
    inbox.put(&Client::new(), file("dir/a.jpg", b"longer"), b"longer");
    assert_eq!(inbox.offer(&client, unhashed("dir/a.jpg", b"two")).told(), Outcome::NeedDigest);
    assert_eq!(inbox.offer(&client, file("dir/a.jpg", b"two")).told(), held_at(b"two", "dir/a (2).jpg"));
    // Also after the owner touched it, so that its row is stale.
    fs::write(inbox.on_disk("dir/a (2).jpg"), b"two").unwrap();
    assert_eq!(inbox.offer(&client, file("dir/a.jpg", b"two")).told(), held_at(b"two", "dir/a (2).jpg"));
    // And after a restart.
    let inbox = inbox.restart();
    assert_eq!(inbox.offer(&client, file("dir/a.jpg", b"two")).told(), held_at(b"two", "dir/a (2).jpg"));
    assert_eq!(inbox.names(), names);
    assert_eq!(inbox.staged(), [0; 0]);
}

#[test]
fn promise_3_the_same_sent_twice_at_once_makes_no_second_copy() {
    let inbox = inbox_with(b"one");
    let client = Client::on_conflict(Conflict::KeepBoth);
    for header in [file("dir/a.jpg", b"twins"), unhashed("dir/a.jpg", b"others")] {
        let body: &[u8] = if header.digest.is_some() { b"twins" } else { b"others" };
        // Both are asked for before either has arrived.
        let both = [(); 2].map(|()| inbox.offer(&client.again(), header.clone()).wanted());
        let [first, second] = both.map(|wanted| inbox.send(wanted, body));
        let Outcome::Stored(_, _, Some(path)) = first else { panic!("{first:?}") };
        // Its bytes came too, so it gets a receipt.
        assert_eq!(second, Outcome::Stored(Some(digest(body)), body.len() as u64, Some(path)));
    }
    assert_eq!(inbox.names(), ["dir", "dir/a (2).jpg", "dir/a (3).jpg", "dir/a.jpg"]);
    assert_eq!(inbox.staged(), [0; 0]);
}

/// Nobody has told its digest ahead, and the server was killed between its name and its row; or its owner has put it there.
#[test]
fn promise_3_what_has_no_row_is_recognised_when_it_has_come_again() {
    let inbox = inbox_with(b"one");
    let client = Client::on_conflict(Conflict::KeepBoth).with(|terms| terms.asks_ahead = false);
    let old = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for name in ["dir/b.jpg", "dir/a (2).jpg"] {
        fs::write(inbox.on_disk(name), b"two").unwrap();
        File::options().write(true).open(inbox.on_disk(name)).unwrap().set_modified(old).unwrap();
        fs::set_permissions(inbox.on_disk(name), fs::Permissions::from_mode(0o444)).unwrap();
    }
    for (offered, held) in [("dir/b.jpg", "dir/b.jpg"), ("dir/a.jpg", "dir/a (2).jpg")] {
        let told = inbox.put(&client, unhashed(offered, b"two"), b"two");
        let name = (offered != held).then(|| key(held));
        assert_eq!(told, Outcome::Stored(Some(digest(b"two")), 3, name));
        assert!(inbox.row(held).is_some(), "{held}");
        let found = fs::metadata(inbox.on_disk(held)).unwrap();
        assert_eq!((found.modified().unwrap(), found.permissions().mode() & 0o777), (old, 0o444));
    }
    // What only has the same size is another file.
    assert_eq!(inbox.put(&client, unhashed("dir/b.jpg", b"333"), b"333"), stored_at(b"333", "dir/b (2).jpg"));
    assert_eq!(inbox.names(), ["dir", "dir/a (2).jpg", "dir/a.jpg", "dir/b (2).jpg", "dir/b.jpg"]);
    assert_eq!(inbox.staged(), [0; 0]);
}

#[test]
fn keep_both_and_links() {
    let inbox = inbox_with(b"one");
    let client = Client::on_conflict(Conflict::KeepBoth);
    let second = Some(key("dir/a (2).jpg"));
    assert_eq!(inbox.offer(&client, link("dir/a.jpg", "x")).told(), Outcome::Stored(None, 0, second.clone()));
    assert_eq!(inbox.offer(&client, link("dir/a.jpg", "x")).told(), Outcome::Held(None, second));
    let third = Some(key("dir/a (3).jpg"));
    assert_eq!(inbox.offer(&client, link("dir/a.jpg", "y")).told(), Outcome::Stored(None, 0, third));
    assert_eq!(fs::read_link(inbox.on_disk("dir/a (2).jpg")).unwrap(), Path::new("x"));
    // A file finds its number among them.
    let told = inbox.put(&client, file("dir/a.jpg", b"two"), b"two");
    assert_eq!(told, stored_at(b"two", "dir/a (4).jpg"));
    assert_eq!(inbox.read("dir/a.jpg"), b"one");
}

#[test]
fn kinds_never_replace_each_other() {
    let inbox = inbox_with(b"one");
    let before = inbox.tree();
    for conflict in [Conflict::Replace, Conflict::KeepBoth, Conflict::Skip, Conflict::Fail] {
        let client = Client::on_conflict(conflict);
        assert_failed!(inbox.offer(&client, file("dir", b"x")).told(), KindConflict);
        assert_failed!(inbox.offer(&client, link("dir", "x")).told(), KindConflict);
        assert_failed!(inbox.offer(&client, folder("dir/a.jpg")).told(), KindConflict);
        for header in [file("dir/a.jpg/x", b"x"), folder("dir/a.jpg/x"), link("dir/a.jpg/x", "x")] {
            assert_failed!(inbox.offer(&client, header).told(), KindConflict);
        }
    }
    assert_eq!(inbox.tree(), before);
}

#[test]
fn links_make_way_and_are_not_followed() {
    let inbox = inbox_with(b"one");
    fs::create_dir(inbox.on_disk("real")).unwrap();
    std::os::unix::fs::symlink("real", inbox.on_disk("to-folder")).unwrap();
    std::os::unix::fs::symlink("dir/a.jpg", inbox.on_disk("to-file")).unwrap();
    let client = Client::new();
    assert_failed!(inbox.offer(&client, folder("to-folder")).told(), KindConflict);
    assert_failed!(inbox.offer(&client, file("to-folder/x", b"x")).told(), KindConflict);
    assert_failed!(inbox.offer(&Client::on_conflict(Conflict::Skip), file("to-file", b"one")).told(), Exists);
    assert_failed!(
        inbox.offer(&Client::without_overwrite(Conflict::Replace), file("to-file", b"one")).told(),
        NotAllowed
    );
    assert_eq!(inbox.put(&client, file("to-file", b"two"), b"two"), stored(b"two"));
    assert!(!inbox.on_disk("to-file").is_symlink());
    assert_eq!(inbox.read("dir/a.jpg"), b"one");
    assert_eq!(fs::read_dir(inbox.on_disk("real")).unwrap().count(), 0);
}

#[test]
fn hostile_15_without_overwrite_nothing_is_replaced_or_refreshed() {
    let inbox = inbox_with(b"one");
    let client = Client::new();
    inbox.offer(&client, folder("folder")).told();
    inbox.offer(&client, link("link", "x")).told();
    let (before, rows) = (inbox.tree(), ["dir/a.jpg", "folder", "link"].map(|name| inbox.row(name)));

    let other = |mut header: Header| {
        (header.modified, header.mode) = (time(1_600_000_000), Some(Mode::from_bits(0o777)));
        header
    };
    for conflict in [Conflict::Replace, Conflict::Skip, Conflict::Fail, Conflict::KeepBoth] {
        let client = Client::without_overwrite(conflict);
        assert_eq!(inbox.offer(&client, other(file("dir/a.jpg", b"one"))).told(), held(b"one"));
        assert_eq!(inbox.offer(&client, other(folder("folder"))).told(), Outcome::Held(None, None));
        assert_eq!(inbox.offer(&client, other(link("link", "x"))).told(), Outcome::Held(None, None));
    }
    let client = Client::without_overwrite(Conflict::Replace);
    assert_failed!(inbox.offer(&client, file("dir/a.jpg", b"two")).told(), NotAllowed);
    assert_failed!(inbox.offer(&client, file("dir/a.jpg", b"longer")).told(), NotAllowed);
    assert_failed!(inbox.offer(&client, unhashed("dir/a.jpg", b"longer")).told(), NotAllowed);
    assert_failed!(inbox.offer(&client, link("dir/a.jpg", "x")).told(), NotAllowed);
    assert_failed!(inbox.offer(&client, link("link", "y")).told(), NotAllowed);
    assert_failed!(inbox.offer(&client, file("link", b"x")).told(), NotAllowed);
    assert_eq!(inbox.tree(), before);
    assert_eq!(["dir/a.jpg", "folder", "link"].map(|name| inbox.row(name)), rows);

    assert_eq!(inbox.put(&client, file("new", b"new"), b"new"), stored(b"new"), "new names are allowed");
    let keep = Client::without_overwrite(Conflict::KeepBoth);
    let told = inbox.put(&keep, file("dir/a.jpg", b"two"), b"two");
    assert_eq!(told, stored_at(b"two", "dir/a (2).jpg"));
    assert_eq!(inbox.read("dir/a.jpg"), b"one");
}

#[test]
fn hostile_15_a_name_that_is_taken_while_its_body_is_under_way_is_not_replaced_either() {
    let cases = [
        (Client::without_overwrite(Conflict::Replace), None),
        (Client::on_conflict(Conflict::Skip), None),
        (Client::on_conflict(Conflict::Fail), None),
        (Client::on_conflict(Conflict::KeepBoth), Some("name (2)")),
    ];
    for (client, sibling) in cases {
        for what in ["file", "link"] {
            let inbox = Inbox::new();
            let path = inbox.on_disk("name");
            // Between the decision and the moment at which it would get the name.
            let call = if what == "file" { "publish" } else { "make_link" };
            inbox.script.at(call, 0, move || {
                fs::write(path, "owner's").unwrap();
                Ok(())
            });
            let told = match what {
                "file" => inbox.put(&client, file("name", b"peer's"), b"peer's"),
                _ => inbox.offer(&client, link("name", "peer's")).told(),
            };
            match (told, sibling) {
                (Outcome::Stored(_, _, Some(path)), Some(sibling)) => assert_eq!(path, key(sibling)),
                (told, None) if client.terms.conflict == Conflict::Replace => {
                    assert_failed!(told, NotAllowed)
                }
                (told, None) => assert_failed!(told, Exists),
                (told, Some(_)) => panic!("{told:?}"),
            }
            assert_eq!(inbox.read("name"), b"owner's");
            assert_eq!(inbox.row("name"), None);
            assert_eq!(inbox.staged(), [0; 0]);
        }
    }
}

#[test]
fn hostile_15_a_folder_that_its_owner_makes_meanwhile_is_not_changed() {
    let inbox = Inbox::new();
    let path = inbox.on_disk("private");
    let owners = path.clone();
    inbox.script.at("make_folder", 0, move || {
        fs::create_dir(&owners).unwrap();
        fs::set_permissions(&owners, fs::Permissions::from_mode(0o700)).unwrap();
        Ok(())
    });
    let client = Client::without_overwrite(Conflict::Replace);
    assert_eq!(inbox.offer(&client, folder("private")).told(), Outcome::Held(None, None));
    let it = fs::metadata(path).unwrap();
    assert_eq!(it.permissions().mode() & 0o7777, 0o700);
    assert_ne!(it.modified().unwrap(), std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_500_000_000));
}

#[test]
fn a_folder_that_appears_while_a_body_is_under_way_is_a_conflict() {
    for conflict in [Conflict::Replace, Conflict::Skip, Conflict::Fail] {
        let inbox = Inbox::new();
        let path = inbox.on_disk("name");
        inbox.script.at("publish", 0, move || {
            fs::create_dir(path).unwrap();
            Ok(())
        });
        let told = inbox.put(&Client::on_conflict(conflict), file("name", b"peer's"), b"peer's");
        match conflict {
            Conflict::Replace => assert_failed!(told, KindConflict),
            _ => assert_failed!(told, Exists),
        }
        assert!(inbox.on_disk("name").is_dir());
        assert_eq!(inbox.staged(), [0; 0]);
    }
}
