//! Replays the committed inputs of the fuzz targets for names, links, messages and frames. `docs/testing.md` says what
//! they check.
//!
//! This is a test binary with a single test, since it counts what the whole process allocates.

#[path = "../../fuzz/src/corpus.rs"]
pub mod corpus;
#[path = "../../fuzz/src/frame.rs"]
pub mod frame;
#[path = "../../fuzz/src/invite.rs"]
pub mod invite;
#[path = "../../fuzz/src/memory.rs"]
pub mod memory;
#[path = "../../fuzz/src/message.rs"]
pub mod message;
#[path = "../../fuzz/src/path.rs"]
pub mod path;

#[test]
fn every_input_that_fuzzing_knows_holds() {
    let ((), counted) = memory::peak_of(|| drop(std::hint::black_box(vec![0u8; 1 << 20])));
    assert!(counted >= 1 << 20, "the allocator counts nothing");
    corpus::replay("frame", frame::check);
    corpus::replay("message", message::check);
    corpus::replay("path", path::check);
    corpus::replay("invite", invite::check);
}
