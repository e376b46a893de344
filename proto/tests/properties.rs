//! What holds for every message and for every run of bytes: messages survive the way there and back however the
//! bytes are cut, and bytes from a stranger end in a value or in an error, never in a panic.

mod strategies;

use ferry_proto::*;
use proptest::{collection::vec, prelude::*, sample::Index};
use strategies::{encoded, frame_of_any_kind, framed, message, path};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_message_survives_the_way_there_and_back(message in message()) {
        let frame = encoded(&message);
        prop_assert!(frame.len() <= FrameHeader::LEN + limits::CONTROL);
        prop_assert_eq!(decode_all(&[&frame]), Ok(vec![Frame::Control(message)]));
    }

    #[test]
    fn frames_are_the_same_however_the_bytes_are_cut(
        parts in vec(prop_oneof![
            3 => message().prop_map(|message| encoded(&message)),
            1 => vec(any::<u8>(), 1..100).prop_map(|chunk| framed(8, &chunk)),
            1 => (129..=255u8, vec(any::<u8>(), 0..100)).prop_map(|(kind, payload)| framed(kind, &payload)),
        ], 0..6),
        cuts in vec(any::<Index>(), 0..20),
    ) {
        let whole = parts.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
        cuts.extend([0, whole.len()]);
        cuts.sort();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &whole[cut[0]..cut[1]]).collect();
        let frames = decode_all(&pieces);
        prop_assert!(frames.is_ok());
        prop_assert_eq!(&frames, &decode_all(&[&whole]));
        // 128 is known.
        let skipped = parts.iter().filter(|part| part[0] > 128).count();
        prop_assert_eq!(frames.map(|frames| frames.len()), Ok(parts.len() - skipped));
    }

    #[test]
    fn hostile_09_a_frame_of_any_kind_is_decoded_or_refused(frame in frame_of_any_kind()) {
        if let Ok(frames) = decode_all(&[&frame]) {
            for frame in frames {
                decoded_values_are_stable(frame)?;
            }
        }
    }

    #[test]
    fn hostile_09_any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..2000)) {
        let _ = decode_all(&[&bytes]);
    }

    #[test]
    fn hostile_09_a_cut_frame_is_never_a_frame(message in message(), cut in any::<Index>()) {
        let frame = encoded(&message);
        let cut = cut.index(frame.len());
        let mut decoder = Decoder::new();
        let mut input = &frame[..cut];
        prop_assert_eq!(decoder.next(&mut input), Ok(None));
        prop_assert_eq!(decoder.is_between_frames(), cut == 0);
    }

    #[test]
    fn hostile_09_bytes_left_over_in_a_payload_are_refused(message in message(), extra in vec(any::<u8>(), 1..9)) {
        let frame = encoded(&message);
        let longer = framed(frame[0], &[&frame[FrameHeader::LEN..], &extra].concat());
        prop_assert!(decode_all(&[&longer]).is_err());
    }

    #[test]
    fn a_path_survives_the_way_there_and_back(path in path()) {
        prop_assert_eq!(RelPath::new(path.as_bytes()), Ok(path.clone()));
        let joined = path.components().collect::<Vec<_>>().join(&b'/');
        prop_assert_eq!(&joined[..], path.as_bytes());
        prop_assert!(path.components().count() <= limits::DEPTH && joined.len() <= limits::PATH);
        prop_assert_eq!(path.components().next_back(), Some(path.name()));
        prop_assert_eq!(path.with_name(path.name()), Ok(path.clone()));
        if let Some(parent) = path.parent() {
            prop_assert_eq!(parent.join(path.name()), Ok(path.clone()));
            prop_assert_eq!(path.below(&parent).map(|rest| rest.as_bytes().to_vec()), Some(path.name().to_vec()));
        }
        prop_assert!(path.to_string().chars().all(|c| !c.is_control()));
    }

    #[test]
    fn hostile_01_a_path_that_is_taken_keeps_every_rule(
        bytes in vec(prop_oneof![2 => Just(b'/'), 3 => Just(b'.'), 1 => Just(0), 4 => any::<u8>()], 0..20),
    ) {
        if let Ok(path) = RelPath::new(&bytes) {
            prop_assert_eq!(path.as_bytes(), &bytes[..]);
            for name in path.components() {
                prop_assert!((1..=limits::NAME).contains(&name.len()));
                prop_assert!(name != b"." && name != b".." && !name.contains(&0) && !name.contains(&b'/'));
            }
        }
    }

    #[test]
    fn an_invite_survives_the_way_there_and_back(
        hosts in vec(("[a-zA-Z0-9._-]{1,40}|\\[::1\\]|\\[fe80::2%eth0\\]", 1..=u16::MAX), 1..=limits::ADDRESSES),
        fingerprint in any::<[u8; 32]>(),
        secret in any::<[u8; 16]>(),
    ) {
        let invite = Invite {
            addresses: hosts.into_iter().map(|(host, port)| format!("{host}:{port}")).collect(),
            fingerprint: Fingerprint::from_bytes(fingerprint),
            secret: Secret::from_bytes(secret),
        };
        prop_assert_eq!(invite.to_link().parse::<Invite>(), Ok(invite));
    }

    #[test]
    fn any_text_is_an_invite_or_is_refused(text in "(ferry://)?\\PC{0,80}") {
        let _ = text.parse::<Invite>();
    }
}

