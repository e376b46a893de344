//! One name, sent by several at once.

use std::thread::scope;

use crate::support::{Client, Plan, Proxy, Server, assert_same_file, digest, eventually, noise, write};

const MIB: usize = 1024 * 1024;

#[test]
fn hostile_23_two_clients_leave_one_whole_file() {
    let server = Server::start();
    let clients = [Client::paired(&server), Client::paired(&server)];
    // Packed, streamed, and with a checkpoint.
    for length in [1000, 4 * MIB, 40 * MIB] {
        let source = |number: usize| {
            let path = server.beside().join(format!("{length}-{number}/name-{length}"));
            write(path, noise(length + number, number as u64))
        };
        let sources = [source(0), source(1)];
        for _ in 0..3 {
            let outcomes = scope(|threads| {
                let run = |number: usize| {
                    threads.spawn({
                        let (client, source) = (&clients[number], &sources[number]);
                        move || client.send(source).run()
                    })
                };
                [run(0), run(1)].map(|thread| thread.join().unwrap())
            });
            let arrived = digest(server.inbox().join(format!("name-{length}")));
            assert!(sources.iter().any(|source| digest(source) == arrived), "a mixture of {length} bytes");
            // The one whose file was replaced has had its receipt, unless it noticed.
            assert!(outcomes.iter().any(|outcome| outcome.status.code() == Some(0)), "{outcomes:?}");
            for outcome in outcomes {
                assert!(matches!(outcome.status.code(), Some(0 | 1)), "{outcome:?}");
            }
            assert_eq!((server.staged(), server.checkpoints()), (vec![], vec![]));
        }
    }
    assert_eq!(server.names().len(), 3);
}

#[test]
fn hostile_23_two_copies_of_one_command_both_end_well() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    for (name, length) in [("small", 1000), ("large", 40 * MIB), ("middle", 3 * MIB)] {
        write(source.join(name), noise(length, 1));
    }
    scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| client.send(&source).run().code(0));
        }
    });
    crate::support::assert_same_tree(&source, &server.inbox().join("source"));
    assert_eq!((server.staged(), server.checkpoints()), (vec![], vec![]));
}

#[test]
fn hostile_23_a_run_whose_connection_is_dead_does_not_lock_its_successor_out() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let source = write(server.beside().join("large"), noise(50 * MIB, 1));
    proxy.set(Plan::CutAfter(40 * MIB as u64));
    let cut = client.send(&source).args(["--retry", "0"]).run();
    cut.code(3);
    let again = client.send(&source).arg("--json").run().code(0);
    assert_same_file(&source, &server.inbox().join("large"));
    assert!(again.total("bytes") <= 50 * MIB as u64);
    assert_eq!((server.staged(), server.checkpoints()), (vec![], vec![]));
}

#[test]
fn hostile_23_keep_both_keeps_both_of_two_at_once() {
    let server = Server::start();
    let clients = [Client::paired(&server), Client::paired(&server)];
    let source = |number: usize| {
        write(server.beside().join(format!("{number}/name.txt")), noise(2 * MIB, number as u64))
    };
    let sources = [source(0), source(1)];
    scope(|threads| {
        for (client, source) in clients.iter().zip(&sources) {
            threads.spawn(move || client.send(source).args(["--on-conflict", "keep-both"]).run().code(0));
        }
    });
    assert_eq!(server.names(), ["name (2).txt", "name.txt"]);
    let arrived = ["name.txt", "name (2).txt"].map(|name| digest(server.inbox().join(name)));
    let sent = [digest(&sources[0]), digest(&sources[1])];
    assert!(arrived == sent || arrived == [sent[1], sent[0]]);
    eventually("an empty staging", || server.staged().is_empty().then_some(()));
}
