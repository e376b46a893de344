//! The sending role: sources on a disk, to a receiver on a stream.
//!
//! Three parts share the work, joined by bounded channels:
//! - the *scout* (a thread) takes tasks from the [`Manifest`], and reads and digests those that are small;
//! - the *reader* (a thread) reads and digests the bodies that were asked for, a chunk at a time;
//! - the *core* (this task) speaks the protocol: it offers, packs small bodies, passes chunks on, and settles.
//!
//! Bytes of a large file are copied once into a chunk, by the reader, and go from there to the stream.

mod core;
mod reader;
mod scout;
mod task;
#[cfg(test)]
mod tests;

pub use self::{
    scout::source_failure,
    task::{Fate, Manifest, Origin, Pace, Stage, Task},
};

use std::sync::Arc;

use ferry_proto::{Algorithm, Code, Conflict, Limits, Put, Request, Verb};
use ferry_store::source::Links;

use crate::{Incoming, Outbox, SessionError, greet};

/// How to send.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What the receiver does where another file has the name.
    pub on_conflict: Conflict,
    /// Ask, and send nothing.
    pub dry_run: bool,
    /// How sources that are links are opened.
    pub links: Links,
    /// How digests are made.
    pub digest: Algorithm,
    /// Digest everything anew instead of trusting what is known about unchanged files.
    pub checksum: bool,
    /// Other connections work on the same manifest.
    pub has_company: bool,
}

/// Sends what the manifest holds until nothing is outstanding, as one request. When it ends with an error, what was
/// outstanding here has been put back, or has failed if its source cannot be read again.
pub async fn send(
    incoming: Incoming,
    outbox: Outbox,
    limits: Limits,
    options: Options,
    manifest: Arc<dyn Manifest>,
    pace: Arc<dyn Pace>,
) -> Result<(), SessionError> {
    let put = Put { on_conflict: options.on_conflict, dry_run: options.dry_run, digest: options.digest };
    outbox.say(Request { id: 1, verb: Verb::Put(put) })?;
    let (result, incoming) = core::run(incoming, &outbox, limits, options, manifest, pace).await;
    if let Some(incoming) = incoming {
        match &result {
            Ok(()) => greet::farewell(incoming, outbox, Code::Bye, "").await,
            Err(error) => greet::part(incoming, outbox, error).await,
        }
    }
    result
}
