//! ferryd, the receiving server of ferry: saves what its clients send into a folder, and proves that it arrived.

pub mod catalogue;
pub mod cli;
pub mod config;
mod invite;
mod listen;
mod log;
mod serve;
mod session;
mod state;

pub use config::Config;
pub use invite::invite;
pub use serve::serve;
