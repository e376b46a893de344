//! The real programs, as processes: what users are promised, and what peers and machines can do to them.

#![allow(clippy::unwrap_used, reason = "a test ends where something that it stands on fails")]

mod arriving;
mod conflicts;
mod holding;
mod pairing;
mod sending;
mod support;
