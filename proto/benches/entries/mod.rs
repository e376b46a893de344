//! Entries as people have them: photos by day, sources by folder, notes with long names.

use ferry_proto::{Algorithm, Digest, Header, Kind, Mode, RelPath, Timestamp};

/// The header of a small file.
pub(crate) fn header(number: u64) -> Header {
    let name = match number % 4 {
        0 => format!("Pictures/2024/08 Italy/IMG_20240812_{number:06}.jpg"),
        1 => format!("projects/ferry/target/doc/src/ferry/module_{number}/struct.Item.html"),
        2 => format!("Documents/Über uns/Protokoll der Sitzung vom {number}. März (Entwurf).odt"),
        _ => format!("mail/cur/1700{number:06}.M42P7.host,S=4211:2,S"),
    };
    let path = RelPath::new(name).expect("a good name");
    Header {
        size: Some(4211 + number),
        digest: Some(digest(number)),
        modified: Timestamp::new(1_700_000_000 + number as i64, 123_456_789).ok(),
        mode: Some(Mode::from_bits(0o644)),
        ..Header::new(path, Kind::File)
    }
}

pub(crate) fn digest(number: u64) -> Digest {
    Algorithm::Sha256.digest(&number.to_le_bytes())
}
