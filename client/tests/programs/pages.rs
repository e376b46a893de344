//! The pages of `docs` that tell how something is done: what they tell to type is typed here.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    Client, Outcome, Server, assert_given_back, bare, example, names, noise, run, testdata, write,
};

/// The lines to be typed, block by block: what is marked as `sh`.
fn blocks(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let page = fs::read_to_string(path).unwrap();
    let blocks: Vec<_> =
        page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    assert_eq!(blocks.len(), page.matches("```sh\n").count());
    blocks
}

/// A machine with the places that a page speaks of, and a host that is reached as `nas`.
struct Machine {
    server: Server,
    client: Client,
    bin: PathBuf,
    /// What a page calls a place, and where it is here.
    places: Vec<(&'static str, PathBuf)>,
}

impl Machine {
    fn new() -> Self {
        let server = Server::start();
        let bin = server.beside().join("bin");
        fs::create_dir(&bin).unwrap();
        for program in ["ferry", "ferryd"] {
            let path = bare(&[], program).get_program().to_owned();
            std::os::unix::fs::symlink(path, bin.join(program)).unwrap();
        }
        let inbox = server.inbox().to_owned();
        let machine = Machine {
            server,
            client: Client::new(),
            bin,
            places: vec![("/srv/ferry", inbox.clone()), ("/var/lib/ferry", inbox.join(".ferry"))],
        };
        // Both machines are this one.
        machine.program("ssh", "shift; exec sh -c \"$*\"");
        machine.program("sudo", "shift 2; exec \"$@\"");
        machine
    }

