//! The receiving role of one request, as a state machine.
//!
//! Messages and lengths of chunks go in, and come out as [`Arrival`]s and [`Piece`]s: what the owner of the disk
//! has to do. What it answers goes through [`Receiver::verdict`], [`Receiver::receipt`] and [`Receiver::failed`],
//! which return the message to send. Every offer that was asked for is closed by its sender (`End` or `Abort`)
//! and every offer that was not aborted gets one final answer; only then is it forgotten.

use std::collections::BTreeMap;

use crate::{
    Abort, Algorithm, Answer, Body, Code, Digest, Done, End, Failed, Features, Header, Message, Missing,
    Offer, Put, Receipt, RelPath, Seq, Verdict, Violation, limits,
};

/// See the module.
#[derive(Debug)]
pub struct Receiver {
    dry_run: bool,
    /// Its sender sends what this side asked for.
    has_asked: bool,
    shared: Features,
    algorithm: Algorithm,
    window: usize,
    next: u64,
    offers: BTreeMap<Seq, Entry>,
    offer_bytes: usize,
    open: Option<OpenBody>,
    sender_done: bool,
    answered: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    cost: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The offer of a file waits for its verdict.
    Deciding,
    /// The body was asked for, from this offset.
    Asked(u64),
    /// The body arrives.
    Open,
    /// Nothing more comes from the sender; the final answer is due.
    Settling,
    /// Failed here before its sender had closed it: what still comes is discarded.
    Failed,
}

#[derive(Debug)]
struct OpenBody {
    seq: Seq,
    offset: u64,
    discard: bool,
}

/// What a message means for the owner of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A file is offered: decide, then call [`Receiver::verdict`]. Anything else that is offered is to be made:
    /// do it, then call [`Receiver::receipt`] or [`Receiver::failed`]; [`Receiver::verdict`] with `Held` or
    /// `Refused` serves too.
    Offer(Seq, Header),
    /// A body begins: at the offset that was asked for, or from 0 because the sender's bytes are others.
    Body {
        /// Which offer.
        seq: Seq,
        /// Where it begins.
        offset: u64,
    },
    /// The next piece of the open body is a hole of this many bytes, to be taken like a chunk of zeros.
    Hole(Piece, usize),
    /// A body is complete: check, commit, then call [`Receiver::receipt`] or [`Receiver::failed`].
    End {
        /// Which offer.
        seq: Seq,
        /// The sender's digest of the whole file.
        digest: Digest,
    },
    /// The sender cannot complete this one: forget what has come of it. No answer is due. It may be offered again.
    Abort {
        /// Which offer.
        seq: Seq,
        /// Why.
        code: Code,
    },
    /// Something that was asked for will not come.
    Missing(Missing),
    /// Nothing to do: the end of a body that had failed here.
    Nothing,
    /// The sender has finished, and every offer has its answer: this is the closing one.
    Done(Done),
}

/// What to do with a chunk or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Write it.
    Take {
        /// Which offer.
        seq: Seq,
        /// Where its first byte belongs.
        offset: u64,
    },
    /// Pass over it: its body has failed here.
    Discard,
}

impl Receiver {
    /// For one request of a sender that may have this many offers without a final answer. In a dry run every offer is
    /// answered and none is asked for.
    pub fn new(put: &Put, window: usize) -> Self {
        Receiver::with(put.dry_run, put.digest, window, false)
    }

    /// For one request of this side's own, to get or, in a dry run, to list.
    pub fn asking(dry_run: bool, algorithm: Algorithm) -> Self {
        Receiver::with(dry_run, algorithm, limits::OFFERS, true)
    }

    fn with(dry_run: bool, algorithm: Algorithm, window: usize, has_asked: bool) -> Self {
        Receiver {
            dry_run,
            has_asked,
            shared: Features::default(),
            algorithm,
            window,
            next: 0,
            offers: BTreeMap::new(),
            offer_bytes: 0,
            open: None,
            sender_done: false,
            answered: 0,
            bytes: 0,
        }
    }

    /// For a session in which both sides have named these features.
    pub fn sharing(self, shared: Features) -> Self {
        Receiver { shared, ..self }
    }

    /// Takes a control message of the sender's. `cost` is the length of its payload, which counts against
    /// [`limits::OFFER_BYTES`].
    pub fn handle(&mut self, message: Message, cost: usize) -> Result<Arrival, Violation> {
        if self.sender_done {
            return Err(Violation("a message after Done"));
        }
        match message {
            Message::Offer(offer) => self.offered(offer, cost),
            Message::Body(body) => self.begun(body),
            Message::Hole(hole) if self.shared.holes => {
                Ok(Arrival::Hole(self.chunk(hole.length())?, hole.length()))
            }
            Message::End(End { digest }) => self.ended(digest),
            Message::Abort(abort) => self.aborted(abort),
            Message::Missing(missing) if self.has_asked => Ok(Arrival::Missing(missing)),
            Message::Done(done) => self.finished(done),
            _ => Err(Violation("a message that a sender does not send")),
        }
    }

    /// Takes the length of a chunk, before or after its bytes have arrived.
    pub fn chunk(&mut self, length: usize) -> Result<Piece, Violation> {
        let open = self.open.as_mut().ok_or(Violation("a chunk outside a body"))?;
        let offset = open.offset;
        open.offset = offset
            .checked_add(length as u64)
            .filter(|&end| end <= limits::FILE)
            .ok_or(Violation("a body longer than any file"))?;
        self.bytes = self.bytes.saturating_add(length as u64);
        if open.discard { Ok(Piece::Discard) } else { Ok(Piece::Take { seq: open.seq, offset }) }
    }

