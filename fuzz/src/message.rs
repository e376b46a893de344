//! Every message: one byte for its type, then its payload. What decodes is the same after encoding and decoding it
//! again, and nothing claims more memory than a message may.

use ferry_proto::{FrameHeader, Message, limits};

use crate::memory::peak_of;

/// Bytes that decoding one payload may allocate at a time.
const BOUND: usize = 2 * limits::CONTROL;

/// See the module.
pub fn check(data: &[u8]) {
    let Some((&frame_type, payload)) = data.split_first() else { return };
    let payload = &payload[..payload.len().min(limits::CONTROL)];
    let Some(message) = decode(frame_type, payload) else { return };

    let mut frame = Vec::new();
    message.encode(&mut frame);
    assert_eq!(frame[0], frame_type, "{message:?} is encoded as another message");
    let again = &frame[FrameHeader::LEN..];
    assert!(again.len() <= limits::CONTROL, "{message:?} fits no frame");
    assert_eq!(decode(frame_type, again).as_ref(), Some(&message), "after the way there and back");

    let mut second = Vec::new();
    message.encode(&mut second);
    assert_eq!(frame, second, "the same message has other bytes");
}

fn decode(frame_type: u8, payload: &[u8]) -> Option<Message> {
    let [a, b, c, d] = (payload.len() as u32).to_le_bytes();
    // A chunk is no message, and empty ones have no header.
    let header = FrameHeader::parse([frame_type, a, b, c, d]).ok().filter(|header| !header.is_chunk())?;
    let (decoded, peak) = peak_of(|| header.message(payload));
    assert!(peak <= BOUND, "{peak} bytes for a message of {}", payload.len());
    decoded.ok().flatten()
}