#[test]
fn the_largest_honest_offer_fits_a_control_frame() {
    let name = vec![b'n'; limits::NAME - 5];
    let mut path = RelPath::new(&name).unwrap();
    while let Ok(longer) = path.join(&name) {
        path = longer;
    }
    let rest = limits::PATH - path.as_bytes().len() - 1;
    let path = path.join(&name[..rest]).unwrap();
    assert_eq!(path.as_bytes().len(), limits::PATH);
    let value = vec![0xff; limits::EXTENSION_BYTES / limits::EXTENSIONS - 8];
    let header = Header {
        modified: Some(Timestamp::new(i64::MIN, 999_999_999).unwrap()),
        mode: Some(Mode::from_bits(0o7777)),
        extensions: vec![Extension { tag: u16::MAX, value }; limits::EXTENSIONS],
        ..Header::new(path, Kind::Symlink(vec![b't'; limits::LINK_TARGET]))
    };
    let offer = Message::from(Offer { seq: Seq(u64::MAX), header });
    assert_eq!(decode_all(&[&encoded(&offer)]), Ok(vec![Frame::Control(offer)]));
}

#[test]
fn hostile_09_a_header_beyond_its_limits_is_refused() {
    let path = || RelPath::new("x").unwrap();
    let file = || Header::new(path(), Kind::File);
    let extensions = |count, bytes| vec![Extension { tag: 99, value: vec![0; bytes] }; count];
    let digest = Algorithm::Sha256.digest(b"");
    for (what, header) in [
        ("a size over i64", Header { size: Some(limits::FILE + 1), ..file() }),
        ("the largest number", Header { size: Some(u64::MAX), ..file() }),
        ("too many extensions", Header { extensions: extensions(limits::EXTENSIONS + 1, 0), ..file() }),
        (
            "too many bytes of them",
            Header { extensions: extensions(1, limits::EXTENSION_BYTES - 7), ..file() },
        ),
        ("the same, and nothing known", Header { same_as: Some(path()), size: Some(1), ..file() }),
        ("a folder that is the same", Header { same_as: Some(path()), ..Header::new(path(), Kind::Folder) }),
        ("a folder with a size", Header { size: Some(0), ..Header::new(path(), Kind::Folder) }),
        ("a folder with a digest", Header { digest: Some(digest), ..Header::new(path(), Kind::Folder) }),
        ("a link to nothing", Header::new(path(), Kind::Symlink(vec![]))),
        ("a link with a NUL", Header::new(path(), Kind::Symlink(vec![b'a', 0]))),
        ("a long link", Header::new(path(), Kind::Symlink(vec![b'a'; limits::LINK_TARGET + 1]))),
    ] {
        let frame = encoded(&Offer { seq: Seq(0), header }.into());
        assert!(decode_all(&[&frame]).is_err(), "{what} was taken");
    }
}

#[test]
fn hostile_09_lengths_over_the_limit_are_refused_before_any_payload() {
    let refused = |frame_type: u8, length: u32| {
        let head = [&[frame_type][..], &length.to_le_bytes()].concat();
        assert_eq!(decode_all(&[&head]), Err(DecodeError::TooLong { frame_type, length }));
    };
    for frame_type in (1..=7).chain(9..=18).chain([0, 127, 128, 255]) {
        refused(frame_type, limits::CONTROL as u32 + 1);
        refused(frame_type, u32::MAX);
    }
    refused(8, limits::CHUNK as u32 + 1);
    refused(8, u32::MAX);
    assert_eq!(decode_all(&[&framed(8, b"")]), Err(DecodeError::EmptyChunk));
    assert_eq!(decode_all(&[&framed(19, b"")]), Err(DecodeError::UnknownType(19)));
    assert_eq!(decode_all(&[&framed(0, b"")]), Err(DecodeError::UnknownType(0)));
    assert_eq!(decode_all(&[&framed(129, b"whatever")]), Ok(vec![]));
    assert_eq!(
        decode_all(&[&framed(128, b"whatever")]),
        Err(DecodeError::TrailingBytes),
        "what is known is read"
    );
}

