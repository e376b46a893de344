//! What was really said on one connection, whatever a script meant to say: what the receiver owes, and whether its
//! answers are due.

use std::collections::BTreeMap;

use ferry_proto::{Answer, Decoder, Digest, Frame, Kind, Message, RelPath, Seq};

/// Reads what goes out as the receiver reads it, and keeps what has to be known about it.
#[derive(Default)]
pub(super) struct Said {
    decoder: Decoder,
    /// Bytes came that are no frame, so the receiver reads no further.
    is_lost: bool,
    pub(super) offers: BTreeMap<Seq, Offered>,
    open: Option<Seq>,
    /// Bytes of bodies.
    pub(super) bytes: u64,
    /// The sender has said that it has finished.
    is_done: bool,
    /// The digests in ends.
    pub(super) ended: Vec<Digest>,
}

/// An offer and what came of it.
pub(super) struct Offered {
    pub(super) path: RelPath,
    pub(super) is_file: bool,
    pub(super) digest: Option<Digest>,
    /// From where the receiver wants its body, and the digest of what is before.
    pub(super) asked: Option<(u64, Option<Digest>)>,
    /// Where its body began.
    began: u64,
    /// What its end has named.
    ended: Option<Digest>,
    is_aborted: bool,
    is_answered: bool,
}

impl Offered {
    /// Whether the receiver has to say something now.
    pub(super) fn is_due(&self) -> bool {
        !self.is_answered && !self.is_aborted && (self.asked.is_none() || self.ended.is_some())
    }
}

/// What an answer says about the disk.
pub(super) enum Told {
    /// The entry has this name for good; a file has this digest, and may have begun at a checkpoint.
    Stored { path: RelPath, digest: Option<Digest>, went_on: bool },
    /// It had it already.
    Held,
    /// Its body is wanted.
    Wanted,
    /// It is not there, or needs its digest first.
    Refused,
    /// Nothing any more.
    Nothing,
}

impl Said {
    /// Takes bytes that are sent.
    pub(super) fn say(&mut self, mut bytes: &[u8]) {
        // Behind either, the receiver takes no more.
        while !self.is_final() {
            match self.decoder.next(&mut bytes) {
                Ok(Some(Frame::Chunk(chunk))) => self.bytes += chunk.len() as u64,
                Ok(Some(Frame::Control(message))) => self.note(message),
                Ok(None) => break,
                Err(_) => self.is_lost = true,
            }
        }
    }

    fn note(&mut self, message: Message) {
        match message {
            Message::Offer(offer) if offer.seq.0 == self.offers.len() as u64 => {
                let is_file = offer.header.kind == Kind::File;
                let offered = Offered {
                    path: offer.header.path,
                    is_file,
                    digest: offer.header.digest,
                    asked: None,
                    began: 0,
                    ended: None,
                    is_aborted: false,
                    is_answered: false,
                };
                self.offers.insert(offer.seq, offered);
            }
            Message::Body(body) => {
                self.open = Some(body.seq);
                if let Some(offered) = self.offers.get_mut(&body.seq) {
                    offered.began = body.offset;
                }
            }
            Message::End(end) => {
                self.ended.push(end.digest);
                let offered = self.open.take().and_then(|seq| self.offers.get_mut(&seq));
                // What has no body may have its receipt on its way when one is sent for it.
                if let Some(offered) = offered.filter(|offered| offered.is_file) {
                    offered.ended = Some(end.digest);
                }
            }
            Message::Hole(hole) => self.bytes += hole.length() as u64,
            Message::Abort(abort) => {
                self.open.take_if(|open| *open == abort.seq);
                if let Some(offered) = self.offers.get_mut(&abort.seq) {
                    offered.is_aborted = true;
                }
            }
            Message::Done(_) => self.is_done = true,
            _ => {}
        }
    }

    /// Whether the receiver ends the connection, one way or the other.
    pub(super) fn is_final(&self) -> bool {
        self.is_done || self.is_lost
    }

    /// Takes an answer, which must be one that is due.
    pub(super) fn answer(&mut self, message: Message, dry_run: bool) -> Told {
        let seq = match &message {
            Message::Verdict(verdict) => verdict.seq,
            Message::Receipt(receipt) => receipt.seq,
            Message::Failed(failed) => failed.seq,
            other => panic!("a receiver does not say {other:?}"),
        };
        let offered = self.offers.get_mut(&seq).unwrap_or_else(|| panic!("{message:?} answers no offer"));
        if offered.is_aborted {
            // It crossed the abort.
            return Told::Nothing;
        }
        assert!(!offered.is_answered, "{message:?} is a second answer");
        offered.is_answered = true;
        match message {
            Message::Verdict(verdict) => {
                assert_eq!(offered.asked, None, "a second verdict");
                match verdict.answer {
                    Answer::Send { offset, prefix } => {
                        assert!(offered.is_file && !dry_run, "a body is wanted where there is none");
                        assert_eq!(offset == 0, prefix.is_none());
                        offered.asked = Some((offset, prefix));
                        offered.is_answered = false;
                        Told::Wanted
                    }
                    Answer::Wanted { .. } => {
                        assert!(dry_run, "it is wanted, and not asked for");
                        Told::Wanted
                    }
                    Answer::Held { digest, .. } => {
                        assert_eq!(digest, offered.digest, "held, with another digest than offered");
                        assert_eq!(digest.is_some(), offered.is_file);
                        Told::Held
                    }
                    Answer::NeedDigest => {
                        assert!(offered.is_file && offered.digest.is_none(), "the digest was told");
                        Told::Refused
                    }
                    Answer::Refused { .. } => Told::Refused,
                }
            }
            Message::Receipt(receipt) => {
                assert!(!dry_run, "a receipt in a dry run");
                assert_eq!(receipt.digest, offered.ended, "a receipt with another digest than the end");
                assert_eq!(receipt.digest.is_some(), offered.is_file);
                let path = receipt.path.unwrap_or_else(|| offered.path.clone());
                Told::Stored { path, digest: receipt.digest, went_on: offered.began > 0 }
            }
            _ => Told::Refused,
        }
    }
}
