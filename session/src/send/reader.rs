//! The reader: reads and digests the bodies that were asked for, one after the other.

use std::{
    io::{self, ErrorKind, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::Instant,
};

use ferry_proto::{Algorithm, Digest, FrameHeader, Hole, Seq, limits};
use ferry_store::{
    Digests, Hashers,
    source::{Change, Identity, Links, Location, Source, SourceError, Stretch},
};
use tokio::sync::mpsc::Sender;

use super::{Manifest, Stage, Stream};
use crate::{Buffer, Buffers};

/// Bytes of a chunk: small enough to stay in a core's cache from the disk to the cipher, large enough to make
/// system calls rare.
pub(super) const CHUNK: usize = 256 * 1024;

/// Bytes of small files that are read before the core is told: a pack of it.
const TOGETHER: usize = 128 * 1024;

/// What holes are digested as.
static ZEROS: [u8; limits::CHUNK] = [0; limits::CHUNK];

/// Something to be read.
pub(super) struct Deed {
    pub(super) seq: Seq,
    pub(super) what: What,
    pub(super) links: Links,
    /// What else it is digested by: where it is known by another algorithm than the run's, that one says whether it is well.
    pub(super) also: Option<Algorithm>,
    pub(super) hold: Arc<Hold>,
}

/// Between the core, which may want a deed no more, and the reader, which may have begun what cannot be done twice.
#[derive(Default)]
pub(super) struct Hold {
    cancelled: AtomicBool,
    consumed: AtomicBool,
}

impl Hold {
    /// Nobody wants it any more. Returns whether its source is consumed, or may be: it cannot be read again.
    pub(super) fn cancel(&self) -> bool {
        // As in `consume`, one is written before the other is read: whoever comes second knows of the first.
        self.cancelled.store(true, Ordering::SeqCst);
        self.consumed.load(Ordering::SeqCst)
    }

    /// Before something is read that cannot be read twice.
    fn consume(&self) -> Result<(), Stop> {
        self.consumed.store(true, Ordering::SeqCst);
        if self.cancelled.load(Ordering::SeqCst) { Err(Stop::Cancelled) } else { Ok(()) }
    }
}

/// What to read, and to what end.
pub(super) enum What {
    /// A file, to be sent from this offset if what is before has this digest.
    Body { source: Location, identity: Identity, resume: Option<(u64, Digest)> },
    /// A small file, to be sent whole.
    Small { source: Location, identity: Identity },
    /// A file, only to be digested.
    Digest { source: Location, identity: Identity },
    /// A stream, to be sent.
    Stream(Arc<dyn Stream>),
}

/// What came of it.
pub(super) enum Event {
    /// The body begins at this offset.
    Begun(Seq, u64),
    /// A chunk frame: [`FrameHeader::LEN`] bytes for its header, then the bytes.
    Chunk(Seq, Buffer),
    /// In place of a chunk of zeros.
    Hole(Seq, Hole),
    /// Small files, as many as were asked for meanwhile.
    Small(Vec<(Seq, Result<Whole, SourceError>)>),
    /// The body is complete.
    Ended { seq: Seq, found: Digests, length: u64, grew: bool },
    /// The file has these digests.
    Digested(Seq, Digests),
    /// It cannot be read, or is not what it was.
    Failed(Seq, SourceError),
}

/// All there is of a small file.
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    pub(super) found: Digests,
    pub(super) grew: bool,
}

/// How bodies are made of what is read.
#[derive(Clone, Copy)]
pub(super) struct Making {
    /// Bytes of the longest chunk.
    pub(super) chunk: usize,
    /// Bytes of the longest hole; none if the receiver knows no holes.
    pub(super) hole: usize,
    /// How digests are made.
    pub(super) algorithm: Algorithm,
}

/// Does deeds until there are none, or nobody listens any more.
pub(super) fn run(deeds: &Receiver<Deed>, events: &Sender<Event>, manifest: &dyn Manifest, making: Making) {
    let buffers = Buffers::default();
    let reading = |deed| Reading { deed, events, manifest, buffers: &buffers, making };
    let mut next: Option<Deed> = None;
    while let Some(deed) = next.take().or_else(|| deeds.recv().ok()) {
        let seq = deed.seq;
        if let What::Small { .. } = deed.what {
            // Waking the core up for each would cost more than reading does.
            let (mut read, mut bytes, mut small) = (Vec::new(), 0, Some(deed));
            while let Some(deed) = small.take() {
                let (seq, whole) = (deed.seq, reading(deed).whole());
                match whole {
                    Ok(whole) => {
                        bytes += whole.bytes.len();
                        read.push((seq, Ok(whole)));
                    }
                    Err(Stop::Source(error)) => read.push((seq, Err(error))),
                    Err(Stop::Cancelled) => {}
                    Err(Stop::Unheard) => return,
                }
                if bytes < TOGETHER {
                    next = deeds.try_recv().ok();
                    small = next.take_if(|deed| matches!(deed.what, What::Small { .. }));
                }
            }
            if events.blocking_send(Event::Small(read)).is_err() {
                return;
            }
            continue;
        }
        match reading(deed).run() {
            Ok(()) => {}
            Err(Stop::Source(error)) => {
                if events.blocking_send(Event::Failed(seq, error)).is_err() {
                    return;
                }
            }
            Err(Stop::Cancelled) => {}
            Err(Stop::Unheard) => return,
        }
    }
}

