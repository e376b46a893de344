//! What a peer does, as bytes tell it. Every run of bytes is a script, and a small change of the bytes is a small change
//! of the script; `examples/seeds.rs` writes the same format.

use arbitrary::{Arbitrary, Result, Unstructured};
use ferry_proto::{Code, Conflict, Timestamp};

/// Steps of one script: enough for every story that a seed tells, and a bound for the time of one run.
const STEPS: usize = 64;

/// Names that meet each other: the same one, one below the other, one beside the other, and some that should lead
/// nowhere.
pub(super) const NAMES: [&str; 16] = [
    "a",
    "a/b",
    "a/b/c.txt",
    "a (2)",
    "b.txt",
    "b (2).txt",
    "dir",
    "dir/x",
    "link",
    "link/kept",
    "beside/kept",
    "link/folder/x",
    "a/.ferry/staging/x",
    ".ferry/staging/x",
    "../beside/kept",
    "/tmp/ferry-fuzz",
];

/// Where links lead.
pub(super) const TARGETS: [&str; 8] = ["a", "dir", ".", "..", "../beside", "../../beside", ".ferry", "/"];

/// What a peer does, and what it may do.
#[derive(Debug)]
pub(super) struct Script {
    /// What it wants where another file has the name.
    pub(super) conflict: Conflict,
    /// Whether it may replace what is there.
    pub(super) overwrite: bool,
    /// Only decide.
    pub(super) dry_run: bool,
    /// Whether it sees only a folder of the store.
    pub(super) in_folder: bool,
    /// The largest file that it may send.
    pub(super) max_file: u64,
    /// Whether the disk is slow.
    pub(super) is_slow: bool,
    /// What it does.
    pub(super) steps: Vec<Step>,
}

/// Something that a peer does.
#[derive(Debug)]
pub(super) enum Step {
    /// Offers an entry.
    Offer(Offer),
    /// Sends the body that was asked for, in pieces of this many bytes, and its end; or only this much of it.
    Send { which: u8, begin: Begin, piece: u16, most: Option<u16> },
    /// Opens a body, whether or not it was asked for.
    Body { which: u8, begin: Begin },
    /// Sends bytes, whether or not a body is open: those of the file's content that are next, or others. And so on.
    Chunk { length: u16, is_honest: bool, more: u8 },
    /// Tells of a hole, whether or not a body is open; the length may be one that no hole has.
    Hole { length: u16 },
    /// Closes a body.
    End(Named),
    /// Gives a body up.
    Abort { which: u8, code: Code },
    /// Has finished; with the right numbers after every answer, or at once and with others.
    Done { is_honest: bool },
    /// Waits for every answer that is due.
    Wait,
    /// Sends a frame of any type.
    Frame { frame_type: u8, payload: Vec<u8> },
    /// Sends any bytes.
    Raw(Vec<u8>),
    /// Changes a byte of the next frame.
    Damage { at: u16, with: u8 },
    /// Ends the connection, before or after the answers, and makes another.
    Reconnect { waits: bool },
}

/// An entry that is offered.
#[derive(Debug)]
pub(super) struct Offer {
    /// Where it goes.
    pub(super) name: Name,
    /// What it is.
    pub(super) kind: OfferKind,
    /// Bytes of the file.
    pub(super) content: Content,
    /// The size that is told.
    pub(super) size: Told<u64>,
    /// The digest that is told.
    pub(super) digest: Told<()>,
    /// When it was modified.
    pub(super) modified: Option<Timestamp>,
    /// Its mode.
    pub(super) mode: Option<u16>,
    /// Bytes of an extension.
    pub(super) extension: Option<u16>,
    /// How many more like it, each with a name of its own.
    pub(super) more: u8,
}

/// A name that is offered.
#[derive(Debug)]
pub(super) enum Name {
    /// One of [`NAMES`].
    Known(u8),
    /// Any bytes.
    Raw(Vec<u8>),
}

/// What is offered.
#[derive(Debug)]
pub(super) enum OfferKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A link to one of [`TARGETS`].
    Link(u8),
}

/// Bytes that are made, not kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Content {
    /// How many.
    pub(super) length: u16,
    /// Which ones.
    pub(super) seed: u8,
}

/// What a header says about its file.
#[derive(Debug)]
pub(super) enum Told<T> {
    /// What is true.
    Truth,
    /// Nothing.
    Nothing,
    /// Something else.
    Other(T),
}

/// Where a body begins.
#[derive(Debug)]
pub(super) enum Begin {
    /// As the protocol says.
    Honest,
    /// Where the receiver has asked, whatever is before that.
    Blind,
    /// At the first byte.
    Zero,
    /// Anywhere.
    At(u64),
}

