//! What the disk says of a file, and what it is told: kinds, stamps, times, modes, owners and extended attributes.

use std::{ffi::CString, os::fd::AsFd};

use ferry_proto::{Attributes, Mode, Owner, Timestamp};
use rustix::{
    fs::{self, AtFlags, FileType, Stat, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
};

use crate::{Entry, EntryKind, Meta, Stamp, StoreError, xattrs};

/// What there is to say of something that was looked at.
pub(crate) fn entry(
    stat: &Stat,
    target: impl FnOnce() -> Result<CString, Errno>,
) -> Result<Entry, StoreError> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File(stat.st_size as u64),
        FileType::Directory => EntryKind::Folder,
        FileType::Symlink => match target() {
            Ok(target) => EntryKind::Symlink(target.into_bytes()),
            // What had the name a moment ago was a link, and this is none.
            Err(Errno::INVAL) => return Err(StoreError::Moved),
            Err(other) => return Err(other.into()),
        },
        _ => EntryKind::Other,
    };
    let modified = Timestamp::saturating(stat.st_mtime, stat.st_mtime_nsec as u32);
    Ok(Entry { kind, stamp: stamp(stat), modified, mode: Mode::from_bits(stat.st_mode) })
}

/// Device, inode, size, mtime and ctime: what changes when anybody touches the file. Of a folder only the first
/// two: the others change with what is in it.
pub(crate) fn stamp(stat: &Stat) -> Stamp {
    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let modified = Timestamp::saturating(stat.st_mtime, stat.st_mtime_nsec as u32);
    let changed = Timestamp::saturating(stat.st_ctime, stat.st_ctime_nsec as u32);
    stamp_of(is_folder, stat.st_dev, stat.st_ino, stat.st_size as u64, modified, changed)
}

/// The same of what was looked at before.
pub(crate) fn stamp_of(
    is_folder: bool,
    device: u64,
    inode: u64,
    size: u64,
    modified: Timestamp,
    changed: Timestamp,
) -> Stamp {
    let parts = [
        device,
        inode,
        size,
        modified.seconds() as u64,
        modified.nanos().into(),
        changed.seconds() as u64,
        changed.nanos().into(),
    ];
    let parts = if is_folder { &parts[..2] } else { &parts[..] };
    Stamp(parts.iter().flat_map(|part| part.to_le_bytes()).collect())
}

/// What a file's stamp is made of.
pub(crate) fn parts_of(stamp: &Stamp) -> Option<[u64; 7]> {
    let parts: Vec<u64> = stamp.0.as_chunks::<8>().0.iter().map(|part| u64::from_le_bytes(*part)).collect();
    parts.try_into().ok().filter(|_| stamp.0.len() == 7 * 8)
}

/// As in an inbox: nothing that could make a program run as somebody else, and its owner keeps what is his.
pub(crate) fn apply(file: impl AsFd, meta: &Meta, owner_keeps: u32) -> Result<(), StoreError> {
    if let Some(mode) = meta.mode {
        fs::fchmod(&file, fs::Mode::from_raw_mode((mode.bits() & 0o777) | owner_keeps))?;
    }
    if let Some(modified) = meta.modified {
        fs::futimens(&file, &timestamps(modified))?;
    }
    Ok(())
}

/// As it was, for who gets it back. What of its owner and its extended attributes could not be given to it is returned, in
/// words: that is no reason not to have the rest.
pub(crate) fn restore(file: impl AsFd, meta: &Meta) -> Result<Option<String>, StoreError> {
    let Meta { modified, mode, attributes } = meta;
    let (mut allowed, mut problems) = (0o777, Vec::new());
    if !attributes.is_empty() {
        let stat = fs::fstat(&file)?;
        // Whose program it is comes before whether it runs as its owner: changing the owner takes that away, too.
        match attributes.owner.as_ref().map(|owner| set_owner(&file, &stat, owner)) {
            None => {}
            Some(Ok(())) => allowed = 0o7777,
            Some(Err(problem)) => problems.push(problem),
        }
        if let Some(xattrs) = &attributes.xattrs {
            // Setting what users may set takes the right to write.
            let is_closed = stat.st_mode & 0o200 == 0;
            if is_closed {
                fs::fchmod(&file, fs::Mode::from_raw_mode(stat.st_mode & 0o777 | 0o200))?;
            }
            problems.extend(xattrs::set(&file, xattrs).err());
            if is_closed && mode.is_none() {
                fs::fchmod(&file, fs::Mode::from_raw_mode(stat.st_mode & 0o777))?;
            }
        }
    }
    // After the access control list, whose mask is one of these bits.
    if let Some(mode) = mode {
        fs::fchmod(&file, fs::Mode::from_raw_mode(mode.bits() & allowed))?;
    }
    if let Some(modified) = modified {
        fs::futimens(&file, &timestamps(*modified))?;
    }
    Ok(in_words(problems))
}

/// The same for a symbolic link that is open itself, but for its time: that is set by its name.
pub(crate) fn restore_link(link: impl AsFd, attributes: &Attributes) -> Result<Option<String>, StoreError> {
    let stat = fs::fstat(&link)?;
    let owner = attributes.owner.as_ref().map(|owner| set_owner(&link, &stat, owner));
    let xattrs = attributes.xattrs.as_ref().map(|xattrs| xattrs::set(&link, xattrs));
    Ok(in_words([owner, xattrs].into_iter().flatten().filter_map(Result::err).collect()))
}

fn set_owner(file: impl AsFd, stat: &Stat, owner: &Owner) -> Result<(), String> {
    if (stat.st_uid, stat.st_gid) == (owner.uid, owner.gid) {
        return Ok(());
    }
    let (uid, gid) = (fs::Uid::from_raw(owner.uid), fs::Gid::from_raw(owner.gid));
    fs::chownat(file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(|errno| {
        let problem = std::io::Error::from(errno).kind();
        format!("it could not be given to user {} and group {} ({problem})", owner.uid, owner.gid)
    })
}

fn in_words(problems: Vec<String>) -> Option<String> {
    (!problems.is_empty()).then(|| problems.join("; "))
}

pub(crate) fn timestamps(modified: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds(), tv_nsec: modified.nanos().into() },
    }
}
