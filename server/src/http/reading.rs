//! The body of an answer that is a file: read as it is taken, and held to what is known of it.

use std::{
    io::{self, ErrorKind, Read as _},
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ferry_proto::{Code, Digest, Hasher, Kind, RelPath};
use ferry_session::send::source_failure;
use ferry_store::{
    LocalStore, Uploads,
    source::{Change, SourceError},
};
use hyper::body::{Body, Bytes, Frame};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{inbox::OpenFile, log::Journal, shares::Share};

/// Bytes that are read at a time.
const PIECE: usize = 256 * 1024;

/// A file, or a part of it. It holds a thread only while it reads.
pub(super) struct Reading {
    /// Absent while a thread reads, and when all is read.
    at_rest: Option<Box<State>>,
    reading: Option<JoinHandle<Read>>,
    left: u64,
    is_whole: bool,
    /// Whom it is given to, and what.
    journal: (Journal, RelPath),
    /// Whether it may still be given.
    may_go_on: Box<dyn Fn() -> bool + Send>,
    _share: Share,
}

type Read = (Box<State>, Result<Bytes, SourceError>);

struct State {
    file: OpenFile,
    left: u64,
    /// Of a whole file whose digest is known: the digest so far, and what it has to be.
    proof: Option<(Hasher, Digest)>,
    /// Where it is written down what that shows.
    uploads: Uploads<LocalStore>,
}

impl Reading {
    pub(super) fn new(
        mut file: OpenFile,
        part: Range<u64>,
        uploads: Uploads<LocalStore>,
        journal: (Journal, RelPath),
        may_go_on: impl Fn() -> bool + Send + 'static,
        share: Share,
    ) -> Result<Self, SourceError> {
        file.source.go_to(part.start)?;
        let (left, is_whole) = (part.end - part.start, part == (0..file.source.identity().size));
        // Of a part nothing can be proved, of a whole it can.
        let proof = file.digest().filter(|_| is_whole).map(|digest| (digest.algorithm().hasher(), digest));
        Ok(Reading {
            at_rest: Some(Box::new(State { file, left, proof, uploads })),
            reading: None,
            left,
            is_whole,
            journal,
            may_go_on: Box::new(may_go_on),
            _share: share,
        })
    }
}

impl State {
    fn read(&mut self) -> Result<Bytes, SourceError> {
        let length = self.left.min(PIECE as u64) as usize;
        let mut bytes = vec![0; length];
        self.file.source.read_exact(&mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => SourceError::Changed,
            _ => error.into(),
        })?;
        self.left -= length as u64;
        if let Some((hasher, _)) = &mut self.proof {
            hasher.update(&bytes);
        }
        if self.left == 0 {
            self.prove()?;
        }
        Ok(bytes.into())
    }

    /// That what was read is one version, and the one that was received; else the last piece is kept back, and whoever has the
    /// others knows that it has no whole.
    fn prove(&mut self) -> Result<(), SourceError> {
        let source = &self.file.source;
        let change = source.change_since(&source.identity())?;
        let found = self.proof.take().map(|(hasher, digest)| (hasher.finish(), digest));
        match (change, found.filter(|(found, digest)| found != digest)) {
            (Change::None | Change::Grew, None) => Ok(()),
            (Change::None, Some((found, _))) => {
                self.file.note_damage(&self.uploads, found);
                Err(SourceError::Damaged)
            }
            _ => Err(SourceError::Changed),
        }
    }
}

impl Body for Reading {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(mut state) = self.at_rest.take() {
            if state.left == 0 {
                return Poll::Ready(None);
            }
            if !(self.may_go_on)() {
                let (journal, path) = &self.journal;
                journal.could_not_give(path, Code::NotAllowed, "its client may not have it any more");
                return Poll::Ready(Some(Err(ErrorKind::PermissionDenied.into())));
            }
            self.reading = Some(spawn_blocking(move || {
                let read = state.read();
                (state, read)
            }));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let done = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let (journal, path) = &self.journal;
        let (state, bytes) = match done {
            Ok((state, Ok(bytes))) => (state, bytes),
            Ok((_, Err(error))) => {
                let (code, detail) = source_failure(&error);
                journal.could_not_give(path, code, &detail);
                return Poll::Ready(Some(Err(io::Error::other(error))));
            }
            Err(panicked) => {
                journal.could_not_give(path, Code::Internal, &panicked.to_string());
                return Poll::Ready(Some(Err(io::Error::other(panicked))));
            }
        };
        journal.gives(bytes.len() as u64);
        if state.left == 0 && self.is_whole {
            let OpenFile { source, .. } = &state.file;
            journal.gave(&Kind::File, path, source.identity().size, state.file.digest().as_ref());
        }
        self.left = state.left;
        self.at_rest = Some(state);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.reading.is_none()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.left)
    }
}
