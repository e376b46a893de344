//! Pins the bytes of every message to the hex files in `testdata/wire/`, in both directions: the value encodes to
//! exactly those bytes, and those bytes decode to that value.
//!
//! Whoever writes another client can use the same files. A change here is a change of the protocol. To write the
//! files anew after an intended one, run
//!
//! ```text
//! FERRY_WRITE_GOLDEN=1 cargo test -p ferry-proto --test golden
//! ```
//!
//! which writes them and then fails, so that nobody leaves the variable set; look at the difference in git and run
//! again without it. Files that belong to no value any more are reported, not removed.

use std::{collections::BTreeSet, fmt::Write, fs, path::PathBuf};

use ferry_proto::*;

struct Golden {
    name: &'static str,
    about: &'static str,
    frame: Frame,
}

#[test]
fn every_value_has_exactly_the_bytes_in_its_file() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/wire");
    let goldens = goldens();
    if std::env::var_os("FERRY_WRITE_GOLDEN").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for golden in &goldens {
            fs::write(folder.join(golden.name).with_extension("hex"), as_file(golden)).unwrap();
        }
        panic!("FERRY_WRITE_GOLDEN: wrote {} files to {}", goldens.len(), folder.display());
    }
    for golden in &goldens {
        let path = folder.join(golden.name).with_extension("hex");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let bytes = parse_hex(&text);
        assert_eq!(hex(&encode(&golden.frame)), hex(&bytes), "{} encodes to other bytes", golden.name);
        assert_eq!(decode_one(&bytes), golden.frame, "{} decodes to another value", golden.name);
    }
}

#[test]
fn every_file_has_a_value() {
    let goldens = goldens();
    let names: BTreeSet<String> = goldens.iter().map(|golden| format!("{}.hex", golden.name)).collect();
    assert_eq!(names.len(), goldens.len(), "two values share a name");
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/wire");
    let files: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, names);
}

/// Each `match` is exhaustive, so a new variant does not compile until it has a number here, and the test does
/// not pass until a value covers that number.
#[test]
fn every_variant_is_covered() {
    let mut messages = Covered::new(18);
    let mut answers = Covered::new(5);
    let mut kinds = Covered::new(3);
    let mut verbs = Covered::new(4);
    let mut conflicts = Covered::new(4);
    let mut chunks = Covered::new(1);
    for golden in goldens() {
        let message = match golden.frame {
            Frame::Chunk(_) => {
                chunks.see(0);
                continue;
            }
            Frame::Control(message) => message,
        };
        messages.see(match &message {
            Message::Hello(_) => 0,
            Message::Welcome(_) => 1,
            Message::Goodbye(_) => 2,
            Message::Request(_) => 3,
            Message::Offer(_) => 4,
            Message::Verdict(_) => 5,
            Message::Body(_) => 6,
            Message::End(_) => 7,
            Message::Abort(_) => 8,
            Message::Receipt(_) => 9,
            Message::Failed(_) => 10,
            Message::Done(_) => 11,
            Message::Ping(_) => 12,
            Message::Pong(_) => 13,
            Message::Rejected(_) => 14,
            Message::Spent(_) => 15,
            Message::Missing(_) => 16,
            Message::Hole(_) => 17,
        });
        match message {
            Message::Verdict(Verdict { answer, .. }) => answers.see(match answer {
                Answer::Send { .. } => 0,
                Answer::Held { .. } => 1,
                Answer::NeedDigest => 2,
                Answer::Refused { .. } => 3,
                Answer::Wanted { .. } => 4,
            }),
            Message::Offer(Offer { header, .. }) => kinds.see(match header.kind {
                Kind::File => 0,
                Kind::Folder => 1,
                Kind::Symlink(_) => 2,
            }),
            Message::Request(Request { verb: Verb::Put(put), .. }) => {
                verbs.see(0);
                conflicts.see(match put.on_conflict {
                    Conflict::Replace => 0,
                    Conflict::KeepBoth => 1,
                    Conflict::Skip => 2,
                    Conflict::Fail => 3,
                });
            }
            Message::Request(Request { verb: Verb::Unknown(_), .. }) => verbs.see(1),
            Message::Request(Request { verb: Verb::Get(_), .. }) => verbs.see(2),
            Message::Request(Request { verb: Verb::List(_), .. }) => verbs.see(3),
            _ => {}
        }
    }
    for (what, covered) in [
        ("Message", messages),
        ("Answer", answers),
        ("Kind", kinds),
        ("Verb", verbs),
        ("Conflict", conflicts),
        ("chunk", chunks),
    ] {
        assert!(covered.0.iter().all(|&seen| seen), "{what}: no golden value for a variant: {:?}", covered.0);
    }
}

struct Covered(Vec<bool>);

