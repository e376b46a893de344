//! The server limits itself to its own folders: what it cannot reach, nobody reaches through it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use landlock::{AccessFs, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr, RulesetStatus};

use crate::support::{Client, Server, assert_same_file, assert_same_tree, left_out, may_trace, noise, write};

const CONFINED: &str = "confined to the root, the state folder and the configuration file (Landlock ABI ";

/// Whether this machine can confine a process. Asked of the kernel and not of ferryd, which might be wrong. Where it
/// cannot, the test says so and ends.
pub(crate) fn can_confine() -> bool {
    // A restriction binds the thread that sets it. This one sets it and ends.
    let asked = std::thread::spawn(|| {
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::SoftRequirement)
            .handle_access(AccessFs::Refer)
            .and_then(Ruleset::create);
        rules.and_then(|rules| rules.restrict_self())
    });
    let status = asked.join().unwrap().unwrap();
    let can = status.ruleset == RulesetStatus::FullyEnforced;
    if !can {
        left_out(&format!("this machine cannot confine a process: {:?}", status.landlock));
    } else {
        assert!(matches!(status.landlock, LandlockStatus::Available { .. }));
    }
    can
}

/// Runs what follows under strace, which writes down how it confines itself and starts threads.
const TRACED: &[&str] = &[
    "sh",
    "-c",
    "exec strace -D -f -o \"$TRACE\" -e trace=landlock_restrict_self,clone,clone3,fork,vfork \"$@\"",
    "sh",
];

#[test]
fn hostile_07_a_server_is_confined_before_it_starts_a_thread() {
    if !can_confine() || !may_trace() {
        return;
    }
    let traces = tempfile::tempdir().unwrap();
    let trace = traces.path().join("trace");
    let server = Server::setup().wrapped(TRACED).env("TRACE", &trace).start();
    server.logged(&[CONFINED]);
    let text = fs::read_to_string(&trace).unwrap();
    let first = text.lines().next().unwrap();
    assert!(first.contains("landlock_restrict_self(") && first.ends_with(" = 0"), "{text}");
    assert!(text.lines().any(|line| line.contains("clone")), "no thread was seen to start: {text}");
}

/// Takes the folder of staging away from under a running server, which has it open, and sends a file: it is to be
/// written where the folder is now. Returns the folder.
pub(crate) fn send_into_a_folder_outside(server: &Server, code: i32) -> PathBuf {
    let client = Client::paired(server);
    let source = write(server.beside().join("large"), noise(1_000_000, 1));
    client.send(&source).args(["--name", "before"]).run().code(0);
    let (staging, outside) = (server.inbox().join(".ferry/staging"), server.beside().join("outside"));
    fs::rename(&staging, &outside).unwrap();
    client.send(&source).args(["--name", "meanwhile"]).run().code(code);
    let written: Vec<_> = fs::read_dir(&outside).unwrap().collect();
    assert!(written.is_empty(), "{written:?}");
    fs::rename(&outside, &staging).unwrap();
    client.send(&source).args(["--name", "after"]).run().code(0);
    assert_same_file(&source, &server.inbox().join("after"));
    source
}

#[test]
fn hostile_07_a_confined_server_cannot_write_outside_its_folders() {
    if !can_confine() {
        return;
    }
    let server = Server::start();
    send_into_a_folder_outside(&server, 1);
    assert_eq!(server.names(), ["after", "before"]);
    server.logged(&["failed", "meanwhile"]);
}

#[test]
fn a_server_that_its_owner_does_not_want_confined_is_not() {
    for setup in [Server::setup().args(["--no-confine"]), Server::setup().env("FERRYD_NO_CONFINE", "1"), {
        let setup = Server::setup();
        let config = write(setup.inbox().with_file_name("ferryd.toml"), "no-confine = true");
        setup.args([Path::new("--config"), &config])
    }] {
        let server = setup.start();
        server.logged(&["INFO", "not confined: switched off"]);
        // So it is the confinement that stops the other one.
        let source = send_into_a_folder_outside(&server, 0);
        assert_same_file(&source, &server.inbox().join("meanwhile"));
    }
}

