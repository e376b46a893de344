//! `ferryd clients` and `ferryd revoke`: who may do what, and who no longer.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use anyhow::{Context, bail};
use ferry_proto::{Fingerprint, Invite, Secret, escape, units};
use ferry_store::Ledger;
use jiff::{Timestamp, Unit};
use serde_json::json;

use crate::{
    Config,
    catalogue::{Catalogue, ClientEntry, Grant, NewInvite, OpenInvite, Revoked, ShutOut},
    invite::FRAGMENT,
    state::{self, State},
    to_stderr,
};

/// Lists every client, revoked ones too, in the order of their enrolment, and every invite that is still open.
pub fn clients(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let State { catalogue, .. } = state::open_existing(config)?;
    let now = SystemTime::now();
    let known = catalogue.clients()?.into_iter().map(|entry| Line::of_client(entry, &catalogue, now));
    let mut lines: Vec<Line> = known.collect::<Result<_, _>>()?;
    lines.extend(catalogue.open_invites(now)?.into_iter().map(Line::of_invite));
    if lines.is_empty() {
        to_stderr("no client has been let in, and no invite is open: `ferryd invite` prints a link");
    }
    let text = if as_json { lines.iter().map(Line::as_object).collect() } else { as_table(&lines) };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("the clients cannot be written to standard output"),
    }
}

/// Shuts a client out, by its name; a running server ends its sessions within a second. An invite that is still open
/// can be named by its link, too.
pub fn revoke(config: &Config, what: &str) -> anyhow::Result<()> {
    let State { catalogue, .. } = state::open_existing(config)?;
    let now = SystemTime::now();
    if let Some(secret) = secret_of_link(what) {
        if !catalogue.close_invite(&secret, now)? {
            bail!("this link is not open: it was used up, has expired, or is not this server's");
        }
        to_stderr("the link lets nobody in any more; whom it has let in stays (`ferryd clients` lists them)");
        return Ok(());
    }
    let Revoked { client, invites } = catalogue.revoke(what, now)?;
    let name = escape::text(what);
    if client {
        to_stderr(&format!("{name} is shut out; what it has sent stays"));
    }
    if invites > 0 {
        let links = if invites == 1 { "a link".to_owned() } else { format!("{invites} links") };
        to_stderr(&format!("closed: {links} by which {name} could have come in"));
    }
    if client || invites > 0 {
        return Ok(());
    }
    match catalogue.clients()?.iter().any(|entry| entry.client.name == what) {
        true => bail!("{name} was revoked before"),
        false => bail!("no client and no open link is called {name}: `ferryd clients` lists them"),
    }
}

/// The secret of a link, whether it is for ferry or for a browser.
fn secret_of_link(link: &str) -> Option<Secret> {
    match link.parse::<Invite>() {
        Ok(invite) => Some(invite.secret),
        Err(_) => link.strip_prefix("https://")?.split_once(FRAGMENT)?.1.parse().ok(),
    }
}

/// What there is to tell about a client, or about an invite that will make one.
struct Line {
    name: Option<String>,
    state: &'static str,
    grant: Grant,
    /// Bytes of its files, and those that are reserved for what it is sending.
    used: u64,
    reserved: u64,
    enrolled: Option<SystemTime>,
    revoked: Option<SystemTime>,
    keys: Vec<Fingerprint>,
    /// How many browsers and tokens it is known by, too.
    browsers: usize,
    tokens: usize,
    /// Of an invite.
    open: Option<Open>,
}

struct Open {
    until: SystemTime,
    uses: u32,
}

impl Line {
    fn of_client(entry: ClientEntry, catalogue: &Catalogue, now: SystemTime) -> anyhow::Result<Self> {
        let ClientEntry { client, fingerprints, browsers, tokens, enrolled } = entry;
        let state = match client.shut_out(now) {
            None => "active",
            Some(ShutOut::Revoked) => "revoked",
            Some(ShutOut::Expired) => "expired",
        };
        let held = catalogue.held_by(&client.name)?;
        Ok(Line {
            name: Some(client.name),
            state,
            grant: client.grant,
            used: held.rows,
            reserved: held.staged.iter().fold(0, |sum, (_, _, size)| sum.saturating_add(*size)),
            enrolled: Some(enrolled),
            revoked: client.revoked,
            keys: fingerprints,
            browsers,
            tokens,
            open: None,
        })
    }

