//! What is an image, by its first bytes and not by its name.

use std::io::Read;

use ferry_store::source::{Links, Location, Source};

/// What every kind of image is known by lies in these.
const BEGINNING: usize = 512;

/// Raw formats of cameras that are kinds of TIFF are known as TIFF; these are not.
const RAW: [&[u8]; 5] = [
    b"FUJIFILMCCD-RAW",
    // Olympus
    b"IIRO",
    b"IIRS",
    b"MMOR",
    // Panasonic
    b"IIU\0",
];

/// Whether a file is an image; nothing if it cannot be read.
pub(super) fn is_image(source: &Location) -> Option<bool> {
    let mut bytes = Vec::with_capacity(BEGINNING);
    Source::open(source, Links::Follow).ok()?.take(BEGINNING as u64).read_to_end(&mut bytes).ok()?;
    Some(looks_like_one(&bytes))
}

fn looks_like_one(bytes: &[u8]) -> bool {
    // Canon's CR3 is a box of Apple's like HEIC, with a name of its own.
    let is_cr3 = bytes.get(4..12) == Some(b"ftypcrx ");
    is_cr3 || RAW.iter().any(|raw| bytes.starts_with(raw)) || infer::is_image(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_content() {
        let images: [&[u8]; 12] = [
            b"\xff\xd8\xff\xe0\0\x10JFIF",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"GIF89a",
            b"RIFF\0\0\0\0WEBPVP8 ",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
            // Nikon's NEF, Sony's ARW, Adobe's DNG, Canon's CR2
            b"MM\0*\0\0\0\x08\0\0\0\0\0\0",
            b"II*\0\x08\0\0\0\0\0\0\0\0\0",
            b"II*\0\x10\0\0\0CR\x02\0",
            b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
            b"FUJIFILMCCD-RAW 0201",
            b"IIU\0\x18\0\0\0",
        ];
        for image in images {
            assert!(looks_like_one(image), "{image:?}");
        }
        let others: [&[u8]; 5] =
            [b"", b"\xff\xd8", b"%PDF-1.7", b"\0\0\0\x18ftypmp42", b"<html><img src=x></html>"];
        for other in others {
            assert!(!looks_like_one(other), "{other:?}");
        }
    }
}
