//! Tells the local network where this server is, by mDNS and DNS-SD, for as long as it runs. What is told is where the
//! listeners really are; whoever hears it still has to see the server's key.
//!
//! Nothing here may keep the server from serving: a network without multicast is a warning.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use data_encoding::HEXLOWER;
use ferry_proto::{
    Fingerprint, VERSION,
    announcement::{SERVICE, TXT_FINGERPRINT, TXT_VERSION},
};
use mdns_sd::{DaemonEvent, IfKind, IfPredicate, Metrics, Receiver, ServiceDaemon, ServiceInfo};
use rustix::net::sockopt::{ipv6_v6only, set_ip_multicast_if, set_ipv6_multicast_if};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};

/// Of an instance's name: it is one label of a domain name, which has no more bytes.
const NAME: usize = 63;

/// How long withdrawing may hold up the end of this process: it is one packet for each interface.
const WITHDRAWING: Duration = Duration::from_secs(1);

/// How often the responder is asked how much it keeps.
const LOOK: Duration = Duration::from_secs(1);

/// Records and timers that the responder may keep. It also keeps what others announce to everybody, for as long as they
/// say, so anyone on the network can fill it. A busy network has some thousands; this many take about 16 MiB.
const KEPT: i64 = 65_536;

/// How long nothing is announced after the responder was filled: whoever does that goes on with it.
const REST: Duration = Duration::from_secs(60);

/// Announcements that the log tells of, each once: a machine has fewer interfaces, and one that gets new ones for ever
/// fills no log.
const TOLD: usize = 64;

/// Where multicast DNS is spoken.
const GROUPS: (SocketAddr, SocketAddr) = (
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), 5353),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)), 5353),
);

/// A query without a question: nobody answers it.
const NOTHING: [u8; 12] = [0; 12];

/// An announcement that stands. Dropping it withdraws nothing, so that others take the server for there until its
/// records are too old (two minutes).
pub(crate) struct Announcement {
    withdraw: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// One port, and where it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Served {
    port: u16,
    listeners: Vec<Reach>,
}

/// Which addresses a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    address: IpAddr,
    /// No IPv4 by an IPv6 socket.
    is_only_v6: bool,
}

impl Announcement {
    /// Announces what these listeners serve, under this machine's name. None if nobody else can reach them.
    pub(crate) fn start(
        listeners: &[TcpListener],
        name: &str,
        fingerprint: Fingerprint,
    ) -> anyhow::Result<Option<Self>> {
        let served = served(listeners)?;
        if served.is_empty() {
            tracing::info!("not announced: it listens on loopback alone");
            return Ok(None);
        }
        let announced = Announced { name: instance_name(name), fingerprint, served };
        let (withdraw, withdrawn) = oneshot::channel();
        let task = tokio::spawn(announced.keep(withdrawn));
        Ok(Some(Announcement { withdraw, task }))
    }

    /// Tells everybody that the server goes.
    pub(crate) async fn withdraw(self) {
        let _ = self.withdraw.send(());
        if timeout(WITHDRAWING, self.task).await.is_err() {
            tracing::warn!("the announcement could not be withdrawn in time");
        }
    }
}

/// What is announced.
struct Announced {
    name: String,
    fingerprint: Fingerprint,
    served: Vec<Served>,
}

impl Announced {
    /// Announces it until it is withdrawn.
    async fn keep(self, mut withdrawn: oneshot::Receiver<()>) {
        self.warn_where_nobody_hears();
        loop {
            let (responder, events) = match self.announce() {
                Ok(announced) => announced,
                Err(error) => {
                    tracing::warn!(%error, "not announced: clients need this server's address");
                    return;
                }
            };
            tokio::select! {
                _ = &mut withdrawn => return shut_down(&responder).await,
                () = tell(events) => {
                    tracing::error!("no longer announced: the responder has ended");
                    return;
                }
                () = filled(&responder) => {}
            }
            tracing::warn!(
                "somebody on the network announces too much: this server is not announced for a minute"
            );
            shut_down(&responder).await;
            if timeout(REST, &mut withdrawn).await.is_ok() {
                return;
            }
        }
    }

