//! Drives the protocol over an encrypted stream.
//!
//! - [`identity`] and [`tls`]: who a machine is, and streams between machines that know each other's keys;
//! - [`Incoming`] and [`Outbox`]: frames on a stream, with its signs of life;
//! - [`greet`]: how a session begins and ends;
//! - [`send`] and [`receive`]: the two roles, each a network half and a disk half with bounded buffers between.
//!
//! Roles are not programs: either side of a connection can take either of them.

mod buffers;
mod error;
pub mod greet;
pub mod identity;
mod incoming;
mod outbox;
pub mod random;
pub mod receive;
pub mod send;
pub mod tls;

pub use buffers::{Buffer, Buffers, Permit, Room};
pub use error::SessionError;
pub use incoming::{Arrived, Incoming};
pub use outbox::Outbox;

/// A stream that a session can run on.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Starts speaking frames on a stream.
pub fn open(stream: impl Stream) -> (Incoming, Outbox) {
    let (reader, writer) = tokio::io::split(stream);
    let outbox = Outbox::start(writer);
    (Incoming::new(reader, outbox.clone()), outbox)
}
