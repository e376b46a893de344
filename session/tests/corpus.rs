//! Replays the committed inputs of the fuzz target for a whole receiver. `docs/testing.md` says what it checks.
//!
//! This is a test binary with a single test, since it counts what the whole process allocates.

#[path = "../../fuzz/src/corpus.rs"]
pub mod corpus;
#[path = "../../fuzz/src/memory.rs"]
pub mod memory;
#[path = "../../fuzz/src/receiver/mod.rs"]
pub mod receiver;

use ferry_proto::limits;
use receiver::Story;

#[test]
fn every_session_that_fuzzing_knows_leaves_what_it_promised() {
    let mut all = Story::default();
    let inputs = corpus::replay("receiver", |data| {
        let story = receiver::check(data);
        println!("{story:?}");
        all.receipts += story.receipts;
        all.resumed += story.resumed;
        all.held += story.held;
        all.refused += story.refused;
        all.done += story.done;
        all.files += story.files;
        all.staged += story.staged;
        all.memory = all.memory.max(story.memory);
    });
    println!("{inputs} inputs: {all:?}");
    // What is never reached is never checked.
    assert!(all.files > 20 && all.receipts > 20 && all.done > 20, "too few get through: {all:?}");
    assert!(
        all.resumed > 0 && all.held > 0 && all.refused > 0 && all.staged > 0,
        "one kind of end is missing: {all:?}"
    );
    // One of them fills the window of offers.
    assert!(all.memory > limits::OFFER_BYTES, "no input weighs anything, or nothing is counted: {all:?}");
}
