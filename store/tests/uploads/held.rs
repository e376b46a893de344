//! When a file is there already, and what the owner of the inbox may do to it meanwhile.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use ferry_proto::{Algorithm, Conflict, Header, Kind, Mode};
use ferry_store::{Begin, Filed, Ledger, Outcome, RowKind};

use crate::inbox::*;

fn inbox_with(body: &[u8]) -> Inbox {
    let inbox = Inbox::new();
    assert_eq!(inbox.put(&Client::new(), file("dir/file", body), body), stored(body));
    inbox.script.take_calls();
    inbox
}

fn touch(path: &Path) {
    fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::now()).unwrap();
}

#[test]
fn a_file_that_is_there_is_held_by_its_row_without_being_read() {
    let inbox = inbox_with(b"bytes");
    let before = inbox.tree();
    assert_eq!(inbox.offer(&Client::new(), file("dir/file", b"bytes")).told(), held(b"bytes"));
    assert_eq!(inbox.script.take_calls(), ["stat dir/file", "find dir/file"]);
    let inbox = inbox.restart();
    assert_eq!(inbox.offer(&Client::new(), file("dir/file", b"bytes")).told(), held(b"bytes"));
    assert_eq!(inbox.script.count("read"), 0);
    assert_eq!(inbox.tree(), before);
}

#[test]
fn a_digest_is_asked_for_only_where_the_size_is_the_same() {
    let inbox = inbox_with(b"bytes");
    let client = Client::new();
    assert_eq!(inbox.offer(&client, unhashed("dir/file", b"other")).told(), Outcome::NeedDigest);
    inbox.offer(&client, unhashed("dir/file", b"longer")).wanted();
    inbox.offer(&client, unhashed("dir/new", b"bytes")).wanted();
    assert_eq!(inbox.script.count("read"), 0);
}

#[test]
fn a_file_that_the_owner_touched_is_read_once_and_no_bytes_are_asked_for() {
    let deeds: [fn(&Path); 3] = [
        touch,
        |path| fs::write(path, "bytes").unwrap(),
        |path| {
            fs::copy(path, path.with_extension("copy")).unwrap();
            fs::rename(path.with_extension("copy"), path).unwrap();
        },
    ];
    for deed in deeds {
        let inbox = inbox_with(b"bytes");
        let row = inbox.row("dir/file").unwrap();
        deed(&inbox.on_disk("dir/file"));
        assert_eq!(inbox.offer(&Client::new(), file("dir/file", b"bytes")).told(), held(b"bytes"));
        assert_eq!(inbox.script.count("read"), 1);
        let renewed = inbox.row("dir/file").unwrap();
        assert_ne!(renewed.stamp, row.stamp);
        assert_eq!((renewed.kind, renewed.modified, renewed.mode), (row.kind, row.modified, row.mode));

        assert_eq!(inbox.offer(&Client::new(), file("dir/file", b"bytes")).told(), held(b"bytes"));
        assert_eq!(inbox.script.count("read"), 1, "the row was renewed, so nothing is read again");
        assert_eq!(inbox.script.count("stage"), 0);
    }
}

#[test]
fn a_file_without_a_row_is_read_and_taken_in() {
    let inbox = Inbox::new();
    fs::write(inbox.on_disk("found"), "bytes").unwrap();
    assert_eq!(inbox.offer(&Client::new(), file("found", b"bytes")).told(), held(b"bytes"));
    assert_eq!(inbox.row("found").unwrap().kind, RowKind::File { size: 5, digests: digest(b"bytes").into() });
    assert_eq!(inbox.script.count("read"), 1);
    inbox.offer(&Client::new(), file("found", b"bytes")).told();
    assert_eq!(inbox.script.count("read"), 1);
}

