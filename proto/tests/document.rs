//! Keeps `PROTOCOL.md` true: its tables of frames, codes and limits, its fingerprint, its small examples of the
//! encoding, and every byte of its example exchange.

use std::{collections::BTreeSet, time::Duration};

use ferry_proto::*;

const DOCUMENT: &str = include_str!("../PROTOCOL.md");

#[test]
fn the_example_is_what_this_crate_sends() {
    let of_the_file = Algorithm::Sha256.digest(b"hello, world\n");
    let digest = Some(of_the_file);
    let header = Header {
        size: Some(13),
        digest,
        modified: Some(Timestamp::new(1_700_000_000, 123_456_789).unwrap()),
        mode: Some(Mode::from_bits(0o644)),
        ..Header::new(RelPath::new("docs/hello.txt").unwrap(), Kind::File)
    };
    let messages: [Message; 11] = [
        Hello {
            versions: Versions::ours(),
            run: *b"run of 16 bytes!",
            agent: "ferry 0.1.0".into(),
            name: "laptop".into(),
            features: vec![],
            invite: None,
        }
        .into(),
        Welcome {
            version: VERSION,
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
        Request {
            id: 1,
            verb: Verb::Put(Put {
                on_conflict: Conflict::Replace,
                dry_run: false,
                digest: Algorithm::Sha256,
            }),
        }
        .into(),
        Offer { seq: Seq(0), header }.into(),
        Verdict { seq: Seq(0), answer: Answer::Send { offset: 0, prefix: None } }.into(),
        Body { seq: Seq(0), offset: 0 }.into(),
        End { digest: of_the_file }.into(),
        Receipt { seq: Seq(0), digest, path: None }.into(),
        Done { entries: 1, bytes: 13 }.into(),
        Done { entries: 1, bytes: 13 }.into(),
        Goodbye { code: Code::Bye, detail: String::new() }.into(),
    ];
    let mut expected: Vec<Frame> = messages.into_iter().map(Frame::Control).collect();
    expected.insert(6, Frame::Chunk(b"hello, world\n".to_vec()));

    let bytes = example();
    let mut decoder = Decoder::new();
    let mut input = &bytes[..];
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next(&mut input).unwrap() {
        frames.push(frame);
    }
    assert!(decoder.is_between_frames());
    assert_eq!(frames, expected);

    let mut encoded = Vec::new();
    for frame in &expected {
        match frame {
            Frame::Control(message) => message.encode(&mut encoded),
            Frame::Chunk(chunk) => {
                encoded.extend(FrameHeader::chunk(chunk.len()).to_bytes());
                encoded.extend(chunk);
            }
        }
    }
    assert_eq!(hex(&encoded), hex(&bytes));
}

#[test]
fn every_code_is_in_the_table_and_no_other() {
    let expected: BTreeSet<String> =
        Code::ALL.iter().map(|code| format!("{} {code:?}", code.number())).collect();
    let table = rows("## 18 Codes");
    let found: BTreeSet<String> =
        table.iter().map(|row| format!("{} {}", row[0], row[1].trim_matches('`'))).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_limit_is_in_the_table_with_its_value() {
    let source = include_str!("../src/limits.rs");
    let expected: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "))
        .filter_map(|line| line.split(':').next())
        .collect();

    let table = rows("## 19 Limits");
    let names: BTreeSet<&str> = table.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(names, expected);
    for row in &table {
        let value = match row[0].trim_matches('`') {
            "CONTROL" => grouped(limits::CONTROL as u64),
            "CHUNK" => grouped(limits::CHUNK as u64),
            "OFFERS" => grouped(limits::OFFERS as u64),
            "OFFER_BYTES" => grouped(limits::OFFER_BYTES as u64),
            "BODIES_READY" => grouped(limits::BODIES_READY),
            "CHECKPOINT" => grouped(limits::CHECKPOINT),
            "NAME" => grouped(limits::NAME as u64),
            "PATH" => grouped(limits::PATH as u64),
            "PATHS" => grouped(limits::PATHS as u64),
            "DEPTH" => grouped(limits::DEPTH as u64),
            "LINK_TARGET" => grouped(limits::LINK_TARGET as u64),
            "DETAIL" => grouped(limits::DETAIL as u64),
            "AGENT" => grouped(limits::AGENT as u64),
            "EXTENSIONS" => grouped(limits::EXTENSIONS as u64),
            "XATTRS" => grouped(limits::XATTRS as u64),
            "ACCOUNT" => grouped(limits::ACCOUNT as u64),
            "EXTENSION_BYTES" => grouped(limits::EXTENSION_BYTES as u64),
            "FEATURES" => grouped(limits::FEATURES as u64),
            "ADDRESSES" => grouped(limits::ADDRESSES as u64),
            "FILE" => grouped(limits::FILE),
            "HANDSHAKE" => seconds(limits::HANDSHAKE),
            "FIRST_MESSAGE" => seconds(limits::FIRST_MESSAGE),
            "PING" => seconds(limits::PING),
            "SILENCE" => seconds(limits::SILENCE),
            "FRAME" => seconds(limits::FRAME),
            "UNREAD" => seconds(limits::UNREAD),
            "GOODBYE_DRAIN" => seconds(limits::GOODBYE_DRAIN),
            other => panic!("no value for {other}: add it here"),
        };
        assert_eq!(row[1], value, "{}", row[0]);
    }
}

#[test]
fn every_frame_type_is_in_the_table() {
    let source = include_str!("../src/message.rs");
    let messages = source.split("messages! {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
    let mut expected: BTreeSet<String> = messages
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(" => "))
        .map(|(number, name)| format!("{number} {name}"))
        .collect();
    assert_eq!(expected.len(), 18, "the source is not what this test takes it for");
    expected.insert("8 chunk".into());
    let found: BTreeSet<String> = rows("## 4 Frames")
        .iter()
        .filter(|row| row[0].parse::<u8>().is_ok() && row.len() == 4)
        .map(|row| format!("{} {}", row[0], row[1].trim_matches('`')))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_fingerprint_is_that_of_the_key() {
    let prefix = parse_hex("30 2a 30 05 06 03 2b 65 70 03 21 00");
    assert!(DOCUMENT.contains("`30 2a 30 05 06 03 2b 65 70 03 21 00`"));
    let value = |name: &str| {
        let line = DOCUMENT.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].trim().to_owned()
    };
    let key = [prefix, parse_hex(&value("key "))].concat();
    assert_eq!(key.len(), 44);
    let fingerprint = Fingerprint::of_key(&key);
    assert_eq!(hex(fingerprint.bytes()), value("fingerprint "));
    assert_eq!(fingerprint.to_string(), value("as text "));
}

/// The small examples of section 5, seen through messages that hold such values.
#[test]
fn the_examples_of_the_encoding_are_true() {
    let payload = |message: Message| {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        frame.split_off(FrameHeader::LEN)
    };
    let token = |token| payload(Ping { token }.into());
    let time = |seconds| {
        let header = Header {
            modified: Some(Timestamp::new(seconds, 0).unwrap()),
            ..Header::new(RelPath::new("x").unwrap(), Kind::Folder)
        };
        let bytes = payload(Offer { seq: Seq(0), header }.into());
        // Before it: seq, path, kind, no size, no digest, the option's tag. Behind it: no nanoseconds, no mode,
        // no extensions.
        bytes[7..bytes.len() - 3].to_vec()
    };
    let text = |text: &str| payload(Goodbye { code: Code::Bye, detail: text.into() }.into()).split_off(1);
    for (value, bytes) in [
        ("250", token(250)),
        ("251", token(251)),
        ("65,536", token(65_536)),
        ("4,294,967,296", token(4_294_967_296)),
        ("-1", time(-1)),
        ("1", time(1)),
        ("-126", time(-126)),
        ("`é`", text("é")),
    ] {
        let table = rows("## 5 Encoding");
        let row = table.iter().find(|row| row.len() == 3 && row[0] == value).expect(value);
        assert_eq!(hex(&parse_hex(row[2].trim_matches('`'))), hex(&bytes), "{value}");
    }
}

/// The rows of every table in a section, headings left out.
fn rows(section: &str) -> Vec<Vec<&'static str>> {
    let rest = DOCUMENT.split(section).nth(1).expect("the section is there");
    let section = rest.split("\n## ").next().expect("there is a first part");
    section
        .lines()
        .chain([""])
        .collect::<Vec<_>>()
        .windows(2)
        .filter(|lines| lines[0].starts_with('|') && !lines[0].starts_with("| ---"))
        .filter(|lines| !lines[1].starts_with("| ---"))
        .map(|lines| lines[0].trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The bytes of all blocks of hex, comments left out.
fn example() -> Vec<u8> {
    let section = DOCUMENT.split("## 20 Example").nth(1).expect("the section is there");
    let blocks = section.split("```hex\n").skip(1).map(|block| block.split("```").next().expect("a block"));
    let lines = blocks.flat_map(str::lines).map(|line| line.split(';').next().expect("a line"));
    parse_hex(&lines.collect::<String>())
}

fn parse_hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}
