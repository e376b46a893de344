//! Bodies that are cut and gone on with, and who may go on with them.

use std::{
    fs,
    io::Write,
    path::Path,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use ferry_proto::{Algorithm, Header};
use ferry_store::{Lease, Outcome, StageId};

use crate::inbox::*;

/// Longer than a silent owner is waited for.
const TAKE_OVER: Duration = Duration::from_secs(11);

/// What is sent before a cut: a checkpoint, and more behind it.
fn first_part() -> &'static [u8] {
    &big()[..CHECKPOINT + 2_000_000]
}

#[track_caller]
fn assert_resumes_at(wanted: &Wanted, offset: usize) {
    let prefix = (offset > 0).then(|| digest(&big()[..offset]));
    assert_eq!((wanted.ticket.offset(), wanted.ticket.prefix()), (offset as u64, prefix));
}

#[test]
fn promise_3_a_cut_body_goes_on_from_its_last_checkpoint() {
    let inbox = Inbox::new();
    let client = Client::new();
    inbox.put_cut(&client, file("large", big()), first_part());
    assert_eq!(inbox.names(), [""; 0]);
    assert_eq!(inbox.staged(), [CHECKPOINT as u64], "it is cut back to what is good");
    assert_eq!(inbox.checkpoints()[0].offset, CHECKPOINT as u64);

    let wanted = inbox.offer(&client.again(), file("large", big())).wanted();
    assert_resumes_at(&wanted, CHECKPOINT);
    assert_eq!(inbox.send(wanted, big()), stored(big()));
    assert!(inbox.read("large") == big());
    assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]));
}

#[test]
fn promise_3_what_is_staged_is_read_again_only_where_somebody_may_have_touched_it() {
    for algorithm in Algorithm::ALL {
        let inbox = Inbox::new();
        let client = Client::new().with(|terms| terms.digest = algorithm);
        let header = || Header { digest: None, ..file("large", big()) };
        inbox.put_cut(&client, header(), first_part());
        let resumes = |client: &Client, reads: usize| {
            let wanted = inbox.offer(client, header()).wanted();
            let prefix = client.terms.digest.digest(&big()[..CHECKPOINT]);
            assert_eq!((wanted.ticket.offset(), wanted.ticket.prefix()), (CHECKPOINT as u64, Some(prefix)));
            assert_eq!(inbox.script.count("replay"), reads, "{algorithm}");
            inbox.script.take_calls();
            wanted
        };
        drop(resumes(&client.again(), 0));
        // Gone on with a little, and cut before the next checkpoint.
        let mut sending = inbox.open_body(resumes(&client.again(), 0));
        sending.append(&big()[CHECKPOINT..CHECKPOINT + 5]).unwrap();
        drop(sending);
        drop(resumes(&client.again(), 0));
        let other = Algorithm::ALL.into_iter().find(|other| *other != algorithm).unwrap();
        drop(resumes(&client.with(|terms| terms.digest = other), 1));

        let staged = fs::read_dir(inbox.on_disk(".ferry/staging")).unwrap().next().unwrap().unwrap().path();
        fs::File::open(staged).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let wanted = resumes(&client.again(), 1);
        let offset = wanted.ticket.offset() as usize;
        let mut sending = inbox.open_body(wanted);
        sending.append(&big()[offset..]).unwrap();
        let digest = algorithm.digest(big());
        assert_eq!(sending.finish(digest), Outcome::Stored(Some(digest), big().len() as u64, None));
        assert!(inbox.read("large") == big());
    }
}

