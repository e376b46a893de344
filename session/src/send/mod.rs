//! The sending role: sources on a disk, to a receiver on a stream.
//!
//! Three parts share the work, joined by bounded channels:
//! - the *scout* (a thread) takes tasks from the [`Manifest`], and reads and digests those that are small;
//! - the *reader* (a thread) reads and digests the bodies that were asked for, a chunk at a time;
//! - the *core* (this task) speaks the protocol: it offers, packs small bodies, passes chunks on, and settles.
//!
//! A client sends what it puts. A server sends what it was asked for, and tells of what it cannot send.
//!
//! Bytes of a large file are copied once into a chunk, by the reader, and go from there to the stream.

mod backlog;
mod core;
mod hard_links;
mod reader;
mod scout;
mod task;
#[cfg(test)]
mod tests;

pub use self::{
    backlog::Backlog,
    hard_links::Same,
    scout::source_failure,
    task::{Disproved, Fate, Manifest, Next, Origin, Pace, Stage, Stream, Task, Unlimited},
};

use std::sync::Arc;

use ferry_proto::{Algorithm, Conflict, Features, Limits, Put, Request, Verb, limits};
use ferry_store::source::Links;

use crate::{Incoming, Outbox, SessionError, greet};

/// How to send.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The receiver has asked for it, and is told of what does not come.
    pub asked: bool,
    /// Offer, and send nothing.
    pub dry_run: bool,
    /// What both sides understand beyond version 1.
    pub shared: Features,
    /// How sources that are links are opened.
    pub links: Links,
    /// How digests are made.
    pub digest: Algorithm,
    /// Digest everything anew instead of trusting what is known about unchanged files.
    pub checksum: bool,
    /// Other connections work on the same manifest.
    pub has_company: bool,
}

/// Puts what the manifest holds until nothing is outstanding, as one request. When it ends with an error, what was
/// outstanding here has been put back, or has failed if its source cannot be read again.
pub async fn put(
    mut incoming: Incoming,
    outbox: Outbox,
    limits: Limits,
    on_conflict: Conflict,
    options: Options,
    manifest: Arc<dyn Manifest>,
    pace: Arc<dyn Pace>,
) -> Result<(), SessionError> {
    let put = Put { on_conflict, dry_run: options.dry_run, digest: options.digest };
    outbox.say(Request { id: 1, verb: Verb::Put(put) })?;
    let result = core::run(&mut incoming, &outbox, limits, options, manifest, pace).await;
    greet::close(incoming, outbox, &result).await;
    result
}

/// Sends what the manifest holds to a peer that has asked for it, until nothing is outstanding; the session goes on.
pub async fn give(
    incoming: &mut Incoming,
    outbox: &Outbox,
    options: Options,
    manifest: Arc<dyn Manifest>,
) -> Result<(), SessionError> {
    let limits = Limits {
        offers: limits::OFFERS as u32,
        chunk: limits::CHUNK as u32,
        checkpoint: limits::CHECKPOINT,
        file: limits::FILE,
    };
    core::run(incoming, outbox, limits, options, manifest, Arc::new(Unlimited)).await
}
