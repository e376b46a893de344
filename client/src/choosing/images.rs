//! What is an image, by its first bytes and not by its name.

use std::io::Read;

use ferry_pictures::Kind;
use ferry_store::source::{Links, Location, Source};

/// Whether a file is an image; nothing if it cannot be read.
pub(super) fn is_image(source: &Location) -> Option<bool> {
    let mut bytes = Vec::with_capacity(Kind::BEGINNING);
    Source::open(source, Links::Follow).ok()?.take(Kind::BEGINNING as u64).read_to_end(&mut bytes).ok()?;
    Some(Kind::of(&bytes).is_some())
}
