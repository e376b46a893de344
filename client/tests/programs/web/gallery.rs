//! What the page shows of a folder: lists, small pictures, and what is known of a file.

use std::fs;

use image::RgbImage;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Reply, Server, Visitor, base64, digest, noise, testdata, web::file};

use super::MIB;

/// A second, in 2024, in milliseconds: that of the third of the eight photos that are turned.
const THIRD: i64 = 1_710_576_903_000;

fn started() -> (Server, Visitor) {
    let server = Server::setup().web().start();
    let visitor = Visitor::signed_in(&server);
    (server, visitor)
}

fn photo(number: usize) -> Vec<u8> {
    fs::read(testdata().join(format!("photos/IMG_20240316_08150{number}.jpg"))).unwrap()
}

fn picture(name: &str) -> Vec<u8> {
    fs::read(testdata().join("pictures").join(name)).unwrap()
}

/// Sends a file with a time of its own.
fn upload(visitor: &Visitor, name: &str, bytes: &[u8], modified: i64) {
    let time = format!(",lastModified {}", base64(modified.to_string()));
    let reply = visitor.create(name, bytes.len() as u64, &time).send().status(201);
    visitor.part(reply.header("location").unwrap(), 0, bytes).send().status(204);
}

/// The small picture of a file, in its present version.
fn small(visitor: &Visitor, name: &str) -> Reply {
    visitor.get(&file(name).replacen("/files", "/thumbs", 1))
}

fn facts(visitor: &Visitor, name: &str) -> Value {
    visitor.get(&file(name).replacen("/files", "/facts", 1)).status(200).json()
}

fn decoded(reply: &Reply) -> RgbImage {
    image::load_from_memory_with_format(&reply.body, image::ImageFormat::Jpeg).unwrap().to_rgb8()
}

