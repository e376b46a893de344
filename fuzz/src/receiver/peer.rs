//! Does what a script says, at the other end of a stream in memory, and keeps account of what it was told.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use ferry_proto::{
    Abort, Algorithm, Body, Code, Decoder, Digest, Done, End, Extension, Frame, FrameHeader, Hasher, Header,
    Hole, Kind, Message, Mode, RelPath, Seq, limits,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

use super::{
    MEMORY,
    said::{Offered, Said, Told as Answered},
    script::{Begin, Content, Named, Offer, OfferKind, Script, Step, TARGETS, Told},
};

/// Bytes that one script sends at the most: more than a session may hold in memory, so that holding all of it is seen.
pub(super) const SENT: usize = 2 * MEMORY;

/// Nothing that a receiver does here takes long, so after this time it never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a whole script has said and was told.
#[derive(Default)]
pub(super) struct Account {
    /// The digests that ends have named.
    pub(super) ended: HashSet<Digest>,
    /// The last receipt of each name.
    pub(super) stored: BTreeMap<RelPath, Option<Digest>>,
    /// Names about which a connection ended before its receiver could say what became of them.
    pub(super) unsure: BTreeSet<RelPath>,
    pub(super) story: Story,
}

/// How far a script came.
#[derive(Debug, Default, Clone, Copy)]
pub struct Story {
    /// Receipts.
    pub receipts: usize,
    /// Receipts of bodies that went on after a checkpoint.
    pub resumed: usize,
    /// Offers that were held already.
    pub held: usize,
    /// Offers that were refused or have failed.
    pub refused: usize,
    /// Requests that were completed on both sides.
    pub done: usize,
    /// Regular files in the root at the end.
    pub files: usize,
    /// Staged bodies that wait to be gone on with.
    pub staged: usize,
    /// Bytes that were allocated at a time.
    pub memory: usize,
}

/// One connection.
pub(super) struct Peer<'a> {
    account: &'a mut Account,
    stream: DuplexStream,
    dry_run: bool,
    /// Of the whole script.
    budget: &'a mut usize,
    said: Said,
    heard: Decoder,
    contents: HashMap<Seq, Content>,
    damage: Option<(u16, u8)>,
    open: Option<OpenBody>,
    is_over: bool,
}

/// The body that is being sent, as the script sees it.
struct OpenBody {
    seq: Seq,
    offset: u64,
    content: Vec<u8>,
    hasher: Hasher,
}

/// Does the steps up to the end of a connection, and returns those that are left.
pub(super) async fn connected<'s>(
    stream: DuplexStream,
    script: &Script,
    mut steps: &'s [Step],
    budget: &mut usize,
    account: &mut Account,
) -> &'s [Step] {
    let mut peer = Peer {
        account,
        stream,
        dry_run: script.dry_run,
        budget,
        said: Said::default(),
        heard: Decoder::new(),
        contents: HashMap::new(),
        damage: None,
        open: None,
        is_over: false,
    };
    let mut waits = true;
    while let [step, rest @ ..] = steps {
        steps = rest;
        if let Step::Reconnect { waits: before } = step {
            waits = *before;
            break;
        }
        if !peer.is_over {
            peer.act(step).await;
        }
    }
    if waits {
        peer.settle().await;
    }
    peer.leave();
    steps
}

