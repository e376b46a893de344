//! The terminal that bars are drawn on, or what stands in its place.

use std::io;

use console::Term;
use indicatif::TermLike;

/// Columns that stay free on the right: a terminal that echoes `^C` there must not begin another line, which nobody
/// would clear away.
const MARGIN: u16 = 3;

/// Standard error, whether it is a terminal or not.
#[derive(Debug)]
pub(super) struct Screen(Term);

impl Screen {
    pub(super) fn new() -> Self {
        Screen(Term::buffered_stderr())
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
        self.0.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_left(columns)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}
