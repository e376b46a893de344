//! What may be gone on with, and what may not: bytes of two sources are never joined.

use std::{fs, path::Path};

use rustix::process::Signal;

use super::MIB;
use crate::support::{
    Client, Plan, Proxy, Server, assert_same_file, eventually, noise, set_mode, set_modified, write,
};

const SIZE: usize = 80 * MIB as usize;

#[test]
fn promise_3_what_was_staged_of_an_older_content_is_not_joined_with_a_newer_one() {
    after_a_kill(|file| {
        let mut bytes = noise(SIZE, 1);
        bytes[0] ^= 1;
        fs::write(file, bytes).unwrap();
        set_modified(file, 1_600_000_001, 0);
    });
}

#[test]
fn promise_3_not_even_where_size_and_times_say_that_nothing_has_changed() {
    after_a_kill(|file| {
        let mut bytes = noise(SIZE, 1);
        bytes[0] ^= 1;
        fs::write(file, bytes).unwrap();
        set_modified(file, 1_600_000_000, 0);
    });
}

#[test]
fn promise_3_nor_where_the_change_is_behind_the_checkpoint() {
    after_a_kill(|file| {
        let mut bytes = noise(SIZE, 1);
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(file, bytes).unwrap();
        set_modified(file, 1_600_000_000, 0);
    });
}

#[test]
fn promise_3_another_file_that_takes_the_name_is_sent_whole() {
    after_a_kill(|file| {
        let other = file.with_file_name("other");
        fs::write(&other, noise(SIZE, 2)).unwrap();
        set_modified(&other, 1_600_000_000, 0);
        fs::rename(other, file).unwrap();
    });
}

/// Kills a run behind the second checkpoint, changes the source, and runs the same command again.
fn after_a_kill(change: impl FnOnce(&Path)) {
    let mut server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let file = write(server.beside().join("source/file"), noise(SIZE, 1));
    set_mode(&file, 0o640);
    set_modified(&file, 1_600_000_000, 0);

    proxy.set(Plan::SilentAfter(70 * MIB));
    let first = client.send(&file).start();
    eventually("a second checkpoint", || {
        let offset = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let found = server.catalogue().query_row("SELECT max(offset) FROM bodies", [], offset);
        found.is_ok_and(|offset| offset as u64 >= 64 * MIB).then_some(())
    });
    server.kill();
    first.signal(Signal::KILL);
    first.wait();
    assert_eq!(server.names(), [""; 0]);

    change(&file);
    proxy.set(Plan::Forward);
    server.restart_elsewhere();
    proxy.lead_to(server.address());
    client.send(&file).run().code(0);
    assert_same_file(&file, &server.inbox().join("file"));
    assert_eq!((server.names(), server.staged()), (vec!["file".to_owned()], vec![]));
    // The digest that was learned is that of what is there now.
    let again = client.send(&file).args(["--json", "--checksum"]).run().code(0);
    assert_eq!(again.statuses(), [("file".to_owned(), "held".to_owned())]);
}
