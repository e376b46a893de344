//! Servers that are found by themselves, on networks that the tests make: what is announced, by whom, and what it counts for.

use std::{fs, path::Path};

use crate::support::{Avahi, Client, Network, Server, Setup, write};

/// A server on the first machine.
fn on(network: &Network, listen: &str) -> Setup {
    Server::setup().wrapped(&network.here()).listen(listen.parse().unwrap())
}

/// Pairs with a server and sends it a file, on its own machine.
fn serves(network: &Network, server: &Server, host: &str) {
    let client = Client::new();
    let host = format!("{host}:{}", server.address().port());
    let link = server.invite_with(&["--host", &host]);
    client.wrapped(&network.here(), "pair").args([&link, "--as", "box"]).run().code(0);
    let file = write(client.home().join("file"), "content");
    client.wrapped(&network.here(), "send").arg(file).arg("box:").run().code(0);
}

/// What an announcement says of a server beside where it is.
fn told_of(server: &Server) -> String {
    let fingerprint = server.fingerprint().to_string();
    format!("\"fp={}\" \"v=1\"", &fingerprint[..16])
}

#[test]
fn avahi_sees_a_server_with_its_port_and_key_by_ipv4_and_ipv6_until_it_stops() {
    let Some(network) = Network::new() else { return };
    let Some(avahi) = Avahi::there(&network) else { return };
    // Beside the machine's own responder, if that is there.
    let mut server = on(&network, "[::]:0").start();
    let (port, told) = (format!(";{};", server.address().port()), told_of(&server));
    avahi.sees(&["cable;IPv4", "10.77.0.1", &port, &told]);
    avahi.sees(&["cable;IPv6", &port, &told]);
    server.logged(&["INFO", "announced", "cable"]);
    // Its records are good for more than an hour, unless it takes them back.
    assert!(server.stop().success());
    avahi.sees_none();
}

#[test]
fn only_what_is_served_is_announced() {
    let Some(network) = Network::new() else { return };
    let Some(avahi) = Avahi::there(&network) else { return };
    network.ip_here("addr add 10.77.0.7/24 dev cable");
    let mut server = on(&network, "10.77.0.7:0").start();
    let port = format!(";10.77.0.7;{};", server.address().port());
    avahi.sees(&[&port]);
    assert!(avahi.resolved().iter().all(|line| line.contains(&port)), "{:?}", avahi.resolved());
    server.restart_at("[fd77::1]:0".parse().unwrap());
    let port = format!(";fd77::1;{};", server.address().port());
    avahi.sees(&[&port]);
    assert!(avahi.resolved().iter().all(|line| !line.contains("10.77.0.1;")), "{:?}", avahi.resolved());
}

#[test]
fn a_server_that_nobody_else_reaches_or_whose_owner_does_not_want_it_announces_nothing() {
    let Some(network) = Network::new() else { return };
    let Some(avahi) = Avahi::there(&network) else { return };
    let loopback = on(&network, "127.0.0.1:0").start();
    loopback.logged(&["not announced: it listens on loopback alone"]);
    let config = loopback.beside().join("ferryd.toml");
    write(&config, "no-announce = true");
    let unwanted = [
        on(&network, "[::]:0").args(["--no-announce"]).start(),
        on(&network, "[::]:0").env("FERRYD_NO_ANNOUNCE", "1").start(),
        on(&network, "[::]:0").args([Path::new("--config"), &config]).start(),
    ];
    // What came later is seen, and so would be what came before.
    let announced = on(&network, "[::]:0").start();
    avahi.sees(&[&told_of(&announced)]);
    avahi.sees(&["IPv6", &told_of(&announced)]);
    for line in avahi.resolved() {
        assert!(line.contains(&told_of(&announced)), "{line}");
    }
    for server in &unwanted {
        assert!(!server.log().contains("announced"), "{}", server.log());
    }
    fs::remove_file(config).unwrap();
}

#[test]
fn two_servers_of_one_name_are_both_announced() {
    let Some(network) = Network::new() else { return };
    let Some(avahi) = Avahi::there(&network) else { return };
    let (first, second) = (on(&network, "[::]:0").start(), on(&network, "[::]:0").start());
    for server in [&first, &second] {
        avahi.sees(&["IPv4", &format!(";{};", server.address().port()), &told_of(server)]);
    }
}

#[test]
fn a_network_without_multicast_is_a_warning_and_the_server_serves() {
    let Some(network) = Network::new() else { return };
    network.ip_here("link set cable down");
    let server = on(&network, "[::]:0").start();
    server.logged(&["WARN", "no multicast", "no interface is up"]);
    serves(&network, &server, "127.0.0.1");
    // By IPv4 there always is a way to a group as long as an interface is up.
    network.ip_here("addr flush dev cable");
    network.ip_here("addr add fd77::9/64 dev cable nodad");
    network.ip_here("link set cable up");
    network.ip_here("-6 route del multicast ff00::/8 dev cable table local");
    let server = on(&network, "[::]:0").start();
    server.logged(&["WARN", "no multicast", "cable: Network is unreachable"]);
    serves(&network, &server, "[fd77::9]");
}