    fn of_invite(invite: OpenInvite) -> Self {
        let NewInvite { name, expires, uses, grant } = invite.terms;
        Line {
            name,
            state: "invited",
            grant,
            used: 0,
            reserved: 0,
            enrolled: None,
            revoked: None,
            keys: Vec::new(),
            browsers: 0,
            tokens: 0,
            open: Some(Open { until: expires, uses }),
        }
    }

    fn as_object(&self) -> String {
        let grant = &self.grant;
        let object = json!({
            "name": self.name,
            "state": self.state,
            "path": grant.folder.as_ref().map(|folder| escape::bytes(folder.as_bytes()).to_string()),
            "can": verbs(grant),
            "overwrite": grant.overwrite,
            "quota": grant.quota,
            "used": self.used,
            "reserved": self.reserved,
            "enrolled": self.enrolled.map(rfc3339),
            "expires": grant.expires.map(rfc3339),
            "revoked": self.revoked.map(rfc3339),
            "keys": self.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "browsers": self.browsers,
            "tokens": self.tokens,
            "link_expires": self.open.as_ref().map(|open| rfc3339(open.until)),
            "link_uses": self.open.as_ref().map(|open| open.uses),
        });
        format!("{object}\n")
    }

    fn as_cells(&self) -> [String; 5] {
        let name = self.name.clone().unwrap_or_else(|| "(any name)".to_owned());
        let quota = self.grant.quota.map_or(String::new(), |quota| format!(" of {}", units::told(quota)));
        let reserved = match self.reserved {
            0 => String::new(),
            bytes => format!(" and {} on the way", units::told(bytes)),
        };
        let used = units::told(self.used) + &reserved + &quota;
        let since = match (&self.open, self.enrolled) {
            (Some(open), _) => format!("link until {}, for {}", rfc3339(open.until), open.uses),
            (None, since) => since.map_or(String::new(), rfc3339),
        };
        [name, self.state.to_owned(), since, used, told_without_quota(&self.grant)]
    }
}

fn as_table(lines: &[Line]) -> String {
    const HEAD: [&str; 5] = ["NAME", "STATE", "SINCE", "HOLDS", "MAY"];
    let mut rows: Vec<[String; 5]> = lines.iter().map(Line::as_cells).collect();
    if !rows.is_empty() {
        rows.insert(0, HEAD.map(str::to_owned));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths).take(HEAD.len() - 1) {
            text += &format!("{cell:width$}  ");
        }
        text += &row[HEAD.len() - 1];
        text.push('\n');
    }
    text
}

/// To the second, in UTC.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    // The catalogue holds no time that this cannot say.
    Timestamp::try_from(time)
        .and_then(|time| time.round(Unit::Second))
        .map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

fn verbs(grant: &Grant) -> Vec<&'static str> {
    let verbs = [(grant.put, "put"), (grant.get, "get"), (grant.list, "list")];
    verbs.into_iter().filter(|(may, _)| *may).map(|(_, verb)| verb).collect()
}

/// What a grant allows, in words.
pub(crate) fn told(grant: &Grant) -> String {
    let quota = grant.quota.map_or(String::new(), |quota| format!(", up to {}", units::told(quota)));
    told_without_quota(grant) + &quota
}

fn told_without_quota(grant: &Grant) -> String {
    let folder = grant.folder.as_ref().map_or("the whole inbox".to_owned(), |folder| folder.to_string());
    let overwrite = if grant.put && !grant.overwrite { ", no overwriting" } else { "" };
    let until = grant.expires.map_or(String::new(), |expires| format!(", until {}", rfc3339(expires)));
    format!("{} in {folder}{overwrite}{until}", verbs(grant).join(", "))
}
