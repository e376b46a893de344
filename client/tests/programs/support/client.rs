//! `ferry` as a process, with files of its own.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{
    Outcome, Running, Server,
    process::{bare, start},
};

/// A machine that sends.
pub(crate) struct Client {
    home: TempDir,
}

impl Client {
    /// One that knows no server.
    pub(crate) fn new() -> Self {
        Client { home: tempfile::tempdir().expect("a temporary folder can be made") }
    }

    /// One that knows this server as `box`.
    pub(crate) fn paired(server: &Server) -> Self {
        let client = Client::new();
        client.pair(&server.invite());
        client
    }

    /// One that knows this server as `box`, by an invite with these flags.
    pub(crate) fn granted(server: &Server, flags: &[&str]) -> Self {
        let client = Client::new();
        client.pair(&server.invite_with(flags));
        client
    }

    /// Pairs with a server, which is then known as `box`.
    pub(crate) fn pair(&self, link: &str) {
        self.ferry("pair").args([link, "--as", "box"]).run().code(0);
    }

    /// Where its files are.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command of `ferry`.
    pub(crate) fn ferry(&self, command: &str) -> Ferry {
        self.wrapped(&[], command)
    }

    /// A command of `ferry` behind the words of a wrapper, which must `exec` what follows them.
    pub(crate) fn wrapped(&self, wrapper: &[&str], command: &str) -> Ferry {
        let mut ferry = bare(wrapper, "ferry");
        ferry.env("FERRY_HOME", self.home.path()).arg(command);
        Ferry { command: ferry, stdin: Vec::new() }
    }

    /// Sends one source to `box`.
    pub(crate) fn send(&self, source: impl AsRef<OsStr>) -> Ferry {
        self.ferry("send").arg(source).args(["--to", "box"])
    }
}

/// A run of `ferry` in the making.
pub(crate) struct Ferry {
    command: Command,
    stdin: Vec<u8>,
}

impl Ferry {
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, arguments: I) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// In this folder.
    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// With this on standard input, which is empty otherwise.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Outcome {
        self.start().wait()
    }

    /// Starts it, with a pipe for standard output that nobody reads yet.
    pub(crate) fn piped(mut self) -> Child {
        let command = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().expect("ferry can be started")
    }

    /// Starts it.
    pub(crate) fn start(self) -> Running {
        start(self.command, self.stdin)
    }
}
