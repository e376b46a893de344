//! The terminal that bars are drawn on, or what stands in its place.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use console::{Term, measure_text_width};
use indicatif::TermLike;

/// Columns that stay free on the right: a terminal that echoes `^C` there must not begin another line, which nobody
/// would clear away.
const MARGIN: u16 = 3;

/// Standard error, whether it is a terminal or not.
#[derive(Debug)]
pub(super) struct Screen {
    term: Term,
    /// Columns of the line that are written.
    column: AtomicUsize,
}

impl Screen {
    pub(super) fn new() -> Self {
        Screen { term: Term::buffered_stderr(), column: AtomicUsize::new(0) }
    }
}

/// Columns of the terminal; the usual 80 where it does not say.
pub(super) fn columns() -> u16 {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col,
        _ => 80,
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        columns().saturating_sub(MARGIN).max(1)
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.term.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.term.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.term.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.term.move_cursor_left(columns)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.column.store(0, Ordering::Relaxed);
        self.term.write_line(text)
    }

    /// A line that is full is meant to be followed by another one. At the margin no terminal begins that by itself.
    fn write_str(&self, text: &str) -> io::Result<()> {
        let column = self.column.load(Ordering::Relaxed);
        let (begins_a_line, column) = after(text, column, self.width().into());
        self.column.store(column, Ordering::Relaxed);
        if begins_a_line {
            self.term.write_line("")?;
        }
        self.term.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.column.store(0, Ordering::Relaxed);
        self.term.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.term.flush()
    }
}

/// Whether a text begins another line, and the column behind it.
fn after(text: &str, column: usize, width: usize) -> (bool, usize) {
    match text {
        "" => (false, column),
        "\r" => (false, 0),
        _ if column >= width => (true, measure_text_width(text)),
        _ => (false, column + measure_text_width(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bar_has_a_line_of_its_own() {
        // As indicatif draws three bars: what each says, and blanks up to the width.
        let drawn = ["\r", "whole", "   ", "  \u{1b}[32mfull\u{1b}[0m", "  ", "the last", ""];
        let (mut column, mut begins) = (8, Vec::new());
        for text in drawn {
            let (begins_a_line, next) = after(text, column, 8);
            column = next;
            begins.push(begins_a_line);
        }
        assert_eq!(begins, [false, false, false, true, false, true, false]);
        assert_eq!(column, 8, "the next draw begins by going back");
    }
}