enum Stop {
    Source(SourceError),
    Cancelled,
    Unheard,
}

impl<E: Into<SourceError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Source(error.into())
    }
}

struct Reading<'a> {
    deed: Deed,
    events: &'a Sender<Event>,
    manifest: &'a dyn Manifest,
    buffers: &'a Buffers,
    making: Making,
}

/// What bodies are read from: it may know where it has holes.
trait Readable: Read {
    fn next_stretch(&mut self) -> io::Result<Stretch> {
        Ok(Stretch::Data(u64::MAX))
    }

    /// Goes on behind so many bytes of a hole.
    fn pass_over(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

impl Readable for Reader<'_> {}

impl Readable for Source {
    fn next_stretch(&mut self) -> io::Result<Stretch> {
        Source::next_stretch(self)
    }

    fn pass_over(&mut self, bytes: u64) -> io::Result<()> {
        Source::pass_over(self, bytes)
    }
}

impl Reading<'_> {
    fn run(self) -> Result<(), Stop> {
        let seq = self.deed.seq;
        let links = self.deed.links;
        match &self.deed.what {
            What::Digest { source: location, identity } => {
                let mut source = open(location, identity, links)?;
                let mut hashers = self.hashers();
                self.digest(&mut source, identity.size, &mut hashers)?;
                if source.change_since(identity)? != Change::None {
                    return Err(SourceError::Changed.into());
                }
                self.tell(Event::Digested(seq, hashers.finish()))
            }
            What::Body { source: location, identity, resume } => {
                let mut source = open(location, identity, links)?;
                let mut hashers = self.hashers();
                let mut offset = 0;
                if let Some((resume_at, prefix)) = *resume {
                    hashers = self.digest_before(&mut source, identity, resume_at)?;
                    offset = resume_at;
                    if hashers.first.so_far() != prefix {
                        // Other bytes than those that were sent before: nothing of them is joined with these.
                        source = open(location, identity, links)?;
                        hashers = self.hashers();
                        offset = 0;
                    }
                }
                self.tell(Event::Begun(seq, offset))?;
                let length = self.chunks(&mut source, offset, Some(identity), &mut hashers)?;
                let found = hashers.finish();
                let grew = self.has_grown(&source, location, identity, length, &found)?;
                self.tell(Event::Ended { seq, found, length, grew })
            }
            What::Small { .. } => {
                let whole = self.whole()?;
                self.tell(Event::Small(vec![(seq, Ok(whole))]))
            }
            What::Stream(stream) => {
                self.tell(Event::Begun(seq, 0))?;
                // Whoever writes it may take long, and a session that ends meanwhile must take nothing from the next one.
                while !stream.is_ready()? {
                    self.check()?;
                }
                self.deed.hold.consume()?;
                let mut hashers = self.hashers();
                let length = self.chunks(&mut Reader(&**stream), 0, None, &mut hashers)?;
                stream.finish()?;
                self.tell(Event::Ended { seq, found: hashers.finish(), length, grew: false })
            }
        }
    }

    fn hashers(&self) -> Hashers {
        Hashers::by(self.making.algorithm, self.deed.also)
    }

    /// Reads a small file.
    fn whole(&self) -> Result<Whole, Stop> {
        let What::Small { source: location, identity } = &self.deed.what else { return Err(Stop::Cancelled) };
        self.check()?;
        let mut source = open(location, identity, self.deed.links)?;
        let mut hashers = self.hashers();
        let mut bytes = vec![0; identity.size as usize];
        let length = self.read(&mut source, &mut bytes, &mut hashers)? as u64;
        let found = hashers.finish();
        let grew = self.has_grown(&source, location, identity, length, &found)?;
        Ok(Whole { bytes, found, grew })
    }

    /// Whether a file that was just read has only grown; an error if anything else has changed.
    fn has_grown(
        &self,
        source: &Source,
        location: &Location,
        identity: &Identity,
        length: u64,
        found: &Digests,
    ) -> Result<bool, Stop> {
        let change = source.change_since(identity)?;
        if change == Change::Changed || length != identity.size {
            return Err(SourceError::Changed.into());
        }
        if change == Change::Grew {
            // Growth hides whether anything else changed, so what was announced is read once more.
            let mut again = self.hashers();
            self.digest(&mut open(location, identity, self.deed.links)?, identity.size, &mut again)?;
            if again.finish() != *found {
                return Err(SourceError::Changed.into());
            }
        }
        Ok(change == Change::Grew)
    }

    /// Sends pieces from `offset` to the announced size of a file, or to the end; returns where it came to. Where this
    /// may be gone on with later, what it takes is kept.
    fn chunks(
        &self,
        source: &mut impl Readable,
        mut offset: u64,
        file: Option<&Identity>,
        hashers: &mut Hashers,
    ) -> Result<u64, Stop> {
        loop {
            self.check()?;
            if let (Some(identity), Some(state)) = (file, hashers.first.state(offset)) {
                self.manifest.learned_state(identity, state);
            }
            let left = file.map_or(u64::MAX, |identity| identity.size - offset);
            let to_checkpoint = limits::CHECKPOINT - offset % limits::CHECKPOINT;
            let most = left.min(to_checkpoint);
            let data = match source.next_stretch()? {
                Stretch::Hole(length) if let Some(hole) = self.hole(length.min(most)) => {
                    source.pass_over(hole.length() as u64)?;
                    self.hash(&ZEROS[..hole.length()], hashers);
                    offset += hole.length() as u64;
                    self.tell(Event::Hole(self.deed.seq, hole))?;
                    continue;
                }
                Stretch::Data(length) if self.making.hole > 0 => length,
                _ => u64::MAX,
            };
            let wanted = most.min(data).min(self.making.chunk as u64) as usize;
            let mut frame = self.buffers.take(FrameHeader::LEN + wanted);
            frame.resize(FrameHeader::LEN + wanted, 0);
            let read = self.read(source, &mut frame[FrameHeader::LEN..], hashers)?;
            if read == 0 {
                return Ok(offset);
            }
            frame.truncate(FrameHeader::LEN + read);
            frame[..FrameHeader::LEN].copy_from_slice(&FrameHeader::chunk(read).to_bytes());
            offset += read as u64;
            self.tell(Event::Chunk(self.deed.seq, frame))?;
        }
    }

    /// As much of a hole as one frame tells of, if the receiver knows holes.
    fn hole(&self, length: u64) -> Option<Hole> {
        Hole::new(length.min(self.making.hole as u64) as usize)
    }

    /// The hashers after the first bytes of a file: from where the state of one that is alone was kept, and read from there.
    fn digest_before(&self, source: &mut Source, identity: &Identity, length: u64) -> Result<Hashers, Stop> {
        let mut hashers = self.hashers();
        let mut from = 0;
        if hashers.is_alone()
            && let Some(state) = self.manifest.known_state(identity, self.making.algorithm, length)
            && let Some(kept) = state.hasher(self.making.algorithm)
        {
            (from, hashers.first) = (state.length(), kept);
        }
        source.go_to(from)?;
        self.digest(source, length - from, &mut hashers)?;
        Ok(hashers)
    }

    fn digest(&self, source: &mut Source, length: u64, hashers: &mut Hashers) -> Result<(), Stop> {
        let mut buffer = vec![0; CHUNK];
        let mut left = length;
        while left > 0 {
            self.check()?;
            let wanted = left.min(CHUNK as u64) as usize;
            let read = self.read(source, &mut buffer[..wanted], hashers)?;
            if read == 0 {
                return Err(SourceError::Changed.into());
            }
            left -= read as u64;
            self.manifest.digested(read as u64);
        }
        Ok(())
    }

    /// Reads and hashes what comes next: as much as there is room for, or is there.
    fn read(&self, source: &mut impl Read, bytes: &mut [u8], hashers: &mut Hashers) -> Result<usize, Stop> {
        let begin = Instant::now();
        let read = fill(source, bytes)?;
        self.manifest.spent(Stage::DiskRead, begin.elapsed());
        self.hash(&bytes[..read], hashers);
        Ok(read)
    }

    fn hash(&self, bytes: &[u8], hashers: &mut Hashers) {
        let begin = Instant::now();
        hashers.update(bytes);
        self.manifest.spent(Stage::Hash, begin.elapsed());
    }

    fn check(&self) -> Result<(), Stop> {
        if self.events.is_closed() {
            return Err(Stop::Unheard);
        }
        if self.deed.hold.cancelled.load(Ordering::Relaxed) { Err(Stop::Cancelled) } else { Ok(()) }
    }

    fn tell(&self, event: Event) -> Result<(), Stop> {
        self.events.blocking_send(event).map_err(|_| Stop::Unheard)
    }
}

struct Reader<'a>(&'a dyn Stream);

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Opens a file that is still what it was when it was offered.
fn open(location: &Location, identity: &Identity, links: Links) -> Result<Source, SourceError> {
    let source = Source::open(location, links)?;
    match identity.change(&source.identity()) {
        // What it has grown by since is not sent, and is told at the end.
        Change::None | Change::Grew => Ok(source),
        Change::Changed => Err(SourceError::Changed),
    }
}

/// Reads until the buffer is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

const _: () = assert!(CHUNK <= limits::CHUNK);
