//! Writes the inputs that fuzzing begins with to `corpus/`, from the golden messages in `testdata/wire` and from stories
//! that are told here. Inputs that fuzzing has found stay.
//!
//! ```text
//! cargo run --manifest-path fuzz/Cargo.toml --example seeds
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use ferry_proto::{FrameHeader, Message, RelPath, Request, Verb, limits};

fn main() -> std::io::Result<()> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let corpus = here.join("corpus");
    let goldens = goldens(&here.join("../testdata/wire"))?;
    let mut written = 0;
    let mut write = |target: &str, name: &str, bytes: &[u8]| {
        written += 1;
        fs::create_dir_all(corpus.join(target))?;
        fs::write(corpus.join(target).join(format!("seed-{name}")), bytes)
    };

    for (name, frame) in &goldens {
        write("frame", name, frame)?;
        let (head, payload) = frame.split_at(FrameHeader::LEN);
        write("message", name, &[&head[..1], payload].concat())?;
        write("receiver", &format!("frame-{name}"), &story(0, &[raw(frame)]))?;
    }
    let all: Vec<u8> = goldens.iter().flat_map(|(_, frame)| frame.clone()).collect();
    write("frame", "all", &all)?;
    for (name, bytes) in pictures(&here.join("../testdata/pictures"))? {
        write("pictures", &name, &bytes)?;
    }
    for (name, bytes) in paths() {
        write("path", name, &bytes)?;
    }
    for (name, link) in links() {
        write("invite", name, link.as_bytes())?;
    }
    for (name, bytes) in stories() {
        write("receiver", name, &bytes)?;
    }
    println!("{written} inputs in {}", corpus.display());
    Ok(())
}

/// Names and bytes of the golden frames.
fn goldens(folder: &Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut goldens = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        let bytes = digits.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hex digits");
            u8::from_str_radix(pair, 16).expect("hex digits")
        });
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        goldens.push((name, bytes.collect()));
    }
    goldens.sort();
    Ok(goldens)
}

/// Pictures that are small enough to fuzz.
fn pictures(folder: &Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut pictures = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.metadata()?.len() < 9000 {
            pictures.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
        }
    }
    pictures.sort();
    Ok(pictures)
}

/// A path, a path, and a name.
fn paths() -> Vec<(&'static str, Vec<u8>)> {
    let parts = |base: &str, below: &str, name: &str| {
        [base, below, name].iter().flat_map(|part| [&[part.len() as u8], part.as_bytes()].concat()).collect()
    };
    let deep = vec!["d"; 64].join("/");
    let long = "x".repeat(255);
    vec![
        ("plain", parts("holiday/photos", "2024/a.jpg", "b.jpg")),
        ("below", parts("a/b/c", "a/b", "a")),
        ("one", parts("a", "a", "a")),
        ("leaves", parts("../a", "..", ".")),
        ("reserved", parts("a", ".ferry/staging/x", ".FERRY")),
        ("reserved-deep", parts("a/.ferry/x", "a", "..")),
        ("odd", parts("new\nline/\x1b[31m", "caf\u{e9}/\u{202e}gpj", "a\\x2db.mount")),
        ("nul", parts("a\0b", "a//b", "/")),
        ("deep", parts(&deep, &deep, "e")),
        ("renamed-with-slash", parts("a/b", "", "c/d")),
        ("long", parts(&long, &long, &long)),
    ]
}

fn links() -> Vec<(&'static str, String)> {
    const REST: &str = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU/AAAAAAAAAAAAAAAAAAAAAA";
    let many = vec!["host:1"; limits::ADDRESSES].join(",");
    vec![
        ("plain", format!("ferry://nas.local:7117/{REST}")),
        ("addresses", format!("ferry://nas.local:7117,[fe80::1]:7117,192.0.2.1:65535/{REST}")),
        ("zone", format!(" ferry://[fe80::1%eth0]:1/{REST}\n")),
        ("many", format!("ferry://{many}/{REST}")),
        ("no-port", format!("ferry://nas.local/{REST}")),
        ("cut", format!("ferry://nas.local:7117/{}", &REST[..60])),
    ]
}

