//! What happens on the disk before a receipt leaves, as the operating system sees it.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use crate::support::{Client, Server, may_trace, noise, write};

/// Runs what follows under strace, which stays out of the way: the program is still our own child, and no signal
/// reaches it later.
const TRACED: &[&str] = &[
    "sh",
    "-c",
    "exec strace -D -f -y -s 0 -o \"$TRACE\" \
     -e trace=write,writev,sendto,sendmsg,pwrite64,fsync,fdatasync,syncfs,renameat,renameat2,linkat \"$@\"",
    "sh",
];

/// Bytes of the shortest receipt of a file, encrypted. A ping is shorter.
const RECEIPT: u64 = 50;

/// A server whose system calls are written down, and a client of it.
struct Traced {
    server: Server,
    client: Client,
    trace: PathBuf,
    _folder: TempDir,
}

impl Traced {
    /// `None` where nothing can be traced.
    fn start() -> Option<Self> {
        if !may_trace() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let server = Server::setup().wrapped(TRACED).env("TRACE", &trace).start();
        let client = Client::paired(&server);
        Some(Traced { server, client, trace, _folder: folder })
    }
}

fn written_bytes(line: &str) -> u64 {
    line.rsplit_once(" = ").and_then(|(_, bytes)| bytes.parse().ok()).unwrap_or(0)
}

/// What a body was called in staging, if this line gives it a name that begins so.
fn named_by<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let is_named_so = line.contains(&format!(", \"{name}"));
    if is_named_so && line.contains("rename") {
        line.split('"').nth(1)
    } else if is_named_so && line.contains("linkat(") {
        line.split_once("/.ferry/staging/")?.1.split('>').next()
    } else {
        None
    }
}

/// Whether this line makes something durable, alone or with everything else.
fn syncs(line: &str, what: &str) -> bool {
    line.contains("syncfs(") || (line.contains("fsync(") && line.contains(what))
}

/// Finds the first line from a place on that has all of these words; where it is.
#[track_caller]
fn after(lines: &[&str], from: usize, what: &str, words: &[&str]) -> usize {
    let found = lines[from..].iter().position(|line| words.iter().all(|word| line.contains(word)));
    from + found.unwrap_or_else(|| panic!("{what} does not follow in\n{}", lines[from..].join("\n")))
}

#[test]
fn promise_2_bytes_name_folder_and_row_are_synced_before_the_receipt() {
    let Some(Traced { server, client, trace, _folder }) = Traced::start() else { return };
    // One that is packed, and one with a checkpoint.
    for (name, length) in [("small", 1000), ("large", 33 * 1024 * 1024)] {
        let source = write(server.beside().join("folder").join(name), noise(length, 1));
        let so_far = fs::read_to_string(&trace).unwrap().lines().count();
        client.send(source).args(["--dir", name]).run().code(0);
        let text = fs::read_to_string(&trace).unwrap();
        let lines: Vec<&str> = text.lines().skip(so_far).collect();
        let naming = lines.iter().enumerate().find_map(|(at, line)| Some((at, named_by(line, name)?)));
        let (rename, id) = naming.unwrap_or_else(|| panic!("{name} gets no name in\n{text}"));
        let last_write =
            lines[..rename].iter().rposition(|line| line.contains("write(") && line.contains(id));
        let written = last_write.expect("bytes were written to the staged body");
        let synced = after(&lines, written, "a sync of the bytes", &["sync(", id]);
        assert!(synced < rename, "{name} has its name before its bytes are synced");
        // What has its first name says so in itself. Then the folder that it is in, and the one in which that was made.
        if lines[rename].contains("linkat(") {
            after(&lines, rename, "a sync of its first name", &["fsync(", id]);
        }
        let below = after(&lines, rename, "a sync of its folder", &["fsync(", &format!("/inbox/{name}>")]);
        let above = after(&lines, rename, "a sync of the root", &["fsync(", "/inbox>"]);
        let row = after(&lines, below.max(above), "a sync of the catalogue", &["sync(", "catalogue.db-wal"]);
        let is_said = |line: &&str| line.contains("<socket:") && written_bytes(line) >= RECEIPT;
        assert_eq!(lines[rename..row].iter().find(|line| is_said(line)), None, "{name}: said before its row");
        assert!(lines[row..].iter().any(is_said), "{name}: no receipt");
    }
}

#[test]
fn promise_2_many_files_are_synced_before_any_of_them_has_its_name() {
    const FILES: usize = 60;
    let Some(Traced { server, client, trace, _folder }) = Traced::start() else { return };
    let source = server.beside().join("folder");
    (0..FILES)
        .for_each(|number| drop(write(source.join(format!("file-{number}")), noise(1000, number as u64))));
    client.send(&source).run().code(0);
    let text = fs::read_to_string(&trace).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut renamed = 0;
    let mut last = 0;
    for (rename, line) in lines.iter().enumerate() {
        let Some(id) = named_by(line, "file-") else { continue };
        let written = lines[..rename].iter().rposition(|line| line.contains("write(") && line.contains(id));
        let between = &lines[written.expect("bytes were written to the staged body")..rename];
        assert!(
            between.iter().any(|line| syncs(line, id)),
            "{line}\nis not synced in\n{}",
            between.join("\n")
        );
        let later = &lines[rename..];
        let is_settled = !line.contains("linkat(") || later.iter().any(|line| syncs(line, id));
        assert!(is_settled, "{line}\nis not synced after it");
        (renamed, last) = (renamed + 1, rename);
    }
    assert_eq!(renamed, FILES);
    // Between the last name and the end, its folder and the catalogue.
    let below = lines[last..].iter().position(|line| syncs(line, "/inbox/folder>"));
    let below = last + below.expect("the folder is synced after the last name");
    after(&lines, below, "a sync of the catalogue", &["sync(", "catalogue.db-wal"]);
}
