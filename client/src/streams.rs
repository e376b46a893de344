//! Sources that can be read once: standard input, and what a command writes.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::MetadataExt, process::ExitStatusExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
};

use ferry_session::send::Stream;
use ferry_store::lock;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl},
    io::Errno,
};

use crate::exit::Failure;

/// How long one look takes, so that whoever waits notices when nobody wants it any more.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Standard input. That it ends says nothing about who wrote it.
#[derive(Debug)]
pub(crate) struct Stdin;

impl Stream for Stdin {
    fn is_ready(&self) -> io::Result<bool> {
        is_readable(io::stdin().as_fd())
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        io::stdin().lock().read(buffer)
    }

    fn finish(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What a command writes to its standard output, run by the shell when it is wanted. It is whole if the command ends well.
#[derive(Debug)]
pub(crate) struct FromCommand {
    command: OsString,
    running: Mutex<Option<Child>>,
}

impl FromCommand {
    pub(crate) fn new(command: &OsStr) -> Self {
        FromCommand { command: command.to_owned(), running: Mutex::new(None) }
    }

    fn with_output<T>(
        &self,
        read: impl FnOnce(&mut std::process::ChildStdout) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut running = lock(&self.running);
        let output = running.as_mut().and_then(|child| child.stdout.as_mut());
        read(output.ok_or_else(|| io::Error::other("the command does not run"))?)
    }
}

impl Stream for FromCommand {
    fn is_ready(&self) -> io::Result<bool> {
        let mut running = lock(&self.running);
        if running.is_none() {
            let mut shell = Command::new("/bin/sh");
            let child = shell.arg("-c").arg(&self.command).stdout(Stdio::piped()).spawn();
            let cannot_run = |error| io::Error::other(format!("the command cannot be run: {error}"));
            *running = Some(child.map_err(cannot_run)?);
        }
        drop(running);
        self.with_output(|output| is_readable(output.as_fd()))
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with_output(|output| output.read(buffer))
    }

    fn finish(&self) -> io::Result<()> {
        let ended = lock(&self.running).take().map(|mut child| child.wait()).transpose()?;
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(io::Error::other(format!("the command {}", how(status)))),
            None => Err(io::Error::other("the command does not run")),
        }
    }
}

impl Drop for FromCommand {
    /// Nobody wants the rest of it.
    fn drop(&mut self) {
        if let Some(mut child) = lock(&self.running).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("has failed with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "has failed".to_owned(),
    }
}

fn is_readable(stream: BorrowedFd<'_>) -> io::Result<bool> {
    match poll(&mut [PollFd::new(&stream, PollFlags::IN)], Some(&LOOK)) {
        Ok(0) | Err(Errno::INTR) => Ok(false),
        // Bytes, the end, or an error, which reading will tell.
        _ => Ok(true),
    }
}

/// Whether standard input is there at all. Rust's runtime and its standard library make an empty one where it is not; this
/// fails where reading would find an empty file that nobody meant.
pub(crate) fn check_stdin() -> Result<(), Failure> {
    // What goes wrong here goes wrong in reading too, and is told there.
    let Ok(flags) = fcntl_getfl(io::stdin()) else { return Ok(()) };
    match flags & OFlags::RWMODE {
        OFlags::WRONLY => Err(Failure::local("standard input cannot be read: it is open for writing alone")),
        // Before `main`, the runtime opens the null device for both where a stream is closed. A shell opens it for
        // reading, and then an empty file is meant.
        OFlags::RDWR if is_null(io::stdin()).unwrap_or(false) => Err(Failure::local(
            "standard input is closed, so there is nothing to send as `-` (for an empty file: `</dev/null`)",
        )),
        _ => Ok(()),
    }
}

/// Whether what is written to standard output goes somewhere, if only to where it is thrown away.
pub(crate) fn check_stdout() -> Result<(), Failure> {
    let Ok(flags) = fcntl_getfl(io::stdout()) else { return Ok(()) };
    match flags & OFlags::RWMODE {
        // As above. A shell opens it for writing.
        OFlags::RDWR if is_null(io::stdout()).unwrap_or(false) => Err(Failure::local(
            "standard output is closed, so there is nowhere to write to (for nowhere: `>/dev/null`)",
        )),
        _ => Ok(()),
    }
}

fn is_null(stream: impl AsFd) -> io::Result<bool> {
    let stream = fs::File::from(stream.as_fd().try_clone_to_owned()?).metadata()?;
    let null = fs::metadata("/dev/null")?;
    // A regular file has no device number of this kind.
    Ok(null.rdev() != 0 && stream.rdev() == null.rdev())
}
