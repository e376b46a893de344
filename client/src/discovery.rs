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

/// Instances that are told apart. A network with more has somebody on it who makes them up.
pub(crate) const INSTANCES: usize = 256;

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
pub(crate) struct Browse {
    responder: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    /// What was found, by its whole name, and when it is told if nothing more comes. None for what was told.
    found: HashMap<String, (Found, Option<Instant>)>,
}

/// Nobody can be heard.
#[derive(Debug, thiserror::Error)]
#[error("announcements cannot be heard: {0}")]
pub(crate) struct Deaf(#[from] mdns_sd::Error);

impl Browse {
    /// Asks the network. To be called on a runtime.
    pub(crate) fn start() -> Result<Self, Deaf> {
        let responder = ServiceDaemon::new()?;
        responder.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        let events = responder.browse(SERVICE)?;
        Ok(Browse { responder, events, found: HashMap::new() })
    }

    /// The next instance that appears, or says something else than before. None when there will be no more by then, or
    /// more than anybody has.
    pub(crate) async fn next(&mut self, until: Instant) -> Option<Found> {
        loop {
            let due = self.found.values().filter_map(|(_, due)| *due).min();
            let wake = due.map_or(until, |due| due.min(until));
            match timeout_at(wake, self.events.recv_async()).await {
                Ok(Ok(ServiceEvent::ServiceResolved(service))) if self.found.len() < INSTANCES => {
                    self.note(&service);
                }
                Ok(Ok(_)) if self.found.len() < INSTANCES => {}
                // The responder has ended, or told more than was listened to; or nobody makes so many.
                Ok(_) => return self.due(until),
                Err(_) => match self.due(wake) {
                    Some(found) => return Some(found),
                    None if wake >= until => return self.due(until + COMPLETE),
                    None => {}
                },
            }
        }
    }

    /// Whether more was announced than is honest.
    pub(crate) fn is_flooded(&self) -> bool {
        self.found.len() >= INSTANCES
    }

    fn note(&mut self, service: &ResolvedService) {
        let Some(found) = read(service) else { return };
        let known = self.found.get(&service.fullname);
        if known.is_none_or(|(known, _)| *known != found) {
            self.found.insert(service.fullname.clone(), (found, Some(Instant::now() + COMPLETE)));
        }
    }

    /// One that has waited long enough.
    fn due(&mut self, now: Instant) -> Option<Found> {
        let (found, due) = self.found.values_mut().find(|(_, due)| due.is_some_and(|due| due <= now))?;
        *due = None;
        Some(found.clone())
    }
}

impl Drop for Browse {
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
