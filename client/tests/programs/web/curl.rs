//! curl, as it is: `ferryd invite --web` prints the line that sends a file by it.

use std::{ffi::OsStr, fs, path::Path, process::Command};

use crate::support::{
    Outcome, Proxy, Running, Server, Visitor, digest_header, eventually, noise, run, start, write,
};

use super::MIB;

/// A server, and what its invite says of curl, word by word as a shell takes it.
fn with_line(flags: &[&str]) -> (Server, Vec<String>) {
    let server = Server::setup().web().start();
    let words = words_of(&server, flags);
    (server, words)
}

fn words_of(server: &Server, flags: &[&str]) -> Vec<String> {
    let told = server.ferryd(&[&["invite", "--web"], flags].concat()).code(0).stderr();
    let line = told.lines().map(str::trim).find(|line| line.starts_with("curl ")).expect("there is a line");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("printf '%s\\n' {line}")]);
    run(shell).code(0).stdout().lines().map(str::to_owned).collect()
}

/// The command of the line, with another file in the place of its own.
fn command(words: &[String], file: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(&words[0]);
    let theirs = |word: &String| if word == "photo.jpg" { file.as_ref().to_owned() } else { word.into() };
    command.args(words[1..].iter().map(theirs));
    command
}

/// Runs curl with the words of the line, another file, and more.
fn curl(words: &[String], file: &Path, more: &[&str]) -> Running {
    let mut command = command(words, file);
    // -i shows the headers of the answer.
    command.args(["--silent", "--show-error", "-i"]).args(more);
    start(command, Vec::new())
}

/// The same with what comes by a pipe, which is called `stream` there.
fn piped(words: &[String], bytes: Vec<u8>) -> Outcome {
    let (url, others) = words.split_last().expect("the line ends with the URL");
    let words = [others, &[format!("{url}stream")]].concat();
    let mut command = command(&words, "-");
    command.arg("-i");
    start(command, bytes).wait()
}

