//! Every number that a peer could grow, with the reason for its value.

use std::time::Duration;

/// Bytes of a control message's payload. The largest honest one is an offer with a 4 KiB name and extensions.
pub const CONTROL: usize = 64 * 1024;

/// Bytes of one chunk: large enough that framing costs nothing, small enough for a bounded pool of buffers.
pub const CHUNK: usize = 1024 * 1024;

/// Offers without a final answer. At 4,096 a path with 100 ms of delay still passes 40,000 small files a second.
pub const OFFERS: usize = 4096;

/// Bytes of offer payloads without a final answer: what a receiver must remember about them.
pub const OFFER_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of small bodies that a sender holds ready while their verdicts are under way.
pub const BODIES_READY: u64 = 8 * 1024 * 1024;

/// Distance of checkpoints in a body. A kill costs at most this much plus what was on its way.
pub const CHECKPOINT: u64 = 32 * 1024 * 1024;

/// Bytes of one name, as on every common file system.
pub const NAME: usize = 255;

/// Bytes of a whole path, `PATH_MAX` on Linux.
pub const PATH: usize = 4096;

/// Paths that one request names: more than people write down; who has more makes further requests.
pub const PATHS: usize = 1024;

/// Levels of a path: deeper trees exist only by accident or malice.
pub const DEPTH: usize = 128;

/// Bytes of a symlink's target: `PATH_MAX` without its NUL.
pub const LINK_TARGET: usize = 4095;

/// Bytes of a sentence to the peer: some lines on a terminal.
pub const DETAIL: usize = 1024;

/// Bytes of a peer's own name and of its agent string, which stand in lines of a log. No host's name is longer than 64.
pub const AGENT: usize = 128;

/// Extensions of one header; each attribute of a file is one.
pub const EXTENSIONS: usize = 64;

/// Extended attributes of one entry: file systems that set a limit of their own have room for fewer.
pub const XATTRS: usize = 256;

/// Bytes of the name of a user or a group: those that Linux takes.
pub const ACCOUNT: usize = 255;

/// Bytes of all extensions of one header, so that an offer stays within [`CONTROL`].
pub const EXTENSION_BYTES: usize = 48 * 1024;

/// Features that a side can name: far more than a protocol should ever have.
pub const FEATURES: usize = 256;

/// Addresses in one invite link: more than a machine has networks.
pub const ADDRESSES: usize = 32;

/// The longest body: what a signed file offset can say.
pub const FILE: u64 = i64::MAX as u64;

/// From accept to the end of the TLS handshake.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// From the handshake to a complete `Hello`, and from `Hello` to `Welcome`.
pub const FIRST_MESSAGE: Duration = Duration::from_secs(10);

/// A side that has sent nothing for this long sends a `Ping`: two may be lost before [`SILENCE`] is over.
pub const PING: Duration = Duration::from_secs(5);

/// A side that has heard nothing for this long, pings included, holds the connection for dead: longer than a network
/// takes to find another way, shorter than people wait.
pub const SILENCE: Duration = Duration::from_secs(15);

/// A frame whose first 5 bytes have come must be whole within this time: at 1 MiB that is 18 kB/s, slower than
/// any link that people send files over, and far above one byte a second.
pub const FRAME: Duration = Duration::from_secs(60);

/// A side that waits this long for its peer to read a few answers holds the connection for dead.
pub const UNREAD: Duration = Duration::from_secs(60);

/// How long a side reads on after it has sent `Goodbye`, so that the reason is not lost to a reset.
pub const GOODBYE_DRAIN: Duration = Duration::from_secs(2);