#[test]
fn promise_3_a_body_that_is_cut_again_goes_on_from_the_later_checkpoint() {
    let inbox = Inbox::new();
    let client = Client::new();
    let header = || unhashed("large", bigger());
    inbox.put_cut(&client, header(), first_part());
    let mut sending = inbox.open_body(inbox.offer(&client, header()).wanted());
    sending.append(&bigger()[CHECKPOINT..2 * CHECKPOINT + 1]).unwrap();
    drop(sending);
    let wanted = inbox.offer(&client, header()).wanted();
    let second = digest(&bigger()[..2 * CHECKPOINT]);
    assert_eq!((wanted.ticket.offset(), wanted.ticket.prefix()), (2 * CHECKPOINT as u64, Some(second)));
    assert_eq!(inbox.send(wanted, bigger()), stored(bigger()));
    assert!(inbox.read("large") == bigger());
}

#[test]
fn promise_3_a_cut_body_goes_on_after_a_restart() {
    let inbox = Inbox::new();
    let client = Client::new();
    inbox.put_cut(&client, unhashed("large", big()), first_part());
    let inbox = inbox.restart_after(|root| {
        // Bytes that were never synced come back from a power cut as anything.
        let staged = fs::read_dir(root.join(".ferry/staging")).unwrap().next().unwrap().unwrap().path();
        let mut staged = fs::OpenOptions::new().append(true).open(staged).unwrap();
        staged.write_all(&[0; 70_000]).unwrap();
    });
    assert_eq!(inbox.staged(), [CHECKPOINT as u64], "staged bodies are cut back to their checkpoints");
    let wanted = inbox.offer(&client, unhashed("large", big())).wanted();
    assert_resumes_at(&wanted, CHECKPOINT);
    assert_eq!(inbox.send(wanted, big()), stored(big()));
    assert!(inbox.read("large") == big());
    assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]));
}

/// Where a rename is a second name and then one less, a cut may leave both; and a row is written later than either.
#[test]
fn promise_1_a_body_that_has_its_name_already_is_not_cut_back_at_the_next_start() {
    let inbox = Inbox::new();
    let client = Client::new();
    inbox.put_cut(&client, file("large", big()), big());
    let inbox = inbox.restart_after(|root| {
        let staged = fs::read_dir(root.join(".ferry/staging")).unwrap().next().unwrap().unwrap().path();
        fs::write(&staged, big()).unwrap();
        fs::hard_link(staged, root.join("large")).unwrap();
    });
    assert!(inbox.read("large") == big(), "a name holds a part of a file");
    assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]));
    assert_eq!(inbox.offer(&client, file("large", big())).told(), held(big()));
}

#[test]
fn promise_3_a_checkpoint_is_written_down_after_its_bytes_are_synced() {
    let inbox = Inbox::new();
    let mut sending = inbox.open_body(inbox.offer(&Client::new(), file("large", big())).wanted());
    sending.append(&big()[..CHECKPOINT - 1]).unwrap();
    assert_eq!((inbox.script.count("sync"), inbox.script.count("save_checkpoint")), (0, 0));
    inbox.script.take_calls();
    // A piece that goes beyond the checkpoint is split at it.
    sending.append(&big()[CHECKPOINT - 1..CHECKPOINT + 10]).unwrap();
    let expected = ["append 1", "sync", "save_checkpoint 33554432", "append 10"];
    assert_eq!(inbox.script.take_calls(), expected);
}

#[test]
fn promise_3_small_bodies_and_streams_are_not_kept() {
    let inbox = Inbox::new();
    let client = Client::new();
    let mut stream = unhashed("stream", b"");
    stream.size = None;
    inbox.put_cut(&client, stream, first_part());
    let small = &big()[..CHECKPOINT];
    inbox.put_cut(&client, file("small", small), &small[..CHECKPOINT - 1]);
    // A large one before its first checkpoint.
    inbox.put_cut(&client, file("large", big()), &big()[..CHECKPOINT - 1]);
    assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]));
}

