//! SIGHUP: a running server reads its configuration file again.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use rustix::{
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use crate::{
    confining::{can_confine, send_into_a_folder_outside},
    support::{Client, Peer, Server, write},
};

/// A server with a configuration file.
fn configured(text: &str) -> (Server, PathBuf) {
    let setup = Server::setup();
    let config = write(setup.inbox().with_file_name("ferryd.toml"), text);
    (setup.args([Path::new("--config"), &config]).start(), config)
}

/// Writes the file in place and asks the server to read it; waits until the log has these words.
fn reload(server: &Server, config: &Path, text: &str, words: &[&str]) {
    fs::write(config, text).unwrap();
    server.signal(Signal::HUP);
    server.logged(words);
}

#[test]
fn a_reload_changes_what_may_change_and_ends_no_session() {
    let (server, config) = configured("max-file = '1kB'");
    let client = Client::paired(&server);
    let source = write(server.beside().join("file"), [0; 2000]);
    client.send(&source).run().code(1).says("file");
    let mut open = Peer::sending(&server);
    reload(&server, &config, "max-file = '1MB'", &["INFO", "reloaded", "max_file=1000000"]);
    open.send(0, "meanwhile", b"content");
    client.send(&source).run().code(0);
    assert_eq!(server.names(), ["file", "meanwhile"]);
}

#[test]
fn a_reload_of_nonsense_changes_nothing() {
    let (server, config) = configured("max-file = '1kB'");
    let client = Client::paired(&server);
    reload(&server, &config, "max-file = 'many'", &["ERROR", "nothing is reloaded", "max-file many"]);
    client.send(write(server.beside().join("small"), [0; 1000])).run().code(0);
    client.send(write(server.beside().join("large"), [0; 1001])).run().code(1);
    reload(&server, &config, "max-file = '2kB'", &["reloaded"]);
    client.send(server.beside().join("large")).run().code(0);
}

#[test]
fn hostile_07_a_reload_does_not_widen_what_a_server_may_touch() {
    let (server, config) = configured("");
    let elsewhere = server.beside().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let wider = format!("state = {elsewhere:?}\nno-confine = true\nlog-format = 'json'");
    reload(&server, &config, &wider, &["WARN", "changed, which takes a restart", "setting=\"no-confine\""]);
    for setting in ["state", "log-format"] {
        server.logged(&["changed, which takes a restart", &format!("setting=\"{setting}\"")]);
    }
    if can_confine() {
        send_into_a_folder_outside(&server, 1);
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_configuration_that_has_taken_the_name_of_another_is_not_read_by_a_confined_server() {
    if !can_confine() {
        return;
    }
    let (server, config) = configured("max-file = '1kB'");
    fs::remove_file(&config).unwrap();
    reload(&server, &config, "max-file = '1MB'", &["ERROR", "nothing is reloaded", "restart"]);
}

#[test]
fn a_server_whose_terminal_is_closed_stops() {
    stops_when_its_terminal_closes(&["sh", "-c", "exec \"$@\" 2> \"$TERMINAL\"", "sh"], b"ready");
    // Its log may go elsewhere.
    stops_when_its_terminal_closes(&["sh", "-c", "exec \"$@\" < \"$TERMINAL\"", "sh"], b"");
}

/// Once this was shown.
fn stops_when_its_terminal_closes(wrapper: &[&'static str], word: &[u8]) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let mut server = Server::setup().wrapped(wrapper).env("TERMINAL", name).start();
    let (mut terminal, mut shown) = (fs::File::from(terminal), Vec::new());
    while !word.is_empty() && !shown.windows(word.len()).any(|found| found == word) {
        let mut part = [0; 4096];
        let length = terminal.read(&mut part).unwrap();
        shown.extend_from_slice(&part[..length]);
    }
    drop(terminal);
    server.signal(Signal::HUP);
    assert!(server.wait().success());
}