fn last_status(outcome: &Outcome) -> u16 {
    let stdout = outcome.stdout();
    let line = stdout.lines().rfind(|line| line.starts_with("HTTP/")).expect("there is an answer");
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// What curl ends with when the server has refused, as `--fail-with-body` wants it.
const REFUSED: i32 = 22;

#[test]
fn promise_2_the_line_that_an_invite_prints_sends_a_photo_and_has_its_receipt() {
    let (server, words) = with_line(&[]);
    let photo = write(server.beside().join("my photo.jpg"), noise(3 * MIB, 1));
    let bytes = fs::read(&photo).unwrap();
    let mut command = Command::new("sh");
    let told = words.iter().map(|word| match word.as_str() {
        "photo.jpg" => "'my photo.jpg'".to_owned(),
        word => format!("'{word}'"),
    });
    // Just as it is printed: no flag of ours.
    command.args(["-c", &told.collect::<Vec<_>>().join(" ")]).current_dir(server.beside());
    let outcome = run(command).code(0);
    let object: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(object["status"], "sent");
    assert_eq!(object["name"], "my photo.jpg");
    assert_eq!(fs::read(server.inbox().join("my photo.jpg")).unwrap(), bytes);

    // The same again is held; other bytes are kept beside it.
    let said = digest_header(&bytes);
    let outcome = curl(&words, &photo, &["-H", &format!("Repr-Digest: {said}")]).wait().code(0);
    assert_eq!(last_status(&outcome), 200, "{outcome:?}");
    outcome.prints("ferry-status: held").prints(format!("repr-digest: {said}"));
    let outcome = curl(&words, &photo, &[]).wait().code(0);
    outcome.prints("content-location: /files/my%20photo.jpg\r\n");
    assert_eq!(server.names(), ["my photo.jpg"], "what is there is found when its digest is known at last");
    write(&photo, "other");
    let outcome = curl(&words, &photo, &[]).wait().code(0);
    assert_eq!(last_status(&outcome), 201);
    outcome.prints("content-location: /files/my%20photo%20%282%29.jpg");
    assert_eq!(server.names(), ["my photo (2).jpg", "my photo.jpg"]);
    assert_same_file_bytes(&server, "my photo.jpg", &bytes);
}

fn assert_same_file_bytes(server: &Server, name: &str, bytes: &[u8]) {
    assert!(fs::read(server.inbox().join(name)).unwrap() == bytes, "{name}");
}

#[test]
fn hostile_16_curl_sends_nothing_to_whoever_has_another_key() {
    let (server, words) = with_line(&[]);
    let other = Server::setup().web().start();
    let photo = write(server.beside().join("photo.jpg"), "content");
    let (from, to) = (server.web().to_string(), other.web().to_string());
    let words: Vec<_> = words.iter().map(|word| word.replace(&from, &to)).collect();
    // 90: the pinned key does not agree.
    curl(&words, &photo, &[]).wait().code(90);
    assert_eq!(other.names(), [""; 0]);
    assert!(!other.log().contains("enrolled"));
}

#[test]
fn promise_1_a_digest_is_checked_before_anything_is_there() {
    let (server, words) = with_line(&[]);
    let file = write(server.beside().join("file"), noise(MIB, 1));
    let (right, wrong) = (digest_header(&fs::read(&file).unwrap()), digest_header(b"other"));
    for header in ["Repr-Digest", "Content-Digest"] {
        let outcome = curl(&words, &file, &["-H", &format!("{header}: {wrong}")]).wait().code(REFUSED);
        assert_eq!(last_status(&outcome), 422, "{outcome:?}");
        outcome.prints("digest-mismatch");
        let outcome = curl(&words, &file, &["-H", &format!("{header}: sha-256=:x:")]).wait().code(REFUSED);
        assert_eq!(last_status(&outcome), 400);
    }
    let both = [format!("Repr-Digest: {right}"), format!("Content-Digest: {wrong}")];
    let outcome = curl(&words, &file, &["-H", &both[0], "-H", &both[1]]).wait().code(REFUSED);
    assert_eq!(last_status(&outcome), 400);
    assert_eq!(server.names(), [""; 0]);
    assert_eq!(server.staged(), []);
    // What is not known here says nothing.
    let outcome = curl(&words, &file, &["-H", &format!("Repr-Digest: md5=:AAAA:, {right}")]).wait().code(0);
    assert_eq!(last_status(&outcome), 201);
    assert_eq!(server.names(), ["file"]);
    assert!(fs::read(&file).unwrap() == fs::read(server.inbox().join("file")).unwrap());
}

#[test]
fn promise_1_if_none_match_takes_no_name_that_is_taken() {
    let (server, words) = with_line(&[]);
    let file = write(server.beside().join("file"), "one");
    let new_only = ["-H", "If-None-Match: *"];
    assert_eq!(last_status(&curl(&words, &file, &new_only).wait()), 201);
    write(&file, "two");
    let outcome = curl(&words, &file, &new_only).wait().code(REFUSED);
    assert_eq!(last_status(&outcome), 412, "{outcome:?}");
    outcome.prints("exists");
    // Nor one that somebody takes while it is sent.
    let visitor = Visitor::signed_in(&server);
    let slow =
        visitor.ask("PUT", "/files/race").header("If-None-Match", "*").header("Expect", "100-continue");
    let mut slow = slow.length(3).begin();
    assert_eq!(slow.head().unwrap().status, 100);
    fs::write(server.inbox().join("race"), "theirs").unwrap();
    slow.say("abc").unwrap();
    slow.reply().unwrap().refuses(412, "exists");
    assert_eq!(fs::read(server.inbox().join("race")).unwrap(), b"theirs");
    assert_eq!(fs::read(server.inbox().join("file")).unwrap(), b"one");
    assert_eq!(server.names(), ["file", "race"]);
}

/// More than a checkpoint: of what nobody can go on with, nothing stays.
#[test]
fn promise_1_what_is_cut_off_is_not_there_at_all() {
    for size in [3 * MIB, 80 * MIB] {
        let (mut server, words) = with_line(&[]);
        let proxy = Proxy::to(server.web());
        let (from, to) = (server.web().to_string(), proxy.address().to_string());
        let far: Vec<_> = words.iter().map(|word| word.replace(&from, &to)).collect();
        let file = write(server.beside().join("file"), noise(size, 1));
        let slow = ["--limit-rate", &(size / 4).to_string()];
        let running = curl(&far, &file, &slow);
        proxy.wait_for(size as u64 / 2);
        assert_eq!(server.names(), [""; 0]);
        // Killed by its id.
        drop(running);
        eventually("an empty staging", || {
            (server.staged().is_empty() && server.checkpoints().is_empty()).then_some(())
        });
        assert_eq!(server.names(), [""; 0]);
        let running = curl(&far, &file, &slow);
        proxy.wait_for(size as u64);
        server.restart();
        assert_ne!(running.wait().status.code(), Some(0));
        assert_eq!(server.names(), [""; 0]);
        // Nor does what a killed server has left stand in the way of another file of that name and size.
        write(&file, noise(size, 2));
        assert_eq!(last_status(&curl(&words, &file, &[]).wait().code(0)), 201);
        assert!(fs::read(&file).unwrap() == fs::read(server.inbox().join("file")).unwrap());
        assert_eq!((server.staged(), server.checkpoints()), (vec![], vec![]));
    }
}

#[test]
fn a_stream_without_a_length_arrives_whole() {
    let (server, words) = with_line(&[]);
    let bytes = noise(5 * MIB, 1);
    let outcome = piped(&words, bytes.clone()).code(0);
    outcome.prints("\"sent\"");
    assert_same_file_bytes(&server, "stream", &bytes);
}

#[test]
fn what_is_refused_is_not_sent() {
    let (server, words) = with_line(&["--quota", "1MB"]);
    let file = write(server.beside().join("file"), noise(20 * MIB, 1));
    // curl asks for leave before it sends as much.
    let sent = ["-w", "%{size_upload} bytes sent"];
    let outcome = curl(&words, &file, &sent).wait().code(REFUSED);
    assert_eq!(last_status(&outcome), 507, "{outcome:?}");
    outcome.prints("quota-exceeded").prints("\n0 bytes sent".trim_start());
    let mut other = words.clone();
    other.retain(|word| !word.starts_with("Authorization") && word != "-H");
    let outcome = curl(&other, &file, &sent).wait().code(REFUSED);
    assert_eq!(last_status(&outcome), 401, "{outcome:?}");
    outcome.prints("}\n0 bytes sent");
    assert_eq!(server.names(), [""; 0]);
    assert_eq!(server.staged(), []);
}

/// curl would send the rest alone, and that is no file.
#[test]
fn promise_1_a_part_is_not_put_as_a_whole() {
    let (server, words) = with_line(&[]);
    let file = write(server.beside().join("file"), noise(MIB, 1));
    let outcome = curl(&words, &file, &["-C", "1000"]).wait();
    assert_eq!(last_status(&outcome), 400, "{outcome:?}");
    outcome.prints("tus");
    assert_eq!((server.names(), server.staged()), (vec![], vec![]));
}

/// What a stream will come to nobody can say ahead; the reason reaches whoever is still sending it.
#[test]
fn hostile_15_a_stream_that_goes_over_the_quota_is_told_so() {
    let (server, words) = with_line(&["--quota", "1MB"]);
    let outcome = piped(&words, noise(6 * MIB, 1));
    assert_eq!(last_status(&outcome), 507, "{outcome:?}");
    outcome.prints("quota-exceeded");
    assert_eq!((server.names(), server.staged()), (vec![], vec![]));
}

#[test]
fn a_file_comes_back_by_curl_and_goes_on_where_it_was_cut() {
    let (server, words) = with_line(&[]);
    let bytes = noise(10 * MIB, 1);
    let file = write(server.beside().join("file"), &bytes);
    curl(&words, &file, &[]).wait().code(0);
    let url = format!("{}file", words.last().unwrap());
    let back = server.beside().join("back");
    let get = |more: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--insecure", "-o"]).arg(&back);
        let header = words.iter().find(|word| word.starts_with("Authorization")).unwrap();
        command.args(["-H", header]).args(more).arg(&url);
        run(command)
    };
    get(&[]).code(0);
    assert!(fs::read(&back).unwrap() == bytes);
    fs::write(&back, &bytes[..MIB + 7]).unwrap();
    get(&["-C", "-"]).code(0);
    assert!(fs::read(&back).unwrap() == bytes);
    // With --etag-compare nothing comes again.
    let tags = server.beside().join("tags");
    get(&["--etag-save", tags.to_str().unwrap()]).code(0);
    fs::remove_file(&back).unwrap();
    let outcome = get(&["--etag-compare", tags.to_str().unwrap(), "-w", "%{http_code}"]).code(0);
    outcome.prints("304");
}
