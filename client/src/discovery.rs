//! Servers that announce themselves on the local network, by mDNS and DNS-SD.
//!
//! Anybody there can announce anything, so what is found is where to try and a hint whom to expect, and all its texts are
//! a stranger's. Whom it really is, the key tells when it is dialled.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use ferry_proto::announcement::{Prefix, SERVICE, TXT_FINGERPRINT, TXT_VERSION};
use mdns_sd::{IfKind, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent};
use tokio::time::{Instant, timeout_at};

/// Instances that are told apart of those that are looked for, and as many of all others, so that these never take the
/// place of those. A network with more has somebody on it who makes them up.
const INSTANCES: usize = 256;

/// Addresses of one instance: as many as a link may have.
const ADDRESSES: usize = ferry_proto::limits::ADDRESSES;

/// How long something that was found is waited with for more of its addresses, which come in packets of their own.
const COMPLETE: Duration = Duration::from_millis(400);

/// An instance, as somebody announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// What it calls itself; a stranger's text.
    pub(crate) name: String,
    /// Where it may be, best first.
    pub(crate) addresses: Vec<SocketAddr>,
    /// How the fingerprint of its key begins, by its own words.
    pub(crate) prefix: Option<Prefix>,
    /// The newest version of the protocol that it speaks.
    pub(crate) version: Option<u16>,
}

/// A look at the network, until it is dropped.
pub(crate) struct Browse<'a> {
    responder: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    heard: Heard<'a>,
}

/// What was heard, and not more of it than anybody means.
struct Heard<'a> {
    /// Whether a server with this prefix is looked for.
    is_wanted: &'a (dyn Fn(&Prefix) -> bool + Sync),
    /// By its whole name, and when it is told if nothing more comes. None for what was told.
    found: HashMap<String, (Found, Option<Instant>)>,
    is_flooded: bool,
}

/// Nobody can be heard.
#[derive(Debug, thiserror::Error)]
#[error("announcements cannot be heard: {0}")]
pub(crate) struct Deaf(#[from] mdns_sd::Error);

impl<'a> Browse<'a> {
    /// Asks the network, above all for servers with a prefix that is wanted. To be called on a runtime.
    pub(crate) fn start(is_wanted: &'a (dyn Fn(&Prefix) -> bool + Sync)) -> Result<Self, Deaf> {
        let responder = ServiceDaemon::new()?;
        responder.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        let events = responder.browse(SERVICE)?;
        Ok(Browse { responder, events, heard: Heard::new(is_wanted) })
    }

    /// The next instance that appears, or says something else than before. None when there will be no more by then.
    pub(crate) async fn next(&mut self, until: Instant) -> Option<Found> {
        loop {
            // However many events there are, each of which would come before the clock.
            let now = Instant::now();
            if now >= until {
                return self.heard.due(until + COMPLETE);
            }
            if let Some(found) = self.heard.due(now) {
                return Some(found);
            }
            let wake = self.heard.next_due().map_or(until, |due| due.min(until));
            match timeout_at(wake, self.events.recv_async()).await {
                Ok(Ok(ServiceEvent::ServiceResolved(service))) => {
                    if let Some(found) = read(&service) {
                        self.heard.note(service.fullname, found, now);
                    }
                }
                Ok(Ok(_)) | Err(_) => {}
                // The responder has told more than was listened to, or has ended.
                Ok(Err(_)) => match self.responder.browse(SERVICE) {
                    Ok(events) => {
                        self.heard.is_flooded = true;
                        self.events = events;
                    }
                    Err(_) => return self.heard.due(until + COMPLETE),
                },
            }
        }
    }

    /// Whether more was announced than is honest.
    pub(crate) fn is_flooded(&self) -> bool {
        self.heard.is_flooded
    }
}

impl<'a> Heard<'a> {
    fn new(is_wanted: &'a (dyn Fn(&Prefix) -> bool + Sync)) -> Self {
        Heard { is_wanted, found: HashMap::new(), is_flooded: false }
    }

    fn note(&mut self, fullname: String, found: Found, now: Instant) {
        if self.found.get(&fullname).is_some_and(|(known, _)| *known == found) {
            return;
        }
        // Who was a stranger under this name may be looked for under it now, and the other way round.
        self.found.remove(&fullname);
        let is_wanted = self.wants(&found);
        let others = self.found.values().filter(|(other, _)| self.wants(other) == is_wanted).count();
        if others < INSTANCES {
            self.found.insert(fullname, (found, Some(now + COMPLETE)));
        } else {
            self.is_flooded = true;
        }
    }

    fn wants(&self, found: &Found) -> bool {
        found.prefix.as_ref().is_some_and(self.is_wanted)
    }

    fn next_due(&self) -> Option<Instant> {
        self.found.values().filter_map(|(_, due)| *due).min()
    }

    /// One that has waited long enough.
    fn due(&mut self, now: Instant) -> Option<Found> {
        let (found, due) = self.found.values_mut().find(|(_, due)| due.is_some_and(|due| due <= now))?;
        *due = None;
        Some(found.clone())
    }
}

impl Drop for Browse<'_> {
    fn drop(&mut self) {
        // Where it has ended already, nothing is left to do.
        let _ = self.responder.shutdown();
    }
}

