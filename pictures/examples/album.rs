//! Makes an album for benchmarks: JPEGs of which no two are the same, taken a minute apart.
//!
//! ```text
//! cargo run --release -p ferry-pictures --example album FOLDER COUNT WIDTH HEIGHT [WIDTH OF A PREVIEW]
//! ```

mod making;

use std::{fs, path::Path};

use self::making::{textured, with_exif};

/// Pictures with pixels of their own; the others have the pixels of one of these, and another time.
const ORIGINALS: usize = 12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, numbers @ ..] = arguments.as_slice() else { return Err("where to?".into()) };
    let numbers = numbers.iter().map(|number| number.parse()).collect::<Result<Vec<u32>, _>>()?;
    let (count, width, height, edge) = match *numbers {
        [count, width, height] => (count, width, height, None),
        [count, width, height, edge] => (count, width, height, Some(edge)),
        _ => return Err("FOLDER COUNT WIDTH HEIGHT [WIDTH OF A PREVIEW]".into()),
    };
    let mut originals = Vec::new();
    for seed in 1..=(count as usize).min(ORIGINALS) as u32 {
        let preview = edge.map(|edge| textured(edge, edge * height / width, seed)).transpose()?;
        originals.push((textured(width, height, seed)?, preview));
    }
    fs::create_dir_all(folder)?;
    for number in 0..count {
        let (day, minute) = (number / 1440, number % 1440);
        let (month, day) = (day / 28 + 1, day % 28 + 1);
        let taken = format!("2025:{month:02}:{day:02} {:02}:{:02}:00", minute / 60, minute % 60);
        let (jpeg, preview) = &originals[number as usize % originals.len()];
        let name = Path::new(folder).join(format!("IMG_{number:05}.JPG"));
        fs::write(name, with_exif(jpeg, &taken, preview.as_deref()))?;
    }
    Ok(())
}
