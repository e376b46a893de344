//! Small pictures of pictures.

#![allow(clippy::unwrap_used, reason = "a test ends where something that it stands on fails")]

use std::{
    fs::File,
    io::{BufReader, Cursor},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use ferry_pictures::{Flaw, Limits, thumbnail};
use image::{RgbImage, imageops};

const PHOTOS: &str = "photos";
const PICTURES: &str = "pictures";

fn path(folder: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(folder).join(name)
}

fn open(folder: &str, name: &str) -> BufReader<File> {
    BufReader::new(File::open(path(folder, name)).unwrap())
}

fn thumb(folder: &str, name: &str, edge: u32) -> RgbImage {
    let jpeg = thumbnail(open(folder, name), edge, &Limits::THUMBNAIL)
        .unwrap_or_else(|flaw| panic!("{name}: {flaw}"));
    assert!(jpeg.starts_with(b"\xff\xd8\xff"), "{name} becomes a JPEG");
    image::load_from_memory(&jpeg).unwrap().into_rgb8()
}

fn fails(folder: &str, name: &str) -> Flaw {
    thumbnail(open(folder, name), 160, &Limits::THUMBNAIL).expect_err(name)
}

/// How far two pictures differ on the whole, of 255.
fn difference(one: &RgbImage, other: &RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let coarse = |image| imageops::thumbnail(image, 40, 30);
    let (one, other) = (coarse(one), coarse(other));
    let all = one.as_raw().iter().zip(other.as_raw()).map(|(one, other)| f64::from(one.abs_diff(*other)));
    all.sum::<f64>() / one.as_raw().len() as f64
}

fn is_near(pixel: &image::Rgb<u8>, colour: [u8; 3]) -> bool {
    pixel.0.iter().zip(colour).all(|(one, other)| one.abs_diff(other) < 24)
}

#[test]
fn every_orientation_is_upright() {
    let upright = thumb(PHOTOS, "IMG_20240316_081501.jpg", 160);
    assert_eq!(upright.dimensions(), (160, 120));
    // The stem of the F, and the sky right of its foot.
    assert!(is_near(upright.get_pixel(61, 80), [170, 30, 40]));
    assert!(!is_near(upright.get_pixel(90, 80), [170, 30, 40]));
    for orientation in 2..=8 {
        let turned = thumb(PHOTOS, &format!("IMG_20240316_08150{orientation}.jpg"), 160);
        let difference = difference(&upright, &turned);
        // They have other hills, and one dot more each.
        assert!(difference < 12.0, "orientation {orientation} differs by {difference}");
        assert!(is_near(turned.get_pixel(61, 80), [170, 30, 40]), "orientation {orientation}");
        assert!(!is_near(turned.get_pixel(90, 80), [170, 30, 40]), "orientation {orientation}");
    }
}

#[test]
fn the_preview_is_taken_where_it_is_large_enough() {
    let red = |image: &RgbImage| image.pixels().all(|pixel| is_near(pixel, [200, 30, 30]));
    let small = thumb(PICTURES, "preview-red.jpg", 160);
    assert!(red(&small), "the preview is red, and the picture is not");
    assert_eq!(small.dimensions(), (120, 160), "it is turned as the picture is");
    assert!(red(&thumb(PICTURES, "preview-red.jpg", 64)));
    let large = thumb(PICTURES, "preview-red.jpg", 200);
    assert!(!red(&large));
    assert_eq!(large.dimensions(), (150, 200));
}

#[test]
fn bars_of_a_preview_are_cut_off() {
    let (small, decoded) = (thumb(PICTURES, "camera.jpg", 160), thumb(PICTURES, "camera.jpg", 320));
    assert_eq!((small.dimensions(), decoded.dimensions()), ((160, 107), (320, 213)));
    let difference = difference(&imageops::thumbnail(&decoded, 160, 107), &small);
    assert!(difference < 8.0, "{difference}");
}

#[test]
fn a_preview_that_shows_something_else_or_nothing_is_left() {
    let decoded = thumb(PICTURES, "camera.jpg", 320);
    let decoded = imageops::thumbnail(&decoded, 160, 107);
    for name in ["preview-stale.jpg", "preview-broken.jpg"] {
        let difference = difference(&decoded, &thumb(PICTURES, name, 160));
        assert!(difference < 8.0, "{name}: {difference}");
    }
}

#[test]
fn all_colours_come_out_as_they_are() {
    let card = thumb(PICTURES, "exif.png", 160);
    for name in ["cmyk.jpg", "palette.png", "restarts.jpg", "progressive.jpg", "exif.webp"] {
        let difference = difference(&card, &thumb(PICTURES, name, 160));
        assert!(difference < 6.0, "{name}: {difference}");
    }
    let mut grey = card;
    for pixel in grey.pixels_mut() {
        let [r, g, b] = pixel.0.map(f32::from);
        pixel.0 = [(0.299 * r + 0.587 * g + 0.114 * b) as u8; 3];
    }
    for name in ["grey.jpg", "grey-16.png"] {
        let difference = difference(&grey, &thumb(PICTURES, name, 160));
        assert!(difference < 6.0, "{name}: {difference}");
    }
    // Half of it is let through, and half of the white behind.
    grey.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|light| ((u16::from(light) + 255) / 2) as u8));
    let difference = difference(&grey, &thumb(PICTURES, "grey-alpha.png", 160));
    assert!(difference < 6.0, "grey-alpha.png: {difference}");
}

