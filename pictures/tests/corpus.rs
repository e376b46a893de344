//! Replays the committed inputs of the fuzz target for pictures, and many that are a little wrong. `docs/testing.md` says
//! what it checks.
//!
//! This is a test binary with a single test, since it counts what the whole process allocates.

#[path = "../../fuzz/src/corpus.rs"]
pub mod corpus;
#[path = "../../fuzz/src/memory.rs"]
pub mod memory;
#[path = "../../fuzz/src/pictures.rs"]
pub mod pictures;

#[test]
fn hostile_11_every_input_that_fuzzing_knows_holds() {
    let ((), counted) = memory::peak_of(|| drop(std::hint::black_box(vec![0u8; 1 << 20])));
    assert!(counted >= 1 << 20, "the allocator counts nothing");
    corpus::replay("pictures", pictures::check);
    let rounds = if std::env::var_os("FERRY_TEST_FULL").is_some() { 4000 } else { 100 };
    corpus::replay("pictures", |whole| (0..rounds).for_each(|round| pictures::check(&bent(whole, round))));
}

/// A picture with some bytes that are wrong: more often near its beginning, where lengths, sizes and offsets stand.
fn bent(whole: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ whole.len() as u64;
    let mut draw = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    let mut bytes = whole.to_vec();
    for _ in 0..=draw(6) {
        let within = if draw(2) == 0 { bytes.len() } else { bytes.len().min(200) };
        let at = draw(within);
        match draw(5) {
            0 => bytes[at] = draw(256) as u8,
            1 => bytes[at] ^= 1 << draw(8),
            2 => bytes[at] = [0, 0xff, 0x7f, 0x80][draw(4)],
            3 => drop(bytes.drain(at..bytes.len().min(at + draw(40)))),
            _ => {
                let copied = bytes[at..bytes.len().min(at + draw(40))].to_vec();
                let to = draw(bytes.len());
                bytes.splice(to..to, copied);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}