/// What an announcement says, if that makes sense.
fn read(service: &ResolvedService) -> Option<Found> {
    let text = |key| service.get_property_val_str(key).unwrap_or_default();
    let mut addresses: Vec<SocketAddr> =
        service.addresses.iter().filter_map(|address| socket_address(address, service.port)).collect();
    addresses.sort_by_key(|address| (is_link_local(address.ip()), address.is_ipv6(), *address));
    addresses.truncate(ADDRESSES);
    (!addresses.is_empty() && service.port != 0).then(|| Found {
        name: instance_name(&service.fullname),
        addresses,
        prefix: text(TXT_FINGERPRINT).parse().ok(),
        version: text(TXT_VERSION).parse().ok(),
    })
}

/// Where another machine may be.
fn socket_address(address: &ScopedIp, port: u16) -> Option<SocketAddr> {
    let ip = address.to_ip_addr();
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    Some(match (ip, address) {
        (IpAddr::V6(v6), ScopedIp::V6(scoped)) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, scoped.scope_id().index).into()
        }
        (ip, _) => SocketAddr::new(ip, port),
    })
}

/// Whether an address means nothing elsewhere, nor after the next start of this machine.
pub(crate) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => Ipv6Addr::is_unicast_link_local(&v6),
    }
}

/// The first label of a domain name, in which a dot has a backslash before it. What it may hold besides is the business of
/// whoever prints it.
fn instance_name(fullname: &str) -> String {
    let label =
        fullname.strip_suffix(SERVICE).map_or(fullname, |label| label.strip_suffix('.').unwrap_or(label));
    let mut name = String::with_capacity(label.len());
    let mut characters = label.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => name.extend(characters.next()),
            c => name.push(c),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_10_whoever_makes_servers_up_does_not_crowd_out_those_that_are_looked_for() {
        let announced = |name: &str, prefix: &str| {
            let addresses = vec![SocketAddr::from(([192, 0, 2, 1], 7117))];
            Found { name: name.to_owned(), addresses, prefix: prefix.parse().ok(), version: Some(1) }
        };
        let (wanted, other): (Prefix, _) = ("abcdefghijklmnop".parse().unwrap(), "0123456789abcdef");
        let (is_wanted, now) = (|prefix: &Prefix| *prefix == wanted, Instant::now());
        let mut heard = Heard::new(&is_wanted);
        for number in 0..2 * INSTANCES {
            assert_eq!(heard.is_flooded, number > INSTANCES);
            let name = format!("stranger {number}");
            heard.note(name.clone(), announced(&name, if number % 2 == 0 { other } else { "none" }), now);
        }
        heard.note("nas".to_owned(), announced("nas", &wanted.to_string()), now);
        let told: Vec<Found> = std::iter::from_fn(|| heard.due(now + COMPLETE)).collect();
        assert_eq!(told.len(), INSTANCES + 1);
        assert!(told.iter().any(|found| found.name == "nas"));
        // Names that change sides make no room for more than there is.
        for number in 0..4 * INSTANCES {
            heard.note(format!("stranger {number}"), announced("liar", &wanted.to_string()), now);
        }
        assert!(heard.found.len() <= 2 * INSTANCES, "{}", heard.found.len());
    }

    #[test]
    fn names_are_labels_without_their_escapes() {
        assert_eq!(instance_name("nas._ferry._tcp.local."), "nas");
        assert_eq!(instance_name("a\\.b \\\\ c._ferry._tcp.local."), "a.b \\ c");
        assert_eq!(instance_name("else._http._tcp.local."), "else._http._tcp.local.");
    }

    #[test]
    fn hostile_18_addresses_that_are_no_other_machines_are_none() {
        for ip in ["127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.251", "ff02::fb"] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(socket_address(&ip.into(), 7117), None, "{ip}");
        }
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(socket_address(&ip.into(), 7117), Some(SocketAddr::new(ip, 7117)));
    }
}
