//! Any bytes, as the file of a picture: what it says of itself, whether it is whole, and a thumbnail of it end in a value
//! or in a flaw, within the memory that they may take, and soon after it is over.

use std::{
    io::Cursor,
    sync::atomic::{AtomicUsize, Ordering},
};

use ferry_pictures::{Facts, Kind, Limits, check as check_picture, facts, thumbnail};

use crate::memory::peak_of;

/// How often one look may ask whether it is over before it is: far more often than any that ends by itself.
const QUESTIONS: usize = 20_000;

/// How often it may ask after that: what is given up for a preview goes on to the next step, and ends there.
const MORE: usize = 8;

/// Bytes that facts take beyond what is read of the file.
const FACTS: usize = 1024 * 1024;

/// Bytes that decoding takes: what the limits allow, once more for a preview, and what decoders keep besides.
const DECODING: usize = 48 * 1024 * 1024;

/// The longer edge of a thumbnail.
const EDGE: u32 = 100;

/// See the module.
pub fn check(data: &[u8]) {
    let (found, peak) = peak_of(|| within(|limits| facts(Cursor::new(data), limits)));
    assert!(peak <= FACTS + 4 * data.len(), "{peak} bytes for facts");
    if let Ok(facts) = found {
        assert_eq!(Kind::of(data), Some(facts.kind));
        hold(&facts);
    }

    let (_, peak) = peak_of(|| within(|limits| check_picture(Cursor::new(data), Some(Kind::Jpeg), limits)));
    assert!(peak <= DECODING + 4 * data.len(), "{peak} bytes for a check");

    let (made, peak) = peak_of(|| within(|limits| thumbnail(Cursor::new(data), EDGE, limits)));
    assert!(peak <= DECODING + 4 * data.len(), "{peak} bytes for a thumbnail");
    if let Ok(made) = made {
        within(|limits| check_picture(Cursor::new(&made), Some(Kind::Jpeg), limits))
            .expect("a thumbnail is whole");
        let of_thumbnail =
            within(|limits| facts(Cursor::new(&made), limits)).expect("a thumbnail is a picture");
        let (width, height) = of_thumbnail.size.expect("a thumbnail has a size");
        assert!(
            of_thumbnail.kind == Kind::Jpeg && (1..=EDGE).contains(&width) && (1..=EDGE).contains(&height)
        );
    }
}

/// Looks, for as long as so many questions last.
fn within<T>(look: impl FnOnce(&Limits<'_>) -> T) -> T {
    let asked = AtomicUsize::new(0);
    let is_over = || asked.fetch_add(1, Ordering::Relaxed) >= QUESTIONS;
    let found = look(&Limits { pixels: 1_000_000, memory: 16 * 1024 * 1024, is_over: &is_over });
    let asked = asked.into_inner();
    assert!(asked <= QUESTIONS + MORE, "{asked} questions, and it went on");
    found
}

fn hold(facts: &Facts) {
    assert!((1..=8).contains(&facts.orientation));
    for text in [&facts.make, &facts.model, &facts.lens].into_iter().flatten() {
        assert!(
            !text.is_empty() && text.chars().count() <= 80 && !text.contains(char::is_control),
            "{text:?}"
        );
    }
    assert!(facts.exposure.is_none_or(|(_, below)| below != 0));
    assert!([facts.f_number, facts.focal_length].into_iter().flatten().all(|number| number.is_finite()));
}
