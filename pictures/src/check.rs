//! Whether a picture is whole.

use std::io::{BufRead, Seek};

use crate::{
    Flaw, Kind, Limits,
    decode::{self, Wanted},
    reading::Reading,
    webp,
};

/// Decodes a picture whole, to find out whether that can be done; its name may promise that there is one. What is cut off is
/// always found; what is damaged in its middle only where the decoder notices, because in most kinds any bytes are a picture
/// of something.
///
/// # Errors
/// [`Flaw::CutOff`] and [`Flaw::Damaged`] if it is ill, [`Flaw::Empty`] and [`Flaw::NoPicture`] if a picture was promised and
/// it is none of any kind. With any other it is not known: with [`Flaw::Unknown`] it is of a kind, or coded in a way, that
/// cannot be decoded here, or no picture and none was promised, with [`Flaw::TooLarge`] and [`Flaw::TooSlow`] the limits do
/// not allow a look, and with [`Flaw::Unreadable`] it could not be read.
pub fn check(reader: impl BufRead + Seek, promised: Option<Kind>, limits: &Limits<'_>) -> Result<(), Flaw> {
    let mut reader = reader;
    let mut reader = Reading::new(&mut reader, u64::MAX, limits);
    let beginning = reader.beginning(Kind::BEGINNING)?;
    let Some(kind) = Kind::of(&beginning) else {
        return Err(promised.and_then(|kind| kind.broken_by(&beginning)).unwrap_or(Flaw::Unknown));
    };
    // Decoders stop when they have the last pixel, and some before.
    let ended = match kind {
        Kind::Png => png_ends(&mut reader),
        Kind::Webp => webp::ends(&mut reader),
        Kind::Gif => gif_ends(&mut reader),
        _ => Ok(()),
    };
    reader.blame(ended)?;
    reader.beginning(0)?;
    // Of a JPEG the smallest picture will do, for which all of it is read just as well.
    decode::decode(&mut reader, kind, Wanted { edge: 1, whole: true }, limits)?;
    reader.beginning(0)?;
    decode::decode_frames(&mut reader, kind, limits)
}

/// Goes to the last chunk.
fn png_ends(reader: &mut Reading<'_>) -> Result<(), Flaw> {
    reader.skip(8)?;
    loop {
        let length = u32::from_be_bytes(reader.array()?);
        let is_last = reader.array::<4>()? == *b"IEND";
        reader.skip(length.into())?;
        reader.array::<4>()?;
        if is_last {
            return Ok(());
        }
    }
}

/// Goes through the blocks to the one that says that it is the last.
fn gif_ends(reader: &mut Reading<'_>) -> Result<(), Flaw> {
    reader.skip(10)?;
    let [flags, _, _] = reader.array()?;
    skip_colours(reader, flags)?;
    loop {
        match reader.array()? {
            [b';'] => return Ok(()),
            // An extension, and what kind of one.
            [b'!'] => reader.skip(1)?,
            [b','] => {
                let [.., flags] = reader.array::<9>()?;
                skip_colours(reader, flags)?;
                // Bits of a code.
                reader.skip(1)?;
            }
            _ => return Err(Flaw::damaged("a block of no known kind")),
        }
        loop {
            match reader.array()? {
                [0] => break,
                [length] => reader.skip(length.into())?,
            }
        }
    }
}

fn skip_colours(reader: &mut Reading<'_>, flags: u8) -> Result<(), Flaw> {
    let colours = if flags & 0x80 == 0 { 0 } else { 2 << (flags & 7) };
    reader.skip(colours * 3)
}