    /// Answers the offer of a file. `None` if its sender has aborted it meanwhile.
    pub fn verdict(&mut self, seq: Seq, answer: Answer) -> Option<Message> {
        let entry = self.offers.get_mut(&seq)?;
        match answer {
            Answer::Send { offset, .. } => entry.state = State::Asked(offset),
            Answer::Held { .. } => {
                self.answered += 1;
                self.forget(seq);
            }
            Answer::NeedDigest | Answer::Refused { .. } | Answer::Wanted { .. } => self.forget(seq),
        }
        Some(Verdict { seq, answer }.into())
    }

    /// Says that it has arrived for good. `None` if its sender has aborted it.
    pub fn receipt(&mut self, seq: Seq, digest: Option<Digest>, path: Option<RelPath>) -> Option<Message> {
        self.offers.contains_key(&seq).then(|| {
            self.answered += 1;
            self.forget(seq);
            Receipt { seq, digest, path }.into()
        })
    }

    /// Says that it has not arrived, at any time after its offer. `None` if that was said, or its sender has
    /// aborted it.
    pub fn failed(&mut self, seq: Seq, code: Code, detail: String) -> Option<Message> {
        let entry = self.offers.get_mut(&seq)?;
        match entry.state {
            State::Failed => return None,
            State::Asked(_) => entry.state = State::Failed,
            State::Open => {
                entry.state = State::Failed;
                if let Some(open) = self.open.as_mut().filter(|open| open.seq == seq) {
                    open.discard = true;
                }
            }
            State::Deciding | State::Settling => self.forget(seq),
        }
        Some(Failed { seq, code, detail }.into())
    }

    /// Whether it is this side that has asked.
    pub fn has_asked(&self) -> bool {
        self.has_asked
    }

    /// Offers that are not forgotten yet.
    pub fn outstanding(&self) -> usize {
        self.offers.len()
    }

    fn offered(&mut self, Offer { seq, header }: Offer, cost: usize) -> Result<Arrival, Violation> {
        if seq.0 != self.next {
            return Err(Violation("an offer out of sequence"));
        }
        if self.offers.len() >= self.window {
            return Err(Violation("more offers than the window holds"));
        }
        if self.offer_bytes + cost > limits::OFFER_BYTES {
            return Err(Violation("more bytes of offers than the window holds"));
        }
        header.digest.map_or(Ok(()), |digest| self.check(digest))?;
        self.next += 1;
        self.offer_bytes += cost;
        let state = if header.has_body() || self.dry_run { State::Deciding } else { State::Settling };
        self.offers.insert(seq, Entry { cost, state });
        Ok(Arrival::Offer(seq, header))
    }

    fn begun(&mut self, Body { seq, offset }: Body) -> Result<Arrival, Violation> {
        if self.open.is_some() {
            return Err(Violation("a body inside a body"));
        }
        let entry = self.offers.get_mut(&seq).ok_or(Violation("a body that was not asked for"))?;
        match entry.state {
            State::Asked(asked) if offset == asked || offset == 0 => {
                entry.state = State::Open;
                self.open = Some(OpenBody { seq, offset, discard: false });
                Ok(Arrival::Body { seq, offset })
            }
            State::Failed => {
                self.open = Some(OpenBody { seq, offset, discard: true });
                Ok(Arrival::Nothing)
            }
            State::Asked(_) => Err(Violation("a body at an offset that was not asked for")),
            _ => Err(Violation("a body that was not asked for")),
        }
    }

    fn check(&self, digest: Digest) -> Result<(), Violation> {
        if digest.algorithm() == self.algorithm {
            Ok(())
        } else {
            Err(Violation("a digest of another algorithm than the request's"))
        }
    }

    fn ended(&mut self, digest: Digest) -> Result<Arrival, Violation> {
        self.check(digest)?;
        let OpenBody { seq, discard, .. } = self.open.take().ok_or(Violation("an end outside a body"))?;
        if discard {
            self.forget(seq);
            return Ok(Arrival::Nothing);
        }
        if let Some(entry) = self.offers.get_mut(&seq) {
            entry.state = State::Settling;
        }
        Ok(Arrival::End { seq, digest })
    }

    fn aborted(&mut self, Abort { seq, code }: Abort) -> Result<Arrival, Violation> {
        let entry = self.offers.get(&seq).ok_or(Violation("an abort of nothing"))?;
        let had_failed = match entry.state {
            State::Asked(_) => false,
            State::Failed => true,
            State::Open => false,
            State::Deciding | State::Settling => return Err(Violation("an abort of what was not asked for")),
        };
        // One that has not begun may be given up while another body is open.
        self.open.take_if(|open| open.seq == seq);
        self.forget(seq);
        Ok(if had_failed { Arrival::Nothing } else { Arrival::Abort { seq, code } })
    }

    fn finished(&mut self, done: Done) -> Result<Arrival, Violation> {
        if !self.offers.is_empty() {
            return Err(Violation("Done before every offer had its answer"));
        }
        if done.entries != self.next || done.bytes != self.bytes {
            return Err(Violation("Done with other counts than what arrived"));
        }
        self.sender_done = true;
        Ok(Arrival::Done(Done { entries: self.answered, bytes: self.bytes }))
    }

    fn forget(&mut self, seq: Seq) {
        if let Some(entry) = self.offers.remove(&seq) {
            self.offer_bytes -= entry.cost;
        }
    }
}
