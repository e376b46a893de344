//! `ferry remotes`: the servers that are known here.

use std::io::{self, Write};

use ferry_proto::escape;

use crate::{
    config::Home,
    exit::{Exit, Failure},
    output::{to_stderr, unwritable},
    remotes::Remotes,
};

pub(super) fn list(home: &Home) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    for (name, remote) in Remotes::load(&home.config)?.all() {
        match writeln!(out, "{name}\t{}\t{}", remote.addresses.join(","), remote.fingerprint) {
            Ok(()) => {}
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(unwritable(&error)),
        }
    }
    Ok(Exit::Well)
}

pub(super) fn forget(home: &Home, name: &str) -> Result<Exit, Failure> {
    if Remotes::load(&home.config)?.remove(name)? {
        to_stderr(&format!("forgot {name}; its server still knows this client"));
        Ok(Exit::Well)
    } else {
        Err(Failure::usage(format!("no server is known as `{}` here", escape::text(name))))
    }
}
