//! `ferryd log`: what arrived when, and until when its name held it.

use std::{io, time::SystemTime};

use ferry_proto::{Algorithm, Digest, escape, units};
use ferry_store::RowKind;
use serde_json::Map;

use crate::{
    Config,
    catalogue::{Arrival, CatalogueError, Span},
    clients::rfc3339,
    config::LogTerms,
    output::{self, Lines},
    state::{self, State},
};

/// Why telling has ended early.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error("standard output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Tells what arrived, oldest first, a row at a time.
pub fn log_of_arrivals(config: &Config, terms: &LogTerms) -> anyhow::Result<()> {
    let State { catalogue, .. } = state::open_existing(config)?;
    let mut lines = Lines::new();
    let mut is_any = false;
    let told = catalogue
        .arrivals(&Span::of(terms.below.as_ref()), terms.since, |arrival| -> Result<(), Stop> {
            is_any = true;
            Ok(lines.line(&if terms.json { as_object(&arrival) } else { as_line(&arrival) })?)
        })
        .and_then(|()| Ok(lines.flush()?));
    match (told, &terms.below) {
        (Err(Stop::Output(error)), _) if output::has_seen_enough(&error) => Ok(()),
        (Ok(()), Some(below)) if !is_any && terms.since.is_none() => {
            anyhow::bail!("nothing called {below} has ever arrived")
        }
        (told, _) => Ok(told?),
    }
}

/// When it came, until when it was there, who sent it, what it is.
fn as_line(arrival: &Arrival) -> String {
    let Arrival { path, kind, client, since, until, .. } = arrival;
    let until = until.map_or("-".to_owned(), rfc3339);
    let (what, size) = match kind {
        RowKind::File { size, .. } => ("file", units::told(*size)),
        RowKind::Folder => ("folder", "-".to_owned()),
        RowKind::Symlink(_) => ("symlink", "-".to_owned()),
    };
    let digest = digest(kind).map_or("-".to_owned(), |digest| digest.to_string());
    let target = match kind {
        RowKind::Symlink(target) => format!(" -> {}", escape::bytes(target)),
        _ => String::new(),
    };
    let client = escape::text(client).to_string();
    format!(
        "{}  {until:<20}  {client:<12}  {what:<7}  {size:>8}  {digest:<71}  {path}{target}",
        rfc3339(*since)
    )
}

fn as_object(arrival: &Arrival) -> String {
    let mut object = Map::new();
    object.insert("arrived".into(), exactly(arrival.since).into());
    if let Some(until) = arrival.until {
        object.insert("until".into(), exactly(until).into());
    }
    object.insert("client".into(), arrival.client.as_str().into());
    let kind = match &arrival.kind {
        RowKind::File { .. } => "file",
        RowKind::Folder => "folder",
        RowKind::Symlink(_) => "symlink",
    };
    object.insert("kind".into(), kind.into());
    output::insert_name(&mut object, &arrival.path);
    if let RowKind::File { size, .. } = arrival.kind {
        object.insert("bytes".into(), size.into());
    }
    if let Some(digest) = digest(&arrival.kind) {
        object.insert("digest".into(), digest.to_string().into());
    }
    if let RowKind::Symlink(target) = &arrival.kind {
        output::insert_bytes(&mut object, "target", target);
    }
    output::object(object)
}

/// The one that every machine can check, where it is known.
fn digest(kind: &RowKind) -> Option<Digest> {
    Algorithm::ALL.into_iter().find_map(|by| kind.digest(by))
}

/// To the millisecond, as the catalogue has it, with all its digits, so that lines can be sorted.
fn exactly(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}
