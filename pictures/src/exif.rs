//! EXIF: directories of entries, as TIFF has them. Only what is asked for is looked at, so that a crafted block costs no more
//! than the few directories that are wanted.

/// Entries of one directory that are looked at. Cameras write some dozens.
const ENTRIES: usize = 512;

/// Bytes of a block that are looked at. In a JPEG there is room for 64 KiB; elsewhere, and in raw files, what is wanted
/// stands at the beginning as well.
pub(crate) const BLOCK: usize = 256 * 1024;

/// A block of EXIF, which begins as a TIFF file does.
pub(crate) struct Exif {
    bytes: Vec<u8>,
    is_big: bool,
}

/// One directory.
pub(crate) struct Directory<'a> {
    exif: &'a Exif,
    /// Where its entries are, of which each has 12 bytes.
    entries: &'a [u8],
    /// Where the next one begins.
    next: Option<u32>,
}

/// What an entry holds.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    kind: u16,
    bytes: &'a [u8],
    is_big: bool,
}

impl Exif {
    /// `None` if it is none.
    pub(crate) fn new(bytes: Vec<u8>) -> Option<Self> {
        // Olympus and Panasonic have numbers of their own in the place of 42.
        let is_big = match bytes.get(..2)? {
            b"MM" => true,
            b"II" => false,
            _ => return None,
        };
        (bytes.len() >= 8).then_some(Exif { bytes, is_big })
    }

    /// The one that tells of the picture.
    pub(crate) fn first(&self) -> Option<Directory<'_>> {
        self.directory(self.long(4)?)
    }

    /// The one at this offset.
    pub(crate) fn directory(&self, at: u32) -> Option<Directory<'_>> {
        let at = usize::try_from(at).ok().filter(|at| *at >= 8)?;
        let count = usize::from(self.short(at)?);
        let rest = self.bytes.get(at + 2..)?;
        let next = self.long(at + 2 + count * 12).filter(|next| *next != 0);
        let whole = count.min(rest.len() / 12).min(ENTRIES);
        Some(Directory { exif: self, entries: &rest[..whole * 12], next })
    }

    /// So many bytes at an offset.
    pub(crate) fn slice(&self, at: u32, length: u32) -> Option<&[u8]> {
        let (at, length) = (usize::try_from(at).ok()?, usize::try_from(length).ok()?);
        self.bytes.get(at..at.checked_add(length)?)
    }

    fn short(&self, at: usize) -> Option<u16> {
        short(self.bytes.get(at..)?, self.is_big)
    }

    fn long(&self, at: usize) -> Option<u32> {
        long(self.bytes.get(at..)?, self.is_big)
    }
}

impl<'a> Directory<'a> {
    /// What the entry with this tag holds.
    pub(crate) fn value(&self, tag: u16) -> Option<Value<'a>> {
        let is_big = self.exif.is_big;
        let entry = self.entries.chunks_exact(12).find(|entry| short(entry, is_big) == Some(tag))?;
        let (kind, count) = (short(&entry[2..], is_big)?, long(&entry[4..], is_big)?);
        let each = match kind {
            // Bytes, text, anything.
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 => 4,
            5 | 10 => 8,
            _ => return None,
        };
        let length = count.checked_mul(each)?;
        let bytes = match length {
            0..=4 => &entry[8..8 + length as usize],
            _ => self.exif.slice(long(&entry[8..], is_big)?, length)?,
        };
        Some(Value { kind, bytes, is_big })
    }

    /// The directory that the entry with this tag leads to.
    pub(crate) fn inner(&self, tag: u16) -> Option<Directory<'a>> {
        self.exif.directory(self.value(tag)?.number()?)
    }

    /// The directory behind it.
    pub(crate) fn next(&self) -> Option<Directory<'a>> {
        self.exif.directory(self.next?)
    }

    /// The block that it is in.
    pub(crate) fn exif(&self) -> &'a Exif {
        self.exif
    }
}

impl<'a> Value<'a> {
    /// Text, up to its end.
    pub(crate) fn text(&self) -> Option<&'a [u8]> {
        let end = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(self.bytes.len());
        Some(&self.bytes[..end]).filter(|text| self.kind == 2 && !text.is_empty())
    }

    /// The first number, if that is whole and not negative.
    pub(crate) fn number(&self) -> Option<u32> {
        match self.kind {
            1 => self.bytes.first().map(|byte| u32::from(*byte)),
            3 => short(self.bytes, self.is_big).map(u32::from),
            4 => long(self.bytes, self.is_big),
            _ => None,
        }
    }

    /// The first fraction, if that is none of nothing.
    pub(crate) fn fraction(&self) -> Option<(u32, u32)> {
        let (above, below) = (long(self.bytes, self.is_big)?, long(self.bytes.get(4..)?, self.is_big)?);
        (self.kind == 5 && below != 0).then_some((above, below))
    }
}

fn short(bytes: &[u8], is_big: bool) -> Option<u16> {
    let bytes = *bytes.first_chunk()?;
    Some(if is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
}

fn long(bytes: &[u8], is_big: bool) -> Option<u32> {
    let bytes = *bytes.first_chunk()?;
    Some(if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}
