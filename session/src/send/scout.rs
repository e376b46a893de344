//! The scout goes ahead: it takes tasks, and has small files read and digested before they are offered.

use std::{
    io::{ErrorKind, Read},
    sync::Arc,
    time::Instant,
};

use ferry_proto::{Algorithm, Code, Digest, Kind, Missing, limits};
use ferry_store::{
    Digests, Hashers,
    source::{Change, Item, Links, Location, Source, SourceError},
};
use tokio::{runtime::Handle, sync::mpsc::Sender};

use super::{Manifest, Next, Options, Origin, Stage, Task, reader::CHUNK};
use crate::{Permit, Room};

/// Files up to this length are read whole before they are offered: what fits one chunk, so that its digest is known
/// ahead and its body needs no second read.
pub(super) const SMALL: u64 = CHUNK as u64;

/// Bytes of large files that one of several connections takes at a time, so that the others have some too: some tenths
/// of a second of a fast network.
const SHARE: usize = 64 * 1024 * 1024;

/// A file that changes while it is read is tried this often.
pub(super) const ATTEMPTS: u32 = 3;

/// What was looked at.
pub(super) enum Prepared {
    /// A task that can be offered.
    Ready {
        task: Taken,
        digest: Option<Digest>,
        body: Option<Small>,
        /// Of what this connection may take away from the others.
        share: Option<Permit>,
    },
    /// One that cannot.
    Problem(Taken, SourceError),
    /// What never was one.
    Missing(Missing),
}

/// A task on its way from the manifest. Wherever it is lost, it goes back: a session may end while it waits between
/// the scout and the core.
pub(super) struct Taken {
    task: Option<Task>,
    manifest: Arc<dyn Manifest>,
}

impl Taken {
    /// Takes it over; from here on it is the caller's to settle or to put back.
    pub(super) fn into_task(mut self) -> Task {
        self.task.take().expect("only this takes it out, and this can be called once")
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.manifest.put_back(task);
        }
    }
}

/// The whole body of a small file.
pub(super) struct Small {
    pub(super) bytes: Vec<u8>,
    pub(super) grew: bool,
    /// Of what may be ready, and not sent, at a time.
    _room: Permit,
}

/// Takes tasks until there are none, or nobody wants them any more.
pub(super) fn run(
    manifest: Arc<dyn Manifest>,
    options: Options,
    prepared: &Sender<Prepared>,
    runtime: &Handle,
) {
    let ready = Room::new(limits::BODIES_READY as usize);
    let room = |bytes: u64| runtime.block_on(ready.take(bytes as usize));
    let shares = Room::new(SHARE);
    while let Some(next) = manifest.next(&|| !prepared.is_closed()) {
        let looked_at = match next {
            Next::Missing(missing) => Prepared::Missing(missing),
            Next::Task(mut task) => {
                let found = look_at(&*manifest, options, &room, &mut task);
                let size = task.size();
                let task = Taken { task: Some(task), manifest: manifest.clone() };
                match found {
                    Err(error) => Prepared::Problem(task, error),
                    Ok((digest, body)) => {
                        let is_large = body.is_none() && digest.is_none();
                        let large = size.filter(|_| options.has_company && is_large);
                        let share = |size| shares.take(usize::try_from(size).unwrap_or(SHARE));
                        let share = large.map(|size| runtime.block_on(share(size)));
                        Prepared::Ready { task, digest, body, share }
                    }
                }
            }
        };
        if prepared.blocking_send(looked_at).is_err() {
            return;
        }
    }
}

/// Finds everything that its offer says; all of the same version.
fn look_at(
    manifest: &dyn Manifest,
    options: Options,
    room: &impl Fn(u64) -> Permit,
    task: &mut Task,
) -> Result<(Option<Digest>, Option<Small>), SourceError> {
    loop {
        let found = prepare(manifest, options, room, task)?;
        let Origin::Tree(item) = &task.origin else { return Ok(found) };
        match manifest.attributes(item) {
            Err(SourceError::Changed) if task.attempt + 1 < ATTEMPTS => task.attempt += 1,
            attributes => {
                *task.attributes = attributes?;
                return Ok(found);
            }
        }
    }
}

