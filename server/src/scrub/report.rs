//! What a scrub tells.

use std::{io, path::Path, time::Duration};

use ferry_proto::{escape, units};
use ferry_store::{Amiss, Finding};
use serde_json::{Map, Value, json};

use crate::{
    catalogue::Pass,
    output::{self, Lines},
    to_stderr,
};

/// Tells of differences on standard output, and counts.
pub(super) struct Report {
    as_json: bool,
    lines: Lines,
    /// Why standard output is written no more.
    broken: Option<io::Error>,
    /// Those of earlier runs of the pass included.
    found: [u64; Amiss::ALL.len()],
    moving: u64,
}

impl Report {
    pub(super) fn new(as_json: bool) -> Self {
        Report { as_json, lines: Lines::new(), broken: None, found: [0; Amiss::ALL.len()], moving: 0 }
    }

    /// A difference; met by an earlier run or by this one.
    pub(super) fn found(&mut self, name: &Path, finding: &Finding, is_earlier: bool) {
        self.found[finding.what as usize] += 1;
        self.tell(name, finding.what.word(), finding, is_earlier);
    }

    /// A difference that is none any more.
    pub(super) fn adopted(&mut self, name: &Path, finding: &Finding) {
        self.tell(name, "adopted", finding, false);
    }

    /// Something that could not be compared.
    pub(super) fn moving(&mut self, name: &Path) {
        self.moving += 1;
        let name = escape::bytes(name.as_os_str().as_encoded_bytes());
        to_stderr(&format!("ferryd: {name} changes all the time, so there was nothing to be compared"));
    }

    /// Lets whoever reads have what there is so far.
    pub(super) fn flush(&mut self) {
        if self.broken.is_none() {
            self.broken = self.lines.flush().err();
        }
    }

    fn tell(&mut self, name: &Path, status: &str, finding: &Finding, is_earlier: bool) {
        let name = name.as_os_str().as_encoded_bytes();
        let Finding { what, expected, found, detail, .. } = finding;
        let line = if self.as_json {
            let mut object = Map::new();
            object.insert("status".into(), status.into());
            output::insert_bytes(&mut object, "name", name);
            if status != what.word() {
                object.insert("was".into(), what.word().into());
            }
            for (key, digest) in [("expected", expected), ("found", found)] {
                if let Some(digest) = digest {
                    object.insert(key.into(), digest.to_string().into());
                }
            }
            if !detail.is_empty() {
                object.insert("detail".into(), detail.as_str().into());
            }
            if is_earlier {
                object.insert("earlier".into(), true.into());
            }
            output::object(object)
        } else {
            let mut line = format!("{status:<11} {}", escape::bytes(name));
            if status != what.word() {
                line += &format!(": was {}", what.word());
            }
            if let (Some(expected), Some(found)) = (expected, found) {
                line += &format!(": it was {expected} and is {found}");
            }
            if !detail.is_empty() {
                line += &format!(": {}", escape::text(detail));
            }
            line
        };
        if self.broken.is_none() {
            self.broken = self.lines.line(&line).err();
        }
    }

    /// Tells how it went, and returns the exit code. Of this run are the bytes that it has read, and its time; the rest is of
    /// the whole pass.
    pub(super) fn summary(mut self, pass: &Pass, read: u64, took: Duration, is_over: bool) -> u8 {
        let differences: u64 = self.found.iter().sum();
        let code = match (is_over, differences) {
            (false, _) => 5,
            (true, 0) => 0,
            (true, _) => 1,
        };
        if self.as_json {
            let line = self.as_object(pass, read, took, code);
            if self.broken.is_none() {
                self.broken = self.lines.line(&line).err();
            }
        } else {
            self.tell_summary(pass, took, differences);
        }
        self.flush();
        if !is_over {
            to_stderr("ferryd: interrupted; the same command goes on from here");
        }
        match self.broken {
            None => code,
            Some(error) => {
                to_stderr(&format!("ferryd: standard output cannot be written: {error}"));
                code.max(1)
            }
        }
    }

    fn as_object(&self, pass: &Pass, read: u64, took: Duration, code: u8) -> String {
        let mut summary = Map::new();
        for what in Amiss::ALL {
            summary.insert(what.word().into(), self.found[what as usize].into());
        }
        let numbers: [(&str, Value); 9] = [
            ("adopted", pass.adopted.into()),
            ("renewed", pass.renewed.into()),
            ("moving", self.moving.into()),
            ("names", pass.names.into()),
            ("bytes", pass.bytes.into()),
            ("read", read.into()),
            ("resumed", pass.is_resumed.into()),
            ("seconds", took.as_secs_f64().into()),
            ("exit", code.into()),
        ];
        summary.extend(numbers.map(|(key, value)| (key.to_owned(), value)));
        json!({ "summary": summary }).to_string()
    }

    fn tell_summary(&self, pass: &Pass, took: Duration, differences: u64) {
        let counts = Amiss::ALL.map(|what| (what.word(), self.found[what as usize]));
        let others = [("adopted", pass.adopted), ("renewed", pass.renewed), ("moving", self.moving)];
        let told = counts.into_iter().chain(others).filter(|(_, number)| *number > 0);
        let told: Vec<_> = told.map(|(word, number)| format!(", {word} {number}")).collect();
        let (bytes, seconds) = (units::told(pass.bytes), took.as_secs_f64());
        let names = if pass.names == 1 { "1 name".to_owned() } else { format!("{} names", pass.names) };
        to_stderr(&format!(
            "compared {names}, {bytes}, in {seconds:.1} s: differences {differences}{}",
            told.concat()
        ));
        if self.found[Amiss::Rotted as usize] > 0 {
            to_stderr("what has rotted is repaired when it is sent again");
        }
    }
}
