//! The sending role of one request, as a state machine.
//!
//! The owner of the sources asks for messages ([`Sender::offer`], [`Sender::body`], [`Sender::end`],
//! [`Sender::abort`], [`Sender::done`]) and sends them in the order in which it got them; what the receiver says
//! goes through [`Sender::handle`] and comes out as [`Progress`]. A receipt whose digest is not that of the bytes
//! that were sent comes out as a failure.

use std::collections::BTreeMap;

use crate::{
    Abort, Answer, Body, Code, Digest, Done, End, Failed, Header, Hole, Limits, Message, Offer, Receipt,
    RelPath, Seq, Spent, Verdict, Violation, limits,
};

/// See the module.
#[derive(Debug)]
pub struct Sender {
    dry_run: bool,
    window: usize,
    next: u64,
    offers: BTreeMap<Seq, Entry>,
    offer_bytes: usize,
    open: Option<Seq>,
    bytes: u64,
    held_or_received: u64,
    done: bool,
}

#[derive(Debug)]
struct Entry {
    cost: usize,
    size: Option<u64>,
    digest: Option<Digest>,
    is_file: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits for its first answer.
    Offered,
    /// The receiver asked for the body from this offset.
    Asked(u64),
    /// The body is on its way.
    Open,
    /// Everything was sent; the final answer is due.
    Ended,
}

/// What a message means for the owner of the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Send the body: from `offset` if the digest of the bytes before it is `prefix`, else from 0; or abort.
    Send {
        /// Which offer.
        seq: Seq,
        /// From where.
        offset: u64,
        /// What the bytes before must be.
        prefix: Option<Digest>,
    },
    /// In a dry run: the receiver would take it. Final.
    Wanted {
        /// Which offer.
        seq: Seq,
        /// Nothing has its name so far.
        is_new: bool,
    },
    /// The receiver has it already. Final.
    Held {
        /// Which offer.
        seq: Seq,
        /// Under which name, if another than offered.
        path: Option<RelPath>,
    },
    /// To be offered again, with its digest. Final for this offer.
    NeedDigest {
        /// Which offer.
        seq: Seq,
    },
    /// It has arrived for good. Final.
    Receipt {
        /// Which offer.
        seq: Seq,
        /// The digest of what arrived: that of what was sent.
        digest: Option<Digest>,
        /// Under which name, if another than offered.
        path: Option<RelPath>,
    },
    /// It was refused, or has failed. Final. If there is a message, it stops a body that is not complete, and is
    /// to be sent at once; nothing more of that body follows it.
    Failed {
        /// Which offer.
        seq: Seq,
        /// Why.
        code: Code,
        /// A sentence about it.
        detail: String,
        /// What to send.
        abort: Option<Message>,
    },
    /// An answer to what was aborted here meanwhile.
    Nothing,
    /// What the receiver's time went into so far.
    Spent(Spent),
    /// The receiver has finished too.
    Done,
}

impl Sender {
    /// For one request to a receiver with these limits.
    pub fn new(dry_run: bool, receiver: Limits) -> Self {
        Sender {
            dry_run,
            window: limits::OFFERS.min(receiver.offers.max(1) as usize),
            next: 0,
            offers: BTreeMap::new(),
            offer_bytes: 0,
            open: None,
            bytes: 0,
            held_or_received: 0,
            done: false,
        }
    }

    /// Whether another offer fits the window.
    pub fn has_room(&self) -> bool {
        self.offers.len() < self.window && self.offer_bytes + limits::CONTROL <= limits::OFFER_BYTES
    }

    /// Whether every offer has its final answer.
    pub fn is_settled(&self) -> bool {
        self.offers.is_empty()
    }

    /// Offers an entry and appends the frame to `out`; only while [`Sender::has_room`].
    pub fn offer(&mut self, header: Header, out: &mut Vec<u8>) -> Seq {
        debug_assert!(self.has_room() && !self.done);
        let seq = Seq(self.next);
        self.next += 1;
        let (size, digest, is_file) = (header.size, header.digest, header.has_body());
        let start = out.len();
        Message::from(Offer { seq, header }).encode(out);
        let cost = out.len() - start;
        self.offer_bytes += cost;
        self.offers.insert(seq, Entry { cost, size, digest, is_file, state: State::Offered });
        seq
    }

    /// Whether a body is under way.
    pub fn has_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether [`Sender::done`] was called.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Opens a body that was asked for, at the offset that was asked for or at 0. `None` if it has failed
    /// meanwhile: then nothing of it is sent.
    pub fn body(&mut self, seq: Seq, offset: u64) -> Option<Message> {
        debug_assert!(self.open.is_none(), "one body at a time");
        let entry = self.offers.get_mut(&seq)?;
        debug_assert!(matches!(entry.state, State::Asked(asked) if offset == asked || offset == 0));
        entry.state = State::Open;
        self.open = Some(seq);
        Some(Body { seq, offset }.into())
    }

    /// Counts a chunk of the open body. False if that body has failed meanwhile: then it is not sent.
    pub fn chunk(&mut self, seq: Seq, length: usize) -> bool {
        let open = self.open == Some(seq);
        if open {
            self.bytes += length as u64;
        }
        open
    }

    /// The next piece of the open body is a hole; only where both sides know them. `None` if that body has failed meanwhile.
    pub fn hole(&mut self, seq: Seq, hole: Hole) -> Option<Message> {
        self.chunk(seq, hole.length()).then(|| hole.into())
    }