#[test]
fn promise_3_bytes_of_two_sources_are_never_joined() {
    let inbox = Inbox::new();
    let client = Client::new();
    let with = |change: fn(&mut Header)| {
        let mut header = file("large", big());
        change(&mut header);
        header
    };
    let others = [
        with(|header| header.modified = time(1_500_000_001)),
        with(|header| header.modified = None),
        with(|header| header.size = header.size.map(|size| size + 1)),
        with(|header| header.digest = Some(digest(b"another"))),
    ];
    for other in others {
        inbox.put_cut(&client, file("large", big()), first_part());
        assert_resumes_at(&inbox.offer(&client.again(), other).wanted(), 0);
        assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]), "the older source's bytes stay");
    }

    inbox.put_cut(&client, file("large", big()), first_part());
    // Neither another client's nor another name's offer goes on with it, or takes it away.
    let stranger = client.with(|terms| terms.client = "berta".into());
    assert_resumes_at(&inbox.offer(&stranger, file("large", big())).wanted(), 0);
    assert_resumes_at(&inbox.offer(&client.again(), file("larger", big())).wanted(), 0);
    // A digest that only one side knows decides nothing: its sender compares the prefix.
    assert_resumes_at(&inbox.offer(&client.again(), unhashed("large", big())).wanted(), CHECKPOINT);
}

#[test]
fn promise_3_a_sender_whose_bytes_are_others_starts_from_the_beginning() {
    let inbox = Inbox::new();
    let client = Client::new();
    inbox.put_cut(&client, unhashed("large", big()), first_part());
    let mut body = big().to_vec();
    body[7] ^= 1;
    let wanted = inbox.offer(&client.again(), unhashed("large", &body)).wanted();
    assert_ne!(wanted.ticket.prefix(), Some(digest(&body[..CHECKPOINT])));
    let mut sending = inbox.open_body_at(wanted, 0).unwrap();
    assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![0], vec![]), "the other bytes are of no use");
    sending.append(&body).unwrap();
    assert_eq!(sending.finish(digest(&body)), stored(&body));
    assert!(inbox.read("large") == body);
}

#[test]
fn promise_3_a_staged_body_that_somebody_removed_or_cut_begins_anew() {
    let inbox = Inbox::new();
    let client = Client::new();
    let deeds: [fn(&Path); 2] =
        [|path| fs::remove_file(path).unwrap(), |path| fs::write(path, "cut").unwrap()];
    for deed in deeds {
        inbox.put_cut(&client, file("large", big()), first_part());
        let staged = fs::read_dir(inbox.on_disk(".ferry/staging")).unwrap().next().unwrap().unwrap();
        deed(&staged.path());
        let wanted = inbox.offer(&client.again(), file("large", big())).wanted();
        assert_resumes_at(&wanted, 0);
        assert_eq!(inbox.send(wanted, big()), stored(big()));
        fs::remove_file(inbox.on_disk("large")).unwrap();
        inbox.uploads.sweep(Duration::ZERO).unwrap();
        assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]));
    }
}

#[test]
fn hostile_23_a_second_connection_waits_for_the_first_and_goes_on_when_that_ends() {
    let inbox = Inbox::new();
    let (one, two) = (Client::new(), Client::new());
    let mut first = inbox.open_body(inbox.offer(&one, file("large", big())).wanted());
    first.append(first_part()).unwrap();

    let busy = inbox.offer(&two, file("large", big())).busy();
    assert_eq!(one.asked.load(Ordering::Relaxed), 1, "the owner is asked for a sign of life");
    let busy = inbox.offer_again(&two, busy).busy();
    assert_eq!(one.asked.load(Ordering::Relaxed), 1, "it is asked once");
    // Other files go on meanwhile.
    assert_eq!(inbox.put(&two, file("other", b"other"), b"other"), stored(b"other"));
    first.append(b"").unwrap();
    drop(first);

    let wanted = inbox.offer_again(&two, busy).wanted();
    assert_resumes_at(&wanted, CHECKPOINT);
    assert_eq!(inbox.send(wanted, big()), stored(big()));
    assert!(inbox.read("large") == big());
    assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]));
}

