//! `ferryd log`: what arrived when.

use std::{
    io::{BufRead, BufReader},
    os::unix::{ffi::OsStrExt, fs::symlink},
    process::Stdio,
};

use rusqlite::Connection;

use crate::support::{Client, Server, bare, eventually, noise, set_modified, write};

#[test]
fn what_arrived_is_told_oldest_first_with_what_it_was_replaced_by() {
    let mut server = Server::start();
    let client = Client::granted(&server, &["--name", "laptop"]);
    let source = server.beside().join("tree");
    write(source.join("file"), "one");
    client.send(&source).run().code(0);
    write(source.join("file"), noise(1500, 1));
    symlink("no\nwhere", source.join("link")).unwrap();
    let odd = source.join(std::ffi::OsStr::from_bytes(b"caf\xe9\x1b[31m"));
    write(&odd, "odd");
    client.send(&source).run().code(0);

    let objects = server.ferryd(&["log", "--json"]).code(0).objects();
    let of = |name: &str| objects.iter().filter(|object| object["name"] == name).collect::<Vec<_>>();
    let [old, new] = of("tree/file")[..] else { panic!("{objects:?}") };
    assert_eq!((&old["until"], &new["until"]), (&new["arrived"], &serde_json::Value::Null));
    assert_eq!((&old["client"], &old["kind"], &old["bytes"]), (&"laptop".into(), &"file".into(), &3.into()));
    let digest = ferry_proto::Algorithm::Sha256.digest(&noise(1500, 1)).to_string();
    assert_eq!((&new["digest"], &new["bytes"]), (&digest.as_str().into(), &1500.into()));
    assert_eq!(of("tree/link")[0]["target"], "no\nwhere");
    let [odd] = of("tree/caf\\xe9\\x1b[31m")[..] else { panic!("{objects:?}") };
    let bytes: Vec<u8> = serde_json::from_value(odd["name_bytes"].clone()).unwrap();
    assert_eq!(bytes, b"tree/caf\xe9\x1b[31m");
    let arrived: Vec<_> = objects.iter().map(|object| object["arrived"].as_str().unwrap()).collect();
    assert!(arrived.is_sorted(), "{arrived:?}");

    let text = server.ferryd(&["log"]).code(0).stdout();
    assert_eq!(text.lines().count(), objects.len());
    let line = text.lines().find(|line| line.contains(&digest)).unwrap();
    assert!(line.contains("laptop") && line.contains("1.5 kB") && line.ends_with("  tree/file"), "{line}");
    assert!(text.contains("tree/caf\\xe9\\x1b[31m") && text.contains("link -> no\\nwhere"), "{text}");

    // Only some of it.
    let lines = |words: &[&str]| server.ferryd(&[&["log"], words].concat()).code(0).stdout().lines().count();
    assert_eq!(lines(&["tree/file"]), 2);
    assert_eq!(lines(&["tree/"]), objects.len());
    server.ferryd(&["log", "tre"]).code(1).says("nothing called tre");
    assert_eq!(lines(&["--since", "1h"]), objects.len());
    let newest = new["arrived"].as_str().unwrap();
    assert!(lines(&["--since", newest]) < objects.len());
    assert_eq!(lines(&["--since", "2999-01-01T00:00:00Z"]), 0);
    for wrong in [&["log", "--since", "yesterday"][..], &["log", "../x"]] {
        server.ferryd(wrong).code(2);
    }
    // What is only touched has not arrived anew; and no server needs to run.
    set_modified(source.join("file"), 1_000_000_000, 0);
    client.send(&source).run().code(0);
    server.kill();
    assert_eq!(server.ferryd(&["log", "tree/file"]).code(0).stdout().lines().count(), 2);
}

#[test]
fn whoever_has_read_enough_closes_the_pipe() {
    let server = Server::start();
    // Far more than a pipe holds.
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
                INSERT INTO files (path, kind, stamp, client, since)
                SELECT CAST('folder ' || i AS BLOB), 'folder', x'', 'laptop', i FROM n";
    let catalogue = Connection::open(server.inbox().join(".ferry/catalogue.db")).unwrap();
    assert_eq!(catalogue.execute(rows, []), Ok(5000));
    let mut ferryd = bare(&[], "ferryd");
    ferryd.args(["log", "--root"]).arg(server.inbox()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut log = ferryd.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(log.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("1970-01-01T00:00:00Z  -") && first.ends_with("  folder 1\n"), "{first}");
    let status = eventually("its end", || log.try_wait().unwrap());
    let mut told = String::new();
    std::io::Read::read_to_string(&mut log.stderr.take().unwrap(), &mut told).unwrap();
    assert_eq!((status.code(), told.as_str()), (Some(0), ""));
}
