//! What kind of picture a file is, by its first bytes and not by its name; and which kind its name promises.

use crate::Flaw;

/// Raw formats of cameras that are kinds of TIFF are known as TIFF; these are not.
const RAW: [&[u8]; 5] = [
    FUJIFILM, // Olympus
    b"IIRO", b"IIRS", b"MMOR", // Panasonic
    b"IIU\0",
];

/// How a raw file of Fujifilm begins.
pub(crate) const FUJIFILM: &[u8] = b"FUJIFILMCCD-RAW";

/// What names of pictures end with.
const ENDINGS: [(Kind, &[&str]); 8] = [
    (Kind::Jpeg, &["jpg", "jpeg", "jpe"]),
    (Kind::Png, &["png"]),
    (Kind::Webp, &["webp"]),
    (Kind::Gif, &["gif"]),
    (Kind::Heif, &["heic", "heif", "avif"]),
    (Kind::Tiff, &["tif", "tiff", "dng", "nef", "arw", "cr2", "pef", "srw"]),
    (Kind::Raw, &["cr3", "raf", "orf", "rw2"]),
    (Kind::Other("image/bmp"), &["bmp"]),
];

/// A kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// JPEG.
    Jpeg,
    /// PNG, animated ones too.
    Png,
    /// WebP, animated ones too.
    Webp,
    /// GIF.
    Gif,
    /// HEIC, HEIF and AVIF.
    Heif,
    /// TIFF, and the raw formats of cameras that are made like it.
    Tiff,
    /// A raw format of a camera that is no TIFF.
    Raw,
    /// Any other, with its media type.
    Other(&'static str),
}

impl Kind {
    /// What every kind is known by lies in so many bytes at the beginning of a file.
    pub const BEGINNING: usize = 512;

    /// The kind of a file that begins like this; `None` if it is no picture.
    pub fn of(beginning: &[u8]) -> Option<Self> {
        // Canon's CR3 is a box of Apple's like HEIC, with a name of its own.
        let is_cr3 = beginning.get(4..12) == Some(b"ftypcrx ");
        if is_cr3 || RAW.iter().any(|raw| beginning.starts_with(raw)) {
            return Some(Kind::Raw);
        }
        let found =
            infer::get(beginning).filter(|found| found.matcher_type() == infer::MatcherType::Image)?;
        Some(match found.mime_type() {
            "image/jpeg" => Kind::Jpeg,
            "image/png" => Kind::Png,
            "image/webp" => Kind::Webp,
            "image/gif" => Kind::Gif,
            "image/heif" | "image/avif" => Kind::Heif,
            "image/tiff" | "image/x-canon-cr2" => Kind::Tiff,
            other => Kind::Other(other),
        })
    }

    /// The kind that the end of a file's name promises, if that is a picture's.
    pub fn promised_by(name: &[u8]) -> Option<Self> {
        // Beside a picture, macOS puts what else it knows of it, where a disk keeps no attributes: `._IMG_1.JPG`.
        if name.starts_with(b"._") {
            return None;
        }
        let point = name.iter().rposition(|&byte| byte == b'.')?;
        let ending = &name[point + 1..];
        let is_it = |known: &&str| ending.eq_ignore_ascii_case(known.as_bytes());
        ENDINGS.iter().find(|(_, endings)| endings.iter().any(is_it)).map(|(kind, _)| *kind)
    }

    /// What is wrong with a file that begins like this, if its name promises a picture of this kind and it is none of any.
    /// Of kinds that are not decoded here, not all beginnings are known: of those nothing is said but that a file is empty.
    pub fn broken_by(self, beginning: &[u8]) -> Option<Flaw> {
        if beginning.is_empty() {
            return Some(Flaw::Empty);
        }
        self.word().filter(|_| Kind::of(beginning).is_none()).map(Flaw::NoPicture)
    }

