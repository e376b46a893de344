//! Patterns of names, as rsync's users know them: the first that matches decides, and what none matches is taken.

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

use crate::exit::Failure;

/// One `--exclude` or `--include`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) includes: bool,
    pub(crate) glob: String,
}

/// All of them, in their order.
pub(super) struct Patterns(Vec<Rule>);

struct Rule {
    pattern: Pattern,
    glob: GlobMatcher,
    only_folders: bool,
}

impl Patterns {
    pub(super) fn new(patterns: &[Pattern]) -> Result<Self, Failure> {
        patterns.iter().map(Rule::new).collect::<Result<_, _>>().map(Patterns)
    }

    /// Nothing if no pattern matches; else the reason if it is excluded.
    pub(super) fn leave_out(&self, name: &Path, is_folder: bool) -> Option<Option<String>> {
        let rule = self.0.iter().find(|rule| rule.matches(name, is_folder))?;
        let reason = || format!("excluded by `{}`", rule.pattern.glob);
        Some((!rule.pattern.includes).then(reason))
    }
}

impl Rule {
    fn new(pattern: &Pattern) -> Result<Self, Failure> {
        let text = pattern.glob.as_str();
        let only_folders = text.ends_with('/');
        let text = text.strip_suffix('/').unwrap_or(text);
        // One that does not begin at the top may match at any level.
        let anchored = match text.strip_prefix('/') {
            Some(anchored) => anchored.to_owned(),
            None => format!("**/{text}"),
        };
        let glob = GlobBuilder::new(&anchored).literal_separator(true).backslash_escape(true).build();
        let flag = if pattern.includes { "--include" } else { "--exclude" };
        let glob = match glob {
            Ok(glob) if !text.is_empty() => glob.compile_matcher(),
            Ok(_) => return Err(Failure::usage(format!("{flag} takes a pattern of names"))),
            Err(error) => {
                return Err(Failure::usage(format!("{flag} {}: {}", pattern.glob, error.kind())));
            }
        };
        Ok(Rule { pattern: pattern.clone(), glob, only_folders })
    }

    fn matches(&self, name: &Path, is_folder: bool) -> bool {
        (is_folder || !self.only_folders) && self.glob.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use super::*;

    fn rules(patterns: &[&str]) -> Patterns {
        let pattern = |text: &&str| {
            let (sign, glob) = text.split_at(1);
            Pattern { includes: sign == "+", glob: glob.into() }
        };
        Patterns::new(&patterns.iter().map(pattern).collect::<Vec<_>>()).unwrap()
    }

    fn takes(rules: &Patterns, name: impl AsRef<OsStr>) -> bool {
        let name = name.as_ref().as_bytes();
        let is_folder = name.ends_with(b"/");
        let name = name.strip_suffix(b"/").unwrap_or(name);
        rules.leave_out(Path::new(OsStr::from_bytes(name)), is_folder).flatten().is_none()
    }

    #[test]
    fn patterns_match_as_rsyncs_do() {
        let cases: [(&str, &[&str], &[&str]); 8] = [
            ("*.tmp", &["a.tmp", "x/y/.tmp", "dir.tmp/"], &["a.tmpx", "tmp"]),
            ("/top", &["top", "top/"], &["x/top"]),
            ("cache/", &["cache/", "x/cache/"], &["cache", "x/cache"]),
            ("a/b", &["a/b", "x/a/b"], &["a/x/b", "xa/b"]),
            ("a/*/b", &["a/x/b"], &["a/b", "a/x/y/b"]),
            ("a/**/b", &["a/b", "a/x/y/b"], &["a/c"]),
            ("[0-9]?.raw", &["12.raw", "1x.raw"], &["1.raw", "x1.raw"]),
            (r"\*", &["*"], &["a"]),
        ];
        for (pattern, out, taken) in cases {
            let rules = rules(&[&format!("-{pattern}")]);
            for name in out {
                assert!(!takes(&rules, name), "{pattern} {name}");
            }
            for name in taken {
                assert!(takes(&rules, name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn the_first_pattern_that_matches_decides() {
        let rules = rules(&["+keep.tmp", "-*.tmp", "+*.jpg", "+*/", "-*"]);
        for (name, expected) in
            [("keep.tmp", true), ("x.tmp", false), ("x/a.jpg", true), ("x/", true), ("x/a.png", false)]
        {
            assert_eq!(takes(&rules, name), expected, "{name}");
        }
    }

    #[test]
    fn names_that_are_no_text_are_matched_too() {
        let rules = rules(&["-*.tmp", "-caf?"]);
        assert!(!takes(&rules, OsStr::from_bytes(b"\xe9\xff.tmp")));
        assert!(takes(&rules, OsStr::from_bytes(b"\xe9\xff.txt")));
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        for glob in ["", "/", "[", "a{"] {
            let pattern = Pattern { includes: false, glob: glob.into() };
            assert!(Patterns::new(&[pattern]).is_err(), "{glob:?}");
        }
    }
}