#[test]
fn a_digest_of_another_kind_is_found_by_reading_once_and_both_are_kept() {
    let inbox = inbox_with(b"bytes");
    let blake3 = Client::new().with(|terms| terms.digest = Algorithm::Blake3);
    let offer = |content: &[u8]| {
        let digest = Algorithm::Blake3.digest(content);
        inbox.offer(&blake3, Header { digest: Some(digest), ..file("dir/file", content) })
    };
    let held_so = Outcome::Held(Some(Algorithm::Blake3.digest(b"bytes")), None);
    assert_eq!(offer(b"bytes").told(), held_so);
    assert_eq!(inbox.script.count("read"), 1);
    let RowKind::File { digests, .. } = inbox.row("dir/file").unwrap().kind else { panic!("it is a file") };
    let both = [Algorithm::Sha256, Algorithm::Blake3].map(|algorithm| algorithm.digest(b"bytes"));
    assert_eq!(digests.iter().collect::<Vec<_>>(), both);

    assert_eq!(offer(b"bytes").told(), held_so);
    assert_eq!(inbox.offer(&Client::new(), file("dir/file", b"bytes")).told(), held(b"bytes"));
    assert_eq!(inbox.script.count("read"), 1, "each is known now");
    assert_eq!(inbox.script.count("stage"), 0);

    // New content has one digest.
    let mut sending = inbox.open_body(offer(b"BYTES").wanted());
    sending.append(b"BYTES").unwrap();
    let new = Algorithm::Blake3.digest(b"BYTES");
    assert_eq!(sending.finish(new), Outcome::Stored(Some(new), 5, None));
    assert_eq!(inbox.row("dir/file").unwrap().kind, RowKind::File { size: 5, digests: new.into() });
}

#[test]
fn what_a_row_says_of_a_file_that_is_rotten_is_not_kept() {
    let inbox = inbox_with(b"bytes");
    // Other bytes with the same stamp: the row is made to say what the disk says.
    fs::write(inbox.on_disk("dir/file"), "BYTES").unwrap();
    let actual = inbox.offer(&Client::new(), file("dir/file", b"BYTES")).told();
    assert_eq!(actual, held(b"BYTES"));
    let mut row = inbox.row("dir/file").unwrap();
    row.kind = RowKind::File { size: 5, digests: digest(b"bytes").into() };
    let filed = Filed { path: key("dir/file"), row, client: "anna".into(), staged: None, before: None };
    inbox.ledger.record(&[filed]).unwrap();

    let blake3 = Client::new().with(|terms| terms.digest = Algorithm::Blake3);
    let offered = Algorithm::Blake3.digest(b"BYTES");
    let header = Header { digest: Some(offered), ..file("dir/file", b"BYTES") };
    assert_eq!(inbox.offer(&blake3, header).told(), Outcome::Held(Some(offered), None));
    let RowKind::File { digests, .. } = inbox.row("dir/file").unwrap().kind else { panic!("it is a file") };
    assert_eq!(digests.by(Algorithm::Sha256), Some(digest(b"BYTES")));
}

#[test]
fn a_file_that_was_changed_by_hand_is_sent_again() {
    let inbox = inbox_with(b"bytes");
    fs::write(inbox.on_disk("dir/file"), "BYTES").unwrap();
    assert_eq!(inbox.put(&Client::new(), file("dir/file", b"bytes"), b"bytes"), stored(b"bytes"));
    assert_eq!(inbox.read("dir/file"), b"bytes");

    // Where it must not be replaced, that is a conflict.
    fs::write(inbox.on_disk("dir/file"), "BYTES").unwrap();
    let skip = Client::on_conflict(Conflict::Skip);
    assert_failed!(inbox.offer(&skip, file("dir/file", b"bytes")).told(), Exists);
    let keep = Client::on_conflict(Conflict::KeepBoth);
    assert_eq!(inbox.put(&keep, file("dir/file", b"bytes"), b"bytes"), stored_at(b"bytes", "dir/file (2)"));
    assert_eq!(inbox.read("dir/file"), b"BYTES");
}