impl Covered {
    fn new(variants: usize) -> Self {
        Covered(vec![false; variants])
    }

    fn see(&mut self, variant: usize) {
        self.0[variant] = true;
    }
}

fn goldens() -> Vec<Golden> {
    let mut all = Vec::new();
    let mut control = |name, about, message: Message| {
        all.push(Golden { name, about, frame: Frame::Control(message) });
    };

    let hello = Hello {
        versions: Versions { oldest: 1, newest: 1 },
        run: *b"run of 16 bytes!",
        agent: "ferry 0.1.0".into(),
        name: "laptop".into(),
        features: vec![],
        invite: None,
    };
    control("hello", "A client that is enrolled.", hello.clone().into());
    control(
        "hello-invite",
        "A client that spends an invite.",
        Hello { invite: Some(Secret::from_bytes([0xa5; 16])), ..hello.clone() }.into(),
    );
    control(
        "hello-features",
        "A client that also speaks versions to come and names features; a name that is not ASCII.",
        Hello {
            versions: Versions { oldest: 1, newest: 258 },
            name: "Büro".into(),
            features: vec![1, 250, 251, 65535],
            ..hello
        }
        .into(),
    );
    control(
        "welcome",
        "A server with the limits of the protocol; a grant to put and to overwrite.",
        Welcome {
            version: 1,
            agent: "ferryd 0.1.0".into(),
            name: "nas".into(),
            features: vec![],
            limits: Limits {
                offers: limits::OFFERS as u32,
                chunk: limits::CHUNK as u32,
                checkpoint: limits::CHECKPOINT,
                file: limits::FILE,
            },
            grant: GrantView { client: "laptop".into(), put: true, get: false, list: false, overwrite: true },
        }
        .into(),
    );
    control(
        "welcome-features",
        "A server with smaller limits that shares two features; a grant to get and to list.",
        Welcome {
            version: 1,
            agent: String::new(),
            name: String::new(),
            features: vec![7, 300],
            limits: Limits { offers: 1, chunk: 65536, checkpoint: 33554432, file: 0 },
            grant: GrantView {
                client: "laptop 2".into(),
                put: false,
                get: true,
                list: true,
                overwrite: false,
            },
        }
        .into(),
    );
    control("goodbye", "The ordinary end.", Goodbye { code: Code::Bye, detail: String::new() }.into());
    control(
        "goodbye-unknown-client",
        "A server that does not know the client's key.",
        Goodbye { code: Code::UnknownClient, detail: "this key is not enrolled here".into() }.into(),
    );
    control(
        "goodbye-unknown-code",
        "A code that version 1 does not know.",
        Goodbye { code: Code::Other(9999), detail: "?".into() }.into(),
    );

    let put = |id, on_conflict, dry_run, digest| {
        Message::from(Request { id, verb: Verb::Put(Put { on_conflict, dry_run, digest }) })
    };
    control("request-put-replace", "", put(0, Conflict::Replace, false, Algorithm::Sha256));
    control("request-put-keep-both", "", put(1, Conflict::KeepBoth, false, Algorithm::Sha256));
    control("request-put-skip", "Digests by BLAKE3.", put(250, Conflict::Skip, false, Algorithm::Blake3));
    control("request-put-fail", "A dry run.", put(u32::MAX, Conflict::Fail, true, Algorithm::Sha256));
    let paths =
        || vec![RelPath::new("docs").expect("a good name"), RelPath::new("a/b").expect("a good name")];
    control(
        "request-get",
        "Two paths and everything below them.",
        Request {
            id: 2,
            verb: Verb::Get(Get { paths: paths(), digest: Algorithm::Sha256, wants: Wants::default() }),
        }
        .into(),
    );
    let wants = Wants { owner: true, xattrs: true, hard_links: true };
    let everything = List { paths: vec![], digest: Algorithm::Blake3, recursive: true, reread: true, wants };
    control(
        "request-list",
        "What is directly in two paths.",
        Request {
            id: 3,
            verb: Verb::List(List {
                paths: paths(),
                recursive: false,
                reread: false,
                wants: Wants { owner: false, ..wants },
                ..everything.clone()
            }),
        }
        .into(),
    );
    control(
        "request-list-everything",
        "All that there is, read anew.",
        Request { id: 4, verb: Verb::List(everything) }.into(),
    );
    control(
        "request-unknown",
        "A verb that version 1 does not know, without arguments.",
        Request { id: 251, verb: Verb::Unknown(512) }.into(),
    );
    control(
        "rejected",
        "The answer to a verb that is not known.",
        Rejected { id: 251, code: Code::Unsupported, detail: "verb 512 is not known here".into() }.into(),
    );

    control(
        "missing",
        "A file that a server was asked for, and cannot read.",
        Missing {
            path: Some(RelPath::new("docs/secret").expect("a good name")),
            code: Code::SourceUnreadable,
            detail: "permission denied".into(),
        }
        .into(),
    );

    control(
        "hole",
        "The longest hole that one frame may tell of, in a body whose sender and receiver both know holes.",
        Hole::new(limits::CHUNK).expect("a good length").into(),
    );

    control(
        "spent",
        "A receiver whose disk is slow. Types from 128 on are passed over by whoever does not know them.",
        Spent { disk: 2_500_000, hash: 40_000, sync: 250, stalled: 0 }.into(),
    );

    let hello_world = Algorithm::Sha256.digest(b"hello, world\n");
    let offer = |seq, header| Message::from(Offer { seq: Seq(seq), header });
    let header = |name: &[u8], kind| Header::new(RelPath::new(name).expect("a good name"), kind);
    control(
        "offer-file",
        "A small file: its digest is known ahead.",
        offer(
            0,
            Header {
                size: Some(13),
                digest: Some(hello_world),
                modified: Some(Timestamp::new(1_700_000_000, 123_456_789).expect("a good time")),
                mode: Some(Mode::from_bits(0o644)),
                ..header(b"docs/hello.txt", Kind::File)
            },
        ),
    );
    control(
        "offer-file-large",
        "A file over 4 GiB: its digest comes in End. It was modified before 1970.",
        offer(
            250,
            Header {
                size: Some(5_000_000_000),
                modified: Some(Timestamp::new(-1, 999_999_999).expect("a good time")),
                mode: Some(Mode::from_bits(0o4755)),
                ..header(b"video.mkv", Kind::File)
            },
        ),
    );
    control(
        "offer-file-extremes",
        "The largest size, the earliest time, every mode bit, a large number.",
        offer(
            u64::MAX,
            Header {
                size: Some(limits::FILE),
                modified: Some(Timestamp::new(i64::MIN, 0).expect("a good time")),
                mode: Some(Mode::from_bits(0o7777)),
                ..header(b"x", Kind::File)
            },
        ),
    );
    control(
        "offer-stream",
        "Standard input: neither size, digest, time nor mode.",
        offer(251, header(b"backup.tar", Kind::File)),
    );
    control(
        "offer-folder",
        "",
        offer(
            65_535,
            Header {
                modified: Some(Timestamp::new(0, 0).expect("a good time")),
                mode: Some(Mode::from_bits(0o755)),
                ..header(b"holiday", Kind::Folder)
            },
        ),
    );
    control(
        "offer-symlink",
        "A link's target is bytes and may lead anywhere.",
        offer(65_536, header(b"docs/link", Kind::Symlink(b"../../etc/\xff".to_vec()))),
    );
    control(
        "offer-odd-name",
        "A name that is not UTF-8, with a backslash, a colon, a newline and a final dot.",
        offer(4_294_967_296, header(b"caf\xe9/a\\b:c\nd.", Kind::File)),
    );
    let owner = |user: &[u8]| Owner::new(1000, 65_536, Some(user.to_vec()), None).ok();
    let xattrs =
        [(&b"user.checked"[..], &b"2024-03-16"[..]), (b"user.empty", b""), (b"user.\xe9", b"\0\xff")];
    control(
        "offer-attributes",
        "A folder with its owner, whose group has no name, and its extended attributes: binary, empty, not UTF-8.",
        offer(
            2,
            Header {
                attributes: Box::new(Attributes {
                    owner: owner(b"mia"),
                    xattrs: Xattrs::new(xattrs.map(|(name, value)| (name.to_vec(), value.to_vec())).to_vec())
                        .ok(),
                }),
                ..header(b"photos", Kind::Folder)
            },
        ),
    );
    control(
        "offer-same",
        "A file that is another name of one that was offered before.",
        offer(
            4,
            Header {
                size: Some(0),
                digest: Some(Algorithm::Sha256.digest(b"")),
                same_as: RelPath::new("docs/first").ok(),
                ..header(b"docs/second", Kind::File)
            },
        ),
    );
    control(
        "offer-leaving",
        "A file whose source will be removed.",
        offer(
            5,
            Header {
                leaving: Some(Box::new(Leaving {
                    inode: 7117,
                    changed: Timestamp::new(1_700_000_000, 5).expect("a good time"),
                })),
                ..header(b"moved", Kind::File)
            },
        ),
    );
    control(
        "offer-attributes-none",
        "A link that has no extended attributes, which is more than not to say which.",
        offer(
            3,
            Header {
                attributes: Box::new(Attributes { owner: None, xattrs: Some(Xattrs::default()) }),
                ..header(b"link", Kind::Symlink(b"target".to_vec()))
            },
        ),
    );
    control(
        "offer-extensions",
        "Three extensions that no version knows yet, one of them empty.",
        offer(
            2,
            Header {
                size: Some(0),
                digest: Some(Algorithm::Sha256.digest(b"")),
                modified: Some(Timestamp::new(i64::MAX, 999_999_999).expect("a good time")),
                mode: Some(Mode::from_bits(0)),
                extensions: vec![
                    Extension { tag: 100, value: b"first".to_vec() },
                    Extension { tag: 251, value: vec![] },
                    Extension { tag: 65535, value: vec![0xee; 251] },
                ],
                ..header(b"attributes", Kind::File)
            },
        ),
    );

    let verdict = |seq, answer| Message::from(Verdict { seq: Seq(seq), answer });
    control("verdict-send", "From the start.", verdict(0, Answer::Send { offset: 0, prefix: None }));
    control(
        "verdict-send-resume",
        "From the first checkpoint, with the digest of what lies before.",
        verdict(1, Answer::Send { offset: limits::CHECKPOINT, prefix: Some(hello_world) }),
    );
    control(
        "verdict-held",
        "The file is there under the name that was offered.",
        verdict(2, Answer::Held { digest: Some(hello_world), path: None }),
    );
    control(
        "verdict-held-elsewhere",
        "The file is there under another name.",
        verdict(
            3,
            Answer::Held {
                digest: Some(hello_world),
                path: Some(RelPath::new("docs/hello (2).txt").expect("a good name")),
            },
        ),
    );
    control(
        "verdict-held-folder",
        "A folder or a link is there already.",
        verdict(4, Answer::Held { digest: None, path: None }),
    );
    control("verdict-need-digest", "", verdict(5, Answer::NeedDigest));
    control(
        "verdict-refused",
        "",
        verdict(6, Answer::Refused { code: Code::Exists, detail: "docs/hello.txt is there".into() }),
    );
    control("verdict-wanted", "In a dry run.", verdict(7, Answer::Wanted { is_new: true }));

    control("body", "From the start.", Body { seq: Seq(0), offset: 0 }.into());
    control("body-resume", "From a checkpoint.", Body { seq: Seq(1), offset: limits::CHECKPOINT }.into());
    control("end", "", End { digest: hello_world }.into());
    control("abort", "", Abort { seq: Seq(7), code: Code::SourceVanished }.into());
    control("receipt", "", Receipt { seq: Seq(0), digest: Some(hello_world), path: None }.into());
    control(
        "receipt-elsewhere",
        "Both files were kept.",
        Receipt {
            seq: Seq(1),
            digest: Some(hello_world),
            path: Some(RelPath::new("docs/hello (2).txt").expect("a good name")),
        }
        .into(),
    );
    control("receipt-folder", "", Receipt { seq: Seq(9), digest: None, path: None }.into());
    control(
        "failed",
        "",
        Failed { seq: Seq(8), code: Code::StorageFull, detail: "no space left for 5000000000 bytes".into() }
            .into(),
    );
    control("done", "", Done { entries: 3, bytes: 5_000_000_013 }.into());
    control("done-nothing", "A request without an offer.", Done { entries: 0, bytes: 0 }.into());
    control("ping", "", Ping { token: 1 }.into());
    control("pong", "", Pong { token: u64::MAX }.into());

    all.push(Golden {
        name: "chunk",
        about: "The bytes are raw: neither length nor encoding but the frame's own.",
        frame: Frame::Chunk(b"hello, world\n".to_vec()),
    });
    all
}

