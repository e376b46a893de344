//! Any bytes, as a stream of frames: they end in frames or in an error, the same ones however the bytes are cut, within
//! the memory that a frame may claim.

use ferry_proto::{DecodeError, Decoder, Frame, FrameHeader, limits};

use crate::memory::peak_of;

/// Bytes that decoding may have allocated at a time, the frame that it returns included: the decoder's own copy of a
/// chunk, which may have grown to twice its length, and the chunk.
const BOUND: usize = 3 * limits::CHUNK;

/// The same while no chunk is in the input: the decoder's copy, and a message of which no part is more than twice what
/// its bytes say.
const BOUND_OF_CONTROL: usize = 4 * limits::CONTROL;

/// See the module.
pub fn check(data: &[u8]) {
    let whole = decode([data]);
    let (first, rest) = data.split_at(data.len().min(data.first().copied().unwrap_or(0).into()));
    assert_eq!(whole, decode([first, rest]), "cut in two, the bytes mean something else");
    assert_eq!(whole, decode(data.chunks(1)), "cut into single bytes, they mean something else");
    lengths_agree(data);
}

/// All frames, and what comes after them: an error, or whether the bytes end between two frames.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Result<bool, DecodeError>) {
    let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
    for mut piece in pieces {
        loop {
            let (next, peak) = peak_of(|| decoder.next(&mut piece));
            let bound = if may_hold_chunk(&next) { BOUND } else { BOUND_OF_CONTROL };
            assert!(peak <= bound, "{peak} bytes for one frame");
            match next {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        assert!(piece.is_empty(), "the decoder wants no more, yet has left something");
    }
    (frames, Ok(decoder.is_between_frames()))
}

/// What is not whole yet may be a chunk.
fn may_hold_chunk(next: &Result<Option<Frame>, DecodeError>) -> bool {
    matches!(next, Ok(None | Some(Frame::Chunk(_))))
}

/// A header that is taken says a length within the limit of its type, and its bytes are the same again.
fn lengths_agree(data: &[u8]) {
    let Some((head, payload)) = data.split_first_chunk::<{ FrameHeader::LEN }>() else { return };
    let Ok(header) = FrameHeader::parse(*head) else { return };
    let limit = if header.is_chunk() { limits::CHUNK } else { limits::CONTROL };
    assert!(header.payload_len() <= limit);
    assert_eq!(header.to_bytes(), *head);
    // Also a payload of another length than the header says ends in a value or an error.
    if !header.is_chunk() {
        let _ = header.message(payload);
    }
}