#[test]
fn no_row_outlives_what_the_owner_does_to_its_name() {
    let inbox = inbox_with(b"bytes");
    let (client, path) = (Client::new(), inbox.on_disk("dir/file"));
    let wanted = || drop(inbox.offer(&client, file("dir/file", b"bytes")).wanted());

    fs::rename(&path, inbox.on_disk("moved")).unwrap();
    wanted();
    fs::rename(inbox.on_disk("dir"), inbox.on_disk("dir-moved")).unwrap();
    wanted();
    fs::create_dir_all(&path).unwrap();
    assert_failed!(inbox.offer(&client, file("dir/file", b"bytes")).told(), KindConflict);
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "longer than it was").unwrap();
    wanted();
    // Even the same time does not hide that it is another file.
    fs::write(&path, "BYTES").unwrap();
    let modified = fs::metadata(inbox.on_disk("moved")).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    wanted();
    // Moved back it is what it was.
    fs::rename(inbox.on_disk("moved"), &path).unwrap();
    assert_eq!(inbox.offer(&client, file("dir/file", b"bytes")).told(), held(b"bytes"));
}

#[test]
fn a_held_file_gets_the_time_and_mode_that_its_sender_has_now() {
    let inbox = inbox_with(b"bytes");
    let mut header = file("dir/file", b"bytes");
    (header.modified, header.mode) = (time(1_600_000_000), Some(Mode::from_bits(0o444)));
    assert_eq!(inbox.offer(&Client::new(), header.clone()).told(), held(b"bytes"));
    let on_disk = fs::metadata(inbox.on_disk("dir/file")).unwrap();
    assert_eq!((on_disk.mtime(), on_disk.mode() & 0o7777), (1_600_000_000, 0o644), "the owner keeps rw");
    let row = inbox.row("dir/file").unwrap();
    assert_eq!((row.modified, row.mode), (header.modified, header.mode));
    assert_eq!(inbox.script.count("read"), 0);
    inbox.script.take_calls();
    assert_eq!(inbox.offer(&Client::new(), header).told(), held(b"bytes"));
    assert_eq!(inbox.script.take_calls(), ["stat dir/file", "find dir/file"], "once is enough");
}

