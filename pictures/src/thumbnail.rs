//! Small pictures.

use std::io::{BufRead, Seek};

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use image::{
    DynamicImage, ExtendedColorType, GrayImage, RgbImage, codecs::jpeg::JpegEncoder, metadata::Orientation,
};

use crate::{
    Flaw, Kind, Limits,
    decode::{self, Pixels, Wanted},
    exif::Exif,
    facts::{self, Found},
    preview::{self, Part},
    reading::Reading,
};

/// How well it is encoded, of 100: what is lost is not seen at this size.
const QUALITY: u8 = 80;

/// Makes a JPEG of a picture, seen upright, whose longer edge has so many pixels, or as many as the picture has if those
/// are fewer. What is transparent is white; an animation is its first picture. The preview that a camera has put into the
/// file is taken where it is large enough, which is much faster than decoding the picture.
///
/// # Errors
/// [`Flaw::Unknown`] for kinds that are not decoded here ([`Kind::is_decoded`]), and any other: then there is no thumbnail.
pub fn thumbnail(reader: impl BufRead + Seek, edge: u32, limits: &Limits<'_>) -> Result<Vec<u8>, Flaw> {
    let mut reader = reader;
    let mut reader = Reading::new(&mut reader, u64::MAX, limits);
    let kind = Kind::of(&reader.beginning(Kind::BEGINNING)?)
        .filter(|kind| kind.is_decoded())
        .ok_or(Flaw::Unknown)?;
    let mut found = Found::default();
    let looked = facts::look(&mut reader, kind, &mut found);
    // Decoding tells better what is wrong, but for this.
    if let Some(failure) = reader.failure().or(looked.err().filter(|flaw| matches!(flaw, Flaw::TooSlow))) {
        return Err(failure);
    }
    let edge = edge.clamp(1, u16::MAX.into());
    let exif = found.exif.and_then(Exif::new);
    let orientation = exif.as_ref().and_then(Exif::first).map_or(1, |first| facts::orientation(&first));
    let preview = || preview::preview(exif.as_ref()?, found.size?, edge, limits);
    let (pixels, part) = match decode::guarded(|| Ok(preview())).unwrap_or(None) {
        Some(found) => found,
        None => {
            reader.beginning(0)?;
            let pixels = decode::decode(&mut reader, kind, Wanted { edge, whole: false }, limits)?;
            let part = Part::whole(&pixels);
            (pixels, part)
        }
    };
    limits.go_on()?;
    decode::guarded(|| encode(shrink(&pixels, part, edge)?, orientation))
}

/// Resizes it, if it is larger.
fn shrink(pixels: &Pixels, part: Part, edge: u32) -> Result<DynamicImage, Flaw> {
    let scale = f64::from(edge) / f64::from(part.width.max(part.height));
    let scaled =
        |length: u32| if scale < 1.0 { ((f64::from(length) * scale).round() as u32).max(1) } else { length };
    let (width, height) = (scaled(part.width), scaled(part.height));
    let source =
        ImageRef::new(pixels.width, pixels.height, &pixels.bytes, pixels.format).map_err(Flaw::damaged)?;
    let mut target = Image::new(width, height, pixels.format);
    let (left, top) = (f64::from(part.left), f64::from(part.top));
    // From twice its size and less, which is what a JPEG is decoded to, and from far more: both look well.
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Hamming)).crop(
        left,
        top,
        f64::from(part.width),
        f64::from(part.height),
    );
    Resizer::new().resize(&source, &mut target, &options).map_err(Flaw::damaged)?;
    let bytes = target.into_vec();
    let image = match pixels.format {
        PixelType::U8 => GrayImage::from_raw(width, height, bytes).map(DynamicImage::from),
        PixelType::U8x2 => {
            GrayImage::from_raw(width, height, on_white::<2, 1>(&bytes)).map(DynamicImage::from)
        }
        PixelType::U8x4 => {
            RgbImage::from_raw(width, height, on_white::<4, 3>(&bytes)).map(DynamicImage::from)
        }
        _ => RgbImage::from_raw(width, height, bytes).map(DynamicImage::from),
    };
    image.ok_or_else(|| Flaw::damaged("it has other pixels than it says"))
}

/// What lets something through lets white through.
fn on_white<const ALL: usize, const COLOURS: usize>(bytes: &[u8]) -> Vec<u8> {
    let mut opaque = Vec::with_capacity(bytes.len() / ALL * COLOURS);
    for pixel in bytes.chunks_exact(ALL) {
        let alpha = u16::from(pixel[COLOURS]);
        opaque.extend(
            pixel[..COLOURS]
                .iter()
                .map(|light| ((u16::from(*light) * alpha + 255 * (255 - alpha)) / 255) as u8),
        );
    }
    opaque
}

fn encode(mut image: DynamicImage, orientation: u8) -> Result<Vec<u8>, Flaw> {
    image.apply_orientation(Orientation::from_exif(orientation).unwrap_or(Orientation::NoTransforms));
    let colours = match &image {
        DynamicImage::ImageLuma8(_) => ExtendedColorType::L8,
        _ => ExtendedColorType::Rgb8,
    };
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
    encoder.encode(image.as_bytes(), image.width(), image.height(), colours).map_err(decode::image_flaw)?;
    Ok(jpeg)
}
