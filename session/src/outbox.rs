//! What goes out on a stream. Whoever has something to say queues it and never waits to write; one task writes.

use std::{
    io::ErrorKind,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ferry_proto::{Code, Goodbye, Message, Ping, limits};
use ferry_store::lock;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{
        Notify,
        mpsc::{Receiver, Sender, channel, error::TrySendError},
        watch,
    },
    time::sleep,
};

use crate::{Buffer, SessionError};

/// Bytes queued beyond which a peer is held to be not reading: more than every answer that one window of offers
/// can call for.
const FLOODED: usize = 16 * 1024 * 1024;

/// The same for the number of pieces, because the smallest cost far more memory than they have bytes: four for every
/// offer in a window.
const FLOODED_PIECES: usize = 4 * limits::OFFERS;

/// Small pieces are written together up to this length: four records of TLS.
const GATHERED: usize = 64 * 1024;

/// A peer that has not answered is asked again after this time.
const PINGS_APART: Duration = Duration::from_secs(1);

/// Pieces taken from the queue at a time, which saves a wake-up for each.
const PIECES: usize = 64;

/// The way out of a session. Clones lead to the same stream, which is closed when the last one is gone.
#[derive(Clone)]
pub struct Outbox {
    queue: Sender<Buffer>,
    state: Arc<State>,
    /// Says nothing; the writer learns by it that the last outbox is gone.
    _presence: watch::Sender<()>,
}

struct State {
    queued: AtomicUsize,
    drained: Notify,
    /// When something was last written.
    written: Mutex<Instant>,
    greeted: AtomicBool,
    pinged: Mutex<Pinged>,
}

/// The last question for a sign of life.
#[derive(Default)]
struct Pinged {
    at: Option<Instant>,
    token: u64,
    is_answered: bool,
}

impl Outbox {
    pub(crate) fn start(writer: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        let (queue, pieces) = channel(FLOODED_PIECES);
        let state = Arc::new(State {
            queued: AtomicUsize::new(0),
            drained: Notify::new(),
            written: Mutex::new(Instant::now()),
            greeted: AtomicBool::new(false),
            pinged: Mutex::default(),
        });
        let (_presence, absence) = watch::channel(());
        tokio::spawn(write(writer, pieces, state.clone(), absence));
        Outbox { queue, state, _presence }
    }

    /// Queues a message.
    pub fn say(&self, message: impl Into<Message>) -> Result<(), SessionError> {
        let mut frame = Vec::with_capacity(64);
        message.into().encode(&mut frame);
        self.push(frame)
    }

