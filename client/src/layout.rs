//! Where files go at the place, by when they were taken: `--layout '{taken:%Y/%m}/{name}'`.
//!
//! A pattern is text with fields in braces. Slashes part folders, and only those that stand in the pattern, or between the
//! folders that `{dir}` stands for, do: what a file says of itself is never more than a part of a name.

use std::{ffi::OsStr, io::BufReader, os::unix::ffi::OsStrExt, path::Path};

use ferry_pictures::{Limits, facts};
use ferry_proto::{Kind, RelPath, Timestamp};
use ferry_store::source::{Found, Item, Links, Source, SourceError};
use jiff::{
    civil::{DateTime, datetime},
    fmt::strtime,
    tz::TimeZone,
};

/// A pattern that has been understood.
#[derive(Debug)]
pub(crate) struct Layout {
    parts: Vec<Part>,
    /// In which a file's time is told.
    zone: TimeZone,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// When it was taken; where nothing tells that, this text, or else when it was modified.
    Taken(String, Option<String>),
    Modified(String),
    Name,
    Stem,
    Ending,
    /// The folder that it is in, below its source.
    Folder,
}

/// What is wrong with a pattern.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadLayout {
    #[error("a brace is not closed; `{{{{` and `}}}}` stand for braces")]
    Open,
    #[error(
        "there is no field `{0}`: there are {{taken:%Y/%m}} and {{modified:%Y/%m}}, which take a format, {{name}}, {{stem}}, {{ext}} and {{dir}}"
    )]
    Field(String),
    #[error("`{0}` says nothing of a time, as %Y/%m does")]
    Time(String),
    #[error("`{0}` is not known here; %Y, %m, %d, %H, %M and %S are, and most of what `man date` lists")]
    Letter(String),
    #[error("a % has no letter behind it; `%%` stands for the sign itself")]
    Percent,
    #[error("`{0}` makes folders of its own")]
    Slashes(String),
    #[error("it gives every file the same name")]
    Constant,
    #[error("it must not begin or end with a slash, or have two in a row")]
    Empty,
    #[error("`.` and `..` are no names")]
    Dots,
}

/// What the fields are of.
struct Subject<'a> {
    name: &'a [u8],
    folder: &'a [u8],
    taken: Option<DateTime>,
    modified: DateTime,
}

impl Layout {
    pub(crate) fn parse(pattern: &str, zone: TimeZone) -> Result<Self, BadLayout> {
        let layout = Layout { parts: parts(pattern)?, zone };
        let is_text = |part: &Part| matches!(part, Part::Text(_));
        if layout.parts.iter().all(is_text) {
            return Err(BadLayout::Constant);
        }
        // As examples show it.
        let example = datetime(2000, 1, 1, 0, 0, 0, 0);
        let subject = Subject { name: b"a.b", folder: b"a", taken: None, modified: example };
        let subjects = [&subject, &Subject { taken: Some(example), ..subject }];
        for subject in subjects {
            for name in layout.fill(subject).split(|byte| *byte == b'/') {
                match name {
                    b"" => return Err(BadLayout::Empty),
                    b"." | b".." => return Err(BadLayout::Dots),
                    _ => {}
                }
            }
        }
        Ok(layout)
    }

    /// Where a file goes that is below a root, which may be the file itself.
    fn path(&self, item: &Item, root: &Path, folder: Option<&RelPath>) -> Result<RelPath, SourceError> {
        let path = item.source.path();
        let around = path.strip_prefix(root).ok().and_then(Path::parent).unwrap_or(Path::new(""));
        let subject = Subject {
            name: path.file_name().unwrap_or(OsStr::new("")).as_bytes(),
            folder: around.as_os_str().as_bytes(),
            taken: self.wants_taken().then(|| taken(item)).flatten(),
            modified: civil(item.modified, &self.zone),
        };
        let filled = self.fill(&subject);
        // A field may be empty: a file that is in no folder, or has no ending.
        let names: Vec<&[u8]> = filled.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let below = names.join(&b'/');
        Ok(match folder {
            Some(folder) => folder.join(&below[..])?,
            None => RelPath::new(&below[..])?,
        })
    }

    fn wants_taken(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Taken(..)))
    }

    fn fill(&self, subject: &Subject<'_>) -> Vec<u8> {
        let mut filled = Vec::new();
        let (stem, ending) = halves(subject.name);
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.extend_from_slice(text.as_bytes()),
                Part::Taken(format, otherwise) => match (subject.taken, otherwise) {
                    (None, Some(text)) => filled.extend_from_slice(text.as_bytes()),
                    (taken, _) => told(&mut filled, format, taken.unwrap_or(subject.modified)),
                },
                Part::Modified(format) => told(&mut filled, format, subject.modified),
                Part::Name => filled.extend_from_slice(subject.name),
                Part::Stem => filled.extend_from_slice(stem),
                // With no ending there is no point before it, either.
                Part::Ending if ending.is_empty() => drop(filled.pop_if(|last| *last == b'.')),
                Part::Ending => filled.extend_from_slice(ending),
                Part::Folder => filled.extend_from_slice(subject.folder),
            }
        }
        filled
    }
}

