//! The parts of a WebP: what they say of the picture, and how large each of them says that it is.

use crate::{
    Flaw, Limits,
    exif::BLOCK,
    facts::{Found, PARTS},
    reading::Reading,
};

/// The head of a part, whose bytes follow.
struct Part {
    name: [u8; 4],
    length: u32,
}

impl Part {
    /// The one that begins here; `None` where no other one does.
    fn here(reader: &mut Reading<'_>) -> Result<Option<Self>, Flaw> {
        let head = reader.bytes_here(8)?;
        let Some((name, length)) = head.split_first_chunk::<4>() else { return Ok(None) };
        Ok(length.first_chunk().map(|length| Part { name: *name, length: u32::from_le_bytes(*length) }))
    }

    /// Bytes to the next one: parts begin at even places.
    fn span(&self) -> u64 {
        u64::from(self.length) + u64::from(self.length % 2)
    }

    /// The size that it says, if it is one that does; it begins here. A part that
    /// claims to be shorter does not get around the limits by that.
    fn size(&self, reader: &mut Reading<'_>) -> Result<Option<(u32, u32)>, Flaw> {
        if !matches!(&self.name, b"VP8X" | b"VP8 " | b"VP8L") {
            return Ok(None);
        }
        let head = reader.bytes_here(10)?;
        Ok(size(&self.name, &head))
    }
}

/// Goes through the parts as far as to the block of EXIF, which may stand behind the picture.
pub(crate) fn look(reader: &mut Reading<'_>, found: &mut Found) -> Result<(), Flaw> {
    reader.skip(12)?;
    for _ in 0..PARTS {
        let Some(part) = Part::here(reader)? else { return Ok(()) };
        let start = reader.position()?;
        if part.name == *b"EXIF" {
            let block = reader.bytes(start, BLOCK.min(part.length as usize))?;
            // Some write it as in a JPEG.
            let plain = block.strip_prefix(b"Exif\0\0").map(<[u8]>::to_vec);
            found.exif = Some(plain.unwrap_or(block));
            return Ok(());
        }
        if found.size.is_none() {
            found.size = part.size(reader)?;
        }
        reader.go_to(start + part.span())?;
    }
    Ok(())
}

/// Holds each size that a part says to the limits: the decoder believes the one of a single picture, whatever the whole
/// says. `each` is what a pixel takes.
pub(crate) fn allow(reader: &mut Reading<'_>, limits: &Limits<'_>, each: u64) -> Result<(), Flaw> {
    let allow = |reader: &mut Reading<'_>, part: &Part| match part.size(reader)? {
        Some((width, height)) => limits.allow(width, height, each, 0),
        None => Ok(()),
    };
    reader.beginning(0)?;
    reader.skip(12)?;
    while let Some(part) = Part::here(reader)? {
        let start = reader.position()?;
        if part.name == *b"ANMF" {
            // What comes before its picture, and perhaps what is seen through it.
            reader.skip(16)?;
            let mut inner = Part::here(reader)?;
            if let Some(alpha) = inner.as_ref().filter(|part| part.name == *b"ALPH") {
                reader.skip(alpha.span())?;
                inner = Part::here(reader)?;
            }
            if let Some(inner) = &inner {
                allow(reader, inner)?;
            }
        } else {
            allow(reader, &part)?;
        }
        reader.go_to(start + part.span())?;
    }
    Ok(())
}

/// Whether there are as many bytes as the head says.
pub(crate) fn ends(reader: &mut Reading<'_>) -> Result<(), Flaw> {
    reader.skip(4)?;
    let length = u64::from(u32::from_le_bytes(reader.array()?));
    if reader.length()? < length + 8 { Err(Flaw::CutOff) } else { Ok(()) }
}

fn size(name: &[u8; 4], head: &[u8]) -> Option<(u32, u32)> {
    let number = |from: usize, bytes: usize| {
        let bytes = head.get(from..from + bytes)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    };
    Some(match name {
        b"VP8X" => (number(4, 3)? + 1, number(7, 3)? + 1),
        b"VP8 " => (number(6, 2)? & 0x3fff, number(8, 2)? & 0x3fff),
        _ => {
            let bits = number(1, 4)?;
            ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)
        }
    })
}
