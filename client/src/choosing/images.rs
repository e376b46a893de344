//! What is an image, by its first bytes and not by its name; or, where flawed ones are looked for, by either.

use std::{io::Read, os::unix::ffi::OsStrExt};

use ferry_pictures::Kind;
use ferry_store::source::{Links, Location, Source};

use crate::config::Images;

/// Whether a file is one of the images that are wanted; nothing if it cannot be read.
pub(super) fn is_image(source: &Location, wanted: Images) -> Option<bool> {
    let mut bytes = Vec::with_capacity(Kind::BEGINNING);
    Source::open(source, Links::Follow).ok()?.take(Kind::BEGINNING as u64).read_to_end(&mut bytes).ok()?;
    let is_flawed = || promised(source).is_some_and(|promised| promised.broken_by(&bytes).is_some());
    Some(Kind::of(&bytes).is_some() || (wanted == Images::FlawedToo && is_flawed()))
}

/// The kind of image that a file's name promises, if it does.
pub(crate) fn promised(source: &Location) -> Option<Kind> {
    Kind::promised_by(source.path().file_name()?.as_bytes())
}
