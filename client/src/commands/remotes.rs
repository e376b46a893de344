//! `ferry remotes`: the servers that are known here.

use ferry_proto::escape;

use crate::{
    config::Home,
    exit::{Exit, Failure},
    remotes::Remotes,
};

pub(super) fn list(home: &Home) -> Result<Exit, Failure> {
    for (name, remote) in Remotes::load(&home.config)?.all() {
        println!("{name}\t{}\t{}", remote.addresses.join(","), remote.fingerprint);
    }
    Ok(Exit::Well)
}

pub(super) fn forget(home: &Home, name: &str) -> Result<Exit, Failure> {
    if Remotes::load(&home.config)?.remove(name)? {
        eprintln!("forgot {name}; its server still knows this client");
        Ok(Exit::Well)
    } else {
        Err(Failure::usage(format!("no server is known as `{}` here", escape::text(name))))
    }
}