#[test]
fn hostile_23_what_is_complete_meanwhile_is_held() {
    let inbox = Inbox::new();
    let (one, two) = (Client::new(), Client::new());
    let mut first = inbox.open_body(inbox.offer(&one, file("large", big())).wanted());
    first.append(first_part()).unwrap();
    let busy = inbox.offer(&two, file("large", big())).busy();
    first.append(&big()[first_part().len()..]).unwrap();
    assert_eq!(first.finish(digest(big())), stored(big()));
    assert_eq!(inbox.offer_again(&two, busy).told(), held(big()));
}

#[test]
fn hostile_23_while_its_owner_lives_another_run_stages_anew() {
    let inbox = Inbox::new();
    let (one, two) = (Client::new(), Client::new());
    let mut first = inbox.open_body(inbox.offer(&one, file("large", big())).wanted());
    first.append(first_part()).unwrap();

    let mut busy = inbox.offer(&two, file("large", big())).busy();
    one.lease.answered(1);
    busy.backdate(TAKE_OVER);
    let wanted = inbox.offer_again(&two, busy).wanted();
    assert_resumes_at(&wanted, 0);
    assert_eq!(inbox.send(wanted, big()), stored(big()));
    assert_eq!(inbox.staged().len(), 1);

    first.append(&big()[first_part().len()..]).unwrap();
    assert_eq!(first.finish(digest(big())), stored(big()));
    assert!(inbox.read("large") == big());
    assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]));
}

#[test]
fn hostile_23_an_answer_that_comes_at_once_is_a_sign_of_life() {
    let inbox = Inbox::new();
    let answers = Arc::new(OnceLock::<Arc<Lease>>::new());
    let mut one = Client::new();
    let at_once = answers.clone();
    one.lease = Lease::new(move || {
        at_once.get().unwrap().answered(1);
        1
    });
    assert!(answers.set(one.lease.clone()).is_ok());
    let mut first = inbox.open_body(inbox.offer(&one, file("large", big())).wanted());
    first.append(first_part()).unwrap();
    let two = Client::new();
    let busy = inbox.offer(&two, file("large", big())).busy();
    assert_resumes_at(&inbox.offer_again(&two, busy).wanted(), 0);
}

#[test]
fn hostile_23_a_body_before_its_first_checkpoint_has_an_owner_too() {
    let inbox = Inbox::new();
    let (one, two) = (Client::new(), Client::new());
    let mut first = inbox.open_body(inbox.offer(&one, file("large", big())).wanted());
    first.append(b"far from a checkpoint").unwrap();

    let mut busy = inbox.offer(&two, file("large", big())).busy();
    busy.backdate(TAKE_OVER);
    let wanted = inbox.offer_again(&two, busy).wanted();
    assert_resumes_at(&wanted, 0);
    assert_failed!(first.append(b"too late").unwrap_err(), TakenOver);
    assert_eq!(inbox.send(wanted, big()), stored(big()));
    assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]), "the dead one has left something");
}

#[test]
fn hostile_23_one_connection_may_send_the_same_name_twice() {
    let inbox = Inbox::new();
    let client = Client::new();
    let mut first = inbox.open_body(inbox.offer(&client, file("large", big())).wanted());
    first.append(first_part()).unwrap();
    let second = inbox.offer(&client, file("large", big())).wanted();
    assert_resumes_at(&second, 0);
    assert_eq!(inbox.send(second, big()), stored(big()));
    first.append(&big()[first_part().len()..]).unwrap();
    assert_eq!(first.finish(digest(big())), stored(big()));
    assert!(inbox.read("large") == big());
}

/// A body whose owner has all but the end of it and is silent, and another connection that takes it over.
struct TakenOver {
    inbox: Inbox,
    old: Sending,
    new: Wanted,
}

