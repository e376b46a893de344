//! What the fuzz targets check, each as a function of bytes. `docs/testing.md` says how they are run.
//!
//! The files of this folder are also part of `proto/tests/corpus.rs`, `pictures/tests/corpus.rs` and `session/tests/corpus.rs`, which replay the
//! committed inputs without libFuzzer.

pub mod corpus;
pub mod frame;
pub mod invite;
pub mod memory;
pub mod message;
pub mod path;
pub mod pictures;
pub mod receiver;