    /// What people call it, if it is decoded here.
    fn word(self) -> Option<&'static str> {
        match self {
            Kind::Jpeg => Some("JPEG"),
            Kind::Png => Some("PNG"),
            Kind::Webp => Some("WebP"),
            Kind::Gif => Some("GIF"),
            Kind::Heif | Kind::Tiff | Kind::Raw | Kind::Other(_) => None,
        }
    }

    /// The media type. Raw formats have none that is registered.
    pub fn media_type(self) -> &'static str {
        match self {
            Kind::Jpeg => "image/jpeg",
            Kind::Png => "image/png",
            Kind::Webp => "image/webp",
            Kind::Gif => "image/gif",
            Kind::Heif => "image/heif",
            Kind::Tiff => "image/tiff",
            Kind::Raw => "application/octet-stream",
            Kind::Other(media_type) => media_type,
        }
    }

    /// Whether its pixels can be had here: for a thumbnail, or to see whether it is whole.
    pub fn is_decoded(self) -> bool {
        self.word().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_known_by_their_content() {
        let pictures: [(&[u8], Kind); 13] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Kind::Jpeg),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Kind::Png),
            (b"GIF89a", Kind::Gif),
            (b"RIFF\0\0\0\0WEBPVP8 ", Kind::Webp),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Kind::Heif),
            (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", Kind::Heif),
            // Nikon's NEF, Sony's ARW, Adobe's DNG, Canon's CR2
            (b"MM\0*\0\0\0\x08\0\0\0\0\0\0", Kind::Tiff),
            (b"II*\0\x08\0\0\0\0\0\0\0\0\0", Kind::Tiff),
            (b"II*\0\x10\0\0\0CR\x02\0", Kind::Tiff),
            (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", Kind::Raw),
            (b"FUJIFILMCCD-RAW 0201", Kind::Raw),
            (b"IIU\0\x18\0\0\0", Kind::Raw),
            (b"BM\x36\0\0\0", Kind::Other("image/bmp")),
        ];
        for (beginning, kind) in pictures {
            assert_eq!(Kind::of(beginning), Some(kind), "{beginning:?}");
        }
        let others: [&[u8]; 5] =
            [b"", b"\xff\xd8", b"%PDF-1.7", b"\0\0\0\x18ftypmp42", b"<html><img src=x></html>"];
        for other in others {
            assert_eq!(Kind::of(other), None, "{other:?}");
        }
    }

    #[test]
    fn names_promise_kinds_by_their_ends() {
        let promised = [
            ("IMG_1.JPG", Kind::Jpeg),
            ("a.b.heic", Kind::Heif),
            (".png", Kind::Png),
            ("a.Nef", Kind::Tiff),
            ("a.CR3", Kind::Raw),
        ];
        for (name, kind) in promised {
            assert_eq!(Kind::promised_by(name.as_bytes()), Some(kind), "{name}");
        }
        for name in ["a.mp4", "jpg.txt", "jpg", "a.jpg/", "a.", "", "._IMG_1.JPG"] {
            assert_eq!(Kind::promised_by(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_promise_is_broken_by_what_is_no_picture_of_any_kind() {
        let said = |kind: Kind, beginning: &[u8]| kind.broken_by(beginning).map(|flaw| flaw.to_string());
        let no_jpeg = "it is no JPEG, though its name says so";
        assert_eq!(said(Kind::Jpeg, b"").as_deref(), Some("it is empty"));
        assert_eq!(said(Kind::Jpeg, b"notes").as_deref(), Some(no_jpeg));
        assert_eq!(said(Kind::Jpeg, &[0; 512]).as_deref(), Some(no_jpeg));
        // What is of another kind is a picture all the same, and of some kinds there are others than are known here.
        assert_eq!(said(Kind::Jpeg, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), None);
        assert_eq!(said(Kind::Heif, b"\0\0\0\x18ftypnew!\0\0\0\0"), None);
        assert_eq!(said(Kind::Raw, b"").as_deref(), Some("it is empty"));
    }
}
