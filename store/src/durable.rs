//! How many files become durable at once: one after the other, or the whole file system in one go, whichever has been
//! the faster way of late.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    fs::{FsWord, fstatfs, fsync, syncfs},
    io::Errno,
};

use crate::lock::lock;

/// Below this the files of a batch are synced by themselves: nobody else's data is worth the wait.
const FEW: usize = 4;

/// The whole file system is tried again when syncing one by one has taken this many times as long as it would have: what
/// others write has changed meanwhile.
const AGAIN: u32 = 4;

/// File systems whose `syncfs` is known to write and flush everything, by the magic number in `statfs`: ext2 to ext4 (by
/// the driver of ext4; nothing here tells the older one of ext2 apart), XFS, Btrfs, F2FS and tmpfs.
const KNOWN: [FsWord; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];

/// See the module.
#[derive(Debug)]
pub(crate) struct Durable {
    /// Open all the while, so that it hears of every write that fails; `None` where `syncfs` cannot be relied on.
    whole: Option<OwnedFd>,
    /// That has failed once. It tells of a write that failed a single time, and whose bytes those were it does not say: of
    /// files that are synced later only their own descriptors know.
    has_failed: AtomicBool,
    costs: Mutex<Costs>,
    calls: Calls,
}

/// What the system is asked for.
#[derive(Debug, Clone, Copy)]
struct Calls {
    whole: fn(BorrowedFd<'_>) -> Result<(), Errno>,
    one: fn(BorrowedFd<'_>) -> Result<(), Errno>,
}

/// What syncing was seen to take.
#[derive(Debug, Default)]
struct Costs {
    one: Duration,
    whole: Duration,
    /// Since the whole was last tried.
    spent_one_by_one: Duration,
}

impl Durable {
    /// For files on the same file system as this folder.
    pub(crate) fn beside(folder: impl AsFd) -> Self {
        let is_known = fstatfs(&folder).is_ok_and(|stat| KNOWN.contains(&stat.f_type));
        let whole = (is_known && tells_errors()).then(|| folder.as_fd().try_clone_to_owned().ok()).flatten();
        let calls = Calls { whole: |folder| syncfs(folder), one: |file| fsync(file) };
        Durable { whole, has_failed: AtomicBool::new(false), costs: Mutex::default(), calls }
    }

    /// Whether what the file system writes, and when, is known.
    pub(crate) fn is_of_a_kind_that_is_known(&self) -> bool {
        self.whole.is_some()
    }

    /// Makes files durable, each with its data, times and mode, and folders with their names. Returns what became of
    /// each.
    pub(crate) fn sync(&self, files: &[BorrowedFd<'_>]) -> Vec<Result<(), Errno>> {
        let begin = Instant::now();
        if files.len() >= FEW
            && let Some(whole) = &self.whole
            && !self.has_failed.load(Ordering::Relaxed)
            && lock(&self.costs).is_whole_better(files.len())
        {
            match (self.calls.whole)(whole.as_fd()) {
                Ok(()) => {
                    lock(&self.costs).note_whole(begin.elapsed());
                    return vec![Ok(()); files.len()];
                }
                Err(error) => {
                    self.has_failed.store(true, Ordering::Relaxed);
                    tracing::error!(%error, "the file system could not be synced; each file is, from now on");
                }
            }
        }
        let synced: Vec<_> = files.iter().map(|file| (self.calls.one)(*file)).collect();
        if let Ok(count) = u32::try_from(files.len())
            && count > 0
        {
            lock(&self.costs).note_one_by_one(begin.elapsed(), count);
        }
        synced
    }
}

impl Costs {
    fn is_whole_better(&self, files: usize) -> bool {
        let one_by_one = self.one.saturating_mul(files.try_into().unwrap_or(u32::MAX));
        self.whole <= one_by_one || self.spent_one_by_one >= self.whole.saturating_mul(AGAIN)
    }

    /// A slow one may have written what others left; a quick one shows what is possible.
    fn note_whole(&mut self, took: Duration) {
        self.whole = blend(self.whole, took).min(took);
        self.spent_one_by_one = Duration::ZERO;
    }

    fn note_one_by_one(&mut self, took: Duration, files: u32) {
        self.one = blend(self.one, took / files);
        self.spent_one_by_one += took;
    }
}

/// Lets older figures fade.
fn blend(before: Duration, now: Duration) -> Duration {
    if before.is_zero() { now } else { (before * 3 + now) / 4 }
}

/// `syncfs` tells of data that could not be written since Linux 5.8, and of a journal that could not since 5.17.
fn tells_errors() -> bool {
    let name = rustix::system::uname();
    let mut numbers = name.release().to_bytes().split(|byte| !byte.is_ascii_digit());
    let mut next = || std::str::from_utf8(numbers.next()?).ok()?.parse::<u32>().ok();
    next().zip(next()).is_some_and(|release| release >= (5, 17))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_way_that_was_slower_is_left_and_tried_again() {
        let (mut costs, ms) = (Costs::default(), Duration::from_millis);
        assert!(costs.is_whole_better(FEW), "the first batch tries it");
        costs.note_whole(ms(100));
        costs.note_one_by_one(ms(10), 10);
        assert!(costs.is_whole_better(100));
        for batch in 1..=4 {
            assert!(!costs.is_whole_better(99), "batch {batch}");
            costs.note_one_by_one(ms(99), 99);
        }
        assert!(costs.is_whole_better(99), "it has not been tried for long enough");
        costs.note_whole(ms(400));
        assert!(!costs.is_whole_better(174), "175 ms is what it is taken to need");
        assert!(costs.is_whole_better(175));
        // A disk that is no longer busy.
        costs.note_whole(ms(2));
        assert!(costs.is_whole_better(FEW));
    }

    #[test]
    fn files_are_synced_few_or_many() {
        let folder = tempfile::tempdir().unwrap();
        let durable = Durable::beside(File::open(folder.path()).unwrap());
        for count in [0, 1, FEW, 10 * FEW] {
            let files: Vec<_> = (0..count).map(|_| tempfile::tempfile_in(folder.path()).unwrap()).collect();
            let files: Vec<_> = files.iter().map(File::as_fd).collect();
            assert_eq!(durable.sync(&files), vec![Ok(()); count]);
        }
    }

    /// As the kernel does it: a write-back fails, the whole tells of it once, and the pages count as clean.
    #[test]
    fn promise_2_a_failed_write_that_the_whole_told_of_with_another_batch_is_heard_with_its_own() {
        static WHOLE: AtomicBool = AtomicBool::new(true);
        static IS_ASKED_EACH: AtomicBool = AtomicBool::new(false);
        let folder = tempfile::tempdir().unwrap();
        let mut durable = Durable::beside(File::open(folder.path()).unwrap());
        durable.calls = Calls {
            whole: |_| if WHOLE.swap(false, Ordering::Relaxed) { Err(Errno::IO) } else { Ok(()) },
            one: |_| {
                IS_ASKED_EACH.store(true, Ordering::Relaxed);
                Err(Errno::NOSPC)
            },
        };
        let batch: Vec<_> = (0..2 * FEW).map(|_| tempfile::tempfile_in(folder.path()).unwrap()).collect();
        let batch: Vec<_> = batch.iter().map(File::as_fd).collect();
        assert_eq!(durable.sync(&batch), vec![Err(Errno::NOSPC); 2 * FEW]);
        assert!(IS_ASKED_EACH.swap(false, Ordering::Relaxed), "each tells whether it was that");
        // Its bytes were written, in vain, when those of the first batch were.
        assert_eq!(durable.sync(&batch), vec![Err(Errno::NOSPC); 2 * FEW]);
    }

    #[test]
    fn hostile_19_each_file_has_its_own_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut durable = Durable::beside(File::open(folder.path()).unwrap());
        durable.whole = None;
        durable.calls.one = |file| if rustix::fs::fstat(file)?.st_size > 0 { Err(Errno::IO) } else { Ok(()) };
        let files: Vec<_> = (0..3).map(|_| tempfile::tempfile_in(folder.path()).unwrap()).collect();
        files[1].set_len(1).unwrap();
        let files: Vec<_> = files.iter().map(File::as_fd).collect();
        assert_eq!(durable.sync(&files), [Ok(()), Err(Errno::IO), Ok(())]);
    }
}
