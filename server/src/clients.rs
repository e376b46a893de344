//! `ferryd clients` and `ferryd revoke`: who may do what, and who no longer.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use anyhow::{Context, bail};
use ferry_proto::escape;
use ferry_store::Ledger;
use jiff::{Timestamp, Unit};
use serde_json::json;

use crate::{
    Config,
    catalogue::{Catalogue, ClientEntry, Grant, ShutOut},
    state::{self, State},
};

/// Lists every client, revoked ones too, in the order of their enrolment.
pub fn clients(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let State { catalogue, .. } = state::open(config)?;
    let entries = catalogue.clients()?;
    let mut out = io::stdout().lock();
    let written = entries.iter().try_for_each(|entry| {
        let line = if as_json { as_object(entry, &catalogue)? } else { as_line(entry, &catalogue)? };
        writeln!(out, "{line}").context("the clients cannot be written to standard output")
    });
    match written {
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        written => written,
    }
}

/// Shuts a client out; a running server ends its sessions within a second.
pub fn revoke(config: &Config, name: &str) -> anyhow::Result<()> {
    let State { catalogue, .. } = state::open(config)?;
    if catalogue.revoke(name, SystemTime::now())? {
        let _ = writeln!(io::stderr(), "{} is shut out; what it has sent stays", escape::text(name));
        return Ok(());
    }
    match catalogue.clients()?.iter().any(|entry| entry.client.name == name) {
        true => bail!("{} was revoked before", escape::text(name)),
        false => bail!("no client is called {}: `ferryd clients` lists them", escape::text(name)),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn state_of(entry: &ClientEntry) -> &'static str {
    match entry.client.shut_out(SystemTime::now()) {
        None => "active",
        Some(ShutOut::Revoked) => "revoked",
        Some(ShutOut::Expired) => "expired",
    }
}

/// To the second, in UTC.
fn rfc3339(time: SystemTime) -> String {
    // The catalogue holds no time that this cannot say.
    Timestamp::try_from(time)
        .and_then(|time| time.round(Unit::Second))
        .map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

fn verbs(grant: &Grant) -> Vec<&'static str> {
    let verbs = [(grant.put, "put"), (grant.get, "get"), (grant.list, "list")];
    verbs.into_iter().filter(|(may, _)| *may).map(|(_, verb)| verb).collect()
}

fn as_object(entry: &ClientEntry, catalogue: &Catalogue) -> anyhow::Result<String> {
    let ClientEntry { client, fingerprints, enrolled } = entry;
    let grant = &client.grant;
    let object = json!({
        "name": client.name,
        "state": state_of(entry),
        "path": grant.folder.as_ref().map(|folder| escape::bytes(folder.as_bytes()).to_string()),
        "can": verbs(grant),
        "overwrite": grant.overwrite,
        "quota": grant.quota,
        "used": catalogue.held_by(&client.name)?.rows,
        "enrolled": rfc3339(*enrolled),
        "expires": grant.expires.map(rfc3339),
        "revoked": client.revoked.map(rfc3339),
        "keys": fingerprints.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    Ok(object.to_string())
}

fn as_line(entry: &ClientEntry, catalogue: &Catalogue) -> anyhow::Result<String> {
    let ClientEntry { client, enrolled, .. } = entry;
    let grant = &client.grant;
    let folder = grant.folder.as_ref().map_or("the whole inbox".to_owned(), |folder| folder.to_string());
    let mut can = verbs(grant).join(",");
    if !grant.overwrite {
        can += " without overwriting";
    }
    let used = catalogue.held_by(&client.name)?.rows;
    let quota = grant.quota.map_or(String::new(), |quota| format!(" of {quota}"));
    let until = grant.expires.map_or(String::new(), |expires| format!("  until {}", rfc3339(expires)));
    let (name, state, since) = (&client.name, state_of(entry), rfc3339(*enrolled));
    Ok(format!("{name}  {state}  {folder}  {can}  {used}{quota} bytes  since {since}{until}"))
}
