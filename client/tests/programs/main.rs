//! The real programs, as processes: what users are promised, and what peers and machines can do to them.

#![allow(clippy::unwrap_used, reason = "a test ends where something that it stands on fails")]

mod arriving;
mod conflicts;
mod faults;
mod holding;
mod hostile_names;
mod hostile_numbers;
mod hostile_server;
mod hostile_time;
mod interrupting;
mod pairing;
mod same_name;
mod sending;
mod serving;
mod sources;
mod support;
mod telling;
mod trust;
