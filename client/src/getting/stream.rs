//! One file, to standard output. What is written there cannot be taken back, so how the run ends says whether it was right.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use ferry_proto::{
    Algorithm, Answer, Arrival, Code, Digest, Features, Get, Hasher, Header, Kind, Message, Piece, Receiver,
    RelPath, Request, Seq, Verb, Wants,
};
use ferry_session::{Arrived, Incoming, Outbox, SessionError, greet, send::Pace as _};
use ferry_store::lock;

use crate::{commands::Work, dial::Session, output::Narrator, pace::Pace};

/// Bytes that are written at a time.
const PIECE: usize = 128 * 1024;

/// See the module.
pub(crate) struct Streaming {
    path: RelPath,
    algorithm: Algorithm,
    pace: Pace,
    narrator: Arc<Narrator>,
    state: Arc<Mutex<State>>,
    /// Whoever writes has it, until that is counted: a connection may end in the middle of it.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Looks at how far it is, while somebody does not read what is written.
    looks: AtomicU64,
}

/// How far it is, over all connections.
struct State {
    /// The digest of all that was written, in the making.
    hasher: Hasher,
    written: u64,
    end: Option<End>,
}

/// How it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    Failed,
    Stopped,
}

impl Streaming {
    pub(crate) fn new(path: RelPath, algorithm: Algorithm, pace: Pace, narrator: Arc<Narrator>) -> Arc<Self> {
        let state = State { hasher: algorithm.hasher(), written: 0, end: None };
        let (state, turn, looks) = (Arc::new(Mutex::new(state)), Arc::default(), AtomicU64::new(0));
        Arc::new(Streaming { path, algorithm, pace, narrator, state, turn, looks })
    }

    /// Whether all of it was written, and is what the server has.
    pub(crate) fn is_well(&self) -> bool {
        lock(&self.state).end == Some(End::Well)
    }

    fn fail(&self, code: Code, detail: &str) {
        let before = lock(&self.state).end.replace(End::Failed);
        if before.is_none() {
            self.narrator.not_there(self.path.as_bytes(), code, detail);
        }
    }

    async fn receive(
        &self,
        incoming: &mut Incoming,
        outbox: &Outbox,
        shared: Features,
    ) -> Result<(), SessionError> {
        // What an earlier connection has begun to write is counted first.
        drop(incoming.meanwhile(|| Ok(()), self.turn.lock()).await?);
        let wants = Wants::default();
        let get = Get { paths: vec![self.path.clone()], digest: self.algorithm, wants };
        outbox.say(Request { id: 1, verb: Verb::Get(get) })?;
        let mut receiver = Receiver::asking(false, self.algorithm).sharing(shared);
        let mut offered: Option<(Seq, Header)> = None;
        let mut buffer = Vec::new();
        loop {
            match incoming.next(|| Ok(())).await? {
                Arrived::Chunk(length) => {
                    if receiver.chunk(length)? == Piece::Discard {
                        incoming.skip(length).await?;
                        continue;
                    }
                    let mut left = length;
                    while left > 0 {
                        let length = left.min(PIECE).min(self.pace.at_once());
                        incoming.meanwhile(|| Ok(()), self.pace.allow(length)).await?;
                        incoming.chunk(length, &mut buffer).await?;
                        buffer = incoming.meanwhile(|| Ok(()), self.write(buffer)).await?;
                        left -= length;
                    }
                    self.check()?;
                }
                Arrived::Message(Message::Rejected(rejected), _) => {
                    return Err(SessionError::Goodbye { code: rejected.code, detail: rejected.detail });
                }
                Arrived::Message(message, cost) => {
                    let answer = match receiver.handle(message, cost)? {
                        Arrival::Offer(seq, header) => {
                            let answer = self.decide(&header);
                            offered = Some((seq, header));
                            receiver.verdict(seq, answer)
                        }
                        Arrival::Body { seq, offset } => self.begin(offset).and_then(|(code, detail)| {
                            self.fail(code, &detail);
                            receiver.failed(seq, code, detail)
                        }),
                        Arrival::End { seq, digest } => match self.end(digest) {
                            Ok(written) => {
                                if let Some((_, header)) =
                                    offered.as_ref().filter(|(offered, _)| *offered == seq)
                                {
                                    self.narrator.got(header, &header.path, written, Some(&digest));
                                }
                                receiver.receipt(seq, Some(digest), None)
                            }
                            Err(detail) => {
                                self.fail(Code::DigestMismatch, detail);
                                receiver.failed(seq, Code::DigestMismatch, detail.to_owned())
                            }
                        },
                        Arrival::Missing(missing) => {
                            self.fail(missing.code, &missing.detail);
                            None
                        }
                        Arrival::Hole(Piece::Take { .. }, length) => {
                            let mut left = length;
                            while left > 0 {
                                let length = left.min(PIECE);
                                buffer.clear();
                                buffer.resize(length, 0);
                                buffer = incoming.meanwhile(|| Ok(()), self.write(buffer)).await?;
                                left -= length;
                            }
                            self.check()?;
                            None
                        }
                        Arrival::Hole(Piece::Discard, _) | Arrival::Abort { .. } | Arrival::Nothing => None,
                        Arrival::Done(done) => {
                            outbox.say(done)?;
                            if lock(&self.state).end.is_none() {
                                self.fail(Code::Protocol, "the server has not sent it");
                            }
                            return Ok(());
                        }
                    };
                    if let Some(answer) = answer {
                        outbox.say(answer)?;
                    }
                }
            }
        }
    }

