//! A list of what is to be taken: names below the one folder that the run is about, each of them alone, with the folders
//! on the way to it; `NAME/` is a folder and everything in it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use ferry_proto::{RelPath, escape};

use crate::exit::Failure;

/// See the module.
pub(super) struct Listed {
    from: PathBuf,
    names: HashMap<Vec<u8>, Name>,
    /// Folders on the way to them.
    on_the_way: HashSet<Vec<u8>>,
}

#[derive(Default)]
struct Name {
    with_all: bool,
    is_met: AtomicBool,
}

impl Listed {
    /// A dash is standard input. A name ends at the end of a line, or at a NUL.
    pub(super) fn read(from: &Path, null: bool) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        let read = match from.as_os_str() == "-" {
            true => io::stdin().lock().read_to_end(&mut bytes).map(drop),
            false => fs::read(from).map(|read| bytes = read),
        };
        read.map_err(|error| Failure::local(format!("--from-file {}: {error}", from.display())))?;
        let mut listed = Listed { from: from.to_owned(), names: HashMap::new(), on_the_way: HashSet::new() };
        for (number, line) in bytes.split(|&byte| byte == if null { 0 } else { b'\n' }).enumerate() {
            listed.add(line).map_err(|error| {
                let (from, line) = (from.display(), escape::bytes(line));
                Failure::usage(format!("--from-file {from}: name {}, {line}: {error}", number + 1))
            })?;
        }
        Ok(listed)
    }

    fn add(&mut self, line: &[u8]) -> Result<(), ferry_proto::PathError> {
        // As `find .` and `find /` print them.
        let mut name = line;
        while let Some(rest) = name.strip_prefix(b"./").or(name.strip_prefix(b"/")) {
            name = rest;
        }
        let (name, with_all) = match name.strip_suffix(b"/") {
            Some(name) => (name, true),
            None => (name, false),
        };
        // The folder itself comes in any case.
        if name.is_empty() || name == b"." {
            return Ok(());
        }
        let name = RelPath::new(name)?;
        let mut around = name.parent();
        while let Some(folder) = around {
            around = folder.parent();
            self.on_the_way.insert(folder.as_bytes().to_vec());
        }
        self.names.entry(name.as_bytes().to_vec()).or_default().with_all |= with_all;
        Ok(())
    }

    /// Whether an entry is taken.
    pub(super) fn holds(&self, below: &[u8]) -> bool {
        if let Some(name) = self.names.get(below) {
            name.is_met.store(true, Ordering::Relaxed);
            return true;
        }
        below.is_empty() || self.on_the_way.contains(below) || self.is_in_all_of_a_folder(below)
    }

    fn is_in_all_of_a_folder(&self, below: &[u8]) -> bool {
        let ends = below.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        let mut around = ends.filter_map(|end| self.names.get(&below[..end]));
        let found = around.find(|folder| folder.with_all);
        found.inspect(|folder| folder.is_met.store(true, Ordering::Relaxed)).is_some()
    }

    pub(super) fn unmet(&self) -> Vec<Vec<u8>> {
        let unmet = self.names.iter().filter(|(_, state)| !state.is_met.load(Ordering::Relaxed));
        let mut unmet: Vec<_> = unmet.map(|(name, _)| name.clone()).collect();
        unmet.sort();
        unmet
    }

    pub(super) fn shown(&self) -> String {
        match self.from.as_os_str() == "-" {
            true => "the list".to_owned(),
            false => escape::bytes(self.from.as_os_str().as_encoded_bytes()).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(lines: &[u8], null: bool) -> Result<Listed, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), lines).unwrap();
        Listed::read(file.path(), null)
    }

    #[test]
    fn names_stand_for_themselves_and_folders_with_a_slash_for_all_that_is_in_them() {
        let listed = listed(b".\n./\n./a/b/c.txt\n/d\n\ne/f/\nmissing\nempty/\n", false).unwrap();
        for name in ["", "a", "a/b", "a/b/c.txt", "d", "e", "e/f", "e/f/g", "e/f/g/h"] {
            assert!(listed.holds(name.as_bytes()), "{name}");
        }
        for name in ["a/b/c", "a/x", "d/x", "e/g", "b", "a/b/c.txt/x"] {
            assert!(!listed.holds(name.as_bytes()), "{name}");
        }
        assert_eq!(listed.unmet(), [b"empty".to_vec(), b"missing".to_vec()]);
    }

    #[test]
    fn with_nul_a_name_may_have_several_lines() {
        let with_nul = listed(b"two\nlines\0\xe9\0", true).unwrap();
        assert!(with_nul.holds(b"two\nlines") && with_nul.holds(b"\xe9") && !with_nul.holds(b"two"));
    }

    #[test]
    fn hostile_01_a_name_that_leads_out_is_refused() {
        for bad in ["../x", "a/../../x", "a//b"] {
            let Err(failure) = listed(bad.as_bytes(), false) else { panic!("{bad}") };
            assert!(failure.to_string().contains("name 1"), "{failure}");
        }
    }
}
