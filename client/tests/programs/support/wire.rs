//! The protocol's bytes on an encrypted stream, said and heard one at a time.

use std::{future::Future, time::Duration};

use ferry_proto::{Decoder, Frame, FrameHeader, Goodbye, Message, Ping};
use ferry_session::Stream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
    time::timeout,
};

use super::GIVE_UP;

/// One end of a connection, without any manners of its own: it answers nothing and checks nothing.
pub(crate) struct Wire {
    // Before the runtime, which it needs until it is gone.
    stream: Box<dyn Stream>,
    decoder: Decoder,
    unread: Vec<u8>,
    runtime: Runtime,
}

impl Wire {
    pub(super) fn new(runtime: Runtime, stream: impl Stream) -> Self {
        Wire { stream: Box::new(stream), decoder: Decoder::new(), unread: Vec::new(), runtime }
    }

    /// Says a message.
    pub(crate) fn say(&mut self, message: impl Into<Message>) {
        let mut frame = Vec::new();
        message.into().encode(&mut frame);
        self.raw(&frame);
    }

    /// Sends a chunk for each MiB, or less, of these bytes.
    pub(crate) fn chunks(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(ferry_proto::limits::CHUNK) {
            self.raw(&[&FrameHeader::chunk(piece.len()).to_bytes()[..], piece].concat());
        }
    }

    /// Sends whatever it is.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.try_raw(bytes).expect("the other end reads");
    }

    /// Sends whatever it is, if the other end still takes it.
    pub(crate) fn try_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let stream = &mut self.stream;
        in_time(&self.runtime, async {
            stream.write_all(bytes).await?;
            stream.flush().await
        })
    }

    /// Gives a sign of life.
    pub(crate) fn live(&mut self) {
        self.say(Ping { token: 0 });
    }

    /// Sends this again and again, and reads nothing; true when the other end closes, false when it has taken
    /// nothing for this long.
    pub(crate) fn flood(&mut self, bytes: &[u8], patience: Duration) -> bool {
        let stream = &mut self.stream;
        self.runtime.block_on(async {
            loop {
                match timeout(patience, stream.write_all(bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return true,
                    Err(_) => return false,
                }
            }
        })
    }

    /// The next frame; `None` at the end of the stream, however it ended.
    pub(crate) fn hear(&mut self) -> Option<Frame> {
        loop {
            let mut input = &self.unread[..];
            let decoded = self.decoder.next(&mut input).expect("the programs speak the protocol");
            let left = input.len();
            self.unread.drain(..self.unread.len() - left);
            if decoded.is_some() {
                return decoded;
            }
            let mut buffer = vec![0; 64 * 1024];
            let stream = &mut self.stream;
            match in_time(&self.runtime, stream.read(&mut buffer)) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.unread.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// The next message that is no sign of life; panics at the end of the stream.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Message {
        loop {
            match self.hear() {
                Some(Frame::Control(Message::Ping(_) | Message::Pong(_) | Message::Spent(_))) => {}
                Some(Frame::Control(message)) => return message,
                Some(Frame::Chunk(bytes)) => panic!("a chunk of {} bytes and no message", bytes.len()),
                None => panic!("the stream has ended"),
            }
        }
    }

    /// Reads to the end of the stream, and returns the goodbye that came before it, if one did.
    pub(crate) fn last_words(&mut self) -> Option<Goodbye> {
        let mut last = None;
        while let Some(frame) = self.hear() {
            if let Frame::Control(Message::Goodbye(goodbye)) = frame {
                last = Some(goodbye);
            }
        }
        last
    }
}

pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

pub(super) fn in_time<T>(runtime: &Runtime, deed: impl Future<Output = T>) -> T {
    runtime.block_on(async { timeout(GIVE_UP, deed).await.expect("gave up on a connection") })
}
