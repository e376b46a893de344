//! `ferryd identity`: the fingerprint by which clients know this server.

use std::io::Write;

use anyhow::Context;

use crate::{
    Config, invite,
    state::{self, State},
};

/// Prints it, and shows it as a QR code if that is asked for.
pub fn identity(config: &Config, wants_qr: bool) -> anyhow::Result<()> {
    let State { identity, .. } = state::open_existing(config)?;
    let fingerprint = identity.fingerprint().to_string();
    writeln!(std::io::stdout(), "{fingerprint}").context("the fingerprint cannot be written")?;
    if wants_qr {
        invite::show_qr(&fingerprint)?;
    }
    Ok(())
}
