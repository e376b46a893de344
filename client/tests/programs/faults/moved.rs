//! Owners who move and remove things in their inbox while files arrive: what has a receipt was there, and nothing
//! is taken for held that is gone.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use super::{MIB, chance, failures, receipts};
use crate::support::{
    Client, Proxy, Running, Server, assert_same_tree, digest, eventually, names, noise, set_modified,
    snapshot, write,
};

#[test]
fn promise_2_no_receipt_is_false_where_the_owner_moves_folders_away_meanwhile() {
    let mut rng = chance("folders moved away");
    let Inbox { server, client, tree } = Inbox::new();
    let away = server.beside().join("away");
    fs::create_dir(&away).unwrap();
    // Slowly enough that the owner gets something done meanwhile.
    let mut send = client.send(&tree).args(["--json", "--limit-rate", "15MB"]).start();
    let mut moved = Vec::new();
    while !send.has_ended() {
        sleep(Duration::from_micros(rng.u64(0..40_000)));
        let from = ["tree", "tree/1", "tree/2/below"][rng.usize(..3)];
        let to = away.join(moved.len().to_string());
        if fs::rename(server.inbox().join(from), &to).is_ok() {
            moved.push((from, to));
        }
    }
    let outcome = send.wait();
    let failed = failures(&outcome);
    assert_eq!(outcome.status.code(), Some(i32::from(!failed.is_empty())), "{outcome:?}");
    let sent = receipts(&outcome.stdout);
    println!("{} moved away, {} sent, {} failed", moved.len(), sent.len(), failed.len());
    assert!(!moved.is_empty() && !sent.is_empty(), "nothing was shown");
    for (name, expected) in sent {
        // Where it is now: a folder may have been moved with another one in it that had been moved before.
        let below = |from: &str| name.strip_prefix(from).and_then(|rest| rest.strip_prefix('/'));
        let mut places = vec![server.inbox().join(&name)];
        places.extend(moved.iter().filter_map(|(from, to)| Some(to.join(below(from)?))));
        let held = places.iter().any(|place| place.exists() && digest(place).to_string() == expected);
        assert!(held, "`{name}` has a receipt, and is nowhere");
    }
    let visible = [server.inbox().to_owned()].into_iter().chain(moved.into_iter().map(|(_, to)| to));
    visible.for_each(|folder| are_whole(&folder, &tree));

    client.send(&tree).run().code(0);
    assert_same_tree(&tree, &server.inbox().join("tree"));
    assert_eq!(server.staged(), []);
}

#[test]
fn promise_8_what_the_owner_removes_meanwhile_is_sent_again_by_the_next_run() {
    let mut rng = chance("folders removed");
    let Inbox { server, client, tree } = Inbox::new();
    // Slowly enough that the owner gets something done meanwhile.
    let mut send = client.send(&tree).args(["--json", "--limit-rate", "15MB"]).start();
    let mut removed = 0;
    while !send.has_ended() {
        sleep(Duration::from_micros(rng.u64(0..40_000)));
        let which = ["tree", "tree/0", "tree/1", "tree/2/below"][rng.usize(..4)];
        // It fails where something arrives in it meanwhile; then only some of it is gone.
        removed += usize::from(fs::remove_dir_all(server.inbox().join(which)).is_ok());
    }
    assert!(removed > 0, "nothing was shown");
    let outcome = send.wait();
    let failed = failures(&outcome);
    assert_eq!(outcome.status.code(), Some(i32::from(!failed.is_empty())), "{outcome:?}");
    are_whole(server.inbox(), &tree);

    client.send(&tree).run().code(0);
    assert_same_tree(&tree, &server.inbox().join("tree"));
    assert_eq!(server.staged(), []);
}

#[test]
fn promise_2_an_inbox_that_is_moved_as_a_whole_takes_its_files_along() {
    let Inbox { mut server, client, tree } = Inbox::new();
    let proxy = Proxy::to(server.address());
    client.pair(&server.invite_at(proxy.address()));
    let send = client.send(&tree).arg("--json").start();
    receipts_come(&send);
    let elsewhere = server.beside().join("elsewhere");
    fs::rename(server.inbox(), &elsewhere).unwrap();
    let outcome = send.wait();
    let failed = failures(&outcome);
    assert_eq!(outcome.status.code(), Some(i32::from(!failed.is_empty())), "{outcome:?}");
    for (name, expected) in receipts(&outcome.stdout) {
        assert_eq!(digest(elsewhere.join(&name)).to_string(), expected, "`{name}` has a receipt");
    }
    assert!(!server.inbox().exists(), "an inbox that its owner has moved was made anew");

    // Moved back, it is what it was.
    fs::rename(&elsewhere, server.inbox()).unwrap();
    server.restart_elsewhere();
    proxy.lead_to(server.address());
    client.send(&tree).run().code(0);
    assert_same_tree(&tree, &server.inbox().join("tree"));
}

#[test]
fn promise_8_nothing_is_received_by_an_inbox_that_was_removed() {
    let Inbox { server, client, tree } = Inbox::new();
    let send = client.send(&tree).arg("--json").start();
    receipts_come(&send);
    eventually("the end of the inbox", || match fs::remove_dir_all(server.inbox()) {
        Ok(()) => Some(()),
        // Something has arrived in it meanwhile.
        Err(_) => None,
    });
    // Not only what failed: what had arrived is gone too, and nobody could tell that in time.
    send.wait();

    let outcome = client.send(&tree).arg("--json").run().code(1);
    assert_eq!((outcome.total("sent"), outcome.total("held")), (0, 0), "{outcome:?}");
    let failed = failures(&outcome);
    assert_eq!(failed.len(), snapshot(&tree).len(), "{outcome:?}");
    for (name, why) in failed {
        assert_eq!(why, "the folder that it goes to is gone", "{name}");
    }
    assert!(!server.inbox().exists());
}

/// A server, a client of it, and a tree to be sent.
struct Inbox {
    server: Server,
    client: Client,
    tree: PathBuf,
}

impl Inbox {
    fn new() -> Self {
        let server = Server::start();
        let client = Client::paired(&server);
        let tree = server.beside().join("source/tree");
        for number in 0..1500_u64 {
            let name = format!("{}/{}/{number}", number % 3, ["here", "below"][number as usize % 2]);
            let file = write(tree.join(name), noise(number as usize % 5000, number));
            set_modified(file, 1_600_000_000, 0);
        }
        for number in 0..4 {
            write(tree.join(format!("{number}/large")), noise(10 * MIB as usize, 5000 + number));
        }
        Inbox { server, client, tree }
    }
}

fn receipts_come(send: &Running) {
    eventually("receipts", || (send.lines_so_far() > 100).then_some(()));
}

/// Checks that every file below a folder is a whole one of the source's.
fn are_whole(folder: &Path, tree: &Path) {
    // Every content of this source is there once, but for its name.
    let sources: std::collections::HashSet<_> = files(tree).map(|path| digest(path).to_string()).collect();
    for path in files(folder) {
        assert!(sources.contains(&digest(&path).to_string()), "{} is not whole", path.display());
    }
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    names(folder).into_iter().map(|name| folder.join(name)).filter(|path| path.is_file())
}
