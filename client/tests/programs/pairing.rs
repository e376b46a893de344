//! How a client and a server get to know each other.

use std::ffi::OsStr;

use crate::support::{Client, FakeServer, Server, assert_same_file, write};

#[test]
fn a_link_as_an_argument_on_standard_input_or_at_the_prompt_pairs() {
    let server = Server::start();
    let file = write(server.beside().join("source/file"), "content");
    for name in ["argument", "stdin", "prompt"] {
        let client = Client::new();
        let (ferry, link) = (client.ferry("pair").args(["--as", "nas"]), server.invite());
        let ferry = match name {
            "argument" => ferry.arg(&link),
            "stdin" => ferry.arg("-").stdin(format!("{link}\n")),
            _ => ferry.stdin(format!("  {link}\n")),
        };
        let paired = ferry.run().code(0).says("`nas`");
        assert_eq!(paired.stdout(), "", "what is said to people is no data");
        assert!(!paired.stderr().contains("invite link:"), "a prompt without a terminal");
        client.ferry("send").arg(&file).args(["nas", "--name", name]).run().code(0);
        assert_same_file(&file, &server.inbox().join(name));
    }
    assert_eq!(server.names(), ["argument", "prompt", "stdin"]);
}

#[test]
fn a_remote_without_a_name_gets_one_that_can_be_typed() {
    let server = Server::start();
    let client = Client::new();
    client.ferry("pair").arg(server.invite()).run().code(0);
    let remotes = client.ferry("remotes").run().code(0).stdout();
    let (name, rest) = remotes.split_once('\t').unwrap();
    assert!(rest.starts_with(&server.address().to_string()), "{remotes}");
    let source = write(server.beside().join("file"), "");
    client.ferry("send").arg(source).arg(name).run().code(0);
    client.ferry("remotes").args(["remove", name]).run().code(0);
    assert_eq!(client.ferry("remotes").run().code(0).stdout(), "");
}

#[test]
fn a_link_can_be_sent_to_at_once_and_again() {
    let server = Server::start();
    let client = Client::new();
    let (first, second) = (write(server.beside().join("1"), "one"), write(server.beside().join("2"), "two"));
    let link = server.invite();
    client.ferry("send").arg(&first).args(["--to", &link]).run().code(0).says("paired");
    client.ferry("send").arg(&second).arg(&link).run().code(0);
    client.ferry("send").arg(&second).args(["--to", &link, "--dir", "below", "--jobs", "4"]).run().code(0);
    assert_same_file(&first, &server.inbox().join("1"));
    assert_same_file(&second, &server.inbox().join("2"));
    assert_eq!(server.names(), ["1", "2", "below", "below/2"]);
    assert_eq!(client.ferry("remotes").run().stdout().lines().count(), 1, "one server, known once");
    let clients: i64 =
        server.catalogue().query_row("SELECT count(*) FROM clients", [], |row| row.get(0)).unwrap();
    assert_eq!(clients, 1, "one key, enrolled once");
}

#[test]
fn a_link_that_is_paired_here_goes_on_working_when_its_time_is_over() {
    let server = Server::start();
    let file = write(server.beside().join("file"), "content");
    let (client, late) = (Client::new(), Client::new());
    let link = server.invite_with(&["--uses", "99", "--expires", "2s"]);
    client.ferry("send").arg(&file).args(["--to", &link]).run().code(0);
    crate::support::eventually("the end of an invite's time", || {
        let code = late.ferry("pair").arg(&link).run().status.code();
        // A key that is enrolled stays enrolled, so each try is another machine's.
        std::fs::remove_file(late.home().join("identity.key")).unwrap();
        (code == Some(4)).then_some(())
    });
    client.ferry("send").arg(&file).args(["--to", &link]).run().code(0);
}

#[test]
fn an_invite_made_before_the_first_start_works() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inbox");
    let mut command = crate::support::bare(&[], "ferryd");
    command.args(["invite", "--host", &address.to_string(), "--root"]).arg(&root);
    let outcome = crate::support::run(command).code(0);
    let link = outcome.says("no ferryd has run yet").stdout();
    drop(reserved);

    let server = Server::setup().root(&root).listen(address).start();
    Client::new().ferry("pair").arg(link.trim_end()).run().code(0);
    drop(server);
}

#[test]
fn an_invite_of_a_running_server_that_keeps_its_state_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inbox");
    let state = folder.path().join("state");
    let server = Server::setup().root(&root).args([OsStr::new("--state"), state.as_os_str()]).start();
    let mut command = crate::support::bare(&[], "ferryd");
    command.args(["invite", "--root"]).arg(&root);
    crate::support::run(command).code(1).says("--state");
    assert!(!root.join(".ferry/identity.key").exists());
    drop(server);
}

#[test]
fn an_invite_is_the_link_alone_on_standard_output() {
    let server = Server::start();
    let mut command = crate::support::bare(&[], "ferryd");
    command.args(["invite", "--qr", "--root"]).arg(server.inbox());
    let outcome = crate::support::run(command).code(0);
    let stdout = outcome.stdout();
    assert_eq!(stdout.lines().count(), 1, "{outcome:?}");
    stdout.trim_end().parse::<ferry_proto::Invite>().unwrap();
    assert!(outcome.stderr().contains('█'), "a QR code for people");
}

#[test]
fn an_invite_for_several_machines_lets_in_so_many() {
    let server = Server::start();
    let link = server.invite_with(&["--uses", "2"]);
    Client::new().pair(&link);
    Client::new().pair(&link);
    Client::new().ferry("pair").arg(&link).run().code(4).says("invite");
}

#[test]
fn the_second_address_of_a_link_is_tried_where_the_first_does_not_answer() {
    let server = Server::start();
    // A port that nobody listens on: taken, and given back.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let here = server.address().to_string();
    let link = server.invite_with(&["--host", &nobody, "--host", &here]);
    Client::new().ferry("pair").arg(link).run().code(0);
}

#[test]
fn what_is_no_link_is_a_usage_error_that_does_not_repeat_the_secret() {
    let server = Server::start();
    let link = server.invite();
    let (head, secret) = link.rsplit_once('/').unwrap();
    let client = Client::new();
    for damaged in [head.to_owned(), link[..link.len() - 3].to_owned(), link.replacen("ferry", "http", 1)] {
        let outcome = client.ferry("pair").arg(&damaged).run().code(2).says("invite link");
        assert!(!outcome.stderr().contains(&secret[..8]), "{outcome:?}");
    }
    client.ferry("pair").run().code(2).says("no invite link");
    client.ferry("pair").args([link.as_str(), "--as", "a/b"]).run().code(2).says("--as");
    assert!(!client.home().join("identity.key").exists(), "a usage error has no effects");
}

#[test]
fn hostile_05_a_server_cannot_choose_a_name_that_does_harm() {
    let server = FakeServer::start(vec![Box::new(|wire| {
        wire.let_in_as("\x1b[2J../..\u{202e}nas\n");
        wire.last_words();
    })]);
    let client = Client::new();
    let outcome = client.ferry("pair").arg(server.invite()).run().code(0);
    assert!(!outcome.stderr().contains(['\x1b', '\u{202e}']), "{outcome:?}");
    let remotes = client.ferry("remotes").run().code(0).stdout();
    assert!(remotes.starts_with("2J....nas\t"), "{remotes:?}");
    server.finish();
}
