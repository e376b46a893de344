//! Pixels of a whole picture, within limits.

use std::{
    io::{self, ErrorKind, Read},
    panic::{AssertUnwindSafe, catch_unwind},
};

use fast_image_resize::PixelType;
use image::{
    AnimationDecoder, DynamicImage, ImageDecoder, ImageError,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
};
use jpeg_decoder::{Decoder, Error as JpegError, PixelFormat};

use crate::{Flaw, Kind, Limits, jpeg, reading::Reading, webp};

/// How often decoders of kinds other than JPEG have all pixels in memory: as they are, and put together from parts.
const COPIES: u64 = 2;

/// Bytes of a JPEG after which it is asked whether it is time to stop, though no marker was among them. A bit and more
/// stands for each block of a scan, so that these lead through a few thousand at the most, or to the end of the scan.
const ASKED: usize = 1024;

/// Bytes for each pixel that the decoder of WebP takes for one picture: in another coding of colours, and in this.
const WEBP: u64 = 8;

/// Pixels as they were decoded.
pub(crate) struct Pixels {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) format: PixelType,
    pub(crate) bytes: Vec<u8>,
}

/// How much of a picture is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// A picture whose longer edge has at least so many pixels will do.
    pub(crate) edge: u32,
    /// One that is cut off is an error. Otherwise it has what is there of it.
    pub(crate) whole: bool,
}

/// Decodes a picture: of an animation the first one.
pub(crate) fn decode(
    reader: &mut Reading<'_>,
    kind: Kind,
    wanted: Wanted,
    limits: &Limits<'_>,
) -> Result<Pixels, Flaw> {
    let decoded = guarded(|| match kind {
        Kind::Jpeg => {
            // One byte more shows that there are more.
            let most = usize::try_from(limits.memory).unwrap_or(usize::MAX);
            let bytes = reader.bytes(0, most.saturating_add(1))?;
            if bytes.len() > most {
                return Err(Flaw::TooLarge);
            }
            decode_jpeg(&bytes, wanted, limits)
        }
        Kind::Png => {
            let limit = image_limits(limits);
            PngDecoder::with_limits(&mut *reader, limit).map_err(image_flaw).and_then(|it| pixels(it, limits))
        }
        Kind::Webp => begin_webp(reader, limits).and_then(|it| pixels(it, limits)),
        Kind::Gif => GifDecoder::new(&mut *reader).map_err(image_flaw).and_then(|it| pixels(it, limits)),
        Kind::Heif | Kind::Tiff | Kind::Raw | Kind::Other(_) => Err(Flaw::Unknown),
    });
    reader.blame(decoded)
}

fn begin_webp<'a, 'b>(
    reader: &'a mut Reading<'b>,
    limits: &Limits<'_>,
) -> Result<WebPDecoder<&'a mut Reading<'b>>, Flaw> {
    webp::allow(reader, limits, WEBP)?;
    reader.beginning(0)?;
    WebPDecoder::new(reader).map_err(image_flaw)
}

/// Decodes every picture of an animation, and nothing where there is only one.
pub(crate) fn decode_frames(reader: &mut Reading<'_>, kind: Kind, limits: &Limits<'_>) -> Result<(), Flaw> {
    let decoded = guarded(|| match kind {
        Kind::Gif => GifDecoder::new(&mut *reader).map_err(image_flaw).and_then(|it| frames(it, limits)),
        Kind::Webp => {
            let decoder = begin_webp(reader, limits)?;
            if decoder.has_animation() { frames(decoder, limits) } else { Ok(()) }
        }
        _ => Ok(()),
    });
    reader.blame(decoded)
}

fn frames<'a>(
    mut decoder: impl ImageDecoder + AnimationDecoder<'a>,
    limits: &Limits<'_>,
) -> Result<(), Flaw> {
    allow(&decoder, limits)?;
    decoder.set_limits(image_limits(limits)).map_err(image_flaw)?;
    for frame in decoder.into_frames() {
        frame.map_err(image_flaw)?;
        limits.go_on()?;
    }
    Ok(())
}

/// A decoder that panics has met something that its makers did not think of; nobody else is to be taken along.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Flaw>) -> Result<T, Flaw> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Flaw::damaged("the decoder gave up")))
}

/// Decodes a JPEG, at once to the smallest of half, quarter and eighth that is large enough.
pub(crate) fn decode_jpeg(bytes: &[u8], wanted: Wanted, limits: &Limits<'_>) -> Result<Pixels, Flaw> {
    let whole = jpeg::whole(bytes, limits)?;
    let frame = whole.frame;
    if !frame.is_usual() {
        return Err(Flaw::Unknown);
    }
    if wanted.whole && !whole.has_end {
        return Err(Flaw::CutOff);
    }
    let each = frame.bytes_each(frame.eighths(wanted.edge));
    limits.allow(frame.width, frame.height, each, bytes.len())?;
    limits.go_on()?;
    match whole.has_end {
        true => scaled(whole.bytes, wanted.edge, limits),
        // What is missing is grey.
        false => scaled(whole.bytes.chain(&[0xff, 0xd9][..]), wanted.edge, limits),
    }
}

