//! What browsers see of the server before a word is said.

use std::{fs, net::TcpStream, path::Path, process::Command};

use rustix::process::Signal;

use crate::support::{Line, Server, eventually, run, start, web};

fn openssl(words: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(words);
    command
}

/// What openssl says of the server's certificate.
fn shown(server: &Server, more: &[&str]) -> String {
    let address = server.web().to_string();
    let told = start(openssl(&["s_client", "-connect", &address, "-showcerts"]), Vec::new()).wait().stdout();
    let begin = told.find("-----BEGIN").expect("there is a certificate");
    let mut command = openssl(&["x509", "-noout"]);
    command.args(more);
    start(command, told.as_bytes()[begin..].to_vec()).wait().code(0).stdout()
}

/// A certificate for this name, and its key, made by openssl.
fn make(folder: &Path, name: &str) {
    fs::create_dir_all(folder).unwrap();
    let mut command = openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
    ]);
    command.args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")]);
    command.arg("-keyout").arg(folder.join("key.pem")).arg("-out").arg(folder.join("cert.pem"));
    run(command).code(0);
}

fn with_files(folder: &Path) -> crate::support::Setup {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    Server::setup().web().args([
        "--web-certificate".as_ref(),
        certificate.as_os_str(),
        "--web-key".as_ref(),
        key.as_os_str(),
    ])
}

#[test]
fn promise_5_the_own_certificate_is_one_that_browsers_take_and_is_kept() {
    let mut server = Server::setup().web().start();
    let told = shown(&server, &["-text"]);
    for words in [
        "NIST CURVE: P-256",
        "ecdsa-with-SHA256",
        "DNS:localhost",
        "IP Address:127.0.0.1",
        "TLS Web Server Authentication",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let before = Line::to(server.web()).certificate();
    server.restart();
    assert!(Line::to(server.web()).certificate() == before, "browsers are asked anew");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(server.inbox().join(".ferry/web.pem")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn promise_5_files_for_a_real_name_are_read_again_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), "one.example");
    let server = with_files(folder.path()).start();
    let subject = || shown(&server, &["-subject"]);
    assert!(subject().contains("one.example"));
    // A browser gets the name that is vouched for, and nothing is pinned.
    for (flags, begin) in [
        (&["invite", "--web"][..], format!("https://one.example:{}/#", server.web().port())),
        (&["invite", "--web", "--host", "other.example:1"], "https://other.example:1/#".to_owned()),
    ] {
        let invite = server.ferryd(flags).code(0);
        assert!(invite.stdout().starts_with(&begin), "{}", invite.stdout());
        assert!(
            invite.stderr().contains("curl ") && !invite.stderr().contains("pinnedpubkey"),
            "{}",
            invite.stderr()
        );
    }
    // Others take their names, as who renews them does.
    make(&folder.path().join("new"), "two.example");
    for name in ["key.pem", "cert.pem"] {
        fs::rename(folder.path().join("new").join(name), folder.path().join(name)).unwrap();
    }
    assert!(subject().contains("one.example"), "nobody has said that they are to be read");
    server.signal(Signal::HUP);
    server.logged(&["the web certificate was read again"]);
    assert!(subject().contains("two.example"));
    // What does not belong together leaves what was.
    make(&folder.path().join("new"), "three.example");
    fs::rename(folder.path().join("new/cert.pem"), folder.path().join("cert.pem")).unwrap();
    server.signal(Signal::HUP);
    server.logged(&["the web certificate stays what it was"]);
    assert!(subject().contains("two.example"));
    for bad in ["", "nonsense", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"] {
        fs::write(folder.path().join("cert.pem"), bad).unwrap();
        let before = server.log().matches("stays what it was").count();
        server.signal(Signal::HUP);
        eventually("a complaint", || {
            (server.log().matches("stays what it was").count() > before).then_some(())
        });
        assert!(subject().contains("two.example"));
    }
    fs::rename(folder.path().join("new/key.pem"), folder.path().join("key.pem")).unwrap();
    make(folder.path(), "four.example");
    server.signal(Signal::HUP);
    eventually("another certificate", || subject().contains("four.example").then_some(()));
    let link = || server.ferryd(&["invite", "--web"]).code(0).stdout();
    eventually("another name", || link().starts_with("https://four.example:").then_some(()));
}

/// So do those lie that certbot keeps: links to where they really are.
#[test]
fn promise_5_files_that_are_links_to_another_folder_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (live, archive) = (folder.path().join("live"), folder.path().join("archive"));
    fs::create_dir(&live).unwrap();
    make(&archive.join("1"), "one.example");
    make(&archive.join("2"), "two.example");
    let point = |number: &str| {
        for name in ["key.pem", "cert.pem"] {
            let flat = format!("{number}-{name}");
            let _ = fs::rename(archive.join(number).join(name), archive.join(&flat));
            let _ = fs::remove_file(live.join(name));
            std::os::unix::fs::symlink(Path::new("../archive").join(flat), live.join(name)).unwrap();
        }
    };
    point("1");
    let server = with_files(&live).start();
    assert!(shown(&server, &["-subject"]).contains("one.example"));
    point("2");
    server.signal(Signal::HUP);
    eventually("another certificate", || shown(&server, &["-subject"]).contains("two.example").then_some(()));
}

#[test]
fn files_that_are_no_certificate_are_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), "one.example");
    fs::write(folder.path().join("key.pem"), "nothing").unwrap();
    let refused = with_files(folder.path()).args(["--web=127.0.0.1:0"]).refused();
    assert_ne!(refused.status.code(), Some(0));
    assert!(refused.stderr().contains("key.pem"), "{refused:?}");
}

#[test]
fn promise_5_nothing_listens_for_browsers_unless_it_is_asked_for() {
    let server = Server::start();
    let log = server.log();
    assert!(!log.contains("https") && !server.inbox().join(".ferry/web.pem").exists(), "{log}");
    // The other side is not for them.
    let refused = Line::with(server.address(), web::config(&rustls::version::TLS13));
    assert!(refused.is_err(), "a browser is spoken to where clients are");
    let told = server.ferryd(&["invite", "--web", "--host", "nas"]).code(0);
    assert!(told.stderr().contains("start it with --web"), "{told:?}");
    TcpStream::connect(server.address()).unwrap();
}

#[test]
fn an_invite_for_a_phone_is_a_picture_of_its_link() {
    let server = Server::setup().web().start();
    let told =
        server.ferryd(&["invite", "--web", "--qr", "--host", "nas.example:443", "--name", "phone"]).code(0);
    let link = told.stdout();
    assert!(link.starts_with("https://nas.example:443/#invite="), "{link}");
    assert_eq!(link.lines().count(), 1);
    assert!(told.stderr().contains('█') && !told.stderr().contains(link.trim()), "{told:?}");
    let lines = told.stderr().lines().filter(|line| line.contains(['█', '▀', '▄'])).count();
    assert!(lines >= 15, "{lines}");
    server.ferryd(&["revoke", link.trim()]).code(0);
}
