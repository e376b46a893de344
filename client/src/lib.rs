//! ferry, the client: sends files, photos and folders to a host you own, and proves that they arrived.

pub mod cli;
mod commands;
pub mod config;
mod dial;
mod digests;
mod exit;
mod output;
mod pace;
mod place;
mod queue;
mod receipts;
mod remotes;
mod stdin;

pub use commands::run;
pub use exit::Failure;