#[test]
fn hostile_07_whoever_speaks_last_decides_whether_a_server_is_confined() {
    if !can_confine() {
        return;
    }
    let setup = Server::setup();
    let config = write(setup.inbox().with_file_name("ferryd.toml"), "no-confine = true");
    let server = setup.args([Path::new("--config"), &config]).env("FERRYD_NO_CONFINE", "0").start();
    server.logged(&[CONFINED]);
    let server = Server::setup().args(["--no-confine=false"]).env("FERRYD_NO_CONFINE", "1").start();
    server.logged(&[CONFINED]);
}

#[test]
fn hostile_07_a_confined_server_cannot_read_outside_its_folders() {
    if !can_confine() {
        return;
    }
    let setup = Server::setup();
    let state = setup.inbox().join(".ferry");
    let elsewhere = setup.inbox().with_file_name("elsewhere");
    fs::create_dir_all(&state).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    // A catalogue behind a link is one that SQLite would open wherever it is.
    symlink(elsewhere.join("catalogue.db"), state.join("catalogue.db")).unwrap();
    write(elsewhere.join("catalogue.db"), "");
    setup.refused().code(1).says("catalogue.db");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    let server = setup.args(["--no-confine"]).start();
    Client::paired(&server);
}

#[test]
fn a_confined_server_does_all_that_it_does_in_folders_of_any_kind() {
    if !can_confine() {
        return;
    }
    let setup = Server::setup();
    let here = setup.inbox().parent().unwrap().to_owned();
    // The root is a link of its owner, the state is elsewhere, by a path that begins nowhere, and is made.
    fs::create_dir(here.join("disk")).unwrap();
    symlink("disk", here.join("link")).unwrap();
    let config = write(here.join("ferryd.toml"), "max-file = \"1GB\"\nstate = \"deep/state\"\n");
    let mut server = setup
        .root(here.join("link"))
        .wrapped(&["sh", "-c", "cd \"$HERE\" && exec \"$@\"", "sh"])
        .env("HERE", &here)
        .args([Path::new("--config"), &config])
        .start();
    server.logged(&[CONFINED]);
    let client = Client::new();
    let invite =
        |server: &Server| server.invite_with(&["--state", here.join("deep/state").to_str().unwrap()]);
    client.pair(&invite(&server));
    let source = here.join("source");
    write(source.join("a/b/small"), "content");
    // With checkpoints.
    write(source.join("large"), noise(70_000_000, 1));
    symlink("a/b", source.join("link")).unwrap();
    fs::create_dir(source.join("empty")).unwrap();
    client.send(&source).run().code(0);
    assert_same_tree(&source, &here.join("disk/source"));
    // In the place of another, and once more, after a stop and after a fall.
    write(source.join("a/b/small"), "other content");
    for round in 0..2 {
        if round == 0 {
            assert!(server.stop().success(), "{}", server.log());
        }
        server.restart();
        client.send(&source).run().code(0);
        assert_same_tree(&source, &here.join("disk/source"));
        Client::new().pair(&invite(&server));
        write(source.join("a/b/small"), format!("round {round}"));
    }
}

#[test]
fn a_machine_that_cannot_confine_is_told_in_the_log_and_serves() {
    if !may_trace() {
        return;
    }
    for (answer, reason) in [
        ("error=ENOSYS", "this kernel has no Landlock"),
        ("error=EOPNOTSUPP", "Landlock is not enabled on this system"),
        ("retval=1", "this kernel has Landlock ABI 1"),
    ] {
        let inject = "exec strace -D -f -o /dev/null -e trace=landlock_create_ruleset \
                      -e inject=landlock_create_ruleset:\"$ANSWER\" \"$@\"";
        let server = Server::setup().wrapped(&["sh", "-c", inject, "sh"]).env("ANSWER", answer).start();
        server.logged(&["WARN", "not confined", reason]);
        Client::paired(&server).send(write(server.beside().join("file"), "content")).run().code(0);
        assert_eq!(server.names(), ["file"]);
    }
}
