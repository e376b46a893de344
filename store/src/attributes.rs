//! What the disk says of a file, and what it is told: kinds, stamps, times and modes.

use std::{ffi::CString, os::fd::AsFd};

use ferry_proto::{Mode, Timestamp};
use rustix::{
    fs::{self, FileType, Stat, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
};

use crate::{Entry, EntryKind, Meta, Stamp, StoreError};

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
    let parts = [
        stat.st_dev,
        stat.st_ino,
        stat.st_size as u64,
        stat.st_mtime as u64,
        stat.st_mtime_nsec,
        stat.st_ctime as u64,
        stat.st_ctime_nsec,
    ];
    let parts = if is_folder { &parts[..2] } else { &parts[..] };
    Stamp(parts.iter().flat_map(|part| part.to_le_bytes()).collect())
}

pub(crate) fn apply(file: impl AsFd, meta: Meta, owner_keeps: u32) -> Result<(), StoreError> {
    if let Some(mode) = meta.mode {
        fs::fchmod(&file, fs::Mode::from_raw_mode((mode.bits() & 0o777) | owner_keeps))?;
    }
    if let Some(modified) = meta.modified {
        fs::futimens(&file, &timestamps(modified))?;
    }
    Ok(())
}

pub(crate) fn timestamps(modified: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds(), tv_nsec: modified.nanos().into() },
    }
}
