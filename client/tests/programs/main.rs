//! The real programs, as processes: what users are promised, and what peers and machines can do to them.
//!
//! Tests are named after the promise, or the line of the list of hostile things, that they hold. These lines are not
//! tested here, or not whole:
//! - 1, 2: by the ways in that exist: the native protocol, the command line of `ferry`, and the web;
//! - 6: by one race; the others need a store that can be stopped in the middle, and are in `store/tests`;
//! - 11: the client decodes pictures with `--check-images`, and the server where it makes them small; nothing else is
//!   decompressed, and nothing that HTTP calls encoded. What thumbnails are made of is in `pictures/tests`;
//! - 12: there is no QUIC and no HTTP/2; the HTTP listener of `--metrics` takes no bodies;
//! - 14: no peer can set a timeout of the server's; what is slow for other reasons is tested;
//! - 16: what a browser makes of a certificate is the browser's; curl with a pinned key is tested;
//! - 19: a clock that jumps back is not tried: setting the clock would disturb everything else on the machine;
//! - 20: no peer is known to bring about a panic; those that a store brings about are in `store/tests`;
//! - 24: there are no hooks.

#![allow(clippy::unwrap_used, reason = "a test ends where something that it stands on fails")]

mod arrivals;
mod arriving;
mod attributes;
mod checking_images;
mod choosing;
mod confining;
mod conflicts;
mod discovering;
mod doctor;
mod durable;
mod faults;
mod fidelity;
mod getting;
mod grants;
mod hard_links;
mod health;
mod holding;
mod hostile_giver;
mod hostile_names;
mod hostile_numbers;
mod hostile_server;
mod hostile_time;
mod interrupting;
mod laying_out;
mod moving;
mod pages;
mod pairing;
mod picking;
mod reloading;
mod same_name;
mod scrubbing;
mod sending;
mod service;
mod serving;
mod slowest;
mod sources;
mod sparse;
mod streams;
mod support;
mod telling;
mod trust;
mod watching;
mod web;
