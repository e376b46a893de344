//! ferryd, the receiving server of ferry: saves what its clients send into a folder, and proves that it arrived.

mod announce;
mod arrivals;
pub mod catalogue;
pub mod cli;
mod clients;
pub mod config;
mod confine;
mod door;
mod gallery;
mod giving;
mod health;
mod house;
mod http;
mod identity;
mod inbox;
mod invite;
mod listen;
mod log;
mod output;
mod reload;
mod scrub;
mod seats;
mod serve;
mod session;
mod shares;
mod state;
mod systemd;

use std::io::Write;

pub use arrivals::log_of_arrivals;
pub use clients::{clients, revoke};
pub use config::Config;
pub use identity::identity;
pub use invite::invite;
pub use scrub::scrub;
pub use serve::serve;

/// Tells whoever runs a command; where nobody listens, the exit code still tells.
fn to_stderr(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "{sentence}");
}
