//! What a picture file says of itself.

use std::io::{BufRead, Seek};

use crate::{
    Flaw, Kind, Limits, Taken, boxes,
    exif::{BLOCK, Directory, Exif},
    flaw, jpeg,
    kind::FUJIFILM,
    reading::Reading,
    webp,
};

/// Bytes of a file that are read for its facts, at the most: the head of a picture, its EXIF, and the heads of the parts
/// in between.
const BYTES: u64 = 4 * 1024 * 1024;

/// Parts of a PNG or WebP that are looked at on the way to its EXIF, which may stand behind the picture.
pub(crate) const PARTS: usize = 4096;

/// Longest text that is kept, in characters.
const TEXT: usize = 80;

mod tag {
    pub(super) const MAKE: u16 = 0x010f;
    pub(super) const MODEL: u16 = 0x0110;
    pub(super) const ORIENTATION: u16 = 0x0112;
    pub(super) const EXIF: u16 = 0x8769;
    pub(super) const EXPOSURE: u16 = 0x829a;
    pub(super) const F_NUMBER: u16 = 0x829d;
    pub(super) const ISO: u16 = 0x8827;
    pub(super) const TAKEN: u16 = 0x9003;
    pub(super) const DIGITIZED: u16 = 0x9004;
    pub(super) const OFFSET_TAKEN: u16 = 0x9011;
    pub(super) const OFFSET_DIGITIZED: u16 = 0x9012;
    pub(super) const FRACTION_TAKEN: u16 = 0x9291;
    pub(super) const FRACTION_DIGITIZED: u16 = 0x9292;
    pub(super) const FOCAL_LENGTH: u16 = 0x920a;
    pub(super) const FOCAL_LENGTH_35: u16 = 0xa405;
    pub(super) const LENS: u16 = 0xa434;
}

/// What a picture file says of itself. Whoever shows text of it need not fear what a terminal would act on: control
/// characters, and those that reorder or hide text, have been taken out. HTML is text like any other.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// What kind of picture it is.
    pub kind: Kind,
    /// Pixels across and down, as they are stored: [`Facts::shown`] tells how they are to be seen.
    pub size: Option<(u32, u32)>,
    /// How it has to be turned to be seen upright: 1 (not at all) to 8, as EXIF counts.
    pub orientation: u8,
    /// When it was taken, or else digitized.
    pub taken: Option<Taken>,
    /// Who made the camera.
    pub make: Option<String>,
    /// Which camera.
    pub model: Option<String>,
    /// Which lens.
    pub lens: Option<String>,
    /// How long it was exposed, in seconds, as a fraction whose lower number is not 0.
    pub exposure: Option<(u32, u32)>,
    /// The aperture.
    pub f_number: Option<f64>,
    /// The sensitivity.
    pub iso: Option<u32>,
    /// In millimetres.
    pub focal_length: Option<f64>,
    /// The same for a camera with film of 35 mm that sees as much.
    pub focal_length_35: Option<u32>,
}

impl Facts {
    fn nothing(kind: Kind) -> Self {
        Facts {
            kind,
            size: None,
            orientation: 1,
            taken: None,
            make: None,
            model: None,
            lens: None,
            exposure: None,
            f_number: None,
            iso: None,
            focal_length: None,
            focal_length_35: None,
        }
    }

    /// Pixels across and down when it is seen upright.
    pub fn shown(&self) -> Option<(u32, u32)> {
        self.size.map(|(width, height)| if self.orientation < 5 { (width, height) } else { (height, width) })
    }

    fn read(&mut self, exif: &Exif) {
        let Some(first) = exif.first() else { return };
        let text = |directory: &Directory<'_>, tag| {
            let text = String::from_utf8_lossy(directory.value(tag)?.text()?).into_owned();
            Some(flaw::plain(&text, TEXT)).filter(|text| !text.is_empty())
        };
        (self.make, self.model) = (text(&first, tag::MAKE), text(&first, tag::MODEL));
        self.orientation = orientation(&first);
        let Some(inner) = first.inner(tag::EXIF) else { return };
        let number = |tag| inner.value(tag)?.number().filter(|number| *number != 0);
        let fraction = |tag| inner.value(tag)?.fraction().filter(|(above, _)| *above != 0);
        let quotient = |tag| fraction(tag).map(|(above, below)| f64::from(above) / f64::from(below));
        let taken = |at, part, offset| {
            let text = |tag| inner.value(tag).and_then(|value| value.text());
            Taken::parse(text(at)?, text(part), text(offset))
        };
        self.taken = taken(tag::TAKEN, tag::FRACTION_TAKEN, tag::OFFSET_TAKEN)
            .or_else(|| taken(tag::DIGITIZED, tag::FRACTION_DIGITIZED, tag::OFFSET_DIGITIZED));
        self.lens = text(&inner, tag::LENS);
        self.exposure = fraction(tag::EXPOSURE);
        self.f_number = quotient(tag::F_NUMBER);
        self.iso = number(tag::ISO);
        self.focal_length = quotient(tag::FOCAL_LENGTH);
        self.focal_length_35 = number(tag::FOCAL_LENGTH_35);
    }
}