#[test]
fn hostile_05_text_and_names_beyond_their_limits_are_refused_and_ours_are_cut() {
    let goodbye = |detail: &str| encoded(&Goodbye { code: Code::Bye, detail: detail.into() }.into());
    let cut = "é".repeat(limits::DETAIL / 2);
    let ours = decode_all(&[&goodbye(&format!("{cut}é"))]);
    assert_eq!(ours, Ok(vec![Frame::Control(Goodbye { code: Code::Bye, detail: cut }.into())]));
    let theirs = |text: &[u8]| {
        let length = (text.len() as u16).to_le_bytes();
        decode_all(&[&framed(3, &[&[0, 251][..], &length, text].concat())])
    };
    assert!(theirs(&[b'a'; limits::DETAIL]).is_ok());
    assert!(theirs(&[b'a'; limits::DETAIL + 1]).is_err());
    assert!(theirs(b"not UTF-8: \xff").is_err());
}

#[test]
fn a_hello_of_later_versions_alone_tells_its_versions_and_nothing_else() {
    for (oldest, newest) in [(2u16, 3u16), (0, 0), (2, 1), (u16::MAX, u16::MAX)] {
        let payload =
            [b"ferry\0", &oldest.to_le_bytes()[..], &newest.to_le_bytes(), b"whatever it holds"].concat();
        let frames = decode_all(&[&framed(1, &payload)]).unwrap();
        let Frame::Control(Message::Hello(hello)) = &frames[0] else { panic!("not a Hello: {frames:?}") };
        assert_eq!(hello.versions, Versions { oldest, newest });
        assert!(!hello.is_spoken_here());
    }
    assert!(decode_all(&[&framed(1, b"FERRY\0\x01\0\x01\0")]).is_err());
}

#[test]
fn hostile_09_a_hole_of_no_bytes_or_of_too_many_is_refused() {
    for payload in
        [&[0][..], &[252, 1, 0, 16, 0], &[252, 255, 255, 255, 255], &[253, 0, 0, 0, 0, 1, 0, 0, 0], &[]]
    {
        let decoded = decode_all(&[&framed(18, payload)]);
        assert!(matches!(decoded, Err(DecodeError::Malformed(_))), "{payload:?}: {decoded:?}");
    }
    assert!(Hole::new(0).is_none() && Hole::new(limits::CHUNK + 1).is_none());
}