#[test]
fn what_is_clear_is_white_and_what_moves_stands_still() {
    for name in ["clear.png", "clear.webp"] {
        assert!(thumb(PICTURES, name, 32).pixels().all(|pixel| is_near(pixel, [255; 3])), "{name}");
    }
    assert!(thumb(PICTURES, "animated.webp", 32).pixels().all(|pixel| is_near(pixel, [0, 160, 0])));
    // Before the sun rises.
    let sunrise = thumb(PHOTOS, "Sunrise 2024-09-01 06.12.30.gif", 160);
    assert!(is_near(sunrise.get_pixel(80, 2), [20, 20, 60]));
}

#[test]
fn small_pictures_stay_small_and_long_ones_have_a_pixel_at_least() {
    assert_eq!(thumb(PICTURES, "clear.png", 640).dimensions(), (64, 64));
    assert_eq!(thumb(PHOTOS, "PANO_20240815_190533.jpg", 5).dimensions(), (5, 1));
    assert_eq!(thumb(PHOTOS, "PANO_20240815_190533.jpg", 300).dimensions(), (300, 20));
    assert_eq!(thumb(PHOTOS, "PANO_20240815_190533.jpg", 0).dimensions(), (1, 1));
}

#[test]
fn hostile_11_a_picture_that_lies_has_no_thumbnail() {
    for name in ["huge.jpg", "huge.png", "huge.gif", "huge.webp"] {
        let flaw = fails(PICTURES, name);
        assert!(matches!(flaw, Flaw::TooLarge | Flaw::Damaged(_) | Flaw::CutOff), "{name}: {flaw:?}");
    }
    assert!(matches!(fails(PICTURES, "huge.jpg"), Flaw::TooLarge));
    assert!(matches!(fails(PICTURES, "exif.heic"), Flaw::Unknown));
    assert!(matches!(fails(PICTURES, "exif.dng"), Flaw::Unknown));
    assert!(matches!(thumbnail(Cursor::new(b"none"), 160, &Limits::THUMBNAIL), Err(Flaw::Unknown)));
    // As much as there is of it.
    assert_eq!(thumb(PHOTOS, "IMG_20241005_112000.jpg", 160).dimensions(), (160, 120));
}

#[test]
fn hostile_11_limits_hold() {
    let names = [
        (PHOTOS, "IMG_20240502_203344.jpg"),
        (PHOTOS, "IMG_20241112_170901.jpg"),
        (PHOTOS, "IMG-20240801-WA0007.webp"),
        (PHOTOS, "Sunrise 2024-09-01 06.12.30.gif"),
    ];
    for (folder, name) in names {
        let made = |limits: &Limits<'_>| thumbnail(open(folder, name), 160, limits);
        let few = Limits { pixels: 10_000, ..Limits::THUMBNAIL };
        assert!(matches!(made(&few), Err(Flaw::TooLarge)), "{name}");
        let little = Limits { memory: 50_000, ..Limits::THUMBNAIL };
        assert!(matches!(made(&little), Err(Flaw::TooLarge)), "{name}");
        // However far it has come.
        ends_when_it_is_over(name, &std::fs::read(path(folder, name)).unwrap());
    }
}

/// Makes a thumbnail that is over when it is asked for so many times whether it is. What came of it, and the number of
/// questions.
fn over_after(questions: usize, picture: &[u8]) -> (Result<Vec<u8>, Flaw>, usize) {
    let asked = AtomicUsize::new(0);
    let is_over = || asked.fetch_add(1, Ordering::Relaxed) >= questions;
    let made = thumbnail(Cursor::new(picture), 160, &Limits { is_over: &is_over, ..Limits::THUMBNAIL });
    (made, asked.into_inner())
}

/// However far it has come, it goes no further. Returns how often it asks, if it is never over.
fn ends_when_it_is_over(name: &str, picture: &[u8]) -> usize {
    // What is given up for a preview is asked once more.
    const MORE: usize = 3;
    let (made, all) = over_after(usize::MAX, picture);
    assert!(made.is_ok(), "{name}: {made:?}");
    for questions in (0..all).step_by(all / 50 + 1).chain([all - 1]) {
        let (made, asked) = over_after(questions, picture);
        assert!(matches!(made, Err(Flaw::TooSlow)), "{name} after {questions} of {all} questions: {made:?}");
        assert!(asked <= questions + MORE, "{name}: {asked} questions, though it was over after {questions}");
    }
    all
}

/// A grey picture that is progressive, and has so many scans with nothing in them behind its first one.
fn with_scans(scans: usize) -> Vec<u8> {
    let mut bytes = b"\xff\xd8\xff\xdb\0\x43\0".to_vec();
    bytes.extend([1; 64]);
    // 256 by 256, and tables in which a bit that is not set is no difference, and the end of the last blocks.
    bytes.extend(b"\xff\xc2\0\x0b\x08\x01\0\x01\0\x01\x01\x11\0");
    bytes.extend(b"\xff\xc4\0\x14\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    bytes.extend(b"\xff\xc4\0\x14\x10\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xe0");
    bytes.extend(b"\xff\xda\0\x08\x01\x01\0\0\0\0");
    bytes.extend(b"\xff\xda\0\x08\x01\x01\0\x01\x3f\x02");
    bytes.extend(b"\xff\xda\0\x08\x01\x01\0\x01\x3f\x21".repeat(scans));
    bytes.extend(b"\xff\xd9");
    bytes
}

#[test]
fn hostile_11_a_picture_of_many_scans_ends_between_any_two_when_it_is_over() {
    const SCANS: usize = 90;
    let asked = ends_when_it_is_over("many scans", &with_scans(SCANS));
    let few = ends_when_it_is_over("one scan", &with_scans(1));
    assert!(asked >= few + SCANS - 1, "{asked} questions for {SCANS} scans, and {few} for one");
}