/// How a picture has to be turned.
pub(crate) fn orientation(first: &Directory<'_>) -> u8 {
    let number = first.value(tag::ORIENTATION).and_then(|value| value.number());
    number.and_then(|number| u8::try_from(number).ok()).filter(|number| (1..=8).contains(number)).unwrap_or(1)
}

/// Reads what a picture file says of itself, without decoding it. What is wrong with a file hides only what it hides: the
/// facts are those that could be found.
///
/// # Errors
/// [`Flaw::Unknown`] if it is no picture, [`Flaw::Unreadable`], and [`Flaw::TooSlow`] where `limits` say so; their pixels
/// and memory do not matter here.
pub fn facts(reader: impl BufRead + Seek, limits: &Limits<'_>) -> Result<Facts, Flaw> {
    let mut reader = reader;
    let mut reader = Reading::new(&mut reader, BYTES, limits);
    let kind = Kind::of(&reader.beginning(Kind::BEGINNING)?).ok_or(Flaw::Unknown)?;
    let mut facts = Facts::nothing(kind);
    let mut found = Found::default();
    let looked = look(&mut reader, kind, &mut found);
    facts.size = found.size;
    if let Some(exif) = found.exif.and_then(Exif::new) {
        facts.read(&exif);
    }
    match looked {
        Err(flaw @ (Flaw::Unreadable(_) | Flaw::TooSlow)) => Err(flaw),
        _ => Ok(facts),
    }
}

/// What the parts of a file have shown.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) size: Option<(u32, u32)>,
    pub(crate) exif: Option<Vec<u8>>,
}

/// Goes through the parts of a file as far as is needed.
pub(crate) fn look(reader: &mut Reading<'_>, kind: Kind, found: &mut Found) -> Result<(), Flaw> {
    match kind {
        Kind::Jpeg => look_into_jpeg(reader, found),
        Kind::Png => look_into_png(reader, found),
        Kind::Webp => webp::look(reader, found),
        Kind::Gif => {
            let head = reader.beginning(10)?;
            if let Some([w1, w2, h1, h2]) = head.get(6..).and_then(<[u8]>::first_chunk) {
                found.size =
                    Some((u16::from_le_bytes([*w1, *w2]).into(), u16::from_le_bytes([*h1, *h2]).into()));
            }
            Ok(())
        }
        Kind::Heif => {
            found.exif = boxes::exif(reader)?;
            Ok(())
        }
        // The picture that its first directory describes is often a small one, so it tells no size.
        Kind::Tiff => {
            found.exif = Some(reader.bytes(0, BLOCK)?);
            Ok(())
        }
        Kind::Raw => look_into_raw(reader, found),
        Kind::Other(_) => Ok(()),
    }
}

fn look_into_jpeg(reader: &mut Reading<'_>, found: &mut Found) -> Result<(), Flaw> {
    let mut head = jpeg::Head::default();
    let looked = jpeg::head(reader, &mut head);
    found.size = head.frame.map(|frame| (frame.width, frame.height));
    found.exif = head.exif;
    looked
}

fn look_into_png(reader: &mut Reading<'_>, found: &mut Found) -> Result<(), Flaw> {
    reader.skip(8)?;
    for _ in 0..PARTS {
        let length = u32::from_be_bytes(reader.array()?);
        let name = reader.array::<4>()?;
        let start = reader.position()?;
        match &name {
            b"IHDR" => {
                let [width, height] = [reader.array()?, reader.array()?].map(u32::from_be_bytes);
                found.size = Some((width, height));
            }
            b"eXIf" => {
                found.exif = Some(reader.bytes(start, BLOCK.min(length as usize))?);
                return Ok(());
            }
            b"IEND" => return Ok(()),
            _ => {}
        }
        // A checksum follows.
        let behind = start + u64::from(length) + 4;
        reader.go_to(behind)?;
    }
    Ok(())
}

/// Fujifilm keeps a JPEG in its raw files, with all facts in it. Canon's are not understood.
fn look_into_raw(reader: &mut Reading<'_>, found: &mut Found) -> Result<(), Flaw> {
    let head = reader.beginning(88)?;
    let (true, Some(place)) = (head.starts_with(FUJIFILM), head.get(84..).and_then(<[u8]>::first_chunk))
    else {
        // Those of Olympus and Panasonic are TIFF but for a number.
        found.exif = Some(reader.bytes(0, BLOCK)?);
        return Ok(());
    };
    reader.go_to(u32::from_be_bytes(*place).into())?;
    let mut head = jpeg::Head::default();
    let looked = jpeg::head(reader, &mut head);
    found.exif = head.exif;
    looked
}
