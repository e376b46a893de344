//! `ferryd invite`: a link that lets a client in.

use std::{
    collections::BTreeSet,
    io::{IsTerminal, Write},
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use ferry_proto::{Invite, Secret, limits};
use ferry_session::{identity::Identity, random};
use qrcode::{QrCode, render::unicode::Dense1x2};

use crate::{
    Config,
    catalogue::{Catalogue, Grant, NewInvite, Site},
    clients::{rfc3339, told},
    config::{self, InviteTerms, PORT, with_port},
    http::Certificate,
    state::{self, State},
    to_stderr,
};

/// What a browser keeps to itself of a link, which begins with this.
pub(crate) const FRAGMENT: &str = "#invite=";

/// Writes an invite into the catalogue and prints its link.
pub fn invite(config: &Config, terms: InviteTerms) -> anyhow::Result<()> {
    state::refuse_beside_another(config)?;
    let State { identity, catalogue, has_lost_its_key } = state::open(config)?;
    if has_lost_its_key {
        to_stderr(state::LOST_KEY);
    }
    if catalogue.listen()?.is_empty() {
        let state = config.state.display();
        to_stderr(&format!(
            "no ferryd has run yet that keeps its state in {state}, so the link is for one that will: if yours saves \
             elsewhere, say where, with --root"
        ));
    }
    let (wants_qr, is_for_browsers) = (terms.qr, terms.web);
    if let Some(folder) = &terms.grant.folder {
        let made = ferry_store::make_folder(&config.root, folder);
        made.with_context(|| format!("--path {folder}: the folder cannot be made"))?;
    }
    let mut advice = None;
    let (secret, link, line) = if is_for_browsers {
        let running = catalogue.site()?;
        if running.is_none() && config.web.is_none() {
            advice = Some("the server does not serve browsers: start it with --web");
        }
        let site = match running {
            Some(site) => site,
            None => {
                let certificate = Certificate::load(config.web_files.clone(), &config.state)?;
                certificate.at(config.web.unwrap_or(config::WEB))
            }
        };
        if site.pin.is_none() && site.name.is_none() && terms.hosts.is_empty() {
            advice = Some(
                "the certificate is for no single host: say with --host what the link is to call this one",
            );
        }
        let (secret, host) = (new_secret()?, host(&site, &terms.hosts)?);
        let link = format!("https://{host}/{FRAGMENT}{}", secret.to_text());
        let line = curl(&host, &secret, site.pin.as_deref());
        (secret, link, Some(line))
    } else {
        let invite = new(&catalogue, &identity, &config.listen, &terms.hosts)?;
        let link = invite.to_link();
        (invite.secret, link, None)
    };
    let terms = valid_from_now(terms)?;
    catalogue.invite(&terms, &secret)?;
    writeln!(std::io::stdout(), "{link}").context("the link cannot be written to standard output")?;
    let called = match &terms.name {
        Some(name) => format!(", as {}", catalogue.name_for(name)?),
        None => String::new(),
    };
    let clients = match terms.uses {
        1 => "one client".to_owned(),
        uses => format!("{uses} clients"),
    };
    let (grant, until) = (told(&terms.grant), rfc3339(terms.expires));
    to_stderr(&format!("until {until} this lets {clients} in{called}: {grant}"));
    if let Some(line) = line {
        let instead = match terms.uses {
            1 => "or, in the place of a browser, one script may use it from now on",
            _ => "scripts may use it, too, from now on",
        };
        to_stderr(&format!("{instead}; keep this line to yourself:\n    {line}"));
    }
    if wants_qr {
        show_qr(&link)?;
    }
    advice.into_iter().for_each(to_stderr);
    Ok(())
}

/// Where a browser finds a site: HOST:PORT. A link for people has one address: the name that is vouched for, if there is one.
fn host(site: &Site, hosts: &[String]) -> anyhow::Result<String> {
    let listen = [site.address];
    let found = match (hosts, &site.name) {
        ([], None) => own_addresses(&listen)?,
        ([], Some(name)) => named(std::slice::from_ref(name), &listen),
        (hosts, _) => named(hosts, &listen),
    };
    found.into_iter().next().context("this machine has no address")
}

/// What sends a file with curl. The own certificate is known by its key, which nobody else has; a real name is vouched for.
fn curl(host: &str, secret: &Secret, pin: Option<&str>) -> String {
    let pinned = pin.map(|pin| format!(" --insecure --pinnedpubkey '{pin}'")).unwrap_or_default();
    let token = secret.to_text();
    format!(
        "curl --fail-with-body -T photo.jpg{pinned} -H 'Authorization: Bearer {token}' https://{host}/files/"
    )
}

/// Shows a text as a picture of characters, on standard error. On a terminal it is black on white, whatever else there is:
/// some cameras do not know a code in white on black.
pub(crate) fn show_qr(text: &str) -> anyhow::Result<()> {
    let mut picture = qr(text)?;
    if std::io::stderr().is_terminal() {
        picture = picture.lines().map(|line| format!("\x1b[30;107m{line}\x1b[0m\n")).collect();
    }
    write!(std::io::stderr(), "{picture}").context("the QR code cannot be written")
}

/// The invite of a first start: one client, the whole root, a day.
pub(crate) fn first(state: &State, listen: &[SocketAddr]) -> anyhow::Result<Invite> {
    let invite = new(&state.catalogue, &state.identity, listen, &[])?;
    let expires = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
    let terms = NewInvite { name: None, grant: Grant::whole(), expires, uses: 1 };
    state.catalogue.first_invite(&terms, &invite.secret)?;
    Ok(invite)
}

fn valid_from_now(terms: InviteTerms) -> anyhow::Result<NewInvite> {
    let InviteTerms { name, grant, expires, uses, hosts: _, web: _, qr: _ } = terms;
    let expires = SystemTime::now().checked_add(expires).context("--expires is too far away")?;
    Ok(NewInvite { name, grant, expires, uses })
}

/// A link as a picture of characters.
pub(crate) fn qr(link: &str) -> anyhow::Result<String> {
    let code = QrCode::new(link).context("the link is too long for a QR code")?;
    Ok(code.render::<Dense1x2>().build() + "\n")
}

fn new(
    catalogue: &Catalogue,
    identity: &Identity,
    configured: &[SocketAddr],
    hosts: &[String],
) -> anyhow::Result<Invite> {
    // A running server, or the last one that ran, knows its port better than the configuration does.
    let mut listen = catalogue.listen()?;
    if listen.is_empty() {
        listen = configured.to_vec();
    }
    let addresses = if hosts.is_empty() { own_addresses(&listen)? } else { named(hosts, &listen) };
    Ok(Invite { addresses, fingerprint: identity.fingerprint(), secret: new_secret()? })
}

fn new_secret() -> anyhow::Result<Secret> {
    Ok(Secret::from_bytes(random::bytes()?))
}

fn named(hosts: &[String], listen: &[SocketAddr]) -> Vec<String> {
    let port = listen.first().map_or(PORT, SocketAddr::port);
    hosts.iter().map(|host| with_port(host, port)).collect()
}

/// Where the listeners can be reached: for one that listens everywhere, at each of this machine's addresses.
fn own_addresses(listen: &[SocketAddr]) -> anyhow::Result<Vec<String>> {
    let interfaces = if_addrs::get_if_addrs().context("cannot list this machine's addresses")?;
    let mut found = BTreeSet::new();
    for listener in listen {
        let port = listener.port();
        if port == 0 {
            bail!(
                "the server listens on a port that only it knows: start it first, or give --host HOST:PORT"
            );
        }
        if !listener.ip().is_unspecified() {
            found.insert(*listener);
            continue;
        }
        for interface in interfaces.iter().filter(|interface| !interface.is_loopback()) {
            let address = interface.ip();
            // Link-local addresses mean nothing on another machine without its own interface's name.
            let travels = match address {
                IpAddr::V4(v4) => !v4.is_link_local(),
                IpAddr::V6(v6) => listener.is_ipv6() && !v6.is_unicast_link_local(),
            };
            if travels {
                found.insert(SocketAddr::new(address, port));
            }
        }
    }
    if found.is_empty() {
        // A machine without a network can still talk to itself.
        let port = listen.first().map_or(PORT, SocketAddr::port);
        found.insert(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    Ok(found.iter().take(limits::ADDRESSES).map(ToString::to_string).collect())
}
