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
