//! The `.gitignore` files of a tree, and of the work tree of git that it is part of.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use ferry_proto::escape;
use ferry_store::source::{Links, Location, Source};
use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};

/// Bytes of a file of patterns that are read: nobody has written more.
const LONGEST: u64 = 1024 * 1024;

/// Those that count where the last entry was: the innermost one that speaks of a name decides.
pub(super) struct Gitignores {
    root: PathBuf,
    /// Above the root, outermost first.
    above: Vec<Gitignore>,
    /// From the root on: each folder, below the root, with its own.
    levels: Vec<(PathBuf, Gitignore)>,
}

impl Gitignores {
    pub(super) fn of(root: &Path) -> Self {
        // Only the names of folders are of interest: what cannot be found has no such files in it either.
        let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let is_inside = !root.join(".git").exists();
        let work_tree = root.ancestors().skip(1).position(|folder| folder.join(".git").exists());
        let folders = work_tree.filter(|_| is_inside).map_or(0, |distance| distance + 1);
        let mut above: Vec<_> = root.ancestors().skip(1).take(folders).map(of_folder).collect();
        above.reverse();
        Gitignores { root, above, levels: Vec::new() }
    }

    pub(super) fn leave_out(&mut self, below: &Path, is_folder: bool) -> Option<String> {
        let whole = self.root.join(below);
        if !below.as_os_str().is_empty() {
            self.go_to(below.parent().unwrap_or(Path::new("")));
        }
        let inner = self.levels.iter().rev().map(|(_, level)| level);
        for level in inner.chain(self.above.iter().rev()) {
            match level.matched(&whole, is_folder) {
                Match::None => {}
                Match::Whitelist(_) => return None,
                Match::Ignore(glob) => {
                    let file = glob.from().unwrap_or(level.path());
                    let file = file.strip_prefix(&self.root).unwrap_or(file);
                    let file = escape::bytes(file.as_os_str().as_encoded_bytes()).to_string();
                    return Some(format!("ignored by `{}` in {file}", glob.original()));
                }
            }
        }
        None
    }

    /// Reads what is new on the way to a folder.
    fn go_to(&mut self, folder: &Path) {
        while self.levels.pop_if(|(level, _)| !folder.starts_with(level)).is_some() {}
        let mut way: Vec<_> = folder.ancestors().collect();
        way.reverse();
        for level in way.into_iter().skip(self.levels.len()) {
            self.levels.push((level.to_owned(), of_folder(&self.root.join(level))));
        }
    }
}

/// A line that is no pattern is passed over, as git does; and so is a file that is none: nobody waits for a FIFO, or reads
/// through a link.
fn of_folder(folder: &Path) -> Gitignore {
    let path = folder.join(".gitignore");
    let mut lines = Vec::new();
    let location = Location::of_path(path.clone());
    let read = Source::open(&location, Links::Keep).ok();
    let read = read.map(|source| source.take(LONGEST).read_to_end(&mut lines));
    let mut patterns = GitignoreBuilder::new(folder);
    if let Some(Ok(_)) = read {
        let lines = lines.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&lines);
        for line in lines.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // What is no text matches no name that is; the lines behind it count all the same.
            let _ = patterns.add_line(Some(path.clone()), &String::from_utf8_lossy(line));
        }
    }
    patterns.build().unwrap_or_else(|_| Gitignore::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_innermost_file_that_speaks_of_a_name_decides() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("tree/part");
        fs::create_dir_all(root.join("deep/er")).unwrap();
        fs::create_dir(folder.path().join("tree/.git")).unwrap();
        fs::write(folder.path().join(".gitignore"), "*.jpg\n").unwrap();
        fs::write(folder.path().join("tree/.gitignore"), "*.o\n/part/only-here\n").unwrap();
        fs::write(root.join(".gitignore"), "*.log\nbuild/\n!keep.o\n").unwrap();
        fs::write(root.join("deep/.gitignore"), "!kept.log\n/x\n").unwrap();
        let mut ignores = Gitignores::of(&root);
        let mut out = |name: &str| {
            let is_folder = name.ends_with('/');
            ignores.leave_out(Path::new(name.trim_end_matches('/')), is_folder)
        };
        let expected = "ignored by `*.log` in .gitignore";
        assert_eq!(out("a.log").as_deref(), Some(expected));
        assert_eq!(out("deep/er/a.log").as_deref(), Some(expected));
        assert_eq!(out("deep/x").as_deref(), Some("ignored by `/x` in deep/.gitignore"));
        for name in ["a.o", "deep/a.o", "build/", "deep/build/", "only-here"] {
            assert!(out(name).is_some(), "{name}");
        }
        // Nobody's work tree goes further up than its .git.
        for name in ["keep.o", "deep/keep.o", "deep/kept.log", "x", "deep/er/x", "build", "a.jpg", ""] {
            assert_eq!(out(name), None, "{name}");
        }
    }
}
