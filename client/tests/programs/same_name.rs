//! One name, sent by several at once.

use std::{fs, thread::scope};

use ferry_proto::Algorithm;
use rustix::process::Signal;

use crate::support::{
    Client, Plan, Proxy, Running, Server, assert_same_file, assert_same_tree, digest, eventually, noise,
    write,
};

const MIB: usize = 1024 * 1024;

#[test]
fn hostile_23_two_clients_leave_one_whole_file() {
    let server = Server::start();
    let clients = [Client::paired(&server), Client::paired(&server)];
    // Packed, streamed, and with a checkpoint.
    for length in [1000, 4 * MIB, 40 * MIB] {
        let name = format!("name-{length}");
        let sources = [0, 1].map(|number| {
            let path = server.beside().join(format!("{length}-{number}")).join(&name);
            // Of one size, so that only their digests tell them apart.
            write(path, noise(length, number as u64))
        });
        let mut before = None;
        for _ in 0..3 {
            let outcomes = scope(|threads| {
                let run = |number: usize| {
                    let send = clients[number].send(&sources[number]).arg("--json");
                    threads.spawn(move || send.run())
                };
                [run(0), run(1)].map(|thread| thread.join().unwrap())
            });
            // Neither fails: one commit at a time is done, so what a receipt is given for is there at that moment,
            // and that its name goes to the other one afterwards makes the receipt no less true.
            let mut sent = Vec::new();
            for (outcome, source) in outcomes.into_iter().zip(&sources) {
                let outcome = outcome.code(0);
                let object = outcome.objects().into_iter().find(|object| object["name"] == name).unwrap();
                assert_eq!(object["digest"], digest(source).to_string(), "{outcome:?}");
                if object["status"] == "sent" {
                    sent.push(digest(source));
                } else {
                    // Before the other one took its place.
                    assert_eq!(
                        (&object["status"], before),
                        (&"held".into(), Some(digest(source))),
                        "{object}"
                    );
                }
            }
            // Who is told that it was held has written nothing, so the last word is that of one who sent.
            let arrived = digest(server.inbox().join(&name));
            assert!(sent.contains(&arrived), "{arrived} is there of {length} bytes, {sent:?} were sent");
            before = Some(arrived);
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
    assert_same_tree(&source, &server.inbox().join("source"));
    assert_eq!((server.staged(), server.checkpoints()), (vec![], vec![]));
}

#[test]
fn hostile_23_a_run_whose_connection_is_dead_does_not_lock_its_successor_out() {
    // Nobody tells the server, which goes on believing in the connection.
    is_succeeded(Plan::SilentAfter(40 * MIB as u64), |first| {
        first.signal(Signal::KILL);
        first.wait();
    });
}

#[test]
fn hostile_23_a_run_whose_connection_was_cut_does_not_lock_its_successor_out() {
    is_succeeded(Plan::CutAfter(40 * MIB as u64), |first| drop(first.wait().code(3)));
}

/// Ends the connection of a run behind its only checkpoint, and then the run; the next one, which does not go through
/// the proxy, sends what is behind the checkpoint and nothing else.
fn is_succeeded(plan: Plan, end: impl FnOnce(Running)) {
    const LENGTH: usize = 50 * MIB;
    const CHECKPOINT: usize = 32 * MIB;
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let source = write(server.beside().join("large"), noise(LENGTH, 1));
    proxy.set(plan);
    let first = client.send(&source).args(["--retry", "0"]).start();
    // Who comes before it finds nothing to go on with.
    eventually("the checkpoint", || (server.checkpoints() == [CHECKPOINT as u64]).then_some(()));
    end(first);

    client.pair(&server.invite());
    let again = client.send(&source).arg("--json").run().code(0);
    assert_eq!(again.statuses(), [("large".to_owned(), "sent".to_owned())]);
    assert_eq!(again.total("bytes"), (LENGTH - CHECKPOINT) as u64, "it did not go on from the checkpoint");
    assert_same_file(&source, &server.inbox().join("large"));
    assert_eq!(server.names(), ["large"]);
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

/// Streams cannot be compared before they are sent, so the second one finds the first one only when it is whole.
#[test]
fn hostile_23_keep_both_of_two_equal_streams_is_one_copy_and_both_are_told_of_it() {
    let server = Server::start();
    let clients = [Client::paired(&server), Client::paired(&server)];
    for length in [1000, 2 * MIB, 40 * MIB] {
        let name = format!("stream-{length}");
        let stream = |client: &Client, bytes: &[u8]| client.send("-").args(["--name", &name]).stdin(bytes);
        stream(&clients[0], b"other content").run().code(0);
        let bytes = noise(length, 1);
        let (content, copy) = (Algorithm::Sha256.digest(&bytes), format!("{name} (2)"));
        scope(|threads| {
            for (number, client) in clients.iter().enumerate() {
                let receipts = server.beside().join(format!("receipts-{number}"));
                let send = stream(client, &bytes).args(["--on-conflict", "keep-both", "--json"]);
                let send = send.arg("--receipts").arg(&receipts);
                let copy = &copy;
                threads.spawn(move || {
                    let outcome = send.run().code(0);
                    assert_eq!(outcome.statuses(), [(copy.clone(), "sent".to_owned())]);
                    let told = fs::read_to_string(&receipts).unwrap();
                    assert_eq!(told, format!("{}  {copy}\n", content.hex()));
                });
            }
        });
        assert_eq!(digest(server.inbox().join(&copy)), content);
        assert_eq!(fs::read(server.inbox().join(&name)).unwrap(), b"other content");
        assert_eq!((server.staged(), server.checkpoints()), (vec![], vec![]));
    }
    assert_eq!(server.names().len(), 3 * 2, "{:?}", server.names());
}