// The bytes of `receiver/script.rs`, front to back.

const OVERWRITE_NOT: u8 = 4;
const KEEP_BOTH: u8 = 1;
const FAIL: u8 = 3;
const DRY_RUN: u8 = 8;
const IN_FOLDER: u8 = 16;
const SMALL: u8 = 32;
const SLOW: u8 = 192;

fn story(flags: u8, steps: &[Vec<u8>]) -> Vec<u8> {
    [&[flags], &steps.concat()[..]].concat()
}

/// Ends of an offer: which size and digest are told, time, mode, extension, how many more.
const TRUTH: u8 = 0;
const NOTHING: u8 = 2;
const WRONG: u8 = 3;

fn offer(name: u8, length: u16, seed: u8, digest: u8) -> Vec<u8> {
    let [low, high] = length.to_le_bytes();
    vec![0, name, 0, low, high, seed, TRUTH, digest, 0, 0, 0, 0]
}

/// Without a size, as standard input is.
fn stream(name: u8, length: u16) -> Vec<u8> {
    let [low, high] = length.to_le_bytes();
    vec![0, name, 0, low, high, 1, NOTHING, NOTHING, 0, 0, 0, 0]
}

fn detailed(name: u8, length: u16, seconds: i64, mode: u16) -> Vec<u8> {
    let [low, high] = length.to_le_bytes();
    let mut bytes = vec![0, name, 0, low, high, 9, TRUTH, TRUTH, 1];
    bytes.extend_from_slice(&seconds.to_le_bytes());
    bytes.extend_from_slice(&999_999_999u32.to_le_bytes());
    bytes.push(1);
    bytes.extend_from_slice(&mode.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

fn folder(name: u8) -> Vec<u8> {
    vec![0, name, 5, 0, 0, 0, TRUTH, TRUTH, 0, 0, 0, 0]
}

fn link(name: u8, target: u8) -> Vec<u8> {
    vec![0, name, 6, target, 0, 0, 0, TRUTH, TRUTH, 0, 0, 0, 0]
}

fn raw_name(name: &[u8]) -> Vec<u8> {
    [&[0, 255, name.len() as u8], name, &[0, 4, 0, 1, TRUTH, TRUTH, 0, 0, 0, 0]].concat()
}

/// Many offers with large extensions.
fn flood(name: u8, extension: u16, more: u8) -> Vec<u8> {
    let [low, high] = extension.to_le_bytes();
    vec![0, name, 0, 10, 0, 1, TRUTH, NOTHING, 0, 0, 1, low, high, more]
}

const HONEST: u8 = 0;
const BLIND: u8 = 5;
const ZERO: u8 = 6;

fn send(which: u8, begin: u8, piece: u16, most: Option<u16>) -> Vec<u8> {
    let mut bytes = vec![3, which, begin];
    bytes.extend_from_slice(&piece.to_le_bytes());
    bytes.push(most.is_some().into());
    bytes.extend(most.iter().flat_map(|most| most.to_le_bytes()));
    bytes
}

fn body(which: u8) -> Vec<u8> {
    vec![5, which, HONEST]
}

fn chunk(length: u16, is_honest: bool) -> Vec<u8> {
    let [low, high] = length.to_le_bytes();
    vec![6, low, high, is_honest.into(), 0]
}

fn end(named: u8) -> Vec<u8> {
    vec![7, named]
}

fn abort(which: u8) -> Vec<u8> {
    vec![8, which, 41, 0]
}

fn done(is_honest: bool) -> Vec<u8> {
    vec![9, is_honest.into()]
}

const WAIT: [u8; 1] = [10];

fn raw(bytes: &[u8]) -> Vec<u8> {
    // A longer one is told in several.
    bytes.chunks(255).flat_map(|piece| [&[12, piece.len() as u8], piece].concat()).collect()
}

fn damage(at: u16, with: u8) -> Vec<u8> {
    let [low, high] = at.to_le_bytes();
    vec![13, low, high, with]
}

fn reconnect(waits: bool) -> Vec<u8> {
    vec![15, waits.into()]
}

fn stories() -> Vec<(&'static str, Vec<u8>)> {
    let whole = || [offer(0, 1000, 1, TRUTH), send(0, HONEST, 400, None)].concat();
    let large = |seed| offer(4, 20_000, seed, NOTHING);
    // The answer to what comes behind a body says that the body was written.
    let written = || [folder(6), WAIT.to_vec(), reconnect(true)].concat();
    let cut = || [large(1), send(0, HONEST, 3000, Some(10_000)), written()].concat();
    let mut reached = Vec::new();
    Message::from(Request { id: 1, verb: Verb::Unknown(9) }).encode(&mut reached);
    let path = RelPath::new("a").expect("a good name");
    vec![
        ("file", story(0, &[whole(), done(true)])),
        ("empty-file", story(0, &[offer(1, 0, 0, TRUTH), send(0, HONEST, 1, None), done(true)])),
        ("stream", story(0, &[stream(4, 9000), send(0, HONEST, 1000, None), done(true)])),
        ("large", story(0, &[large(1), send(0, HONEST, 3000, None), done(true)])),
        ("window", {
            let many = [offer(0, 50, 1, TRUTH), offer(4, 60, 2, TRUTH), offer(7, 70, 3, NOTHING)].concat();
            let bodies = [send(2, HONEST, 9, None), send(0, HONEST, 9, None), send(1, HONEST, 9, None)];
            story(0, &[many, bodies.concat(), done(true)])
        }),
        ("held", story(0, &[whole(), WAIT.to_vec(), whole(), done(true)])),
        ("needs-digest", {
            let again = [offer(0, 1000, 1, NOTHING), WAIT.to_vec(), whole()].concat();
            story(0, &[whole(), WAIT.to_vec(), again, done(true)])
        }),
        ("replaced", {
            let other = [offer(0, 1000, 2, TRUTH), send(0, HONEST, 400, None)].concat();
            story(0, &[whole(), WAIT.to_vec(), other, done(true)])
        }),
        ("kept-both", {
            let other = [offer(0, 1000, 2, TRUTH), send(0, HONEST, 400, None), WAIT.to_vec()].concat();
            story(KEEP_BOTH, &[whole(), WAIT.to_vec(), other.clone(), other, done(true)])
        }),
        ("twins", {
            let two = [offer(0, 500, 1, TRUTH), offer(0, 500, 2, TRUTH)].concat();
            let bodies = [send(1, HONEST, 500, None), send(0, HONEST, 500, None)].concat();
            story(0, &[two, bodies, done(true)])
        }),
        ("refused", {
            let other = offer(0, 1000, 2, TRUTH);
            story(FAIL | OVERWRITE_NOT, &[whole(), WAIT.to_vec(), other, done(true)])
        }),
        (
            "too-large",
            story(SMALL, &[offer(0, 2000, 2, TRUTH), stream(4, 2000), send(0, HONEST, 99, None), done(true)]),
        ),
        ("dry-run", story(DRY_RUN, &[offer(0, 9, 1, TRUTH), folder(6), link(8, 1), done(true)])),
        (
            "tree",
            story(
                0,
                &[offer(7, 100, 1, TRUTH), send(0, HONEST, 100, None), link(8, 0), folder(6), done(true)],
            ),
        ),
        ("through-a-link", {
            let through = [offer(9, 100, 1, TRUTH), send(0, HONEST, 100, None)].concat();
            let deeper = [offer(11, 100, 1, TRUTH), send(0, HONEST, 100, None)].concat();
            story(0, &[link(8, 4), WAIT.to_vec(), through, deeper, done(true)])
        }),
        ("through-links-in-folder", {
            let through = [offer(9, 100, 1, TRUTH), send(0, HONEST, 100, None)].concat();
            let out = [link(8, 4), WAIT.to_vec(), through, link(0, 5), WAIT.to_vec()].concat();
            story(
                IN_FOLDER,
                &[out, offer(1, 5, 1, TRUTH), offer(11, 5, 1, TRUTH), send(0, HONEST, 5, None), done(true)],
            )
        }),
        ("bad-names", {
            let names = [&b"../x"[..], b"/etc/x", b".ferry", b"a//b", b"a/../../x"];
            let offers =
                names.iter().map(|name| [raw_name(name), reconnect(true)].concat()).collect::<Vec<_>>();
            story(0, &[offers.concat(), raw_name(b"new\nline"), send(0, HONEST, 1, None), done(true)])
        }),
        ("time-and-mode", {
            let early = [detailed(0, 10, i64::MIN, 0o7777), send(0, HONEST, 10, None)].concat();
            let late = [detailed(4, 10, i64::MAX, 0), send(0, HONEST, 10, None)].concat();
            let touched = detailed(0, 10, 1, 0o644);
            story(0, &[early, late, WAIT.to_vec(), touched, done(true)])
        }),
        ("resumed", story(0, &[cut(), large(1), send(0, HONEST, 3000, None), done(true)])),
        ("left-behind", story(0, &[cut()])),
        ("cut", story(0, &[large(1), send(0, HONEST, 3000, Some(10_000)), reconnect(false)])),
        ("resumed-from-zero", story(0, &[cut(), large(1), send(0, ZERO, 3000, None), done(true)])),
        ("resumed-with-other-bytes", story(0, &[cut(), large(2), send(0, BLIND, 3000, None), done(true)])),
        ("given-up-after-a-checkpoint", {
            story(
                0,
                &[
                    large(1),
                    send(0, HONEST, 3000, Some(10_000)),
                    folder(6),
                    WAIT.to_vec(),
                    abort(1),
                    done(true),
                ],
            )
        }),
        ("same-large-file-twice", {
            let twice = [large(1), large(1), send(0, HONEST, 3000, Some(9000)), written()].concat();
            let other = [large(1), large(1), send(1, HONEST, 3000, Some(9000)), written()].concat();
            story(
                0,
                &[
                    twice,
                    other,
                    large(1),
                    large(1),
                    send(1, HONEST, 3000, None),
                    send(0, HONEST, 3000, None),
                    done(true),
                ],
            )
        }),
        ("aborted", story(0, &[offer(0, 100, 1, TRUTH), WAIT.to_vec(), abort(0), done(true)])),
        ("wrong-digest", story(0, &[offer(0, 100, 1, WRONG), send(0, HONEST, 100, None), done(true)])),
        ("wrong-end", {
            story(
                0,
                &[offer(0, 100, 1, NOTHING), WAIT.to_vec(), body(0), chunk(100, true), end(3), done(true)],
            )
        }),
        ("other-bytes", {
            let bytes = [body(0), chunk(50, true), chunk(50, false), end(0)].concat();
            story(0, &[offer(0, 100, 1, NOTHING), WAIT.to_vec(), bytes, done(true)])
        }),
        ("too-long", {
            let bytes = [body(0), chunk(65_535, false), chunk(65_535, false), end(0)].concat();
            story(0, &[offer(0, 100, 1, NOTHING), WAIT.to_vec(), bytes, done(true)])
        }),
        ("too-short", story(0, &[offer(0, 100, 1, TRUTH), WAIT.to_vec(), body(0), end(0), done(true)])),
        ("no-answer-awaited", story(0, &[offer(0, 100, 1, TRUTH), body(0), chunk(100, true), end(0)])),
        ("chunk-outside", story(0, &[chunk(10, false)])),
        ("early-done", story(0, &[offer(0, 100, 1, TRUTH), done(false)])),
        (
            "damaged",
            story(0, &[damage(7, 1), whole(), reconnect(true), damage(1, 255), whole(), reconnect(false)]),
        ),
        ("many", story(0, &[flood(4, 0, 255), WAIT.to_vec(), send(3, HONEST, 10, None), reconnect(true)])),
        ("heavy", story(0, &[flood(4, 49_000, 255), flood(5, 49_000, 255)])),
        ("long-body", {
            let bytes = vec![6, 255, 255, 0, 255];
            story(SLOW, &[stream(4, 1), WAIT.to_vec(), body(0), bytes, end(0), done(true)])
        }),
        ("odd-request", story(0, &[raw(&reached), raw(path.as_bytes())])),
    ]
}