    fn announce(&self) -> Result<(ServiceDaemon, Receiver<DaemonEvent>), mdns_sd::Error> {
        let responder = ServiceDaemon::new()?;
        responder.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        let events = responder.monitor()?;
        for (index, served) in self.served.iter().enumerate() {
            responder.register(self.service(index, served)?)?;
        }
        Ok((responder, events))
    }

    fn service(&self, index: usize, served: &Served) -> Result<ServiceInfo, mdns_sd::Error> {
        // A second port is another instance, and needs another name.
        let name = match index {
            0 => self.name.clone(),
            _ => fitting(&self.name, &format!(" {}", served.port)),
        };
        // Not the machine's own name: that belongs to the machine's own responder, which tells all addresses of it.
        let key = HEXLOWER.encode(&self.fingerprint.bytes()[..8]);
        let host = format!("ferry-{key}-{}.local.", served.port);
        let txt =
            [(TXT_VERSION, VERSION.to_string()), (TXT_FINGERPRINT, self.fingerprint.prefix().to_string())];
        let mut service =
            ServiceInfo::new(SERVICE, &name, &host, (), served.port, &txt[..])?.enable_addr_auto();
        let listeners = served.listeners.clone();
        service.set_interfaces(vec![IfKind::Predicate(IfPredicate::new(move |interface| {
            listeners.iter().any(|listener| listener.serves(interface.ip()))
        }))]);
        Ok(service)
    }

    /// The responder does not tell whether anything that it sends leaves this machine.
    fn warn_where_nobody_hears(&self) {
        let interfaces = match if_addrs::get_if_addrs() {
            Ok(interfaces) => interfaces,
            Err(error) => {
                tracing::warn!(%error, "not announced: this machine's addresses cannot be listed");
                return;
            }
        };
        let serves = |ip| self.served.iter().any(|served| served.listeners.iter().any(|l| l.serves(ip)));
        let mut problems = BTreeSet::new();
        for interface in interfaces.iter().filter(|one| one.is_oper_up() && serves(one.ip())) {
            match send_nothing(interface.ip(), interface.index) {
                Ok(()) => return,
                Err(error) => problems.insert(format!("{}: {error}", interface.name)),
            };
        }
        let problems = match problems.is_empty() {
            true => "no interface is up".to_owned(),
            false => problems.into_iter().collect::<Vec<_>>().join("; "),
        };
        tracing::warn!(
            problems,
            "no multicast: this server cannot be announced for now, and clients need its address"
        );
    }
}

/// Sends a packet that means nothing to everybody who listens for announcements, from this address.
fn send_nothing(from: IpAddr, interface: Option<u32>) -> std::io::Result<()> {
    let socket = match from {
        IpAddr::V4(address) => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            set_ip_multicast_if(&socket, &address)?;
            socket
        }
        IpAddr::V6(_) => {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
            set_ipv6_multicast_if(&socket, interface.unwrap_or(0))?;
            socket
        }
    };
    let group = if from.is_ipv4() { GROUPS.0 } else { GROUPS.1 };
    socket.send_to(&NOTHING, group).map(drop)
}

/// What can be reached from elsewhere, by port.
fn served(listeners: &[TcpListener]) -> anyhow::Result<Vec<Served>> {
    let mut ports: BTreeMap<u16, Vec<Reach>> = BTreeMap::new();
    let mut order = Vec::new();
    for listener in listeners {
        let address = listener.local_addr()?;
        let is_only_v6 = address.is_ipv6() && ipv6_v6only(listener)?;
        let reach = Reach { address: address.ip().to_canonical(), is_only_v6 };
        if !reach.address.is_loopback() {
            order.push(address.port());
            ports.entry(address.port()).or_default().push(reach);
        }
    }
    let in_order = order.into_iter().filter_map(|port| Some((port, ports.remove(&port)?)));
    Ok(in_order.map(|(port, listeners)| Served { port, listeners }).collect())
}

