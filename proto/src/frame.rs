//! Frames: `type: u8, length: u32 LE, payload`.
//!
//! Control payloads go through the codec; a chunk's payload is raw and is best read straight to where it will be
//! used: read [`FrameHeader::LEN`] bytes, parse them, then read the payload. [`Decoder`] does the same for bytes
//! that come in pieces.

use crate::{Message, limits};

/// The frame type of a chunk.
const CHUNK: u8 = 8;

/// Types from here on are skipped by those who do not know them.
const FIRST_SKIPPABLE: u8 = 128;

/// Bytes that are not a frame of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A frame longer than its type allows.
    #[error("a frame of type {frame_type} claims {length} bytes")]
    TooLong {
        /// The frame's type.
        frame_type: u8,
        /// The length that it claims.
        length: u32,
    },
    /// A chunk of no bytes.
    #[error("an empty chunk")]
    EmptyChunk,
    /// A type that may not be skipped and is not known.
    #[error("unknown frame type {0}")]
    UnknownType(u8),
    /// A payload longer than its message.
    #[error("bytes left over behind a message")]
    TrailingBytes,
    /// A payload that is not the message that it should be.
    #[error("malformed message: {0}")]
    Malformed(String),
}

/// What a frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A control message.
    Control(Message),
    /// The next bytes of the open body.
    Chunk(Vec<u8>),
}

/// The first bytes of a frame, within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    frame_type: u8,
    length: u32,
}

impl FrameHeader {
    /// Bytes of a frame ahead of its payload.
    pub const LEN: usize = 5;

    /// Of a chunk with this many bytes.
    pub fn chunk(length: usize) -> Self {
        debug_assert!((1..=limits::CHUNK).contains(&length));
        FrameHeader { frame_type: CHUNK, length: length as u32 }
    }

    /// Parses and checks the length against the limit of the type.
    pub fn parse(bytes: [u8; Self::LEN]) -> Result<Self, DecodeError> {
        let [frame_type, length @ ..] = bytes;
        let length = u32::from_le_bytes(length);
        let limit = if frame_type == CHUNK { limits::CHUNK } else { limits::CONTROL };
        match length as usize {
            len if len > limit => Err(DecodeError::TooLong { frame_type, length }),
            0 if frame_type == CHUNK => Err(DecodeError::EmptyChunk),
            _ => Ok(FrameHeader { frame_type, length }),
        }
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let [a, b, c, d] = self.length.to_le_bytes();
        [self.frame_type, a, b, c, d]
    }

    /// Bytes of the payload.
    pub fn payload_len(self) -> usize {
        self.length as usize
    }

    /// Whether the payload is raw bytes of a body.
    pub fn is_chunk(self) -> bool {
        self.frame_type == CHUNK
    }

    /// The message in a control payload; `None` for a frame to be skipped.
    pub fn message(self, payload: &[u8]) -> Result<Option<Message>, DecodeError> {
        match Message::decode_payload(self.frame_type, payload)? {
            Some(message) => Ok(Some(message)),
            None if self.frame_type >= FIRST_SKIPPABLE => Ok(None),
            None => Err(DecodeError::UnknownType(self.frame_type)),
        }
    }
}

impl Message {
    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&FrameHeader { frame_type: self.frame_type(), length: 0 }.to_bytes());
        self.encode_payload(out);
        let length = (out.len() - start - FrameHeader::LEN) as u32;
        out[start + 1..start + FrameHeader::LEN].copy_from_slice(&length.to_le_bytes());
    }
}

/// Makes frames of bytes that come in any pieces. It holds at most one frame that is not yet whole.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input`, up to the end of the next frame; `None` when it needs more.
    /// After an error the stream is lost.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, DecodeError> {
        loop {
            if !self.fill(input, FrameHeader::LEN) {
                return Ok(None);
            }
            let mut head = [0; FrameHeader::LEN];
            head.copy_from_slice(&self.pending[..FrameHeader::LEN]);
            let header = FrameHeader::parse(head)?;
            if !self.fill(input, FrameHeader::LEN + header.payload_len()) {
                return Ok(None);
            }
            let frame = if header.is_chunk() {
                Some(Frame::Chunk(self.pending.split_off(FrameHeader::LEN)))
            } else {
                header.message(&self.pending[FrameHeader::LEN..])?.map(Frame::Control)
            };
            self.pending.clear();
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    /// Whether the stream may end here.
    pub fn is_between_frames(&self) -> bool {
        self.pending.is_empty()
    }

    fn fill(&mut self, input: &mut &[u8], target: usize) -> bool {
        let wanted = target.saturating_sub(self.pending.len()).min(input.len());
        let (taken, rest) = input.split_at(wanted);
        self.pending.extend_from_slice(taken);
        *input = rest;
        self.pending.len() >= target
    }
}