fn scaled(bytes: impl Read, edge: u32, limits: &Limits<'_>) -> Result<Pixels, Flaw> {
    let mut decoder = Decoder::new(Timely { bytes, limits, left: 0 });
    let edge = u16::try_from(edge).unwrap_or(u16::MAX);
    decoder.scale(edge, edge).map_err(jpeg_flaw)?;
    let decoded = decoder.decode().map_err(jpeg_flaw)?;
    limits.go_on()?;
    let info = decoder.info().ok_or_else(|| Flaw::damaged("it has no picture"))?;
    let (format, bytes) = match info.pixel_format {
        PixelFormat::L8 => (PixelType::U8, decoded),
        PixelFormat::RGB24 => (PixelType::U8x3, decoded),
        PixelFormat::CMYK32 => (PixelType::U8x3, without_black(&decoded)),
        PixelFormat::L16 => return Err(Flaw::Unknown),
    };
    Ok(Pixels { width: info.width.into(), height: info.height.into(), format, bytes })
}

/// The bytes of a JPEG, which end when it is time to stop. The decoders of other kinds go over each pixel a few times at
/// the most, and that of JPEG as often as there are scans: each begins with a marker, and may have nothing behind it.
struct Timely<'a, R> {
    bytes: R,
    limits: &'a Limits<'a>,
    /// Bytes until it is asked again.
    left: usize,
}

impl<R: Read> Read for Timely<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.limits.go_on().map_err(|flaw| io::Error::new(ErrorKind::TimedOut, flaw))?;
            self.left = ASKED;
        }
        let most = buffer.len().min(self.left);
        let read = self.bytes.read(&mut buffer[..most])?;
        self.left = if buffer[..read].contains(&jpeg::MARKER) { 0 } else { self.left - read };
        Ok(read)
    }
}

/// Ink as light: how much each of the four takes away.
fn without_black(inks: &[u8]) -> Vec<u8> {
    let through = |ink: u8, black: u8| (u16::from(255 - ink) * u16::from(255 - black) / 255) as u8;
    inks.chunks_exact(4)
        .flat_map(|it| [through(it[0], it[3]), through(it[1], it[3]), through(it[2], it[3])])
        .collect()
}

fn pixels(mut decoder: impl ImageDecoder, limits: &Limits<'_>) -> Result<Pixels, Flaw> {
    let (width, height) = decoder.dimensions();
    allow(&decoder, limits)?;
    decoder.set_limits(image_limits(limits)).map_err(image_flaw)?;
    let (format, bytes) = match DynamicImage::from_decoder(decoder).map_err(image_flaw)? {
        DynamicImage::ImageLuma8(image) => (PixelType::U8, image.into_raw()),
        DynamicImage::ImageLumaA8(image) => (PixelType::U8x2, image.into_raw()),
        DynamicImage::ImageRgb8(image) => (PixelType::U8x3, image.into_raw()),
        // Sixteen bits are more than anybody sees in a thumbnail.
        image @ DynamicImage::ImageLuma16(_) => (PixelType::U8, image.into_luma8().into_raw()),
        image @ DynamicImage::ImageRgb16(_) => (PixelType::U8x3, image.into_rgb8().into_raw()),
        image => (PixelType::U8x4, image.into_rgba8().into_raw()),
    };
    Ok(Pixels { width, height, format, bytes })
}

fn allow(decoder: &impl ImageDecoder, limits: &Limits<'_>) -> Result<(), Flaw> {
    let (width, height) = decoder.dimensions();
    limits.allow(width, height, COPIES * u64::from(decoder.color_type().bytes_per_pixel()), 0)
}

fn image_limits(limits: &Limits<'_>) -> image::Limits {
    let mut of_image = image::Limits::no_limits();
    of_image.max_alloc = Some(limits.memory);
    of_image
}

pub(crate) fn image_flaw(error: ImageError) -> Flaw {
    match error {
        ImageError::Limits(_) => Flaw::TooLarge,
        ImageError::Unsupported(_) => Flaw::Unknown,
        ImageError::IoError(error) => Flaw::reading(error),
        other => match source_of(&other) {
            Some(std::io::ErrorKind::UnexpectedEof) => Flaw::CutOff,
            _ => Flaw::damaged(other),
        },
    }
}

/// The error of reading that is behind another one.
fn source_of(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

fn jpeg_flaw(error: JpegError) -> Flaw {
    match error {
        JpegError::Unsupported(_) => Flaw::Unknown,
        // The bytes are in memory: nothing else takes time.
        JpegError::Io(error) if error.kind() == ErrorKind::TimedOut => Flaw::TooSlow,
        JpegError::Io(error) => Flaw::reading(error),
        other => Flaw::damaged(other),
    }
}
