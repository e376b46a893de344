//! The segments of a JPEG: what stands before the picture, and how far the picture goes.

use crate::{Flaw, Limits, reading::Reading};

/// Segments before the picture that are looked at. A file has some dozens of them, and of a profile in pieces 255 at the
/// most.
const SEGMENTS: usize = 1024;

/// Scans that a picture may have, each of which may go over all of it for very few bytes. Encoders make ten of a picture
/// in colours and 18 of one in inks; who tries scripts to find the shortest file makes some dozens.
const SCANS: u64 = 100;

/// How often all scans together may go over the pixels that the limits allow. Ten are made of the largest pictures, and
/// those are smaller than the limits on pixels, because what their scans have told has to be kept in memory.
const WORK: u64 = 10;

/// What a marker begins with.
pub(crate) const MARKER: u8 = 0xff;

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
const APP1: u8 = 0xe1;

/// What stands before the picture.
#[derive(Default)]
pub(crate) struct Head {
    pub(crate) frame: Option<Frame>,
    /// A block of EXIF.
    pub(crate) exif: Option<Vec<u8>>,
}

/// What the picture says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// How it is coded: the second byte of its marker.
    coding: u8,
    pub(crate) width: u32,
    pub(crate) height: u32,
    components: u8,
    /// Samples of all components for 4 pixels, at the most.
    samples: u64,
}

impl Frame {
    /// Bytes for each pixel that decoding it to this part of its size takes, at the most. Scans that each tell a little
    /// more of all pixels make it necessary to keep what is known of them.
    pub(crate) fn bytes_each(&self, eighths: u64) -> u64 {
        const PROGRESSIVE: u8 = 0xc2;
        let known = if self.coding == PROGRESSIVE { (self.samples * 2).div_ceil(4) } else { 1 };
        // By component, and put together.
        known + (2 * u64::from(self.components) * eighths * eighths).div_ceil(64)
    }

    /// Eighths of its size to which it is decoded so that its longer edge has at least so many pixels.
    pub(crate) fn eighths(&self, edge: u32) -> u64 {
        let longer = u64::from(self.width.max(self.height));
        [1, 2, 4].into_iter().find(|eighths| longer * eighths / 8 >= edge.into()).unwrap_or(8)
    }

    /// Whether it is coded in a way that is understood here: all that cameras, phones and the web make.
    pub(crate) fn is_usual(&self) -> bool {
        matches!(self.coding, 0xc0..=0xc2) && matches!(self.components, 1 | 3 | 4)
    }

    /// Of the bytes of its segment.
    fn parse(coding: u8, segment: &[u8]) -> Option<Self> {
        let (fixed, components) = segment.split_first_chunk::<6>()?;
        let [_, h1, h2, w1, w2, count] = *fixed;
        let (height, width) = (u16::from_be_bytes([h1, h2]), u16::from_be_bytes([w1, w2]));
        let factors: Vec<(u64, u64)> = components
            .chunks_exact(3)
            .take(4)
            .map(|component| (u64::from(component[1] >> 4), u64::from(component[1] & 15)))
            .collect();
        let most = |of: fn(&(u64, u64)) -> u64| factors.iter().map(of).max().unwrap_or(1).max(1);
        let whole = most(|factor| factor.0) * most(|factor| factor.1);
        let samples: u64 = factors.iter().map(|(across, down)| (across * down * 4).div_ceil(whole)).sum();
        Some(Frame { coding, width: width.into(), height: height.into(), components: count, samples })
    }
}

/// Whether a marker begins a frame: there are 13, and three others among their numbers.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

/// Reads what stands before the picture, from where the reader is. What is found before something is wrong is kept.
pub(crate) fn head(reader: &mut Reading<'_>, head: &mut Head) -> Result<(), Flaw> {
    if reader.array::<2>()? != [0xff, START] {
        return Err(Flaw::Unknown);
    }
    for _ in 0..SEGMENTS {
        let [mut lead, mut marker] = reader.array::<2>()?;
        // Bytes that should not be there, and fillers that may.
        while lead != 0xff || matches!(marker, 0 | 0xff) {
            (lead, marker) = (marker, reader.array::<1>()?[0]);
        }
        if matches!(marker, SCAN | END) {
            return Ok(());
        }
        let length = u16::from_be_bytes(reader.array()?).checked_sub(2);
        let length = length.ok_or_else(|| Flaw::damaged("a segment without a length"))?;
        let start = reader.position()?;
        if marker == APP1 && head.exif.is_none() {
            let segment = reader.bytes(start, length.into())?;
            head.exif = segment.strip_prefix(b"Exif\0\0").map(<[u8]>::to_vec);
        } else if is_frame(marker) {
            let segment = reader.bytes(start, length.into())?;
            head.frame = head.frame.or(Frame::parse(marker, &segment));
        } else {
            reader.skip(length.into())?;
            continue;
        }
        // It may have been cut short.
        if reader.position()? != start + u64::from(length) {
            return Err(Flaw::CutOff);
        }
    }
    Err(Flaw::damaged("too many segments"))
}

