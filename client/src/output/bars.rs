//! For a terminal: one line for the whole, and one for each large file that is on its way.

use std::{collections::HashMap, io, time::Duration};

use ferry_proto::{RelPath, units};
use indicatif::{
    HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use super::{
    Entry, Stages, Teller, Totals,
    screen::{self, Screen},
    to_stderr, to_stdout,
};
use crate::exit::Exit;

/// Smaller files are gone before their line could be read.
const SHOWN_FROM: u64 = 4 * 1024 * 1024;

/// Redraws a second.
const DRAWS: u8 = 10;

pub(super) struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    width: u16,
    files: HashMap<RelPath, ProgressBar>,
    expected: Option<u64>,
}

impl Bars {
    pub(super) fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(
            Box::new(Screen::new()),
            DRAWS,
        ));
        let whole = all.add(ProgressBar::no_length());
        let width = screen::columns();
        whole.set_style(whole_style(width));
        whole.enable_steady_tick(Duration::from_millis(200));
        Bars { all, whole, width, files: HashMap::new(), expected: None }
    }

    fn update(&self, totals: &Totals) {
        self.whole.set_message(totals.entries(self.expected));
    }
}

impl Teller for Bars {
    fn begun(&mut self, path: &RelPath, size: Option<u64>, offset: u64) {
        if size.is_some_and(|size| size < SHOWN_FROM) {
            return;
        }
        let bar = self.all.add(size.map_or_else(ProgressBar::no_length, ProgressBar::new));
        bar.set_style(file_style(self.width, size.is_some()));
        bar.set_message(path.to_string());
        count_without_speed(&bar, offset);
        count_without_speed(&self.whole, offset);
        self.files.insert(path.clone(), bar);
    }

    fn advanced(&mut self, path: &RelPath, bytes: u64, totals: &Totals) -> io::Result<()> {
        if let Some(bar) = self.files.get(path) {
            bar.inc(bytes);
        }
        self.whole.inc(bytes);
        self.update(totals);
        Ok(())
    }

    fn finished(&mut self, entry: &Entry<'_>, totals: &Totals) -> io::Result<()> {
        let bar = entry.asked.and_then(|path| self.files.remove(path));
        match bar {
            Some(bar) => {
                bar.finish_and_clear();
                self.all.remove(&bar);
            }
            None if entry.status == super::Status::Held => self.whole.inc(entry.bytes),
            None => {}
        }
        self.update(totals);
        Ok(())
    }

    fn dropped(&mut self, path: &RelPath) {
        if let Some(bar) = self.files.remove(path) {
            self.whole.set_position(self.whole.position().saturating_sub(bar.position()));
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }

    fn expected(&mut self, files: u64, bytes: u64, is_all: bool) {
        self.whole.set_length(bytes);
        self.expected = is_all.then_some(files);
    }

    fn say(&mut self, sentence: &str) {
        self.all.suspend(|| to_stderr(sentence));
    }

    fn print(&mut self, line: &str) -> io::Result<()> {
        self.all.suspend(|| to_stdout(line))
    }

    fn clear(&mut self) {
        for (_, bar) in self.files.drain() {
            bar.finish_and_clear();
        }
        self.whole.finish_and_clear();
    }

    fn summary(&mut self, totals: &Totals, stages: Option<&Stages>, _exit: Exit) -> io::Result<()> {
        self.clear();
        stages.and_then(Stages::sentence).iter().for_each(|sentence| to_stderr(sentence));
        to_stderr(&totals.sentence());
        Ok(())
    }
}

/// Bytes that were there before count as done, and not as sent just now.
fn count_without_speed(bar: &ProgressBar, bytes: u64) {
    bar.inc(bytes);
    // The estimate takes notice of them, which it does with any change of length, and forgets what it made of that.
    bar.inc_length(0);
    bar.reset_eta();
}

/// A narrow terminal gets what matters most, in one line.
fn whole_style(width: u16) -> ProgressStyle {
    style(match width {
        80.. => "{wide_bar:.green} {sizes}  {rate}  {left}  {msg}",
        60.. => "{wide_bar:.green} {sizes}  {left}  {msg}",
        _ => "{percent:>3}% {sizes}  {left}",
    })
}

fn file_style(width: u16, has_size: bool) -> ProgressStyle {
    style(match (width, has_size) {
        (60.., true) => "  {wide_msg} {bar:16} {percent:>3}% {rate}",
        (60.., false) => "  {wide_msg} {sizes} {rate}",
        (_, true) => "  {wide_msg} {percent:>3}%",
        (_, false) => "  {wide_msg} {sizes}",
    })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this file are well-formed")
        .with_key("sizes", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let whole = state
                .len()
                .filter(|&len| len > 0)
                .map_or(String::new(), |len| format!(" of {}", units::told(len)));
            let _ = write!(out, "{}{whole}", units::told(state.pos()));
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            if state.len().is_some() && state.per_sec() > 0.0 {
                let _ = write!(out, "{:#}", HumanDuration(state.eta()));
            }
        })
        .with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{}/s", units::told(state.per_sec() as u64));
        })
        .progress_chars("━━─")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_is_no_speed() {
        let bar = ProgressBar::with_draw_target(Some(10_000_000_000), ProgressDrawTarget::hidden());
        bar.enable_steady_tick(Duration::from_millis(200));
        count_without_speed(&bar, 9_000_000_000);
        bar.inc(1);
        bar.inc_length(0);
        assert_eq!(bar.position(), 9_000_000_001);
        // A byte in some nanoseconds, at most.
        assert!(bar.per_sec() < 8e9, "{}", bar.per_sec());
    }
}
