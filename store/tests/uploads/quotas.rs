//! How much a client may hold.

use std::thread::scope;

use ferry_store::Outcome;

use crate::inbox::*;

fn with_quota(quota: u64) -> Client {
    Client::new().with(|terms| terms.quota = Some(quota))
}

#[test]
fn hostile_15_a_quota_is_exact_to_the_byte() {
    let inbox = Inbox::new();
    let client = with_quota(10);
    assert_eq!(inbox.put(&client, file("six", b"123456"), b"123456"), stored(b"123456"));
    assert_failed!(inbox.put(&client, file("five", b"12345"), b"12345"), QuotaExceeded);
    assert_eq!(inbox.put(&client, file("four", b"1234"), b"1234"), stored(b"1234"));
    assert_failed!(inbox.put(&client, file("one", b"1"), b"1"), QuotaExceeded);
    // What costs nothing, and what is there already.
    assert_eq!(inbox.put(&client, file("none", b""), b""), stored(b""));
    assert_eq!(inbox.offer(&client, file("six", b"123456")).told(), held(b"123456"));
    assert_eq!(inbox.names(), ["four", "none", "six"]);
    assert!(inbox.staged().is_empty());
    // Others have quotas of their own, and what they replace is no longer its.
    let other = Client::new().with(|terms| terms.client = "bert".into());
    assert_eq!(inbox.put(&other, file("six", b"abcdefg"), b"abcdefg"), stored(b"abcdefg"));
    assert_eq!(inbox.put(&client, file("again", b"654321"), b"654321"), stored(b"654321"));
}

#[test]
fn hostile_15_what_its_owner_has_changed_counts_for_who_holds_it() {
    let inbox = Inbox::new();
    let client = with_quota(10);
    inbox.put(&client, file("file", b"1"), b"1");
    std::fs::write(inbox.on_disk("file"), "the owner's 20 bytes").unwrap();
    let header = file("file", b"the owner's 20 bytes");
    assert_failed!(inbox.put(&client, header, b"the owner's 20 bytes"), QuotaExceeded);
}

#[test]
fn hostile_10_a_quota_is_worth_so_many_names() {
    let inbox = Inbox::new();
    let client = with_quota(4096);
    for number in 0..1001 {
        assert_eq!(inbox.put(&client, file(&number.to_string(), b""), b""), stored(b""));
    }
    assert_failed!(inbox.offer(&client, file("one more", b"")).told(), QuotaExceeded);
    assert_failed!(inbox.offer(&client, folder("folder")).told(), QuotaExceeded);
    assert_failed!(inbox.offer(&client, link("link", "x")).told(), QuotaExceeded);
    let keep = client.with(|terms| terms.conflict = ferry_proto::Conflict::KeepBoth);
    assert_failed!(inbox.offer(&keep, file("1", b"x")).told(), QuotaExceeded);
    assert_eq!(inbox.offer(&keep, file("1", b"")).told(), held(b""));
    // What its owner removes makes room for the same again.
    std::fs::remove_file(inbox.on_disk("7")).unwrap();
    assert_eq!(inbox.put(&client, file("7", b""), b""), stored(b""));
    // What is there can still be replaced, and others are free to go on.
    assert_eq!(inbox.put(&client, file("1", b"x"), b"x"), stored(b"x"));
    assert_eq!(inbox.put(&Client::new(), file("one more", b""), b""), stored(b""));
}

#[test]
fn what_its_owner_removes_counts_until_its_name_is_offered_again() {
    let inbox = Inbox::new();
    let client = with_quota(10);
    for name in ["one", "two"] {
        inbox.put(&client, file(name, b"12345"), b"12345");
        std::fs::remove_file(inbox.on_disk(name)).unwrap();
    }
    assert_failed!(inbox.offer(&client, file("new", b"1")).told(), QuotaExceeded);
    // Another's name gives another's bytes back, and a dry run none.
    let other = with_quota(10).with(|terms| terms.client = "bert".into());
    inbox.offer(&client.with(|terms| terms.dry_run = true), file("one", b"12345"));
    assert_failed!(inbox.offer(&with_quota(10), file("new", b"1")).told(), QuotaExceeded);
    inbox.offer(&other, file("one", b"12345")).wanted();
    assert_eq!(inbox.put(&with_quota(10), file("new", b"1"), b"1"), stored(b"1"));
    assert_eq!(inbox.put(&with_quota(10), file("two", b"12345"), b"12345"), stored(b"12345"));
}

#[test]
fn hostile_15_a_quota_is_exact_under_parallel_uploads() {
    const CONNECTIONS: usize = 8;
    const EACH: usize = 40;
    const FIT: usize = 100;
    let inbox = Inbox::new();
    let body = vec![7; 1000];
    let counts: Vec<(usize, usize)> = scope(|threads| {
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let (inbox, body) = (&inbox, &body);
                threads.spawn(move || {
                    let client = with_quota((FIT * body.len()) as u64);
                    let outcomes = (0..EACH).map(|file_number| {
                        let name = format!("{number}-{file_number}");
                        inbox.put(&client, file(&name, body), body)
                    });
                    let (good, bad): (Vec<_>, Vec<_>) =
                        outcomes.partition(|outcome| matches!(outcome, Outcome::Stored(..)));
                    for outcome in &bad {
                        assert_failed!(outcome.clone(), QuotaExceeded);
                    }
                    (good.len(), bad.len())
                })
            })
            .collect();
        connections.into_iter().map(|connection| connection.join().unwrap()).collect()
    });
    assert_eq!(counts.iter().map(|(good, _)| good).sum::<usize>(), FIT, "{counts:?}");
    assert_eq!(inbox.names().len(), FIT);
}

#[test]
fn hostile_15_a_stream_ends_where_the_quota_does() {
    let inbox = Inbox::new();
    let client = with_quota(10);
    for (body, fits) in [(&b"12345678901"[..], false), (b"1234567890", true)] {
        let mut header = unhashed("stream", body);
        header.size = None;
        let mut sending = inbox.open_body(inbox.offer(&client, header).wanted());
        let appended = body.chunks(4).try_for_each(|piece| sending.append(piece));
        assert_eq!(appended.is_ok(), fits);
        match appended {
            Ok(()) => assert_eq!(sending.finish(digest(body)), stored(body)),
            Err(outcome) => {
                assert_failed!(outcome, QuotaExceeded);
                drop(sending);
                assert!(inbox.staged().is_empty());
            }
        }
    }
}

#[test]
fn what_is_staged_counts_and_going_on_with_it_costs_nothing_more() {
    let inbox = Inbox::new();
    let size = big().len() as u64;
    let client = with_quota(size + 5);
    inbox.put_cut(&client, file("large", big()), &big()[..CHECKPOINT + 1]);
    assert_failed!(inbox.put(&client, file("six", b"123456"), b"123456"), QuotaExceeded);
    assert_eq!(inbox.put(&client, file("five", b"12345"), b"12345"), stored(b"12345"));
    let wanted = inbox.offer(&client.again(), file("large", big())).wanted();
    assert_eq!(wanted.ticket.offset(), CHECKPOINT as u64);
    assert_eq!(inbox.send(wanted, big()), stored(big()));
    assert_failed!(inbox.put(&client, file("one", b"1"), b"1"), QuotaExceeded);
}
