//! What comes in on a stream, and the signs of life that go with it.

use std::{
    future::{Future, poll_fn},
    io::ErrorKind,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use ferry_proto::{Code, FrameHeader, Message, Pong, Violation, limits};
use ferry_store::Lease;
use tokio::{
    io::{AsyncRead, AsyncReadExt, BufReader, ReadHalf},
    time::{sleep, timeout},
};

use crate::{Outbox, SessionError, Stream};

/// Bytes read from the stream at a time. Larger chunks are read past this buffer, straight to where they are used.
const READ: usize = 64 * 1024;

/// How often a side that waits looks after its signs of life.
const TICK: Duration = Duration::from_secs(1);

/// The way into a session.
pub struct Incoming {
    reader: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    payload: Vec<u8>,
    outbox: Outbox,
    lease: Option<Arc<Lease>>,
    ticked: Instant,
    /// How long the rest of the frame may take.
    patience: Duration,
}

/// What came.
#[derive(Debug)]
pub enum Arrived {
    /// A control message, and the length of its payload.
    Message(Message, usize),
    /// The header of a chunk with this many bytes; [`Incoming::chunk`] must follow.
    Chunk(usize),
}

impl Incoming {
    pub(crate) fn new<S: Stream>(reader: ReadHalf<S>, outbox: Outbox) -> Self {
        let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(reader);
        Incoming {
            reader: BufReader::with_capacity(READ, reader),
            payload: Vec::new(),
            outbox,
            lease: None,
            ticked: Instant::now(),
            patience: limits::FRAME,
        }
    }

    /// From here on, signs of life renew this lease.
    pub fn keep_alive(&mut self, lease: Arc<Lease>) {
        self.lease = Some(lease);
    }

    /// The next message or chunk. Pings are answered here, a `Goodbye` is an error. `tick` is called about once a
    /// second, and may end the session.
    pub async fn next(
        &mut self,
        mut tick: impl FnMut() -> Result<(), SessionError>,
    ) -> Result<Arrived, SessionError> {
        loop {
            if self.ticked.elapsed() >= TICK {
                self.ticked = Instant::now();
                tick()?;
                // A peer that only sends must still hear that it is heard.
                self.outbox.stay_alive();
            }
            let header = self.header(&mut tick).await?;
            if let Some(lease) = &self.lease {
                lease.heard();
            }
            self.patience = limits::FRAME;
            let length = header.payload_len();
            if header.is_chunk() {
                return Ok(Arrived::Chunk(length));
            }
            self.payload.resize(length, 0);
            patiently(&mut self.patience, &self.outbox, self.reader.read_exact(&mut self.payload)).await?;
            match header.message(&self.payload)? {
                None => {}
                Some(Message::Ping(_)) if !self.outbox.is_greeted() => {
                    return Err(Violation("a ping before the welcome").into());
                }
                Some(Message::Ping(ping)) => self.outbox.say(Pong { token: ping.token })?,
                Some(Message::Pong(pong)) => {
                    if self.outbox.answered(pong.token)
                        && let Some(lease) = &self.lease
                    {
                        lease.answered(pong.token);
                    }
                }
                Some(Message::Goodbye(goodbye)) if goodbye.code == Code::Bye => {
                    return Err(SessionError::Finished);
                }
                Some(Message::Goodbye(goodbye)) => {
                    return Err(SessionError::Goodbye { code: goodbye.code, detail: goodbye.detail });
                }
                Some(message) => return Ok(Arrived::Message(message, length)),
            }
        }
    }

    /// The next message, which may not be a chunk.
    pub async fn message(&mut self) -> Result<Message, SessionError> {
        match self.next(|| Ok(())).await? {
            Arrived::Message(message, _) => Ok(message),
            Arrived::Chunk(_) => Err(Violation("a chunk outside a body").into()),
        }
    }

    /// Reads the next bytes of a chunk, in place of what is in `buffer`.
    pub async fn chunk(&mut self, length: usize, buffer: &mut Vec<u8>) -> Result<(), SessionError> {
        buffer.clear();
        let read = async {
            let mut limited = (&mut self.reader).take(length as u64);
            while buffer.len() < length {
                self.lease.iter().for_each(|lease| lease.heard());
                if limited.read_buf(buffer).await? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(())
        };
        patiently(&mut self.patience, &self.outbox, read).await
    }

    /// Reads the bytes of a chunk and forgets them.
    pub async fn skip(&mut self, length: usize) -> Result<(), SessionError> {
        let mut limited = (&mut self.reader).take(length as u64);
        let mut sink = tokio::io::sink();
        let read = tokio::io::copy_buf(&mut limited, &mut sink);
        let skipped = patiently(&mut self.patience, &self.outbox, read).await?;
        if skipped == length as u64 { Ok(()) } else { Err(SessionError::Cut) }
    }

    /// Does something that takes its time while the stream is not read, telling the peer meanwhile that this side
    /// lives. `tick` is called about once a second, and may end the session.
    pub async fn meanwhile<T>(
        &mut self,
        mut tick: impl FnMut() -> Result<(), SessionError>,
        deed: impl Future<Output = T>,
    ) -> Result<T, SessionError> {
        while_alive(&self.outbox, |_| tick(), deed).await
    }

    /// Reads on until the peer closes, so that its last words are not lost to a reset.
    pub async fn drain(self) {
        let Incoming { mut reader, outbox, .. } = self;
        // It would hold the stream open.
        drop(outbox);
        let mut sink = tokio::io::sink();
        let _ = timeout(limits::GOODBYE_DRAIN, tokio::io::copy_buf(&mut reader, &mut sink)).await;
    }

    async fn header(
        &mut self,
        tick: &mut impl FnMut() -> Result<(), SessionError>,
    ) -> Result<FrameHeader, SessionError> {
        let mut head = [0; FrameHeader::LEN];
        let tick = |waited| {
            self.ticked = Instant::now();
            tick()?;
            if waited >= limits::SILENCE { Err(SessionError::Silent) } else { Ok(()) }
        };
        while_alive(&self.outbox, tick, self.reader.read_exact(&mut head)).await?.map_err(cut)?;
        Ok(FrameHeader::parse(head)?)
    }
}

/// Reads a part of a frame, and takes the time that it needed off what the whole may need.
async fn patiently<T>(
    patience: &mut Duration,
    outbox: &Outbox,
    read: impl Future<Output = std::io::Result<T>>,
) -> Result<T, SessionError> {
    let mut read = pin!(read);
    if let Some(read) = at_once(read.as_mut()).await {
        return read.map_err(cut);
    }
    let since = Instant::now();
    let read = timeout(*patience, while_alive(outbox, |_| Ok(()), read)).await;
    *patience = patience.saturating_sub(since.elapsed());
    read.map_err(|_| SessionError::Silent)??.map_err(cut)
}

/// Does something that takes its time, telling the peer meanwhile that this side lives. `tick` is called about once a
/// second with the time that it has taken so far, and may end it.
async fn while_alive<T>(
    outbox: &Outbox,
    mut tick: impl FnMut(Duration) -> Result<(), SessionError>,
    deed: impl Future<Output = T>,
) -> Result<T, SessionError> {
    let mut deed = pin!(deed);
    if let Some(done) = at_once(deed.as_mut()).await {
        return Ok(done);
    }
    let since = Instant::now();
    loop {
        tokio::select! {
            biased;
            done = &mut deed => return Ok(done),
            () = sleep(TICK) => {
                tick(since.elapsed())?;
                outbox.stay_alive();
            }
        }
    }
}

/// What a future comes to without waiting, if it does. A clock that is set for each of many small frames costs more than
/// they do.
pub(crate) async fn at_once<T>(mut deed: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|context| match deed.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn cut(error: std::io::Error) -> SessionError {
    match error.kind() {
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::BrokenPipe
        | ErrorKind::ConnectionAborted => SessionError::Cut,
        _ => SessionError::Io(error),
    }
}