    /// Queues whole frames.
    pub fn push(&self, frames: impl Into<Buffer>) -> Result<(), SessionError> {
        let frames = frames.into();
        let length = frames.len();
        let state = &self.state;
        let is_too_much = state.queued.fetch_add(length, Ordering::Relaxed) + length > FLOODED;
        let refused = match is_too_much {
            true => SessionError::Flooded,
            false => match self.queue.try_send(frames) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => SessionError::Flooded,
                // Without a writer the stream has failed, and reading it will tell.
                Err(TrySendError::Closed(_)) => SessionError::Cut,
            },
        };
        state.queued.fetch_sub(length, Ordering::Relaxed);
        Err(refused)
    }

    /// Bytes that are queued.
    pub fn queued(&self) -> usize {
        self.state.queued.load(Ordering::Relaxed)
    }

    /// Waits until no more than this many bytes are queued, or the stream has failed.
    pub async fn drained_to(&self, bytes: usize) {
        loop {
            let drained = self.state.drained.notified();
            if self.queued() <= bytes || self.queue.is_closed() {
                return;
            }
            drained.await;
        }
    }

    /// Asks the peer for a sign of life, if it does not owe one yet, and returns the token that the answer will have.
    /// Later questions have greater tokens.
    pub fn ping(&self) -> u64 {
        let mut last = lock(&self.state.pinged);
        if last.is_answered || last.at.is_none_or(|at| at.elapsed() >= PINGS_APART) {
            *last = Pinged { at: Some(Instant::now()), token: last.token + 1, is_answered: false };
            // A stream that cannot take a ping is found out by its reader.
            let _ = self.say(Ping { token: last.token });
        }
        last.token
    }

    /// Takes an answer of the peer's. Returns whether a ping had this token.
    pub(crate) fn answered(&self, token: u64) -> bool {
        let mut last = lock(&self.state.pinged);
        last.is_answered |= token == last.token;
        (1..=last.token).contains(&token)
    }

    /// Whether the peer has not read what was queued for it, for longer than it may.
    pub fn is_unread(&self) -> bool {
        self.queued() > 0 && self.quiet_for() >= limits::UNREAD
    }

    /// From here on both sides have introduced themselves, and may ask each other for signs of life.
    pub fn greeted(&self) {
        self.state.greeted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_greeted(&self) -> bool {
        self.state.greeted.load(Ordering::Relaxed)
    }

    /// Gives a sign of life if there was none for a while.
    pub(crate) fn stay_alive(&self) {
        if self.is_greeted() && self.quiet_for() >= limits::PING {
            self.ping();
        }
    }

    /// How long nothing was written.
    fn quiet_for(&self) -> Duration {
        lock(&self.state.written).elapsed()
    }

    /// Says goodbye, and waits until it is written, at most as long as the peer may take to read it.
    pub async fn goodbye(self, code: Code, detail: impl Into<String>) {
        if self.say(Goodbye { code, detail: detail.into() }).is_ok() {
            let _ = tokio::time::timeout(limits::GOODBYE_DRAIN, self.drained_to(0)).await;
        }
    }
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut pieces: Receiver<Buffer>,
    state: Arc<State>,
    mut absence: watch::Receiver<()>,
) {
    // A peer that does not read must not hold the stream, and what is queued for it, when the session is over.
    let mut given_up = pin!(async move {
        while absence.changed().await.is_ok() {}
        sleep(limits::GOODBYE_DRAIN).await;
    });
    let mut batch = Vec::with_capacity(PIECES);
    let mut gathered = Vec::with_capacity(GATHERED);
    loop {
        let taken = pieces.recv_many(&mut batch, PIECES).await;
        if taken == 0 {
            break;
        }
        let written = tokio::select! {
            biased;
            written = write_batch(&mut writer, &mut batch, &mut gathered, &state) => written,
            () = &mut given_up => Err(ErrorKind::TimedOut.into()),
        };
        if let Err(error) = written {
            tracing::debug!(%error, "a stream cannot be written");
            break;
        }
    }
    // Ends TLS properly, so that the peer can tell the end from a cut.
    let _ = tokio::time::timeout(limits::GOODBYE_DRAIN, writer.shutdown()).await;
    drop(pieces);
    state.drained.notify_waiters();
}

async fn write_batch(
    writer: &mut (impl AsyncWrite + Unpin),
    batch: &mut Vec<Buffer>,
    gathered: &mut Vec<u8>,
    state: &State,
) -> std::io::Result<()> {
    for piece in batch.drain(..) {
        if !gathered.is_empty() && gathered.len() + piece.len() > GATHERED {
            write_piece(writer, gathered, state).await?;
            gathered.clear();
        }
        if piece.len() < GATHERED {
            gathered.extend_from_slice(&piece);
        } else {
            write_piece(writer, &piece, state).await?;
        }
    }
    if !gathered.is_empty() {
        write_piece(writer, gathered, state).await?;
        gathered.clear();
    }
    Ok(())
}

async fn write_piece(
    writer: &mut (impl AsyncWrite + Unpin),
    piece: &[u8],
    state: &State,
) -> std::io::Result<()> {
    writer.write_all(piece).await?;
    writer.flush().await?;
    *lock(&state.written) = Instant::now();
    state.queued.fetch_sub(piece.len(), Ordering::Relaxed);
    state.drained.notify_waiters();
    Ok(())
}