/// Finds the digest, and of a small file the body, as far as that makes sense before the offer.
fn prepare(
    manifest: &dyn Manifest,
    options: Options,
    room: &impl Fn(u64) -> Permit,
    task: &mut Task,
) -> Result<(Option<Digest>, Option<Small>), SourceError> {
    let is_new_attempt = task.attempt > 0;
    let item = match &mut task.origin {
        Origin::Tree(item) if item.kind == Kind::File => item,
        _ => return Ok((None, None)),
    };
    if is_new_attempt {
        look_again(item, options.links)?;
    }
    // If it is not what its other name was, it is a file like any other.
    task.same.take_if(|same| same.identity != item.identity || same.digest.algorithm() != options.digest);
    let same = task.same.as_ref().map(|same| same.digest);
    let known = if options.checksum { None } else { manifest.known_digest(item, options.digest) };
    let known = same.or(known);
    // Whoever only asks what there is says so where a digest is needed.
    let is_list = options.asked && options.dry_run;
    if known.is_some() || item.identity.size > SMALL || is_list {
        return Ok((known, None));
    }
    let Some((found, body)) = read_small(manifest, item, options, room)? else { return Ok((None, None)) };
    if !body.grew {
        manifest.learned(item, &found)?;
    }
    Ok((found.by(options.digest), Some(body)))
}

/// What a task is to be digested by beside the run's algorithm: the one by which it is known, if that is another.
pub(super) fn also(task: &Task, algorithm: Algorithm) -> Option<Algorithm> {
    match &task.origin {
        Origin::Tree(item) => other_than(item, algorithm),
        Origin::Stream(..) => None,
    }
}

fn other_than(item: &Item, algorithm: Algorithm) -> Option<Algorithm> {
    let known = item.known.as_ref().filter(|known| known.by(algorithm).is_none())?;
    known.iter().next().map(|digest| digest.algorithm())
}

/// Brings an item up to date with its file.
fn look_again(item: &mut Item, links: Links) -> Result<(), SourceError> {
    item.update(&Source::open(&item.source, links)?);
    Ok(())
}

/// `None` if it has grown too large for that.
fn read_small(
    manifest: &dyn Manifest,
    item: &mut Item,
    options: Options,
    room: &impl Fn(u64) -> Permit,
) -> Result<Option<(Digests, Small)>, SourceError> {
    let links = options.links;
    for _ in 0..ATTEMPTS {
        let begin = Instant::now();
        let mut source = Source::open(&item.source, links)?;
        item.update(&source);
        if item.identity.size > SMALL {
            return Ok(None);
        }
        let opening = begin.elapsed();
        let room = room(item.identity.size);
        let begin = Instant::now();
        let mut bytes = vec![0; item.identity.size as usize];
        match source.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error.into()),
        }
        let change = source.change_since(&item.identity)?;
        let was_read = Instant::now();
        manifest.spent(Stage::DiskRead, opening + was_read.duration_since(begin));
        match change {
            Change::Changed => {}
            // Growth hides whether anything else changed, so what was announced is read once more.
            Change::Grew if !begins_with(&item.source, links, &bytes)? => {}
            change => {
                let mut hashers = Hashers::by(options.digest, other_than(item, options.digest));
                hashers.update(&bytes);
                let found = hashers.finish();
                manifest.spent(Stage::Hash, was_read.elapsed());
                return Ok(Some((found, Small { bytes, grew: change == Change::Grew, _room: room })));
            }
        }
    }
    Err(SourceError::Changed)
}

fn begins_with(location: &Location, links: Links, bytes: &[u8]) -> Result<bool, SourceError> {
    let mut again = Vec::with_capacity(bytes.len());
    Source::open(location, links)?.take(bytes.len() as u64).read_to_end(&mut again)?;
    Ok(again == bytes)
}

/// Why a source cannot be sent, as a code and in words.
pub fn source_failure(error: &SourceError) -> (Code, String) {
    let code = match error {
        SourceError::Changed => Code::SourceChanged,
        SourceError::Damaged => Code::DigestMismatch,
        SourceError::Name(_) => Code::BadName,
        SourceError::Io(error) if error.kind() == ErrorKind::NotFound => Code::SourceVanished,
        SourceError::Unsure | SourceError::Attributes(_) | SourceError::Io(_) => Code::SourceUnreadable,
    };
    (code, error.to_string())
}