impl Peer<'_> {
    async fn act(&mut self, step: &Step) {
        match step {
            Step::Offer(offer) => self.offer(offer).await,
            Step::Send { which, begin, piece, most } => {
                if let Some(seq) = self.seq(*which) {
                    self.settle_one(seq).await;
                    if self.said.offers.get(&seq).is_some_and(|offered| offered.asked.is_some()) {
                        self.body(seq, begin).await;
                        self.send_rest(*piece, *most).await;
                    }
                }
            }
            Step::Body { which, begin } => match self.seq(*which) {
                Some(seq) => self.body(seq, begin).await,
                None => self.say(Body { seq: Seq(u64::from(*which)), offset: 0 }).await,
            },
            Step::Chunk { length, is_honest, more } => {
                for _ in 0..=*more {
                    self.chunk(usize::from(*length), *is_honest).await;
                }
            }
            Step::Hole { length } => match Hole::new(usize::from(*length)) {
                Some(hole) => {
                    if let Some(open) = &mut self.open {
                        open.hasher.update(&vec![0; hole.length()]);
                        open.offset = open.offset.saturating_add(hole.length() as u64);
                    }
                    self.say(hole).await;
                }
                None => self.send([18, 1, 0, 0, 0, 0].into()).await,
            },
            Step::End(named) => {
                let offered = self.seq(0).and_then(|seq| self.said.offers.get(&seq)?.digest);
                let digest = match (named, &self.open) {
                    (Named::Sent, Some(open)) => open.hasher.so_far(),
                    (Named::Offered, _) => offered.unwrap_or_else(another),
                    _ => another(),
                };
                self.open = None;
                self.say(End { digest }).await;
            }
            Step::Abort { which, code } => {
                let seq = self.seq(*which).unwrap_or(Seq(u64::from(*which)));
                self.open.take_if(|open| open.seq == seq);
                self.say(Abort { seq, code: *code }).await;
            }
            Step::Done { is_honest } => {
                let off_by = if *is_honest { 0 } else { 1 };
                if *is_honest {
                    self.settle().await;
                }
                let (entries, bytes) = (self.said.offers.len() as u64 + off_by, self.said.bytes);
                self.say(Done { entries, bytes }).await;
                // Damage may have made it a part of something else.
                while !self.is_over && self.said.is_final() {
                    self.hear().await;
                }
            }
            Step::Wait => self.settle().await,
            Step::Frame { frame_type, payload } => {
                let length = (payload.len() as u32).to_le_bytes();
                self.send([&[*frame_type][..], &length, payload].concat()).await;
            }
            Step::Raw(bytes) => self.send(bytes.clone()).await,
            Step::Damage { at, with } => self.damage = Some((*at, *with)),
            Step::Reconnect { .. } => {}
        }
    }

    /// An offer of this connection, the last one first.
    fn seq(&self, which: u8) -> Option<Seq> {
        self.said.offers.keys().rev().nth(which.into()).copied()
    }

    async fn offer(&mut self, offer: &Offer) {
        for number in 0..=offer.more {
            let seq = Seq(self.said.offers.len() as u64);
            let name = match number {
                0 => offer.name.bytes().to_vec(),
                number => [offer.name.bytes(), format!("-{number}").as_bytes()].concat(),
            };
            let frame = offer_frame(seq, offer, &name);
            self.contents.insert(seq, offer.content);
            self.send(frame).await;
        }
    }

    async fn body(&mut self, seq: Seq, begin: &Begin) {
        let asked = self.said.offers.get(&seq).and_then(|offered| offered.asked);
        let content: Vec<u8> = self.contents.get(&seq).copied().unwrap_or_default().bytes().collect();
        let before =
            |offset: u64| &content[..content.len().min(usize::try_from(offset).unwrap_or(usize::MAX))];
        let offset = match (begin, asked) {
            (Begin::Honest, Some((offset, Some(prefix)))) if digest_of(before(offset)) != prefix => 0,
            (Begin::Honest | Begin::Blind, Some((offset, _))) => offset,
            (Begin::At(offset), _) => *offset,
            _ => 0,
        };
        let mut hasher = Algorithm::Sha256.hasher();
        hasher.update(before(offset));
        self.open = Some(OpenBody { seq, offset, content, hasher });
        self.say(Body { seq, offset }).await;
    }

    /// Sends the content that is left, or only the first of it and no end.
    async fn send_rest(&mut self, piece: u16, most: Option<u16>) {
        let mut most = usize::from(most.unwrap_or(u16::MAX));
        while let Some(open) = &self.open {
            let left = open.content.len().saturating_sub(usize::try_from(open.offset).unwrap_or(usize::MAX));
            if left == 0 || self.is_over {
                let digest = open.hasher.so_far();
                self.open = None;
                self.say(End { digest }).await;
                return;
            }
            if most == 0 {
                return;
            }
            // Many tiny chunks tell nothing that some do not.
            let length = left.min(most).min(usize::from(piece).max(left / 64 + 1));
            most -= length;
            self.chunk(length, true).await;
        }
    }

    async fn chunk(&mut self, length: usize, is_honest: bool) {
        let bytes = match &mut self.open {
            Some(open) => {
                let at = usize::try_from(open.offset).unwrap_or(usize::MAX).min(open.content.len());
                let rest = &open.content[at..];
                let bytes = match is_honest {
                    true => rest[..rest.len().min(length)].to_vec(),
                    false => vec![0xa5; length],
                };
                open.hasher.update(&bytes);
                open.offset = open.offset.saturating_add(bytes.len() as u64);
                bytes
            }
            None => vec![0xa5; length],
        };
        if !bytes.is_empty() {
            let mut frame = FrameHeader::chunk(bytes.len()).to_bytes().to_vec();
            frame.extend_from_slice(&bytes);
            self.send(frame).await;
        }
    }

    async fn say(&mut self, message: impl Into<Message>) {
        let mut frame = Vec::new();
        message.into().encode(&mut frame);
        self.send(frame).await;
    }

    async fn send(&mut self, mut bytes: Vec<u8>) {
        if let Some((at, with)) = self.damage.take()
            && !bytes.is_empty()
        {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= with;
        }
        match self.budget.checked_sub(bytes.len()) {
            Some(left) if !self.is_over => *self.budget = left,
            _ => return,
        }
        self.said.say(&bytes);
        let sent = timeout(PATIENCE, self.stream.write_all(&bytes)).await;
        // If the receiver has ended the connection, it may have said why.
        if sent.expect("the receiver stopped reading").is_err() {
            while !self.is_over {
                self.hear().await;
            }
        }
    }

    /// Waits for every answer that is due.
    async fn settle(&mut self) {
        while !self.is_over && self.said.offers.values().any(|offered| offered.is_due()) {
            self.hear().await;
        }
    }

    /// Waits for the answer to one offer.
    async fn settle_one(&mut self, seq: Seq) {
        while !self.is_over && self.said.offers.get(&seq).is_some_and(|offered| offered.is_due()) {
            self.hear().await;
        }
    }

    async fn hear(&mut self) {
        let mut buffer = [0; 4096];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        let length = read.expect("the receiver owes an answer").unwrap_or(0);
        self.is_over |= length == 0;
        let mut bytes = &buffer[..length];
        while let Some(frame) = self.heard.next(&mut bytes).expect("a receiver sends frames") {
            match frame {
                Frame::Control(message) => self.take(message),
                Frame::Chunk(_) => panic!("a receiver sends no bodies"),
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Ping(_) | Message::Pong(_) | Message::Spent(_) => {}
            Message::Goodbye(goodbye) => {
                assert_ne!(goodbye.code, Code::Internal, "{}", goodbye.detail);
                self.is_over = true;
            }
            Message::Done(done) => {
                assert!(self.said.offers.values().all(|offered| !offered.is_due()));
                assert_eq!(done.bytes, self.said.bytes);
                self.account.story.done += 1;
                self.is_over = true;
            }
            answer => self.answered(answer),
        }
    }

    fn answered(&mut self, answer: Message) {
        if let Message::Failed(failed) = &answer {
            assert_ne!(failed.code, Code::Internal, "{}", failed.detail);
        }
        let story = &mut self.account.story;
        match self.said.answer(answer, self.dry_run) {
            Answered::Stored { path, digest, went_on } => {
                story.receipts += 1;
                story.resumed += usize::from(went_on);
                self.account.stored.insert(path, digest);
            }
            Answered::Held => story.held += 1,
            Answered::Refused => story.refused += 1,
            Answered::Wanted | Answered::Nothing => {}
        }
    }

    /// Ends the connection from this side.
    fn leave(self) {
        self.account.ended.extend(self.said.ended.iter().copied());
        let unsure = self.said.offers.into_values().filter(Offered::is_due);
        self.account.unsure.extend(unsure.map(|offered| offered.path));
    }
}