impl TakenOver {
    fn new(sent_by_the_old: &[u8]) -> Self {
        let inbox = Inbox::new();
        let (one, two) = (Client::new(), Client::new());
        // Bytes that come now may have been in the network's buffers for long.
        one.lease.heard();
        let mut old = inbox.open_body(inbox.offer(&one, file("large", big())).wanted());
        old.append(sent_by_the_old).unwrap();
        let mut busy = inbox.offer(&two, file("large", big())).busy();
        busy.backdate(TAKE_OVER);
        let new = inbox.offer_again(&two, busy).wanted();
        assert_resumes_at(&new, sent_by_the_old.len() / CHECKPOINT * CHECKPOINT);
        TakenOver { inbox, old, new }
    }

    /// Whatever the old owner does now, the file of the new one is whole.
    fn new_owner_is_not_disturbed_by(self, deed: impl FnOnce(Sending)) {
        let TakenOver { inbox, old, new } = self;
        let offset = new.ticket.offset() as usize;
        let mut new = inbox.open_body(new);
        new.append(&big()[offset..offset + 1_000]).unwrap();
        deed(old);
        assert_eq!(inbox.names(), [""; 0], "a part of a file got its name");
        new.append(&big()[offset + 1_000..]).unwrap();
        assert_eq!(new.finish(digest(big())), stored(big()));
        assert!(inbox.read("large") == big());
        assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]));
    }
}

#[test]
fn hostile_23_a_silent_owner_loses_its_body_and_cannot_write_to_it_any_more() {
    TakenOver::new(first_part()).new_owner_is_not_disturbed_by(|mut old| {
        assert_failed!(old.append(&big()[first_part().len()..]).unwrap_err(), TakenOver);
    });
}

#[test]
fn hostile_23_a_silent_owner_that_gives_up_takes_nothing_away() {
    TakenOver::new(first_part()).new_owner_is_not_disturbed_by(|mut old| old.upload.abandon());
    TakenOver::new(first_part()).new_owner_is_not_disturbed_by(drop);
    TakenOver::new(first_part()).new_owner_is_not_disturbed_by(|old| {
        assert_failed!(old.finish(digest(big())), SizeMismatch);
    });
}

#[test]
fn promise_1_a_silent_owner_that_ends_its_body_late_publishes_nothing_of_it() {
    TakenOver::new(big()).new_owner_is_not_disturbed_by(|old| {
        assert_failed!(old.finish(digest(big())), TakenOver);
    });
}

#[test]
fn promise_1_a_body_that_is_taken_over_while_it_waits_for_the_committer_is_not_published() {
    let inbox = Inbox::new();
    let client = Client::new();
    let take_over = |offset| {
        let another = client.again();
        let mut busy = inbox.offer(&another, file("large", big())).busy();
        busy.backdate(TAKE_OVER);
        let new = inbox.offer_again(&another, busy).wanted();
        assert_resumes_at(&new, offset);
        inbox.open_body(new)
    };
    let other = |name| inbox.begin(&client, name, b"other").end(digest(b"other"));

    // Before it is sealed: the committer is busy with another file.
    let old = inbox.begin(&client, "large", big());
    let gate = inbox.gate("seal", 0);
    let first = other("first");
    gate.wait();
    let late = old.end(digest(big()));
    let mut new = take_over(CHECKPOINT);
    drop(gate);
    assert_failed!(answer(&late), TakenOver);
    assert_eq!(answer(&first), stored(b"other"));
    assert_eq!(inbox.script.count("seal"), 1, "time and mode were set on the new owner's body");
    new.append(&big()[CHECKPOINT..]).unwrap();

    // Between being sealed and being published: another file of the same batch is published first.
    let (gate, second_gate) = (inbox.gate("seal", 0), inbox.gate("publish", 1));
    let (first, late_first) = (other("second"), inbox.begin(&client, "third", b"other"));
    gate.wait();
    let (third, late) = (late_first.end(digest(b"other")), new.end(digest(big())));
    drop(gate);
    second_gate.wait();
    let mut new = take_over(CHECKPOINT);
    drop(second_gate);
    assert_failed!(answer(&late), TakenOver);
    assert_eq!((answer(&first), answer(&third)), (stored(b"other"), stored(b"other")));

    assert_eq!(inbox.names(), ["first", "second", "third"]);
    new.append(&big()[CHECKPOINT..]).unwrap();
    assert_eq!(new.finish(digest(big())), stored(big()));
    assert!(inbox.read("large") == big());
}

