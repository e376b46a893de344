//! A server that runs out of open files.

use std::net::TcpStream;

use super::MIB;
use crate::support::{Client, Running, Server, assert_same_tree, noise, write};

/// Listener, catalogue, root and runtime take about thirty.
const FEW: &[&str] = &["prlimit", "--nofile=64:64", "--"];

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
    let runs: Vec<_> =
        clients.iter().zip(&trees).map(|(c, tree)| c.send(tree).arg("--json").start()).collect();
    for outcome in runs.into_iter().map(Running::wait) {
        outcome.code(0);
    }
    for tree in &trees {
        assert_same_tree(tree, &server.inbox().join(tree.file_name().unwrap()));
    }
    assert_eq!(server.staged(), []);
}

#[test]
fn hostile_19_a_server_whose_open_files_were_all_taken_serves_on_when_they_are_free() {
    let server = Server::setup().wrapped(FEW).start();
    let client = Client::paired(&server);
    let file = write(server.beside().join("file"), "content");
    let idle: Vec<_> = (0..100).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    server.logged(&["turned away"]);
    let send = client.send(&file).start();
    drop(idle);
    send.wait().code(0);
    assert_same_tree(&file, &server.inbox().join("file"));
}
