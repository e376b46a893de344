//! What kind of picture a file is, by its first bytes and not by its name.

/// Raw formats of cameras that are kinds of TIFF are known as TIFF; these are not.
const RAW: [&[u8]; 5] = [
    FUJIFILM, // Olympus
    b"IIRO", b"IIRS", b"MMOR", // Panasonic
    b"IIU\0",
];

/// How a raw file of Fujifilm begins.
pub(crate) const FUJIFILM: &[u8] = b"FUJIFILMCCD-RAW";

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
        matches!(self, Kind::Jpeg | Kind::Png | Kind::Webp | Kind::Gif)
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
}
