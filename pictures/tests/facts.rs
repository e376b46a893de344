//! What picture files say of themselves.

#![allow(clippy::unwrap_used, reason = "a test ends where something that it stands on fails")]

use std::{fs::File, io::BufReader, io::Cursor, path::Path};

use ferry_pictures::{Facts, Flaw, Kind, Limits, Taken, facts};
use jiff::{civil::datetime, tz::Offset};

fn of(name: &str) -> Facts {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(name);
    facts(BufReader::new(File::open(path).unwrap()), &Limits::THUMBNAIL).unwrap()
}

fn taken() -> Taken {
    let offset = Offset::from_seconds(2 * 3600).unwrap();
    Taken { at: datetime(2024, 6, 30, 23, 59, 58, 250_000_000), offset: Some(offset) }
}

#[test]
fn a_camera_tells_all_about_itself() {
    let expected = Facts {
        kind: Kind::Jpeg,
        size: Some((600, 400)),
        orientation: 1,
        taken: Some(taken()),
        make: Some("Ferry".into()),
        model: Some("Sample Camera II".into()),
        lens: Some("FE 35mm F2.8".into()),
        exposure: Some((1, 250)),
        f_number: Some(2.8),
        iso: Some(400),
        focal_length: Some(35.0),
        focal_length_35: Some(52),
    };
    assert_eq!(of("pictures/camera.jpg"), expected);
}

#[test]
fn facts_are_found_in_every_kind_that_has_them() {
    let kinds = [
        ("png", Kind::Png, Some((320, 240))),
        ("webp", Kind::Webp, Some((320, 240))),
        ("heic", Kind::Heif, None),
        ("dng", Kind::Tiff, None),
    ];
    for (ending, kind, size) in kinds {
        let facts = of(&format!("pictures/exif.{ending}"));
        assert_eq!((facts.kind, facts.size), (kind, size), "{ending}");
        assert_eq!((facts.taken, facts.iso), (Some(taken()), Some(400)), "{ending}");
    }
    assert_eq!(of("photos/Sunrise 2024-09-01 06.12.30.gif").size, Some((160, 120)));
    assert_eq!(of("pictures/clear.webp").size, Some((64, 64)));
}

#[test]
fn sizes_are_stored_and_shown() {
    for orientation in 1..=8_u8 {
        let facts = of(&format!("photos/IMG_20240316_08150{orientation}.jpg"));
        assert_eq!(facts.orientation, orientation);
        assert_eq!(facts.size, Some(if orientation < 5 { (320, 240) } else { (240, 320) }));
        assert_eq!(facts.shown(), Some((320, 240)));
        let second = i8::try_from(orientation).unwrap();
        assert_eq!(facts.taken, Some(Taken { at: datetime(2024, 3, 16, 8, 15, second, 0), offset: None }));
    }
}

#[test]
fn hostile_05_text_of_a_picture_is_inert() {
    let facts = of("pictures/hostile-text.jpg");
    assert_eq!(facts.make.as_deref(), Some("[31mred[0m<b>"));
    let model = facts.model.unwrap();
    assert!(model.starts_with("gpj <script>alert(1)</script>xxx"), "{model}");
    assert_eq!(model.chars().count(), 80);
    // What is no UTF-8 is marked as such.
    assert_eq!(facts.lens.as_deref(), Some("\u{fffd}\u{fffd}\u{fffd}\u{fffd}lens"));
    // And numbers that are none are none.
    assert_eq!((facts.orientation, facts.taken, facts.exposure, facts.f_number), (1, None, None, None));
}

#[test]
fn what_is_cut_off_still_tells_what_is_there() {
    let facts = of("photos/IMG_20241005_112000.jpg");
    assert_eq!(facts.size, Some((640, 480)));
    assert_eq!(facts.taken.unwrap().at, datetime(2024, 10, 5, 11, 20, 0, 0));
    for name in ["camera.jpg", "exif.png", "exif.webp", "exif.heic", "exif.dng"] {
        let whole =
            std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/pictures").join(name));
        let whole = whole.unwrap();
        for cut in 0..whole.len().min(1000) {
            match facts_of(&whole[..cut]) {
                Ok(_) => {}
                Err(Flaw::Unknown) => assert!(cut < 64, "{name} cut at {cut} is no picture"),
                Err(other) => panic!("{name} cut at {cut}: {other}"),
            }
        }
    }
}

fn facts_of(bytes: &[u8]) -> Result<Facts, Flaw> {
    facts(Cursor::new(bytes), &Limits::THUMBNAIL)
}

#[test]
fn what_is_no_picture_has_no_facts() {
    for bytes in [&b""[..], b"%PDF-1.7", b"hello"] {
        assert!(matches!(facts_of(bytes), Err(Flaw::Unknown)));
    }
}
