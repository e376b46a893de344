//! What a peer may not say: every [`Violation`] of the two state machines, and beside them the crossings that look
//! alike but are allowed.

use ferry_proto::*;

#[test]
fn every_violation_in_the_sources_is_tested_here() {
    let tests = include_str!("violations.rs");
    for source in [include_str!("../src/receiver.rs"), include_str!("../src/sender.rs")] {
        let texts: Vec<&str> =
            source.split("Violation(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(texts.len() > 10, "the sources are not what this test takes them for");
        for text in texts {
            assert!(tests.contains(&format!("\"{text}\"")), "no test for {text:?}");
        }
    }
}

mod receiver {
    use super::*;

    #[test]
    fn hostile_09_a_digest_of_another_algorithm() {
        const TEXT: &str = "a digest of another algorithm than the request's";
        let other = Digest::new(Algorithm::Blake3, [1; 32]);
        refused(awake().handle(offer(0, Header { digest: Some(other), ..small() }), 10), TEXT);
        let mut receiver = awake();
        receiver.handle(offer(0, Header { digest: None, ..small() }), 10).unwrap();
        receiver.verdict(Seq(0), Answer::Send { offset: 0, prefix: None }).unwrap();
        receiver.handle(body(0, 0), 2).unwrap();
        refused(receiver.handle(End { digest: other }.into(), 33), TEXT);
    }

    #[test]
    fn hostile_09_sequence_numbers_that_repeat_skip_or_overflow() {
        for wrong in [0, 2, u64::MAX] {
            let mut receiver = awake();
            receiver.handle(offer(0, small()), 10).unwrap();
            refused(receiver.handle(offer(wrong, small()), 10), "an offer out of sequence");
        }
        refused(awake().handle(offer(1, small()), 10), "an offer out of sequence");
    }

    #[test]
    fn hostile_10_a_million_offers() {
        let mut receiver = awake();
        for seq in 0..limits::OFFERS as u64 {
            receiver.handle(offer(seq, small()), 10).unwrap();
        }
        assert_eq!(receiver.outstanding(), limits::OFFERS);
        let one_more = offer(limits::OFFERS as u64, small());
        refused(receiver.handle(one_more.clone(), 10), "more offers than the window holds");
        receiver.verdict(Seq(17), Answer::NeedDigest).unwrap();
        receiver.handle(one_more, 10).unwrap();
    }

    #[test]
    fn hostile_10_offers_that_fill_the_memory() {
        let mut receiver = awake();
        let fit = (limits::OFFER_BYTES / limits::CONTROL) as u64;
        for seq in 0..fit {
            receiver.handle(offer(seq, small()), limits::CONTROL).unwrap();
        }
        refused(receiver.handle(offer(fit, small()), 1), "more bytes of offers than the window holds");
        receiver.failed(Seq(3), Code::StorageFull, String::new()).unwrap();
        receiver.handle(offer(fit, small()), limits::CONTROL).unwrap();
    }

    #[test]
    fn a_chunk_or_an_end_where_no_body_is_open() {
        refused(awake().chunk(1), "a chunk outside a body");
        refused(awake().handle(end(), 33), "an end outside a body");
        let mut receiver = asked(0);
        refused(receiver.chunk(1), "a chunk outside a body");
        refused(receiver.handle(end(), 33), "an end outside a body");
        let mut receiver = ended();
        refused(receiver.chunk(1), "a chunk outside a body");
        refused(receiver.handle(end(), 33), "an end outside a body");
    }

    #[test]
    fn hostile_09_holes_out_of_place() {
        let hole = |length| Message::from(Hole::new(length).expect("a good length"));
        let shared = |receiver: Receiver| receiver.sharing(Features::OURS);
        for other in [awake(), asked(0), ended()] {
            refused(shared(other).handle(hole(1), 1), "a chunk outside a body");
        }
        let mut receiver = shared(asked(limits::FILE));
        receiver.handle(body(0, limits::FILE), 10).unwrap();
        refused(receiver.handle(hole(1), 1), "a body longer than any file");
        // A side that has not named them gets none.
        let mut receiver = asked(0);
        receiver.handle(body(0, 0), 2).unwrap();
        refused(receiver.handle(hole(1), 1), "a message that a sender does not send");
    }

    #[test]
    fn holes_count_as_chunks_do() {
        let hole = |length| Message::from(Hole::new(length).expect("a good length"));
        let mut receiver = asked(0).sharing(Features::OURS);
        receiver.handle(body(0, 0), 2).unwrap();
        let taken = |offset, length| Ok(Arrival::Hole(Piece::Take { seq: Seq(0), offset }, length));
        assert_eq!(receiver.handle(hole(60), 1), taken(0, 60));
        assert_eq!(receiver.handle(hole(1), 1), taken(60, 1));
        assert_eq!(receiver.chunk(9), Ok(Piece::Take { seq: Seq(0), offset: 61 }));
        assert!(receiver.failed(Seq(0), Code::StorageFull, String::new()).is_some());
        assert_eq!(receiver.handle(hole(30), 1), Ok(Arrival::Hole(Piece::Discard, 30)));
        assert_eq!(receiver.handle(end(), 33), Ok(Arrival::Nothing));
        assert_eq!(receiver.handle(done(1, 100), 2), Ok(Arrival::Done(Done { entries: 0, bytes: 100 })));
    }

    #[test]
    fn hostile_09_offsets_that_overflow() {
        let mut receiver = asked(limits::FILE);
        receiver.handle(body(0, limits::FILE), 10).unwrap();
        refused(receiver.chunk(1), "a body longer than any file");
        let mut receiver = asked(u64::MAX);
        receiver.handle(body(0, u64::MAX), 10).unwrap();
        refused(receiver.chunk(1), "a body longer than any file");
    }

    #[test]
    fn a_body_that_was_not_asked_for() {
        let text = "a body that was not asked for";
        refused(awake().handle(body(0, 0), 2), text);

        let mut undecided = offered(file(100));
        refused(undecided.handle(body(0, 0), 2), text);

        refused(ended().handle(body(0, 0), 2), text);

        let mut receipted = ended();
        receipted.receipt(Seq(0), Some(digest(1)), None).unwrap();
        refused(receipted.handle(body(0, 0), 2), text);

        let mut folder = offered(Header::new(name(), Kind::Folder));
        refused(folder.handle(body(0, 0), 2), text);

        let mut refused_file = offered(file(100));
        refused_file.verdict(Seq(0), Answer::Refused { code: Code::Exists, detail: String::new() }).unwrap();
        refused(refused_file.handle(body(0, 0), 2), text);

        let mut dry = dreaming();
        dry.handle(offer(0, file(100)), 10).unwrap();
        dry.verdict(Seq(0), Answer::Wanted { is_new: true }).unwrap();
        refused(dry.handle(body(0, 0), 2), text);
    }

    #[test]
    fn hostile_09_a_body_at_another_offset() {
        for wrong in [1, 63, 65, 100, u64::MAX] {
            refused(asked(64).handle(body(0, wrong), 2), "a body at an offset that was not asked for");
        }
        for right in [0, 64] {
            assert_eq!(asked(64).handle(body(0, right), 2), Ok(Arrival::Body { seq: Seq(0), offset: right }));
        }
    }

    #[test]
    fn a_body_inside_a_body() {
        let mut receiver = asked(0);
        receiver.handle(body(0, 0), 2).unwrap();
        refused(receiver.handle(body(0, 0), 2), "a body inside a body");
    }

    #[test]
    fn aborts_of_what_is_not_under_way() {
        refused(awake().handle(abort(0), 2), "an abort of nothing");
        refused(awake().handle(abort(u64::MAX), 2), "an abort of nothing");
        refused(offered(file(100)).handle(abort(0), 2), "an abort of what was not asked for");
        refused(ended().handle(abort(0), 2), "an abort of what was not asked for");
        let mut twice = asked(0);
        twice.handle(abort(0), 2).unwrap();
        refused(twice.handle(abort(0), 2), "an abort of nothing");
    }

    #[test]
    fn hostile_09_done_with_other_counts_or_too_early() {
        let text = "Done with other counts than what arrived";
        refused(awake().handle(done(1, 0), 2), text);
        refused(awake().handle(done(0, 1), 2), text);
        refused(awake().handle(done(u64::MAX, u64::MAX), 2), text);
        let settled = || {
            let mut receiver = ended();
            receiver.receipt(Seq(0), Some(digest(1)), None).unwrap();
            receiver
        };
        refused(settled().handle(done(1, 99), 2), text);
        refused(settled().handle(done(0, 100), 2), text);
        assert_eq!(settled().handle(done(1, 100), 2), Ok(Arrival::Done(Done { entries: 1, bytes: 100 })));

        let early = "Done before every offer had its answer";
        refused(offered(file(100)).handle(done(1, 0), 2), early);
        refused(ended().handle(done(1, 100), 2), early);
    }

    #[test]
    fn anything_after_done() {
        let mut receiver = awake();
        assert_eq!(receiver.handle(done(0, 0), 2), Ok(Arrival::Done(Done { entries: 0, bytes: 0 })));
        refused(receiver.handle(offer(0, small()), 10), "a message after Done");
        refused(receiver.handle(done(0, 0), 2), "a message after Done");
        refused(receiver.chunk(1), "a chunk outside a body");
    }

    #[test]
    fn messages_that_a_sender_does_not_send() {
        for message in [verdict(0, Answer::NeedDigest), receipt(0, None), failed(0)] {
            refused(awake().handle(message, 10), "a message that a sender does not send");
        }
    }

    #[test]
    fn what_is_missing_is_told_only_to_whoever_has_asked() {
        let missing = Missing { path: Some(name()), code: Code::SourceVanished, detail: String::new() };
        let tell = |mut receiver: Receiver| receiver.handle(missing.clone().into(), 10);
        refused(tell(awake()), "a message that a sender does not send");
        for dry_run in [false, true] {
            let receiver = Receiver::asking(dry_run, Algorithm::Sha256);
            assert_eq!(tell(receiver), Ok(Arrival::Missing(missing.clone())));
        }
        let mut over = Receiver::asking(false, Algorithm::Sha256);
        assert_eq!(over.handle(done(0, 0), 2), Ok(Arrival::Done(Done { entries: 0, bytes: 0 })));
        refused(tell(over), "a message after Done");
    }

    #[test]
    fn what_still_comes_of_a_failed_body_is_discarded_and_counted() {
        let mut receiver = asked(0);
        receiver.handle(body(0, 0), 2).unwrap();
        assert_eq!(receiver.chunk(60), Ok(Piece::Take { seq: Seq(0), offset: 0 }));
        assert!(receiver.failed(Seq(0), Code::StorageFull, String::new()).is_some());
        assert_eq!(receiver.failed(Seq(0), Code::StorageFull, String::new()), None, "said twice");
        assert_eq!(receiver.chunk(40), Ok(Piece::Discard));
        assert_eq!(receiver.handle(end(), 33), Ok(Arrival::Nothing));
        assert_eq!(receiver.handle(done(1, 100), 2), Ok(Arrival::Done(Done { entries: 0, bytes: 100 })));
    }

    #[test]
    fn a_body_that_had_failed_before_it_began_may_come_or_be_aborted() {
        let failed = || {
            let mut receiver = asked(0);
            receiver.failed(Seq(0), Code::TakenOver, String::new()).unwrap();
            receiver
        };
        let mut came = failed();
        assert_eq!(came.handle(body(0, 0), 2), Ok(Arrival::Nothing));
        assert_eq!(came.chunk(100), Ok(Piece::Discard));
        assert_eq!(came.handle(abort(0), 2), Ok(Arrival::Nothing));
        refused(came.chunk(1), "a chunk outside a body");
        let mut aborted = failed();
        assert_eq!(aborted.handle(abort(0), 2), Ok(Arrival::Nothing));
        assert_eq!(aborted.outstanding(), 0);
    }

    /// The sender cannot know which of its bodies the receiver will fail, so this may come at any time.
    #[test]
    fn a_body_that_has_not_begun_may_be_aborted_while_another_is_open() {
        let mut receiver = asked(0);
        receiver.handle(offer(1, file(100)), 10).unwrap();
        receiver.verdict(Seq(1), Answer::Send { offset: 0, prefix: None }).unwrap();
        receiver.handle(body(0, 0), 2).unwrap();
        receiver.failed(Seq(1), Code::TakenOver, String::new()).unwrap();
        assert_eq!(receiver.handle(abort(1), 2), Ok(Arrival::Nothing));
        assert_eq!(receiver.chunk(100), Ok(Piece::Take { seq: Seq(0), offset: 0 }), "the open body goes on");
        assert_eq!(receiver.handle(end(), 33), Ok(Arrival::End { seq: Seq(0), digest: digest(1) }));
    }

    #[test]
    fn an_answer_to_what_was_aborted_is_not_sent() {
        let mut receiver = asked(0);
        receiver.handle(body(0, 0), 2).unwrap();
        let aborted = Arrival::Abort { seq: Seq(0), code: Code::SourceVanished };
        assert_eq!(receiver.handle(abort(0), 2), Ok(aborted));
        assert_eq!(receiver.failed(Seq(0), Code::StorageFull, String::new()), None);
        assert_eq!(receiver.receipt(Seq(0), Some(digest(1)), None), None);
        assert_eq!(receiver.verdict(Seq(0), Answer::NeedDigest), None);
    }

    fn offered(header: Header) -> Receiver {
        let mut receiver = awake();
        receiver.handle(offer(0, header), 10).expect("an allowed step");
        receiver
    }

    fn asked(offset: u64) -> Receiver {
        let mut receiver = offered(file(100));
        let prefix = (offset != 0).then(|| digest(2));
        receiver.verdict(Seq(0), Answer::Send { offset, prefix }).expect("an allowed step");
        receiver
    }

    fn ended() -> Receiver {
        let mut receiver = asked(0);
        receiver.handle(body(0, 0), 2).expect("an allowed step");
        receiver.chunk(100).expect("an allowed step");
        receiver.handle(end(), 33).expect("an allowed step");
        receiver
    }
}

mod sender {
    use super::*;

    #[test]
    fn hostile_09_answers_about_what_was_never_offered() {
        for seq in [0, 1, u64::MAX] {
            let mut sender = Sender::new(false, LIMITS);
            refused(sender.handle(verdict(seq, Answer::NeedDigest)), "a verdict on nothing");
            refused(sender.handle(receipt(seq, None)), "a receipt for nothing");
            refused(sender.handle(failed(seq)), "a failure of nothing");
        }
    }

    #[test]
    fn a_second_verdict() {
        let send = verdict(0, Answer::Send { offset: 0, prefix: None });
        let mut asked = offered(file(100));
        asked.handle(send.clone()).unwrap();
        refused(asked.handle(send.clone()), "a second verdict");
        refused(asked.handle(verdict(0, Answer::NeedDigest)), "a second verdict");
        refused(open().handle(send.clone()), "a second verdict");
        refused(ended().handle(send.clone()), "a second verdict");
        let mut held = offered(small());
        held.handle(verdict(0, Answer::Held { digest: Some(digest(1)), path: None })).unwrap();
        refused(held.handle(send), "a verdict on nothing");
    }

    #[test]
    fn bodies_that_do_not_exist() {
        for kind in [Kind::Folder, Kind::Symlink(b"x".to_vec())] {
            let mut sender = offered(Header::new(name(), kind));
            let send = verdict(0, Answer::Send { offset: 0, prefix: None });
            refused(sender.handle(send), "asks for a body that does not exist");
        }
        let mut dry = Sender::new(true, LIMITS);
        dry.offer(file(100), &mut Vec::new());
        let send = verdict(0, Answer::Send { offset: 0, prefix: None });
        refused(dry.handle(send), "asks for a body in a dry run");
        let wanted = verdict(0, Answer::Wanted { is_new: true });
        refused(offered(file(100)).handle(wanted), "wanted, where this is no dry run");
    }

    #[test]
    fn hostile_09_offsets_without_reason() {
        let ask =
            |header, offset, prefix| offered(header).handle(verdict(0, Answer::Send { offset, prefix }));
        let some = Some(digest(2));
        refused(ask(file(100), 64, None), "an offset without a prefix digest, or the reverse");
        refused(ask(file(100), 0, some), "an offset without a prefix digest, or the reverse");
        for (header, offset) in
            [(file(100), 101), (file(100), u64::MAX), (file(0), 1), (Header::new(name(), Kind::File), 1)]
        {
            refused(ask(header, offset, some), "an offset behind the end of the file");
        }
        assert_eq!(ask(file(100), 100, some), Ok(Progress::Send { seq: Seq(0), offset: 100, prefix: some }));
    }

    /// Promises 7 and 8 hang on it: a file counts as held only when its digest was compared.
    #[test]
    fn hostile_09_held_with_another_digest() {
        let text = "held, with another digest than offered";
        let held = |header, digest| offered(header).handle(verdict(0, Answer::Held { digest, path: None }));
        refused(held(small(), Some(digest(2))), text);
        refused(held(small(), None), text);
        refused(held(file(100), Some(digest(1))), text);
        refused(held(file(100), None), text);
        refused(held(Header::new(name(), Kind::Folder), Some(digest(1))), text);
        assert_eq!(held(small(), Some(digest(1))), Ok(Progress::Held { seq: Seq(0), path: None }));
        assert_eq!(
            held(Header::new(name(), Kind::Folder), None),
            Ok(Progress::Held { seq: Seq(0), path: None })
        );
    }

    #[test]
    fn a_digest_asked_for_twice_or_of_a_folder() {
        for header in [small(), Header::new(name(), Kind::Folder)] {
            let mut sender = offered(header);
            refused(sender.handle(verdict(0, Answer::NeedDigest)), "asks for a digest that it has");
        }
    }

    #[test]
    fn a_receipt_that_is_not_due() {
        let text = "a receipt that is not due";
        let early = receipt(0, Some(digest(1)));
        refused(offered(small()).handle(early.clone()), text);
        refused(open().handle(early.clone()), text);
        let mut asked = offered(small());
        asked.handle(verdict(0, Answer::Send { offset: 0, prefix: None })).unwrap();
        refused(asked.handle(early), text);

        let mut dry = Sender::new(true, LIMITS);
        dry.offer(Header::new(name(), Kind::Folder), &mut Vec::new());
        refused(dry.handle(receipt(0, None)), text);

        let mut twice = ended();
        twice.handle(receipt(0, Some(digest(1)))).unwrap();
        refused(twice.handle(receipt(0, Some(digest(1)))), "a receipt for nothing");
    }

    /// Promise 8: a receipt counts only for the bytes that were sent.
    #[test]
    fn a_receipt_with_another_digest_is_a_failure() {
        for other in [Some(digest(2)), None] {
            let progress = ended().handle(receipt(0, other)).unwrap();
            let Progress::Failed { seq: Seq(0), code: Code::DigestMismatch, abort: None, .. } = progress
            else {
                panic!("taken for a success: {progress:?}");
            };
        }
        let mut folder = offered(Header::new(name(), Kind::Folder));
        let progress = folder.handle(receipt(0, Some(digest(2))));
        assert!(matches!(progress, Ok(Progress::Failed { code: Code::DigestMismatch, .. })), "{progress:?}");
    }

    #[test]
    fn hostile_09_done_with_other_counts_or_too_early() {
        refused(ended().handle(done(0, 0)), "Done before the sender's");
        let settled = || {
            let mut sender = ended();
            sender.handle(receipt(0, Some(digest(1)))).unwrap();
            assert_eq!(sender.done(), done(1, 100));
            sender
        };
        let text = "Done with other counts than what was answered";
        refused(settled().handle(done(0, 100)), text);
        refused(settled().handle(done(1, 99)), text);
        refused(settled().handle(done(u64::MAX, u64::MAX)), text);
        assert_eq!(settled().handle(done(1, 100)), Ok(Progress::Done));
    }

    #[test]
    fn messages_that_a_receiver_does_not_send() {
        for message in [offer(0, small()), body(0, 0), end(), abort(0), Ping { token: 1 }.into()] {
            refused(offered(small()).handle(message), "a message that a receiver does not send");
        }
    }

    #[test]
    fn a_failed_body_is_stopped_at_once() {
        let mut sender = open();
        assert!(sender.chunk(Seq(0), 10));
        let progress = sender.handle(failed(0)).unwrap();
        let Progress::Failed { abort: Some(stop), .. } = progress else {
            panic!("not stopped: {progress:?}")
        };
        assert_eq!(stop, Abort { seq: Seq(0), code: Code::Cancelled }.into());
        assert!(!sender.chunk(Seq(0), 10), "nothing more of it is sent");
        assert_eq!(sender.end(Seq(0), digest(1)), None);
        assert_eq!(sender.abort(Seq(0), Code::SourceVanished), None);
        assert!(sender.is_settled());
        assert_eq!(sender.done(), done(1, 10));
    }

    #[test]
    fn a_failure_after_the_end_or_in_place_of_a_verdict_stops_nothing() {
        for mut sender in [ended(), offered(file(100))] {
            let progress = sender.handle(failed(0)).unwrap();
            assert!(matches!(progress, Progress::Failed { abort: None, .. }), "{progress:?}");
        }
    }

    #[test]
    fn a_failure_that_crosses_an_abort_is_passed_over() {
        let mut sender = open();
        assert!(sender.abort(Seq(0), Code::SourceVanished).is_some());
        assert_eq!(sender.handle(failed(0)), Ok(Progress::Nothing));
        assert!(sender.is_settled());
    }

    #[test]
    fn hostile_10_the_window_is_never_larger_than_the_protocols() {
        for (allowed, room) in [(0, 1), (1, 1), (5, 5), (u32::MAX, limits::OFFERS)] {
            let mut sender = Sender::new(false, Limits { offers: allowed, ..LIMITS });
            let mut offers = 0;
            while sender.has_room() {
                sender.offer(small(), &mut Vec::new());
                offers += 1;
            }
            assert_eq!(offers, room);
        }
    }

    #[test]
    fn the_window_keeps_to_the_bytes_that_a_receiver_remembers() {
        let mut sender = Sender::new(false, LIMITS);
        let mut receiver = awake();
        let extensions = vec![Extension { tag: 99, value: vec![0; limits::EXTENSION_BYTES - 8] }];
        while sender.has_room() {
            let mut frame = Vec::new();
            let header = Header { extensions: extensions.clone(), ..small() };
            let seq = sender.offer(header.clone(), &mut frame);
            receiver.handle(Offer { seq, header }.into(), frame.len() - FrameHeader::LEN).unwrap();
        }
        assert!(receiver.outstanding() > 20, "the window is used");
    }

    fn offered(header: Header) -> Sender {
        let mut sender = Sender::new(false, LIMITS);
        sender.offer(header, &mut Vec::new());
        sender
    }

    fn open() -> Sender {
        let mut sender = offered(small());
        sender.handle(verdict(0, Answer::Send { offset: 0, prefix: None })).expect("an allowed step");
        sender.body(Seq(0), 0).expect("an allowed step");
        sender
    }

    fn ended() -> Sender {
        let mut sender = open();
        assert!(sender.chunk(Seq(0), 100));
        sender.end(Seq(0), digest(1)).expect("an allowed step");
        sender
    }
}

fn awake() -> Receiver {
    Receiver::new(&put(false), limits::OFFERS)
}

fn dreaming() -> Receiver {
    Receiver::new(&put(true), limits::OFFERS)
}

fn put(dry_run: bool) -> Put {
    Put { on_conflict: Conflict::Replace, dry_run, digest: Algorithm::Sha256 }
}

const LIMITS: Limits = Limits {
    offers: limits::OFFERS as u32,
    chunk: limits::CHUNK as u32,
    checkpoint: limits::CHECKPOINT,
    file: limits::FILE,
};

#[track_caller]
fn refused<T: std::fmt::Debug + PartialEq>(result: Result<T, Violation>, text: &'static str) {
    assert_eq!(result, Err(Violation(text)));
}

fn name() -> RelPath {
    RelPath::new("folder/name").expect("a good name")
}

/// A file without a digest.
fn file(size: u64) -> Header {
    Header { size: Some(size), ..Header::new(name(), Kind::File) }
}

/// A file of 100 bytes with a digest.
fn small() -> Header {
    Header { digest: Some(digest(1)), ..file(100) }
}

fn digest(byte: u8) -> Digest {
    Digest::new(Algorithm::Sha256, [byte; 32])
}

fn offer(seq: u64, header: Header) -> Message {
    Offer { seq: Seq(seq), header }.into()
}

fn verdict(seq: u64, answer: Answer) -> Message {
    Verdict { seq: Seq(seq), answer }.into()
}

fn body(seq: u64, offset: u64) -> Message {
    Body { seq: Seq(seq), offset }.into()
}

fn end() -> Message {
    End { digest: digest(1) }.into()
}

fn abort(seq: u64) -> Message {
    Abort { seq: Seq(seq), code: Code::SourceVanished }.into()
}

fn receipt(seq: u64, digest: Option<Digest>) -> Message {
    Receipt { seq: Seq(seq), digest, path: None }.into()
}

fn failed(seq: u64) -> Message {
    Failed { seq: Seq(seq), code: Code::StorageFull, detail: String::new() }.into()
}

fn done(entries: u64, bytes: u64) -> Message {
    Done { entries, bytes }.into()
}
