//! What goes out on a stream. Whoever has something to say queues it and never waits to write; one task writes.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ferry_proto::{Code, Goodbye, Message, Ping, limits};
use ferry_store::lock;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{Notify, watch},
    time::sleep,
};

use crate::{Buffer, SessionError};

/// Bytes queued beyond which a peer is held to be not reading: more than every answer that one window of offers
/// can call for, and more than a sender reads ahead.
const FLOODED: usize = 4 * 1024 * 1024;

/// Small pieces are written together up to this length: four records of TLS.
const GATHERED: usize = 64 * 1024;

/// Between two writes of little: nobody notices it, and a busy stream fills its writes in it.
pub(crate) const APART: Duration = Duration::from_millis(1);

/// A peer that has not answered is asked again after this time.
const PINGS_APART: Duration = Duration::from_secs(1);

/// The way out of a session. Clones lead to the same stream, which is closed when the last one is gone.
#[derive(Clone)]
pub struct Outbox {
    state: Arc<State>,
    /// Says nothing; the writer learns by it that the last outbox is gone.
    _presence: watch::Sender<()>,
}

struct State {
    queue: Mutex<Queue>,
    /// Bytes that are queued, or being written.
    queued: AtomicUsize,
    /// There is something to write.
    more: Notify,
    drained: Notify,
    /// The stream has failed, or is at its end.
    is_closed: AtomicBool,
    /// When something was last written.
    written: Mutex<Instant>,
    /// Microseconds that writing has taken: encrypting, and waiting until the network takes more.
    writing: AtomicU64,
    greeted: AtomicBool,
    pinged: Mutex<Pinged>,
}