#[test]
fn without_overwriting_a_touched_file_is_read_once_and_keeps_its_time_and_mode() {
    let inbox = inbox_with(b"bytes");
    let path = inbox.on_disk("dir/file");
    touch(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let looks = || {
        let on_disk = fs::metadata(&path).unwrap();
        (on_disk.mtime(), on_disk.mtime_nsec(), on_disk.mode() & 0o7777)
    };
    let before = looks();
    let client = Client::without_overwrite(Conflict::Replace);
    let mut header = file("dir/file", b"bytes");
    (header.modified, header.mode) = (time(1_600_000_000), Some(Mode::from_bits(0o444)));
    for _ in 0..2 {
        assert_eq!(inbox.offer(&client, header.clone()).told(), held(b"bytes"));
    }
    assert_eq!((looks(), inbox.script.count("read")), (before, 1));
}

#[test]
fn what_is_read_for_a_connection_that_has_ended_decides_nothing() {
    let inbox = inbox_with(b"bytes");
    touch(&inbox.on_disk("dir/file"));
    let client = Client::new();
    client.lease.end();
    assert_failed!(inbox.offer(&client, file("dir/file", b"bytes")).told(), Cancelled);
    assert_eq!(inbox.offer(&Client::new(), file("dir/file", b"bytes")).told(), held(b"bytes"));
}

#[test]
fn a_file_that_is_swapped_while_it_is_refreshed_is_neither_touched_nor_recorded() {
    // After the look at it, and after its bytes were read.
    for touched_before in [false, true] {
        let inbox = inbox_with(b"bytes");
        let path = inbox.on_disk("dir/file");
        if touched_before {
            touch(&path);
        }
        let row = inbox.row("dir/file");
        inbox.script.at("set_meta", 0, move || {
            fs::write(path.with_extension("new"), "BYTES").unwrap();
            fs::set_permissions(path.with_extension("new"), fs::Permissions::from_mode(0o600)).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
            Ok(())
        });
        let mut header = file("dir/file", b"bytes");
        header.modified = time(1_600_000_000);
        assert_failed!(inbox.offer(&Client::new(), header.clone()).told(), StorageFailed);
        assert_eq!(inbox.row("dir/file"), row);
        let on_disk = fs::metadata(inbox.on_disk("dir/file")).unwrap();
        assert_eq!(on_disk.mode() & 0o7777, 0o600);
        assert_ne!(on_disk.mtime(), 1_600_000_000);
        // And nobody is told that these bytes are there.
        inbox.offer(&Client::new(), header).wanted();
    }
}

#[test]
fn folders_are_made_refreshed_and_held() {
    let inbox = Inbox::new();
    let client = Client::new();
    let stored = Outcome::Stored(None, 0, None);
    assert_eq!(inbox.offer(&client, folder("a/b")).told(), stored);
    let on_disk = fs::metadata(inbox.on_disk("a/b")).unwrap();
    assert_eq!((on_disk.mtime(), on_disk.mtime_nsec()), (1_500_000_000, 500));
    assert_eq!(on_disk.mode() & 0o7777, 0o754);
    assert_eq!(inbox.row("a/b").unwrap().kind, RowKind::Folder);
    assert_eq!(inbox.offer(&client, folder("a/b")).told(), Outcome::Held(None, None));

    // What happened in it changed its time.
    fs::write(inbox.on_disk("a/b/new"), "").unwrap();
    assert_eq!(inbox.offer(&client, folder("a/b")).told(), stored);
    assert_eq!(fs::metadata(inbox.on_disk("a/b")).unwrap().mtime(), 1_500_000_000);
    assert_eq!(inbox.offer(&client, folder("a/b")).told(), Outcome::Held(None, None));

    // One that was made on the way has no row and no time yet.
    assert_eq!(inbox.row("a"), None);
    assert_eq!(inbox.offer(&client, folder("a")).told(), stored);
    let mut other_mode = folder("a");
    other_mode.mode = Some(Mode::from_bits(0o700));
    assert_eq!(inbox.offer(&client, other_mode).told(), stored);
    assert_eq!(fs::metadata(inbox.on_disk("a")).unwrap().mode() & 0o777, 0o700);
    assert!(inbox.on_disk("a/b/new").exists());
}

#[test]
fn hostile_15_without_overwriting_a_sender_has_the_first_word_on_folders_that_it_made() {
    let inbox = Inbox::new();
    let one = Client::without_overwrite(Conflict::Replace);
    let other = Client::without_overwrite(Conflict::Replace).with(|terms| terms.client = "bert".into());
    let stored = Outcome::Stored(None, 0, None);
    let held = Outcome::Held(None, None);
    let mode = |name: &str| fs::metadata(inbox.on_disk(name)).unwrap().mode() & 0o7777;
    let (made, wanted) = (0o755, 0o754);

    inbox.put(&one, file("a/b/file", b"x"), b"x");
    inbox.offer(&one, link("c/link", "x")).told();
    inbox.offer(&one, folder("d/e")).told();
    inbox.put(&one, file("mine/file", b"x"), b"x");
    fs::create_dir(inbox.on_disk("owners")).unwrap();
    inbox.put(&one, file("owners/file", b"x"), b"x");
    fs::set_permissions(inbox.on_disk("mine"), fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["a", "a/b", "c", "d", "d/e", "mine", "owners"] {
        assert_eq!(inbox.offer(&other, folder(name)).told(), held, "{name}: it is another's");
    }
    for name in ["a/b", "a", "c", "d"] {
        assert_eq!(mode(name), made);
        assert_eq!(inbox.offer(&one, folder(name)).told(), stored, "{name}: the first word");
        assert_eq!(mode(name), wanted);
        assert_eq!(fs::metadata(inbox.on_disk(name)).unwrap().mtime(), 1_500_000_000);
    }
    // There is no second one, and none on what somebody else has made or touched.
    for name in ["a", "a/b", "c", "d", "d/e", "mine", "owners"] {
        let mut again = folder(name);
        again.mode = Some(Mode::from_bits(0o777));
        assert_eq!(inbox.offer(&one, again).told(), held, "{name}");
    }
    assert_eq!((mode("a"), mode("d/e"), mode("mine"), mode("owners")), (wanted, wanted, 0o700, 0o755));
}

#[test]
fn links_are_made_held_and_replaced() {
    let inbox = inbox_with(b"bytes");
    let client = Client::new();
    let target = |name| fs::read_link(inbox.on_disk(name)).unwrap();
    for name in ["link", "deep/link"] {
        assert_eq!(inbox.offer(&client, link(name, "../../outside")).told(), Outcome::Stored(None, 0, None));
        assert_eq!(target(name), Path::new("../../outside"));
        assert_eq!(fs::symlink_metadata(inbox.on_disk(name)).unwrap().mtime(), 1_500_000_000);
        assert_eq!(inbox.row(name).unwrap().kind, RowKind::Symlink(b"../../outside".to_vec()));
        assert_eq!(inbox.offer(&client, link(name, "../../outside")).told(), Outcome::Held(None, None));
        assert_eq!(inbox.offer(&client, link(name, "elsewhere")).told(), Outcome::Stored(None, 0, None));
        assert_eq!(target(name), Path::new("elsewhere"));
    }
    assert_eq!(inbox.offer(&client, link("dir/file", "x")).told(), Outcome::Stored(None, 0, None));
    assert_eq!(target("dir/file"), Path::new("x"));
    // And a file in the place of the link is not held by what the link's row says.
    fs::remove_file(inbox.on_disk("dir/file")).unwrap();
    fs::write(inbox.on_disk("dir/file"), "other").unwrap();
    inbox.offer(&client, file("dir/file", b"bytes")).wanted();
}

/// What one client has made is there before it is durable, and another one may ask for it just then.
#[test]
fn promise_2_a_folder_or_link_is_held_when_it_is_durable() {
    let stranger = Client::without_overwrite(Conflict::Replace).with(|terms| terms.client = "berta".into());
    for (made, asked) in [
        (file("dir/sub/file", b"bytes"), folder("dir/sub")),
        (folder("dir/sub"), folder("dir/sub")),
        (link("dir/link", "x"), link("dir/link", "x")),
        (link("dir/link", "x"), folder("dir")),
    ] {
        let inbox = Inbox::new();
        let settling = inbox.gate("settle", 0);
        let (reply_first, first) = reply();
        let client = Client::new();
        match inbox.uploads.begin(&client.terms, &client.lease, made, reply_first) {
            Begin::Send(ticket, reply) => {
                let mut upload = inbox.uploads.open_body(*ticket, 0).unwrap();
                upload.append(*b"bytes").unwrap();
                upload.complete(digest(b"bytes"), reply);
            }
            Begin::Answered => {}
            Begin::Busy(..) => panic!("nobody else sends it"),
        }
        settling.wait();
        let (reply_second, second) = reply();
        let begun = inbox.uploads.begin(&stranger.terms, &stranger.lease, asked, reply_second);
        assert!(matches!(begun, Begin::Answered));
        let early = second.recv_timeout(Duration::from_millis(50));
        assert!(early.is_err(), "held before it is durable: {early:?}");
        inbox.script.take_calls();
        drop(settling);
        assert!(matches!(answer(&first), Outcome::Stored(..)));
        assert_eq!(answer(&second), Outcome::Held(None, None));
        assert_eq!(inbox.script.count("settle"), 1, "its folder was not synced for who asked");
    }
}

/// The same where it is made between the offer and its turn, in the very batch.
#[test]
fn promise_2_what_a_batch_has_made_already_is_held_when_the_batch_is_durable() {
    let named =
        |name: &str| Client::without_overwrite(Conflict::KeepBoth).with(|terms| terms.client = name.into());
    for (made, asked) in
        [(link("dir/link", "x"), folder("dir")), (link("taken", "x"), link("taken (2)", "x"))]
    {
        let inbox = Inbox::new();
        inbox.put(&Client::new(), file("taken", b"bytes"), b"bytes");
        let [first, second] = [0, 1].map(|passes| inbox.gate("settle", passes));
        let offer = |client: &Client, header| {
            let (reply, told) = reply();
            let begun = inbox.uploads.begin(&client.terms, &client.lease, header, reply);
            assert!(matches!(begun, Begin::Answered));
            told
        };
        let before = offer(&Client::new(), folder("before"));
        first.wait();
        let (made, asked) = (offer(&named("anna"), made), offer(&named("berta"), asked));
        drop(first);
        second.wait();
        let early = asked.recv_timeout(Duration::from_millis(50));
        assert!(early.is_err(), "held before it is durable: {early:?}");
        drop(second);
        assert!([before, made].iter().all(|told| matches!(answer(told), Outcome::Stored(..))));
        assert_eq!(answer(&asked), Outcome::Held(None, None));
    }
}

#[test]
fn a_folder_or_link_with_a_row_is_held_at_once_and_any_other_is_settled_first() {
    let inbox = Inbox::new();
    let (client, stranger) = (Client::new(), Client::without_overwrite(Conflict::Replace));
    for (header, made) in [(folder("folder"), "folder 2"), (link("link", "x"), "link 2")] {
        inbox.offer(&client, header.clone()).told();
        match &header.kind {
            Kind::Folder => fs::create_dir(inbox.on_disk(made)).unwrap(),
            _ => symlink("x", inbox.on_disk(made)).unwrap(),
        }
        inbox.script.take_calls();
        assert_eq!(inbox.offer(&stranger, header.clone()).told(), Outcome::Held(None, None));
        assert_eq!(inbox.script.count("settle"), 0);
        let owners = Header { path: key(made), ..header };
        assert_eq!(inbox.offer(&stranger, owners).told(), Outcome::Held(None, None));
        assert_eq!((inbox.script.count("settle"), inbox.script.count("record")), (1, 0));
        assert_eq!(inbox.row(made), None, "what its owner has made is nobody's upload");
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let inbox = inbox_with(b"bytes");
    let client = Client::new();
    inbox.offer(&client, folder("folder")).told();
    inbox.offer(&client, link("link", "x")).told();
    inbox.put_cut(&client, file("large", big()), &big()[..CHECKPOINT + 1]);
    fs::write(inbox.on_disk("found"), "bytes").unwrap();
    touch(&inbox.on_disk("dir/file"));
    let state =
        || (inbox.tree(), inbox.staged(), inbox.checkpoints(), inbox.row("dir/file"), inbox.row("found"));
    let before = state();
    inbox.script.take_calls();

    let dry = client.with(|terms| terms.dry_run = true);
    let mut refreshed = file("dir/file", b"bytes");
    refreshed.modified = time(1_600_000_000);
    for header in [file("dir/file", b"bytes"), refreshed, file("found", b"bytes")] {
        assert_eq!(inbox.offer(&dry, header).told(), held(b"bytes"));
    }
    let mut other_mode = folder("folder");
    other_mode.mode = Some(Mode::from_bits(0o700));
    for header in [
        file("new/file", b"x"),
        file("dir/file", b"other"),
        file("large", big()),
        folder("new"),
        other_mode,
        link("link", "y"),
        link("new", "y"),
    ] {
        let wanted = inbox.offer(&dry, header).wanted();
        assert_eq!((wanted.ticket.offset(), wanted.ticket.prefix()), (0, None));
    }
    let mut other_source = file("large", big());
    other_source.modified = time(1);
    inbox.offer(&dry, other_source).wanted();
    assert_eq!(inbox.offer(&dry, unhashed("dir/file", b"bytes")).told(), Outcome::NeedDigest);
    assert_failed!(inbox.offer(&dry, file("folder", b"x")).told(), KindConflict);

    for call in inbox.script.take_calls() {
        let name = call.split(' ').next().unwrap();
        assert!(["stat", "find", "read"].contains(&name), "a dry run called {call}");
    }
    assert_eq!(state(), before);
    assert!(inbox.ledger.find(&key("new/file")).unwrap().is_none());
}
