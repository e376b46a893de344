//! The boxes of HEIC, HEIF and AVIF, as far as to the block of EXIF in them.

use crate::{Flaw, exif::BLOCK, reading::Reading};

/// Boxes at the top of a file that are looked at: the one that is wanted is among the first.
const BOXES: usize = 64;

/// Bytes of the box that tells where everything is. It has some dozens for each tile of a picture.
const META: u64 = 1024 * 1024;

/// The block of EXIF, if there is one.
pub(crate) fn exif(reader: &mut Reading<'_>) -> Result<Option<Vec<u8>>, Flaw> {
    let mut at = 0;
    for _ in 0..BOXES {
        let head = reader.bytes(at, 16)?;
        let Some((size, name, body)) = box_head(&head) else { return Ok(None) };
        if name == *b"meta" {
            let length = size.saturating_sub(body).min(META);
            let meta = reader.bytes(at + body, length as usize)?;
            let Some((offset, length)) = place_of_exif(&meta) else { return Ok(None) };
            let block = reader.bytes(offset, length.min(BLOCK as u64 + 4) as usize)?;
            // It says first how much further the block begins.
            let Some((skip, rest)) = block.split_first_chunk() else { return Ok(None) };
            let skip = u32::from_be_bytes(*skip) as usize;
            return Ok(rest.get(skip..).map(<[u8]>::to_vec));
        }
        let Some(next) = at.checked_add(size).filter(|_| size >= body) else { return Ok(None) };
        at = next;
    }
    Ok(None)
}

/// Size, name, and where the body begins.
fn box_head(bytes: &[u8]) -> Option<(u64, [u8; 4], u64)> {
    let mut cursor = Cursor(bytes);
    let (size, name) = (cursor.long()?, cursor.take(4)?.try_into().ok()?);
    match size {
        // Up to the end of the file.
        0 => Some((u64::MAX, name, 8)),
        1 => Some((cursor.number(8)?, name, 16)),
        size => Some((size.into(), name, 8)),
    }
}

/// Offset and length of the item whose type is `Exif`.
fn place_of_exif(meta: &[u8]) -> Option<(u64, u64)> {
    let mut cursor = Cursor(meta);
    // Version and flags.
    cursor.take(4)?;
    let (mut infos, mut places) = (None, None);
    while let Some((name, body)) = cursor.inner() {
        match &name {
            b"iinf" => infos = Some(body),
            b"iloc" => places = Some(body),
            _ => {}
        }
    }
    place_of(places?, exif_item(infos?)?)
}

fn exif_item(infos: &[u8]) -> Option<u64> {
    let mut cursor = Cursor(infos);
    let version = cursor.version()?;
    cursor.take(if version == 0 { 2 } else { 4 })?;
    while let Some((name, body)) = cursor.inner() {
        let mut info = Cursor(body);
        let version = info.version()?;
        if name != *b"infe" || version < 2 {
            continue;
        }
        let item = info.number(if version == 2 { 2 } else { 4 })?;
        info.take(2)?;
        if info.take(4)? == b"Exif" {
            return Some(item);
        }
    }
    None
}

fn place_of(places: &[u8], item: u64) -> Option<(u64, u64)> {
    let mut cursor = Cursor(places);
    let version = cursor.version()?;
    let sizes = cursor.number(2)?;
    let size = |shift: u64| (sizes >> shift & 15) as usize;
    let (offset_size, length_size, base_size) = (size(12), size(8), size(4));
    let index_size = if version == 0 { 0 } else { size(0) };
    let (count, item_size) = if version < 2 { (cursor.number(2)?, 2) } else { (cursor.number(4)?, 4) };
    for _ in 0..count {
        let this = cursor.number(item_size)?;
        // 0 is the file itself, and the only way in which this item is kept.
        let method = if version == 0 { 0 } else { cursor.number(2)? & 15 };
        cursor.take(2)?;
        let base = cursor.number(base_size)?;
        let extents = cursor.number(2)?;
        let mut places = Cursor(cursor.take(extents as usize * (index_size + offset_size + length_size))?);
        if this == item && method == 0 && extents > 0 {
            places.take(index_size)?;
            return Some((base.checked_add(places.number(offset_size)?)?, places.number(length_size)?));
        }
    }
    None
}

/// What is left of some bytes.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes; of none it is 0.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        (bytes <= 8).then_some(())?;
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn long(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// The version of a box, which flags follow.
    fn version(&mut self) -> Option<u8> {
        Some(self.take(4)?[0])
    }

    /// The next box within this one.
    fn inner(&mut self) -> Option<([u8; 4], &'a [u8])> {
        let (size, name, body) = box_head(self.0)?;
        let whole = self.take(usize::try_from(size).ok()?)?;
        Some((name, whole.get(body as usize..)?))
    }
}