fn encode(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    match frame {
        Frame::Control(message) => message.encode(&mut bytes),
        Frame::Chunk(chunk) => {
            bytes.extend_from_slice(&FrameHeader::chunk(chunk.len()).to_bytes());
            bytes.extend_from_slice(chunk);
        }
    }
    bytes
}

fn decode_one(mut bytes: &[u8]) -> Frame {
    let mut decoder = Decoder::new();
    let frame = decoder.next(&mut bytes).expect("a good frame").expect("a whole frame");
    assert!(bytes.is_empty() && decoder.is_between_frames(), "one frame and nothing more");
    frame
}

fn as_file(golden: &Golden) -> String {
    let bytes = encode(&golden.frame);
    let mut text = format!("# {}\n", golden.name);
    if !golden.about.is_empty() {
        writeln!(text, "# {}", golden.about).expect("writing to memory");
    }
    let (frame_type, length) = (bytes[0], bytes.len() - FrameHeader::LEN);
    writeln!(text, "# frame type {frame_type}, {length} bytes of payload").expect("writing to memory");
    for line in bytes.chunks(32) {
        text.push_str(&hex(line));
        text.push('\n');
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hex(text: &str) -> Vec<u8> {
    let digits: String =
        text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
    assert!(digits.is_ascii() && digits.len().is_multiple_of(2), "not hex: {digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits"))
        .collect()
}