    /// An error where nobody takes any more of it.
    fn check(&self) -> Result<(), SessionError> {
        if lock(&self.state).end.is_some() { Err(SessionError::Cut) } else { Ok(()) }
    }

    fn decide(&self, header: &Header) -> Answer {
        let refuse = |code: Code, detail: &str| {
            self.fail(code, detail);
            Answer::Refused { code, detail: detail.to_owned() }
        };
        if header.path != self.path {
            // What is in a folder, which is refused when it comes.
            return Answer::Refused { code: Code::Cancelled, detail: String::new() };
        }
        match header.kind {
            Kind::File => {}
            Kind::Folder => {
                return refuse(
                    Code::KindConflict,
                    "it is a folder: only a file can be written to standard output",
                );
            }
            Kind::Symlink(_) => {
                return refuse(
                    Code::KindConflict,
                    "it is a link: only a file can be written to standard output",
                );
            }
        }
        let state = lock(&self.state);
        let prefix = (state.written > 0).then(|| state.hasher.so_far());
        if header.size.is_some_and(|size| size < state.written) {
            drop(state);
            return refuse(Code::SourceChanged, CHANGED);
        }
        Answer::Send { offset: state.written, prefix }
    }

    /// Why a body that begins there is of no use, if it is of none.
    fn begin(&self, offset: u64) -> Option<(Code, String)> {
        let is_next = lock(&self.state).written == offset;
        (!is_next).then(|| (Code::SourceChanged, CHANGED.to_owned()))
    }

    /// Writes and digests what comes next, and gives the buffer back. Where nobody waits for it any more, it is done and
    /// counted all the same.
    async fn write(&self, bytes: Vec<u8>) -> Vec<u8> {
        let (turn, state) = (self.turn.clone().lock_owned().await, self.state.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            let result = stdout.write_all(&bytes).and_then(|()| stdout.flush());
            if result.is_ok() {
                let mut state = lock(&state);
                state.hasher.update(&bytes);
                state.written += bytes.len() as u64;
            }
            drop(turn);
            (bytes, result)
        });
        let Ok((bytes, result)) = written.await else { return Vec::new() };
        match result {
            Ok(()) => self.narrator.advanced(&self.path, bytes.len() as u64),
            Err(error) => {
                self.fail(Code::StorageFailed, &format!("standard output cannot be written: {error}"))
            }
        }
        bytes
    }

    /// Compares what was written with what the server has sent. Returns how much it was.
    fn end(&self, digest: Digest) -> Result<u64, &'static str> {
        let mut state = lock(&self.state);
        if state.hasher.so_far() != digest {
            return Err("what was written is not what the server has: its digest is another one");
        }
        state.end.get_or_insert(End::Well);
        Ok(state.written)
    }
}

const CHANGED: &str = "it has changed on the server since a part of it was written";

impl Work for Streaming {
    async fn on(&self, session: Session) -> Result<(), SessionError> {
        let shared = session.shared();
        let Session { mut incoming, outbox, .. } = session;
        let result = self.receive(&mut incoming, &outbox, shared).await;
        greet::close(incoming, outbox, &result).await;
        result
    }

    fn is_finished(&self) -> bool {
        lock(&self.state).end.is_some()
    }

    fn progress(&self) -> u64 {
        lock(&self.state).written
    }

    fn motion(&self) -> [u64; 2] {
        // That nobody reads is no fault of the connection's.
        let looks = match self.turn.try_lock() {
            Ok(_) => 0,
            Err(_) => self.looks.fetch_add(1, Ordering::Relaxed),
        };
        [self.narrator.bytes(), looks]
    }

    fn stop(&self) {
        lock(&self.state).end.get_or_insert(End::Stopped);
    }
}
