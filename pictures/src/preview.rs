//! The small picture that a camera puts into its EXIF.

use fast_image_resize::PixelType;

use crate::{
    Limits,
    decode::{Pixels, Wanted, decode_jpeg},
    exif::Exif,
};

/// Where the preview is, in the directory behind the picture's own.
const OFFSET: u16 = 0x0201;
const LENGTH: u16 = 0x0202;

/// Pixels of a preview: it has to fit into 64 KiB.
const PIXELS: u64 = 1_000_000;

/// How far the proportions of two pictures may differ that are taken for the same, as a part of the whole: previews have
/// whole numbers of pixels, and few of them.
const TOLERANCE: f64 = 0.015;

/// What a bar above and below may have of light, of 255: it is black, but for what JPEG makes of it.
const DARK: u8 = 48;

/// A part of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Part {
    /// All of it.
    pub(crate) fn whole(pixels: &Pixels) -> Self {
        Part { left: 0, top: 0, width: pixels.width, height: pixels.height }
    }

    fn edge(&self) -> u32 {
        self.width.max(self.height)
    }
}

/// The preview, and the part of it that shows the picture, which is of this size; `None` if it has none whose longer edge
/// is so long, or none that can be a preview of this picture: some programs turn or cut a picture and leave the preview as
/// it was.
pub(crate) fn preview(
    exif: &Exif,
    size: (u32, u32),
    edge: u32,
    limits: &Limits<'_>,
) -> Option<(Pixels, Part)> {
    let behind = exif.first()?.next()?;
    let (offset, length) = (behind.value(OFFSET)?.number()?, behind.value(LENGTH)?.number()?);
    let bytes = behind.exif().slice(offset, length)?;
    let limits = Limits { pixels: limits.pixels.min(PIXELS), ..*limits };
    // Whole, because bars are looked for in it.
    let pixels = decode_jpeg(bytes, Wanted { edge: u32::MAX, whole: true }, &limits).ok()?;
    let part = inside_of_bars(&pixels, size)?;
    (part.edge() >= edge).then_some((pixels, part))
}

/// Where a picture of this size is in its preview.
fn inside_of_bars(preview: &Pixels, (width, height): (u32, u32)) -> Option<Part> {
    let whole = Part::whole(preview);
    if width == 0 || height == 0 {
        return None;
    }
    let proportion = f64::from(width) / f64::from(height);
    let of_preview = f64::from(preview.width) / f64::from(preview.height);
    if (of_preview / proportion - 1.0).abs() <= TOLERANCE {
        return Some(whole);
    }
    let part = if of_preview < proportion {
        let height = (f64::from(preview.width) / proportion).round() as u32;
        Part { top: (preview.height - height.min(preview.height)) / 2, height, ..whole }
    } else {
        let width = (f64::from(preview.height) * proportion).round() as u32;
        Part { left: (preview.width - width.min(preview.width)) / 2, width, ..whole }
    };
    let is_part = part.width > 0 && part.height > 0;
    (is_part && is_dark_around(preview, part)).then_some(part)
}

/// Whether everything outside of a part is black; what is next to it may be a mix.
fn is_dark_around(preview: &Pixels, part: Part) -> bool {
    let channels = if preview.format == PixelType::U8 { 1 } else { 3 };
    let is_outside = |x: u32, y: u32| {
        x + 1 < part.left || x > part.left + part.width || y + 1 < part.top || y > part.top + part.height
    };
    let rows = preview.bytes.chunks_exact(preview.width as usize * channels);
    (0..).zip(rows).all(|(y, row)| {
        (0..)
            .zip(row.chunks_exact(channels))
            .all(|(x, pixel)| !is_outside(x, y) || pixel.iter().all(|light| *light <= DARK))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 160 by 120, light between these rows.
    fn with_bars(light: std::ops::Range<u32>) -> Pixels {
        let bytes = (0..120).flat_map(|y| [if light.contains(&y) { 200 } else { 5 }; 480]).collect();
        Pixels { width: 160, height: 120, format: PixelType::U8x3, bytes }
    }

    #[test]
    fn bars_are_cut_off() {
        let part = inside_of_bars(&with_bars(7..113), (6000, 4000)).unwrap();
        assert_eq!(part, Part { left: 0, top: 6, width: 160, height: 107 });
        assert_eq!(inside_of_bars(&with_bars(0..120), (4000, 3000)), Some(Part::whole(&with_bars(0..0))));
    }

    #[test]
    fn a_preview_of_other_proportions_without_bars_is_of_another_picture() {
        for size in [(6000, 4000), (3000, 4000), (4000, 100), (1, 65_000), (0, 0), (0, 5)] {
            assert_eq!(inside_of_bars(&with_bars(0..120), size), None, "{size:?}");
        }
    }
}
