//! `ferryd invite`: a link that lets a client in.

use std::{
    collections::BTreeSet,
    io::Write,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use ferry_proto::{Invite, Secret, limits};
use ferry_session::random;
use qrcode::{QrCode, render::unicode::Dense1x2};

use crate::{
    Config,
    catalogue::{Catalogue, Grant, NewInvite},
    config::{InviteTerms, PORT},
    state::{self, State},
};

/// Writes an invite into the catalogue and prints its link.
pub fn invite(config: &Config, terms: InviteTerms) -> anyhow::Result<()> {
    let State { identity, catalogue } = state::open(config)?;
    let wants_qr = terms.qr;
    if let Some(folder) = &terms.grant.folder {
        let made = ferry_store::make_folder(&config.root, folder);
        made.with_context(|| format!("--path {folder}: the folder cannot be made"))?;
    }
    let invite = make(&catalogue, &identity, &config.listen, terms)?;
    let link = invite.to_link();
    writeln!(std::io::stdout(), "{link}").context("the link cannot be written to standard output")?;
    if wants_qr {
        show_qr(&link)?;
    }
    Ok(())
}

/// Shows a text as a picture of characters, on standard error.
pub(crate) fn show_qr(text: &str) -> anyhow::Result<()> {
    write!(std::io::stderr(), "{}", qr(text)?).context("the QR code cannot be written")
}

/// The invite of a first start: one client, the whole root, a day.
pub(crate) fn first(state: &State, listen: &[SocketAddr]) -> anyhow::Result<Invite> {
    let terms = InviteTerms {
        name: None,
        grant: Grant::whole(),
        expires: Duration::from_secs(24 * 60 * 60),
        uses: 1,
        hosts: Vec::new(),
        qr: true,
    };
    make(&state.catalogue, &state.identity, listen, terms)
}

/// A link as a picture of characters.
pub(crate) fn qr(link: &str) -> anyhow::Result<String> {
    let code = QrCode::new(link).context("the link is too long for a QR code")?;
    Ok(code.render::<Dense1x2>().build() + "\n")
}

fn make(
    catalogue: &Catalogue,
    identity: &ferry_session::identity::Identity,
    configured: &[SocketAddr],
    terms: InviteTerms,
) -> anyhow::Result<Invite> {
    let InviteTerms { name, grant, expires, uses, hosts, qr: _ } = terms;
    // A running server, or the last one that ran, knows its port better than the configuration does.
    let mut listen = catalogue.listen()?;
    if listen.is_empty() {
        listen = configured.to_vec();
    }
    let addresses = if hosts.is_empty() { own_addresses(&listen)? } else { named(&hosts, &listen) };
    let secret = Secret::from_bytes(random::bytes()?);
    let invite = Invite { addresses, fingerprint: identity.fingerprint(), secret };
    // What cannot be read back is not handed out.
    invite.to_link().parse::<Invite>().context("--host")?;
    let expires = SystemTime::now().checked_add(expires).context("--expires is too far away")?;
    catalogue.invite(NewInvite { name, expires, uses, grant }, &invite.secret)?;
    Ok(invite)
}

fn named(hosts: &[String], listen: &[SocketAddr]) -> Vec<String> {
    let port = listen.first().map_or(PORT, SocketAddr::port);
    let with_port = |host: &String| {
        let has_port = host.rsplit_once(':').is_some_and(|(name, port)| {
            port.parse::<u16>().is_ok() && (!name.contains(':') || name.ends_with(']'))
        });
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            _ if has_port => host.clone(),
            _ => format!("{host}:{port}"),
        }
    };
    hosts.iter().map(with_port).collect()
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