/// How far two pictures of one size are from each other, pixel by pixel.
fn difference(one: &RgbImage, other: &RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let sum: u64 = one.as_raw().iter().zip(other.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.as_raw().len() as f64
}

#[test]
fn a_list_begins_with_what_was_taken_last_or_changed_last() {
    let (server, visitor) = started();
    for number in [2, 4, 1, 3] {
        // When they were sent, or changed, says nothing of photos.
        upload(&visitor, &format!("photo-{number}.jpg"), &photo(number), number as i64);
    }
    upload(&visitor, "after the third.txt", b"text", THIRD + 500);
    upload(&visitor, "oldest.mp4", b"film", THIRD - 3_600_000);
    upload(&visitor, "newest.jpg", b"no picture", THIRD + 3_600_000);
    visitor.put("folder/below", "x").status(201);
    let told = visitor.get("/list").status(200).json();
    let names: Vec<_> =
        told["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    let expected = ["newest.jpg", "photo-4.jpg"].into_iter();
    let expected =
        expected.chain(["after the third.txt", "photo-3.jpg", "photo-2.jpg", "photo-1.jpg", "oldest.mp4"]);
    let (mut expected, mut found): (Vec<_>, _) = (expected.collect(), names.clone());
    // Within one second the name decides.
    let third = |name: &&str| *name == "after the third.txt" || *name == "photo-3.jpg";
    found.retain(|name| !third(name));
    expected.retain(|name| !third(name));
    assert_eq!(found, expected);
    assert_eq!(names.iter().position(third), Some(2), "{names:?}");
    assert_eq!(
        told["folders"],
        json!([{ "name": "folder", "url": "folder" }]),
        "and nothing of ferryd's own"
    );
    assert_eq!((&told["looking"], &told["more"]), (&json!(false), &json!(false)));
    let file = |name: &str| {
        let files = told["files"].as_array().unwrap();
        files.iter().find(|file| file["name"] == name).unwrap_or_else(|| panic!("{name}: {told}")).clone()
    };
    assert_eq!(file("photo-3.jpg")["taken"], "2024-03-16T08:15:03");
    assert_eq!(
        (&file("photo-3.jpg")["kind"], &file("photo-3.jpg")["modified"]),
        (&json!("picture"), &json!(3))
    );
    assert_eq!((&file("photo-3.jpg")["width"], &file("photo-3.jpg")["height"]), (&json!(320), &json!(240)));
    assert_eq!(file("photo-3.jpg")["size"], photo(3).len());
    assert_eq!((&file("newest.jpg")["kind"], &file("newest.jpg")["taken"]), (&json!("other"), &Value::Null));
    assert_eq!(file("oldest.mp4")["kind"], "video");
    let below = visitor.get("/list/folder").status(200).json();
    assert_eq!(below["files"][0]["name"], "below");
    for nothing in ["/list/nothing", "/list/newest.jpg"] {
        visitor.get(nothing).status(404);
    }
    visitor.ask("POST", "/list").send().status(405);
    assert_eq!(server.names().len(), 9, "to look changes nothing");
}

#[test]
fn small_pictures_are_upright_however_they_were_held() {
    let (_server, visitor) = started();
    for number in 1..=8 {
        visitor.put(format!("{number}.jpg"), photo(number)).status(201);
    }
    let upright = decoded(&small(&visitor, "1.jpg").status(200).has("content-type", "image/jpeg"));
    assert_eq!(upright.dimensions(), (320, 240));
    // Were it turned, it would be far from itself.
    let turned = image::imageops::rotate180(&upright);
    assert!(difference(&upright, &turned) > 30.0);
    for number in 2..=8 {
        let found = difference(&upright, &decoded(&small(&visitor, &format!("{number}.jpg")).status(200)));
        // Each has dots of its own.
        assert!(found < 12.0, "orientation {number} differs by {found}");
    }
}

#[test]
fn small_pictures_are_kept_and_made_anew_of_what_is_new() {
    let (mut server, visitor) = started();
    visitor.put("a.jpg", photo(1)).status(201);
    let kept = |server: &Server| -> i64 {
        let db = Connection::open(server.inbox().join(".ferry/pictures.db")).unwrap();
        db.query_one("SELECT count(*) FROM thumbnails", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(kept(&server), 0);
    let version = visitor.get("/list").json()["files"][0]["version"].as_str().unwrap().to_owned();
    let tag = format!("\"{version}\"");
    let first = small(&visitor, "a.jpg").status(200).has("etag", &tag);
    let first = first.has("cache-control", "private, no-cache").body;
    assert_eq!(kept(&server), 1);
    // Whoever names a version may keep it for ever: another one has another URL.
    let of_version = visitor.get(&format!("/thumbs/a.jpg?v={version}")).status(200);
    let of_version = of_version.has("cache-control", "private, max-age=31536000, immutable");
    assert!(of_version.body == first);
    let other = visitor.get("/thumbs/a.jpg?v=0000000000000000").status(200);
    other.has("cache-control", "private, no-cache");
    let known = visitor.ask("GET", "/thumbs/a.jpg").header("If-None-Match", &tag).send().status(304);
    assert!(known.body.is_empty());
    server.restart();
    assert!(small(&visitor, "a.jpg").status(200).body == first);
    // The same under another name is nothing new; something else under that name is.
    fs::rename(server.inbox().join("a.jpg"), server.inbox().join("b.jpg")).unwrap();
    small(&visitor, "a.jpg").status(404);
    fs::write(server.inbox().join("a.jpg"), picture("camera.jpg")).unwrap();
    let second = small(&visitor, "a.jpg").status(200);
    assert_ne!(second.header("etag"), Some(&*tag));
    assert!(second.body != first);
    // Whoever removes what is kept loses nothing but time.
    server.kill();
    fs::write(server.inbox().join(".ferry/pictures.db"), "nonsense").unwrap();
    server.restart();
    assert!(small(&visitor, "a.jpg").status(200).body == second.body);
}

#[test]
fn promise_2_the_facts_of_a_file_have_its_receipt() {
    let server = Server::setup().web().start();
    let visitor = Visitor::granted(&server, &["--name", "anna-phone"]);
    visitor.put("camera.jpg", picture("camera.jpg")).status(201);
    let told = facts(&visitor, "camera.jpg");
    assert_eq!(told["digest"], digest(server.inbox().join("camera.jpg")).to_string());
    assert_eq!((&told["from"], &told["name"]), (&json!("anna-phone"), &json!("camera.jpg")));
    let arrived = server.ferryd(&["log", "--json"]).code(0).objects()[0]["arrived"].clone();
    // The one tells seconds, the other less.
    let time = |told: &Value| told.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(
        (time(&told["received"]).as_second() - time(&arrived).as_second()).abs() <= 1,
        "{told}: {arrived}"
    );
    for (fact, value) in [
        ("make", json!("Ferry")),
        ("model", json!("Sample Camera II")),
        ("exposure", json!("1/250")),
        ("f_number", json!(2.8)),
        ("iso", json!(400)),
        ("taken", json!("2024-06-30T23:59:58")),
        ("width", json!(600)),
        ("size", json!(picture("camera.jpg").len())),
    ] {
        assert_eq!(told[fact], value, "{fact}: {told}");
    }
    // What its owner has changed, or put there, has none.
    fs::write(server.inbox().join("camera.jpg"), photo(1)).unwrap();
    fs::write(server.inbox().join("own"), "own").unwrap();
    for name in ["camera.jpg", "own"] {
        let told = facts(&visitor, name);
        assert_eq!(
            (&told["digest"], &told["received"], &told["from"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
    }
    visitor.get("/facts/nothing").status(404);
    visitor.get("/facts").status(404);
}

#[test]
fn hostile_05_what_a_picture_says_of_itself_is_inert() {
    let (server, visitor) = started();
    visitor.put("a.jpg", picture("hostile-text.jpg")).status(201);
    for target in ["/facts/a.jpg", "/list"] {
        let reply = visitor.get(target).status(200).has("content-type", "application/json");
        let reply = reply.has("x-content-type-options", "nosniff");
        let text = String::from_utf8(reply.body).unwrap();
        // But for the end of its line.
        let text = text.trim_end();
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        assert!(!text.contains("\\u001b") && !text.contains("\\u202e"), "{text:?}");
    }
    assert!(facts(&visitor, "a.jpg")["model"].as_str().unwrap().contains("<script>"), "it is told as it is");
    // A small picture has nothing of it.
    let small = small(&visitor, "a.jpg").status(200);
    assert!(!String::from_utf8_lossy(&small.body).contains("script"));
    assert!(!server.log().contains('\x1b'));
}

#[test]
fn hostile_11_pictures_that_lie_have_no_small_one_and_cost_nothing_more() {
    // A picture in full at the limit of what is decoded is less.
    const MOST: u64 = 200 * MIB as u64;
    let (server, visitor) = started();
    let mut names = Vec::new();
    for name in ["huge.jpg", "huge.png", "huge.gif", "huge.webp", "exif.heic", "exif.dng"] {
        visitor.put(name, picture(name)).status(201);
        names.push(name.to_owned());
    }
    let whole = [picture("progressive.jpg"), picture("palette.png"), picture("clear.webp")];
    for (number, bytes) in whole.iter().enumerate() {
        for cut in [0, 1, 3, 20] {
            let name = format!("cut-{number}-{cut}.jpg");
            visitor.put(&name, &bytes[..cut]).status(201);
            names.push(name);
        }
    }
    visitor.put("noise.png", [&b"\x89PNG\r\n\x1a\n"[..], &noise(MIB, 1)].concat()).status(201);
    names.push("noise.png".to_owned());
    let before = server.most_memory();
    for _ in 0..2 {
        for name in &names {
            small(&visitor, name).refuses(404, "source-vanished");
            facts(&visitor, name);
        }
    }
    // Of these there is something to see, or nothing: either way is well.
    visitor.put("bomb.png", picture("bomb.png")).status(201);
    let middle = whole[0].len() / 2;
    visitor.put("half.jpg", &whole[0][..middle]).status(201);
    for name in ["bomb.png", "half.jpg"] {
        let reply = small(&visitor, name);
        assert!([200, 404].contains(&reply.status), "{name}: {reply:?}");
    }
    // All at once, and half of those who ask do not wait.
    std::thread::scope(|threads| {
        for name in &names {
            let target = file(name).replacen("/files", "/thumbs", 1);
            drop(visitor.ask("GET", &target).begin());
            threads.spawn(|| small(&visitor, name).status(404));
        }
    });
    let listed = visitor.get("/list").status(200).json();
    assert_eq!(listed["files"].as_array().unwrap().len(), names.len() + 2);
    let cost = server.most_memory() - before;
    assert!(cost < MOST, "{cost} bytes");
    visitor.put("good.jpg", photo(1)).status(201);
    small(&visitor, "good.jpg").status(200);
    assert!(!server.log().contains("panic"), "{}", server.log());
}

/// Ten bytes that would be a thousand, if anything were done about it.
#[test]
fn hostile_11_nothing_that_comes_is_unpacked() {
    let (server, visitor) = started();
    let packed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03KL\x1c\x05\xa3`\x14\x0cw\x00";
    for encoding in ["gzip", "deflate", "br", "identity"] {
        let ask = visitor.ask("PUT", &format!("/files/{encoding}")).header("Content-Encoding", encoding);
        ask.body(packed).send().status(201).has_receipt("sent", encoding, packed);
        let ask = visitor.ask("GET", &format!("/files/{encoding}")).header("Accept-Encoding", "gzip, br");
        let reply = ask.send().status(200);
        assert_eq!((reply.body.as_slice(), reply.header("content-encoding")), (&packed[..], None));
    }
    let known = visitor.ask("POST", "/known").header("Content-Encoding", "gzip").body(packed).send();
    known.refuses(400, "protocol");
    let create = visitor.create("tus", packed.len() as u64, "").header("Content-Encoding", "gzip");
    let create = create.header("Content-Type", "application/offset+octet-stream").body(packed).send();
    create.status(201).has_receipt("sent", "tus", packed);
    assert_eq!(server.names(), ["br", "deflate", "gzip", "identity", "tus"]);
}