/// What a run does with a layout.
#[derive(Debug)]
pub(crate) struct Filing {
    layout: Layout,
    /// At the server.
    folder: Option<RelPath>,
    /// Two files may go to one name: the server finds another for one of them.
    pub(crate) keeps_both: bool,
}

impl Filing {
    pub(crate) fn new(layout: Layout, folder: Option<RelPath>, keeps_both: bool) -> Self {
        Filing { layout, folder, keeps_both }
    }

    /// What a walk of a root has found, as it is sent: files by the layout, and neither folders nor links.
    pub(crate) fn file(&self, root: &Path, found: Found) -> Option<Found> {
        let Found::Item(item) = found else { return Some(found) };
        match item.kind {
            Kind::Folder => None,
            Kind::Symlink(_) => {
                Some(Found::Skipped(item.source.path().to_owned(), "a symbolic link, with --layout"))
            }
            Kind::File => Some(match self.layout.path(&item, root, self.folder.as_ref()) {
                Ok(path) => Found::Item(item.file_at(path)),
                Err(error) => Found::Problem(item.source.path().to_owned(), error),
            }),
        }
    }
}

/// What the clock of its camera showed. What cannot be read is told of when it is sent.
fn taken(item: &Item) -> Option<DateTime> {
    let source = Source::open(&item.source, Links::Follow).ok()?;
    Some(facts(BufReader::new(source), &Limits::CHECK).ok()?.taken?.at)
}

fn civil(time: Timestamp, zone: &TimeZone) -> DateTime {
    // A time that no calendar has is the beginning of all of them.
    let time = jiff::Timestamp::new(time.seconds(), time.nanos().cast_signed()).unwrap_or_default();
    zone.to_datetime(time)
}

/// As it was tried with an example: what cannot be told then never comes here.
fn told(filled: &mut Vec<u8>, format: &str, time: DateTime) {
    if let Ok(told) = strtime::format(format, time) {
        filled.extend_from_slice(told.as_bytes());
    }
}

/// Stem and ending of a name. What begins with its only point has no ending.
fn halves(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'.') {
        None | Some(0) => (name, b""),
        Some(point) => (&name[..point], &name[point + 1..]),
    }
}

fn parts(pattern: &str) -> Result<Vec<Part>, BadLayout> {
    let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), pattern);
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix(brace) {
            text.push_str(brace);
            rest = behind;
            continue;
        }
        let (field, behind) = rest.split_once('}').filter(|_| brace == "{").ok_or(BadLayout::Open)?;
        rest = behind;
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(part(field)?);
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn part(field: &str) -> Result<Part, BadLayout> {
    match field.split_once(':') {
        None => match field {
            "name" => Ok(Part::Name),
            "stem" => Ok(Part::Stem),
            "ext" => Ok(Part::Ending),
            "dir" => Ok(Part::Folder),
            _ => Err(BadLayout::Field(field.to_owned())),
        },
        Some(("taken", format)) => {
            let (format, otherwise) = match format.split_once('|') {
                Some((format, otherwise)) => (format, Some(otherwise.to_owned())),
                None => (format, None),
            };
            time_format(format)?;
            Ok(Part::Taken(format.to_owned(), otherwise))
        }
        Some(("modified", format)) => {
            time_format(format)?;
            Ok(Part::Modified(format.to_owned()))
        }
        Some((name, _)) => Err(BadLayout::Field(name.to_owned())),
    }
}

/// Whether any time can be told so, without folders that do not stand there.
fn time_format(format: &str) -> Result<(), BadLayout> {
    let Ok(told) = example(format) else { return Err(untold(format)) };
    let slashes = |text: &str| text.matches('/').count();
    match slashes(&told) == slashes(format) {
        true if told.is_empty() => Err(BadLayout::Time(format.to_owned())),
        true => Ok(()),
        false => Err(BadLayout::Slashes(format.to_owned())),
    }
}

fn example(format: &str) -> Result<String, jiff::Error> {
    strtime::format(format, datetime(2000, 1, 1, 0, 0, 0, 0))
}

/// Which part of a format cannot be told: the first letter that fails by itself, with its sign, flags and width.
fn untold(format: &str) -> BadLayout {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let sign = &rest[at..];
        // Flags and widths come before the letter; fractions and zones have points and colons there.
        let is_before = |c: &char| c.is_ascii_digit() || "-_^#+.:".contains(*c);
        let letter = sign.char_indices().skip(1).find(|(_, c)| !is_before(c));
        let Some((at, letter)) = letter else { return BadLayout::Percent };
        let (alone, behind) = sign.split_at(at + letter.len_utf8());
        if example(alone).is_err() {
            return BadLayout::Letter(alone.to_owned());
        }
        rest = behind;
    }
    BadLayout::Time(format.to_owned())
}
