//! What the property tests draw: honest messages, their frames, and bytes that are no longer honest.

use ferry_proto::*;
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{Index, select},
};

/// Any message that this crate can be asked to encode.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        hello().prop_map(Message::from),
        welcome().prop_map(Message::from),
        (code(), sentence()).prop_map(|(code, detail)| Goodbye { code, detail }.into()),
        request().prop_map(Message::from),
        (seq(), header()).prop_map(|(seq, header)| Offer { seq, header }.into()),
        (seq(), answer()).prop_map(|(seq, answer)| Verdict { seq, answer }.into()),
        (seq(), number()).prop_map(|(seq, offset)| Body { seq, offset }.into()),
        (1..=limits::CHUNK).prop_map(|length| Hole::new(length).expect("a good length").into()),
        digest().prop_map(|digest| End { digest }.into()),
        (seq(), code()).prop_map(|(seq, code)| Abort { seq, code }.into()),
        (seq(), option::of(digest()), option::of(path())).prop_map(|(seq, digest, path)| Receipt {
            seq,
            digest,
            path
        }
        .into()),
        (seq(), code(), sentence()).prop_map(|(seq, code, detail)| Failed { seq, code, detail }.into()),
        (number(), number()).prop_map(|(entries, bytes)| Done { entries, bytes }.into()),
        number().prop_map(|token| Ping { token }.into()),
        number().prop_map(|token| Pong { token }.into()),
        (any::<u32>(), code(), sentence())
            .prop_map(|(id, code, detail)| Rejected { id, code, detail }.into()),
        (option::of(path()), code(), sentence()).prop_map(|(path, code, detail)| Missing {
            path,
            code,
            detail
        }
        .into()),
        (number(), number(), number(), number()).prop_map(|(disk, hash, sync, stalled)| Spent {
            disk,
            hash,
            sync,
            stalled
        }
        .into()),
    ]
}

/// A name within the rules: mostly short, sometimes at a limit, any bytes.
pub(crate) fn path() -> impl Strategy<Value = RelPath> {
    let byte = any::<u8>().prop_map(|byte| if matches!(byte, 0 | b'/') { b'.' } else { byte });
    let name = prop_oneof![
        8 => vec(byte.clone(), 1..12),
        1 => vec(byte, 250..=limits::NAME),
        1 => select(vec![b"...".to_vec(), b"aux.h".to_vec(), b".ferry2".to_vec(), "é⛴️".as_bytes().to_vec()]),
    ];
    let depth = prop_oneof![8 => 1..5usize, 1 => 1..=16usize, 1 => Just(limits::DEPTH)];
    (vec(name, limits::DEPTH), depth).prop_map(|(names, depth)| {
        let mut path: Option<RelPath> = None;
        for name in names.into_iter().take(depth) {
            let longer = match &path {
                Some(path) => path.join(&name),
                None => RelPath::new(&name),
            };
            path = longer.ok().or(path);
        }
        path.unwrap_or_else(|| RelPath::new("fallback").expect("a good name"))
    })
}

/// The bytes of a whole frame: honest, honest with random changes, or a known type with a random payload.
pub(crate) fn frame_of_any_kind() -> impl Strategy<Value = Vec<u8>> {
    let honest = message().prop_map(|message| encoded(&message));
    let changed = (message(), vec((any::<Index>(), any::<u8>()), 1..6)).prop_map(|(message, changes)| {
        let mut frame = encoded(&message);
        for (at, byte) in changes {
            // Half of the changes go to what the decoder looks at first: lengths, tags and numbers.
            let near = at.index(frame.len().min(FrameHeader::LEN + 12));
            let anywhere = at.index(frame.len());
            let at = if byte % 2 == 0 { near } else { anywhere };
            frame[at] = byte;
        }
        frame
    });
    let random = (0..=20u8, payload()).prop_map(|(frame_type, payload)| framed(frame_type, &payload));
    prop_oneof![honest, changed, random]
}

/// A payload that looks like a message now and then: small numbers, the markers of large ones, huge lengths.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => vec(0..4u8, 1..4),
        2 => vec(any::<u8>(), 1..12),
        1 => Just(b"ferry\0\x01\0\x01\0".to_vec()),
        1 => any::<u16>().prop_map(|n| [&[251][..], &n.to_le_bytes()].concat()),
        1 => any::<u32>().prop_map(|n| [&[252][..], &n.to_le_bytes()].concat()),
        1 => select(vec![u64::MAX, 1 << 62, 1 << 40, 65_536])
            .prop_map(|n| [&[253][..], &n.to_le_bytes()].concat()),
        1 => vec(any::<u8>(), 1000..4000),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

pub(crate) fn encoded(message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    frame
}

