//! The ferry protocol, without sockets, files or a clock.
//!
//! `PROTOCOL.md` beside this crate is normative; this crate is its implementation. Bytes come in, bytes go
//! out, and whoever owns the stream, the disk and the time drives it:
//!
//! - [`RelPath`], [`Digest`] and [`Header`] say what is sent;
//! - [`Message`] and [`frame`] turn it into bytes and back, within [`limits`];
//! - [`Sender`] and [`Receiver`] are the two roles of one transfer, as state machines;
//! - [`Invite`] is the link that introduces two machines to each other.

pub mod announcement;
mod attributes;
mod code;
mod codec;
mod digest;
pub mod escape;
mod features;
pub mod frame;
mod header;
mod invite;
pub mod limits;
mod message;
mod path;
mod receiver;
mod sender;
pub mod units;

pub use attributes::{AttributeError, Attributes, Owner, Wants, Xattrs};
pub use code::Code;
pub use digest::{Algorithm, Digest, Hasher, HasherState};
pub use features::Features;
pub use frame::{DecodeError, Decoder, Frame, FrameHeader};
pub use header::{Extension, Header, HeaderError, Kind, Leaving, Mode, Timestamp};
pub use invite::{Fingerprint, Invite, InviteError, Secret};
pub use message::{
    Abort, Answer, Body, Conflict, Done, End, Failed, Get, Goodbye, GrantView, Hello, Hole, Limits, List,
    Message, Missing, Offer, Ping, Pong, Put, Receipt, Rejected, Request, RunId, Seq, Spent, VERSION, Verb,
    Verdict, Versions, Welcome,
};
pub use path::{PathError, RelPath};
pub use receiver::{Arrival, Piece, Receiver};
pub use sender::{Progress, Sender};

/// A peer that does not keep the protocol: well-formed bytes that mean something not allowed now.
///
/// It ends the connection with [`Code::Protocol`]; the text is for the log and for the peer alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("protocol violation: {0}")]
pub struct Violation(pub &'static str);
