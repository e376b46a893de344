//! For logs and pipes: a plain line now and then, on standard error.

use std::{
    io,
    time::{Duration, Instant},
};

use ferry_session::send::Task;

use super::{Entry, Teller, Totals, size, to_stderr};
use crate::exit::Exit;

/// How often a line says how far it is.
const NOW_AND_THEN: Duration = Duration::from_secs(10);

pub(super) struct Lines {
    next: Option<Instant>,
}

impl Lines {
    /// With or without a line now and then.
    pub(super) fn new(now_and_then: bool) -> Self {
        Lines { next: now_and_then.then(|| Instant::now() + NOW_AND_THEN) }
    }
}

impl Teller for Lines {
    fn advanced(&mut self, _task: &Task, _bytes: u64, totals: &Totals) -> io::Result<()> {
        if self.next.is_some_and(|next| next <= Instant::now()) {
            self.next = Some(Instant::now() + NOW_AND_THEN);
            let rate = totals.bytes as f64 / totals.start.elapsed().as_secs_f64().max(0.001);
            let done = totals.sent + totals.held;
            to_stderr(&format!("{done} entries done, {} sent, {}/s", size(totals.bytes), size(rate as u64)));
        }
        Ok(())
    }

    fn finished(&mut self, _entry: &Entry<'_>, _totals: &Totals) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, totals: &Totals, _exit: Exit) -> io::Result<()> {
        to_stderr(&totals.sentence());
        Ok(())
    }
}