#[test]
fn hostile_23_a_ticket_that_was_taken_over_opens_nothing() {
    for is_from_the_beginning in [false, true] {
        let inbox = Inbox::new();
        let (one, two) = (Client::new(), Client::new());
        inbox.put_cut(&one, file("large", big()), first_part());
        let old = inbox.offer(&one, file("large", big())).wanted();
        let mut busy = inbox.offer(&two, file("large", big())).busy();
        busy.backdate(TAKE_OVER);
        let mut new = inbox.open_body(inbox.offer_again(&two, busy).wanted());
        new.append(&big()[CHECKPOINT..CHECKPOINT + 1_000]).unwrap();

        if is_from_the_beginning {
            // That is a body of its own, which takes nothing from the other.
            drop(inbox.open_body_at(old, 0).unwrap());
        } else {
            assert_failed!(inbox.open_body_at(old, CHECKPOINT as u64).map(drop).unwrap_err(), TakenOver);
        }
        assert_eq!(inbox.staged(), [CHECKPOINT as u64 + 1_000]);
        new.append(&big()[CHECKPOINT + 1_000..]).unwrap();
        assert_eq!(new.finish(digest(big())), stored(big()));
    }
}

#[test]
fn stale_bodies_are_swept_and_owned_ones_stay() {
    let inbox = Inbox::new();
    let client = Client::new();
    inbox.put_cut(&client, file("stale", big()), first_part());
    let mut owned = inbox.open_body(inbox.offer(&client, file("owned", big())).wanted());
    owned.append(first_part()).unwrap();
    let small = inbox.open_body(inbox.offer(&client, file("small", b"x")).wanted());

    assert_eq!(inbox.uploads.sweep(Duration::from_secs(3600)).unwrap(), 0);
    let large = || inbox.staged().into_iter().filter(|&length| length > 1).count();
    assert_eq!(large(), 2);
    assert_eq!(inbox.uploads.sweep(Duration::ZERO).unwrap(), 1);
    assert_eq!(large(), 1);
    assert_resumes_at(&inbox.offer(&client, file("stale", big())).wanted(), 0);

    owned.append(&big()[first_part().len()..]).unwrap();
    assert_eq!(owned.finish(digest(big())), stored(big()));
    drop(small);
    assert_eq!((inbox.staged(), inbox.checkpoints()), (vec![], vec![]));
}

#[test]
fn promise_3_a_start_keeps_bodies_with_checkpoints_and_removes_the_others() {
    let inbox = Inbox::new();
    let client = Client::new();
    inbox.put_cut(&client, file("kept", big()), first_part());
    inbox.put_cut(&client, file("lost", big()), first_part());
    let lost = inbox.checkpoints().into_iter().find(|it| it.key.path == key("lost")).unwrap();
    let stray = StageId(7).to_string();
    let inbox = inbox.restart_after(|root| {
        let staging = root.join(".ferry/staging");
        fs::write(staging.join(stray), "stray").unwrap();
        fs::write(staging.join("no body"), "not ours").unwrap();
        fs::remove_file(staging.join(lost.id.to_string())).unwrap();
    });
    let mut staged = inbox.staged();
    staged.sort();
    assert_eq!(staged, [8, CHECKPOINT as u64]);
    let checkpoints = inbox.checkpoints();
    assert_eq!(checkpoints.len(), 1, "a checkpoint of nothing is forgotten");
    assert_eq!((checkpoints[0].key.path.clone(), checkpoints[0].offset), (key("kept"), CHECKPOINT as u64));
}