fn offer_frame(seq: Seq, offer: &Offer, name: &[u8]) -> Vec<u8> {
    let (kind, is_file) = match offer.kind {
        OfferKind::File => (Kind::File, true),
        OfferKind::Folder => (Kind::Folder, false),
        OfferKind::Link(which) => (Kind::Symlink(TARGETS[usize::from(which) % TARGETS.len()].into()), false),
    };
    let size = match offer.size {
        Told::Truth => Some(u64::from(offer.content.length)),
        Told::Nothing => None,
        Told::Other(size) => Some(size),
    };
    let digest = match offer.digest {
        Told::Truth => Some(digest_of(&offer.content.bytes().collect::<Vec<u8>>())),
        Told::Nothing => None,
        Told::Other(()) => Some(another()),
    };
    // A name that cannot be made into a path is put in the place of one that is as long.
    let stand_in = vec![b'x'; name.len().clamp(1, limits::NAME)];
    let path = RelPath::new(name).or_else(|_| RelPath::new(&stand_in)).expect("a name of letters");
    let is_stand_in = path.as_bytes() != name && name.len() == stand_in.len();
    let header = Header {
        size: size.filter(|_| is_file),
        digest: digest.filter(|_| is_file),
        modified: offer.modified,
        mode: offer.mode.map(|bits| Mode::from_bits(bits.into())),
        extensions: offer
            .extension
            .map(|length| Extension { tag: length, value: vec![0; length.into()] })
            .into_iter()
            .collect(),
        ..Header::new(path, kind)
    };
    let mut frame = Vec::new();
    Message::from(ferry_proto::Offer { seq, header }).encode(&mut frame);
    if is_stand_in {
        let at = frame.windows(name.len()).position(|window| window == stand_in);
        let at = at.expect("a frame holds its path");
        frame[at..at + name.len()].copy_from_slice(name);
    }
    frame
}

fn digest_of(bytes: &[u8]) -> Digest {
    Algorithm::Sha256.digest(bytes)
}

/// The digest of nothing that is ever sent.
fn another() -> Digest {
    Digest::new(Algorithm::Sha256, [7; 32])
}