    /// A program that the page takes for granted.
    fn program(&self, name: &str, script: &str) {
        let file = write(self.bin.join(name), format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// A place of the page's, with a folder of its own here.
    fn place(&mut self, name: &'static str) -> PathBuf {
        let here = self.server.beside().join(name.trim_start_matches('/').replace('/', "-"));
        fs::create_dir(&here).unwrap();
        self.places.push((name, here.clone()));
        here
    }

    /// Types it.
    fn types(&self, block: &str) -> Outcome {
        let mut text = block.to_owned();
        for (name, here) in &self.places {
            text = text.replace(name, here.to_str().unwrap());
        }
        let mut shell = Command::new("bash");
        shell.args(["-e", "-u", "-c", &text]).current_dir(self.server.beside());
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap());
        shell.env("PATH", path).env("FERRY_HOME", self.client.home());
        run(shell)
    }
}

#[test]
fn the_page_about_nightly_backups_does_what_it_says() {
    let mut machine = Machine::new();
    let (etc, home) = (machine.place("/etc"), machine.place("/home"));
    write(etc.join("hostname"), "laptop");
    write(home.join("ann/letter.txt"), "dear");
    write(home.join("ann/.cache/big"), noise(10_000, 1));
    machine.program("pg_dump", "echo \"dump of $2\"");
    let [pair, send, dry_run, dump, verify] = &blocks("nightly-backup.md")[..] else {
        panic!("other blocks")
    };
    machine.types(pair).code(0);
    let told = machine.types(dry_run).code(0);
    assert!(
        told.stdout().contains("etc/hostname: new") && told.stderr().contains(".cache: excluded"),
        "{told:?}"
    );
    let there = machine.server.inbox().join("laptop");
    assert_eq!(names(&there), Vec::<String>::new());
    machine.types(verify).code(1);
    machine.types(send).code(0);
    machine.types(send).code(0).says("sent 0 entries");
    let (etc, home) = (etc.file_name().unwrap(), home.file_name().unwrap());
    assert_eq!(fs::read(there.join(etc).join("hostname")).unwrap(), b"laptop");
    assert!(
        there.join(home).join("ann/letter.txt").exists() && !there.join(home).join("ann/.cache").exists()
    );
    machine.types(verify).code(0);
    machine.types(dump).code(0);
    assert_eq!(fs::read_to_string(there.join("shop.dump")).unwrap(), "dump of shop\n");
    machine.program("pg_dump", "echo half; exit 1");
    machine.types(dump).code(1);
    assert_eq!(fs::read_to_string(there.join("shop.dump")).unwrap(), "dump of shop\n");
}

#[test]
fn the_page_about_camera_cards_does_what_it_says() {
    let mut machine = Machine::new();
    let card = machine.place("/media/card");
    machine.client.ferry("pair").args([&machine.server.invite(), "--as", "nas"]).run().code(0);
    let photos = testdata().join("photos");
    for name in names(&photos) {
        fs::create_dir_all(card.join("DCIM/100CANON")).unwrap();
        fs::copy(photos.join(&name), card.join("DCIM/100CANON").join(&name)).unwrap();
    }
    write(card.join("DCIM/index.ctg"), "the camera's own");
    let [look, examine, go, left, check] = &blocks("camera-card.md")[..] else { panic!("other blocks") };
    let told = machine.types(look).code(0);
    assert!(told.stderr().contains("index.ctg: no image"), "{told:?}");
    let cut = "IMG_20241005_112000.jpg";
    machine.types(examine).code(0).says(format!("{cut}: it is cut off"));
    assert_eq!(names(machine.server.inbox()), Vec::<String>::new());
    machine.types(go).code(1).says(format!("{cut}: it has arrived, and stays here: it is cut off"));
    let inbox = machine.server.inbox().join("photos");
    let arrived = names(&inbox);
    for name in names(&photos) {
        // Some have no date but that of their file, which is now.
        let there = arrived.iter().find(|there| there.ends_with(&format!("/{name}"))).unwrap();
        assert!(fs::read(photos.join(&name)).unwrap() == fs::read(inbox.join(there)).unwrap(), "{name}");
    }
    assert!(inbox.join("2024/03/IMG_20240316_081501.jpg").is_file(), "{arrived:?}");
    assert_eq!(machine.types(left).code(0).stdout().lines().count(), 2);
    assert_eq!(names(&card), ["DCIM", "DCIM/100CANON", &format!("DCIM/100CANON/{cut}"), "DCIM/index.ctg"]);
    machine.types(check).code(0);
}

#[test]
fn the_page_about_restoring_does_what_it_says() {
    let mut machine = Machine::new();
    let owner = Client::new();
    owner.pair(&machine.server.invite_with(&["--path", "laptop"]));
    let home = machine.server.beside().join("home");
    write(home.join("ann/Documents/letter.txt"), "dear");
    write(home.join("ann/Documents/drawing.svg"), "<svg/>");
    owner.send(&home).run().code(0);
    owner.send("-").args(["--name", "shop.dump"]).stdin("the dump").run().code(0);
    for (place, here) in [("/tmp/restored", "restored"), ("/tmp/only-texts", "only-texts")] {
        machine.places.push((place, machine.server.beside().join(here)));
    }
    machine.program("pg_restore", "exec cat");
    let [pair, list, folder, texts, stream, verify] = &blocks("restore.md")[..] else {
        panic!("other blocks")
    };
    machine.types(pair).code(0);
    machine.types(list).code(0).prints("Documents/letter.txt").prints("home/");
    machine.types(folder).code(0);
    assert_given_back(&home.join("ann/Documents"), &machine.server.beside().join("restored/Documents"));
    machine.types(texts).code(0);
    let only = names(&machine.server.beside().join("only-texts"));
    assert_eq!(only, ["ann", "ann/Documents", "ann/Documents/letter.txt"]);
    assert_eq!(machine.types(stream).code(0).stdout(), "the dump");
    machine.types(verify).code(0);
    // A machine that may only read can change nothing.
    machine.types("ferry send bin/ssh nas:").code(4);
}

#[test]
fn manual_pages_and_completions_come_of_the_command_line() {
    let server = Server::start();
    let client = Client::new();
    let to = server.beside().join("manual");
    let mut manual = Command::new(example("manual"));
    manual.arg(&to);
    run(manual).code(0);
    let pages = names(&to.join("man1"));
    for page in ["ferry.1", "ferry-send.1", "ferry-get.1", "ferryd.1", "ferryd-invite.1"] {
        assert!(pages.iter().any(|name| name == page), "no {page} in {pages:?}");
    }
    let page = fs::read_to_string(to.join("man1/ferry-send.1")).unwrap().replace('\\', "");
    let help = client.ferry("send").arg("--help").run().code(0).stdout();
    let flags: Vec<_> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
    assert!(flags.len() > 30, "{help}");
    for flag in flags {
        let flag = flag.trim_end_matches([',', ';', '.', ')', '`']);
        assert!(page.contains(flag), "{flag} is not in the manual page");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = client.ferry("completions").arg(shell).run().code(0).stdout();
        assert!(script.contains("newer-than"), "{shell}");
    }
    let complete = r#"
        source /dev/stdin
        COMP_WORDS=(ferry send --on-conflict keep) COMP_CWORD=3
        _ferry ferry keep --on-conflict
        echo "${COMPREPLY[@]}""#;
    let script = client.ferry("completions").arg("bash").run().code(0).stdout;
    let mut bash = Command::new("bash");
    bash.args(["-c", complete]);
    assert_eq!(crate::support::start(bash, script).wait().code(0).stdout().trim(), "keep-both");
}
