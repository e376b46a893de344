//! Whether standard input is there at all. Rust's runtime and its standard library make an empty one where it is not.

use std::{fs, io, os::fd::AsFd, os::unix::fs::MetadataExt};

use rustix::fs::{OFlags, fcntl_getfl};

use crate::exit::Failure;

/// Fails where reading would find an empty file that nobody meant.
pub(crate) fn check() -> Result<(), Failure> {
    // What goes wrong here goes wrong in reading too, and is told there.
    let Ok(flags) = fcntl_getfl(io::stdin()) else { return Ok(()) };
    match flags & OFlags::RWMODE {
        OFlags::WRONLY => Err(Failure::local("standard input cannot be read: it is open for writing alone")),
        // Before `main`, the runtime opens the null device for both where a stream is closed. A shell opens it for
        // reading, and then an empty file is meant.
        OFlags::RDWR if is_null().unwrap_or(false) => Err(Failure::local(
            "standard input is closed, so there is nothing to send as `-` (for an empty file: `</dev/null`)",
        )),
        _ => Ok(()),
    }
}

fn is_null() -> io::Result<bool> {
    let stdin = fs::File::from(io::stdin().as_fd().try_clone_to_owned()?).metadata()?;
    let null = fs::metadata("/dev/null")?;
    // A regular file has no device number of this kind.
    Ok(null.rdev() != 0 && stdin.rdev() == null.rdev())
}