    /// Closes the open body. `None` if it has failed meanwhile.
    pub fn end(&mut self, seq: Seq, digest: Digest) -> Option<Message> {
        if self.open != Some(seq) {
            return None;
        }
        self.open = None;
        let entry = self.offers.get_mut(&seq)?;
        entry.state = State::Ended;
        entry.digest = Some(digest);
        Some(End { digest }.into())
    }

    /// Gives up a body that was asked for, begun or not; another one may be open. Final. `None` if it has failed
    /// meanwhile. Not before its verdict and not after its end: there the receiver has the last word.
    pub fn abort(&mut self, seq: Seq, code: Code) -> Option<Message> {
        let entry = self.offers.get(&seq)?;
        debug_assert!(
            matches!(entry.state, State::Asked(_) | State::Open),
            "an abort of what was not asked for"
        );
        self.forget(seq);
        Some(Abort { seq, code }.into())
    }

    /// The closing message, once, when nothing more will be offered and everything is settled.
    pub fn done(&mut self) -> Message {
        debug_assert!(self.is_settled() && !self.done);
        self.done = true;
        Done { entries: self.next, bytes: self.bytes }.into()
    }

    /// Takes a control message of the receiver's.
    pub fn handle(&mut self, message: Message) -> Result<Progress, Violation> {
        match message {
            Message::Verdict(Verdict { seq, answer }) => self.answered(seq, answer),
            Message::Receipt(receipt) => self.received(receipt),
            Message::Failed(Failed { seq, code, detail }) => self.has_failed(seq, code, detail),
            Message::Done(done) => self.receiver_done(done),
            Message::Spent(spent) => Ok(Progress::Spent(spent)),
            _ => Err(Violation("a message that a receiver does not send")),
        }
    }

    fn answered(&mut self, seq: Seq, answer: Answer) -> Result<Progress, Violation> {
        let entry = self.offers.get_mut(&seq).ok_or(Violation("a verdict on nothing"))?;
        if entry.state != State::Offered {
            return Err(Violation("a second verdict"));
        }
        match answer {
            Answer::Wanted { is_new } if self.dry_run => {
                self.forget(seq);
                Ok(Progress::Wanted { seq, is_new })
            }
            Answer::Wanted { .. } => Err(Violation("wanted, where this is no dry run")),
            Answer::Send { .. } if self.dry_run => Err(Violation("asks for a body in a dry run")),
            Answer::Send { .. } if !entry.is_file => Err(Violation("asks for a body that does not exist")),
            Answer::Send { offset, prefix } => {
                if (offset == 0) != prefix.is_none() {
                    return Err(Violation("an offset without a prefix digest, or the reverse"));
                }
                if offset > entry.size.unwrap_or(0) {
                    return Err(Violation("an offset behind the end of the file"));
                }
                entry.state = State::Asked(offset);
                Ok(Progress::Send { seq, offset, prefix })
            }
            Answer::Held { digest, path } => {
                if digest != entry.digest || digest.is_some() != entry.is_file {
                    return Err(Violation("held, with another digest than offered"));
                }
                self.held_or_received += 1;
                self.forget(seq);
                Ok(Progress::Held { seq, path })
            }
            Answer::NeedDigest => {
                if entry.digest.is_some() || entry.size.is_none() {
                    return Err(Violation("asks for a digest that it has"));
                }
                self.forget(seq);
                Ok(Progress::NeedDigest { seq })
            }
            Answer::Refused { code, detail } => {
                self.forget(seq);
                Ok(Progress::Failed { seq, code, detail, abort: None })
            }
        }
    }

    fn received(&mut self, Receipt { seq, digest, path }: Receipt) -> Result<Progress, Violation> {
        let entry = self.offers.get(&seq).ok_or(Violation("a receipt for nothing"))?;
        let due = if entry.is_file { State::Ended } else { State::Offered };
        if entry.state != due || self.dry_run {
            return Err(Violation("a receipt that is not due"));
        }
        let sent = entry.digest;
        self.held_or_received += 1;
        self.forget(seq);
        if digest != sent {
            let detail = "the receipt has another digest than the bytes that were sent".to_owned();
            return Ok(Progress::Failed { seq, code: Code::DigestMismatch, detail, abort: None });
        }
        Ok(Progress::Receipt { seq, digest, path })
    }

    fn has_failed(&mut self, seq: Seq, code: Code, detail: String) -> Result<Progress, Violation> {
        let Some(entry) = self.offers.get(&seq) else {
            // It crossed an abort of ours.
            return if seq.0 < self.next {
                Ok(Progress::Nothing)
            } else {
                Err(Violation("a failure of nothing"))
            };
        };
        let abort = match entry.state {
            State::Asked(_) | State::Open => Some(Abort { seq, code: Code::Cancelled }.into()),
            State::Offered | State::Ended => None,
        };
        self.forget(seq);
        Ok(Progress::Failed { seq, code, detail, abort })
    }

    fn receiver_done(&mut self, done: Done) -> Result<Progress, Violation> {
        if !self.done {
            return Err(Violation("Done before the sender's"));
        }
        if done.entries != self.held_or_received || done.bytes != self.bytes {
            return Err(Violation("Done with other counts than what was answered"));
        }
        Ok(Progress::Done)
    }

    fn forget(&mut self, seq: Seq) {
        if let Some(entry) = self.offers.remove(&seq) {
            self.offer_bytes -= entry.cost;
        }
        if self.open == Some(seq) {
            self.open = None;
        }
    }
}
