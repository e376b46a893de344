//! What the protocol itself costs a transfer: headers of frames, and both roles joined in memory, without hashing, TLS or
//! a disk.

mod entries;

use std::{collections::VecDeque, hint::black_box};

use criterion::{BatchSize, Criterion, Throughput};
use ferry_proto::{
    Algorithm, Answer, Arrival, Conflict, Digest, FrameHeader, Header, Limits, Message, Piece, Progress, Put,
    Receiver, Sender, Seq, limits,
};

/// Files of one transfer: more than fit into a window.
const FILES: u64 = 10_000;

/// Bytes of the body of each: few, for copying them is not what is measured.
const BODY: usize = 1024;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    headers(&mut criterion);
    transfer(&mut criterion);
    criterion.final_summary();
}

fn headers(criterion: &mut Criterion) {
    const COUNT: usize = 10_000;
    let headers: Vec<_> =
        (0..COUNT).map(|number| FrameHeader::chunk(1 + number * 13 % limits::CHUNK).to_bytes()).collect();
    let mut group = criterion.benchmark_group("frame headers");
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| {
            for header in &headers {
                black_box(FrameHeader::parse(*header).expect("a good header"));
            }
        });
    });
    group.finish();
}

fn transfer(criterion: &mut Criterion) {
    let headers: Vec<_> = (0..FILES).map(entries::header).collect();
    let mut group = criterion.benchmark_group("both roles");
    group.throughput(Throughput::Elements(FILES));
    group.bench_function("small files", |bencher| {
        bencher.iter_batched(
            || headers.clone(),
            |headers| assert_eq!(Joined::new(headers).run(), FILES),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// A sender and a receiver, and the bytes from one to the other.
struct Joined {
    sender: Sender,
    receiver: Receiver,
    to_offer: VecDeque<Header>,
    /// Of every body: nobody looks at their bytes here.
    digest: Digest,
    there: Vec<u8>,
    back: Vec<u8>,
    receipts: u64,
}

impl Joined {
    fn new(headers: Vec<Header>) -> Self {
        let limits = Limits {
            offers: limits::OFFERS as u32,
            chunk: limits::CHUNK as u32,
            checkpoint: limits::CHECKPOINT,
            file: limits::FILE,
        };
        let put = Put { on_conflict: Conflict::Replace, dry_run: false, digest: Algorithm::Sha256 };
        Joined {
            sender: Sender::new(false, limits),
            receiver: Receiver::new(&put, limits::OFFERS),
            to_offer: headers.into(),
            digest: entries::digest(0),
            there: Vec::new(),
            back: Vec::new(),
            receipts: 0,
        }
    }

    /// Until every file has its receipt. Returns how many have.
    fn run(mut self) -> u64 {
        while !(self.to_offer.is_empty() && self.sender.is_settled()) {
            while self.sender.has_room()
                && let Some(header) = self.to_offer.pop_front()
            {
                self.sender.offer(header, &mut self.there);
            }
            self.receive();
            self.go_on();
        }
        self.receipts
    }

    /// The receiver reads all that has come; whatever it asks for it has at once.
    fn receive(&mut self) {
        let there = std::mem::take(&mut self.there);
        let mut rest = &there[..];
        while let Some((head, payload)) = next(&mut rest) {
            if head.is_chunk() {
                let piece = self.receiver.chunk(payload.len()).expect("the sender keeps the protocol");
                assert!(matches!(piece, Piece::Take { .. }));
                continue;
            }
            let message = decoded(head, payload);
            let arrival =
                self.receiver.handle(message, payload.len()).expect("the sender keeps the protocol");
            let answer = match arrival {
                Arrival::Offer(seq, header) => {
                    black_box(header);
                    self.receiver.verdict(seq, Answer::Send { offset: 0, prefix: None })
                }
                Arrival::End { seq, digest } => self.receiver.receipt(seq, Some(digest), None),
                _ => None,
            };
            answer.into_iter().for_each(|answer| answer.encode(&mut self.back));
        }
        self.there = there;
        self.there.clear();
    }

    /// The sender reads all that has come back, and sends what is asked for.
    fn go_on(&mut self) {
        let back = std::mem::take(&mut self.back);
        let mut rest = &back[..];
        while let Some((head, payload)) = next(&mut rest) {
            let message = decoded(head, payload);
            match self.sender.handle(message).expect("the receiver keeps the protocol") {
                Progress::Send { seq, .. } => self.send(seq),
                Progress::Receipt { .. } => self.receipts += 1,
                other => panic!("nobody expects {other:?}"),
            }
        }
        self.back = back;
        self.back.clear();
    }

    fn send(&mut self, seq: Seq) {
        const FAILED: &str = "no body has failed";
        self.sender.body(seq, 0).expect(FAILED).encode(&mut self.there);
        assert!(self.sender.chunk(seq, BODY));
        self.there.extend_from_slice(&FrameHeader::chunk(BODY).to_bytes());
        self.there.resize(self.there.len() + BODY, 7);
        self.sender.end(seq, self.digest).expect(FAILED).encode(&mut self.there);
    }
}

/// Takes a frame from the front.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(FrameHeader, &'a [u8])> {
    let (head, behind) = bytes.split_first_chunk()?;
    let head = FrameHeader::parse(*head).expect("a good header");
    let (payload, rest) = behind.split_at(head.payload_len());
    *bytes = rest;
    Some((head, payload))
}

fn decoded(head: FrameHeader, payload: &[u8]) -> Message {
    head.message(payload).expect("a good message").expect("one that is known")
}
