//! SIGKILL while there is next to nothing yet: keys, catalogues and configurations in the making.

use std::{thread::sleep, time::Duration};

use rustix::process::Signal;

use super::{chance, is_full};
use crate::support::{Client, Server, assert_same_file, bare, start, write};

#[test]
fn hostile_21_a_server_killed_while_it_starts_for_the_first_time_starts_the_next_time() {
    let mut rng = chance("first starts of a server");
    for _ in 0..if is_full() { 200 } else { 15 } {
        let setup = Server::setup();
        for _ in 0..rng.usize(1..4) {
            let mut command = bare(&[], "ferryd");
            // An invite may be the first to make the server's state.
            let serves = rng.bool();
            command.arg(if serves { "serve" } else { "invite" }).arg("--root").arg(setup.inbox());
            if serves {
                command.args(["--listen", "127.0.0.1:0"]);
            }
            let server = start(command, Vec::new());
            sleep(Duration::from_micros(rng.u64(0..60_000)));
            server.signal(Signal::KILL);
            server.wait();
        }
        let server = setup.start();
        let client = Client::paired(&server);
        let file = write(server.beside().join("file"), "content");
        client.send(&file).run().code(0);
        assert_same_file(&file, &server.inbox().join("file"));
    }
}

#[test]
fn hostile_21_a_client_killed_while_it_pairs_pairs_and_sends_the_next_time() {
    let mut rng = chance("first runs of a client");
    let server = Server::start();
    for number in 0..if is_full() { 200 } else { 15 } {
        let client = Client::new();
        let (link, name) = (server.invite(), format!("file-{number}"));
        let file = write(server.beside().join(&name), "content");
        for _ in 0..rng.usize(1..4) {
            // The key that has spent the invite may present it again.
            let ferry = match rng.bool() {
                true => client.ferry("pair").args([&link, "--as", "box"]),
                false => client.ferry("send").arg(&file).args(["--to", &link]),
            };
            let ferry = ferry.start();
            sleep(Duration::from_micros(rng.u64(0..60_000)));
            ferry.signal(Signal::KILL);
            ferry.wait();
        }
        client.ferry("send").arg(&file).args(["--to", &link]).run().code(0);
        assert_same_file(&file, &server.inbox().join(&name));
    }
}