impl Reach {
    /// Whether whoever connects to this address of this machine meets the listener. Loopback is no address for others.
    fn serves(&self, ip: IpAddr) -> bool {
        match self.address {
            _ if ip.is_loopback() => false,
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => ip.is_ipv4(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => ip.is_ipv6() || !self.is_only_v6,
            address => address == ip,
        }
    }
}

/// What the machine calls itself, without what would act on a terminal.
fn instance_name(machine: &str) -> String {
    let name: String = machine.chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() { "ferryd".to_owned() } else { fitting(&name, "") }
}

/// A name with something at its end, of which the name loses what does not fit.
fn fitting(name: &str, end: &str) -> String {
    let room = NAME.saturating_sub(end.len()).min(name.len());
    let kept = (0..=room).rev().find(|&kept| name.is_char_boundary(kept)).unwrap_or(0);
    format!("{}{end}", &name[..kept])
}

/// Tells the log what becomes of the announcement. Ends when the responder has ended.
async fn tell(events: Receiver<DaemonEvent>) {
    // Each address of an interface is announced, and so is each that comes later.
    let mut told = HashSet::new();
    while let Ok(event) = events.recv_async().await {
        match event {
            DaemonEvent::Announce(name, at)
                if told.len() < TOLD && told.insert((name.clone(), at.clone())) =>
            {
                tracing::info!(name, at, "announced");
            }
            DaemonEvent::NameChange(change) => {
                tracing::info!(from = change.original, to = change.new_name, "another machine has this name");
            }
            DaemonEvent::Error(error) => tracing::warn!(%error, "the announcement is in trouble"),
            event => tracing::debug!(?event, "mDNS"),
        }
    }
}

/// Ends when the responder keeps too much.
async fn filled(responder: &ServiceDaemon) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        // One that does not come to answer for a while is busy with reading.
        let Ok(metrics) = responder.get_metrics() else { continue };
        if let Ok(Ok(metrics)) = timeout(LOOK * 5, metrics.recv_async()).await
            && kept(&metrics) > KEPT
        {
            return;
        }
    }
}

/// What grows with what others send: records of each kind, and times at which to look at them again.
fn kept(metrics: &Metrics) -> i64 {
    let grows = |name: &str| name.starts_with("cached-") || name == "timer";
    metrics.iter().filter(|(name, _)| grows(name)).map(|(_, count)| count).sum()
}

/// Says goodbye, and waits until it is said.
async fn shut_down(responder: &ServiceDaemon) {
    loop {
        match responder.shutdown() {
            Ok(ended) => return drop(ended.recv_async().await),
            // It was asked too much at once.
            Err(mdns_sd::Error::Again) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(address: &str, is_only_v6: bool) -> Reach {
        Reach { address: address.parse().unwrap(), is_only_v6 }
    }

    #[test]
    fn what_is_announced_is_what_is_served() {
        let (four, six) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        for (listener, serves) in [
            (reach("::", false), [true, true]),
            (reach("::", true), [false, true]),
            (reach("0.0.0.0", false), [true, false]),
            (reach("192.0.2.1", false), [true, false]),
            (reach("192.0.2.2", false), [false, false]),
            (reach("2001:db8::1", false), [false, true]),
        ] {
            assert_eq!([listener.serves(four), listener.serves(six)], serves, "{listener:?}");
            assert!(
                !listener.serves(Ipv4Addr::LOCALHOST.into()) && !listener.serves(Ipv6Addr::LOCALHOST.into())
            );
        }
    }

    #[tokio::test]
    async fn listeners_of_one_port_are_one_instance_and_loopback_is_none() {
        let first = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let loopback = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(served(&[loopback]).unwrap(), []);
        let served = served(&[first]).unwrap();
        assert_eq!(served, [Served { port, listeners: vec![reach("0.0.0.0", false)] }]);
    }

    #[test]
    fn names_fit_into_a_label() {
        assert_eq!(instance_name("nas"), "nas");
        assert_eq!(instance_name(""), "ferryd");
        assert_eq!(instance_name("a\x1b[31m\nb"), "a[31mb");
        let long = "ä".repeat(40);
        assert_eq!(instance_name(&long), "ä".repeat(31));
        assert_eq!(fitting(&long, " 7118"), format!("{} 7118", "ä".repeat(29)));
    }

    #[test]
    fn hostile_10_what_others_can_fill_is_counted() {
        let metrics = [("cached-ptr", 3), ("cached-addr", 4), ("timer", 5), ("respond", 100)];
        let metrics = metrics.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        assert_eq!(kept(&metrics), 12);
    }
}