#[test]
fn hostile_09_malformed_attributes_are_refused() {
    let with = |tag, value: &[u8]| {
        let extensions = vec![Extension { tag, value: value.to_vec() }];
        let header = Header { extensions, ..Header::new(RelPath::new("x").unwrap(), Kind::File) };
        decode_all(&[&encoded(&Offer { seq: Seq(0), header }.into())])
    };
    let many = [&[251, 1, 1][..], &[1, b'x', 0].repeat(257)].concat();
    for (what, tag, value) in [
        ("an owner that is not there", 1, &[][..]),
        ("half an owner", 1, &[0, 0, 0]),
        ("more than an owner", 1, &[0, 0, 0, 0, 0]),
        ("the number of nobody", 1, &[252, 255, 255, 255, 255, 0, 0, 0]),
        ("a number that is too large", 1, &[253, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        ("a user without a name", 1, &[0, 0, 1, 0, 0]),
        ("a group with a NUL", 1, &[0, 0, 0, 1, 1, 0]),
        ("more attributes than there are", 2, &[2, 1, b'x', 0]),
        ("an attribute without a name", 2, &[1, 0, 0]),
        ("one with a NUL", 2, &[1, 1, 0, 0]),
        ("one that stands twice", 2, &[2, 1, b'x', 0, 1, b'x', 0]),
        ("a value that is longer than it is", 2, &[1, 1, b'x', 9]),
        ("too many attributes", 2, &many),
        ("the same as nothing", 3, &[0]),
        ("the same as something outside", 3, b"\x04../x"),
    ] {
        assert!(with(tag, value).is_err(), "{what} was taken");
    }
    assert!(with(1, &[0, 0, 0, 0]).is_ok() && with(2, &[0]).is_ok() && with(99, &[]).is_ok());
}

#[test]
fn of_several_extensions_with_one_tag_the_first_counts() {
    let extensions = [7, 8].map(|uid| Extension { tag: 1, value: vec![uid, 0, 0, 0] }).to_vec();
    let header = Header { extensions, ..Header::new(RelPath::new("x").unwrap(), Kind::Folder) };
    let decoded = decode_all(&[&encoded(&Offer { seq: Seq(0), header }.into())]).unwrap();
    let [Frame::Control(Message::Offer(offer))] = &decoded[..] else { panic!("{decoded:?}") };
    assert_eq!(offer.header.attributes.owner.as_ref().map(|owner| owner.uid), Some(7));
    assert!(offer.header.extensions.is_empty());
}

#[test]
fn hostile_09_more_features_than_the_limit_are_refused() {
    let hello = |features| Hello {
        versions: Versions::ours(),
        run: [0; 16],
        agent: String::new(),
        name: String::new(),
        features,
        invite: None,
    };
    assert!(decode_all(&[&encoded(&hello(vec![1; limits::FEATURES]).into())]).is_ok());
    assert!(decode_all(&[&encoded(&hello(vec![1; limits::FEATURES + 1]).into())]).is_err());
    let welcome = |features| Welcome {
        version: VERSION,
        agent: String::new(),
        name: String::new(),
        features,
        limits: Limits { offers: 1, chunk: 1, checkpoint: 1, file: 1 },
        grant: GrantView { client: String::new(), put: true, get: true, list: true, overwrite: true },
    };
    assert!(decode_all(&[&encoded(&welcome(vec![1; limits::FEATURES]).into())]).is_ok());
    assert!(decode_all(&[&encoded(&welcome(vec![1; limits::FEATURES + 1]).into())]).is_err());
    let get = |number| {
        let paths = vec![RelPath::new("x").unwrap(); number];
        Request { id: 1, verb: Verb::Get(Get { paths, digest: Algorithm::Sha256, wants: Wants::default() }) }
    };
    assert!(decode_all(&[&encoded(&get(limits::PATHS).into())]).is_ok());
    assert!(decode_all(&[&encoded(&get(limits::PATHS + 1).into())]).is_err());
}

#[test]
fn an_unknown_verb_is_passed_over_with_its_arguments_and_a_known_one_is_not() {
    let request = |verb: u8, arguments: &[u8]| {
        decode_all(&[&framed(4, &[&[7, verb, arguments.len() as u8][..], arguments].concat())])
    };
    let unknown = Request { id: 7, verb: Verb::Unknown(9) };
    assert_eq!(request(9, b"anything at all"), Ok(vec![Frame::Control(unknown.into())]));
    assert!(request(1, &[0, 0, 1]).is_ok());
    for bad in [&[4, 0, 1][..], &[0, 2, 1], &[0, 0, 0], &[0, 0, 3], &[0, 0], &[], &[0, 0, 1, 0]] {
        assert!(request(1, bad).is_err(), "{bad:?} are no arguments of Put");
    }
    assert!(request(2, &[1, 1, b'x', 1, 0, 1, 0]).is_ok());
    for bad in [
        &[1, 1, b'x'][..],
        &[1, 1, b'/', 1, 0, 0, 0],
        &[2, 1, b'x', 1, 0, 0, 0],
        &[0, 3, 0, 0, 0],
        &[0, 1, 0, 0],
        &[0, 1, 0, 2, 0],
        &[0],
        &[],
        &[0, 1, 0, 0, 0, 0],
    ] {
        assert!(request(2, bad).is_err(), "{bad:?} are no arguments of Get");
    }
    assert!(request(3, &[0, 1, 1, 0, 1, 0, 1]).is_ok());
    for bad in
        [&[0, 1, 2, 0, 0, 0, 0][..], &[0, 1, 1, 0, 0], &[0, 1, 1, 0, 0, 0, 3], &[0, 1, 1, 0, 0, 0, 0, 0], &[]]
    {
        assert!(request(3, bad).is_err(), "{bad:?} are no arguments of List");
    }
}

/// What was decoded from odd bytes (a number longer than it need be) is the same value when it is encoded anew.
fn decoded_values_are_stable(frame: Frame) -> Result<(), TestCaseError> {
    if let Frame::Control(message) = frame {
        let cut_short = match &message {
            Message::Hello(hello) => !hello.is_spoken_here(),
            _ => false,
        };
        if !cut_short {
            prop_assert_eq!(decode_all(&[&encoded(&message)]), Ok(vec![Frame::Control(message)]));
        }
    }
    Ok(())
}

fn decode_all(pieces: &[&[u8]]) -> Result<Vec<Frame>, DecodeError> {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for &piece in pieces {
        let mut input = piece;
        while let Some(frame) = decoder.next(&mut input)? {
            frames.push(frame);
        }
        assert!(input.is_empty(), "bytes that were neither taken nor decoded");
    }
    Ok(frames)
}
