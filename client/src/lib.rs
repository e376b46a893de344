//! ferry, the client: sends files, photos and folders to a host you own, proves that they arrived, and gets them back.

mod choosing;
pub mod cli;
mod commands;
pub mod config;
mod dial;
mod digests;
mod discovery;
mod examining;
mod exit;
mod getting;
mod layout;
mod listing;
mod multicast;
mod names;
mod output;
mod pace;
mod place;
mod queue;
mod receipts;
mod remotes;
mod streams;
mod watching;

pub use commands::run;
pub use exit::Failure;
