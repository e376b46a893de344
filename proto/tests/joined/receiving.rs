//! Drives a [`Receiver`] with a disk that works at its own pace, and on different files in any order.

use std::collections::{BTreeMap, VecDeque};

use ferry_proto::*;

use crate::inbox::{Inbox, Plan};

/// Work that waits for the disk; above this nothing more is read from the stream.
const WAITING: usize = 6;

pub(crate) struct Receiving {
    machine: Receiver,
    dry_run: bool,
    headers: BTreeMap<Seq, Header>,
    disk: VecDeque<Work>,
    decoder: Decoder,
    finishing: bool,
    pub(crate) inbox: Inbox,
    pub(crate) out: VecDeque<u8>,
}

enum Work {
    Offered(Seq),
    Reconsider(Seq),
    Begin(Seq, u64),
    Write(Seq, u64, Vec<u8>),
    Commit(Seq, Digest),
    Forget(Seq),
}

impl Receiving {
    pub(crate) fn new(inbox: Inbox, dry_run: bool) -> Self {
        Receiving {
            machine: Receiver::new(
                &Put { on_conflict: Conflict::Replace, dry_run, digest: Algorithm::Sha256 },
                limits::OFFERS,
            )
            .sharing(Features::OURS),
            dry_run,
            headers: BTreeMap::new(),
            disk: VecDeque::new(),
            decoder: Decoder::new(),
            finishing: false,
            inbox,
            out: VecDeque::new(),
        }
    }

    pub(crate) fn can_read(&self) -> bool {
        self.disk.len() < WAITING
    }

    pub(crate) fn can_work(&self) -> bool {
        !self.disk.is_empty()
    }

    /// Whether the stream may end here.
    pub(crate) fn is_finished(&self) -> bool {
        self.finishing && self.out.is_empty() && self.decoder.is_between_frames()
    }

    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.decoder.next(&mut bytes).expect("well-formed frames") {
            match frame {
                Frame::Chunk(chunk) => {
                    let piece = self.machine.chunk(chunk.len()).expect("a sender that keeps the protocol");
                    if let Piece::Take { seq, offset } = piece {
                        self.disk.push_back(Work::Write(seq, offset, chunk));
                    }
                }
                Frame::Control(message) => {
                    let mut payload = Vec::new();
                    message.encode(&mut payload);
                    let cost = payload.len() - FrameHeader::LEN;
                    let arrival =
                        self.machine.handle(message, cost).expect("a sender that keeps the protocol");
                    self.take(arrival);
                }
            }
        }
    }

    /// One step of the disk, on the file that `pick` points to; the steps of one file stay in their order.
    pub(crate) fn work(&mut self, pick: usize) {
        if self.disk.is_empty() {
            return;
        }
        let seq = self.disk[pick % self.disk.len()].seq();
        let first = self.disk.iter().position(|work| work.seq() == seq).expect("one is there");
        match self.disk.remove(first).expect("one is there") {
            Work::Offered(seq) => self.decide(seq),
            Work::Reconsider(seq) => self.fail(seq, Code::TakenOver),
            Work::Begin(seq, offset) => {
                self.inbox.begin(&self.headers[&seq], offset);
            }
            Work::Write(seq, offset, bytes) => {
                if let Err(code) = self.inbox.write(&self.headers[&seq], offset, &bytes) {
                    self.fail(seq, code);
                }
            }
            Work::Commit(seq, digest) => match self.inbox.commit(&self.headers[&seq], digest) {
                Ok(digest) => self.receipt(seq, Some(digest)),
                Err(code) => self.fail(seq, code),
            },
            Work::Forget(seq) => {
                self.headers.remove(&seq);
            }
        }
    }

    fn take(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Offer(seq, header) => {
                self.headers.insert(seq, header);
                self.disk.push_back(Work::Offered(seq));
            }
            Arrival::Body { seq, offset } => self.disk.push_back(Work::Begin(seq, offset)),
            Arrival::Hole(Piece::Take { seq, offset }, length) => {
                self.disk.push_back(Work::Write(seq, offset, vec![0; length]));
            }
            Arrival::Hole(Piece::Discard, _) => {}
            Arrival::End { seq, digest } => self.disk.push_back(Work::Commit(seq, digest)),
            Arrival::Abort { seq, .. } => self.disk.push_back(Work::Forget(seq)),
            Arrival::Missing(_) => panic!("nothing was asked for"),
            Arrival::Nothing => {}
            Arrival::Done(done) => {
                self.send(Some(done.into()));
                self.finishing = true;
            }
        }
    }

    fn decide(&mut self, seq: Seq) {
        let header = self.headers[&seq].clone();
        let answer = self.inbox.decide(&header, self.dry_run);
        let to_be_made = !header.has_body() && matches!(answer, Answer::Send { .. });
        if to_be_made {
            match self.inbox.make(&header) {
                Ok(()) => self.receipt(seq, None),
                Err(code) => self.fail(seq, code),
            }
            return;
        }
        if matches!(answer, Answer::Send { .. })
            && self.inbox.plan(&header.path) == Some(Plan::FailAfterVerdict)
        {
            self.disk.push_back(Work::Reconsider(seq));
        }
        let verdict = self.machine.verdict(seq, answer);
        assert!(verdict.is_some(), "nobody aborts what has no verdict");
        self.send(verdict);
    }

    fn receipt(&mut self, seq: Seq, digest: Option<Digest>) {
        self.headers.remove(&seq);
        self.disk.retain(|work| work.seq() != seq);
        let receipt = self.machine.receipt(seq, digest, None);
        assert!(receipt.is_some(), "nobody aborts what is complete");
        self.send(receipt);
    }

    fn fail(&mut self, seq: Seq, code: Code) {
        self.headers.remove(&seq);
        self.disk.retain(|work| work.seq() != seq);
        let failed = self.machine.failed(seq, code, "it is planned so".into());
        self.send(failed);
    }

    fn send(&mut self, message: Option<Message>) {
        if let Some(message) = message {
            let mut frame = Vec::new();
            message.encode(&mut frame);
            self.out.extend(frame);
        }
    }
}

impl Work {
    fn seq(&self) -> Seq {
        match *self {
            Work::Offered(seq)
            | Work::Reconsider(seq)
            | Work::Begin(seq, _)
            | Work::Write(seq, ..)
            | Work::Commit(seq, _)
            | Work::Forget(seq) => seq,
        }
    }
}
