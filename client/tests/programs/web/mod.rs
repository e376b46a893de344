//! The side of ferryd for browsers and for curl: what it promises to them, and what they can do to it.
//!
//! Requests are made over real TLS and say what the tests like; curl and openssl are the real ones. What browsers' own
//! programs make of it is in `client/tests/web-clients`.

mod certificates;
mod curl;
mod gallery;
mod grants;
mod hostile;
mod kills;
mod names;
mod reading;
mod sessions;
mod tus;

const MIB: usize = 1024 * 1024;
