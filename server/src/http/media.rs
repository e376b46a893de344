//! What kind of thing a name promises, and whether a browser shows it without running it.

use ferry_pictures::Kind;

/// How browsers are told of a file.
pub(super) struct Media {
    pub(super) media_type: &'static str,
    /// In place of saving it.
    pub(super) is_shown: bool,
}

/// By its ending. A browser is told to believe that and not to guess, so a name that lies shows nothing.
pub(super) fn of_name(name: &[u8]) -> Media {
    let ending = name.rsplit(|&b| b == b'.').next().unwrap_or_default().to_ascii_lowercase();
    let shown = |media_type| Media { media_type, is_shown: true };
    let saved = |media_type| Media { media_type, is_shown: false };
    // What is decoded here, browsers know as well.
    if let Some(kind) = Kind::promised_by(name).filter(|kind| kind.is_decoded()) {
        return shown(kind.media_type());
    }
    match &ending[..] {
        b"avif" => shown("image/avif"),
        b"heic" => shown("image/heic"),
        b"heif" => shown("image/heif"),
        b"mp4" | b"m4v" => shown("video/mp4"),
        b"mov" => shown("video/quicktime"),
        b"webm" => shown("video/webm"),
        b"mp3" => shown("audio/mpeg"),
        b"m4a" => shown("audio/mp4"),
        b"ogg" | b"opus" => shown("audio/ogg"),
        b"flac" => shown("audio/flac"),
        b"wav" => shown("audio/wav"),
        b"txt" | b"log" | b"md" | b"csv" => shown("text/plain; charset=utf-8"),
        // What has a program in it, or may have.
        b"pdf" => saved("application/pdf"),
        b"zip" => saved("application/zip"),
        b"gz" => saved("application/gzip"),
        b"json" => saved("application/json"),
        _ => saved("application/octet-stream"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_05_what_a_browser_might_run_is_saved_and_has_no_type_that_runs() {
        for name in [
            "a.html", "a.HTM", "a.svg", "a.xhtml", "a.xml", "a.js", "a.mjs", "a.pdf", "a.css", "a", ".html",
            "a.swf",
        ] {
            let media = of_name(name.as_bytes());
            assert!(!media.is_shown, "{name}");
            let runs = ["html", "svg", "xml", "script", "css"];
            assert!(runs.iter().all(|runs| !media.media_type.contains(runs)), "{name}");
        }
        assert!(of_name(b"IMG_1.JPG").is_shown && of_name(b"a.b.Jpeg").is_shown);
    }
}
