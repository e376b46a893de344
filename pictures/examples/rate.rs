//! How many thumbnails a second are made of pictures of 12 megapixels, and how much memory each takes:
//!
//! ```text
//! cargo run --release -p ferry-pictures --example rate [FILE.jpg]
//! ```
//!
//! Without a file it makes one, of texture that is as hard to decode as a photo. Rounds of one and of two threads, of
//! decoding and of taking previews, alternate, and medians are told, because machines do other things, too.

mod making;

use std::{
    io::Cursor,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use ferry_pictures::{Limits, check, facts, thumbnail};
use peak_alloc::PeakAlloc;

use self::making::{textured, with_exif};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Longer edges of the thumbnails, of which the one is smaller than previews are, and the other larger.
const SMALL: u32 = 160;
const LARGE: u32 = 320;

const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let photo = match std::env::args_os().nth(1) {
        Some(path) => std::fs::read(path)?,
        None => with_exif(&textured(4000, 3000, 1)?, "2025:01:01 12:00:00", Some(&textured(160, 120, 1)?)),
    };
    println!(
        "a JPEG of {} kB: {:?}",
        photo.len() / 1000,
        facts(Cursor::new(&photo), &Limits::THUMBNAIL)?.size
    );
    let works: [(&str, &(dyn Fn() + Sync), usize); 3] = [
        (
            "decoded",
            &|| drop(thumbnail(Cursor::new(&photo), LARGE, &Limits::THUMBNAIL).expect("a thumbnail")),
            16,
        ),
        (
            "by preview",
            &|| drop(thumbnail(Cursor::new(&photo), SMALL, &Limits::THUMBNAIL).expect("a thumbnail")),
            400,
        ),
        ("checked", &|| check(Cursor::new(&photo), None, &Limits::CHECK).expect("a whole picture"), 16),
    ];
    for (name, work, _) in &works {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        work();
        println!("{name}: {} kB at the most", (MEMORY.peak_usage() - before) / 1000);
    }
    let mut rates = vec![Vec::new(); works.len() * 2];
    for _ in 0..ROUNDS {
        for (number, (_, work, times)) in works.iter().enumerate() {
            for threads in [1, 2] {
                rates[number * 2 + threads - 1].push(rate(*work, *times, threads));
            }
        }
    }
    for (number, (name, ..)) in works.iter().enumerate() {
        for threads in [1, 2] {
            let rates = &mut rates[number * 2 + threads - 1];
            rates.sort_by(f64::total_cmp);
            let (least, median, most) = (rates[0], rates[ROUNDS / 2], rates[ROUNDS - 1]);
            println!("{name}, {threads} thread(s): {median:.1} a second ({least:.1} to {most:.1})");
        }
    }
    Ok(())
}

fn rate(work: &(dyn Fn() + Sync), times: usize, threads: usize) -> f64 {
    let (begin, done) = (Instant::now(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while done.fetch_add(1, Ordering::Relaxed) < times {
                    work();
                }
            });
        }
    });
    times as f64 / begin.elapsed().as_secs_f64()
}
