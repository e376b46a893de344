//! Pins how much memory bytes from a stranger can claim: a control frame, whatever its lengths say, is refused or
//! decoded within four times [`limits::CONTROL`], its own bytes in the decoder included.
//!
//! This is a test binary with a single test, since it counts what the whole process allocates.

mod strategies;

use ferry_proto::*;
use peak_alloc::PeakAlloc;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use strategies::{encoded, frame_of_any_kind, framed, message};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const BOUND: usize = 4 * limits::CONTROL;

/// Of the payload alone, when the frame's bytes are already somewhere. Arguments of a request are there twice for a moment,
/// as bytes and as what they say.
const BOUND_OF_MESSAGE: usize = 3 * limits::CONTROL;

#[test]
fn hostile_09_no_length_in_a_frame_claims_more_memory_than_a_frame_may() {
    let counted = peak_of(|| drop(std::hint::black_box(vec![0u8; BOUND + 1])));
    assert!(counted > BOUND, "the allocator counts nothing");
    for frame in crafted() {
        within_bounds(&frame);
    }
    let strategies = (frame_of_any_kind(), message().prop_map(|message| encoded(&message)));
    TestRunner::new(Config::with_cases(5000))
        .run(&strategies, |(hostile, honest)| {
            within_bounds(&hostile);
            within_bounds(&honest);
            Ok(())
        })
        .unwrap();
}

/// Every place in a message that holds a length, with lengths from too large to absurd, behind it nothing, or as
/// many bytes as a frame can hold.
fn crafted() -> Vec<Vec<u8>> {
    let hello = [&b"ferry\0\x01\0\x01\0"[..], &[0; 16]].concat();
    let places: Vec<(u8, Vec<u8>)> = vec![
        (1, hello.clone()),                         // agent
        (1, [&hello[..], &[0]].concat()),           // name
        (1, [&hello[..], &[0, 0]].concat()),        // features
        (2, vec![1]),                               // agent
        (2, vec![1, 0]),                            // name
        (2, vec![1, 0, 0]),                         // features
        (2, vec![1, 0, 0, 0, 1, 1, 1, 1]),          // the grant's name
        (3, vec![0]),                               // detail
        (4, vec![0, 1]),                            // arguments of Put
        (4, vec![0, 99]),                           // arguments of an unknown verb
        (4, vec![0, 2]),                            // arguments of Get
        (4, vec![0, 2, 250]),                       // its paths
        (4, vec![0, 3, 250]),                       // those of List
        (4, vec![0, 2, 250, 1]),                    // the first of them
        (5, vec![0]),                               // path
        (5, vec![0, 1, b'x', 2]),                   // the link's target
        (5, vec![0, 1, b'x', 0, 0, 0, 0, 0]),       // extensions
        (5, vec![0, 1, b'x', 0, 0, 0, 0, 0, 1, 1]), // the value of one
        // The value of an extended attribute.
        (5, [&[0, 1, b'x', 0, 0, 0, 0, 0, 1, 2, 12][..], &[1, 1, b'x']].concat()),
        (6, vec![0, 1, 0, 1]), // the other name of Held
        (6, vec![0, 3, 0]),    // detail
        (11, vec![0, 0, 1]),   // the other name
        (12, vec![0, 0]),      // detail
        (16, vec![0, 0]),      // detail
        (17, vec![1]),         // path
        (17, vec![0, 0]),      // detail
    ];
    let lengths: Vec<Vec<u8>> = [65_000u64, 65_535, 65_536, 1 << 20, 1 << 32, 1 << 60, u64::MAX]
        .iter()
        .map(|length| [&[253][..], &length.to_le_bytes()].concat())
        .chain([vec![250], vec![251, 0xe8, 0xfd]])
        .collect();
    let mut frames = Vec::new();
    for (frame_type, before) in &places {
        for length in &lengths {
            for (filler, fill_to) in
                [(0u8, 0), (0, limits::CONTROL), (1, limits::CONTROL), (250, limits::CONTROL)]
            {
                let mut payload = [&before[..], length].concat();
                payload.resize(fill_to.max(payload.len()), filler);
                frames.push(framed(*frame_type, &payload));
            }
        }
    }
    frames
}

fn within_bounds(frame: &[u8]) {
    let whole = peak_of(|| {
        let mut input = frame;
        drop(Decoder::new().next(&mut input));
    });
    assert!(whole <= BOUND, "{whole} bytes for a frame of {}: {:02x?}…", frame.len(), start(frame));

    let in_pieces = peak_of(|| {
        let mut decoder = Decoder::new();
        for mut piece in frame.chunks(1000) {
            while let Ok(Some(_)) = decoder.next(&mut piece) {}
        }
    });
    assert!(in_pieces <= BOUND, "{in_pieces} bytes for a frame in pieces: {:02x?}…", start(frame));

    let (head, payload) = frame.split_first_chunk().expect("a whole frame");
    if let Ok(header) = FrameHeader::parse(*head)
        && payload.len() == header.payload_len()
    {
        let message = peak_of(|| drop(header.message(payload)));
        assert!(message <= BOUND_OF_MESSAGE, "{message} bytes for a message: {:02x?}…", start(frame));
    }
}

fn start(frame: &[u8]) -> &[u8] {
    &frame[..frame.len().min(48)]
}

fn peak_of(work: impl FnOnce()) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    work();
    MEMORY.peak_usage().saturating_sub(before)
}
