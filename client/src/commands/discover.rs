//! `ferry discover`: the servers that announce themselves on the local network.

use std::{collections::HashSet, io::ErrorKind, net::SocketAddr};

use ferry_proto::{announcement::Prefix, escape};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::connections::{Signals, block_on};
use crate::{
    config::Discover,
    discovery::{Browse, Found},
    exit::{Exit, Failure},
    output::{to_stderr, to_stdout, unwritable},
    remotes::Remotes,
};

pub(super) fn run(config: Discover) -> Result<Exit, Failure> {
    let remotes = Remotes::load(&config.home.config)?;
    block_on(async {
        let signals = Signals::new()?;
        tokio::select! {
            biased;
            () = signals.wait() => Err(Failure::new(Exit::Interrupted, "interrupted")),
            listed = list(&config, &remotes) => listed,
        }
    })
}

/// Writes down each as it appears.
async fn list(config: &Discover, remotes: &Remotes) -> Result<Exit, Failure> {
    let is_paired = |prefix: &Prefix| remotes.that_may_be(Some(prefix)).is_some();
    let mut browse = match Browse::start(&is_paired) {
        Ok(browse) => browse,
        Err(deaf) => {
            to_stderr(&format!("ferry: {deaf}: `ferry doctor` tells more"));
            return Ok(Exit::Well);
        }
    };
    let until = Instant::now() + config.timeout;
    let mut told = HashSet::new();
    while let Some(found) = browse.next(until).await {
        // What it says later is no other server.
        if !told.insert(found.name.clone()) {
            continue;
        }
        let looks_like = remotes.that_may_be(found.prefix.as_ref());
        let line = if config.json { object(&found, looks_like) } else { line(&found, looks_like) };
        match to_stdout(&line) {
            Ok(()) => {}
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Well),
            Err(error) => return Err(unwritable(&error)),
        }
    }
    if browse.is_flooded() {
        to_stderr(
            "ferry: somebody on this network announces too many servers: of those that came after these, only what looks \
             like one that is paired is listed",
        );
    } else if told.is_empty() {
        to_stderr(
            "ferry: no server announces itself on this network. It may be off, in another network, or told not to; `ferry \
             doctor` looks for reasons",
        );
    }
    Ok(Exit::Well)
}

/// The announced name comes last, so that nothing that it says can be taken for the rest.
fn line(found: &Found, looks_like: Option<&str>) -> String {
    let addresses: Vec<String> = found.addresses.iter().map(SocketAddr::to_string).collect();
    let prefix = found.prefix.as_ref().map_or("-".to_owned(), ToString::to_string);
    let hint = looks_like.map_or("not paired".to_owned(), |name| format!("looks like {name}"));
    let name = escape::text(&found.name);
    format!("{prefix:<16}  {hint:<20}  {}  announced as {name}", addresses.join(","))
}

fn object(found: &Found, looks_like: Option<&str>) -> String {
    let mut object = Map::new();
    object.insert("name".into(), found.name.as_str().into());
    object.insert("addresses".into(), found.addresses.iter().map(|a| Value::from(a.to_string())).collect());
    object.insert("fingerprint_prefix".into(), found.prefix.as_ref().map(ToString::to_string).into());
    object.insert("version".into(), found.version.into());
    object.insert("looks_like".into(), looks_like.into());
    escape::json(&Value::Object(object).to_string())
}
