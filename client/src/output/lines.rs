//! For logs and pipes: a plain line now and then, on standard error.

use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};

use ferry_proto::{RelPath, units};

use super::{Entry, Stages, Teller, Totals, to_stderr};
use crate::exit::Exit;

/// How often a line says how far it is.
const NOW_AND_THEN: Duration = Duration::from_secs(10);

pub(super) struct Lines {
    next: Option<Instant>,
    /// Entries and bytes, as soon as all are counted.
    expected: Option<(u64, u64)>,
    /// Bytes of what is finished.
    done: u64,
    /// How far large bodies are.
    under_way: HashMap<RelPath, u64>,
}

impl Lines {
    /// With or without a line now and then.
    pub(super) fn new(now_and_then: bool) -> Self {
        let next = now_and_then.then(|| Instant::now() + NOW_AND_THEN);
        Lines { next, expected: None, done: 0, under_way: HashMap::new() }
    }

    fn now_and_then(&mut self, totals: &Totals) {
        if self.next.is_some_and(|next| next <= Instant::now()) {
            self.next = Some(Instant::now() + NOW_AND_THEN);
            to_stderr(&self.line(totals));
        }
    }

    fn line(&self, totals: &Totals) -> String {
        let entries = totals.entries(self.expected.map(|(entries, _)| entries));
        let bytes = units::told(self.done + self.under_way.values().sum::<u64>());
        let of = match self.expected {
            Some((_, all)) if all > 0 => format!(" of {}", units::told(all)),
            _ => String::new(),
        };
        let rate = totals.bytes as f64 / totals.start.elapsed().as_secs_f64().max(0.001);
        format!("{entries}, {bytes}{of}, {}/s", units::told(rate as u64))
    }
}

impl Teller for Lines {
    fn begun(&mut self, path: &RelPath, _size: Option<u64>, offset: u64) {
        self.under_way.insert(path.clone(), offset);
    }

    fn advanced(&mut self, path: &RelPath, bytes: u64, totals: &Totals) -> io::Result<()> {
        // Small bodies never begin, and count when they are finished.
        if let Some(so_far) = self.under_way.get_mut(path) {
            *so_far += bytes;
        }
        self.now_and_then(totals);
        Ok(())
    }

    fn finished(&mut self, entry: &Entry<'_>, totals: &Totals) -> io::Result<()> {
        if let Some(path) = entry.asked {
            self.under_way.remove(path);
        }
        self.done += entry.bytes;
        self.now_and_then(totals);
        Ok(())
    }

    fn dropped(&mut self, path: &RelPath) {
        self.under_way.remove(path);
    }

    fn expected(&mut self, entries: u64, bytes: u64, is_all: bool) {
        self.expected = is_all.then_some((entries, bytes));
    }

    fn summary(&mut self, totals: &Totals, stages: Option<&Stages>, _exit: Exit) -> io::Result<()> {
        stages.and_then(Stages::sentence).iter().for_each(|sentence| to_stderr(sentence));
        to_stderr(&totals.sentence());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Direction, Status};

    #[test]
    fn every_byte_counts_once_whatever_becomes_of_its_body() {
        let path = |name: &str| RelPath::new(name).unwrap();
        let finished =
            |status, asked, name, bytes| Entry { asked, bytes, ..Entry::new(status, "file", name) };
        let totals = Totals { sent: 2, held: 1, ..Totals::new(Direction::Send, false) };
        let mut lines = Lines::new(false);
        let says = |lines: &Lines, words: &str| {
            let line = lines.line(&totals);
            assert!(line.starts_with(words), "{line}, and not {words}");
        };
        says(&lines, "3 entries, 1 held, 0 B, ");
        lines.expected(1000, 1, false);
        says(&lines, "3 entries, 1 held, 0 B, ");
        lines.expected(9, 2_000_000, true);
        says(&lines, "3/9 entries, 1 held, 0 B of 2.0 MB, ");
        // A large one that goes on from where it was, a small one, and one that the server holds.
        let large = path("large");
        lines.begun(&large, None, 300_000);
        lines.advanced(&large, 100_000, &totals).unwrap();
        lines.advanced(&path("small"), 1000, &totals).unwrap();
        says(&lines, "3/9 entries, 1 held, 400 kB of 2.0 MB, ");
        lines.finished(&finished(Status::Sent, None, b"small", 1000), &totals).unwrap();
        lines.finished(&finished(Status::Held, None, b"held", 99_000), &totals).unwrap();
        says(&lines, "3/9 entries, 1 held, 500 kB of 2.0 MB, ");
        // Its connection is lost, and then it arrives under another name.
        lines.dropped(&large);
        says(&lines, "3/9 entries, 1 held, 100 kB of 2.0 MB, ");
        lines.begun(&large, None, 0);
        lines.advanced(&large, 500_000, &totals).unwrap();
        lines.finished(&finished(Status::Sent, Some(&large), b"large (2)", 500_000), &totals).unwrap();
        says(&lines, "3/9 entries, 1 held, 600 kB of 2.0 MB, ");
    }

    #[test]
    fn one_entry_is_told_as_one() {
        let totals = |sent| Totals { sent, ..Totals::new(Direction::Send, false) };
        let told = [(0, None), (1, None), (2, None), (0, Some(1)), (1, Some(1)), (1, Some(2))]
            .map(|(sent, all)| totals(sent).entries(all));
        assert_eq!(told, ["0 entries", "1 entry", "2 entries", "0/1 entry", "1/1 entry", "1/2 entries"]);
        assert!(totals(1).sentence().starts_with("sent 1 entry: "));
    }
}
