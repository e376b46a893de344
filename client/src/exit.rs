//! How a run ends: the exit codes that scripts depend on.

use std::{fmt, process::ExitCode};

/// The exit codes of ferry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Every file asked for has a receipt, or the server holds that name with that digest.
    Well = 0,
    /// Some files failed; each was named.
    SomeFailed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The server cannot be reached, or was lost and did not come back.
    Unreachable = 3,
    /// The server is not the one that is trusted, or does not trust or allow this client.
    NotTrusted = 4,
    /// Stopped by the user; the same command goes on.
    Interrupted = 5,
    /// Something here is wrong; nothing was sent.
    Local = 6,
}

impl Exit {
    /// How a run ends that would have ended like this, if something that was asked for was lost here.
    pub(crate) fn at_best_some_failed(self) -> Self {
        if self == Exit::Well { Exit::SomeFailed } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A run that ended before its time: what to tell, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Exit,
    /// What happened and what can be done about it; fit for a terminal.
    pub sentence: String,
}

impl Failure {
    pub(crate) fn new(code: Exit, sentence: impl Into<String>) -> Self {
        Failure { code, sentence: sentence.into() }
    }

    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, sentence)
    }

    pub(crate) fn local(sentence: impl Into<String>) -> Self {
        Failure::new(Exit::Local, sentence)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}