/// A whole JPEG in memory: what its picture says it is, and the bytes up to its end. What may follow there is other
/// pictures, or films; what is missing there is cut off.
pub(crate) struct Whole<'a> {
    pub(crate) frame: Frame,
    pub(crate) bytes: &'a [u8],
    pub(crate) has_end: bool,
}

/// Goes through all segments and scans.
pub(crate) fn whole<'a>(bytes: &'a [u8], limits: &Limits<'_>) -> Result<Whole<'a>, Flaw> {
    if !bytes.starts_with(&[0xff, START]) {
        return Err(Flaw::Unknown);
    }
    let (mut at, mut frame, mut scans, mut has_end) = (2, None::<Frame>, 0, false);
    while let Some(marker) = next_marker(bytes, &mut at) {
        if marker == END {
            has_end = true;
            break;
        }
        let Some(length) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { break };
        let length = usize::from(u16::from_be_bytes(*length));
        if is_frame(marker) && frame.is_none() {
            frame = bytes.get(at + 2..at + length).and_then(|segment| Frame::parse(marker, segment));
        }
        scans += u64::from(marker == SCAN);
        at += length.max(2);
    }
    let frame = frame.ok_or(if has_end { Flaw::damaged("it has no picture") } else { Flaw::CutOff })?;
    let work = scans * u64::from(frame.width) * u64::from(frame.height);
    if scans > SCANS || work > limits.pixels.saturating_mul(WORK) {
        return Err(Flaw::TooLarge);
    }
    if scans == 0 {
        return Err(Flaw::CutOff);
    }
    Ok(Whole { frame, bytes: &bytes[..at.min(bytes.len())], has_end })
}

/// The next marker that means something, and goes behind it. Within a scan what looks like one may be a byte of the
/// picture (a zero follows), a restart, or a filler.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let rest = bytes.get(*at..)?;
        let found = rest.iter().position(|byte| *byte == 0xff)?;
        let marker = *rest.get(found + 1)?;
        *at += found + if marker == 0xff { 1 } else { 2 };
        // 0x01 stands alone, as restarts do.
        if !matches!(marker, 0 | 1 | 0xff | 0xd0..=0xd7 | START) {
            return Some(marker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As far as it is looked at here.
    fn with_scans(width: u16, height: u16, scans: usize) -> Vec<u8> {
        let mut bytes = vec![0xff, START, 0xff, 0xc2, 0, 11, 8];
        bytes.extend([height.to_be_bytes(), width.to_be_bytes()].concat());
        bytes.extend([1, 1, 0x11, 0]);
        bytes.extend([0xff, SCAN, 0, 8, 1, 1, 0, 1, 63, 0x21].repeat(scans));
        bytes.extend([0xff, END]);
        bytes
    }

    #[test]
    fn hostile_11_scans_that_go_over_a_picture_too_often_are_refused() {
        let found = |width, height, scans, limits: &Limits<'_>| {
            whole(&with_scans(width, height, scans), limits).map(|whole| whole.has_end)
        };
        // Ten scans of the largest picture, and any number of a small one.
        assert!(found(8000, 8000, 10, &Limits::THUMBNAIL).unwrap());
        assert!(found(15_000, 15_000, 10, &Limits::CHECK).unwrap());
        assert!(found(1000, 1000, 100, &Limits::THUMBNAIL).unwrap());
        for (width, height, scans) in [(8000, 8000, 11), (6600, 6600, 15), (6600, 6600, 44), (8, 8, 101)] {
            let found = found(width, height, scans, &Limits::THUMBNAIL);
            assert!(matches!(found, Err(Flaw::TooLarge)), "{width} by {height}, {scans}: {found:?}");
        }
    }
}
