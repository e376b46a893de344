//! The committed inputs of a target, so that `cargo test` replays them without libFuzzer.

use std::{fs, path::PathBuf};

/// Does something with each input of a target, and returns how many there are; there must be some.
pub fn replay(target: &str, mut check: impl FnMut(&[u8])) -> usize {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the corpus can be read").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty: see fuzz/examples/seeds.rs", folder.display());
    for path in &paths {
        // Shown when the check fails.
        println!("{}", path.display());
        check(&fs::read(path).expect("the corpus can be read"));
    }
    paths.len()
}
