//! A server that runs out of open files.

use std::{net::TcpStream, os::unix::fs::PermissionsExt};

use ferry_proto::{Body, Seq};

use super::MIB;
use crate::support::{Client, Peer, Running, Server, assert_same_tree, eventually, noise, write};

/// Listener, catalogue, root and runtime take about twenty.
const FEW: &[&str] = &["prlimit", "--nofile=64:64", "--"];

/// With so many open no body can be opened: the store leaves the last 16 to folders and to the catalogue.
const CROWDED: usize = 64 - 16;

/// A quarter is for sessions, and one for peers that wait to be let in.
const SEATS: usize = 64 / 4;

#[test]
fn hostile_19_with_too_few_open_files_everything_arrives_a_little_later() {
    let server = Server::setup().wrapped(FEW).start();
    let clients: Vec<_> = (0..4).map(|_| Client::paired(&server)).collect();
    let trees: Vec<_> = (0..clients.len())
        .map(|number| {
            let tree = server.beside().join(format!("source/tree-{number}"));
            for file in 0..300 {
                let seed = (number * 1000 + file) as u64;
                write(tree.join(format!("{}/{file}", file % 4)), noise(1000 + file, seed));
            }
            write(tree.join("large"), noise(40 * MIB as usize, number as u64));
            tree
        })
        .collect();
    let mut runs: Vec<_> =
        clients.iter().zip(&trees).map(|(c, tree)| c.send(tree).arg("--json").start()).collect();
    let mut most = 0;
    eventually("the end of every run", || {
        most = most.max(server.open_files());
        runs.iter_mut().all(Running::has_ended).then_some(())
    });
    assert!(most >= CROWDED, "{most} files were open at the most: nothing was shown");
    for outcome in runs.into_iter().map(Running::wait) {
        outcome.code(0);
    }
    for tree in &trees {
        assert_same_tree(tree, &server.inbox().join(tree.file_name().unwrap()));
    }
    assert_eq!(server.staged(), []);
}

#[test]
fn hostile_19_with_too_few_open_files_a_file_in_each_of_many_folders_arrives() {
    let server = Server::setup().wrapped(FEW).start();
    let client = Client::paired(&server);
    let tree = server.beside().join("source/tree");
    for folder in 0..400 {
        write(tree.join(format!("{folder}/file")), noise(1000, folder));
    }
    client.send(&tree).run().code(0);
    assert_same_tree(&tree, &server.inbox().join("tree"));
    // What is there gets other times and modes alone.
    for folder in 0..400 {
        let file = std::fs::File::open(tree.join(format!("{folder}/file"))).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 + folder))
            .unwrap();
    }
    client.send(&tree).run().code(0);
    assert_same_tree(&tree, &server.inbox().join("tree"));
}

#[test]
fn hostile_19_a_server_whose_open_files_were_all_taken_serves_on_when_they_are_free() {
    let server = Server::setup().wrapped(FEW).start();
    let client = Client::paired(&server);
    let file = write(server.beside().join("file"), "content");
    // Connections alone may not take all of them. Bodies that stand still take the others.
    let with_body = |number| {
        let mut peer = Peer::sending(&server);
        peer.offer(0, format!("body-{number}"), 2, None);
        peer.asked(0);
        let before = server.open_files();
        peer.say(Body { seq: Seq(0), offset: 0 });
        eventually("an open body", || (server.open_files() > before).then_some(()));
        peer
    };
    let peers: Vec<_> = (0..).take_while(|_| server.open_files() < CROWDED - 2).map(with_body).collect();
    let seated: Vec<_> = (peers.len()..SEATS).map(|_| Peer::welcomed(&server)).collect();
    let idle: Vec<_> = (0..100).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    server.logged(&["a connection cannot be accepted"]);
    let send = client.send(&file).start();
    drop((idle, seated, peers));
    send.wait().code(0);
    assert_same_tree(&file, &server.inbox().join("file"));
    assert_eq!(server.names(), ["file"]);
    eventually("an empty staging", || server.staged().is_empty().then_some(()));
}
