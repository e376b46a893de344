//! Uploads over a real folder, with a ledger in memory, and with things happening between any two calls.

#![allow(clippy::unwrap_used, reason = "a test ends where something that it stands on fails")]

mod conflicts;
mod faults;
mod figures;
mod held;
mod inbox;
mod power;
mod quotas;
mod resume;
mod scrubbing;
mod whole;