/// What is to be written: the pieces, then the messages after the last of them.
#[derive(Default)]
struct Queue {
    pieces: VecDeque<Buffer>,
    messages: Vec<u8>,
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
        let state = Arc::new(State {
            queue: Mutex::default(),
            queued: AtomicUsize::new(0),
            more: Notify::new(),
            drained: Notify::new(),
            is_closed: AtomicBool::new(false),
            written: Mutex::new(Instant::now()),
            writing: AtomicU64::new(0),
            greeted: AtomicBool::new(false),
            pinged: Mutex::default(),
        });
        let (_presence, absence) = watch::channel(());
        tokio::spawn(write(writer, state.clone(), absence));
        Outbox { state, _presence }
    }

    /// Queues a message.
    pub fn say(&self, message: impl Into<Message>) -> Result<(), SessionError> {
        self.queue(|queue| {
            let before = queue.messages.len();
            message.into().encode(&mut queue.messages);
            queue.messages.len() - before
        })
    }

    /// Queues whole frames.
    pub fn push(&self, frames: impl Into<Buffer>) -> Result<(), SessionError> {
        self.queue(|queue| {
            if !queue.messages.is_empty() {
                let messages = std::mem::take(&mut queue.messages);
                queue.pieces.push_back(messages.into());
            }
            let frames = frames.into();
            let length = frames.len();
            queue.pieces.push_back(frames);
            length
        })
    }

    fn queue(&self, put: impl FnOnce(&mut Queue) -> usize) -> Result<(), SessionError> {
        let state = &self.state;
        // Without a writer the stream has failed, and reading it will tell.
        if state.is_closed.load(Ordering::Relaxed) {
            return Err(SessionError::Cut);
        }
        if state.queued.load(Ordering::Relaxed) > FLOODED {
            return Err(SessionError::Flooded);
        }
        let mut queue = lock(&state.queue);
        let length = put(&mut queue);
        state.queued.fetch_add(length, Ordering::Relaxed);
        drop(queue);
        state.more.notify_one();
        Ok(())
    }

    /// Bytes that are queued.
    pub fn queued(&self) -> usize {
        self.state.queued.load(Ordering::Relaxed)
    }

    /// How long writing has taken so far: encrypting, and waiting until the network takes more.
    pub(crate) fn writing(&self) -> Duration {
        Duration::from_micros(self.state.writing.load(Ordering::Relaxed))
    }

    /// Waits until no more than this many bytes are queued. When the stream has failed they never will be.
    pub async fn drained_to(&self, bytes: usize) -> Result<(), SessionError> {
        loop {
            let drained = self.state.drained.notified();
            if self.queued() <= bytes {
                return Ok(());
            }
            if self.state.is_closed.load(Ordering::Relaxed) {
                return Err(SessionError::Cut);
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
    pub(crate) fn quiet_for(&self) -> Duration {
        lock(&self.state.written).elapsed()
    }

    /// Says goodbye, and waits until it is written, at most as long as the peer may take to read it.
    pub async fn goodbye(self, code: Code, detail: impl Into<String>) {
        if self.say(Goodbye { code, detail: detail.into() }).is_ok() {
            let _ = tokio::time::timeout(limits::GOODBYE_DRAIN, self.drained_to(0)).await;
        }
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, state: Arc<State>, mut absence: watch::Receiver<()>) {
    // A peer that does not read must not hold the stream, and what is queued for it, when the session is over.
    let mut given_up = {
        let mut absence = absence.clone();
        pin!(async move {
            while absence.changed().await.is_ok() {}
            sleep(limits::GOODBYE_DRAIN).await;
        })
    };
    let (mut batch, mut gathered) = (Queue::default(), Vec::with_capacity(GATHERED));
    let mut last = None;
    loop {
        // A little that comes soon after the last waits for more: else each answer of many would be a write of its own.
        if let Some(rest) = last.and_then(|last: Instant| APART.checked_sub(last.elapsed()))
            && state.queued.load(Ordering::Relaxed) < GATHERED
        {
            sleep(rest).await;
        }
        std::mem::swap(&mut batch, &mut lock(&state.queue));
        if batch.is_empty() {
            tokio::select! {
                biased;
                () = state.more.notified() => continue,
                // Everything was said before that, so it is written.
                gone = absence.changed() => if gone.is_err() && lock(&state.queue).is_empty() { break },
            }
            continue;
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
        last = Some(Instant::now());
    }
    // Ends TLS properly, so that the peer can tell the end from a cut.
    let _ = tokio::time::timeout(limits::GOODBYE_DRAIN, writer.shutdown()).await;
    state.is_closed.store(true, Ordering::Relaxed);
    *lock(&state.queue) = Queue::default();
    state.drained.notify_waiters();
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.messages.is_empty()
    }
}

async fn write_batch(
    writer: &mut (impl AsyncWrite + Unpin),
    batch: &mut Queue,
    gathered: &mut Vec<u8>,
    state: &State,
) -> std::io::Result<()> {
    for piece in batch.pieces.drain(..) {
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
    if gathered.is_empty() {
        std::mem::swap(gathered, &mut batch.messages);
    } else {
        gathered.append(&mut batch.messages);
    }
    for part in gathered.chunks(GATHERED) {
        write_piece(writer, part, state).await?;
    }
    gathered.clear();
    Ok(())
}

async fn write_piece(
    writer: &mut (impl AsyncWrite + Unpin),
    piece: &[u8],
    state: &State,
) -> std::io::Result<()> {
    let begin = Instant::now();
    writer.write_all(piece).await?;
    writer.flush().await?;
    let now = Instant::now();
    let took = now.duration_since(begin).as_micros();
    state.writing.fetch_add(u64::try_from(took).unwrap_or(u64::MAX), Ordering::Relaxed);
    *lock(&state.written) = now;
    state.queued.fetch_sub(piece.len(), Ordering::Relaxed);
    state.drained.notify_waiters();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use super::*;

    /// Keeps each write as it came.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);

    impl AsyncWrite for Writes {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            lock(&self.0).push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_lone_message_leaves_at_once_and_many_leave_together_in_order() {
        let (writes, mut expected) = (Writes::default(), Vec::new());
        block_on(async {
            let outbox = Outbox::start(writes.clone());
            for token in 0..2000 {
                outbox.say(Ping { token }).unwrap();
                Message::from(Ping { token }).encode(&mut expected);
                // The writer has its turn after each.
                tokio::task::yield_now().await;
            }
            outbox.drained_to(0).await.unwrap();
        });
        let writes = lock(&writes.0);
        assert_eq!(writes.concat(), expected);
        let mut first = Vec::new();
        Message::from(Ping { token: 0 }).encode(&mut first);
        assert_eq!(writes[0], first, "the first waits for none");
        // One for each millisecond that it took, which is few beside the messages.
        assert!(writes.len() < 500, "{} writes", writes.len());
    }

    #[test]
    fn messages_and_whole_frames_keep_their_order_and_the_end_loses_none() {
        let (writes, mut expected) = (Writes::default(), Vec::new());
        block_on(async {
            let outbox = Outbox::start(writes.clone());
            for number in 0..50_u8 {
                outbox.say(Ping { token: number.into() }).unwrap();
                Message::from(Ping { token: number.into() }).encode(&mut expected);
                let frames = vec![number; if number % 3 == 0 { GATHERED } else { 100 }];
                outbox.push(frames.clone()).unwrap();
                expected.extend(frames);
            }
            let state = outbox.state.clone();
            drop(outbox);
            while !state.is_closed.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(lock(&writes.0).concat(), expected);
    }
}
