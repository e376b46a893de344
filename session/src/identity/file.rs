//! The file that keeps a key.

use std::{
    fs::{DirBuilder, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

use data_encoding::BASE64;
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use zeroize::Zeroizing;

use super::{Identity, IdentityError, new_key};

/// More than any key file has: one of OpenSSL with a comment stays below 1 KiB.
pub(super) const LONGEST_FILE: usize = 4096;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Where a key file is or will be. Everything happens in the folder that was checked, even if its path leads
/// elsewhere a moment later.
pub(super) struct Place<'a> {
    path: &'a Path,
    folder: File,
    name: &'a std::ffi::OsStr,
}

impl<'a> Place<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, IdentityError> {
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            return Err(IdentityError::NoName { path: path.to_owned() });
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let error = |operation, error| IdentityError::Io { operation, path: parent.to_owned(), error };

        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|e| error("make the folder", e))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(parent, flags, Mode::empty())
            .map_err(|e| error("open the folder", e.into()))
            .map(File::from)?;
        let mode = permissions(&folder).map_err(|e| error("look at the folder", e))?;
        if mode & 0o022 != 0 {
            return Err(IdentityError::ExposedFolder { path: parent.to_owned(), mode });
        }
        Ok(Place { path, folder, name })
    }

    /// The key, if the file is there.
    pub(super) fn load(&self) -> Result<Option<Identity>, IdentityError> {
        let path = || self.path.to_owned();
        // Without NONBLOCK, opening a pipe would wait for someone to write into it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.folder, self.name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(IdentityError::Symlink { path: path() }),
            Err(e) => return Err(self.error("open", e.into())),
        };
        if !file.metadata().map_err(|e| self.error("look at", e))?.is_file() {
            return Err(IdentityError::NotAKey { path: path() });
        }
        let mode = permissions(&file).map_err(|e| self.error("look at", e))?;
        if mode & 0o077 != 0 {
            return Err(IdentityError::ExposedKey { path: path(), mode });
        }

        // The buffer never grows, since growing would leave a copy of the key behind.
        let mut pem = Zeroizing::new(Vec::with_capacity(LONGEST_FILE + 1));
        file.take(LONGEST_FILE as u64 + 1).read_to_end(&mut pem).map_err(|e| self.error("read", e))?;
        let key = if pem.len() > LONGEST_FILE { None } else { from_pem(&pem) };
        let identity = key.and_then(|pkcs8| Identity::from_pkcs8(&pkcs8));
        identity.map(Some).ok_or_else(|| IdentityError::NotAKey { path: path() })
    }

    /// Puts a new key there, complete and on the disk before it has its name. A key that is there stays.
    pub(super) fn create(&self) -> Result<(), IdentityError> {
        let temporary = format!(".ferry-key-{:016x}", fastrand::u64(..));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = rustix::fs::openat(&self.folder, &temporary, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| self.error("create", e.into()))
            .map(File::from)?;

        let written = file.write_all(to_pem(&new_key()).as_bytes()).and_then(|()| file.sync_all());
        let named = written.and_then(|()| self.name_unless_taken(&temporary));
        let removed = rustix::fs::unlinkat(&self.folder, &temporary, AtFlags::empty());
        named.map_err(|e| self.error("create", e))?;
        removed.map_err(|e| self.error("remove the temporary file beside", e.into()))?;
        self.folder.sync_all().map_err(|e| self.error("sync the folder of", e))
    }

    /// A link, because a rename would replace the key of a process that was faster.
    fn name_unless_taken(&self, temporary: &str) -> io::Result<()> {
        match rustix::fs::linkat(&self.folder, temporary, &self.folder, self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    pub(super) fn error(&self, operation: &'static str, error: io::Error) -> IdentityError {
        IdentityError::Io { operation, path: self.path.to_owned(), error }
    }
}

pub(super) fn to_pem(pkcs8: &[u8]) -> Zeroizing<String> {
    // Long enough for the line breaks too: the buffer must not grow.
    let mut pem =
        Zeroizing::new(String::with_capacity(BEGIN.len() + END.len() + 2 * BASE64.encode_len(pkcs8.len())));
    pem.push_str(BEGIN);
    // 48 bytes make the 64 characters of a PEM line.
    for line in pkcs8.chunks(48) {
        pem.push('\n');
        BASE64.encode_append(line, &mut pem);
    }
    pem.push('\n');
    pem.push_str(END);
    pem.push('\n');
    pem
}

pub(super) fn from_pem(pem: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (_, rest) = std::str::from_utf8(pem).ok()?.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    let mut digits = Zeroizing::new(Vec::with_capacity(body.len()));
    digits.extend(body.bytes().filter(|b| !b.is_ascii_whitespace()));
    let mut pkcs8 = Zeroizing::new(vec![0; BASE64.decode_len(digits.len()).ok()?]);
    let length = BASE64.decode_mut(&digits, &mut pkcs8).ok()?;
    pkcs8.truncate(length);
    Some(pkcs8)
}

fn permissions(file: &File) -> io::Result<u32> {
    Ok(file.metadata()?.permissions().mode() & 0o7777)
}
