//! The file of receipts: `sha256sum -c` understands it.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, BufWriter, ErrorKind, Write},
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf, absolute},
};

use ferry_proto::{Digest, RelPath};
use tempfile::TempPath;

use crate::exit::Failure;

/// A file of receipts in the making. Dropped, it leaves an old one as it was.
pub(crate) struct Receipts {
    file: BufWriter<File>,
    lines: u64,
    staged: Option<Staged>,
}

/// Where the file is until it is finished, and where it goes then.
struct Staged {
    temporary: TempPath,
    target: PathBuf,
    /// There is an older one.
    replaces: bool,
}

impl Receipts {
    /// It begins with what an older file holds where that is not to be lost: what has been moved is gone here, and no later
    /// run tells of it.
    pub(crate) fn create(path: &Path, goes_on: bool) -> Result<Self, Failure> {
        let cannot = |error: io::Error| Failure::local(format!("cannot write {}: {error}", path.display()));
        let mut receipts = open(path).map_err(cannot)?;
        if goes_on && receipts.staged.as_ref().is_some_and(|staged| staged.replaces) {
            let copied = File::open(path).and_then(|mut older| io::copy(&mut older, &mut receipts.file));
            copied.map_err(cannot)?;
        }
        Ok(receipts)
    }

    pub(crate) fn add(&mut self, digest: &Digest, name: &RelPath) -> io::Result<()> {
        write_line(&mut self.file, digest, name.as_bytes())?;
        self.lines += 1;
        match &self.staged {
            Some(_) => Ok(()),
            // Somebody may be reading there, or writing other lines in between.
            None => self.file.flush(),
        }
    }

    /// Puts the file in its place. Everything is on the disk when this returns, if it is a disk: pipes and terminals
    /// have nothing to sync. An old file's place is taken only with receipts of its own, and a new one is made without any
    /// only by a run that is complete.
    pub(crate) fn finish(mut self, is_complete: bool) -> io::Result<()> {
        self.file.flush()?;
        match self.file.get_ref().sync_all() {
            Err(error) if error.kind() == ErrorKind::InvalidInput => {}
            result => result?,
        }
        match self.staged {
            Some(staged) if self.lines > 0 || (is_complete && !staged.replaces) => staged.publish(),
            _ => Ok(()),
        }
    }
}

impl Staged {
    fn publish(self) -> io::Result<()> {
        let Staged { temporary, target, .. } = self;
        if let Err(failed) = temporary.persist(&target) {
            // They cannot be had again without another run, so they stay where they are.
            let kept = failed.path.keep()?;
            return Err(io::Error::other(format!("{}; they are in {}", failed.error, kept.display())));
        }
        File::open(folder_of(&target))?.sync_all()
    }
}

/// A regular file is written beside its place. Anything else (a FIFO, a device, what standard output leads to) is
/// written directly: there is nothing to lose, or somebody has it open already.
fn open(path: &Path) -> io::Result<Receipts> {
    let old = match fs::metadata(path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(stream) = old.as_ref().and_then(standard_stream) {
        return Ok(direct(stream));
    }
    let target = match &old {
        Some(old) if old.is_file() => {
            // What may not be written must not be replaced either.
            OpenOptions::new().write(true).open(path)?;
            path.canonicalize()?
        }
        None if !path.is_symlink() && !path.as_os_str().as_bytes().ends_with(b"/") => absolute(path)?,
        _ => return Ok(direct(File::create(path)?)),
    };
    let permissions = Permissions::from_mode(0o666);
    let temporary = tempfile::Builder::new()
        .prefix(".ferry-receipts-")
        .permissions(permissions)
        .tempfile_in(folder_of(&target))?;
    let (file, temporary) = temporary.into_parts();
    let replaces = old.is_some();
    if let Some(old) = old {
        file.set_permissions(old.permissions())?;
    }
    let staged = Some(Staged { temporary, target, replaces });
    Ok(Receipts { file: BufWriter::new(file), lines: 0, staged })
}

fn direct(file: File) -> Receipts {
    Receipts { file: BufWriter::new(file), lines: 0, staged: None }
}

/// The stream of this process that leads to this file, if one does. Opened anew, the file would be written from its
/// beginning.
fn standard_stream(file: &Metadata) -> Option<File> {
    let streams = [io::stdout().as_fd().try_clone_to_owned(), io::stderr().as_fd().try_clone_to_owned()];
    streams.into_iter().flatten().map(File::from).find(|stream| {
        stream.metadata().is_ok_and(|found| (found.dev(), found.ino()) == (file.dev(), file.ino()))
    })
}

/// The folder around an absolute path.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Escapes as coreutils do: a leading backslash says that the name has escapes in it.
fn write_line(out: &mut impl Write, digest: &Digest, name: &[u8]) -> io::Result<()> {
    let is_odd = name.iter().any(|b| matches!(b, b'\\' | b'\n' | b'\r'));
    if is_odd {
        out.write_all(b"\\")?;
    }
    write!(out, "{}  ", digest.hex())?;
    for &byte in name {
        match byte {
            b'\\' => out.write_all(b"\\\\")?,
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            byte => out.write_all(&[byte])?,
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use ferry_proto::Algorithm;

    use super::*;

    #[test]
    fn odd_names_are_escaped_as_coreutils_do() {
        let digest = Algorithm::Sha256.digest(b"");
        let mut out = Vec::new();
        write_line(&mut out, &digest, b"new\nline\\").unwrap();
        assert_eq!(out, format!("\\{}  new\\nline\\\\\n", digest.hex()).as_bytes());
        out.clear();
        write_line(&mut out, &digest, b"plain name").unwrap();
        assert_eq!(out, format!("{}  plain name\n", digest.hex()).as_bytes());
    }
}