/// The digest in an end.
#[derive(Debug)]
pub(super) enum Named {
    /// Of what was sent.
    Sent,
    /// Of what was offered.
    Offered,
    /// Of something else.
    Other,
}

impl Content {
    /// Its bytes.
    pub(super) fn bytes(self) -> impl Iterator<Item = u8> {
        (0..self.length).map(move |at| self.seed.wrapping_add((at / 251) as u8).wrapping_mul(31) ^ at as u8)
    }
}

impl Name {
    /// Its bytes, which need not be a name.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Name::Known(which) => NAMES[usize::from(*which) % NAMES.len()].as_bytes(),
            Name::Raw(bytes) => bytes,
        }
    }
}

impl<'a> Arbitrary<'a> for Script {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let flags: u8 = u.arbitrary()?;
        let conflict = match flags & 3 {
            0 => Conflict::Replace,
            1 => Conflict::KeepBoth,
            2 => Conflict::Skip,
            _ => Conflict::Fail,
        };
        let max_file = if flags & 32 == 0 { 1 << 40 } else { 1000 };
        let mut steps = Vec::new();
        while !u.is_empty() && steps.len() < STEPS {
            steps.push(u.arbitrary()?);
        }
        Ok(Script {
            conflict,
            overwrite: flags & 4 == 0,
            dry_run: flags & 8 != 0,
            in_folder: flags & 16 != 0,
            max_file,
            // Not often: it takes its time.
            is_slow: flags & 192 == 192,
            steps,
        })
    }
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? % 16 {
            0..=2 => Step::Offer(u.arbitrary()?),
            3 | 4 => Step::Send {
                which: u.arbitrary()?,
                begin: u.arbitrary()?,
                piece: u.arbitrary()?,
                most: optional(u)?,
            },
            5 => Step::Body { which: u.arbitrary()?, begin: u.arbitrary()? },
            6 => Step::Chunk { length: u.arbitrary()?, is_honest: u.arbitrary()?, more: u.arbitrary()? },
            7 => Step::End(match u.arbitrary::<u8>()? % 4 {
                0 | 1 => Named::Sent,
                2 => Named::Offered,
                _ => Named::Other,
            }),
            8 => Step::Abort { which: u.arbitrary()?, code: Code::from_number(u.arbitrary()?) },
            9 => Step::Done { is_honest: u.arbitrary()? },
            10 => Step::Wait,
            11 => Step::Frame { frame_type: u.arbitrary()?, payload: bytes(u)? },
            12 => Step::Raw(bytes(u)?),
            13 => Step::Damage { at: u.arbitrary()?, with: u.arbitrary()? },
            14 => Step::Hole { length: u.arbitrary()? },
            _ => Step::Reconnect { waits: u.arbitrary()? },
        })
    }
}

impl<'a> Arbitrary<'a> for Offer {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let which: u8 = u.arbitrary()?;
        let name = if which < 128 { Name::Known(which % 16) } else { Name::Raw(bytes(u)?) };
        let kind = match u.arbitrary::<u8>()? % 8 {
            0..=4 => OfferKind::File,
            5 => OfferKind::Folder,
            _ => OfferKind::Link(u.arbitrary()?),
        };
        let content = Content { length: u.arbitrary()?, seed: u.arbitrary()? };
        let size = match u.arbitrary::<u8>()? % 4 {
            0 | 1 => Told::Truth,
            2 => Told::Nothing,
            _ => Told::Other(u.arbitrary()?),
        };
        let digest = match u.arbitrary::<u8>()? % 4 {
            0 | 1 => Told::Truth,
            2 => Told::Nothing,
            _ => Told::Other(()),
        };
        let modified = optional(u)?.map(|(seconds, nanos)| Timestamp::saturating(seconds, nanos));
        let (mode, extension) = (optional(u)?, optional(u)?);
        Ok(Offer { name, kind, content, size, digest, modified, mode, extension, more: u.arbitrary()? })
    }
}

impl<'a> Arbitrary<'a> for Begin {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? % 8 {
            0..=4 => Begin::Honest,
            5 => Begin::Blind,
            6 => Begin::Zero,
            _ => Begin::At(u.arbitrary()?),
        })
    }
}

/// Read from the front alone, unlike the `Option`s and lists of `arbitrary`, so that seeds can be written.
fn optional<'a, T: Arbitrary<'a>>(u: &mut Unstructured<'a>) -> Result<Option<T>> {
    Ok(if u.arbitrary::<u8>()? & 1 == 1 { Some(u.arbitrary()?) } else { None })
}

fn bytes(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let length = usize::from(u.arbitrary::<u8>()?).min(u.len());
    Ok(u.bytes(length)?.to_vec())
}
