//! Whether pictures are whole.

#![allow(clippy::unwrap_used, reason = "a test ends where something that it stands on fails")]

use std::{fs, io::Cursor, path::Path};

use ferry_pictures::{Flaw, Kind, Limits, check};

fn read(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(name)).unwrap()
}

fn checked(bytes: &[u8]) -> Result<(), Flaw> {
    check(Cursor::new(bytes), None, &Limits::CHECK)
}

#[test]
fn whole_pictures_are_well() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/photos")).unwrap() {
        let path = entry.unwrap().path();
        let is_cut = path.ends_with("IMG_20241005_112000.jpg");
        let found = checked(&fs::read(&path).unwrap());
        assert_eq!(matches!(found, Err(Flaw::CutOff)), is_cut, "{}: {found:?}", path.display());
        assert_eq!(found.is_ok(), !is_cut, "{}", path.display());
    }
    let well = [
        "camera.jpg",
        "preview-broken.jpg",
        "hostile-text.jpg",
        "exif.png",
        "exif.webp",
        "grey.jpg",
        "cmyk.jpg",
        "grey-16.png",
        "palette.png",
        "grey-alpha.png",
        "clear.png",
        "clear.webp",
        "animated.webp",
        "restarts.jpg",
        "progressive.jpg",
    ];
    for name in well {
        let found = checked(&read(&format!("pictures/{name}")));
        assert!(found.is_ok(), "{name}: {found:?}");
    }
}

#[test]
fn a_picture_that_is_cut_off_anywhere_is_found() {
    let names = [
        "pictures/camera.jpg",
        "pictures/progressive.jpg",
        "pictures/restarts.jpg",
        "pictures/grey.jpg",
        "pictures/cmyk.jpg",
        "pictures/palette.png",
        "pictures/exif.webp",
        "pictures/animated.webp",
        "pictures/clear.webp",
        "photos/Sunrise 2024-09-01 06.12.30.gif",
    ];
    for name in names {
        let whole = read(name);
        assert!(checked(&whole).is_ok(), "{name}");
        // So many at the beginning and at the end, and some in between.
        let last = whole.len() - 1;
        let cuts =
            (16..100).chain((100..last).step_by(whole.len() / 60 + 1)).chain(last.saturating_sub(80)..=last);
        for cut in cuts.filter(|cut| (16..=last).contains(cut)) {
            match checked(&whole[..cut]) {
                Err(flaw) if flaw.is_of_the_picture() => {}
                other => panic!("{name} cut at {cut} of {}: {other:?}", whole.len()),
            }
        }
    }
}

#[test]
fn what_follows_a_picture_does_not_matter() {
    for name in ["pictures/camera.jpg", "pictures/palette.png", "photos/Sunrise 2024-09-01 06.12.30.gif"] {
        let mut bytes = read(name);
        bytes.extend_from_slice(b"\0\0\0\x18ftypmp42 a film, as phones put it there \xff\xd8\xff\xe0");
        assert!(checked(&bytes).is_ok(), "{name}");
    }
}

#[test]
fn a_picture_whose_middle_is_lost_is_found_where_it_can_be() {
    for name in ["pictures/restarts.jpg", "pictures/palette.png"] {
        let mut bytes = read(name);
        let middle = bytes.len() / 2;
        bytes.drain(middle..middle + 200);
        assert!(matches!(checked(&bytes), Err(Flaw::Damaged(_) | Flaw::CutOff)), "{name}");
    }
}

#[test]
fn nothing_is_said_of_what_cannot_be_decoded() {
    for name in ["pictures/exif.heic", "pictures/exif.dng"] {
        assert!(matches!(checked(&read(name)), Err(Flaw::Unknown)), "{name}");
    }
    // A JPEG without loss, which is none that anybody makes today.
    let mut lossless = read("pictures/grey.jpg");
    let frame = lossless.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    lossless[frame + 1] = 0xc3;
    assert!(matches!(checked(&lossless), Err(Flaw::Unknown)));
    assert!(matches!(checked(&read("pictures/huge.png")), Err(Flaw::TooLarge)));
}

#[test]
fn what_a_name_promises_is_held_against_what_is_no_picture_alone() {
    let promised = |bytes: &[u8]| check(Cursor::new(bytes), Some(Kind::Jpeg), &Limits::CHECK);
    assert!(matches!(promised(b""), Err(Flaw::Empty)));
    // A cut within the first bytes.
    for bytes in [&read("pictures/camera.jpg")[..2], b"notes", &[0; 4096]] {
        assert!(matches!(promised(bytes), Err(Flaw::NoPicture("JPEG"))), "{bytes:?}");
        assert!(matches!(checked(bytes), Err(Flaw::Unknown)), "{bytes:?}");
    }
    assert!(matches!(checked(b""), Err(Flaw::Unknown)));
    assert!(promised(&read("pictures/exif.png")).is_ok());
    assert!(matches!(promised(&read("pictures/exif.heic")), Err(Flaw::Unknown)));
}
