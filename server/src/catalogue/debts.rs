//! Whether the serving process has given names whose rows are not written yet, for those who compare names with rows.
//!
//! It is told by the kind of lock that the process has on a file beside the database, which goes with the process and
//! costs no write: one kind for one batch, the other one for the next. Nobody else ever locks the file, so nobody ever
//! waits for it.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{FlockOperation, fcntl_lock},
    process::{Flock, FlockOffsetType, FlockType, fcntl_getlk},
};

/// See the module.
pub(super) struct Debts {
    path: PathBuf,
    /// Opened once: closing any descriptor of it would end the lock.
    file: OnceLock<File>,
    is_other: AtomicBool,
}

impl Debts {
    /// Of the database at this path.
    pub(super) fn beside(database: &Path) -> Self {
        let path = database.with_extension("debts");
        Debts { path, file: OnceLock::new(), is_other: AtomicBool::new(false) }
    }

    /// Names are about to be given whose rows come later; those of all before them are written. Or all rows are.
    pub(super) fn owe(&self, owes: bool) {
        let operation = match owes {
            false => FlockOperation::NonBlockingUnlock,
            true if self.is_other.fetch_xor(true, Ordering::Relaxed) => FlockOperation::NonBlockingLockShared,
            true => FlockOperation::NonBlockingLockExclusive,
        };
        let told = self.open(true).and_then(|file| Ok(fcntl_lock(file, operation)?));
        if let Err(error) = told {
            // It is for those who compare, whose false alarm would be the worst that comes of it.
            tracing::warn!(%error, "a scrub cannot be told which rows are still to be written");
        }
    }

    /// What another process owes, if it owes anything; another number is another debt.
    pub(super) fn of_others(&self) -> Option<u64> {
        let any = Flock {
            start: 0,
            length: 0,
            pid: None,
            typ: FlockType::WriteLock,
            offset_type: FlockOffsetType::Set,
        };
        // Where it does not exist, or cannot be asked, nobody owes anything.
        let lock = fcntl_getlk(self.open(false).ok()?, &any).ok()??;
        Some(if lock.typ == FlockType::ReadLock { 1 } else { 2 })
    }

    fn open(&self, make: bool) -> std::io::Result<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = OpenOptions::new().read(true).write(true).create(make).mode(0o600).open(&self.path)?;
        // Two that open it at once are two threads of a process that holds no lock yet.
        Ok(self.file.get_or_init(|| file))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        process::{Command, Stdio},
    };

    use super::*;

    const OTHER_PROCESS: &str = "FERRY_TEST_DEBTS";

    /// This test starts itself again as the process that owes rows, for a lock is seen by others only.
    #[test]
    fn what_a_process_owes_is_seen_by_another_one_and_ends_with_it() {
        if let Some(database) = std::env::var_os(OTHER_PROCESS) {
            let debts = Debts::beside(Path::new(&database));
            for line in std::io::stdin().lines() {
                debts.owe(line.unwrap() == "owe");
                println!("told");
            }
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("catalogue.db");
        let debts = Debts::beside(&database);
        assert_eq!(debts.of_others(), None);
        let mut other = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("catalogue::debts::tests::what_a_process_owes_is_seen_by_another_one_and_ends_with_it")
            .env(OTHER_PROCESS, &database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut words = other.stdin.take().unwrap();
        let mut answers = BufReader::new(other.stdout.take().unwrap()).lines();
        let mut tell = |word: &str| {
            writeln!(words, "{word}").unwrap();
            assert!(answers.any(|line| line.unwrap().ends_with("told")));
        };
        tell("owe");
        let first = debts.of_others();
        tell("owe");
        let second = debts.of_others();
        assert!(first.is_some() && second.is_some() && first != second, "{first:?} {second:?}");
        tell("nothing");
        assert_eq!(debts.of_others(), None);
        tell("owe");
        assert_eq!(debts.of_others(), first);
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(debts.of_others(), None);
    }
}
