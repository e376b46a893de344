//! Where a file has data and where it has holes, as its file system tells it.

use std::{fs::File, io};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

/// What comes next in a source, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// Bytes to be read.
    Data(u64),
    /// Zeros that take no space.
    Hole(u64),
}

/// See the module. Nothing relies on it to be right: whoever changes a file in between changes its identity, too, and what
/// was sent is not taken.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    /// From here to there is data, as far as was asked.
    data: Option<(u64, u64)>,
    /// Whether it is of no use to ask.
    has_none: bool,
}

impl Stretches {
    /// Of a file that takes as much space as it has bytes: there is nothing to ask.
    pub(super) fn none() -> Self {
        Stretches { has_none: true, ..Stretches::default() }
    }

    /// What comes next at `at` in a file of `size` bytes. The file is read on from there afterwards.
    pub(super) fn at(&mut self, file: &File, at: u64, size: u64) -> io::Result<Stretch> {
        if self.has_none || at >= size {
            return Ok(Stretch::Data(u64::MAX));
        }
        if let Some((from, to)) = self.data
            && (from..to).contains(&at)
        {
            return Ok(Stretch::Data(to - at));
        }
        let stretch = self.ask(file, at, size);
        // Asking has moved it.
        seek(file, SeekFrom::Start(at))?;
        Ok(stretch.unwrap_or_else(|_| {
            // A file system that does not know is none to be asked again.
            self.has_none = true;
            Stretch::Data(u64::MAX)
        }))
    }

    fn ask(&mut self, file: &File, at: u64, size: u64) -> Result<Stretch, Errno> {
        let from = match seek(file, SeekFrom::Data(at)) {
            // There is none up to the end.
            Err(Errno::NXIO) => size,
            from => from?.clamp(at, size),
        };
        if from > at {
            return Ok(Stretch::Hole(from - at));
        }
        let to = seek(file, SeekFrom::Hole(at))?.max(at + 1);
        self.data = Some((at, to));
        Ok(Stretch::Data(to - at))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// The stretches of a file in their order, from some offset.
    fn all(file: &File, mut at: u64) -> Vec<Stretch> {
        let size = file.metadata().unwrap().len();
        let (mut stretches, mut found) = (Stretches::default(), Vec::new());
        while at < size {
            let stretch = stretches.at(file, at, size).unwrap();
            assert_eq!(seek(file, SeekFrom::Current(0)).unwrap(), at, "it is not read on from there");
            let (Stretch::Data(length) | Stretch::Hole(length)) = stretch;
            at += length;
            found.push(stretch);
        }
        found
    }

    #[test]
    fn holes_at_the_start_in_the_middle_and_at_the_end_are_found() {
        const MIB: u64 = 1024 * 1024;
        let file = tempfile::tempfile_in(".").unwrap();
        file.set_len(8 * MIB).unwrap();
        file.write_all_at(&[1; 4096], MIB).unwrap();
        file.write_all_at(&[2; 8192], 3 * MIB).unwrap();
        let (middle, end) = (2 * MIB - 4096, 5 * MIB - 8192);
        use Stretch::{Data, Hole};
        assert_eq!(all(&file, 0), [Hole(MIB), Data(4096), Hole(middle), Data(8192), Hole(end)]);
        assert_eq!(all(&file, MIB + 100), [Data(3996), Hole(middle), Data(8192), Hole(end)]);
        assert_eq!(all(&file, 8 * MIB - 5), [Hole(5)]);
        let mut none = Stretches::none();
        assert_eq!(none.at(&file, 0, 8 * MIB).unwrap(), Data(u64::MAX));
    }
}
