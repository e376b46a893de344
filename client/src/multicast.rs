//! Whether this machine's interfaces carry multicast: what is sent to everybody who listens for announcements is to come back.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use if_addrs::Interface;
use rustix::net::{
    AddressFamily, SocketType, bind, socket,
    sockopt::{set_ip_multicast_if, set_ipv6_multicast_if, set_socket_reuseaddr, set_socket_reuseport},
};

/// Where multicast DNS is spoken.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const PORT: u16 = 5353;

/// How long the own packet is waited for, which never leaves the machine on its way back.
const BACK: Duration = Duration::from_millis(500);

/// Addresses of interfaces that are up and lead to others.
pub(crate) fn addresses() -> io::Result<Vec<Interface>> {
    let mut all = if_addrs::get_if_addrs()?;
    all.retain(|interface| interface.is_oper_up() && !interface.is_loopback());
    Ok(all)
}

/// Sends a packet that means nothing by this interface, and waits for its return.
pub(crate) fn comes_back(interface: &Interface) -> io::Result<()> {
    let index = interface.index.unwrap_or(0);
    let from = interface.ip();
    let (family, all): (_, IpAddr) = match from {
        IpAddr::V4(_) => (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let fd = socket(family, SocketType::DGRAM, None)?;
    // The machine's own responder has the port, too.
    set_socket_reuseaddr(&fd, true)?;
    set_socket_reuseport(&fd, true)?;
    if family == AddressFamily::INET6 {
        rustix::net::sockopt::set_ipv6_v6only(&fd, true)?;
    }
    bind(&fd, &SocketAddr::new(all, PORT))?;
    let socket = UdpSocket::from(fd);
    let group = match from {
        IpAddr::V4(address) => {
            socket.join_multicast_v4(&GROUP_V4, &address)?;
            set_ip_multicast_if(&socket, &address)?;
            SocketAddr::from((GROUP_V4, PORT))
        }
        IpAddr::V6(_) => {
            socket.join_multicast_v6(&GROUP_V6, index)?;
            set_ipv6_multicast_if(&socket, index)?;
            SocketAddr::from((GROUP_V6, PORT))
        }
    };
    // A query without a question, whose number is the only thing that it says.
    let mut packet = [0; 12];
    packet[..2].copy_from_slice(&fastrand::u16(..).to_be_bytes());
    socket.send_to(&packet, group)?;
    let until = Instant::now() + BACK;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "what is sent does not come back"));
        }
        socket.set_read_timeout(Some(left))?;
        let mut read = [0; 64];
        match socket.recv(&mut read) {
            Ok(length) if read[..length] == packet => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}
