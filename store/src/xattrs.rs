//! Extended attributes of what is open, read and set through its descriptor, a symbolic link's own among them.

use std::os::fd::{AsFd, AsRawFd};

use ferry_proto::{AttributeError, Xattrs, escape};
use rustix::{
    fs::{self, XattrFlags},
    io::Errno,
};

/// What the system keeps for itself under `security.` and `trusted.`: labels that belong to the policy of one machine,
/// digests that only its kernel can make, and the books of overlay file systems.
const SYSTEMS_OWN: [&[u8]; 6] = [
    b"security.selinux",
    b"security.SMACK64",
    b"security.apparmor",
    b"security.ima",
    b"security.evm",
    b"trusted.overlay.",
];

/// Access control lists, which are attributes to the kernel.
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Whether an attribute is kept, and given back: what users set, access control lists, and for root what only root sets.
fn is_kept(name: &[u8], is_root: bool) -> bool {
    let is_below = |family: &[u8]| name.starts_with(family);
    is_below(b"user.")
        || ACLS.contains(&name)
        || is_root
            && (is_below(b"security.") || is_below(b"trusted."))
            && !SYSTEMS_OWN.iter().any(|own| is_below(own))
}

/// Attributes cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XattrError {
    #[error(transparent)]
    System(#[from] Errno),
    #[error(transparent)]
    Attribute(#[from] AttributeError),
}

/// All that are kept of something, which may be open without the right to read it.
pub(crate) fn read(file: impl AsFd) -> Result<Xattrs, XattrError> {
    let file = Reached::by(&file);
    let mut found = Vec::new();
    for name in file.names()? {
        match file.value(&name) {
            Ok(value) => found.push((name, value)),
            // It was removed meanwhile.
            Err(Errno::NODATA) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(Xattrs::new(found)?)
}

/// Gives something just these attributes, as far as they are of those that are kept. Returns what could not be done, in
/// words.
pub(crate) fn set(file: impl AsFd, wanted: &Xattrs) -> Result<(), String> {
    let file = Reached::by(&file);
    let is_root = is_root();
    let mut problems = Vec::new();
    let mut note = |name: &[u8], problem: &str| problems.push(format!("{} ({problem})", escape::bytes(name)));
    for name in file.names().unwrap_or_default() {
        if wanted.find(&name).is_none()
            && let Err(errno) = fs::removexattr(&*file.0, &*name)
        {
            note(&name, &in_words(errno));
        }
    }
    for (name, value) in wanted.iter() {
        if !is_kept(name, true) {
            note(name, "it is the system's own");
        } else if !is_kept(name, is_root) {
            note(name, "only root may set it");
        } else if file.value(name).as_deref() != Ok(value)
            && let Err(errno) = fs::setxattr(&*file.0, name, value, XattrFlags::empty())
        {
            note(name, &in_words(errno));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(format!("extended attributes could not be set: {}", problems.join(", "))),
    }
}

fn in_words(errno: Errno) -> String {
    match errno {
        Errno::OPNOTSUPP => "the file system has none of this kind".to_owned(),
        other => std::io::Error::from(other).kind().to_string(),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What `/proc` calls a descriptor. By that name it is reached as it is, whatever has its path by now; a link that is open
/// itself is not followed.
struct Reached(String);

impl Reached {
    fn by(file: &impl AsFd) -> Self {
        Reached(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
    }

    fn names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let list = match grown(|buffer| fs::listxattr(&*self.0, buffer), || fs::listxattr_query(&*self.0)) {
            Err(Errno::OPNOTSUPP) => Vec::new(),
            list => list?,
        };
        let is_root = is_root();
        let names = list.split(|&byte| byte == 0).filter(|name| is_kept(name, is_root));
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    fn value(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        grown(|buffer| fs::getxattr(&*self.0, name, buffer), || fs::getxattr_query(&*self.0, name))
    }
}

/// Reads something whose length is asked for first, and may have changed when it is read.
fn grown(
    read: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    length: impl Fn() -> Result<usize, Errno>,
) -> Result<Vec<u8>, Errno> {
    loop {
        let length = length()?;
        if length == 0 {
            return Ok(Vec::new());
        }
        let mut buffer = vec![0; length];
        match read(&mut buffer) {
            Err(Errno::RANGE) => {}
            Err(other) => return Err(other),
            Ok(read) => {
                buffer.truncate(read);
                return Ok(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::symlink};

    use rustix::fs::{CWD, Mode, OFlags};

    use super::*;

    fn xattrs(pairs: &[(&str, &[u8])]) -> Xattrs {
        Xattrs::new(pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect())
            .unwrap()
    }

    #[test]
    fn what_the_system_keeps_for_itself_is_neither_read_nor_set() {
        for name in ["user.x", "user.", "system.posix_acl_access", "system.posix_acl_default"] {
            assert!(is_kept(name.as_bytes(), false) && is_kept(name.as_bytes(), true), "{name}");
        }
        for name in ["security.capability", "trusted.x"] {
            assert!(!is_kept(name.as_bytes(), false) && is_kept(name.as_bytes(), true), "{name}");
        }
        for name in [
            "security.selinux",
            "security.SMACK64EXEC",
            "security.ima",
            "security.evm",
            "trusted.overlay.opaque",
        ]
        .into_iter()
        .chain(["system.nfs4_acl", "btrfs.compression", "x", ""])
        {
            assert!(!is_kept(name.as_bytes(), true), "{name}");
        }
        let file = tempfile::tempfile_in(".").unwrap();
        let problem = set(&file, &xattrs(&[("security.ima", b"x"), ("user.x", b"y")])).unwrap_err();
        assert!(problem.contains("security.ima") && !problem.contains("user.x"), "{problem}");
        assert_eq!(read(&file).unwrap(), xattrs(&[("user.x", b"y")]));
    }

    #[test]
    fn a_file_has_just_those_that_it_is_given() {
        let file = tempfile::tempfile_in(".").unwrap();
        let long = vec![0xff; 2000];
        let first = xattrs(&[("user.empty", b""), ("user.long", &long), ("user.same", b"\0")]);
        set(&file, &first).unwrap();
        assert_eq!(read(&file).unwrap(), first);
        let second = xattrs(&[("user.same", b"\0"), ("user.empty", b"no more"), ("user.new\n", b"")]);
        set(&file, &second).unwrap();
        assert_eq!(read(&file).unwrap(), second);
        set(&file, &Xattrs::default()).unwrap();
        assert_eq!(read(&file).unwrap(), Xattrs::default());
    }

    #[test]
    fn hostile_08_a_link_is_not_followed() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        let target = File::create(&file).unwrap();
        symlink("file", &link).unwrap();
        let link = rustix::fs::openat(CWD, &link, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
        // The kernel lets links have no attributes of users, and says so.
        assert!(set(&link, &xattrs(&[("user.x", b"y")])).is_err());
        assert_eq!((read(&target).unwrap(), read(&link).unwrap()), Default::default());
        if is_root() {
            let trusted = xattrs(&[("trusted.x", b"y")]);
            set(&link, &trusted).unwrap();
            assert_eq!((read(&target).unwrap(), read(&link).unwrap()), (Xattrs::default(), trusted));
        }
    }
}
