//! Pictures for benchmarks: as hard to decode as photos, with as much EXIF as matters here.

use image::{ImageError, RgbImage, codecs::jpeg::JpegEncoder};

/// Slopes with noise on them, which is a little more than what most photos have of detail.
pub(crate) fn textured(width: u32, height: u32, seed: u32) -> Result<Vec<u8>, ImageError> {
    let mut state = seed;
    let turned = seed as usize % 3;
    let image = RgbImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 28) as u8;
        let slope = |along: u32| (along * 200 / width.max(height)) as u8 + noise;
        let mut pixel = [slope(x), slope(y), slope((x + y) / 2)];
        pixel.rotate_left(turned);
        image::Rgb(pixel)
    });
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 88).encode_image(&image)?;
    Ok(jpeg)
}

/// A JPEG with EXIF: when it was taken, as EXIF writes that, and a small picture of it, if there is one.
pub(crate) fn with_exif(jpeg: &[u8], taken: &str, preview: Option<&[u8]>) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08".to_vec();
    // A directory that says where the next one begins, and that with the time in it.
    exif.extend(b"\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x1a");
    exif.extend(preview.map_or(0, |_| 64_u32).to_be_bytes());
    exif.extend(b"\0\x01\x90\x03\0\x02\0\0\0\x14\0\0\0\x2c\0\0\0\0");
    exif.extend(format!("{taken:.19}\0").bytes());
    if let Some(preview) = preview {
        // And one that says where the small picture is.
        exif.extend(b"\0\x02\x02\x01\0\x04\0\0\0\x01\0\0\0\x5e\x02\x02\0\x04\0\0\0\x01");
        exif.extend((preview.len() as u32).to_be_bytes());
        exif.extend(b"\0\0\0\0");
        exif.extend(preview);
    }
    let length = u16::try_from(exif.len() + 2).expect("a preview that fits").to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}
