//! Reading within limits.

use std::{
    fmt,
    io::{self, BufRead, Read, Seek, SeekFrom},
};

use crate::Flaw;

/// What one picture may take.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Pixels that it may say it has.
    pub pixels: u64,
    /// Bytes that looking into it may take at a time; a JPEG's own bytes count.
    pub memory: u64,
    /// Whether it is time to stop. It is asked whenever something is read, and between the steps of the work.
    pub is_over: &'a (dyn Fn() -> bool + Sync),
}

/// What files are read through.
pub(crate) trait Input: BufRead + Seek {}

impl<R: BufRead + Seek> Input for R {}

impl Limits<'_> {
    /// For thumbnails, of which a server may make two at a time and stay small. Cameras and phones make JPEGs of up to 60
    /// million pixels; of the few that are larger most have a preview.
    pub const THUMBNAIL: Limits<'static> =
        Limits { pixels: 64_000_000, memory: 128 * 1024 * 1024, is_over: &|| false };

    /// For a look at whole pictures on the machine of their owner, where a panorama is no reason for alarm.
    pub const CHECK: Limits<'static> =
        Limits { pixels: 250_000_000, memory: 512 * 1024 * 1024, is_over: &|| false };

    /// Whether a picture may have so many pixels, each of which takes so many bytes, besides others.
    pub(crate) fn allow(&self, width: u32, height: u32, each: u64, besides: usize) -> Result<(), Flaw> {
        let pixels = u64::from(width) * u64::from(height);
        let bytes = pixels.saturating_mul(each).saturating_add(besides as u64);
        match pixels <= self.pixels && bytes <= self.memory {
            true => Ok(()),
            false => Err(Flaw::TooLarge),
        }
    }

    /// Whether the work may go on.
    pub(crate) fn go_on(&self) -> Result<(), Flaw> {
        if (self.is_over)() { Err(Flaw::TooSlow) } else { Ok(()) }
    }
}

impl fmt::Debug for Limits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { pixels, memory, .. } = self;
        f.debug_struct("Limits").field("pixels", pixels).field("memory", memory).finish_non_exhaustive()
    }
}

/// A reader that gives up when it is time to stop, or when it has read so much, and remembers what went wrong: decoders
/// make words of it.
pub(crate) struct Reading<'a> {
    /// Whatever it is: decoders are large, and one of each is enough.
    inner: &'a mut dyn Input,
    left: u64,
    limits: Limits<'a>,
    failed: Option<Flaw>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(inner: &'a mut dyn Input, most: u64, limits: &Limits<'a>) -> Self {
        Reading { inner, left: most, limits: *limits, failed: None }
    }

    /// What went wrong with reading, if that is what went wrong.
    pub(crate) fn failure(&mut self) -> Option<Flaw> {
        self.failed.take()
    }

    /// What went wrong with reading is not the picture's fault, though whoever read took it for that.
    pub(crate) fn blame<T>(&mut self, done: Result<T, Flaw>) -> Result<T, Flaw> {
        let failure = self.failure();
        done.map_err(|flaw| failure.unwrap_or(flaw))
    }

    /// The first bytes, as many as there are; reading goes on at the beginning.
    pub(crate) fn beginning(&mut self, most: usize) -> Result<Vec<u8>, Flaw> {
        let bytes = self.bytes(0, most);
        self.seek(SeekFrom::Start(0)).map_err(Flaw::reading)?;
        bytes
    }

    /// So many bytes from there, or as many as there are.
    pub(crate) fn bytes(&mut self, offset: u64, most: usize) -> Result<Vec<u8>, Flaw> {
        let mut bytes = Vec::new();
        let read =
            self.seek(SeekFrom::Start(offset)).and_then(|_| self.take(most as u64).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.failure().unwrap_or(Flaw::Unreadable(error))),
        }
    }

    /// The same from here.
    pub(crate) fn bytes_here(&mut self, most: usize) -> Result<Vec<u8>, Flaw> {
        let position = self.position()?;
        self.bytes(position, most)
    }

    /// So many bytes from here, neither more nor less.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let mut bytes = [0; N];
        match self.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(self.failure().unwrap_or(Flaw::reading(error))),
        }
    }

    /// Goes on so much further.
    pub(crate) fn skip(&mut self, bytes: u64) -> Result<(), Flaw> {
        let bytes = i64::try_from(bytes).map_err(|_| Flaw::CutOff)?;
        self.seek_relative(bytes).map_err(Flaw::reading)
    }

    /// Goes on there.
    pub(crate) fn go_to(&mut self, offset: u64) -> Result<(), Flaw> {
        let position = self.position()?;
        let (to, from) = (i64::try_from(offset), i64::try_from(position));
        let (Ok(to), Ok(from)) = (to, from) else { return Err(Flaw::CutOff) };
        self.seek_relative(to - from).map_err(Flaw::reading)
    }

    /// Bytes of the whole file.
    pub(crate) fn length(&mut self) -> Result<u64, Flaw> {
        self.seek(SeekFrom::End(0)).map_err(Flaw::reading)
    }

    /// Where it is.
    pub(crate) fn position(&mut self) -> Result<u64, Flaw> {
        self.stream_position().map_err(Flaw::reading)
    }

    fn stop(&mut self, flaw: Flaw) -> io::Error {
        let error = io::Error::other(flaw.to_string());
        self.failed.get_or_insert(flaw);
        error
    }

    fn keep<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
        {
            let copy = io::Error::new(error.kind(), error.to_string());
            self.failed.get_or_insert(Flaw::Unreadable(copy));
        }
        result
    }
}

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let read = available.len().min(buffer.len());
        buffer[..read].copy_from_slice(&available[..read]);
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Reading<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Err(flaw) = self.limits.go_on() {
            return Err(self.stop(flaw));
        }
        if self.left == 0 {
            return Err(self.stop(Flaw::TooLarge));
        }
        let filled = self.inner.fill_buf().map(|_| ());
        self.keep(filled)?;
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let available = self.inner.fill_buf()?;
        Ok(&available[..available.len().min(most)])
    }

    fn consume(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
        self.inner.consume(bytes);
    }
}

impl Seek for Reading<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let sought = self.inner.seek(to);
        self.keep(sought)
    }

    fn seek_relative(&mut self, bytes: i64) -> io::Result<()> {
        let sought = self.inner.seek_relative(bytes);
        self.keep(sought)
    }
}