pub(crate) fn framed(frame_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![frame_type];
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn hello() -> impl Strategy<Value = Hello> {
    (0..=VERSION, VERSION..10, any::<RunId>(), label(), label(), features(), option::of(any::<[u8; 16]>()))
        .prop_map(|(oldest, newest, run, agent, name, features, invite)| Hello {
            versions: Versions { oldest, newest },
            run,
            agent,
            name,
            features,
            invite: invite.map(Secret::from_bytes),
        })
}

fn welcome() -> impl Strategy<Value = Welcome> {
    let limits = (any::<u32>(), any::<u32>(), number(), number())
        .prop_map(|(offers, chunk, checkpoint, file)| Limits { offers, chunk, checkpoint, file });
    let grant = (label(), any::<[bool; 4]>()).prop_map(|(client, [put, get, list, overwrite])| GrantView {
        client,
        put,
        get,
        list,
        overwrite,
    });
    (any::<u16>(), label(), label(), features(), limits, grant).prop_map(
        |(version, agent, name, features, limits, grant)| Welcome {
            version,
            agent,
            name,
            features,
            limits,
            grant,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let conflict = select(vec![Conflict::Replace, Conflict::KeepBoth, Conflict::Skip, Conflict::Fail]);
    let paths = || vec(path(), 0..4);
    let verb =
        prop_oneof![
            (conflict, any::<bool>(), algorithm())
                .prop_map(|(on_conflict, dry_run, digest)| Verb::Put(Put { on_conflict, dry_run, digest })),
            (paths(), algorithm(), wants()).prop_map(|(paths, digest, wants)| Verb::Get(Get {
                paths,
                digest,
                wants
            })),
            (paths(), algorithm(), any::<bool>(), any::<bool>(), wants()).prop_map(
                |(paths, digest, recursive, reread, wants)| {
                    Verb::List(List { paths, digest, recursive, reread, wants })
                }
            ),
            (4..=u16::MAX).prop_map(Verb::Unknown),
        ];
    (any::<u32>(), verb).prop_map(|(id, verb)| Request { id, verb })
}

fn header() -> impl Strategy<Value = Header> {
    let target = vec(1..=255u8, 1..64);
    let kind = prop_oneof![
        4 => Just(Kind::File),
        1 => Just(Kind::Folder),
        1 => target.prop_map(Kind::Symlink),
    ];
    let size = option::of(number().prop_map(|size| size.min(limits::FILE)));
    let time = (any::<i64>(), 0..1_000_000_000u32)
        .prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos).expect("nanoseconds within a second"));
    let mode = any::<u32>().prop_map(Mode::from_bits);
    let changed = (any::<i64>(), 0..1_000_000_000u32)
        .prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos).expect("nanoseconds within a second"));
    let leaving = (number(), changed).prop_map(|(inode, changed)| Box::new(Leaving { inode, changed }));
    let extension =
        (100..=u16::MAX, vec(any::<u8>(), 0..300)).prop_map(|(tag, value)| Extension { tag, value });
    let extensions = prop_oneof![4 => Just(vec![]), 1 => vec(extension, 0..=limits::EXTENSIONS - 4)];
    (
        path(),
        kind,
        size,
        option::of(digest()),
        option::of(time),
        option::of(mode),
        attributes(),
        (option::of(path()), option::of(leaving), extensions),
    )
        .prop_map(
            |(path, kind, size, digest, modified, mode, attributes, (same_as, leaving, extensions))| {
                let is_file = kind == Kind::File;
                Header {
                    path,
                    kind,
                    size: size.filter(|_| is_file),
                    digest: digest.filter(|_| is_file),
                    modified,
                    mode,
                    same_as: same_as.filter(|_| is_file && size.is_some() && digest.is_some()),
                    leaving,
                    attributes: Box::new(attributes),
                    extensions,
                }
            },
        )
}

fn wants() -> impl Strategy<Value = Wants> {
    any::<[bool; 3]>().prop_map(|[owner, xattrs, hard_links]| Wants { owner, xattrs, hard_links })
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let name = || option::of(vec(1..=255u8, 1..20));
    let owner = (0..u32::MAX, 0..u32::MAX, name(), name())
        .prop_map(|(uid, gid, user, group)| Owner::new(uid, gid, user, group).expect("a good owner"));
    let xattrs = btree_map(vec(1..=255u8, 1..20), vec(any::<u8>(), 0..100), 0..20)
        .prop_map(|xattrs| Xattrs::new(xattrs.into_iter().collect()).expect("good names"));
    prop_oneof![
        3 => Just(Attributes::default()),
        1 => (option::of(owner), option::of(xattrs)).prop_map(|(owner, xattrs)| Attributes { owner, xattrs }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        (number(), option::of(digest())).prop_map(|(offset, prefix)| Answer::Send { offset, prefix }),
        (option::of(digest()), option::of(path())).prop_map(|(digest, path)| Answer::Held { digest, path }),
        Just(Answer::NeedDigest),
        (code(), sentence()).prop_map(|(code, detail)| Answer::Refused { code, detail }),
        any::<bool>().prop_map(|is_new| Answer::Wanted { is_new }),
    ]
}

fn seq() -> impl Strategy<Value = Seq> {
    number().prop_map(Seq)
}

/// Numbers of every length on the wire.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..256u64, 0..65_540u64, 0..(1u64 << 33), any::<u64>(), select(vec![250, 251, u64::MAX])]
}

fn digest() -> impl Strategy<Value = Digest> {
    (algorithm(), any::<[u8; 32]>()).prop_map(|(algorithm, bytes)| Digest::new(algorithm, bytes))
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    select(&Algorithm::ALL[..])
}

fn code() -> impl Strategy<Value = Code> {
    prop_oneof![select(Code::ALL), any::<u16>().prop_map(Code::from_number)]
}

fn features() -> impl Strategy<Value = Vec<u16>> {
    prop_oneof![4 => vec(any::<u16>(), 0..4), 1 => vec(any::<u16>(), limits::FEATURES)]
}

/// Text that is not cut: a character has at most four bytes.
fn label() -> impl Strategy<Value = String> {
    text(limits::AGENT / 4)
}

fn sentence() -> impl Strategy<Value = String> {
    text(limits::DETAIL / 4)
}

fn text(most: usize) -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..=most).prop_map(String::from_iter)
}
