//! What goes where: sources, places and names.

use std::fs;

use ferry_proto::Algorithm;

use crate::support::{
    Client, Server, assert_same_contents, assert_same_file, assert_same_tree, digest, noise, write,
};

#[test]
fn files_and_folders_arrive_under_their_names() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("folder/a"), "a");
    write(source.join("folder/below/b"), "b");
    write(source.join("file"), "file");
    client.ferry("send").args([source.join("folder"), source.join("file")]).arg("box").run().code(0);
    assert_same_tree(&source.join("folder"), &server.inbox().join("folder"));
    assert_same_file(&source.join("file"), &server.inbox().join("file"));
    assert_eq!(server.names(), ["file", "folder", "folder/a", "folder/below", "folder/below/b"]);
}

#[test]
fn a_trailing_slash_means_what_is_inside() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("a"), "a");
    write(source.join("below/b"), "b");
    client.send(format!("{}/", source.display())).run().code(0);
    assert_same_contents(&source, server.inbox());
    client.send(format!("{}/", source.display())).args(["--dir", "deep/er"]).run().code(0);
    assert_same_contents(&source, &server.inbox().join("deep/er"));
    for dot in [".", "./", "below/.."] {
        let folder = format!("dot-{}", dot.len());
        client.send(dot).args(["--dir", &folder]).in_folder(&source).run().code(0);
        assert_same_contents(&source, &server.inbox().join(folder));
    }
}

#[test]
fn a_link_to_a_folder_with_a_trailing_slash_means_what_is_inside() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("a"), "a");
    let link = server.beside().join("link");
    std::os::unix::fs::symlink(&source, &link).unwrap();
    client.send(format!("{}/", link.display())).run().code(0);
    assert_same_contents(&source, server.inbox());
    client.send(&link).run().code(0);
    assert_same_file(&link, &server.inbox().join("link"));
}

#[test]
fn a_place_has_a_folder_and_dir_goes_below_it() {
    let server = Server::start();
    let client = Client::paired(&server);
    let file = write(server.beside().join("file"), "content");
    let send = || client.ferry("send").arg(&file);
    send().arg("box:a/b").run().code(0);
    send().args(["--to", "box:c/", "--dir", "d/e/"]).run().code(0);
    send().args(["--dir", "f"]).env("FERRY_REMOTE", "box").run().code(0);
    send().arg("box:").args(["--name", "g/other"]).run().code(0);
    // Flags may stand anywhere.
    client.ferry("send").args(["--dir", "h"]).arg(&file).args(["box", "-q"]).run().code(0);
    let files = ["a/b/file", "c/d/e/file", "f/file", "g/other", "h/file"];
    for name in files {
        assert_same_file(&file, &server.inbox().join(name));
    }
    let arrived = server.names();
    let arrived: Vec<&String> = arrived.iter().filter(|name| server.inbox().join(name).is_file()).collect();
    assert_eq!(arrived, files);
}

#[test]
fn standard_input_becomes_a_file() {
    let server = Server::start();
    let client = Client::paired(&server);
    for length in [0, 1, 300_000, 5_000_000] {
        let bytes = noise(length, 1);
        let name = format!("stream-{length}");
        let outcome = client.send("-").args(["--name", &name, "--json"]).stdin(bytes.clone()).run().code(0);
        assert_eq!(digest(server.inbox().join(&name)), Algorithm::Sha256.digest(&bytes));
        assert_eq!(outcome.statuses(), [(name, "sent".to_owned())]);
        assert_eq!(outcome.total("bytes"), length as u64);
    }
    client.send("-").stdin("x").run().code(2).says("--name");
    client.send("-").args(["--name", "stream", "--dir", "a"]).stdin("again").run().code(0);
    assert_eq!(fs::read(server.inbox().join("a/stream")).unwrap(), b"again");
}

#[test]
fn promise_8_standard_input_that_is_closed_is_no_empty_file() {
    let server = Server::start();
    let client = Client::paired(&server);
    let send = |redirection: &str| {
        let shell = format!("exec \"$@\" {redirection}");
        let send = client.wrapped(&["sh", "-c", &shell, "sh"], "send");
        send.args(["-", "--name", "stream", "--to", "box"]).run()
    };
    for redirection in ["<&-", "0>/dev/null"] {
        send(redirection).code(6).says("standard input");
        assert_eq!(server.names(), [""; 0], "{redirection}");
    }
    // This one means an empty file.
    send("</dev/null").code(0);
    assert_eq!(fs::read(server.inbox().join("stream")).unwrap(), b"");
}

#[test]
fn name_is_for_one_source() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("folder/a"), "a");
    client.send(source.join("folder")).args(["--name", "renamed"]).run().code(0);
    assert_same_tree(&source.join("folder"), &server.inbox().join("renamed"));
    client.send(&source).arg(source.join("folder")).args(["--name", "x"]).run().code(2).says("--name");
    assert_eq!(server.names(), ["renamed", "renamed/a"]);
}

#[test]
fn sources_that_would_take_each_others_place_are_refused_before_anything_is_sent() {
    let server = Server::start();
    let client = Client::paired(&server);
    let at = |name: &str| server.beside().join("source").join(name);
    let (one, two) = (write(at("1/same"), "one"), write(at("2/same"), "two"));
    let (three, four) = (write(at("3/same/a"), "a"), write(at("4/same/b"), "b"));
    let send = |first: &std::path::Path, second: &std::path::Path| {
        client.ferry("send").args([first, second]).arg("box").run()
    };
    send(&one, &two).code(2).says("same");
    send(&one, three.parent().unwrap()).code(2).says("same");
    assert_eq!(server.names(), [""; 0]);
    // Two folders are merged.
    send(three.parent().unwrap(), four.parent().unwrap()).code(0);
    assert_eq!(server.names(), ["same", "same/a", "same/b"]);
}

#[test]
fn a_file_with_the_name_of_a_remote_is_never_guessed_about() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("file"), "file");
    write(source.join("box"), "a file like any other");
    let send = |words: &[&str]| client.ferry("send").args(words).in_folder(&source).run();
    send(&["file", "box"]).code(2).says("./box").says("--to box");
    assert_eq!(server.names(), [""; 0]);
    // Both ways out that it names.
    send(&["file", "./box", "box:1"]).code(0);
    send(&["file", "box", "--to", "box:2"]).code(0);
    send(&["box", "--to", "box:3"]).code(0);
    assert_eq!(server.names(), ["1", "1/box", "1/file", "2", "2/box", "2/file", "3", "3/box"]);
}

#[test]
fn a_place_that_is_not_known_is_a_usage_error() {
    let server = Server::start();
    let client = Client::paired(&server);
    let file = write(server.beside().join("file"), "content");
    let send = |words: &[&str]| client.ferry("send").arg(&file).args(words).run();
    send(&["nas"]).code(2).says("`nas`").says("known: box");
    send(&["--to", "nas"]).code(2).says("`nas`");
    send(&["box", "--to", "box:other"]).code(2).says("two places");
    send(&["--to", "box:../up"]).code(2);
    send(&["box:/etc"]).code(2);
    send(&["box", "--dir", "a/../b"]).code(2);
    send(&["box", "--dir", ".FERRY/staging"]).code(2);
    send(&["box", "--name", "a//b"]).code(2);
    Client::new().ferry("send").arg(&file).arg("box").run().code(2).says("ferryd invite");
    assert_eq!(server.names(), [""; 0]);
}
