//! Drives a [`Sender`]: the least that an owner of sources has to do.

use std::collections::{BTreeMap, VecDeque};

use ferry_proto::*;

use crate::tree::{Item, Trouble};

/// How one file ended, as its sender knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Receipt,
    Held,
    Failed(Code),
    Aborted(Code),
    /// In a dry run.
    WouldSend,
}

/// Bytes of frames that wait; above this no new work is begun, but replies can always be queued.
const WAITING: usize = 64;

pub(crate) struct Sending {
    machine: Sender,
    items: Vec<Item>,
    /// Items to offer, and whether their digest was asked for.
    to_offer: VecDeque<(usize, bool)>,
    offered: BTreeMap<Seq, (usize, Header)>,
    asked: VecDeque<(Seq, u64, Option<Digest>)>,
    open: Option<OpenBody>,
    chunk: usize,
    done: bool,
    decoder: Decoder,
    pub(crate) out: VecDeque<u8>,
    pub(crate) outcomes: BTreeMap<RelPath, Outcome>,
    pub(crate) finished: bool,
}

struct OpenBody {
    seq: Seq,
    item: usize,
    at: usize,
    hasher: Hasher,
}

impl Sending {
    pub(crate) fn new(items: Vec<Item>, receiver: Limits, dry_run: bool) -> Self {
        Sending {
            machine: Sender::new(dry_run, receiver),
            to_offer: (0..items.len()).map(|item| (item, false)).collect(),
            items,
            offered: BTreeMap::new(),
            asked: VecDeque::new(),
            open: None,
            chunk: receiver.chunk as usize,
            done: false,
            decoder: Decoder::new(),
            out: VecDeque::new(),
            outcomes: BTreeMap::new(),
            finished: false,
        }
    }

    pub(crate) fn can_work(&self) -> bool {
        let offers = self.machine.has_room() && !self.to_offer.is_empty();
        self.out.len() < WAITING
            && (offers || self.open.is_some() || !self.asked.is_empty() || self.can_finish())
    }

    /// One step: the next offer, chunk, end, abort or the closing message.
    pub(crate) fn work(&mut self) {
        if self.machine.has_room()
            && let Some((item, with_digest)) = self.to_offer.pop_front()
        {
            let header = self.items[item].header(with_digest);
            let mut frame = Vec::new();
            let seq = self.machine.offer(header.clone(), &mut frame);
            self.out.extend(frame);
            self.offered.insert(seq, (item, header));
        } else if let Some(place) = self.asked.iter().position(|&(seq, ..)| self.has_vanished(seq)) {
            let (seq, ..) = self.asked.remove(place).expect("it was found there");
            self.abort(seq, Code::SourceVanished);
        } else if let Some(open) = self.open.take() {
            self.go_on(open);
        } else if let Some((seq, offset, prefix)) = self.asked.pop_front() {
            self.begin(seq, offset, prefix);
        } else if self.can_finish() {
            let done = self.machine.done();
            self.send(done);
            self.done = true;
        }
    }

    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.decoder.next(&mut bytes).expect("well-formed frames") {
            let Frame::Control(message) = frame else { panic!("a receiver sends no chunks") };
            let progress = self.machine.handle(message).expect("a receiver that keeps the protocol");
            self.take(progress);
        }
    }

    fn take(&mut self, progress: Progress) {
        match progress {
            Progress::Wanted { seq, .. } => self.settle(seq, Outcome::WouldSend),
            Progress::Send { seq, offset, prefix } => self.asked.push_back((seq, offset, prefix)),
            Progress::Held { seq, .. } => self.settle(seq, Outcome::Held),
            Progress::Receipt { seq, .. } => self.settle(seq, Outcome::Receipt),
            Progress::NeedDigest { seq } => {
                let (item, _) = self.offered.remove(&seq).expect("an offer without a final answer");
                self.to_offer.push_back((item, true));
            }
            Progress::Failed { seq, code, abort, .. } => {
                self.asked.retain(|&(asked, ..)| asked != seq);
                self.open.take_if(|open| open.seq == seq);
                if let Some(abort) = abort {
                    self.send(abort);
                }
                self.settle(seq, Outcome::Failed(code));
            }
            Progress::Nothing | Progress::Spent(_) => {}
            Progress::Done => self.finished = true,
        }
    }

    fn begin(&mut self, seq: Seq, offset: u64, prefix: Option<Digest>) {
        let (item, _) = self.offered[&seq];
        let bytes = self.items[item].bytes();
        let mut hasher = Algorithm::Sha256.hasher();
        let before = bytes.get(..offset as usize).unwrap_or(&[]);
        hasher.update(before);
        let same = prefix.is_none() || prefix == Some(hasher.so_far());
        let (at, hasher) = if same { (before.len(), hasher) } else { (0, Algorithm::Sha256.hasher()) };
        let body = self.machine.body(seq, at as u64).expect("a body that has not failed");
        self.send(body);
        self.open = Some(OpenBody { seq, item, at, hasher });
    }

    fn go_on(&mut self, mut open: OpenBody) {
        let item = &self.items[open.item];
        let bytes = item.bytes();
        let readable = match item.trouble {
            Trouble::UnreadableAt(at) => at.clamp(open.at, bytes.len()),
            _ => bytes.len(),
        };
        let rest = &bytes[open.at..readable];
        if rest.is_empty() && readable < bytes.len() {
            self.abort(open.seq, Code::SourceUnreadable);
        } else if rest.is_empty() {
            let digest = open.hasher.finish();
            let (_, header) = &self.offered[&open.seq];
            if header.digest.is_some_and(|announced| announced != digest) {
                self.abort(open.seq, Code::SourceChanged);
            } else {
                let end = self.machine.end(open.seq, digest).expect("a body that has not failed");
                self.send(end);
            }
        } else {
            let piece = rest[..rest.len().min(self.chunk)].to_vec();
            // What would be sparse on a disk is a hole here.
            let zeros = piece.iter().take_while(|&&byte| byte == 0).count();
            if let Some(hole) = Hole::new(zeros) {
                open.hasher.update(&piece[..zeros]);
                open.at += zeros;
                let hole = self.machine.hole(open.seq, hole).expect("a body that has not failed");
                self.send(hole);
                self.open = Some(open);
                return;
            }
            assert!(self.machine.chunk(open.seq, piece.len()), "a body that has not failed");
            open.hasher.update(&piece);
            open.at += piece.len();
            self.out.extend(FrameHeader::chunk(piece.len()).to_bytes());
            self.out.extend(piece);
            self.open = Some(open);
        }
    }

    fn abort(&mut self, seq: Seq, code: Code) {
        let abort = self.machine.abort(seq, code).expect("a body that has not failed");
        self.send(abort);
        self.settle(seq, Outcome::Aborted(code));
    }

    fn settle(&mut self, seq: Seq, outcome: Outcome) {
        let (item, _) = self.offered.remove(&seq).expect("an offer has one final answer");
        let before = self.outcomes.insert(self.items[item].path.clone(), outcome);
        assert_eq!(before, None, "a file has one final answer");
    }

    fn can_finish(&self) -> bool {
        self.machine.is_settled() && self.to_offer.is_empty() && !self.done
    }

    fn has_vanished(&self, seq: Seq) -> bool {
        self.items[self.offered[&seq].0].trouble == Trouble::Vanished
    }

    fn send(&mut self, message: Message) {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        self.out.extend(frame);
    }
}
