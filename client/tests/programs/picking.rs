//! Places that the command line does not name.

use std::process::Command;

use crate::support::{Client, Server, bare, start, write};

#[test]
fn the_one_paired_server_is_the_place_where_none_is_named() {
    let server = Server::start();
    let client = Client::paired(&server);
    let photo = write(client.home().join("photo.jpg"), "content");
    client.ferry("send").arg(&photo).run().code(0).says("to box, the one server that is paired with");
    assert_eq!(server.names(), ["photo.jpg"]);
    let quiet = client.ferry("verify").arg(&photo).arg("-q").run().code(0);
    assert_eq!(quiet.stderr(), "");
    // A word that looks like a place is no source whose place was left away.
    client.ferry("send").arg(&photo).arg("bux:").run().code(2).says("no server is known as `bux`");
    client.ferry("send").arg("box").run().code(2).says("send what?");
    client.ferry("send").arg(&photo).arg("box:there").run().code(0);
    assert_eq!(server.names(), ["photo.jpg", "there", "there/photo.jpg"]);
}

#[test]
fn where_no_server_is_paired_it_is_told_how_to_pair_with_one() {
    let client = Client::new();
    let photo = write(client.home().join("photo.jpg"), "content");
    let refused = client.ferry("send").arg(&photo).run().code(2);
    refused.says("`ferry discover`").says("`ferryd invite`").says("`ferry pair`");
}

#[test]
fn of_several_servers_none_is_guessed() {
    let (client, first, second) = two();
    let photo = write(client.home().join("photo.jpg"), "content");
    for stdin in ["", "1\n"] {
        let refused = client.ferry("send").arg(&photo).stdin(stdin).run().code(2);
        refused.says("--to: box, other");
    }
    client.ferry("send").args(["-", "--name", "x"]).stdin("bytes").run().code(2).says("--to: box, other");
    assert_eq!((first.names(), second.names()), (vec![], vec![]));
}

#[test]
fn of_several_servers_somebody_at_a_terminal_picks_one() {
    let (client, first, second) = two();
    let photo = write(client.home().join("photo.jpg"), "content");
    let ferry = bare(&[], "ferry").get_program().to_str().unwrap().to_owned();
    let (home, photo) = (client.home().display(), photo.display());
    // `script` gives a terminal to what it runs.
    let asked = |answers: &str| {
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &format!("FERRY_HOME='{home}' '{ferry}' send '{photo}'"), "/dev/null"]);
        start(terminal, answers.into()).wait()
    };
    asked("3\nelse\nother\n").code(0).prints("to which server?").prints("a number from 1 to 2, or a name");
    assert_eq!((first.names(), second.names()), (vec![], vec!["photo.jpg".to_owned()]));
    asked("1\n").code(0);
    assert_eq!(first.names(), ["photo.jpg"]);
}

fn two() -> (Client, Server, Server) {
    let (first, second) = (Server::start(), Server::start());
    let client = Client::paired(&first);
    client.ferry("pair").args([&second.invite(), "--as", "other"]).run().code(0);
    (client, first, second)
}
