//! SIGKILL of the server, at any instant, while uploads of every kind are on their way.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{scope, sleep},
    time::Duration,
};

use ferry_proto::Algorithm;

use crate::{
    faults::{chance, is_full},
    support::{Server, Visitor, digest_header, eventually, noise},
};

use super::MIB;

/// Who sends at once.
const SENDERS: usize = 4;

#[test]
fn hostile_21_promises_1_2_and_3_hold_for_the_web_whenever_the_server_is_killed() {
    let kills = if is_full() { 150 } else { 12 };
    let mut rng = chance("kill sweep of the web");
    let mut server = Server::setup().web().start();
    let visitor = Visitor::signed_in(&server);
    let (is_over, receipts) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
    let sent = Mutex::new(BTreeMap::new());
    scope(|threads| {
        for sender in 0..SENDERS {
            let (visitor, is_over, receipts, sent) = (&visitor, &is_over, &receipts, &sent);
            let seed = rng.u64(..);
            threads.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    // One of them now and then has more than a checkpoint.
                    let most = if rng.u8(..6) == 0 { 40 * MIB } else { 2 * MIB };
                    let bytes = noise(rng.usize(1..most), rng.u64(..));
                    let name = format!("{sender}-{number}");
                    let told = Algorithm::Sha256.digest(&bytes).to_string();
                    sent.lock().unwrap().insert(name.clone(), told.clone());
                    let is_put = rng.bool();
                    let done = match is_put {
                        true => put(visitor, &name, &bytes),
                        false => upload(visitor, &name, &bytes, is_over, &mut rng),
                    };
                    if let Some(name) = done {
                        receipts.lock().unwrap().insert(name, told);
                    }
                }
            });
        }
        for _ in 0..kills {
            sleep(Duration::from_millis(rng.u64(5..400)));
            server.kill();
            // What had a receipt by now is there; whatever is there is whole.
            let told = receipts.lock().unwrap().clone();
            let offered = sent.lock().unwrap().clone();
            look(&server, &told, &offered);
            server.restart();
        }
        // Where the machine is slow, hardly anything arrives between two kills.
        eventually("receipts", || (receipts.lock().unwrap().len() > kills / 2).then_some(()));
        is_over.store(true, Ordering::Relaxed);
    });
    let (told, offered) = (receipts.into_inner().unwrap(), sent.into_inner().unwrap());
    look(&server, &told, &offered);
    println!("{kills} kills, {} receipts, {} files", told.len(), server.names().len());
    let twice: Vec<_> = server.names().into_iter().filter(|name| name.contains('(')).collect();
    assert_eq!(twice, [""; 0], "sent twice");
    server.ferryd(&["scrub", "--adopt"]).code(0);
}

/// Whole files of those names, with those digests; each that was promised.
fn look(server: &Server, told: &BTreeMap<String, String>, offered: &BTreeMap<String, String>) {
    let names = server.names();
    for name in &names {
        let found = crate::support::digest(server.inbox().join(name)).to_string();
        let stem = name.split(" (").next().unwrap();
        assert_eq!(offered.get(stem), Some(&found), "{name} is not what was sent");
    }
    for name in told.keys() {
        assert!(names.contains(name), "{name} had a receipt and is not there");
    }
}

fn put(visitor: &Visitor, name: &str, bytes: &[u8]) -> Option<String> {
    let ask = visitor.ask("PUT", &format!("/files/{name}")).header("Repr-Digest", digest_header(bytes));
    let reply = ask.body(bytes).try_send()?;
    assert!(reply.status == 200 || reply.status == 201 || reply.status >= 500, "{reply:?}");
    (reply.status < 300).then(|| name.to_owned())
}

/// As clients do: it goes on until all has arrived.
fn upload(
    visitor: &Visitor,
    name: &str,
    bytes: &[u8],
    is_over: &AtomicBool,
    rng: &mut fastrand::Rng,
) -> Option<String> {
    let created = visitor.create(name, bytes.len() as u64, "").try_send()?;
    let upload = created.status(201).header("location")?.to_owned();
    loop {
        if is_over.load(Ordering::Relaxed) {
            return None;
        }
        let Some(head) = visitor.tus("HEAD", &upload).try_send() else {
            sleep(Duration::from_millis(20));
            continue;
        };
        let here = head.status(200).number("upload-offset") as usize;
        let end = (here + rng.usize(1..4 * MIB)).min(bytes.len());
        let part =
            visitor.part(&upload, here as u64, &bytes[here..end]).header("Repr-Digest", digest_header(bytes));
        let Some(reply) = part.try_send() else { continue };
        assert!(reply.status == 204 || reply.status == 409 || reply.status >= 500, "{reply:?}");
        if reply.status == 204 && reply.header("repr-digest").is_some() {
            return Some(name.to_owned());
        }
    }
}
